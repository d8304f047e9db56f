"""Single images from TIFF and PNG files, with limits that hold before anything is allocated."""

from __future__ import annotations

import dataclasses
import io
import os
import stat
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.source import SourceError
from tfrecords.schema import MAX_PIXELS, PIXEL_DTYPES

Axes = Literal["YX", "CYX", "YXC"]

_MAX_FILE_BYTES = 1 << 31  # a crop of MAX_PIXELS float32 pixels is half of it
_GRAY = (0, 1)  # TIFF photometric interpretations without color
_LOSSY = (6, 7)  # TIFF compressions: old and new JPEG
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> NDArray[Any]:
    """Pixels of a gray-level TIFF or PNG file, in their own type and native byte order.

    The format is told by the first bytes, not by the name. Nothing is rescaled; color, palette and
    JPEG-compressed images are refused, because their numbers are not what the camera counted.

    Args:
        path: the file.
        max_pixels: refuse files that declare more pixels than this, before they are decoded.

    Returns:
        `(height, width)`, or with one more axis in front or behind where the file holds several
        planes.

    Raises:
        SourceError: the file is empty, cut, too large, or not such an image.
        OSError: the file cannot be read.
    """
    data = _read_bytes(path)
    try:
        if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            image = _decode_tiff(data, max_pixels)
        elif data[:8] == _PNG_MAGIC:
            image = _decode_png(data, max_pixels)
        else:
            msg = f"it begins with {data[:8]!r}, which is neither TIFF nor PNG"
            raise _BadImage(msg)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise types of their own, which differ by version
        msg = (
            f"An image must be a whole gray-level TIFF or PNG file. Received: {os.fspath(path)}: "
            f"{str(error) or type(error).__name__}. Mend or remove the file."
        )
        raise SourceError(msg) from error
    return np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("="))


def as_channels(
    image: NDArray[Any], num_channels: int, axes: Axes | None, name: str
) -> NDArray[Any]:
    """The image of one file as `(height, width, channels)`; `name` is the file, for messages.

    Raises:
        SourceError: the planes of the file are not the channels, or `axes` is needed to tell them.
    """
    planes = image
    if axes is None and num_channels == 1:
        planes = _plane(image, name)[..., np.newaxis]
    elif axes == "YX" and image.ndim == 2:
        planes = image[..., np.newaxis]
    elif axes == "CYX" and image.ndim == 3:
        planes = np.moveaxis(image, 0, -1)
    elif axes != "YXC" or image.ndim != 3:
        msg = (
            "A file of several channels must come with `axes`, CYX (planes first) or YXC (planes "
            f"last). Received: axes={axes}, {name} of shape {image.shape}, for {num_channels} "
            "channels."
        )
        raise SourceError(msg)
    if planes.shape[-1] != num_channels:
        msg = (
            f"A file must hold one plane a channel. Received: {name} of shape {image.shape}, "
            f"axes={axes}, for {num_channels} channels. Name as many channels as there are planes."
        )
        raise SourceError(msg)
    check_dtype(planes, name)
    return np.ascontiguousarray(planes)


def stack_channels(images: Sequence[NDArray[Any]], names: Sequence[str]) -> NDArray[Any]:
    """One gray-level image a channel as `(height, width, channels)`; `names` are the files.

    Raises:
        SourceError: an image is not two-dimensional, or they differ in shape or dtype.
    """
    planes = [_plane(image, name) for image, name in zip(images, names, strict=True)]
    for plane, name in zip(planes, names, strict=True):
        check_dtype(plane, name)
        if plane.shape != planes[0].shape or plane.dtype != planes[0].dtype:
            msg = (
                "The channels of a crop must share one shape and one dtype. Received: "
                f"{plane.shape} {plane.dtype} in {name}, {planes[0].shape} {planes[0].dtype} in "
                f"{names[0]}."
            )
            raise SourceError(msg)
    return np.stack(planes, axis=-1)


