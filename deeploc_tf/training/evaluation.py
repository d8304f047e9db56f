"""Logits of every crop of a split, each exactly once, and the metrics made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deeploc_tf.models.extractors import feature_layer, inference_function
from deeploc_tf.models.hardware import placed_on
from deeploc_tf.models.novelty import FEATURES, network_with_features
from deeploc_tf.models.views import View, mean_of_logits, outputs_of_views
from deeploc_tf.pipeline.batches import batches, running_on
from deeploc_tf.pipeline.classes import class_index
from deeploc_tf.pipeline.targets import Kind, Target, kinds
from deeploc_tf.training.metrics import classification_metrics, multi_label_metrics
from tfrecords.manifest import Manifest

BATCH_SIZE = 256


class Evaluator:
    """Metrics of a model on splits of one data set, on one device, whatever trained it.

    Args:
        model: a model on one device; its weights may change between calls. The logits of its heads
            are the first columns of its output.
        records: folder of the data set.
        manifest: of `records`.
        mask: the model takes the mask as well.
        target: what it tells: "label", "protein" or both.
        class_names: of its first head; None: the labels of the records.
        protein_names: of its second head, if there is one.
        splits: those that are worth measuring.
        device: where to measure; None: where TensorFlow chooses.

    Attributes:
        inputs: names of what the model takes.
        heads: the classes of each head.
        layer: whose vectors are the features of the network.
        num_features: their number.
        network: the model as a function of a batch, see `inference_function`: `logits`, of all
            heads, and `features`, in one graph that serves whatever asks about a trained model.
        predicted: by split, what `predict` gave when `metrics` was last asked about it.
    """

    def __init__(
        self,
        model: keras.Model,
        records: str | Path,
        manifest: Manifest,
        *,
        mask: bool,
        target: Target = "label",
        class_names: Sequence[str] | None = None,
        protein_names: Sequence[str] = (),
        splits: Sequence[str] = (),
        device: str | None = None,
    ) -> None:
        self.model = model
        self.records = records
        self.manifest = manifest
        self._device = device
        self._splits = list(splits)
        names = [tuple(class_names or manifest.schema.label_names), tuple(protein_names)]
        self.heads = dict(zip(kinds(target), names, strict=False))
        self.inputs = ["image", *(["mask"] if mask else [])]
        self._indices = {kind: class_index(kind, names) for kind, names in self.heads.items()}
        self.layer = feature_layer(model)
        network = network_with_features(model, self.layer)
        self.num_features = int(network.output[FEATURES].shape[-1])
        self.network = inference_function(network)
        self._batches: dict[str, tf.data.Dataset] = {}
        self.predicted: dict[str, dict[Kind, tuple[NDArray[Any], NDArray[np.float32]]]] = {}

    @property
    def splits(self) -> list[str]:
        """Those that are worth measuring."""
        return self._splits

    def batches(self, split: str) -> tf.data.Dataset:
        """The crops of a split, each exactly once: what the model takes, and the truth of them."""
        if split not in self._batches:
            self._batches[split] = batches(
                self.records,
                split,
                batch_size=BATCH_SIZE,
                features=[*self.inputs, *self.heads],
                manifest=self.manifest,
            )
        return self._batches[split]

    def truth(self, kind: Kind, batch: dict[str, Any]) -> NDArray[Any]:
        """What is true of the crops of a batch, see `predict`; of a protein that is none, -1."""
        found: NDArray[Any] = self._indices[kind](batch).numpy()
        return found

    def metrics(self, split: str, views: Sequence[View] = ()) -> dict[str, Any]:
        """Metrics of the model as it is now, on one split; probabilities are means over the views.

        See `classification_metrics`, and `multi_label_metrics` where crops have several labels.
        Those of a second head are an entry `protein`, if crops of the split have a known protein.
        """
        metrics: dict[str, Any] = {}
        self.predicted[split] = self.predict(split, views)
        for kind, (truth, logits) in self.predicted[split].items():
            names = self.heads[kind]
            if truth.ndim == 2:
                found = multi_label_metrics(truth, logits, names)
            elif metrics and not len(truth):
                continue
            else:
                found = classification_metrics(
                    truth, logits, names, confusion_matrix=kind == "label"
                )
            metrics = {**metrics, kind: found} if metrics else found
        return metrics

    def predict(
        self, split: str, views: Sequence[View] = ()
    ) -> dict[Kind, tuple[NDArray[Any], NDArray[np.float32]]]:
        """For each head what is true and logits float32 `(num_crops, num_classes)`.

        In manifest order. What is true is int64 `(num_crops,)`, or 0 and 1
        `(num_crops, num_classes)` where crops have several labels. Crops of a protein that is no
        class are left out. Of several views there are `mean_of_logits` instead of logits.
        """
        truths: dict[Kind, list[Any]] = {kind: [] for kind in self.heads}
        outputs: list[list[NDArray[np.float32]]] = []  # of each batch, for each view
        with running_on(self.records, self.manifest), placed_on(self._device):
            for batch in self.batches(split):
                for kind in self.heads:
                    truths[kind].append(self.truth(kind, batch))
                pixels = {name: batch[name] for name in self.inputs}
                seen = outputs_of_views(self.network, pixels, views or [View()])
                outputs.append([output["logits"].numpy() for output in seen])
        answers = [np.concatenate(of_view) for of_view in zip(*outputs, strict=True)]
        start, found = 0, {}
        for kind, names in self.heads.items():
            truth = np.concatenate(truths[kind])
            logits = [of_view[:, start : start + len(names)] for of_view in answers]
            multi_label = truth.ndim == 2
            scores = logits[0]
            if len(logits) > 1:
                scores = mean_of_logits(logits, multi_label=multi_label)
            known = slice(None) if multi_label else truth >= 0
            found[kind] = truth[known], scores[known]
            start += len(names)
        return found
