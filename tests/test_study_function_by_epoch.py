"""Scores against the epoch: there for every epoch, and the training is as without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shared import tiny_fit

from deeploc_tf.benchmark.benchmark import benchmark
from deeploc_tf.benchmark.standards import Standard
from deeploc_tf.embedding.embed import embed
from deeploc_tf.models.trained import load_trained
from deeploc_tf.profiles.tables import read_table
from deeploc_tf.report.drawing import picture
from deeploc_tf.report.function_curves import function_curves
from deeploc_tf.study.function_by_epoch import FunctionByEpoch
from deeploc_tf.training.fit import fit
from deeploc_tf.training.state import TrainingStoppedError
from tfrecords.manifest import Manifest

CONFIG = tiny_fit(width=0.1, dense_units=(16, 16), epochs=3, ema_momentum=0.5)
STANDARDS = [
    Standard("pairs", {"even": frozenset({"AAC0", "AAC2"}), "odd": frozenset({"AAC1", "AAC3"})}),
    Standard("others", {"low": frozenset({"AAC0", "AAC1"})} | {"x": frozenset({"AAC1", "AAC2"})}),
]


@pytest.fixture(scope="module")
def records(
    write_screen: Callable[..., Manifest], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("screen") / "records"
    write_screen(folder)
    return folder


@pytest.fixture(scope="module")
def watched(records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watched")
    callback = FunctionByEpoch(records, STANDARDS, folder / "function.csv")
    fit(records, folder / "run", CONFIG, callbacks=[callback])
    return folder


def test_there_is_a_score_for_each_epoch_and_standard(watched: Path, records: Path) -> None:
    table = pd.read_csv(watched / "function.csv")
    assert table["epoch"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert table["standard"].tolist() == ["pairs", "others"] * 4
    # The last ones are those of the model that was kept.
    embed(watched / "run", records, watched / "cells.parquet", splits=["validation"])
    profiles = read_table(watched / "cells.profiles.parquet")
    proteins = profiles.metadata["protein"].tolist()
    scores = benchmark(profiles.features, proteins, STANDARDS)
    expected = [result.numbers["average_precision"] for result in scores]
    assert table["average_precision"][6:].tolist() == pytest.approx(expected, abs=1e-6)


def test_the_table_is_drawn_as_it_is(watched: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")
    figure = function_curves(pd.read_csv(watched / "function.csv"))
    assert picture(figure).startswith(b"\x89PNG")


def test_the_training_is_as_without(watched: Path, records: Path, tmp_path: Path) -> None:
    fit(records, tmp_path / "run", CONFIG)
    ours, theirs = (
        load_trained(run).model.get_weights() for run in (watched / "run", tmp_path / "run")
    )
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.long
def test_a_training_that_stops_goes_on_with_the_table(
    watched: Path, records: Path, tmp_path: Path
) -> None:
    """Stopped within the second epoch, and as if killed before the first score was written."""
    table = tmp_path / "function.csv"
    asked = iter([False, False, False, True])  # not after the last step of an epoch
    with pytest.raises(TrainingStoppedError):
        fit(
            records,
            tmp_path / "run",
            CONFIG,
            callbacks=[FunctionByEpoch(records, STANDARDS, table)],
            should_stop=lambda: next(asked),
        )
    assert pd.read_csv(table)["epoch"].max() == 1
    fit(records, tmp_path / "run", CONFIG, callbacks=[FunctionByEpoch(records, STANDARDS, table)])
    pd.testing.assert_frame_equal(pd.read_csv(table), pd.read_csv(watched / "function.csv"))


@pytest.mark.long
def test_a_score_that_a_kill_prevented_is_made_up_for(
    watched: Path, records: Path, tmp_path: Path
) -> None:
    """Killed between the saved state of an epoch and its score."""
    table = tmp_path / "function.csv"

    class Killed(FunctionByEpoch):
        def on_epoch_end(self, epoch: int, logs: object = None) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(records, tmp_path / "run", CONFIG, callbacks=[Killed(records, STANDARDS, table)])
    assert set(pd.read_csv(table)["epoch"]) == {0}
    fit(records, tmp_path / "run", CONFIG, callbacks=[FunctionByEpoch(records, STANDARDS, table)])
    pd.testing.assert_frame_equal(pd.read_csv(table), pd.read_csv(watched / "function.csv"))


@pytest.mark.long
def test_scores_may_be_rarer(records: Path, tmp_path: Path) -> None:
    table = tmp_path / "function.csv"
    callback = FunctionByEpoch(records, STANDARDS, table, every=2)
    fit(records, tmp_path / "run", CONFIG.model_copy(update={"epochs": 2}), callbacks=[callback])
    assert sorted(set(pd.read_csv(table)["epoch"])) == [0, 2]
