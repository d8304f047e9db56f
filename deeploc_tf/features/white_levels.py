"""How bright is white in each channel: the unit in which pixels of different screens compare."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from deeploc_tf.features.crops import CropBatch

_TOP_OF_A_CROP, _TOP_OF_CROPS = 99.9, 99.0  # percentiles


def white_levels(batches: Iterable[CropBatch]) -> tuple[float, ...]:
    """A value a channel, which all but the brightest hundredth of the crops stay below.

    It is the 99th percentile, over the crops, of a crop's 99.9th percentile: one constant for the
    whole data set, so that brightness still tells crops apart.

    Returns:
        One a channel, positive: 1 where a channel is dark in nearly all crops.
    """
    tops = [np.percentile(batch.images, _TOP_OF_A_CROP, axis=(1, 2)) for batch in batches]
    levels = np.percentile(np.concatenate(tops), _TOP_OF_CROPS, axis=0)
    return tuple(float(level) if level > 0 else 1.0 for level in levels)
