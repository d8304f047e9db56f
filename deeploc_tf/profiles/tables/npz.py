"""Tables as .npz, for tools that read nothing but NumPy's files.

`features`, `feature_names`, `metadata_<column>` a column, and the JSON texts `provenance` and
`digests`; nothing in it is pickled. Of other programs: a matrix of numbers, and texts of its rows.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.profiles.tables.foreign import (
    Roles,
    as_texts,
    check_features,
    described_columns,
    provenance,
    sentence,
    some,
)
from deeploc_tf.profiles.tables.in_memory import InMemoryTable, InMemoryWriter, check_size
from deeploc_tf.profiles.tables.table_format import TableFormat
from deeploc_tf.text_tables import TableError

_log = logging.getLogger(__name__)

_OURS = {"provenance", "digests"}
_NAMES = ("proteins", "genes", "names", "name", "ids", "id")
_MATRICES = ("features", "embeddings", "embedding", "vectors", "X")


def open_foreign_npz(path: Path, roles: Roles) -> InMemoryTable:
    """All of a table, of ours or of another program.

    Of another one, the one matrix of numbers holds the features, or that which is called
    `features`, `embeddings` or `X`; arrays of one text per row describe the rows, and an array of
    one text per feature names these. Rows whose protein no array names go by `proteins`, `genes`,
    `names` or `ids`.

    Raises:
        TableError: there is no such matrix, no rows or no names; or something is pickled.
    """
    with np.load(path, allow_pickle=False) as file:
        if _OURS & set(file.files):
            return open_npz(path)
        arrays = {}
        for name in file.files:
            try:
                arrays[name] = file[name]
            except ValueError as error:
                if "allow_pickle" not in str(error):
                    raise
                _log.warning("%s: %r is pickled and was not read.", path.name, name)
    features = _matrix_of(arrays, path)
    texts = {n: a.astype(str) for n, a in arrays.items() if a.ndim == 1 and a.dtype.kind in "US"}
    rows = {name: values for name, values in texts.items() if len(values) == len(features)}
    if "protein" not in described_columns(rows, roles, path, list(rows)):
        named = next((name for name in _NAMES if name in rows), None)
        if named is None:
            msg = (
                "An .npz table must have an array with the protein of each row, text, called "
                f"protein, gene or names. Received: {path} with {some(list(arrays)) or 'nothing'}. "
                "Add one: np.savez(path, features=features, protein=np.array(names, str))."
            )
            raise TableError(msg)
        roles = dataclasses.replace(roles, protein=named)
    described = described_columns(rows, roles, path, list(rows))
    columns = {name: as_texts(pd.Series(rows[own])) for name, own in described.items()}
    width = features.shape[1]
    of_features = [v for n, v in texts.items() if n not in rows and len(v) == width]
    names = [str(v) for v in of_features[0]] if of_features else [str(i) for i in range(width)]
    check_features(names, described, path)
    _log.info("%s", sentence(path, names, described))
    text = json.dumps(provenance(path, described, width))
    return InMemoryTable(path, text, tuple(names), len(features), None, features, columns)


def _matrix_of(arrays: Mapping[str, NDArray[Any]], path: Path) -> NDArray[np.float32]:
    """The features among the arrays of another program."""
    matrices = {n: a for n, a in arrays.items() if a.ndim == 2 and a.dtype.kind in "fiub"}
    chosen = [name for name in _MATRICES if name in matrices] or list(matrices)
    if len(chosen) != 1 and not set(chosen) & set(_MATRICES):
        msg = (
            "An .npz table must have its features in one matrix of numbers, such as `features`. "
            f"Received: {path} with {some(list(arrays)) or 'nothing'}, of which "
            f"{some(chosen) or 'none'} may be that. Name it features."
        )
        raise TableError(msg)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(matrices[chosen[0]], np.float32)


def open_npz(path: Path) -> InMemoryTable:
    """All of a table of ours."""
    with np.load(path, allow_pickle=False) as file:
        text = str(file["provenance"])
        columns = {name: file[f"metadata_{name}"] for name in json.loads(text)["columns"]}
        features = np.asarray(file["features"], np.float32)
        digests = str(file["digests"]) if "digests" in file else None
        names = tuple(file["feature_names"].tolist())
    return InMemoryTable(path, text, names, len(features), digests, features, columns)


class NpzWriter(InMemoryWriter):
    """Writes one array of each kind."""

    def write(
        self, features: NDArray[np.float32], columns: Mapping[str, NDArray[Any]], digests: str
    ) -> None:
        """See `InMemoryWriter`."""
        arrays: dict[str, Any] = {
            "features": features,
            "feature_names": np.array(self.feature_names, np.str_),
            "provenance": np.array(self.provenance),
            "digests": np.array(digests),
            **{f"metadata_{name}": values for name, values in columns.items()},
        }
        np.savez(self.path, **arrays)


NPZ = TableFormat(open_npz, NpzWriter, check_size, foreign=open_foreign_npz)
