"""What a training is after: the loss on its classes, their weights, and whether the records do."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deeploc_tf.models import addons
from deeploc_tf.pipeline.classes import Classes, count_classes
from deeploc_tf.pipeline.sampling import draws_of_a_class
from deeploc_tf.pipeline.targets import kinds
from deeploc_tf.training.choices import CROSS_ENTROPY, LOSSES
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


class TripletLoss(keras.losses.Loss):
    """Semi-hard triplets of the crops of a batch; of several replicas each has its own.

    Args:
        margin: by how much a crop of another class shall be farther, in squared distance.

    Input shape:
        Targets float32 `(batch_size, num_classes)`, one 1 a crop; unit vectors float32
        `(batch_size, num_features)`.
    """

    def __init__(self, margin: float) -> None:
        super().__init__(name="triplet_loss")
        self.margin = margin

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of the batch, as often as there are crops, float32 `(batch_size,)`."""
        labels = tf.argmax(y_true, axis=-1)
        loss = addons.semihard_triplets(labels, tf.cast(y_pred, tf.float32), self.margin)
        return tf.fill(tf.shape(labels), loss)


@dataclasses.dataclass(frozen=True)
class Part:
    """A loss on some columns of the targets and of the outputs, and how much it counts."""

    loss: keras.losses.Loss
    targets: slice
    outputs: slice
    weight: float = 1.0


class JointLoss(keras.losses.Loss):
    """Several losses added up, each on columns of its own."""

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__(name="joint_loss")
        self.parts = tuple(parts)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each crop, float32 `(batch_size,)`."""
        return sum(
            part.weight * part.loss.call(y_true[:, part.targets], y_pred[:, part.outputs])
            for part in self.parts
        )


def make_loss(config: FitConfig, *classes: Classes) -> keras.losses.Loss:
    """The loss that a configuration describes.

    Args:
        config: settings.
        classes: of each head; none of them: one head, one label a crop, none rare.
    """
    chosen = LOSSES.get(config.loss)
    of_logits = CROSS_ENTROPY if chosen.of_features else chosen
    losses = [of_logits.load()(config, of_head) for of_head in classes or (None,)]
    if chosen.of_features:
        logits, rest = slice(len(classes[0].names)), slice(len(classes[0].names), None)
        of_features = chosen.load()(config, classes[0])
        return JointLoss([Part(losses[0], logits, logits), Part(of_features, logits, rest)])
    if len(losses) == 1:
        return losses[0]
    weights = (1.0, config.protein_weight)
    columns = _columns(classes)
    return JointLoss([Part(*part) for part in zip(losses, columns, columns, weights, strict=True)])


def _of_logits(config: FitConfig, classes: Classes | None, gamma: float) -> ClassificationLoss:
    weighted = classes is not None and config.class_weights == "balanced"
    return ClassificationLoss(
        multi_label=classes is not None and classes.multi_label,
        gamma=gamma,
        weights=balanced_weights(classes) if weighted and classes else None,
        label_smoothing=config.label_smoothing,
    )


def cross_entropy(config: FitConfig, classes: Classes | None) -> ClassificationLoss:
    """Of the logits."""
    return _of_logits(config, classes, 0.0)


def focal(config: FitConfig, classes: Classes | None) -> ClassificationLoss:
    """Of the logits, with less weight on crops that are easy."""
    return _of_logits(config, classes, config.focal_gamma)


def triplet(config: FitConfig, _: Classes | None) -> TripletLoss:
    """Of the features."""
    return TripletLoss(config.triplet_margin)


def make_accuracies(*classes: Classes) -> list[keras.metrics.Metric]:
    """Share of right answers of each head while training: one a crop, or one a crop and class."""
    if not classes:
        return [keras.metrics.CategoricalAccuracy(name="accuracy")]
    return [
        _Accuracy("protein_accuracy" if number else "accuracy", columns, of_head.multi_label)
        for number, (of_head, columns) in enumerate(zip(classes, _columns(classes), strict=True))
    ]


class _Accuracy(keras.metrics.Mean):
    """Accuracy of the logits in some columns."""

    def __init__(self, name: str, columns: slice, multi_label: bool) -> None:
        super().__init__(name=name)
        self.columns = columns
        self.multi_label = multi_label

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Take in a batch; Keras passes weights, and there are none."""
        del sample_weight
        truth, logits = y_true[:, self.columns], y_pred[:, self.columns]
        if self.multi_label:
            right = tf.equal(truth > 0.5, logits > 0)
        else:
            right = tf.equal(tf.argmax(truth, axis=-1), tf.argmax(logits, axis=-1))
        return super().update_state(tf.cast(right, tf.float32))


