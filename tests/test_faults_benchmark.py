"""Faults that a benchmark must survive; see docs/reliability.md."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import textwrap
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from deeploc_tf.benchmark import average_precision, per_query, pooled
from deeploc_tf.benchmark.benchmark import Extent, benchmark
from deeploc_tf.benchmark.per_query import query_scores
from deeploc_tf.benchmark.similarity import KINDS, Kind, similarities_of
from deeploc_tf.benchmark.standards import Standard, StandardError, read_standard

NAMES = [f"P{i:02}" for i in range(24)]
GROUPS = Standard("groups", {f"g{k}": frozenset(NAMES[k::4]) for k in range(4)})
BARE = Extent(num_shuffles=0)


def vectors(seed: int = 0, count: int = 24) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(count, 5)).astype(np.float32)


# 49: identifiers and terms. Obsolete, unknown and circular terms, NOT, evidence and propagation are
# in test_benchmark_formats.py, ambiguous names in test_benchmark_identifiers.py.


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"a": ["YAL001C", "YAL002W"]}, "none of 24, such as"),
        ({"a": ["P00", "YAL002W"], "b": ["P01"]}, "2 proteins in common, 2 terms with fewer"),
        ({"a": NAMES}, "every one of 276 pairs"),
    ],
)
def test_no_overlap_no_pair_or_all_pairs(terms: dict[str, list[str]], message: str) -> None:
    standard = Standard("s", {term: frozenset(members) for term, members in terms.items()})
    with pytest.raises(StandardError, match=message):
        benchmark(vectors(), NAMES, [GROUPS, standard], extent=BARE)


def test_mixed_names_are_counted() -> None:
    mixed = Standard("s", {"a": frozenset(["P00", "P01", "YAL001C"]), "b": frozenset(NAMES[4:7])})
    numbers = benchmark(vectors(), NAMES, [mixed], extent=BARE)[0].numbers
    assert numbers["proteins_in_standard"] == 6
    assert numbers["proteins_in_both"] == numbers["proteins_scored"] == 5
    assert numbers["proteins_with_profile"] == 24


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.gmt", "ER\t\tA\tB\nGolgi\n", "line 2: 'Golgi'"),
        ("a.gmt", "ER\t\tA\tB\nER\t\tC\tD\n", "'ER' in lines 1 and 2"),
        ("a.tsv", "A\tER\nB ER\n", "line 2: 'B ER'"),
        ("a.json", '{"ER": ["A"], "ER": ["B"]}', "'ER' is there twice"),
    ],
)
def test_malformed_lines_and_double_terms_are_named(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(StandardError, match=message) as caught:
        read_standard(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


# 50: scores that could be 0 or 1 by accident


def naive(values: list[float], positive: list[bool]) -> float:
    """Average precision by its definition."""
    total, before = 0.0, 0
    for threshold in sorted(set(values), reverse=True):
        above = [p for v, p in zip(values, positive, strict=True) if v >= threshold]
        total += (sum(above) - before) / sum(positive) * sum(above) / len(above)
        before = sum(above)
    return total


ROW = st.one_of(
    st.lists(st.integers(-2, 2), min_size=3, max_size=3),  # ties, duplicates, constant, zero
    st.just([float("nan"), 0, 1]),
    st.just([float("inf"), 0, 1]),
)


@given(st.lists(ROW, min_size=8, max_size=14), st.sampled_from(KINDS))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_ties_duplicates_zero_constant_and_nan_profiles(
    rows: list[list[float]], kind: Kind
) -> None:
    features = np.array(rows, np.float32)
    names = NAMES[: len(rows)]
    finite = np.isfinite(features).all(axis=1)
    lengths = np.where(finite[:, None], features, 1)
    if kind in ("pearson", "spearman"):
        lengths = lengths - lengths[:, :1]
    usable = finite & ((kind == "euclidean") | (np.abs(lengths).max(axis=1) > 0))
    kept = [i for i in range(len(rows)) if usable[i]]
    assume(min(sum(i % 2 == k for i in kept) for k in (0, 1)) > 1)
    pairs = list(itertools.combinations(kept, 2))
    positive = [i % 2 == j % 2 for i, j in pairs]
    terms = {f"t{k}": frozenset(names[k::2]) for k in range(2)}
    (found,) = benchmark(features, names, [Standard("s", terms)], similarity=kind, extent=BARE)
    numbers = found.numbers
    assert numbers["profiles_left_out"] == len(rows) - len(kept)
    undefined = {name for name, value in numbers.items() if value is None}
    assert undefined <= found.notes.keys()
    assert all(np.isfinite(value) for name, value in numbers.items() if name not in undefined)
    values = [exact_similarity(features[i], features[j], kind) for i, j in pairs]
    assert numbers["average_precision"] == pytest.approx(naive(values, positive), abs=1e-9)


def exact_similarity(x: Any, y: Any, kind: Kind) -> float:
    """To nine digits, so that what is equal in theory ties."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if kind == "euclidean":
        return round(-float(np.linalg.norm(x - y)), 9)
    if kind == "spearman":
        x, y = ([float((v < a).sum() + (v <= a).sum()) for a in v] for v in (x, y))
    x, y = (np.asarray(v) - (0 if kind == "cosine" else np.mean(v)) for v in (x, y))
    return round(float(x @ y / np.sqrt((x @ x) * (y @ y))), 9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [24, 700])
