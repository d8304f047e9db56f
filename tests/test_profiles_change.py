from __future__ import annotations

import functools
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from change_calibration import NAMES, WIDTH, false_and_true, write_pair, write_screens
from shared import run_cli

from deeploc_tf.profiles.change import ChangeSettings, change
from deeploc_tf.profiles.permutations import unshrunk
from deeploc_tf.profiles.shift_test import (
    dealt_pseudo_f,
    discriminants,
    permuted_pseudo_f,
    pseudo_f,
    shifts,
)
from deeploc_tf.profiles.tables import VectorTable, read_table, write_table


def test_pseudo_f_is_that_of_permanova() -> None:
    """Anderson's own form: sums of squared distances between pairs, no mean anywhere."""
    random = np.random.default_rng(0)
    first, second = random.normal(size=(7, 4)), random.normal(0.3, 1, size=(5, 4))

    def squares(points: Any) -> float:
        pairs = itertools.combinations(points, 2)
        return sum(float(np.sum((a - b) ** 2)) for a, b in pairs) / len(points)

    within = squares(first) + squares(second)
    wanted = (squares([*first, *second]) - within) / (within / 10)
    difference = (second.mean(axis=0) - first.mean(axis=0))[None]
    found = pseudo_f(difference, np.array([within]), (np.array([7]), np.array([5])))
    np.testing.assert_allclose(found, wanted)


def test_permutations_are_those_of_a_naive_loop() -> None:
    """All 252 ways to divide ten vectors: the same distribution, moment by moment."""
    residuals = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    residuals[:5] -= residuals[:5].mean(axis=0)
    residuals[5:] -= residuals[5:].mean(axis=0)
    every = []
    exact = residuals.astype(float)
    for inside in itertools.combinations(range(10), 5):
        mask = np.isin(np.arange(10), inside)
        a, b = exact[mask], exact[~mask]
        within = ((a - a.mean(axis=0)) ** 2).sum() + ((b - b.mean(axis=0)) ** 2).sum()
        squares = 2.5 * ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
        every.append(squares / (within / 8))
    drawn = permuted_pseudo_f(residuals, 5, 20_000, np.random.default_rng(1))
    assert np.abs(drawn[:500, None] - np.array(every)).min(axis=1).max() < 1e-4
    np.testing.assert_allclose(
        np.quantile(drawn, [0.1, 0.5, 0.9]), np.quantile(every, [0.1, 0.5, 0.9]), rtol=0.05
    )


def test_discriminants_make_the_scatter_round_and_put_the_best_first() -> None:
    random = np.random.default_rng(0)
    within = np.cov(random.normal(size=(50, 6)).T)
    between = np.diag([9.0, 4, 1, 0.1, 0.1, 0.1])
    directions = discriminants(within, between, 3)
    np.testing.assert_allclose(directions.T @ within @ directions, np.eye(3), atol=5e-3)
    ratios = np.diag(directions.T @ between @ directions)
    assert ratios[0] > ratios[1] > ratios[2]
    wanted = np.sort(np.linalg.eigvals(np.linalg.solve(within, between)).real)[::-1]
    np.testing.assert_allclose(ratios, wanted[:3], rtol=0.01)


@pytest.mark.parametrize(
    ("screens", "settings"),
    [
        ({}, {}),
        ({"heavy": True}, {}),
        ({"field_effect": 0.5}, {"replicate": "field"}),
        ({"field_effect": 0.5, "fields": 3}, {"replicate": "field"}),
        ({"plate_effect": 1.0}, {"by": ("plate",)}),
    ],
    ids=["cells", "heavy tails", "fields", "three fields", "plates"],
)
def test_where_nothing_moved_hardly_anything_is_called(
    screens: Any, settings: Any, tmp_path: Path
) -> None:
    called = [
        false_and_true(write_screens(tmp_path, seed=seed, **screens), 0, **settings)[0]
        for seed in range(6)
    ]
    # of six screens a call is expected in a third of one; three or more come in two of a thousand
    assert sum(number > 0 for number in called) < 3
    assert sum(called) < 6


