"""TIFF files: a quick way for single planes, and a careful one for stacks and their metadata."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.formats.description import ImageDescription
from deeploc_tf.sources.formats.limits import BadImage, check_size
from deeploc_tf.sources.formats.ome_xml import parse_ome
from deeploc_tf.sources.formats.plain_tiff import PlainTiff
from deeploc_tf.sources.formats.tiff_header import check_directories, check_kind, read_header

_before: PlainTiff | None = None  # of the file that was decoded last; the next is likely alike


def decode_tiff(data: bytes, max_pixels: int) -> NDArray[Any]:
    """The pixels of a TIFF file, without what its metadata say of axes."""
    global _before
    image = None if _before is None else _before.pixels(data)
    if image is not None and image.size <= max_pixels:
        return image
    header = read_header(data)
    if header is not None and not header.several:
        header.check_kind()
        check_size(header.shape, max_pixels)
        check_size(header.tile, max_pixels)
        if header.shape[2] == 1:
            image = header.plain_pixels(data)
            if image is None:
                return _decode(data)
            _before = PlainTiff.of(data, header, image)
            return image
    with open_tiff(io.BytesIO(data), max_pixels) as stack:
        return stack.pixels()


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
            check_kind(int(page.photometric), int(page.compression))

    def pixels(self) -> NDArray[Any]:
        """All planes, in the shape of the description."""
        return np.asarray(self.decode()).reshape(self.description.shape)


@contextlib.contextmanager
def open_tiff(file: BinaryIO, max_pixels: int) -> Iterator[TiffStack]:
    """A TIFF file with its metadata, checked; no pixels are read."""
    import tifffile

    file_size = check_directories(file)
    file.seek(0)
    # OME-XML may name other files: tifffile must not act on it
    with tifffile.TiffFile(file, is_ome=False, _multifile=False) as tiff:
        first: Any = tiff.pages[0]
        text = first.description
        if text.rstrip().endswith("OME>"):
            stack = _ome_stack(tiff, text, Path(getattr(file, "name", "")).name)
        else:
            stack = _series_stack(tiff)
        stack.check(max_pixels, file_size)
        yield stack


def _ome_stack(tiff: Any, text: str, file_name: str) -> TiffStack:
    ome = parse_ome(text, len(tiff.pages), file_name)
    pages = [tiff.pages[number] for number in ome.pages]
    shape, axes = tuple(pages[0].shape), pages[0].axes
    if any(page.shape != shape or page.dtype != pages[0].dtype for page in pages):
        msg = "its planes differ in shape or type"
        raise BadImage(msg)
    samples = shape[axes.index("S")] if "S" in axes else 1
    if samples != ome.samples or (samples > 1 and "C" in ome.axes):
        msg = f"its OME-XML says {ome.samples} samples a pixel, and its planes are {axes} {shape}"
        raise BadImage(msg)
    description = ImageDescription(
        shape=ome.shape + shape,
        axes=ome.axes + axes.replace("S", "C"),
        channels=ome.channels,
        pixel_size=ome.pixel_size,
    )
    return TiffStack(description, pages, lambda: np.stack([page.asarray() for page in pages]))


def _series_stack(tiff: Any) -> TiffStack:
    if len(tiff.series) != 1:
        msg = f"it holds {len(tiff.series)} images of different kinds"
        raise BadImage(msg, "several images in a file")
    series = tiff.series[0]
    axes = series.axes if "C" in series.axes else series.axes.replace("S", "C")
    known = set(axes) <= set("TZCYX") and len(set(axes)) == len(axes)
    description = ImageDescription(tuple(series.shape), axes if known else "")
    return TiffStack(description, list(series.pages), series.asarray)


def _decode(data: bytes) -> NDArray[Any]:
    import imagecodecs

    image: NDArray[Any] = imagecodecs.tiff_decode(data)
    return image
