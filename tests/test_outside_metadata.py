"""Metadata of outsiders: values come back as they were written, names stop no build."""

from __future__ import annotations

import datetime
import decimal
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from deeploc_tf.embedding.columns import column_values, record_features
from deeploc_tf.features.measure import measure
from deeploc_tf.ingest import build_records
from deeploc_tf.pipeline.batches import batches
from deeploc_tf.pipeline.cell_pairs import Pairs
from deeploc_tf.profiles.tables import read_table, writing_table
from deeploc_tf.profiles.tables.columns import column_types
from deeploc_tf.sources.crop_table import TableSource
from deeploc_tf.sources.source import SourceError
from tfrecords.codec import decode
from tfrecords.errors import SchemaError, SplitError
from tfrecords.manifest import Manifest, read_manifest
from tfrecords.reader import read_serialized
from tfrecords.schema import Crop, Schema, metadata_text
from tfrecords.verify import verify_deep

Columns = dict[str, Sequence[Any]]


def build(
    folder: Path, columns: Columns, table: str = "cells.csv", **options: Any
) -> tuple[Path, Manifest]:
    """Records of as many small cells as the columns have values."""
    count = len(next(iter(columns.values())))
    for number in range(count):
        image = np.random.default_rng(number).integers(1, 4000, (8, 8, 2), np.uint16)
        for channel in range(2):
            tifffile.imwrite(folder / f"{number}_{channel}.tif", image[..., channel])
    paths = {f"path{c}": [f"{n}_{c}.tif" for n in range(count)] for c in range(2)}
    keys = {"key": [f"cell {n}" for n in range(count)]}
    frame = pd.DataFrame({**keys, **paths, **columns})
    if table.endswith(".csv"):
        frame.to_csv(folder / table, index=False)
    else:
        frame.to_parquet(folder / table)
    source = TableSource(folder / table, {"gfp": "path0", "rfp": "path1"})
    manifest = build_records(source, folder / "records", **options)
    return folder / "records", manifest


def crops(records: Path) -> list[Crop]:
    manifest = read_manifest(records)
    found = [
        decode(record, manifest.schema)
        for split in manifest.split_names
        for record in read_serialized(records, split).as_numpy_iterator()
    ]
    return sorted(found, key=lambda crop: crop.key)


def texts(records: Path, column: str) -> list[str]:
    return [metadata_text(crop.metadata[column]) for crop in crops(records)]


AS_WRITTEN: dict[str, list[str]] = {
    "wells that look like powers": ["1E5", "2E5", "1E6", "10E4"],
    "runs that look like decimals": ["1.1", "1.10", "1.2", "1.20"],
    "epoch times": ["1712345678.25", "1712345679.25", "1712345680.5", "1712345690.75"],
    "large numbers": ["16777217.5", "123456789.125", "0.5", "0.25"],
    "more than int64": ["9223372036854775808", "1", "2", "3"],
    "the largest int64": ["9223372036854775807", "-9223372036854775808", "2", "3"],
    "twenty digits": ["18446744073709551615", "18446744073709551614", "1", "2"],
    "leading zeros": ["007", "7", "0007", "07"],
    "signs": ["+1.5", "-0.0", "-0", "1.5"],
    "whole numbers and decimals": ["1", "1.0", "2.5", "3"],
    "too large for float32": ["1e39", "-1e39", "1e-50", "0.0"],
    "missing ones": ["123456789", "", "16777217", ""],
    "missing decimals": ["0.5", "", "1.5", "0.25"],
    "words for nothing": ["nan", "NaN", "0.5", "inf"],
    "powers in small": ["1e-05", "1e-5", "0.00001", "1E-05"],
    "points alone": ["1.", ".5", "0.5", "1.0"],
    "dates": ["2024-01-02", "2024-1-2", "20240102", "02.01.2024"],
    "tenths": ["0.1", "0.2", "0.3", "1.7"],
    "digits that float32 lacks": ["0.123456789", "0.123456788", "0.1", "0.2"],
    "words": ["true", "True", "TRUE", "1"],
    "underscores": ["1_000", "1000", "1_0.5", "0x10"],
    "other digits": ["١٢", "12", "１２", "1２"],
}


@pytest.mark.parametrize("values", AS_WRITTEN)
def test_text_comes_back_as_it_was_written(values: str, tmp_path: Path) -> None:
    written = AS_WRITTEN[values]
    records, _ = build(tmp_path, {"x": written, "split": ["train", "test"] * 2})
    assert texts(records, "x") == written
    verify_deep(records)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-20", "0", "7"], "int64"),
        (["0.5", "1.0", "-2.25", ""], "float32"),
        (["0.1", "1e-05", "3.4028235e+38", "100000.0"], "float32"),
        (["1E5", "2", "3", "4"], "text"),
        (["0.5", "2", "3", "4"], "text"),
    ],
)
def test_numbers_that_give_their_own_text_back_are_numbers(
    values: list[str], kind: str, tmp_path: Path
) -> None:
    _, manifest = build(tmp_path, {"x": values})
    assert manifest.schema.metadata == {"x": kind}


