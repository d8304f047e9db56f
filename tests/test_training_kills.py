"""A training that is really killed, again and again, ends like one that never was.

One kill here; `make reliability` does twenty on each stack (DEEPLOC_TF_KILLS).
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shared import RECIPE, tiny_fit

from deeploc_tf.models.trained import load_trained
from deeploc_tf.training import fit as fit_module
from deeploc_tf.training.fit import fit
from tfrecords.manifest import Manifest

KILLS = int(os.environ.get("DEEPLOC_TF_KILLS", "1"))
# with this patience the best epoch's weights are kept as well
CONFIG = tiny_fit(dropout=0.3, epochs=max(3, 2 * KILLS), patience=1000, seed=5, **RECIPE)
STEPS = CONFIG.epochs * 3

# Killed some milliseconds after a step, or (delay -1) while its checkpoint is written.
CHILD = """
import os, pathlib, signal, sys, threading, time
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.fit import fit

steps, delay = int(sys.argv[3]), float(sys.argv[4])
folder = pathlib.Path(sys.argv[2], "checkpoint")
calls = []

def kill():
    time.sleep(max(delay, 0))
    while delay < 0 and not any(".partial-" in name for name in os.listdir(folder)):
        pass
    os.kill(os.getpid(), signal.SIGKILL)

def progress(done, _):
    calls.append(done)
    if len(calls) == steps:
        threading.Thread(target=kill, daemon=True).start()

