"""Optimizers, the learning-rate schedule and the averaged weights.

The averages begin at the initial weights in Keras 2 and at those after the first step in Keras 3.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import NDArray

from deeploc_tf.training.config import FitConfig


@keras.utils.register_keras_serializable(package="deeploc_tf")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate that rises linearly, then falls to 0 along half a cosine.

    ``rate(t) = peak * (t + 1) / warmup_steps`` for ``t < warmup_steps``, then
    ``peak * (1 + cos(pi * (t - warmup_steps) / (total_steps - warmup_steps))) / 2``.

    Args:
        peak: highest rate.
        warmup_steps: steps until it is reached; 0 begins there.
        total_steps: step at which the rate is 0.

    References:
        Loshchilov & Hutter 2017, SGDR, arXiv 1608.03983.
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int) -> None:
        super().__init__()
        self.peak = float(peak)
        self.warmup_steps = int(warmup_steps)
        self.total_steps = int(total_steps)

    def __call__(self, step: Any) -> Any:
        """The rate at a step, a float32 scalar."""
        step = tf.cast(step, tf.float32)
        rising = (step + 1.0) / max(self.warmup_steps, 1)
        length = float(max(self.total_steps - self.warmup_steps, 1))
        progress = tf.clip_by_value((step - self.warmup_steps) / length, 0.0, 1.0)
        falling = 0.5 * (1.0 + tf.cos(math.pi * progress))
        return self.peak * tf.where(step < self.warmup_steps, rising, falling)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this schedule again."""
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
        }


def make_optimizer(config: FitConfig, steps_per_epoch: int) -> Any:
    """The optimizer that a configuration describes, for a known number of steps."""
    rate: Any = config.learning_rate
    if config.schedule == "cosine":
        warmup = round(config.warmup_epochs * steps_per_epoch)
        rate = WarmupCosine(config.learning_rate, warmup, config.epochs * steps_per_epoch)
    averaging = {"use_ema": config.ema_momentum > 0, "ema_momentum": config.ema_momentum}
    if config.optimizer == "adam":
        return keras.optimizers.Adam(rate, **averaging)
    return keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, **averaging)


def averaged_weights(model: keras.Model) -> list[NDArray[Any]]:
    """Values of `model.weights`, the trainable ones replaced by moving averages if there are any.

    The averages live in the optimizer, whose attribute for them is private in both Keras versions;
    Keras' own `SwapEMAWeights` reads it too.
    """
    optimizer = model.optimizer
    averages: dict[int, Any] = {}
    if optimizer.use_ema:
        moving = optimizer._model_variables_moving_average
        averages = {
            id(variable): average
            for variable, average in zip(model.trainable_variables, moving, strict=True)
        }
    return [averages.get(id(weight), weight).numpy() for weight in model.weights]
