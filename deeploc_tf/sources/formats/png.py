"""Gray-level and RGB PNG files of 8 or 16 bits; and of 1 bit, as masks are."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.formats.description import ImageDescription
from deeploc_tf.sources.formats.image_format import Image, ImageFormat
from deeploc_tf.sources.formats.limits import PALETTE, BadImage, check_size, not_gray

_MAGIC = b"\x89PNG\r\n\x1a\n"
_HEAD_BYTES = 26  # up to the color type
_STEP = 1 << 20
_MOST_CHUNKS = 1 << 17  # 8 kB of pixels each, which is little, are a GB
_DECODED = (b"IHDR", b"tRNS", b"IDAT", b"IEND")  # others are words about the image
# First row and column, and the steps, of the seven images that an interlaced one is sent as.
_PASSES = (
    *((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)),
    *((2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)),
)
_RGB = 2
_COLORS = {3: PALETTE, 4: "with transparency", 6: "RGB with transparency"}


def _description(head: bytes, max_pixels: int) -> ImageDescription:
    """What the first 26 bytes of a file say.

    Raises:
        BadImage: it is not gray-level nor RGB, or too large. A decoder would stretch 2 and 4 bits.
    """
    width, height, bits, color = struct.unpack_from(">IIBB", head, 16)
    if color not in (0, _RGB):
        raise not_gray(_COLORS.get(color, f"PNG color type {color}"))
    if bits not in (1, 8, 16):
        msg = f"it has {bits} bits a pixel, where 8 or 16 are read"
        raise BadImage(msg, "pixel type is not kept")
    shape = (height, width, 3) if color == _RGB else (height, width)
    check_size(shape, max_pixels)
    return ImageDescription(shape, "YXC" if color == _RGB else "", color=color == _RGB)


def _describe(file: BinaryIO, max_pixels: int, name: str) -> ImageDescription:  # noqa: ARG001
    return _description(file.read(_HEAD_BYTES), max_pixels)


def _decode(data: bytes, max_pixels: int, path: str | os.PathLike[str]) -> Image:  # noqa: ARG001
    """The pixels, `(height, width)` or `(height, width, 3)`: uint8, uint16, or bool for 1 bit."""
    import imagecodecs

    description = _description(data, max_pixels)
    image: NDArray[Any] = imagecodecs.png_decode(_pixels_alone(data))
    return image.astype(np.bool_) if data[24] == 1 else image, description


def _pixels_alone(data: bytes) -> bytes:
    """The file without words about the image, which a decoder would unpack, too.

    Raises:
        BadImage: it holds other than the pixels that it declares: libpng would unpack all of it.
    """
    kept: list[bytes | memoryview] = [_MAGIC]
    pixels: list[memoryview] = []
    start = len(_MAGIC)
    view = memoryview(data)
    for count in range(_MOST_CHUNKS + 1):
        if start + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, start)
        if kind == b"acTL":
            msg = "it holds several images (APNG)"
            raise BadImage(msg, "several images in a file")
        if kind in _DECODED:
            kept.append(view[start : start + 12 + length])
        if kind == b"IDAT":
            pixels.append(view[start + 8 : start + 8 + length])
        start += 12 + length
        if kind == b"IEND":
            break
        if count == _MOST_CHUNKS:
            msg = f"it has more than {count} parts"
            raise BadImage(msg)
    _check_pixels(data, pixels)
    return b"".join(kept)


def _check_pixels(data: bytes, pixels: Sequence[memoryview]) -> None:
    """Refuse pixels that unpack to more than is declared, of which no more is unpacked."""
    width, height, bits, color = struct.unpack_from(">IIBB", data, 16)
    bits *= 3 if color == _RGB else 1
    sizes = [(height, width)]
    if data[28]:
        sizes = [
            (-(-(height - top) // down), -(-(width - first) // across))
            for top, first, down, across in _PASSES
        ]
    left = sum(high * (-(-wide * bits // 8) + 1) for high, wide in sizes if high > 0 and wide > 0)
    unpack = zlib.decompressobj()
    try:
        for packed in pixels:
            part: bytes | memoryview = packed
            while part and not unpack.eof and left >= 0:
                left -= len(unpack.decompress(part, min(left + 1, _STEP)))
                part = unpack.unconsumed_tail
    except zlib.error as error:
        msg = "its pixels are damaged"
        raise BadImage(msg) from error
    if left:
        msg = f"its pixels are {'more' if left < 0 else 'fewer'} than it declares"
        raise BadImage(msg)


PNG = ImageFormat((_MAGIC,), _decode, _describe)
