"""Vectors of proteins permuted between screens: many by themselves, few together with others'."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.profiles.discriminant_space import Projected
from deeploc_tf.profiles.shift_test import (
    Shifts,
    dealt_pseudo_f,
    permuted_pseudo_f,
    pseudo_f,
    shifts,
)

MANY_VECTORS, POOLED_VECTORS = 20, 200
"""Of a protein, that are permuted by themselves; and of several that have fewer, together."""


def tested(space: Projected, num_permutations: int, *, correct_bulk: bool, seed: int) -> Shifts:
    """The tests of all proteins.

    Args:
        space: vectors of both screens, less the means of their proteins there, and the moves.
        num_permutations: of the vectors of each protein.
        correct_bulk: see `shifts`.
        seed: of the permutations.
    """
    residuals = list(space.of_each_protein())
    within = np.array([_squares(a) + _squares(b) for a, b in residuals])
    statistics = pseudo_f(space.differences, within, space.counts)
    # proteins with about as many vectors, to a factor of two in the smaller screen
    kinds = np.log2(np.minimum(*space.counts)).astype(np.int64)
    degrees = space.counts[0] + space.counts[1] - 2
    spreads = np.sqrt(np.where(within > 0, within / degrees, 1.0))
    generator = np.random.default_rng(seed)
    null: list[NDArray[np.float64]] = [np.empty(0)] * len(residuals)
    for members in _together(space.parts, degrees + 2, generator):
        pool = np.concatenate(
            [unshrunk(part) / spreads[i] for i in members for part in residuals[i]]
        ).astype(np.float32)
        counts = space.counts[0][members], space.counts[1][members]
        if len(members) == 1:
            drawn = permuted_pseudo_f(pool, counts[0][0], num_permutations, generator)
            null[members[0]] = drawn
            continue
        dealt = dealt_pseudo_f(pool, counts, num_permutations, generator)
        for i, drawn in zip(members, dealt, strict=True):
            null[i] = drawn
    return shifts(statistics, null, kinds, correct_bulk=correct_bulk)


def _together(
    parts: NDArray[np.int64], counts: NDArray[np.int64], generator: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Proteins whose vectors are permuted together: one with many, or several with few.

    The vectors of several are in the same directions, those of their part.
    """
    yield from np.flatnonzero(counts >= MANY_VECTORS)[:, None]
    for part in np.unique(parts):
        members = generator.permutation(np.flatnonzero((parts == part) & (counts < MANY_VECTORS)))
        pools = (np.cumsum(counts[members]) - counts[members]) // POOLED_VECTORS
        # a rest that is too small goes with those before it
        pools = np.minimum(pools, max(0, counts[members].sum() // POOLED_VECTORS - 1))
        yield from (members[pools == pool] for pool in np.unique(pools))


def _squares(residuals: NDArray[np.float32]) -> float:
    return float(np.square(residuals).sum(dtype=np.float64))


def unshrunk(residuals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Residuals as long as if the mean were known and not taken from them."""
    return residuals * np.float32(np.sqrt(len(residuals) / (len(residuals) - 1)))
