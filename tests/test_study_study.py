"""The study, tiny and real: what it leaves, what it does not make twice, and how it stops."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flips import not_found
from shared import run_cli

from deeploc_tf.profiles.tables import read_table
from deeploc_tf.study.config import StudyConfigError
from deeploc_tf.study.study import Study, run_study
from deeploc_tf.training.state import TrainingStoppedError
from tfrecords.errors import LockedError, SplitError
from tfrecords.locking import locked
from tfrecords.manifest import Manifest

pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")
pytest.importorskip("jinja2", reason="jinja2 is in the extra report")
pytestmark = pytest.mark.slow

TINY = """
title: Tiny
data:
  kind: simulated
  screen: {num_proteins: 34, num_fields: 3, cells_per_field: 2, plates: 2, difficulty: 0.1}
  truth: 816dd0568a3ec1105eab18e8dcc13cd1a1d4eb17c89c67e9c726b4c57825ccac
seeds: [1]
methods:
  DeepLoc:
    kind: network
    fit: {width: 0.1, dense_units: [32, 32], last_block: false, epochs: 1, batch_size: 16,
      optimizer: sgd, ema_momentum: 0}
  one view:
    kind: network
    fit: {width: 0.1, dense_units: [32, 32], last_block: false, epochs: 1, batch_size: 16,
      optimizer: sgd, ema_momentum: 0}
    test_time: none
  intensity: {kind: features, features: intensity, transform: {normalize: standardize}}
  both: {kind: combined, of: [DeepLoc, intensity], transform: {num_components: 8}}
  random: {kind: random, dimensions: 8}
