"""Predictions of models that tell several labels a crop, in numbers and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from deeploc_tf.training.calibration import NUM_BINS, expected_calibration_error, reliability
from deeploc_tf.training.metrics import average_precisions, multi_label_metrics
from deeploc_tf.training.predictions import Predictions
from deeploc_tf.training.summary import Summary

_BETWEEN = "|"  # between the labels of a crop, in tables


def summarize_several(found: Predictions, class_names: Sequence[str]) -> Summary:
    """Metrics and tables of predictions; docs/evaluation.md defines every number.

    Args:
        found: the predictions.
        class_names: in the order of their probabilities.
    """
    truth, probabilities = found.labels > 0.5, expit(found.scores.astype(np.float64))
    said, names = probabilities > 0.5, list(class_names)
    bins = reliability(probabilities.ravel(), truth.ravel())
    proteins = _protein_table(found.crops["protein"].to_numpy(), truth, probabilities, names)
    metrics = multi_label_metrics(found.labels, found.scores, names)
    per_class = pd.DataFrame.from_dict(metrics["per_class"], orient="index").astype(
        dict.fromkeys(("precision", "recall", "f1", "average_precision"), float)
    )
    metrics |= {
        "exact_match": float((said == truth).all(axis=1).mean()),
        "majority_exact_match": _majority(_joined(truth, names)),
        "calibration": {
            "num_bins": NUM_BINS,
            "expected_calibration_error": expected_calibration_error(bins),
            "mean_confidence": float(probabilities.mean()),
        },
        "proteins": proteins.pop("metrics"),
    }
    columns = {"label": _joined(truth, names), "predicted": _joined(said, names)}
    columns |= {f"probability_{name}": probabilities[:, i] for i, name in enumerate(names)}
    tables = {
        "per_class": per_class.rename_axis("class"),
        "per_protein": proteins["table"],
        "reliability": bins.set_index("above"),
    }
    return Summary(metrics, tables, pd.concat([found.crops, pd.DataFrame(columns)], axis=1))


def _protein_table(
    proteins: NDArray[Any],
    truth: NDArray[np.bool_],
    probabilities: NDArray[np.float64],
    names: list[str],
) -> dict[str, Any]:
    """A row a protein: the labels of more than half of its crops, and those of mean probabilities.

    Crops without a protein are left out.
    """
    named = proteins != ""
    grouped = pd.DataFrame(truth[named].astype(float), columns=names).groupby(proteins[named])
    shares = grouped.mean()
    means = pd.DataFrame(probabilities[named], columns=names).groupby(proteins[named]).mean()
    has, says = shares.to_numpy() > 0.5, means.to_numpy() > 0.5
    table = pd.DataFrame(
        {
            "labels": _joined(has, names),
            "num_crops": grouped.size().to_numpy(),
            "predicted": _joined(says, names),
            "correct": (has == says).all(axis=1),
        },
        index=pd.Index(shares.index, name="protein"),
    )
    scores = [score for score in average_precisions(has, means.to_numpy()) if score is not None]
    count = len(table)
    metrics = {
        "num_proteins": count,
        "exact_match": float(table["correct"].mean()) if count else None,
        "majority_exact_match": _majority(table["labels"].tolist()) if count else None,
        "macro_ap": float(np.mean(scores)) if scores else None,
    }
    return {"table": table, "metrics": metrics}


def _joined(has: NDArray[np.bool_], names: list[str]) -> list[str]:
    return [_BETWEEN.join(np.asarray(names, object)[row]) for row in has]


def _majority(sets: list[str]) -> float:
    """Share of the most frequent set of labels."""
    return float(pd.Series(sets).value_counts().max() / len(sets))
