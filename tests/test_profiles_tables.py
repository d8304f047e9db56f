from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from deeploc_tf.profiles.tables import VectorTable, read_table, write_table, writing_table

SUFFIXES = (".h5", ".hdf5", ".parquet")
COLUMNS = {"key": "text", "protein": "text", "plate": "int64", "focus": "float32"}
NAMES = ["fc_2_0", "fc_2_1", "fc_2_2"]
PROVENANCE = {"kind": "embeddings", "layer": "fc_2", "channels": ["gfp", "µ"]}


def rows(count: int = 10) -> tuple[np.ndarray, dict[str, list[Any]]]:
    features = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    metadata = {
        "key": [f"ÄAC1/{i}" for i in range(count)],
        "protein": ["AAC1", ""] * (count // 2) + ["AAC1"] * (count % 2),
        "plate": [2**53 + 1 + i for i in range(count)],
        "focus": [0.5 * i for i in range(count)],
    }
    return features, metadata


def write(path: Path, count: int = 10, batch_size: int = 3) -> None:
    features, metadata = rows(count)
    with writing_table(path, NAMES, COLUMNS, PROVENANCE) as writer:
        for start in range(0, count, batch_size):
            part = slice(start, start + batch_size)
            writer.append(features[part], {name: v[part] for name, v in metadata.items()})
        assert writer.num_rows == count


@pytest.mark.parametrize("count", [10, 1, 0])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_comes_back_as_it_went(suffix: str, count: int, tmp_path: Path) -> None:
    path = tmp_path / f"cells{suffix}"
    write(path, count)
    table = read_table(str(path))
    features, metadata = rows(count)
    assert table.features.dtype == np.float32
    np.testing.assert_array_equal(table.features, features)
    assert {name: list(table.metadata[name]) for name in table.metadata} == metadata
    assert list(table.metadata) == list(COLUMNS)
    assert {name: table.provenance[name] for name in PROVENANCE} == PROVENANCE
    assert [path.name for path in tmp_path.iterdir()] == [f"cells{suffix}"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_number_stays_missing(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"cells{suffix}"
    with writing_table(path, ["x"], {"focus": "float32"}, {}) as writer:
        writer.append(np.zeros((2, 1), np.float32), {"focus": [float("nan"), 1.5]})
    np.testing.assert_array_equal(read_table(path).metadata["focus"], [np.nan, 1.5])


def test_parquet_is_what_pycytominer_expects(tmp_path: Path) -> None:
    write(tmp_path / "cells.parquet")
    frame = pd.read_parquet(tmp_path / "cells.parquet")
    metadata = [name for name in frame if name.startswith("Metadata_")]
    assert metadata == ["Metadata_Key", "Metadata_Protein", "Metadata_Plate", "Metadata_Focus"]
    assert [name for name in frame if name not in metadata] == NAMES
    assert {str(frame[name].dtype) for name in NAMES} == {"float32"}
    np.testing.assert_array_equal(frame[NAMES].to_numpy(), rows()[0])
    stored = json.loads(pq.read_schema(tmp_path / "cells.parquet").metadata[b"deeploc_tf"])
    assert stored["layer"] == "fc_2"


def test_hdf5_is_what_the_documentation_says(tmp_path: Path) -> None:
    write(tmp_path / "cells.h5")
    with h5py.File(tmp_path / "cells.h5") as file:
        assert file["features"].shape == (10, 3)
        assert sorted(file["metadata"]) == sorted(COLUMNS)
        assert file["metadata/key"].asstr()[0] == "ÄAC1/0"
        assert json.loads(file.attrs["provenance"])["channels"] == ["gfp", "µ"]


@pytest.mark.parametrize("suffix", [".h5", ".parquet"])
def test_a_whole_table_is_written_at_once(suffix: str, tmp_path: Path) -> None:
    metadata = pd.DataFrame({"protein": ["AAC1", "AAH1"], "num_crops": [3, 4], "share": [0.5, 1.0]})
    table = VectorTable(np.ones((2, 1), np.float32), metadata, {"kind": "profiles"})
    write_table(tmp_path / f"profiles{suffix}", table, ["fc_2_0"])
    found = read_table(tmp_path / f"profiles{suffix}")
    pd.testing.assert_frame_equal(found.metadata, metadata, check_dtype=False)
    assert found.metadata["num_crops"].dtype == np.int64
    np.testing.assert_array_equal(found.features, table.features)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_interrupted_table_leaves_nothing(suffix: str, error: Any, tmp_path: Path) -> None:
    features, metadata = rows()

    def interrupted() -> None:
        with writing_table(tmp_path / f"cells{suffix}", NAMES, COLUMNS, {}) as writer:
            writer.append(features, metadata)
            raise error

    with pytest.raises(error):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_of_unequal_length_leave_nothing(suffix: str, tmp_path: Path) -> None:
    features, metadata = rows()

    def unequal() -> None:
        with writing_table(tmp_path / f"cells{suffix}", NAMES, COLUMNS, {}) as writer:
            writer.append(features, {**metadata, "plate": [1, 2]})

    with pytest.raises((ValueError, TypeError)):
        unequal()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_no_whole_table_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"cells{suffix}"
    write(path)
    content = path.read_bytes()
    for damaged in (b"", b"text", content[: len(content) // 2], content[:-1]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"`embed` or `measure` wrote.*Write it again"):
            read_table(path)
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / f"missing{suffix}")


def test_hdf5_of_others_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = np.zeros((2, 2))
    with pytest.raises(ValueError, match="one that `embed` or `measure` wrote"):
        read_table(tmp_path / "a.h5")


def test_a_flipped_byte_of_parquet_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "cells.parquet"
    write(path, 200)
    content = path.read_bytes()
    whole = read_table(path)
    noticed = 0
    for place in range(8, len(content), 2003):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            table = read_table(path)
        except ValueError:
            noticed += 1
        else:  # statistics, and other things that are not the values
            np.testing.assert_array_equal(table.features, whole.features)
    assert noticed > 0.5 * len(range(8, len(content), 2003))


@pytest.mark.parametrize("name", ["cells", "cells.csv", "cells.h5.gz", ".parquet"])
def test_another_suffix_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.h5, \.hdf5, \.parquet"):
        write(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_columns_that_would_get_one_name_are_refused(tmp_path: Path) -> None:
    def clash() -> None:
        columns = {"field": "text", "Field": "text"}
        with writing_table(tmp_path / "cells.parquet", ["x"], columns, {}):
            pass

    with pytest.raises(ValueError, match=r"field.*Field"):
        clash()
    assert list(tmp_path.iterdir()) == []


def test_profiles_import_no_tensorflow() -> None:
    code = (
        "import sys\n"
        "import deeploc_tf, deeploc_tf.profiles.tables, deeploc_tf.profiles.aggregate\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
