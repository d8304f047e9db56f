"""Tables from CSV, TSV, Excel and Parquet files, strictly: what is odd is an error with its line.

All CSV of ours is written here, too. A text that a spreadsheet program would take for a formula
stands in it behind an apostrophe, which reading takes off again.

Every command that takes a table of somebody else reads it here, compressed by gzip or not. Text is
UTF-8, with or without a byte order mark; lines end in a newline, or a carriage return and one.
Values are neither stripped, but for that apostrophe, nor guessed. A value that begins with a
quotation mark must end with one in the same line, before the next delimiter, and marks inside are
doubled, as RFC 4180 has it; a value over several lines is refused, since a mark that is no quote
would swallow lines. A mark inside a value (`5'-A`, `12" ruler`) is a character like any other.
"""

from __future__ import annotations

import csv as text
import datetime
import gzip
import logging
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from deeploc_tf.extras import install
from deeploc_tf.names import tidy
from tfrecords.errors import did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

logger = logging.getLogger(__name__)

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
PARQUET = (".parquet", ".pq")
EXCEL = (".xlsx", ".xlsm")
_DIVIDERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_SAMPLE_LINES = 100
_LONGEST_FIELD = 1 << 17  # that the module csv reads
_EXCEL_ERRORS = ("#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!", "#DIV/0!")
# A formula whose value is not in the file; an empty text is a value.
_NOT_CALCULATED = re.compile(
    rb'<c\s(?![^>]*\bt="str")[^>]*?\br="([A-Z]+\d+)"[^>]*>\s*<f\b(?:[^>]*/>|[^>]*>[^<]*</f>)\s*'
    rb"(?:<v\s*/>|<v>\s*</v>)?\s*</c>"
)
# What spreadsheet programs calculate, also in the wide forms of East Asian keyboards. Numbers and
# rows of signs have nothing to calculate. `script_page.js` has the same expressions.
_FORMULA = "^'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
_NO_FORMULA = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]+", re.ASCII)
_ESCAPED = f"^'({_FORMULA[1:]})"
_MOST_CELLS = 20_000_000
_MOST_BYTES = 8 << 30  # of an archive's content; more would hardly be a table
_CHUNK_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"


class TableError(ValueError):
    """A table that cannot be read as it is."""


