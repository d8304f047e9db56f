from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from shared import RECIPE, tiny_fit

from deeploc_tf.models.extractors import inference_function
from deeploc_tf.models.trained import load_trained
from deeploc_tf.pipeline.batches import batches
from deeploc_tf.training.classification import build_model
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.fit import fit
from tfrecords.errors import DamagedRecordsError, OutputExistsError, RecordsError, SplitError
from tfrecords.manifest import Manifest

# All that is random is on: a restart must draw what an uninterrupted training draws.
CONFIG = tiny_fit(
    augmentation="rotations",
    dropout=0.3,
    mask=True,
    epochs=4,
    label_smoothing=0.1,
    seed=3,
    **RECIPE,
)
NAMES = ["cytoplasm", "mitochondrion", "nucleus"]


class Keep(keras.callbacks.Callback):
    """Keeps every variable as it is after the last step (Keras puts the averages there later)."""

    def __init__(self) -> None:
        super().__init__()
        self.variables: list[np.ndarray] = []
        self.iterations = 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        variables = [*self.model.weights, *self.model.optimizer.variables]
        self.variables = [variable.numpy() for variable in variables]
        self.iterations = int(self.model.optimizer.iterations.numpy())


@pytest.fixture(scope="module")
def records(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("fit") / "records"
    write_screen(folder, size=16, has_mask=True)
    return folder


class Finished:
    """An uninterrupted training and what it told."""

    def __init__(self, records: Path, run: Path, logged: Callable[..., Any]) -> None:
        self.run = run
        self.keep = Keep()
        self.rows: list[dict[str, float]] = []
        self.progress: list[int] = []
        with logged() as self.notes:
            self.metrics = fit(
                records,
                run,
                CONFIG,
                callbacks=[self.keep],
                report=self.rows.append,
                progress=lambda count, _: self.progress.append(count),
            )


@pytest.fixture(scope="module")
def finished(records: Path, tmp_path_factory: Any, logged: Callable[..., Any]) -> Finished:
    return Finished(records, tmp_path_factory.mktemp("fit") / "run", logged)


@pytest.mark.addons
def test_a_run_folder_holds_what_is_promised(finished: Finished) -> None:
    expected = {
        "config.json", "environment.json", "history.csv", "metrics.json", "confusion.csv",
        "model.keras", "checkpoint", "calibration.json", "novelty.npz", "run.json",
    }  # fmt: skip
    if util.find_spec("tensorboard"):
        expected.add("logs")
    assert {path.name for path in finished.run.iterdir()} == expected
    assert json.loads((finished.run / "metrics.json").read_text()) == finished.metrics
    assert finished.metrics["epochs"] == 4
    assert json.loads((finished.run / "config.json").read_text())["config"]["width"] == 0.06
    history = pd.read_csv(finished.run / "history.csv")
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    pd.testing.assert_frame_equal(history.assign(epochs=4), pd.DataFrame(finished.rows))
    columns = ["loss", "accuracy", "val_loss", "val_accuracy", "val_balanced_accuracy", "seconds"]
    assert {*columns, "epoch"} == set(history.columns)
    table = pd.read_csv(finished.run / "confusion.csv", index_col=0)
    assert table.columns.tolist() == table.index.tolist() == NAMES
    assert table.to_numpy().tolist() == finished.metrics["test"]["confusion_matrix"]


@pytest.mark.addons
def test_there_are_exactly_as_many_steps_as_crops_allow(finished: Finished) -> None:
    assert finished.keep.iterations == 4 * 3  # one more an epoch, where cardinality is not asserted
    assert finished.progress == [9 * step for step in range(1, 13)]
    assert any("Training on the CPU" in note for note in finished.notes)


@pytest.mark.addons
def test_the_metrics_are_those_of_the_saved_model(finished: Finished, records: Path) -> None:
    trained = load_trained(finished.run)
    assert trained.takes_mask
    logits = inference_function(trained.model)
    for split, num_crops in (("validation", 9), ("test", 11)):
        (batch,) = batches(records, split)
        values = logits({"image": batch["image"], "mask": batch["mask"]}).numpy().astype(float)
        labels = batch["label"].numpy()
        found = finished.metrics[split]
        assert found["num_crops"] == len(labels) == num_crops
        assert found["accuracy"] == pytest.approx((values.argmax(axis=1) == labels).mean())
        shifted = values - values.max(axis=1, keepdims=True)
        log_likelihood = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        loss = -log_likelihood[np.arange(len(labels)), labels].mean()
        assert found["loss"] == pytest.approx(loss, rel=1e-4)
    # Validation after the last epoch measured the same averaged weights.
    assert finished.rows[-1]["val_loss"] == finished.metrics["validation"]["loss"]


def test_the_model_is_the_average_not_the_last_step(finished: Finished) -> None:
    saved = [weight.numpy() for weight in load_trained(finished.run).model.weights]
    last = finished.keep.variables[: len(saved)]
    assert [value.shape for value in saved] == [value.shape for value in last]
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(saved, last, strict=True))


