"""The user's own files beside and in a data set, and shards of another build of equal size."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shared import contents, run_cli

import tfrecords.manifest as manifest_module
from deeploc_tf.embedding.embed import embed
from deeploc_tf.profiles.tables.spill import Spill
from deeploc_tf.study.demo import demo
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.fit import fit
from deeploc_tf.training.run_folder import Run
from tfrecords.errors import DamagedRecordsError, OutputExistsError, RecordsError
from tfrecords.locking import locked
from tfrecords.manifest import Duplicates, read_manifest
from tfrecords.publishing import publishing_folder
from tfrecords.reader import read_serialized
from tfrecords.verify import verify


def a_file(name: str) -> Callable[[Path], None]:
    def put(records: Path) -> None:
        (records / name).write_text("mine")

    return put


def a_folder(name: str) -> Callable[[Path], None]:
    def put(records: Path) -> None:
        (records / name).mkdir()
        (records / name / "thesis.txt").write_text("mine")

    return put


MINE: dict[str, Callable[[Path], None]] = {
    "mine.tfrecord": a_file("mine.tfrecord"),
    "old.tfrecord.gz": a_file("old.tfrecord.gz"),
    "mine.tfrecords": a_folder("mine.tfrecords"),
    "deeploc-train.tfrecord-00007-of-00009": a_file("deeploc-train.tfrecord-00007-of-00009"),
    ".tfrecord-notes": a_file(".tfrecord-notes"),
    "flagged.jsonl": a_folder("flagged.jsonl"),
    "notes.txt": a_file("notes.txt"),
}


@pytest.mark.parametrize("mine", MINE)
def test_overwrite_refuses_a_folder_with_files_that_no_build_wrote(
    mine: str, tiny_records: Any, tmp_path: Path
) -> None:
    tiny_records.write(tmp_path / "records", seed=1)
    MINE[mine](tmp_path / "records")
    before = contents(tmp_path)
    with pytest.raises(OutputExistsError, match=re.escape(mine)):
        tiny_records.write(tmp_path / "records", overwrite=True)
    assert contents(tmp_path) == before


def test_overwrite_removes_what_the_manifest_lists_and_nothing_else(
    tiny_records: Any, tmp_path: Path
) -> None:
    tiny_records.write(tmp_path / "records", seed=1)
    tiny_records.write(tmp_path / "records", overwrite=True)
    assert read_manifest(tmp_path / "records").seed == 0
    assert [path.name for path in tmp_path.iterdir()] == ["records"]


@pytest.mark.parametrize("manifest", [None, "{}", "mine", "folder"])
def test_a_folder_without_a_manifest_is_never_overwritten(
    manifest: str | None, tiny_records: Any, tmp_path: Path
) -> None:
    records = tmp_path / "records"
    records.mkdir()
    (records / "deeploc-train.tfrecord-00000-of-00001").write_text("mine")
    if manifest == "folder":
        (records / "manifest.json").mkdir()
    elif manifest is not None:
        (records / "manifest.json").write_text(manifest)
    before = contents(tmp_path)
    with pytest.raises(OutputExistsError, match="manifest"):
        tiny_records.write(records, overwrite=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("late", ["before the end", "after the exchange"])
def test_what_the_user_adds_while_a_data_set_is_replaced_stays(
    late: str, tiny_records: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = tmp_path / "records"
    tiny_records.write(records, seed=1)
    if late == "before the end":
        with pytest.raises(OutputExistsError, match=r"mine\.tfrecord"):
            tiny_records.write(
                records,
                overwrite=True,
                progress=lambda count, _: a_file("mine.tfrecord")(records) if count == 12 else None,
            )
        assert read_manifest(records).seed == 1
        assert (records / "mine.tfrecord").read_text() == "mine"
    else:
        from tfrecords import workspace

        swap = workspace.exchange

        def exchange(first: Path, second: Path) -> bool:
            a_file("mine.tfrecord")(second)  # after it was looked at, before it was replaced
            return swap(first, second)

        monkeypatch.setattr(workspace, "exchange", exchange)
        tiny_records.write(records, overwrite=True)
        assert read_manifest(records).seed == 0
        (kept,) = tmp_path.rglob("mine.tfrecord")
        assert kept.read_text() == "mine"


FOLDERS: dict[str, Callable[[Path], None]] = {
    "empty": lambda folder: folder.mkdir(),
    "hidden files only": lambda folder: (folder / ".git").mkdir(parents=True),
    "called like ours, with other files": lambda folder: (folder / "batches/mine").mkdir(
        parents=True
    ),
    "a data set": lambda folder: (folder / "ready/mine.tfrecord").mkdir(parents=True),
}


@pytest.mark.parametrize("ending", ["mine", "0123456789abcdef", "17"])
@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_beside_the_output_that_no_build_made_stay(
    folder: str, ending: str, tiny_records: Any, tmp_path: Path
) -> None:
    mine = tmp_path / f"records.partial-{ending}"
    FOLDERS[folder](mine)
    before = sorted(str(path) for path in mine.rglob("*"))
    tiny_records.write(tmp_path / "records")
    assert sorted(str(path) for path in mine.rglob("*")) == before
    assert mine.is_dir() or ending != "mine"


def test_a_file_that_is_called_like_a_lock_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / ".records.lock").write_text("the combination of my bicycle")
    with (
        pytest.raises(OutputExistsError, match="lock"),
        locked(tmp_path / ".records.lock", "the records"),
    ):
        pytest.fail("it was taken for a lock")
    assert (tmp_path / ".records.lock").read_text() == "the combination of my bicycle"


def test_a_folder_that_is_called_like_a_temporary_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getpid", lambda: 17)
    (tmp_path / "model.partial-17").mkdir()
    a_file("mine.txt")(tmp_path / "model.partial-17")
    with publishing_folder(tmp_path / "model") as folder:
        (folder / "new").touch()
    assert (tmp_path / "model.partial-17/mine.txt").read_text() == "mine"
    assert (tmp_path / "model/new").exists()


def test_files_that_are_called_nearly_like_those_of_a_run_stay(tmp_path: Path) -> None:
    run = Run(tmp_path, FitConfig(), None, "")  # type: ignore[arg-type]
    mine = [tmp_path / ".mine.partial-draft.txt", tmp_path / ".mine.partial-7"]
    mine[0].write_text("mine")
    mine[1].mkdir()
    (tmp_path / ".model.partial-7.keras").touch()
    with run.alone():
        assert all(path.exists() for path in mine)
        assert not (tmp_path / ".model.partial-7.keras").exists()


@pytest.mark.parametrize("name", ["cells.h5.partial-mine", "cells.h5.partial-0123456789abcdef"])
def test_folders_beside_a_table_that_no_computation_made_stay(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / ".thesis").write_text("mine")
    (tmp_path / ".cells.partial-7.h5").mkdir()
    parts = Spill(tmp_path / "cells.h5", "1" * 64)
    with parts.opened():
        (parts.folder / "000000.part").touch()
        (parts.folder / "mine.txt").write_text("mine")
    assert (tmp_path / name / ".thesis").read_text() == "mine"
    assert [path.name for path in parts.folder.iterdir()] == ["mine.txt"]


def test_a_demo_does_not_write_over_files_of_others(tmp_path: Path) -> None:
    (tmp_path / "cells.parquet").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"cells\.parquet"):
        demo(tmp_path)
    assert contents(tmp_path) == {"cells.parquet": b"mine"}


# Shards of another build.

Damage = Callable[[Path, Path], None]


def copied(*names: str) -> Damage:
    def copy(records: Path, other: Path) -> None:
        for name in names:
            shutil.copy(other / name, records / name)

    return copy


def swapped(one: str, two: str) -> Damage:
    def swap(records: Path, _: Path) -> None:
        first, second = (records / one).read_bytes(), (records / two).read_bytes()
        (records / one).write_bytes(second)
        (records / two).write_bytes(first)

    return swap


TRAIN = ["deeploc-train.tfrecord-00000-of-00002", "deeploc-train.tfrecord-00001-of-00002"]
TEST = "deeploc-test.tfrecord-00000-of-00001"
FOREIGN: dict[str, Damage] = {
    "the first shard": copied(TRAIN[0]),
    "the last shard": copied(TRAIN[1]),
    "all of training": copied(*TRAIN),
    "the test shard": copied(TEST),
    "the manifest": copied("manifest.json"),
    "two shards of one split": swapped(*TRAIN),
    "two shards of two splits": swapped(TRAIN[0], TEST),
}


@pytest.fixture
def two_builds(tiny_records: Any, tmp_path: Path) -> tuple[Path, Path]:
    """The same crops twice, with other crops for the test."""
    tiny_records.write(tmp_path / "records")
    crops = {crop.key: crop for crop in tiny_records.crops}
    test = sorted(key for key, crop in crops.items() if crop.metadata["field"] == "3")[:4]
    entries = [
        dataclasses.replace(entry, split="test" if entry.key in test else "train")
        for entry in tiny_records.entries
    ]
    while sum(entry.split == "test" for entry in entries) < 4:
        row = next(i for i, entry in enumerate(entries) if entry.split == "train")
        entries[row] = dataclasses.replace(entries[row], split="test")
    tiny_records.write(tmp_path / "other", entries=entries, group_by=())
    records, other = tmp_path / "records", tmp_path / "other"
    for name in (*TRAIN, TEST):
        assert (records / name).stat().st_size == (other / name).stat().st_size
        assert (records / name).read_bytes() != (other / name).read_bytes()
    return records, other


@pytest.mark.parametrize("damage", FOREIGN)
def test_shards_of_another_build_are_refused_before_anything_is_read(
    damage: str, two_builds: tuple[Path, Path]
) -> None:
    records, other = two_builds
    FOREIGN[damage](records, other)
    run = records.with_name("run")
    for start in (
        lambda: verify(records),
        lambda: read_serialized(records, "train"),
        lambda: fit(records, run, FitConfig(epochs=1)),
        lambda: embed(run, records, records.with_name("cells.parquet")),
    ):
        with pytest.raises(DamagedRecordsError, match=r"another build|swapped"):
            start()
    assert not run.exists()


def test_two_shards_that_begin_and_end_alike_are_told_apart(
    tiny_records: Any, tmp_path: Path
) -> None:
    """One crop moves from the middle of the training to the test, and one comes in its place."""
    tiny_records.write(tmp_path / "records", shard_bytes=1 << 20)
    (name,) = (shard.name for shard in read_manifest(tmp_path / "records").shards("train"))
    keys = [
        key
        for record in read_serialized(tmp_path / "records", "train").as_numpy_iterator()
        for key in [next(c.key for c in tiny_records.crops if c.key.encode() in record)]
    ]
    out = keys[3]
    into = next(crop.key for crop in tiny_records.crops if tiny_records.split(crop) == "test")
    to = {out: "test", into: "train"}
    entries = [
        dataclasses.replace(entry, split=to.get(entry.key, entry.split))
        for entry in tiny_records.entries
    ]
    tiny_records.write(tmp_path / "other", entries=entries, group_by=(), shard_bytes=1 << 20)
    assert (tmp_path / "other" / name).stat().st_size == (
        (tmp_path / "records" / name).stat().st_size
    )
    shutil.copy(tmp_path / "other" / name, tmp_path / "records" / name)
    with pytest.raises(DamagedRecordsError, match=r"another build|swapped"):
        verify(tmp_path / "records")


def test_a_program_of_version_1_refuses_version_2(
    tiny_records: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_records.write(tmp_path / "records")
    values = json.loads((tmp_path / "records/manifest.json").read_text("utf-8"))
    assert values["format_version"] == 2
    monkeypatch.setattr(manifest_module, "FORMAT_VERSION", 1)  # and so its rule
    with pytest.raises(
        RecordsError, match=r"formats 1 to 1\. Received: format_version=2\. Upgrade"
    ):
        verify(tmp_path / "records")


def test_data_sets_of_version_1_are_shown_to_be_without_digests() -> None:
    records = str(Path(__file__).parent / "golden/records_v1/crops")
    shown = run_cli("inspect", records).output
    assert "format    1 (without digests" in shown
    assert "nobody looked for equal crops" in shown
    values = json.loads(run_cli("inspect", records, "--json").output)
    assert (values["format_version"], values["duplicates"]) == (1, None)
    for arguments in ([], ["--deep", "--quiet"]):
        done = run_cli("verify", records, *arguments)
        assert done.exit_code == 0
        assert "without digests" in done.output


def test_data_sets_of_version_2_say_nothing_of_the_kind(tiny_records: Any, tmp_path: Path) -> None:
    tiny_records.write(tmp_path / "records")
    for command in ("inspect", "verify"):
        shown = run_cli(command, tmp_path / "records").output
        assert "without digests" not in shown
    assert "names, sizes and some checksums checked" in shown
    assert read_manifest(tmp_path / "records").duplicates == Duplicates()
