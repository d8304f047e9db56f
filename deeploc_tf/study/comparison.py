"""Scores of a method and seed on disk, so that a study that goes on does not compute them again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeploc_tf.benchmark.benchmark import StandardScores
from tfrecords.publishing import publish_json


def write_scores(file: Path, results: Sequence[StandardScores]) -> None:
    """Write numbers and resamples of each standard as JSON."""
    values = {
        result.standard: {
            "numbers": {name: _json_ready(value) for name, value in result.numbers.items()},
            "resampled": {
                name: [_json_ready(draw) for draw in draws]
                for name, draws in result.resampled.items()
            },
        }
        for result in results
    }
    publish_json(file, values)


def read_scores(file: Path) -> list[StandardScores]:
    """What `write_scores` wrote: numbers and resamples, without curves and terms."""
    return [
        StandardScores(
            standard,
            found["numbers"],
            resampled={
                name: np.array(draws, np.float64) for name, draws in found["resampled"].items()
            },
        )
        for standard, found in json.loads(file.read_text("utf-8")).items()
    ]


def _json_ready(value: Any) -> Any:
    """A number that JSON has: a draw without a positive pair scores NaN, for which it has null."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not np.isfinite(value) else value
