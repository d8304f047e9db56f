"""Predictions in numbers and tables: classes, ranks, calibration, proteins, and the majority."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.provenance import sealed
from deeploc_tf.text_tables import csv_bytes
from deeploc_tf.training.calibration import NUM_BINS, expected_calibration_error, reliability
from deeploc_tf.training.metrics import average_precisions, classification_metrics
from deeploc_tf.training.predictions import Predictions
from deeploc_tf.training.protein_metrics import protein_metrics, protein_table
from tfrecords.publishing import publish_bytes, publish_json, publishing

_TOP = (2, 3, 5)


@dataclasses.dataclass(frozen=True)
class Summary:
    """What `evaluate` writes.

    Attributes:
        metrics: content of `metrics.json`.
        tables: content of the CSV files by their names; one with a named index is written with it.
        predictions: a row per crop.
    """

    metrics: dict[str, Any]
    tables: Mapping[str, pd.DataFrame]
    predictions: pd.DataFrame

    def write(self, folder: Path, made_from: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """Write everything into a folder that is there, `metrics.json` last.

        Args:
            folder: to write into.
            made_from: see `deeploc_tf.provenance.parent`.

        Returns:
            The content of `metrics.json`.
        """
        for name, table in self.tables.items():
            publish_bytes(folder / f"{name}.csv", csv_bytes(table, index=True))
        with publishing(folder / "predictions.parquet") as temporary:
            self.predictions.to_parquet(temporary, index=False)
        files = [*(folder / f"{name}.csv" for name in self.tables), folder / "predictions.parquet"]
        values = sealed(self.metrics, made_from, files)
        publish_json(folder / "metrics.json", values)
        return values


def summarize(
    found: Predictions, class_names: Sequence[str], *, of_proteins: bool = False
) -> Summary:
    """Metrics and tables of predictions; docs/evaluation.md defines every number.

    Args:
        found: the predictions, one class a crop.
        class_names: in the order of their probabilities.
        of_proteins: the classes are proteins, which may be thousands: no confusion matrix then, and
            of each crop's probabilities those of what was said and of the truth.
    """
    labels, logs = found.labels, found.scores
    probabilities = np.exp(logs)
    predicted, confidence = logs.argmax(axis=1), probabilities.max(axis=1)
    names = list(class_names)
    bins = reliability(confidence, predicted == labels)
    proteins = protein_table(found.crops["protein"].tolist(), labels, probabilities, names)
    metrics = classification_metrics(  # log_softmax changes nothing in `logs`
        labels, logs, names, confusion_matrix=not of_proteins
    )
    precisions = average_precisions(labels[:, np.newaxis] == np.arange(len(names)), logs)
    for of_class, score in zip(metrics["per_class"].values(), precisions, strict=True):
        of_class["prevalence"] = of_class["support"] / len(labels)
        of_class["average_precision"] = score
    per_class = pd.DataFrame.from_dict(metrics["per_class"], orient="index").astype(
        dict.fromkeys(("precision", "recall", "f1", "average_precision"), float)
    )
    metrics |= _majority(per_class["support"].to_numpy())
    metrics |= {
        "macro_average_precision": float(per_class["average_precision"].mean()),
        "top_k_accuracy": {str(k): _top_k_accuracy(labels, logs, k) for k in _ks(names)},
        "calibration": {
            "num_bins": NUM_BINS,
            "expected_calibration_error": expected_calibration_error(bins),
            "mean_confidence": float(confidence.mean()),
        },
        "proteins": protein_metrics(proteins),
    }
    tables = {
        "per_class": per_class.rename_axis("class"),
        "per_protein": proteins.set_index("protein"),
        "reliability": bins.set_index("above"),
    }
    classes = np.asarray(names, object)
    columns = {"label": classes[labels], "predicted": classes[predicted]}
    if of_proteins:
        columns |= {"probability": confidence}
        columns |= {"probability_of_label": probabilities[np.arange(len(labels)), labels]}
    else:
        tables["confusion"] = pd.DataFrame(metrics["confusion_matrix"], names, names)
        columns |= {f"probability_{name}": probabilities[:, i] for i, name in enumerate(names)}
    predictions = pd.concat([found.crops, pd.DataFrame(columns)], axis=1)
    return Summary(metrics, tables, predictions)


def _ks(names: Sequence[str]) -> list[int]:
    return [k for k in _TOP if k < len(names)]


def _top_k_accuracy(labels: NDArray[np.int64], scores: NDArray[np.floating], k: int) -> float:
    """Share of crops whose class is among the k highest; of tied classes the first ones count."""
    highest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((highest == labels[:, np.newaxis]).any(axis=1).mean())


def _majority(support: NDArray[np.int64]) -> dict[str, Any]:
    """What the other averages are for whoever always says the most frequent classes."""
    shares = np.sort(support)[::-1] / support.sum()
    present = int((support > 0).sum())
    return {
        "majority_balanced_accuracy": 1 / present,
        "majority_macro_f1": float(2 * shares[0] / (1 + shares[0]) / present),
        "majority_top_k_accuracy": {
            str(k): float(shares[:k].sum()) for k in _TOP if k < len(support)
        },
    }
