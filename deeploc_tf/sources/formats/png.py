"""Gray-level PNG files of 8 or 16 bits; and of 1 bit, as masks are."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.formats.limits import BadImage, check_size

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def png_shape(head: bytes, max_pixels: int) -> tuple[int, int]:
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


def decode_png(data: bytes, max_pixels: int) -> NDArray[Any]:
    """The pixels, `(height, width)`: uint8, uint16, or bool for 1 bit."""
    import imagecodecs

    png_shape(data, max_pixels)
    if b"acTL" in data[: data.find(b"IDAT")]:  # which stands before the pixels of the first image
        msg = "it holds several images (APNG)"
        raise BadImage(msg, "several images in a file")
    image: NDArray[Any] = imagecodecs.png_decode(data)
    return image.astype(np.bool_) if data[24] == 1 else image
