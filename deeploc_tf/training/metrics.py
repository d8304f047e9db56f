"""What a classifier is worth, from its logits: plain numbers, with the majority beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sklearn.metrics
from numpy.typing import NDArray
from scipy.special import log_softmax


def classification_metrics(
    labels: NDArray[np.int64],
    logits: NDArray[np.float32],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Accuracies, macro-F1, scores of each class, confusion matrix and the majority baseline.

    Balanced accuracy and macro-F1 average over the classes that occur in `labels`. A class without
    any prediction has precision 0 (and so F1 0), as in scikit-learn; one that does not occur has
    recall None. The majority baseline always says the most frequent class of `labels` itself: no
    constant answer does better.

    Args:
        labels: int64 `(num_crops,)`, class indices.
        logits: float32 `(num_crops, num_classes)`, before softmax.
        class_names: in the order of the logits.

    Returns:
        JSON-ready dict; `confusion_matrix` has true classes in rows, predicted ones in columns.

    Raises:
        ValueError: there is no crop, or a logit is not finite.
    """
    if len(labels) == 0 or not np.isfinite(logits).all():
        msg = (
            "Metrics need at least one crop and finite logits. Received: "
            f"{len(labels)} crops, {int((~np.isfinite(logits)).sum())} logits not finite."
        )
        raise ValueError(msg)
    num_classes = len(class_names)
    predictions = logits.argmax(axis=1)
    confusion = sklearn.metrics.confusion_matrix(labels, predictions, labels=range(num_classes))
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(
        labels, predictions, labels=range(num_classes), zero_division=0
    )
    present = support > 0
    log_likelihood = log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]
    return {
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
                "precision": float(precision[i]),
                "recall": float(recall[i]) if present[i] else None,
                "f1": float(f1[i]) if present[i] else None,
            }
            for i, name in enumerate(class_names)
        },
        "confusion_matrix": confusion.tolist(),
    }
