"""Crops as pictures: green and magenta, side by side on a sheet or each in bytes for a page."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.report.drawing import new_figure, without_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOW, _HIGH = 1.0, 99.8
_LARGEST_SIDE = 80  # pixels of a crop on a page; larger ones are averaged over blocks
_QUALITY = 70
_GAP = 2
_WIDTH = 8.0  # of the sheet and, below, of a crop, at most; in inches
_CROP_WIDTH = 1.2
_LETTERS_AN_INCH = 13


def crop_sheet(crops: Mapping[str, NDArray[Any]], *, by_crop: bool = False) -> Figure:
    """Crops of each class side by side, under the name of the class.

    Contrast is stretched for each class and channel from the 1st to the 99.8th percentile of all
    its pixels: crops of one class can be compared in brightness, classes cannot.

    Args:
        crops: class -> `(batch, height, width, channels)`, any numeric dtype; see `colored`.
        by_crop: stretch every crop by itself, which shows the faint ones too.

    Raises:
        ValueError: there is no crop, or an array has another shape.

    Example:
        crop_sheet({"AAC1": images}).savefig("crops.png")  # (num_crops, height, width, channels)
    """
    for name, images in crops.items():
        if images.ndim != 4 or not images.size:
            msg = (
                "Crops must be (batch, height, width, channels), one or more. Received: shape "
                f"{images.shape} for class {name!r}."
            )
            raise ValueError(msg)
    if not crops:
        msg = "A sheet must have a class. Received: none."
        raise ValueError(msg)
    pixels = (1, 2) if by_crop else (0, 1, 2)
    blocks = {
        name: _side_by_side(colored(images, limits(images, pixels)))
        for name, images in crops.items()
    }
    widest = max(block.shape[1] / block.shape[0] for block in blocks.values())
    columns = max(1, min(len(blocks), round(math.sqrt(2.2 * len(blocks) / widest))))
    rows = math.ceil(len(blocks) / columns)
    most = max(len(images) for images in crops.values())
    width = min(_WIDTH, columns * most * _CROP_WIDTH)
    height = rows * (width / columns / widest + 0.3)
    with new_figure(width, height) as figure:
        for place, (name, block) in enumerate(blocks.items(), start=1):
            axes = figure.add_subplot(rows, columns, place)
            axes.imshow(block)
            lines = textwrap.fill(name, int(_LETTERS_AN_INCH * width / columns))
            axes.set_title(lines, fontsize=9, loc="left")
            axes.set_xlim(-0.5, widest * len(block) - 0.5)  # a short strip keeps to the left
            without_axes(axes)
        return figure


def limits(images: NDArray[Any], pixels: tuple[int, ...] = (0, 1, 2)) -> NDArray[np.float64]:
    """What is shown black, and what at full brightness: the 1st and the 99.8th percentile.

    Args:
        images: `(batch, height, width, channels)`, of which the first two channels are shown.
        pixels: the axes whose pixels share a contrast.

    Returns:
        `(2, batch or 1, height or 1, width or 1, shown channels)`.
    """
    shown = images[..., :2].astype(np.float64)
    return np.nanpercentile(shown, [_LOW, _HIGH], axis=pixels, keepdims=True)


def colored(images: NDArray[Any], contrast: NDArray[np.float64]) -> NDArray[np.float64]:
    """Crops as RGB in [0, 1], `(batch, height, width, 3)`.

    Channel 0 is green and channel 1 magenta, which color-blind people tell apart; a single channel
    is gray; further ones are not shown.

    Args:
        images: `(batch, height, width, channels)`.
        contrast: as `limits` gives it.
    """
    low, high = contrast
    shown = images[..., :2].astype(np.float64)
    stretched = np.clip((shown - low) / np.maximum(high - low, 1e-12), 0, 1)
    green, magenta = stretched[..., 0], stretched[..., -1]
    return np.stack([magenta, green, magenta], axis=-1)


def encoded(images: NDArray[Any], contrast: NDArray[np.float64]) -> list[bytes]:
    """Crops as bytes of WebP pictures, for pages; see `colored`.

    Args:
        images: `(batch, height, width, channels)`.
        contrast: as `limits` gives it.
    """
    import imagecodecs

    pictures = (colored(images, contrast) * 255).round().astype(np.uint8)
    return [
        bytes(imagecodecs.webp_encode(picture, level=_QUALITY, lossless=False))
        for picture in pictures
    ]


def reduced(image: NDArray[Any], largest_side: int = _LARGEST_SIDE) -> NDArray[np.float64]:
    """The first two channels `(height, width, channels)`; averaged over blocks if large."""
    pixels = image[..., :2].astype(np.float64)
    factor = -(-max(pixels.shape[:2]) // largest_side)
    if factor == 1:
        return pixels
    height, width = (side // factor * factor for side in pixels.shape[:2])
    blocks = pixels[:height, :width].reshape(
        height // factor, factor, width // factor, factor, pixels.shape[2]
    )
    means: NDArray[np.float64] = blocks.mean(axis=(1, 3))
    return means


def _side_by_side(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """One white strip `(height, width of all, 3)` with gaps between the crops."""
    batch, height, width, _ = images.shape
    strip = np.ones((height, batch * (width + _GAP) - _GAP, 3))
    for number, image in enumerate(images):
        start = number * (width + _GAP)
        strip[:, start : start + width] = image
    return strip
