"""Files that this package wrote, read for pictures and pages; others are refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.provenance import check_unchanged
from deeploc_tf.text_tables import read_delimited, unescape_formula
from tfrecords.publishing import json_digest

_OF_NAMES = ("standard", "method", "class", "protein", "label", "labels", "predicted")
AS_TEXT: Any = dict.fromkeys(_OF_NAMES, unescape_formula)
"""Columns of names, for `converters`: names such as NA are names."""


def read_json(path: Path) -> dict[str, Any]:
    """An object of JSON.

    Raises:
        ValueError: the file holds something else.
        OSError: it cannot be read.
    """
    check_unchanged(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        wrong = "" if isinstance(values, dict) else type(values).__name__
    except ValueError as error:
        wrong = str(error)
    if not wrong and "digest" in values and values["digest"] != json_digest(values):
        wrong = "changed since: its digest is another"
    if wrong:
        msg = f"{path.name} must be JSON that this package wrote. Received: {path} ({wrong})."
        raise ValueError(msg)
    return dict(values)


def read_csv(path: Path, columns: Iterable[str], **options: Any) -> pd.DataFrame:
    """A CSV file that must have these columns; see `pandas`.

    Raises:
        ValueError: the file holds something else, or lacks a column.
        OSError: it cannot be read.
    """
    check_unchanged(path)
    try:
        table: pd.DataFrame = pd.read_csv(path, **options)
    except ValueError as error:  # pandas' own errors are such
        msg = f"{path.name} must be a table that this package wrote. Received: {path} ({error})."
        raise ValueError(msg) from error
    missing = [name for name in columns if name not in table]
    if missing:
        msg = (
            f"{path.name} must have the columns {', '.join(columns)}. Received: {path} without "
            f"{', '.join(missing)}."
        )
        raise ValueError(msg)
    return table


def read_names(path: Path, *columns: str) -> pd.DataFrame:
    """`read_csv` of a table whose names are texts, whatever they look like."""
    return read_csv(path, columns, converters=AS_TEXT)


def read_confusion(path: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Names of classes, which are text, and crops `(num_classes, num_classes)`, true in rows.

    Raises:
        ValueError: the file is not what `fit` and `evaluate` write.
        OSError: it cannot be read.
    """
    check_unchanged(path)
    try:
        table = read_delimited(path, first_may_be_unnamed=True)
        first, *columns = table.columns
        counts = np.array([column.cast("int64").to_numpy() for column in columns]).T
    except ValueError as error:
        msg = f"{path.name} must be a table that this package wrote. Received: {path} ({error})."
        raise ValueError(msg) from error
    names = [str(name) for name in first.to_pylist()]
    if not names or names != table.column_names[1:]:
        msg = (
            "A confusion matrix must have the same classes in rows and columns. Received: "
            f"{path}, {len(names)} by {len(columns)}. Take the folder that `fit` wrote."
        )
        raise ValueError(msg)
    return names, counts
