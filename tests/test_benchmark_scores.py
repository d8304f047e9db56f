"""Every score against a second, naive implementation, and against scikit-learn."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve

from deeploc_tf.benchmark import average_precision as ap
from deeploc_tf.benchmark.benchmark import Extent, benchmark
from deeploc_tf.benchmark.per_query import permutation_p_values, query_scores
from deeploc_tf.benchmark.similarity import cosine_similarities, similarities_of
from deeploc_tf.benchmark.standards import Standard, StandardError, annotate

PROTEINS = [f"P{i}" for i in range(40)]


def features(seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(40, 6)).astype(np.float32)


def standard(seed: int = 1) -> Standard:
    generator = np.random.default_rng(seed)
    terms = {
        f"T{t}": frozenset(generator.choice(PROTEINS, int(generator.integers(1, 9)), replace=False))
        for t in range(12)
    }
    return Standard("random", terms)


def naive_average_precision(values: list[float], positive: list[bool]) -> float:
    """Precision at each distinct score, weighted by the recall that it adds."""
    total, before = 0.0, 0
    for threshold in sorted(set(values), reverse=True):
        above = [p for v, p in zip(values, positive, strict=True) if v >= threshold]
        total += (sum(above) - before) / sum(positive) * sum(above) / len(above)
        before = sum(above)
    return total


def share_a_term(first: str, second: str) -> bool:
    return any(first in members and second in members for members in standard().terms.values())


def cosine(first: int, second: int) -> float:
    x, y = features()[first].astype(float), features()[second].astype(float)
    return float(x @ y / np.sqrt(x @ x) / np.sqrt(y @ y))


@given(
    st.lists(
        st.tuples(st.integers(-3, 3).map(lambda n: n / 2), st.booleans()), min_size=1, max_size=40
    ).filter(lambda pairs: any(p for _, p in pairs))
)
@settings(max_examples=200, deadline=None)
def test_average_precision_with_ties_is_that_of_sklearn_and_of_the_definition(
    pairs: list[tuple[float, bool]],
) -> None:
    values = np.array([v for v, _ in pairs])
    positive = np.array([p for _, p in pairs])
    ours = ap.average_precision(values, values[positive])
    assert ours == pytest.approx(average_precision_score(positive, values), abs=1e-12)
    assert ours == pytest.approx(naive_average_precision(values.tolist(), positive.tolist()))


def test_tied_pairs_are_not_ranked_in_our_favor() -> None:
    values = np.zeros(4)
    assert ap.average_precision(values, values[:1]) == 0.25
    annotation = annotate(
        Standard("s", {"a": frozenset("xy"), "b": frozenset("zw")}), ["x", "y", "z", "w"]
    )
    similarities = similarities_of(np.ones((4, 1), np.float32))
    found = query_scores(similarities, ap.shared_terms(annotation), [1, 2, 3])
    assert found.positives.tolist() == [1, 1, 1, 1]
    assert found.hits.T.tolist() == [[0] * 4, [0] * 4, [1] * 4]
    assert found.auroc.tolist() == [0.5] * 4
    assert found.precision == pytest.approx([1 / 3] * 4)


def test_pooled_numbers_against_naive_loops_and_sklearn() -> None:
    result = benchmark(features(), PROTEINS, [standard()])[0]
    known = {p for m in standard().terms.values() if len(m) > 1 for p in m}
    pairs = [
        (i, j)
        for i, j in itertools.combinations(range(40), 2)
        if {PROTEINS[i], PROTEINS[j]} <= known
    ]
    positive = [share_a_term(PROTEINS[i], PROTEINS[j]) for i, j in pairs]
    numbers = result.numbers
    assert (numbers["pairs"], numbers["positive_pairs"]) == (len(pairs), sum(positive))
    assert numbers["prevalence"] == sum(positive) / len(pairs)
    naive = naive_average_precision([cosine(i, j) for i, j in pairs], positive)
    assert numbers["average_precision"] == pytest.approx(naive, abs=1e-6)
    assert numbers["lift"] == numbers["average_precision"] / numbers["prevalence"]
    similarities = cosine_similarities(features(), PROTEINS)
    ranked = [similarities[i, j] for i, j in pairs]
    assert numbers["average_precision"] == pytest.approx(
        average_precision_score(positive, ranked), abs=1e-12
    )
    precision, recall, _ = precision_recall_curve(positive, ranked)
    assert set(result.curve.recall) <= set(recall)
    assert set(np.round(result.curve.precision, 12)) <= set(np.round(precision, 12))


def test_numbers_of_each_query_against_naive_loops_and_sklearn() -> None:
    numbers = benchmark(features(), PROTEINS, [standard()], ks=(1, 5))[0].numbers
    known = [p for p in PROTEINS if any(p in m for m in standard().terms.values() if len(m) > 1)]
    similarities = cosine_similarities(features(), PROTEINS)
    precisions, recall_at_5, precision_at_5, prevalences = [], [], [], []
    for query in known:
        others = [p for p in known if p != query]
        positive = [share_a_term(query, other) for other in others]
        ranked = [similarities[PROTEINS.index(query), PROTEINS.index(o)] for o in others]
        precisions.append(average_precision_score(positive, ranked))
        best = sorted(range(len(others)), key=lambda i: (-ranked[i], positive[i]))[:5]
        recall_at_5.append(sum(positive[i] for i in best) / sum(positive))
        precision_at_5.append(sum(positive[i] for i in best) / 5)
        prevalences.append(sum(positive) / len(positive))
    assert numbers["mean_average_precision"] == pytest.approx(np.mean(precisions), abs=1e-12)
    assert numbers["recall_at_5"] == pytest.approx(np.mean(recall_at_5), abs=1e-12)
    assert numbers["precision_at_5"] == pytest.approx(np.mean(precision_at_5), abs=1e-12)
    assert numbers["mean_query_prevalence"] == pytest.approx(np.mean(prevalences), abs=1e-12)


def test_normalized_average_precision_is_zero_at_the_mean_of_all_rankings() -> None:
    num_ranked, num_positives = 7, 3
    every = [
        naive_average_precision(
            [-float(i) for i in range(num_ranked)], [i in chosen for i in range(num_ranked)]
        )
        for chosen in itertools.combinations(range(num_ranked), num_positives)
    ]
    mean = float(np.mean(every))
    assert ap.normalized_average_precision(mean, num_positives, num_ranked) == pytest.approx(0)
    assert ap.normalized_average_precision(1.0, num_positives, num_ranked) == 1


def test_harmonic_number_of_many_pairs() -> None:
    exact = ap.normalized_average_precision(0.5, 10, 10**6)
    more = ap.normalized_average_precision(0.5, 10, 10**6 + 1)
    assert more == pytest.approx(exact, abs=1e-9)


def test_shuffled_labels_sit_at_prevalence() -> None:
    extent = Extent(num_shuffles=200)
    numbers = benchmark(features(), PROTEINS, [standard()], extent=extent)[0].numbers
    error = numbers["shuffled_average_precision_sd"] / np.sqrt(200)
    # a ranking of few positives is a little better than prevalence on average: mu0
    assert abs(numbers["shuffled_average_precision"] - numbers["prevalence"]) < 4 * error + 0.01


def test_profiles_that_know_the_answer_score_one() -> None:
    groups = Standard("g", {f"g{k}": frozenset(PROTEINS[k::4]) for k in range(4)})
    numbers = benchmark(np.tile(np.eye(4, dtype=np.float32), (10, 1)), PROTEINS, [groups])[
        0
    ].numbers
    assert numbers["average_precision"] == numbers["mean_average_precision"] == 1
    assert numbers["recall_at_10"] == numbers["precision_at_5"] == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, 0])
def test_profiles_that_cannot_be_compared_are_left_out_and_counted(value: float) -> None:
    spoiled = features()
    spoiled[3] = value
    numbers = benchmark(spoiled, PROTEINS, [standard()])[0].numbers
    others = [i for i in range(40) if i != 3]
    expected = benchmark(features()[others], [PROTEINS[i] for i in others], [standard()])[0].numbers
    assert numbers["profiles_left_out"] == 1
    assert {**numbers, "profiles_left_out": 0} == expected
    with pytest.raises(ValueError, match=r"finite and not zero.*\(40 of 40\)"):
        benchmark(np.full((40, 3), value, np.float32), PROTEINS, [standard()])


def test_one_protein_and_duplicates() -> None:
    with pytest.raises(ValueError, match=r"two or more.*1 profiles"):
        benchmark(features()[:1], PROTEINS[:1], [standard()])
    with pytest.raises(ValueError, match=r"\['P0'\] more than once"):
        benchmark(features()[:2], ["P0", "P0"], [standard()])


def test_standards_that_decide_nothing() -> None:
    with pytest.raises(StandardError, match="none of"):
        benchmark(features(), PROTEINS, [Standard("s", {"a": frozenset("xyz")})])
    with pytest.raises(StandardError, match="every one of 780 pairs"):
        benchmark(features(), PROTEINS, [Standard("s", {"a": frozenset(PROTEINS)})])


def test_p_values_are_shares_of_all_rankings() -> None:
    """All 28 places that two positives of eight can take, counted one by one."""
    every = [
        (1 / first + 2 / second) / 2 for first, second in itertools.combinations(range(1, 9), 2)
    ]
    scores = np.array(sorted(every))
    found = permutation_p_values(scores, np.full(28, 2), 8, 20_000, np.random.default_rng(0))
    wanted = [np.mean(np.array(every) >= score - 1e-9) for score in scores]
    np.testing.assert_allclose(found, wanted, atol=0.015)


def test_no_p_value_is_below_what_the_permutations_resolve() -> None:
    """The query's own ranking is among them: one in a hundred of 99, never 0."""
    found = permutation_p_values(np.ones(3), np.full(3, 20), 500, 99, np.random.default_rng(0))
    np.testing.assert_allclose(found, 0.01)
    worst = permutation_p_values(np.zeros(1), np.full(1, 20), 500, 99, np.random.default_rng(0))
    np.testing.assert_allclose(worst, 1)


def test_terms_with_ties_score_as_in_scikit_learn() -> None:
    places = np.random.default_rng(0).integers(0, 3, (40, 2)).astype(np.float32) + 1
    annotation = annotate(standard(), PROTEINS)
    rows = annotation.proteins
    similarities = similarities_of(places[rows], "euclidean")
    shared = ap.shared_terms(annotation)
    members = annotation.members.tocsr()
    found = query_scores(similarities, shared, (1,), members).term_precision
    block = similarities.block(slice(None), slice(None))
    place = 0
    for protein in range(len(rows)):
        for term in members.indices[members.indptr[protein] : members.indptr[protein + 1]]:
            others = np.arange(len(rows)) != protein
            positive = members[:, [term]].toarray()[others, 0] > 0
            wanted = average_precision_score(positive, block[protein, others])
            assert found[place] == pytest.approx(wanted, abs=1e-9)
            place += 1
    assert place == len(found)