@pytest.mark.parametrize(
    ("screens", "settings", "fewest"),
    [
        ({"effect": 3.0}, {}, 0.8),
        ({"effect": 3.0, "field_effect": 0.5}, {"replicate": "field"}, 0.8),
        ({"effect": 3.0, "plate_effect": 1.0}, {"by": ("plate",)}, 0.8),
    ],
    ids=["cells", "fields", "plates"],
)
def test_proteins_that_moved_are_found_and_few_others(
    screens: Any, settings: Any, fewest: float, tmp_path: Path
) -> None:
    false = true = 0
    for seed in range(4):
        paths = write_screens(tmp_path, num_moved=12, seed=seed, **screens)
        wrong, right = false_and_true(paths, 12, **settings)
        false, true = false + wrong, true + right
    assert true >= fewest * 48
    assert false <= 0.15 * (false + true)  # .05 on average; 48 moved ones leave it some scatter


def test_cells_of_one_field_are_no_replicates_and_the_bulk_tells(tmp_path: Path) -> None:
    paths = write_screens(tmp_path, field_effect=1.0)
    believed, _ = false_and_true(paths, 0, correct_bulk=False)
    corrected, _ = false_and_true(paths, 0)
    by_field, _ = false_and_true(paths, 0, replicate="field", correct_bulk=False)
    assert believed > 60
    assert corrected <= 3
    assert by_field <= 3


def test_p_values_are_uniform_where_nothing_moved(tmp_path: Path) -> None:
    p_values = np.concatenate(
        [
            change(
                *write_screens(tmp_path, seed=seed),
                settings=ChangeSettings(num_permutations=50, correct_bulk=False),
            ).table["p_value"]
            for seed in range(5)
        ]
    )
    assert scipy.stats.kstest(p_values, "uniform").pvalue > 0.001


def test_the_correction_makes_no_p_value_smaller() -> None:
    random = np.random.default_rng(0)
    null = [random.chisquare(8, 100) for _ in range(80)]
    kinds = np.zeros(80, np.int64)
    for scale in (0.3, 1.0, 4.0):
        statistics = scale * random.chisquare(8, 80)
        plain = shifts(statistics, null, kinds, correct_bulk=False)
        corrected = shifts(statistics, null, kinds)
        assert (corrected.p_value >= plain.p_value).all()
        if scale == 1:
            assert corrected.bulk_inflation < 1.3
        if scale == 4:
            assert 3 < corrected.bulk_inflation < 5.5
            assert (plain.q_value <= 0.05).sum() > 20
            assert not (corrected.q_value <= 0.05).any()
        np.testing.assert_allclose(
            plain.q_value, scipy.stats.false_discovery_control(plain.p_value)
        )


def test_formats_and_order_of_rows_change_nothing(tmp_path: Path) -> None:
    paths = write_screens(tmp_path, num_moved=5)
    first = change(*paths).table
    turned = []
    for path in paths:
        table = read_table(path)
        order = np.random.default_rng(5).permutation(len(table.features))
        order = order[np.argsort(table.metadata["protein"].to_numpy()[order], kind="stable")]
        turned.append(path.with_suffix(".parquet"))
        metadata = table.metadata.iloc[order].reset_index(drop=True)
        write_table(
            turned[-1], VectorTable(table.features[order], metadata, table.provenance), NAMES
        )
    second = change(*turned).table.set_index("protein").loc[first["protein"]]
    np.testing.assert_allclose(second["statistic"], first["statistic"], rtol=1e-4)
    pd.testing.assert_frame_equal(change(*paths).table, first)


def test_means_of_replicates_are_a_screen_too(tmp_path: Path) -> None:
    """Profiles with several rows a protein give what `replicate` gives from the cells."""
    paths = write_screens(tmp_path, num_moved=5, field_effect=0.5)
    means = []
    for path in paths:
        table = read_table(path)
        frame = pd.DataFrame(table.features.astype(float))
        grouped = frame.groupby([table.metadata["protein"], table.metadata["field"]]).mean()
        metadata = pd.DataFrame({"protein": grouped.index.get_level_values(0)})
        means.append(path.with_name(f"means-{path.name}"))
        features = grouped.to_numpy(np.float32)
        write_table(means[-1], VectorTable(features, metadata, table.provenance), NAMES)
    first = change(*paths, settings=ChangeSettings(replicate="field")).table
    second = change(*means).table
    np.testing.assert_allclose(second["statistic"], first["statistic"], rtol=1e-4)
    assert (first["replicates_untreated"] == 5).all()
    assert (first["cells_treated"] == 24).all()
    assert (second["cells_treated"] == 5).all()


