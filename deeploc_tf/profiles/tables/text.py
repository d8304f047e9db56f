"""Text tables of other tools: .csv, and .tsv, .tab and .txt with tabs; also compressed by gzip."""

from __future__ import annotations

import csv
import itertools
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.names import tidy
from deeploc_tf.profiles.tables.foreign import (
    NO_ROLES,
    PROTEIN_NAMES,
    Roles,
    check_features,
    described_columns,
    describes_objects,
    describes_rows,
    our_name,
    provenance,
    sentence,
)
from deeploc_tf.profiles.tables.in_memory import InMemoryTable
from deeploc_tf.profiles.tables.table_format import TableFormat
from deeploc_tf.text_tables import (
    DELIMITERS,
    TableError,
    opened,
    place,
    read_delimited,
    suffix_of,
    unescape_formula,
    whole_parts,
)
from deeploc_tf.units import is_place

if TYPE_CHECKING:
    import pyarrow as pa

_UNNAMED = re.compile(r"(Unnamed: \d+)?")  # as pandas writes row numbers, and reads them again
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COMMA_NUMBER = re.compile(r"[+-]?(\d+|\d*,\d+)([eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_NO_NUMBER = {
    **dict.fromkeys(("", "nan", "na", "n/a", "null", "none"), np.nan),
    **dict.fromkeys(("inf", "+inf", "infinity", "+infinity"), np.inf),
    **dict.fromkeys(("-inf", "-infinity"), -np.inf),
}
_SAMPLE_LINES = 50
_LONGEST_LINE = 16 << 20
_LARGEST = float(np.finfo(np.float32).max)

_log = logging.getLogger(__name__)


def open_text(path: Path, roles: Roles = NO_ROLES) -> InMemoryTable:
    """All of a text table.

    The columns named `Metadata_...` describe the rows and every other one is a feature. The protein
    stands in `Metadata_Protein`, else in `Metadata_Gene`, `protein` or `gene`, else in the first
    column, which needs no name. Names of proteins are text, as they stand but for spaces around
    them. Where a role is given, columns that are called as what describes rows, and those without
    a number, describe them as well.

    Raises:
        TableError: the table has no proteins, no header, or none in some line, or a feature that is
            not a number; or a role is that of no column.
        OSError: the file cannot be read.
    """
    rows = read_delimited(path, find_delimiter=True, first_may_be_unnamed=True)
    others: list[str] = []
    if roles.given():
        others = [n for n in rows.column_names if _describes(n) or _has_no_number(rows[n])]
    first = rows[0].to_pylist()
    described, names = _columns(rows.column_names, path, roles, others, first)
    columns = {name: np.array(rows[n].to_pylist(), object) for name, n in described.items()}
    if "protein" in described:
        proteins = _proteins(columns["protein"], path)
        columns["protein"] = np.array(proteins, object)
        if described["protein"] == rows.column_names[0] and roles.protein is None:
            _check_names(proteins, described["protein"], path)
    if said := [name for name in names if describes_rows(name)]:
        raise _would_be_a_feature(said[0], path)
    features = np.empty((rows.num_rows, len(names)), np.float32)
    vanished = 0
    for index, name in enumerate(names):
        numbers = _numbers(rows[name], name, path)
        features[:, index] = numbers
        vanished += int(((numbers != 0) & (features[:, index] == 0)).sum())
    undefined = int((~np.isfinite(features)).any(axis=1).sum())
    if undefined:
        _log.warning(
            "%s: %d of %d rows have a feature that is missing or infinite.",
            path.name,
            undefined,
            len(features),
        )
    if vanished:
        _log.warning(
            "%s: %d value%s too small for float32 and become 0.",
            path.name,
            vanished,
            "s are" if vanished > 1 else " is",
        )
    _log.info("%s", sentence(path, names, described))
    text = json.dumps(provenance(path, described, len(names)))
    return InMemoryTable(path, text, tuple(names), len(features), None, features, columns)


