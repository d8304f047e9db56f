"""Attribution: which pixels of a crop the logit of a class comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from deeploc_tf.explanation.pixels import PixelModel, pixel_model
from deeploc_tf.explanation.results import Attributions
from deeploc_tf.models.keras_settings import our_settings

_FIRST_STEPS = 16
_BATCH = 64  # points of the path at a time


@our_settings()
def integrated_gradients(
    model: keras.Model | PixelModel,
    images: NDArray[Any],
    masks: NDArray[Any] | None = None,
    *,
    classes: Sequence[int],
    tolerance: float = 0.01,
    max_steps: int = 512,
    done: Callable[[int], None] | None = None,
) -> Attributions:
    """Divide the logit of a class of each crop among its pixels, against a crop of zeros.

    The attribution of a pixel is its value times the mean gradient of the logit on the straight
    path from the baseline to the crop. All attributions add up to the logit of the crop minus that
    of the baseline (completeness). Pixels are those after normalization, where 0 is the darkest
    pixel of a channel (after "standardize" the mean, and outside of a mask the background): so a
    pixel that is as dark as the baseline gets none. A network with preprocessing of its own has raw
    pixels, whose 0 is 0.

    The mean is taken by the trapezoidal rule, whose steps are doubled until the sum is complete.

    Args:
        model: as `DeepLoc` made it or `load_trained` gives it, from crops to logits.
        images: `(num_crops, height, width, channels)`, raw, of the model's dtype.
        masks: `(num_crops, height, width)`, for a model that takes them.
        classes: index of the class of each crop.
        tolerance: of the completeness, as a share of the difference of the two logits.
        max_steps: the most intervals of the path.
        done: called with the number of crops so far.

    Returns:
        A value per pixel and channel, both logits, and the gap that is left.

    Raises:
        ValueError: there is not one class per crop, the model has no such class, or a crop has
            pixels that are not finite.

    References:
        Sundararajan, Taly & Yan 2017, Axiomatic attribution for deep networks, arXiv 1703.01365.

    Example:
        found = integrated_gradients(load_trained("run").model, images, classes=[0])
    """
    if len(classes) != len(images):
        msg = (
            "`classes` must name one class per crop. Received: "
            f"{len(classes)} classes for {len(images)} crops."
        )
        raise ValueError(msg)
    seen = model if isinstance(model, PixelModel) else pixel_model(model)
    if not all(0 <= index < seen.num_classes for index in classes):
        msg = f"`classes` must be numbers below {seen.num_classes}. Received: {list(classes)}."
        raise ValueError(msg)
    if not np.isfinite(images).all():
        msg = "Crops must be finite. Received: pixels that are NaN or infinite. Leave them out."
        raise ValueError(msg)
    pixels = seen.of_crops(images, masks)
    values = np.zeros(np.shape(images), np.float32)
    rows = []
    for number, (crop, index) in enumerate(zip(pixels, classes, strict=True)):
        attribution, *row = _integrated(seen, crop, index, tolerance, max_steps)
        values[number][..., list(seen.channels)] = attribution
        rows.append(row)
        if done is not None:
            done(number + 1)
    logits, baselines, gaps, steps = np.array(rows, np.float64).reshape(-1, 4).T
    return Attributions(
        values,
        logits.astype(np.float32),
        baselines.astype(np.float32),
        gaps,
        steps.astype(np.int64),
    )


def _integrated(
    seen: PixelModel, pixels: NDArray[Any], index: int, tolerance: float, max_steps: int
) -> tuple[NDArray[np.float64], float, float, float, int]:
    """Attributions `(height, width, num_seen)`, both logits, the gap, and the steps taken."""

    def on_path(shares: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The sum of the gradients at these points, and their logits."""
        total, logits = np.zeros(pixels.shape), []
        for part in np.array_split(shares, -(-len(shares) // _BATCH)):
            points = part[:, np.newaxis, np.newaxis, np.newaxis] * pixels
            found, of_points = seen.gradients(points, np.full(len(part), index))
            total += found.sum(axis=0, dtype=np.float64)
            logits += of_points[:, index].tolist()
        return total, np.array(logits)

    ends, (baseline, logit) = on_path(np.array([0.0, 1.0]))
    steps = _FIRST_STEPS
    inner, _ = on_path(np.arange(1, steps) / steps)
    total = ends / 2 + inner
    while True:
        attribution = total / steps * pixels
        gap = float(attribution.sum() - (logit - baseline))
        if abs(gap) <= tolerance * abs(logit - baseline) or 2 * steps > max_steps:
            return attribution, float(logit), float(baseline), gap, steps
        between, _ = on_path((np.arange(steps) + 0.5) / steps)
        total, steps = total + between, 2 * steps
