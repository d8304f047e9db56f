"""The folder of a benchmark: numbers, curves and terms of one method or several."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.benchmark.benchmark import StandardScores
from deeploc_tf.benchmark.intervals import COMPARED, difference
from deeploc_tf.benchmark.standards import Standard
from deeploc_tf.version import __version__
from tfrecords.errors import OutputExistsError
from tfrecords.publishing import publish_bytes, publish_json

SCHEMA_VERSION = 2

DEFINITIONS = {
    "proteins_in_both": "proteins of the standard that have a profile; names that differ in spaces "
    "or Unicode form are one (proteins_matched_by_form), those that differ in case, leading "
    "zeros or look-alike letters are not (proteins_that_almost_meet)",
    "excluded": "profiles that take no part, by reason",
    "prevalence": "positive pairs / pairs; a pair is positive if the two share a kept term",
    "average_precision": "sum over distinct scores of (R_k - R_(k-1)) P_k, one ranking of all "
    "pairs, tied pairs enter together",
    "lift": "average_precision / prevalence",
    "normalized_average_precision": "(AP - mu0) / (1 - mu0), mu0 the mean AP of random rankings",
    "maximal_f1": "highest F1 along the curve of all pairs; not cluster_f1",
    "mean_average_precision": "mean over proteins of the AP of their ranking of all others",
    "mean_query_prevalence": "mean over proteins of the share of positives among the others",
    "mean_normalized_average_precision": "mean over proteins of normalized_average_precision of "
    "their ranking",
    "mean_auroc": "mean over proteins of the area under the ROC curve, ties count half",
    "precision_at_k, recall_at_k": "positives among the first k, over k and over all positives; "
    "positives that tie with negatives are ranked behind them",
    "significant_queries": "share of proteins whose AP has a permutation p-value of 0.05 or less "
    "after Benjamini-Hochberg",
    "adjusted_mutual_information, cluster_f1": "AMI, and pairwise F1, of the cut with the highest "
    "AMI, of {average, single, complete} x {euclidean, cosine} x 500 heights; mean over draws of "
    "terms that do not overlap",
    "cluster_score": "standard deviation of the medians of modules (of cells: of labels) over the "
    "median distance of their members from these; mean over draws",
    "shuffled_*": "the same with the proteins shuffled",
    "*_sd": "standard deviation over shuffles, draws or seeds",
    "*_low, *_high": "95% interval, bootstrap over proteins; null where none is known to be right",
    "notes": "why a score, or its interval, is null",
    "knn_*, linear_*": "cells: label by the ten nearest by cosine, and by logistic regression, "
    "learned from other groups; macro-F1 and balanced accuracy",
    "best_terms, worst_terms": "by the mean over members of the AP of their ranking of all others, "
    "the term's members as positives",
}

_CURVE_POINTS = 1000
_SHOWN_TERMS = 5
_SPREAD = (
    "average_precision",
    "mean_average_precision",
    "adjusted_mutual_information",
    "cluster_f1",
)


@dataclasses.dataclass(frozen=True)
class Method:
    """One table of profiles and what it scored.

    Attributes:
        name: of the method; tables of one name are seeds of it.
        results: as `benchmark` gives them.
        file: of the profiles; None for random vectors.
        provenance: of the profiles.
        identifiers: what a table of identifiers did to their names.
        excluded: how many profiles take no part, by reason, JSON-ready.
    """

    name: str
    results: Sequence[StandardScores]
    file: Path | None
    provenance: Mapping[str, Any]
    identifiers: Mapping[str, Any] | None = None
    excluded: Mapping[str, Any] | None = None


def write_results(
    folder: str | Path,
    methods: Sequence[Method],
    settings: Mapping[str, Any],
    standards: Sequence[Standard] = (),
    cells: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Write `scores.json`, `scores.csv`, `precision_recall.csv` and `terms.csv` into a folder.

    Args:
        folder: to make; it must not exist, or be empty.
        methods: the first is the one that the others are compared with; all scored on the same
            standards.
        settings: similarity, seed and the like, JSON-ready.
        standards: that were scored, for what their files were.
        cells: scores of single cells, JSON-ready.

    Returns:
        The content of `scores.json`.

    Raises:
        OutputExistsError: the folder has something in it.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"`results` must be a new or empty folder. Received: {str(folder)!r}. Name another."
        raise OutputExistsError(msg)
    values = {
        "schema_version": SCHEMA_VERSION,
        "versions": {
            "deeploc_tf": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scipy", "scikit-learn")},
        },
        "definitions": DEFINITIONS,
        **settings,
        "profiles": _origin(methods[0]),
        "standards": _numbers(methods[0]),
        "notes": _notes(methods[0]),
        "methods": [
            {
                "name": m.name,
                "profiles": _origin(m),
                "standards": _numbers(m),
                "notes": _notes(m),
                "terms": {r.standard: _extremes(r.terms) for r in m.results},
            }
            for m in methods
        ],
        "standard_files": {s.name: dict(s.report) for s in standards},
        "cells": list(cells),
        "seeds": spread_over_seeds(methods),
        "differences": differences(methods),
    }
    several = len(methods) > 1
    rows = [
        {**({"method": m.name} if several else {}), "standard": r.standard, **r.numbers}
        for m in methods
        for r in m.results
    ]
    curves = pd.concat([_curve_table(m.name, r) for m in methods for r in m.results])
    terms = [r.terms.assign(method=m.name) for m in methods for r in m.results]
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (
        ("precision_recall.csv", curves),
        ("terms.csv", pd.concat(terms)),
        ("scores.csv", pd.DataFrame(rows)),
    ):
        publish_bytes(folder / name, table.to_csv(index=False).encode())
    publish_json(folder / "scores.json", values)
    return values


def spread_over_seeds(methods: Sequence[Method]) -> list[dict[str, Any]]:
    """Mean and standard deviation over the tables that have one name, JSON-ready."""
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys(method.name for method in methods):
        tables = [method for method in methods if method.name == name]
        if len(tables) < 2:
            continue
        for results in zip(*[method.results for method in tables], strict=True):
            row: dict[str, Any] = {
                "method": name,
                "standard": results[0].standard,
                "tables": len(tables),
            }
            for score in _SPREAD:
                if all(result.numbers.get(score) is not None for result in results):
                    numbers = [result.numbers[score] for result in results]
                    row[score] = float(np.mean(numbers))
                    row[f"{score}_sd"] = float(np.std(numbers, ddof=1))
            rows.append(row)
    return rows


def differences(methods: Sequence[Method]) -> list[dict[str, Any]]:
    """The first method less each other one, JSON-ready; tables of one name are taken by their mean.

    Every table is resampled by the same draws, so a mean over seeds is one of each draw.
    """
    first, *others = dict.fromkeys(method.name for method in methods)
    rows = []
    for other in others:
        sides = [[m for m in methods if m.name == name] for name in (first, other)]
        for place, result in enumerate(methods[0].results):
            for score in COMPARED:
                if f"{score}_low" not in result.numbers:
                    continue
                (ours, our_draws), (theirs, their_draws) = (
                    _mean_over_seeds([method.results[place] for method in side], score)
                    for side in sides
                )
                found = difference(score, (ours, theirs), (our_draws, their_draws))
                where = {"method": first, "other": other, "standard": result.standard}
                rows.append({**where, "score": score, **found})
    return sorted(rows, key=lambda row: (row["score"], row["other"], row["standard"]))


def _mean_over_seeds(
    results: Sequence[StandardScores], score: str
) -> tuple[float, NDArray[np.float64] | None]:
    draws = [result.resampled[score] for result in results if score in result.resampled]
    mean = np.mean(draws, axis=0) if len(draws) == len(results) else None
    return float(np.mean([result.numbers[score] for result in results])), mean


def _extremes(terms: pd.DataFrame) -> dict[str, Any]:
    """The terms that are known best, and worst, JSON-ready."""
    shown = terms[["term", "description", "members", "average_precision", "prevalence"]]
    return {
        "best_terms": shown.head(_SHOWN_TERMS).to_dict("records"),
        "worst_terms": shown.tail(_SHOWN_TERMS)[::-1].to_dict("records"),
    }


def _origin(method: Method) -> dict[str, Any]:
    origin: dict[str, Any] = {"file": None, "provenance": dict(method.provenance)}
    if method.file is not None:
        digest = hashlib.sha256(method.file.read_bytes()).hexdigest()
        origin = {**origin, "file": method.file.name, "sha256": digest}
    if method.identifiers is not None:
        origin["identifiers"] = dict(method.identifiers)
    if method.excluded is not None:
        origin["excluded"] = dict(method.excluded)
    return origin


def _numbers(method: Method) -> dict[str, dict[str, Any]]:
    return {result.standard: dict(result.numbers) for result in method.results}


def _notes(method: Method) -> dict[str, dict[str, str]]:
    return {result.standard: dict(result.notes) for result in method.results}


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
