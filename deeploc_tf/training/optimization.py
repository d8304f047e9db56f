"""Optimizers, the learning-rate schedule and the averaged weights.

The averages begin at the initial weights in Keras 2 and at those after the first step in Keras 3.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from deeploc_tf.models import addons
from deeploc_tf.models.keras_compat import IS_KERAS_2
from deeploc_tf.training.choices import OPTIMIZERS, SCHEDULES
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.duration import Duration


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


Chosen = tuple[Any, dict[str, Any]]  # class of an optimizer, and its arguments


def adamw(config: FitConfig) -> Chosen:
    """Adam with decoupled weight decay."""
    return keras.optimizers.AdamW, {
        "beta_1": config.beta_1,
        "epsilon": config.epsilon,
        "weight_decay": config.weight_decay,
    }


def adam(config: FitConfig) -> Chosen:
    """Adam."""
    return keras.optimizers.Adam, {"beta_1": config.beta_1, "epsilon": config.epsilon}


def sgd(config: FitConfig) -> Chosen:  # noqa: ARG001 - nothing of it is a setting
    """Stochastic gradient descent with Nesterov momentum."""
    return keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True}


def lamb(config: FitConfig) -> Chosen:
    """LAMB, of Keras or else of tensorflow-addons.

    Raises:
        ValueError: that of tensorflow-addons is to average weights, which it cannot.
    """
    if config.ema_momentum > 0 and not hasattr(keras.optimizers, "Lamb"):
        msg = (
            "LAMB of tensorflow-addons averages no weights. Received: optimizer='lamb', "
            f"ema_momentum={config.ema_momentum}. Use ema_momentum=0 with it."
        )
        raise ValueError(msg)
    return addons.lamb_class(), {"beta_1": config.beta_1}


def make_optimizer(config: FitConfig, steps_per_pass: int, num_replicas: int = 1) -> Any:
    """The optimizer that a configuration describes, for a known number of steps.

    Raises:
        ValueError: this environment has no such optimizer, none that averages weights, or none that
            clips the gradient of several replicas as a whole.
    """
    rate = SCHEDULES.get(config.schedule)(config, steps_per_pass)
    arguments: dict[str, Any] = {}
    if config.clip_norm is not None:
        if num_replicas > 1 and not IS_KERAS_2:
            msg = (
                "Keras 3 clips each device's gradient by itself. Received: "
                f"clip_norm={config.clip_norm} with {num_replicas} devices. "
                "Train on one device, or without it."
            )
            raise ValueError(msg)
        arguments["global_clipnorm"] = config.clip_norm
    if config.ema_momentum > 0:
        arguments |= {"use_ema": True, "ema_momentum": config.ema_momentum}
    kind, own = OPTIMIZERS.get(config.optimizer)(config)
    if config.ema_momentum > 0 and config.ema_warmup:
        kind = _with_warmup(kind)
    return kind(rate, **arguments, **own)


def _with_warmup(kind: Any) -> Any:
    """An optimizer whose averages forget quickly at first: min(momentum, (1 + t) / (10 + t))."""

    class WithWarmup(kind):
        @property
        def ema_momentum(self) -> Any:
            # From the counter of steps, which every checkpoint holds: nothing more to remember.
            step = tf.cast(self.iterations, tf.float32)
            return tf.minimum(self._last_momentum, (1.0 + step) / (10.0 + step))

        @ema_momentum.setter
        def ema_momentum(self, value: float) -> None:
            self._last_momentum = value

    return WithWarmup


def cosine(config: FitConfig, steps_per_pass: int) -> WarmupCosine:
    """Linear warmup, then half a cosine down to 0."""
    warmup = warmup_steps(config, steps_per_pass)
    total = Duration.of(config, steps_per_pass).steps
    return WarmupCosine(config.learning_rate, warmup, total)


def constant(config: FitConfig, steps_per_pass: int) -> float:  # noqa: ARG001 - as all schedules
    """The same rate throughout."""
    return config.learning_rate


def exponential(config: FitConfig, steps_per_pass: int) -> Any:  # noqa: ARG001 - as all schedules
    """The rate times `decay_rate` after every `decay_steps` steps, as Kraus et al. 2017."""
    return keras.optimizers.schedules.ExponentialDecay(
        config.learning_rate, config.decay_steps, config.decay_rate, staircase=True
    )


def warmup_steps(config: FitConfig, steps_per_pass: int) -> int:
    """Steps in which the rate of the cosine schedule rises: half of the training at most."""
    duration = Duration.of(config, steps_per_pass)
    return min(round(config.warmup_epochs * duration.steps_per_epoch), duration.steps // 2)
