"""Intervals cover what they should, equal methods differ as rarely as they should.

Intervals of mean average precision from a bootstrap over proteins covered the mean over samples in
72 to 78 of 100, and equal methods differed by its paired p-value in 12 to 22 of 100.
docs/metrics.md has the whole table, measured with experiments/interval_coverage.py.
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from shared import run_cli

from deeploc_tf.benchmark import intervals
from deeploc_tf.benchmark.benchmark import Extent, benchmark
from deeploc_tf.benchmark.compare import compare
from deeploc_tf.benchmark.influence import Estimate, Influence
from deeploc_tf.benchmark.per_query import QueryScores
from deeploc_tf.benchmark.similarity import Similarities
from deeploc_tf.benchmark.standards import Standard
from deeploc_tf.profiles.tables import VectorTable
from deeploc_tf.report.curves import precision_recall
from deeploc_tf.report.drawing import picture
from deeploc_tf.report.methods import methods_compared
from deeploc_tf.study.study_page import _tables

coverage = runpy.run_path(str(Path(__file__).parents[1] / "experiments" / "interval_coverage.py"))
NAMES = [f"P{i:02}" for i in range(60)]


def profiles(noise: float, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    centers = np.repeat(np.random.default_rng(0).normal(size=(4, 5)), 15, axis=0)
    scatter = np.random.default_rng(seed).normal(scale=noise, size=centers.shape)
    return (centers + scatter).astype(np.float32)


def standard() -> Standard:
    return Standard("groups", {f"g{k}": frozenset(NAMES[15 * k : 15 * k + 15]) for k in range(4)})


@pytest.fixture
def results(tmp_path: Path) -> tuple[Path, str, str]:
    """A folder of results of two methods, and what the command said."""
    for name, noise in (("good", 0.5), ("bad", 1)):
        frame = pd.DataFrame(profiles(noise), index=pd.Index(NAMES, name="gene"))
        frame.to_csv(tmp_path / f"{name}.tsv", sep="\t")
    lines = [f"{term}\t\t" + "\t".join(sorted(m)) for term, m in standard().terms.items()]
    (tmp_path / "groups.gmt").write_text("\n".join(lines))
    arguments = [tmp_path / "good.tsv", tmp_path / "bad.tsv", tmp_path / "r"]
    options = ["-s", tmp_path / "groups.gmt", "--draws", 2]
    found = run_cli("benchmark", *arguments, *options)
    assert found.exit_code == 0, found.stderr
    return tmp_path / "r", found.stdout, found.stderr


def test_scores_of_rankings_have_intervals(results: tuple[Path, str, str]) -> None:
    folder, out, _ = results
    values = json.loads((folder / "scores.json").read_text())
    ks = [f"{score}_at_{k}" for score in ("precision", "recall") for k in (1, 5, 10, 50)]
    for method in values["methods"]:
        numbers = method["standards"]["groups"]
        for score in ("average_precision", "lift", "mean_average_precision", "mean_auroc", *ks):
            assert numbers[f"{score}_low"] < numbers[score] < numbers[f"{score}_high"], score
    low, high = (
        values["standards"]["groups"][f"average_precision_{end}"] for end in ("low", "high")
    )
    assert f"{low:.3f}-{high:.3f}" in out


def test_p_values_are_adjusted_for_all_that_is_shown(results: tuple[Path, str, str]) -> None:
    values = json.loads((results[0] / "scores.json").read_text())
    found = {row["score"]: row for row in values["differences"]}
    assert found.keys() == {"average_precision", "mean_average_precision"}
    p_values = [row["p_value"] for row in found.values()]
    assert 0 < min(p_values) < 0.01
    adjusted = [row["adjusted_p_value"] for row in found.values()]
    assert adjusted == pytest.approx(intervals.adjusted(p_values))
    row = found["mean_average_precision"]
    numbers = [m["standards"]["groups"]["mean_average_precision"] for m in values["methods"]]
    assert row["difference"] == pytest.approx(numbers[0] - numbers[1])
    assert row["low"] < row["difference"] < row["high"]


def test_pictures_are_drawn_without_intervals(results: tuple[Path, str, str]) -> None:
    folder = results[0]
    values = json.loads((folder / "scores.json").read_text())
    for draw in (methods_compared, precision_recall):
        assert picture(draw(folder)).startswith(b"\x89PNG")
    for method in values["methods"]:
        for numbers in [*method["standards"].values(), values["standards"]["groups"]]:
            numbers["average_precision_low"] = numbers["average_precision_high"] = None
            numbers["adjusted_mutual_information_sd"] = None
            numbers["cluster_f1"] = numbers["cluster_f1_sd"] = None
    del values["digest"]  # as of a file from before there was one
    (folder / "scores.json").write_text(json.dumps(values))
    for draw in (methods_compared, precision_recall):
        assert picture(draw(folder)).startswith(b"\x89PNG")


def test_a_summary_compares_means_over_seeds() -> None:
    methods = [
        (name, VectorTable(profiles(noise, seed), pd.DataFrame({"protein": NAMES}), {}))
        for name, noise, seed in (("ours", 0.5, 0), ("ours", 0.5, 1), ("theirs", 1, 2))
    ]
    found = compare(methods, [standard()], extent=Extent(num_draws=1, intervals=True))
    table = found.summary("ours")
    rows = table.set_index(["score", "method"])
    row = rows.loc[("mean_average_precision", "theirs")]
    assert row["difference_low"] > 0
    assert row["p_value"] <= row["adjusted_p_value"] < 0.05
    assert pd.isna(row["note"])
    assert pd.isna(rows.loc[("cluster_f1", "theirs"), "low"])
    sections = list(_tables(table, "ours"))
    captions = " ".join(section.caption for section in sections)
    assert "95% interval" in captions
    assert "adjusted after Holm" in captions
    shown = sections[1].table
    assert shown is not None
    first = rows.loc[("average_precision", "theirs")]
    assert shown["groups"].tolist()[0].endswith(f", p {first['adjusted_p_value']:.2g}")


def test_where_no_interval_is_known_to_hold_there_is_none() -> None:
    extent = Extent(num_shuffles=0, intervals=True)
    some = Standard("few", {f"g{k}": frozenset(NAMES[15 * k : 15 * k + 4]) for k in range(4)})
    found = benchmark(profiles(1), NAMES, [some], extent=extent)[0]
    assert found.numbers["mean_average_precision_low"] is None
    assert "20 proteins" in found.notes["mean_average_precision"]
    found = benchmark(profiles(1e-3), NAMES, [standard()], extent=extent)[0]
    assert found.numbers["mean_average_precision"] == 1
    assert found.numbers["mean_average_precision_high"] is None
    assert "No protein moves" in found.notes["mean_average_precision"]


def test_a_method_does_not_differ_from_itself() -> None:
    extent = Extent(num_shuffles=0, intervals=True)
    one = benchmark(profiles(1), NAMES, [standard()], extent=extent)[0].influences
    for influence in one.values():
        row = intervals.paired_difference(influence, influence)
        assert (row["low"], row["high"], row["p_value"]) == (0, 0, 1)


def test_degrees_of_freedom_are_those_of_the_error_beyond_the_score() -> None:
    random = np.random.default_rng(0)

    def freedom(moves: np.ndarray[Any, np.dtype[np.float64]]) -> float:
        return Influence(0.5, moves, np.zeros(1)).estimate.degrees_of_freedom

    assert freedom(random.normal(size=2000)) == pytest.approx(1000, rel=0.15)
    assert freedom(random.standard_t(3, size=2000)) < 400
    # the error of a share of hits is known from the share
    assert freedom((random.random(200) < 0.05).astype(float)) == pytest.approx(199)


def test_p_values_are_of_as_many_proteins_as_there_are() -> None:
    difference = Estimate(0.1, 0.05, 3.0, 25)
    found = intervals.tested(Estimate(0.5, 0.1, 24.0, 25), difference)
    assert found["p_value"] == pytest.approx(2 * scipy.stats.t(24).sf(2))
    assert found["low"] == pytest.approx(0.1 - 0.05 * scipy.stats.t(24).ppf(0.975))


@pytest.mark.parametrize("repeats", [80, pytest.param(1000, marks=pytest.mark.long)])
def test_intervals_cover_and_equal_methods_seldom_differ(repeats: int) -> None:
    population = coverage["Population"](Path(), "simulated")
    case = coverage["Case"]("simulated", 100, repeats)
    rows = [coverage["measured"](population, case, repeat) for repeat in range(repeats)]
    few = 3.3 * np.sqrt(0.05 * 0.95 / repeats)
    for score in ("average_precision", "lift", "mean_average_precision", "mean_auroc"):
        found = coverage["judged"](rows, score, 1.0)
        assert abs(found["covers"] - 0.95) < few, (score, found)
        assert found["differs"] < 0.05 + few, (score, found)


def test_intervals_that_leave_out_candidates_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A protein as a query alone, as a bootstrap over queries has it: these cover too seldom."""
    names = coverage["measured"].__globals__

    def own_role(
        similarities: Similarities, shared: Any, queries: QueryScores, ks: Sequence[int]
    ) -> dict[str, Influence]:
        precision = queries.precision
        of_proteins = (precision - precision.mean()) / (len(precision) - 1)
        found = Influence(float(precision.mean()), of_proteins, np.zeros(1))
        return {"mean_average_precision": found}

    monkeypatch.setitem(names, "query_influences", own_role)
    population = coverage["Population"](Path(), "simulated")
    case = coverage["Case"]("simulated", 100, 80)
    rows = [coverage["measured"](population, case, repeat) for repeat in range(case.repeats)]
    found = coverage["judged"](rows, "mean_average_precision", 1.0)
    assert found["covers"] < 0.8
    assert found["differs"] > 0.12


@pytest.mark.parametrize("repeats", [80, pytest.param(500, marks=pytest.mark.long)])
def test_lift_of_shuffled_proteins_seldom_excludes_chance(repeats: int) -> None:
    population = coverage["Population"](Path(), "simulated")
    case = coverage["Case"]("simulated", 100, repeats, chance=True)
    rows = [coverage["measured"](population, case, repeat) for repeat in range(repeats)]
    excluded = coverage["judged"](rows, "lift", 1.0)["excludes chance"]
    assert 0 < excluded < 0.05 + 3.3 * np.sqrt(0.05 * 0.95 / repeats)
