"""The map of proteins, from one to many."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from deeploc_tf.profiles.tables import VectorTable
from deeploc_tf.report import map as protein_maps
from deeploc_tf.report.drawing import COLORS, SHAPES, picture

pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")


def groups(count: int, size: int = 15) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Profiles in `count` groups that differ in direction, and within one mostly in length."""
    random = np.random.default_rng(0)
    centers = np.repeat(random.normal(size=(count, 12)), size, axis=0)
    noise = 0.05 * random.normal(size=centers.shape)
    lengths = np.exp(random.normal(size=(len(centers), 1)))
    return ((centers + noise) * lengths).astype(np.float32)


def test_neighbors_on_the_map_are_of_one_direction() -> None:
    places = protein_maps.positions(groups(6))
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(len(places))
    assert (apart.argmin(axis=1) // 15 == np.arange(90) // 15).all()


def test_the_same_profiles_give_the_same_map() -> None:
    features = groups(3)
    first = protein_maps.positions(features)
    assert (protein_maps.positions(features) == first).all()
    assert first.dtype == np.float64


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 7, 10])
@pytest.mark.parametrize("num_features", [1, 2, 8])
def test_few_proteins(count: int, num_features: int) -> None:
    features = np.random.default_rng(count).normal(size=(count, num_features)).astype(np.float32)
    places = protein_maps.positions(features)
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()


@pytest.mark.filterwarnings("error")
def test_equal_and_zero_profiles_have_a_place() -> None:
    assert (protein_maps.positions(np.ones((9, 4), np.float32)) == 0).all()
    assert (protein_maps.positions(np.zeros((9, 4), np.float32)) == 0).all()
    mixed = groups(2, 6)
    mixed[3] = 0
    assert np.isfinite(protein_maps.positions(mixed)).all()


def test_four_proteins_are_placed_by_principal_components() -> None:
    places = protein_maps.positions(np.array([[1, 0], [2, 0], [0, 1], [0, 5]], np.float32))
    assert places[0] == pytest.approx(places[1])
    assert places[2] == pytest.approx(places[3])
    assert np.linalg.norm(places[0] - places[2]) == pytest.approx(np.sqrt(2))


def test_profiles_that_are_not_finite() -> None:
    features = groups(2)
    features[3, 0] = np.nan
    with pytest.raises(ValueError, match=r"finite. Received: 1 of 30"):
        protein_maps.positions(features)


def test_the_legend_names_every_compartment_and_how_many_it_has() -> None:
    features = groups(17, 2)
    names = [f"P{i}" for i in range(34)]
    profiles = VectorTable(features, pd.DataFrame({"protein": names}), {})
    compartments = {name: f"place {i // 2}" for i, name in enumerate(names[3:], start=3)}
    compartments["elsewhere"] = "not here"
    svg = picture(protein_maps.protein_map(profiles, compartments), "svg").decode()
    texts = [text.strip() for text in re.findall(r"<!--(.*?)-->", svg)]
    assert texts == [
        *("place 1 (1)", "place 10 (2)", "place 11 (2)", "place 12 (2)", "place 13 (2)"),
        *("place 14 (2)", "place 15 (2)", "place 16 (2)"),
        *(f"place {i} (2)" for i in range(2, 10)),
        "no compartment (3)",
    ]
    assert svg == picture(protein_maps.protein_map(profiles, compartments), "svg").decode()


def test_each_compartment_has_a_color_and_shape_of_its_own() -> None:
    pairs = {(COLORS[i % len(COLORS)], SHAPES[i % len(SHAPES)]) for i in range(40)}
    assert len(pairs) == 40


def test_a_map_of_one_protein_without_compartment() -> None:
    profiles = VectorTable(np.ones((1, 3), np.float32), pd.DataFrame({"protein": ["AAC1"]}), {})
    assert picture(protein_maps.protein_map(profiles, {})).startswith(b"\x89PNG")
