"""Normalization by plate where a plate has no spread: as on the other plates, and counted."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shared import run_cli

from deeploc_tf.profiles.fitting import TransformSettings, fit_transform
from deeploc_tf.profiles.tables import VectorTable, open_rows, read_table, write_table

run = functools.partial(run_cli, "profile")


def plates(
    path: Path, *, flat: int | None = 1, controls: int = 20, num_plates: int = 2, seed: int = 0
) -> Path:
    """Protein A lies 8 deviations off in feature 0, which is 0 in the controls of one plate."""
    random = np.random.default_rng(seed)
    rows, features = [], []
    for plate in range(1, num_plates + 1):
        for protein in ["CTRL"] * controls + ["A"] * 50 + ["B"] * 50:
            rows.append({"key": f"k{len(rows)}", "protein": protein, "plate": plate})
            vector = random.normal(size=3)
            vector[0] += 8 * (protein == "A")
            if protein == "CTRL" and plate == flat:
                vector[0] = 0
            features.append(vector)
    names = ["f0", "f1", "f2"]
    table = VectorTable(np.array(features, np.float32), pd.DataFrame(rows), {"layer": "fc_2"})
    write_table(path, table, names)
    return path


BY_PLATE = ["--by", "plate", "--controls", "protein=CTRL"]


@pytest.mark.parametrize("kind", ["standardize", "mad"])
def test_a_feature_without_spread_on_one_plate_is_scaled_as_on_the_others(
    kind: str, tmp_path: Path
) -> None:
    cells = plates(tmp_path / "cells.h5", controls=400)
    done = run(cells, tmp_path / "p.h5", "--normalize", kind, *BY_PLATE)
    assert done.exit_code == 0, done.output
    table = read_table(tmp_path / "p.h5")
    first = dict(zip(table.metadata["protein"], table.features[:, 0], strict=True))
    assert first["A"] == pytest.approx(8, abs=0.6)
    assert abs(first["B"]) < 0.3
    assert "1 of 6 pairs of feature and group (by plate)" in done.stderr
    assert "f0 in 1" in done.stderr
    stored = table.provenance["transform"]["without_spread"]
    assert stored == {"count": 1, "pairs": 6, "some": ["f0 in 1"]}


def test_a_feature_that_is_constant_on_all_plates_is_0_and_counted(tmp_path: Path) -> None:
    path = plates(tmp_path / "cells.h5", flat=None)
    table = read_table(path)
    table.features[:, 1] = 3
    write_table(path, table)
    done = run(path, tmp_path / "p.h5", "--normalize", "mad", *BY_PLATE)
    assert not read_table(tmp_path / "p.h5").features[:, 1].any()
    assert "1 features are constant where the scale was fitted: they are 0." in done.stderr
    assert "pairs of feature and group" not in done.stderr


def test_a_new_plate_without_spread_takes_the_scale_of_those_before(tmp_path: Path) -> None:
    before = plates(tmp_path / "before.h5", flat=None, controls=400)
    words = ["--normalize", "standardize", *BY_PLATE, "--save", tmp_path / "t.npz"]
    assert run(before, tmp_path / "p.h5", *words).exit_code == 0
    path = plates(tmp_path / "new.h5", flat=3, num_plates=3, controls=400, seed=1)
    words = ["--transform", tmp_path / "t.npz", "--fit-new-groups"]
    done = run(path, tmp_path / "q.h5", *words)
    assert done.exit_code == 0, done.output
    table = read_table(tmp_path / "q.h5")
    first = dict(zip(table.metadata["protein"], table.features[:, 0], strict=True))
    assert first["A"] == pytest.approx(8, abs=0.6)
    assert "f0 in 3" in done.stderr
    assert "1 groups are new" in done.stderr


def test_one_estimate_of_spread_serves_a_feature_on_all_plates(tmp_path: Path) -> None:
    """A unit that is mostly 0 on one plate has no MAD there: all take the mean deviation."""
    path = plates(tmp_path / "cells.h5", flat=None, controls=100)
    table = read_table(path)
    first = (table.metadata["plate"] == 1) & (table.metadata["protein"] == "CTRL")
    table.features[np.flatnonzero(first)[:60], 2] = 0
    write_table(path, table)
    settings = TransformSettings("mad", ("plate",), ("protein", "CTRL"))
    fitted = fit_transform(open_rows(path), settings)
    assert fitted.normalization is not None
    for group, plate in enumerate((1, 2)):
        rows = (table.metadata["plate"] == plate) & (table.metadata["protein"] == "CTRL")
        values = table.features[rows, 2].astype(float)
        spread = 1.253314 * np.abs(values - np.median(values)).mean()
        assert fitted.normalization.scale[group, 2] == pytest.approx(spread)
        values = table.features[rows, 1].astype(float)
        spread = 1.4826 * np.median(np.abs(values - np.median(values)))
        assert fitted.normalization.scale[group, 1] == pytest.approx(spread)
    assert any("f2" in note and "mean absolute deviation" in note for note in fitted.notes())
    assert fitted.settings["by_mean_deviation"] == {
        "count": 1,
        "some": ["f2 in 1"],
        "features": ["f2"],
    }


@pytest.mark.parametrize("kind", ["standardize", "mad"])
@pytest.mark.parametrize("jitter", [0, 1e-30, 1e-7, 1e-4])
def test_controls_that_are_nearly_equal_make_no_values_without_bound(
    kind: str, jitter: float, tmp_path: Path
) -> None:
    path = plates(tmp_path / "cells.h5", flat=None)
    table = read_table(path)
    controls = np.flatnonzero(table.metadata["protein"] == "CTRL")
    table.features[controls, 0] = 3 + jitter * np.arange(len(controls))
    table.features[~np.isin(np.arange(len(table.features)), controls), 0] += 3
    write_table(path, table)
    done = run(path, tmp_path / "p.h5", "--normalize", kind, *BY_PLATE)
    assert done.exit_code == 0, done.output
    assert "2 of 6 pairs of feature and group have next to no spread" in done.stderr
    assert "f0 in 1, f0 in 2" in done.stderr
    found = read_table(tmp_path / "p.h5")
    assert found.provenance["transform"]["smallest_scale"]["count"] == 2
    first = dict(zip(found.metadata["protein"], found.features[:, 0], strict=True))
    # three in seven rows lie 8 off, as many about 0.8
    assert first["A"] == pytest.approx(160, rel=0.1)
    assert abs(first["CTRL"]) < 1


@pytest.mark.parametrize("kind", ["standardize", "mad"])
def test_a_plate_that_is_nearly_flat_takes_the_scale_of_the_others(
    kind: str, tmp_path: Path
) -> None:
    path = plates(tmp_path / "cells.h5", controls=400)
    table = read_table(path)
    flat = (table.metadata["plate"] == 1) & (table.metadata["protein"] == "CTRL")
    table.features[flat, 0] = np.linspace(0, 1e-6, 400)
    write_table(path, table)
    done = run(path, tmp_path / "p.h5", "--normalize", kind, *BY_PLATE)
    found = read_table(tmp_path / "p.h5")
    first = dict(zip(found.metadata["protein"], found.features[:, 0], strict=True))
    assert first["A"] == pytest.approx(8, abs=0.6)
    assert found.provenance["transform"]["without_spread"]["some"] == ["f0 in 1"]
    assert "smallest_scale" not in found.provenance["transform"]
    assert "next to no spread" not in done.stderr


def test_few_equal_values_among_others_have_no_median_deviation(tmp_path: Path) -> None:
    """A MAD of next to nothing is one of 0: the mean deviation takes its place."""
    path = plates(tmp_path / "cells.h5", flat=None, controls=100)
    table = read_table(path)
    controls = np.flatnonzero(table.metadata["protein"] == "CTRL")
    some = controls[np.arange(len(controls)) % 5 > 0]
    table.features[some, 2] = 1e-8 * np.arange(len(some))
    write_table(path, table)
    done = run(path, tmp_path / "p.h5", "--normalize", "mad", *BY_PLATE)
    assert "2 pairs of feature and group are nearly constant in more than half" in done.stderr
    assert np.abs(read_table(tmp_path / "p.h5").features[:, 2]).max() < 10


def test_groups_of_few_controls_are_told(tmp_path: Path) -> None:
    path = plates(tmp_path / "cells.h5", flat=None, controls=1)
    done = run(path, tmp_path / "p.h5", "--normalize", "center", *BY_PLATE)
    assert done.exit_code == 0, done.output
    assert "Fitted on fewer than 5 rows: 2 of 2 groups (1: 1, 2: 1)." in done.stderr
    done = run(path, tmp_path / "q.h5", "--normalize", "standardize", *BY_PLATE)
    assert done.exit_code == 1
    assert "2 controls (protein=CTRL) or more" in done.stderr


def test_groups_without_controls_are_refused(tmp_path: Path) -> None:
    path = plates(tmp_path / "cells.h5", flat=None)
    table = read_table(path)
    lost = (table.metadata["plate"] == 2) & (table.metadata["protein"] == "CTRL")
    metadata = table.metadata.assign(protein=table.metadata["protein"].where(~lost, "A"))
    write_table(path, VectorTable(table.features, metadata, table.provenance, table.feature_names))
    done = run(path, tmp_path / "p.h5", "--normalize", "center", *BY_PLATE)
    assert done.exit_code == 1
    assert "fewer in 2 (1 of 2 groups)" in done.stderr


def test_sphering_on_few_controls_says_what_it_loses(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    proteins = ["CTRL"] * 6 + ["A"] * 20 + ["B"] * 20
    table = VectorTable(
        random.normal(size=(46, 12)).astype(np.float32),
        pd.DataFrame({"key": [f"k{i}" for i in range(46)], "protein": proteins}),
        {"layer": "fc_2"},
    )
    write_table(tmp_path / "cells.h5", table, [f"f{i}" for i in range(12)])
    words = ["--sphere", "--controls", "protein=CTRL"]
    done = run(tmp_path / "cells.h5", tmp_path / "p.h5", *words)
    assert done.exit_code == 0, done.output
    assert "only 5 of 12 directions vary" in done.stderr
    assert read_table(tmp_path / "p.h5").provenance["transform"]["directions"] == [5, 12]
    done = run(tmp_path / "cells.h5", tmp_path / "q.h5", "--sphere")
    assert "directions" not in done.stderr
