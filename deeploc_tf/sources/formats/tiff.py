"""TIFF files: a quick way for single planes, and a careful one for stacks and their metadata."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.formats.description import ImageDescription
from deeploc_tf.sources.formats.image_format import Image, ImageFormat
from deeploc_tf.sources.formats.limits import MAX_PLANES, BadImage, check_size
from deeploc_tf.sources.formats.ome_xml import parse_ome
from deeploc_tf.sources.formats.plain_tiff import PlainTiff
from deeploc_tf.sources.formats.tiff_header import (
    RGB,
    TIFF_MAGICS,
    TiffHeader,
    check_directories,
    check_kind,
    check_strip,
    check_strips,
    read_header,
)
from deeploc_tf.sources.formats.tiff_metadata import is_ome, one_plane_of_ome, resolution_size

_before: PlainTiff | None = None  # of the file that was decoded last; the next is likely alike


def decode_tiff(data: bytes, max_pixels: int, path: str | os.PathLike[str] = "") -> Image:
    """The pixels of a TIFF file, and what it says of them.

    Files that begin with the same bytes give the same description, not only an equal one.

    Args:
        data: the file.
        max_pixels: refuse files that declare more.
        path: of the file, by whose name OME-XML may call it.
    """
    global _before
    before = _before  # which another thread may replace
    if before is not None:
        image = before.pixels(data)
        if image is not None and image.size <= max_pixels:
            return image, before.description
    name = os.path.basename(path)  # noqa: PTH119 -- each plane
    header = read_header(data)
    if header is not None and not header.several:
        header.check_kind()
        check_size(header.shape, max_pixels)
        check_size(header.tile, max_pixels)
        if header.shape[2] == 1:
            description = _describe_plane(header, name)
            image = header.plain_pixels(data)
            if image is None:
                header.check_deflated(data)
                return _decode(data), description
            _before = PlainTiff.of(data, header, image, description)
            return image, description
    with open_tiff(io.BytesIO(data), max_pixels, name) as stack:
        return stack.pixels(), stack.description


def _describe_plane(header: TiffHeader, name: str) -> ImageDescription:
    tags = header.tags
    text = header.description.decode("utf-8", errors="replace")
    channels: tuple[str, ...] = ()
    if is_ome(text):
        ome = one_plane_of_ome(text.rstrip("\0"), name)
        if header.dtype is not None:
            ome.check_dtype(header.dtype.name)
        channels, size = ome.channels, ome.size
    else:
        size = resolution_size(text, header.resolution, tags.get(296, 2))
    return ImageDescription(
        shape=header.shape[:2],
        axes="YX",
        channels=channels,
        size=size,
        zero_is_white=tags.get(262, 1) == 0,
        color=tags.get(262, 1) == RGB,
        orientation=tags.get(274, 1),
    )


@dataclasses.dataclass(frozen=True)
class TiffStack:
    """An open TIFF file.

    Attributes:
        description: what it says of itself.
        pages: tifffile's pages of its planes; None where one is missing.
        decode: decodes them all.
    """

    description: ImageDescription
    pages: Sequence[Any]
    decode: Callable[[], NDArray[Any]]

    def check(self, max_pixels: int, file_size: int) -> None:
        """Refuse what must not be decoded."""
        check_size(self.description.shape, max_pixels)
        for page in self.pages:
            # tifffile takes a plane that is not there, and a strip of no bytes, for zeros
            if page is None or not all(page.databytecounts):
                msg = "a plane has no pixels"
                raise BadImage(msg)
            check_size((page.tilelength or 1, page.tilewidth or 1), max_pixels)
            strips = zip(page.dataoffsets, page.databytecounts, strict=True)
            if any(start + length > file_size for start, length in strips):
                msg = "its pixels are cut"
                raise BadImage(msg)
            bits = page.bitspersample
            check_kind(int(page.photometric), int(page.compression), _number(page, 254, 0), bits)
            check_strips(_count_strips(page), math.prod(page.chunked))
            if (page.photometric == 0) != self.description.zero_is_white:
                msg = "its planes differ in photometric interpretation"
                raise BadImage(msg, "photometric interpretation differs")
            _check_sub_images(page)
        self._check_one_directory(file_size)

    def _check_one_directory(self, file_size: int) -> None:
        """Where one directory stands for all planes: that they are there, and no others."""
        page = self.pages[0]
        if len(self.pages) > 1 or page.compression != 1 or len(page.databytecounts) != 1:
            return
        row = (page.imagewidth * page.samplesperpixel * page.bitspersample + 7) // 8
        plane = page.imagedepth * page.imagelength * row
        planes = math.prod(self.description.shape) // max(math.prod(page.shape), 1)
        if page.dataoffsets[0] + planes * plane > file_size:
            msg = "its pixels are cut"
            raise BadImage(msg)
        if planes == 1:
            check_strip(page.databytecounts[0], plane)

    def pixels(self) -> NDArray[Any]:
        """All planes, in the shape of the description."""
        return np.asarray(self.decode()).reshape(self.description.shape)


def _check_sub_images(page: Any) -> None:
    """Images behind a plane (SubIFDs) must be smaller levels of it."""
    offsets = getattr(page, "subifds", None) or ()
    if len(offsets) > MAX_PLANES:
        msg = f"it holds {len(offsets)} images in SubIFDs"
        raise BadImage(msg, "too many planes")
    for number in range(len(offsets)):
        level = page.pages[number]
        is_level = level.imagelength < page.imagelength and level.imagewidth < page.imagewidth
        if not is_level or not _number(level, 254, 0) & 1:
            msg = (
                f"it holds an image {tuple(level.shape)} in SubIFDs which is no smaller level of "
                f"{tuple(page.shape)}"
            )
            raise BadImage(msg, "several images in a file")


def _count_strips(page: Any) -> int:
    """How many strips or tiles there are, of which tifffile passes over those behind the plane."""
    tags = getattr(page, "tags", None)
    starts = None if tags is None else tags.valueof(324 if page.is_tiled else 273)
    return len(starts) if isinstance(starts, tuple) else len(page.dataoffsets)


def _number(page: Any, tag: int, default: int) -> int:
    """A tag of one of tifffile's pages; frames, which share the tags of a page, have none."""
    tags = getattr(page, "tags", None)
    value = default if tags is None else tags.valueof(tag, default)
    return int(value) if isinstance(value, int) else default


