"""Full fields: windows, tables of cells, label images, and the real fields of yeast."""

from __future__ import annotations

import pickle
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from deeploc_tf.sources import CellTable, FieldSource, SourceError, cell_files
from deeploc_tf.sources.masks import as_labels
from deeploc_tf.sources.source import RejectedCrop
from deeploc_tf.sources.windows import Window, labeled_objects
from deeploc_tf.text_tables import TableError

PATTERN = "{plate}/{field}-{channel}.tif"
LABELS = "{plate}/{field}_labels.tif"
CHANNELS = ("gfp", "rfp")


def write_fields(
    root: Path,
    labels: Any = None,
    *,
    fields: Sequence[str] = ("1", "2"),
    size: tuple[int, int] = (40, 50),
    dtype: str = "uint16",
) -> dict[str, Any]:
    """Fields of two channels in a file each, all different; field -> (height, width, channels)."""
    images = {}
    for number, field in enumerate(fields):
        image = np.random.default_rng(number).integers(1, 250, (*size, 2)).astype(dtype)
        (root / "p").mkdir(exist_ok=True)
        for channel, name in enumerate(CHANNELS):
            tifffile.imwrite(root / "p" / f"{field}-{name}.tif", image[..., channel])
        if labels is not None:
            tifffile.imwrite(root / "p" / f"{field}_labels.tif", labels)
        images[field] = image
    return images


def write_table(root: Path, text: str) -> CellTable:
    (root / "cells.csv").write_text(text)
    return CellTable(root / "cells.csv")


def source_of(root: Path, cells: CellTable | None = None, **options: Any) -> FieldSource:
    arguments = {"cells": cells, "crop_size": 16, **options}
    return FieldSource(root, PATTERN, CHANNELS, **arguments)


def three_objects() -> Any:
    """A label image with numbers that do not follow on; 9 is in two pieces, 70,000 at the edge."""
    labels = np.zeros((40, 50), np.uint32)
    labels[10:15, 20:27] = 4
    labels[20:22, 30:32] = labels[26:28, 30:32] = 9
    labels[0:4, 0:5] = 70_000
    return labels


def reasons(source: FieldSource) -> Counter[str]:
    return Counter(reject.reason for reject in source.rejects)


# Windows


@given(
    x=st.floats(-30, 80),
    y=st.floats(-30, 80),
    size=st.integers(1, 40),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    channels=st.sampled_from([(), (2,)]),
)
def test_window_cuts_the_pixels_around_its_middle(
    x: float, y: float, size: int, height: int, width: int, channels: tuple[int, ...]
) -> None:
    field = np.random.default_rng(0).integers(1, 99, (height, width, *channels))
    window = Window.around(x, y, size)
    crop = window.cut(field)
    assert crop.shape == (size, size, *channels)
    inside = True
    for row in range(size):
        for column in range(size):
            at = window.top + row, window.left + column
            if 0 <= at[0] < height and 0 <= at[1] < width:
                assert np.array_equal(crop[row, column], field[at])
            else:
                inside = False
                assert not crop[row, column].any()
    assert window.lies_in(height, width) == inside
    middle = window.center
    assert abs(middle[0] - x) <= 0.5
    assert abs(middle[1] - y) <= 0.5


def test_window_is_a_copy() -> None:
    field = np.zeros((9, 9))
    Window(2, 2, 4).cut(field)[...] = 1
    assert not field.any()


