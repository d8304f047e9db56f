"""What `fit` has to know to train Paired Cell Inpainting instead of a classifier."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from deeploc_tf.models.channels import find_channels
from deeploc_tf.models.extractors import inference_function
from deeploc_tf.models.hardware import placed_on
from deeploc_tf.models.inpainting import PairedCellInpainting
from deeploc_tf.models.views import View
from deeploc_tf.network_choices import INPAINTING_NORMALIZATIONS
from deeploc_tf.pipeline.batches import running_on
from deeploc_tf.pipeline.cell_pairs import Pairs, evaluation_pairs, training_pairs
from deeploc_tf.training.config import FitConfig
from tfrecords.errors import SplitError
from tfrecords.manifest import Manifest
from tfrecords.schema import Schema

_log = logging.getLogger(__name__)

_BATCH_SIZE = 64
_FEWEST = 2  # cells of a group that is evaluated: every cell that has a partner


class Inpainting:
    """The pairs of a training, and all that they are made of.

    Args:
        records: folder of the data set.
        manifest: of `records`.
        config: settings.

    Attributes:
        steps_per_pass: number of batches in one pass over the pairs.
        test_time: "none": pairs have no views to average over.

    Raises:
        SchemaError: the crops have one channel only.
        SplitError: there are no pairs, fewer than a batch, or none to be patient about.
    """

    def __init__(self, records: str | Path, manifest: Manifest, config: FitConfig) -> None:
        self.records, self.manifest, self.config = records, manifest, config
        self.pairs = Pairs(
            records,
            "train",
            min_cells=config.min_cells,
            pair_by=config.pair_by,
            manifest=manifest,
        )
        self.steps_per_pass = self.pairs.steps_per_epoch(config.batch_size)
        self.test_time = "none"
        if config.patience and "validation" not in manifest.splits:
            msg = (
                "`patience` needs a split `validation`. Received: "
                f"patience={config.patience}, splits {', '.join(manifest.splits)}. Rebuild the "
                "records with one, or leave it out."
            )
            raise SplitError(msg)
        if config.patience:
            self._pairs_of("validation")  # refused now rather than after the first epoch

    @staticmethod
    def class_names(config: FitConfig, manifest: Manifest) -> list[tuple[str, ...]]:  # noqa: ARG004
        """None: it predicts pixels."""
        return []

    @staticmethod
    def resolved(config: FitConfig, schema: Schema) -> dict[str, Any]:  # noqa: ARG004
        """The normalization."""
        return {"normalization": config.normalization or INPAINTING_NORMALIZATIONS[0]}

    def describe(self) -> str:
        """Sentences about the pairs of an epoch, and about the cells left out."""
        return self.pairs.describe()

    def objective(self) -> tuple[keras.losses.Loss, list[keras.metrics.Metric]]:
        """The mean squared error of the protein's pixels, and no metrics."""
        return keras.losses.MeanSquaredError(), []

    def build(self) -> keras.Model:
        """The untrained model."""
        schema = self.manifest.schema
        return PairedCellInpainting(
            schema.image_shape,
            image_dtype=schema.dtype,
            channels=find_channels(self.config.channels, schema.channels),
            window=self.config.window,
            normalization=self.config.normalization,
            augmentation=self.config.augmentation,
            width=self.config.width,
            batch_norm_momentum=self.config.batch_norm_momentum,
            seed=self.config.seed,
        )

    def batches(self, *, epochs: int, first_epoch: int, first_step: int) -> tf.data.Dataset:
        """See `training_pairs`."""
        return training_pairs(
            self.pairs,
            batch_size=self.config.batch_size,
            epochs=epochs,
            first_epoch=first_epoch,
            first_step=first_step,
            seed=self.config.seed,
        )

    def keys_of_batch(self, *, epoch: int, step: int) -> list[str]:
        """Keys of the crops of a batch, source and target of each pair."""
        return self.pairs.keys(
            self.config.batch_size, epoch=epoch, step=step, seed=self.config.seed
        )

    def evaluator(
        self,
        model: keras.Model,
        splits: Sequence[str],
        device: str | None = None,
    ) -> PairEvaluator:
        """Of those of the splits that are there and have pairs; says which of them do not."""
        pairs = {}
        for split in splits:
            if split not in self.manifest.splits:
                continue
            try:
                pairs[split] = self._pairs_of(split)
            except SplitError as error:
                _log.warning("The %s split is not evaluated. %s", split, error)
        return PairEvaluator(model, self.records, pairs, device)

    def _pairs_of(self, split: str) -> Pairs:
        return Pairs(
            self.records,
            split,
            min_cells=_FEWEST,
            pair_by=self.config.pair_by,
            manifest=self.manifest,
        )


class PairEvaluator:
    """How well a model paints the protein, on always the same pairs of each split.

    Args:
        model: on one device; its weights may change between calls.
        records: folder of the data set.
        pairs: of each split to evaluate.
        device: where to measure; None: where TensorFlow chooses.
    """

    def __init__(
        self,
        model: keras.Model,
        records: str | Path,
        pairs: dict[str, Pairs],
        device: str | None = None,
    ) -> None:
        self.model = model
        self.records = records
        self.pairs = pairs
        self._device = device
        outputs = {name: model.get_layer(name).output for name in ("residual", "target_protein")}
        self._paint = inference_function(keras.Model(model.input, outputs))

    @property
    def splits(self) -> list[str]:
        """Those that can be evaluated."""
        return list(self.pairs)

    def metrics(
        self,
        split: str,
        views: Sequence[View] = (),  # noqa: ARG002 - pairs have none
    ) -> dict[str, Any]:
        """Metrics of the model as it is now, on one split; each of its cells is a target once.

        Returns:
            `num_pairs`; `loss`, the mean squared error of the normalized pixels of the protein's
            channel; `explained_variance`, ``1 - loss / variance`` with the variance of these pixels
            over the split: 0 for whoever paints their mean everywhere, 1 for who paints no wrong
            pixel, below 0 for worse than the mean; None where all pixels are equal.
        """
        squares = np.zeros(3)  # of residuals, and of the protein the sum and the sum of squares
        count = 0
        with running_on(self.records), placed_on(self._device):
            for inputs, _ in evaluation_pairs(self.pairs[split], batch_size=_BATCH_SIZE):
                painted = self._paint(inputs)
                residual = painted["residual"].numpy().astype(np.float64)
                protein = painted["target_protein"].numpy().astype(np.float64)
                squares += [(residual**2).sum(), protein.sum(), (protein**2).sum()]
                count += protein.size
        loss, mean, mean_of_squares = (squares / count).tolist()
        variance = mean_of_squares - mean**2
        return {
            "num_pairs": self.pairs[split].num_pairs,
            "loss": loss,
            "explained_variance": 1 - loss / variance if variance > 0 else None,
        }
