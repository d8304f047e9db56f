"""Controls that know the training labels: the labels themselves, and classic features that do."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from deeploc_tf.benchmark.labels import label_profiles, read_labels
from deeploc_tf.profiles.tables import VectorTable

_STEPS = 1000


def profiles_of_labels(cells: VectorTable) -> VectorTable:
    """The labels of each protein's cells, a number a label: 1 where a cell has it, else 0.

    Args:
        cells: a row per cell; `label` holds its labels, with `|` between.

    Raises:
        ValueError: no cell has a label.
    """
    labels: dict[str, set[str]] = {}
    for protein, text in zip(cells.metadata["protein"], _labels_of(cells), strict=True):
        if protein:
            labels.setdefault(protein, set()).update(filter(None, text.split("|")))
    return label_profiles(read_labels(labels))


def supervised_profiles(train: VectorTable, cells: VectorTable) -> VectorTable:
    """Logits of labels by logistic regression on features of cells, averaged by protein.

    Features are standardized by the training cells; one that is not defined is at its mean.

    Args:
        train: cells to learn from; those without one label are left out.
        cells: cells to profile, with the same features.

    Returns:
        A row per protein in alphabetical order, a feature per label.

    Raises:
        ValueError: the training cells have no labels, or fewer than two.
    """
    labels = _labels_of(train)
    single = np.array([bool(text) and "|" not in text for text in labels.tolist()], bool)
    if len(names := np.unique(labels[single])) < 2:
        msg = (
            "Cells that features learn labels from must have two labels or more. Received: "
            f"{', '.join(names) or 'none'}. Use `features` without labels."
        )
        raise ValueError(msg)
    seen = _defined(train.features[single])
    scaler = StandardScaler().fit(seen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so many steps are the definition
        model = LogisticRegression(max_iter=_STEPS).fit(
            np.nan_to_num(scaler.transform(seen)), labels[single]
        )
    logits = model.decision_function(np.nan_to_num(scaler.transform(_defined(cells.features))))
    if logits.ndim == 1:  # two labels have one number between them
        logits = np.stack([-logits, logits], axis=1)
    frame = pd.DataFrame(logits).groupby(cells.metadata["protein"].to_numpy()).mean()
    frame = frame.loc[frame.index != ""]
    provenance = {"kind": "supervised features", "labels": names.tolist()}
    metadata = pd.DataFrame({"protein": frame.index.astype(str)})
    return VectorTable(frame.to_numpy(np.float32), metadata, provenance, tuple(names.tolist()))


def _labels_of(cells: VectorTable) -> NDArray[np.str_]:
    if "label" not in cells.metadata:
        msg = (
            "Cells must have labels. Received: records without. Leave out methods of the kinds "
            "`labels` and `supervised_features`, or build records with labels."
        )
        raise ValueError(msg)
    return np.asarray(cells.metadata["label"], str)


def _defined(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Features, NaN where they are not finite."""
    return np.where(np.isfinite(features), features, np.nan).astype(np.float64)