def read_table(path: str | os.PathLike[str], delimiter: str | None = None) -> pd.DataFrame:
    """All rows of a table; every column of a delimited file or sheet is text, as it stands there.

    Args:
        path: `.csv`, `.tsv`, `.tab`, `.txt`, all also `.gz`; or `.xlsx` (extra `excel`); or
            `.parquet`.
        delimiter: of a text file; None for what divides its header: commas, semicolons or tabs.

    Raises:
        TableError: no rows, columns named twice or not at all, a row of another length (with its
            line), quotes that do not balance in their line, another delimiter, or not UTF-8.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if suffix_of(path) in PARQUET:
        table = _read_parquet(path)
    elif suffix_of(path) in EXCEL:
        table = _read_excel(path)
    else:
        table = read_delimited(path, delimiter=delimiter, find_delimiter=True)
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


def read_delimited(
    path: Path,
    *,
    delimiter: str | None = None,
    find_delimiter: bool = False,
    first_may_be_unnamed: bool = False,
) -> pa.Table:
    """The rows of a CSV or TSV file; every column is text.

    Args:
        path: of the file.
        delimiter: None for the one that the suffix tells.
        find_delimiter: where none is given, let the header tell it.
        first_may_be_unnamed: the first column may have no name, as that of row names.

    Raises:
        TableError: as `read_table`.
        OSError: the file cannot be read.
    """
    suffix = suffix_of(path)
    if suffix not in DELIMITERS:
        known = ", ".join([*DELIMITERS, *PARQUET, *EXCEL[:1]])
        msg = (
            f"A table must be one of {known} (text also in .gz). Received: {path}. Save it as one "
            "of these."
        )
        raise TableError(msg)
    data = content(path).removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")
    header = _header(data, path)
    _check_text(data, path)
    if delimiter is None:
        usual = DELIMITERS[suffix]
        delimiter = _delimiter_of(data, header, usual, path) if find_delimiter else usual
    _check_quotes(data, delimiter, path)
    columns = next(text.reader([header.decode().rstrip("\r")], delimiter=delimiter))
    is_unnamed = first_may_be_unnamed and len(columns) > 1 and not tidy(columns[0])
    _check_columns(columns[is_unnamed:], path)
    if len(data) == len(header):
        raise TableError(_no_rows(path))
    table = _parsed(data, len(header) + 1, columns, delimiter, path)
    return unescape_formulas(table) if b"'" in data else table


def escape_formula(value: Any) -> Any:
    """A text with an apostrophe before it, if a spreadsheet program would calculate it.

    >>> [escape_formula(name) for name in ("=A1", "-ve control", "-1.5", "5'-A")]
    ["'=A1", "'-ve control", '-1.5', "5'-A"]
    """
    is_formula = (
        isinstance(value, str) and re.match(_FORMULA, value) and not _NO_FORMULA.fullmatch(value)
    )
    return f"'{value}" if is_formula else value


def unescape_formula(value: Any) -> Any:
    """What `escape_formula` was given."""
    return re.sub(_ESCAPED, r"\1", value) if isinstance(value, str) else value


def csv_bytes(
    table: pd.DataFrame, *, index: bool = False, header: bool = True, delimiter: str = ","
) -> bytes:
    """A table as UTF-8 that `read_table` reads, and that is safe in a spreadsheet program.

    Args:
        table: to write. Texts in columns, index and header are escaped, see `escape_formula`.
        index: whether the index is the first column.
        header: whether the first line names the columns.
        delimiter: between values.
    """
    table = table.rename(columns=escape_formula, index=escape_formula if index else None)
    for name, values in list(table.items()):
        if values.dtype.kind == "O" and any(escape_formula(v) is not v for v in values.unique()):
            table[name] = values.map(escape_formula)
    text: str = table.to_csv(index=index, header=header, sep=delimiter, lineterminator="\n")
    return text.encode()


def escape_formulas(table: pa.Table) -> pa.Table:
    """An Arrow table whose texts and names of columns are escaped, see `escape_formula`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [
        pa.array(map(escape_formula, column.to_pylist()), column.type)
        if column.type == pa.string() and pc.any(pc.match_substring_regex(column, _FORMULA)).as_py()
        else column
        for column in table.columns
    ]
    return pa.table(columns, [escape_formula(name) for name in table.column_names])


def unescape_formulas(table: pa.Table) -> pa.Table:
    """What `escape_formulas` was given; every column is text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [pc.replace_substring_regex(c, _ESCAPED, r"\1") for c in table.columns]
    return pa.table(columns, [unescape_formula(name) for name in table.column_names])


def content(path: Path) -> bytes:
    """What a file holds, decompressed.

    Raises:
        TableError: a damaged archive, or one of more than a few GiB.
        OSError: the file cannot be read.
    """
    parts, size = [], 0
    with opened(path) as file:
        for part in whole_parts(path, iter(lambda: file.read(_CHUNK_BYTES), b"")):
            parts.append(part)
            size += len(part)
            if size > _MOST_BYTES:
                msg = f"A table must fit into memory. Received: {path}, {_MOST_BYTES >> 30} GiB."
                raise TableError(msg)
    return b"".join(parts)


def opened(path: Path) -> IO[bytes]:
    """A file to read, decompressed if its content is gzip's."""
    with path.open("rb") as file:
        compressed = file.read(2) == _GZIP_MAGIC
    return gzip.open(path) if compressed else path.open("rb")  # type: ignore[return-value]


def whole_parts(path: Path, parts: Iterator[bytes]) -> Iterator[bytes]:
    """The parts, with the file named where its archive is damaged.

    Raises:
        TableError: it is.
    """
    try:
        yield from parts
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        msg = f"A .gz file must be whole. Received: {path}: {error}. Download it again."
        raise TableError(msg) from error


def require_column(columns: Iterable[str], name: str, what: str) -> None:
    """Raise `TableError` with the nearest name unless `name` is among `columns`."""
    known = [str(column) for column in columns]
    if name not in known:
        msg = f"{what} must be one of the columns {', '.join(known)}. Received: {name!r}."
        raise TableError(msg + did_you_mean(name, known))


