from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import tfrecords

WITHOUT_TENSORFLOW = (
    "batches",
    "codec",
    "errors",
    "framing",
    "inspect",
    "locking",
    "manifest",
    "plan",
    "publishing",
    "retrying",
    "schema",
    "sharding",
    "tfds",
    "verify",
    "workspace",
    "writer",
)


def test_tensorflow_is_not_imported_before_it_is_needed() -> None:
    code = f"""
import importlib, sys
import tfrecords
for name in {WITHOUT_TENSORFLOW}:
    importlib.import_module("tfrecords." + name)
tfrecords.Schema, tfrecords.Crop, tfrecords.read_manifest, tfrecords.summarize
assert not {{"tensorflow", "keras"}} & set(sys.modules), "imported too early"
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_every_public_name_is_there() -> None:
    assert set(tfrecords.__all__) == set(tfrecords._MODULE_OF)
    assert set(tfrecords.__all__) <= set(dir(tfrecords))
    for name, module in tfrecords._MODULE_OF.items():
        defined = getattr(importlib.import_module(f"tfrecords.{module}"), name)
        assert getattr(tfrecords, name) is defined


def test_no_public_name_is_hidden_by_a_module() -> None:
    modules = {path.stem for path in Path(str(tfrecords.__file__)).parent.glob("*.py")}
    assert not modules & set(tfrecords.__all__)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'write_shards'"):
        tfrecords.write_shards  # noqa: B018
