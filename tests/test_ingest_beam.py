"""Apache Beam deals out the batches, and the data set is the same; `make test-beam` has it."""

from __future__ import annotations

import hashlib
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from shared import run_cli

from deeploc_tf.ingest.beam import read_with_beam
from deeploc_tf.ingest.build_records import build_records
from deeploc_tf.sources import TableSource
from tfrecords import decode, read_manifest


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Forty crops, so that there are several batches."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(40):
        path = f"{number}.tif"
        tifffile.imwrite(tmp_path / path, generator.integers(0, 999, (32, 32), np.uint16))
        rows.append(
            {"gfp": path, "protein": f"P{number % 4}", "split": ["train", "test"][number % 3 == 0]}
        )
    pd.DataFrame(rows).to_csv(tmp_path / "cells.csv", index=False)
    return tmp_path / "cells.csv"


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_beam_writes_the_same_bytes(table: Path, tmp_path: Path) -> None:
    pytest.importorskip("apache_beam", reason="Apache Beam is in the extra beam: make test-beam")
    source = TableSource(table, {"gfp": "gfp"})
    options = {"label": "protein", "split_column": "split", "batch_bytes": 10_000}
    here = build_records(source, tmp_path / "here", **options)
    seen: list[int] = []

    def counting(*arguments: object) -> object:
        for number in read_with_beam(*arguments):  # type: ignore[arg-type]
            seen.append(number)
            yield number

    build_records(source, tmp_path / "beam", read_batches=counting, **options)  # type: ignore[arg-type]
    assert len(seen) > 5
    assert digests(tmp_path / "beam") == digests(tmp_path / "here")
    # And said in the words of the data: equal keys, equal pixels.
    pixels: dict[str, dict[str, str]] = {}
    for name in ("here", "beam"):
        import tensorflow as tf

        shards = [str(path) for path in sorted((tmp_path / name).glob("*.tfrecord-*"))]
        crops = [decode(record.numpy(), here.schema) for record in tf.data.TFRecordDataset(shards)]
        pixels[name] = {
            crop.key: hashlib.sha256(crop.image.tobytes()).hexdigest() for crop in crops
        }
    assert len(pixels["here"]) == 40
    assert pixels["beam"] == pixels["here"]


def test_the_command_runs_on_beam(table: Path, tmp_path: Path) -> None:
    pytest.importorskip("apache_beam", reason="Apache Beam is in the extra beam: make test-beam")
    command = ["build-records", str(table), str(tmp_path / "records"), "--image-column", "gfp=gfp"]
    command += ["--label", "protein", "--runner", "beam", "--quiet"]
    done = run_cli(*command)
    assert done.exit_code == 0, done.output
    assert read_manifest(tmp_path / "records").num_crops("train") == 26


def test_a_crop_that_cannot_be_read_fails_the_build(table: Path, tmp_path: Path) -> None:
    pytest.importorskip("apache_beam", reason="Apache Beam is in the extra beam: make test-beam")
    source = TableSource(table, {"gfp": "gfp"})
    source.index()
    (table.parent / "7.tif").write_bytes(b"no image")
    with pytest.raises(Exception, match=r"7\.tif"):
        build_records(
            source,
            tmp_path / "records",
            label="protein",
            split_column="split",
            read_batches=partial(read_with_beam, options=()),
        )
    assert not (tmp_path / "records").exists()


def run_without_beam(table: Path, *options: str) -> tuple[int, str]:
    command = ["build-records", str(table), str(table.with_name("records"))]
    command += ["--image-column", "gfp=gfp", "--label", "protein", *options]
    done = run_cli(*command)
    return done.exit_code, done.output


def test_without_beam_one_sentence_says_what_to_install(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    code, output = run_without_beam(table, "--runner", "beam")
    assert code == 1
    assert "pip install 'apache-beam>=" in output


def test_options_of_beam_need_beam(table: Path) -> None:
    code, output = run_without_beam(table, "--beam-option", "--runner=FlinkRunner")
    assert code == 2
    assert "--runner beam" in output
