"""Our frames are those of TensorFlow, and any change of a byte in them is seen."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tfrecords.errors import DamagedRecordsError, RecordsError
from tfrecords.framing import frame, records
from tfrecords.manifest import MANIFEST_NAME
from tfrecords.verify import verify_deep

RECORDS = [b"", b"a", b"some record", bytes(range(256)) * 300]


def framed(contents: list[bytes]) -> bytes:
    return b"".join(map(frame, contents))


def test_the_bytes_are_those_that_tensorflow_writes(tmp_path: Path) -> None:
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in RECORDS:
            writer.write(record)
    ours = framed(RECORDS)
    assert ours == (tmp_path / "theirs").read_bytes()
    assert [ours[start:stop] for start, stop in records(ours)] == RECORDS


def test_every_cut_is_seen() -> None:
    content = framed(RECORDS[:3])
    ends = {0, 16, 33, len(content)}
    for size in range(len(content)):
        if size in ends:  # which only a count can tell
            assert len(list(records(content[:size]))) < 3
        else:
            with pytest.raises(DamagedRecordsError):
                list(records(content[:size]))


def test_every_flipped_byte_is_seen() -> None:
    content = framed(RECORDS[:3])
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 0x10
        with pytest.raises(DamagedRecordsError):
            list(records(bytes(flipped)))


@pytest.fixture(scope="module")
def small(tiny_records: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three crops in two shards."""
    folder = tmp_path_factory.mktemp("small") / "records"
    schema = dataclasses.replace(
        tiny_records.schema, image_shape=(2, 2, 2), has_mask=False, metadata={}
    )
    crops = [
        dataclasses.replace(crop, image=crop.image[:2, :2], mask=None, metadata={})
        for crop in tiny_records.crops[:3]
    ]
    tiny_records.write(
        folder,
        schema=schema,
        crops=crops,
        entries=tiny_records.entries[:3],
        group_by=(),
        shard_bytes=4 * 448,
    )
    return folder


def is_noticed(folder: Path) -> bool:
    try:
        verify_deep(folder)
    except RecordsError:
        return True
    return False


def test_every_flip_and_cut_of_a_data_set_is_noticed(small: Path) -> None:
    """Each byte of each shard and of the manifest; the other files we never read."""
    shards = sorted(path for path in small.iterdir() if ".tfrecord" in path.name)
    assert not is_noticed(small)
    for path in shards:
        content = path.read_bytes()
        for at in range(len(content)):
            path.write_bytes(content[:at])
            assert is_noticed(small), f"{path.name} cut at {at}"
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            assert is_noticed(small), f"{path.name} flipped at {at}"
        path.write_bytes(content)


def test_every_flip_and_cut_of_a_manifest_is_noticed_or_harmless(small: Path) -> None:
    """Harmless: JSON that says the same, as without the last line end or with another blank."""
    path = small / MANIFEST_NAME
    content = path.read_bytes()
    whole = verify_deep(small)
    harmless = 0
    for at in range(len(content)):
        for mutated in (
            content[:at],
            content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :],
            content[:at] + bytes([content[at] ^ 0x80]) + content[at + 1 :],
        ):
            path.write_bytes(mutated)
            if not is_noticed(small):
                harmless += 1
                assert verify_deep(small) == whole, f"changed at {at} without notice"
    path.write_bytes(content)
    assert harmless < 0.1 * len(content)