def test_a_finished_run_returns_its_metrics_and_changes_nothing(
    notes: list[str], finished: Finished, records: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.run.rglob("*")}
    assert fit(records, finished.run, CONFIG) == finished.metrics
    assert "is finished: nothing is trained again." in notes[0]
    assert {path: path.stat().st_mtime_ns for path in finished.run.rglob("*")} == before


def test_a_run_is_not_continued_otherwise(
    finished: Finished, records: Path, tmp_path: Path, write_screen: Callable[..., Manifest]
) -> None:
    with pytest.raises(RecordsError, match=r"seed=4 \(was 3\)"):
        fit(records, finished.run, CONFIG.model_copy(update={"seed": 4}))
    write_screen(tmp_path / "other", size=16, has_mask=True, seed=1)
    with pytest.raises(RecordsError, match="records it began with"):
        fit(tmp_path / "other", finished.run, CONFIG)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").touch()
    with pytest.raises(OutputExistsError):
        fit(records, tmp_path / "foreign", CONFIG)


def assert_same_training(keep: Keep, run: Path, finished: Finished) -> None:
    """Bit for bit the uninterrupted training: variables, model, history and metrics."""
    assert keep.iterations == finished.keep.iterations
    for value, expected in zip(keep.variables, finished.keep.variables, strict=True):
        np.testing.assert_array_equal(value, expected)
    models = [load_trained(folder).model for folder in (run, finished.run)]
    for weight, expected in zip(models[0].weights, models[1].weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), expected.numpy())
    histories = [pd.read_csv(folder / "history.csv") for folder in (run, finished.run)]
    first, second = (history.drop(columns="seconds") for history in histories)
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (run, finished.run)]
    assert metrics[0] == metrics[1]


KILLED = """
import os, signal, sys
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.fit import fit

def progress(done, _):
    if done == 63:  # in the middle of the third epoch, of 27 crops each
        os.kill(os.getpid(), signal.SIGKILL)

config = FitConfig.model_validate_json(sys.stdin.read())
fit(sys.argv[1], sys.argv[2], config, checkpoint_steps=1, progress=progress)
"""


@pytest.fixture(scope="module")
def killed(records: Path, tmp_path_factory: Any) -> Path:
    """Run folder of a training that was killed (SIGKILL) in its third epoch."""
    run: Path = tmp_path_factory.mktemp("fit") / "killed"
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(records), str(run)],
        input=CONFIG.model_dump_json(),
        text=True,
        capture_output=True,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    names = sorted(path.name for path in (run / "checkpoint").iterdir())
    assert names == ["epoch-00002-step-0000000.npz", "epoch-00002-step-0000001.npz"]
    assert not (run / "model.keras").exists()
    return run


@pytest.mark.addons
@pytest.mark.slow
def test_a_killed_training_goes_on_as_if_nothing_had_been(
    notes: list[str], killed: Path, records: Path, finished: Finished, tmp_path: Path
) -> None:
    # Both folders have moved since, as to another machine.
    shutil.copytree(killed, tmp_path / "moved")
    shutil.copytree(records, tmp_path / "moved-records")
    keep = Keep()
    fit(
        tmp_path / "moved-records",
        tmp_path / "moved",
        CONFIG,
        callbacks=[keep],
    )
    assert "Going on after epoch 2 of 4, step 1 of 3." in notes
    assert_same_training(keep, tmp_path / "moved", finished)


