"""Arrays in NPY files; pickled objects are never opened."""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO

import numpy as np

from deeploc_tf.sources.formats.description import ImageDescription
from deeploc_tf.sources.formats.image_format import Image, ImageFormat
from deeploc_tf.sources.formats.limits import BadImage, check_size


def _header(file: BinaryIO, max_pixels: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and dtype; the file then stands at the pixels.

    Raises:
        BadImage: the array does not hold plain numbers, or is too large.
    """
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        msg = f"it is of NPY version {version}, which is for named columns"
        raise BadImage(msg, "pixel type is not kept")
    read = np.lib.format.read_array_header_1_0
    read = read if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(file)
    if dtype.kind not in "buif" or dtype.subdtype is not None:
        msg = f"it holds {dtype}, not plain numbers"
        if dtype.hasobject:
            msg += (
                ", and to open it could run code. Of Cellpose's _seg.npy, save the masks as "
                "_cp_masks.tif or _cp_masks.png (cellpose --save_tif, or --save_png)"
            )
        raise BadImage(msg, "pixel type is not kept")
    check_size(shape, max_pixels)
    return shape, by_columns, dtype


def _describe(file: BinaryIO, max_pixels: int, name: str) -> ImageDescription:  # noqa: ARG001
    return ImageDescription(_header(file, max_pixels)[0])


def _decode(data: bytes, max_pixels: int, path: str | os.PathLike[str]) -> Image:  # noqa: ARG001
    """The array as it is stored, of any number of axes."""
    file = io.BytesIO(data)
    shape, by_columns, dtype = _header(file, max_pixels)
    start, count = file.tell(), int(np.prod(shape))
    if len(data) - start != count * dtype.itemsize:
        msg = f"it has {len(data) - start} bytes of pixels for {shape} of {dtype}"
        raise BadImage(msg)
    pixels = np.frombuffer(data, dtype, count, start)
    return pixels.reshape(shape, order="F" if by_columns else "C"), ImageDescription(shape)


NPY = ImageFormat((b"\x93NUMPY",), _decode, _describe)
