"""Profiles against standards: `benchmark` gives every score of one table of profiles."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from numpy.typing import NDArray

from deeploc_tf.benchmark.scores import (
    DEFAULT_KS,
    PrecisionRecallCurve,
    cosine_similarities,
    normalized_average_precision,
    ordered_pairs,
    per_query_scores,
    positive_pairs,
    precision_recall_curve,
    shared_terms,
)
from deeploc_tf.benchmark.standards import Annotation, Standard, annotate
from deeploc_tf.version import __version__
from tfrecords.errors import OutputExistsError
from tfrecords.publishing import publish_bytes, publish_json

SCHEMA_VERSION = 1
NUM_SHUFFLES = 10
_CURVE_POINTS = 1000


@dataclasses.dataclass(frozen=True)
class StandardScores:
    """Everything that one standard says of the profiles.

    Attributes:
        standard: its name.
        numbers: by name, JSON-ready.
        curve: precision and recall of the pooled ranking.
    """

    standard: str
    numbers: Mapping[str, Any]
    curve: PrecisionRecallCurve


def benchmark(
    features: NDArray[np.float32],
    proteins: Sequence[str],
    standards: Sequence[Standard],
    *,
    ks: Sequence[int] = DEFAULT_KS,
    num_shuffles: int = NUM_SHUFFLES,
    seed: int = 0,
) -> list[StandardScores]:
    """Score profiles against standards.

    Args:
        features: float32 `(num_proteins, num_features)`, a profile a row.
        proteins: name of each row, in the standards' way of naming.
        standards: as `read_standard` gives them.
        ks: numbers of neighbors for recall and precision.
        num_shuffles: how often the rows are given to other proteins at random, to show chance.
        seed: of these.

    Returns:
        One result a standard, in their order.

    Raises:
        StandardError: a standard shares no pair with the profiles, or all of them.
        ValueError: a profile is not finite, zero, or there twice, or two standards have one name.
    """
    names = [standard.name for standard in standards]
    if len(set(names)) < len(names):
        msg = f"Standards must have different names. Received: {', '.join(names)}. Rename a file."
        raise ValueError(msg)
    similarities = cosine_similarities(features, proteins)
    # What is wrong with the last standard is told before the first is scored.
    annotations = [annotate(standard, proteins) for standard in standards]
    shared = [shared_terms(annotation) for annotation in annotations]
    return [
        _score(similarities, annotation, pairs, ks, num_shuffles, seed)
        for annotation, pairs in zip(annotations, shared, strict=True)
    ]


def _score(
    similarities: NDArray[np.float32],
    annotation: Annotation,
    shared: scipy.sparse.csr_matrix,
    ks: Sequence[int],
    num_shuffles: int,
    seed: int,
) -> StandardScores:
    among = similarities[np.ix_(annotation.proteins, annotation.proteins)]
    ordered = ordered_pairs(among)
    rows, columns = positive_pairs(shared)
    curve = precision_recall_curve(ordered, among[rows, columns])
    num_positives, num_pairs = len(rows), len(ordered)
    prevalence = num_positives / num_pairs
    precision, hits, positives = per_query_scores(among, shared, ks)
    generator = np.random.default_rng(seed)
    shuffled = []
    for _ in range(num_shuffles):
        order = generator.permutation(len(among))
        scores = among[order[rows], order[columns]]
        shuffled.append(precision_recall_curve(ordered, scores).average_precision)
    score = curve.average_precision
    values: dict[str, Any] = {
        **annotation.coverage,
        "pairs": num_pairs,
        "positive_pairs": num_positives,
        "prevalence": prevalence,
        "average_precision": score,
        "lift": score / prevalence,
        "normalized_average_precision": normalized_average_precision(
            score, num_positives, num_pairs
        ),
        "mean_average_precision": float(precision.mean()),
        "mean_query_prevalence": float((positives / (len(among) - 1)).mean()),
    }
    for k in ks:
        values[f"recall_at_{k}"] = float((hits[k] / positives).mean())
        values[f"precision_at_{k}"] = float((hits[k] / k).mean())
    if shuffled:
        values["shuffled_average_precision"] = float(np.mean(shuffled))
        values["shuffled_average_precision_sd"] = float(
            np.std(shuffled, ddof=min(1, len(shuffled) - 1))
        )
    return StandardScores(annotation.standard, values, curve)


def write_results(
    folder: str | Path,
    results: Sequence[StandardScores],
    profiles: Path,
    provenance: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Write `scores.json`, `scores.csv` and `precision_recall.csv` into a folder.

    Args:
        folder: to make; it must not exist, or be empty.
        results: as `benchmark` gives them.
        profiles: file of the profiles, for its name and digest.
        provenance: of the profiles.
        seed: that `benchmark` was given.

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
        "deeploc_tf": __version__,
        "profiles": {
            "file": profiles.name,
            "sha256": hashlib.sha256(profiles.read_bytes()).hexdigest(),
            "provenance": dict(provenance),
        },
        "similarity": "cosine",
        "seed": seed,
        "standards": {result.standard: dict(result.numbers) for result in results},
    }
    curves = pd.concat([_curve_table(result) for result in results])
    table = pd.DataFrame([{"standard": r.standard, **r.numbers} for r in results])
    folder.mkdir(parents=True, exist_ok=True)
    publish_bytes(folder / "precision_recall.csv", curves.to_csv(index=False).encode())
    publish_bytes(folder / "scores.csv", table.to_csv(index=False).encode())
    publish_json(folder / "scores.json", values)
    return values


def _curve_table(result: StandardScores) -> pd.DataFrame:
    """At most a thousand points of the curve, the first and the last among them."""
    count = len(result.curve.recall)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _CURVE_POINTS)).astype(int))
    return pd.DataFrame(
        {
            "standard": result.standard,
            "recall": result.curve.recall[chosen],
            "precision": result.curve.precision[chosen],
            "similarity": result.curve.score[chosen],
        }
    )