def seems_text_table(path: Path, roles: Roles = NO_ROLES) -> bool:
    """Whether a text file is a table of vectors rather than a gold standard, by its first lines.

    It has a header, and numbers in every column but those that describe rows; or the column of the
    proteins that the user names. What would be a table if it were divided by another sign is taken
    for one, so that reading it says so.

    Raises:
        TableError: it can be both: two columns, the second of numbers.
        OSError: the file cannot be read.
    """
    usual = DELIMITERS[suffix_of(path)]
    others = (sign for sign in ",;\t" if sign != usual)
    return _seems_table(path, usual, roles) or any(
        _seems_table(path, sign, roles) and len(_sample(path, sign)[0]) > 1 for sign in others
    )


def _seems_table(path: Path, delimiter: str, roles: Roles) -> bool:
    header, *rows = _sample(path, delimiter) or [[]]
    if not rows or not _is_header(header):
        return False
    if roles.protein is not None and roles.protein in header:
        return True
    first = [row[0] for row in rows]
    named = _described(header, path, first=first).values()
    described = {header.index(name) for name in (*named, *_row_numbers(header))}
    values = [value.strip() for row in rows for at, value in enumerate(row) if at not in described]
    if delimiter != ",":
        values = [value.replace(",", ".") for value in values]
    if not all(map(_is_number, values)) or not any(map(_NUMBER.fullmatch, values)):
        return False
    if len(header) == 2 and delimiter == DELIMITERS[suffix_of(path)] == "\t":
        msg = (
            "What a file is must be seen from it. Received: "
            f"{path}, two columns with numbers in the second: proteins with one feature, or pairs "
            "of a protein and a term. If it is a standard, name it by --standard; if it holds "
            "profiles, name the standards so: then all other files are profiles."
        )
        raise TableError(msg)
    return True


def _sample(path: Path, delimiter: str) -> list[list[str]]:
    """The values of the first lines; none where they are no lines of text."""
    try:
        with opened(path) as file:
            lines = whole_parts(path, iter(lambda: file.readline(_LONGEST_LINE), b""))
            texts = b"".join(itertools.islice(lines, _SAMPLE_LINES)).decode("utf-8-sig").split("\n")
        rows = csv.reader(texts, delimiter=delimiter)
        return [list(map(unescape_formula, row)) for row in rows if row]
    except (TableError, UnicodeDecodeError, csv.Error):
        return []


