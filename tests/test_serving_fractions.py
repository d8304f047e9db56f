"""Fractions of compartments, corrected for confusion: bias, intervals and their units."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from scipy.stats import t as student

from deeploc_tf.models.calibration import Calibration, calibrate
from deeploc_tf.serving.fractions import Units, corrected_fractions

CLASSES = ["cytoplasm", "nucleus", "vacuole"]
MIDDLES = np.array([[0, 0], [3.3, 0], [0, 3.9]])
WEIGHTS = np.log([0.2, 0.5, 0.3])  # as a training with class weights may say


class World:
    """Cells of three classes of which a model takes some for others, by field more or less."""

    def __init__(self, seed: int, drift: float = 0.2) -> None:
        self.random, self.drift = np.random.default_rng(seed), drift

    def probabilities(self, labels: np.ndarray) -> np.ndarray:
        """Of the cells of one field."""
        shift = self.drift * self.random.normal(size=2)
        places = MIDDLES[labels] + self.random.normal(size=(len(labels), 2)) + shift
        return softmax(places @ MIDDLES.T - (MIDDLES**2).sum(axis=1) / 2 + WEIGHTS, axis=1)

    def calibration(self, fields: int = 8, cells: int = 150) -> Calibration:
        """On the natural mix of a screen."""
        labels = [self.random.choice(3, cells, p=[0.7, 0.2, 0.1]) for _ in range(fields)]
        logits = np.log(np.concatenate([self.probabilities(of) for of in labels]))
        units = [str(field) for field in range(fields) for _ in range(cells)]
        return calibrate(np.concatenate(labels), logits, units, CLASSES)

    def screen(self, mixtures: np.ndarray, fields: int, cells: int) -> tuple[np.ndarray, ...]:
        """Sums of probabilities, cells, proteins and calls of each field."""
        rows = [
            (row, self.probabilities(self.random.choice(3, cells, p=mixture)))
            for row, mixture in enumerate(mixtures)
            for _ in range(fields)
        ]
        called = [np.bincount(found.argmax(axis=1), minlength=3) for _, found in rows]
        return (
            np.stack([found.sum(axis=0) for _, found in rows]),
            np.full(len(rows), cells),
            np.array([row for row, _ in rows]),
            np.stack(called),
        )


def test_known_mixtures_come_out_without_bias_and_inside_their_intervals() -> None:
    mixtures = np.array([[0.5, 0.5, 0], [0.1, 0.6, 0.3], [0.3, 0, 0.7], [1, 0, 0], [0, 0.9, 0.1]])
    errors, raw, inside, widths = [], [], [], []
    for seed in range(60):
        world = World(seed)
        sums, counts, groups, called = world.screen(mixtures, fields=5, cells=40)
        found = corrected_fractions(sums, counts, groups, world.calibration())
        errors.append(found.fractions - mixtures)
        of_calls = np.stack([called[groups == row].sum(axis=0) for row in range(len(mixtures))])
        raw.append(of_calls / of_calls.sum(axis=1, keepdims=True) - mixtures)
        inside.append((found.lower <= mixtures + 1e-9) & (mixtures <= found.upper + 1e-9))
        widths.append(found.upper - found.lower)
    bias = np.abs(np.mean(errors, axis=0))
    assert bias.max() < 0.02
    assert np.abs(np.mean(raw, axis=0)).max() > 0.08  # calls alone
    covered = np.mean(inside, axis=0)
    assert covered.min() > 0.9
    assert np.mean(widths) < 0.25


def test_without_confusion_nothing_is_corrected() -> None:
    logits = 50 * np.eye(3)[np.arange(90) % 3]
    sure = calibrate(np.arange(90) % 3, logits, [str(i // 30) for i in range(90)], CLASSES)
    sums = np.array([[5.0, 3, 2], [1, 0, 0]])
    found = corrected_fractions(sums, np.array([10, 1]), np.array([0, 1]), sure)
    np.testing.assert_allclose(found.fractions, [[0.5, 0.3, 0.2], [1, 0, 0]], atol=1e-6)


def test_fractions_are_those_of_a_naive_search_over_the_simplex() -> None:
    world = World(5)
    calibration = world.calibration()
    sums, counts, groups, _ = world.screen(np.array([[0.05, 0.05, 0.9]]), fields=2, cells=30)
    found = corrected_fractions(sums, counts, groups, calibration)
    confusion = calibration.sums.sum(axis=0) / calibration.counts.sum(axis=0)[:, None]
    steps = np.linspace(0, 1, 201)
    grid = np.array([(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1 + 1e-9])
    distance = ((grid @ confusion - sums.sum(axis=0) / 60) ** 2).sum(axis=1)
    np.testing.assert_allclose(found.fractions[0], grid[distance.argmin()], atol=0.01)


def test_weights_of_the_training_do_not_matter() -> None:
    calls = {}
    for name, weights in (("balanced", np.log([1, 1, 1])), ("weighted", np.log([0.1, 0.3, 0.6]))):
        world = World(0, drift=0)
        labels = world.random.choice(3, 6000, p=[0.7, 0.2, 0.1])
        logits = np.log(world.probabilities(labels)) - WEIGHTS + weights
        units = [str(i // 600) for i in range(6000)]
        calibration = calibrate(labels, logits, units, CLASSES)
        cells = world.random.choice(3, 4000, p=[0.2, 0.5, 0.3])
        said = softmax(np.log(world.probabilities(cells)) - WEIGHTS + weights, axis=1)
        found = corrected_fractions(
            said.sum(axis=0)[None], np.array([4000]), np.array([0]), calibration
        )
        calls[name] = found.fractions[0]
    np.testing.assert_allclose(calls["balanced"], [0.2, 0.5, 0.3], atol=0.03)
    np.testing.assert_allclose(calls["weighted"], [0.2, 0.5, 0.3], atol=0.03)


def test_a_class_that_no_held_out_cell_has_is_believed() -> None:
    labels = np.array([0, 1] * 40)
    logits = np.log(0.05 + 0.85 * np.eye(3)[labels])
    calibration = calibrate(labels, logits, [str(i // 20) for i in range(80)], CLASSES)
    found = corrected_fractions(
        np.array([[0.0, 0, 10], [0, 0, 20]]), np.array([10, 20]), np.array([0, 0]), calibration
    )
    np.testing.assert_allclose(found.fractions, [[0, 0, 1]], atol=1e-6)
    assert np.isfinite(found.lower).all()


@pytest.mark.parametrize("kind", ["one field of the group", "one of the calibration", "blind"])
def test_where_scatter_is_unknown_there_is_no_interval(kind: str) -> None:
    world = World(1)
    calibration = world.calibration(1 if kind == "one of the calibration" else 4)
    if kind == "blind":  # two classes cannot be told apart
        labels = np.arange(90) % 3
        logits = np.eye(3)[np.minimum(labels, 1)]
        calibration = calibrate(labels, logits, [str(i // 30) for i in range(90)], CLASSES)
    groups = np.array([0] if kind == "one field of the group" else [0, 0])
    sums = np.array([[5.0, 3, 2], [6, 2, 2]])[: len(groups)]
    found = corrected_fractions(sums, np.full(len(groups), 10), groups, calibration)
    assert np.isnan(found.lower).all()
    assert np.isnan(found.upper).all()
    np.testing.assert_allclose(found.fractions.sum(), 1)
    assert (found.fractions >= 0).all()


def test_intervals_grow_with_what_fields_differ_and_never_sink_below_cells() -> None:
    calibration = World(2).calibration()
    counts, groups = np.full(4, 50), np.zeros(4, int)
    alike = np.tile([25.0, 20, 5], (4, 1))
    apart = np.array([[45.0, 0, 5], [5, 40, 5], [45, 0, 5], [5, 40, 5]])
    narrow, wide = (corrected_fractions(s, counts, groups, calibration) for s in (alike, apart))
    np.testing.assert_allclose(narrow.fractions, wide.fractions)
    assert ((wide.upper - wide.lower)[0, :2] > 2 * (narrow.upper - narrow.lower)[0, :2]).all()
    cells = 1.96 * np.sqrt(0.5 * 0.5 / 200)
    assert (narrow.upper - narrow.lower)[0, 0] > 2 * cells


def test_intervals_are_those_of_a_jackknife_with_students_t() -> None:
    """To first order: fields of the cells, and those of the calibration, are left out in turn."""
    calibration = World(7, drift=0.5).calibration(fields=6)
    sums = np.array([[30.0, 8, 2], [10, 28, 2], [24, 6, 10]])
    found = corrected_fractions(sums, np.full(3, 40), np.zeros(3, int), calibration)

    def free(means: np.ndarray, sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
        confusion = sums.sum(axis=0) / counts.sum(axis=0)[:, None]
        solved: np.ndarray = np.linalg.solve(confusion.T, means)
        return solved

    whole = calibration.sums, calibration.counts
    of_cells = np.array([free(np.delete(sums, i, 0).sum(0) / 80, *whole) for i in range(3)])
    of_fields = np.array(
        [
            free(sums.sum(0) / 120, *(np.delete(part, i, 0) for part in whole))
            for i in range(len(calibration.sums))
        ]
    )
    parts = [
        (len(values) - 1) * values.var(axis=0) for values in (of_cells, of_fields)
    ]  # of a jackknife
    variance = parts[0] + parts[1]
    freedom = variance**2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 5)
    half = student.ppf(0.975, freedom) * np.sqrt(variance)
    middle = free(sums.sum(0) / 120, *whole)
    np.testing.assert_allclose(found.lower[0], np.clip(middle - half, 0, 1), atol=0.03)
    np.testing.assert_allclose(found.upper[0], np.clip(middle + half, 0, 1), atol=0.03)
    steady = dataclasses.replace(calibration, sums=np.tile(whole[0].mean(0), (6, 1, 1)))
    steady = dataclasses.replace(steady, counts=np.tile(whole[1].mean(0), (6, 1)))
    calm = np.tile(sums.mean(0), (3, 1))  # no scatter but that of the calibration
    lengths = [
        np.ptp([of.lower[0], of.upper[0]], axis=0).max()
        for of in (
            corrected_fractions(100 * calm, np.full(3, 4000), np.zeros(3, int), fields)
            for fields in (steady, calibration)
        )
    ]
    assert lengths[1] > 1.5 * lengths[0]


def cells_of(rows: list[tuple[str, str, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["protein", "plate", "well", "field"])


def test_units_are_wells_where_there_are_three_else_fields_and_never_cells() -> None:
    rows = [("SEC61", "1", f"A0{well}", field) for well in (1, 2, 3) for field in "12"] * 4
    rows += [("ERG6", "1", "B01", field) for field in "1234"] * 4
    rows += [("ALONE", "1", "C01", "1")] * 8
    rows += [("", "1", "D01", "1")] * 3
    cells, calibration = cells_of(rows), World(0).calibration()
    probabilities = World(3).probabilities(np.zeros(len(cells), int))
    path = ("plate", "well", "field")
    units = Units(["protein"], path, wells=path[:2])
    for start in range(0, len(cells), 5):  # in batches that cut fields
        part = slice(start, start + 5)
        units.add(cells[part], probabilities[part])
    table = units.table(calibration).set_index("protein")
    assert table["interval_over"].to_dict() == {
        "ALONE": "",
        "ERG6": "4 fields",
        "SEC61": "3 wells",
    }
    assert (
        table.loc["ALONE", "lower_fraction_cytoplasm"]
        != table.loc["ALONE", "lower_fraction_cytoplasm"]
    )  # NaN
    for name, of in cells.groupby("protein"):
        if not name:
            continue
        names = ["well"] if name == "SEC61" else ["well", "field"]
        codes = of.groupby(names).ngroup().to_numpy()
        mine = probabilities[of.index]
        sums = np.stack([mine[codes == code].sum(axis=0) for code in range(codes.max() + 1)])
        groups = np.zeros(len(sums), int)
        expected = corrected_fractions(sums, np.bincount(codes), groups, calibration)
        for what, values in (
            ("corrected", expected.fractions),
            ("lower", expected.lower),
            ("upper", expected.upper),
        ):
            found = table.loc[name, [f"{what}_fraction_{c}" for c in CLASSES]]
            np.testing.assert_allclose(found.astype(float), values[0], atol=1e-9)


def test_fields_of_one_number_in_two_wells_are_two() -> None:
    cells = cells_of([("P", "1", "A01", "1"), ("P", "1", "A02", "1")] * 6)
    units = Units(["protein"], ("field",), wells=("plate", "well"))
    units.add(cells, World(0).probabilities(np.zeros(12, int)))
    assert units.table(World(0).calibration())["interval_over"].tolist() == ["2 fields"]


def test_without_cells_there_is_an_empty_table() -> None:
    units = Units(["plate", "well"], ())
    table = units.table(World(0).calibration())
    assert len(table) == 0
    assert "corrected_fraction_vacuole" in table