@given(st.data())
def test_objects_are_those_that_scipy_finds(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    values = st.lists(st.integers(0, 6), min_size=height * width, max_size=height * width)
    labels = np.array(data.draw(values)).reshape(height, width)
    found = labeled_objects(labels)
    numbers = [n for n in range(1, 7) if (labels == n).any()]
    assert [spot.number for spot in found] == numbers
    for spot in found:
        y, x = ndimage.center_of_mass((labels == spot.number).astype(int))
        assert (spot.x, spot.y) == pytest.approx((x, y))
        rows, columns = ndimage.find_objects((labels == spot.number).astype(int))[0]
        assert spot.box == (columns.start, rows.start, columns.stop, rows.stop)


def test_label_images_of_other_types() -> None:
    assert as_labels(np.array([[0.0, 3.0]], "f4"), "a").tolist() == [[0, 3]]
    assert as_labels(np.array([[[True, False]]]), "a").shape == (1, 2)
    wrong = ([[0, 0.5]], [[np.nan, 1]], [[0, -5]], [0, 1], [[0, np.inf]], [[0, 1e20]])
    for image in (*map(np.array, wrong), np.array([[1 << 63]], "u8")):
        with pytest.raises(RejectedCrop, match=r"a\.tif"):
            as_labels(image, "a.tif")


# Tables of centres and boxes


@pytest.mark.parametrize("border", ["drop", "pad"])
@pytest.mark.parametrize("name", ["p/{}-gfp.tif", "p/{}-rfp.tif", "p/{}"])
def test_crops_are_the_windows_of_the_table(tmp_path: Path, border: Any, name: str) -> None:
    images = write_fields(tmp_path)
    places = [("2", 25, 20, "ER"), ("1", 8, 8, "nucleus"), ("2", 7, 20, "ER"), ("1", 42, 32, "ER")]
    rows = [f"{name.format(field)},{x},{y},{label}" for field, x, y, label in places]
    cells = write_table(tmp_path, "\n".join(["image,x,y,localization", *rows]))
    source = source_of(tmp_path, cells, border=border)
    index = source.index()
    # field after field, and in each the order of the table
    expected = [places[1], places[3], places[0], *([places[2]] if border == "pad" else [])]
    assert list(index.columns) == ["key", "plate", "field", "x", "y", "localization"]
    assert index["key"].tolist() == [f"p/{f}:{x},{y}" for f, x, y, _ in expected]
    assert index["localization"].tolist() == [label for *_, label in expected]
    dropped = {} if border == "pad" else {"cell is at the border of its field": 1}
    assert source.passed_over == {"file does not match the pattern": 1, **dropped}
    assert source.rejects == ()
    for position, (field, x, y, _) in enumerate(expected):
        image, mask = source.read(position)
        assert mask is None
        padded = np.pad(images[field], ((16, 16), (16, 16), (0, 0)))
        np.testing.assert_array_equal(image, padded[y + 8 : y + 24, x + 8 : x + 24])
    assert source.files(0) == ("p/1-gfp.tif", "p/1-rfp.tif", "cells.csv, line 3")
    assert source.paths(0) == (str(tmp_path / "p/1-gfp.tif"), str(tmp_path / "p/1-rfp.tif"))


def test_fields_may_be_named_by_the_columns_of_the_pattern(tmp_path: Path) -> None:
    images = write_fields(tmp_path)
    cells = write_table(tmp_path, "field,plate,x,y,score\n2,p,20,20,a\n1,p,20.4,19.5,b\n")
    source = source_of(tmp_path, cells)
    index = source.index()
    assert index.to_dict("list") == {
        "key": ["p/1:20.4,19.5", "p/2:20,20"],
        "plate": ["p", "p"],
        "field": ["1", "2"],
        "x": [20, 20],
        "y": [20, 20],  # 19.5 is where pixel 20 begins
        "score": ["b", "a"],
    }
    np.testing.assert_array_equal(source.read(0)[0], images["1"][12:28, 12:28])


def test_boxes_are_cut_around_their_middle(tmp_path: Path) -> None:
    images = write_fields(tmp_path)
    text = "image,l,t,r,b\np/1,20,10,30,20\np/1,20,10,36,26\np/1,20,10,37,20\np/1,20,10,20,20\n"
    write_table(tmp_path, text + "p/1,30,10,20,20\np/1,200,10,210,20\np/1,-9,-9,-5,-5\n")
    cells = CellTable(tmp_path / "cells.csv", box=("l", "t", "r", "b"))
    source = source_of(tmp_path, cells)
    assert source.index()["key"].tolist() == ["p/1:20,10,30,20", "p/1:20,10,36,26"]
    np.testing.assert_array_equal(source.read(0)[0], images["1"][7:23, 17:33])
    np.testing.assert_array_equal(source.read(1)[0], images["1"][10:26, 20:36])
    assert reasons(source) == {
        "cell does not fit into the crop": 1,
        "box has no area": 2,
        "cell is outside its field": 2,
    }
    assert "17 x 10" in source.rejects[0].detail
    assert source.rejects[0].files[-1] == "cells.csv, line 4"


def test_coordinates_are_held_to_the_size_of_the_image_as_it_is(tmp_path: Path) -> None:
    """A field of another size than the others is neither stretched nor read beyond its edge."""
    write_fields(tmp_path, fields=("1",), size=(40, 50))
    small = write_fields(tmp_path, fields=("2",), size=(24, 20))
    cells = write_table(tmp_path, "image,x,y\np/1,30,20\np/2,30,20\np/2,10,12\n")
    source = source_of(tmp_path, cells)
    assert source.index()["key"].tolist() == ["p/1:30,20", "p/2:10,12"]
    assert reasons(source) == {"cell is outside its field": 1}
    assert "x=30, y=20, for p/2-gfp.tif of 20 x 24 pixels" in source.rejects[0].detail
    np.testing.assert_array_equal(source.read(1)[0], small["2"][4:20, 2:18])


def test_field_ends_half_a_pixel_beyond_its_last(tmp_path: Path) -> None:
    write_fields(tmp_path, size=(40, 50))
    inside = [(49.4, 39.4), (-0.5, -0.5)]
    outside = [(49.5, 20), (20, 39.5), (-0.6, 20), (20, -0.6)]
    rows = [f"p/1,{x},{y}" for x, y in [*inside, *outside]]
    cells = write_table(tmp_path, "\n".join(["image,x,y", *rows]))
    source = source_of(tmp_path, cells, border="pad")
    assert source.index()[["x", "y"]].to_numpy().tolist() == [[49, 39], [0, 0]]
    assert reasons(source) == {"cell is outside its field": 4}


def test_rows_without_place_or_field_are_set_aside(tmp_path: Path) -> None:
    write_fields(tmp_path)
    text = "image,x,y,key\np/1,20,20,a\np/1,,20,b\np/1,nan,20,c\np/3,20,20,d\np/2,inf,2,e\n"
    source = source_of(tmp_path, write_table(tmp_path, text))
    assert source.index()["key"].tolist() == ["a"]
    assert {reject.key: reject.reason for reject in source.rejects} == {
        "b": "place is not known",
        "c": "place is not known",
        "e": "place is not known",
        "d": "field is missing",
    }
    detail = {reject.key: reject.detail for reject in source.rejects}
    assert "'p/3' (cells.csv, line 5), in 2 fields such as 'p/1'. Did you mean" in detail["d"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,x,z\np/1,1,1\n", "one of the columns image, x, z. Received: 'y'"),
        ("file,x,y\np/1,1,1\n", "The column of the field must be one of .*'plate'"),
        ("image,x,y\np/1,1,1a\n", r"'1a' in column 'y' \(cells\.csv, line 2\)"),
        ("image,x,y\nq/1,1,1\n", r"none of 1, such as 'q/1'; the .* are 'p/1', 'p/2'\."),
        ("image,x,y,plate\np/1,20,20,p\n", r"must not be called .*Received: \['plate'\]"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, text: str, message: str) -> None:
    write_fields(tmp_path)
    with pytest.raises((SourceError, TableError), match=message):
        source_of(tmp_path, write_table(tmp_path, text)).index()


def test_descriptions_that_cannot_be_are_refused(tmp_path: Path) -> None:
    cells = CellTable("cells.csv")
    for options in (
        {"cells": None},
        {"cells": CellTable("cells.csv", number="object")},
        {"cells": cells, "crop_size": 0},
        {"cells": cells, "border": "stretch"},
        {"cells": cells, "label_image": "{plate}/{well}.tif"},
    ):
        with pytest.raises(SourceError, match="Received"):
            source_of(tmp_path, **options)
    with pytest.raises(SourceError, match="one of `center`"):
        CellTable("cells.csv", center=("x", "y"), number="object")
    with pytest.raises(SourceError, match="one of `center`"):
        CellTable("cells.csv", center=("x", "x"))


# Label images


def test_every_object_of_a_label_image_is_a_cell(tmp_path: Path) -> None:
    labels = three_objects()
    images = write_fields(tmp_path, labels)
    source = source_of(tmp_path, label_image=LABELS, border="pad")
    index = source.index()
    assert list(index.columns) == ["key", "plate", "field", "x", "y", "object"]
    assert index["key"].tolist() == [f"p/{f}:{n}" for f in (1, 2) for n in (4, 9, 70_000)]
    assert index[["x", "y"]].to_numpy()[:3].tolist() == [[23, 12], [31, 24], [2, 2]]
    for position, row in enumerate(index.itertuples()):
        image, mask = source.read(position)
        padded = np.pad(images[row.field], ((16, 16), (16, 16), (0, 0)))
        around = np.pad(labels, 16) == row.object
        rows, columns = slice(row.y + 8, row.y + 24), slice(row.x + 8, row.x + 24)
        np.testing.assert_array_equal(image, padded[rows, columns])
        np.testing.assert_array_equal(mask, around[rows, columns])
        assert mask is not None
        assert mask.dtype == np.uint8
        assert mask.sum() == (labels == row.object).sum()
    dropping = source_of(tmp_path, label_image=LABELS)
    assert dropping.index()["key"].tolist() == [f"p/{f}:{n}" for f in (1, 2) for n in (4, 9)]
    assert dropping.passed_over["cell is at the border of its field"] == 2


def test_table_with_numbers_labels_the_objects(tmp_path: Path) -> None:
    labels = three_objects()
    write_fields(tmp_path, labels)
    write_table(tmp_path, "image,id,label\np/1,9,ER\np/1,4,Golgi\np/1,5,ER\np/1,4.5,ER\np/1,0,x\n")
    cells = CellTable(tmp_path / "cells.csv", number="id")
    source = source_of(tmp_path, cells, label_image=LABELS)
    index = source.index()
    assert index["key"].tolist() == ["p/1:9", "p/1:4"]
    assert index["object"].tolist() == [9, 4]
    assert index["label"].tolist() == ["ER", "Golgi"]
    assert reasons(source) == {"object is not in the label image": 1, "place is not known": 2}
    assert source.passed_over["field has no cells in the table"] == 1


def test_centres_take_the_object_under_them(tmp_path: Path) -> None:
    labels = three_objects()
    write_fields(tmp_path, labels)
    text = "image,x,y\np/1,22,11\np/1,31,24\np/1,24,30\np/1,-24,11\np/1,22,90\n"
    source = source_of(tmp_path, write_table(tmp_path, text), label_image=LABELS)
    assert source.index()["object"].tolist() == [4]
    mask = source.read(0)[1]
    np.testing.assert_array_equal(mask, labels[3:19, 14:30] == 4)
    # (31, 24) is the mean of an object in two pieces, and between them
    assert reasons(source) == {
        "no object at the middle of the cell": 2,
        "cell is outside its field": 2,
    }


def test_object_that_does_not_fit_is_set_aside(tmp_path: Path) -> None:
    labels = three_objects()
    write_fields(tmp_path, labels)
    source = source_of(tmp_path, label_image=LABELS, crop_size=7, border="pad")
    assert source.index()["object"].tolist() == [4, 70_000] * 2
    assert reasons(source) == {"cell does not fit into the crop": 2}
    assert "crop_size=7, a cell of 2 x 8 pixels" in source.rejects[0].detail


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.zeros((40, 50), np.uint16), "label image is empty"),
        (np.eye(50, 40, dtype=np.uint16), "label image has another size"),
        (np.eye(40, 50, dtype=np.int16) * -3, "label image has negative numbers"),
        (np.eye(40, 50, dtype=np.float32) / 3, "label image has no whole numbers"),
        (b"II*\0 and no more", "image is damaged"),
        (b"", "file is empty"),
        (None, "label image is missing"),
    ],
)
@pytest.mark.parametrize("with_table", [False, True])
def test_field_whose_label_image_cannot_be_used_is_set_aside(
    tmp_path: Path, labels: Any, reason: str, with_table: bool
) -> None:
    write_fields(tmp_path, three_objects())
    path = tmp_path / "p" / "1_labels.tif"
    path.unlink()
    if isinstance(labels, bytes):
        path.write_bytes(labels)
    elif labels is not None:
        tifffile.imwrite(path, labels)
    cells = write_table(tmp_path, "image,x,y\np/1,21,11\np/1,23,12\np/2,23,12\n")
    source = source_of(tmp_path, cells if with_table else None, label_image=LABELS)
    assert set(source.index()["field"]) == {"2"}
    keys = ["p/1:21,11", "p/1:23,12"] if with_table else ["p/1"]
    assert [(reject.reason, reject.key) for reject in source.rejects] == [(reason, k) for k in keys]
    assert all(str(tmp_path) not in reject.detail for reject in source.rejects)


