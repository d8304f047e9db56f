"""Plate maps in builds, tables of Excel, and what divides the values of a text table."""

from __future__ import annotations

import datetime
import json
import sys
import zipfile
from collections.abc import Callable
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


def write_workbook(path: Path, change: Callable[[Any], object] = bool, **sheets: Any) -> Path:
    """A workbook of these sheets, which `change` gets before it is saved."""
    openpyxl = pytest.importorskip("openpyxl", reason="workbooks need openpyxl (extra excel)")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    change(book)
    book.save(path)
    return path


def test_sheets_of_excel_are_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        ["well", None, "protein", "dose", "used", None],
        ["A1", None, "SEC61", 12.0, True, None],
        ["B2", None, datetime.datetime(2024, 3, 1), 0.5, " ", None],
        ["C3", None, "007", "4", None, None],
        [None, None, "", None, None, None],
    ]

    def hide(book: Any) -> None:
        book["lists"].sheet_state = "hidden"

    sheets = {"lists": [["x"]], "empty": [], "map": rows, "notes": [["hi"], ["#N/A"]]}
    path = write_workbook(tmp_path / "map.xlsx", hide, **sheets)
    frame = read_table(path)
    assert list(frame) == ["well", "protein", "dose", "used"]
    assert frame.to_numpy().tolist() == [
        ["A1", "SEC61", "12", "TRUE"],
        ["B2", "2024-03-01", "0.5", ""],
        ["C3", "007", "4", ""],
    ]
    assert "the sheet 'map' is read" in caplog.text
    assert "cell C3, holds a date" in caplog.text
    assert place(path, 0) == "map.xlsx, row 2"


def test_sheets_are_read_as_a_person_sees_them(tmp_path: Path) -> None:
    rows = [["plate", "well", "protein"], [12, "A1", "x"], [12, "A2", None], [12, "A3", None]]

    def draw(book: Any) -> None:
        sheet = book["map"]
        sheet.merge_cells("C2:C4")
        sheet["A2"].number_format = "0000"

    frame = read_table(write_workbook(tmp_path / "map.xlsx", draw, map=rows))
    assert frame["protein"].tolist() == ["x"] * 3
    assert frame["plate"].tolist() == ["0012", "12", "12"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["a", None, "b"], ["1", "2", "3"]], "without a name.*The first row of the sheet 'map'"),
        ([["Plate 1"], ["well", "protein"], ["A1", "x"]], "without a name.*must be the header"),
        ([["a"], [None], ["1"]], "row 2"),
        ([["a"], ["#N/A"]], "#N/A.*cell A2"),
        ([["a"]], "only a header"),
        ([], "only a header"),
        ([["a", "b"], ["1", '=CONCATENATE("A","1")']], "cell B2, which was never calculated"),
    ],
)
def test_sheets_that_are_no_table_are_refused(tmp_path: Path, rows: Any, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_table(write_workbook(tmp_path / "map.xlsx", map=rows))


def test_formulas_with_a_value_are_read(tmp_path: Path) -> None:
    """As Excel saves them: a number, a text, and a text that is empty."""
    path = write_workbook(tmp_path / "one.xlsx", map=[["a", "b", "c"], ["=1+1", '="x"', '=""']])
    values = {
        b"<f>1+1</f><v />": b"<f>1+1</f><v>2</v>",
        b'r="B2"><f>"x"</f><v />': b'r="B2" t="str"><f>"x"</f><v>x</v>',
        b'r="C2"><f>""</f><v />': b'r="C2" t="str"><f>""</f><v></v>',
    }
    calculated = tmp_path / "map.xlsx"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(calculated, "w") as new:
        for name in old.namelist():
            data = old.read(name).replace(b"<v></v>", b"<v />")
            if name.startswith("xl/worksheets/"):
                for ours, theirs in values.items():
                    assert ours in data
                    data = data.replace(ours, theirs)
            new.writestr(name, data)
    assert read_table(calculated).to_numpy().tolist() == [["2", "x", ""]]


def test_plate_map_of_excel(tmp_path: Path) -> None:
    root = write_plates(tmp_path / "crops")
    rows = [["Well ", "field", "protein"], ["A1", 1, "a"], ["A1", 2, "b"]]
    rows += [["B02", 1.0, "c"], ["B02", "02", "d"]]
    path = write_workbook(tmp_path / "map.xlsx", map=rows)
    made = build(root, tmp_path / "records", "--plate-map", path)
    assert made.exit_code == 0, made.output
    manifest = json.loads((tmp_path / "records" / "manifest.json").read_text())
    assert manifest["counts"]["train"]["protein"] == dict.fromkeys("abcd", 2)


def test_without_the_extra_a_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    path = tmp_path / "map.xlsx"
    path.write_bytes(b"PK")
    with pytest.raises(TableError, match="pip install 'openpyxl>="):
        read_table(path)


def test_what_is_no_workbook_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl", reason="workbooks need openpyxl (extra excel)")
    (tmp_path / "map.xlsx").write_bytes(b"well,protein\nA1,a\n")
    with pytest.raises(TableError, match="whole workbook"):
        read_table(tmp_path / "map.xlsx")