def as_mask(image: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """A mask image of 0 and one other value as uint8 0 and 1, `(height, width)`.

    Raises:
        SourceError: the mask is empty, or tells several objects apart.
    """
    plane = _plane(image, name)
    inside = plane != 0
    values = plane[inside]
    if not values.size or (values != values[0]).any():
        problem = "no pixel inside" if not values.size else "several values beside 0"
        msg = (
            f"A mask must be 0 outside the cell and one other value inside. Received: {problem} "
            f"in {name}."
        )
        raise SourceError(msg)
    mask: NDArray[np.uint8] = inside.astype(np.uint8)
    return mask


def check_dtype(image: NDArray[Any], name: str) -> None:
    """Refuse pixels of a type that records do not keep as it is."""
    if image.dtype.name not in PIXEL_DTYPES:
        msg = (
            f"Pixels must be {', '.join(PIXEL_DTYPES[:-1])} or {PIXEL_DTYPES[-1]}. Received: "
            f"{image.dtype.name} in {name}. Convert the files: types are never changed in silence."
        )
        raise SourceError(msg)


class _BadImage(ValueError):
    """Why a file is not an image that we read; its place is added by `read_image`."""


@dataclasses.dataclass(frozen=True, slots=True)
class _TiffHeader:
    """The first directory of a classic TIFF file, as far as it decides how to read it."""

    width: int
    height: int
    samples: int
    photometric: int
    compression: int
    several: bool  # more planes than this directory describes


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
    name = os.fspath(path)
    status = os.stat(name)  # noqa: PTH116 -- once a file; Path costs more than the call
    if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= _MAX_FILE_BYTES:
        kind = f"{status.st_size} bytes" if stat.S_ISREG(status.st_mode) else "not a regular file"
        msg = (
            f"An image file must hold 1 to {_MAX_FILE_BYTES} bytes. Received: {name}: {kind}. "
            "Mend or remove the file."
        )
        raise SourceError(msg)
    with Path(name).open("rb", buffering=0) as file:
        return file.read()


def _plane(image: NDArray[Any], name: str) -> NDArray[Any]:
    plane = np.squeeze(image) if image.ndim > 2 else image
    if plane.ndim != 2:
        msg = (
            f"A channel file must hold one plane (height, width). Received: {name} of shape "
            f"{image.shape}. Write one file a channel, or pass `axes`."
        )
        raise SourceError(msg)
    return plane


def _decode_tiff(data: bytes, max_pixels: int) -> NDArray[Any]:
    import imagecodecs

    header = _tiff_header(data)
    if header is not None:
        if header.compression in _LOSSY:
            msg = "it is JPEG-compressed, which changes pixels"
            raise _BadImage(msg)
        if header.photometric not in _GRAY:
            msg = f"it is not gray-level (photometric interpretation {header.photometric})"
            raise _BadImage(msg)
        _check_size((header.height, header.width, header.samples), max_pixels)
        if not header.several and header.samples == 1:
            image: NDArray[Any] = imagecodecs.tiff_decode(data)
            return image
    return _decode_any_tiff(data, max_pixels)


def _decode_any_tiff(data: bytes, max_pixels: int) -> NDArray[Any]:
    """Stacks, BigTIFF and the like: slower, and every directory is looked at."""
    import tifffile

    # OME-XML may name other files: those are not ours to open
    with tifffile.TiffFile(io.BytesIO(data), _multifile=False) as tiff:
        series = tiff.series
        if len(series) != 1:
            msg = f"it holds {len(series)} images of different kinds"
            raise _BadImage(msg)
        page: Any = series[0].keyframe
        if int(page.photometric) not in _GRAY or int(page.compression) in _LOSSY:
            msg = "it is not gray-level, or JPEG-compressed"
            raise _BadImage(msg)
        _check_size(series[0].shape, max_pixels)
        return np.asarray(series[0].asarray())


def _tiff_header(data: bytes) -> _TiffHeader | None:
    """The first directory of a classic TIFF; None for BigTIFF, which is left to tifffile."""
    order = "<" if data[:2] == b"II" else ">"
    magic, start = struct.unpack_from(order + "HI", data, 2)
    if magic != 42:
        return None
    (count,) = struct.unpack_from(order + "H", data, start)
    tags: dict[int, int] = {}
    description = b""
    for tag, kind, length, value in struct.iter_unpack(
        order + "HHI4s", data[start + 2 : start + 2 + 12 * count]
    ):
        if kind == 3:
            (tags[tag],) = struct.unpack_from(order + "H", value)
        elif kind == 4:
            (tags[tag],) = struct.unpack_from(order + "I", value)
        elif tag == 270 and length > 4:  # an ImageDescription
            (offset,) = struct.unpack(order + "I", value)
            description = data[offset : offset + length]
    (following,) = struct.unpack_from(order + "I", data, start + 2 + 12 * count)
    # ImageJ and tifffile may describe a whole stack in one directory
    stacked = b"images=" in description or b"truncated" in description
    return _TiffHeader(
        width=tags.get(256, 0),
        height=tags.get(257, 0),
        samples=tags.get(277, 1),
        photometric=tags.get(262, 1),
        compression=tags.get(259, 1),
        several=following != 0 or stacked,
    )


def _decode_png(data: bytes, max_pixels: int) -> NDArray[Any]:
    import imagecodecs

    width, height, _, color = struct.unpack_from(">IIBB", data, 16)
    if color != 0:
        msg = f"it is not gray-level (PNG color type {color})"
        raise _BadImage(msg)
    _check_size((height, width), max_pixels)
    image: NDArray[Any] = imagecodecs.png_decode(data)
    return image


def _check_size(shape: Sequence[int], max_pixels: int) -> None:
    pixels = int(np.prod(shape, dtype=object))
    if not 0 < pixels <= max_pixels:
        msg = f"it declares {pixels} pixels {tuple(shape)}, where 1 to {max_pixels} are allowed"
        raise _BadImage(msg)
