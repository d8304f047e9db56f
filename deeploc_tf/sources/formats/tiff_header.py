"""Directories of TIFF files, read by ourselves: what decides how, and whether, to decode them."""

from __future__ import annotations

import dataclasses
import math
import os
import struct
import zlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.formats.limits import MAX_PLANES, PALETTE, BadImage, not_gray

TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # byte order; classic or BigTIFF

RGB = 2  # photometric interpretations
_KEPT = (0, 1, RGB)
_COLORS = {3: PALETTE, 5: "CMYK", 6: "YCbCr", 8: "CIELAB"}
_LOSSLESS = (1, 5, 8, 32773, 32946, 34925, 50000)  # none, LZW, deflate, PackBits, LZMA, Zstd
_DEFLATE = (8, 32946)  # the only compression whose strips carry a checksum
_WIDE_BITS = (32, 64)  # above 16 bits a sample; decoders disagree about the bytes of 24
# bits and sample format -> NumPy
_DTYPES = {(8, 1): "u1", (16, 1): "u2", (32, 3): "f4", (8, 2): "i1", (16, 2): "i2", (32, 1): "u4"}
# A directory may stand for more than one plane: SubIFDs, ImageDepth, Zeiss LSM, Olympus FluoView,
# and the four tags of MetaMorph stacks.
_MAY_HOLD_SEVERAL = frozenset((330, 32997, 34412, 34361, 33628, 33629, 33630, 33631))

_PLACES = frozenset((273, 279, 324, 325))  # offsets and lengths of strips, then of tiles


