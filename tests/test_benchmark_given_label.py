"""Labels as a method, and scores among proteins of one label, beside a naive implementation."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from shared import run_cli
from sklearn.metrics import average_precision_score

from deeploc_tf.benchmark import conditional, influence, pooled
from deeploc_tf.benchmark.compare import compare
from deeploc_tf.benchmark.identifiers import IdentifierMap
from deeploc_tf.benchmark.labels import Labels, codes_of, label_profiles, read_labels
from deeploc_tf.benchmark.per_query import QueryScores
from deeploc_tf.benchmark.scores import Extent
from deeploc_tf.benchmark.similarity import similarities_of
from deeploc_tf.benchmark.standards import Standard, StandardError
from deeploc_tf.profiles.tables import VectorTable, write_table

COUNT = 90
NAMES = [f"P{i:02}" for i in range(COUNT)]
ALL = Extent(num_shuffles=0, intervals=True)


def drawn(seed: int) -> tuple[VectorTable, Standard, dict[str, list[str]]]:
    """Profiles with ties, terms that cross labels, and labels: none, one or two a protein."""
    random = np.random.default_rng(seed)
    features = random.integers(-1, 2, (COUNT, 4)).astype(np.float32)
    features[:, 0] += 0.5  # nobody has no length
    terms = {f"t{k}": frozenset(random.choice(NAMES, 8, replace=False)) for k in range(12)}
    labels = {
        name: sorted(random.choice(["a", "b", "c"], random.integers(1, 3), replace=False))
        for name in NAMES[:80]
    }
    table = VectorTable(features, pd.DataFrame({"protein": NAMES}), {"kind": "profiles"})
    return table, Standard("terms", terms), labels


def naive(
    table: VectorTable, standard: Standard, labels: Mapping[str, list[str]]
) -> dict[str, float]:
    """Loops over pairs and scikit-learn's average precision."""
    known = frozenset().union(*standard.terms.values())
    proteins = [name for name in table.metadata["protein"] if name in known]
    vectors = dict(zip(table.metadata["protein"], table.features.astype(float), strict=True))

    def similarity(one: str, two: str) -> float:
        x, y = vectors[one], vectors[two]
        return float(np.float32(x @ y / np.linalg.norm(x) / np.linalg.norm(y)))

    def positive(one: str, two: str) -> bool:
        return any(one in term and two in term for term in standard.terms.values())

    def same(one: str, two: str) -> bool:
        return one in labels and two in labels and set(labels[one]) == set(labels[two])

    pairs = [pair for pair in itertools.combinations(proteins, 2) if same(*pair)]
    truth, scores = [positive(*pair) for pair in pairs], [similarity(*pair) for pair in pairs]
    queries, shares = [], []
    for one in proteins:
        others = [two for two in proteins if two != one and same(one, two)]
        own = [positive(one, two) for two in others]
        if any(own):
            ranked = [similarity(one, two) for two in others]
            queries.append(average_precision_score(own, ranked))
            shares.append(np.mean(own))
    score = average_precision_score(truth, scores)
    return {
        "pairs": len(pairs),
        "positive_pairs": sum(truth),
        "proteins": len(set(itertools.chain(*pairs))),
        "queries": len(queries),
        "prevalence": np.mean(truth),
        "average_precision": score,
        "lift": score / np.mean(truth),
        "mean_average_precision": np.mean(queries),
        "mean_query_prevalence": np.mean(shares),
    }


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("memory", [None, 1])
def test_scores_given_the_label_are_those_of_loops(seed: int, memory: int | None) -> None:
    table, standard, labels = drawn(seed)
    extent = Extent(num_shuffles=0, memory=memory)
    found = compare([("x", table)], [standard], given=labels, extent=extent)
    numbers = found.methods[0].results[0].numbers
    for name, value in naive(table, standard, labels).items():
        assert numbers[f"conditional_{name}"] == pytest.approx(value, abs=1e-12), name
    assert numbers["proteins_scored"] == (
        numbers["conditional_proteins"]
        + numbers["proteins_without_label"]
        + numbers["proteins_alone_with_label"]
    )


