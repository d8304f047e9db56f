"""Tables: strict reading with lines, and crops whose paths stand in columns."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile

from deeploc_tf.sources import SourceError, TableSource
from deeploc_tf.text_tables import TableError, read_table

COLUMNS = {"gfp": "path_gfp", "rfp": "path_rfp"}


@pytest.fixture
def table(write_crops: Callable[..., Path]) -> pd.DataFrame:
    """A table of the crops in folder `crops`, with paths relative to its parent."""
    root = write_crops()
    rows = []
    for path in sorted(root.rglob("*_gfp.tif")):
        name = path.relative_to(root.parent).as_posix()
        rows.append(
            {
                "path_gfp": name,
                "path_rfp": name.replace("_gfp.tif", "_rfp.tif"),
                "protein": path.parent.name,
                "field": path.name.split("_")[1],
            }
        )
    return pd.DataFrame(rows)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_table_gives_the_crops_that_it_lists(
    tmp_path: Path, table: pd.DataFrame, suffix: str
) -> None:
    path = tmp_path / f"cells{suffix}"
    if suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="," if suffix == ".csv" else "\t")
    source = TableSource(path, COLUMNS)
    index = source.index()
    assert list(index.columns) == ["key", "protein", "field"]
    assert index["key"].tolist() == table["path_gfp"].tolist()
    image, mask = source.read(5)
    assert mask is None
    for number, column in enumerate(COLUMNS.values()):
        expected = tifffile.imread(tmp_path / table[column][5])
        np.testing.assert_array_equal(image[..., number], expected)


def test_byte_order_mark_and_line_ends_do_not_matter(tmp_path: Path, table: pd.DataFrame) -> None:
    text = table.to_csv(index=False)
    (tmp_path / "plain.csv").write_text(text, newline="")
    (tmp_path / "windows.csv").write_bytes(
        b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n"
    )
    plain, windows = read_table(tmp_path / "plain.csv"), read_table(tmp_path / "windows.csv")
    pd.testing.assert_frame_equal(plain, windows)


def test_text_stays_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('a,b\n01,NA\n" x ",\n"1,5",nan\n')
    frame = read_table(tmp_path / "a.csv")
    assert frame.to_numpy().tolist() == [["01", "NA"], [" x ", ""], ["1,5", "nan"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty one"),
        (b"\n\na,b\n", "begins with an empty one"),
        (b"a,b\n", "only a header"),
        (b"a,a\n1,2\n", "line 1: 'a' twice"),
        (b"a,\n1,2\n", "line 1: a column without a name"),
        (b"a|b\n1|2\n", "line 1: one column 'a|b'.*--delimiter"),
        (b"a,b\n1,2\n3\n", "line 3: 1 values"),
        (b"a,b\r1,2\r", "carriage return"),
        (b'a,b\n1,2\n"3,4\n', "line 3"),
        (b"a,b\n1,2\n3,4,5\n", "line 3: 3 values"),
        (b"a,b\n1,2\n\xff,4\n", "line 3"),
        (b"a,b\n1,2\n\0,4\n", "line 3: a NUL byte"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_odd_tables_are_refused_with_their_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(TableError, match=rf"a\.csv.*{message}"):
        read_table(tmp_path / "a.csv")


def test_empty_line_keeps_the_lines_below_it_in_place(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n\n3,4\n")
    assert read_table(tmp_path / "a.csv").to_numpy().tolist() == [["1", "2"], ["", ""], ["3", "4"]]


def test_line_is_named_far_down_a_long_table(tmp_path: Path) -> None:
    lines = ["a,b", *(f"{i},{'x' * 50}" for i in range(60_000))]
    lines[50_000] = "1"
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(TableError, match="line 50001: 1 values"):
        read_table(tmp_path / "a.csv")


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.ods").write_bytes(b"PK")
    with pytest.raises(TableError, match=r"must be one of \.csv"):
        read_table(tmp_path / "a.ods")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(TableError, match=r"whole Parquet file.*a\.parquet"):
        read_table(tmp_path / "a.parquet")
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.csv")


def test_missing_column_has_the_nearest_name(tmp_path: Path, table: pd.DataFrame) -> None:
    table.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(TableError, match=r"'Path_GFP'\. Did you mean 'path_gfp'"):
        TableSource(tmp_path / "a.csv", {"gfp": "Path_GFP"}).index()


def test_missing_file_is_found_while_listing(tmp_path: Path, table: pd.DataFrame) -> None:
    (tmp_path / table["path_rfp"][2]).unlink()
    table.to_csv(tmp_path / "a.csv", index=False)
    source = TableSource(tmp_path / "a.csv", COLUMNS)
    index = source.index()
    assert index["key"].tolist() == table["path_gfp"].drop(2).tolist()
    (reject,) = source.rejects
    assert (reject.reason, reject.key) == ("file is missing", table["path_gfp"][2])
    assert "_rfp.tif' (a.csv, line 4), which does not exist" in reject.detail
    assert source.files(2) == (table["path_gfp"][3], table["path_rfp"][3], "a.csv, line 5")
    expected = tifffile.imread(tmp_path / table["path_gfp"][3])
    np.testing.assert_array_equal(source.read(2)[0][..., 0], expected)


def test_table_without_any_file_is_an_error(tmp_path: Path, table: pd.DataFrame) -> None:
    (tmp_path / "crops").rename(tmp_path / "moved")
    table.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(SourceError, match=r"line 2\), which does not exist.*`root`"):
        TableSource(tmp_path / "a.csv", COLUMNS).index()


@pytest.mark.parametrize("path", ["../a_gfp.tif", "crops/../../a_gfp.tif", "/etc/passwd"])
def test_paths_out_of_the_root_are_refused(tmp_path: Path, table: pd.DataFrame, path: str) -> None:
    table.loc[1, "path_gfp"] = path
    table.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(SourceError, match=r"stay inside .*line 3"):
        TableSource(tmp_path / "a.csv", COLUMNS).index()


def test_links_out_of_the_root_are_refused(tmp_path: Path, table: pd.DataFrame) -> None:
    table.to_csv(tmp_path / "crops" / "a.csv", index=False)
    source = TableSource(tmp_path / "crops" / "a.csv", COLUMNS, root=tmp_path)
    source.index()
    path = tmp_path / table["path_gfp"][0]
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(SourceError, match=r"stay inside .*line 2"):
        source.read(0)


def test_absolute_paths_inside_the_root_are_understood(tmp_path: Path, table: pd.DataFrame) -> None:
    absolute = table.copy()
    for column in COLUMNS.values():
        absolute[column] = [str(tmp_path.resolve() / path) for path in table[column]]
    absolute.to_csv(tmp_path / "a.csv", index=False)
    index = TableSource(tmp_path / "a.csv", COLUMNS).index()
    assert index["key"].tolist() == table["path_gfp"].tolist()


def test_empty_path_and_empty_key_are_refused(tmp_path: Path, table: pd.DataFrame) -> None:
    table.assign(path_rfp=["", *table["path_rfp"][1:]]).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(SourceError, match=r"path in column 'path_rfp'.*a\.csv, line 2"):
        TableSource(tmp_path / "a.csv", COLUMNS).index()
    table.assign(key=["a", "", *"cdefghijklmnop"]).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(SourceError, match=r"a key.*b\.csv, line 3"):
        TableSource(tmp_path / "b.csv", COLUMNS).index()


def test_key_column_and_mask_column(tmp_path: Path, table: pd.DataFrame) -> None:
    tifffile.imwrite(tmp_path / "mask.tif", np.eye(6, 5, dtype=np.uint8) * 255)
    table = table.assign(id=[f"cell {i}" for i in range(16)], mask="mask.tif")
    table.to_csv(tmp_path / "a.csv", index=False)
    source = TableSource(tmp_path / "a.csv", COLUMNS, mask_column="mask", key_column="id")
    assert list(source.index().columns) == ["key", "protein", "field"]
    assert source.index()["key"][3] == "cell 3"
    mask = source.read(3)[1]
    assert mask is not None
    assert mask.sum() == 5


def test_one_column_may_name_files_of_all_channels(tmp_path: Path) -> None:
    stacks = np.random.default_rng(0).integers(0, 999, (3, 2, 6, 5), "uint16")
    for number, stack in enumerate(stacks):
        np.save(tmp_path / f"{number}.npy", stack)
    (tmp_path / "mask.png").write_bytes(imagecodecs.png_encode(np.eye(6, 5, dtype=np.uint8)))
    lines = ["path,mask,protein", *(f"{i}.npy,mask.png,AAC1" for i in range(3))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    options = {"channels": ["gfp", "rfp"], "mask_column": "mask"}
    with pytest.raises(SourceError, match="`axes`"):
        TableSource(tmp_path / "a.csv", "path", **options).index()  # type: ignore[arg-type]
    source = TableSource(tmp_path / "a.csv", "path", axes="CYX", **options)  # type: ignore[arg-type]
    assert list(source.index().columns) == ["key", "protein"]
    assert source.channels == ("gfp", "rfp")
    copy = pickle.loads(pickle.dumps(source))
    image, mask = copy.read(1)
    np.testing.assert_array_equal(image, np.moveaxis(stacks[1], 0, -1))
    assert mask.sum() == 5
    assert copy.paths(1) == (str(tmp_path / "1.npy"), str(tmp_path / "mask.png"))


def test_descriptions_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="one channel at least"):
        TableSource(tmp_path / "a.csv", {})
    with pytest.raises(SourceError, match="column of its own"):
        TableSource(tmp_path / "a.csv", {"gfp": "path", "rfp": "path"})
    with pytest.raises(SourceError, match="`channels` and `axes` are for one column"):
        TableSource(tmp_path / "a.csv", {"gfp": "path"}, axes="CYX")


def test_whole_numbers_of_parquet_stay_whole_beside_missing_ones(tmp_path: Path) -> None:
    pd.DataFrame({"id": pd.array([2**60 + 1, None], "Int64")}).to_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet")["id"].tolist() == [2**60 + 1, None]


@pytest.mark.parametrize("case", ["mask", "stack"])
def test_pixels_come_with_the_status_of_each_path(tmp_path: Path, case: str) -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 900, (2, 6, 5), np.uint16)
    names = ["gfp", "rfp", "cell"]
    if case == "stack":
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack")
        row, columns = {"image": "a.tif"}, "image"
    else:
        planes = [*pixels, generator.integers(0, 2, (6, 5), np.uint8)]
        for name, plane in zip(names, planes, strict=True):
            tifffile.imwrite(tmp_path / f"{name}.tif", plane)
        row, columns = {name: f"{name}.tif" for name in names}, {"gfp": "gfp", "rfp": "rfp"}
    pd.DataFrame([{"key": "a", **row}]).to_csv(tmp_path / "cells.csv", index=False)
    options = {"channels": ["gfp", "rfp"], "axes": "CYX"} if case == "stack" else {}
    source = TableSource(
        tmp_path / "cells.csv", columns, mask_column=None if case == "stack" else "cell", **options
    )
    source.index()
    crop = source.read(0)
    np.testing.assert_array_equal(crop[0], np.moveaxis(pixels, 0, -1))
    assert (crop[1] is None) == (case == "stack")
    expected = [Path(path).stat() for path in source.paths(0)]
    assert [status.st_ino for status in crop.statuses] == [status.st_ino for status in expected]
    times = [status.st_mtime_ns for status in crop.statuses]
    assert times == [status.st_mtime_ns for status in expected]
