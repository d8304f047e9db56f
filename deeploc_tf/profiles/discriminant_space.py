"""Two screens of the same proteins, brought into one space in which proteins are told apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.joins import Joined
from deeploc_tf.profiles.moments import Vectors, covariance_of, means_by_group
from deeploc_tf.profiles.shift_test import discriminants
from deeploc_tf.profiles.tables import Groups, RowTable
from deeploc_tf.profiles.transforms import Projection, principal_components

FEWEST_VECTORS = 2
NUM_PARTS = 5
"""Parts of the proteins: the directions for one come from the four others."""


@dataclasses.dataclass(frozen=True)
class Held:
    """Vectors in memory, such as the means of replicates.

    Attributes:
        values: float32 `(num_rows, num_features)`.
    """

    values: NDArray[np.float32]

    @property
    def num_features(self) -> int:
        """Length of the vectors."""
        return int(self.values.shape[1])

    def used_chunks(
        self, used: NDArray[np.bool_]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """All used vectors at once."""
        yield np.flatnonzero(used), self.values[used]


@dataclasses.dataclass(frozen=True)
class Reduced:
    """Vectors that are projected while they are read.

    Attributes:
        vectors: before.
        projection: of each.
    """

    vectors: Vectors
    projection: Projection

    @property
    def num_features(self) -> int:
        """Length of the projected vectors."""
        return int(self.projection.matrix.shape[1])

    def used_chunks(
        self, used: NDArray[np.bool_]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Numbers of the used vectors, and these, projected."""
        for rows, chunk in self.vectors.used_chunks(used):
            yield rows, self.projection.apply(chunk).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Screen:
    """The vectors of one screen, of cells or of replicates, and the protein of each.

    Attributes:
        path: of the table.
        vectors: to be read.
        proteins: of each vector.
        num_cells: of each protein, as in `proteins.names`.
        places: for each protein the groups by which shifts are taken, such as its plates.
        replicate_columns: that name a vector's replicate, those above included; none: rows are the
            vectors.
        left_out: rows that are in no vector, by reason.
    """

    path: Path
    vectors: Vectors
    proteins: Groups
    num_cells: NDArray[np.int64]
    places: tuple[frozenset[str], ...]
    replicate_columns: tuple[str, ...]
    left_out: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Projected:
    """Two screens, each protein in the directions that proteins of other parts gave.

    Attributes:
        differences: of the means, the second screen's less the first's and less the shift of the
            protein's group; float64 `(num_proteins, num_dimensions)`.
        residuals: of each screen, float32 `(num_vectors, num_dimensions)`, protein after protein.
        counts: vectors of each protein, in each screen.
    """

    differences: NDArray[np.float64]
    residuals: tuple[NDArray[np.float32], NDArray[np.float32]]
    counts: tuple[NDArray[np.int64], NDArray[np.int64]]

    def of_each_protein(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """The residuals of one protein after another, in both screens."""
        first, second = (
            np.split(residuals, np.cumsum(counts)[:-1])
            for residuals, counts in zip(self.residuals, self.counts, strict=True)
        )
        return zip(first, second, strict=True)


def screen(
    table: RowTable,
    used: NDArray[np.bool_],
    replicate: Sequence[str],
    by: Sequence[str],
    *,
    distinct_case: bool = False,
) -> Screen:
    """The screen in a table; cells of one replicate are averaged.

    Args:
        table: of cells, or of profiles with several rows a protein.
        used: bool `(num_rows,)`, rows that count.
        replicate: columns whose cells, of one protein, are one vector; none: cells are. Columns
            above them, such as `plate`, are taken along.
        by: columns by which shifts are taken, and likewise those above.
        distinct_case: let proteins whose names differ in case alone be two.

    Raises:
        ValueError: a column is missing, or two names may or may not be one.
    """
    proteins = table.groups("protein", distinct_case=distinct_case)
    codes = np.where(used, proteins.codes, np.int32(-1))
    left_out = {
        "undefined": int((~used).sum()),
        "without_protein": int((used & (codes < 0)).sum()),
    }
    columns = table.unit_columns(replicate, f"`replicate` of {table.path.name}")
    units = table.groups(*columns)
    left_out["without_replicate"] = int(((codes >= 0) & (units.codes < 0)).sum())
    codes = np.where(units.codes < 0, np.int32(-1), codes)
    groups = table.groups(*table.unit_columns(by, f"`by` of {table.path.name}"))
    left_out["without_group"] = int(((codes >= 0) & (groups.codes < 0)).sum())
    codes = np.where(groups.codes < 0, np.int32(-1), codes)
    proteins = Groups(proteins.names, codes)
    places = _places(proteins, groups) if by else (frozenset(),) * len(proteins.names)
    if not columns:
        counts = proteins.counts()
        return Screen(table.path, table, proteins, counts, places, columns, left_out)
    pairs = codes.astype(np.int64) * max(1, len(units.names)) + units.codes
    known = codes >= 0
    found, inverse = np.unique(pairs[known], return_inverse=True)
    unit_of_row = np.full(table.num_rows, -1, np.int32)
    unit_of_row[known] = inverse
    groups = Groups(tuple(map(str, found)), unit_of_row)
    means = means_by_group(table, groups, known).astype(np.float32)
    protein_of_unit = (found // max(1, len(units.names))).astype(np.int32)
    counted = np.bincount(codes[known], minlength=len(proteins.names)).astype(np.int64)
    of_units = Groups(proteins.names, protein_of_unit)
    return Screen(table.path, Held(means), of_units, counted, places, columns, left_out)


def named_alike(screen: Screen, join: Joined[str]) -> Screen:
    """The screen, the data of the join, with the names of the other one."""
    spelled = tuple(join.partners.get(name, name) for name in screen.proteins.names)
    return dataclasses.replace(screen, proteins=Groups(spelled, screen.proteins.codes))


def reduced(
    screens: tuple[Screen, Screen], names: Sequence[str], num_components: int
) -> tuple[Screen, Screen]:
    """Both screens by the principal components of their vectors, each screen's mean taken off.

    The components are the same whichever vectors of a protein are called treated, so that
    permutations stay fair, which discriminants of too many features would not be.

    Args:
        screens: the two.
        names: proteins whose vectors count.
        num_components: of both together.

    Raises:
        ValueError: fewer directions vary.
    """
    total: NDArray[np.float64] | float = 0.0
    middle: NDArray[np.float64] | float = 0.0
    degrees = 0
    for one in screens:
        chosen = _renumbered(one, names) >= 0
        mean, covariance = covariance_of(one.vectors, lambda vectors, _: vectors, chosen)
        total = total + covariance * (int(chosen.sum()) - 1)
        middle = middle + mean / len(screens)
        degrees += int(chosen.sum()) - 1
    projection = principal_components(
        np.asarray(middle), np.asarray(total) / degrees, num_components
    )
    first, second = (
        dataclasses.replace(one, vectors=Reduced(one.vectors, projection)) for one in screens
    )
    return first, second


def projected(
    screens: tuple[Screen, Screen],
    names: list[str],
    groups: NDArray[np.int64],
    num_dimensions: int,
) -> Projected:
    """Both screens in the directions in which proteins differ most for how much their vectors do.

    The directions come from the scatter of vectors around the mean of their protein and screen, and
    from the means of proteins over both screens: neither knows who moved. Those of a protein come
    from the proteins of other parts, as in cross-validation: directions along which its own vectors
    happen to scatter little would make its difference large against its residuals.

    Args:
        screens: the two.
        names: proteins that both have with two vectors or more, `NUM_PARTS` or more of them.
        groups: number of each protein's group, whose median difference is its shift.
        num_dimensions: of the space, at most.
    """
    taken = [_renumbered(screen, names) for screen in screens]
    first, second = (np.bincount(codes[codes >= 0], minlength=len(names)) for codes in taken)
    means = [
        means_by_group(one.vectors, Groups(tuple(names), codes), codes >= 0)
        for one, codes in zip(screens, taken, strict=True)
    ]
    parts = np.arange(len(names)) % NUM_PARTS
    read = list(zip(screens, taken, means, strict=True))
    scatters = [_scatter(one.vectors, codes, center, parts) for one, codes, center in read]
    scatter = scatters[0] + scatters[1]
    degrees = np.bincount(parts, first + second - 2)
    both, apart = (means[0] + means[1]) / 2, means[1] - means[0]
    directions = []
    differences = np.empty((len(names), min(num_dimensions, apart.shape[1])))
    for part in range(NUM_PARTS):
        others = np.arange(NUM_PARTS) != part
        within = scatter[others].sum(axis=0) / degrees[others].sum()
        between = np.atleast_2d(np.cov(both[parts != part].T))
        directions.append(discriminants(within, between, num_dimensions))
        differences[parts == part] = _without_shift(apart @ directions[-1], groups)[parts == part]
    of_parts = np.stack(directions)
    residuals = [
        _residuals(one.vectors, codes, center, of_parts, parts) for one, codes, center in read
    ]
    return Projected(differences, (residuals[0], residuals[1]), (first, second))


def _without_shift(
    differences: NDArray[np.float64], groups: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Differences less the median of their group, in place."""
    for group in np.unique(groups):
        inside = groups == group
        differences[inside] -= np.median(differences[inside], axis=0)
    return differences


def _places(proteins: Groups, groups: Groups) -> tuple[frozenset[str], ...]:
    known = (proteins.codes >= 0) & (groups.codes >= 0)
    pairs = np.unique(np.stack([proteins.codes[known], groups.codes[known]], 1), axis=0)
    found: list[set[str]] = [set() for _ in proteins.names]
    for protein, group in pairs:
        found[protein].add(groups.names[group])
    return tuple(map(frozenset, found))


def _renumbered(one: Screen, names: Sequence[str]) -> NDArray[np.int32]:
    """Index in `names` of each vector's protein, -1 for others."""
    place = {name: index for index, name in enumerate(names)}
    table = np.array([*(place.get(name, -1) for name in one.proteins.names), -1], np.int32)
    return table[one.proteins.codes]


def _scatter(
    vectors: Vectors,
    codes: NDArray[np.int32],
    means: NDArray[np.float64],
    parts: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Sum, over the vectors of each part, of the outer product of what they are off their mean.

    Args:
        vectors: read once.
        codes: protein of each vector; -1: none.
        means: of the proteins.
        parts: of the proteins, below `NUM_PARTS`.

    Returns:
        `(NUM_PARTS, num_features, num_features)`.
    """
    found = np.zeros((NUM_PARTS, vectors.num_features, vectors.num_features))
    for rows, chunk in vectors.used_chunks(codes >= 0):
        left = chunk - means[codes[rows]]
        for part in range(NUM_PARTS):
            inside = left[parts[codes[rows]] == part]
            found[part] += inside.T @ inside
    return found


def _residuals(
    vectors: Vectors,
    codes: NDArray[np.int32],
    means: NDArray[np.float64],
    directions: NDArray[np.float64],
    parts: NDArray[np.int64],
) -> NDArray[np.float32]:
    """What vectors are off their mean, protein after protein, each in the directions of its part.

    Args:
        vectors: read once.
        codes: protein of each vector; -1: none.
        means: of the proteins.
        directions: `(NUM_PARTS, num_features, num_dimensions)`.
        parts: of the proteins.

    Returns:
        `(num_vectors, num_dimensions)`.
    """
    order = np.argsort(codes, kind="stable")
    order = order[np.searchsorted(codes[order], 0) :]
    place = np.empty(len(codes), np.int64)
    place[order] = np.arange(len(order))
    held = np.empty((len(order), directions.shape[2]), np.float32)
    for rows, chunk in vectors.used_chunks(codes >= 0):
        left = chunk - means[codes[rows]]
        for part in range(NUM_PARTS):
            inside = parts[codes[rows]] == part
            held[place[rows[inside]]] = left[inside] @ directions[part]
    return held
