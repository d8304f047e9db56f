"""Trust in calls, calibrated by field: a temperature, sets of labels, and the confusion.

Cells of one field are alike: they share focus, light and neighbors. A calibration over cells would
promise too much of a field that nobody has seen, so fields are left out in turn here. `fit` stores
the outcome beside the model, and `describe` of an exported model has it among `training`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from tfrecords.errors import RecordsError
from tfrecords.publishing import json_digest, publish_json

CALIBRATION_NAME = "calibration.json"
NOMINAL = 0.9
"""Share of the cells of an unseen field whose set shall hold the label."""
SCHEMA_VERSION = 1
_MOST_FOLDS = 20  # fields are left out one by one, or in so many groups of neighbors
_MOST_NUMBERS = 200_000  # of all confusion matrices
_MOST_CELLS = 20_000  # for the temperature, which is one number
_TEMPERATURES = math.log(0.05), math.log(20)
_SOME = 5  # names in a sentence

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What held-out fields say of a classifier with one label a cell.

    Attributes:
        class_names: in the order of the logits.
        test_time: views that were averaged; with others nothing of this holds.
        temperature: what logits are divided by for calibrated probabilities.
        thresholds: the calibrated probability from which on each class is in a cell's set.
        units: columns that together name a field.
        num_units: fields, of all held-out cells.
        num_crops: held-out cells.
        left_out: `mean_coverage` and `lowest_coverage` of fields that were left out in turn,
            `mean_size` of their sets, and `loss` of their cells `with_temperature` and without;
            empty where there are less than two.
        counts: int64 `(num_groups, num_classes)`: cells by group of fields and label.
        sums: float64 `(num_groups, num_classes, num_classes)`: of the probabilities of these cells,
            label by label, as the model gives them, without temperature.
        notes: sentences about what could not be had.
    """

    class_names: tuple[str, ...]
    test_time: str
    temperature: float
    thresholds: tuple[float, ...]
    units: tuple[str, ...]
    num_units: int
    num_crops: int
    left_out: Mapping[str, float]
    counts: NDArray[np.int64]
    sums: Floats
    notes: tuple[str, ...] = ()

    def probabilities(self, logits: NDArray[np.floating]) -> Floats:
        """Calibrated probabilities `(num_cells, num_classes)` of logits, or of log probabilities.

        The class with the highest one is that of the logits.
        """
        calibrated: Floats = softmax(logits.astype(np.float64) / self.temperature, axis=1)
        return calibrated

    def label_sets(self, logits: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which classes are in each cell's set, `(num_cells, num_classes)`; its call always is."""
        sets: NDArray[np.bool_] = self.probabilities(logits) >= np.asarray(self.thresholds)
        return sets | _called(logits)

    def in_words(self, sets: NDArray[np.bool_]) -> list[str]:
        """The names in each set, divided by ``|``."""
        names = np.asarray(self.class_names, object)
        return ["|".join(names[row]) for row in sets]

    def describe(self) -> str:
        """A sentence about what was found."""
        text = f"Calibrated on {self.num_crops} cells: temperature {self.temperature:.2f}."
        if self.left_out:
            text = (
                f"Calibrated on {self.num_units} fields ({', '.join(self.units)}): temperature "
                f"{self.temperature:.2f}; sets of {NOMINAL:.2f} cover "
                f"{self.left_out['mean_coverage']:.2f} of a field that was left out, "
                f"{self.left_out['lowest_coverage']:.2f} of the worst, with "
                f"{self.left_out['mean_size']:.2f} labels each."
            )
        return " ".join([text, *self.notes])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with their digest."""
        values = {
            "schema_version": SCHEMA_VERSION,
            "nominal": NOMINAL,
            **dataclasses.asdict(self),
            "counts": self.counts.tolist(),
            "sums": np.round(self.sums, 6).tolist(),
        }
        values |= {name: list(values[name]) for name in _TUPLES}
        return {**values, "digest": json_digest(values)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Calibration:
        """What `to_json` was made of.

        Raises:
            KeyError, TypeError, ValueError: it is not that.
        """
        if values["digest"] != json_digest(values):
            msg = "another digest than that of its content"
            raise ValueError(msg)
        found = {field.name: values[field.name] for field in dataclasses.fields(cls)}
        found |= {name: tuple(values[name]) for name in _TUPLES}
        size = len(found["class_names"])
        found["counts"] = np.asarray(values["counts"], np.int64).reshape(-1, size)
        found["sums"] = np.asarray(values["sums"], np.float64).reshape(-1, size, size)
        return cls(**found)

    def write(self, run: Path) -> None:
        """Publish `calibration.json` of a run."""
        publish_json(run / CALIBRATION_NAME, self.to_json())


_TUPLES = ("class_names", "thresholds", "units", "notes")


def read_calibration(run: str | Path) -> Calibration | None:
    """The calibration of a run; None where `fit` found no held-out cells, or was of before.

    Raises:
        RecordsError: the file is not what `fit` wrote.
    """
    path = Path(run) / CALIBRATION_NAME
    if not path.exists():
        return None
    try:
        return Calibration.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError) as error:
        msg = (
            f"{CALIBRATION_NAME} must be what fit wrote. Received: {str(path)!r} with {error}. "
            "Restore it, or remove it: calls are then without sets of labels."
        )
        raise RecordsError(msg) from error


def calibrate(
    labels: NDArray[np.int64],
    logits: NDArray[np.floating],
    units: Sequence[str],
    class_names: Sequence[str],
    *,
    columns: Sequence[str] = (),
    test_time: str = "none",
) -> Calibration:
    """Calibrate on cells of held-out fields.

    - **Temperature** (Guo et al. 2017): the one with the least loss, each field weighing the same.
      It stays 1 where, field by field, that of the others does not lower the loss of the one left
      out.
    - **Thresholds** (class-conditional, or Mondrian, conformal prediction): of the n cells of a
      class, the `floor(0.1 (n + 1))`-th lowest calibrated probability of their label; 0 of a class
      with fewer than nine, which is then in every set.
    - **Margin between fields**: each field is left out in turn, and how far the others' thresholds,
      as logarithms, must fall for nine tenths of its cells to be covered is its margin. All
      thresholds fall by the `ceil(0.9 (n + 1))`-th of the n margins, the largest of fewer than
      nine.

    Args:
        labels: int64 `(num_cells,)`, class indices.
        logits: `(num_cells, num_classes)`.
        units: the name of each cell's field, "" where nobody knows.
        class_names: in the order of the logits.
        columns: that name a field.
        test_time: views that were averaged.

    Raises:
        ValueError: there is no cell, or a logit is not finite.
    """
    if not len(labels) or not np.isfinite(logits).all():
        msg = (
            "Calibration needs a cell and finite logits. Received: "
            f"{len(labels)} cells, {int((~np.isfinite(logits)).sum())} logits not finite."
        )
        raise ValueError(msg)
    scores, notes = logits.astype(np.float64), []
    names = sorted(set(units) - {""})
    place = {name: number for number, name in enumerate(names)}
    number = np.array([place.get(unit, -1) for unit in units], np.int64)
    if len(names) < 2:
        what = f"one field ({names[0]})" if names else "no columns that name their field"
        notes.append(
            f"The held-out cells have {what}: this is calibrated over cells, and promises nothing "
            "of another field. Hold out two fields or more (build-records --group field)."
        )
        folds = np.arange(len(labels)) % min(_MOST_FOLDS, len(labels))
    else:
        folds = np.where(number < 0, -1, number * min(_MOST_FOLDS, len(names)) // len(names))
    weights = _weights(number)
    some = slice(None, None, -(-len(labels) // _MOST_CELLS))
    temperature, losses = _temperature(scores[some], labels[some], weights[some], folds[some])
    logs = log_softmax(scores / temperature, axis=1)
    thresholds = _thresholds(logs, labels)
    left_out: dict[str, float] = {}
    if len(names) > 1:
        margin, left_out = _between_fields(logs, labels, number, folds)
        thresholds = thresholds - margin
        left_out = {**left_out, "loss": losses[0], "loss_with_temperature": losses[1]}
    present = np.bincount(labels, minlength=len(class_names))
    for few, what in (
        (present == 0, "no held-out cell: {} in every set, and no calls are corrected for {}."),
        ((present > 0) & np.isneginf(thresholds), "too few held-out cells: {} in every set."),
    ):
        lacking = [name for name, is_so in zip(class_names, few, strict=True) if is_so]
        if lacking:
            more = f" and {len(lacking) - _SOME} more" if len(lacking) > _SOME else ""
            one = len(lacking) == 1
            is_or_are = "it is" if one else "they are"
            said = what.format(is_or_are, "it" if one else "them")
            listed = ", ".join(lacking[:_SOME]) + more
            notes.append(f"{listed} {'has' if one else 'have'} {said}")
    groups = np.maximum(number, 0)
    most = max(2, min(_MOST_FOLDS, _MOST_NUMBERS // len(class_names) ** 2))
    if len(names) > most:
        groups = groups * most // len(names)
    counts, sums = _confusion(softmax(scores, axis=1), labels, groups)
    return Calibration(
        tuple(class_names),
        test_time,
        temperature,
        tuple(np.exp(thresholds).tolist()),
        tuple(columns),
        len(names),
        len(labels),
        left_out,
        counts,
        sums,
        tuple(notes),
    )


def _called(logits: NDArray[np.floating]) -> NDArray[np.bool_]:
    called: NDArray[np.bool_] = np.arange(logits.shape[1]) == logits.argmax(axis=1)[:, np.newaxis]
    return called


def _weights(number: NDArray[np.int64]) -> Floats:
    """Of each cell, so that fields weigh the same; cells of no known field as those of the mean."""
    known = number[number >= 0]
    if not len(known):
        return np.full(len(number), 1 / len(number))
    size = np.bincount(known)
    weights = np.where(number >= 0, 1 / size[number], 1 / size.mean())
    return np.asarray(weights / weights.sum(), np.float64)


def _temperature(
    scores: Floats, labels: NDArray[np.int64], weights: Floats, folds: NDArray[np.int64]
) -> tuple[float, tuple[float, float]]:
    """The temperature, and the loss of what was left out, with 1 and with that of the rest."""

    def losses(temperature: float, rows: NDArray[np.bool_]) -> float:
        logs = log_softmax(scores[rows] / temperature, axis=1)
        of_label = logs[np.arange(len(logs)), labels[rows]]
        return float(-(of_label * weights[rows]).sum())

    def best(rows: NDArray[np.bool_]) -> float:
        found = minimize_scalar(
            lambda log: losses(math.exp(log), rows), bounds=_TEMPERATURES, method="bounded"
        )
        return math.exp(float(found.x))

    left_out = [folds == fold for fold in np.unique(folds[folds >= 0])]
    if len(left_out) < 2:
        return 1.0, (math.nan, math.nan)
    before = sum(losses(1.0, rows) for rows in left_out)
    after = sum(losses(best(~rows), rows) for rows in left_out)
    share = sum(float(weights[rows].sum()) for rows in left_out)
    everything = np.ones(len(labels), np.bool_)
    return (best(everything) if after < before else 1.0), (before / share, after / share)


def _thresholds(logs: Floats, labels: NDArray[np.int64]) -> Floats:
    """Of each class, as a logarithm; -inf where too few cells are of it."""
    found = np.full(logs.shape[1], -np.inf)
    of_label = logs[np.arange(len(labels)), labels]
    for label in np.unique(labels):
        mine = of_label[labels == label]
        place = math.floor((1 - NOMINAL) * (len(mine) + 1) + 1e-9)
        if place:
            found[label] = np.partition(mine, place - 1)[place - 1]
    return found


def _between_fields(
    logs: Floats, labels: NDArray[np.int64], number: NDArray[np.int64], folds: NDArray[np.int64]
) -> tuple[float, dict[str, float]]:
    """How far thresholds must fall for unseen fields, and how such sets do on fields left out."""
    of_label = logs[np.arange(len(labels)), labels]
    right = logs.argmax(axis=1) == labels  # the call is in its set anyway
    without = np.full((len(labels), logs.shape[1]), -np.inf)  # thresholds of the other fields
    for fold in np.unique(folds[folds >= 0]):
        rows = folds == fold
        without[rows] = _thresholds(logs[~rows], labels[~rows])
    lacking = np.where(right, -np.inf, without[np.arange(len(labels)), labels] - of_label)
    order = np.argsort(number, kind="stable")
    units = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
    units = [rows for rows in units if number[rows[0]] >= 0]
    margins = np.zeros(len(units))
    for place, rows in enumerate(units):
        mine = np.sort(lacking[rows])[::-1]
        allowed = math.ceil((1 - NOMINAL) * len(mine) - 1e-9)
        if allowed < len(mine):
            margins[place] = max(0.0, mine[allowed])
    coverage, sizes = [], []
    for place, rows in enumerate(units):
        margin = _upper(np.delete(margins, place))
        coverage.append(float((lacking[rows] <= margin).mean()))
        sets = (logs[rows] >= without[rows] - margin) | _called(logs[rows])
        sizes.append(float(sets.sum(axis=1).mean()))
    found = {"mean_coverage": coverage, "lowest_coverage": [min(coverage)], "mean_size": sizes}
    return _upper(margins), {name: float(np.mean(values)) for name, values in found.items()}


def _upper(margins: Floats) -> float:
    """What a further field stays below in nine cases of ten, or of few fields the largest."""
    place = min(math.ceil(NOMINAL * (len(margins) + 1) - 1e-9), len(margins))
    return float(np.sort(margins)[place - 1])


def _confusion(
    probabilities: Floats, labels: NDArray[np.int64], groups: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Floats]:
    """Cells, and sums of their probabilities, by group and label."""
    size = probabilities.shape[1]
    cells = groups * size + labels
    total = (int(groups.max()) + 1) * size
    counts = np.bincount(cells, minlength=total).reshape(-1, size)
    sums = np.stack([np.bincount(cells, of_class, total) for of_class in probabilities.T], axis=1)
    return counts.astype(np.int64), sums.reshape(-1, size, size).astype(np.float64)
