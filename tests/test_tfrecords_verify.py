from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfrecords.plan
import tfrecords.reader
import tfrecords.verify
from tfrecords.errors import DamagedRecordsError, DuplicateKeyError, RecordsError, SplitError
from tfrecords.framing import records as framed_records
from tfrecords.manifest import Manifest, ShardInfo, manifest_files, read_manifest
from tfrecords.reader import Place
from tfrecords.schema import Crop, Schema
from tfrecords.verify import verify, verify_deep

FIRST = "deeploc-train.tfrecord-00000-of-00002"
SECOND = "deeploc-train.tfrecord-00001-of-00002"
TEST = "deeploc-test.tfrecord-00000-of-00001"


@pytest.fixture
def records(tiny_records: Any, tmp_path: Path) -> Path:
    tiny_records.write(tmp_path / "records")
    return tmp_path / "records"


def offsets(content: bytes) -> list[int]:
    """Where each record of a shard begins, and where the last one ends."""
    found = [0]
    while found[-1] < len(content):
        (length,) = struct.unpack_from("<Q", content, found[-1])
        found.append(found[-1] + 12 + length + 4)
    return found


def count_by_tensorflow(records: Path, split: str) -> int:
    """What plain TensorFlow finds, which does not know how many there should be."""
    files = sorted(str(path) for path in records.glob(f"deeploc-{split}.tfrecord-*"))
    return sum(1 for _ in tf.data.TFRecordDataset(files))


