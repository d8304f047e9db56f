"""A score that is not defined is null, with a note that says why; it is never a number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shared import run_cli

from deeploc_tf.benchmark.benchmark import Extent, benchmark
from deeploc_tf.benchmark.cells import cell_scores
from deeploc_tf.benchmark.standards import Standard

NAMES = [f"P{i:02}" for i in range(30)]
FEATURES = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
OF_CLUSTERS = ("adjusted_mutual_information", "cluster_f1", "cluster_score")


def scores(terms: dict[str, list[str]], **extent: Any) -> Any:
    standard = Standard("s", {term: frozenset(members) for term, members in terms.items()})
    amount = {"num_shuffles": 2, "num_draws": 5, **extent}
    return benchmark(FEATURES, NAMES, [standard], extent=Extent(**amount))[0]


HUB = {"A": NAMES[:8], "B": ["P00", *NAMES[8:16]], "C": ["P00", *NAMES[16:]]}


@pytest.mark.parametrize("terms", [{"T": NAMES[:10], "U": ["P00", "P25"]}, HUB])
def test_clusters_of_one_module_have_no_score(terms: dict[str, list[str]]) -> None:
    found = scores(terms)
    for name in OF_CLUSTERS:
        assert found.numbers[name] is None
        assert found.numbers[f"shuffled_{name}"] is None
        assert "one term" in found.notes[name]
    assert found.numbers["adjusted_mutual_information_sd"] is None
    assert found.numbers["draws_scored"] == 0


def test_draws_of_one_module_are_left_out_of_the_mean() -> None:
    hub = {"A": ["P00", "P02"], "B": ["P00", "P01"], "C": ["P02", "P03"]}
    found = scores(hub, num_draws=30)
    draws = found.numbers["draws_scored"]
    assert 0 < draws < 30
    assert f"{30 - draws} of 30 draws" in found.notes["adjusted_mutual_information"]
    always = scores({"B": hub["B"], "C": hub["C"]}, num_draws=30)
    assert found.numbers["adjusted_mutual_information"] == pytest.approx(
        always.numbers["adjusted_mutual_information"]
    )


def test_clusters_without_spread_have_no_score_of_distance() -> None:
    standard = Standard("s", {"T": frozenset(NAMES[:10]), "U": frozenset(NAMES[10:20])})
    ones = np.ones((30, 4), np.float32)
    found = benchmark(ones, NAMES, [standard], extent=Extent(num_shuffles=0, num_draws=2))[0]
    assert found.numbers["cluster_score"] is None
    assert "scatter" in found.notes["cluster_score"]


def test_more_neighbors_than_proteins_have_no_precision_and_recall() -> None:
    found = scores({"A": NAMES[:4], "B": NAMES[4:8]}, num_draws=0)
    for k, is_defined in ((1, True), (5, True), (10, False), (50, False)):
        for score in ("precision", "recall"):
            assert (found.numbers[f"{score}_at_{k}"] is not None) == is_defined
    assert "7 others" in found.notes["precision_at_10"]


def test_one_shuffle_or_one_draw_has_no_standard_deviation() -> None:
    found = scores({"A": NAMES[:15], "B": NAMES[15:]}, num_shuffles=1, num_draws=1)
    assert found.numbers["shuffled_average_precision"] > 0
    assert found.numbers["shuffled_average_precision_sd"] is None
    assert found.numbers["adjusted_mutual_information_sd"] is None
    assert "two" in found.notes["shuffled_average_precision_sd"]


def test_too_few_permutations_find_nothing_significant() -> None:
    terms = {"A": NAMES[:15], "B": NAMES[15:]}
    assert scores(terms, num_permutations=100).numbers["significant_queries"] is not None
    found = scores(terms, num_permutations=10)
    assert found.numbers["significant_queries"] is None
    assert "19 permutations" in found.notes["significant_queries"]


def test_queries_without_negatives_are_counted() -> None:
    found = scores({"A": NAMES[:8], "B": ["P00", "P08"], "C": ["P00", "P09"]}, num_draws=0)
    assert found.numbers["queries_without_negatives"] == 1  # P00 shares a term with all others
    assert "1 of 10" in found.notes["mean_auroc"]


def test_cells_without_spread_have_no_score() -> None:
    labels, groups = list("ababab"), list("xxyyzz")
    with pytest.raises(ValueError, match="differ"):
        cell_scores(np.ones((6, 3), np.float32), labels, groups)
    points = np.array([[1.0, 0], [0, 1]] * 3, np.float32)
    found = cell_scores(points, labels, groups)
    assert found["cluster_score"] is None
    assert "scatter" in found["notes"]["cluster_score"]


def test_the_command_prints_and_draws_nulls(tmp_path: Path) -> None:
    frame = pd.DataFrame(FEATURES, index=pd.Index(NAMES, name="gene"))
    for name in ("p", "q"):
        frame.to_csv(tmp_path / f"{name}.tsv", sep="\t")
    lines = [f"{term}\t\t" + "\t".join(members) for term, members in HUB.items()]
    (tmp_path / "hub.gmt").write_text("\n".join(lines))
    words = [tmp_path / "p.tsv", f"q={tmp_path / 'q.tsv'}", f"p={tmp_path / 'q.tsv'}", "-s"]
    words += [tmp_path / "hub.gmt", tmp_path / "r", "--draws", 3, "--shuffles", 1]
    found = run_cli("benchmark", *words)
    assert found.exit_code == 0, found.stderr
    assert "one term" in found.stdout
    values = json.loads((tmp_path / "r" / "scores.json").read_text())
    for method in values["methods"]:
        assert method["standards"]["hub"]["adjusted_mutual_information"] is None
        assert "one term" in method["notes"]["hub"]["cluster_f1"]
    assert "adjusted_mutual_information" not in values["seeds"][0]
    assert (tmp_path / "r" / "scores.png").exists()
    assert "NaN" not in (tmp_path / "r" / "scores.json").read_text()