config = FitConfig.model_validate_json(sys.stdin.read())
fit(sys.argv[1], sys.argv[2], config, checkpoint_steps=1, progress=progress)
"""


@pytest.fixture(scope="module")
def records(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("kills") / "records"
    write_screen(folder, size=16)
    return folder


@pytest.fixture(scope="module")
def undisturbed(records: Path, tmp_path_factory: Any) -> Path:
    run: Path = tmp_path_factory.mktemp("kills") / "undisturbed"
    fit(records, run, CONFIG)
    return run


def digest(run: Path) -> str:
    """SHA-256 of all weights of the model, of the history but its seconds, and of the metrics."""
    sha = hashlib.sha256()
    for weight in load_trained(run).model.weights:
        sha.update(np.ascontiguousarray(weight.numpy()).tobytes())
    history = pd.read_csv(run / "history.csv", dtype=str).drop(columns="seconds")
    sha.update(history.to_csv().encode())
    sha.update((run / "metrics.json").read_bytes())
    return sha.hexdigest()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_random_points_a_training_ends_with_the_same_bits(
    notes: list[str], records: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    points = random.Random(7)
    half_written = 0
    for number in range(KILLS):
        # A checkpoint may be lost with the process, so steps may come again: that is the point.
        command = [sys.executable, "-c", CHILD, str(records), str(run)]
        delay = points.uniform(0, 0.03) if number % 2 else -1
        result = subprocess.run(
            [*command, str(points.randint(1, 4)), str(delay)],
            input=CONFIG.model_dump_json(),
            text=True,
            capture_output=True,
            check=False,
        )
        assert result.returncode == -signal.SIGKILL, result.stderr
        assert not (run / "model.keras").exists()
        half_written += bool(list((run / "checkpoint").glob(".*.partial-*")))
    assert half_written >= max(1, KILLS // 4)
    fit(records, run, CONFIG)
    assert not list(run.glob("**/.*.partial-*"))
    assert any(note.startswith("Going on after epoch") for note in notes)
    assert digest(run) == digest(undisturbed)


def interrupted(records: Path, run: Path, after: int) -> None:
    """Stop a training after some steps, as `--checkpoint-steps 1` and SIGTERM do."""
    from deeploc_tf.training.state import TrainingStoppedError

    done: list[int] = []
    with pytest.raises(TrainingStoppedError, match="the same command goes on"):
        fit(
            records,
            run,
            CONFIG,
            progress=lambda count, _: done.append(count),
            should_stop=lambda: len(done) >= after - 1,
        )
    assert len(done) == after - 1  # the step's own progress comes after the checkpoint


@pytest.mark.long
def test_stopped_in_an_epoch_it_goes_on_from_that_step(
    records: Path, undisturbed: Path, tmp_path: Path
) -> None:
    interrupted(records, tmp_path / "run", after=5)
    done: list[int] = []
    fit(records, tmp_path / "run", CONFIG, progress=lambda count, _: done.append(count))
    assert done == [9 * step for step in range(6, STEPS + 1)]
    assert digest(tmp_path / "run") == digest(undisturbed)


@pytest.mark.long
@pytest.mark.parametrize("forgotten", ["num_draws", "iteration", "running_metrics"])
def test_a_restart_that_forgets_something_is_seen(
    forgotten: str,
    records: Path,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interrupted(records, tmp_path / "run", after=5)
    restore = fit_module.restore_state

    def forgetful(folder: Path, model: Any) -> Any:
        state, damages = restore(folder, model)
        if forgotten == "running_metrics":
            state.running_metrics = []
        for variable in [*model.variables, *model.optimizer.variables]:
            if forgotten in variable.name:
                variable.assign(np.zeros_like(variable.numpy()))
        return state, damages

    monkeypatch.setattr(fit_module, "restore_state", forgetful)
    fit(records, tmp_path / "run", CONFIG)
    assert digest(tmp_path / "run") != digest(undisturbed)


@pytest.mark.long
def test_changed_settings_go_on_only_where_that_is_told(
    notes: list[str], records: Path, tmp_path: Path
) -> None:
    from tfrecords.errors import RecordsError

    interrupted(records, tmp_path / "run", after=5)
    other = CONFIG.model_copy(update={"epochs": 4})
    with pytest.raises(RecordsError, match="epochs=4"):
        fit(records, tmp_path / "run", other)
    metrics = fit(records, tmp_path / "run", other, allow_changed=True)
    assert "Going on after epoch 1 of 4, step 2 of 3." in notes
    assert metrics["epochs"] == 4


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_training_and_names_the_crops(
    records: Path, tmp_path: Path
) -> None:
    import keras

    from deeploc_tf.pipeline.batches import keys_of_training_batch, training_batches
    from deeploc_tf.training.state import NotFiniteError
    from tfrecords.manifest import read_manifest

    class Poison(keras.callbacks.Callback):
        """Spoils a weight after the fourth step of the second epoch, the second but one."""

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if self.model.optimizer.iterations.numpy() == 4:
                bias = self.model.trainable_variables[-1]
                bias.assign(np.full(bias.shape, np.nan, np.float32))

    with pytest.raises(NotFiniteError, match="loss=nan in epoch 2, step 2") as error:
        fit(records, tmp_path / "run", CONFIG, callbacks=[Poison()], checkpoint_steps=2)
    manifest = read_manifest(records)
    place = {"batch_size": 9, "epoch": 1, "step": 1, "seed": CONFIG.seed, "manifest": manifest}
    keys = keys_of_training_batch(records, **place)
    assert len(set(keys)) == 9
    assert f"{', '.join(keys[:8])} and 1 more" in str(error.value)
    # They are those whose images the step got.
    images, _ = next(
        iter(
            training_batches(
                records, batch_size=9, epochs=2, first_epoch=1, first_step=1, seed=CONFIG.seed
            )
        )
    )
    from deeploc_tf.pipeline.batches import batches

    by_key = {
        key: image
        for batch in batches(records, "train").as_numpy_iterator()
        for key, image in zip(batch["key"], batch["image"], strict=True)
    }
    for key, image in zip(keys, images.numpy(), strict=True):
        np.testing.assert_array_equal(by_key[key.encode()], image)
    # What was saved is finite, and goes on.
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoint").glob("epoch-*"))
    assert names == ["epoch-00000-step-0000002.npz", "epoch-00001-step-0000000.npz"]
    fit(records, tmp_path / "run", CONFIG)


@pytest.mark.slow
def test_weights_that_are_no_numbers_are_not_saved(records: Path, tmp_path: Path) -> None:
    import keras

    from deeploc_tf.training.state import NotFiniteError

    class Poison(keras.callbacks.Callback):
        """Spoils a weight that the loss does not show: the average that evaluation takes."""

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if self.model.optimizer.iterations.numpy() == 3:
                variable = self.model.optimizer.variables[-1]
                variable.assign(np.full(variable.shape, np.inf, np.float32))

    with pytest.raises(NotFiniteError, match="Weights must stay finite"):
        fit(records, tmp_path / "run", CONFIG, callbacks=[Poison()], checkpoint_steps=1)
    for path in (tmp_path / "run" / "checkpoint").glob("epoch-*"):
        with np.load(path) as arrays:
            assert all(np.isfinite(arrays[n]).all() for n in arrays.files if n != "state")
