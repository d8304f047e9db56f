"""Methods of training: what `fit` asks of one, and all there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from deeploc_tf.registry import Registry, imported

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from deeploc_tf.models.views import View
    from deeploc_tf.training.config import FitConfig
    from tfrecords.manifest import Manifest
    from tfrecords.schema import Schema


class SplitEvaluator(Protocol):
    """How good a model is, as it is now, on splits of one data set.

    Attributes:
        model: whose weights may change between calls.
    """

    model: keras.Model

    @property
    def splits(self) -> list[str]:
        """Those that can be evaluated."""

    def metrics(self, split: str, views: Sequence[View] = ()) -> dict[str, Any]:
        """Metrics on one split, averaged over views of each crop; `loss` is one of them."""


class Task(Protocol):
    """What `fit` has to know to train by one method on one data set.

    Attributes:
        steps_per_pass: number of batches in one pass over the data.
        test_time: views over which the finished model is averaged.
    """

    steps_per_pass: int
    test_time: str

    def __init__(self, records: str | Path, manifest: Manifest, config: FitConfig) -> None:
        """Refuse records that do not serve the settings."""

    @staticmethod
    def class_names(config: FitConfig, manifest: Manifest) -> list[tuple[str, ...]]:
        """Names of the classes of each head, in the order of the logits; of no head: none."""

    @staticmethod
    def resolved(config: FitConfig, schema: Schema) -> dict[str, Any]:
        """What became of the settings that are None; stored with the run."""

    def describe(self) -> str:
        """Sentences about what the model is trained on."""

    def objective(self) -> tuple[keras.losses.Loss, list[keras.metrics.Metric]]:
        """The loss, and the metrics of a training batch."""

    def build(self) -> keras.Model:
        """The untrained model."""

    def batches(self, *, epochs: int, first_epoch: int, first_step: int) -> tf.data.Dataset:
        """Batches of inputs and targets up to the end of pass number `epochs`."""

    def keys_of_batch(self, *, epoch: int, step: int) -> list[str]:
        """Keys of the crops of a batch of a pass."""

    def evaluator(
        self,
        model: keras.Model,
        splits: Sequence[str],
        device: str | None = None,
    ) -> SplitEvaluator:
        """Of those of the splits that can be evaluated; logs why others cannot."""


@dataclasses.dataclass(frozen=True)
class Method:
    """A method of training: what is known of it before it is used.

    Attributes:
        task: the class, or where it is, as "module:attribute".
        settings: fields of `FitConfig` that this method has and another one has not.
        defaults: of fields of `FitConfig` that this method does not share with classification.
    """

    task: str | type[Task]
    settings: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def load(self) -> type[Task]:
        """The class."""
        found: type[Task] = imported(self.task) if isinstance(self.task, str) else self.task
        return found


CLASSIFICATION = Method(
    "deeploc_tf.training.classification:Classification",
    settings=(
        *("preset", "backbone", "network", "dense_units", "last_block", "initializer", "dropout"),
        *("mask", "test_time"),
        *(
            "target",
            "protein_weight",
            "loss",
            "triplet_margin",
            "focal_gamma",
            "class_weights",
            "sampling",
        ),
        "label_smoothing",
    ),
)
INPAINTING = Method(
    "deeploc_tf.training.inpainting:Inpainting",
    settings=("min_cells", "pair_by"),
    # Of Lu et al. 2019, as is the batch of 64: docs/training.md.
    defaults={
        "augmentation": "flips",
        "batch_norm_momentum": 0.99,
        "epochs": 30,
        "optimizer": "adam",
        "learning_rate": 1e-4,
        "beta_1": 0.5,
        "epsilon": 1e-8,
        "weight_decay": 0.0,
        "schedule": "constant",
        "warmup_epochs": 0.0,
        "ema_momentum": 0.0,
    },
)
_OURS = {"classification": CLASSIFICATION, "inpainting": INPAINTING}
TASKS: Registry[Method] = Registry("method", _OURS, group="deeploc_tf.tasks")
# What a method has not is refused with it.
SETTINGS_OF_SOME = frozenset(name for method in _OURS.values() for name in method.settings)
