"""Plate maps in builds, tables of Excel, and what divides the values of a text table."""

from __future__ import annotations

import datetime
import json
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from shared import run_cli

from deeploc_tf.ingest import build_records
from deeploc_tf.sources import FolderSource, SourceError
from deeploc_tf.text_tables import TableError, place, read_table

PATTERN = "{plate}/{well}_{field}_{cell}_{channel}.tif"


def write_plates(root: Path, plates: tuple[str, ...] = ("P1",)) -> Path:
    """Two wells a plate, two fields a well, two cells a field."""
    number = 0
    for plate in plates:
        for well in ("A01", "B02"):
            for field in ("1", "2"):
                for cell in ("1", "2"):
                    number += 1
                    image = np.random.default_rng(number).integers(1, 999, (8, 8), "uint16")
                    (root / plate).mkdir(parents=True, exist_ok=True)
                    tifffile.imwrite(root / plate / f"{well}_{field}_{cell}_gfp.tif", image)
    return root


def build(root: Path, output: Path, *options: object) -> Any:
    words = ("build-records", root, output, "--pattern", PATTERN, "--channels", "gfp")
    return run_cli(*words, *options)


MAP = "well;protein;localization\nA1;SEC61;ER\nr02c02;ERG6;lipid, droplet\nC3;ACT1;actin\n"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_wells_get_their_proteins_and_labels(tmp_path: Path, delimiter: str) -> None:
    root = write_plates(tmp_path / "crops")
    text = MAP.replace("lipid, droplet", "droplet").replace(";", delimiter)
    (tmp_path / "map.csv").write_text(text)
    made = build(
        *(root, tmp_path / "records", "--plate-map", tmp_path / "map.csv"),
        *("--label", "localization", "--fractions", "train=0.5,test=0.5", "--group", "field"),
    )
    assert made.exit_code == 0, made.output
    manifest = json.loads((tmp_path / "records" / "manifest.json").read_text())
    assert manifest["schema"]["label_names"] == ["ER", "droplet"]
    proteins = {name for counts in manifest["counts"].values() for name in counts["protein"]}
    assert proteins == {"SEC61", "ERG6"}
    (joined,) = manifest["sources"][0]["joins"]
    assert (joined["file"], joined["columns"]) == ("map.csv", ["well"])
    assert (joined["cells"], joined["cells_matched"]) == (8, 8)
    assert joined["rows_without_cells"] == {"count": 1, "some": ["C3"]}


def test_wells_of_several_plates_and_wells_without_a_row(tmp_path: Path) -> None:
    root = write_plates(tmp_path / "crops", ("P1", "P2"))
    path = tmp_path / "map.csv"
    rows = ["P1,A1,a", "P1,B2,b", "P2,A1,c"]
    path.write_text("\n".join(["plate,well,protein", *rows, ""]))
    source = FolderSource(root, PATTERN, ["gfp"])
    with pytest.raises(SourceError, match=r"'P2/B02'.*--allow-unmatched 1"):
        build_records(source, tmp_path / "records", plate_map=path)
    build_records(source, tmp_path / "records", plate_map=path, allow_unmatched=1)
    manifest = json.loads((tmp_path / "records" / "manifest.json").read_text())
    assert manifest["counts"]["train"]["protein"] == {"a": 4, "b": 4, "c": 4}
    path.write_text("plate,well,protein\n01,A1,a\n")
    with pytest.raises((SourceError, ValueError), match="none of"):
        build_records(source, tmp_path / "other", plate_map=path)


def test_leading_zeros_that_excel_ate(tmp_path: Path) -> None:
    """Fields match, since no field has another name; plates of two spellings are refused."""
    root = write_plates(tmp_path / "crops", ("0012",))
    path = tmp_path / "map.csv"
    path.write_text("well,field,dose\nA1,01,x\nA1,02,y\nB2,1,z\nB2,2,w\n")
    source = FolderSource(root, PATTERN, ["gfp"])
    build_records(source, tmp_path / "records", plate_map=path, protein="dose")
    manifest = json.loads((tmp_path / "records" / "manifest.json").read_text())
    assert manifest["counts"]["train"]["protein"] == dict.fromkeys("wxyz", 2)
    path.write_text("plate,well,dose\n12,A1,x\n12,B2,y\n")
    with pytest.raises(ValueError, match="leading zeros"):
        build_records(source, tmp_path / "other", plate_map=path)


