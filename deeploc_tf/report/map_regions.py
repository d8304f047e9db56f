"""Names of regions of the map: terms that more proteins there have than by chance."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.benchmark.per_query import benjamini_hochberg

_PROTEINS = 15  # of a region, on average, at least
_MOST_REGIONS = 40
_FEWEST_MEMBERS = 3  # of a term in a region that it names
_SIGNIFICANT = 0.05


@dataclasses.dataclass(frozen=True)
class Region:
    """A region that a term names.

    Attributes:
        term: the name.
        number: of the region among all.
        members: proteins of the term there.
        proteins: proteins there that have any term of the standard.
        members_on_map: proteins of the term on the whole map.
        p_value: of the hypergeometric test, adjusted for all tests of the page.
    """

    term: str
    number: int
    members: int
    proteins: int
    members_on_map: int
    p_value: float


def clusters(places: NDArray[np.float64]) -> NDArray[np.int32]:
    """The region of each place, int32 `(num_places,)`, by k-means with a fixed seed.

    There are at most 40, of 15 proteins or more on average.

    Args:
        places: `(num_places, 2)`, finite.
    """
    count = min(len(places) // _PROTEINS, _MOST_REGIONS, len(np.unique(places, axis=0)))
    if count < 2:
        return np.zeros(len(places), np.int32)
    from sklearn.cluster import KMeans

    found: NDArray[np.int32] = KMeans(count, n_init=3, random_state=0).fit_predict(places)
    return found


def enriched(
    region: NDArray[np.int32], terms: Mapping[str, Sequence[Sequence[str]]]
) -> dict[str, list[Region]]:
    """Of each standard the regions that a term names, the surest first.

    Each region is tested against each term of three or more proteins by the hypergeometric
    distribution, among the proteins that have any term of the standard. All p-values of the page
    are adjusted together by Benjamini and Hochberg; a name needs 5 % and three proteins. A region
    has the name of its smallest p-value, and a term names the region where its own is smallest.

    Args:
        region: of each protein, `(num_proteins,)`.
        terms: by standard, those of each protein.
    """
    from scipy.stats import hypergeom

    tables = {}
    for standard, lists in terms.items():
        pairs = [(row, term) for row, own in enumerate(lists) for term in set(own)]
        names = sorted({term for _, term in pairs})
        code = {term: number for number, term in enumerate(names)}
        counts = np.zeros((int(region.max(initial=-1)) + 1, len(names)), int)
        np.add.at(
            counts,
            (region[[row for row, _ in pairs]], np.array([code[term] for _, term in pairs], int)),
            1,
        )
        frequent = counts.sum(axis=0) >= _FEWEST_MEMBERS
        counts = counts[:, frequent]
        names = [name for name, kept in zip(names, frequent, strict=True) if kept]
        annotated = np.array([bool(own) for own in lists], bool)
        sizes = np.bincount(region[annotated], minlength=len(counts))
        p_values = np.ones(counts.shape)  # of fewer members than name a region, too
        rows, columns = np.nonzero(counts >= _FEWEST_MEMBERS)
        p_values[rows, columns] = hypergeom.sf(
            counts[rows, columns] - 1, sizes.sum(), counts.sum(axis=0)[columns], sizes[rows]
        )
        tables[standard] = (names, counts, sizes, p_values)
    if not tables:
        return {}
    adjusted = benjamini_hochberg(np.concatenate([table[3].ravel() for table in tables.values()]))
    found: dict[str, list[Region]] = {}
    for standard, (names, counts, sizes, p_values) in tables.items():
        own, adjusted = adjusted[: p_values.size].reshape(p_values.shape), adjusted[p_values.size :]
        best: dict[int, int] = {}
        rows, columns = np.nonzero(own <= _SIGNIFICANT)
        order = np.lexsort((columns, -counts[rows, columns], p_values[rows, columns]))
        for place in order.tolist():
            best.setdefault(int(rows[place]), int(columns[place]))
        named: dict[int, Region] = {}
        for row, column in best.items():  # in the order of their p-values
            if column not in named:
                named[column] = Region(
                    names[column],
                    row,
                    int(counts[row, column]),
                    int(sizes[row]),
                    int(counts[:, column].sum()),
                    float(own[row, column]),
                )
        found[standard] = list(named.values())
    return found
