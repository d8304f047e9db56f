"""Tables as one .npz or .h5ad file, for tools that read nothing else: held in memory as a whole.

- .npz: `features`, `feature_names`, `metadata_<column>` a column, and `provenance`, a JSON text;
  nothing in it is pickled.
- .h5ad, for anndata and scanpy: `X` holds the features, `obs` the columns, named by the cell's key
  or the profile's protein, `var` a row a feature, and `uns["deeploc_tf"]` the JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

WHOLE_SUFFIXES = (".npz", ".h5ad")
MOST_BYTES = 2 << 30  # of features; writing takes about twice as much memory
_UNS = "deeploc_tf"

Contents = tuple[NDArray[np.float32], pd.DataFrame, Mapping[str, Any], tuple[str, ...]]


class MissingAnnDataError(ImportError, ValueError):
    """.h5ad needs anndata, which is not installed."""


def check_whole(path: Path, num_rows: int, num_features: int) -> None:
    """Refuse a table that is too large to be written at once.

    Args:
        path: its name.
        num_rows: how many there will be.
        num_features: length of the vectors.

    Raises:
        ValueError: it is too large.
        MissingAnnDataError: .h5ad without the extra `anndata`.
    """
    if path.suffix == ".h5ad":
        _anndata()
    if 4 * num_rows * num_features > MOST_BYTES:
        msg = (
            f"A table in {path.suffix} must fit into memory: {MOST_BYTES >> 20} MiB at most. "
            f"Received: {num_rows} rows of {num_features} float32 features, "
            f"{4 * num_rows * num_features >> 20} MiB. Write .h5 or .parquet, take fewer features "
            "(--layer NAME:max) or fewer splits."
        )
        raise ValueError(msg)


class WholeWriter:
    """Collects rows and writes them when the block ends; see `tables.TableWriter`."""

    def __init__(
        self,
        path: Path,
        feature_names: Sequence[str],
        columns: Mapping[str, str],
        provenance: Mapping[str, Any],
    ) -> None:
        self.num_rows = 0
        self._path = path
        self._names = list(feature_names)
        self._types = dict(columns)
        self._provenance = json.dumps(provenance, allow_nan=False)
        self._blocks: list[NDArray[np.float32]] = []
        self._columns: dict[str, list[Any]] = {name: [] for name in columns}

    def __enter__(self) -> WholeWriter:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is not None:
            return
        empty = np.empty((0, len(self._names)), np.float32)
        features = np.concatenate([empty, *self._blocks])
        self._blocks.clear()
        write = _write_npz if self._path.suffix == ".npz" else _write_h5ad
        write(self._path, features, self._names, self._arrays(), self._provenance)

    def append(self, features: NDArray[np.float32], metadata: Mapping[str, Sequence[Any]]) -> None:
        """Add rows."""
        check_whole(self._path, self.num_rows + len(features), len(self._names))
        self._blocks.append(np.array(features, np.float32))
        for name, values in self._columns.items():
            values.extend(metadata[name])
        self.num_rows += len(features)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        types: Any = {"text": np.str_, "int64": np.int64, "float32": np.float32}
        return {
            name: np.array(self._columns[name], types[kind]) for name, kind in self._types.items()
        }


def read_whole(path: Path) -> Contents:
    """Features, columns, provenance and feature names of a table that `WholeWriter` wrote.

    Raises:
        KeyError, ValueError, OSError: the file is no such table.
        MissingAnnDataError: .h5ad without the extra `anndata`.
    """
    return _read_npz(path) if path.suffix == ".npz" else _read_h5ad(path)


def _write_npz(
    path: Path,
    features: NDArray[np.float32],
    names: list[str],
    columns: Mapping[str, NDArray[Any]],
    provenance: str,
) -> None:
    arrays: dict[str, Any] = {
        "features": features,
        "feature_names": np.array(names, np.str_),
        "provenance": np.array(provenance),
        **{f"metadata_{name}": values for name, values in columns.items()},
    }
    np.savez(path, **arrays)


def _read_npz(path: Path) -> Contents:
    with np.load(path, allow_pickle=False) as file:
        provenance = json.loads(str(file["provenance"]))
        columns = {name: file[f"metadata_{name}"] for name in provenance["columns"]}
        metadata = pd.DataFrame(
            {name: v.astype(object) if v.dtype.kind == "U" else v for name, v in columns.items()}
        )
        return file["features"], metadata, provenance, tuple(file["feature_names"].tolist())


def _write_h5ad(
    path: Path,
    features: NDArray[np.float32],
    names: list[str],
    columns: Mapping[str, NDArray[Any]],
    provenance: str,
) -> None:
    rows = columns.get("key", columns.get("protein", np.arange(len(features))))
    index = pd.Index([str(name) for name in rows])
    described = {
        name: values.astype(object) if values.dtype.kind == "U" else values
        for name, values in columns.items()
    }
    _anndata().AnnData(
        X=features,
        obs=pd.DataFrame(described, index=index),
        var=pd.DataFrame(index=pd.Index(names)),
        uns={_UNS: provenance},
    ).write_h5ad(path, convert_strings_to_categoricals=False)


def _read_h5ad(path: Path) -> Contents:
    table = _anndata().read_h5ad(path)
    provenance = json.loads(table.uns[_UNS])
    metadata = table.obs[list(provenance["columns"])].reset_index(drop=True)
    return np.asarray(table.X, np.float32), metadata, provenance, tuple(table.var_names)


def _anndata() -> Any:
    try:
        import anndata
    except ImportError as error:
        msg = "Tables in .h5ad need anndata. Install it: pip install 'deeploc-tf[anndata]'."
        raise MissingAnnDataError(msg) from error
    return anndata