@pytest.mark.slow
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(
    notes: list[str], killed: Path, records: Path, finished: Finished, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(killed, run)
    newest = run / "checkpoint" / "epoch-00002-step-0000001.npz"
    newest.write_bytes(newest.read_bytes()[:-1000])
    keep = Keep()
    fit(records, run, CONFIG, callbacks=[keep])
    assert any("epoch-00002-step-0000001.npz is damaged" in note for note in notes)
    assert "Going on after epoch 2 of 4." in notes
    assert_same_training(keep, run, finished)


@pytest.mark.slow
def test_without_a_whole_checkpoint_nothing_is_trained(
    killed: Path, records: Path, tmp_path: Path
) -> None:
    shutil.copytree(killed, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoint").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="needs a whole checkpoint"):
        fit(records, tmp_path / "run", CONFIG)
    assert not (tmp_path / "run" / "model.keras").exists()


@pytest.mark.slow
def test_early_stopping_keeps_the_best_epoch_through_an_interruption(
    records: Path, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(
        update={
            "epochs": 40, "patience": 2, "learning_rate": 0.3, "schedule": "constant",
            "augmentation": "none", "mask": False, "ema_momentum": 0.0, "label_smoothing": 0.0,
        }
    )  # fmt: skip
    rows: list[dict[str, float]] = []

    def report(row: dict[str, float]) -> None:
        rows.append(row)
        best = min(range(len(rows)), key=lambda i: rows[i]["val_loss"])
        if best == len(rows) - 2:  # stop where the next epoch must still know of the best one
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(records, tmp_path / "run", config, report=report)
    metrics = fit(records, tmp_path / "run", config, report=rows.append)
    losses = [row["val_loss"] for row in rows]
    best = int(np.argmin(losses))
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    assert metrics["epochs"] == len(rows) == best + 1 + 2 < 40
    assert metrics["validation"]["loss"] == losses[best] != losses[-1]
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoint").glob("best-*"))
    assert f"best-{best + 1:05}.npz" in kept
    assert len(kept) <= 2  # not one an improvement
    # Killed between the last epoch and the model: the end is made up for.
    before = (tmp_path / "run" / "metrics.json").read_bytes()
    for name in ("model.keras", "metrics.json"):
        (tmp_path / "run" / name).unlink()
    more: list[Any] = []
    assert fit(records, tmp_path / "run", config, report=more.append) == metrics
    assert more == []
    assert (tmp_path / "run" / "metrics.json").read_bytes() == before


@pytest.mark.slow
def test_a_screen_that_can_be_learnt_is_learnt(
    write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    splits = {"train": (20, 20, 20), "validation": (8, 8, 8), "test": (1, 1, 1)}
    write_screen(tmp_path / "records", splits, size=12)
    config = CONFIG.model_copy(
        update={
            "epochs": 15, "batch_size": 4, "augmentation": "none", "dropout": 0.0, "mask": False,
            "ema_momentum": 0.9, "width": 0.12, "evaluate_test": False,
        }
    )  # fmt: skip
    metrics = fit(tmp_path / "records", tmp_path / "run", config)
    assert "test" not in metrics
    assert not (tmp_path / "run" / "confusion.csv").exists()
    assert metrics["validation"]["majority_accuracy"] == pytest.approx(1 / 3)
    assert metrics["validation"]["accuracy"] > 0.5


def test_a_train_split_alone_is_enough(
    write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    write_screen(tmp_path / "records", {"train": (4, 4, 4)}, size=12)
    config = tiny_fit(epochs=1, batch_size=4, window=0)
    assert fit(tmp_path / "records", tmp_path / "run", config) == {"epochs": 1}
    assert (tmp_path / "run" / "model.keras").exists()
    with pytest.raises(SplitError, match=r"`patience` needs a split `validation`.*splits train"):
        fit(tmp_path / "records", tmp_path / "new", config.model_copy(update={"patience": 3}))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"splits": {"train": (4, 4, 0), "test": (1, 1, 1)}}, SplitError, "none of nucleus"),
        ({"splits": {"train": (4,)}, "label_names": ()}, SplitError, "no labels at all"),
        ({"splits": {"test": (4, 4, 4)}}, SplitError, "train"),
        ({"splits": {"train": (2, 2, 2)}}, SplitError, "batch_size=9, split 'train' of 6 crops"),
        ({"has_mask": False}, ValueError, "masks"),
        ({"size": 10}, ValueError, r"window=\(12, 12\), stored \(10, 10\)"),
    ],
)
def test_unfit_records_are_refused_before_a_folder_is_made(
    arguments: dict[str, Any],
    error: type[Exception],
    message: str,
    write_screen: Callable[..., Manifest],
    tmp_path: Path,
) -> None:
    write_screen(tmp_path / "records", **{"size": 12, "has_mask": True, **arguments})
    with pytest.raises(error, match=message):
        fit(tmp_path / "records", tmp_path / "run", CONFIG)
    assert not (tmp_path / "run").exists()


def test_damaged_records_and_devices_that_are_not_there_are_refused(
    records: Path, tmp_path: Path
) -> None:
    shutil.copytree(records, tmp_path / "records")
    shard = next((tmp_path / "records").glob("*train*"))
    shard.write_bytes(shard.read_bytes()[:-16])
    with pytest.raises(DamagedRecordsError, match=shard.name):
        fit(tmp_path / "records", tmp_path / "run", CONFIG)
    with pytest.raises(ValueError, match="A device must be"):
        fit(records, tmp_path / "run", CONFIG.model_copy(update={"device": "gpu:9"}))
    assert not (tmp_path / "run").exists()


def test_a_changed_byte_in_a_shard_stops_the_training_with_our_error(
    records: Path, tmp_path: Path
) -> None:
    shutil.copytree(records, tmp_path / "records")
    shard = next((tmp_path / "records").glob("*train*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1  # the size stays: only reading can tell
    shard.write_bytes(bytes(content))
    with pytest.raises(DamagedRecordsError, match=f"Place: shard {shard.name}, record"):
        fit(tmp_path / "records", tmp_path / "run", CONFIG)


def test_keywords_are_settings_in_place_of_those_of_a_configuration() -> None:
    config = FitConfig(preset="kraus2017", steps=7, batch_size=3)
    assert config.changed({}) == config
    changed = config.changed({"epochs": 2, "batch_size": 5})
    assert changed == FitConfig(preset="kraus2017", epochs=2, batch_size=5)
    assert changed.model_fields_set == {"preset", "epochs", "batch_size"}
    for name, near in (("epoch", "epochs"), ("batchsize", "batch_size"), ("xyzzy", "")):
        with pytest.raises(TypeError, match=rf"Received: {name}=2\.( Did you mean '{near}'\?)?$"):
            fit("records", "run", **{name: 2})
    with pytest.raises(ValueError, match="batch_size"):
        fit("records", "run", config, batch_size=0)


def test_a_configuration_makes_one_architecture(records: Path, finished: Finished) -> None:
    trained = load_trained(finished.run)
    model = build_model(CONFIG, trained.schema)
    assert [layer.name for layer in model.layers] == [layer.name for layer in trained.model.layers]
    assert model.get_layer("random_rotation").seed == CONFIG.seed


def test_without_epochs_it_is_the_network_as_a_training_begins(
    records: Path, tmp_path: Path
) -> None:
    class Begin(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            del logs
            self.weights = [weight.numpy() for weight in self.model.trainable_weights]

    begin = Begin()
    fit(records, tmp_path / "run", tiny_fit(epochs=1), callbacks=[begin])
    metrics = fit(records, tmp_path / "untrained", tiny_fit(epochs=0))
    assert metrics["epochs"] == 0
    assert metrics["test"]["num_crops"] == 11
    found = load_trained(tmp_path / "untrained").model.trainable_weights
    for weight, expected in zip(found, begin.weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), expected)