def test_a_whole_data_set_passes(records: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert verify(records) == read_manifest(records)
    assert verify(str(records)) == verify_deep(
        str(records), lambda done, total: seen.append((done, total))
    )
    assert seen == [(done, 12) for done in range(1, 13)]


def test_a_data_set_may_move_and_have_other_files(records: Path) -> None:
    (records / "README.txt").write_text("notes")
    moved = records.rename(records.with_name("moved"))
    verify_deep(moved)


def cut_between_records(shard: Path) -> None:
    content = shard.read_bytes()
    shard.write_bytes(content[: offsets(content)[3]])


def cut_in_a_header(shard: Path) -> None:
    content = shard.read_bytes()
    shard.write_bytes(content[: offsets(content)[3] + 8])


def empty(shard: Path) -> None:
    shard.write_bytes(b"")


def remove(shard: Path) -> None:
    shard.unlink()


SILENT = {
    "cut between records": (cut_between_records, 7),
    "cut in a header": (cut_in_a_header, 7),
    "empty": (empty, 4),
    "missing": (remove, 4),
}


@pytest.mark.parametrize("fault", SILENT)
def test_faults_that_tensorflow_does_not_see(records: Path, fault: str) -> None:
    damage, left = SILENT[fault]
    damage(records / SECOND)
    assert count_by_tensorflow(records, "train") == left
    for check in (verify, verify_deep):
        with pytest.raises(DamagedRecordsError, match=SECOND):
            check(records)


def test_only_the_sizes_stand_against_a_cut_shard(
    records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_between_records(records / SECOND)
    monkeypatch.setattr(tfrecords.verify, "check_shards", lambda *_: None)
    verify(records)


def test_a_shard_that_is_no_file_is_refused(records: Path) -> None:
    (records / SECOND).unlink()
    (records / SECOND).mkdir()
    with pytest.raises(DamagedRecordsError, match=SECOND):
        verify(records)


@pytest.mark.parametrize(
    "name",
    ["deeploc-train.tfrecord-00002-of-00003", "deeploc-validation.tfrecord-00000-of-00001"],
)
def test_foreign_shards_are_refused(records: Path, name: str) -> None:
    (records / name).write_bytes((records / FIRST).read_bytes())
    with pytest.raises(DamagedRecordsError, match=f"no shards but its own.*{name}"):
        verify(records)


def test_a_shard_of_another_build_is_refused(
    tiny_records: Any, records: Path, tmp_path: Path
) -> None:
    tiny_records.write(tmp_path / "other", seed=1)
    (records / FIRST).write_bytes((tmp_path / "other" / FIRST).read_bytes())
    for check in (verify, verify_deep):
        with pytest.raises(DamagedRecordsError, match=f"{FIRST}.*of another build"):
            check(records)


def test_swapped_shards_are_named(records: Path) -> None:
    first, second = (records / FIRST).read_bytes(), (records / SECOND).read_bytes()
    assert len(first) == len(second)
    (records / FIRST).write_bytes(second)
    (records / SECOND).write_bytes(first)
    assert count_by_tensorflow(records, "train") == 8
    for check in (verify, verify_deep):
        with pytest.raises(DamagedRecordsError, match=f"of {SECOND} in {FIRST}. Were they swap"):
            check(records)


def test_swapped_records_are_noticed(records: Path) -> None:
    content = (records / FIRST).read_bytes()
    a, b, c, *_ = offsets(content)
    (records / FIRST).write_bytes(content[b:c] + content[a:b] + content[c:])
    assert count_by_tensorflow(records, "train") == 8
    with pytest.raises(DamagedRecordsError, match=f"{FIRST}.*records were changed"):
        verify(records)
    rewrite(records, without_checksums)
    with pytest.raises(DamagedRecordsError, match=f"{FIRST}.*order was changed"):
        verify_deep(records)


@pytest.mark.parametrize("index", [0, 2, 3])
@pytest.mark.parametrize("place", ["pixels", "checksum", "length"])
def test_a_flipped_bit_is_named_by_shard_record_and_offset(
    records: Path, index: int, place: str
) -> None:
    content = bytearray((records / SECOND).read_bytes())
    start = offsets(bytes(content))[index]
    content[start + {"length": 0, "checksum": 9, "pixels": 200}[place]] ^= 1
    (records / SECOND).write_bytes(content)
    verify(records)
    with pytest.raises(DamagedRecordsError) as error:
        verify_deep(records)
    assert f"shard {SECOND}, record {index}, byte {start}" in str(error.value)


def test_every_flipped_or_cut_byte_of_a_shard_is_noticed(records: Path) -> None:
    content = (records / TEST).read_bytes()
    for i in range(0, len(content), 53):
        flipped = bytearray(content)
        flipped[i] ^= 1 << (i % 8)
        (records / TEST).write_bytes(flipped)
        with pytest.raises(DamagedRecordsError, match=TEST):
            verify_deep(records)
        (records / TEST).write_bytes(content[:i])
        with pytest.raises(DamagedRecordsError, match=TEST):
            verify(records)


def rewrite(records: Path, change: Callable[[Manifest], Manifest]) -> None:
    """A manifest that is whole, but says something else than the shards."""
    for name, content in manifest_files(change(read_manifest(records))).items():
        (records / name).write_bytes(content)


def without_checksums(manifest: Manifest) -> Manifest:
    """As a data set of format 1, of which the quick check knows names and sizes only."""
    splits = {
        split: tuple(dataclasses.replace(shard, checksums={}) for shard in shards)
        for split, shards in manifest.splits.items()
    }
    return dataclasses.replace(manifest, splits=splits, duplicates=None, format_version=1)


def test_a_label_out_of_range_is_named(records: Path) -> None:
    rewrite(records, name_fewer_classes)
    with pytest.raises(
        DamagedRecordsError, match=r"\[0, 1\).*Key: 'AAC.*shard deeploc-.*, record \d, byte \d+"
    ):
        verify_deep(records)


def test_another_count_of_records_is_named(records: Path) -> None:
    rewrite(records, promise_more)
    with pytest.raises(DamagedRecordsError, match=f"4 in {TEST}, expected 5"):
        verify_deep(records)


@pytest.mark.parametrize("what", ["label", "protein"])
def test_other_counts_of_labels_or_proteins_are_named(records: Path, what: str) -> None:
    def other(manifest: Manifest) -> Manifest:
        counts = {**manifest.counts["train"], what: {"cytoplasm": 1}}
        return dataclasses.replace(manifest, counts={**manifest.counts, "train": counts})

    rewrite(records, other)
    with pytest.raises(DamagedRecordsError, match=f"each {what}.*split 'train'"):
        verify_deep(records)


def damage_an_example(records: Path) -> None:
    """A shard of one record, whole and of the digest in the manifest, which is no crop."""
    path = records / TEST
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(tf.train.Example().SerializeToString())

    def fitting(manifest: Manifest) -> Manifest:
        content = path.read_bytes()
        checksums = {len(content) - 4: content[-4:].hex()}
        shard = ShardInfo(TEST, 1, len(content), hashlib.sha256(content).hexdigest(), checksums)
        return dataclasses.replace(manifest, splits={**manifest.splits, "test": (shard,)})

    rewrite(records, fitting)


def test_bytes_that_are_no_crop_are_named(records: Path) -> None:
    damage_an_example(records)
    with pytest.raises(DamagedRecordsError, match=f"every feature.*shard {TEST}, record 0, byte 0"):
        verify_deep(records)


def change_counts(manifest: Manifest) -> Manifest:
    counts = {**manifest.counts["test"], "label": {"cytoplasm": 1}}
    return dataclasses.replace(manifest, counts={**manifest.counts, "test": counts})


def promise_more(manifest: Manifest) -> Manifest:
    (shard,) = manifest.shards("test")
    shards = (dataclasses.replace(shard, num_crops=shard.num_crops + 1),)
    return dataclasses.replace(manifest, splits={**manifest.splits, "test": shards})


def name_fewer_classes(manifest: Manifest) -> Manifest:
    schema = dataclasses.replace(manifest.schema, label_names=("cytoplasm",))
    return dataclasses.replace(manifest, schema=schema)


@pytest.mark.parametrize(
    ("damage", "takes_out"),
    [
        (change_counts, "counts"),
        (promise_more, "number"),
        (name_fewer_classes, "crops"),
        (None, "crops"),
    ],
)
def test_only_their_checks_stand_against_manifests_that_say_something_else(
    records: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Manifest], Manifest] | None,
    takes_out: str,
) -> None:
    if damage is None:
        damage_an_example(records)
    else:
        rewrite(records, damage)
    with pytest.raises(DamagedRecordsError):
        verify_deep(records)

    def unchecked(content: bytes, split: str, shard: ShardInfo) -> Iterator[tuple[Place, bytes]]:
        for number, (start, stop) in enumerate(framed_records(content)):
            yield Place(split, shard.name, number, start), content[start:stop]

    def undecoded(record: bytes, _: Schema) -> Crop:
        return Crop(str(hash(record)), np.zeros((1, 1, 1), np.uint8))

    if takes_out == "number":
        monkeypatch.setattr(tfrecords.reader, "framed", unchecked)
    if takes_out == "crops":
        monkeypatch.setattr(tfrecords.reader, "decode", undecoded)
        monkeypatch.setattr(tfrecords.verify, "check_one_split", lambda *_: None)
    if takes_out in ("counts", "crops"):  # without crops there are none to count
        monkeypatch.setattr(tfrecords.verify, "_check_counts", lambda *_: None)
    verify_deep(records)


