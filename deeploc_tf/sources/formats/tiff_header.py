"""Directories of TIFF files, read by ourselves: what decides how, and whether, to decode them."""

from __future__ import annotations

import dataclasses
import os
import struct
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.formats.limits import MAX_PLANES, BadImage

TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # byte order; classic or BigTIFF

_GRAY = (0, 1)  # photometric interpretations without color
_LOSSLESS = (1, 5, 8, 32773, 32946, 34925, 50000)  # none, LZW, deflate, PackBits, LZMA, Zstd
# bits and sample format -> NumPy
_DTYPES = {(8, 1): "u1", (16, 1): "u2", (32, 3): "f4", (8, 2): "i1", (16, 2): "i2", (32, 1): "u4"}


@dataclasses.dataclass(frozen=True, slots=True)
class TiffHeader:
    """The first directory of a classic TIFF file.

    Attributes:
        order: of bytes, "<" or ">".
        tags: the tags that hold one number.
        several: the file holds more planes than this directory describes.
    """

    order: str
    tags: dict[int, int]
    several: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(height, width, samples)`."""
        return self.tags.get(257, 0), self.tags.get(256, 0), self.tags.get(277, 1)

    @property
    def tile(self) -> tuple[int, int]:
        """`(height, width)` of the tiles; of 1 where there are none."""
        return self.tags.get(323, 1), self.tags.get(322, 1)

    def check_kind(self) -> None:
        """Refuse colors and lossy compression."""
        check_kind(self.tags.get(262, 1), self.tags.get(259, 1))

    def plain_pixels(self, data: bytes) -> NDArray[Any] | None:
        """The pixels where they lie uncompressed in one strip, as those of most crops do.

        Many times as fast as a decoder, to which all that is out of the common is left: None.
        """
        tags = self.tags
        dtype = _DTYPES.get((tags.get(258, 1), tags.get(339, 1)))
        start = tags.get(273)
        if dtype is None or start is None or tags.get(259, 1) != 1 or tags.get(266, 1) != 1:
            return None
        height, width, _ = self.shape
        array = np.dtype(self.order + dtype)
        if tags.get(279) != height * width * array.itemsize:
            return None
        return np.frombuffer(data, array, height * width, start).reshape(height, width)


def read_header(data: bytes) -> TiffHeader | None:
    """The first directory of a classic TIFF; None for BigTIFF."""
    order = "<" if data[:2] == b"II" else ">"
    magic, start = struct.unpack_from(order + "HI", data, 2)
    if magic != 42:
        return None
    (count,) = struct.unpack_from(order + "H", data, start)
    end = start + 2 + 12 * count
    tags: dict[int, int] = {}
    description = b""
    for tag, kind, length, value in struct.iter_unpack(order + "HHII", data[start + 2 : end]):
        if length == 1 and kind == 3:  # it stands in the first two of four bytes
            tags[tag] = value & 0xFFFF if order == "<" else value >> 16
        elif length == 1 and kind == 4:
            tags[tag] = value
        elif tag == 270 and length > 4:  # ImageDescription
            description = data[value : value + length]
    (following,) = struct.unpack_from(order + "I", data, end)
    # ImageJ and tifffile may describe a whole stack in one directory
    stacked = b"images=" in description or b"truncated" in description
    return TiffHeader(order, tags, following != 0 or stacked)


def check_kind(photometric: int, compression: int) -> None:
    """Refuse what is not gray-level, and compression that may change pixels."""
    if compression not in _LOSSLESS:
        kind = "it is JPEG-compressed" if compression in (6, 7) else f"compression {compression}"
        msg = f"{kind}, which may change pixels"
        raise BadImage(msg, "lossy compression")
    if photometric not in _GRAY:
        msg = f"it is not gray-level (photometric interpretation {photometric})"
        raise BadImage(msg, "not gray-level")


def check_directories(file: BinaryIO) -> int:
    """The size of the file; refuse a chain of directories that is cut, turns back or never ends.

    Decoders take a chain that is cut for a shorter one.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    pointer, number, entry = (
        (order + "Q", order + "Q", 20) if big else (order + "I", order + "H", 12)
    )
    (offset,) = struct.unpack_from(pointer, head, 8 if big else 4)
    seen: set[int] = set()
    while offset:
        if offset in seen or offset >= size:
            msg = "its directories are cut or turn back"
            raise BadImage(msg)
        seen.add(offset)
        if len(seen) > MAX_PLANES:
            msg = f"it holds more than {MAX_PLANES} planes"
            raise BadImage(msg, "too many planes")
        file.seek(offset)
        (count,) = struct.unpack(number, file.read(struct.calcsize(number)))
        file.seek(offset + struct.calcsize(number) + count * entry)
        (offset,) = struct.unpack(pointer, file.read(struct.calcsize(pointer)))
    return size
