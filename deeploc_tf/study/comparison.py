"""Scores of a method and seed on disk, so that a study that goes on does not compute them again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeploc_tf.benchmark.benchmark import StandardScores
from deeploc_tf.benchmark.influence import Influence
from tfrecords.publishing import publish_json


def write_scores(file: Path, results: Sequence[StandardScores]) -> None:
    """Write numbers of each standard, and how they move with proteins, as JSON."""
    values = {
        result.standard: {
            "numbers": {name: _json_ready(value) for name, value in result.numbers.items()},
            "influences": {
                name: {
                    "value": influence.value,
                    "of_proteins": influence.of_proteins.tolist(),
                    "of_pairs": influence.of_pairs.tolist(),
                }
                for name, influence in result.influences.items()
            },
        }
        for result in results
    }
    publish_json(file, values)


def read_scores(file: Path) -> list[StandardScores]:
    """What `write_scores` wrote: numbers and influences, without curves and terms."""
    return [
        StandardScores(
            standard,
            found["numbers"],
            influences={
                name: Influence(
                    parts["value"], np.array(parts["of_proteins"]), np.array(parts["of_pairs"])
                )
                for name, parts in found["influences"].items()
            },
        )
        for standard, found in json.loads(file.read_text("utf-8")).items()
    ]


def _json_ready(value: Any) -> Any:
    """A number that JSON has: for NaN it has null."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not np.isfinite(value) else value
