"""Tables from CSV, TSV and Parquet files, strictly: what is odd is an error with its line."""

from __future__ import annotations

import csv as text
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tfrecords.errors import did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
PARQUET = (".parquet", ".pq")


class TableError(ValueError):
    """A table that cannot be read as it is."""


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """All rows of a table; every column of a delimited file is text, as it stands there.

    A byte order mark and either line end are understood. Values are neither stripped nor guessed.

    Args:
        path: `.csv` (comma), `.tsv`, `.tab`, `.txt` (tab) or `.parquet`.

    Raises:
        TableError: no rows, columns named twice or not at all, a row of another length (with its
            line), another delimiter, or not UTF-8.
        OSError: the file cannot be read.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in PARQUET and suffix not in DELIMITERS:
        msg = f"A table must be one of {', '.join([*DELIMITERS, *PARQUET])}. Received: {path}."
        raise TableError(msg)
    table = _read_parquet(path) if suffix in PARQUET else _read_delimited(path, DELIMITERS[suffix])
    _check_columns(table.column_names, path)
    if table.num_rows == 0:
        raise TableError(_no_rows(path))
    frame: pd.DataFrame = table.to_pandas(
        integer_object_nulls=True,
        ignore_metadata=True,
        split_blocks=True,  # with the next, a column of the table goes as soon as it is converted
        self_destruct=True,
    )
    del table
    return frame.reset_index(drop=True)


def require_column(columns: Iterable[str], name: str, what: str) -> None:
    """Raise `TableError` with the nearest name unless `name` is among `columns`."""
    known = [str(column) for column in columns]
    if name not in known:
        msg = f"{what} must be one of the columns {', '.join(known)}. Received: {name!r}."
        raise TableError(msg + did_you_mean(name, known))


def place(path: str | os.PathLike[str], row: int) -> str:
    """Where row `row` (from 0) of a table stands: its line in text, its row in Parquet."""
    path = Path(path)
    if path.suffix.lower() in PARQUET:
        return f"{path.name}, row {row}"
    return f"{path.name}, line {row + 2}"


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return parquet.read_table(path, partitioning=None)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        msg = f"A .parquet file must be a whole Parquet file. Received: {path}: {error}"
        raise TableError(msg) from error


def _read_delimited(path: Path, delimiter: str) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")
    header = _header(data, path)
    columns = next(text.reader([header], delimiter=delimiter))
    _check_columns(columns, path)
    bad: list[csv.InvalidRow] = []

    def note(row: csv.InvalidRow) -> str:
        bad.append(row)
        return "error"

    try:
        return csv.read_csv(
            pa.BufferReader(data),
            # rows have numbers only when read by one thread
            read_options=csv.ReadOptions(
                use_threads=False, block_size=max(1 << 20, len(header) * 2)
            ),
            parse_options=csv.ParseOptions(
                delimiter=delimiter, invalid_row_handler=note, ignore_empty_lines=False
            ),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        if bad:
            row = bad[0]
            msg = (
                f"Every line must have the {row.expected_columns} values of the header. Received: "
                f"{path}, line {row.number}: {row.actual_columns} values ({row.text[:80]!r})."
            )
        else:
            msg = f"A table must be UTF-8 text with quotes that close. Received: {path}: {error}"
        raise TableError(msg) from error


def _no_rows(path: Path) -> str:
    return f"A table must have rows. Received: {path}, which has only a header."


def _header(data: bytes, path: Path) -> str:
    header, newline, _ = data.partition(b"\n")
    if not header.strip():
        msg = (
            f"A table must begin with a header line. Received: {path}, which begins with an empty "
            "one."
        )
        raise TableError(msg)
    if b"\r" in header.rstrip(b"\r"):
        msg = f"Lines must end in a newline. Received: {path}, line 1: a carriage return inside."
        raise TableError(msg)
    if not newline:
        raise TableError(_no_rows(path))
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        msg = (
            f"A table must be UTF-8 text. Received: {path}, line {line}: a NUL byte. Is it UTF-16?"
        )
        raise TableError(msg)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        msg = (
            f"A table must be UTF-8 text. Received: {path}, line {line}: {error.reason}. Save it "
            "as UTF-8."
        )
        raise TableError(msg) from error
    return header.decode().rstrip("\r")


def _check_columns(columns: list[str], path: Path) -> None:
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice or not all(name.strip() for name in columns):
        problem = f"{twice[0]!r} twice" if twice else "a column without a name"
        msg = f"A table must name each of its columns once. Received: {path}, line 1: {problem}."
        raise TableError(msg)
    if len(columns) == 1 and any(d in columns[0] for d in ",;\t|"):
        msg = (
            f"A .csv table must be divided by commas, a .tsv table by tabs. Received: {path}, "
            f"line 1: one column {columns[0]!r}. Is the delimiter another one?"
        )
        raise TableError(msg)
