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
# A directory may stand for more than one plane: SubIFDs, ImageDepth, Zeiss LSM, Olympus FluoView,
# and the four tags of MetaMorph stacks.
_MAY_HOLD_SEVERAL = frozenset((330, 32997, 34412, 34361, 33628, 33629, 33630, 33631))


@dataclasses.dataclass(frozen=True, slots=True)
class TiffHeader:
    """The first directory of a classic TIFF file.

    Attributes:
        order: of bytes, "<" or ">".
        tags: the tags that hold one number.
        several: the file may hold more planes than this directory describes.
        description: what stands in its first ImageDescription.
        resolution: pixels for each unit of length, across and down, as fractions; or ().
    """

    order: str
    tags: dict[int, int]
    several: bool
    description: bytes = b""
    resolution: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(height, width, samples)`."""
        return self.tags.get(257, 0), self.tags.get(256, 0), self.tags.get(277, 1)

    @property
    def tile(self) -> tuple[int, int]:
        """`(height, width)` of the tiles; of 1 where there are none."""
        return self.tags.get(323, 1), self.tags.get(322, 1)

    def check_kind(self) -> None:
        """Refuse colors, lossy compression, and thumbnails."""
        tags = self.tags
        check_kind(tags.get(262, 1), tags.get(259, 1), tags.get(254, 0))
        self._check_strip()

    def _check_strip(self) -> None:
        """Refuse one uncompressed strip that holds more than one plane."""
        tags = self.tags
        if tags.get(259, 1) == 1 and 273 in tags and 258 in tags and 279 in tags:
            height, width, samples = self.shape
            plane = height * ((width * samples * tags[258] + 7) // 8)
            check_strip(tags[279], plane)

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
    descriptions = []
    resolution: tuple[int, ...] = ()
    several = False
    for tag, kind, length, value in struct.iter_unpack(order + "HHII", data[start + 2 : end]):
        if tag in _MAY_HOLD_SEVERAL:
            several = True
        elif length == 1 and kind == 3:  # it stands in the first two of four bytes
            tags[tag] = value & 0xFFFF if order == "<" else value >> 16
        elif length == 1 and kind == 4:
            tags[tag] = value
        elif tag == 270 and length > 4:  # ImageDescription
            descriptions.append(data[value : value + length])
        elif tag in (282, 283) and length == 1 and kind == 5:  # XResolution, YResolution
            resolution += struct.unpack_from(order + "II", data, value)
    (following,) = struct.unpack_from(order + "I", data, end)
    # ImageJ and tifffile may describe a whole stack in one directory
    several |= any(b"images=" in text or b"truncated" in text for text in descriptions)
    first = descriptions[0] if descriptions else b""
    return TiffHeader(order, tags, several or following != 0, first, resolution)


def check_kind(photometric: int, compression: int, subfile_type: int = 0) -> None:
    """Refuse what is not gray-level, compression that may change pixels, and thumbnails."""
    if compression not in _LOSSLESS:
        kind = "it is JPEG-compressed" if compression in (6, 7) else f"compression {compression}"
        msg = f"{kind}, which may change pixels"
        raise BadImage(msg, "lossy compression")
    if photometric not in _GRAY:
        msg = f"it is not gray-level (photometric interpretation {photometric})"
        raise BadImage(msg, "not gray-level")
    if subfile_type & 1:
        msg = "its first image is one of low resolution (NewSubfileType 1)"
        raise BadImage(msg, "image of low resolution")


def check_strip(num_bytes: int, plane_bytes: int) -> None:
    """Refuse an uncompressed strip that holds a second plane which nothing describes."""
    if num_bytes >= 2 * plane_bytes > 0:
        msg = f"it has {num_bytes} bytes of pixels, and describes {plane_bytes}"
        raise BadImage(msg, "not one plane")


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
