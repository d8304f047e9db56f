"""Single cells: how well their vectors tell the label of cells of groups that were not seen.

Cells of one protein, field or plate are alike for reasons that have nothing to do with the label,
so all cells of a group are predicted by classifiers that saw none of it (leave one group out).
Both classifiers see features of mean 0 and standard deviation 1 over the cells that they learn
from, and every cell is predicted once.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from deeploc_tf.benchmark.labels import LABEL_COLUMNS
from deeploc_tf.profiles.tables import AnyTable, Roles, read_table
from deeploc_tf.profiles.tables.foreign import KIND, NO_ROLES
from deeploc_tf.units import check_unit, names_of_units, told_path

NUM_NEIGHBORS = 10
PROBE_STEPS = 300
MAX_FOLDS = 10
MAX_CELLS = 10_000
NO_SCATTER = "No cluster_score: points of one label do not scatter."

_log = logging.getLogger(__name__)


def table_scores(
    cells: AnyTable,
    group: Sequence[str] = ("protein",),
    *,
    name: str | None = None,
    roles: Roles = NO_ROLES,
    seed: int = 0,
) -> dict[str, Any]:
    """`cell_scores` of a table of embeddings, and what they are of, JSON-ready.

    Args:
        cells: embeddings, or their file, with a column of labels, the first of `LABEL_COLUMNS`.
        group: columns; cells of a group are predicted from other groups only. Columns above them,
            such as the plate of a field, are taken along.
        name: of the table; None takes the file's, up to its first dot.
        roles: which columns of the file name proteins, plates and wells.
        seed: as of `cell_scores`.

    Returns:
        `name`, `file`, `group`, `cells_without_group` (they are left out), and the scores.

    Raises:
        ValueError: a column is missing; else as `cell_scores`.
        OSError: the file cannot be read.
    """
    path = Path(cells) if isinstance(cells, str | Path) else None
    table = read_table(cells, roles)
    shown = path or name or "cells"
    by_name = {str(column).lower(): str(column) for column in table.metadata}
    label = next((by_name[name] for name in LABEL_COLUMNS if name in by_name), "label")
    needed = [*([] if table.provenance.get("kind") == KIND else ["key"]), label, *group]
    missing = [column for column in needed if column not in table.metadata]
    if missing:
        msg = (
            f"A table of cells must have the columns {', '.join(needed)}. Received: "
            f"{shown} without {', '.join(missing)}; it has {', '.join(map(str, table.metadata))}."
        )
        raise ValueError(msg)
    texts = table.metadata.astype(str)
    known = [str(n) for n in texts if n in group or texts[n].any()]
    columns = told_path(group, known, "`--hold-out`")
    check_unit(columns, lambda name: texts[name].tolist(), known, "`--hold-out`")
    units = names_of_units({column: texts[column].tolist() for column in columns})
    named = np.flatnonzero([bool(unit) for unit in units])
    if len(named) < len(units):
        _log.info(
            "%s: %d cells have no value of %s and were left out.",
            path.name if path else shown,
            len(units) - len(named),
            ", ".join(columns),
        )
    scores = cell_scores(
        table.features[named],
        texts[label].iloc[named].tolist(),
        [units[row] for row in named],
        seed=seed,
    )
    return {
        "name": name or (path.name.split(".")[0] if path else shown),
        "file": path.name if path else None,
        "group": ",".join(columns),
        "cells_without_group": len(units) - len(named),
        **scores,
    }


def cell_scores(
    features: NDArray[np.float32],
    labels: Sequence[str],
    groups: Sequence[str],
    *,
    num_neighbors: int = NUM_NEIGHBORS,
    max_folds: int = MAX_FOLDS,
    max_cells: int = MAX_CELLS,
    seed: int = 0,
) -> dict[str, Any]:
    """Macro-F1 and balanced accuracy of nearest neighbors and of a linear probe, JSON-ready.

    Left out and counted are cells whose vector is not finite, cells without a label or with
    several (`a|b`), and labels that only one group has: nobody could learn them from others.

    Args:
        features: float32 `(num_cells, num_features)`.
        labels: of each cell.
        groups: of each cell.
        num_neighbors: that vote for the label, by cosine.
        max_folds: groups are dealt whole to as many folds where there are more of them.
        max_cells: a random choice of so many is scored where there are more.
        seed: of the choice, and of the order in which groups are dealt.

    Returns:
        `knn_macro_f1`, `knn_balanced_accuracy`, `linear_macro_f1`, `linear_balanced_accuracy`,
        `chance_balanced_accuracy` (one by the number of labels), `cluster_score` of the labels (see
        `cluster_score`; None where points do not scatter, then `notes` says so), and counts.

    Raises:
        ValueError: fewer than two labels have two groups, or all vectors are equal.
    """
    features, label, group = np.asarray(features), np.asarray(labels), np.asarray(groups)
    usable = np.isfinite(features).all(axis=1)
    single = np.array([bool(name) and "|" not in name for name in label.tolist()], bool)
    kept = np.flatnonzero(usable & single)
    generator = np.random.default_rng(seed)
    counts = {
        "cells": len(label),
        "cells_not_finite": int((~usable).sum()),
        "cells_without_one_label": int((usable & ~single).sum()),
        "cells_not_chosen": max(0, len(kept) - max_cells),
    }
    kept = np.sort(generator.permutation(kept)[:max_cells])
    pairs = {
        (name, of) for name, of in zip(label[kept].tolist(), group[kept].tolist(), strict=True)
    }
    names, times = np.unique([name for name, _ in pairs], return_counts=True)
    learnable = names[times > 1]
    known = np.isin(label[kept], learnable)
    counts["cells_of_labels_with_one_group"] = int((~known).sum())
    kept = kept[known]
    if len(learnable) < 2:
        msg = (
            "Two labels or more must have cells of two groups or more, so that one can be "
            f"predicted from others. Received: {len(names)} labels, {len(learnable)} of them with "
            f"two groups; {counts}. Group cells by what crosses labels, such as fields."
        )
        raise ValueError(msg)
    features, label, group = features[kept], label[kept], group[kept]
    if (features == features[0]).all():
        msg = f"Vectors of cells must differ. Received: {len(kept)} cells with equal ones."
        raise ValueError(msg)
    folds = _folds(group, max_folds, generator)
    values: dict[str, Any] = {
        **counts,
        "cells_scored": len(kept),
        "labels": len(learnable),
        "groups": len(np.unique(group)),
        "folds": int(folds.max()) + 1,
        "chance_balanced_accuracy": 1 / len(learnable),
    }
    for name, predicted in _predictions(features, label, folds, num_neighbors).items():
        values[f"{name}_macro_f1"] = float(f1_score(label, predicted, average="macro"))
        values[f"{name}_balanced_accuracy"] = float(balanced_accuracy_score(label, predicted))
    values["cluster_score"] = finite_or_none(cluster_score(features, label))
    if values["cluster_score"] is None:
        values["notes"] = {"cluster_score": NO_SCATTER}
    return values


def cluster_score(features: NDArray[Any], labels: NDArray[Any]) -> float:
    """How far apart labels are, in units of how far their points scatter; higher is better.

    A label's center is the median of its points, feature by feature, and its size the median
    distance of its points from there. The score is the standard deviation of the centers around
    their mean, over all features, divided by the median size; infinite where the sizes are zero.
    cytoself takes it of a map in two dimensions, and around one mean of both; ours is of the
    vectors themselves, so the two are not comparable in size.

    Args:
        features: `(num_points, num_features)`.
        labels: `(num_points,)`.

    References:
        Kobayashi et al. 2022, Nature Methods 19:995, and the code of cytoself.
    """
    values = np.asarray(features, np.float64)
    members = [values[labels == name] for name in np.unique(labels)]
    centers = np.array([np.median(points, axis=0) for points in members])
    sizes = [
        np.median(np.linalg.norm(points - center, axis=1))
        for points, center in zip(members, centers, strict=True)
    ]
    between = float(np.sqrt(centers.var(axis=0).mean()))
    within = float(np.median(sizes))
    return between / within if within else float("inf")


def finite_or_none(value: float) -> float | None:
    """A number that JSON has, or None."""
    return float(value) if np.isfinite(value) else None


def _folds(
    groups: NDArray[Any], max_folds: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """The fold of each cell: that of its group, the largest groups dealt first to the smallest."""
    names, number, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) <= max_folds:
        return np.asarray(number, np.int64)
    order = generator.permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold, filled = np.empty(len(names), np.int64), np.zeros(max_folds, np.int64)
    for group in order:
        fold[group] = np.argmin(filled)
        filled[fold[group]] += sizes[group]
    return fold[number]


def _predictions(
    features: NDArray[np.float32], labels: NDArray[Any], folds: NDArray[np.int64], neighbors: int
) -> dict[str, NDArray[Any]]:
    """What each classifier says of every cell, having seen none of its fold."""
    found = {"knn": labels.copy(), "linear": labels.copy()}
    for fold in range(int(folds.max()) + 1):
        inside = folds == fold
        learned = labels[~inside]
        scaler = StandardScaler().fit(features[~inside])
        seen, asked = scaler.transform(features[~inside]), scaler.transform(features[inside])
        if (learned == learned[0]).all():  # groups of all other labels were dealt to this fold
            for predicted in found.values():
                predicted[inside] = learned[0]
            continue
        nearest = KNeighborsClassifier(min(neighbors, len(seen)), metric="cosine")
        found["knn"][inside] = nearest.fit(seen, learned).predict(asked)
        with warnings.catch_warnings():
            # so many steps are the probe's definition
            warnings.simplefilter("ignore", ConvergenceWarning)
            probe = LogisticRegression(max_iter=PROBE_STEPS).fit(seen, learned)
        found["linear"][inside] = probe.predict(asked)
    return found
