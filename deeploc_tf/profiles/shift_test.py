"""Which proteins moved, by a test: a pseudo-F statistic, its null by permutation, and q-values.

Everything here is arithmetic on vectors in memory; `deeploc_tf.profiles.change` brings them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.linalg
import scipy.stats
from numpy.typing import NDArray

REGULARIZATION = 1e-3
"""Of the covariance within proteins, against its mean variance."""
_NORMALIZING_POWER = 1 / 3  # makes F nearly normal (Wilson & Hilferty 1931), and takes a 0
_ROUNDS = 3  # of finding the bulk
_SURELY_BULK = 0.2  # q-value above which a protein counts for the bulk
_EPSILON = np.finfo(np.float32).eps
_SIXTEENTH = 0.1586552539  # of a normal distribution, one standard deviation below the mean


@dataclasses.dataclass(frozen=True)
class Shifts:
    """What the tests of all proteins say; every array has an element a protein.

    Attributes:
        statistic: pseudo-F: variation between the screens over variation within.
        z_score: the cube root of the statistic, standardized by permutations.
        p_value: share of all proteins' permutations that are as extreme, the bulk considered.
        q_value: p-values after Benjamini-Hochberg.
        bulk_inflation: median statistic of the proteins against that of the permutations, at least
            1: where screens differ in nothing but the proteins that moved.
        bulk_width: spread of z-scores below their median, against that of the permutations, at
            least 1, after the inflation was taken off.
    """

    statistic: NDArray[np.float64]
    z_score: NDArray[np.float64]
    p_value: NDArray[np.float64]
    q_value: NDArray[np.float64]
    bulk_inflation: float
    bulk_width: float


def discriminants(
    within: NDArray[np.float64], between: NDArray[np.float64], num_dimensions: int
) -> NDArray[np.float64]:
    """The directions in which proteins differ most for how much the vectors of one protein do.

    In these coordinates the covariance within proteins is the identity, all but the regularization.

    Args:
        within: covariance of vectors around their protein's mean, `(num_features, num_features)`.
        between: covariance of the proteins' means.
        num_dimensions: directions to take; fewer where there are not so many features.

    Returns:
        `(num_features, num_dimensions)`, the best direction first.

    References:
        Fisher 1936, Annals of Eugenics 7:179; Rao 1948, J. R. Stat. Soc. B 10:159.
    """
    width = len(within)
    softened = within + REGULARIZATION * np.trace(within) / width * np.eye(width)
    num_dimensions = min(num_dimensions, width)
    _, directions = scipy.linalg.eigh(
        between, softened, subset_by_index=(width - num_dimensions, width - 1)
    )
    best_first: NDArray[np.float64] = directions[:, ::-1]
    return best_first


def pseudo_f(
    differences: NDArray[np.float64],
    squares_within: NDArray[np.float64],
    counts: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> NDArray[np.float64]:
    """Variation between two groups of vectors over variation within them, for each protein.

    `F = n |d|^2 / (S / (N - 2))`: `d` is the difference of the groups' means, `S` the sum of
    squared distances of the vectors from their group's mean, `N` how many there are, and
    `1/n = 1/n_1 + 1/n_2`.

    Args:
        differences: of means, `(num_proteins, num_dimensions)`.
        squares_within: `(num_proteins,)`.
        counts: vectors of each protein in the one and in the other group.

    References:
        Anderson 2001, Austral Ecology 26:32.
    """
    first, second = counts
    squares = np.square(differences).sum(axis=1) / (1 / first + 1 / second)
    degrees = first + second - 2
    with np.errstate(divide="ignore", invalid="ignore"):
        found = squares * degrees / squares_within
    return np.where(squares == 0, 0.0, found)


def permuted_pseudo_f(
    residuals: NDArray[np.float32],
    count: int,
    num_permutations: int,
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """Pseudo-F where the vectors of one protein are given to the two screens at random.

    Residuals and not vectors are permuted: among the vectors of a protein that moved, the move
    itself would stand in its own null.

    Args:
        residuals: vectors less the mean of their screen, times the root of `n / (n - 1)` of their
            screen, `(num_vectors, num_dimensions)`.
        count: how many of them the first screen has.
        num_permutations: how many statistics to give.
        generator: of the permutations.

    References:
        Freedman & Lane 1983, J. Business & Economic Statistics 1:292.
    """
    number = len(residuals)
    ranks = generator.random((num_permutations, number), np.float32)
    chosen = np.zeros((num_permutations, number), np.float32)
    inside = np.argpartition(ranks, count - 1, axis=1)[:, :count]
    np.put_along_axis(chosen, inside, 1.0, axis=1)
    centered = residuals - residuals.mean(axis=0)
    squares = np.square(chosen @ centered).sum(axis=1, dtype=np.float64)
    between = squares * (1 / count + 1 / (number - count))
    within = np.square(centered).sum(dtype=np.float64) - between
    smallest = np.finfo(np.float32).eps * max(float(between.max()), 1e-30)
    found: NDArray[np.float64] = between * (number - 2) / np.maximum(within, smallest)
    return found


def dealt_pseudo_f(
    residuals: NDArray[np.float32],
    counts: tuple[NDArray[np.int64], NDArray[np.int64]],
    num_permutations: int,
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """Pseudo-F where the vectors of several proteins are dealt out anew, to proteins and screens.

    For proteins with few vectors: 3 and 3 can be divided in ten ways, and what is more extreme than
    these comes up more often than p-values say that are taken from so few.

    Args:
        residuals: as those of `permuted_pseudo_f`, in units of the protein's own spread;
            `(num_vectors, num_dimensions)`.
        counts: vectors of each protein in the one and in the other screen.
        num_permutations: how many statistics to give for each protein.
        generator: of the permutations.

    Returns:
        `(num_proteins, num_permutations)`.
    """
    sizes = np.stack(counts, axis=1).ravel()
    starts = np.cumsum(sizes) - sizes
    centered = residuals - residuals.mean(axis=0)
    lengths = np.square(centered).sum(axis=1, dtype=np.float64)
    order = generator.permuted(np.tile(np.arange(len(centered)), (num_permutations, 1)), axis=1)
    means = np.add.reduceat(centered[order], starts, axis=1) / sizes.astype(np.float32)[:, None]
    squares = np.add.reduceat(lengths[order], starts, axis=1)
    squares -= sizes * np.square(means).sum(axis=2, dtype=np.float64)
    within = np.maximum(squares[:, ::2] + squares[:, 1::2], _EPSILON * lengths.sum())
    apart = (means[:, 1::2] - means[:, ::2]).astype(np.float64).reshape(-1, means.shape[2])
    first, second = (np.tile(count, num_permutations) for count in counts)
    found = pseudo_f(apart, within.ravel(), (first, second))
    return found.reshape(num_permutations, -1).T


def shifts(
    statistics: NDArray[np.float64],
    null: Sequence[NDArray[np.float64]],
    kinds: NDArray[np.integer],
    *,
    correct_bulk: bool = True,
) -> Shifts:
    """P- and q-values of statistics, given permutations of each protein.

    Statistics are standardized by the permutations of proteins of their kind (that have about as
    many vectors); the tail is then taken from the permutations of all proteins together, since
    those of one would not reach far enough.

    Two screens differ in more than their replicates do (another day, other plates). With
    `correct_bulk` the bulk of the proteins tells how much: where their median statistic is above
    that of the permutations it is divided by the ratio, and where z-scores are then still wider
    below their median, they are scaled. This assumes that fewer than half of the proteins moved,
    and never makes a p-value smaller. Proteins that are called are then taken out of the bulk, and
    it is looked at again.

    Args:
        statistics: `(num_proteins,)`.
        null: permuted statistics of each protein.
        kinds: `(num_proteins,)`, equal numbers for proteins that are standardized together.
        correct_bulk: see above.

    References:
        Devlin & Roeder 1999, Biometrics 55:997 (the ratio of medians); Benjamini & Hochberg 1995,
        J. R. Stat. Soc. B 57:289; Tusher, Tibshirani & Chu 2001, PNAS 98:5116 (pooling).
    """
    roots = np.power(statistics, _NORMALIZING_POWER)
    permuted = [np.power(values, _NORMALIZING_POWER) for values in null]
    middles, spreads = np.empty(len(roots)), np.empty(len(roots))
    for kind in np.unique(kinds):
        members = np.flatnonzero(kinds == kind)
        together = np.concatenate([permuted[i] for i in members])
        middles[members] = together.mean()
        spreads[members] = max(float(together.std()), 1e-12)
    ratios = zip(permuted, middles, spreads, strict=True)
    tail = np.sort(np.concatenate([(root - m) / spread for root, m, spread in ratios]))
    scores = (roots - middles) / spreads
    p_values = _p_values(scores, tail)
    q_values = scipy.stats.false_discovery_control(p_values)
    inflation, width = 1.0, 1.0
    bulk = np.ones(len(scores), np.bool_)
    for _ in range(_ROUNDS if correct_bulk else 0):
        inflation = max(1.0, float(np.median((roots / middles)[bulk])))
        corrected = (roots / inflation - middles) / spreads
        width = max(1.0, _spread_below(corrected[bulk]) / _spread_below(tail))
        p_values = _p_values(np.minimum(scores, corrected / width), tail)
        q_values = scipy.stats.false_discovery_control(p_values)
        bulk = q_values > _SURELY_BULK
    return Shifts(
        statistics, scores, p_values, q_values, inflation ** (1 / _NORMALIZING_POWER), width
    )


def _p_values(scores: NDArray[np.float64], tail: NDArray[np.float64]) -> NDArray[np.float64]:
    above = len(tail) - np.searchsorted(tail, scores, side="left")
    found: NDArray[np.float64] = (above + 1) / (len(tail) + 1)
    return found


def _spread_below(scores: NDArray[np.float64]) -> float:
    """How far the sixteenth hundredth lies below the median: moved proteins lie above it."""
    middle, low = np.quantile(scores, [0.5, _SIXTEENTH])
    return float(middle - low)
