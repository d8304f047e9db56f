"""Tables as one .npz or .h5ad file, for tools that read nothing else: held in memory as a whole.

- .npz: `features`, `feature_names`, `metadata_<column>` a column, and the JSON texts `provenance`
  and `digests`; nothing in it is pickled.
- .h5ad, for anndata and scanpy: `X` holds the features, `obs` the columns, named by the cell's key
  or the profile's protein, `var` a row a feature, and `uns` the JSON texts `deeploc_tf` and
  `deeploc_tf_digests`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.hdf5_trial import try_elsewhere
from deeploc_tf.profiles.tables.table_format import NUMBER_TYPES, digests_of

WHOLE_SUFFIXES = (".npz", ".h5ad")
MOST_BYTES = 2 << 30  # of features; writing takes about twice as much memory
_UNS, _UNS_DIGESTS = "deeploc_tf", "deeploc_tf_digests"

_Stored = tuple[NDArray[np.float32], pd.DataFrame, str, tuple[str, ...], str | None]
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
        provenance: str,
    ) -> None:
        self.num_rows = 0
        self._path = path
        self._names = list(feature_names)
        self._types = dict(columns)
        self._provenance = provenance
        self._digests = ""
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
        write(self._path, features, self._names, self._arrays(), self._provenance, self._digests)

    def append(self, features: NDArray[np.float32], metadata: Mapping[str, Sequence[Any]]) -> None:
        """Add rows."""
        check_whole(self._path, self.num_rows + len(features), len(self._names))
        self._blocks.append(np.array(features, np.float32))
        for name, values in self._columns.items():
            values.extend(metadata[name])
        self.num_rows += len(features)

    def finish(self, digests: str) -> None:
        """Take the digests of all rows."""
        self._digests = digests

    def _arrays(self) -> dict[str, NDArray[Any]]:
        types: Any = {"text": np.str_, **NUMBER_TYPES}
        return {
            name: np.array(self._columns[name], types[kind]) for name, kind in self._types.items()
        }


def read_whole(path: Path) -> Contents:
    """Features, columns, provenance and feature names of a table that `WholeWriter` wrote.

    Raises:
        KeyError, ValueError, OSError: the file is no such table.
        MissingAnnDataError: .h5ad without the extra `anndata`.
    """
    read = _read_npz if path.suffix == ".npz" else _read_h5ad
    features, metadata, text, names, stored = read(path)
    provenance = json.loads(text)
    digests = digests_of(path, text, stored, names, len(features))
    if digests is not None:
        checks = {name: digests.of_column(name, kind) for name, kind in _types(provenance)}
        for check, values in (
            (digests.of_features(), features),
            *((check, metadata[name].to_numpy()) for name, check in checks.items()),
        ):
            check.add(values)
            check.finish()
    return features, metadata, provenance, names


def _types(provenance: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    columns: Mapping[str, str] = provenance["columns"]
    return columns.items()


def _write_npz(
    path: Path,
    features: NDArray[np.float32],
    names: list[str],
    columns: Mapping[str, NDArray[Any]],
    provenance: str,
    digests: str,
) -> None:
    arrays: dict[str, Any] = {
        "features": features,
        "feature_names": np.array(names, np.str_),
        "provenance": np.array(provenance),
        "digests": np.array(digests),
        **{f"metadata_{name}": values for name, values in columns.items()},
    }
    np.savez(path, **arrays)


def _read_npz(path: Path) -> _Stored:
    with np.load(path, allow_pickle=False) as file:
        text = str(file["provenance"])
        columns = {name: file[f"metadata_{name}"] for name in json.loads(text)["columns"]}
        metadata = pd.DataFrame(
            {name: v.astype(object) if v.dtype.kind == "U" else v for name, v in columns.items()}
        )
        digests = str(file["digests"]) if "digests" in file else None
        names = tuple(file["feature_names"].tolist())
        return np.asarray(file["features"], np.float32), metadata, text, names, digests


def _write_h5ad(
    path: Path,
    features: NDArray[np.float32],
    names: list[str],
    columns: Mapping[str, NDArray[Any]],
    provenance: str,
    digests: str,
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
        uns={_UNS: provenance, _UNS_DIGESTS: digests},
    ).write_h5ad(path, convert_strings_to_categoricals=False)


def _read_h5ad(path: Path) -> _Stored:
    anndata = _anndata()
    try_elsewhere(path)  # anndata writes structures without checksums
    table = anndata.read_h5ad(path)
    text = table.uns[_UNS]
    metadata = table.obs[list(json.loads(text)["columns"])].reset_index(drop=True)
    digests = table.uns.get(_UNS_DIGESTS)
    return np.asarray(table.X, np.float32), metadata, text, tuple(table.var_names), digests


def _anndata() -> Any:
    try:
        import anndata
    except ImportError as error:
        msg = "Tables in .h5ad need anndata. Install it: pip install 'deeploc-tf[anndata]'."
        raise MissingAnnDataError(msg) from error
    return anndata
