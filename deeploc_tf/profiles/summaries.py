"""One vector of many: mean, median, trimmed mean, MODZ, and how far each would scatter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import get_args

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from deeploc_tf.profiles.choices import Method

METHODS: tuple[Method, ...] = get_args(Method)

TRIMMED = 0.1
"""Share of the values that a trimmed mean leaves out at either end."""
LEAST_WEIGHT = 0.01
"""Of MODZ, before weights are scaled to sum to 1."""

_BLOCK = 1024  # vectors


def mean(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean of each feature; summed in float64."""
    found: NDArray[np.float64] = vectors.mean(axis=0, dtype=np.float64)
    return found


def median(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Median of each feature."""
    # columns side by side: several times faster
    return np.asarray(np.median(np.ascontiguousarray(vectors.T), axis=1), np.float64)


def trimmed_mean(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean of each feature without the tenth of the values at either end (rounded down)."""
    cut = int(TRIMMED * len(vectors))
    if cut == 0:
        return mean(vectors)
    columns = np.ascontiguousarray(vectors.T)
    columns.partition((cut, len(vectors) - cut - 1), axis=1)
    found: NDArray[np.float64] = columns[:, cut : len(vectors) - cut].mean(axis=1, dtype=np.float64)
    return found


def modz(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Moderated Z-score consensus: vectors that agree with the others weigh more.

    The weight of a vector is its mean Spearman correlation with the others, negative ones counted
    as 0, at least 0.01, scaled so that weights sum to 1. One vector is its own consensus. A vector
    whose features are all equal has no correlation; it counts as 0.

    References:
        Subramanian et al. 2017, Cell 171:1437 (the Connectivity Map, L1000).
    """
    if len(vectors) == 1:
        return np.asarray(vectors[0], np.float64)
    weights = modz_weights(vectors)
    return weights @ vectors


def modz_weights(
    vectors: NDArray[np.float32], *, vectors_at_once: int = 1024
) -> NDArray[np.float64]:
    """Weights of two vectors or more, `(num_vectors,)`, which sum to 1; see `modz`."""
    count = len(vectors)
    ranks = scipy.stats.rankdata(vectors, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(ranks, axis=1, keepdims=True)
    ranks = np.divide(ranks, lengths, out=np.zeros_like(ranks), where=lengths > 0)
    weights = np.empty(count)
    for start in range(0, count, vectors_at_once):  # all correlations at once may not fit
        block = ranks[start : start + vectors_at_once] @ ranks.T
        block[np.arange(len(block)), np.arange(start, start + len(block))] = 0
        weights[start : start + len(block)] = np.maximum(block, 0).sum(axis=1) / (count - 1)
    weights = np.maximum(weights, LEAST_WEIGHT)
    scaled: NDArray[np.float64] = weights / weights.sum()
    return scaled


SUMMARIES: Mapping[str, Callable[[NDArray[np.float32]], NDArray[np.float64]]] = {
    "mean": mean,
    "median": median,
    "trimmed_mean": trimmed_mean,
    "modz": modz,
}


def dispersion(vectors: NDArray[np.float32], profile: NDArray[np.float64]) -> float:
    """Root of the mean squared Euclidean distance of vectors from their profile."""
    squares = 0.0
    for start in range(0, len(vectors), _BLOCK):
        squares += float(np.square(vectors[start : start + _BLOCK] - profile).sum())
    return float(np.sqrt(squares / len(vectors)))


def standard_errors(
    vectors: NDArray[np.float32],
    method: Method,
    num_resamples: int,
    generator: np.random.Generator,
) -> NDArray[np.float64] | None:
    """Standard error of each feature of a profile; NaN where there is one vector.

    That of the mean is the textbook's. Of the others it is the standard deviation over bootstrap
    resamples of the vectors, times the root of `n / (n - 1)`, without which few vectors would seem
    to scatter less than they do. Vectors must be independent: cells of one field are not quite.

    Args:
        vectors: float32 `(num_vectors, num_features)`.
        method: of the profile.
        num_resamples: 0: only the mean has an error.
        generator: of the resamples.

    Returns:
        `(num_features,)`, or None: not computed.

    References:
        Efron & Tibshirani 1993, An Introduction to the Bootstrap.
    """
    count = len(vectors)
    if method != "mean" and not num_resamples:
        return None
    if count < 2:
        return np.full(vectors.shape[1], np.nan)
    if method == "mean":
        return np.asarray(vectors.std(axis=0, ddof=1, dtype=np.float64) / np.sqrt(count))
    summary = SUMMARIES[method]
    draws = [summary(vectors[generator.integers(count, size=count)]) for _ in range(num_resamples)]
    spread: NDArray[np.float64] = np.std(draws, axis=0, ddof=1) * np.sqrt(count / (count - 1))
    return spread


def half_widths(errors: NDArray[np.float64], count: int, level: float) -> NDArray[np.float64]:
    """Half the width of each feature's interval: errors times a quantile of Student's t."""
    if count < 2:
        return errors
    found: NDArray[np.float64] = errors * scipy.stats.t.ppf((1 + level) / 2, count - 1)
    return found
