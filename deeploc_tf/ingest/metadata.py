"""Free columns of an index as metadata of the records: read back as they were written."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrecords.schema import MetadataType, is_column_name, metadata_text

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)

Value = str | int | float

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[-+][0-9]+)?")
_INT64 = range(-(2**63), 2**63)
_EXACT = 2**53  # up to here float64 has every whole number
_NOT_STORED = re.compile(r"[/\\]")
_OF_TABLES = ("key", "protein", "label", "split")  # columns that tables of vectors have anyway
_NAMED = 5  # columns in a message


def stored_names(columns: Sequence[str]) -> dict[str, str]:
    """The name of each column in the records; those that cannot be stored are changed and told.

    Names must differ in tables of vectors, too: there `field` is `Metadata_Field` (Parquet), and
    `label` is `meta_label` beside the label itself.
    """
    taken = set(map(_capitalized, _OF_TABLES))
    stored: dict[str, str] = {}
    # Names that can stay as they are have the first choice.
    for column in sorted(columns, key=lambda name: not is_column_name(name)):
        clean = column if is_column_name(column) else _clean(column)
        name, number = clean, 1
        while _in_tables(name) in taken:
            number += 1
            name = f"{clean}_{number}"
        taken.add(_in_tables(name))
        stored[column] = name
    changed = [f"{column!r} is {name!r}" for column, name in stored.items() if name != column]
    if changed:
        more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
        _log.info(
            "Columns whose names cannot be stored, or would be those of other columns in a table, "
            "are renamed: %s%s.",
            *(", ".join(changed[:_NAMED]), more),
        )
    return {column: stored[column] for column in columns}


def metadata_columns(
    index: pd.DataFrame, names: Mapping[str, str]
) -> tuple[dict[str, MetadataType], dict[str, list[Value]]]:
    """Types and values of metadata columns.

    A column is one of numbers only where each of its values gives its own text back, so that what
    is read is what was written: `4` is int64 and `0.5` float32, while `04`, `1E5` and `1.10` stay
    text. Missing values make an empty text or a NaN.

    Args:
        index: one row a crop.
        names: column -> its name in the records.

    Returns:
        Name -> type, and name -> Python values in the order of the rows.
    """
    types: dict[str, MetadataType] = {}
    values: dict[str, list[Value]] = {}
    for column, name in names.items():
        types[name], values[name] = _convert(index[column])
    return types, values


def texts_of(column: pd.Series[Any]) -> list[str]:
    """The values of a column as the texts that its metadata in the records have."""
    return [metadata_text(value) for value in _convert(column)[1]]


def _convert(column: pd.Series[Any]) -> tuple[MetadataType, list[Value]]:
    kind = column.dtype.kind
    missing = column.isna()
    if kind == "f" and not hasattr(column.array, "_mask"):
        return _of_floats(column.to_numpy(np.float64))
    if kind in "iu" and not missing.any():
        whole = [int(value) for value in column]
        if not whole or (min(whole) in _INT64 and max(whole) in _INT64):
            return "int64", list(whole)
    return _of_texts(
        ["" if no else as_text(value) for value, no in zip(column, missing, strict=True)]
    )


def _of_texts(texts: list[str]) -> tuple[MetadataType, list[Value]]:
    different = set(texts)
    if all(_WHOLE.fullmatch(text) and int(text) in _INT64 for text in different):
        return "int64", _mapped(texts, {text: int(text) for text in different})
    filled = different - {""}
    if filled and all(map(_is_of_float32, filled)):
        return "float32", _mapped(texts, {text: float(text or "nan") for text in different})
    return "text", list(texts)


def _of_floats(values: NDArray[np.float64]) -> tuple[MetadataType, list[Value]]:
    """A column that is of floating-point numbers already: numbers if float32 has each of them.

    Whole numbers with missing ones are numbers of objects or the like, which a table without
    missing whole numbers could only hold so.
    """
    missing = np.isnan(values)
    filled = values[~missing]
    is_whole = bool((np.abs(filled) < _EXACT).all() and (filled == np.floor(filled)).all())
    with np.errstate(over="ignore"):
        is_exact = bool((filled.astype(np.float32) == filled).all())
    if is_exact and not (is_whole and missing.any()):
        return "float32", values.tolist()
    texts = [repr(int(value) if is_whole else value) for value in filled.tolist()]
    found = np.full(len(values), "", object)
    found[~missing] = texts
    return _of_texts(found.tolist()) if is_whole else ("text", found.tolist())


def _is_of_float32(text: str) -> bool:
    """Whether this is what float32 writes for the number that it reads from it."""
    if not _DECIMAL.fullmatch(text):
        return False
    with np.errstate(over="ignore"):
        return str(np.float32(text)) == text


def as_text(value: Any) -> str:
    """A value of a table as text; bytes are taken as UTF-8."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return repr(value)
    return str(value)


def _clean(name: str) -> str:
    """A name that can be stored, as near as can be."""
    name = _NOT_STORED.sub("_", name)
    name = "".join(c if c.isprintable() else "_" for c in name).strip()
    return name if is_column_name(name) else "_" * max(len(name), 1)


def _in_tables(name: str) -> str:
    return _capitalized(f"meta_{name}" if name in _OF_TABLES else name)


def _capitalized(name: str) -> str:
    return name[:1].upper() + name[1:]


def _mapped(texts: Sequence[str], numbers: Mapping[str, int] | Mapping[str, float]) -> list[Value]:
    return [numbers[text] for text in texts]
