"""OME-XML: what it says of axes, channels and pixel size. It never makes us open another file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from deeploc_tf.sources.formats.description import PixelSize
from deeploc_tf.sources.formats.limits import MAX_PLANES, BadImage

_TYPES = {  # what OME-XML calls a type other than NumPy does
    "bit": "bool",
    "float": "float32",
    "double": "float64",
    "complex": "complex64",
    "double-complex": "complex128",
}


@dataclasses.dataclass(frozen=True, slots=True)
class OmeImage:
    """The one image that an OME-TIFF file describes.

    Attributes:
        axes: those of Z, C and T that have several planes, slowest first.
        shape: their lengths.
        samples: samples a pixel; they are channels that lie together.
        channels: name of each channel, "" for one without; or () where none has one.
        size: of a pixel, or None where it is not said.
        pages: the directory of each plane.
        dtype: name of the type of its pixels in NumPy, or "" where it is not said.
    """

    axes: str
    shape: tuple[int, ...]
    samples: int
    channels: tuple[str, ...]
    size: PixelSize | None
    pages: tuple[int, ...]
    dtype: str = ""

    def check_dtype(self, found: str) -> None:
        """Refuse pixels of another type than is said, as a writer leaves that forgets a tag.

        Signed numbers whose sign the TIFF tags do not tell would be large ones.

        Raises:
            BadImage: they are of another type.
        """
        # 1 bit and 8 bits of one are written for each other, and change no number
        if self.dtype not in ("", "bool", found):
            msg = f"its OME-XML says {self.dtype}, and its pixels are {found}"
            raise BadImage(msg, "pixel type is not known")


def parse_ome(text: str, num_pages: int, file_name: str = "") -> OmeImage:
    """What OME-XML `text` says of the file it stands in, which has `num_pages` directories.

    Raises:
        BadImage: it is not sound, describes several images, or names other files.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        msg = "its OME-XML declares entities"
        raise BadImage(msg)
    root = ElementTree.fromstring(text)  # noqa: S314 -- without entities there is nothing to expand
    if list(_children(root, "BinaryOnly")):
        msg = "its OME-XML lies in another file"
        raise BadImage(msg, "OME-XML names other files")
    images = [pixels for image in _children(root, "Image") for pixels in _children(image, "Pixels")]
    if len(images) != 1:
        msg = f"its OME-XML describes {len(images)} images"
        raise BadImage(msg, "several images in a file")
    pixels = images[0]
    described = list(_children(pixels, "Channel"))
    samples = max([int(c.get("SamplesPerPixel", 1)) for c in described], default=1)
    sizes = {axis: int(pixels.attrib["Size" + axis]) for axis in "ZCT"}
    sizes["C"] //= samples
    order = pixels.attrib["DimensionOrder"][::-1]  # ours: slowest first
    if sorted(order[:3]) != list("CTZ") or order[3:] != "YX" or min(sizes.values()) < 1:
        msg = f"its OME-XML has DimensionOrder {pixels.get('DimensionOrder')}, sizes {sizes}"
        raise BadImage(msg)
    axes = "".join(axis for axis in order if sizes.get(axis, 1) > 1)
    pages = _pages(pixels, order[:3], sizes, (root.get("UUID"), file_name), num_pages)
    names = tuple((c.get("Name") or "").strip() for c in described)
    if any(names) and samples == 1 and len(names) != sizes["C"]:
        msg = f"its OME-XML describes {len(names)} of {sizes['C']} channels"
        raise BadImage(msg)
    return OmeImage(
        axes=axes,
        shape=tuple(sizes[axis] for axis in axes),
        samples=samples,
        channels=names if any(names) else (),
        size=_pixel_size(pixels.attrib),
        pages=pages,
        dtype=_TYPES.get(pixels.get("Type", ""), pixels.get("Type", "")),
    )


def _pages(
    pixels: ElementTree.Element,
    order: str,
    sizes: dict[str, int],
    own: tuple[str | None, str],
    num_pages: int,
) -> tuple[int, ...]:
    """The directory of each plane; every plane must have one, in this file."""
    planes = sizes["Z"] * sizes["C"] * sizes["T"]
    if planes > MAX_PLANES or planes > num_pages:
        msg = f"its OME-XML describes {planes} planes, and it holds {num_pages}"
        raise BadImage(msg)
    pages: list[int | None] = [None] * planes
    blocks = list(_children(pixels, "TiffData"))
    for block in blocks:
        for other in _children(block, "UUID"):
            uuid, name = own
            if (uuid or name) != ((other.text or "").strip() if uuid else other.get("FileName")):
                msg = f"its OME-XML places planes in {other.get('FileName')!r}"
                raise BadImage(msg, "OME-XML names other files")
        first = 0
        for axis in order:
            first = first * sizes[axis] + int(block.get("First" + axis, 0))
        page = int(block.get("IFD", 0))
        count = int(block.get("PlaneCount", 1 if "IFD" in block.attrib else planes))
        if min(first, page, count) < 0 or first + count > planes or page + count > num_pages:
            msg = "its OME-XML places planes where there are none"
            raise BadImage(msg)
        pages[first : first + count] = range(page, page + count)
    if not blocks:
        pages[:] = range(planes)
    found = tuple(page for page in pages if page is not None)
    if len(set(found)) != planes:
        msg = f"its OME-XML places {len(set(found))} of {planes} planes"
        raise BadImage(msg)
    return found


def _pixel_size(attributes: dict[str, str]) -> PixelSize | None:
    width, height = (float(attributes.get("PhysicalSize" + axis, 0)) for axis in "XY")
    units = [attributes.get(f"PhysicalSize{axis}Unit", "µm") for axis in "XY"]
    return PixelSize.in_units(width, height, units[0], units[1])


def _children(element: ElementTree.Element, name: str) -> Iterator[Any]:
    """Children of that name, whatever year's schema they follow."""
    return (child for child in element if child.tag.rpartition("}")[2] == name)
