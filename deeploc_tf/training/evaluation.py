"""Logits of every crop of a split, each exactly once, and the metrics made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from deeploc_tf.models.extractors import inference_function
from deeploc_tf.pipeline.batches import batches, running_on
from deeploc_tf.pipeline.classes import Kind, class_index
from deeploc_tf.training.metrics import classification_metrics, multi_label_metrics
from tfrecords.manifest import Manifest

_BATCH_SIZE = 256


class Evaluator:
    """Metrics of a model on splits of one data set, on one device, whatever trained it.

    Args:
        model: a model on one device; its weights may change between calls.
        records: folder of the data set.
        manifest: of `records`.
        mask: the model takes the mask as well.
        target: what it tells: "label" or "protein".
        class_names: of its logits; None: the labels of the records.
    """

    def __init__(
        self,
        model: keras.Model,
        records: str | Path,
        manifest: Manifest,
        *,
        mask: bool,
        target: Kind = "label",
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.model = model
        self.records = records
        self.manifest = manifest
        self.target = target
        self.class_names = tuple(class_names or manifest.schema.label_names)
        self.features = ["image", "mask", target] if mask else ["image", target]
        self._index = class_index(target, self.class_names)
        self._logits = inference_function(model)

    def metrics(self, split: str) -> dict[str, Any]:
        """Metrics of the model as it is now, on one split.

        See `classification_metrics`, and `multi_label_metrics` where crops have several labels.
        """
        labels, logits = self.predict(split)
        if labels.ndim == 2:
            return multi_label_metrics(labels, logits, self.class_names)
        return classification_metrics(
            labels, logits, self.class_names, confusion_matrix=self.target == "label"
        )

    def predict(self, split: str) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """What is true and logits float32 `(num_crops, num_classes)`; in manifest order.

        What is true is int64 `(num_crops,)`, or 0 and 1 `(num_crops, num_classes)` where crops have
        several labels. Crops of a protein that is no class are left out.
        """
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
                labels.append(self._index(batch).numpy())
                del batch[self.target]
                inputs = batch if "mask" in batch else batch["image"]
                logits.append(self._logits(inputs).numpy())
        truth, answers = np.concatenate(labels), np.concatenate(logits)
        known = truth >= 0 if truth.ndim == 1 else slice(None)
        return truth[known], answers[known]
