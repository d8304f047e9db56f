"""Faults of exported models; see docs/reliability.md.

The thorough tests are in test_serving_export.py, test_serving_golden.py, test_serving_predict.py.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from shared import run_cli

from deeploc_tf.serving.digests import UntrustedModelError, check_digests, write_digests
from deeploc_tf.serving.open_model import open_model

GOLDEN = Path(__file__).parent / "golden" / "savedmodel_v2" / "keras3_image.zip"
PROGRAM = Path(__file__).parents[1] / "docs" / "serve_alone.py"


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A folder with `model`, `crops.npz` and `expected.npz`."""
    shutil.unpack_archive(GOLDEN, tmp_path)
    return tmp_path


def test_a_process_with_tensorflow_alone_serves(golden: Path) -> None:
    shutil.copy(PROGRAM, golden)
    command = [sys.executable, "-I", "-X", "importtime", PROGRAM.name, "model/1", "crops.npz"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=golden, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    imported = set(re.findall(r"^import time:.*\| +(\w+)", done.stderr, re.MULTILINE))
    assert "tensorflow" in imported
    assert not imported & {"deeploc_tf", "tfrecords"}
    served, expected = (np.load(golden / name) for name in ("crops.served.npz", "expected.npz"))
    for name in ("embedding", "logits"):
        np.testing.assert_allclose(served[name], expected[name], rtol=0, atol=1e-5)


def test_batches_of_any_size_and_crops_of_no_other_shape(golden: Path) -> None:
    model = tf.saved_model.load(str(golden / "model" / "1"))
    serve, image = model.signatures["serving_default"], np.load(golden / "crops.npz")["image"]
    expected = np.load(golden / "expected.npz")["embedding"]
    one = serve(image=tf.constant(image[:1]))["embedding"]
    np.testing.assert_allclose(one, expected[:1], rtol=0, atol=1e-5)
    many = serve(image=tf.constant(np.tile(image, (500, 1, 1, 1))))["embedding"]
    np.testing.assert_allclose(many, np.tile(expected, (500, 1)), rtol=0, atol=1e-5)
    for bad, words in (
        (image[:0], "`image` must hold at least one crop"),
        (image[0], r"tensor image \[14,14,2\].* expected shape \[\?,14,14,2\]"),
        (image[..., :1], r"tensor image \[10,14,14,1\].* expected shape \[\?,14,14,2\]"),
        (image[..., np.newaxis], r"tensor image \[10,14,14,2,1\].* expected"),
        (image.astype(np.float32), "expected to be a uint16 tensor but is a float"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=words):
            serve(image=tf.constant(bad))


def flip_a_bit(folder: Path) -> None:
    (path,) = folder.glob("variables/*data*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def list_nothing(folder: Path) -> None:
    path = folder / "digests.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "files": {}}))


TAMPERED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a bit of a weight": (flip_a_bit, r"variables\.data\S+ differs"),
    "another graph": (
        lambda folder: (folder / "saved_model.pb").write_bytes(b"other"),
        r"saved_model\.pb differs",
    ),
    "a file more": (lambda folder: (folder / "more").touch(), "more is new"),
    "a file less": (
        lambda folder: (folder / "assets.extra" / "description.json").unlink(),
        r"description\.json is missing",
    ),
    "no list": (lambda folder: (folder / "digests.json").unlink(), r"no digests\.json"),
    "half a list": (
        lambda folder: (folder / "digests.json").write_text('{"files":'),
        r"a digests\.json that is none",
    ),
    "a list of nothing": (list_nothing, r"saved_model\.pb is new"),
    "a list of numbers": (
        lambda folder: (folder / "digests.json").write_text('{"files": 3, "digest": 4}'),
        r"a digests\.json that is none",
    ),
}


@pytest.mark.parametrize("change", TAMPERED)
def test_a_savedmodel_that_is_not_as_it_was_exported_is_refused(change: str, golden: Path) -> None:
    tamper, words = TAMPERED[change]
    assert check_digests(golden / "model" / "1")
    tamper(golden / "model" / "1")
    with pytest.raises(UntrustedModelError, match=words):
        open_model(golden / "model")
    result = run_cli("verify", golden / "model")
    assert result.exit_code == 1
    assert re.fullmatch(f"Error: .*{words}.*\n", result.stderr), result.stderr


def test_trust_loads_what_is_loadable_and_says_what_is_not(golden: Path) -> None:
    (golden / "model" / "1" / "more").touch()
    assert open_model(golden / "model", trust=True).description.layer == "fc_2"
    (golden / "model" / "1" / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(UntrustedModelError, match="which TensorFlow cannot load"):
        open_model(golden / "model", trust=True)


def test_predict_refuses_before_it_writes_anything(golden: Path) -> None:
    flip_a_bit(golden / "model" / "1")
    (golden / "fields").mkdir()
    before = sorted(golden.iterdir())
    arguments = ["predict", "model", "fields", "calls", "--pattern", "{field}-{channel}.tif"]
    arguments = [str(golden / a) if (golden / a).exists() or a == "calls" else a for a in arguments]
    result = run_cli(*arguments, "--label-image", "{field}_labels.tif")
    assert result.exit_code == 1
    assert "differs" in result.stderr
    assert "--trust" in result.stderr
    assert sorted(golden.iterdir()) == before


def test_a_list_written_anew_has_another_digest(golden: Path) -> None:
    folder = golden / "model" / "1"
    told = check_digests(folder)
    verify = ["verify", str(folder), "--digest"]
    assert run_cli(*verify, told).exit_code == 0
    flip_a_bit(folder)
    assert write_digests(folder) == check_digests(folder) != told
    result = run_cli(*verify, told)
    assert result.exit_code == 1
    assert f"told {told}" in result.stderr
