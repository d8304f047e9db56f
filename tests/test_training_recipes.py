"""Runs of before presets carried recipes: finished ones are read, others do not go on unnoticed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from shared import contents, tiny_fit

from deeploc_tf.embedding.embed import embed
from deeploc_tf.models.trained import load_trained
from deeploc_tf.models.views import window_size
from deeploc_tf.presets import RECOMMENDED
from deeploc_tf.profiles.tables import read_table
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.fit import fit
from deeploc_tf.training.run_folder import open_run
from deeploc_tf.training.state import TrainingStoppedError
from tfrecords.errors import RecordsError
from tfrecords.manifest import Manifest

WriteScreen = Callable[..., Manifest]
GOLDEN = Path(__file__).parent / "golden" / "run_v1"


def as_before(run: Path, window: int | None, preset: str = "kraus2017") -> None:
    """Rewrite the settings of a run as they were stored before; None: the preset's window."""
    path = run / "config.json"
    values: dict[str, Any] = json.loads(path.read_text())
    del values["recipe_version"], values["digest"]
    del values["config"]["window"]
    values["config"]["crop_size"] = window
    values["config"]["preset"] = preset
    for name in ("channels", "test_time", "initializer", "epsilon", "steps", "decay_rate"):
        del values["config"][name]
    del values["config"]["decay_steps"]
    values["config"]["normalization"] = None
    values["resolved"]["crop_size"] = values["resolved"].pop("window")
    values["resolved"]["test_time"] = "orientations" if preset == "map2026" else "none"
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("window", "preset"), [pytest.param(12, "kraus2017", marks=pytest.mark.long), (None, "map2026")]
)
def test_a_finished_run_of_before_is_read(
    window: int | None, preset: str, write_screen: WriteScreen, tmp_path: Path
) -> None:
    write_screen(tmp_path / "records", size=16)
    fit(tmp_path / "records", tmp_path / "run", tiny_fit(epochs=1))
    as_before(tmp_path / "run", window, preset)
    config = open_run(tmp_path / "run").config
    views = "orientations" if preset == "map2026" else "none"
    assert (config.window, config.normalization, config.test_time) == (12, "percentile", views)
    assert (config.initializer, config.channels) == ("glorot", ("gfp", "rfp"))
    trained = load_trained(tmp_path / "run")
    assert (window_size(trained.model), trained.test_time) == ((12, 12), views)


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A run of the preset that was called map2026, with its records and vectors of their test."""
    if not keras.__version__.startswith("3."):
        pytest.skip("a .keras file is of one Keras")
    with zipfile.ZipFile(GOLDEN / "keras3.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path


def test_a_run_of_before_embeds_as_it_did(golden: Path) -> None:
    config = open_run(golden / "run").config
    assert (config.preset, config.window, config.test_time) == (RECOMMENDED, 12, "orientations")
    embed(golden / "run", golden / "records", golden / "again.npz", splits=["test"])
    before, again = (read_table(golden / name).features for name in ("cells.npz", "again.npz"))
    np.testing.assert_allclose(again, before, rtol=1e-4, atol=1e-5)


def test_a_run_of_before_does_not_go_on_unnoticed(golden: Path) -> None:
    (golden / "run" / "model.keras").unlink()
    before = contents(golden / "run")
    config = FitConfig(
        width=0.02, dense_units=(4, 6), window=12, epochs=8, batch_size=8, learning_rate=1e-2
    )
    with pytest.raises(RecordsError, match=r"recipe 3 \(was 1\) .*Name another run folder"):
        fit(golden / "records", golden / "run", config)
    assert contents(golden / "run") == before


def test_an_unfinished_run_of_before_is_refused_unless_told(
    write_screen: WriteScreen, tmp_path: Path
) -> None:
    write_screen(tmp_path / "records", size=16)
    fit(tmp_path / "records", tmp_path / "run", tiny_fit(epochs=1))
    as_before(tmp_path / "run", 12)
    (tmp_path / "run" / "model.keras").unlink()
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(RecordsError, match=r"recipe 3 \(was 1\).*--allow-changed"):
        fit(tmp_path / "records", tmp_path / "run", tiny_fit(epochs=1))
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    fit(tmp_path / "records", tmp_path / "run", tiny_fit(epochs=1), allow_changed=True)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["recipe_version"] == 3


@pytest.mark.parametrize(
    "stop", [3, pytest.param(4, marks=pytest.mark.long), pytest.param(None, marks=pytest.mark.long)]
)
def test_a_training_of_so_many_steps_ends_after_them_wherever_it_stopped(
    stop: int | None, write_screen: WriteScreen, tmp_path: Path
) -> None:
    write_screen(tmp_path / "records", size=16)
    config = tiny_fit(epochs=None, steps=5)  # an epoch of three, and one of two
    asked: list[int] = []

    def stops() -> bool:
        asked.append(1)
        return len(asked) == stop

    counts: list[int] = []
    done = partial(fit, tmp_path / "records", progress=lambda count, total: counts.append(count))
    whole = done(tmp_path / "whole", config)
    assert counts == [9, 18, 27, 36, 45]
    if stop is not None:
        with pytest.raises(TrainingStoppedError):
            done(tmp_path / "run", config, should_stop=stops)
        assert done(tmp_path / "run", config) == whole
        weights = [load_trained(tmp_path / name).model.get_weights() for name in ("run", "whole")]
        assert all(map(np.array_equal, *weights))
    history = pd.read_csv(tmp_path / "whole" / "history.csv")
    assert history["epoch"].tolist() == [1, 2]
    assert whole["epochs"] == 2


@pytest.mark.long
@pytest.mark.parametrize("stop", [5, 9, 11])
def test_epochs_of_several_passes_train_as_those_of_one_wherever_it_stopped(
    stop: int,
    write_screen: WriteScreen,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged: Callable[..., Any],
) -> None:
    write_screen(tmp_path / "records", size=16)
    config = tiny_fit(epochs=None, steps=13, warmup_epochs=0)  # passes of 3 steps
    fit(tmp_path / "records", tmp_path / "singly", config)
    monkeypatch.setattr("deeploc_tf.training.duration.MOST_EPOCHS", 2)
    counts: list[int] = []
    rows: list[dict[str, float]] = []

    start = partial(
        fit,
        tmp_path / "records",
        tmp_path / "run",
        config,
        progress=lambda count, total: counts.append(count),
        report=rows.append,
    )
    with pytest.raises(TrainingStoppedError):
        start(should_stop=lambda: len(counts) == stop)
    with logged() as notes:
        assert start()["epochs"] == 2
    between = stop == 9  # two epochs; else after a step that was not counted any more
    assert counts == [9 * step for step in range(1, 14) if between or step != stop + 1]
    assert [(row["epoch"], row["epochs"]) for row in rows] == [(1, 2), (2, 2)]
    assert any("13 steps, 4.33 passes over 27 crops, evaluated every 3: 2 ep" in n for n in notes)
    weights = [load_trained(tmp_path / name).model.get_weights() for name in ("run", "singly")]
    assert all(map(np.array_equal, *weights))


@pytest.mark.long
def test_a_run_that_goes_on_with_other_settings_keeps_its_epochs(
    write_screen: WriteScreen,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged: Callable[..., Any],
) -> None:
    write_screen(tmp_path / "records", size=16)
    monkeypatch.setattr("deeploc_tf.training.duration.MOST_EPOCHS", 2)
    rows: list[dict[str, float]] = []

    def stop(row: dict[str, float]) -> None:
        rows.append(row)
        raise KeyboardInterrupt

    start = partial(fit, tmp_path / "records", tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        start(tiny_fit(epochs=None, steps=12), report=stop)
    with logged() as notes:
        start(tiny_fit(epochs=4), allow_changed=True, report=rows.append)  # as many passes
    assert [(row["epoch"], row["epochs"]) for row in rows] == [(1, 2), (2, 2)]
    assert any("Going on after epoch 1 of 2" in note for note in notes)
