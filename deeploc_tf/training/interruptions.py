"""What happens between the steps of an epoch: save the state, and stop where that is called for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from deeploc_tf.training.checkpoints import NotFiniteError, TrainingState, save_state
from deeploc_tf.training.run_folder import Run

_KEYS_NAMED = 8


class TrainingStoppedError(RuntimeError):
    """A training was asked to stop, and has saved its state: started again, it goes on."""


class Checkpoints(keras.callbacks.Callback):
    """Save the state between the steps of an epoch, and take up an epoch in its midst.

    Args:
        run: the run folder.
        state: where the training stands; changed in place.
        steps_per_epoch: the state after the last one is saved by `EndOfEpoch`.
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
        steps_per_epoch: int,
        *,
        every_steps: int | None = None,
        every_minutes: float = 10.0,
        should_stop: Callable[[], bool] | None = None,
        together: bool = False,
    ) -> None:
        super().__init__()
        self.run = run
        self.state = state
        self.steps_per_epoch = steps_per_epoch
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
        step = self._before + batch + 1
        if step == self.steps_per_epoch:
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
                f"{self.steps_per_epoch}; the same command goes on from "
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
        keys_of_batch: gives the keys of the crops of a batch, from `epoch` and `step`.
    """

    def __init__(self, state: TrainingState, keys_of_batch: Callable[..., Sequence[str]]) -> None:
        super().__init__()
        self.state = state
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
        keys = list(self.keys_of_batch(epoch=self._epoch, step=step))
        more = f" and {len(keys) - _KEYS_NAMED} more" if len(keys) > _KEYS_NAMED else ""
        msg = (
            f"The loss must stay finite. Received: loss={loss} in epoch {self._epoch + 1}, step "
            f"{step + 1}, on the crops {', '.join(keys[:_KEYS_NAMED])}{more}. The last checkpoint "
            "is from before. Look at these crops, or train in another folder with a lower learning "
            "rate."
        )
        raise NotFiniteError(msg)