def grouped(seed: int) -> tuple[Any, scipy.sparse.csr_matrix, np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    groups = random.integers(0, 4, COUNT)
    similarities = similarities_of(random.normal(size=(COUNT, 5)).astype(np.float32))
    dense = np.triu(random.random((COUNT, COUNT)) < 0.5, 1)  # nobody has one positive alone
    return similarities.of_groups(groups), scipy.sparse.csr_matrix(dense | dense.T), groups


def test_influences_given_the_label_are_derivatives() -> None:
    similarities, shared, groups = grouped(0)
    shared = conditional._within(shared, groups)
    curve = pooled.pooled_curve(similarities, shared)
    found = influence.pair_influences(similarities, shared, curve)
    rows, columns = np.triu_indices(COUNT, 1)
    same = groups[rows] == groups[columns]
    rows, columns = rows[same], columns[same]
    true = shared.toarray()[rows, columns]
    scores = similarities.block(slice(None), slice(None))[rows, columns]

    def weighted(protein: int, weight: float) -> tuple[float, float]:
        weights = np.where((rows == protein) | (columns == protein), weight, 1.0)
        score = average_precision_score(true, scores, sample_weight=weights)
        return score, score / np.average(true, weights=weights)

    for protein in (0, 7, COUNT - 1):
        more, less = weighted(protein, 1 + 1e-5), weighted(protein, 1 - 1e-5)
        own = ((rows == protein) | (columns == protein)).sum()
        for name, high, low in zip(("average_precision", "lift"), more, less, strict=True):
            slope = (high - low) / 2e-5 * len(rows) / (len(rows) - own)
            assert found[name].of_proteins[protein] == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_influences_on_queries_given_the_label_are_what_leaving_out_changes() -> None:
    similarities, shared, groups = grouped(1)

    def scores(kept: np.ndarray[Any, Any]) -> Any:
        own = similarities.among(kept)
        positives = conditional._within(shared[kept][:, kept], groups[kept])
        return own, positives, conditional._of_queries(own, positives)

    everyone = np.arange(COUNT)
    own, positives, precision = scores(everyone)
    nothing = np.zeros((COUNT, 0), int)
    queries = QueryScores(precision, precision * np.nan, nothing, nothing, precision)
    found = influence.query_influences(own, positives, queries, ())["mean_average_precision"]
    mean = np.nanmean(precision)
    without = [np.nanmean(scores(np.delete(everyone, protein))[2]) for protein in range(12)]
    assert found.value == pytest.approx(mean)
    assert found.of_proteins[:12] == pytest.approx(mean - np.array(without), abs=1e-12)


def test_error_of_lifts_shuffled_within_labels_is_that_of_shuffling() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2, 3], [9, 6, 3, 2])
    same = groups[:, None] == groups
    weights, ones = (np.triu(random.random((20, 20)) * same, 1) for _ in range(2))
    weights, ones = weights + weights.T, (ones + ones.T) > 0.6
    shuffled = []
    for _ in range(20_000):
        order = np.concatenate([random.permutation(np.flatnonzero(groups == g)) for g in range(4)])
        shuffled.append((weights * ones[np.ix_(order, order)]).sum() / 2)
    sums = weights.sum(axis=1), np.square(weights).sum(axis=1)
    found = influence._error_within(groups, sums, scipy.sparse.csr_matrix(ones))
    assert found == pytest.approx(np.std(shuffled), rel=0.02)


def test_lifts_given_the_label_hold_one_where_names_are_permuted_within_labels() -> None:
    table, standard, labels = drawn(0)
    random = np.random.default_rng(1)
    codes = codes_of(read_labels(labels), NAMES)
    misses = 0
    for _ in range(60):
        order = np.arange(COUNT)
        for code in np.unique(codes):
            order[codes == code] = random.permutation(order[codes == code])
        features = random.normal(size=(COUNT, 6)).astype(np.float32)[order]
        shuffled = VectorTable(features, table.metadata, {})
        found = compare([("x", shuffled)], [standard], given=labels, extent=ALL)
        numbers = found.methods[0].results[0].numbers
        low, high = numbers["conditional_lift_low"], numbers["conditional_lift_high"]
        misses += not low <= 1 <= high
    assert misses <= 8  # of 3 expected; more than 8 are as rare as 3 in a thousand


