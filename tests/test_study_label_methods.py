"""Controls of a study that know the training labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from deeploc_tf.profiles.tables import VectorTable
from deeploc_tf.study.config import StudyConfigError, read_study
from deeploc_tf.study.label_methods import profiles_of_labels, supervised_profiles
from deeploc_tf.study.study import run_study


def cells(labels: list[str], proteins: list[str], seed: int = 0) -> VectorTable:
    random = np.random.default_rng(seed)
    features = np.array([[max("abc".find(label), 0), 5.0, 1.0] for label in labels])
    features += random.normal(scale=0.3, size=features.shape)
    metadata = pd.DataFrame({"protein": proteins, "label": labels})
    return VectorTable(features.astype(np.float32), metadata, {})


def test_labels_of_a_protein_are_those_of_its_cells() -> None:
    found = profiles_of_labels(cells(["a", "b|c", "", "a", "c"], ["Q", "P", "Q", "Q", ""]))
    assert found.metadata["protein"].tolist() == ["P", "Q"]
    assert found.feature_names == ("a", "b", "c")
    assert found.features.tolist() == [[0, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize("labels", ["ab", "abc"])
def test_supervised_features_are_mean_logits(labels: str) -> None:
    train = cells(list(labels) * 20 + ["a|b", ""], ["P"] * (20 * len(labels) + 2))
    asked = cells(list(labels) * 4, [f"P{i % len(labels)}" for i in range(4 * len(labels))], 1)
    asked.features[0, 1] = np.nan  # at its mean
    found = supervised_profiles(train, asked)
    assert found.metadata["protein"].tolist() == [f"P{i}" for i in range(len(labels))]
    assert found.feature_names == tuple(labels)
    assert found.features.argmax(axis=1).tolist() == list(range(len(labels)))
    seen = train.features[:-2].astype(float)
    mean, sd = seen.mean(axis=0), seen.std(axis=0)
    model = LogisticRegression(max_iter=1000).fit((seen - mean) / sd, list(labels) * 20)
    logits = model.decision_function(np.nan_to_num((asked.features - mean) / sd))
    own = logits[:: len(labels)].mean(axis=0)
    assert found.features[0] == pytest.approx([-own, own] if own.ndim == 0 else own, rel=1e-4)


def test_cells_without_labels_are_told() -> None:
    table = cells(["a", "a"], ["P", "Q"])
    with pytest.raises(ValueError, match="two labels or more"):
        supervised_profiles(table, table)
    bare = VectorTable(table.features, table.metadata[["protein"]], {})
    for make in (profiles_of_labels, lambda cells: supervised_profiles(cells, cells)):
        with pytest.raises(ValueError, match="must have labels"):
            make(bare)


STUDY = """
data:
  kind: simulated
  screen: {num_proteins: 34, num_fields: 3, cells_per_field: 2, plates: 2, difficulty: 0.1}
methods:
  labels: {kind: labels}
  supervised: {kind: supervised_features, features: intensity}
  both: {kind: combined, of: [labels, supervised]}
reference: labels
draws: 1
"""


def test_keys_of_the_controls_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.replace("{kind: labels}", "{kind: labels, feature: x}"))
    with pytest.raises(StudyConfigError, match=r"`methods.labels.feature` is no key"):
        read_study(path)
    path.write_text(STUDY.replace(", features: intensity", ""))
    with pytest.raises(StudyConfigError, match=r"methods.supervised.features"):
        read_study(path)


@pytest.mark.long
def test_a_study_of_controls(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")
    (tmp_path / "study.yaml").write_text(STUDY)
    done = run_study(tmp_path / "study.yaml", tmp_path / "out", workers=1)
    scores = done.scores.set_index(["method", "standard"])
    assert len(scores) == 12
    labels = scores.loc[("labels", "compartments")]
    assert labels["average_precision"] > 2 * labels["prevalence"]
