"""Arrays in NPY files; pickled objects are never opened."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.formats.limits import BadImage, check_size

NPY_MAGIC = b"\x93NUMPY"


def npy_header(file: BinaryIO, max_pixels: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
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
        raise BadImage(msg, "pixel type is not kept")
    check_size(shape, max_pixels)
    return shape, by_columns, dtype


def decode_npy(data: bytes, max_pixels: int) -> NDArray[Any]:
    """The array as it is stored, of any number of axes."""
    file = io.BytesIO(data)
    shape, by_columns, dtype = npy_header(file, max_pixels)
    start, count = file.tell(), int(np.prod(shape))
    if len(data) - start != count * dtype.itemsize:
        msg = f"it has {len(data) - start} bytes of pixels for {shape} of {dtype}"
        raise BadImage(msg)
    return np.frombuffer(data, dtype, count, start).reshape(shape, order="F" if by_columns else "C")