reference: DeepLoc
curves: [DeepLoc]
map: both
densities: processes
choose_by: processes
draws: 2
"""


def written(folder: Path, text: str = TINY) -> Path:
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    return run_study(written(folder), folder / "OUT", workers=1)


@pytest.fixture
def again(done: Study, tmp_path: Path, logged: Callable[..., Any]) -> Callable[..., list[str]]:
    """Runs it on a copy, which it may spoil first; gives what was said."""

    def run(text: str = TINY, spoil: Callable[[Path], None] = lambda _: None) -> list[str]:
        shutil.copytree(done.folder, tmp_path / "OUT", dirs_exist_ok=True)
        spoil(tmp_path / "OUT")
        with logged() as said:
            run_study(written(tmp_path, text), tmp_path / "OUT", workers=1)
        return said

    return run


def steps_of(said: list[str]) -> list[str]:
    """Names of the steps that were made."""
    return [line.partition(":")[0] for line in said if "/steps/" in line and "Not of" not in line]


def test_every_method_is_scored_on_every_standard(done: Study) -> None:
    scores = pd.read_csv(done.folder / "scores.csv")
    rows = scores.groupby("method", sort=False).size()
    assert dict(rows) == dict.fromkeys(("DeepLoc", "one view", "intensity", "both", "random"), 4)
    assert set(scores["standard"]) == {"compartments", "processes", "pathways", "complexes"}
    assert scores["proteins_scored"].nunique() <= 4  # the same for all methods of a standard
    assert scores["average_precision"].between(0, 1).all()


def test_means_and_differences_are_those_of_the_scores(done: Study) -> None:
    scores = pd.read_csv(done.folder / "scores.csv")
    summary = pd.read_csv(done.folder / "summary.csv").set_index(["score", "standard", "method"])
    for score in ("average_precision", "adjusted_mutual_information", "cluster_f1"):
        means = scores.groupby(["standard", "method"])[score].mean()
        for (standard, method), value in means.items():
            row = summary.loc[(score, standard, method)]
            assert row["mean"] == pytest.approx(value)
            if score == "average_precision":
                assert row["low"] <= row["mean"] * 1.5
                expected = means[standard, "DeepLoc"] - value
                if method == "DeepLoc":
                    assert np.isnan(row["difference"])
                else:
                    assert row["difference"] == pytest.approx(expected)
                    assert row["difference_low"] <= row["difference_high"]


def test_each_half_of_the_proteins_is_summarized(done: Study) -> None:
    summary = pd.read_csv(done.folder / "summary.csv")
    halves = pd.read_csv(done.folder / "halves.csv")
    assert list(halves["half"].unique()) == ["choose", "judge"]
    for _, half in halves.groupby("half"):
        columns = ["score", "standard", "method"]
        assert half[columns].to_numpy().tolist() == summary[columns].to_numpy().tolist()
        assert not np.allclose(half["mean"], summary["mean"])


def test_vectors_are_averaged_as_the_preset_says(done: Study) -> None:
    tables = map(read_table, (done.folder / "steps").glob("embed-*/cells.parquet"))
    views = {table.provenance.get("test_time", "none") for table in tables}
    assert views == {"orientations", "none"}


def test_methods_of_one_training_share_it_with_its_curve(done: Study) -> None:
    assert len(list((done.folder / "steps").glob("fit-*"))) == 1


def test_curves_begin_before_the_first_step(done: Study) -> None:
    curves = pd.read_csv(done.folder / "curves.csv")
    assert len(curves) == 2 * 4  # epochs, standards
    assert set(curves["epoch"]) == {0, 1}
    assert curves["average_precision"].between(0, 1).all()


def test_the_page_holds_its_pictures_and_asks_nobody(done: Study) -> None:
    page = done.page.read_text("utf-8")
    assert page.count('<img src="data:image/png;base64,') == 4
    assert "://" not in page  # four letters of base64 may be http
    for words in (">Tiny</h1>", "What is compared", "DeepLoc less the", "The data set"):
        assert words in page
    links = re.findall(r'<a href="(?!#)([^"]+)">([^<]*)', page)
    assert links == [
        ("map.html", "Explore the map: search, neighbors, cells"),
        ("network-1.html", "DeepLoc"),
        ("network-2.html", "one view"),
    ]
    assert "Map of proteins" in (done.folder / "map.html").read_text("utf-8")
    report = (done.folder / "network-1.html").read_text("utf-8")
    for words in ("DeepLoc, seed 1", "What was run", "Confusion matrix", "Function against the"):
        assert words in report
    for name in ("figure", "curves", "map", "densities"):
        assert (done.folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (done.folder / f"{name}.svg").read_bytes()


def test_nothing_is_made_twice(
    done: Study, again: Callable[..., list[str]], tmp_path: Path
) -> None:
    assert steps_of(again()) == []
    for name in ("scores.csv", "summary.csv", "curves.csv", "index.html", "figure.png"):
        assert (tmp_path / "OUT" / name).read_bytes() == (done.folder / name).read_bytes(), name


def test_a_damaged_step_is_made_again_and_only_it(
    done: Study, again: Callable[..., list[str]], tmp_path: Path
) -> None:
    def spoil(folder: Path) -> None:
        (path,) = folder.glob("steps/measure-intensity-*/cells.profiles.parquet")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    said = again(spoil=spoil)
    (line,) = [line for line in said if "/steps/" in line and "Not of" not in line]
    assert line.startswith("measure intensity: cells.profiles.parquet is not as it was written")
    summaries = [
        (folder / "summary.csv").read_bytes() for folder in (tmp_path / "OUT", done.folder)
    ]
    assert summaries[0] == summaries[1]


def test_changed_settings_make_only_what_depends_on_them(again: Callable[..., list[str]]) -> None:
    said = again(TINY.replace("dimensions: 8", "dimensions: 9"))
    assert steps_of(said) == ["score"] * 3 + ["draw"]  # of all proteins and of each half
    old = [line for line in said if line.startswith("Not of this study any more")]
    assert [line.split("/steps/")[1].split("-")[0] for line in old] == ["draw"] + ["score"] * 3


@pytest.mark.long
def test_a_study_that_is_stopped_goes_on_and_ends_the_same(
    notes: list[str], done: Study, tmp_path: Path
) -> None:
    shutil.copytree(done.folder, tmp_path / "OUT")
    (trained,) = tmp_path.glob("OUT/steps/fit-seed-1-*")
    shutil.rmtree(trained)
    asked = iter([False, True])
    with pytest.raises(TrainingStoppedError):
        run_study(written(tmp_path), tmp_path / "OUT", should_stop=lambda: next(asked))
    assert (trained / "run" / "checkpoint").exists()
    notes.clear()
    run_study(written(tmp_path), tmp_path / "OUT")
    assert steps_of(notes) == ["fit seed 1"]
    assert not (trained / "run" / "checkpoint").exists()
    for name in ("function.csv", "run/history.csv"):
        before = pd.read_csv(done.folder / "steps" / trained.name / name)
        after = pd.read_csv(trained / name)
        columns = [column for column in before if column != "seconds"]
        pd.testing.assert_frame_equal(after[columns], before[columns])


def test_another_truth_than_the_frozen_one_is_refused_before_anything_is_drawn(
    tmp_path: Path,
) -> None:
    text = TINY.replace("truth: ", "truth: 0")
    with pytest.raises(StudyConfigError, match=r"`data.truth` must be the digest .*compare all"):
        run_study(written(tmp_path, text), tmp_path / "OUT")
    assert not (tmp_path / "OUT" / "steps").exists()


@pytest.mark.parametrize(
    ("module", "method", "line"),
    [
        ("matplotlib", "{kind: random}", "pip install 'matplotlib>="),
        (
            "cp_measure",
            "{kind: features, features: cellprofiler}",
            "pip install 'cp-measure>=",
        ),
    ],
)
def test_a_missing_extra_is_told_with_its_line_before_anything_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, method: str, line: str
) -> None:
    text = f"data: {{kind: simulated}}\nmethods: {{one: {method}}}\n"
    monkeypatch.setitem(sys.modules, module, None)
    result = run_cli("study", written(tmp_path, text), tmp_path / "OUT")
    assert result.exit_code == 1
    assert line in result.output
    assert not (tmp_path / "OUT").exists()


def test_a_wrong_file_is_told_by_the_command(tmp_path: Path) -> None:
    path = written(tmp_path, TINY.replace("methods:", "mthods:"))
    result = run_cli("study", path, tmp_path / "OUT")
    assert result.exit_code == 1
    assert "Did you mean 'methods'?" in result.output
    assert not (tmp_path / "OUT").exists()


def test_two_processes_do_not_write_one_study(tmp_path: Path) -> None:
    folder = tmp_path / "OUT"
    folder.mkdir()
    with locked(folder / ".lock", "it"), pytest.raises(LockedError):
        run_study(written(tmp_path), folder)


def test_records_and_standards_may_come_from_outside(
    tmp_path: Path, write_screen: Callable[..., Manifest]
) -> None:
    write_screen(tmp_path / "records")
    (tmp_path / "pairs.gmt").write_text("even\t\tAAC0\tAAC2\nodd\t\tAAC1\tAAC3\n")
    text = """
data: {kind: records, records: records, standards: {pairs: pairs.gmt}, compartments: pairs.gmt}
seeds: [1, 2]
methods: {intensity: {kind: features, features: intensity}, random: {kind: random}}
map: intensity
draws: 1
"""
    with pytest.raises(SplitError, match=r"'tset'.*Did you mean 'test'\?"):
        run_study(written(tmp_path, text + "split: tset\n"), tmp_path / "OUT")
    with pytest.raises(TrainingStoppedError, match="The same command goes on"):
        run_study(written(tmp_path, text), tmp_path / "OUT", should_stop=lambda: True)
    found = run_study(written(tmp_path, text), tmp_path / "OUT")
    assert found.scores["standard"].tolist() == ["pairs"] * 3
    assert found.scores["seed"].isna().tolist() == [True, False, False]
    assert "even (" in (tmp_path / "OUT" / "map.svg").read_text("utf-8")


@pytest.mark.long
def test_a_flipped_bit_of_any_file_is_found(done: Study) -> None:
    missed = not_found(done.folder.parent, ["study.yaml"], most=1)
    assert [name for name in missed if "/checkpoint/" not in name and "/logs/" not in name] == []
