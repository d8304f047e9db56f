"""Two screens of the same proteins, brought into one space in which proteins are told apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.joins import Joined
from deeploc_tf.profiles.moments import Vectors, means_by_group
from deeploc_tf.profiles.shift_test import discriminants
from deeploc_tf.profiles.tables import Groups, RowTable
from deeploc_tf.profiles.transforms import robust_scale

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
        parts: of each protein.
    """

    differences: NDArray[np.float64]
    residuals: tuple[NDArray[np.float32], NDArray[np.float32]]
    counts: tuple[NDArray[np.int64], NDArray[np.int64]]
    parts: NDArray[np.int64]

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


def projected(
    screens: tuple[Screen, Screen],
    names: list[str],
    groups: NDArray[np.int64],
    num_components: int,
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
        num_components: principal components of the means that the directions are made of, at most,
            after each feature was divided by its spread within proteins; as many as there are
            features, or more: the features themselves.
        num_dimensions: of the space, at most.
    """
    taken, means = _means(screens, names)
    first, second = (np.bincount(codes[codes >= 0], minlength=len(names)) for codes in taken)
    parts = np.arange(len(names)) % NUM_PARTS
    read = [
        (one.vectors, codes, center)
        for one, codes, center in zip(screens, taken, means, strict=True)
    ]
    both, apart = (means[0] + means[1]) / 2, means[1] - means[0]
    bases = [np.eye(both.shape[1])] * NUM_PARTS
    if num_components < both.shape[1]:
        spread = np.sqrt(sum(_squares(*each) for each in read) / (first + second - 2).sum())
        spread[spread == 0] = np.inf
        for part in range(NUM_PARTS):
            bases[part] = _leading((both / spread)[parts != part], num_components)
            bases[part] /= spread[:, None]
    scatters = [_scatter(*each, parts, bases) for each in read]
    num_dimensions = min(num_dimensions, *(basis.shape[1] for basis in bases))
    directions = []
    differences = np.empty((len(names), num_dimensions))
    for part, basis in enumerate(bases):
        others = parts != part
        within = (scatters[0][part] + scatters[1][part]) / (first + second - 2)[others].sum()
        between = np.atleast_2d(np.cov((both[others] @ basis).T))
        directions.append(basis @ discriminants(within, between, num_dimensions))
        inside = parts == part
        differences[inside] = _without_shift(apart @ directions[-1], groups)[inside]
    of_parts = np.stack(directions)
    residuals = [_residuals(*each, of_parts, parts) for each in read]
    return Projected(differences, (residuals[0], residuals[1]), (first, second), parts)


def _means(
    screens: tuple[Screen, Screen], names: Sequence[str]
) -> tuple[list[NDArray[np.int32]], list[NDArray[np.float64]]]:
    """Of each screen the protein of each vector, as an index of `names`, and their means."""
    taken = [_renumbered(one, names) for one in screens]
    means = [
        means_by_group(one.vectors, Groups(tuple(names), codes), codes >= 0)
        for one, codes in zip(screens, taken, strict=True)
    ]
    return taken, means


def _leading(rows: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Directions in which rows vary, `(num_features, num_directions)`: those of most variance."""
    centered = rows - rows.mean(axis=0)
    few = len(rows) < rows.shape[1]
    values, vectors = np.linalg.eigh(centered @ centered.T if few else centered.T @ centered)
    chosen = np.flatnonzero(values > 1e-12 * values[-1])[::-1][:most]
    directions: NDArray[np.float64] = vectors[:, chosen]
    return centered.T @ directions / np.sqrt(values[chosen]) if few else directions


def single_rows(
    screens: tuple[Screen, Screen],
    names: list[str],
    groups: NDArray[np.int64],
    num_dimensions: int,
) -> Projected:
    """Differences of proteins that have one vector in each screen.

    Nothing tells there how far vectors of one protein lie from one another. The unit is the spread
    of the differences over proteins (of which most stayed), and the directions are those in which
    the proteins differ most.

    Args:
        screens: the two.
        names: proteins that both have.
        groups: number of each protein's group, whose median difference is its shift.
        num_dimensions: of the space, at most.
    """
    _, means = _means(screens, names)
    apart = _without_shift(means[1] - means[0], groups)
    _, spread = robust_scale(apart)
    directions = _leading((means[0] + means[1]) / spread, num_dimensions)
    differences = (apart / spread) @ directions
    nothing = np.empty((0, differences.shape[1]), np.float32)
    ones = np.ones(len(names), np.int64)
    return Projected(
        differences / robust_scale(differences)[1], (nothing, nothing), (ones, ones), ones
    )


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


def _squares(
    vectors: Vectors, codes: NDArray[np.int32], means: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sum of the squares of what vectors are off the mean of their protein, of each feature."""
    found = np.zeros(vectors.num_features)
    for rows, chunk in vectors.used_chunks(codes >= 0):
        found += np.square(chunk - means[codes[rows]]).sum(axis=0)
    return found


def _scatter(
    vectors: Vectors,
    codes: NDArray[np.int32],
    means: NDArray[np.float64],
    parts: NDArray[np.int64],
    bases: Sequence[NDArray[np.float64]],
) -> list[NDArray[np.float64]]:
    """Sum of the outer products of what vectors are off their mean, for each part of the others.

    Args:
        vectors: read once.
        codes: protein of each vector; -1: none.
        means: of the proteins.
        parts: of the proteins, below `NUM_PARTS`.
        bases: of each part `(num_features, num_components)`.

    Returns:
        Of each part `(num_components, num_components)`.
    """
    found = [np.zeros((basis.shape[1], basis.shape[1])) for basis in bases]
    for rows, chunk in vectors.used_chunks(codes >= 0):
        left = (chunk - means[codes[rows]]).astype(np.float32)
        for part, basis in enumerate(bases):
            others = left[parts[codes[rows]] != part] @ basis.astype(np.float32)
            found[part] += others.T @ others
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
