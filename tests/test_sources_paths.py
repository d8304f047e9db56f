"""Paths as laboratories have them: parts that do not matter, separators, links, foreign files."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from deeploc_tf.sources import CellTable, FieldSource, FolderSource, SourceError, TableSource
from deeploc_tf.sources.root import Root


def write(root: Path, names: Iterable[str], shape: tuple[int, ...] = (8, 8)) -> None:
    """Images that all differ, at these paths."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(number).integers(1, 999, shape, "uint16")
        tifffile.imwrite(path, image)


# Parts that do not matter


IMAGEXPRESS = "{plate}_{well}_s{site}_w{channel}{*}.tif"


def imagexpress(root: Path) -> list[str]:
    guids = [f"{n:08X}-55B4-4C5F" for n in range(8)]
    places = [(well, site) for well in ("A01", "B12") for site in "12"]
    names = [
        f"P7_{well}_s{site}_w{channel}{guids[2 * i + channel - 1]}.tif"
        for i, (well, site) in enumerate(places)
        for channel in (1, 2)
    ]
    write(root, names)
    return names


def test_identifiers_in_names_do_not_matter(tmp_path: Path) -> None:
    names = imagexpress(tmp_path)
    write(tmp_path, ["P7_A01_s1_w1_thumbAB12.tif", "P7_A01_s1_w2_thumbAB13.tif"])
    source = FolderSource(tmp_path, IMAGEXPRESS, ["1", "2"])
    index = source.index()
    assert index.to_dict("list") == {
        "key": ["P7_A01_s1_w", "P7_A01_s2_w", "P7_B12_s1_w", "P7_B12_s2_w"],
        "plate": ["P7"] * 4,
        "well": ["A01", "A01", "B12", "B12"],
        "site": ["1", "2", "1", "2"],
    }
    assert source.passed_over == {"thumbnail": 2}
    copy = pickle.loads(pickle.dumps(source))
    for position in range(4):
        assert copy.files(position) == tuple(names[2 * position : 2 * position + 2])
        for channel, name in enumerate(source.files(position)):
            image = copy.read(position)[0][..., channel]
            np.testing.assert_array_equal(image, tifffile.imread(tmp_path / name))


def test_two_files_that_differ_where_it_does_not_matter_are_set_aside(tmp_path: Path) -> None:
    imagexpress(tmp_path)
    write(tmp_path, ["P7_A01_s1_w2FFFFFFFF.tif", "P7_C01_s1_w100000000.tif"])
    source = FolderSource(tmp_path, IMAGEXPRESS, ["1", "2"])
    assert len(source.index()) == 3
    assert {r.key: r.reason for r in source.rejects} == {
        "P7_A01_s1_w": "two files of a channel",
        "P7_C01_s1_w": "channel is missing",
    }
    detail = {r.key: r.detail for r in source.rejects}
    assert "w2FFFFFFFF.tif" in detail["P7_A01_s1_w"]
    assert "P7_C01_s1_w2*.tif is missing" in detail["P7_C01_s1_w"]


def test_a_file_a_cell_may_have_parts_that_do_not_matter(tmp_path: Path) -> None:
    write(tmp_path, ["A01_2024-01-05_1.tif", "A01_2024-01-06_2.tif"])
    source = FolderSource(tmp_path, "{well}_{*}_{cell}.tif", ["gfp"])
    assert source.index()["cell"].tolist() == ["1", "2"]
    assert source.files(1) == ("A01_2024-01-06_2.tif",)


