"""Embeddings and profiles on disk, as HDF5 or Parquet: streamed in, read back whole.

All formats hold the same: float32 features and their names, text or number columns that describe
each row, and a JSON object that says where all of it came from.

- HDF5: `features` `(num_rows, num_features)`; `feature_names`; one data set a column under
  `metadata/`; the JSON in the attribute `provenance`.
- Parquet: columns `Metadata_Key`, `Metadata_Protein`, ... and one column a feature (`fc_2_000`,
  ...), as pycytominer and copairs expect; the JSON in the schema's metadata.
- .npz and .h5ad hold the whole table at once: see `deeploc_tf.profiles.whole`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from deeploc_tf.profiles.whole import WHOLE_SUFFIXES, WholeWriter, check_whole, read_whole
from tfrecords.publishing import publishing

SUFFIXES = (".h5", ".hdf5", ".parquet")
FORMAT_VERSION = 1
_METADATA_KEY = b"deeploc_tf"
_CHUNK_BYTES = 512 << 10  # of HDF5: what is read at least
_BLOCK_BYTES = 32 << 20  # written at once; a Parquet file of many small row groups is slow to read
_ARROW_TYPES = {"text": pa.string(), "int64": pa.int64(), "float32": pa.float32()}
_HDF5_TYPES = {"text": h5py.string_dtype(), "int64": np.int64, "float32": np.float32}


@dataclasses.dataclass(frozen=True)
class VectorTable:
    """Rows of vectors with what describes them.

    Attributes:
        features: float32 `(num_rows, num_features)`.
        metadata: one row each, columns such as `key`, `protein`, `label`, `split`.
        provenance: JSON values: kind, layer, digests of model and records, version.
        feature_names: one a feature; empty where they are not known.
    """

    features: NDArray[np.float32]
    metadata: pd.DataFrame
    provenance: Mapping[str, Any]
    feature_names: tuple[str, ...] = ()


class TableWriter(Protocol):
    """Takes rows a batch at a time."""

    num_rows: int

    def append(self, features: NDArray[np.float32], metadata: Mapping[str, Sequence[Any]]) -> None:
        """Add rows: float32 `(num_rows, num_features)` and, for each column, a value a row."""


@contextlib.contextmanager
def writing_table(
    path: Path,
    feature_names: Sequence[str],
    columns: Mapping[str, str],
    provenance: Mapping[str, Any],
) -> Iterator[TableWriter]:
    """A writer of a table that appears under `path` when the block ends well, or not at all.

    The same rows give the same bytes, however many come at a time. Memory does not grow with their
    number, but for .npz and .h5ad.

    Args:
        path: ends in .h5, .hdf5, .parquet, .npz or .h5ad.
        feature_names: one a feature.
        columns: metadata columns and their types: "text", "int64" or "float32".
        provenance: JSON values.

    Raises:
        ValueError: the suffix is none of these, two columns would get one name in Parquet, or the
            table is too large to be written at once.
        MissingAnnDataError: .h5ad without the extra `anndata`.
    """
    check_table(path)
    names = [*map(_cytomining, columns), *feature_names]
    if path.suffix == ".parquet" and len(set(names)) != len(names):
        msg = (
            "Columns of Parquet must differ in more than the case of their first letter. Received: "
            f"{', '.join(columns)}. Write .h5, or rename one before the records are built."
        )
        raise ValueError(msg)
    values = {**provenance, "format_version": FORMAT_VERSION, "columns": dict(columns)}
    make: Any = _ParquetWriter if path.suffix == ".parquet" else _Hdf5Writer
    if path.suffix in WHOLE_SUFFIXES:
        make = WholeWriter
    width = len(feature_names)
    with publishing(path) as temporary, make(temporary, feature_names, columns, values) as writer:
        blocks = _Blocks(writer, width, columns)
        yield blocks
        blocks.flush()


def check_suffix(path: Path) -> None:
    """Raise `ValueError` unless a table can be streamed under this name."""
    _check_suffix(path, SUFFIXES)


def check_table(path: Path, num_rows: int = 0, num_features: int = 0) -> None:
    """Refuse a table that cannot be written under this name: see `writing_table`.

    Args:
        path: of the table.
        num_rows: how many there will be.
        num_features: length of the vectors.

    Raises:
        ValueError: the suffix is not known, or the table is too large for it.
        MissingAnnDataError: .h5ad without the extra `anndata`.
    """
    _check_suffix(path, (*SUFFIXES, *WHOLE_SUFFIXES))
    if path.suffix in WHOLE_SUFFIXES:
        check_whole(path, num_rows, num_features)


def _check_suffix(path: Path, suffixes: Sequence[str]) -> None:
    if path.suffix not in suffixes:
        msg = (
            f"A table must end in {', '.join(suffixes)}. Received: {path.name!r}. Name it, for "
            f"example, {path.stem}.parquet."
        )
        raise ValueError(msg)


def write_table(path: Path, table: VectorTable, feature_names: Sequence[str] | None = None) -> None:
    """Write a whole table at once, also to convert one that was read; see `writing_table`.

    Args:
        path: its suffix says how.
        table: what to write.
        feature_names: None for those of the table.
    """
    columns = {str(name): _column_type(values) for name, values in table.metadata.items()}
    names = table.feature_names if feature_names is None else feature_names
    check_table(path, *table.features.shape)
    with writing_table(path, names, columns, table.provenance) as writer:
        writer.append(table.features, {name: table.metadata[name].tolist() for name in columns})


def read_table(path: str | Path) -> VectorTable:
    """Read a table of embeddings or profiles that this package wrote.

    Raises:
        ValueError: the file is no such table.
    """
    path = Path(path)
    check_table(path)
    try:
        if path.suffix in WHOLE_SUFFIXES:
            return VectorTable(*read_whole(path))
        return _read_parquet(path) if path.suffix == ".parquet" else _read_hdf5(path)
    except FileNotFoundError:
        raise
    except (KeyError, OSError, ValueError, EOFError, BadZipFile, pa.ArrowException) as error:
        msg = (
            f"A table must be one that `embed` wrote. Received: {str(path)!r} ({error}). Embed "
            "again."
        )
        raise ValueError(msg) from error


def _column_type(values: pd.Series[Any]) -> str:
    if pd.api.types.is_integer_dtype(values.dtype):
        return "int64"
    return "float32" if pd.api.types.is_float_dtype(values.dtype) else "text"


class _Blocks:
    """Hands rows on in blocks of one size, so that a file does not tell how they came."""

    def __init__(self, writer: TableWriter, width: int, columns: Mapping[str, str]) -> None:
        self.num_rows = 0
        self._writer = writer
        chunk = _chunk_rows(width)
        self._size = chunk * max(1, _BLOCK_BYTES // (4 * max(width, 1) * chunk))
        self._waiting: list[NDArray[np.float32]] = []
        self._columns: dict[str, list[Any]] = {name: [] for name in columns}
        self._count = 0

    def append(self, features: NDArray[np.float32], metadata: Mapping[str, Sequence[Any]]) -> None:
        lengths = {name: len(metadata[name]) for name in self._columns}
        if set(lengths.values()) - {len(features)}:
            msg = (
                "Each column must have a value a row. Received: "
                f"{len(features)} rows, values: {lengths}."
            )
            raise ValueError(msg)
        for start in range(0, len(features), self._size):
            part = slice(start, start + self._size)
            self._waiting.append(features[part])
            for name, values in self._columns.items():
                values.extend(metadata[name][part])
            self._count += len(features[part])
            while self._count >= self._size:
                self._write(self._size)
        self.num_rows += len(features)

    def flush(self) -> None:
        """Write what is left."""
        if self._count:
            self._write(self._count)

    def _write(self, size: int) -> None:
        features = np.concatenate(self._waiting)
        columns = {name: values[:size] for name, values in self._columns.items()}
        self._writer.append(features[:size], columns)
        self._waiting = [features[size:].copy()]
        self._columns = {name: values[size:] for name, values in self._columns.items()}
        self._count -= size


def _chunk_rows(width: int) -> int:
    return max(1, min(4096, _CHUNK_BYTES // (4 * max(width, 1))))


class _Hdf5Writer:
    def __init__(
        self,
        path: Path,
        feature_names: Sequence[str],
        columns: Mapping[str, str],
        provenance: Mapping[str, Any],
    ) -> None:
        self.num_rows = 0
        self._file = h5py.File(path, "w", track_order=False)
        self._file.attrs["provenance"] = json.dumps(provenance, allow_nan=False)
        width = len(feature_names)
        self._features = self._file.create_dataset(
            "features",
            (0, width),
            "float32",
            maxshape=(None, width),
            chunks=(_chunk_rows(width), max(width, 1)),
            fletcher32=True,  # HDF5 has no checksums of its own accord
        )
        self._file.create_dataset(
            "feature_names", data=list(feature_names), dtype=_HDF5_TYPES["text"]
        )
        self._columns = {
            name: self._file.create_dataset(
                f"metadata/{name}", (0,), _HDF5_TYPES[kind], maxshape=(None,), chunks=(4096,)
            )
            for name, kind in columns.items()
        }

    def __enter__(self) -> _Hdf5Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, features: NDArray[np.float32], metadata: Mapping[str, Sequence[Any]]) -> None:
        start, stop = self.num_rows, self.num_rows + len(features)
        self._features.resize(stop, axis=0)
        self._features[start:stop] = features
        for name, dataset in self._columns.items():
            dataset.resize(stop, axis=0)
            dataset[start:stop] = metadata[name]
        self.num_rows = stop


def _read_hdf5(path: Path) -> VectorTable:
    with h5py.File(path, "r") as file:
        provenance = json.loads(file.attrs["provenance"])
        columns = {}
        for name, kind in provenance["columns"].items():
            dataset = file[f"metadata/{name}"]
            columns[name] = dataset.asstr()[:] if kind == "text" else dataset[:]
        names = file["feature_names"].asstr()[:] if "feature_names" in file else ()
        metadata = pd.DataFrame(columns)
        return VectorTable(file["features"][:], metadata, provenance, tuple(names))


class _ParquetWriter:
    def __init__(
        self,
        path: Path,
        feature_names: Sequence[str],
        columns: Mapping[str, str],
        provenance: Mapping[str, Any],
    ) -> None:
        self.num_rows = 0
        self._columns = columns
        fields = [pa.field(_cytomining(name), _ARROW_TYPES[kind]) for name, kind in columns.items()]
        fields += [pa.field(name, pa.float32()) for name in feature_names]
        self._schema = pa.schema(fields).with_metadata(
            {_METADATA_KEY: json.dumps(provenance, allow_nan=False).encode()}
        )
        # Of a feature, the smallest and largest value of each row group helps nobody, nor would a
        # dictionary of its values.
        described = [_cytomining(name) for name in columns]
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            write_page_checksum=True,
            use_dictionary=described,
            write_statistics=described,
        )

    def __enter__(self) -> _ParquetWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def append(self, features: NDArray[np.float32], metadata: Mapping[str, Sequence[Any]]) -> None:
        arrays = [pa.array(metadata[n], _ARROW_TYPES[kind]) for n, kind in self._columns.items()]
        arrays += [pa.array(column) for column in np.ascontiguousarray(features.T)]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        self.num_rows += len(features)


def _read_parquet(path: Path) -> VectorTable:
    table = pq.read_table(path, page_checksum_verification=True)
    provenance = json.loads((table.schema.metadata or {})[_METADATA_KEY])
    names = [_cytomining(name) for name in provenance["columns"]]
    metadata = table.select(names).to_pandas()
    metadata.columns = pd.Index(list(provenance["columns"]))
    features = table.drop_columns(names)
    stacked = [column.to_numpy() for column in features.columns]
    matrix = np.stack(stacked, axis=1) if stacked else np.empty((table.num_rows, 0), np.float32)
    matrix = matrix.astype(np.float32, copy=False)
    return VectorTable(matrix, metadata, provenance, tuple(features.column_names))


def _cytomining(name: str) -> str:
    """The name that pycytominer expects of a metadata column: `field` becomes `Metadata_Field`."""
    return f"Metadata_{name[:1].upper()}{name[1:]}"
