from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from deeploc_tf.profiles.tables import (
    VectorTable,
    in_memory,
    read_table,
    table_format,
    write_table,
    writing,
    writing_table,
)
from deeploc_tf.profiles.tables.h5ad import MissingAnnDataError

SUFFIXES = (".npz", ".h5ad")
NAMES = ("conv_5_max_0", "fc_2_0", "fc_2_1")


def table(count: int = 24) -> VectorTable:
    random = np.random.default_rng(0)
    metadata = pd.DataFrame(
        {
            "key": [f"ÄAC/{i}" for i in range(count)],
            "protein": [f"AAC{i % 4}" for i in range(count)],
            "plate": [f"plate {i % 2}" for i in range(count)],
            "well": [f"A0{i % 3}" for i in range(count)],
            "site": [2**53 + 1 + i for i in range(count)],
            "focus": [0.5 * i for i in range(count)],
        }
    )
    provenance = {"kind": "embeddings", "layer": "conv_5:max+fc_2", "pixel": None, "µ": [1, 2]}
    features = random.normal(size=(count, 3)).astype(np.float32)
    features[:, 0] += np.repeat([0, 1, 2, 3], count // 4) if count else 0
    return VectorTable(features, metadata, provenance, NAMES)


def skip_without_anndata(suffix: str) -> None:
    if suffix == ".h5ad":
        pytest.importorskip("anndata")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("count", [24, 0])
def test_a_table_comes_back_as_it_went(suffix: str, count: int, tmp_path: Path) -> None:
    skip_without_anndata(suffix)
    path, again = tmp_path / f"cells{suffix}", tmp_path / f"again{suffix}"
    write_table(path, table(count))
    found = read_table(path)
    np.testing.assert_array_equal(found.features, table(count).features)
    assert found.features.dtype == np.float32
    pd.testing.assert_frame_equal(found.metadata, table(count).metadata, check_dtype=False)
    assert found.feature_names == NAMES
    assert found.provenance["layer"] == "conv_5:max+fc_2"
    assert found.provenance["pixel"] is None
    write_table(again, table(count))
    assert again.read_bytes() == path.read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".parquet"])
def test_a_streamed_table_is_converted(suffix: str, tmp_path: Path) -> None:
    skip_without_anndata(suffix)
    write_table(tmp_path / "cells.h5", table())
    write_table(tmp_path / f"cells{suffix}", read_table(tmp_path / "cells.h5"))
    found = read_table(tmp_path / f"cells{suffix}")
    np.testing.assert_array_equal(found.features, table().features)
    assert found.feature_names == NAMES


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_does_not_fit_into_memory_is_refused(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_without_anndata(suffix)
    monkeypatch.setattr(in_memory, "MOST_BYTES", 24 * 3 * 4 - 1)
    with pytest.raises(ValueError, match=r"24 rows of 3 .*Write \.h5 or \.parquet"):
        write_table(tmp_path / f"cells{suffix}", table())

    def streamed() -> None:
        columns = {"protein": "text"}
        with writing_table(tmp_path / f"cells{suffix}", NAMES, columns, {}) as writer:
            for _ in range(24):
                writer.append(np.zeros((1, 3), np.float32), {"protein": ["AAC1"]})

    with pytest.raises(ValueError, match="must fit into memory"):
        streamed()
    assert list(tmp_path.iterdir()) == []
    write_table(tmp_path / "cells.h5", table())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_half_a_file_is_refused(suffix: str, tmp_path: Path) -> None:
    skip_without_anndata(suffix)
    path = tmp_path / f"cells{suffix}"
    write_table(path, table())
    content = path.read_bytes()
    for damaged in (b"", b"text", content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"`embed` or `measure` wrote.*Write it again"):
            read_table(path)


def test_objects_in_an_npz_are_not_unpickled(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"provenance": np.array([{"columns": {}}], object)}
    np.savez(tmp_path / "cells.npz", **arrays)
    with pytest.raises(ValueError, match="one that `embed` or `measure` wrote"):
        read_table(tmp_path / "cells.npz")


def test_h5ad_without_anndata_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(MissingAnnDataError, match="pip install 'anndata>="):
        write_table(tmp_path / "cells.h5ad", table())
    assert list(tmp_path.iterdir()) == []


def test_the_bytes_do_not_tell_how_rows_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_BLOCK_BYTES", 8 * 12)
    monkeypatch.setattr(table_format, "_CHUNK_BYTES", 4 * 12)  # blocks of 8 rows
    for suffix in (".h5", ".parquet"):
        contents = []
        for size in (1, 5, 8, 24):
            path = tmp_path / f"cells{size}{suffix}"
            columns = {"key": "text", "site": "int64"}
            with writing_table(path, NAMES, columns, {}) as writer:
                for start in range(0, 24, size):
                    rows = slice(start, start + size)
                    described = table().metadata[rows]
                    writer.append(
                        table().features[rows], {name: described[name].tolist() for name in columns}
                    )
            np.testing.assert_array_equal(read_table(path).features, table().features)
            contents.append(path.read_bytes())
        assert contents == contents[:1] * 4
    assert pq.ParquetFile(tmp_path / "cells5.parquet").num_row_groups == 3


def test_pycytominer_normalizes_and_aggregates_the_parquet(tmp_path: Path) -> None:
    pycytominer = pytest.importorskip("pycytominer")
    path = tmp_path / "cells.parquet"
    write_table(path, table())
    frame = pd.read_parquet(path)
    names = list(NAMES)
    normalized = pycytominer.normalize(path, features=names, method="standardize")
    values = table().features.astype(float)
    expected = (values - values.mean(axis=0)) / values.std(axis=0)
    np.testing.assert_allclose(normalized[names], expected, atol=1e-5)
    assert normalized["Metadata_Protein"].tolist() == table().metadata["protein"].tolist()
    profiles = pycytominer.aggregate(
        frame, strata=["Metadata_Plate", "Metadata_Well"], features=names, operation="mean"
    )
    groups = pd.DataFrame(values).groupby([table().metadata["plate"], table().metadata["well"]])
    np.testing.assert_allclose(profiles[names], groups.mean(), atol=1e-6)


def test_copairs_finds_replicates_in_the_parquet(tmp_path: Path) -> None:
    copairs_map = pytest.importorskip("copairs.map")
    write_table(tmp_path / "cells.parquet", table())
    frame = pd.read_parquet(tmp_path / "cells.parquet")
    found = copairs_map.average_precision(
        frame.filter(regex="^Metadata_"),
        frame[list(NAMES)].to_numpy(),
        pos_sameby=["Metadata_Protein"],
        pos_diffby=[],
        neg_sameby=[],
        neg_diffby=["Metadata_Protein"],
    )
    assert len(found) == 24
    assert found["average_precision"].between(0, 1).all()
    assert found["n_pos_pairs"].eq(5).all()


def test_anndata_reads_the_h5ad(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    write_table(tmp_path / "cells.h5ad", table())
    found = anndata.read_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(found.X, table().features)
    assert found.obs_names.tolist() == table().metadata["key"].tolist()
    assert found.obs["well"].tolist() == table().metadata["well"].tolist()
    assert found.var_names.tolist() == list(NAMES)
    assert '"layer": "conv_5:max+fc_2"' in found.uns["deeploc_tf"]
    profiles = VectorTable(table(4).features, table(4).metadata[["protein"]], {}, NAMES)
    write_table(tmp_path / "profiles.h5ad", profiles)
    found = anndata.read_h5ad(tmp_path / "profiles.h5ad")
    assert found.obs_names.tolist() == ["AAC0", "AAC1", "AAC2", "AAC3"]
