"""Profiles from features with holes, with pycytominer as the oracle of the rules."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deeploc_tf.features.means import DefinedMeans
from deeploc_tf.profiles.aggregate import MeanProfiles

NAMES = ["a", "b", "c", "d"]


@pytest.fixture
def cells() -> tuple[np.ndarray, list[str]]:
    random = np.random.default_rng(0)
    vectors = random.normal(100, 5, (80, 4)).astype(np.float32)
    vectors[random.random(80) < 0.3, 1] = np.nan  # too often
    vectors[[3, 50], 2] = np.nan  # seldom
    vectors[:, 3] = 7  # constant
    return vectors, [f"AAC{i % 5}" for i in range(80)]


def profiles_of(vectors: np.ndarray, proteins: list[str]) -> tuple[pd.DataFrame, DefinedMeans]:
    means = DefinedMeans(NAMES)
    for start in range(0, len(vectors), 13):
        means.add(vectors[start : start + 13], proteins[start : start + 13])
    table, names = means.table({"features": "some"})
    frame = pd.DataFrame(table.features, table.metadata["protein"].to_list(), names)
    frame.attrs = dict(table.provenance)
    return frame, means


def test_rules_are_those_of_pycytominer(cells: tuple[np.ndarray, list[str]]) -> None:
    pycytominer = pytest.importorskip("pycytominer")
    vectors, proteins = cells
    frame = pd.DataFrame(vectors.astype(float), columns=NAMES).assign(Metadata_Protein=proteins)
    kept = pycytominer.feature_select(frame, features=NAMES, operation="drop_na_columns")
    expected = pycytominer.aggregate(
        kept, strata=["Metadata_Protein"], features=["a", "c", "d"], operation="mean"
    ).set_index("Metadata_Protein")
    found, _ = profiles_of(vectors, proteins)
    assert list(found) == ["a", "c", "d"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert list(found.index) == list(expected.index)
    assert found.attrs["features_left_out"] == ["b"]
    assert found.attrs["num_filled"] == 0
    assert found.attrs["kind"] == "profiles"


def test_without_holes_they_are_plain_means(cells: tuple[np.ndarray, list[str]]) -> None:
    vectors = np.nan_to_num(cells[0], nan=100)
    plain = MeanProfiles(4)
    plain.add(vectors, cells[1])
    found, _ = profiles_of(vectors, cells[1])
    np.testing.assert_allclose(found, plain.table({}).features, rtol=1e-6)


def test_cells_without_any_feature_count_nowhere(cells: tuple[np.ndarray, list[str]]) -> None:
    vectors, proteins = cells
    nothing = np.full((40, 4), np.nan, np.float32)
    alone, _ = profiles_of(vectors, proteins)
    mixed, means = profiles_of(np.concatenate([nothing, vectors]), ["AAC1"] * 40 + proteins)
    pd.testing.assert_frame_equal(mixed, alone)
    assert means.num_left_out == 40


def test_a_protein_without_any_cell_is_absent(cells: tuple[np.ndarray, list[str]]) -> None:
    vectors, proteins = cells
    vectors[[protein == "AAC2" for protein in proteins]] = np.nan
    assert "AAC2" not in profiles_of(vectors, proteins)[0].index


def test_a_protein_without_a_feature_gets_the_mean_of_the_others() -> None:
    vectors = np.ones((100, 4), np.float32)
    vectors[:60, 0] = 4
    vectors[98:, 0] = np.nan
    proteins = ["AAC1"] * 60 + ["AAC2"] * 38 + ["AAC3"] * 2
    frame, _ = profiles_of(vectors, proteins)
    assert frame["a"].to_dict() == {"AAC1": 4, "AAC2": 1, "AAC3": 2.5}
    assert frame.attrs["num_filled"] == 1


def test_five_percent_may_be_undefined_and_no_more() -> None:
    vectors = np.ones((100, 4), np.float32)
    vectors[:5, 1] = np.nan
    vectors[:6, 2] = np.nan
    assert list(profiles_of(vectors, ["AAC1"] * 100)[0]) == ["a", "b", "d"]
