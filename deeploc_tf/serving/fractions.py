"""How the cells of a well or protein are spread over the compartments, corrected for confusion.

A classifier that takes a fifth of the cells of one class for another counts them there. How it does
that is known from held-out cells with labels (`deeploc_tf.models.calibration`), class by class, so
that neither their mix nor the weights of a training matter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import t as student

from deeploc_tf.models.calibration import Calibration

CONFIDENCE = 0.95
_SUM = 1e3  # weight of "fractions sum to 1" among the least squares
_MOST_CONDITION = 1e6  # of a confusion matrix whose classes can be told apart

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Fractions:
    """Corrected fractions of groups of cells.

    Attributes:
        fractions: `(num_groups, num_classes)`, none negative, with a sum of 1.
        lower: of the 95 % intervals; NaN of groups of one unit.
        upper: of the same.
    """

    fractions: Floats
    lower: Floats
    upper: Floats


def corrected_fractions(
    sums: Floats, counts: NDArray[np.int64], groups: NDArray[np.int64], calibration: Calibration
) -> Fractions:
    """Fractions of groups whose cells lie in several units: fields, or wells.

    The mean probabilities of a group are those of its classes, as held-out cells have them, mixed
    by the fractions sought: those that fit best by least squares, of all that are no less than 0
    and sum to 1 (adjusted counting by probabilities, Bella et al. 2010). Such an estimate is biased
    only where 0 binds it.

    Intervals come from the scatter between units, and of the held-out ones between fields, to
    first order, with Student's t; cells are not taken for independent, but no interval is shorter
    than if they were.

    Args:
        sums: `(num_units, num_classes)`: of the model's probabilities over the cells of a unit.
        counts: int64 `(num_units,)`: its cells, one or more.
        groups: int64 `(num_units,)`: the group of each unit, from 0 without a gap.
        calibration: of the model.

    References:
        Bella et al. 2010, Quantification via Probability Estimators, ICDM,
        doi 10.1109/ICDM.2010.75.
    """
    confusion, known = _confusion(calibration)
    size, num_groups = len(confusion), int(groups.max()) + 1
    cells = np.bincount(groups, counts, num_groups)
    total = np.stack([np.bincount(groups, column, num_groups) for column in sums.T], axis=1)
    means = total / cells[:, np.newaxis]
    fractions = _least_squares(means, confusion)
    num_units = np.bincount(groups, minlength=num_groups)
    if np.linalg.cond(confusion) > _MOST_CONDITION or calibration.num_units < 2:
        nothing = np.full_like(fractions, np.nan)
        return Fractions(fractions, nothing, nothing)
    inverse: Floats = np.linalg.inv(confusion).astype(np.float64)
    free = means @ inverse  # the same without the bounds, and without their bias
    # Of this well or protein: how its units differ from their mean.
    residuals = (sums - counts[:, np.newaxis] * means[groups]) / cells[groups, np.newaxis] @ inverse
    squares = np.stack([np.bincount(groups, c, num_groups) for c in (residuals**2).T], axis=1)
    freedom = np.maximum(num_units - 1, 1)[:, np.newaxis]
    of_units = squares * (freedom + 1) / freedom
    # Of the calibration: how its fields differ from their mean, class by class.
    of_class = np.maximum(calibration.counts.sum(axis=0), 1)
    far = calibration.sums - calibration.counts[:, :, np.newaxis] * confusion
    influence = far * known[:, np.newaxis] / of_class[:, np.newaxis] @ inverse
    fields = len(influence)
    of_fields = ((fractions @ influence) ** 2).sum(axis=0) * fields / (fields - 1)
    variance = of_units + of_fields
    freedom = np.where(
        variance > 0,
        variance**2
        / np.maximum(of_units**2 / freedom + of_fields**2 / (fields - 1), np.finfo(float).tiny),
        1e6,
    )
    half = student.ppf((1 + CONFIDENCE) / 2, np.maximum(freedom, 1)) * np.sqrt(variance)
    # As if cells were independent; one more is thought of, spread evenly, so that 0 is never sure.
    with_one = (total + 1 / size) / (cells + 1)[:, np.newaxis]
    least = _variance(with_one, inverse) / cells[:, np.newaxis]
    of_cells = known[:, np.newaxis] * _variance(confusion, inverse) / of_class[:, np.newaxis]
    least = least + fractions**2 @ of_cells
    half = np.maximum(half, student.ppf((1 + CONFIDENCE) / 2, 1e6) * np.sqrt(least))
    lower = np.minimum(np.clip(free - half, 0, 1), fractions)
    upper = np.maximum(np.clip(free + half, 0, 1), fractions)
    alone = (num_units < 2)[:, np.newaxis]
    return Fractions(fractions, np.where(alone, np.nan, lower), np.where(alone, np.nan, upper))


def _confusion(calibration: Calibration) -> tuple[Floats, Floats]:
    """Mean probabilities by label, and 1 for each class that held-out cells have; others: as is."""
    counts = calibration.counts.sum(axis=0)
    known = (counts > 0).astype(np.float64)
    means = calibration.sums.sum(axis=0) / np.maximum(counts, 1)[:, np.newaxis]
    return np.where(counts[:, np.newaxis] > 0, means, np.eye(len(counts))), known


def _least_squares(means: Floats, confusion: Floats) -> Floats:
    system = np.vstack([confusion.T, np.full(len(confusion), _SUM)])
    found = np.stack([nnls(system, np.append(mean, _SUM))[0] for mean in means])
    return np.asarray(found / found.sum(axis=1, keepdims=True), np.float64)


def _variance(probabilities: Floats, inverse: Floats) -> Floats:
    """Of one cell's corrected call, if it is called class k with probability k."""
    return np.maximum(probabilities @ inverse**2 - (probabilities @ inverse) ** 2, 0)


