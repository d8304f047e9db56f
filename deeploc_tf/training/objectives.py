"""What a training is after: the loss on its classes, their weights, and whether the records do."""

from __future__ import annotations

import statistics
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deeploc_tf.pipeline.classes import Classes, count_classes
from deeploc_tf.pipeline.sampling import draws_of_a_class
from deeploc_tf.training.config import FitConfig
from tfrecords.errors import SplitError
from tfrecords.manifest import Manifest

_SMALLEST = 1e-7  # below it, x ** gamma has no gradient that float32 can hold
_MOST_NAMED = 30


class ClassificationLoss(keras.losses.Loss):
    """Cross-entropy of logits: softmax for one class a crop, sigmoid for several.

    With `gamma` each term is multiplied by ``(1 - p) ** gamma``, where ``p`` is the probability of
    what is true (focal loss): what is told well already counts less. With weights, a crop counts by
    the weight of its class; where crops have several, only the terms of those it has do.

    Args:
        multi_label: a crop may belong to several classes; the loss is then the mean over classes.
        gamma: of the focal loss; 0: cross-entropy.
        weights: float32 `(num_classes,)`, or None.
        label_smoothing: share of the truth that is spread evenly over all answers.

    Input shape:
        Targets float32 `(batch_size, num_classes)`, 0 and 1; logits of the same shape.

    References:
        Lin et al. 2017, Focal loss for dense object detection, arXiv 1708.02002.
    """

    def __init__(
        self,
        *,
        multi_label: bool = False,
        gamma: float = 0.0,
        weights: NDArray[np.float32] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(name="classification_loss")
        self.multi_label = multi_label
        self.gamma = gamma
        self.weights = weights
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each crop, float32 `(batch_size,)`."""
        targets, logits = tf.cast(y_true, tf.float32), tf.cast(y_pred, tf.float32)
        return (self._sigmoid if self.multi_label else self._softmax)(targets, logits)

    def _softmax(self, targets: Any, logits: Any) -> Any:
        weights = 1.0 if self.weights is None else tf.linalg.matvec(targets, self.weights)
        targets = self._smooth(targets, answers=tf.cast(tf.shape(targets)[-1], tf.float32))
        if not self.gamma:
            return weights * tf.nn.softmax_cross_entropy_with_logits(targets, logits)
        log_p = tf.nn.log_softmax(logits)
        terms = -targets * log_p * _power(-tf.math.expm1(log_p), self.gamma)
        return weights * tf.reduce_sum(terms, axis=-1)

    def _sigmoid(self, targets: Any, logits: Any) -> Any:
        weights = 1.0 if self.weights is None else self.weights
        targets = self._smooth(targets, answers=2.0)
        present, absent = -tf.math.log_sigmoid(logits), -tf.math.log_sigmoid(-logits)
        if self.gamma:
            present *= _power(tf.sigmoid(-logits), self.gamma)
            absent *= _power(tf.sigmoid(logits), self.gamma)
        return tf.reduce_mean(weights * targets * present + (1 - targets) * absent, axis=-1)

    def _smooth(self, targets: Any, answers: Any) -> Any:
        return targets * (1 - self.label_smoothing) + self.label_smoothing / answers


def make_loss(config: FitConfig, classes: Classes | None = None) -> ClassificationLoss:
    """The loss that a configuration describes; classes None: one label a crop, none rare."""
    weighted = classes is not None and config.class_weights == "balanced"
    return ClassificationLoss(
        multi_label=classes is not None and classes.multi_label,
        gamma=config.focal_gamma if config.loss == "focal" else 0.0,
        weights=balanced_weights(classes) if weighted and classes else None,
        label_smoothing=config.label_smoothing,
    )


def make_accuracy(classes: Classes | None = None) -> keras.metrics.Metric:
    """Share of right answers while training: one answer a crop, or one a crop and class."""
    if classes is not None and classes.multi_label:
        return keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)  # of logits
    return keras.metrics.CategoricalAccuracy(name="accuracy")


def balanced_weights(classes: Classes) -> NDArray[np.float32]:
    """Weights that make up for unequal classes, float32 `(num_classes,)`.

    One class a crop: `num_crops / (num_classes * crops of the class)`, as in scikit-learn; their
    mean over crops is 1. Several: crops without the class for each crop with it.
    """
    counts = np.array(classes.counts, np.float64)
    if classes.multi_label:
        return np.asarray(np.maximum(classes.num_crops - counts, 1) / counts, np.float32)
    return np.asarray(classes.num_crops / (len(counts) * counts), np.float32)


def check_records(manifest: Manifest, config: FitConfig) -> Classes:
    """The classes to train on; refuses records that cannot serve a configuration.

    Raises:
        SplitError: masks, labels, proteins or splits are missing.
    """
    if config.mask and not manifest.schema.has_mask:
        msg = "`mask` needs records with masks. These have none: rebuild them with a mask channel."
        raise SplitError(msg)
    if config.patience and "validation" not in manifest.splits:
        msg = (
            f"`patience` needs a split `validation`. Received: patience={config.patience}, splits "
            f"{', '.join(manifest.splits)}. Rebuild the records with one, or leave it out."
        )
        raise SplitError(msg)
    classes = count_classes(manifest, config.target)
    if len(classes.names) < 2 and not classes.multi_label:
        msg = (
            "Training needs at least two classes. Received: "
            f"{classes.kind} {classes.names[0]!r} alone. Rebuild the records with more of them."
        )
        raise SplitError(msg)
    if config.patience and not has_known_classes(manifest, classes, "validation"):
        msg = (
            f"`patience` needs validation crops of proteins of the train split. Received: "
            f"patience={config.patience}, no such crop. Split the records by field, not by protein."
        )
        raise SplitError(msg)
    return classes


def has_known_classes(manifest: Manifest, classes: Classes, split: str) -> bool:
    """Whether there is such a split, with a crop of a class that training knows."""
    known = set(classes.names)
    return split in manifest.splits and (
        classes.kind == "label" or not known.isdisjoint(manifest.counts[split]["protein"])
    )


def describe_classes(classes: Classes, sampling: Classes | None = None) -> str:
    """A sentence about the classes, and what sampling makes of them."""
    counts = classes.counts
    if len(counts) <= _MOST_NAMED:
        pairs = zip(classes.names, counts, strict=True)
        text = ", ".join(f"{name} {count}" for name, count in pairs)
    else:
        text = f"{min(counts)} to {max(counts)} crops each, median {statistics.median(counts):g}"
    text = f"{classes.num_crops} crops of {len(counts)} {classes.kind}s: {text}."
    if sampling:
        text += f" Each epoch draws {draws_of_a_class(sampling)} crops of each {sampling.kind}."
    return text


def _power(base: Any, gamma: float) -> Any:
    return tf.pow(tf.maximum(base, _SMALLEST), gamma)
