"""How bright is white in each channel: the unit in which pixels of different screens compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.features.crops import CropBatch

_TOP_OF_A_CROP, _TOP_OF_CROPS = 99.9, 99.0  # percentiles


def white_levels(
    batches: Iterable[CropBatch],
    masks_of: Callable[[CropBatch], NDArray[Any] | None] = lambda _: None,
) -> tuple[float, ...]:
    """A value a channel, which all but the brightest hundredth of the crops stay below.

    It is the 99th percentile, over the crops, of a crop's 99.9th percentile: one constant for the
    whole data set, so that brightness still tells crops apart. With masks it is that of the cells.

    Args:
        batches: the crops.
        masks_of: gives masks `(num_crops, height, width)`, not 0 inside the cell, or None, as by
            default: the cell fills the crop. A crop whose mask is empty has no say.

    Returns:
        One a channel, positive: 1 where a channel is dark in nearly all crops.
    """
    tops = [_tops(batch.images, masks_of(batch)) for batch in batches]
    found = np.concatenate(tops)
    levels = np.percentile(found, _TOP_OF_CROPS, axis=0) if len(found) else found.sum(axis=0)
    return tuple(float(level) if level > 0 else 1.0 for level in levels)


def _tops(images: NDArray[Any], masks: NDArray[Any] | None) -> NDArray[np.float64]:
    """The brightest values of each crop that has a cell, `(num_crops, channels)`."""
    if masks is None:
        whole: NDArray[np.float64] = np.percentile(images, _TOP_OF_A_CROP, axis=(1, 2))
        return whole
    cells = [image[mask != 0] for image, mask in zip(images, masks, strict=True)]
    tops = [np.percentile(cell, _TOP_OF_A_CROP, axis=0) for cell in cells if len(cell)]
    return np.reshape(tops, (-1, images.shape[-1]))
