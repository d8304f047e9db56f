"""Scores of single cells against scikit-learn, and of labels against the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deeploc_tf.benchmark.cells import cell_scores, cluster_score


def cells(noise: float = 1.5) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], Any]:
    """Vectors, labels and groups; each group is moved its own way, as a field or plate is."""
    generator = np.random.default_rng(0)
    labels, groups = generator.integers(0, 3, 150), generator.integers(0, 4, 150)
    moved = generator.normal(size=(4, 5))[groups]
    vectors = 2 * np.eye(3, 5)[labels] + moved + noise * generator.normal(size=(150, 5))
    return vectors.astype(np.float32), labels.astype(str), groups.astype(str)


def test_neighbors_and_probe_are_those_of_sklearn_leaving_one_group_out() -> None:
    vectors, labels, groups = cells()
    found = cell_scores(vectors, labels.tolist(), groups.tolist())
    for name, classifier in (
        ("knn", KNeighborsClassifier(10, metric="cosine")),
        ("linear", LogisticRegression(max_iter=300)),
    ):
        pipeline = make_pipeline(StandardScaler(), classifier)
        predicted = cross_val_predict(
            pipeline, vectors, labels, groups=groups, cv=LeaveOneGroupOut()
        )
        macro = f1_score(labels, predicted, average="macro")
        assert found[f"{name}_macro_f1"] == pytest.approx(macro, abs=1e-12)
        accuracy = balanced_accuracy_score(labels, predicted)
        assert found[f"{name}_balanced_accuracy"] == pytest.approx(accuracy, abs=1e-12)
        assert accuracy > found["chance_balanced_accuracy"] == 1 / 3
    assert (found["cells_scored"], found["groups"], found["folds"]) == (150, 4, 4)


def test_a_group_is_never_predicted_from_itself() -> None:
    # a vector says its group and nothing else, and a label has the groups of one parity
    groups = np.repeat(np.arange(8), 10)
    labels = (groups % 2).astype(str)
    vectors = np.eye(8, dtype=np.float32)[groups]
    found = cell_scores(vectors, labels.tolist(), groups.astype(str).tolist())
    assert found["knn_balanced_accuracy"] <= 0.5
    # four folds of two groups each: whole groups are dealt
    dealt = cell_scores(vectors, labels.tolist(), groups.astype(str).tolist(), max_folds=4)
    assert dealt["folds"] == 4
    assert dealt["linear_balanced_accuracy"] <= 0.5


def test_cells_that_cannot_be_scored_are_counted() -> None:
    vectors, labels, groups = cells()
    vectors[0] = np.nan
    names = labels.tolist()
    names[1], names[2], names[3] = "0|1", "", "alone"
    found = cell_scores(vectors, names, groups.tolist())
    assert found["cells_not_finite"] == 1
    assert found["cells_without_one_label"] == 2
    assert found["cells_of_labels_with_one_group"] == 1
    assert found["cells_scored"] == 146
    few = cell_scores(vectors, names, groups.tolist(), max_cells=100)
    assert few["cells_not_chosen"] == 47
    with pytest.raises(ValueError, match=r"Two labels or more.*3 labels, 0 of them"):
        cell_scores(vectors[4:], names[4:], names[4:])


def test_the_score_of_clusters_is_its_definition() -> None:
    points = np.array([[0, 0], [0, 2], [0, 4], [6, 2], [8, 2], [10, 2]], np.float32)
    labels = np.array(list("aaabbb"))
    # centers (0, 2) and (8, 2), sizes 2 and 2; variances of the centers 16 and 0
    assert cluster_score(points, labels) == pytest.approx(np.sqrt(8) / 2)
    assert cluster_score(points + 100, labels) == pytest.approx(np.sqrt(8) / 2)
    assert cluster_score(points[[0, 3]], labels[[0, 3]]) == np.inf
