from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from shared import run_cli

from deeploc_tf.profiles.by_protein import vectors_by_protein
from deeploc_tf.profiles.fitting import TransformSettings
from deeploc_tf.profiles.profile import ProfileSettings, profile
from deeploc_tf.profiles.summaries import SUMMARIES, half_widths, modz_weights, standard_errors
from deeploc_tf.profiles.tables import (
    VectorTable,
    open_rows,
    read_table,
    write_table,
    writing_table,
)

PROTEINS = ["", "AAC1", "AAH1", "β-TUB"]


def cells(path: Path, count: int = 200, width: int = 5, seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    metadata = pd.DataFrame(
        {
            "key": [f"k{i}" for i in range(count)],
            "protein": random.choice(PROTEINS, count, p=[0.1, 0.5, 0.35, 0.05]),
            "field": random.integers(1, 6, count),
        }
    )
    features = random.normal(size=(count, width)).astype(np.float32)
    features[:, 0] += metadata["field"]
    names = [f"fc_2_{i}" for i in range(width)]
    provenance = {"kind": "embeddings", "layer": "fc_2", "records_digest": "abc"}
    write_table(path, VectorTable(features, metadata, provenance), names)
    return features, metadata


def naive(vectors: Any, method: str) -> list[float]:
    found = []
    for column in vectors.T.astype(float):
        ordered = sorted(column)
        n, cut = len(ordered), int(0.1 * len(ordered))
        if method == "mean":
            found.append(sum(ordered) / n)
        elif method == "median":
            found.append((ordered[(n - 1) // 2] + ordered[n // 2]) / 2)
        else:
            found.append(sum(ordered[cut : n - cut]) / (n - 2 * cut))
    return found


@pytest.mark.parametrize("suffix", [".h5", ".parquet"])
@pytest.mark.parametrize("method", ["mean", "median", "trimmed_mean"])
def test_profiles_are_those_of_naive_loops(method: Any, suffix: str, tmp_path: Path) -> None:
    features, metadata = cells(tmp_path / f"cells{suffix}")
    output = tmp_path / f"profiles{suffix}"
    written = profile(tmp_path / f"cells{suffix}", output, ProfileSettings(method))
    table = read_table(output)
    assert table.metadata["protein"].tolist() == PROTEINS[1:]
    assert written.num_cells == (metadata["protein"] != "").sum()
    for row, name in enumerate(PROTEINS[1:]):
        mine = features[metadata["protein"] == name]
        np.testing.assert_allclose(table.features[row], naive(mine, method), rtol=1e-5, atol=1e-6)
        assert table.metadata["num_crops"][row] == len(mine)
        away = np.linalg.norm(mine - np.array(naive(mine, method)), axis=1)
        np.testing.assert_allclose(
            table.metadata["dispersion"][row], np.sqrt(np.mean(away**2)), rtol=1e-5
        )
    assert table.provenance["kind"] == "profiles"
    assert table.provenance["records_digest"] == "abc"


def test_modz_is_that_of_pycytominer() -> None:
    modz = pytest.importorskip("pycytominer.cyto_utils.modz")
    random = np.random.default_rng(0)
    center = random.normal(size=40)
    vectors = (center + random.normal(size=(9, 40)) * np.linspace(0.2, 6, 9)[:, None]).astype("f4")
    wanted = modz.modz_base(pd.DataFrame(vectors), precision=12)
    np.testing.assert_allclose(SUMMARIES["modz"](vectors), wanted, rtol=1e-5)
    weights = modz_weights(vectors)
    assert weights[0] > 3 * weights[-1]
    np.testing.assert_allclose(weights.sum(), 1)


def test_modz_in_blocks_is_modz() -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    whole = modz_weights(vectors)
    correlations = scipy.stats.spearmanr(vectors, axis=1).statistic
    np.fill_diagonal(correlations, 0)
    naive_weights = np.maximum(np.maximum(correlations, 0).sum(axis=1) / 29, 0.01)
    np.testing.assert_allclose(whole, naive_weights / naive_weights.sum(), rtol=1e-9)
    np.testing.assert_allclose(modz_weights(vectors, vectors_at_once=7), whole)


def test_modz_of_one_two_and_constant_vectors() -> None:
    vectors = np.array([[1, 2, 3], [2, 3, 5], [4, 4, 4]], np.float32)
    np.testing.assert_array_equal(SUMMARIES["modz"](vectors[:1]), vectors[0])
    np.testing.assert_allclose(SUMMARIES["modz"](vectors[:2]), vectors[:2].mean(axis=0))
    np.testing.assert_allclose(modz_weights(vectors), np.array([50, 50, 1]) / 101)


def test_memory_changes_nothing(tmp_path: Path) -> None:
    cells(tmp_path / "cells.h5")
    fit = TransformSettings("mad", num_components=3)
    for memory in (1, 3000, 1 << 20):
        settings = ProfileSettings("median", memory=memory, num_resamples=5)
        profile(tmp_path / "cells.h5", tmp_path / f"{memory}.h5", settings, fit=fit)
    first, *others = [read_table(tmp_path / f"{memory}.h5") for memory in (1, 3000, 1 << 20)]
    for other in others:
        np.testing.assert_array_equal(other.features, first.features)
        pd.testing.assert_frame_equal(other.metadata, first.metadata)


def test_vectors_are_held_within_the_memory(tmp_path: Path) -> None:
    cells(tmp_path / "cells.h5", 500)
    table = open_rows(tmp_path / "cells.h5")
    proteins = table.groups("protein")
    largest = int(proteins.counts().max())
    held, seen = set(), []
    for protein, rows, vectors in vectors_by_protein(
        table, proteins, 5, lambda vectors, _: vectors, memory=20 * largest
    ):
        held.add(len(vectors.base))
        assert set(proteins.codes[rows]) == {protein}
        seen += rows.tolist()
    assert max(held) <= largest
    assert len(held) > 1
    assert sorted(seen) == np.flatnonzero(proteins.codes >= 0).tolist()


def test_replicates_are_averaged_first(tmp_path: Path) -> None:
    features, metadata = cells(tmp_path / "cells.h5")
    settings = ProfileSettings("median", replicate="field", num_resamples=20)
    profile(tmp_path / "cells.h5", tmp_path / "profiles.h5", settings)
    table = read_table(tmp_path / "profiles.h5")
    mine = pd.DataFrame(features[metadata["protein"] == "AAC1"])
    fields = metadata["field"][metadata["protein"] == "AAC1"].to_numpy()
    wanted = mine.groupby(fields).mean().median()
    np.testing.assert_allclose(table.features[0], wanted, rtol=1e-4, atol=1e-6)
    assert table.metadata["num_replicates"][0] == 5
    assert table.metadata["standard_error"][0] > 0.3  # fields differ


def test_intervals_of_the_mean_are_the_textbooks(tmp_path: Path) -> None:
    features, metadata = cells(tmp_path / "cells.parquet")
    profile(tmp_path / "cells.parquet", tmp_path / "p.parquet", ProfileSettings(intervals=True))
    mine = features[metadata["protein"] == "AAH1"].astype(float)
    low, high = scipy.stats.t.interval(
        0.95, len(mine) - 1, mine.mean(axis=0), scipy.stats.sem(mine, axis=0)
    )
    np.testing.assert_allclose(read_table(tmp_path / "p.low.parquet").features[1], low, rtol=1e-4)
    np.testing.assert_allclose(read_table(tmp_path / "p.high.parquet").features[1], high, rtol=1e-4)
    error = read_table(tmp_path / "p.parquet").metadata["standard_error"][1]
    np.testing.assert_allclose(error, np.linalg.norm(scipy.stats.sem(mine, axis=0)), rtol=1e-5)


@pytest.mark.parametrize(("method", "count"), [("mean", 5), ("median", 30), ("trimmed_mean", 12)])
def test_intervals_hold_the_truth_as_often_as_they_say(method: Any, count: int) -> None:
    random = np.random.default_rng(0)
    inside = []
    for _ in range(60):
        vectors = random.normal(size=(count, 40)).astype(np.float32)
        errors = standard_errors(vectors, method, 60, random)
        assert errors is not None
        inside.append(np.abs(SUMMARIES[method](vectors)) <= half_widths(errors, count, 0.95))
    assert 0.93 < np.mean(inside) < 0.975


def test_proteins_with_few_cells_are_left_out_and_named(tmp_path: Path) -> None:
    _, metadata = cells(tmp_path / "cells.h5")
    counts: list[tuple[int, int | None]] = []
    written = profile(
        tmp_path / "cells.h5",
        tmp_path / "p.h5",
        ProfileSettings(min_cells=20),
        progress=lambda done, total: counts.append((done, total)),
    )
    assert written.too_few == ("β-TUB",)
    assert counts == [(1, 2), (2, 2)]
    assert read_table(tmp_path / "p.h5").metadata["protein"].tolist() == ["AAC1", "AAH1"]
    assert written.num_cells == metadata["protein"].isin(["AAC1", "AAH1"]).sum()
    with pytest.raises(ValueError, match="3 proteins with"):
        profile(tmp_path / "cells.h5", tmp_path / "q.h5", ProfileSettings(min_cells=2000))
    assert not (tmp_path / "q.h5").exists()


def test_a_protein_with_one_cell_is_that_cell_without_an_error(tmp_path: Path) -> None:
    metadata = pd.DataFrame({"protein": ["AAC1"]})
    write_table(tmp_path / "one.h5", VectorTable(np.ones((1, 2), "f4"), metadata, {}), ["a", "b"])
    profile(tmp_path / "one.h5", tmp_path / "p.h5", ProfileSettings(intervals=True))
    table = read_table(tmp_path / "p.h5")
    np.testing.assert_array_equal(table.features, [[1, 1]])
    assert np.isnan(table.metadata["standard_error"][0])
    assert np.isnan(read_table(tmp_path / "p.low.h5").features).all()


run = functools.partial(run_cli, "profile")


def test_the_command_fits_saves_and_applies(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    cells(Path("cells.parquet"))
    cells(Path("new.h5"), seed=1)
    fit = ["--normalize", "mad", "--by", "field", "--components", "2", "--save", "t.npz"]
    done = run("cells.parquet", "p.parquet", "--min-cells", "20", *fit)
    assert done.exit_code == 0, done.output
    assert "1 proteins have fewer than 20 cells and were left out: β-TUB." in done.stderr
    assert re.search(r"2 components have \d+\.\d% of the variance", done.stderr)
    assert re.fullmatch(r"p\.parquet: 2 proteins of \d+ cells, 2 features\n", done.stdout)
    assert list(pd.read_parquet("p.parquet").columns)[-2:] == ["pc_0", "pc_1"]
    done = run("new.h5", "q.h5", "--transform", "t.npz")
    assert done.exit_code == 0, done.output
    assert read_table("q.h5").provenance["transform"]["normalize"] == "mad"
    again = run("cells.parquet", "again.h5", "--min-cells", "20", "--transform", "t.npz")
    assert again.exit_code == 0
    np.testing.assert_array_equal(read_table("again.h5").features, read_table("p.parquet").features)


def test_undefined_cells_are_refused_or_left_out(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    features, metadata = cells(Path("cells.h5"))
    row = int(np.flatnonzero(metadata["protein"] == "AAC1")[0])
    features[row, 1] = np.inf
    write_table(Path("inf.h5"), VectorTable(features, metadata, {}), list("abcde"))
    done = run("inf.h5", "p.h5")
    assert done.exit_code == 1
    assert f"row {row} of inf.h5" in done.stderr
    assert not Path("p.h5").exists()
    done = run("inf.h5", "p.h5", "--drop-undefined")
    assert done.exit_code == 0
    assert "1 cells are not finite" in done.stderr
    assert read_table("p.h5").metadata["num_crops"].sum() <= 199


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--save", "t.npz"], "nothing to fit"),
        (["--statistic", "median", "--write-intervals"], "--resamples 200"),
        (["--replicate", "feld"], "Did you mean 'field'"),
        (["--transform", "cells.h5", "--sphere"], "not both"),
        (["--transform", "cells.h5"], "that `profile` saved"),
    ],
)
def test_wrong_use_is_told_and_leaves_nothing(
    words: list[str], message: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    cells(Path("cells.h5"))
    done = run("cells.h5", "p.h5", *words)
    assert done.exit_code == 1
    assert message in done.stderr
    assert [path.name for path in Path().iterdir()] == ["cells.h5"]


def test_an_output_that_is_there_is_kept(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    cells(Path("cells.h5"))
    Path("p.low.h5").write_text("mine")
    assert run("cells.h5", "p.h5", "--write-intervals").exit_code == 1
    assert Path("p.low.h5").read_text() == "mine"
    assert not Path("p.h5").exists()


@pytest.mark.parametrize("suffix", [".h5", ".parquet"])
def test_damaged_rows_are_told_while_they_stream(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"cells{suffix}"
    with writing_table(path, ["a"], {"protein": "text"}, {}) as writer:
        for _ in range(20):
            block = np.random.default_rng(0).normal(size=(500, 1)).astype(np.float32)
            writer.append(block, {"protein": ["AAC1"] * 500})
    content = bytearray(path.read_bytes())
    at = content.find(block[:50].tobytes())
    content[at + 20] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="one that `embed` or `measure` wrote"):
        profile(path, tmp_path / f"p{suffix}")


def test_errors_of_few_vectors_are_not_too_small() -> None:
    """Of three vectors nothing is trimmed: the bootstrap must give what the textbook gives."""
    vectors = np.random.default_rng(0).normal(size=(3, 200)).astype(np.float32)
    errors = standard_errors(vectors, "trimmed_mean", 800, np.random.default_rng(1))
    wanted = standard_errors(vectors, "mean", 0, np.random.default_rng(1))
    assert errors is not None
    assert wanted is not None
    np.testing.assert_allclose(np.mean(errors / wanted), 1, atol=0.02)