def test_label_images_may_have_parts_that_do_not_matter(tmp_path: Path) -> None:
    write(tmp_path, ["A01_w1XY.tif", "A01_w2ZZ.tif", "B02_w1AA.tif", "B02_w2BB.tif"], (40, 40))
    labels = np.zeros((40, 40), np.uint16)
    labels[18:22, 18:22] = 3
    for name in ("A01_w1XY_cp_masks.tif", "B02_w1AA_cp_masks.tif"):
        tifffile.imwrite(tmp_path / name, labels)
    options: dict[str, Any] = {"label_image": "{well}_w1{*}_cp_masks.tif", "crop_size": 16}
    # the masks match the pattern of the fields, too
    source = FieldSource(tmp_path, "{well}_w{channel}{*}.tif", ["1", "2"], **options)
    assert source.index()["object"].tolist() == [3, 3]
    assert source.files(1)[-1] == "B02_w1AA_cp_masks.tif"
    assert source.rejects == ()
    for path in tmp_path.glob("*_cp_masks.tif"):
        (tmp_path / "masks").mkdir(exist_ok=True)
        path.rename(tmp_path / "masks" / path.name)
    options["label_image"] = "masks/{well}_w1{*}_cp_masks.tif"
    source = FieldSource(tmp_path, "{well}_w{channel}{*}.tif", ["1", "2"], **options)
    assert source.index()["object"].tolist() == [3, 3]
    assert source.files(1)[-1] == "masks/B02_w1AA_cp_masks.tif"
    write(tmp_path, ["masks/B02_w1AB_cp_masks.tif"])
    source = FieldSource(tmp_path, "{well}_w{channel}{*}.tif", ["1", "2"], **options)
    with pytest.raises(SourceError, match="one label image"):
        source.index()


# Names that can be split in several ways


@pytest.mark.parametrize(
    ("pattern", "fields"),
    [
        ("{protein}_{field}.tif", {"protein": ["A1CF", "ZYX"], "field": ["762_F2", "12_B11"]}),
        (
            "{protein}_{plate}_{well}.tif",
            {"protein": ["A1CF", "ZYX"], "plate": ["762", "12"], "well": ["F2", "B11"]},
        ),
    ],
)
def test_names_are_split_as_early_as_can_be(
    tmp_path: Path, pattern: str, fields: dict[str, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, ["A1CF_762_F2.tif", "ZYX_12_B11.tif"])
    index = FolderSource(tmp_path, pattern, ["gfp"]).index()
    assert index.drop(columns="key").to_dict("list") == fields
    assert ("'A1CF_762_F2.tif' is protein 'A1CF', field '762_F2'" in caplog.text) == (
        pattern == "{protein}_{field}.tif"
    )


def test_a_well_is_a_well_where_it_can_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, ["AA_0001_A01_1.tif", "BC_B02_c_2.tif", "AA_0002_r02c11_x_1.tif"])
    index = FolderSource(tmp_path, "{barcode}_{well}_{cell}.tif", ["gfp"]).index()
    assert index.drop(columns="key").to_numpy().tolist() == [
        ["AA_0001", "A01", "1"],
        ["AA_0002", "r02c11", "x_1"],
        ["BC", "B02", "c_2"],
    ]
    assert not caplog.text  # nothing was open


def test_names_that_would_be_split_in_two_ways_are_refused(tmp_path: Path) -> None:
    write(tmp_path, ["A1CF_762_F2.tif", "HLA_A_762_F2.tif"])
    with pytest.raises(SourceError, match=r"split all paths in the same way.*field 'A_762_F2'"):
        FolderSource(tmp_path, "{protein}_{field}.tif", ["gfp"]).index()
    write(tmp_path / "b", ["ACT1_1.tif", "ACT1_1_2.tif"])
    with pytest.raises(SourceError, match="split all paths in the same way"):
        FolderSource(tmp_path / "b", "{protein}_{field}.tif", ["gfp"]).index()


# Where files lie


def test_backslashes_divide_folders(tmp_path: Path) -> None:
    write(tmp_path, ["p/1-gfp.tif", "p/1-rfp.tif"], (40, 40))
    assert len(FolderSource(tmp_path, r"{plate}\{cell}-{channel}.tif", ["gfp", "rfp"]).index()) == 1
    pd.DataFrame({"image": [r"p\1-gfp.tif"], "x": [20], "y": [20]}).to_csv(
        tmp_path / "cells.csv", index=False
    )
    source = FieldSource(
        tmp_path,
        "{plate}/{field}-{channel}.tif",
        ["gfp"],
        cells=CellTable(tmp_path / "cells.csv"),
        crop_size=16,
    )
    assert source.index()["field"].tolist() == ["1"]
    table = TableSource(tmp_path / "cells.csv", {"gfp": "image"})
    assert table.index()["key"].tolist() == ["p/1-gfp.tif"]


