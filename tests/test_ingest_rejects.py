"""Bad cells: how many may be, what is said of them, and that the rest is as if they never were."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from deeploc_tf.ingest import Quality, build_records, plan_records
from deeploc_tf.sources import FolderSource, SourceError
from tfrecords.errors import SplitError
from tfrecords.manifest import Manifest, read_manifest
from tfrecords.verify import verify_deep

PATTERN = "{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif"
CONDITIONS = {"test": [("field", "4")], "validation": [("field", "3")]}


@pytest.fixture
def crops(write_crops: Callable[..., Path]) -> Path:
    return write_crops()


def build(root: Path, output: Path, **options: Any) -> Manifest:
    source = FolderSource(root, PATTERN, ["gfp", "rfp"])
    options = {"label": "protein", "conditions": CONDITIONS, **options}
    return build_records(source, output, **options)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def spoil(root: Path, *stems: str) -> None:
    for stem in stems:
        (root / f"{stem}_gfp.tif").write_bytes(b"no image at all")


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.tfrecord-*")}


SPOILT = ("AAC1/AAC1_1_rfp_1", "AAC1/AAC1_4_rfp_2", "AAH1/AAH1_2_rfp_2")


@pytest.mark.parametrize("crops_of_a_shard", [3, 100])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_records_are_those_of_a_source_without_the_bad_cells(
    crops: Path,
    tmp_path: Path,
    workers: int,
    crops_of_a_shard: int,
) -> None:
    sizes = {"batch_bytes": 5 * 248, "shard_bytes": crops_of_a_shard * 248}
    spoil(crops, *SPOILT)
    manifest = build(crops, tmp_path / "records", max_rejects=3, workers=workers, **sizes)
    assert manifest.rejects == {"not an image": 3}
    for stem in SPOILT:
        for channel in ("gfp", "rfp"):
            (crops / f"{stem}_{channel}.tif").unlink()
    build(crops, tmp_path / "without", **sizes)
    assert shards(tmp_path / "records") == shards(tmp_path / "without")
    assert manifest.counts == read_manifest(tmp_path / "without").counts
    verify_deep(tmp_path / "records")


def test_each_is_listed_with_files_and_reason(crops: Path, tmp_path: Path) -> None:
    spoil(crops, *SPOILT)
    build(crops, tmp_path / "records", max_rejects=3)
    found = lines(tmp_path / "records/rejects.jsonl")
    assert [line["key"] for line in found] == sorted(SPOILT)
    assert found[0]["reason"] == "not an image"
    assert found[0]["files"] == [f"{SPOILT[0]}_gfp.tif", f"{SPOILT[0]}_rfp.tif"]
    assert "AAC1_1_rfp_1_gfp.tif" in found[0]["detail"]
    assert str(tmp_path) not in (tmp_path / "records/rejects.jsonl").read_text()


def test_one_more_than_may_be_is_refused(crops: Path, tmp_path: Path) -> None:
    spoil(crops, *SPOILT)
    with pytest.raises(SourceError, match=r"AAH1_2_rfp_2_gfp\.tif") as caught:
        build(crops, tmp_path / "records", max_rejects=2)
    assert any("bad cell 3, where `max_rejects` is 2" in n for n in caught.value.__notes__)
    assert [path.name for path in tmp_path.iterdir()] == ["crops"]


def test_one_more_in_several_batches_is_refused_too(crops: Path, tmp_path: Path) -> None:
    spoil(crops, *SPOILT)
    with pytest.raises(SourceError, match="must be a whole"):
        build(crops, tmp_path / "records", max_rejects=2, batch_bytes=5 * 248)
    # goes on, with more of them allowed
    build(crops, tmp_path / "records", max_rejects=3, batch_bytes=5 * 248)
    assert len(lines(tmp_path / "records/rejects.jsonl")) == 3


def test_cells_that_the_index_sets_aside_count(crops: Path, tmp_path: Path) -> None:
    (crops / f"{SPOILT[0]}_rfp.tif").unlink()
    with pytest.raises(SourceError, match=f"{SPOILT[0]}_rfp.tif"):
        build(crops, tmp_path / "records")
    manifest = build(crops, tmp_path / "records", max_rejects=1)
    assert manifest.rejects == {"channel is missing": 1}


def test_crops_of_another_shape_than_the_first_by_key_are_bad(crops: Path, tmp_path: Path) -> None:
    for channel in ("gfp", "rfp"):
        tifffile.imwrite(crops / f"{SPOILT[1]}_{channel}.tif", np.zeros((9, 9), np.uint16))
    manifest = build(crops, tmp_path / "records", max_rejects=1)
    assert manifest.rejects == {"shape differs": 1}


def test_a_first_crop_that_is_bad_decides_nothing(crops: Path, tmp_path: Path) -> None:
    spoil(crops, SPOILT[0])
    assert build(crops, tmp_path / "records", max_rejects=1).schema.image_shape == (6, 5, 2)


def test_a_class_without_a_good_crop_to_train_on_is_refused(crops: Path, tmp_path: Path) -> None:
    spoil(crops, *(f"AAC1/AAC1_{field}_rfp_{cell}" for field in (1, 2) for cell in (1, 2)))
    with pytest.raises(SplitError, match="'AAC1'"):
        build(crops, tmp_path / "records", max_rejects=9)
    assert [path.name for path in tmp_path.iterdir()] == ["crops"]


def test_a_source_without_a_good_crop_is_refused(crops: Path, tmp_path: Path) -> None:
    for path in crops.rglob("*.tif"):
        path.write_bytes(b"no image at all")
    with pytest.raises((SourceError, SplitError)):
        build(crops, tmp_path / "records", max_rejects=99)


def test_the_quality_filter_sets_aside_and_counts_apart(crops: Path, tmp_path: Path) -> None:
    for channel in ("gfp", "rfp"):
        zero = np.zeros((6, 5), np.uint16)
        tifffile.imwrite(crops / f"{SPOILT[0]}_{channel}.tif", zero)
    manifest = build(crops, tmp_path / "kept")
    assert (manifest.rejects, manifest.flagged) == ({}, {"all pixels are zero": 1})
    manifest = build(crops, tmp_path / "records", quality=Quality(drop=("all pixels are zero",)))
    assert (manifest.rejects, manifest.flagged) == ({"all pixels are zero": 1}, {})
    (line,) = lines(tmp_path / "records/rejects.jsonl")
    assert (line["key"], line["detail"]) == (SPOILT[0], "All pixels are zero.")
    assert sum(manifest.num_crops(split) for split in manifest.split_names) == 15


def test_proteins_of_few_cells_are_set_aside(crops: Path, tmp_path: Path) -> None:
    for cell in (1, 2):
        for field in (2, 3, 4):
            for channel in ("gfp", "rfp"):
                (crops / f"AAC1/AAC1_{field}_rfp_{cell}_{channel}.tif").unlink()
    manifest = build(crops, tmp_path / "records", minimum_cells=3)
    assert manifest.rejects == {"protein has too few cells": 2}
    assert manifest.schema.label_names == ("AAH1",)
    assert [line["key"] for line in lines(tmp_path / "records/rejects.jsonl")] == [
        "AAC1/AAC1_1_rfp_1",
        "AAC1/AAC1_1_rfp_2",
    ]
    with pytest.raises(SplitError, match="AAC1"):  # a class of the test split only
        build(crops, tmp_path / "all", conditions={"test": [("field", "1")]})


def test_a_plan_says_what_would_be_written(crops: Path, tmp_path: Path) -> None:
    (crops / f"{SPOILT[0]}_rfp.tif").unlink()
    source = FolderSource(crops, PATTERN, ["gfp", "rfp"])
    options: dict[str, Any] = {"label": "protein", "conditions": CONDITIONS, "max_rejects": 1}
    before = sorted(tmp_path.rglob("*"))
    forecast = plan_records(source, **options).forecast()
    assert sorted(tmp_path.rglob("*")) == before
    manifest = build_records(source, tmp_path / "records", **options)
    assert forecast["rejects"] == manifest.rejects
    assert forecast["num_crops"] == 15
    for split, expected in forecast["splits"].items():
        assert expected["num_crops"] == manifest.num_crops(split)
        assert expected["num_shards"] == len(manifest.shards(split))
        assert expected["label"] == manifest.counts[split]["label"]
        size = sum(shard.num_bytes for shard in manifest.shards(split))
        assert expected["num_bytes"] == pytest.approx(size, rel=0.3)  # text varies
    assert {split: counts["num_groups"] for split, counts in forecast["splits"].items()} == {
        "test": 1,
        "train": 2,
        "validation": 1,
    }