def test_label_images_are_not_taken_for_fields(tmp_path: Path) -> None:
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.ones((40, 50), np.uint16))
        tifffile.imwrite(tmp_path / f"{name}_labels.tif", three_objects())
    source = FieldSource(
        tmp_path, "{field}.tif", ["gfp"], label_image="{field}_labels.tif", crop_size=16
    )
    assert set(source.index()["field"]) == {"a", "b"}
    assert source.rejects == ()


# Files


def test_stacks_of_named_channels(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 999, (3, 40, 50), "uint16")
    metadata = {
        "axes": "CYX",
        "Channel": {"Name": ["GFP", "RFP", "DIC"]},
        "PhysicalSizeX": 0.2,
        "PhysicalSizeY": 0.2,
    }
    path = tmp_path / "1.ome.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", metadata=metadata)
    cells = write_table(tmp_path, "image,x,y\n1.ome.tif,25,20\n")
    source = FieldSource(tmp_path, "{field}.ome.tif", ["DIC", "GFP"], cells=cells, crop_size=16)
    source.index()
    assert source.pixel_size == pytest.approx(0.2)
    expected = np.moveaxis(stack[[2, 0], 12:28, 17:33], 0, -1)
    np.testing.assert_array_equal(source.read(0)[0], expected)


def test_a_field_without_a_channel_is_set_aside(tmp_path: Path) -> None:
    write_fields(tmp_path)
    (tmp_path / "p" / "1-rfp.tif").unlink()
    cells = write_table(tmp_path, "image,x,y\np/2,20,20\n")
    source = source_of(tmp_path, cells)
    assert source.index()["key"].tolist() == ["p/2:20,20"]
    (reject,) = source.rejects
    assert (reject.reason, reject.key) == ("channel is missing", "p/1")
    assert "field 'p/1' without channel rfp" in reject.detail


