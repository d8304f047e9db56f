"""What a training is made of, by name; none of it is imported before it is chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from deeploc_tf.registry import Registry, imported

if TYPE_CHECKING:
    from deeploc_tf.pipeline.classes import Classes
    from deeploc_tf.training.config import FitConfig

Precision = Literal["auto", "float32", "bfloat16", "float16"]


@dataclasses.dataclass(frozen=True)
class Objective:
    """A loss that can be chosen.

    Attributes:
        make: gives the `keras.losses.Loss` for the settings and the classes of a head (None: one
            class per crop, none rare). It takes targets float32 `(batch_size, num_classes)` of 0
            and 1, and logits of that shape; its `call` gives float32 `(batch_size,)`. It may be
            where that is, as "module:attribute".
        of_features: it takes features of length 1, `(batch_size, num_features)`, instead of
            logits; the head then learns from them by cross-entropy, without teaching them.
        smoothing: it may be combined with label smoothing.
    """

    make: str | Callable[[FitConfig, Classes | None], Any]
    of_features: bool = False
    smoothing: bool = True

    def load(self) -> Callable[[FitConfig, Classes | None], Any]:
        """The function `make`."""
        found: Callable[..., Any]
        found = imported(self.make) if isinstance(self.make, str) else self.make
        return found


_HERE = "deeploc_tf.training.objectives"
CROSS_ENTROPY = Objective(f"{_HERE}:cross_entropy")


LOSSES: Registry[Objective] = Registry(
    "loss",
    {
        "cross-entropy": CROSS_ENTROPY,
        "focal": Objective(f"{_HERE}:focal", smoothing=False),
        "triplet": Objective(f"{_HERE}:triplet", of_features=True),
    },
    group="deeploc_tf.losses",
)

OPTIMIZERS: Registry[Callable[[FitConfig], tuple[Any, dict[str, Any]]]] = Registry(
    "optimizer",
    {name: f"deeploc_tf.training.optimization:{name}" for name in ("adamw", "adam", "sgd", "lamb")},
    group="deeploc_tf.optimizers",
)
"""`(config)` -> class of a Keras optimizer, and its arguments but rate, clipping and averages."""

SCHEDULES: Registry[Callable[[FitConfig, int], Any]] = Registry(
    "schedule",
    {
        name: f"deeploc_tf.training.optimization:{name}"
        for name in ("cosine", "constant", "exponential")
    },
    group="deeploc_tf.schedules",
)
"""`(config, steps_per_pass)` -> the learning rate, or a Keras schedule of it."""
