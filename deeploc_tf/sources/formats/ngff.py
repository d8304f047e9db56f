"""OME-Zarr (NGFF 0.4 on Zarr v2, 0.5 on Zarr v3): axes, channel names and the finest level."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.formats.description import ImageDescription, PixelSize
from deeploc_tf.sources.formats.limits import BadImage
from deeploc_tf.sources.formats.zarr_array import ZarrArray, open_array, read_json

_METADATA = {".zattrs": 2, "zarr.json": 3}  # file -> version of Zarr
_VERSIONS = {2: "0.4", 3: "0.5"}  # version of Zarr -> of NGFF


def is_ngff(folder: str, files: Sequence[str]) -> bool:
    """Whether a folder with files of these names is one OME-Zarr image."""
    if not any(name in files for name in _METADATA):
        return False
    try:
        return "multiscales" in _metadata(Path(folder))[0]
    except BadImage as error:
        return error.reason == "several images in a file"
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def is_damaged_group(folder: str, files: Sequence[str]) -> bool:
    """Whether a folder has the metadata of Zarr, but nobody can read them."""
    try:
        for name in _METADATA:
            if name in files:
                read_json(Path(folder) / name)
    except (ValueError, OSError):
        return True
    return False


def describe_ngff(path: str | os.PathLike[str], max_pixels: int) -> ImageDescription:
    """What an OME-Zarr image says of its finest level; no chunk is read."""
    return _open(Path(path), max_pixels)[0]


def read_ngff(
    path: str | os.PathLike[str], max_pixels: int, *, fill: bool = False
) -> tuple[NDArray[Any], ImageDescription]:
    """The pixels of the finest level, and what the image says of it; `fill` as of `ZarrArray.read`.

    Raises:
        BadImage: a chunk is missing or cut, or the metadata are not as they must be.
    """
    description, array = _open(Path(path), max_pixels)
    return array.read(fill=fill).reshape(description.shape), description


def ngff_files(
    path: str | os.PathLike[str], max_pixels: int, *, fill: bool = False
) -> tuple[str, ...]:
    """The files that the pixels come from: metadata and chunks; with `fill`, those there are."""
    folder = Path(path)
    _, array = _open(folder, max_pixels)
    metadata = [folder / name for name in _METADATA] + [
        array.folder / name for name in (".zarray", "zarr.json")
    ]
    files = [file for file in metadata if file.exists()]
    files += [file for _, file in array.files if not fill or file.exists()]
    return tuple(map(str, files))


def _open(folder: Path, max_pixels: int) -> tuple[ImageDescription, ZarrArray]:
    metadata, zarr_format = _metadata(folder)
    images = metadata["multiscales"]
    if len(images) != 1:
        msg = f"it holds {len(images)} images"
        raise BadImage(msg, "several images in a file")
    image = images[0]
    version = image.get("version") or metadata.get("version")
    if version != _VERSIONS[zarr_format]:
        msg = (
            f"it is of OME-Zarr {version} on Zarr v{zarr_format}; 0.4 on v2 and 0.5 on v3 are read"
        )
        raise BadImage(msg, "version of OME-Zarr is not read")
    finest, array = _finest(folder, image["datasets"], zarr_format, max_pixels)
    axes = [axis["name"].upper() for axis in image["axes"]]
    if len(axes) != len(array.shape) or len(set(axes)) != len(axes) or axes[-2:] != ["Y", "X"]:
        msg = f"it has axes {axes} for shape {array.shape}"
        raise BadImage(msg)
    _check_dimensions(axes, array)
    kept = [i for i, axis in enumerate(axes) if axis in "YX" or array.shape[i] > 1]
    count = array.shape[axes.index("C")] if "C" in axes else 1
    description = ImageDescription(
        shape=tuple(array.shape[i] for i in kept),
        axes="".join(axes[i] for i in kept),
        channels=_channel_names(metadata, count),
        size=_pixel_size(image, finest),
    )
    return description, array


def _check_dimensions(axes: Sequence[str], array: ZarrArray) -> None:
    """Refuse an array that calls its axes by the names of others, as a transposed one does."""
    found = [str(name or "").upper() for name in array.dimension_names]
    if any(name in axes and name != axis for name, axis in zip(found, axes, strict=False)):
        msg = f"its axes are {axes} by its image, and {found} by its array"
        raise BadImage(msg)


def _finest(
    folder: Path, levels: Sequence[dict[str, Any]], zarr_format: int, max_pixels: int
) -> tuple[dict[str, Any], ZarrArray]:
    """The level of the most pixels, wherever it is listed, and its array.

    It must be the one of the smallest pixels too, where scales say so. A coarser level that is lost
    does not matter.
    """
    for level in levels:
        place = folder / PurePosixPath(level["path"])
        if not place.resolve().is_relative_to(folder.resolve()):
            msg = f"one of its levels lies outside, in {level['path']!r}"
            raise BadImage(msg, "path leads out of the image")
    smallest = min(map(_pixel_area, levels))
    candidates = [level for level in levels if _pixel_area(level) <= smallest * (1 + 1e-6)]
    found = [
        (level, open_array(folder / PurePosixPath(level["path"]), zarr_format, max_pixels))
        for level in candidates
    ]
    finest, array = max(found, key=lambda one: math.prod(one[1].shape[-2:]))
    for level in levels:
        if level not in candidates:
            with contextlib.suppress(Exception):  # it is not this one that is read
                other = open_array(folder / PurePosixPath(level["path"]), zarr_format, max_pixels)
                if math.prod(other.shape[-2:]) > math.prod(array.shape[-2:]):
                    array = other
    if array.folder != folder / PurePosixPath(finest["path"]):
        msg = (
            f"level {finest['path']!r} has the smallest scale, and {array.folder.name!r} is larger"
        )
        raise BadImage(msg)
    return finest, array


def _pixel_area(level: dict[str, Any]) -> float:
    """What the scale of a level says of the area of its pixels; 0 where it says nothing."""
    area = 0.0
    for transform in level.get("coordinateTransformations", ()):
        if transform.get("type") == "scale" and "scale" in transform:
            height, width = map(float, transform["scale"][-2:])
            area = (area or 1.0) * height * width
    return area


def _channel_names(metadata: dict[str, Any], count: int) -> tuple[str, ...]:
    """Label of each channel, "" for one without; or () where none has one."""
    names = [c.get("label") for c in metadata.get("omero", {}).get("channels", ())]
    if any(names) and len(names) != count:
        msg = f"it names {len(names)} channels ({', '.join(map(str, names))}) of {count}"
        raise BadImage(msg)
    return tuple("" if name is None else str(name) for name in names) if any(names) else ()


def _metadata(folder: Path) -> tuple[dict[str, Any], int]:
    """The OME metadata of a group, and its version of Zarr."""
    found: list[tuple[dict[str, Any], int]] = []
    for name, zarr_format in _METADATA.items():
        if (folder / name).exists():
            values = read_json(folder / name)
            if zarr_format == 3:
                values = values.get("attributes", {}).get("ome", {})
            if "multiscales" in values:
                found.append((values, zarr_format))
    if not found:
        msg = "it has no `multiscales` metadata"
        raise BadImage(msg, "not an image")
    if len(found) > 1:
        msg = f"both {' and '.join(_METADATA)} describe an image"
        raise BadImage(msg, "several images in a file")
    return found[0]


def _pixel_size(image: dict[str, Any], finest: dict[str, Any]) -> PixelSize | None:
    """The size of a pixel of the finest level: all scales multiplied; None without any."""
    scale = np.ones(len(image["axes"]))
    transforms = (
        *finest.get("coordinateTransformations", ()),
        *image.get("coordinateTransformations", ()),
    )
    scales = [t["scale"] for t in transforms if t.get("type") == "scale" and "scale" in t]
    if not scales:
        return None
    for factors in scales:
        scale = scale * np.asarray(factors, float)
    units = [axis.get("unit") for axis in image["axes"]][-2:]
    height, width = scale[-2:].tolist()
    return PixelSize.in_units(width, height, units[1], units[0])
