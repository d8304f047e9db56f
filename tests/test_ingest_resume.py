"""Builds that stop and go on, several processes that read, and files that change meanwhile."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from shared import contents, names

from deeploc_tf.ingest import build_records
from deeploc_tf.sources import CellTable, FieldSource, FolderSource, SourceError
from deeploc_tf.sources.formats.tiff import TIFF
from tfrecords.manifest import read_manifest

PATTERN = "{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif"
CONDITIONS = {"test": [("field", "4")], "validation": [("field", "3")]}
BATCH_BYTES = 5 * (6 * 5 * 2 * 2 + 128)


class Counting(FolderSource):
    """Says which crops are read, and can stop at one."""

    def __init__(self, root: Path, stop_at: int | None = None) -> None:
        super().__init__(root, PATTERN, ["gfp", "rfp"])
        self.was_read: list[int] = []
        self.stop_at = stop_at

    def read(self, position: int) -> Any:
        if len(self.was_read) == self.stop_at:
            raise KeyboardInterrupt
        self.was_read.append(position)
        return super().read(position)


class Endless(FolderSource):
    """In a worker, the last crop is never there."""

    def read(self, position: int) -> Any:
        if position == 15 and multiprocessing.parent_process() is not None:
            threading.Event().wait()
        return super().read(position)


def build(source: Any, output: Path, **options: Any) -> Any:
    """With batches of five crops, on disk."""
    options = {"conditions": CONDITIONS, "batch_bytes": BATCH_BYTES, **options}
    return build_records(source, output, label="protein", **options)


@pytest.fixture
def crops(write_crops: Callable[..., Path]) -> Path:
    return write_crops()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def whole(crops: Path, tmp_path: Path) -> dict[str, bytes]:
    """What a build ends in that nothing disturbs."""
    build(Counting(crops), tmp_path / "whole")
    return contents(tmp_path / "whole")


def stopped(crops: Path, home: Path, after: int) -> None:
    """Build until so many crops were read; one more than that was read for its shape."""
    with pytest.raises(KeyboardInterrupt) as caught:
        build(Counting(crops, stop_at=after + 1), home / "records")
    assert any("same command again" in note for note in caught.value.__notes__)
    assert [name.split("-")[0] for name in names(home)] == ["records.partial"]


def test_a_rerun_reads_only_what_is_missing(
    crops: Path, home: Path, whole: dict[str, bytes]
) -> None:
    stopped(crops, home, after=12)
    source = Counting(crops)
    steps: list[int] = []
    build(source, home / "records", progress=lambda count, _: steps.append(count))
    assert source.was_read[1:] == list(range(10, 16))  # the first tells the shape
    assert steps == list(range(11, 17))
    assert contents(home / "records") == whole
    assert names(home) == ["records"]


def test_with_nothing_whole_nothing_is_kept(crops: Path, home: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(Counting(crops, stop_at=3), home / "records")
    assert names(home) == []


def test_another_build_begins_anew(crops: Path, home: Path) -> None:
    stopped(crops, home, after=12)
    source = Counting(crops)
    build(source, home / "records", seed=1)
    assert len(source.was_read) == 17
    assert names(home) == ["records"]


def test_a_batch_that_was_damaged_is_read_again(
    crops: Path, home: Path, whole: dict[str, bytes]
) -> None:
    """As a loss of power may leave it."""
    for name, at in (("000000.frames", 100), ("000001.index", 20)):
        stopped(crops, home, after=12)
        (path,) = home.glob(f"*/batches/{name}")
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)
        source = Counting(crops)
        build(source, home / "records")
        assert len(source.was_read) == 12
        assert contents(home / "records") == whole
        shutil.rmtree(home / "records")


def test_a_batch_whose_files_changed_is_read_again(
    crops: Path, home: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    stopped(crops, home, after=12)
    tifffile.imwrite(crops / "AAC1/AAC1_1_rfp_1_gfp.tif", np.ones((6, 5), np.uint16))
    build(Counting(crops), home / "records")
    assert contents(home / "records") != whole
    build(Counting(crops), tmp_path / "anew")
    assert contents(home / "records") == contents(tmp_path / "anew")


def test_without_the_stamps_an_old_crop_is_kept(
    crops: Path, home: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check removed: the records hold pixels that no file has any more."""
    monkeypatch.setattr("deeploc_tf.ingest.reading._stamp_of", lambda _: 0)
    stopped(crops, home, after=12)
    tifffile.imwrite(crops / "AAC1/AAC1_1_rfp_1_gfp.tif", np.ones((6, 5), np.uint16))
    build(Counting(crops), home / "records")
    found = contents(home / "records")
    assert found.pop("inputs.sha256") != whole["inputs.sha256"]  # of the files as they are now
    assert found == {n: content for n, content in whole.items() if n != "inputs.sha256"}


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_change_no_byte(
    crops: Path, home: Path, whole: dict[str, bytes], workers: int
) -> None:
    steps: list[int] = []
    source = FolderSource(crops, PATTERN, ["gfp", "rfp"])
    build(source, home / "records", workers=workers, progress=lambda count, _: steps.append(count))
    assert contents(home / "records") == whole
    assert steps == sorted(steps)
    assert steps[-1] == 16
    assert names(home) == ["records"]


