"""What the metadata of a TIFF directory say: names of channels and the size of a pixel."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from deeploc_tf.sources.formats.description import PixelSize
from deeploc_tf.sources.formats.length_units import micrometres_of
from deeploc_tf.sources.formats.ome_xml import OmeImage, parse_ome

_IMAGEJ_UNIT = re.compile(r"^unit=(.*)$", re.MULTILINE)
_RESOLUTION_MICROMETRES = {2: 25400.0, 3: 1e4}  # inch and centimetre
_COARSEST = 10.0  # micrometres; no printer or screen has 2,540 dots per inch
_OWN_UUID = re.compile(r'\sUUID="[^"]*"')


def is_ome(text: str) -> bool:
    """Whether an ImageDescription is OME-XML."""
    return text.rstrip("\0 \r\n\t").endswith("OME>")


def one_plane_of_ome(text: str, file_name: str) -> OmeImage:
    """What OME-XML says of a file of one plane.

    Files of a folder differ in nothing but their UUID; without it most are answered from memory.

    Raises:
        BadImage: as of `parse_ome`.
    """
    if "<UUID" in text:  # planes are placed by the UUID or the name of this file
        return _one_plane_of_ome(text, file_name)
    return _one_plane_of_ome(_OWN_UUID.sub("", text, count=1), "")


@functools.lru_cache(maxsize=64)
def _one_plane_of_ome(text: str, file_name: str) -> OmeImage:
    return parse_ome(text, 1, file_name)


@functools.lru_cache(maxsize=64)
def resolution_size(text: str, resolution: Sequence[int], unit: int) -> PixelSize | None:
    """The size of a pixel by ImageJ's unit of length or the unit of the resolution; or None.

    What desktop programs write by habit, such as 72 dots per inch, is no size of a pixel.

    Args:
        text: the ImageDescription.
        resolution: pixels a unit, across and down, as two fractions; or less.
        unit: ResolutionUnit.
    """
    if len(resolution) != 4 or not all(resolution):
        return None
    across, pixels_across, down, pixels_down = resolution
    found = _IMAGEJ_UNIT.search(text) if text.startswith("ImageJ=") else None
    if found is not None:
        written = found[1].strip("\0 \r")
        micrometres = micrometres_of(written) or 0.0
        if not micrometres:  # pixels, or a unit that nobody knows: to be compared, not to be kept
            return PixelSize.of(pixels_across / across, pixels_down / down, written)
    else:
        micrometres = _RESOLUTION_MICROMETRES.get(unit, 0.0)
    size = PixelSize.of(micrometres * pixels_across / across, micrometres * pixels_down / down)
    is_written_by_habit = found is None or written in ("inch", "cm")
    if size is None or (is_written_by_habit and size.width >= _COARSEST):
        return None
    return size