@pytest.mark.parametrize("damage", ["cut", "size", "dtype"])
def test_damage_in_a_second_channel_is_found_when_it_is_read(tmp_path: Path, damage: str) -> None:
    write_fields(tmp_path)
    cells = write_table(tmp_path, "image,x,y\np/1,20,20\np/1,21,20\np/2,20,20\n")
    source = source_of(tmp_path, cells)
    source.index()
    path = tmp_path / "p" / "1-rfp.tif"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:500])
    else:
        dtype = np.uint8 if damage == "dtype" else np.uint16
        tifffile.imwrite(path, np.ones((40, 51 if damage == "size" else 50), dtype))
    for position in (0, 1):
        with pytest.raises(RejectedCrop, match=r"1-rfp\.tif"):
            source.read(position)
    assert source.read(2)[0].any()


def test_a_field_that_changed_its_size_is_an_error(tmp_path: Path) -> None:
    write_fields(tmp_path)
    source = source_of(tmp_path, write_table(tmp_path, "image,x,y\np/1,20,20\n"))
    source.index()
    write_fields(tmp_path, size=(60, 50))
    with pytest.raises(SourceError, match=r"\(60, 50\), which was \(40, 50\)"):
        source.read(0)


def test_each_field_is_read_once_and_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fields(tmp_path, three_objects())
    source = source_of(tmp_path, label_image=LABELS, border="pad")
    count = len(source.index())
    assert count == 6
    read: list[str] = []
    original = cell_files.read_plane

    def noting(path: str, **options: Any) -> Any:
        read.append(Path(path).name)
        return original(path, **options)

    monkeypatch.setattr(cell_files, "read_plane", noting)
    for position in range(count):
        source.read(position)
    assert read == ["1-gfp.tif", "1-rfp.tif", "2-gfp.tif", "2-rfp.tif"]
    assert len(pickle.dumps(source)) < 5000  # no pixels


