"""How experiments/real_features.py scores a table: on tables made for it, without the real data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import real_features

from deeploc_tf.profiles.tables import VectorTable, write_table

PROTEINS = ("AAC1", "AAC3", "AAH1", "AAP1", "AAR2")


def table(path: Path, *, told: bool, holes: float = 0.0) -> Path:
    """Ten cells of each protein and field; the first feature tells the protein, if told."""
    random = np.random.default_rng(0)
    cells = pd.DataFrame(
        [(p, f) for p in PROTEINS for f in range(1, 5) for _ in range(10)],
        columns=["protein", "field"],
    )
    features = random.normal(size=(len(cells), 3)).astype(np.float32)
    codes = cells["protein"].map(PROTEINS.index).to_numpy()
    if told:
        features[:, 0] = 10 * codes + 0.1 * features[:, 0]
    features[:, 1] *= 0.01
    features[random.random(len(cells)) < holes, 2] = np.nan
    cells.insert(0, "key", [f"cell{i}" for i in range(len(cells))])
    columns = ["f0", "f1", "f2"]
    write_table(path, VectorTable(features, cells, {"kind": "embeddings"}), columns)
    return path


def test_neighbors_find_what_tells_the_protein(tmp_path: Path) -> None:
    told = real_features.accuracies(table(tmp_path / "told.parquet", told=True))
    blind = real_features.accuracies(table(tmp_path / "blind.parquet", told=False))
    assert told["5 proteins, neighbors"] > 0.7
    assert told["2 patterns, linear"] > 0.9
    assert blind["5 proteins, neighbors"] < 0.45
    assert (told["5 proteins, majority"], told["2 patterns, majority"]) == (0.2, 0.6)


def test_holes_are_filled_and_features_with_many_left_out(tmp_path: Path) -> None:
    few = real_features.accuracies(table(tmp_path / "few.parquet", told=True, holes=0.02))
    many = real_features.accuracies(table(tmp_path / "many.parquet", told=True, holes=0.3))
    assert (few["features"], many["features"]) == (3, 2)


def test_seeds_become_a_mean_and_a_spread() -> None:
    scores = {
        f"{task}, {probe}": 0.5
        for task in ("5 proteins", "2 patterns")
        for probe in ("neighbors", "linear", "majority")
    }
    other = {**scores, "5 proteins, linear": 0.7}
    text = real_features.markdown(
        {
            "one": [{"features": 3.0, **scores}],
            "two": [{"features": 8.0, **s} for s in (scores, other)],
        }
    )
    assert "| one | 3 | 0.500 | 0.500 | 0.500 | 0.500 |" in text
    assert "| two | 8 | 0.500 ± 0.000 | 0.600 ± 0.141 |" in text
