"""Pictures that drive the logit of a class up: what the network takes for that class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from deeploc_tf.explanation.pixels import PixelModel, pixel_model
from deeploc_tf.explanation.results import ClassPictures
from deeploc_tf.features.masks import otsu_mask
from deeploc_tf.models.keras_settings import our_settings

# Of Kraus et al. 2017, DeepLoc_visualize_classes.py.
_STEP = 0.3  # of normalized pixels, per standard deviation of the gradient
_SHRINKS = 0.9  # by this share, evenly, until the last step
_BLUR = 0.7  # pixels, every second step
_DARK = 60.0  # percent of the pixels, which matter least, become dark; theirs differ by class
_BATCH = 32  # classes at a time


@our_settings()
def activation_maximization(
    model: keras.Model | PixelModel,
    *,
    classes: Sequence[int] | None = None,
    cell: NDArray[Any] | None = None,
    mask: NDArray[Any] | None = None,
    steps: int = 100,
    seed: int = 0,
) -> ClassPictures:
    """Change noise by gradient ascent until the network takes it for a class, for each class.

    As in Kraus et al. 2017: the first channel that the network sees begins as uniform noise, the
    other ones are those of a real cell and stay; the gradient is divided by its standard deviation;
    the 60 % of the pixels that matter least, by value times gradient, become dark at each step;
    every second step is blurred; and what is outside of the cell stays dark. Without a cell, all
    channels begin as noise, and there is no outside.

    The network's normalization is passed by: pixels are those after it, and stay in the range that
    it gives to noise. Of all blurred steps the one with the highest logit is returned, normalized
    once more, so that the logits are of a picture that a crop could give. Their code leaves pixels
    without an upper limit, which raises logits further by pictures that no crop could give, and
    chooses the share of dark pixels by class.

    Args:
        model: as `DeepLoc` made it or `load_trained` gives it, from crops to logits.
        classes: indices of the classes; None: all.
        cell: raw image `(height, width, channels)` of a cell whose other channels are kept.
        mask: `(height, width)`, not 0 inside that cell; None: by Otsu's threshold of the first kept
            channel.
        steps: of the ascent.
        seed: of the noise, which is the same for all classes.

    Returns:
        The pictures and their logits; the same seed gives the same pictures on the same device.

    Raises:
        ValueError: `steps` is not positive, or there is no such class.

    References:
        Kraus et al. 2017, Mol Syst Biol 13:924, figure 2; Simonyan, Vedaldi & Zisserman 2013, arXiv
        1312.6034.

    Example:
        pictures = activation_maximization(load_trained("run").model)
    """
    if steps < 1:
        msg = f"`steps` must be at least 1. Received: steps={steps}."
        raise ValueError(msg)
    seen = model if isinstance(model, PixelModel) else pixel_model(model)
    known = range(seen.num_classes)
    wanted = list(known) if classes is None else [int(index) for index in classes]
    if not wanted or not set(wanted) <= set(known):
        msg = (
            f"`classes` must be numbers below {len(known)}, at least one. Received: "
            f"classes={wanted}."
        )
        raise ValueError(msg)
    start, inside, changed = _start(seen, cell, mask, seed)
    found = [
        _ascended(seen, start, inside, changed, wanted[first : first + _BATCH], steps)
        for first in range(0, len(wanted), _BATCH)
    ]
    return ClassPictures(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _start(
    seen: PixelModel, cell: NDArray[Any] | None, mask: NDArray[Any] | None, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_], int]:
    """Pixels `(*shape)` to begin with, where the cell is, and how many channels change."""
    noise = np.random.default_rng(seed).random(seen.shape, np.float32) * seen.white
    inside = np.ones(seen.shape[:2], bool)
    if cell is None:
        return noise, inside, seen.shape[-1]
    if mask is not None:
        inside = np.asarray(mask) != 0
    elif len(seen.channels) > 1:
        inside = otsu_mask(np.asarray(cell)[..., seen.channels[1]])
    if not inside.any():  # nothing to paint in
        inside = np.ones(seen.shape[:2], bool)
    of_masked = inside[np.newaxis].astype(np.uint8)
    kept = seen.of_crops(np.asarray(cell)[np.newaxis], of_masked)[0]
    return np.concatenate([noise[..., :1], kept[..., 1:]], axis=-1), inside, 1


def _ascended(
    seen: PixelModel,
    start: NDArray[np.float32],
    inside: NDArray[np.bool_],
    changed: int,
    classes: Sequence[int],
    steps: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Pictures of some classes, and the logits before and after."""
    count, rows, wanted = len(classes), np.arange(len(classes)), np.asarray(classes)
    masks = np.repeat(inside[np.newaxis].astype(np.uint8), count, axis=0)
    inside = inside[..., np.newaxis]

    def normalized(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        found = seen.normalized(pixels, masks)
        if seen.method != "standardize":  # which is over all channels together
            found[..., changed:] = pixels[..., changed:]
        return found

    pixels = normalized(np.repeat(start[np.newaxis], count, axis=0))
    low, high = (
        extreme(pixels[..., :changed], axis=(1, 2), keepdims=True) for extreme in (np.min, np.max)
    )
    pixels[..., :changed] = np.where(inside, pixels[..., :changed], low)
    slopes, first = seen.gradients(pixels, wanted)
    best, highest = pixels.copy(), np.full(count, -np.inf)
    for number in range(steps):
        before, slopes = pixels[..., :changed], slopes[..., :changed]
        slopes = slopes / (slopes.std(axis=(1, 2), keepdims=True) + 1e-8)
        matters = np.abs(slopes * (before - low))
        least = np.percentile(matters, _DARK, axis=(1, 2), keepdims=True)
        step = _STEP * (1 - _SHRINKS * number / steps) * (high - low)
        moved = np.where(matters < least, low, before + step * slopes)
        is_blurred = number % 2 == 0
        if is_blurred:
            moved = gaussian_filter(moved, (0, _BLUR, _BLUR, 0))
        pixels[..., :changed] = np.where(inside, np.clip(moved, low, high), low)
        slopes, logits = seen.gradients(pixels, wanted)
        if is_blurred:
            better = logits[rows, wanted] > highest
            best[better], highest[better] = pixels[better], logits[rows, wanted][better]
    best = normalized(best)
    return best, first, seen.gradients(best, wanted)[1]