@contextlib.contextmanager
def open_tiff(file: BinaryIO, max_pixels: int, name: str) -> Iterator[TiffStack]:
    """A TIFF file with its metadata, checked; no pixels are read."""
    import tifffile

    file_size = check_directories(file)
    file.seek(0)
    # OME-XML may name other files: tifffile must not act on it
    with tifffile.TiffFile(file, is_ome=False, _multifile=False) as tiff:
        first: Any = tiff.pages[0]
        text = first.description
        stack = _ome_stack(tiff, text, name) if is_ome(text) else _series_stack(tiff, text)
        description = dataclasses.replace(
            stack.description,
            zero_is_white=first.photometric == 0,
            color=first.photometric == RGB,
            orientation=_number(first, 274, 1),
        )
        stack = dataclasses.replace(stack, description=description)
        stack.check(max_pixels, file_size)
        yield stack


def _ome_stack(tiff: Any, text: str, file_name: str) -> TiffStack:
    ome = parse_ome(text, len(tiff.pages), file_name)
    pages = [tiff.pages[number] for number in ome.pages]
    shape, axes = tuple(pages[0].shape), pages[0].axes
    if any(page.shape != shape or page.dtype != pages[0].dtype for page in pages):
        msg = "its planes differ in shape or type"
        raise BadImage(msg)
    ome.check_dtype(pages[0].dtype.name)
    samples = shape[axes.index("S")] if "S" in axes else 1
    if samples != ome.samples or (samples > 1 and "C" in ome.axes):
        msg = f"its OME-XML says {ome.samples} samples a pixel, and its planes are {axes} {shape}"
        raise BadImage(msg)
    description = ImageDescription(
        shape=ome.shape + shape,
        axes=ome.axes + axes.replace("S", "C"),
        channels=ome.channels,
        size=ome.size,
    )
    return TiffStack(description, pages, lambda: np.stack([page.asarray() for page in pages]))


def _series_stack(tiff: Any, text: str) -> TiffStack:
    if len(tiff.series) != 1:
        msg = f"it holds {len(tiff.series)} images of different kinds"
        raise BadImage(msg, "several images in a file")
    series = tiff.series[0]
    shape, axes = tuple(series.shape), series.axes
    while len(shape) > 2 and shape[0] == 1:  # MetaMorph stacks of one plane have it
        shape, axes = shape[1:], axes[1:]
    axes = axes if "C" in axes else axes.replace("S", "C")
    known = set(axes) <= set("TZCYX") and len(set(axes)) == len(axes)
    tags = tiff.pages[0].tags
    fractions = [tags.valueof(tag, ()) for tag in (282, 283)]
    resolution = tuple(n for f in fractions if isinstance(f, tuple) for n in f)
    description = ImageDescription(
        shape=shape,
        axes=axes if known else "",
        labels=_labels(tiff) if axes.startswith("C") else (),
        size=resolution_size(text, resolution, _number(tiff.pages[0], 296, 2)),
    )
    return TiffStack(description, list(series.pages), series.asarray)


def _labels(tiff: Any) -> tuple[str, ...]:
    """What ImageJ calls each plane."""
    labels = (tiff.imagej_metadata or {}).get("Labels", ()) if tiff.is_imagej else ()
    return tuple(map(str, labels))


def _decode(data: bytes) -> NDArray[Any]:
    import imagecodecs

    image: NDArray[Any] = imagecodecs.tiff_decode(data)
    return image


def _describe(file: BinaryIO, max_pixels: int, name: str) -> ImageDescription:
    with open_tiff(file, max_pixels, name) as stack:
        return stack.description


def _read(file: BinaryIO, max_pixels: int, name: str) -> Image:
    with open_tiff(file, max_pixels, name) as stack:
        return stack.pixels(), stack.description


TIFF = ImageFormat(TIFF_MAGICS, decode_tiff, _describe, _read)
