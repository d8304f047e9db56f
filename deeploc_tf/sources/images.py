"""Single images from files, with limits that hold before anything is allocated."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.registry import PluginError
from deeploc_tf.sources.formats.description import ImageDescription
from deeploc_tf.sources.formats.image_format import HEAD_BYTES, Image, ImageFormat
from deeploc_tf.sources.formats.limits import BadImage, check_file, not_gray, read_bytes
from deeploc_tf.sources.formats.ngff import describe_ngff, ngff_files, read_ngff
from deeploc_tf.sources.formats.registry import format_names, format_of
from deeploc_tf.sources.masks import single_plane
from deeploc_tf.sources.source import RejectedCrop, SourceError
from tfrecords.schema import MAX_PIXELS, PIXEL_DTYPES

RGB = "RGB"
_Result = TypeVar("_Result")
_KEPT = frozenset(map(np.dtype, PIXEL_DTYPES))  # the name of a dtype is slow to ask for


def read_image(
    path: str | os.PathLike[str],
    *,
    max_pixels: int = MAX_PIXELS,
    statuses: list[os.stat_result] | None = None,
) -> NDArray[Any]:
    """Pixels of a gray-level TIFF, PNG or NPY file, in their own type and native byte order.

    The format is recognised by the first bytes, not by the name, and may be one that an installed
    package adds (see `IMAGE_FORMATS`). Nothing is rescaled; color, palette and
    lossy images are refused, because their numbers are not what the camera counted.

    Args:
        path: the file.
        max_pixels: refuse files that declare more pixels than this, before they are decoded.
        statuses: gets the status that the file had before it was read.

    Returns:
        `(height, width)`, or with more axes where the file holds several planes. It may be
        read-only.

    Raises:
        RejectedCrop: the file is empty, cut, too large, or not such an image.
        OSError: the file cannot be read.

    Example:
        image = read_image("cell.ome.tif")  # (height, width, channels), dtype of the file
    """
    return read_plane(path, max_pixels=max_pixels, statuses=statuses)[0]


def read_plane(
    path: str | os.PathLike[str],
    *,
    max_pixels: int = MAX_PIXELS,
    statuses: list[os.stat_result] | None = None,
) -> Image:
    """The pixels as `read_image` gives them, and what the file says of them.

    Quick for files of one plane. Where several files in a row begin with the same bytes, their
    descriptions are one object.
    """
    data = read_bytes(path, statuses)
    try:
        image, description = format_of(data).decode(data, max_pixels, path)
        if description.color:
            raise not_gray(RGB)
    except (MemoryError, PluginError):
        raise
    except Exception as error:  # decoders raise types of their own, which differ by version
        raise _rejected(path, error) from error
    return _native(image), description


def read_stack(
    path: str | os.PathLike[str],
    *,
    max_pixels: int = MAX_PIXELS,
    colors: bool = False,
    fill: bool = False,
) -> Image:
    """Pixels of an image file or OME-Zarr folder, and what it says of axes, channels and size.

    Slower than `read_image`, which see, and which does not look at metadata. With `colors`, red,
    green and blue are three channels. With `fill`, chunks of OME-Zarr that are missing are empty.
    """
    if Path(path).is_dir():
        image, description = _guarded(path, lambda: read_ngff(path, max_pixels, fill=fill))
    else:
        name = Path(path).name
        image, description = _of_file(
            path, lambda found, file: found.read_file(file, max_pixels, name)
        )
    return _native(image), _gray(path, description, colors)


def describe_image(
    path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS, colors: bool = False
) -> ImageDescription:
    """What an image says of itself; no pixels are read. Arguments and errors as of `read_stack`."""
    if Path(path).is_dir():
        return _guarded(path, lambda: describe_ngff(path, max_pixels))
    name = Path(path).name
    description = _of_file(path, lambda found, file: found.describe(file, max_pixels, name))
    return _gray(path, description, colors)


def image_files(path: str, *, fill: bool = False) -> tuple[str, ...]:
    """The files that the pixels of an image come from: itself, or those of an OME-Zarr folder."""
    if not Path(path).is_dir():
        return (path,)
    try:
        return _guarded(path, lambda: ngff_files(path, MAX_PIXELS, fill=fill))
    except (RejectedCrop, OSError):  # `read_stack` says what is wrong
        return (path,)


def stack_channels(
    images: Sequence[NDArray[Any]], names: Sequence[str], dtype: str | None = None
) -> NDArray[Any]:
    """One gray-level image a channel as `(height, width, channels)`; `names` are the files.

    Raises:
        RejectedCrop: an image is not one plane, they differ in shape or dtype, or `as_dtype` does.
    """
    first = single_plane(images[0], names[0])
    shape, own_dtype = first.shape, first.dtype
    stacked = np.empty((*shape, len(images)), own_dtype)
    for channel, image in enumerate(images):
        plane = image if image.ndim == 2 else single_plane(image, names[channel])
        if plane.shape != shape or plane.dtype != own_dtype:
            msg = (
                "The channels of a crop must share one shape and one dtype. Received: "
                f"{plane.shape} {plane.dtype} in {names[channel]}, {shape} {own_dtype} in "
                f"{names[0]}."
            )
            raise RejectedCrop(msg, reason="channels differ")
        stacked[..., channel] = plane
    return as_dtype(stacked, dtype, names[0])


def as_dtype(image: NDArray[Any], dtype: str | None, name: str) -> NDArray[Any]:
    """The pixels in a type that records keep, and never other numbers than the file holds.

    Without `dtype`, uint8, uint16 and float32 stay as they are, and other types (signed, wider,
    bool) are refused. With `dtype`, all are converted to it, if every number is the same in it;
    only float64 may be rounded, to float32.

    Raises:
        RejectedCrop: the type is not kept, or a number does not fit.
    """
    if image.dtype == dtype if dtype is not None else image.dtype in _KEPT:
        return image
    if dtype is None:
        msg = (
            f"Pixels must be {', '.join(PIXEL_DTYPES[:-1])} or {PIXEL_DTYPES[-1]}. Received: "
            f"{image.dtype.name} in {name}. Types are never changed in silence: pass `dtype` "
            "where every number fits into one of these."
        )
        raise RejectedCrop(msg, reason="pixel type is not kept")
    with np.errstate(all="ignore"):
        converted = image.astype(dtype)
        back = converted.astype(image.dtype)  # to compare two types may round one of them
    rounded = image.dtype.kind == converted.dtype.kind == "f"
    if not rounded and not (np.array_equal(back, image) and np.array_equal(converted, image)):
        msg = (
            f"Every pixel must be the same number in dtype={dtype}. Received: {image.dtype.name} "
            f"from {image.min()} to {image.max()} in {name}. Choose another dtype."
        )
        raise RejectedCrop(msg, reason="number does not fit the dtype")
    return converted


def _of_file(
    path: str | os.PathLike[str], action: Callable[[ImageFormat, BinaryIO], _Result]
) -> _Result:
    """What `action` makes of a file's format and the file, guarded."""

    def act() -> _Result:
        check_file(path)
        with Path(path).open("rb") as file:
            image_format = format_of(file.read(HEAD_BYTES))
            file.seek(0)
            return action(image_format, file)

    return _guarded(path, act)


def _gray(
    path: str | os.PathLike[str], description: ImageDescription, colors: bool
) -> ImageDescription:
    if description.color and not colors:
        raise _rejected(path, not_gray(RGB))
    return description


def _guarded(path: str | os.PathLike[str], action: Callable[[], _Result]) -> _Result:
    """The result of reading a file; whatever its decoder raises becomes a `RejectedCrop`."""
    try:
        return action()
    except (MemoryError, PluginError, SourceError):
        raise
    except Exception as error:
        # a place that no file can have is a fault of the image, other errors are of the disk
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL, errno.EOVERFLOW):
            raise
        raise _rejected(path, error) from error


def _rejected(path: str | os.PathLike[str], error: Exception) -> RejectedCrop:
    msg = (
        f"An image must be a whole gray-level {format_names('or')} file, or OME-Zarr. Received: "
        f"{Path(path).name}: {str(error).rstrip('.') or type(error).__name__}. Mend or remove the "
        "file."
    )
    reason = error.reason if isinstance(error, BadImage) else "image is damaged"
    return RejectedCrop(msg, reason=reason)


def _native(image: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in this machine's byte order."""
    return image if image.dtype.isnative else image.astype(image.dtype.newbyteorder("="))
