from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pydantic
import pytest
import sklearn.metrics
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from deeploc_tf.pipeline.classes import Classes
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.metrics import multi_label_metrics
from deeploc_tf.training.objectives import (
    ClassificationLoss,
    balanced_weights,
    describe_classes,
    make_loss,
)

NAMES = ("cytoplasm", "mitochondrion", "nucleus", "vacuole")
ONE = Classes("label", NAMES, (40, 10, 5, 5), 60)
SEVERAL = Classes("label", NAMES, (40, 30, 5, 1), 60, multi_label=True)


def crops(seed: int = 0, several: bool = False, number: int = 60) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    targets = np.eye(4, dtype=np.float32)[random.integers(0, 4, number)]
    if several:
        targets = np.maximum(targets, np.eye(4, dtype=np.float32)[random.integers(0, 4, number)])
    return targets, random.normal(scale=2, size=(number, 4)).astype(np.float32)


def per_crop(loss: ClassificationLoss, targets: Any, logits: Any) -> Any:
    return loss.call(tf.constant(targets), tf.constant(logits)).numpy()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_without_options_it_is_keras_cross_entropy(smoothing: float) -> None:
    targets, logits = crops()
    oracle = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    loss = make_loss(FitConfig(label_smoothing=smoothing), ONE)
    assert float(loss(targets, logits)) == pytest.approx(float(oracle(targets, logits)), rel=1e-6)
    targets, logits = crops(several=True)
    oracle = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing)
    loss = make_loss(FitConfig(label_smoothing=smoothing), SEVERAL)
    assert float(loss(targets, logits)) == pytest.approx(float(oracle(targets, logits)), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 3.5])
def test_the_focal_loss_is_that_of_keras(gamma: float) -> None:
    targets, logits = crops()
    config = FitConfig(loss="focal", focal_gamma=gamma)
    oracle = keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=gamma, from_logits=True)
    found = float(make_loss(config, ONE)(targets, logits))
    assert found == pytest.approx(float(oracle(targets, logits)), rel=1e-4)
    targets, logits = crops(several=True)
    oracle = keras.losses.BinaryFocalCrossentropy(gamma=gamma, from_logits=True)
    found = float(make_loss(config, SEVERAL)(targets, logits))
    assert found == pytest.approx(float(oracle(targets, logits)), rel=1e-4)


def test_balanced_weights_are_those_of_scikit_learn_and_have_mean_1() -> None:
    labels = np.repeat(np.arange(4), ONE.counts)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    weights = balanced_weights(ONE)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert weights[labels].mean() == pytest.approx(1)
    targets, logits = crops()
    plain = per_crop(ClassificationLoss(), targets, logits)
    weighted = per_crop(make_loss(FitConfig(class_weights="balanced"), ONE), targets, logits)
    np.testing.assert_allclose(weighted, plain * expected[targets.argmax(axis=1)], rtol=1e-5)


def test_positive_weights_are_those_of_tensorflow() -> None:
    weights = balanced_weights(SEVERAL)
    np.testing.assert_allclose(weights, [20 / 40, 30 / 30, 55 / 5, 59])
    targets, logits = crops(several=True)
    expected = tf.nn.weighted_cross_entropy_with_logits(targets, logits, weights)
    found = per_crop(make_loss(FitConfig(class_weights="balanced"), SEVERAL), targets, logits)
    np.testing.assert_allclose(found, expected.numpy().mean(axis=1), rtol=1e-5)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_extreme_logits_have_finite_losses_and_gradients(gamma: float, several: bool) -> None:
    targets = tf.constant([[1.0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    logits = tf.constant([[1e4, 0, 0, -1e4], [-1e4, 1e4, 0, 0], [0, 0, 0, 60.0]])
    loss = ClassificationLoss(gamma=gamma, multi_label=several)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(targets, logits)
    assert np.isfinite(float(value))
    assert np.isfinite(tape.gradient(value, logits).numpy()).all()


@pytest.mark.parametrize("seed", range(2))
def test_metrics_of_several_labels_are_those_of_naive_loops(seed: int) -> None:
    targets, logits = crops(seed, several=True)
    targets[:, 3] = 0  # a class that nobody has
    targets[targets.sum(axis=1) == 0, 0] = 1
    found = multi_label_metrics(targets, logits, NAMES)

    def average_precision(truth: Any, scores: Any) -> float:
        ranked = [bool(truth[i]) for i in np.argsort(-scores)]
        hits = [sum(ranked[: i + 1]) / (i + 1) for i, hit in enumerate(ranked) if hit]
        return sum(hits) / len(hits)

    aps = [average_precision(targets[:, i], logits[:, i]) for i in range(3)]
    for name, ap in zip(NAMES[:3], aps, strict=True):
        assert found["per_class"][name]["average_precision"] == pytest.approx(ap)
    assert found["per_class"]["vacuole"]["average_precision"] is None
    assert found["macro_ap"] == pytest.approx(np.mean(aps))
    assert found["micro_ap"] == pytest.approx(average_precision(targets.ravel(), logits.ravel()))
    by_crop = [average_precision(t, s) for t, s in zip(targets, logits, strict=True)]
    assert found["label_ranking_ap"] == pytest.approx(np.mean(by_crop))
    said, true = logits > 0, targets > 0
    f1s = 2 * (said & true).sum(axis=0) / (said.sum(axis=0) + true.sum(axis=0))
    assert found["macro_f1"] == pytest.approx(f1s[:3].mean())
    assert found["micro_f1"] == pytest.approx(2 * (said & true).sum() / (said.sum() + true.sum()))
    probabilities = 1 / (1 + np.exp(-logits.astype(float)))
    log_loss = sklearn.metrics.log_loss(true.ravel(), probabilities.ravel())
    assert found["loss"] == pytest.approx(log_loss)
    with pytest.raises(ValueError, match="Received: 0 crops"):
        multi_label_metrics(targets[:0], logits[:0], NAMES)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loss": "focal", "label_smoothing": 0.1}, "focal loss takes no label smoothing"),
        ({"class_weights": "balanced", "sampling": "label"}, "balanced once"),
        ({"xla": True}, "XLA cannot turn crops by any angle"),
        ({"focal_gamma": 0}, "focal_gamma"),
        ({"clip_norm": 0}, "clip_norm"),
    ],
)
def test_combinations_that_make_no_sense_are_refused(values: Any, message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        FitConfig(**values)


def test_classes_are_described() -> None:
    by_protein = Classes("protein", tuple("abcdef"), (10,) * 6, 60)
    assert describe_classes([ONE], by_protein) == (
        "60 crops of 4 labels: cytoplasm 40, mitochondrion 10, nucleus 5, vacuole 5. "
        "Each epoch draws 10 crops of each protein."
    )
    many = Classes("protein", tuple(map(str, range(40))), tuple(range(1, 41)), 820)
    assert describe_classes([many]) == "820 crops of 40 proteins: 1 to 40 crops each, median 20.5."


def test_a_crop_weighs_what_its_class_weighs_also_where_targets_are_smoothed() -> None:
    targets, logits = crops()
    weights = np.array([0.5, 1, 2, 8], np.float32)
    plain = per_crop(ClassificationLoss(label_smoothing=0.3), targets, logits)
    weighted = per_crop(ClassificationLoss(label_smoothing=0.3, weights=weights), targets, logits)
    np.testing.assert_allclose(weighted, plain * weights[targets.argmax(axis=1)], rtol=1e-5)