def test_identical_profiles_score_prevalence(kind: Kind, count: int) -> None:
    names = [f"P{i}" for i in range(count)]
    standard = Standard("s", {f"t{k}": frozenset(names[k::4]) for k in range(4)})
    same = np.repeat(vectors(3, 1), count, axis=0)
    numbers = benchmark(same, names, [standard], similarity=kind, extent=BARE)[0].numbers
    assert numbers["average_precision"] == pytest.approx(numbers["prevalence"], abs=1e-12)
    assert numbers["mean_average_precision"] == pytest.approx(
        numbers["mean_query_prevalence"], abs=1e-12
    )
    assert numbers["mean_auroc"] == 0.5


def test_equal_profiles_tie_also_where_no_matrix_is_kept() -> None:
    same = np.repeat(np.random.default_rng(0).normal(size=(1, 512)), 700, axis=0)
    similarities = similarities_of(same.astype(np.float32), largest_matrix=10)
    assert similarities.matrix is None
    assert len(np.unique(similarities.block(slice(0, 300), slice(0, None)))) == 1


def test_one_protein_and_doubles() -> None:
    with pytest.raises(ValueError, match=r"two or more.*1 profiles"):
        benchmark(vectors()[:1], NAMES[:1], [GROUPS])
    with pytest.raises(ValueError, match=r"\['P00'\] more than once"):
        benchmark(vectors()[:3], ["P00", "P00", "P01"], [GROUPS])


def mutant(function: Callable[..., Any], was: str, becomes: str) -> Callable[..., Any]:
    """A function of ours with one phrase of its source changed."""
    source = textwrap.dedent(inspect.getsource(function))
    assert was in source
    scope = dict(function.__globals__)
    exec(source.replace(was, becomes), scope)
    made: Callable[..., Any] = scope[function.__name__]
    return made


def scores_of_ties() -> tuple[float, float, float, int]:
    """Six proteins that are all alike; the first three, and the others, share a term."""
    shared = np.kron(np.eye(2), np.ones((3, 3))).astype(bool) & ~np.eye(6, dtype=bool)
    positives = scipy.sparse.csr_matrix(shared)
    similarities = similarities_of(np.ones((6, 2), np.float32))
    queries = query_scores(similarities, positives, [2])
    whole = pooled.pooled_curve(similarities, positives).average_precision
    bounded = pooled.pooled_curve(similarities, positives, 1).average_precision
    return whole, bounded, float(queries.precision.mean()), int(queries.hits.sum())


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize(
    ("owner", "name", "was", "becomes"),
    [
        (pooled.Ranking, "curve", 'side="left"', 'side="right"'),
        (pooled, "_steps_of_ties", "reached[0, steps]", "reached[k, steps]"),
        (per_query, "_score_queries", "(count - lower)", "np.maximum(1, count - upper)"),
        (
            per_query,
            "_hits_of_ties",
            "np.maximum(0, cuts - above - (tied - tied_true))",
            "tied_true",
        ),
    ],
)
def test_ties_are_decided_against_us_and_a_reversed_rule_is_seen(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, was: str, becomes: str
) -> None:
    honest = (6 / 15, 6 / 15, 2 / 5, 0)
    assert scores_of_ties() == pytest.approx(honest)
    monkeypatch.setattr(owner, name, mutant(getattr(owner, name), was, becomes))
    assert scores_of_ties() != pytest.approx(honest)


# 51: more proteins than a matrix of all pairs would have room for


def test_a_bound_of_memory_holds_and_changes_no_number() -> None:
    count, bound = 3600, 16_000_000
    without_matrix = similarities_of(vectors(0, count), largest_matrix=10)
    similarities = dataclasses.replace(without_matrix, rows_at_once=32)
    same = scipy.sparse.kron(scipy.sparse.eye(count // 6), np.ones((6, 6)), "csr")
    shared = (same - scipy.sparse.eye(count)).astype(bool).tocsr()
    shared.eliminate_zeros()
    orders = [np.random.default_rng(k).permutation(count) for k in range(2)]
    found = {}
    for memory in (None, bound):
        tracemalloc.start()
        curve, shuffled = pooled.pooled_curves(similarities, shared, orders, memory)
        found[memory] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        found[memory, "scores"] = [curve.average_precision, *shuffled]
    assert found[bound, "scores"] == pytest.approx(found[None, "scores"], abs=1e-14)
    assert found[bound] < bound < 4 * count * (count - 1) // 2 < found[None]


# 52: chance


def test_shuffled_labels_and_random_profiles_sit_at_chance() -> None:
    names = [f"P{i}" for i in range(300)]
    standard = Standard("s", {f"t{k}": frozenset(names[k::10]) for k in range(10)})
    known = np.eye(10, dtype=np.float32)[np.arange(300) % 10]
    good = known + 0.5 * np.random.default_rng(0).normal(size=known.shape).astype(np.float32)
    extent = Extent(num_shuffles=20, num_draws=2)
    numbers = benchmark(good, names, [standard], extent=extent)[0].numbers
    error = numbers["shuffled_average_precision_sd"] / np.sqrt(20)
    assert abs(numbers["shuffled_average_precision"] - numbers["prevalence"]) < 4 * error + 1e-3
    assert numbers["average_precision"] > 2 * numbers["prevalence"]
    assert abs(numbers["shuffled_adjusted_mutual_information"]) < 0.1
    assert numbers["adjusted_mutual_information"] > 0.2
    assert numbers["cluster_score"] > 3 * numbers["shuffled_cluster_score"]
    chance = np.random.default_rng(1).normal(size=known.shape).astype(np.float32)
    extent = Extent(num_shuffles=0, num_permutations=500)
    numbers = benchmark(chance, names, [standard], extent=extent)[0].numbers
    assert abs(numbers["normalized_average_precision"]) < 0.02
    assert abs(numbers["mean_normalized_average_precision"]) < 0.02
    assert numbers["significant_queries"] < 0.05
    assert average_precision.normalized_average_precision(1.0, 3, 10) == 1