def test_distance_is_the_length_of_the_move_in_cells_spread(tmp_path: Path) -> None:
    paths = write_screens(tmp_path, num_moved=12, effect=4.0)
    table = change(*paths, settings=ChangeSettings(num_dimensions=WIDTH)).table
    moved = table[table["protein"] < "P012"]
    np.testing.assert_allclose(moved["distance"].mean(), 4.0, atol=0.25)
    assert table[table["protein"] >= "P012"]["distance"].median() < 0.5


run = functools.partial(run_cli, "change")


def test_the_command_writes_a_table_and_a_summary(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write_screens(Path(), num_moved=12, effect=4.0)
    done = run("untreated0.h5", "treated0.h5", "changes.tsv", "--replicate", "field")
    assert done.exit_code == 0, done.output
    table = pd.read_csv("changes.tsv", sep="\t")
    assert set(table["protein"][:12]) == {f"P{i:03d}" for i in range(12)}
    assert table["moved"][:12].all()
    summary = json.loads(Path("changes.json").read_text())
    assert summary["moved"] == table["moved"].sum()
    assert summary["settings"]["replicate"] == "field"
    assert f"changes.tsv: {summary['moved']} of 120 proteins moved" in done.stdout
    again = run("untreated0.h5", "treated0.h5", "changes.tsv")
    assert again.exit_code == 1
    assert "must not exist yet" in again.stderr
    as_json = run("untreated0.h5", "treated0.h5", "more.csv", "--json", "--replicate", "field")
    printed = json.loads(as_json.stdout)
    assert printed == json.loads(Path("more.json").read_text())
    own = {"command", "files", "digest"}  # of the other name
    assert {n: printed[n] for n in printed if n not in own} == {
        n: summary[n] for n in summary if n not in own
    }


def test_screens_that_differ_as_a_whole_are_told(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write_screens(Path(), field_effect=1.0)
    done = run("untreated0.h5", "treated0.h5", "changes.csv")
    assert "differ in more than their replicates do" in done.stderr


def test_proteins_of_one_screen_or_one_cell_are_left_out_and_told(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = write_screens(Path())
    for path, lost in zip(paths, ("P003", "P004"), strict=True):
        table = read_table(path)
        protein = table.metadata["protein"]
        kept = (protein != lost) & ~((protein == "P005") & protein.duplicated())
        metadata = table.metadata[kept].reset_index(drop=True)
        write_table(path, VectorTable(table.features[kept], metadata, table.provenance), NAMES)
    done = run(*map(str, paths), "changes.csv")
    assert done.exit_code == 0, done.output
    for told in (
        "only in the untreated screen and were left out: P004.",
        "only in the treated screen and were left out: P003.",
        "with one vector in a screen and were left out: P005.",
    ):
        assert told in done.stderr
    assert len(pd.read_csv("changes.csv")) == 117


def table_of(path: Path, proteins: list[str], width: int = WIDTH, layer: str = "fc_2") -> str:
    features = np.random.default_rng(0).normal(size=(len(proteins), width)).astype(np.float32)
    table = VectorTable(features, pd.DataFrame({"protein": proteins}), {"layer": layer})
    write_table(path, table, [f"{layer}_{i:02d}" for i in range(width)])
    return str(path)


@pytest.mark.parametrize(
    ("other", "words", "message"),
    [
        ({"width": 5}, [], "num_features=12 and num_features=5"),
        ({"layer": "fc_1"}, [], "layer='fc_2' and layer='fc_1'"),
        ({"proteins": ["Q"] * 4}, [], "none of "),
        ({"proteins": [f"P{i:03d}" for i in range(50)]}, [], "50 proteins in common, none with so"),
        ({"proteins": [f"P{i:03d}" for i in range(9)] * 3}, [], "9 proteins in both screens"),
        ({}, ["--replicate", "feld"], "Did you mean 'field'"),
        ({}, ["--by", "plat"], "Did you mean 'plate'"),
    ],
)
def test_screens_that_cannot_be_compared_are_told(
    other: Any, words: list[str], message: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    write_screens(Path())
    given = {"proteins": [f"P{i:03d}" for i in range(20)] * 3, **other}
    done = run("untreated0.h5", table_of(Path("other.h5"), **given), "changes.csv", *words)
    assert done.exit_code == 1
    assert message in done.stderr
    assert not Path("changes.csv").exists()


def test_other_bad_input_is_told(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    paths = write_screens(Path())
    table = read_table(paths[1])
    table.features[7, 3] = np.nan
    write_table(paths[1], table, NAMES)
    words = [*map(str, paths), "changes.csv"]
    assert "fc_2_03=nan in row 7 of treated0.h5" in run(*words).stderr
    assert run(*words, "--drop-undefined").exit_code == 0
    Path("changes.csv").unlink()
    Path("changes.json").unlink()
    done = run(*words, "--drop-undefined", "--by", "field")
    assert "must be 10 proteins or more in each group by field" not in done.stderr
    done = run(*map(str, paths), "other.csv", "--drop-undefined", "--by", "key")
    assert "must be 10 proteins or more in each group by key" in done.stderr
    assert "must end in .csv or .tsv" in run(*map(str, paths), "changes.parquet").stderr
    with pytest.raises(ValueError, match="20 or more"):
        ChangeSettings(num_permutations=3)


def test_what_fewer_than_half_of_a_group_do_is_not_the_shift_of_all(tmp_path: Path) -> None:
    paths = write_pair(tmp_path, 20, 4, 6, seed=0)
    table = read_table(paths[1])
    features = table.features.copy()
    features[table.metadata["protein"].to_numpy() < "P0008", 0] += 30
    names = table.feature_names
    write_table(paths[1], VectorTable(features, table.metadata, table.provenance), names)
    distances = change(*paths).table.set_index("protein")["distance"]
    moved = distances.index < "P0008"
    assert distances[moved].min() > 20
    assert distances[~moved].max() < 4


def test_residuals_of_a_mean_from_the_same_vectors_are_lengthened() -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    longer = unshrunk(vectors - vectors.mean(axis=0))
    np.testing.assert_allclose(np.square(longer).mean(axis=0), vectors.var(axis=0, ddof=1), 1e-5)


def test_z_scores_are_of_cube_roots_and_p_values_count_the_protein_itself() -> None:
    random = np.random.default_rng(0)
    null = [random.chisquare(8, 50) for _ in range(20)]
    statistics = np.append(random.chisquare(8, 19), 1000.0)
    found = shifts(statistics, null, np.zeros(20, np.int64), correct_bulk=False)
    roots = np.cbrt(np.concatenate(null))
    np.testing.assert_allclose(found.z_score, (np.cbrt(statistics) - roots.mean()) / roots.std())
    assert found.p_value[-1] == pytest.approx(1 / 1001)
    as_extreme = (np.concatenate(null)[:, None] >= statistics).sum(axis=0)
    np.testing.assert_allclose(found.p_value, (as_extreme + 1) / 1001)


def test_vectors_dealt_out_anew_have_the_statistic_of_a_naive_loop() -> None:
    """Of two proteins with two and one, and one and three vectors: all 5,040 ways to deal seven."""
    vectors = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    counts = np.array([2, 2]), np.array([2, 1])
    naive: list[list[float]] = [[], []]
    exact = vectors.astype(float)
    for order in itertools.permutations(range(7)):
        for protein, (places, number) in enumerate(((order[:4], 2), (order[4:], 2))):
            a, b = exact[list(places[:number])], exact[list(places[number:])]
            within = ((a - a.mean(axis=0)) ** 2).sum() + ((b - b.mean(axis=0)) ** 2).sum()
            squares = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() / (1 / len(a) + 1 / len(b))
            naive[protein].append(squares / (within / (len(places) - 2)))
    drawn = dealt_pseudo_f(vectors, counts, 20_000, np.random.default_rng(1))
    assert drawn.shape == (2, 20_000)
    for protein in range(2):
        every = np.unique(np.round(naive[protein], 9))
        assert np.abs(drawn[protein, :200, None] - every).min(axis=1).max() < 1e-3 * every.max()
        quantiles = [0.1, 0.5, 0.9]
        wanted = np.quantile(naive[protein], quantiles)
        np.testing.assert_allclose(np.quantile(drawn[protein], quantiles), wanted, rtol=0.05)
