"""What is done to profiles and scores of a study, held against numbers worked out otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from numpy.typing import NDArray

from deeploc_tf.benchmark.benchmark import StandardScores
from deeploc_tf.benchmark.comparable import Method, common_proteins
from deeploc_tf.benchmark.compare import compare
from deeploc_tf.benchmark.influence import Influence
from deeploc_tf.benchmark.results import Comparison
from deeploc_tf.benchmark.scores import Extent
from deeploc_tf.benchmark.standards import Standard
from deeploc_tf.profiles.tables import VectorTable
from deeploc_tf.study.comparison import read_scores, write_scores
from deeploc_tf.study.shuffled_labels import shuffle_labels
from deeploc_tf.study.specification import Transform
from deeploc_tf.study.transformed import side_by_side, transformed
from tfrecords.codec import decode
from tfrecords.manifest import Manifest
from tfrecords.reader import read_serialized


def table(features: NDArray[np.floating], names: str) -> VectorTable:
    metadata = pd.DataFrame({"protein": list(names)})
    return VectorTable(np.asarray(features, np.float32), metadata, {})


@pytest.fixture
def features() -> NDArray[np.float32]:
    generator = np.random.default_rng(0)
    return (generator.normal(size=(40, 6)) @ generator.normal(size=(6, 6)) + 3).astype(np.float32)


def test_profiles_are_normalized_and_projected(features: NDArray[np.float32]) -> None:
    plain = transformed(features, Transform())
    assert (plain == features).all()
    standard = transformed(features, Transform(normalize="standardize"))
    assert np.allclose(standard.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(standard.std(axis=0), 1, atol=1e-5)
    sphered = transformed(features, Transform(sphere=True))
    values, directions = np.linalg.eigh(np.cov(features, rowvar=False))
    softened = directions * (values / (values + 1e-3 * values.mean())) @ directions.T
    assert np.allclose(np.cov(sphered, rowvar=False), softened, atol=1e-3)
    components = transformed(features, Transform(num_components=2))
    singular = np.linalg.svd(features - features.mean(axis=0), compute_uv=False)
    assert np.allclose(np.linalg.norm(components, axis=0), singular[:2], rtol=1e-4)
    assert transformed(features[:4], Transform(num_components=64)).shape == (4, 3)


def test_features_without_spread_become_zero(features: NDArray[np.float32]) -> None:
    features[:, 2] = 7
    for kind in ("standardize", "mad"):
        assert (transformed(features, Transform(normalize=kind))[:, 2] == 0).all()


def test_tables_side_by_side_weigh_the_same_whatever_their_width() -> None:
    generator = np.random.default_rng(1)
    narrow = table(generator.normal(size=(5, 2)), "abcde")
    wide = table(1000 * generator.normal(size=(4, 8)), "ebda")
    both = side_by_side([narrow, wide])
    assert both.metadata["protein"].tolist() == ["a", "b", "d", "e"]
    expected = (narrow.features[0] - narrow.features.mean(0)) / narrow.features.std(0)
    assert both.features[0, :2] == pytest.approx(expected / np.sqrt(2), rel=1e-5)
    last = (wide.features[0] - wide.features.mean(0)) / wide.features.std(0)
    assert both.features[3, 2:] == pytest.approx(last / np.sqrt(8), rel=1e-5)


def test_only_proteins_with_usable_profiles_everywhere_are_compared() -> None:
    first = table(np.array([[1, 2], [0, 0], [3, 1], [1, 1]]), "abcd")
    second = table(np.array([[1, 2], [2, 1], [np.nan, 1], [1, 3]]), "dbca")
    assert common_proteins([first]) == ["a", "c", "d"]
    assert common_proteins([first, second]) == ["a", "d"]


def scored(method: str, seed: int | None, value: float, moves: NDArray[np.float64]) -> Method:
    numbers = {
        "average_precision": value,
        "mean_average_precision": value,
        "adjusted_mutual_information": value,
        "cluster_f1": value,
    }
    influence = Influence(value, moves, np.zeros(1))
    influences = dict.fromkeys(("average_precision", "mean_average_precision"), influence)
    result = StandardScores("pathways", numbers, influences=influences)
    return Method(method, table(np.ones((1, 1)), "a"), seed=seed, results=[result])


def test_a_summary_takes_the_mean_over_seeds_before_it_compares() -> None:
    moves = np.random.default_rng(2).normal(size=(2, 400)) / 20
    comparison = Comparison(
        [
            scored("ours", 1, 0.4, 0.02 * moves[0]),
            scored("ours", 2, 0.6, 0 * moves[0]),
            scored("theirs", None, 0.49, 0.01 * moves[0] + 0.004 * moves[1]),
        ]
    )
    rows = comparison.summary("ours").set_index(["score", "method"])
    ours, theirs = (rows.loc[("average_precision", name)] for name in ("ours", "theirs"))
    assert (ours["mean"], ours["seeds"], theirs["seeds"]) == (0.5, 2, 1)
    assert ours["sd"] == pytest.approx(np.std([0.4, 0.6], ddof=1))
    assert np.isnan(theirs["sd"])
    # the mean of two seeds moves half as much as the one of them that moves
    assert [ours["low"], ours["high"]] == pytest.approx([0.48, 0.52], abs=2e-3)
    assert theirs["difference"] == pytest.approx(0.01)
    # what both share, the draw of proteins, is no part of the difference
    ends = [theirs["difference_low"], theirs["difference_high"]]
    error = 0.004 * moves[1].std() * np.sqrt(399)
    student = scipy.stats.t(399)
    reach = student.ppf(0.975) * error
    assert ends == pytest.approx([0.01 - reach, 0.01 + reach], rel=1e-3)
    assert theirs["p_value"] == pytest.approx(2 * student.sf(0.01 / error), rel=1e-3)
    assert theirs["adjusted_p_value"] == pytest.approx(2 * theirs["p_value"])
    clusters = rows.loc[("cluster_f1", "theirs")]
    assert clusters["mean"] == 0.49
    assert np.isnan(clusters["low"])
    assert np.isnan(clusters["difference"])
    # what is stored in scores.json is the same
    found = next(d for d in comparison.differences() if d["score"] == "average_precision")
    assert found["difference"] == theirs["difference"]
    assert (found["low"], found["high"]) == (theirs["difference_low"], theirs["difference_high"])
    (seeds,) = comparison.seeds()
    assert (seeds["average_precision"], seeds["average_precision_sd"]) == (ours["mean"], ours["sd"])


def test_scores_are_read_as_they_were_written(tmp_path: Path) -> None:
    profiles = table(np.random.default_rng(3).normal(size=(6, 4)), "fedcba")
    standards = [Standard("pairs", {"x": frozenset("ab"), "y": frozenset("cd")})]
    extent = Extent(num_draws=1, intervals=True)
    chosen = compare([("", profiles)], standards, proteins=list("edcba"), extent=extent)
    write_scores(tmp_path / "scores.json", chosen.methods[0].results)
    results = read_scores(tmp_path / "scores.json")
    before = chosen.methods[0].results[0].influences["average_precision"]
    after = results[0].influences["average_precision"]
    assert after.value == before.value
    assert (after.of_proteins == before.of_proteins).all()
    assert (after.of_pairs == before.of_pairs).all()
    row = Comparison([Method("random", profiles, seed=7, results=results)]).to_frame().iloc[0]
    assert (row["method"], row["seed"], row["proteins_scored"]) == ("random", 7, 4)
    features = profiles.features[[5, 4, 3, 2]]
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similar = (unit @ unit.T)[np.triu_indices(4, 1)]  # ab ac ad bc bd cd: the first and last count
    ranks = np.sort((-similar).argsort().argsort()[[0, 5]]) + 1
    assert row["average_precision"] == pytest.approx((1 / ranks[0] + 2 / ranks[1]) / 2)


def test_shuffled_labels_say_nothing_and_all_else_is_kept(
    tmp_path: Path, write_screen: Callable[..., Manifest]
) -> None:
    before = write_screen(tmp_path / "records")
    after = shuffle_labels(tmp_path / "records", tmp_path / "shuffled", seed=1)
    assert after.digest != before.digest
    for split in before.split_names:
        ours, theirs = (
            {
                crop.key: crop
                for record in read_serialized(folder, split).as_numpy_iterator()
                for crop in [decode(record, before.schema)]
            }
            for folder in (tmp_path / "records", tmp_path / "shuffled")
        )
        assert ours.keys() == theirs.keys()
        labels = [[crops[key].labels for key in sorted(ours)] for crops in (ours, theirs)]
        assert labels[0] != labels[1]
        assert Counter(labels[0]) == Counter(labels[1])
        assert all((ours[key].image == theirs[key].image).all() for key in ours)
        assert all(ours[key].metadata == theirs[key].metadata for key in ours)
    again = shuffle_labels(tmp_path / "records", tmp_path / "again", seed=1)
    assert again.digest == after.digest
    assert shuffle_labels(tmp_path / "records", tmp_path / "other", seed=2).digest != after.digest