def test_memory_holds_one_field(tmp_path: Path) -> None:
    fields = ("1", "2", "3")
    write_fields(tmp_path, fields=fields, size=(1000, 1000))
    rows = [f"p/{field},500,500" for field in fields]
    source = source_of(tmp_path, write_table(tmp_path, "\n".join(["image,x,y", *rows])))
    source.index()
    source.read(0)
    tracemalloc.start()
    try:
        for position in range(3):
            source.read(position)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # while a field is read, the bytes of its files stand beside its pixels
    assert peak < 2.3 * 1000 * 1000 * 2 * 2


def test_a_worker_reads_with_a_copy(tmp_path: Path) -> None:
    write_fields(tmp_path, three_objects())
    source = source_of(tmp_path, label_image=LABELS)
    source.index()
    source.read(1)
    copy = pickle.loads(pickle.dumps(source))
    for position in range(4):
        for mine, other in zip(source.read(position), copy.read(position), strict=True):
            np.testing.assert_array_equal(mine, other)
    assert copy.files(2) == source.files(2)
    assert copy.paths(2) == source.paths(2)


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    write_fields(root, three_objects())
    tifffile.imwrite(tmp_path / "secret.tif", three_objects())
    path = root / "p" / "2_labels.tif"
    path.unlink()
    path.symlink_to(tmp_path / "secret.tif")
    with pytest.raises(SourceError, match=r"2_labels\.tif, a link to .*secret"):
        source_of(root, label_image=LABELS).index()
    with pytest.raises(SourceError, match="must lie inside"):
        source_of(root, label_image="../secret.tif").index()
    source = source_of(root, write_table(tmp_path, "image,x,y\np/1,22,11\n"))
    source.index()
    path = root / "p" / "1-rfp.tif"
    path.rename(tmp_path / "secret.tif")
    path.symlink_to(tmp_path / "secret.tif")
    with pytest.raises(SourceError, match=r"1-rfp\.tif, a link to .*secret"):
        source.read(0)