def test_nothing_is_left_where_labels_are_the_terms_or_everyone_differs() -> None:
    table, _, _ = drawn(0)
    terms = {f"t{k}": frozenset(NAMES[k::6]) for k in range(6)}
    standard = Standard("terms", terms)
    cases: list[tuple[Labels, str]] = [
        (standard, "each of "),
        ({name: name for name in NAMES}, "no two"),
        ({name: f"{i % 6}{i // 12}" for i, name in enumerate(NAMES)}, "each of"),
        ({name: str(i // 6) for i, name in enumerate(NAMES)}, "none of"),
        ({NAMES[0]: "a"}, "no two"),
    ]
    for given, reason in cases:
        found = compare([("x", table)], [standard], given=given, extent=ALL)
        result = found.methods[0].results[0]
        assert result.numbers["conditional_average_precision"] is None
        assert result.numbers["conditional_mean_average_precision"] is None
        assert reason in result.notes["conditional_average_precision"]
        assert json.dumps(found.to_json())


def test_labels_know_nothing_beyond_themselves() -> None:
    table, standard, labels = drawn(2)
    found = compare(
        [("x", table)], [standard], labels=labels, given=labels, num_random=3, extent=ALL
    )
    assert [method.name for method in found.methods] == ["x", "labels", "random"]
    numbers = found.methods[1].results[0].numbers
    assert numbers["conditional_lift"] == pytest.approx(1)
    assert {method.results[0].numbers["proteins_with_profile"] for method in found.methods} == {80}
    scores = {row["score"] for row in found.differences()}
    assert {"average_precision", "conditional_mean_average_precision"} <= scores
    with pytest.raises(ValueError, match="may be called 'labels'"):
        compare([("labels", table)], [standard], labels=labels)


def test_profiles_of_labels_have_a_one_for_each_label() -> None:
    found = label_profiles(read_labels({"A": ["x", "y"], "B": "y"}))
    assert found.feature_names == ("x", "y")
    assert found.features.tolist() == [[1, 1], [0, 1]]
    assert found.metadata["protein"].tolist() == ["A", "B"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "plate,Protein,Localization\n1,A,nucleus\n1,A,nucleus\n2,B,\n2,C,er\n"),
        ("labels.tsv", "protein\tlabel\nA\tnucleus\nC\ter\n"),
        ("labels.tsv", "A\tnucleus\nC\ter\n"),
        ("labels.tsv", "gene\tplate\tcompartment\nA\t1\tnucleus\nC\t2\ter\n"),
        ("labels.gmt", "nucleus\tof the cell\tA\ner\treticulum\tC\n"),
        ("labels.csv", "Metadata_Gene;label\n A;nucleus\nC ;er\n"),
    ],
)
def test_labels_are_read_from_tables_and_standards(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    found = read_labels(tmp_path / name)
    assert found.terms == {"nucleus": {"A"}, "er": {"C"}}
    assert found.report["file"] == name
    assert len(found.report["sha256"]) == 64


def test_labels_are_read_from_parquet_and_renamed(tmp_path: Path) -> None:
    path = tmp_path / "cells.parquet"
    frame = pd.DataFrame({"protein": ["A", "B", None], "label": ["x", "y", "x"], "x1": [1, 2, 3]})
    frame.to_parquet(path)
    names = IdentifierMap(({"A": frozenset({"SEC1"})},))
    assert read_labels(path, names).terms == {"x": {"SEC1"}, "y": {"B"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "must have a column protein"),
        ("protein,label\nA,\n", "Some protein must have a label"),
        ("protein,label\n", "row"),
        ("protein,label\nA,nucleus\nB,Nucleus\n", "must differ in more than case"),
    ],
)
def test_labels_that_cannot_be_read_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_labels(tmp_path / "labels.csv")


def test_labels_of_other_proteins_are_refused() -> None:
    table, standard, _ = drawn(0)
    with pytest.raises(StandardError, match="Some of the profiles"):
        compare([("x", table)], [standard], given={"Q1": "a", "Q2": "b"})


def test_the_command_takes_labels_twice(tmp_path: Path) -> None:
    table, standard, labels = drawn(3)
    write_table(tmp_path / "x.parquet", table, list("abcd"))
    rows = [f"{name}\t{label}" for name, own in labels.items() for label in own]
    (tmp_path / "labels.tsv").write_text("protein\tlabel\n" + "\n".join(rows) + "\n")
    lines = [f"{t}\t-\t" + "\t".join(sorted(members)) for t, members in standard.terms.items()]
    (tmp_path / "terms.gmt").write_text("\n".join(lines))
    words = [tmp_path / "x.parquet", tmp_path / "terms.gmt", tmp_path / "out", "--shuffles", 0]
    words += ["--labels", tmp_path / "labels.tsv", "--given", tmp_path / "labels.tsv"]
    done = run_cli("benchmark", *words, "--permutations", "0")
    assert done.exit_code == 0, done.output
    assert "AP|label" in done.stdout
    values = json.loads((tmp_path / "out/scores.json").read_text("utf-8"))
    assert [method["name"] for method in values["methods"]] == ["x", "labels"]
    assert values["given"]["file"] == "labels.tsv"
    expected = naive(VectorTable(table.features[:80], table.metadata[:80], {}), standard, labels)
    numbers = values["methods"][0]["standards"]["terms"]
    assert numbers["conditional_average_precision"] == pytest.approx(expected["average_precision"])
    assert {"conditional_average_precision_low", "conditional_lift_high"} <= numbers.keys()
