"""Tables as .h5ad, for anndata and scanpy.

`X` holds the features, `obs` the columns, named by the cell's key or the profile's protein, `var` a
row a feature, and `uns` the JSON texts `deeploc_tf` and `deeploc_tf_digests`.
"""

from __future__ import annotations

import io
import json
import logging
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.extras import install
from deeploc_tf.hdf5_trial import try_elsewhere
from deeploc_tf.profiles.tables.foreign import (
    NO_ROLES,
    Roles,
    as_texts,
    check_features,
    described_columns,
    named_by_index,
    provenance,
    sentence,
    some,
)
from deeploc_tf.profiles.tables.in_memory import InMemoryTable, InMemoryWriter, check_size
from deeploc_tf.profiles.tables.table_format import TableFormat
from deeploc_tf.text_tables import TableError
from tfrecords.publishing import write_file

_log = logging.getLogger(__name__)

_UNS, _UNS_DIGESTS = "deeploc_tf", "deeploc_tf_digests"


class MissingAnnDataError(ImportError, ValueError):
    """.h5ad needs anndata, which is not installed."""


def open_h5ad(path: Path, roles: Roles = NO_ROLES) -> InMemoryTable:
    """All of a table, of ours or of another program.

    Of another one, `obs` describes the rows and `X` holds the features, named by `var`; where `X`
    is empty, the one matrix of `obsm` does. Rows whose protein no column names go by the names of
    `obs`.

    Raises:
        MissingAnnDataError: anndata is not installed.
        TableError: there are no features, or a role is that of no column.
    """
    anndata = _anndata()
    try_elsewhere(path)  # anndata writes structures without checksums
    table = anndata.read_h5ad(path)
    if not {_UNS, _UNS_DIGESTS} & table.uns.keys():
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data.find(_UNS_DIGESTS.encode()) >= 0:
                msg = "it is damaged where it says that it is ours"
                raise ValueError(msg)
        return described_by_obs(table, path, roles)
    text, digests = table.uns[_UNS], table.uns.get(_UNS_DIGESTS)
    columns = {name: table.obs[name].to_numpy() for name in json.loads(text)["columns"]}
    features = np.asarray(table.X, np.float32)
    names = tuple(table.var_names)
    return InMemoryTable(path, text, names, len(features), digests, features, columns)


def described_by_obs(
    table: Any, path: Path, roles: Roles, kind: type[InMemoryTable] = InMemoryTable
) -> InMemoryTable:
    """An `AnnData` of another program, or one in memory, see `open_h5ad`."""
    if table.isbacked:
        table = table.to_memory()
    names, values = _vectors(table, path)
    obs = table.obs.rename(columns=str)
    described = described_columns(obs, roles, path, list(obs))
    columns = {name: as_texts(obs[own]) for name, own in described.items()}
    named_by_index(columns, described, table.obs_names, "obs_names")
    check_features(names, described, path)
    _log.info("%s", sentence(path, names, described))
    text = json.dumps(provenance(path, described, len(names)))
    return kind(path, text, tuple(names), len(values), None, values, columns)


def _vectors(table: Any, path: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Names and values of the features of an `AnnData`."""
    source, names, what = table.X, [str(name) for name in table.var_names], "X"
    if source is None or not names:
        arrays = {k: a for k, a in table.obsm.items() if getattr(a, "ndim", 0) == 2}
        if len(arrays) != 1:
            msg = (
                "An .h5ad table must have its features in X, or in the one matrix of obsm. "
                f"Received: {path} without X and with {some(list(table.obsm)) or 'nothing'} in "
                "obsm. Put the features into X."
            )
            raise TableError(msg)
        ((what, source),) = arrays.items()
        names = [f"{what}_{n}" for n in getattr(source, "columns", range(source.shape[1]))]
    dense = source.toarray() if hasattr(source, "toarray") else np.asarray(source)
    if dense.dtype.kind not in "fiub":
        msg = f"Features must be numbers. Received: {what} of {dense.dtype} in {path}."
        raise TableError(msg)
    with np.errstate(over="ignore"):
        return names, np.ascontiguousarray(dense, np.float32)


class H5adWriter(InMemoryWriter):
    """Writes an `AnnData`."""

    def write(
        self, features: NDArray[np.float32], columns: Mapping[str, NDArray[Any]], digests: str
    ) -> None:
        """See `InMemoryWriter`."""
        table = as_anndata(features, columns, self.feature_names)
        table.uns = {_UNS: self.provenance, _UNS_DIGESTS: digests}
        image = io.BytesIO()  # h5py drops some errors of a disk
        with h5py.File(image, "w") as file:
            _anndata().io.write_elem(file, "/", table)
        write_file(self.path, [image.getvalue()])


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
        msg = f"Tables in .h5ad need anndata. Install it: {install('anndata')}."
        raise MissingAnnDataError(msg) from error
    return anndata


H5AD = TableFormat(open_h5ad, H5adWriter, check_h5ad, foreign=open_h5ad)
