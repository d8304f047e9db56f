"""Names that spreadsheet programs would calculate, in every CSV file that we write."""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared import run_cli

import deeploc_tf
from deeploc_tf.benchmark.pair_list import write_pairs
from deeploc_tf.benchmark.standards import read_standard
from deeploc_tf.profiles.tables import open_rows
from deeploc_tf.report.reading import read_confusion, read_names
from deeploc_tf.serving.cell_writer import CellWriter
from deeploc_tf.text_tables import (
    csv_bytes,
    escape_formula,
    escape_formulas,
    read_table,
    unescape_formula,
)

HOUSE = Path(deeploc_tf.__file__).parent
FORMULAS = ["=HYPERLINK(1)", "+cmd|' /C calc'!A0", "-ve control", "@SUM(A1)", "'=A1", "＝1+1"]
PLAIN = ["AAC1", "5'-A", "'a", "-1.5", "+1E5", "-", "+++", "3-methyl", ""]
CALCULATED = re.compile(r"[=@\t\r＝＋－＠]|[+-](?![\d.]+(?:[eE][+-]?\d+)?$|[+-]*$)")
NAMES = st.text(st.sampled_from("=+-@'\"A1.eE,; ＝é"), max_size=8)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_is_escaped(name: str) -> None:
    assert escape_formula(name) == f"'{name}"
    assert unescape_formula(escape_formula(name)) == name


@pytest.mark.parametrize("name", PLAIN)
def test_other_names_stay_as_they_are(name: str) -> None:
    assert escape_formula(name) == unescape_formula(name) == name


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=5), st.sampled_from(",\t"))
def test_whatever_is_written_is_read_again(rows: list[tuple[str, str]], mark: str) -> None:
    table = pd.DataFrame(rows, columns=["=a", "b"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("a.csv" if mark == "," else "a.tsv")
        content = csv_bytes(table, delimiter=mark)
        path.write_bytes(content)
        assert read_table(path, mark).to_numpy().tolist() == table.to_numpy().tolist()
    cells = pd.read_csv(io.BytesIO(content), sep=mark, dtype=str, header=None)
    assert not any(CALCULATED.match(str(cell)) for cell in cells.to_numpy().ravel())


def test_only_one_file_writes_csv() -> None:
    """`cell_writer` streams with Arrow, and calls what escapes."""
    writes = re.compile(r"\.to_csv\(|csv\.writer|csv\.DictWriter|CSVWriter|write_csv\(")
    found = {
        str(path.relative_to(HOUSE))
        for path in HOUSE.rglob("*.py")
        if writes.search(path.read_text("utf-8"))
    }
    assert found == {"text_tables.py", "serving/cell_writer.py"}


def test_cells_of_predict(tmp_path: Path) -> None:
    with CellWriter(tmp_path / "c.parquet", {"protein": "text", "=x": "float32"}) as writer:
        writer.append({"protein": ["=A1", "AAC1"], "=x": [-1.5, 2]})
    assert (tmp_path / "c.csv").read_text().splitlines()[1].startswith('"\'=A1",-1.5')
    assert read_table(tmp_path / "c.csv")["protein"].tolist() == ["=A1", "AAC1"]
    assert list(read_table(tmp_path / "c.csv")) == ["protein", "=x"]
    assert pd.read_parquet(tmp_path / "c.parquet")["protein"].tolist() == ["=A1", "AAC1"]


def test_pairs_of_benchmark(tmp_path: Path) -> None:
    names = ["=A1", "B", "C"]
    (tmp_path / "s.gmt").write_text("t\t\t=A1\tB\nu\t\tB\tC\n")
    vectors = np.eye(3, dtype=np.float32)
    write_pairs(tmp_path / "p.csv.gz", vectors, names, [read_standard(tmp_path / "s.gmt")])
    assert gzip.decompress((tmp_path / "p.csv.gz").read_bytes()).count(b"\n'=A1,") == 2
    assert read_table(tmp_path / "p.csv.gz")["protein_1"].tolist() == ["=A1", "=A1", "B"]


def test_names_of_classes_come_back_in_pages(tmp_path: Path) -> None:
    names = ["=A1", "'=A1", "plain"]
    table = pd.DataFrame(np.eye(3, dtype=int), pd.Index(names, name="class"), names)
    (tmp_path / "confusion.csv").write_bytes(csv_bytes(table, index=True))
    assert read_confusion(tmp_path / "confusion.csv")[0] == names
    (tmp_path / "per_class.csv").write_bytes(csv_bytes(table, index=True))
    assert read_names(tmp_path / "per_class.csv", "class")["class"].tolist() == names


def test_profiles_in_csv(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(
        csv_bytes(pd.DataFrame({"protein": FORMULAS, "f": -np.arange(6.0)}))
    )
    assert open_rows(tmp_path / "p.csv").column("protein").tolist() == FORMULAS


def test_change_of_proteins_with_such_names(tmp_path: Path) -> None:
    names = np.repeat(["=A1", "-ve", *"BCDEFGHIJK"], 4)
    draws = np.random.default_rng(1)
    for screen in ("one.csv", "two.csv"):
        vectors = draws.normal(size=(48, 2))
        table = pd.DataFrame({"protein": names, "f": vectors[:, 0], "g": vectors[:, 1]})
        (tmp_path / screen).write_bytes(csv_bytes(table))
    screens = (tmp_path / "one.csv", tmp_path / "two.csv")
    done = run_cli("change", *screens, tmp_path / "c.csv")
    assert done.exit_code == 0, done.output
    assert set(read_table(tmp_path / "c.csv")["protein"]) == set(names)
    assert "\n'=A1," in (tmp_path / "c.csv").read_text()


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_pages_write_as_we_do() -> None:
    """The expressions of `script_page.js` are those of `text_tables`."""
    script = (HOUSE / "report" / "script_page.js").read_text("utf-8")
    lines = [line for line in script.splitlines() if re.match("const (formula|e|une)", line)]
    values: list[Any] = [*FORMULAS, *PLAIN]
    told = (
        f"console.log(JSON.stringify({values!r}.map((v) => [escaped(v), unescaped(escaped(v))])))"
    )
    done = subprocess.run(
        ["node", "-e", "\n".join([*lines, told])], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [[escape_formula(v), v] for v in values]


def test_an_arrow_table_without_formulas_is_the_same() -> None:
    table = pa.table({"a": ["x", None, "-1"], "n": [-1, 2, 3]})
    assert escape_formulas(table) == table
