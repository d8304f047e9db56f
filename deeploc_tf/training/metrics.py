"""What a classifier is worth, from its logits: plain numbers, with the majority beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sklearn.metrics
from numpy.typing import NDArray
from scipy.special import log_softmax

_SOME = 3  # names in a note


def classification_metrics(
    labels: NDArray[np.int64],
    logits: NDArray[np.float32],
    class_names: Sequence[str],
    *,
    confusion_matrix: bool = True,
) -> dict[str, Any]:
    """Accuracies, macro-F1, scores of each class, confusion matrix and the majority baseline.

    Balanced accuracy and macro-F1 average over the classes that occur in `labels`. A class without
    any prediction has precision None, and F1 0 if it occurs; one that does not occur has recall and
    F1 None, see `notes`. The majority baseline always says the most frequent class of `labels`
    itself: no constant answer does better.

    Args:
        labels: int64 `(num_crops,)`, class indices.
        logits: float32 `(num_crops, num_classes)`, before softmax.
        class_names: in the order of the logits.
        confusion_matrix: give that as well; with thousands of classes it is large.

    Returns:
        JSON-ready dict; `confusion_matrix` has true classes in rows, predicted ones in columns.

    Raises:
        ValueError: there is no crop, or a logit is not finite.
    """
    _check(logits)
    num_classes = len(class_names)
    predictions = logits.argmax(axis=1)
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(
        labels, predictions, labels=range(num_classes), zero_division=0
    )
    present, said = support > 0, np.bincount(predictions, minlength=num_classes) > 0
    log_likelihood = log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]
    metrics: dict[str, Any] = {
        "num_crops": len(labels),
        "loss": float(-log_likelihood.mean()),
        "accuracy": float((predictions == labels).mean()),
        "balanced_accuracy": float(recall[present].mean()),
        "macro_f1": float(f1[present].mean()),
        "majority_class": class_names[int(support.argmax())],
        "majority_accuracy": float(support.max() / len(labels)),
        "per_class": {
            name: {
                "support": int(support[i]),
                "precision": float(precision[i]) if said[i] else None,
                "recall": float(recall[i]) if present[i] else None,
                "f1": float(f1[i]) if present[i] else None,
            }
            for i, name in enumerate(class_names)
        },
        "notes": _notes(class_names, present, said),
    }
    if confusion_matrix:
        confusion = sklearn.metrics.confusion_matrix(labels, predictions, labels=range(num_classes))
        metrics["confusion_matrix"] = confusion.tolist()
    return metrics


def multi_label_metrics(
    targets: NDArray[np.float32],
    logits: NDArray[np.float32],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Average precisions, ranking and F1 of a classifier whose crops have several labels.

    Average precision needs no threshold and, of a classifier that knows nothing, is the share of
    crops with the label (`prevalence`); it is not the area under an interpolated curve. The macro
    means are over the labels that occur. Precision, recall and F1 are those of probabilities above
    0.5; where one is not defined it is None, see `notes`. `accuracy` is over all crops and labels:
    where labels are rare, "never" has a high one.

    Args:
        targets: `(num_crops, num_classes)` of 0 and 1.
        logits: float32 `(num_crops, num_classes)`, before the sigmoid.
        class_names: in the order of the logits.

    Returns:
        JSON-ready dict.

    Raises:
        ValueError: there is no crop, or a logit is not finite.
    """
    _check(logits)
    truth, predictions = targets > 0.5, logits > 0
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(
        truth, predictions, average=None, zero_division=0
    )
    present, said = support > 0, np.asarray(predictions.any(axis=0))
    average_precision = average_precisions(truth, logits)
    scores = logits.astype(np.float64)
    signed = np.where(truth, scores, -scores)
    micro_f1 = sklearn.metrics.f1_score(truth, predictions, average="micro", zero_division=0)
    ranking = sklearn.metrics.label_ranking_average_precision_score(truth, scores)
    return {
        "num_crops": len(truth),
        "loss": float(np.logaddexp(0, -signed).mean()),
        "accuracy": float((predictions == truth).mean()),
        "macro_ap": float(np.mean([value for value in average_precision if value is not None])),
        "micro_ap": float(sklearn.metrics.average_precision_score(truth, scores, average="micro")),
        "label_ranking_ap": float(ranking),
        "macro_f1": float(f1[present].mean()),
        "micro_f1": float(micro_f1),
        "per_class": {
            name: {
                "support": int(support[i]),
                "prevalence": float(support[i] / len(truth)),
                "average_precision": average_precision[i],
                "precision": float(precision[i]) if said[i] else None,
                "recall": float(recall[i]) if present[i] else None,
                "f1": float(f1[i]) if present[i] else None,
            }
            for i, name in enumerate(class_names)
        },
        "notes": _notes(class_names, present, said),
    }


def _notes(
    class_names: Sequence[str], present: NDArray[np.bool_], said: NDArray[np.bool_]
) -> dict[str, str]:
    """By score of a class, why it is None and of which classes."""
    notes = {}
    for scores, defined, why in (
        ("recall, f1, average_precision", present, "No crop is of"),
        ("precision", said, "No crop is said to be of"),
    ):
        lacking = [name for name, known in zip(class_names, defined, strict=True) if not known]
        if lacking:
            more = f" and {len(lacking) - _SOME} more" if len(lacking) > _SOME else ""
            notes[scores] = f"{why}: {', '.join(lacking[:_SOME])}{more}."
    return notes


def average_precisions(
    truth: NDArray[np.bool_], scores: NDArray[np.floating]
) -> list[float | None]:
    """Average precision of each class against the rest; None where the class does not occur.

    Args:
        truth: `(num_crops, num_classes)`.
        scores: of the same shape; the higher, the sooner a crop is said to be of the class.
    """
    return [
        float(sklearn.metrics.average_precision_score(is_class, score)) if is_class.any() else None
        for is_class, score in zip(truth.T, scores.T, strict=True)
    ]


def _check(logits: NDArray[np.float32]) -> None:
    if len(logits) == 0 or not np.isfinite(logits).all():
        msg = (
            "Metrics need at least one crop and finite logits. Received: "
            f"{len(logits)} crops, {int((~np.isfinite(logits)).sum())} logits not finite."
        )
        raise ValueError(msg)
