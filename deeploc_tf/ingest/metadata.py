"""Free columns of an index as metadata of the records, with the type that fits all their values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfrecords.schema import MetadataType

if TYPE_CHECKING:
    import pandas as pd

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")


def metadata_columns(
    index: pd.DataFrame, columns: Sequence[str]
) -> tuple[dict[str, MetadataType], dict[str, list[str | int | float]]]:
    """Types and values of metadata columns.

    Text becomes a number only where every value of its column is written as one and would be
    written the same way again: `4` is int64, `04` stays text. Missing values make an empty text or
    a NaN.

    Returns:
        Column -> type, and column -> Python values in the order of the rows.
    """
    types: dict[str, MetadataType] = {}
    values: dict[str, list[str | int | float]] = {}
    for column in columns:
        types[column], values[column] = _convert(index[column])
    return types, values


def _convert(column: pd.Series[Any]) -> tuple[MetadataType, list[str | int | float]]:
    kind = column.dtype.kind
    if kind in "iub" and not column.isna().any():
        return "int64", [int(value) for value in column]
    if kind == "f":
        return "float32", [float(value) for value in column]
    texts = [
        "" if missing else str(value) for value, missing in zip(column, column.isna(), strict=True)
    ]
    different = set(texts)
    if all(_WHOLE.fullmatch(text) for text in different):
        return "int64", _mapped(texts, {text: int(text) for text in different})
    filled = different - {""}
    # whole numbers alone may be names of more digits than float32 has
    if not all(text.lstrip("-").isdigit() for text in filled) and all(
        _DECIMAL.fullmatch(text) for text in filled
    ):
        return "float32", _mapped(texts, {text: float(text or "nan") for text in different})
    return "text", list(texts)


def _mapped(
    texts: Sequence[str], numbers: Mapping[str, int] | Mapping[str, float]
) -> list[str | int | float]:
    return [numbers[text] for text in texts]