class Units:
    """Sums of probabilities by group and unit, kept while cells stream by.

    Args:
        columns: what names a group, such as plate and well, or the protein.
        fields: what names a field.
        wells: what names a well, where wells may be the units; or nothing.
    """

    def __init__(
        self, columns: Sequence[str], fields: Sequence[str], wells: Sequence[str] = ()
    ) -> None:
        self._columns, self._fields, self._wells = list(columns), list(fields), list(wells)
        self._sums: dict[tuple[tuple[str, ...], ...], tuple[int, Floats]] = {}

    def add(self, cells: pd.DataFrame, probabilities: NDArray[np.floating]) -> None:
        """Count some cells; those without a name in the last column of their group are left out."""
        parts = (self._columns, self._wells, self._fields)
        flat = [name for part in parts for name in part]
        values = cells[list(dict.fromkeys(flat))].astype(str)
        codes, keys = pd.MultiIndex.from_arrays([values[name] for name in flat]).factorize()
        first, second = len(self._columns), len(self._columns) + len(self._wells)
        for code, key in enumerate(keys):
            name = tuple(key[:first]), tuple(key[first:second]), tuple(key[second:])
            if not name[0][-1]:
                continue
            mine = probabilities[codes == code]
            count, sums = self._sums.get(name, (0, np.zeros(probabilities.shape[1])))
            self._sums[name] = count + len(mine), sums + mine.sum(axis=0, dtype=np.float64)

    def table(self, calibration: Calibration) -> pd.DataFrame:
        """One row a group: columns of the group, then what is known of its corrected fractions.

        `corrected_fraction_<class>`, `lower_fraction_<class>` and `upper_fraction_<class>`, the
        95 % interval, NaN without two units; `interval_over` says what the units are: wells, where
        a group has three or more, else fields.
        """
        names = sorted({group for group, _, _ in self._sums})
        wells: dict[tuple[str, ...], set[tuple[str, ...]]] = {name: set() for name in names}
        for group, well, _ in self._sums:
            if all(well) and well:
                wells[group].add(well)
        units: dict[tuple[int, tuple[str, ...]], tuple[int, Floats]] = {}
        place = {name: number for number, name in enumerate(names)}
        for (group, well, field), (count, sums) in self._sums.items():
            unit = well if len(wells[group]) >= _LEAST_WELLS else (*well, *field)
            before = units.get((place[group], unit), (0, np.zeros_like(sums)))
            units[place[group], unit] = before[0] + count, before[1] + sums
        titles = [
            f"{what}_fraction_{name}"
            for what in ("corrected", "lower", "upper")
            for name in calibration.class_names
        ]
        if not names:
            return pd.DataFrame(columns=[*self._columns, *titles, "interval_over"])
        groups = np.array([group for group, _ in units], np.int64)
        found = corrected_fractions(
            np.stack([sums for _, sums in units.values()]),
            np.array([count for count, _ in units.values()], np.int64),
            groups,
            calibration,
        )
        numbers = np.concatenate([found.fractions, found.lower, found.upper], axis=1)
        table = pd.DataFrame(numbers, columns=titles)
        table["interval_over"] = [
            ""
            if np.isnan(found.lower[row]).any()
            else f"{count} {'wells' if len(wells[names[row]]) >= _LEAST_WELLS else 'fields'}"
            for row, count in enumerate(np.bincount(groups, minlength=len(names)))
        ]
        return pd.concat([pd.DataFrame(names, columns=self._columns), table], axis=1)


_LEAST_WELLS = 3