def test_fields_become_records(tmp_path: Path) -> None:
    """The whole way, and back to the pixels."""
    from deeploc_tf.ingest import build_records
    from tfrecords import decode, read_serialized

    labels = three_objects()
    images = write_fields(tmp_path, labels, fields=("a", "b", "c"))
    text = ["image,id,localization"]
    text += [
        f"p/{field}-gfp.tif,{n},{'ER' if n == 4 else 'Golgi'}" for field in "abc" for n in (4, 9)
    ]
    write_table(tmp_path, "\n".join(text))
    cells = CellTable(tmp_path / "cells.csv", number="id")
    source = source_of(tmp_path, cells, label_image=LABELS)
    manifest = build_records(
        source,
        tmp_path / "records",
        label="localization",
        conditions={"test": [("field", "c")]},
        group_by=["plate", "field"],
    )
    assert manifest.schema.has_mask
    assert manifest.schema.image_shape == (16, 16, 2)
    assert dict(manifest.schema.metadata) == {
        "plate": "text",
        "field": "text",
        "x": "int64",
        "y": "int64",
        "object": "int64",
    }
    found = {}
    for split in ("train", "test"):
        for record in read_serialized(tmp_path / "records", split):
            crop = decode(record.numpy(), manifest.schema)
            found[crop.key] = crop
    assert sorted(found) == [f"p/{field}:{n}" for field in "abc" for n in (4, 9)]
    for crop in found.values():
        x, y = int(crop.metadata["x"]), int(crop.metadata["y"])
        rows, columns = slice(y - 8, y + 8), slice(x - 8, x + 8)
        image = images[str(crop.metadata["field"])]
        np.testing.assert_array_equal(crop.image, image[rows, columns])
        np.testing.assert_array_equal(crop.mask, labels[rows, columns] == crop.metadata["object"])
        assert crop.labels == ((0,) if crop.metadata["object"] == 4 else (1,))


