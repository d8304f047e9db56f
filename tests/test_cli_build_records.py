"""`deeploc-tf build-records`: what its options say and do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import Result
from shared import run_cli

from deeploc_tf.cli.sources import ODDITIES
from deeploc_tf.sources import quality
from tfrecords.manifest import read_manifest

PATTERN = "{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif"


@pytest.fixture
def crops(write_crops: Callable[..., Path]) -> Path:
    return write_crops()


def run(crops: Path, *options: str) -> Result:
    command = ["build-records", str(crops), str(crops.with_name("records")), "--quiet"]
    command += ["--pattern", PATTERN, "--channels", "gfp,rfp", "--label", "protein"]
    return run_cli(*command, "--test", "field=4", *options)


def test_a_dry_run_reports_and_writes_nothing(crops: Path) -> None:
    before = sorted(crops.parent.rglob("*"))
    done = run(crops, "--dry-run")
    assert done.exit_code == 0, done.output
    assert sorted(crops.parent.rglob("*")) == before
    assert done.output.splitlines() == [
        "Would write crops of 6 x 5 x 2 uint16, about 0.0 MB",
        "  test                4  (AAC1 2, AAH1 2)",
        "                      1  shards",
        "                      1  groups of one field",
        "  train              12  (AAC1 6, AAH1 6)",
        "                      1  shards",
        "                      3  groups of one field",
        "Pixels were not read, except of one crop: bad images are found when records are built.",
    ]


def test_rejects_are_counted_and_listed(crops: Path) -> None:
    (crops / "AAC1/AAC1_1_rfp_1_gfp.tif").write_bytes(b"no image")
    done = run(crops)
    assert done.exit_code == 1
    assert "AAC1_1_rfp_1_gfp.tif" in done.output
    assert "`max_rejects`" in done.output
    done = run(crops, "--max-rejects", "1")
    assert done.exit_code == 0, done.output
    assert "  left out            1  (not an image)" in done.output
    assert (crops.with_name("records") / "rejects.jsonl").is_file()


def test_odd_crops_are_flagged_or_set_aside(crops: Path) -> None:
    for channel in ("gfp", "rfp"):
        path = crops / f"AAC1/AAC1_1_rfp_1_{channel}.tif"
        tifffile.imwrite(path, np.zeros((6, 5), np.uint16))
    assert "  flagged             1  (all pixels are zero)" in run(crops).output
    done = run(crops, "--set-aside", "zero,constant", "--overwrite")
    assert done.exit_code == 0, done.output
    assert "  left out            1  (all pixels are zero)" in done.output


def test_unknown_oddities_are_wrong_usage(crops: Path) -> None:
    done = run(crops, "--set-aside", "zero,blury")
    assert done.exit_code == 2
    assert "blury" in done.output


def test_all_oddities_have_a_short_name() -> None:
    assert tuple(ODDITIES.values()) == quality.ODDITIES


def test_an_output_is_replaced_only_when_asked(crops: Path) -> None:
    assert run(crops, "--seed", "1").exit_code == 0
    assert run(crops).exit_code == 1
    assert run(crops, "--overwrite", "--workers", "2").exit_code == 0
    assert read_manifest(crops.with_name("records")).seed == 0