def write_doubled(tiny_records: Any, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tfrecords.plan, "check_unique_keys", lambda _: None)
        tiny_records.write(
            output,
            entries=[*tiny_records.entries, tiny_records.entries[4]],
            crops=[*tiny_records.crops, tiny_records.crops[4]],
        )


def test_a_duplicate_key_is_named_with_both_places(
    tiny_records: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_doubled(tiny_records, tmp_path / "records", monkeypatch)
    verify(tmp_path / "records")
    with pytest.raises(
        DuplicateKeyError, match=r"key='AAC1/2' twice, in shard .*byte \d+ and in shard .*byte \d+"
    ):
        verify_deep(tmp_path / "records")


def test_only_the_check_stands_against_a_duplicate_key(
    tiny_records: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_doubled(tiny_records, tmp_path / "records", monkeypatch)
    monkeypatch.setattr(tfrecords.verify, "check_new_key", lambda *_: None)
    verify_deep(tmp_path / "records")


def test_a_group_in_two_splits_is_named(tiny_records: Any, tmp_path: Path) -> None:
    tiny_records.write(tmp_path / "records", group_by=("protein",))
    verify(tmp_path / "records")
    with pytest.raises(SplitError, match=r"group=\('AAC\d',\) in test \(shard .* and in train"):
        verify_deep(tmp_path / "records")


def test_only_the_check_stands_against_a_leak(
    tiny_records: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_records.write(tmp_path / "records", group_by=("protein",))
    monkeypatch.setattr(tfrecords.verify, "check_one_split", lambda *_: None)
    verify_deep(tmp_path / "records")


def test_groups_are_the_values_of_all_columns_together(tiny_records: Any, tmp_path: Path) -> None:
    tiny_records.write(tmp_path / "records", group_by=("protein", "field"))
    verify_deep(tmp_path / "records")


def test_without_groups_there_is_no_leak(tiny_records: Any, tmp_path: Path) -> None:
    tiny_records.write(tmp_path / "records", group_by=())
    verify_deep(tmp_path / "records")


def test_no_data_set_is_refused(tmp_path: Path) -> None:
    for check in (verify, verify_deep):
        with pytest.raises(RecordsError, match="build interrupted"):
            check(tmp_path)
        with pytest.raises(FileNotFoundError):
            check(tmp_path / "nowhere")
