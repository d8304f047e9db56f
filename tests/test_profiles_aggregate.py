from __future__ import annotations

import numpy as np
import pytest

from deeploc_tf.profiles.aggregate import MeanProfiles


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_profiles_are_the_means_of_naive_loops(batch_size: int) -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(50, 4)).astype(np.float32)
    proteins = [["", "AAC1", "AAH1", "β-TUB"][i] for i in random.integers(0, 4, 50)]
    profiles = MeanProfiles(4)
    for start in range(0, 50, batch_size):
        part = slice(start, start + batch_size)
        profiles.add(features[part], proteins[part])
    table = profiles.table({"layer": "fc_2", "kind": "embeddings"})
    assert table.features.dtype == np.float32
    assert table.metadata["protein"].tolist() == ["AAC1", "AAH1", "β-TUB"]
    for row, name in enumerate(table.metadata["protein"]):
        mine = [f for f, protein in zip(features, proteins, strict=True) if protein == name]
        assert table.metadata["num_crops"][row] == len(mine)
        mean = [sum(float(f[i]) for f in mine) / len(mine) for i in range(4)]
        np.testing.assert_allclose(table.features[row], mean, rtol=1e-6)
    assert table.provenance == {"layer": "fc_2", "kind": "profiles"}


def test_many_cells_do_not_drift() -> None:
    # Summed in float32, 0.1 twenty thousand times is off in the fourth digit.
    profiles = MeanProfiles(1)
    for _ in range(200):
        profiles.add(np.full((100, 1), 0.1, np.float32), ["AAC1"] * 100)
    np.testing.assert_allclose(profiles.table({}).features, np.float32(0.1), rtol=1e-7)


def test_no_proteins_make_an_empty_table() -> None:
    profiles = MeanProfiles(3)
    profiles.add(np.ones((2, 3), np.float32), ["", ""])
    profiles.add(np.ones((0, 3), np.float32), [])
    table = profiles.table({})
    assert table.features.shape == (0, 3)
    assert table.metadata.columns.tolist() == ["protein", "num_crops"]


def test_a_protein_for_every_cell_is_needed() -> None:
    with pytest.raises((ValueError, IndexError)):
        MeanProfiles(2).add(np.ones((3, 2), np.float32), ["AAC1", "AAC1"])