def test_workers_go_on_where_one_process_stopped(
    crops: Path, home: Path, whole: dict[str, bytes]
) -> None:
    stopped(crops, home, after=12)
    steps: list[int] = []
    source = FolderSource(crops, PATTERN, ["gfp", "rfp"])
    build(source, home / "records", workers=2, progress=lambda count, _: steps.append(count))
    assert steps in ([11, 16], [15, 16])  # ten were read before
    assert contents(home / "records") == whole


def test_an_error_in_a_worker_is_told_as_by_one_process(crops: Path, home: Path) -> None:
    bad = crops / "AAH1/AAH1_2_rfp_1_rfp.tif"
    bad.write_bytes(b"no image")
    for workers in (1, 2):
        source = FolderSource(crops, PATTERN, ["gfp", "rfp"])
        with pytest.raises(SourceError, match=r"Received: .*AAH1_2_rfp_1_rfp\.tif") as caught:
            build(source, home / str(workers), workers=workers)
        assert any("Crop: 'AAH1/AAH1_2_rfp_1'" in note for note in caught.value.__notes__)
    assert not [name for name in names(home) if "partial" not in name]


def test_a_worker_that_dies_ends_the_build(
    crops: Path, home: Path, whole: dict[str, bytes]
) -> None:
    def kill(*_: object) -> None:
        for process in multiprocessing.active_children():
            os.kill(process.pid or 0, signal.SIGKILL)

    source = Endless(crops, PATTERN, ["gfp", "rfp"])
    with pytest.raises(ChildProcessError, match=r"exit code -9\D* in batch \d .*AA.1/AA.1_\d"):
        build(source, home / "records", workers=2, progress=kill)
    assert multiprocessing.active_children() == []
    build(Counting(crops), home / "records")
    assert contents(home / "records") == whole


def test_workers_end_with_a_build_that_fails(crops: Path, home: Path) -> None:
    """At once, not when somebody lets go of the error."""

    def fail(*_: object) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError) as caught:
        build(Endless(crops, PATTERN, ["gfp", "rfp"]), home / "records", workers=2, progress=fail)
    assert caught.value.__traceback__ is not None
    assert multiprocessing.active_children() == []


def test_remains_without_a_reader_are_no_data_set(crops: Path, home: Path) -> None:
    stopped(crops, home, after=12)
    (partial,) = home.iterdir()
    with pytest.raises(ValueError, match="without one"):
        read_manifest(partial)