def _columns(classes: Sequence[Classes]) -> list[slice]:
    """Where the targets and logits of each head stand."""
    ends = np.cumsum([len(of_head.names) for of_head in classes]).tolist()
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def balanced_weights(classes: Classes) -> NDArray[np.float32]:
    """Weights that make up for unequal classes, float32 `(num_classes,)`.

    One class a crop: `num_crops / (num_classes * crops of the class)`, as in scikit-learn; their
    mean over crops is 1. Several: crops without the class for each crop with it.
    """
    counts = np.array(classes.counts, np.float64)
    if classes.multi_label:
        return np.asarray(np.maximum(classes.num_crops - counts, 1) / counts, np.float32)
    return np.asarray(classes.num_crops / (len(counts) * counts), np.float32)


def check_records(manifest: Manifest, config: FitConfig) -> tuple[Classes, ...]:
    """The classes of each head; refuses records that cannot serve a configuration.

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
    heads = tuple(count_classes(manifest, kind) for kind in kinds(config.target))
    for classes in heads:
        _check_classes(classes, config)
    if config.patience and not has_known_classes(manifest, heads[0], "validation"):
        msg = (
            f"`patience` needs validation crops of proteins of the train split. Received: "
            f"patience={config.patience}, no such crop. Split the records by field, not by protein."
        )
        raise SplitError(msg)
    return heads


def _check_classes(classes: Classes, config: FitConfig) -> None:
    if len(classes.names) < 2 and not classes.multi_label:
        msg = (
            "Training needs at least two classes. Received: "
            f"{classes.kind} {classes.names[0]!r} alone. Rebuild the records with more of them."
        )
        raise SplitError(msg)
    if classes.multi_label and LOSSES.get(config.loss).of_features:
        msg = (
            f"A loss of the features needs one class per crop. Received: loss={config.loss!r}, "
            "records with several labels per crop. Use target='protein'."
        )
        raise SplitError(msg)


def has_known_classes(manifest: Manifest, classes: Classes, split: str) -> bool:
    """Whether there is such a split, with a crop of a class that training knows."""
    known = set(classes.names)
    return split in manifest.splits and (
        classes.kind == "label" or not known.isdisjoint(manifest.counts[split]["protein"])
    )


def describe_classes(heads: Sequence[Classes], sampling: Classes | None = None) -> str:
    """A sentence about the classes of each head, and what sampling makes of them."""
    text = " ".join(map(_describe, heads))
    if sampling:
        text += f" Each epoch draws {draws_of_a_class(sampling)} crops of each {sampling.kind}."
    return text


def _describe(classes: Classes) -> str:
    counts = classes.counts
    if len(counts) <= _MOST_NAMED:
        pairs = zip(classes.names, counts, strict=True)
        text = ", ".join(f"{name} {count}" for name, count in pairs)
    else:
        text = f"{min(counts)} to {max(counts)} crops each, median {statistics.median(counts):g}"
    return f"{classes.num_crops} crops of {len(counts)} {classes.kind}s: {text}."


def _power(base: Any, gamma: float) -> Any:
    return tf.pow(tf.maximum(base, _SMALLEST), gamma)