def place(path: str | os.PathLike[str], row: int) -> str:
    """Where row `row` (from 0) of a table stands: its line in text, its row in Parquet."""
    path = Path(path)
    if suffix_of(path) in PARQUET:
        return f"{path.name}, row {row}"
    if suffix_of(path) in EXCEL:
        return f"{path.name}, row {row + 2}"  # as Excel numbers them
    return f"{path.name}, line {row + 2}"


def suffix_of(path: Path) -> str:
    """The suffix that tells the format, in lower case; that of gzip is passed over."""
    name = Path(path.stem) if path.suffix.lower() == ".gz" else path
    return name.suffix.lower()


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return parquet.read_table(path, partitioning=None, page_checksum_verification=True)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        msg = f"A .parquet file must be a whole Parquet file. Received: {path}: {error}"
        raise TableError(msg) from error


def _read_excel(path: Path) -> pa.Table:
    """The first sheet of a workbook that has values and is not hidden, as a person sees it.

    Merged cells all have the value that is drawn over them, and numbers the leading zeros of their
    format. Where Excel keeps `0012` as the number 12, names are compared without leading zeros if
    their kind allows it, see `deeploc_tf.names`.
    """
    import pyarrow as pa

    title, rows = _filled_sheet(path)
    while rows and not any(rows[-1]):
        rows.pop()
    used = [at for at, column in enumerate(zip(*rows, strict=True)) if any(column)]
    header, *lines = [[row[at] for at in used] for row in rows] or [[]]
    if empty := next((i for i, row in enumerate(rows, 1) if not any(row)), None):
        msg = f"A table must have no empty rows. Received: {path}, row {empty}. Remove it."
        raise TableError(msg)
    try:
        _check_columns(header, path)
    except TableError as error:
        msg = f"{error} The first row of the sheet {title!r} must be the header of its only table."
        raise TableError(msg) from error
    columns = zip(*lines, strict=True) if lines else [()] * len(header)
    return pa.table([pa.array(list(c), pa.string()) for c in columns], names=header)


