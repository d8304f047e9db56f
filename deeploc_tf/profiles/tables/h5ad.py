"""Tables as .h5ad, for anndata and scanpy.

`X` holds the features, `obs` the columns, named by the cell's key or the profile's protein, `var` a
row a feature, and `uns` the JSON texts `deeploc_tf` and `deeploc_tf_digests`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.hdf5_trial import try_elsewhere
from deeploc_tf.profiles.tables.in_memory import InMemoryTable, InMemoryWriter, check_size
from deeploc_tf.profiles.tables.table_format import TableFormat

_UNS, _UNS_DIGESTS = "deeploc_tf", "deeploc_tf_digests"


class MissingAnnDataError(ImportError, ValueError):
    """.h5ad needs anndata, which is not installed."""


def open_h5ad(path: Path) -> InMemoryTable:
    """All of a table.

    Raises:
        MissingAnnDataError: anndata is not installed.
    """
    anndata = _anndata()
    try_elsewhere(path)  # anndata writes structures without checksums
    table = anndata.read_h5ad(path)
    text, digests = table.uns[_UNS], table.uns.get(_UNS_DIGESTS)
    columns = {name: table.obs[name].to_numpy() for name in json.loads(text)["columns"]}
    features = np.asarray(table.X, np.float32)
    names = tuple(table.var_names)
    return InMemoryTable(path, text, names, len(features), digests, features, columns)


class H5adWriter(InMemoryWriter):
    """Writes an `AnnData`."""

    def write(
        self, features: NDArray[np.float32], columns: Mapping[str, NDArray[Any]], digests: str
    ) -> None:
        """See `InMemoryWriter`."""
        table = as_anndata(features, columns, self.feature_names)
        table.uns = {_UNS: self.provenance, _UNS_DIGESTS: digests}
        table.write_h5ad(self.path, convert_strings_to_categoricals=False)


def as_anndata(
    features: NDArray[np.float32], columns: Mapping[str, NDArray[Any]], names: Sequence[str]
) -> Any:
    """An `AnnData` of features `(num_rows, num_features)`, columns and names of features.

    Raises:
        MissingAnnDataError: anndata is not installed.
    """
    rows = columns.get("key", columns.get("protein", np.arange(len(features))))
    index = pd.Index([str(name) for name in rows])
    described = {
        name: values.astype(object) if values.dtype.kind == "U" else values
        for name, values in columns.items()
    }
    return _anndata().AnnData(
        X=features,
        obs=pd.DataFrame(described, index=index),
        var=pd.DataFrame(index=pd.Index(list(names))),
    )


def check_h5ad(path: Path, num_rows: int, num_features: int) -> None:
    """See `TableFormat`; also raises `MissingAnnDataError`."""
    _anndata()
    check_size(path, num_rows, num_features)


def _anndata() -> Any:
    try:
        import anndata
    except ImportError as error:
        msg = "Tables in .h5ad need anndata. Install it: pip install 'deeploc-tf[anndata]'."
        raise MissingAnnDataError(msg) from error
    return anndata


H5AD = TableFormat(open_h5ad, H5adWriter, check_h5ad)
