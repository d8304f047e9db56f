"""Numbers of objects and places of cells: whole numbers stay whole, and keys tell cells apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tifffile
from pyarrow import parquet

from deeploc_tf.ingest import plan_records
from deeploc_tf.sources import CellTable, FieldSource, SourceError
from deeploc_tf.sources.masks import as_labels
from deeploc_tf.sources.source import RejectedCrop

BEYOND = 2**53  # from here on float64 holds every second whole number only
PAIRS = [
    (20240101001, 20240101002),
    (99999999991, 99999999992),
    (BEYOND, BEYOND + 1),
    (2**63 - 2, 2**63 - 1),
]


def write_field(root: Path, objects: tuple[int, ...], dtype: str = "int64") -> None:
    """A field `a` with an object of 10 x 10 pixels every 30 pixels, the first at x=15 to 24."""
    random = np.random.default_rng(1)
    tifffile.imwrite(root / "a_gfp.tif", random.integers(1, 4000, (60, 90), "uint16"))
    labels = np.zeros((60, 90), dtype)
    for place, number in enumerate(objects):
        labels[15:25, 15 + 30 * place : 25 + 30 * place] = number
    np.save(root / "a_lab.npy", labels)


def source_of(root: Path, cells: CellTable | None = None) -> FieldSource:
    return FieldSource(
        root, "{field}_{channel}.tif", ("gfp",), label_image="{field}_lab.npy", cells=cells,
        crop_size=16,
    )  # fmt: skip


def by_number(root: Path, values: Any, suffix: str = ".csv") -> FieldSource:
    """The cells whose numbers are `values`: text for .csv, an Arrow array for .parquet."""
    path = root / f"cells{suffix}"
    if suffix == ".csv":
        path.write_text("image,n\n" + "".join(f"a_gfp.tif,{value}\n" for value in values))
    else:
        table = pa.table({"image": pa.array(["a_gfp.tif"] * len(values)), "n": values})
        parquet.write_table(table, path)
    return source_of(root, CellTable(path, number="n"))


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_objects_of_a_label_image_keep_their_numbers(
    tmp_path: Path, one: int, other: int, dtype: str
) -> None:
    write_field(tmp_path, (one, other), dtype)
    source = source_of(tmp_path)
    index = source.index()
    assert index["key"].tolist() == [f"a:{one}", f"a:{other}"]
    assert index["object"].tolist() == [one, other]
    for row in range(2):
        mask = source.read(row)[1]
        assert mask is not None
        assert mask.sum() == 100


@pytest.mark.parametrize("suffix", [".csv", ".parquet", "of uint64", "of text"])
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_cells_asked_for_by_number_are_those_cells(
    tmp_path: Path, one: int, other: int, suffix: str
) -> None:
    write_field(tmp_path, (one, other))
    types = {".parquet": pa.int64(), "of uint64": pa.uint64(), "of text": pa.string()}
    values: Any = [one, other]
    if suffix != ".csv":
        values = pa.array(map(str, values) if suffix == "of text" else values, types[suffix])
    source = by_number(tmp_path, values, suffix if suffix == ".csv" else ".parquet")
    index = source.index()
    assert index["key"].tolist() == [f"a:{one}", f"a:{other}"]
    assert index["object"].tolist() == [one, other]
    assert index["x"].tolist() == [20, 50]
    plan = plan_records(source)  # keys are unique
    assert plan.metadata["object"] == [one, other]


def test_one_cell_asked_for_is_not_its_neighbor(tmp_path: Path) -> None:
    write_field(tmp_path, (BEYOND, BEYOND + 1))
    index = by_number(tmp_path, [BEYOND + 1]).index()
    assert index[["key", "object", "x"]].to_numpy().tolist() == [
        [f"a:{BEYOND + 1}", BEYOND + 1, 50]
    ]


@pytest.mark.parametrize(
    "text", ["20240101002", "20240101002.0", " 20240101002 ", "2.0240101002e10", "+20240101002"]
)
def test_ways_to_write_a_whole_number(tmp_path: Path, text: str) -> None:
    write_field(tmp_path, (20240101001, 20240101002))
    index = by_number(tmp_path, [text]).index()
    assert index[["key", "object"]].to_numpy().tolist() == [["a:20240101002", 20240101002]]


@pytest.mark.parametrize(
    "text",
    [
        "3.5",
        "0",
        "-3",
        "nan",
        "",
        "9007199254740993.5",
        "1e400",
    ],
)
def test_what_is_no_number_of_an_object_is_set_aside(tmp_path: Path, text: str) -> None:
    write_field(tmp_path, (3, BEYOND + 1))
    source = by_number(tmp_path, ["3", text])
    assert source.index()["object"].tolist() == [3]
    assert [reject.reason for reject in source.rejects] == ["place is not known"]


@pytest.mark.parametrize("text", ["three", "0x10", "1,5", "1_000"])
def test_what_is_no_number_at_all_is_refused(tmp_path: Path, text: str) -> None:
    write_field(tmp_path, (3,))
    with pytest.raises(ValueError, match="must be a number"):
        by_number(tmp_path, [f'"{text}"']).index()


@pytest.mark.parametrize("number", [2**64 + 3, 2**63 + 3, 10**30])
def test_number_beyond_every_label_image_is_not_another_object(tmp_path: Path, number: int) -> None:
    write_field(tmp_path, (3,))
    source = by_number(tmp_path, ["3", number])
    assert source.index()["object"].tolist() == [3]
    assert [reject.reason for reject in source.rejects] == ["object is not in the label image"]


@pytest.mark.parametrize(
    ("dtype", "limit"), [("float64", BEYOND), ("float32", 2**24), ("float16", 2**11)]
)
def test_floats_that_may_have_been_rounded_are_no_numbers_of_objects(
    tmp_path: Path, dtype: str, limit: int
) -> None:
    write_field(tmp_path, (limit - 1, 7), "int64")
    values = pa.array(np.array([limit - 1, 7], dtype))
    assert by_number(tmp_path, values, ".parquet").index()["object"].tolist() == [limit - 1, 7]
    values = pa.array(np.array([7, limit], dtype))
    with pytest.raises(SourceError, match=f"below {limit}.*{limit} in column 'n'"):
        by_number(tmp_path, values, ".parquet").index()
    labels = np.zeros((4, 4), dtype)
    labels[0, 0] = limit - 1
    assert as_labels(labels, "a").max() == limit - 1
    labels[0, 0] = limit
    with pytest.raises(RejectedCrop) as caught:
        as_labels(labels, "a.npy")
    assert caught.value.reason == "label image has numbers that are too large"


def test_numbers_with_gaps_in_parquet_stay_whole(tmp_path: Path) -> None:
    """pandas makes float64 of a column of whole numbers in which some are missing."""
    write_field(tmp_path, (BEYOND, BEYOND + 1))
    values = pa.array([BEYOND + 1, None], pa.int64())
    source = by_number(tmp_path, values, ".parquet")
    assert source.index()["object"].tolist() == [BEYOND + 1]
    assert [reject.reason for reject in source.rejects] == ["place is not known"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("one", "other"), [(20.12345678901, 20.12345678902), (20.25, 20.250000000000004)]
)
@pytest.mark.parametrize("form", ["center", "box"])
def test_places_that_are_near_each_other_are_two_cells(
    tmp_path: Path, form: str, one: float, other: float, suffix: str
) -> None:
    write_field(tmp_path, (1,))
    columns: dict[str, list[Any]] = {"image": ["a_gfp.tif"] * 2, "x": [one, other], "y": [20, 20]}
    options: dict[str, Any] = {}
    if form == "box":
        columns |= {"right": [one + 4, other + 4], "bottom": [24, 24]}
        options = {"box": ("x", "y", "right", "bottom")}
    frame = pd.DataFrame(columns)
    path = tmp_path / f"cells{suffix}"
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    keys = source_of(tmp_path, CellTable(path, **options)).index()["key"]
    assert keys.is_unique
    assert keys[0].startswith(f"a:{one},20")


def test_keys_of_plain_places_are_as_short_as_ever(tmp_path: Path) -> None:
    write_field(tmp_path, (1,))
    (tmp_path / "cells.csv").write_text("image,x,y\na_gfp.tif,20.0,20\na_gfp.tif,20.5,2.1e1\n")
    index = source_of(tmp_path, CellTable(tmp_path / "cells.csv")).index()
    assert index["key"].tolist() == ["a:20,20", "a:20.5,21"]
