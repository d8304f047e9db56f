"""Logits of every crop of a split, each exactly once, and the metrics made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from deeploc_tf.models.extractors import inference_function
from deeploc_tf.pipeline.batches import batches, running_on
from deeploc_tf.training.metrics import classification_metrics
from tfrecords.manifest import Manifest

_BATCH_SIZE = 256


class Evaluator:
    """Metrics of a model on splits of one data set, on one device, whatever trained it.

    Args:
        model: a model on one device; its weights may change between calls.
        records: folder of the data set.
        manifest: of `records`.
        mask: the model takes the mask as well.
    """

    def __init__(
        self, model: keras.Model, records: str | Path, manifest: Manifest, *, mask: bool
    ) -> None:
        self.model = model
        self.records = records
        self.manifest = manifest
        self.features = ["image", "mask", "label"] if mask else ["image", "label"]
        self._logits = inference_function(model)

    def metrics(self, split: str) -> dict[str, Any]:
        """Metrics of the model as it is now, on one split; see `classification_metrics`."""
        labels, logits = self.predict(split)
        return classification_metrics(labels, logits, self.manifest.schema.label_names)

    def predict(self, split: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Labels `(num_crops,)`, logits float32 `(num_crops, num_classes)`; in manifest order."""
        labels, logits = [], []
        dataset = batches(
            self.records,
            split,
            batch_size=_BATCH_SIZE,
            features=self.features,
            manifest=self.manifest,
        )
        with running_on(self.records):
            for batch in dataset:
                labels.append(batch.pop("label").numpy())
                inputs = batch if "mask" in batch else batch["image"]
                logits.append(self._logits(inputs).numpy())
        return np.concatenate(labels), np.concatenate(logits)
