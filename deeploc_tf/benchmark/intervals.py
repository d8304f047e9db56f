"""How far scores would scatter: a bootstrap over proteins, and paired differences of methods.

Pairs are not independent, since each protein is in many, so proteins are what is drawn, with
replacement. A protein drawn twice counts twice: a pair weighs the product of its two weights, and
no pair is one of a protein with itself. Similarities and their order are those of the whole and
are computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

LEVEL = 0.95

_NUM_THREADS = 2


def resampled_weights(
    num_proteins: int, num_resamples: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """How often each protein is drawn, `(num_resamples, num_proteins)`."""
    shares = np.full(num_proteins, 1 / num_proteins)
    return generator.multinomial(num_proteins, shares, size=num_resamples)


def resampled_average_precisions(
    matrix: NDArray[np.float32], shared: scipy.sparse.csr_matrix, weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Pooled average precision of each resample; NaN where it holds no positive pair.

    Args:
        matrix: similarities `(num_proteins, num_proteins)`.
        shared: bool, sparse: which proteins share a term.
        weights: as `resampled_weights` gives them.
    """
    rows, columns = (part.astype(np.int32) for part in np.triu_indices(len(matrix), 1))
    scores = matrix[rows, columns]
    order = np.argsort(scores)[::-1]
    rows, columns, scores = rows[order], columns[order], scores[order]
    positive = np.asarray(shared[rows, columns], bool).ravel()
    # the last of each run of ties, in those runs that hold a positive
    ends = np.append(np.flatnonzero(scores[1:] != scores[:-1]), len(scores) - 1)
    trues = np.cumsum(positive)[ends]
    ends = ends[np.diff(trues, prepend=0) > 0]
    positives = np.flatnonzero(positive)
    before_end = np.searchsorted(positives, ends, side="right") - 1

    def score(weight: NDArray[np.int64]) -> float:
        weight = weight.astype(np.int32)
        total = np.cumsum(weight[rows] * weight[columns], dtype=np.int64)[ends]
        chosen = weight[rows[positives]] * weight[columns[positives]]
        true = np.cumsum(chosen, dtype=np.int64)[before_end]
        if true[-1] == 0:
            return float("nan")
        precision = true / np.maximum(total, 1)
        return float(np.diff(true, prepend=0) @ precision / true[-1])

    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        return np.array(list(pool.map(score, weights)))


def resampled_means(values: NDArray[np.float64], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean over the queries of each resample; every query's ranking stays that of all proteins."""
    good = np.isfinite(values)
    means: NDArray[np.float64] = weights[:, good] @ values[good] / weights[:, good].sum(axis=1)
    return means


def interval(resampled: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 in a hundred of the resamples."""
    low, high = np.nanquantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def paired_difference(
    first: float, second: float, resampled: Sequence[NDArray[np.float64]]
) -> dict[str, Any]:
    """How much a method is above another, from the same draws of the same proteins, JSON-ready.

    The p-value is two-sided: twice the share of resamples in which the difference has the other
    sign or is zero, the whole counted among them.

    Args:
        first: score of the method.
        second: score of the other.
        resampled: both methods' scores of the same resamples.
    """
    differences = resampled[0] - resampled[1]
    differences = differences[np.isfinite(differences)]
    low, high = interval(differences)
    smaller = min((differences <= 0).sum(), (differences >= 0).sum())
    return {
        "difference": first - second,
        "low": low,
        "high": high,
        "p_value": float(min(1.0, 2 * (smaller + 1) / (len(differences) + 1))),
    }
