"""Whether a classifier is right as often as it says: confidence against accuracy, in bins."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NUM_BINS = 15  # as Guo et al.


def reliability(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], num_bins: int = NUM_BINS
) -> pd.DataFrame:
    """How confident and how often right predictions are, in bins of equal width.

    Bin m of M holds the predictions with a confidence in ((m - 1)/M, m/M].

    Args:
        confidence: `(num_crops,)`, highest probability of each crop, in [0, 1].
        correct: `(num_crops,)`, whether the class with that probability is the true one.
        num_bins: M.

    Returns:
        A row a bin: `above` and `up_to` (its borders), `num_crops`, `confidence` and `accuracy`
        (means, NaN in an empty bin).
    """
    borders = np.arange(num_bins + 1) / num_bins
    # Rounding may bring a probability a little above 1; 0 belongs to no bin but the first.
    bins = np.clip(np.searchsorted(borders, confidence, side="left") - 1, 0, num_bins - 1)
    counts = np.bincount(bins, minlength=num_bins)
    nothing = np.where(counts > 0, 1.0, np.nan)
    return pd.DataFrame(
        {
            "above": borders[:-1],
            "up_to": borders[1:],
            "num_crops": counts,
            "confidence": np.bincount(bins, confidence, num_bins) / np.maximum(counts, 1) * nothing,
            "accuracy": np.bincount(bins, correct, num_bins) / np.maximum(counts, 1) * nothing,
        }
    )


def expected_calibration_error(table: pd.DataFrame) -> float:
    """``sum over bins of n_m / n * |accuracy_m - confidence_m|``; 0 is best, and lower is better.

    It asks about the predicted class only, depends on the bins, and is biased upwards when they
    hold few crops. It is no measure of accuracy: saying the majority class with its share as
    confidence has an error of 0.

    Args:
        table: as `reliability` gives it.

    Example:
        >>> table = reliability(np.array([0.9, 0.8]), np.array([True, False]), num_bins=2)
        >>> round(expected_calibration_error(table), 3)  # right in half, 0.85 sure
        0.35

    References:
        Guo et al. 2017, On Calibration of Modern Neural Networks, ICML, arXiv 1706.04599.
    """
    gaps = (table["accuracy"] - table["confidence"]).abs().fillna(0.0)
    return float((gaps * table["num_crops"]).sum() / table["num_crops"].sum())