@pytest.mark.parametrize("values", AS_WRITTEN)
def test_groups_that_differ_in_their_text_are_groups_of_their_own(
    values: str, tmp_path: Path
) -> None:
    """What a build takes for a group is one to `verify_deep`, too."""
    written = AS_WRITTEN[values]
    if len(set(written)) < 4:
        written = [text or f"{number}" for number, text in enumerate(written)]
    split = ["train", "test", "train", "train"]
    try:
        records, manifest = build(tmp_path, {"x": written, "split": split}, group_by=["x"])
    except (SourceError, SplitError):  # names that a person takes for one are told elsewhere
        return
    assert manifest.group_by == ("x",)
    verify_deep(records)


NUMBERS: dict[str, tuple[Any, str, list[str]]] = {
    "ids with a missing one": (
        [16777217.0, 16777216.0, 123456789.0, math.nan],
        "text",
        ["16777217", "16777216", "123456789", ""],
    ),
    "ids as floats": (
        [16777217.0, 16777216.0, 123456789.0, 1.0],
        "int64",
        ["16777217", "16777216", "123456789", "1"],
    ),
    "measurements": ([0.1, 0.5, 1e39, 2.0], "text", ["0.1", "0.5", "1e+39", "2.0"]),
    "tenths": ([0.1, 0.2, 0.3, 0.7], "text", ["0.1", "0.2", "0.3", "0.7"]),
    "halves": ([0.5, 1.5, -2.0, math.nan], "float32", ["0.5", "1.5", "-2.0", ""]),
    "float32": (np.array([0.1, 0.2, 3.5, 4], "float32"), "float32", ["0.1", "0.2", "3.5", "4.0"]),
    "uint64": (
        np.array([2**64 - 1, 2**63, 1, 0], "uint64"),
        "text",
        ["18446744073709551615", "9223372036854775808", "1", "0"],
    ),
    "small uint64": (np.array([5, 3, 1, 0], "uint64"), "int64", ["5", "3", "1", "0"]),
    "whole numbers with a missing one": (
        pd.array([2**62 + 1, None, 3, 4], "Int64"),
        "text",
        [str(2**62 + 1), "", "3", "4"],
    ),
    "booleans": ([True, False, True, True], "text", ["True", "False", "True", "True"]),
    "booleans with a missing one": (
        pd.array([True, None, False, True], "boolean"),
        "text",
        ["True", "", "False", "True"],
    ),
    "timestamps": (
        pd.to_datetime(
            ["2024-01-02 03:04:05.123456789", None, "2024-01-03", "2024-01-04"], format="ISO8601"
        ),
        "text",
        ["2024-01-02 03:04:05.123456789", "", "2024-01-03 00:00:00", "2024-01-04 00:00:00"],
    ),
    "dates": (
        [datetime.date(2024, 1, day) for day in range(1, 5)],
        "text",
        ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"],
    ),
    "decimals": (
        [decimal.Decimal(text) for text in ("1.10", "1.20", "2.00", "3.00")],
        "text",
        ["1.10", "1.20", "2.00", "3.00"],
    ),
    "categories": (pd.Categorical(["1E5", "x", "1E5", "x"]), "text", ["1E5", "x", "1E5", "x"]),
    "bytes": ([b"A01", b"A02", "µ".encode(), None], "text", ["A01", "A02", "µ", ""]),
    "infinity": ([math.inf, -math.inf, 0.5, 1.5], "float32", ["inf", "-inf", "0.5", "1.5"]),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_columns_of_parquet_come_back(case: str, tmp_path: Path) -> None:
    values, kind, expected = NUMBERS[case]
    columns = {"x": values, "split": ["train", "test", "train", "train"]}
    records, manifest = build(tmp_path, columns, "cells.parquet")
    assert manifest.schema.metadata == {"x": kind}
    assert texts(records, "x") == expected
    if len(set(expected)) == len(expected):
        records, _ = build(tmp_path, columns, "cells.parquet", overwrite=True, group_by=["x"])
        assert texts(records, "x") == expected
    verify_deep(records)


def test_conditions_on_columns_of_parquet_are_met_by_the_text_of_the_records(
    tmp_path: Path,
) -> None:
    columns = {"field": [1.0, 2.0, math.nan, 123456789.0]}
    records, manifest = build(
        tmp_path, columns, "cells.parquet", conditions={"test": [("field", "123456789")]}
    )
    assert manifest.num_crops("test") == 1
    assert texts(records, "field") == ["1", "2", "", "123456789"]


NAMES = ["Cell Area (um2)", "µm", "2nd", "1e39", "Größe", "a.b-c", "100%", "x:y", "{z}", "'q'"]


def test_names_of_columns_that_can_be_stored_stay_as_they_are(tmp_path: Path) -> None:
    columns: Columns = {name: ["1e39", "0.5", "x", ""] for name in NAMES}
    records, manifest = build(tmp_path, columns, group_by=["Cell Area (um2)"])
    assert list(manifest.schema.metadata) == NAMES
    assert manifest.group_by == ("Cell Area (um2)",)
    for name in NAMES:
        assert texts(records, name) == ["1e39", "0.5", "x", ""]
    verify_deep(records)


def test_names_that_cannot_be_stored_are_changed_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    columns: Columns = {
        "Intensity/GFP": ["a", "b", "c", "d"],
        "Intensity_GFP": ["e", "f", "g", "h"],
        "..": ["1", "2", "3", "4"],
        "field": ["i", "j", "k", "l"],
        "Field": ["m", "n", "o", "p"],
        "Label": ["q", "r", "s", "t"],
        "meta_label": ["u", "v", "w", "x"],
    }
    with caplog.at_level(logging.INFO):
        records, manifest = build(tmp_path, columns, group_by=["Intensity/GFP", "Field"])
    assert list(manifest.schema.metadata) == [
        *("Intensity_GFP_2", "Intensity_GFP", "__", "field", "Field_2", "Label_2", "meta_label"),
    ]
    assert manifest.group_by == ("Intensity_GFP_2", "Field_2")
    for name, column in zip(manifest.schema.metadata, columns, strict=True):
        assert texts(records, name) == columns[column]
    assert "'Intensity/GFP' is 'Intensity_GFP_2'" in caplog.text
    verify_deep(records)


@pytest.mark.parametrize(
    "name", ["", " x", "x ", "a/b", "a\\b", ".", "..", "a\nb", "a\0b", "\ud800"]
)
def test_a_schema_refuses_names_that_cannot_be_stored(name: str) -> None:
    with pytest.raises(SchemaError, match="metadata column"):
        Schema((8, 8, 1), "uint8", ("gfp",), metadata={name: "text"})


TYPES: Columns = {
    "Cell Area (um2)": ["0.1", "1e-05", "2.5", ""],
    "well": ["1E5", "2E5", "1E6", "10E4"],
    "µm": ["1", "-2", "3", "9223372036854775807"],
    "label": ["a", "b", "c", "d"],
}


@pytest.mark.parametrize("suffix", [".h5", ".parquet", ".npz"])
def test_every_table_reads_them_back_as_they_were_written(suffix: str, tmp_path: Path) -> None:
    records, manifest = build(tmp_path, TYPES)
    schema = manifest.schema
    path = tmp_path / f"cells{suffix}"
    with writing_table(path, ["a"], column_types(schema), {"kind": "test"}) as writer:
        for batch in batches(records, "train", batch_size=3, features=record_features(schema)):
            values = column_values(batch, schema, "train")
            writer.append(np.zeros((len(values["key"]), 1), np.float32), values)
    _compare(read_table(path).metadata)


def test_measured_features_carry_them(tmp_path: Path) -> None:
    records, _ = build(tmp_path, TYPES)
    measure(records, tmp_path / "cells.parquet", "intensity", splits=("train",))
    _compare(read_table(tmp_path / "cells.parquet").metadata)


def _compare(found: pd.DataFrame) -> None:
    found = found.sort_values("key").reset_index(drop=True)
    for name, written in TYPES.items():
        column = found["meta_label" if name == "label" else name]
        assert [metadata_text(value) for value in column] == written


def test_tensorflow_datasets_reads_them_back(tmp_path: Path) -> None:
    tfds = pytest.importorskip("tensorflow_datasets", reason="the extra `interop` is not installed")
    records, _ = build(tmp_path, TYPES)
    builder = tfds.builder_from_directory(str(records))
    found = sorted(
        builder.as_dataset(split="train").as_numpy_iterator(), key=lambda crop: crop["key"]
    )
    for name, written in TYPES.items():
        values = [crop["meta"][name] for crop in found]
        read = [v.decode() if isinstance(v, bytes) else metadata_text(v) for v in values]
        assert read == written


def test_pairs_of_cells_tell_numbers_apart_that_are_close(tmp_path: Path) -> None:
    focus = ["1e-08", "1e-08", "2e-08", "2e-08", "3e-08", "3e-08"]
    columns: Columns = {"focus": focus, "protein": ["A"] * 6}
    records, manifest = build(tmp_path, columns)
    assert manifest.schema.metadata == {"focus": "float32"}
    pairs = Pairs(records, "train", min_cells=2, pair_by=("protein", "focus"))
    assert "3 groups" in pairs.describe()
