"""Gray-level and RGB PNG files of 8 or 16 bits; and of 1 bit, as masks are."""

from __future__ import annotations

import os
import struct
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.formats.description import ImageDescription
from deeploc_tf.sources.formats.image_format import Image, ImageFormat
from deeploc_tf.sources.formats.limits import PALETTE, BadImage, check_size, not_gray

_HEAD_BYTES = 26  # up to the color type
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
    if b"acTL" in data[: data.find(b"IDAT")]:  # which stands before the pixels of the first image
        msg = "it holds several images (APNG)"
        raise BadImage(msg, "several images in a file")
    image: NDArray[Any] = imagecodecs.png_decode(data)
    return image.astype(np.bool_) if data[24] == 1 else image, description


PNG = ImageFormat((b"\x89PNG\r\n\x1a\n",), _decode, _describe)
