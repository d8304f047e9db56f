"""What happens between steps and epochs: evaluate, save the state, stop where it is called for."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from deeploc_tf.training.averages import averaged_weights
from deeploc_tf.training.duration import Duration
from deeploc_tf.training.run_folder import Run
from deeploc_tf.training.state import (
    NotFiniteError,
    TrainingState,
    TrainingStoppedError,
    best_weights_path,
    save_arrays,
    save_state,
)
from deeploc_tf.training.tasks import SplitEvaluator

EpochReport = Callable[[dict[str, float]], None]

# In the history, if there.
_BEST_FILE = re.compile(r"best-\d{5,}\.npz")
_KEYS_NAMED = 8
_VALIDATED = ("loss", "accuracy", "balanced_accuracy", "macro_ap", "explained_variance")


class EndOfEpoch(keras.callbacks.Callback):
    """Evaluate the averaged weights, extend the history, stop when patience is out, save the state.

    Keras' own validation, early stopping and backup are three callbacks whose states a restart
    forgets; here all of it is in the one state that is saved.

    Args:
        run: the run folder.
        state: where the training stands; changed in place.
        duration: of the training.
        evaluator: of the validation split and the model that receives the averaged weights, or
            None.
        report: called with the row that each epoch adds to the history, and `epochs`, their number.
    """

    def __init__(
        self,
        run: Run,
        state: TrainingState,
        duration: Duration,
        evaluator: SplitEvaluator | None,
        report: EpochReport | None = None,
    ) -> None:
        super().__init__()
        self.run = run
        self.state = state
        self.duration = duration
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
            self.report({**row, "epochs": self.duration.epochs})

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
        duration: of the training.
        batch_size: crops per batch.
    """

    def __init__(
        self,
        count: Callable[[int], None],
        state: TrainingState,
        duration: Duration,
        batch_size: int,
    ) -> None:
        super().__init__()
        self.count = count
        self.state = state
        self.duration = duration
        self.batch_size = batch_size
        self._before = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note what was done before."""
        self._before = epoch * self.duration.steps_per_epoch + self.state.step

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count a batch."""
        self.count((self._before + batch + 1) * self.batch_size)


class Checkpoints(keras.callbacks.Callback):
    """Save the state between the steps of an epoch, and take up an epoch in its midst.

    Args:
        run: the run folder.
        state: where the training stands; changed in place.
        duration: of the training; the state after an epoch's last step is saved by `EndOfEpoch`.
        every_steps: steps from one checkpoint to the next; None: only time counts.
        every_minutes: minutes from one to the next.
        should_stop: asked after each step and between epochs; if it says so, the state is saved
            and `TrainingStoppedError` raised.
        together: other workers train along, who must all save after the same step: only
            `every_steps` counts then, and who is asked to stop does so without saving.
    """

    def __init__(
        self,
        run: Run,
        state: TrainingState,
        duration: Duration,
        *,
        every_steps: int | None = None,
        every_minutes: float = 10.0,
        should_stop: Callable[[], bool] | None = None,
        together: bool = False,
    ) -> None:
        super().__init__()
        self.run = run
        self.state = state
        self.duration = duration
        self.every_steps = every_steps
        self.every_minutes = every_minutes
        self.should_stop = should_stop or (lambda: False)
        self.together = together
        self._before = 0  # steps of this epoch that an earlier start has done
        self._saved = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See whether the epoch goes on from a checkpoint; the last step of one asks nothing."""
        self._before = self.state.step
        if self.state.epoch and not self.state.step and self.should_stop():
            msg = f"Stopped after epoch {self.state.epoch}; the same command goes on from there."
            raise TrainingStoppedError(msg)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Save if it is time to, or if the training is to stop."""
        if batch == 0 and self.state.running_metrics:
            # Metrics have variables only after their first batch. Sums do not depend on the order
            # of two summands, so adding what was there before now gives the same bits.
            for variable, before in zip(
                _metric_variables(self.model), self.state.running_metrics, strict=True
            ):
                found = variable.numpy()  # of replicas, whose sum cannot be added to, only set
                variable.assign(found + np.asarray(before, found.dtype))
        step, steps = self._before + batch + 1, self.duration.steps_of(self.state.epoch)
        if step == steps:
            return
        minutes = (time.monotonic() - self._saved) / 60
        due = self.every_steps is not None and step % self.every_steps == 0
        stopping = self.should_stop()
        if due or (not self.together and (stopping or minutes >= self.every_minutes)):
            self.state.step = step
            self.state.running_metrics = [float(v.numpy()) for v in _metric_variables(self.model)]
            save_state(self.run.path / "checkpoint", self.state, self.model)
            self._saved = time.monotonic()
        if stopping:
            msg = (
                f"Stopped in epoch {self.state.epoch + 1}, after step {step} of "
                f"{steps}; the same command goes on from "
                f"{'the last checkpoint' if self.together else 'there'}."
            )
            raise TrainingStoppedError(msg)


def _metric_variables(model: keras.Model) -> list[Any]:
    return [variable for metric in model.metrics for variable in metric.variables]


class FiniteLoss(keras.callbacks.Callback):
    """Stop with `NotFiniteError` after the first step whose loss is NaN or infinite.

    It must come before whatever saves the state: the newest checkpoint is then a finite one.

    Args:
        state: where the training stands.
        duration: of the training.
        keys_of_batch: gives the keys of the crops of a batch, from the pass (`epoch`) and its
            `step`.
    """

    def __init__(
        self,
        state: TrainingState,
        duration: Duration,
        keys_of_batch: Callable[..., Sequence[str]],
    ) -> None:
        super().__init__()
        self.state = state
        self.duration = duration
        self.keys_of_batch = keys_of_batch
        self._epoch = self._before = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See whether the epoch goes on from a checkpoint."""
        self._epoch, self._before = epoch, self.state.step

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the loss."""
        loss = float((logs or {}).get("loss", 0.0))
        if math.isfinite(loss):
            return
        step = self._before + batch
        number, place = self.duration.place(self._epoch, step)
        keys = list(self.keys_of_batch(epoch=number, step=place))
        more = f" and {len(keys) - _KEYS_NAMED} more" if len(keys) > _KEYS_NAMED else ""
        msg = (
            f"The loss must stay finite. Received: loss={loss} in epoch {self._epoch + 1}, step "
            f"{step + 1}, on the crops {', '.join(keys[:_KEYS_NAMED])}{more}. The last checkpoint "
            "is from before. Look at these crops, or train in another folder with a lower learning "
            "rate."
        )
        raise NotFiniteError(msg)