def _columns(
    header: list[str], path: Path, roles: Roles, others: Sequence[str], first: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Name in our metadata -> column of the table, and the names of the features."""
    if not _is_header(header):
        msg = (
            "A text table must have a header, a line of names of columns that are no numbers. "
            f"Received: {path}, line 1: {', '.join(header[:4])}{', ...' * (len(header) > 4)}."
        )
        raise TableError(msg)
    if len(header) == 1:
        msg = (
            "A table must have a feature, and columns divided by commas, semicolons or tabs. "
            f"Received: {path}, line 1: one column {header[0]!r}."
        )
        raise TableError(msg)
    described = _described(header, path, roles, others, first)
    used = {*described.values(), *_row_numbers(header)}
    names = [column for column in header if column not in used]
    if unnamed := [name for name in names if _UNNAMED.fullmatch(tidy(name))]:
        msg = (
            f"A feature must have a name. Received: a column {unnamed[0]!r} in {path}, line 1, as "
            "pandas calls one without a name. Remove it, or name it."
        )
        raise TableError(msg)
    check_features(names, described, path)
    return described, names


def _would_be_a_feature(column: str, path: Path) -> TableError:
    return TableError(
        "What describes proteins must stand in columns named Metadata_..., or it would be a "
        f"feature. Received: column {column!r} in {path}, line 1. Name it Metadata_{tidy(column)}, "
        "or remove it; or name the column of the proteins (--protein), and columns that are called "
        "so describe them."
    )


def _is_header(line: list[str]) -> bool:
    return len(line) < 2 or not all(map(_is_number, line[1:])) or _are_counted(line[1:])


def _described(
    header: list[str],
    path: Path,
    roles: Roles = NO_ROLES,
    others: Sequence[str] = (),
    first: Sequence[str] = (),
) -> dict[str, str]:
    """Name in our metadata -> column of the table; the protein's may be the first one.

    Not where that is called as a place or as what counts images or objects, as in tables of cells;
    but images whose names are all different and no files' are what some programs call proteins.
    """
    others = [*others, *filter(describes_objects, header)]
    described = described_columns(header, roles, path, others)
    column = header[0]
    are_proteins = (
        tidy(column).lower() == "imagename"
        and len(set(first)) == len(first)
        and not any("." in name or "/" in name for name in first)
    )
    is_of_cells = is_place(our_name(column) or column) or describes_objects(column)
    if "protein" in described or (is_of_cells and not are_proteins):
        return described
    return {"protein": column, **{n: own for n, own in described.items() if own != column}}


def _describes(column: str) -> bool:
    return describes_rows(column) or describes_objects(column)


def _has_no_number(values: pa.ChunkedArray) -> bool:
    texts = {value.strip() for value in values.unique().to_pylist()}
    return not any(map(_NUMBER.fullmatch, texts)) and any(
        text.lower() not in _NO_NUMBER for text in texts
    )


def _row_numbers(header: list[str]) -> list[str]:
    return header[:1] if _UNNAMED.fullmatch(tidy(header[0])) else []


def _are_counted(names: list[str]) -> bool:
    """Whether they are the numbers from 0 that pandas writes; no profile is like that."""
    return len(names) > 2 and names == [str(index) for index in range(len(names))]


def _proteins(written: NDArray[Any], path: Path) -> list[str]:
    """Names without what nobody sees; every line has one."""
    names = []
    for row, value in enumerate(written):
        name = tidy(value)
        if not name or name.startswith("#"):
            msg = (
                "Every line must name a protein, and comments are not understood. Received: "
                f"{value!r} ({place(path, row)})."
            )
            raise TableError(msg)
        names.append(name)
    return names


def _check_names(names: list[str], column: str, path: Path) -> None:
    """Refuse a first column that names proteins only because it is the first."""
    if (our_name(column) or tidy(column).lower()) in PROTEIN_NAMES:
        return
    problem = ""
    if names == [str(row) for row in range(len(names))]:
        problem = "which numbers the rows"
    elif all("." in name and _NUMBER.fullmatch(name) for name in names):
        problem = f"which holds numbers, such as {names[0]}"
    if problem:
        msg = (
            "A table must name the proteins in its first column, or in one named protein, gene, "
            f"Metadata_Protein or Metadata_Gene. Received: {path} with a first column {column!r}, "
            f"{problem}. Name the column of the proteins 'protein'."
        )
        raise TableError(msg)


def _numbers(values: pa.ChunkedArray, name: str, path: Path) -> NDArray[np.float64]:
    """A feature; NaN where it is missing."""
    import pyarrow as pa

    try:
        numbers: NDArray[np.float64] = values.cast(pa.float64()).to_numpy()
        if (np.abs(numbers) <= _LARGEST).all():
            return numbers
    except pa.ArrowInvalid:  # it does not say where, and does not know of spaces
        pass
    texts = [value.strip() for value in values.to_pylist()]
    if _have_decimal_commas(texts):
        texts = [value.replace(",", ".") for value in texts]
    return np.array([_number(text, name, place(path, row)) for row, text in enumerate(texts)])


def _have_decimal_commas(texts: Sequence[str]) -> bool:
    """Whether commas are decimal ones: none can be a point, and one cannot divide thousands."""
    numbers = [text for text in texts if text.lower() not in _NO_NUMBER]
    return all(map(_COMMA_NUMBER.fullmatch, numbers)) and any(
        "," in text and not _THOUSANDS.fullmatch(text) for text in numbers
    )


def _number(value: str, name: str, where: str) -> float:
    if (special := _NO_NUMBER.get(value.lower())) is not None:
        return special
    if not _is_number(value):
        problem = (
            "A text table must have proteins in one column, what describes them in columns named "
            "Metadata_..., and numbers in all others, with a decimal point and nothing between "
            "thousands"
        )
    elif abs(float(value)) > _LARGEST:
        problem = "A feature must be a number that float32 can hold"
    else:
        return float(value)
    msg = f"{problem}. Received: {value!r} in column {name!r} ({where})."
    raise TableError(msg)


def _is_number(text: str) -> bool:
    plain = text.strip()
    return _NUMBER.fullmatch(plain) is not None or plain.lower() in _NO_NUMBER


TEXT = TableFormat(open_text, recognizes=seems_text_table, foreign=open_text)