# The real fields of yeast

YEAST = "{field}-{channel}sk1fk1fl1.tiff"


@pytest.mark.real
@pytest.mark.parametrize("border", ["drop", "pad"])
@pytest.mark.parametrize("size", [64, 96])
def test_real_centres(real_data: Path, border: Any, size: int) -> None:
    folder = real_data / "yeast_fields"
    cells = CellTable(folder / "cells.csv")
    source = FieldSource(folder, YEAST, ["ch1", "ch3"], cells=cells, border=border, crop_size=size)
    index = source.index()
    table = pd.read_csv(folder / "cells.csv")
    inside = table[["x", "y"]].ge(size // 2).all(axis=1)
    inside &= table[["x", "y"]].le(1080 - size // 2).all(axis=1)
    assert len(index) == (532 if border == "pad" else inside.sum())
    assert len(index) + source.passed_over.get("cell is at the border of its field", 0) == 532
    assert source.rejects == ()
    if border == "drop":
        table = table[inside].reset_index(drop=True)
    assert index["localization"].tolist() == table["localization"].tolist()
    for position, row in enumerate(table.itertuples()):
        image, mask = source.read(position)
        assert mask is None
        assert image.dtype == np.uint16
        if position % 20 == 0 or size == 96:
            expected = _by_hand(folder, str(row.image), row.x, row.y, size)
            np.testing.assert_array_equal(image, expected)


_FIELDS: dict[Path, Any] = {}


def _by_hand(folder: Path, name: str, x: int, y: int, size: int) -> Any:
    """The pixels around a centre of channels 1 and 3, with zeros around the field."""
    planes = []
    for channel in ("ch1", "ch3"):
        path = folder / name.replace("ch1", channel)
        if path not in _FIELDS:
            _FIELDS[path] = np.pad(tifffile.imread(path), 100)
        top, left = y + 100 - size // 2, x + 100 - size // 2
        planes.append(_FIELDS[path][top : top + size, left : left + size])
    return np.stack(planes, axis=-1)


@pytest.mark.real
def test_real_label_images(real_data: Path) -> None:
    folder = real_data / "yeast_fields"
    source = FieldSource(
        folder, YEAST, ["ch1"], label_image="{field}_labeled.tiff", border="pad", crop_size=64
    )
    index = source.index()
    assert len(index) + len(source.rejects) == 432 + 157
    assert set(reasons(source)) == {"cell does not fit into the crop"}
    for position, row in enumerate(index.itertuples()):
        labels = (
            tifffile.imread(folder / f"{row.field}_labeled.tiff") if position % 25 == 0 else None
        )
        _, mask = source.read(position)
        assert mask is not None
        if labels is not None:
            padded = np.pad(labels, 64)[row.y + 32 : row.y + 96, row.x + 32 : row.x + 96]
            np.testing.assert_array_equal(mask, padded == row.object)
            assert mask.sum() == (labels == row.object).sum()


@pytest.mark.real
def test_real_centres_with_masks(real_data: Path) -> None:
    folder = real_data / "yeast_fields"
    source = FieldSource(
        folder,
        YEAST,
        ["ch1", "ch2", "ch3"],
        cells=CellTable(folder / "cells.csv"),
        label_image="{field}_labeled.tiff",
    )
    index = source.index()
    assert reasons(source)["no object at the middle of the cell"] == 2
    assert len(index) + len(source.rejects) == 532
    image, mask = source.read(len(index) // 2)
    assert image.shape == (64, 64, 3)
    assert mask is not None
    assert mask[32, 32] == 1