@pytest.mark.parametrize("through_link", [False, True])
def test_absolute_paths_below_the_root(tmp_path: Path, through_link: bool) -> None:
    root = tmp_path / "data"
    write(root, ["p/1-gfp.tif", "p/1-rfp.tif"], (40, 40))
    (tmp_path / "link").symlink_to(root, target_is_directory=True)
    here = tmp_path / "link" if through_link else root
    frame = pd.DataFrame({"image": [str(here / "p/1-gfp.tif")], "x": [20], "y": [20]})
    frame.to_csv(tmp_path / "cells.csv", index=False)
    for below in (root, tmp_path / "link"):
        source = FieldSource(
            below,
            str(here / "{plate}/{field}-{channel}.tif"),
            ["gfp"],
            cells=CellTable(tmp_path / "cells.csv"),
            crop_size=16,
        )
        assert source.index()["key"].tolist() == ["p/1:20,20"]
        assert source.description["pattern"] == "{plate}/{field}-{channel}.tif"
        table = TableSource(tmp_path / "cells.csv", {"gfp": "image"}, root=below)
        assert table.index()["key"].tolist() == ["p/1-gfp.tif"]
    with pytest.raises(SourceError, match="below the folder"):
        FolderSource(root, "/elsewhere/{cell}-{channel}.tif", ["gfp"])


def test_paths_of_a_windows_machine_are_found_below_the_root(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "deeploc_tf")
    write(tmp_path, ["p1/a.tif", "p1/b.tif", "a.tif"])
    root = Root(tmp_path)
    assert root.relative(r"D:\screen\7\p1\a.tif") == "p1/a.tif"
    assert root.relative(r"D:\screen\7\p1\b.tif") == "p1/b.tif"
    assert root.relative(r"D:\screen\7\p2\b.tif") == "p2/b.tif"  # which is missing, not another
    assert root.relative(r"\\server\share\p1\a.tif") == "p1/a.tif"
    assert root.relative(r"E:\c.tif") is None
    assert "What lay in D:/screen/7/ is taken from" in caplog.text


def test_files_of_macos_are_ignored_and_counted(tmp_path: Path) -> None:
    write(tmp_path, ["1_gfp.tif", "1_rfp.tif"])
    for name in ("._1_gfp.tif", "._1_rfp.tif", "._.DS_Store"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    (tmp_path / ".DS_Store").touch()
    source = FolderSource(tmp_path, "{cell}_{channel}.tif", ["gfp", "rfp"])
    assert source.index()["key"].tolist() == ["1"]
    assert source.rejects == ()
    assert source.passed_over == {
        "file does not match the pattern": 1,
        "file of macOS (._ before its name)": 3,
    }


def test_links_are_followed_on_request(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    write(other, ["b/1_gfp.tif", "2_gfp.tif"])
    write(root, ["a/3_gfp.tif"])
    (root / "linked").symlink_to(other, target_is_directory=True)
    (root / "again").symlink_to(root / "a", target_is_directory=True)
    (other / "up").symlink_to(tmp_path, target_is_directory=True)  # round and round
    (root / "a" / "4_gfp.tif").symlink_to(other / "2_gfp.tif")
    with pytest.raises(SourceError, match=r"linked, a link to .*--follow-links"):
        FolderSource(root, "{plate}/{cell}_{channel}.tif", ["gfp"]).index()
    source = FolderSource(root, "{plate}/{cell}_{channel}.tif", ["gfp"], follow_links=True)
    assert source.index()["key"].tolist() == ["a/3", "a/4", "linked/2"]
    image = tifffile.imread(other / "2_gfp.tif")
    np.testing.assert_array_equal(source.read(1)[0][..., 0], image)
    np.testing.assert_array_equal(source.read(2)[0][..., 0], image)


# What a message shows


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (
            "{protein}/{protein}_{field}_dic_{cell}_{channel}.tif",
            r"such as 'AAC1/AAC1_1_rfp_2_gfp.tif', which fits up to '\{protein\}/\{protein\}_"
            r"\{field\}_', but not 'dic_\{cell\}_\{channel\}\.tif' behind it",
        ),
        ("{protein}/{cell}_{channel}.ti", r"up to '.*\{channel\}\.ti', and goes on"),
        ("{protein}/x{cell}_{channel}.tif", r"up to '\{protein\}/', but not 'x\{cell\}"),
    ],
)
def test_message_shows_how_far_a_pattern_matched(
    tmp_path: Path, pattern: str, message: str
) -> None:
    write(tmp_path, ["notes.txt", "AAC1/AAC1_1_rfp_2_gfp.tif"])
    with pytest.raises(SourceError, match=message):
        FolderSource(tmp_path, pattern, ["gfp"]).index()
