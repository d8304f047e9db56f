"""Where the cell is in a crop that has no mask: by the brightness of a structural channel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, gaussian_filter, label

_BINS = 256
_SMOOTHING = 1.0  # pixels; else noise makes pieces of a few pixels


def otsu_mask(channel: NDArray[Any]) -> NDArray[np.bool_]:
    """The cell in the middle of a crop: what is brighter than Otsu's threshold, in one piece.

    Of several pieces the one that holds the middle pixel is taken, or else the largest: others
    belong to neighbors. Holes are filled. The channel is smoothed before, by a Gaussian of one
    pixel. Cells that touch and are equally bright stay one piece.

    Args:
        channel: `(height, width)`, a marker of the whole cell.

    Returns:
        bool `(height, width)`; nothing is inside where all pixels are equal.
    """
    if channel.min() == channel.max():  # smoothed it would differ by rounding
        return np.zeros(channel.shape, bool)
    smooth = gaussian_filter(channel.astype(np.float64), _SMOOTHING)
    pieces, count = label(smooth > otsu_threshold(smooth))
    if not count:
        return np.zeros(channel.shape, bool)
    middle = int(pieces[channel.shape[0] // 2, channel.shape[1] // 2])
    sizes = np.bincount(pieces.ravel())
    mask: NDArray[np.bool_] = binary_fill_holes(pieces == (middle or 1 + sizes[1:].argmax()))
    return mask


def otsu_threshold(channel: NDArray[Any]) -> float:
    """The value that splits pixels into two classes whose means lie farthest apart.

    Maximizes `n_low n_high (mean_low - mean_high)^2` over the middles of 256 bins, as scikit-image
    does, which only the extra `cellprofiler` installs. The first of equal thresholds is taken.

    Args:
        channel: pixels of any shape.

    Returns:
        The threshold; the value itself where all pixels are equal.

    References:
        Otsu 1979, IEEE Transactions on Systems, Man, and Cybernetics 9: 62-66.
    """
    low, high = float(channel.min()), float(channel.max())
    if low == high:
        return low
    counts, edges = np.histogram(channel.astype(np.float64), _BINS)
    middles = (edges[1:] + edges[:-1]) / 2
    below, above = np.cumsum(counts)[:-1], np.cumsum(counts[::-1])[::-1][1:]
    sums = np.cumsum(counts * middles)
    means = sums[:-1] / below, (sums[-1] - sums[:-1]) / above
    return float(middles[(below * above * (means[0] - means[1]) ** 2).argmax()])
