"""Means, deviations, medians and covariances of a table on disk, a few rows in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from deeploc_tf.profiles.tables import Groups
from deeploc_tf.profiles.transforms import MEAN_TO_DEVIATION, robust_estimates

ROWS_OF_MEDIANS = 200_000


class Vectors(Protocol):
    """Vectors that are read in chunks, as those of a `RowTable`."""

    @property
    def num_features(self) -> int:
        """Length of the vectors."""

    def used_chunks(
        self, used: NDArray[np.bool_]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Numbers of the used vectors, and these, float32 `(rows, num_features)`."""


def means_by_group(
    vectors: Vectors, groups: Groups, chosen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Mean of the chosen vectors of each group, in one pass; 0 where there are none."""
    sums = np.zeros((len(groups.names), vectors.num_features))
    for rows, chunk in vectors.used_chunks(chosen):
        sums += _members(groups, rows) @ chunk.astype(np.float64)
    counts = np.bincount(groups.codes[chosen], minlength=len(groups.names))
    return sums / np.maximum(counts, 1)[:, None]


def moments_by_group(
    table: Vectors, groups: Groups, chosen: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation (of n, as scikit-learn) by group, in one pass."""
    shape = (len(groups.names), table.num_features)
    sums, squares = np.zeros(shape), np.zeros(shape)
    counts = np.zeros((len(groups.names), 1))
    about: Any = 0.0
    for rows, vectors in table.used_chunks(chosen):
        if not counts.any():  # near the mean, so that squares lose nothing
            about = vectors.mean(axis=0, dtype=np.float64)
        centered = vectors - about
        members = _members(groups, rows)
        sums += members @ centered
        squares += members @ np.square(centered)
        counts += members.sum(axis=1)
    means = sums / np.maximum(counts, 1)
    variances = squares / np.maximum(counts, 1) - means**2
    # what rounding leaves of a constant feature
    variances[variances < 1e-12 * np.abs(squares / np.maximum(counts, 1))] = 0
    return means + about, np.sqrt(np.maximum(variances, 0))


def robust_by_group(
    table: Vectors, groups: Groups, chosen: NDArray[np.bool_], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Median and two spreads by group, of as many rows as are held at once.

    Args:
        table: of cells.
        groups: of its rows.
        chosen: bool `(num_rows,)`, rows that count.
        seed: of the rows that are held where there are more.

    Returns:
        Medians, median and mean absolute deviations, `(num_groups, num_features)` each, see
        `robust_estimates`.
    """
    sampled = _sampled(groups, chosen, ROWS_OF_MEDIANS, np.random.default_rng(seed))
    held = np.empty((int(sampled.sum()), table.num_features), np.float32)
    codes = groups.codes[sampled]
    filled = 0
    for rows, vectors in table.used_chunks(sampled):
        held[filled : filled + len(rows)] = vectors
        filled += len(rows)
    shift = np.zeros((len(groups.names), table.num_features))
    scale, mean_deviation = np.ones_like(shift), np.ones_like(shift)
    for group in np.unique(codes):
        members = held[codes == group]
        shift[group], scale[group], mean_deviation[group] = robust_estimates(members)
    return shift, scale, mean_deviation


def spread_around(
    table: Vectors, groups: Groups, used: NDArray[np.bool_], shift: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Spread of each feature over all rows, `(num_features,)`, in one pass.

    It is the mean absolute deviation from the shift of a row's group, scaled to the standard
    deviation of a normal distribution.

    Args:
        table: of cells.
        groups: of its rows.
        used: bool `(num_rows,)`, rows that count.
        shift: `(num_groups, num_features)`.
    """
    total = np.zeros(table.num_features)
    for rows, vectors in table.used_chunks(used):
        about = shift[groups.codes[rows]]
        deviations = np.abs(vectors - about)
        # what rounding leaves of a constant feature: float32 differ by more
        deviations[deviations < 1e-9 * np.abs(about)] = 0
        total += deviations.sum(axis=0)
    found: NDArray[np.float64] = MEAN_TO_DEVIATION * total / used.sum()
    return found


def _sampled(
    groups: Groups, chosen: NDArray[np.bool_], most: int, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Of the chosen rows at most so many, evenly over the groups as far as they go."""
    if chosen.sum() <= most:
        return chosen
    rows = generator.permutation(np.flatnonzero(chosen))
    codes = groups.codes[rows]
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], codes[order])
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.arange(len(rows)) - starts  # which row of its group each one is
    sampled = np.zeros_like(chosen)
    sampled[rows[np.argsort(rank, kind="stable")[:most]]] = True
    return sampled


def covariance_of(
    table: Vectors,
    transformed: Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[Any]],
    chosen: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance (of n - 1) of transformed rows, in one pass.

    Args:
        table: read once.
        transformed: gives vectors, of the table's vectors and their row numbers.
        chosen: bool `(num_rows,)`, two or more.
    """
    about: Any = None
    total: Any = 0.0
    products: Any = 0.0
    for rows, vectors in table.used_chunks(chosen):
        values = transformed(vectors, rows)
        if about is None:  # near the mean, so that squares lose nothing
            about = values.mean(axis=0, dtype=np.float64)
        centered = values - about
        total = total + centered.sum(axis=0)
        products = products + centered.T @ centered
    count = int(chosen.sum())
    mean = total / count
    return mean + about, (products - count * np.outer(mean, mean)) / (count - 1)


def _members(groups: Groups, rows: NDArray[np.int64]) -> scipy.sparse.csr_matrix:
    """1 where a row is of a group, `(num_groups, num_rows)`: its products are sums by group."""
    return scipy.sparse.csr_matrix(
        (np.ones(len(rows)), (groups.codes[rows], np.arange(len(rows)))),
        (len(groups.names), len(rows)),
    )