@pytest.mark.parametrize(
    ("name", "text", "delimiter"),
    [
        ("t.csv", "a;b\n1,5;2\n", ";"),
        ("t.csv", "a\tb\n1\t2\n", "\t"),
        ("t.tsv", "a,b\n1,2\n", ","),
        ("t.csv", "a,b\n1;x,2\n", ","),  # semicolons in values
        ("t.csv", "a;b, c\n1;2\n3;4\n", ";"),  # only semicolons divide every line
        ("t.txt", "a b\tc\n1\t2,3\n", "\t"),
    ],
)
def test_header_tells_what_divides_a_table(
    tmp_path: Path, name: str, text: str, delimiter: str
) -> None:
    (tmp_path / name).write_text(text)
    expected = [line.split(delimiter) for line in text.splitlines()]
    frame = read_table(tmp_path / name)
    assert [list(frame), *frame.to_numpy().tolist()] == expected
    assert read_table(tmp_path / name, delimiter).equals(frame)


def test_table_that_two_delimiters_divide_is_refused(tmp_path: Path) -> None:
    root = write_plates(tmp_path / "crops")
    path = tmp_path / "map.csv"
    path.write_text("well;protein,name;dose\nA1;x,y;1\nB2;x,z;2\n")
    with pytest.raises(TableError, match="by commas or semicolons"):
        read_table(path)
    refused = build(root, tmp_path / "records", "--plate-map", path)
    assert refused.exit_code == 1
    assert "--delimiter" in refused.output
    made = build(root, tmp_path / "records", "--plate-map", path, "--delimiter", "semicolon")
    assert made.exit_code == 0, made.output
    wrong = build(root, tmp_path / "other", "--plate-map", path, "--delimiter", "semi")
    assert wrong.exit_code == 2


# Excel


def with_openpyxl(monkeypatch: pytest.MonkeyPatch, sheets: dict[str, list[Any]]) -> None:
    """A stand-in for openpyxl, as far as it is used: a workbook of these sheets."""

    class Sheet:
        def __init__(self, title: str) -> None:
            self.title = title
            self.sheet_state = "hidden" if title.startswith("_") else "visible"

        def iter_rows(self, *, values_only: bool) -> Any:
            assert values_only
            return (tuple(row) for row in sheets[self.title])

    def load_workbook(path: Path, *, read_only: bool, data_only: bool) -> Any:
        assert read_only
        assert data_only
        return types.SimpleNamespace(worksheets=[Sheet(title) for title in sheets])

    module = types.ModuleType("openpyxl")
    module.load_workbook = load_workbook  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "openpyxl", module)


def write_workbook(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return path


def test_sheets_of_excel_are_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_workbook(tmp_path / "map.xlsx")
    day = datetime.datetime(2024, 3, 1)
    rows = [
        ["well", "protein", "dose", "used", None],
        ["A1", "SEC61", 12.0, True, None],
        ["B2", day, 0.5, None, None],
        [None, None, None, None, None],
    ]
    with_openpyxl(monkeypatch, {"_lists": [["x"]], "empty": [], "map": rows, "notes": [["hi"]]})
    frame = read_table(path)
    assert list(frame) == ["well", "protein", "dose", "used"]
    assert frame.to_numpy().tolist() == [
        ["A1", "SEC61", "12", "TRUE"],
        ["B2", "2024-03-01", "0.5", ""],
    ]
    assert "the sheet 'map' is read" in caplog.text
    assert "row 3, holds a date" in caplog.text
    assert place(path, 0) == "map.xlsx, row 2"
    for bad, message in (
        ([["a", None, "b"], ["1", "2", "3"]], "without a name"),
        ([["a"], [None], ["1"]], "row 2"),
        ([["a"], ["#N/A"]], "#N/A"),
        ([["a"]], "only a header"),
    ):
        with_openpyxl(monkeypatch, {"map": bad})
        with pytest.raises(TableError, match=message):
            read_table(path)


def test_plate_map_of_excel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_plates(tmp_path / "crops")
    path = write_workbook(tmp_path / "map.xlsx")
    rows = [["Well", "field", "protein"], ["A1", 1, "a"], ["A1", 2, "b"]]
    with_openpyxl(monkeypatch, {"map": [*rows, ["B02", 1.0, "c"], ["B02", 2.0, "d"]]})
    made = build(root, tmp_path / "records", "--plate-map", path)
    assert made.exit_code == 0, made.output
    manifest = json.loads((tmp_path / "records" / "manifest.json").read_text())
    assert manifest["counts"]["train"]["protein"] == dict.fromkeys("abcd", 2)


def test_without_the_extra_a_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    path = write_workbook(tmp_path / "map.xlsx")
    with pytest.raises(TableError, match=r"pip install 'deeploc-tf\[excel\]'"):
        read_table(path)


def test_what_is_no_workbook_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_openpyxl(monkeypatch, {})
    (tmp_path / "map.xlsx").write_bytes(b"well,protein\nA1,a\n")
    with pytest.raises(TableError, match="whole workbook"):
        read_table(tmp_path / "map.xlsx")
