"""What an image file says of itself."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class ImageDescription:
    """What an image file says of itself, known before its pixels are.

    Attributes:
        shape: of the stored planes, without axes of length 1 before them.
        axes: a letter an axis (T, Z, C, Y, X), or "" where the file does not say.
        channels: names of its channels in their order, "" for one without a name; or ().
        labels: texts of its planes, which may be names of channels or something else; or ().
        pixel_size: micrometres a pixel, or None where the file does not say.
        zero_is_white: the photometric interpretation is WhiteIsZero: high numbers are dark.
        orientation: how a viewer is to turn or mirror the image; 1 is as it is stored.
    """

    shape: tuple[int, ...]
    axes: str = ""
    channels: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    pixel_size: float | None = None
    zero_is_white: bool = False
    orientation: int = 1


def square_size(width: float, height: float) -> float | None:
    """The size of a pixel that is as wide as it is high, to one part in a thousand; else None."""
    if 0 < width < float("inf") and abs(width - height) <= 1e-3 * width:
        return width
    return None
