"""Tables that a caller holds in memory: data frames, `AnnData`, and arrays with names.

They are read as files of other programs are: columns of numbers are features, all others, and those
whose names say so, describe the rows; see `foreign`.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from deeploc_tf.profiles.tables.foreign import (
    Roles,
    as_texts,
    check_features,
    described_columns,
    describes_objects,
    describes_rows,
    named_by_index,
    our_name,
    provenance,
    sentence,
    some,
)
from deeploc_tf.profiles.tables.in_memory import InMemoryTable
from deeploc_tf.profiles.tables.table_format import NUMBER_TYPES, kind_of, values_of
from deeploc_tf.profiles.tables.vector_table import VectorTable
from deeploc_tf.text_tables import TableError

if TYPE_CHECKING:
    from anndata import AnnData

AnyTable: TypeAlias = (
    "VectorTable | pd.DataFrame | AnnData | tuple[ArrayLike, Sequence[str]] | str | Path"
)
"""A table in memory, an array `(num_rows, num_features)` with a name per row, or a file's path."""

_log = logging.getLogger(__name__)
_TEXT = ("string", "empty", "boolean", "date", "datetime", "datetime64", "time")
"""What a column of objects may hold, as `pandas.api.types.infer_dtype` calls it."""


class GivenTable(InMemoryTable):
    """A table that is in no file; its path is what messages call it."""

    is_file = False


def given_table(table: Any, roles: Roles) -> InMemoryTable:
    """A table in memory, as a format gives that of a file.

    Args:
        table: `VectorTable`, pandas `DataFrame` (or what has `to_pandas`), `AnnData`, or a pair:
            an array `(num_rows, num_features)` and the name of the protein of each row.
        roles: which columns name proteins, plates and wells.

    Raises:
        TableError: it is none of these, or has no rows, no features, two columns of one name,
            several levels of names, or values that are no real numbers.
    """
    if isinstance(table, VectorTable):
        return _of_vectors(table)
    found = _foreign(table, roles)
    if not found.num_rows:
        msg = f"A table must have a row. Received: {_what(table)} without one."
        raise TableError(msg)
    return found


def _foreign(table: Any, roles: Roles) -> InMemoryTable:
    if hasattr(table, "obs_names") and hasattr(table, "X"):
        from deeploc_tf.profiles.tables.h5ad import described_by_obs

        return described_by_obs(table, Path("AnnData"), roles, GivenTable)
    if isinstance(table, tuple) and len(table) == 2:
        table = _named_rows(*table)
    elif hasattr(table, "to_pandas"):
        table = table.to_pandas()
    if isinstance(table, pd.DataFrame):
        return _of_frame(table, roles)
    msg = (
        "A table must be a file, a VectorTable, a pandas DataFrame, an AnnData, or a pair (array, "
        f"names of the rows). Received: {_what(table)}."
    )
    raise TableError(msg)


def _of_vectors(table: VectorTable) -> GivenTable:
    path, metadata = Path("VectorTable"), table.metadata
    features = _numbers(table.features, "features", path)
    names = dataclasses.replace(table, features=features).names() if features.ndim else ()
    if features.ndim != 2 or (len(metadata), len(names)) != features.shape:
        msg = (
            "A VectorTable must have a row of metadata per vector, and a name per feature. "
            f"Received: features of shape {features.shape}, {len(metadata)} rows of metadata and "
            f"{len(names)} names."
        )
        raise TableError(msg)
    _check_columns(metadata, path)
    kinds = {str(name): kind_of(values) for name, values in metadata.items()}
    types: dict[str, Any] = {"text": object, **NUMBER_TYPES}
    columns = {
        str(name): np.array(values_of(values, kind), types[kind])
        for (name, values), kind in zip(metadata.items(), kinds.values(), strict=True)
    }
    text = json.dumps({**table.provenance, "columns": kinds}, default=str)
    return GivenTable(path, text, names, len(features), None, features, columns)


def _of_frame(frame: pd.DataFrame, roles: Roles) -> GivenTable:
    path = Path("DataFrame")
    _check_columns(frame, path)
    if isinstance(frame.index, pd.MultiIndex):
        msg = (
            "Rows must have one name each. Received: a DataFrame whose index has the levels "
            f"{', '.join(map(str, frame.index.names))}. Make them columns: frame.reset_index()."
        )
        raise TableError(msg)
    frame = frame.rename(columns=str)
    if frame.index.name is not None and str(frame.index.name) not in frame:
        frame = frame.rename_axis(str(frame.index.name)).reset_index()
    names = [str(name) for name in frame]
    numbers = [name for name in names if _is_number(frame[name], name, path)]
    describing = [
        name
        for name in names
        if name not in numbers or describes_rows(name) or describes_objects(name)
    ]
    if numeric := [name for name in names if name not in numbers and _seems_numbers(frame[name])]:
        _log.warning(
            "Columns of text describe rows, and these hold numbers: %s. Where they are features, "
            "convert them with pd.to_numeric.",
            some(numeric),
        )
    described = described_columns(names, roles, path, describing)
    columns = {name: as_texts(frame[own]) for name, own in described.items()}
    named_by_index(columns, described, frame.index, "the index")
    features = [name for name in numbers if name not in described.values()]
    check_features(features, described, path)
    _log.info("%s", sentence(path, features, described))
    values = _numbers(frame[features], "features", path)
    text = json.dumps(provenance(path, described, len(features)))
    return GivenTable(path, text, tuple(features), len(values), None, values, columns)


