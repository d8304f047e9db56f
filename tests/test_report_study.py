"""Pictures of a study: what they show is what the tables say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deeploc_tf.profiles.tables import VectorTable
from deeploc_tf.report.comparison import SCORES, comparison
from deeploc_tf.report.densities import density_map
from deeploc_tf.report.drawing import picture
from deeploc_tf.report.function_curves import function_curves

pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")


@pytest.fixture
def scores() -> pd.DataFrame:
    rows = [
        {"method": method, "seed": seed, "standard": standard}
        | dict.fromkeys(SCORES, 0.1 * seed)
        | {f"shuffled_{name}": 0.05 for name in SCORES}
        for method, seeds in (("ours", (1, 2, 3)), ("$theirs$", (1,)))
        for seed in seeds
        for standard in ("pathways", "complexes")
    ]
    return pd.DataFrame(rows)


def test_the_figure_names_methods_standards_and_scores(scores: pd.DataFrame) -> None:
    text = picture(comparison(scores, "ours"), "svg").decode()
    for words in ("ours", "$theirs$", "pathways", "complexes", *SCORES.values(), "one seed"):
        assert f"<!-- {words} -->" in text, words
    assert picture(comparison(scores, "ours")).startswith(b"\x89PNG")


def test_the_figure_changes_with_a_seed(scores: pd.DataFrame) -> None:
    before = picture(comparison(scores), "svg")
    assert picture(comparison(scores), "svg") == before
    scores.loc[0, "cluster_f1"] += 0.01
    assert picture(comparison(scores), "svg") != before


def test_a_figure_without_a_score_is_refused(scores: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="Missing: shuffled_cluster_f1"):
        comparison(scores.drop(columns="shuffled_cluster_f1"))


def curves(*values: float) -> pd.DataFrame:
    rows = [
        {"method": "ours", "seed": 1, "epoch": epoch, "standard": name, "average_precision": value}
        for name in ("first", "second")
        for epoch, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_curves_are_drawn_also_where_an_epoch_has_no_score() -> None:
    text = picture(function_curves(curves(np.nan, 0.2, 0.4)), "svg").decode()
    for words in ("ours: average precision", "first", "second", "epoch"):
        assert f"<!-- {words} -->" in text, words
    assert picture(function_curves(curves(np.nan, np.nan))).startswith(b"\x89PNG")


@pytest.mark.parametrize("table", [curves(), curves(0.1).drop(columns="epoch")])
def test_curves_of_nothing_are_refused(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="Curves must have rows and the columns method, seed"):
        function_curves(table)


@pytest.fixture
def profiles() -> VectorTable:
    features = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    names = [f"P{number}" for number in range(30)]
    return VectorTable(features, pd.DataFrame({"protein": names}), {})


def test_the_largest_terms_have_a_map_each(profiles: VectorTable) -> None:
    terms = {
        f"term {size}": frozenset(f"P{i}" for i in range(size)) | {"elsewhere"}
        for size in range(1, 12)
    }
    text = picture(density_map(profiles, terms), "svg").decode()
    shown = [size for size in range(1, 12) if f"<!-- term {size} ({size}) -->" in text]
    assert shown == list(range(4, 12))


def test_two_proteins_have_no_density_but_are_shown(profiles: VectorTable) -> None:
    text = picture(density_map(profiles, {"pair": frozenset({"P1", "P2"})}), "svg").decode()
    assert "<!-- pair (2) -->" in text


def test_terms_of_other_proteins_are_refused(profiles: VectorTable) -> None:
    with pytest.raises(ValueError, match="Received: 1 terms, 1 at most"):
        density_map(profiles, {"other": frozenset({"P1", "Q", "R", "S"})})
