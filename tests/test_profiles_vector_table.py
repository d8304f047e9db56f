"""Tables of vectors in the forms that other packages and notebooks take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deeploc_tf.profiles.tables import VectorTable, write_table


@pytest.fixture
def table() -> VectorTable:
    metadata = pd.DataFrame({"protein": ["P1", "<b>", "P3"], "plate": [1, 2, 3]})
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    return VectorTable(features, metadata, {"kind": "profiles"}, ("a", "b"))


def test_a_frame_has_metadata_and_features(table: VectorTable) -> None:
    frame = table.to_frame()
    assert list(frame) == ["protein", "plate", "a", "b"]
    assert frame["b"].tolist() == [1, 3, 5]
    frame.loc[:, "a"] = 9
    assert table.features[0, 0] == 0
    without = VectorTable(table.features, table.metadata, {})
    assert list(without.to_frame()) == ["protein", "plate", "0", "1"]


def test_one_name_for_two_columns_is_refused(table: VectorTable) -> None:
    twice = VectorTable(table.features, table.metadata, {}, ("plate", "b"))
    with pytest.raises(ValueError, match="Received: plate in both"):
        twice.to_frame()


def test_anndata_is_that_of_the_file(table: VectorTable, tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata", reason="anndata is an extra")
    found = table.to_anndata()
    write_table(tmp_path / "table.h5ad", table)
    written = anndata.read_h5ad(tmp_path / "table.h5ad")
    np.testing.assert_array_equal(found.X, written.X)
    assert found.obs_names.tolist() == written.obs_names.tolist() == ["P1", "<b>", "P3"]
    assert found.var_names.tolist() == written.var_names.tolist() == ["a", "b"]
    assert found.obs["plate"].tolist() == written.obs["plate"].tolist() == [1, 2, 3]


def test_it_says_briefly_what_it_is(table: VectorTable) -> None:
    assert repr(table) == "VectorTable(profiles, 3 x 2: protein, plate)"
    page = table._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
