"""The frame that TFRecord files put around a record: its length, and checksums of both.

TensorFlow writes the same bytes, but with a call and a copy for each record, and must be imported
first, which takes longer than to build a small data set.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator

import google_crc32c

from tfrecords.errors import DamagedRecordsError

HEADER_BYTES = 12  # length of the record (8), its checksum (4)
FOOTER_BYTES = 4  # checksum of the record
FRAME_BYTES = HEADER_BYTES + FOOTER_BYTES

_MASK = 0xA282EAD8


def frame(record: bytes) -> bytes:
    """A record in its frame, as it stands in a shard."""
    header, footer = header_and_footer(record)
    return b"".join((header, record, footer))


def header_and_footer(record: bytes) -> tuple[bytes, bytes]:
    """What stands before and behind a record."""
    return _header(len(record)), masked_checksum(record)


def masked_checksum(content: bytes) -> bytes:
    """CRC-32C, rotated and shifted, because a checksum of data with checksums in it is weak."""
    checksum: int = google_crc32c.value(content)
    rotated = checksum >> 15 | checksum << 17
    return (rotated + _MASK & 0xFFFFFFFF).to_bytes(4, "little")


def records(content: bytes | memoryview) -> Iterator[tuple[int, int]]:
    """Where each record of a shard begins and ends, without its frame.

    Raises:
        DamagedRecordsError: `content` ends within a frame, or a checksum is wrong. What was yielded
            before stands.
    """
    offset = 0
    while offset < len(content):
        header = bytes(content[offset : offset + HEADER_BYTES])
        if len(header) < HEADER_BYTES:
            msg = f"A shard must hold whole records. Received: a part of a header at byte {offset}."
            raise DamagedRecordsError(msg)
        if header[8:] != masked_checksum(header[:8]):
            msg = f"A length must have its checksum. Received: another one at byte {offset}."
            raise DamagedRecordsError(msg)
        start = offset + HEADER_BYTES
        stop = start + struct.unpack_from("<Q", header)[0]
        if stop + FOOTER_BYTES > len(content):
            msg = f"A shard must hold whole records. Received: a part of one at byte {offset}."
            raise DamagedRecordsError(msg)
        footer = bytes(content[stop : stop + FOOTER_BYTES])
        if footer != masked_checksum(bytes(content[start:stop])):
            msg = f"A record must have its checksum. Received: another one at byte {offset}."
            raise DamagedRecordsError(msg)
        yield start, stop
        offset = stop + FOOTER_BYTES


@functools.lru_cache(maxsize=4096)
def _header(length: int) -> bytes:
    packed = struct.pack("<Q", length)
    return packed + masked_checksum(packed)
