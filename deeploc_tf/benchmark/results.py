"""What a comparison of methods found, and the folder of it: numbers, curves and terms."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deeploc_tf.benchmark.benchmark import StandardScores
from deeploc_tf.benchmark.comparable import Method
from deeploc_tf.benchmark.intervals import COMPARED, adjusted
from deeploc_tf.benchmark.pair_list import write_pairs
from deeploc_tf.benchmark.scores import bars, definitions
from deeploc_tf.benchmark.seed_means import SeedMean
from deeploc_tf.benchmark.standards import Standard
from deeploc_tf.provenance import file_digest, parent, sealed
from deeploc_tf.text_tables import csv_bytes
from deeploc_tf.version import __version__
from tfrecords.errors import OutputExistsError, did_you_mean
from tfrecords.publishing import publish_bytes, publish_json

SCHEMA_VERSION = 2

_FIRST_DEFINITIONS = {
    "proteins_in_both": "proteins of the standard that have a profile; names that differ in spaces "
    "or Unicode form are one (proteins_matched_by_form)",
    "excluded": "profiles that take no part, by reason",
}
_LAST_DEFINITIONS = {
    "shuffled_*": "the same with the proteins shuffled",
    "*_sd": "standard deviation over shuffles, draws or seeds",
    "*_low, *_high": "95% interval over samples of proteins, in closed form; null where none is "
    "known to be right",
    "adjusted_p_value": "p_value after Holm, over all differences of the list",
    "notes": "why a score, or its interval, is null",
    "knn_*, linear_*": "cells: label by the ten nearest by cosine, and by logistic regression, "
    "learned from other groups; macro-F1 and balanced accuracy",
    "best_terms, worst_terms": "by the mean over members of the AP of their ranking of all others, "
    "the term's members as positives",
}
_CURVE_POINTS = 1000
_SHOWN_TERMS = 5


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Scores of methods on the same standards and proteins.

    Attributes:
        methods: with their results, in the order in which they were named; those of one name are
            seeds, and the first is the one that others are compared with.
        standards: that they were scored on.
        settings: similarity, seed and the like, JSON-ready.
        cells: scores of single cells, JSON-ready.
    """

    methods: Sequence[Method]
    standards: Sequence[Standard] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cells: Sequence[Mapping[str, Any]] = ()

    def to_frame(self) -> pd.DataFrame:
        """All numbers: a row per method, seed and standard; chance among them."""
        rows = [
            {"method": method.name, "seed": method.seed, "standard": one.standard, **one.numbers}
            for method in self.methods
            for one in method.results
        ]
        return pd.DataFrame(rows).astype({"seed": "Int64"})

    def summary(
        self, reference: str | None = None, scores: Collection[str] | None = None
    ) -> pd.DataFrame:
        """A row per score, standard and method: mean over seeds, spread, interval, difference.

        `low` and `high` are the 95% interval of the mean over seeds when proteins are drawn anew.
        `difference` is the reference's mean less the method's, with an interval and a two-sided
        p-value, and that p-value adjusted by Holm's method for all rows. Where these cannot be
        believed they are null, and `note` says why; scores of clusters have none of them.

        Args:
            reference: name of a method; None leaves differences out.
            scores: names of numbers; None: those that methods are compared by (AP, mAP, AMI, F1),
                as far as they were computed.

        Raises:
            ValueError: there is no method of the reference's name.
        """
        known = list(self._by_name())
        if reference is not None and reference not in known:
            msg = (
                f"`reference` must be one of {', '.join(known)}. Received: reference={reference!r}."
                f"{did_you_mean(reference, known)}"
            )
            raise ValueError(msg)
        rows = []
        for score in self._computed() if scores is None else scores:
            for standard, means in self._means(score):
                for name, mean in means.items():
                    low, high, note = mean.interval()
                    row: dict[str, Any] = {
                        "score": score,
                        "standard": standard,
                        "method": name,
                        "seeds": len(mean.values),
                        "mean": mean.mean,
                        "sd": mean.sd,
                        "low": low,
                        "high": high,
                        "note": note or None,
                    }
                    if reference in means and name != reference:
                        found = means[reference].less(mean)
                        names = {"low": "difference_low", "high": "difference_high"}
                        row |= {names.get(key, key): value for key, value in found.items()}
                    rows.append(row)
        return pd.DataFrame(with_adjusted(rows))

    def seeds(self) -> list[dict[str, Any]]:
        """Mean and standard deviation over the tables that have one name, JSON-ready."""
        rows: dict[tuple[str, str], dict[str, Any]] = {
            (name, one.standard): {"method": name, "standard": one.standard, "tables": len(tables)}
            for name, tables in self._by_name().items()
            for one in tables[0].results
            if len(tables) > 1
        }
        for score in bars():
            for standard, means in self._means(score):
                for name, mean in means.items():
                    if (name, standard) in rows and np.isfinite(mean.mean):
                        rows[name, standard] |= {score: mean.mean, f"{score}_sd": mean.sd}
        return list(rows.values())

    def differences(self) -> list[dict[str, Any]]:
        """The first method less each other one, JSON-ready; seeds are taken by their mean."""
        rows = []
        for score in COMPARED:
            for standard, means in self._means(score):
                (first, ours), *others = means.items()
                for name, mean in others:
                    if found := ours.less(mean):
                        where = {"method": first, "other": name, "standard": standard}
                        rows.append({**where, "score": score, **found})
        rows.sort(key=lambda row: (row["score"], row["other"], row["standard"]))
        return with_adjusted(rows)

    def to_json(self) -> dict[str, Any]:
        """The content of `scores.json`."""
        methods = [
            {
                "name": method.name,
                "profiles": _origin(method),
                "standards": {one.standard: dict(one.numbers) for one in method.results},
                "notes": {one.standard: dict(one.notes) for one in method.results},
                "terms": {one.standard: _extremes(one.terms) for one in method.results},
            }
            for method in self.methods
        ]
        return {
            "schema_version": SCHEMA_VERSION,
            "versions": {
                "deeploc_tf": __version__,
                "python": platform.python_version(),
                **{name: version(name) for name in ("numpy", "scipy", "scikit-learn")},
            },
            "definitions": {**_FIRST_DEFINITIONS, **definitions(), **_LAST_DEFINITIONS},
            **self.settings,
            **{part: methods[0][part] for part in ("profiles", "standards", "notes")},
            "methods": methods,
            "standard_files": {s.name: dict(s.report) for s in self.standards},
            "cells": list(self.cells),
            "seeds": self.seeds(),
            "differences": self.differences(),
        }

    def write(self, folder: str | Path, *, pairs: bool = False) -> dict[str, Any]:
        """Write `scores.json`, `scores.csv`, `precision_recall.csv` and `terms.csv` into a folder.

        Args:
            folder: to make; it must not exist, or be empty.
            pairs: write every pair of proteins, too: `pairs.csv.gz` or, of several methods,
                `pairs-1.csv.gz` and so on, by their places.

        Returns:
            The content of `scores.json`.

        Raises:
            OutputExistsError: the folder has something in it.
        """
        folder = Path(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            msg = (
                f"`results` must be a new or empty folder. Received: {str(folder)!r}. Name another."
            )
            raise OutputExistsError(msg)
        values = self.to_json()
        several = len(self.methods) > 1
        results = [(method.name, one) for method in self.methods for one in method.results]
        tables = {
            "precision_recall.csv": pd.concat([_curve_table(*result) for result in results]),
            "terms.csv": pd.concat([one.terms.assign(method=name) for name, one in results]),
            "scores.csv": self.to_frame().drop(columns=["seed"] if several else ["method", "seed"]),
        }
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            publish_bytes(folder / name, csv_bytes(table))
        written = [folder / name for name in tables]
        if pairs:
            chosen = {name: self.settings[name] for name in ("similarity", "min_size", "max_size")}
            for number, method in enumerate(self.methods, start=1):
                path = folder / (f"pairs-{number}.csv.gz" if several else "pairs.csv.gz")
                proteins = method.profiles.metadata["protein"].tolist()
                write_pairs(path, method.profiles.features, proteins, self.standards, **chosen)
                written.append(path)
        values = sealed(values, self._made_from(), written)
        publish_json(folder / "scores.json", values)
        return values

    def _made_from(self) -> list[dict[str, Any]]:
        tables = [
            parent("profiles", method.file, method.profiles.provenance)
            for method in self.methods
            if method.file is not None
        ]
        of_standards = {str(one): one for s in self.standards for one in s.made_from()}
        return [*tables, *of_standards.values()]

    def _by_name(self) -> dict[str, list[Method]]:
        """The seeds of each method."""
        found: dict[str, list[Method]] = {}
        for method in self.methods:
            found.setdefault(method.name, []).append(method)
        return found

    def _means(self, score: str) -> Iterator[tuple[str, dict[str, SeedMean]]]:
        """Each standard, and the mean of each method on it."""
        for place, result in enumerate(self.methods[0].results):
            yield (
                result.standard,
                {
                    name: SeedMean(score, [table.results[place] for table in tables])
                    for name, tables in self._by_name().items()
                },
            )

    def _computed(self) -> list[str]:
        numbers = [one.numbers for method in self.methods for one in method.results]
        return [score for score in bars() if any(score in values for values in numbers)]


def with_adjusted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows, where those with a p-value have it adjusted for all of them as well."""
    tested = [row for row in rows if row.get("p_value") is not None]
    for row, value in zip(tested, adjusted([row["p_value"] for row in tested]), strict=True):
        row["adjusted_p_value"] = float(value)
    return rows


def _extremes(terms: pd.DataFrame) -> dict[str, Any]:
    """The terms that are known best, and worst, JSON-ready."""
    shown = terms[["term", "description", "members", "average_precision", "prevalence"]]
    return {
        "best_terms": shown.head(_SHOWN_TERMS).to_dict("records"),
        "worst_terms": shown.tail(_SHOWN_TERMS)[::-1].to_dict("records"),
    }


def _origin(method: Method) -> dict[str, Any]:
    origin: dict[str, Any] = {"file": None, "provenance": dict(method.profiles.provenance)}
    if method.file is not None:
        origin = {**origin, "file": method.file.name, "sha256": file_digest(method.file)}
    if method.identifiers is not None:
        origin["identifiers"] = dict(method.identifiers)
    if method.excluded is not None:
        origin["excluded"] = dict(method.excluded)
    return origin


def _curve_table(method: str, result: StandardScores) -> pd.DataFrame:
    """At most a thousand points of the curve, the first and the last among them."""
    count = len(result.curve.recall)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _CURVE_POINTS)).astype(int))
    return pd.DataFrame(
        {
            "method": method,
            "standard": result.standard,
            "recall": result.curve.recall[chosen],
            "precision": result.curve.precision[chosen],
            "similarity": result.curve.score[chosen],
        }
    )