def _named_rows(array: Any, names: Any) -> pd.DataFrame:
    """A frame of a pair, whose column `protein` holds the names."""
    path = Path("the array")
    values = _numbers(array, "the array", path)
    if values.ndim != 2:
        msg = f"An array must have rows and columns. Received: shape {values.shape}."
        raise TableError(msg)
    if isinstance(names, str) or np.ndim(names) != 1 or len(names) != len(values):
        given = repr(names) if isinstance(names, str) else f"shape {np.shape(names)}"
        msg = (
            f"An array must have a name per row, {len(values)}. Received: {given} for an array of "
            f"shape {values.shape}."
        )
        raise TableError(msg)
    texts = list(names)
    bad = [name for name in texts if not isinstance(name, str) or not name.strip()]
    if bad:
        msg = f"Names of rows must be text. Received: {bad[0]!r} ({len(bad)} of {len(texts)})."
        raise TableError(msg)
    width = values.shape[1]
    features = [f"feature_{number:0{len(str(max(width - 1, 0)))}d}" for number in range(width)]
    return pd.concat(
        [pd.DataFrame({"protein": texts}), pd.DataFrame(values, columns=features)], axis=1
    )


def _check_columns(frame: pd.DataFrame, path: Path) -> None:
    if isinstance(frame.columns, pd.MultiIndex):
        msg = (
            f"Columns must have one name each. Received: {path} with {frame.columns.nlevels} "
            "levels of names. Put them together: frame.columns = "
            "['_'.join(map(str, name)) for name in frame.columns]."
        )
        raise TableError(msg)
    names = pd.Index([str(name) for name in frame.columns])
    if not names.is_unique:
        twice = names[names.duplicated()].unique().tolist()
        msg = f"Columns must have different names. Received: {path} with {some(twice)} twice."
        raise TableError(msg)


def _is_number(values: pd.Series[Any], name: str, path: Path) -> bool:
    """Whether a column holds real numbers; raises `TableError` where nobody can tell what it is."""
    kind = values.dtype
    if pd.api.types.is_complex_dtype(kind):
        problem = "complex numbers"
    elif pd.api.types.is_object_dtype(kind):
        inferred = pd.api.types.infer_dtype(values, skipna=True)
        if inferred in _TEXT:
            return False
        held = sorted({type(value).__name__ for value in values if value is not None})
        problem = f"objects ({some(held)})"
    else:
        return pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)
    msg = (
        f"Columns must hold real numbers, text, truth values or times. Received: {problem} in "
        f"column {name!r} of {path}. Convert it, as with pd.to_numeric or astype(str), or leave "
        "it out."
    )
    raise TableError(msg)


def _seems_numbers(values: pd.Series[Any]) -> bool:
    """Whether a column of text whose name says nothing of rows holds decimal numbers alone."""
    name, known = str(values.name), values.dropna()
    if describes_rows(name) or our_name(name) or not pd.api.types.is_string_dtype(known):
        return False
    decimal = known.str.contains(".", regex=False) & pd.to_numeric(known, "coerce").notna()
    return bool(len(known) and decimal.all())


def _numbers(values: Any, what: str, path: Path) -> NDArray[np.float32]:
    """Real numbers as float32, a copy; NaN where a value is missing."""
    if isinstance(values, pd.DataFrame):
        columns = np.empty(values.shape, np.float32)
        with np.errstate(over="ignore"):  # who uses the rows refuses infinity
            for place, (_, column) in enumerate(values.items()):
                columns[:, place] = column.to_numpy(np.float64, na_value=np.nan)
        return columns
    try:
        if np.ma.isMaskedArray(values):
            values = np.ma.filled(values.astype(np.float64), np.nan)
        array = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
    except ValueError as error:  # rows of different lengths
        msg = f"Rows must have the same length. Received: {_what(values)} ({error})."
        raise TableError(msg) from error
    if array.dtype.kind not in "fiu":
        msg = f"Features must be real numbers. Received: {what} of {array.dtype} in {path}."
        raise TableError(msg)
    with np.errstate(over="ignore"):
        return np.array(array, np.float32)


def _what(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ + ("" if shape is None else f" of shape {tuple(shape)}")
