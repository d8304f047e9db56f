"""Whether proteins, not only cells, get their class: the cells of each are heard together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def protein_table(
    proteins: Sequence[str],
    labels: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    class_names: Sequence[str],
) -> pd.DataFrame:
    """What the mean probabilities of each protein's cells say, and how many cells say the same.

    A protein whose cells have several labels counts as its most frequent one (of two as frequent,
    the first in the order of the classes). Crops without a protein are left out.

    Args:
        proteins: of each crop; "" for none.
        labels: int64 `(num_crops,)`, class indices.
        probabilities: `(num_crops, num_classes)`.
        class_names: in the order of the probabilities.

    Returns:
        A row a protein, by name: `protein`, `label`, `num_crops`, `num_crops_of_label`,
        `predicted` and `probability` (of the highest mean), `correct`, `agreement` (fraction of its
        crops whose own prediction is `predicted`).
    """
    named = np.array([bool(protein) for protein in proteins], bool)
    codes, names = pd.factorize(np.asarray(proteins, object)[named], sort=True)
    labels, probabilities = labels[named], probabilities[named]
    num_crops = np.bincount(codes, minlength=len(names))
    of_label = np.zeros((len(names), len(class_names)), np.int64)
    np.add.at(of_label, (codes, labels), 1)
    sums = np.stack(
        [np.bincount(codes, column, len(names)) for column in probabilities.T], axis=1
    ).reshape(len(names), len(class_names))
    means = sums / num_crops[:, np.newaxis]
    label, predicted = of_label.argmax(axis=1), means.argmax(axis=1)
    agreeing = probabilities.argmax(axis=1) == predicted[codes]
    classes = np.asarray(class_names, object)
    return pd.DataFrame(
        {
            "protein": names,
            "label": classes[label],
            "num_crops": num_crops,
            "num_crops_of_label": of_label.max(axis=1),
            "predicted": classes[predicted],
            "probability": means.max(axis=1),
            "correct": label == predicted,
            "agreement": np.bincount(codes, agreeing, len(names)) / num_crops,
        }
    )


def protein_metrics(table: pd.DataFrame) -> dict[str, Any]:
    """The table in a few numbers, the majority beside them; None where there is no protein.

    Args:
        table: as `protein_table` gives it.
    """
    count = len(table)
    return {
        "num_proteins": count,
        "with_several_labels": int((table["num_crops_of_label"] < table["num_crops"]).sum()),
        "accuracy": float(table["correct"].mean()) if count else None,
        "majority_accuracy": float(table["label"].value_counts().max() / count) if count else None,
        "mean_agreement": float(table["agreement"].mean()) if count else None,
    }
