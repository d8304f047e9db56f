"""Faults that reading records must survive; see docs/reliability.md.

For each fault: it is caught, and with the check that catches it taken out, it passes.
"""

from __future__ import annotations

import dataclasses
import errno
import gzip
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

import tfrecords.manifest
import tfrecords.reader
import tfrecords.retrying
import tfrecords.verify
from deeploc_tf.embedding.embed import embed
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.fit import fit
from tfrecords.errors import DamagedRecordsError, RecordsError
from tfrecords.framing import records as framed_records
from tfrecords.manifest import Manifest, manifest_files, read_manifest
from tfrecords.reader import read_serialized
from tfrecords.verify import verify, verify_deep

FIRST = "deeploc-train.tfrecord-00000-of-00002"
SECOND = "deeploc-train.tfrecord-00001-of-00002"


@pytest.fixture
def records(tiny_records: Any, tmp_path: Path) -> Path:
    tiny_records.write(tmp_path / "records")
    return tmp_path / "records"


def offsets(content: bytes) -> list[int]:
    """Where each record of a shard begins, and where the last one ends."""
    return [0, *(stop + 4 for _, stop in framed_records(content))]


def change(name: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def apply(records: Path) -> None:
        path = records / name
        path.write_bytes(edit(path.read_bytes()))

    return apply


def flip(at: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def swap_shards(records: Path) -> None:
    (records / FIRST).rename(records / "kept")
    (records / SECOND).rename(records / FIRST)
    (records / "kept").rename(records / SECOND)


def swap_records(content: bytes) -> bytes:
    a, b, c, *_ = offsets(content)
    return content[b:c] + content[a:b] + content[c:]


def add_shard(records: Path) -> None:
    shutil.copy(records / FIRST, records / "deeploc-train.tfrecord-00002-of-00003")


# What TensorFlow alone reads without a word, and the number of crops that it finds of 8.
QUICK: dict[str, tuple[Callable[[Path], None], int | None]] = {
    "cut between records": (change(SECOND, lambda c: c[: offsets(c)[3]]), 7),
    "cut in a header": (change(SECOND, lambda c: c[: offsets(c)[3] + 5]), 7),
    "empty": (change(SECOND, lambda _: b""), 4),
    "removed": (lambda records: (records / SECOND).unlink(), None),
    "foreign": (add_shard, 12),
    "doubled": (change(SECOND, lambda c: c + c), 12),
    "a tail": (change(SECOND, lambda c: c + bytes(5)), None),
    "compressed": (change(SECOND, gzip.compress), None),
}
DEEP: dict[str, Callable[[Path], None]] = {
    "swapped shards": swap_shards,
    "swapped records": change(SECOND, swap_records),
    "pixels flipped": change(SECOND, flip(200)),
    "length flipped": change(SECOND, flip(1)),
    "checksum flipped": change(SECOND, flip(9)),
}


def by_tensorflow(records: Path) -> int:
    files = sorted(str(path) for path in records.glob("deeploc-train.tfrecord-*"))
    return sum(1 for _ in tf.data.TFRecordDataset(files))


@pytest.mark.parametrize("fault", QUICK)
def test_the_quick_check_stops_fit_and_embed(records: Path, fault: str) -> None:
    damage, found = QUICK[fault]
    damage(records)
    if found is not None:
        assert by_tensorflow(records) == found
    shard = "00002-of-00003" if fault == "foreign" else SECOND
    run = records.with_name("run")
    for start in (
        lambda: verify(records),
        lambda: verify_deep(records),
        lambda: fit(records, run, FitConfig(epochs=1)),
        lambda: embed(run, records, records.with_name("cells.parquet")),
    ):
        with pytest.raises(DamagedRecordsError, match=shard):
            start()
    assert not run.exists()


@pytest.mark.parametrize("fault", QUICK)
def test_without_the_quick_check_they_pass(
    records: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage, _ = QUICK[fault]
    damage(records)
    monkeypatch.setattr(tfrecords.verify, "check_shards", lambda *_: None)
    verify(records)


@pytest.mark.parametrize("fault", DEEP)
def test_the_deep_check_names_shard_record_and_byte(records: Path, fault: str) -> None:
    DEEP[fault](records)
    if "swapped" not in fault:  # which the quick check sees
        verify(records)
    with pytest.raises(DamagedRecordsError, match=FIRST if "shards" in fault else SECOND) as caught:
        verify_deep(records)
    if "flipped" in fault:
        assert f"shard {SECOND}, record 0, byte 0" in str(caught.value)


@pytest.mark.parametrize("fault", ["swapped shards", "swapped records"])
def test_only_checksums_and_digest_stand_against_a_swap(
    records: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    DEEP[fault](records)
    assert by_tensorflow(records) == 8
    monkeypatch.setattr(tfrecords.manifest, "_check_checksums", lambda *_: None)
    with pytest.raises(DamagedRecordsError):
        verify_deep(records)
    monkeypatch.setattr(tfrecords.verify, "_check_digest", lambda *_: None)
    verify_deep(records)


def test_only_the_checksums_stand_against_other_pixels(
    records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    DEEP["pixels flipped"](records)
    monkeypatch.setattr(tfrecords.verify, "_check_digest", lambda *_: None)
    with pytest.raises(DamagedRecordsError, match="checksum"):
        verify_deep(records)

    def unchecked(content: bytes) -> Any:
        offset = 0
        while offset < len(content):
            (length,) = struct.unpack_from("<Q", content, offset)
            yield offset + 12, offset + 12 + length
            offset += 16 + length

    monkeypatch.setattr(tfrecords.reader, "framed_records", unchecked)
    verify_deep(records)


@pytest.mark.parametrize("fault", ["removed", "foreign", "renamed", "of another build"])
def test_other_shards_are_refused(
    tiny_records: Any, records: Path, tmp_path: Path, fault: str
) -> None:
    if fault == "renamed":
        (records / SECOND).rename(records / SECOND.replace("train", "validation"))
    elif fault == "of another build":
        tiny_records.write(tmp_path / "other", seed=1)
        shutil.copy(tmp_path / "other" / SECOND, records / SECOND)
    else:
        QUICK[fault][0](records)
    with pytest.raises(DamagedRecordsError):
        verify_deep(records)
    with pytest.raises(DamagedRecordsError):
        read_serialized(records, "train")


def test_a_newer_format_is_refused(records: Path) -> None:
    newer = dataclasses.replace(read_manifest(records), format_version=99)
    (records / "manifest.json").write_bytes(manifest_files(newer)["manifest.json"])
    for start in (
        lambda: verify(records),
        lambda: fit(records, records.with_name("run"), FitConfig(epochs=1)),
    ):
        with pytest.raises(RecordsError, match=r"format_version=99\. Upgrade"):
            start()


def test_a_manifest_that_was_edited_is_refused(
    records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = records / "manifest.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(DamagedRecordsError, match="as it was written"):
        verify(records)
    monkeypatch.setattr(Manifest, "digest", path.read_text().rpartition('": "')[2][:64])
    verify(records)  # only the digest stands against it


def test_a_disk_that_fails_for_a_moment_is_asked_again(
    records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_bytes = Path.read_bytes
    failures: dict[str, list[int]] = {}

    def flaky(path: Path) -> bytes:
        left = failures.setdefault(path.name, [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
        if left:
            raise OSError(left.pop(), "for a moment")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", flaky)
    monkeypatch.setattr(tfrecords.retrying, "_WAITS", (0, 0, 0))
    verify(records)
    assert failures == {"manifest.json": []}
    verify_deep(records)
    assert {FIRST, SECOND} < set(failures)
    assert not any(failures.values())


def test_what_reads_by_tensorflow_is_called_again(
    records: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str]
) -> None:
    failures = [
        tf.errors.UnknownError(None, None, f"shard; {os.strerror(errno.EIO)}\n\t [[Next]]"),
        tf.errors.DeadlineExceededError(None, None, f"shard; {os.strerror(errno.ETIMEDOUT)}"),
    ]

    @tfrecords.retrying.retrying
    def reading(folder: Path, *, split: str) -> tuple[Path, str]:
        if failures:
            raise failures.pop(0)
        return folder, split

    monkeypatch.setattr(tfrecords.retrying, "_WAITS", (0, 0, 0))
    assert reading(records, split="test") == (records, "test")
    assert [note.count("\n") for note in notes] == [0, 0]
    failures.append(tf.errors.DataLossError(None, None, "corrupted record at 12"))
    with pytest.raises(tf.errors.DataLossError):
        reading(records, split="test")
    failures += [tf.errors.UnknownError(None, None, os.strerror(errno.EIO))] * 9
    with pytest.raises(tf.errors.UnknownError):
        reading(records, split="test")
    assert len(failures) == 5


def test_it_is_asked_a_few_times_only(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[Path] = []

    def failing(path: Path) -> bytes:
        tries.append(path)
        raise OSError(errno.EIO, "for ever")

    monkeypatch.setattr(Path, "read_bytes", failing)
    monkeypatch.setattr(tfrecords.retrying, "_WAITS", (0, 0, 0))
    with pytest.raises(OSError, match="for ever"):
        verify(records)
    assert len(tries) == 4
