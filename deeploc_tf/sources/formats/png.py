"""Gray-level PNG files of 8 or 16 bits; and of 1 bit, as masks are."""

from __future__ import annotations

import os
import struct
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.formats.description import ImageDescription
from deeploc_tf.sources.formats.image_format import Image, ImageFormat
from deeploc_tf.sources.formats.limits import BadImage, check_size

_HEAD_BYTES = 26  # up to the color type


def _shape(head: bytes, max_pixels: int) -> tuple[int, int]:
    """`(height, width)` from the first 26 bytes of a file.

    Raises:
        BadImage: it is not gray-level, or too large. A decoder would stretch 2 and 4 bits.
    """
    width, height, bits, color = struct.unpack_from(">IIBB", head, 16)
    if color != 0:
        msg = f"it is not gray-level (PNG color type {color})"
        raise BadImage(msg, "not gray-level")
    if bits not in (1, 8, 16):
        msg = f"it has {bits} bits a pixel, where 8 or 16 are read"
        raise BadImage(msg, "pixel type is not kept")
    check_size((height, width), max_pixels)
    return height, width


def _describe(file: BinaryIO, max_pixels: int, name: str) -> ImageDescription:  # noqa: ARG001
    return ImageDescription(_shape(file.read(_HEAD_BYTES), max_pixels))


def _decode(data: bytes, max_pixels: int, path: str | os.PathLike[str]) -> Image:  # noqa: ARG001
    """The pixels, `(height, width)`: uint8, uint16, or bool for 1 bit."""
    import imagecodecs

    _shape(data, max_pixels)
    if b"acTL" in data[: data.find(b"IDAT")]:  # which stands before the pixels of the first image
        msg = "it holds several images (APNG)"
        raise BadImage(msg, "several images in a file")
    image: NDArray[Any] = imagecodecs.png_decode(data)
    return image.astype(np.bool_) if data[24] == 1 else image, ImageDescription(image.shape)


PNG = ImageFormat((b"\x89PNG\r\n\x1a\n",), _decode, _describe)