@dataclasses.dataclass(frozen=True, slots=True)
class TiffHeader:
    """The first directory of a classic TIFF file.

    Attributes:
        order: of bytes, "<" or ">".
        tags: the tags that hold one number.
        several: the file may hold more planes than this directory describes.
        description: what stands in its first ImageDescription.
        resolution: pixels for each unit of length, across and down, as fractions; or ().
        places: tag -> where strips or tiles begin, or how long they are, where there are several.
    """

    order: str
    tags: dict[int, int]
    several: bool
    description: bytes = b""
    resolution: tuple[int, ...] = ()
    places: dict[int, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(height, width, samples)`."""
        return self.tags.get(257, 0), self.tags.get(256, 0), self.tags.get(277, 1)

    @property
    def tile(self) -> tuple[int, int]:
        """`(height, width)` of the tiles; of 1 where there are none."""
        return self.tags.get(323, 1), self.tags.get(322, 1)

    def check_kind(self) -> None:
        """Refuse colors, lossy compression, thumbnails, and more pixels than are described."""
        tags = self.tags
        check_kind(tags.get(262, 1), tags.get(259, 1), tags.get(254, 0), tags.get(258, 1))
        self._check_strip()
        height, width, samples = self.shape
        across = math.ceil(width / self.tile[1]) if self.is_tiled else 1
        apart = samples if tags.get(284, 1) == 2 else 1  # PlanarConfiguration
        expected = apart * across * math.ceil(height / self._rows)
        check_strips(len(self._numbers(324 if self.is_tiled else 273)), expected)

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Of the pixels in their byte order; None for a rare one."""
        name = _DTYPES.get((self.tags.get(258, 1), self.tags.get(339, 1)))
        return None if name is None else np.dtype(self.order + name)

    @property
    def is_tiled(self) -> bool:
        """Whether the pixels lie in tiles, not in strips."""
        return 322 in self.tags

    @property
    def _rows(self) -> int:
        """Of a strip or tile."""
        height = max(self.shape[0], 1)
        rows = self.tile[0] if self.is_tiled else min(self.tags.get(278, height), height)
        return max(rows, 1)

    def _numbers(self, tag: int) -> tuple[int, ...]:
        """Where strips or tiles begin, or how long they are."""
        return (self.tags[tag],) if tag in self.tags else self.places.get(tag, ())

    def check_deflated(self, data: bytes) -> None:
        """Refuse deflated pixels that do not match their checksum, which libtiff does not look at.

        Raises:
            BadImage: a strip or tile is damaged or cut.
        """
        tags = self.tags
        if tags.get(259, 1) not in _DEFLATE:
            return
        _, width, samples = self.shape
        columns = self.tile[1] if self.is_tiled else width
        longest = self._rows * ((columns * samples * tags.get(258, 1) + 7) // 8)
        starts, counts = map(self._numbers, (324, 325) if self.is_tiled else (273, 279))
        for start, count in zip(starts, counts, strict=True):
            stream = zlib.decompressobj()
            stream.decompress(data[start : start + count], longest + 1)
            if not stream.eof:
                msg = "its compressed pixels are cut or damaged"
                raise BadImage(msg)

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
        dtype = self.dtype
        start = tags.get(273)
        if dtype is None or start is None or tags.get(259, 1) != 1 or tags.get(266, 1) != 1:
            return None
        height, width, _ = self.shape
        if tags.get(279) != height * width * dtype.itemsize:
            return None
        return np.frombuffer(data, dtype, height * width, start).reshape(height, width)


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
    places: dict[int, tuple[int, ...]] = {}
    several = False
    for tag, kind, length, value in struct.iter_unpack(order + "HHII", data[start + 2 : end]):
        if tag in _MAY_HOLD_SEVERAL:
            several = True
        elif length == 1 and kind == 3:  # it stands in the first two of four bytes
            tags[tag] = value & 0xFFFF if order == "<" else value >> 16
        elif length == 1 and kind == 4:
            tags[tag] = value
        elif tag in _PLACES and kind in (3, 4):
            numbers = f"{order}{length}{'H' if kind == 3 else 'I'}"
            inside = struct.calcsize(numbers) <= 4
            where = (struct.pack(order + "I", value), 0) if inside else (data, value)
            places[tag] = struct.unpack_from(numbers, *where)
        elif tag == 270 and length > 4:  # ImageDescription
            descriptions.append(data[value : value + length])
        elif tag in (282, 283) and length == 1 and kind == 5:  # XResolution, YResolution
            resolution += struct.unpack_from(order + "II", data, value)
    (following,) = struct.unpack_from(order + "I", data, end)
    # ImageJ and tifffile may describe a whole stack in one directory
    several |= any(b"images=" in text or b"truncated" in text for text in descriptions)
    first = descriptions[0] if descriptions else b""
    return TiffHeader(order, tags, several or following != 0, first, resolution, places)


def check_kind(photometric: int, compression: int, subfile_type: int, bits: int) -> None:
    """Refuse other colors than RGB, lossy compression, thumbnails, and samples of odd size."""
    if compression not in _LOSSLESS:
        kind = "it is JPEG-compressed" if compression in (6, 7) else f"compression {compression}"
        msg = f"{kind}, which may change pixels"
        raise BadImage(msg, "lossy compression")
    if photometric not in _KEPT:
        raise not_gray(_COLORS.get(photometric, f"photometric interpretation {photometric}"))
    if subfile_type & 1:
        msg = "its first image is one of low resolution (NewSubfileType 1)"
        raise BadImage(msg, "image of low resolution")
    if bits > 16 and bits not in _WIDE_BITS:
        msg = f"it has {bits} bits a pixel, where 1 to 16, 32 and 64 are read"
        raise BadImage(msg, "pixel type is not kept")


def check_strip(num_bytes: int, plane_bytes: int) -> None:
    """Refuse an uncompressed strip that holds a second plane which nothing describes."""
    if num_bytes >= 2 * plane_bytes > 0:
        msg = f"it has {num_bytes} bytes of pixels, and describes {plane_bytes}"
        raise BadImage(msg, "not one plane")


def check_strips(found: int, expected: int) -> None:
    """Refuse more strips or tiles than one plane has: those of planes that nothing describes."""
    if found > expected:
        msg = f"it has {found} strips or tiles of pixels, and describes {expected}"
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
