from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tfrecords.errors import DamagedRecordsError, RecordsError, SplitError
from tfrecords.manifest import (
    MANIFEST_NAME,
    Manifest,
    ShardInfo,
    check_split_name,
    manifest_files,
    read_manifest,
)
from tfrecords.schema import Schema

SCHEMA = Schema(
    image_shape=(8, 8, 1),
    dtype="uint8",
    channels=("gfp",),
    label_names=("ER", "Golgi"),
    metadata={"field": "text"},
)
MANIFEST = Manifest(
    schema=SCHEMA,
    splits={
        "test": (
            ShardInfo(
                "deeploc-test.tfrecord-00000-of-00001", 3, 300, "aa", {96: "0a" * 4, 296: "aa" * 4}
            ),
        ),
        "train": (
            ShardInfo("deeploc-train.tfrecord-00000-of-00002", 5, 500, "bb", {496: "bb" * 4}),
            ShardInfo("deeploc-train.tfrecord-00001-of-00002", 4, 400, "cc", {396: "cc" * 4}),
        ),
    },
    seed=7,
    group_by=("field",),
    sources=({"kind": "folder", "pattern": "{protein}/µ{cell}.tif"},),
    rejects={"empty": 2},
    counts={"test": {"label": {"ER": 3}, "protein": {}}, "train": {"label": {}, "protein": {}}},
)


def write(folder: Path, manifest: Manifest) -> Path:
    for name, content in manifest_files(manifest).items():
        (folder / name).write_bytes(content)
    return folder


def test_a_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    manifest = read_manifest(str(write(tmp_path, MANIFEST)))
    assert manifest == MANIFEST
    assert manifest.digest == MANIFEST.digest
    assert manifest.split_names == ("test", "train")
    assert manifest.num_crops("train") == 9
    assert [shard.num_crops for shard in manifest.shards("train")] == [5, 4]


def test_an_unknown_split_is_refused_with_the_known_ones() -> None:
    for method in (MANIFEST.shards, MANIFEST.num_crops):
        with pytest.raises(SplitError, match=r"test, train.*split='validation'"):
            method("validation")


def test_the_manifest_is_the_last_file() -> None:
    files = list(manifest_files(MANIFEST))
    assert files[-1] == MANIFEST_NAME
    assert set(files) == {
        "features.json",
        "dataset_info.json",
        "label.labels.txt",
        MANIFEST_NAME,
    }
    assert manifest_files(MANIFEST)["label.labels.txt"] == b"ER\nGolgi\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 8},
        {"group_by": ()},
        {"rejects": {"empty": 3}},
        {"flagged": {"saturated": 1}},
        {"schema": dataclasses.replace(SCHEMA, channels=("rfp",))},
        {
            "splits": {
                **MANIFEST.splits,
                "test": (dataclasses.replace(MANIFEST.shards("test")[0], sha256="ab"),),
            }
        },
    ],
)
def test_the_digest_covers_everything(changes: dict[str, Any]) -> None:
    assert dataclasses.replace(MANIFEST, **changes).digest != MANIFEST.digest


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"must be a folder.*nowhere"):
        read_manifest(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="must be a folder"):
        read_manifest(tmp_path / "file")


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="build interrupted"):
        read_manifest(tmp_path)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, MANIFEST) / MANIFEST_NAME
    values = json.loads(path.read_bytes())
    path.write_text(json.dumps({**values, "format_version": 3}))
    with pytest.raises(RecordsError, match=r"format_version=3. Upgrade"):
        read_manifest(tmp_path)


def test_checksums_must_be_those_of_a_shard(tmp_path: Path) -> None:
    for checksums in ({}, {296: "aa"}, {296: "aa" * 4, -4: "aa" * 4}, {96: "aa" * 4}):
        shard = dataclasses.replace(MANIFEST.shards("test")[0], checksums=checksums)
        manifest = dataclasses.replace(MANIFEST, splits={"test": (shard,)})
        with pytest.raises(DamagedRecordsError, match="checksums"):
            read_manifest(write(tmp_path, manifest))


def test_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_text('{"format": "zarr"}')
    with pytest.raises(RecordsError, match="format='zarr'"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\xff", b'{"a"', b"[" * 100_000])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(DamagedRecordsError, match=MANIFEST_NAME):
        read_manifest(tmp_path)


def test_a_changed_manifest_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, MANIFEST) / MANIFEST_NAME
    path.write_text(path.read_text().replace('"num_crops": 5', '"num_crops": 6'))
    with pytest.raises(DamagedRecordsError, match="as it was written"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "name", ["../deeploc-train.tfrecord-00000-of-00001", "/etc/passwd", "train.tfrecord"]
)
def test_shards_cannot_lie_outside(tmp_path: Path, name: str) -> None:
    manifest = dataclasses.replace(MANIFEST, splits={"train": (ShardInfo(name, 1, 1, ""),)})
    with pytest.raises(DamagedRecordsError, match="shards of a split must be"):
        read_manifest(write(tmp_path, manifest))


def test_empty_splits_and_shards_are_refused(tmp_path: Path) -> None:
    empty = dataclasses.replace(MANIFEST.shards("test")[0], num_crops=0)
    for shards in ((), (empty,)):
        manifest = dataclasses.replace(MANIFEST, splits={"test": shards})
        with pytest.raises(DamagedRecordsError, match="none empty"):
            read_manifest(write(tmp_path, manifest))
    with pytest.raises(DamagedRecordsError, match="must have a split"):
        read_manifest(write(tmp_path, dataclasses.replace(MANIFEST, splits={})))


@pytest.mark.parametrize("split", ["", "all", "tr ain", "../train", "1st", "train-a"])
def test_bad_names_of_splits_are_refused(tmp_path: Path, split: str) -> None:
    with pytest.raises(SplitError, match="split="):
        check_split_name(split)
    manifest = dataclasses.replace(
        MANIFEST, splits={split: (ShardInfo(f"deeploc-{split}.tfrecord-00000-of-00001", 1, 1, ""),)}
    )
    with pytest.raises(SplitError, match="split="):
        read_manifest(write(tmp_path, manifest))


def test_every_flipped_or_cut_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    path = write(tmp_path, MANIFEST) / MANIFEST_NAME
    content = path.read_bytes()
    noticed = 0
    for i in range(len(content)):
        flipped = bytearray(content)
        flipped[i] ^= 1 << (i % 8)
        for damaged in (bytes(flipped), content[:i]):
            path.write_bytes(damaged)
            try:
                assert read_manifest(tmp_path) == MANIFEST
            except RecordsError:
                noticed += 1
    assert noticed > 1.5 * len(content)  # what is left: blanks between the values
