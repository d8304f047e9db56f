"""What happens at the end of each epoch: evaluate, remember, decide whether to go on, save."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from deeploc_tf.training.checkpoints import TrainingState, load_arrays, save_arrays, save_state
from deeploc_tf.training.optimization import averaged_weights
from deeploc_tf.training.run_folder import Run
from deeploc_tf.training.tasks import SplitEvaluator

EpochReport = Callable[[dict[str, float]], None]

# In the history, if there.
_BEST_FILE = re.compile(r"best-\d{5,}\.npz")
_VALIDATED = ("loss", "accuracy", "balanced_accuracy", "macro_ap", "explained_variance")


class EndOfEpoch(keras.callbacks.Callback):
    """Evaluate the averaged weights, extend the history, stop when patience is out, save the state.

    Keras' own validation, early stopping and backup are three callbacks whose states a restart
    forgets; here all of it is in the one state that is saved.

    Args:
        run: the run folder.
        state: where the training stands; changed in place.
        evaluator: of the validation split and the model that receives the averaged weights, or
            None.
        report: called with the row that each epoch adds to the history.
    """

    def __init__(
        self,
        run: Run,
        state: TrainingState,
        evaluator: SplitEvaluator | None,
        report: EpochReport | None = None,
    ) -> None:
        super().__init__()
        self.run = run
        self.state = state
        self.evaluator = evaluator
        self.report = report
        self._started = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluate, remember, decide, save."""
        logs = logs if logs is not None else {}
        row = {"epoch": epoch + 1, "seconds": round(time.monotonic() - self._started, 3)}
        row |= {name: float(value) for name, value in logs.items()}
        self.state.epoch, self.state.step, self.state.running_metrics = epoch + 1, 0, []
        kept = {self.state.best_epoch}  # what the state before this one needs
        if self.evaluator is not None:
            weights = averaged_weights(self.model)
            self.evaluator.model.set_weights(weights)
            metrics = self.evaluator.metrics("validation")
            for name in filter(metrics.__contains__, _VALIDATED):
                logs[f"val_{name}"] = row[f"val_{name}"] = metrics[name]
            if "protein" in metrics:  # the second head; the first one decides which epoch is best
                accuracy = metrics["protein"]["accuracy"]
                logs["val_protein_accuracy"] = row["val_protein_accuracy"] = accuracy
            self._remember_best(metrics["loss"], weights)
        self.state.history.append(row)
        patience = self.run.config.patience
        if patience and self.state.epoch - self.state.best_epoch >= patience:
            self.model.stop_training = True
        save_state(self.run.path / "checkpoint", self.state, self.model)
        kept.add(self.state.best_epoch)
        for path in (self.run.path / "checkpoint").glob("best-*.npz"):
            if _BEST_FILE.fullmatch(path.name) and path not in {
                best_weights_path(self.run, best) for best in kept
            }:
                path.unlink()
        self.run.write_history(self.state.history)
        if self.report is not None:
            self.report(row)

    def _remember_best(self, loss: float, weights: list[Any]) -> None:
        if self.state.best_loss is not None and loss >= self.state.best_loss:
            return
        self.state.best_loss, self.state.best_epoch = loss, self.state.epoch
        if self.run.config.patience:
            folder = self.run.path / "checkpoint"
            folder.mkdir(exist_ok=True)
            # Named by its epoch: if the state is not saved any more, the one before finds its own.
            path = best_weights_path(self.run, self.state.best_epoch)
            save_arrays(path, {f"weight_{i:04d}": w for i, w in enumerate(weights)})


class CountCrops(keras.callbacks.Callback):
    """Count the crops that were trained on, all epochs together.

    Args:
        count: called with that number after each batch.
        state: where the training stands.
        batch_size: crops a batch.
        steps_per_epoch: batches an epoch.
    """

    def __init__(
        self,
        count: Callable[[int], None],
        state: TrainingState,
        batch_size: int,
        steps_per_epoch: int,
    ) -> None:
        super().__init__()
        self.count = count
        self.state = state
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self._before = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note what was done before."""
        self._before = epoch * self.steps_per_epoch + self.state.step

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count a batch."""
        self.count((self._before + batch + 1) * self.batch_size)


def best_weights_path(run: Run, epoch: int) -> Path:
    """Where the averaged weights of the best epoch lie while the training runs."""
    return run.path / "checkpoint" / f"best-{epoch:05d}.npz"


def load_best_weights(run: Run, epoch: int) -> list[np.ndarray[Any, Any]]:
    """The averaged weights that `EndOfEpoch` kept for an epoch, in the order of `model.weights`."""
    arrays = load_arrays(best_weights_path(run, epoch))
    return [arrays[name] for name in sorted(arrays)]
