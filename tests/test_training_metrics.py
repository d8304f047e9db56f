from __future__ import annotations

import json
import math

import numpy as np
import pytest
import sklearn.metrics

from deeploc_tf.training.calibration import reliability
from deeploc_tf.training.metrics import classification_metrics

NAMES = ("cytoplasm", "mitochondrion", "nucleus", "vacuole")


def some_logits(
    seed: int, classes: tuple[int, ...] = (0, 1, 2, 3)
) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.choice(classes, 60)
    logits = random.normal(size=(60, 4)).astype(np.float32)
    logits[np.arange(60), labels] += 1
    return labels, logits


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    labels, logits = some_logits(seed)
    found = classification_metrics(labels, logits, NAMES)
    predictions = logits.argmax(axis=1)
    scores = sklearn.metrics
    assert found["num_crops"] == 60
    assert found["accuracy"] == pytest.approx(scores.accuracy_score(labels, predictions))
    assert found["balanced_accuracy"] == pytest.approx(
        scores.balanced_accuracy_score(labels, predictions)
    )
    assert found["macro_f1"] == pytest.approx(scores.f1_score(labels, predictions, average="macro"))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found["loss"] == pytest.approx(
        scores.log_loss(labels, probabilities, labels=range(4)), rel=1e-5
    )


@pytest.mark.parametrize("classes", [(0, 1, 2, 3), (0, 2)])
def test_scores_of_each_class_are_those_of_naive_loops(classes: tuple[int, ...]) -> None:
    labels, logits = some_logits(7, classes)
    found = classification_metrics(labels, logits, NAMES)
    confusion = [[0] * 4 for _ in range(4)]
    for label, row in zip(labels, logits, strict=True):
        confusion[label][max(range(4), key=lambda i: row[i])] += 1
    assert found["confusion_matrix"] == confusion  # true classes in rows
    recalls, f1s = [], []
    for i, name in enumerate(NAMES):
        support, predicted = sum(confusion[i]), sum(row[i] for row in confusion)
        of_class = found["per_class"][name]
        assert of_class["support"] == support
        if predicted:
            assert of_class["precision"] == pytest.approx(confusion[i][i] / predicted)
        else:
            assert of_class["precision"] is None
        if not support:
            assert of_class["recall"] is None
            assert of_class["f1"] is None
            continue
        recalls.append(confusion[i][i] / support)
        f1s.append(2 * confusion[i][i] / (support + predicted))
        assert of_class["recall"] == pytest.approx(recalls[-1])
        assert of_class["f1"] == pytest.approx(f1s[-1])
    assert found["balanced_accuracy"] == pytest.approx(sum(recalls) / len(classes))
    assert found["macro_f1"] == pytest.approx(sum(f1s) / len(classes))


def test_a_class_nobody_predicts_and_one_nobody_has() -> None:
    labels = np.array([0, 0, 1, 2, 2, 2])
    logits = np.eye(4, dtype=np.float32)[[0, 3, 0, 2, 2, 0]]
    found = classification_metrics(labels, logits, NAMES)
    assert found["per_class"]["mitochondrion"] == {
        "support": 1, "precision": None, "recall": 0.0, "f1": 0.0,
    }  # fmt: skip
    assert found["per_class"]["vacuole"] == {
        "support": 0, "precision": 0.0, "recall": None, "f1": None,
    }  # fmt: skip
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 0 + 2 / 3) / 3)
    assert (found["majority_class"], found["majority_accuracy"]) == ("nucleus", 0.5)
    assert found["notes"] == {
        "recall, f1, average_precision": "No crop is of: vacuole.",
        "precision": "No crop is said to be of: mitochondrion.",
    }
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_majority_baseline_is_the_best_constant_answer() -> None:
    labels, logits = some_logits(3)
    found = classification_metrics(labels, logits, NAMES)
    constants = [(labels == i).mean() for i in range(4)]
    assert found["majority_accuracy"] == pytest.approx(max(constants))
    assert found["majority_class"] == NAMES[int(np.argmax(constants))]


def test_large_logits_neither_overflow_nor_lose_the_loss() -> None:
    logits = np.array([[3e4, 0, 0, 0], [0, -3e4, 0, 0]], np.float32)
    found = classification_metrics(np.array([0, 1]), logits, NAMES)
    assert found["loss"] == pytest.approx((0 + 3e4 + math.log(3)) / 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_no_crops_and_broken_logits_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="Received: 0 crops"):
        classification_metrics(np.zeros(0, np.int64), np.zeros((0, 4), np.float32), NAMES)
    labels, logits = some_logits(0)
    logits[3, 1] = bad
    with pytest.raises(ValueError, match="1 logits not finite"):
        classification_metrics(labels, logits, NAMES)


def test_confidences_of_0_and_a_little_above_1_are_in_the_outer_bins() -> None:
    confidence = np.array([0.0, 0.05, 0.1, 0.95, 1.0, 1.0 + 1e-7])
    table = reliability(confidence, np.array([True, False, False, True, True, False]), num_bins=10)
    assert table["num_crops"].tolist() == [3, 0, 0, 0, 0, 0, 0, 0, 0, 3]
    assert table["accuracy"][9] == pytest.approx(2 / 3)
    assert table["confidence"][0] == pytest.approx(0.05)
    assert len(table) == 10
