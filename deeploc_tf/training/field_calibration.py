"""Calibration by field: on held-out fields after a training, and sets of labels in evaluation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deeploc_tf.models.calibration import NOMINAL, Calibration, calibrate
from deeploc_tf.pipeline.batches import batches
from deeploc_tf.training.evaluation import Evaluator
from deeploc_tf.training.predictions import Predictions
from deeploc_tf.training.summary import Summary
from deeploc_tf.units import kind_of_column, places_of, row_and_column, same_in_column
from tfrecords.manifest import Manifest

_log = logging.getLogger(__name__)

SPLIT = "validation"
LEAST_COVERAGE = 0.85
"""Of a field, below which it is counted as one whose sets hold too few labels."""


def calibrate_by_field(evaluator: Any, test_time: str) -> Calibration | None:
    """Calibrate a trained model on the validation split, which has just been measured.

    Args:
        evaluator: that measured it.
        test_time: views that were averaged.

    Returns:
        None, and a sentence is logged, where there is no split with one label a crop.
    """
    missing = ""
    if not isinstance(evaluator, Evaluator) or "label" not in evaluator.heads:
        missing = "the run tells no labels"
    elif evaluator.manifest.schema.multi_label:
        missing = "crops have several labels"
    elif SPLIT not in evaluator.predicted:
        missing = f"the records have no {SPLIT} split with crops of known labels"
    if missing:
        _log.info("Nothing is calibrated: %s.", missing)
        return None
    labels, logits = evaluator.predicted[SPLIT]["label"]
    columns, units = units_of(evaluator.records, evaluator.manifest, [SPLIT])
    found = calibrate(
        labels, logits, units, evaluator.heads["label"], columns=columns, test_time=test_time
    )
    _log.info("%s", found.describe())
    return found


def units_of(
    records: str | Path, manifest: Manifest, splits: Sequence[str]
) -> tuple[tuple[str, ...], list[str]]:
    """The columns that name a field, and the name of each crop's field, in manifest order.

    A field is a plate, well and field together, as far as there are such columns. Where none of
    them is a well, fields are taken to be numbered anew for each protein. Where no column is a
    place, those that the records were split by stand for the field. Names are "" where there are
    none of these either.
    """
    known = manifest.schema.metadata
    columns = tuple(manifest.units or places_of(known))
    if not columns:
        columns = tuple(name for name in manifest.group_by if name in {*known, "protein"})
    elif "well" not in map(kind_of_column, columns) and not row_and_column(columns):
        counts = (manifest.counts.get(split, {}).get("protein", {}) for split in splits)
        columns += ("protein",) * any(name for of_split in counts for name in of_split)
    if not columns:
        return (), [""] * sum(manifest.num_crops(split) for split in splits)
    features = [name if name == "protein" else f"meta/{name}" for name in columns]
    names: list[str] = []
    for split in splits:
        for batch in batches(records, split, batch_size=1024, features=features, manifest=manifest):
            values = [
                [same_in_column(name, _text(value)) for value in batch[feature].numpy().tolist()]
                for name, feature in zip(columns, features, strict=True)
            ]
            names += map("/".join, zip(*values, strict=True))
    return columns, names


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def with_label_sets(
    summary: Summary,
    found: Predictions,
    calibration: Calibration,
    units: Sequence[str],
    columns: Sequence[str],
) -> Summary:
    """A summary with each crop's set of labels, and how often the sets of each field hold it.

    Args:
        summary: of the predictions.
        found: the predictions, one class a crop.
        calibration: of the model.
        units: the name of each crop's field.
        columns: that name a field.
    """
    sets = calibration.label_sets(found.scores)
    rows = np.arange(len(found.labels))
    held = sets[rows, found.labels]
    probabilities = calibration.probabilities(found.scores)
    cells = pd.DataFrame(
        {
            "field": units,
            "num_crops": 1,
            "accuracy": found.scores.argmax(axis=1) == found.labels,
            "coverage": held,
            "mean_size": sets.sum(axis=1),
        }
    )
    how = {name: "mean" for name in cells if name != "field"} | {"num_crops": "sum"}
    table = cells[cells["field"] != ""].groupby("field").agg(how)
    coverages = table["coverage"].tolist()
    metrics = {
        "nominal": NOMINAL,
        "coverage": float(held.mean()),
        "mean_size": float(sets.sum(axis=1).mean()),
        "by": list(columns),
        "num_fields": len(coverages),
        "lowest_coverage_of_a_field": min(coverages, default=None),
        f"fields_below_{LEAST_COVERAGE}": sum(c < LEAST_COVERAGE for c in coverages),
        "temperature": calibration.temperature,
        "loss_with_temperature": float(
            -np.log(np.maximum(probabilities[rows, found.labels], np.finfo(float).tiny)).mean()
        ),
        "notes": list(calibration.notes),
    }
    predictions = summary.predictions.assign(label_set=calibration.in_words(sets))
    tables = {**summary.tables, "per_field": table}
    return Summary({**summary.metrics, "label_sets": metrics}, tables, predictions)
