"""What `fit` has to know to train a network that tells labels, proteins or both."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from deeploc_tf.models.channels import find_channels, seen_channels
from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.networks import with_heads
from deeploc_tf.network_choices import NETWORKS
from deeploc_tf.pipeline.batches import keys_of_training_batch, steps_per_epoch, training_batches
from deeploc_tf.pipeline.classes import count_classes
from deeploc_tf.pipeline.targets import kinds
from deeploc_tf.presets import resolve_preset
from deeploc_tf.training.choices import LOSSES
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.evaluation import Evaluator
from deeploc_tf.training.objectives import (
    check_records,
    describe_classes,
    has_known_classes,
    make_accuracies,
    make_loss,
)
from tfrecords.manifest import Manifest
from tfrecords.schema import Schema

_log = logging.getLogger(__name__)


class Classification:
    """The classes of a training, its batches and its measure.

    Args:
        records: folder of the data set.
        manifest: of `records`.
        config: settings.

    Attributes:
        heads: the classes of each head.
        steps_per_pass: number of batches in one pass over the crops.
        test_time: views over which the finished model is averaged: the preset's.

    Raises:
        SplitError: masks, labels, proteins, splits or a whole batch are missing.
    """

    def __init__(self, records: str | Path, manifest: Manifest, config: FitConfig) -> None:
        self.records, self.manifest, self.config = records, manifest, config
        self.heads = check_records(manifest, config)
        self.steps_per_pass = steps_per_epoch(manifest, "train", config.batch_size, config.sampling)
        self.test_time = self.resolved(config, manifest.schema).get("test_time", "none")

    @staticmethod
    def class_names(config: FitConfig, manifest: Manifest) -> list[tuple[str, ...]]:
        """Names of the classes of each head, in the order of its logits."""
        return [count_classes(manifest, kind).names for kind in kinds(config.target)]

    @staticmethod
    def resolved(config: FitConfig, schema: Schema) -> dict[str, Any]:
        """The network, and the views of its crops; of a network of one's own the views alone."""
        if config.network is not None:
            return {"test_time": config.test_time} if config.test_time else {}
        base = resolve_preset(
            config.preset,
            schema.image_shape,
            mask=config.mask,
            test_time=config.test_time,
            **{name: getattr(config, name) for name in _OF_PRESETS},
        )
        given = find_channels(config.channels, schema.channels)
        channels = seen_channels(schema.image_shape, base.num_channels, given)
        return {
            "channels": [schema.channels[channel] for channel in channels],
            **{name: getattr(base, name) for name in _RESOLVED},
        }

    def describe(self) -> str:
        """Sentences about the classes, and what sampling makes of them."""
        sampling = self.config.sampling
        text = describe_classes(
            self.heads, count_classes(self.manifest, sampling) if sampling else None
        )
        taken = self.steps_per_pass * self.config.batch_size
        if not sampling and taken < self.manifest.num_crops("train"):
            text += f" Each pass takes {taken} of them, in whole batches; the rest changes."
        return text

    def objective(self) -> tuple[keras.losses.Loss, list[keras.metrics.Metric]]:
        """The loss, and the metrics of a training batch."""
        return make_loss(self.config, *self.heads), make_accuracies(*self.heads)

    def build(self) -> keras.Model:
        """The untrained model."""
        sizes = [len(classes.names) for classes in self.heads]
        return build_model(self.config, self.manifest.schema, *sizes)

    def batches(self, *, epochs: int, first_epoch: int, first_step: int) -> tf.data.Dataset:
        """See `training_batches`."""
        return training_batches(
            self.records,
            batch_size=self.config.batch_size,
            epochs=epochs,
            first_epoch=first_epoch,
            first_step=first_step,
            seed=self.config.seed,
            mask=self.config.mask,
            target=self.config.target,
            sampling=self.config.sampling,
            manifest=self.manifest,
        )

    def keys_of_batch(self, *, epoch: int, step: int) -> list[str]:
        """Keys of the crops of a batch."""
        return keys_of_training_batch(
            self.records,
            batch_size=self.config.batch_size,
            epoch=epoch,
            step=step,
            seed=self.config.seed,
            sampling=self.config.sampling,
            manifest=self.manifest,
        )

    def evaluator(
        self,
        model: keras.Model,
        splits: Sequence[str],
        device: str | None = None,
    ) -> Evaluator:
        """Of those of the splits that have crops of a known class; logs which classes they lack."""
        known = [s for s in splits if has_known_classes(self.manifest, self.heads[0], s)]
        for split in splits:
            if split in self.manifest.splits and split not in known:
                _log.warning(
                    "The %s split is not evaluated: none of its crops is of a class trained on.",
                    split,
                )
            for classes in self.heads if split in known else ():
                counts = self.manifest.counts[split][classes.kind]
                absent = [name for name in classes.names if not counts.get(name)]
                if absent and classes.kind == "label":  # of proteins, splits may share a few only
                    _log.warning(
                        "The %s split has no crop of %s: averages leave it out.",
                        split,
                        ", ".join(absent),
                    )
        return Evaluator(
            model,
            self.records,
            self.manifest,
            mask=self.config.mask,
            target=self.config.target,
            class_names=self.heads[0].names,
            protein_names=self.heads[1].names if len(self.heads) > 1 else (),
            splits=known,
            device=device,
        )


def build_model(
    config: FitConfig,
    schema: Schema,
    num_classes: int | None = None,
    num_proteins: int | None = None,
) -> keras.Model:
    """The untrained model that a configuration describes; as many classes as labels if None."""
    num_classes = schema.num_classes if num_classes is None else num_classes
    heads: dict[str, Any] = {
        "num_proteins": num_proteins,
        "triplets": LOSSES.get(config.loss).of_features,
        "dropout": config.dropout,
        "seed": config.seed,
    }
    if config.network is not None:
        network = NETWORKS.get(config.network)
        return with_heads(network, schema.image_shape, schema.dtype, num_classes, **heads)
    architecture: dict[str, Any] = {
        name: getattr(config, name) for name in (*_OF_DEEPLOC, *_OF_PRESETS)
    }
    return DeepLoc(
        schema.image_shape,
        num_classes,
        image_dtype=schema.dtype,
        channels=find_channels(config.channels, schema.channels),
        **heads,
        **architecture,
    )


_OF_DEEPLOC = ("preset", "backbone", "width", "last_block", "batch_norm_momentum", "mask")
_OF_PRESETS = ("dense_units", "window", "normalization", "augmentation", "initializer")
_RESOLVED = (*_OF_PRESETS, "padding", "dense_batch_norm", "test_time")
