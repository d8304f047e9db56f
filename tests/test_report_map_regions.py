"""Names of regions of the map: terms that are there are named, and chance names none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import hypergeom

from deeploc_tf.report.map_regions import Region, clusters, enriched


def clouds(count: int, each: int) -> np.ndarray:
    """Places of clouds that lie apart."""
    random = np.random.default_rng(0)
    centers = np.stack([np.cos(np.arange(count) * 2 * np.pi / count),
                        np.sin(np.arange(count) * 2 * np.pi / count)], axis=1)  # fmt: skip
    return np.repeat(10 * centers, each, axis=0) + random.normal(scale=0.3, size=(count * each, 2))


def test_clouds_are_regions_and_always_the_same_ones() -> None:
    places = clouds(5, 15)
    found = clusters(places)
    assert [len(set(found[i : i + 15])) for i in range(0, 75, 15)] == [1] * 5
    assert len(set(found)) == 5
    assert clusters(places).tolist() == found.tolist()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [0, 1, 29, 100])
def test_few_proteins_and_proteins_in_one_place_are_one_region(count: int) -> None:
    assert clusters(np.ones((count, 2))).tolist() == [0] * count
    assert enriched(np.zeros(count, np.int32), {"s": [["a", "b"]] * count}) == {"s": []}
    assert enriched(np.zeros(count, np.int32), {"s": [[]] * count}) == {"s": []}
    assert enriched(np.zeros(count, np.int32), {}) == {}


def test_a_term_names_the_region_where_it_is_surest() -> None:
    region = np.repeat(np.arange(4, dtype=np.int32), 20)
    terms: list[list[str]] = [["all"] for _ in region]
    for row in (*range(12), 20, 21, 22):
        terms[row].append("ribosome")
    for row in (*range(22, 30), 70):
        terms[row].append("proteasome")
    for row in (60, 61):  # too few to name a region
        terms[row].append("pair")
    found = enriched(region, {"complexes": terms, "none": [[]] * 80})
    assert found["none"] == []
    first, second = found["complexes"]
    assert (first.term, first.number, first.members, first.proteins, first.members_on_map) == (
        *("ribosome", 0, 12, 20, 15),
    )
    assert (second.term, second.number) == ("proteasome", 1)
    # ribosome, proteasome and all are tested in each of four regions
    assert first.p_value == pytest.approx(12 * hypergeom.sf(11, 80, 15, 20))


def test_only_proteins_with_a_term_are_counted() -> None:
    region = np.repeat(np.arange(2, dtype=np.int32), 30)
    terms = [["a"] if row < 10 else [] for row in range(60)]  # the others are unknown
    assert enriched(region, {"s": terms}) == {"s": []}


def test_shuffled_terms_name_a_region_in_five_of_a_hundred_pages_at_most() -> None:
    random = np.random.default_rng(1)
    region = clusters(random.normal(size=(300, 2)))
    pages = 0
    for _ in range(300):
        terms: dict[str, list[list[str]]] = {}
        for standard, size in (("complexes", 5), ("processes", 30)):
            lists: list[list[str]] = [[] for _ in region]
            for term in range(40):
                for row in random.choice(300, size, replace=False).tolist():
                    lists[row].append(f"{standard} {term}")
            terms[standard] = lists
        found: dict[str, list[Region]] = enriched(region, terms)
        pages += any(found.values())
    assert pages <= 0.05 * 300
