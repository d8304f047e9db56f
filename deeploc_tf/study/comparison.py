"""Scores of all methods, and what they say together: means over seeds, intervals, differences."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.benchmark.benchmark import Extent, benchmark
from deeploc_tf.benchmark.intervals import COMPARED, bounds, difference
from deeploc_tf.benchmark.similarity import usable_profiles
from deeploc_tf.benchmark.standards import Standard
from deeploc_tf.profiles.tables import VectorTable
from tfrecords.publishing import publish_json

SCORES = (
    "average_precision",
    "adjusted_mutual_information",
    "cluster_f1",
    "mean_average_precision",
)
"""Those that are compared; the paper has the first three, by definitions that it does not give."""


@dataclasses.dataclass(frozen=True)
class Scored:
    """Scores of one method and seed.

    Attributes:
        method: its name.
        seed: of the method; None if it knows none.
        numbers: standard -> score -> value.
        resampled: standard -> score -> values of the same draws of proteins for all methods.
    """

    method: str
    seed: int | None
    numbers: Mapping[str, Mapping[str, Any]]
    resampled: Mapping[str, Mapping[str, NDArray[np.float64]]]


def common_proteins(tables: Iterable[VectorTable]) -> list[str]:
    """Proteins of which every table has a profile that can be compared, in alphabetical order."""
    common: set[str] | None = None
    for table in tables:
        proteins = table.metadata["protein"].tolist()
        usable = usable_profiles(table.features, proteins, "cosine")
        here = {protein for protein, good in zip(proteins, usable, strict=True) if good}
        common = here if common is None else common & here
    return sorted(common or ())


def write_scores(
    file: Path,
    table: VectorTable,
    proteins: Sequence[str],
    standards: Sequence[Standard],
    extent: Extent,
) -> None:
    """Score the profiles of some proteins and write numbers and resamples as JSON.

    Raises:
        StandardError: a standard shares no pair with the proteins, or all of them.
    """
    rows = {protein: row for row, protein in enumerate(table.metadata["protein"])}
    features = table.features[[rows[protein] for protein in proteins]]
    results = benchmark(features, proteins, standards, extent=extent)
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


def read_scores(file: Path, method: str, seed: int | None) -> Scored:
    """What `write_scores` wrote."""
    values = json.loads(file.read_text("utf-8"))
    return Scored(
        method,
        seed,
        {standard: found["numbers"] for standard, found in values.items()},
        {
            standard: {
                name: np.array(draws, np.float64) for name, draws in found["resampled"].items()
            }
            for standard, found in values.items()
        },
    )


def score_table(scored: Sequence[Scored]) -> pd.DataFrame:
    """All numbers: a row for each method, seed and standard; chance among them."""
    return pd.DataFrame(
        [
            {"method": one.method, "seed": one.seed, "standard": standard, **numbers}
            for one in scored
            for standard, numbers in one.numbers.items()
        ]
    ).astype({"seed": "Int64"})


def summary(scored: Sequence[Scored], reference: str | None = None) -> pd.DataFrame:
    """A row for each score, standard and method: mean over seeds, spread, interval, difference.

    `low` and `high` bound the middle 95 percent of the mean over seeds when proteins are drawn
    anew. `difference` is the reference's mean less the method's, with an interval and a two-sided
    p-value from the same draws of proteins. Where these cannot be believed they are null, and
    `note` says why; scores of clusters have none of them.

    Args:
        scored: all methods and seeds, scored on the same proteins with the same draws.
        reference: name of a method; None leaves differences out.
    """
    by_method: dict[str, list[Scored]] = {}
    for one in scored:
        by_method.setdefault(one.method, []).append(one)
    rows = []
    for score in SCORES:
        for standard in scored[0].numbers:
            means = {name: _Mean(score, standard, seeds) for name, seeds in by_method.items()}
            for name, mean in means.items():
                other = means.get(reference or "")
                compared = {} if other is None or name == reference else other.less(mean)
                where = {"score": score, "standard": standard, "method": name}
                rows.append(where | mean.row() | compared)
    return pd.DataFrame(rows)


class _Mean:
    """A method's score on a standard, its mean over seeds."""

    def __init__(self, score: str, standard: str, seeds: Sequence[Scored]) -> None:
        self.score = score
        values = [one.numbers[standard][score] for one in seeds]
        self.by_seed = np.array([np.nan if v is None else v for v in values], np.float64)
        draws = [one.resampled[standard].get(score) for one in seeds]
        known = [drawn for drawn in draws if drawn is not None]
        self.resampled = np.mean(known, axis=0) if len(known) == len(seeds) else None
        self.is_compared = score in COMPARED and any(one.resampled[standard] for one in seeds)

    def row(self) -> dict[str, Any]:
        count = len(self.by_seed)
        row = {
            "seeds": count,
            "mean": float(self.by_seed.mean()),
            "sd": float(self.by_seed.std(ddof=1)) if count > 1 else None,
        }
        low, high, note = bounds(self.score, self.resampled) if self.is_compared else (None,) * 3
        return row | {"low": low, "high": high, "note": note or None}

    def less(self, other: _Mean) -> dict[str, Any]:
        if not (self.is_compared and other.is_compared):
            return {}
        means = float(self.by_seed.mean()), float(other.by_seed.mean())
        found = difference(self.score, means, (self.resampled, other.resampled))
        names = {"low": "difference_low", "high": "difference_high"}
        return {names.get(name, name): value for name, value in found.items()}


def _json_ready(value: Any) -> Any:
    """A number that JSON has: a draw without a positive pair scores NaN, for which it has null."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not np.isfinite(value) else value
