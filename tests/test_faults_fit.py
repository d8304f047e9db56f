"""Faults that a training must survive; see docs/reliability.md."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from shared import contents, tiny_fit, write_config

from deeploc_tf.models.trained import load_trained
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.fit import fit
from deeploc_tf.training.state import NotFiniteError, TrainingStoppedError
from tfrecords.errors import RecordsError
from tfrecords.manifest import Manifest

CONFIG = tiny_fit(window=0, augmentation="orientations")


@pytest.fixture(scope="module")
def records(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("faults") / "records"
    write_screen(folder, size=12)
    return folder


@pytest.fixture(scope="module")
def stopped(records: Path, tmp_path_factory: Any) -> Path:
    """A run that stopped after the fourth step, the first of the second epoch."""
    run: Path = tmp_path_factory.mktemp("faults") / "run"
    asked = iter([False, False, False, True])  # twice in the epoch, behind it, in the next one
    with pytest.raises(TrainingStoppedError):
        fit(records, run, CONFIG, should_stop=lambda: next(asked))
    return run


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(stopped, tmp_path / "run")
    return tmp_path / "run"


def test_other_versions_are_refused(notes: list[str], run: Path, records: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    environment = json.loads((run / "environment.json").read_text())
    config["deeploc_tf"] = "0.0.9"
    environment["packages"]["keras"] = "1.2.3"
    write_config(run, config)
    (run / "environment.json").write_text(json.dumps(environment))
    before = contents(run)
    changed = rf"deeploc-tf \S+ \(was 0\.0\.9\), keras {keras.__version__} \(was 1\.2\.3\)"
    with pytest.raises(RecordsError, match=f"the versions it began with.*{changed}.*allow-changed"):
        fit(records, run, CONFIG)
    assert contents(run) == before
    fit(records, run, CONFIG, allow_changed=True)
    assert any("although the run began otherwise: deeploc-tf" in note for note in notes)
    assert "Going on after epoch 1 of 2, step 1 of 3." in notes
    # From now on they are the versions of this run; a finished one may be read by any.
    config["deeploc_tf"] = "0.0.9"
    write_config(run, config)
    assert fit(records, run, CONFIG)["epochs"] == 2


def test_other_records_are_refused(
    notes: list[str], run: Path, tmp_path: Path, write_screen: Callable[..., Manifest]
) -> None:
    splits = {"train": (5, 5, 5), "validation": (4, 3, 2)}
    write_screen(tmp_path / "other", splits, size=12, seed=1)
    before = contents(run)
    with pytest.raises(RecordsError, match=r"the records it began with.*--allow-changed"):
        fit(tmp_path / "other", run, CONFIG)
    assert contents(run) == before
    fit(tmp_path / "other", run, CONFIG, allow_changed=True)
    # One step an epoch now, so there is none after the first to go on from.
    assert "Epoch 2 has 1 steps now, and begins again." in notes
    assert "Going on after epoch 1 of 2." in notes


def test_another_network_is_refused_whatever_is_told(run: Path, records: Path) -> None:
    before = contents(run)
    other = CONFIG.model_copy(update={"width": 0.1})
    with pytest.raises(ValueError, match="those of another model or optimizer"):
        fit(records, run, other, allow_changed=True)
    assert contents(run) == before


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.long)])
def test_a_training_that_explodes_keeps_what_was_finite(
    records: Path, tmp_path: Path, precision: str
) -> None:
    config = CONFIG.model_copy(
        update={
            "optimizer": "sgd", "schedule": "constant", "learning_rate": 1e25, "epochs": 9,
            "precision": precision, "ema_momentum": 0.0,
        }
    )  # fmt: skip
    with pytest.raises(NotFiniteError, match="must stay finite"):
        fit(records, tmp_path / "run", config, checkpoint_steps=1)
    for path in (tmp_path / "run").glob("checkpoint/epoch-*"):
        with np.load(path) as arrays:
            assert all(np.isfinite(arrays[name]).all() for name in arrays.files if name != "state")


def test_too_little_memory_is_told_with_the_batch_that_fits(records: Path, tmp_path: Path) -> None:
    class Greedy(keras.callbacks.Callback):
        """Asks the device for more than there is."""

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            tf.zeros((1 << 50,))

    with pytest.raises(MemoryError, match=r"batch_size=9\. Use a smaller .*: --batch-size 4 fits"):
        fit(records, tmp_path / "run", CONFIG, callbacks=[Greedy()])
    # The command ends with 3 then: tests/test_cli_group.py.


def test_a_class_that_cannot_be_measured_is_told(
    notes: list[str], tmp_path: Path, write_screen: Callable[..., Manifest]
) -> None:
    splits = {"train": (4, 4, 4), "validation": (2, 2, 0), "test": (1, 1, 1)}
    write_screen(tmp_path / "records", splits, size=12)
    config = CONFIG.model_copy(update={"epochs": 1, "batch_size": 4})
    metrics = fit(tmp_path / "records", tmp_path / "run", config)
    assert "The validation split has no crop of nucleus: averages leave it out." in notes
    of_class = metrics["validation"]["per_class"]
    assert of_class["nucleus"]["recall"] is None
    recalls = [of_class[name]["recall"] for name in ("cytoplasm", "mitochondrion")]
    assert metrics["validation"]["balanced_accuracy"] == pytest.approx(np.mean(recalls))


@pytest.mark.slow
def test_a_preempted_job_saves_its_state_and_goes_on(records: Path, tmp_path: Path) -> None:
    options = [
        *("--width", "0.06", "--dense-units", "8,6", "--window", "0", "--epochs", "200"),
        *("--batch-size", "9", "--patience", "1000", "--test-time", "none", "--no-last-block"),
        *("--optimizer", "sgd", "--ema-momentum", "0"),
    ]
    command = [sys.executable, "-m", "deeploc_tf", "fit", str(records), str(tmp_path / "run")]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    history = tmp_path / "run" / "history.csv"
    deadline = time.monotonic() + 300
    while not history.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 75, told
    assert "the same command goes on from there" in told.splitlines()[-1]
    newest = max(path.name for path in (tmp_path / "run" / "checkpoint").glob("epoch-*"))
    epoch, step = int(newest[6:11]), int(newest[17:24])
    assert epoch >= 1
    done = epoch * 3 + step
    again: list[int] = []
    config = FitConfig(
        width=0.06,
        dense_units=(8, 6),
        window=0,
        epochs=200,
        batch_size=9,
        patience=1000,
        test_time="none",
        last_block=False,
        optimizer="sgd",
        ema_momentum=0,
    )
    with pytest.raises(TrainingStoppedError):
        fit(
            records,
            tmp_path / "run",
            config,
            progress=lambda count, _: again.append(count),
            should_stop=lambda: bool(again),
        )
    assert again[0] == 9 * (done + 1)


@pytest.mark.long
def test_who_asks_between_two_epochs_is_heard_too(records: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"batch_size": 27, "epochs": 3})  # one step an epoch
    fit(records, tmp_path / "whole", config)
    done: list[int] = []
    with pytest.raises(TrainingStoppedError, match="Stopped after epoch 1"):
        fit(
            records,
            tmp_path / "run",
            config,
            progress=lambda count, _: done.append(count),
            should_stop=lambda: bool(done),
        )
    assert done == [27]
    fit(records, tmp_path / "run", config)
    models = [load_trained(tmp_path / name).model for name in ("whole", "run")]
    for weight, expected in zip(models[1].weights, models[0].weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), expected.numpy())


def test_a_state_is_saved_when_the_minutes_are_over(records: Path, tmp_path: Path) -> None:
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        fit(
            records,
            tmp_path / "run",
            CONFIG,
            checkpoint_minutes=0,
            progress=lambda count, _: done.append(count) or stop_at(done, 2),
        )
    names = [path.name for path in (tmp_path / "run" / "checkpoint").glob("epoch-*")]
    assert max(names).startswith("epoch-00000-step-000000")


def stop_at(done: list[int], steps: int) -> None:
    if len(done) == steps:
        raise KeyboardInterrupt


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(records: Path, tmp_path: Path) -> None:
    from tensorflow.python.framework import config as tensorflow_config

    config = CONFIG.model_copy(update={"deterministic": True, "augmentation": "rotations"})
    try:
        for name in ("first", "second"):
            fit(records, tmp_path / name, config)
            assert tensorflow_config.is_op_determinism_enabled()
    finally:
        tensorflow_config.disable_op_determinism()
    fit(records, tmp_path / "other", config.model_copy(update={"seed": 1, "deterministic": False}))
    first, second, other = (
        np.concatenate([w.numpy().ravel() for w in load_trained(tmp_path / name).model.weights])
        for name in ("first", "second", "other")
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)