@pytest.fixture
def changing(crops: Path) -> Counting:
    """A source of which one file is written again after it was read."""

    class Changing(Counting):
        def read(self, position: int) -> Any:
            if position == 14:
                path = crops / "AAC1/AAC1_1_rfp_1_gfp.tif"
                os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
            return super().read(position)

    return Changing(crops)


def test_a_file_that_changes_while_others_are_read_is_refused(
    changing: Counting, home: Path
) -> None:
    with pytest.raises(SourceError, match=r"AAC1/AAC1_1_rfp_1_gfp.tif.* \(1 such crops\)"):
        build(changing, home / "records")
    assert not (home / "records").exists()
    source = Counting(changing.root)
    build(source, home / "records")
    assert source.was_read[1:] == list(range(5))


def test_a_file_that_changes_after_it_was_opened_is_refused(
    crops: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stamp is from before the first byte was read, not from when the pixels were there."""
    path = crops / "AAC1/AAC1_1_rfp_1_gfp.tif"
    old = path.read_bytes()

    def decode(data: bytes, max_pixels: int, name: str) -> Any:
        if data == old:
            os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
        return TIFF.decode(data, max_pixels, name)

    changing = dataclasses.replace(TIFF, decode=decode)
    monkeypatch.setattr("deeploc_tf.sources.images.format_of", lambda head: changing)
    with pytest.raises(SourceError, match=r"AAC1/AAC1_1_rfp_1_gfp.tif.* \(1 such crops\)"):
        build(Counting(crops), home / "records")


@pytest.mark.parametrize("overridden", [True, False])
def test_whoever_changes_what_a_source_reads_is_heard(
    crops: Path, home: Path, overridden: bool
) -> None:
    """Pixels that were made anew have lost the status of their files, and are stamped by name."""

    class Inverted(Counting):
        def read(self, position: int) -> Any:
            pixels = super().read(position)
            return (2**16 - 1 - pixels[0], pixels[1]) if overridden else pixels

    source = Inverted(crops)
    build(source, home / "records")
    assert len(source.was_read) == 1 + len(source.index())  # none twice; one for the shape
    build(FolderSource(crops, PATTERN, ["gfp", "rfp"]), home / "plain")
    assert (contents(home / "records") == contents(home / "plain")) == (not overridden)


def test_a_field_that_changes_while_it_is_open_is_read_again_by_every_batch(
    home: Path, tmp_path: Path
) -> None:
    """Its crops lie in two batches; the second gets the old pixels after the new file is there."""
    fields = tmp_path / "fields"
    fields.mkdir()
    rows = [f"a,{20 * i + 20},20,P{i % 2}" for i in range(12)]
    (fields / "cells.csv").write_text("\n".join(["field,x,y,protein", *rows]) + "\n")

    def draw(offset: int) -> None:
        pixels = np.arange(40 * 260, dtype=np.uint16).reshape(40, 260) + np.uint16(offset)
        for channel in ("gfp", "rfp"):
            tifffile.imwrite(fields / f"a_{channel}.tif", pixels)
            os.utime(fields / f"a_{channel}.tif", ns=(0, offset + 1))

    class Fields(FieldSource):
        changes_at: int | None = None

        def read(self, position: int) -> Any:
            if position == self.changes_at:
                draw(7)
            return super().read(position)

    def source() -> Fields:
        return Fields(
            fields, "{field}_{channel}.tif", ["gfp", "rfp"],
            cells=CellTable(fields / "cells.csv"), crop_size=6,
        )  # fmt: skip

    draw(0)
    changing = source()
    changing.changes_at = 2  # in the first batch
    with pytest.raises(SourceError, match=r"another size or time of .*\(12 such crops\)"):
        build_records(changing, home / "records", label="protein", batch_bytes=BATCH_BYTES)
    build_records(source(), home / "records", label="protein", batch_bytes=BATCH_BYTES)
    build_records(source(), tmp_path / "anew", label="protein", batch_bytes=BATCH_BYTES)
    assert contents(home / "records") == contents(tmp_path / "anew")
