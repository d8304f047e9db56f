"""Calibration by field: temperature, sets of labels and confusion of held-out cells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from deeploc_tf.models.calibration import (
    CALIBRATION_NAME,
    Calibration,
    calibrate,
    read_calibration,
)
from tfrecords.errors import RecordsError

CLASSES = ["cytoplasm", "µ-body", "nucleus", "a|b"]


class Classifier:
    """Logits of cells in a plane, twice too sure, that move with their field."""

    def __init__(self, seed: int, *, drift: float, sharpness: float = 2.0) -> None:
        self.random = np.random.default_rng(seed)
        self.drift, self.sharpness = drift, sharpness
        self.prior = np.array([0.55, 0.25, 0.15, 0.05])
        self.middles = np.array([[0, 0], [2, 0], [0, 2], [2.5, 2.5]])

    def field(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        labels = self.random.choice(4, number, p=self.prior)
        shift = self.drift * self.random.normal(size=2)
        places = self.middles[labels] + self.random.normal(size=(number, 2)) + shift
        logits = places @ self.middles.T - (self.middles**2).sum(axis=1) / 2
        return labels, self.sharpness * (logits + np.log(self.prior))

    def calibration(self, fields: int, cells: int) -> Calibration:
        found = [self.field(cells) for _ in range(fields)]
        units = [f"A01/{field:03}" for field in range(fields) for _ in range(cells)]
        labels, logits = map(np.concatenate, zip(*found, strict=True))
        return calibrate(labels, logits, units, CLASSES, columns=("well", "field"))


@pytest.mark.parametrize("sharpness", [0.5, 2.0, 4.0])
def test_the_temperature_undoes_what_the_model_is_too_sure(sharpness: float) -> None:
    classifier = Classifier(0, drift=0, sharpness=sharpness)
    found = classifier.calibration(8, 500)
    assert found.temperature == pytest.approx(sharpness, rel=0.08)
    labels, logits = classifier.field(4000)

    def loss(logs: np.ndarray) -> float:
        return float(-logs[np.arange(len(labels)), labels].mean())

    assert loss(np.log(found.probabilities(logits))) < loss(log_softmax(logits, axis=1)) - 0.02
    assert found.left_out["loss_with_temperature"] < found.left_out["loss"] - 0.02


def test_a_temperature_that_does_not_help_fields_left_out_is_1() -> None:
    labels = np.array([0, 1] * 10)  # one field is always right and one always wrong
    logits = np.where(np.arange(20)[:, None] < 10, 1.0, -1.0) * (2 * np.eye(2)[labels] - 1)
    found = calibrate(labels, logits, ["a"] * 10 + ["b"] * 10, ["x", "y"])
    assert found.temperature == 1
    assert found.left_out["loss_with_temperature"] > found.left_out["loss"]


@pytest.mark.parametrize(("fields", "cells"), [(3, 200), (8, 80), (60, 20)])
def test_sets_cover_fields_that_nobody_has_seen_where_cells_would_not_do(
    fields: int, cells: int
) -> None:
    coverage: dict[str, list[float]] = {"fields": [], "cells": []}
    for seed in range(12):
        classifier = Classifier(seed, drift=0.4)
        found = classifier.calibration(fields, cells)
        by_cells = naive_thresholds(classifier, found, fields * cells)
        for _ in range(10):
            labels, logits = classifier.field(200)
            sets = found.label_sets(logits)
            assert sets[np.arange(200), logits.argmax(axis=1)].all()  # never without the call
            assert 1 <= sets.sum(axis=1).mean() < 3
            coverage["fields"].append(sets[np.arange(200), labels].mean())
            held = found.probabilities(logits)[np.arange(200), labels] >= by_cells[labels]
            coverage["cells"].append(held.mean())
    short = {name: np.mean(np.array(values) < 0.85) for name, values in coverage.items()}
    assert np.mean(coverage["fields"]) >= 0.9
    assert short["fields"] < 0.08
    assert short["cells"] > 2 * short["fields"]


def test_thresholds_are_those_of_naive_loops_over_fields() -> None:
    classifier = Classifier(4, drift=0.8)
    labels, logits = map(np.concatenate, zip(*(classifier.field(40) for _ in "123"), strict=True))
    units = [f"B0{1 + number // 40}" for number in range(120)]
    found = calibrate(labels, logits, units, CLASSES)
    logs = np.log(found.probabilities(logits))
    cells = [(units[i], labels[i], logs[i, labels[i]], logs[i]) for i in range(120)]

    def of_class(label: int, without: str) -> float:
        values = sorted(log for unit, of, log, _ in cells if of == label and unit != without)
        place = int(0.1 * (len(values) + 1) + 1e-9)  # floor
        return values[place - 1] if place else -np.inf

    margins = []
    for field in sorted(set(units)):
        lacking = [
            -np.inf if row.argmax() == label else of_class(label, field) - log
            for unit, label, log, row in cells
            if unit == field
        ]
        margins.append(max(0, sorted(lacking)[-5]))  # four of forty may be missed
    assert max(margins) > 0.3
    expected = [np.exp(of_class(label, "") - max(margins)) for label in range(4)]
    np.testing.assert_allclose(found.thresholds, expected, rtol=1e-9)


def naive_thresholds(classifier: Classifier, found: Calibration, number: int) -> np.ndarray:
    """What ten per cent of the cells of each class lie below, fields or not."""
    fields = [classifier.field(50) for _ in range(number // 50)]
    labels, logits = map(np.concatenate, zip(*fields, strict=True))
    of_label = found.probabilities(logits)[np.arange(len(labels)), labels]
    return np.array([np.quantile(of_label[labels == label], 0.1) for label in range(4)])


def test_each_class_is_covered_and_not_only_the_large_ones() -> None:
    classifier = Classifier(3, drift=0)
    found = classifier.calibration(10, 300)
    labels, logits = classifier.field(20_000)
    sets = found.label_sets(logits)
    for label in range(4):
        assert sets[labels == label, label].mean() > 0.85


def test_coverage_of_fields_left_out_tells_that_of_new_ones() -> None:
    told, true = [], []
    for seed in range(20):
        classifier = Classifier(seed, drift=0.4)
        found = classifier.calibration(6, 150)
        told.append(found.left_out["mean_coverage"])
        assert found.left_out["lowest_coverage"] <= told[-1]
        for _ in range(5):
            labels, logits = classifier.field(150)
            true.append(found.label_sets(logits)[np.arange(150), labels].mean())
    assert np.mean(told) == pytest.approx(np.mean(true), abs=0.02)


def test_confusion_is_the_sum_of_probabilities_by_label_whatever_the_temperature() -> None:
    classifier = Classifier(1, drift=0.2)
    labels, logits = classifier.field(300)
    units = [str(number // 3) for number in range(300)]  # 100 fields in 20 groups
    found = calibrate(labels, logits, units, CLASSES)
    assert found.counts.shape == (20, 4)
    assert found.sums.shape == (20, 4, 4)
    for label in range(4):
        mine = softmax(logits[labels == label], axis=1)
        assert found.counts[:, label].sum() == len(mine)
        np.testing.assert_allclose(found.sums[:, label].sum(axis=0), mine.sum(axis=0))


@pytest.mark.parametrize(
    ("units", "sentence"),
    [(["B02/1"] * 60, "have one field (B02/1)"), ([""] * 60, "no columns that name their field")],
)
def test_one_field_or_none_is_said_and_promises_nothing(units: list[str], sentence: str) -> None:
    labels, logits = Classifier(0, drift=0).field(60)
    found = calibrate(labels, logits, units, CLASSES)
    assert sentence in found.notes[0]
    assert "promises nothing of another field" in found.describe()
    assert not found.left_out
    assert found.label_sets(logits)[np.arange(60), labels].mean() >= 0.9


def test_classes_with_few_held_out_cells_are_in_every_set_and_named() -> None:
    labels = np.repeat([0, 1], [30, 8])
    logits = 5 * np.eye(3)[labels]
    found = calibrate(labels, logits, ["a", "b"] * 19, ["x", "y", "z"])
    assert found.thresholds[1:] == (0, 0)
    assert found.thresholds[0] > 0
    assert any("y has too few held-out cells: it is in every set." in n for n in found.notes)
    assert any(n.startswith("z has no held-out cell: it is in every set") for n in found.notes)
    assert found.label_sets(logits)[:, 1:].all()
    assert found.in_words(found.label_sets(logits))[0] == "x|y|z"


@pytest.mark.parametrize(
    ("labels", "logits"), [([], np.zeros((0, 2))), ([0, 1], np.array([[0, 1], [np.nan, 0]]))]
)
def test_nothing_to_calibrate_on_is_refused(labels: list[int], logits: np.ndarray) -> None:
    with pytest.raises(ValueError, match="a cell and finite logits"):
        calibrate(np.array(labels, int), logits, ["a"] * len(labels), ["x", "y"])


def test_logits_of_any_size_give_numbers() -> None:
    labels = np.array([0, 1] * 30)
    for scale in (0, 1e-30, 1e4):
        logits = np.float32(scale) * np.eye(2, dtype=np.float32)[labels]
        found = calibrate(labels, logits, ["a", "b", "c"] * 20, ["x", "y"])
        json.dumps(found.to_json(), allow_nan=False)
        assert np.isfinite(found.probabilities(logits)).all()


def test_a_run_keeps_it_as_plain_json_that_is_whole_or_refused(tmp_path: Path) -> None:
    assert read_calibration(tmp_path) is None
    found = Classifier(0, drift=0.3).calibration(5, 40)
    found.write(tmp_path)
    read = read_calibration(tmp_path)
    assert read is not None
    _, logits = Classifier(9, drift=0).field(50)
    np.testing.assert_array_equal(read.label_sets(logits), found.label_sets(logits))
    np.testing.assert_allclose(read.sums, found.sums, atol=1e-6)
    assert read.describe() == found.describe()
    path = tmp_path / CALIBRATION_NAME
    values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    spoilt = [
        json.dumps(values | {"temperature": 3.0}),
        json.dumps({"temperature": 1.0}),
        path.read_text("utf-8")[:100],
        "[]",
    ]
    for text in spoilt:
        path.write_text(text, "utf-8")
        with pytest.raises(RecordsError, match="must be what fit wrote"):
            read_calibration(tmp_path)
