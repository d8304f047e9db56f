"""Pooled, per-query, clustering and interval scores against other people's code and naive loops."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist, squareform
from scipy.stats import false_discovery_control, pearsonr, spearmanr
from sklearn.metrics import (
    adjusted_mutual_info_score,
    average_precision_score,
    pair_confusion_matrix,
    roc_auc_score,
)

from deeploc_tf.benchmark import clustering, influence, intervals, per_query, pooled
from deeploc_tf.benchmark.average_precision import average_precision
from deeploc_tf.benchmark.benchmark import Extent, benchmark
from deeploc_tf.benchmark.similarity import KINDS, Kind, Similarities, similarities_of
from deeploc_tf.benchmark.standards import Standard

COUNT = 60


def matrix_of(values: np.ndarray[Any, Any]) -> Similarities:
    """Similarities that are given, symmetric."""
    upper = np.triu(values.astype(np.float32), 1)
    return Similarities(np.zeros((len(values), 1)), None, upper + upper.T)


def shared_of(generator: np.random.Generator, count: int = COUNT) -> scipy.sparse.csr_matrix:
    """Random positives, at least one a protein."""
    dense = np.triu(generator.random((count, count)) < 0.1, 1)
    dense[np.arange(count - 1), np.arange(1, count)] = True
    return scipy.sparse.csr_matrix(dense | dense.T)


@given(st.integers(0, 10**6), st.sampled_from([1, 2, 5, 1000]))
@settings(max_examples=8, deadline=None)
def test_pooled_and_queries_with_ties_are_those_of_sklearn(seed: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.integers(-levels, levels + 1, (COUNT, COUNT)) / levels
    similarities, shared = matrix_of(values), shared_of(generator)
    matrix = cast("np.ndarray[Any, Any]", similarities.matrix)
    pairs = np.triu_indices(COUNT, 1)
    expected = average_precision_score(shared.toarray()[pairs], matrix[pairs])
    whole = pooled.pooled_curve(similarities, shared)
    assert whole.average_precision == pytest.approx(expected, abs=1e-12)
    for memory in (1, 8000):
        bounded = pooled.pooled_curve(similarities, shared, memory)
        assert np.array_equal(bounded.recall, whole.recall)
        assert np.array_equal(bounded.precision, whole.precision)
        assert np.array_equal(bounded.score, whole.score)
    found = per_query.query_scores(similarities, shared, [1, 7, 500])
    dense = shared.toarray()
    for i in range(COUNT):
        others = np.arange(COUNT) != i
        true, scores = dense[i, others], matrix[i, others]
        assert found.precision[i] == pytest.approx(average_precision_score(true, scores), abs=1e-12)
        assert found.auroc[i] == pytest.approx(roc_auc_score(true, scores), abs=1e-12)
        order = np.lexsort((true, -scores))  # of ties, the negatives first
        assert found.hits[i].tolist() == [true[order[:k]].sum() for k in (1, 7, 500)]


@pytest.mark.parametrize("kind", KINDS)
def test_similarities_are_those_of_scipy(kind: Kind) -> None:
    features = np.random.default_rng(0).normal(3, size=(9, 12)).astype(np.float32)
    oracle = {
        "cosine": lambda x, y: x @ y / np.linalg.norm(x) / np.linalg.norm(y),
        "pearson": lambda x, y: pearsonr(x, y).statistic,
        "spearman": lambda x, y: spearmanr(x, y).statistic,
        "euclidean": lambda x, y: -np.linalg.norm(x - y),
    }[kind]
    found = similarities_of(features, kind).block(slice(0, 3), slice(3, None))
    expected = [[oracle(x, y) for y in features[3:]] for x in features[:3]]
    assert found == pytest.approx(np.array(expected), abs=1e-6)


def test_mean_average_precision_of_one_label_is_that_of_copairs() -> None:
    copairs_map = pytest.importorskip("copairs.map")
    generator = np.random.default_rng(2)
    features = generator.normal(size=(COUNT, 8)).astype(np.float32)
    labels = generator.integers(0, 6, COUNT)
    table = pd.DataFrame({"label": labels, "n": np.arange(COUNT)})
    theirs = copairs_map.average_precision(
        table, features, ["label"], [], [], ["label"], batch_size=1000, progress_bar=False
    )
    members = scipy.sparse.csr_matrix(np.eye(6, dtype=int)[labels])
    shared = (members @ members.T).astype(bool)
    shared.setdiag(False)
    shared.eliminate_zeros()
    ours = per_query.query_scores(similarities_of(features), shared, [1], members)
    assert ours.precision == pytest.approx(theirs["average_precision"].to_numpy(), abs=1e-6)
    assert ours.term_precision == pytest.approx(ours.precision, abs=1e-12)


def test_average_precision_of_several_labels_is_that_of_copairs() -> None:
    multilabel = pytest.importorskip("copairs.map.multilabel")
    generator = np.random.default_rng(5)
    features = generator.normal(size=(COUNT, 8)).astype(np.float32)
    members = generator.random((COUNT, 6)) < 0.25
    members[np.arange(COUNT), np.arange(COUNT) % 6] = True
    labels = [[f"t{k}" for k in np.flatnonzero(row)] for row in members]
    table = pd.DataFrame({"label": labels, "n": np.arange(COUNT)})
    theirs = multilabel.average_precision(
        table, features, ["label"], [], [], ["label"], "label", 1000, progress_bar=False
    )
    assert len(theirs) == members.sum()
    similarities = similarities_of(features).block(slice(None), slice(None))
    # theirs ranks the members of a term among those that share no term with the query at all;
    # ours, `term_precision`, ranks them among all others: the same score of another question
    strangers = ~(members.astype(int) @ members.T.astype(int)).astype(bool)
    for query, label, score in theirs[["n", "label", "average_precision"]].itertuples(index=False):
        inside = members[:, int(label[1:])] & (np.arange(COUNT) != query)
        ranked = similarities[query, inside | strangers[query]]
        ours = average_precision(ranked, similarities[query, inside])
        assert ours == pytest.approx(score, abs=1e-6)


def test_precision_of_terms_against_sklearn() -> None:
    generator = np.random.default_rng(6)
    dense = generator.random((COUNT, 5)) < 0.3
    dense[np.arange(COUNT), np.arange(COUNT) % 5] = True
    members = scipy.sparse.csr_matrix(dense.astype(np.int32))
    shared = (members @ members.T).astype(bool)
    shared.setdiag(False)
    shared.eliminate_zeros()
    similarities = similarities_of(generator.normal(size=(COUNT, 8)).astype(np.float32))
    matrix = similarities.block(slice(None), slice(None))
    found = per_query.query_scores(similarities, shared, [1], members).term_precision
    place = 0
    for query in range(COUNT):
        others = np.arange(COUNT) != query
        for term in np.flatnonzero(dense[query]):
            expected = average_precision_score(dense[others, term], matrix[query, others])
            assert found[place] == pytest.approx(expected, abs=1e-12)
            place += 1


def test_p_values_against_every_ranking_and_scipys_adjustment() -> None:
    # one positive of four: AP is 1, 1/2, 1/3 or 1/4, each as likely
    scores = np.array([1, 1 / 2, 1 / 3, 1 / 4])
    found = per_query.permutation_p_values(
        scores, np.ones(4, int), 4, 20000, np.random.default_rng(0)
    )
    assert found == pytest.approx([0.25, 0.5, 0.75, 1], abs=0.02)
    p_values = np.random.default_rng(1).random(50) ** 3
    assert per_query.benjamini_hochberg(p_values) == pytest.approx(
        false_discovery_control(p_values)
    )


@pytest.mark.parametrize(
    ("metric", "method"),
    [
        pytest.param(metric, method, marks=[pytest.mark.long] * ((i + k) % 2))
        for i, metric in enumerate(clustering.METRICS)
        for k, method in enumerate(clustering.LINKAGES)
    ],
)
def test_every_cut_has_the_ami_of_sklearn(metric: str, method: str) -> None:
    generator = np.random.default_rng(3)
    modules = np.sort(generator.integers(0, 7, COUNT))
    features = (generator.normal(size=(7, 5))[modules] + generator.normal(size=(COUNT, 5))).astype(
        np.float32
    )
    condensed = pdist(features, metric)
    ours = squareform(clustering._distances(features, metric))
    assert ours == pytest.approx(condensed, abs=1e-6)
    tree = linkage(condensed, method)
    expected = clustering.ExpectedInformation(modules)
    ami, f1 = clustering.scores_after_merges(tree, modules, expected)
    for merges in range(1, COUNT - 1):
        clusters = fcluster(tree, COUNT - merges, "maxclust")
        assert len(set(clusters)) == COUNT - merges
        theirs = adjusted_mutual_info_score(modules, clusters)
        assert ami[merges] == pytest.approx(theirs, abs=1e-10)
        (_, wrong), (missed, right) = pair_confusion_matrix(modules, clusters)
        assert f1[merges] == pytest.approx(2 * right / (2 * right + wrong + missed), abs=1e-12)
    best = clustering.best_cut(tree, modules, expected)
    heights = np.linspace(0, tree[-1, 2], clustering.NUM_THRESHOLDS)
    cuts = [fcluster(tree, height, "distance") for height in heights]
    expected_best = max(adjusted_mutual_info_score(modules, cut) for cut in cuts)
    assert best.ami == pytest.approx(expected_best, abs=1e-10)


def test_modules_drawn_do_not_overlap() -> None:
    members = scipy.sparse.csr_matrix(np.random.default_rng(0).random((40, 15)) < 0.15)
    draws = set()
    for seed in range(5):
        proteins, modules = clustering.draw_modules(members, np.random.default_rng(seed))
        terms = [set(proteins[modules == m].tolist()) for m in range(modules.max() + 1)]
        columns = [set(np.flatnonzero(column).tolist()) for column in members.toarray().T]
        assert all(term in columns for term in terms)
        draws.add(tuple(proteins.tolist()))
    assert len(draws) > 1


@given(st.integers(0, 10**6), st.sampled_from([2, 1000]))
@settings(max_examples=5, deadline=None)
def test_influences_on_pooled_scores_are_derivatives(seed: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    similarities = matrix_of(generator.integers(-levels, levels + 1, (COUNT, COUNT)) / levels)
    shared = shared_of(generator)
    found = influence.pair_influences(
        similarities, shared, pooled.pooled_curve(similarities, shared)
    )
    rows, columns = np.triu_indices(COUNT, 1)
    true = shared.toarray()[rows, columns]
    scores = cast("np.ndarray[Any, Any]", similarities.matrix)[rows, columns]

    def weighted(protein: int, weight: float) -> tuple[float, float]:
        """Average precision and lift where all pairs of a protein weigh more, or less."""
        weights = np.where((rows == protein) | (columns == protein), weight, 1.0)
        score = average_precision_score(true, scores, sample_weight=weights)
        return score, score / np.average(true, weights=weights)

    for protein in (0, 7, COUNT - 1):
        more, less = weighted(protein, 1 + 1e-5), weighted(protein, 1 - 1e-5)
        for name, high, low in zip(("average_precision", "lift"), more, less, strict=True):
            slope = (high - low) / 2e-5 * COUNT / (COUNT - 2)
            assert found[name].of_proteins[protein] == pytest.approx(slope, rel=1e-5, abs=1e-8)


@given(st.integers(0, 10**6), st.sampled_from([2, 1000]))
@settings(max_examples=5, deadline=None)
def test_influences_on_queries_are_what_leaving_out_changes(seed: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.integers(-levels, levels + 1, (COUNT, COUNT)) / levels
    dense = np.kron(np.eye(COUNT // 4), np.ones((4, 4)))  # nobody is the only positive of another
    dense = shared_of(generator).toarray() | (dense > 0) & ~np.eye(COUNT, dtype=bool)

    def scores(kept: np.ndarray[Any, Any]) -> tuple[Any, Any, dict[str, float]]:
        similarities = matrix_of(values[np.ix_(kept, kept)])
        shared = scipy.sparse.csr_matrix(dense[np.ix_(kept, kept)])
        found = per_query.query_scores(similarities, shared, [3])
        means = {"mean_average_precision": found.precision.mean(), "mean_auroc": found.auroc.mean()}
        return similarities, shared, means

    similarities, shared, means = scores(np.arange(COUNT))
    queries = per_query.query_scores(similarities, shared, [3])
    found = influence.query_influences(similarities, shared, queries, [3])
    for name, mean in means.items():
        without = [scores(np.delete(np.arange(COUNT), protein))[2][name] for protein in range(9)]
        assert found[name].value == pytest.approx(mean)
        assert found[name].of_proteins[:9] == pytest.approx(mean - np.array(without), abs=1e-12)
    assert found["precision_at_3"].value == pytest.approx(queries.hits.mean() / 3)


def test_squares_of_pairs_are_those_of_what_two_proteins_move_together() -> None:
    """A mean over pairs of numbers that are independent scatters as they do, and no more."""
    generator = np.random.default_rng(0)
    errors, means = [], []
    for _ in range(200):
        moves = np.triu(generator.normal(size=(COUNT, COUNT)), 1)
        moves = (moves + moves.T) / (COUNT * (COUNT - 1) / 2)
        means.append(moves.sum() / 2)
        moves -= (moves.sum() / COUNT / (COUNT - 1)) * (1 - np.eye(COUNT))
        columns = np.broadcast_to(np.arange(COUNT), moves.shape)
        places = influence._Places.of(slice(0, COUNT), columns, COUNT)
        of_proteins, of_pairs = places.summed(moves)
        errors.append(influence.Influence(0, of_proteins, of_pairs / 2).estimate.standard_error)
    assert np.sqrt(np.square(errors).mean()) == pytest.approx(np.std(means), rel=0.15)


def test_error_of_shuffled_lifts_is_that_of_shuffling() -> None:
    generator = np.random.default_rng(0)
    weights, positives = (np.triu(generator.random((12, 12)), 1) for _ in range(2))
    weights, positives = weights + weights.T, (positives + positives.T > 0.7).astype(float)
    shuffled = []
    for _ in range(20_000):
        order = generator.permutation(12)
        shuffled.append((weights * positives[np.ix_(order, order)]).sum() / 2)
    factors = [(m.sum(axis=1), np.array([np.square(m).sum()])) for m in (weights, positives)]
    found = influence._error_of_shuffles(*factors[0], *factors[1])
    assert found == pytest.approx(np.std(shuffled), rel=0.02)


def test_p_values_are_adjusted_as_by_holm() -> None:
    assert intervals.adjusted([0.04, 0.01, 0.03, 0.9]) == pytest.approx([0.09, 0.04, 0.09, 0.9])
    assert intervals.adjusted([]).size == 0


def test_methods_without_a_difference_and_with_one() -> None:
    generator = np.random.default_rng(0)
    names = [f"P{i}" for i in range(COUNT)]
    standard = Standard("s", {f"t{k}": frozenset(names[k::6]) for k in range(6)})
    good = np.tile(np.eye(6), (10, 1)) + generator.normal(scale=0.8, size=(COUNT, 6))
    extent = Extent(num_shuffles=0, intervals=True)
    tables = [good, good[:, ::-1], generator.normal(size=(COUNT, 6))]
    same, again, random = (
        benchmark(table.astype(np.float32), names, [standard], extent=extent)[0] for table in tables
    )

    def compare(first: Any, second: Any) -> dict[str, Any]:
        score = "average_precision"
        return intervals.paired_difference(first.influences[score], second.influences[score])

    assert compare(same, again)["p_value"] == 1
    assert compare(same, random)["low"] > 0
    assert compare(same, random)["p_value"] < 0.05
    assert compare(random, same)["high"] < 0