def _filled_sheet(path: Path) -> tuple[str, list[list[str]]]:
    """Title and rows of the sheet that is read, as texts; all rows are of one length."""
    try:
        import openpyxl
    except ImportError as error:
        msg = (
            f"An .xlsx table needs the package openpyxl. Received: {path}. Install it "
            f"({install('excel')}), or save the sheet as CSV UTF-8."
        )
        raise TableError(msg) from error
    try:
        is_merged = _looked_at(path)
        # only a workbook that is read as a whole tells which cells are merged
        book = openpyxl.load_workbook(path, read_only=not is_merged, data_only=True)
        sheets = [s for s in book.worksheets if s.sheet_state == "visible" and _has_values(s)]
        rows = _rows_of(sheets[0], path) if sheets else []
    except (TableError, FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # openpyxl raises what zipfile, XML and itself have for damage
        msg = (
            f"An .xlsx file must be a whole workbook. Received: {path}: {error}. Save it as .xlsx "
            "without a password, or as CSV UTF-8."
        )
        raise TableError(msg) from error
    if len(sheets) > 1:
        logger.warning("Of %s the sheet %r is read, and no other one.", path.name, sheets[0].title)
    return sheets[0].title if sheets else "", rows


def _looked_at(path: Path) -> bool:
    """Whether some cells of a workbook are merged.

    Raises:
        TableError: it is too large, or a formula was never calculated, as in workbooks that a
            program wrote and nobody has opened: its cell would be empty.
    """
    is_merged = False
    with zipfile.ZipFile(path) as archive:
        if sum(part.file_size for part in archive.infolist()) > _MOST_BYTES:
            msg = f"A table must fit into memory. Received: {path}, {_MOST_BYTES >> 30} GiB."
            raise TableError(msg)
        for name in archive.namelist():
            if not name.startswith("xl/worksheets/"):
                continue
            sheet = archive.read(name)
            is_merged = is_merged or b"<mergeCell " in sheet
            if formula := _NOT_CALCULATED.search(sheet):
                msg = (
                    f"Formulas of a workbook must have values. Received: {path}, cell "
                    f"{formula[1].decode()}, which was never calculated. Open it in a spreadsheet "
                    "program and save it, or save the sheet as CSV UTF-8."
                )
                raise TableError(msg)
    return is_merged


def _has_values(sheet: Any) -> bool:
    rows = sheet.iter_rows(values_only=True)
    return any(str(value).strip() for row in rows for value in row if value is not None)


def _rows_of(sheet: Any, path: Path) -> list[list[str]]:
    """The cells of a sheet as texts."""
    merged = getattr(sheet, "merged_cells", None)
    if merged is not None and sheet.max_row * sheet.max_column > _MOST_CELLS:
        msg = (
            f"A sheet with merged cells must have {_MOST_CELLS} cells at most. Received: "
            f"{sheet.max_row} rows and {sheet.max_column} columns in {path}. Delete those behind "
            "the table, or save it as CSV UTF-8."
        )
        raise TableError(msg)
    cells = list(sheet.iter_rows())
    rows = [[_excel_text(cell, path) for cell in row] for row in cells]
    dates = (cell for row in cells for cell in row if isinstance(cell.value, datetime.date))
    if date := next(dates, None):
        logger.warning(
            "%s, cell %s, holds a date. If it was a name, such as MARCH1, format the column as "
            "text and type it again.",
            *(path.name, date.coordinate),
        )
    for area in merged.ranges if merged is not None else ():
        left, top, right, bottom = area.bounds
        for row in rows[top - 1 : bottom]:
            row[left - 1 : right] = [rows[top - 1][left - 1]] * (right - left + 1)
    width = max(map(len, rows), default=0)
    return [row + [""] * (width - len(row)) for row in rows]


def _excel_text(cell: Any, path: Path) -> str:
    """A cell as text: whole numbers without a decimal point, which Excel does not keep."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, int) and re.fullmatch("0+", cell.number_format):
        return f"{value:0{len(cell.number_format)}d}"
    if isinstance(value, datetime.date):
        return value.isoformat().removesuffix("T00:00:00")
    if value in _EXCEL_ERRORS:
        msg = (
            f"A table must hold values. Received: {value} in {path}, cell {cell.coordinate}. Mend "
            "the formula."
        )
        raise TableError(msg)
    return str(unescape_formula(value)) if str(value).strip() else ""


def _delimiter_of(data: bytes, header: bytes, usual: str, path: Path) -> str:
    """What divides the values: what the suffix tells, if the header has it, or the only other one.

    Raises:
        TableError: lines can be divided in two ways.
    """
    lines = data[:_CHUNK_BYTES].split(b"\n")
    if len(data) > _CHUNK_BYTES and len(lines) > 1:
        lines.pop()  # which is cut
    lines = lines[:1] + [line for line in lines[1:_SAMPLE_LINES] if len(line) < _LONGEST_FIELD]

    def widths(delimiter: str) -> list[int]:
        texts = (line.decode(errors="replace").rstrip("\r") for line in lines)
        return [len(row) for row in text.reader(texts, delimiter=delimiter)]

    found = {d: widths(d) for d in _DIVIDERS}
    dividing = [d for d in found if found[d][0] > 1]
    even = [d for d in dividing if len(set(found[d])) == 1]
    if len(even) > 1 and max(even, key=lambda d: found[d][0]) != usual:
        ways = " or ".join(_DIVIDERS[d] for d in even)
        msg = (
            f"A table must be divided in one way. Received: {path}, line 1: "
            f"{header.decode(errors='replace')[:80]!r}, by {ways}. Say which (--delimiter)."
        )
        raise TableError(msg)
    chosen = usual
    if usual not in dividing or (usual not in even and even):
        chosen = next(iter(even or dividing), usual)
    if chosen != usual:
        logger.info("%s is divided by %s.", path.name, _DIVIDERS[chosen])
    return chosen


def _parsed(data: bytes, start: int, columns: list[str], delimiter: str, path: Path) -> pa.Table:
    """The rows of `data` from `start` on, which have been looked at."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv

    bad: list[csv.InvalidRow] = []

    def note(row: csv.InvalidRow) -> str:
        bad.append(row)
        return "error"

    newlines = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    longest = int(np.diff(newlines, prepend=0, append=len(data)).max())
    try:
        return csv.read_csv(
            pa.BufferReader(memoryview(data)[start:]),
            # rows have numbers only when read by one thread; a row must fit into a block
            read_options=csv.ReadOptions(
                use_threads=False, block_size=max(1 << 20, 2 * longest), column_names=columns
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
        if not bad:
            msg = f"A table must be lines of values. Received: {path}: {error}"
            raise TableError(msg) from error
        row = bad[0]
        line = row.number + 1  # under the header
        msg = (
            f"Every line must have the {row.expected_columns} values of the header, which is line "
            f"1. Received: {path}, line {line}: {row.actual_columns} values ({row.text[:80]!r})."
        )
        if columns[0].startswith("#"):
            msg += " Comments are not understood: remove them."
        elif line == 2 and row.actual_columns == row.expected_columns + 1:
            msg += " Name the column of row names, too, and end no line with a delimiter."
        raise TableError(msg) from error


def _no_rows(path: Path) -> str:
    return f"A table must have rows. Received: {path}, which has only a header."


def _header(data: bytes, path: Path) -> bytes:
    header = data.partition(b"\n")[0]
    if not header.strip():
        msg = (
            f"A table must begin with a header line. Received: {path}, which begins with an empty "
            "one."
        )
        raise TableError(msg)
    if re.fullmatch(rb'"?sep=.?"?\r?', header):
        msg = (
            f"A table must begin with a header line. Received: {path}, which begins with "
            f"{header.decode().strip()!r}, a line for Excel alone. Remove it."
        )
        raise TableError(msg)
    return header


def _check_text(data: bytes, path: Path) -> None:
    """Refuse what is not lines of UTF-8."""
    if b"\0" in data:
        msg = (
            f"A table must be UTF-8 text. Received: {path}, line {_line(data, data.index(0))}: a "
            "NUL byte. Is it UTF-16? Save it as CSV UTF-8."
        )
        raise TableError(msg)
    if data.count(b"\r") != data.count(b"\r\n") and (lone := re.search(rb"\r(?!\n)", data)):
        msg = (
            f"Lines must end in a newline. Received: {path}, line {_line(data, lone.start())}: a "
            "carriage return inside."
        )
        raise TableError(msg)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        msg = (
            f"A table must be UTF-8 text. Received: {path}, line {_line(data, error.start)}: "
            f"{error.reason}. Save it as UTF-8."
        )
        raise TableError(msg) from error


def _check_quotes(data: bytes, delimiter: str, path: Path) -> None:
    """Refuse quotes that do not enclose one value of one line."""
    if b'"' not in data:
        return
    d = delimiter.encode()
    value = rb'(?:"(?:[^"\n]|"")*+"|(?!")[^%b\r\n]*+)' % d
    good = re.compile(rb"(?:%b(?:%b%b)*+\r?\n)*+" % (value, d, value))
    at = good.match(data + b"\n").end()  # type: ignore[union-attr]
    if at > len(data):
        return
    shown = data[at : at + 200].split(b"\n")[0].decode(errors="replace")[:80]
    msg = (
        "A value that begins with a quotation mark must end with one in the same line, before the "
        f"next delimiter. Received: {path}, line {_line(data, at)}: {shown!r}. Double the marks "
        "inside a quoted value, quote a value that begins with one, and leave no newline inside."
    )
    raise TableError(msg)


def _line(data: bytes, at: int) -> int:
    return data.count(b"\n", 0, at) + 1


def _check_columns(columns: list[str], path: Path) -> None:
    seen: dict[str, str] = {}
    for name in columns:
        plain = tidy(name)
        if plain and plain not in seen:
            seen[plain] = name
            continue
        problem = "a column without a name"
        if plain:
            problem = f"{name!r} twice" if seen[plain] == name else f"{seen[plain]!r} and {name!r}"
        msg = f"A table must name each of its columns once. Received: {path}, line 1: {problem}."
        raise TableError(msg)
    if len(columns) == 1 and any(d in columns[0] for d in ",;\t|"):
        msg = (
            f"A .csv table must be divided by commas, a .tsv table by tabs. Received: {path}, "
            f"line 1: one column {columns[0]!r}. Is the delimiter another one? Say it where there "
            "is an option for it (--delimiter)."
        )
        raise TableError(msg)
