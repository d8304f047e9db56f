"""Embeddings and profiles on disk, as HDF5 or Parquet: streamed in, read back whole.

All formats hold the same: float32 features and their names, text or number columns that describe
each row, a JSON object that says where all of it came from, and digests of all of these, which
every reader compares: see `deeploc_tf.profiles.tables.table_format`.

- HDF5: `features` `(num_rows, num_features)`; `feature_names`; one data set a column under
  `metadata/`; the JSON in the attribute `provenance`; `digests`.
- Parquet: columns `Metadata_Key`, `Metadata_Protein`, ... and one column a feature (`fc_2_000`,
  ...), as pycytominer and copairs expect; the JSON in the schema's metadata, the digests in that of
  the file.
- .npz and .h5ad hold the whole table at once: see `deeploc_tf.profiles.tables.npz`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from deeploc_tf.profiles.tables.npz import WHOLE_SUFFIXES, WholeWriter, check_whole, read_whole
from deeploc_tf.profiles.tables.row_table import damage_told, open_rows
from deeploc_tf.profiles.tables.table_format import (
    ARROW_TYPES,
    DIGESTS_KEY,
    FORMAT_VERSION,
    METADATA_KEY,
    NUMBER_TYPES,
    SUFFIXES,
    BlockDigests,
    Digests,
    check_suffix,
    cytomining_name,
    head_digest,
    kind_of,
)
from tfrecords.publishing import publishing

__all__ = [
    "SUFFIXES",
    "TableWriter",
    "VectorTable",
    "check_suffix",
    "check_table",
    "read_table",
    "write_table",
    "writing_table",
]

_CHUNK_BYTES = 512 << 10  # of HDF5: what is read at least
_BLOCK_BYTES = 32 << 20  # written at once; a Parquet file of many small row groups is slow to read
# What a part of a chunk holds that was never written: no number of a cell is like that.
_NEVER_WRITTEN = {"int64": np.iinfo(np.int64).min, "float32": np.nan, "float64": np.nan}


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
        columns: metadata columns and their types: "text", "int64", "float32" or "float64".
        provenance: JSON values.

    Raises:
        ValueError: the suffix is none of these, two columns would get one name in Parquet, or the
            table is too large to be written at once.
        MissingAnnDataError: .h5ad without the extra `anndata`.
    """
    check_table(path)
    names = [*map(cytomining_name, columns), *feature_names]
    if path.suffix == ".parquet" and len(set(names)) != len(names):
        msg = (
            "Columns of Parquet must differ in more than the case of their first letter. Received: "
            f"{', '.join(columns)}. Write .h5, or rename one before the records are built."
        )
        raise ValueError(msg)
    values = {**provenance, "format_version": FORMAT_VERSION, "columns": dict(columns)}
    text = json.dumps(values, allow_nan=False)
    make: Any = _ParquetWriter if path.suffix == ".parquet" else _Hdf5Writer
    if path.suffix in WHOLE_SUFFIXES:
        make = WholeWriter
    width = len(feature_names)
    with publishing(path) as temporary, make(temporary, feature_names, columns, text) as writer:
        blocks = _Blocks(writer, width, columns)
        yield blocks
        blocks.flush()
        head = head_digest(text, feature_names, blocks.num_rows)
        writer.finish(blocks.digests(head).to_json())


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
    check_suffix(path, (*SUFFIXES, *WHOLE_SUFFIXES))
    if path.suffix in WHOLE_SUFFIXES:
        check_whole(path, num_rows, num_features)


def write_table(path: Path, table: VectorTable, feature_names: Sequence[str] | None = None) -> None:
    """Write a whole table at once, also to convert one that was read; see `writing_table`.

    Args:
        path: its suffix says how.
        table: what to write.
        feature_names: None for those of the table.
    """
    columns = {str(name): kind_of(values) for name, values in table.metadata.items()}
    names = table.feature_names if feature_names is None else feature_names
    check_table(path, *table.features.shape)
    with writing_table(path, names, columns, table.provenance) as writer:
        writer.append(
            table.features,
            {name: _values(table.metadata[name], kind) for name, kind in columns.items()},
        )


def read_table(path: str | Path) -> VectorTable:
    """Read a table of embeddings or profiles that this package wrote.

    Raises:
        ValueError: the file is no such table.
    """
    path = Path(path)
    check_table(path)
    with damage_told(path, "one that `embed` wrote", "Embed again"):
        if path.suffix in WHOLE_SUFFIXES:
            return VectorTable(*read_whole(path))
        rows = open_rows(path)
        features = np.empty((rows.num_rows, rows.num_features), np.float32)
        for place, chunk in rows.chunks():
            features[place] = chunk
        metadata = pd.DataFrame({name: rows.column(name) for name in rows.columns})
        return VectorTable(features, metadata, rows.provenance, rows.feature_names)


def _values(values: pd.Series[Any], kind: str) -> list[Any]:
    """The values of a column as that; missing text is empty."""
    if kind == "text":
        texts: list[Any] = values.tolist()
        if set(map(type, texts)) <= {str}:
            return texts
        return list(map(str, values.where(values.notna(), "").tolist()))
    if kind == "int64" and values.isna().any():
        msg = (
            f"Whole numbers must not be missing. Received: column {values.name!r} with "
            f"{int(values.isna().sum())} missing of {len(values)}. Fill them, or make it floats or "
            "text."
        )
        raise ValueError(msg)
    missing: dict[str, Any] = {} if kind == "int64" else {"na_value": np.nan}
    numbers: list[Any] = values.to_numpy(NUMBER_TYPES[kind], **missing).tolist()
    return numbers


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
        self._of_features = BlockDigests("float32")
        self._of_columns = {name: BlockDigests(kind) for name, kind in columns.items()}

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

    def digests(self, head: int) -> Digests:
        """Those of all rows, once they are written."""
        for made in (self._of_features, *self._of_columns.values()):
            made.finish()
        columns = {name: made.digests for name, made in self._of_columns.items()}
        return Digests(head, self._of_features.digests, columns)

    def _write(self, size: int) -> None:
        features = np.concatenate(self._waiting) if len(self._waiting) > 1 else self._waiting[0]
        columns = {name: values[:size] for name, values in self._columns.items()}
        self._writer.append(features[:size], columns)
        self._of_features.add(features[:size])
        for name, values in columns.items():
            self._of_columns[name].add(values)
        self._waiting = [features[size:].copy()]
        self._columns = {name: values[size:] for name, values in self._columns.items()}
        self._count -= size


def _chunk_rows(width: int) -> int:
    return max(1, min(4096, _CHUNK_BYTES // (4 * max(width, 1))))


def _new_file(path: Path) -> h5py.File:
    """A file with a group `metadata` that notes no time: the same rows give the same bytes."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    # Structures of before 1.10 have no checksums, and HDF5 can hang on damaged ones.
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    of_file, of_group = (
        h5py.h5p.create(kind) for kind in (h5py.h5p.FILE_CREATE, h5py.h5p.GROUP_CREATE)
    )
    of_file.set_obj_track_times(False)
    of_group.set_obj_track_times(False)
    file = h5py.File(h5py.h5f.create(bytes(path), h5py.h5f.ACC_TRUNC, of_file, access))
    h5py.h5g.create(file.id, b"metadata", gcpl=of_group)
    return file


class _Hdf5Writer:
    def __init__(
        self,
        path: Path,
        feature_names: Sequence[str],
        columns: Mapping[str, str],
        provenance: str,
    ) -> None:
        self.num_rows = 0
        self._file = _new_file(path)
        text = _fixed([provenance])
        self._file.attrs.create("provenance", text[0], dtype=text.dtype)
        width = len(feature_names)
        self._features = self._file.create_dataset(
            "features",
            (0, width),
            "float32",
            maxshape=(None, width),
            chunks=(_chunk_rows(width), max(width, 1)),
            fillvalue=_NEVER_WRITTEN["float32"],
            fletcher32=True,  # which tells other programs of damage
        )
        self._file.create_dataset("feature_names", data=_fixed(feature_names))
        self._columns = {
            name: self._column(f"metadata/{name}", NUMBER_TYPES.get(kind, _fixed([]).dtype))
            for name, kind in columns.items()
        }

    def _column(self, place: str, dtype: Any, num_rows: int = 0) -> h5py.Dataset:
        fill = _NEVER_WRITTEN.get(dtype.name)
        return self._file.create_dataset(
            place, (num_rows,), dtype, maxshape=(None,), chunks=(4096,), fillvalue=fill
        )

    def __enter__(self) -> _Hdf5Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, features: NDArray[np.float32], metadata: Mapping[str, Sequence[Any]]) -> None:
        start, stop = self.num_rows, self.num_rows + len(features)
        self._features.resize(stop, axis=0)
        self._features[start:stop] = features
        for name, dataset in self._columns.items():
            values: Any = metadata[name]
            if h5py.check_string_dtype(dataset.dtype):
                values = _fixed(values)
                dataset = self._widened(name, dataset, values.itemsize)
            dataset.resize(stop, axis=0)
            dataset[start:stop] = values
        self.num_rows = stop

    def _widened(self, name: str, dataset: h5py.Dataset, width: int) -> h5py.Dataset:
        """A text column whose values may have `width` bytes.

        They are of one length: texts of any length lie in a heap without checksums, which HDF5 can
        read for ever where it is damaged.
        """
        if width <= dataset.dtype.itemsize:
            return dataset
        place = f"metadata/{name}"
        self._file.move(place, "narrow")
        dtype = h5py.string_dtype("utf-8", max(width, 2 * dataset.dtype.itemsize))
        wide = self._columns[name] = self._column(place, dtype, self.num_rows)
        for start in range(0, self.num_rows, 1 << 16):
            wide[start : start + (1 << 16)] = dataset[start : start + (1 << 16)]
        del self._file["narrow"]
        return wide

    def finish(self, digests: str) -> None:
        """Store the digests of all rows."""
        text = _fixed([digests])
        self._file.create_dataset("digests", (), text.dtype, data=text[0])


def _fixed(texts: Sequence[str]) -> NDArray[np.bytes_]:
    """Texts as UTF-8 of one length, filled up with zeros to a multiple of eight."""
    encoded = [text.encode() for text in texts]
    longest = max(map(len, encoded), default=0)
    return np.array(encoded, h5py.string_dtype("utf-8", max(8, -(-longest // 8) * 8)))


class _ParquetWriter:
    def __init__(
        self,
        path: Path,
        feature_names: Sequence[str],
        columns: Mapping[str, str],
        provenance: str,
    ) -> None:
        self.num_rows = 0
        self._columns = columns
        fields = [
            pa.field(cytomining_name(name), ARROW_TYPES[kind]) for name, kind in columns.items()
        ]
        fields += [pa.field(name, pa.float32()) for name in feature_names]
        self._schema = pa.schema(fields).with_metadata({METADATA_KEY: provenance.encode()})
        # Of a feature, the smallest and largest value of each row group helps nobody, nor would a
        # dictionary of its values.
        described = [cytomining_name(name) for name in columns]
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
        arrays = [pa.array(metadata[n], ARROW_TYPES[kind]) for n, kind in self._columns.items()]
        arrays += [pa.array(column) for column in np.ascontiguousarray(features.T)]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        self.num_rows += len(features)

    def finish(self, digests: str) -> None:
        """Store the digests of all rows."""
        self._writer.add_key_value_metadata({DIGESTS_KEY: digests.encode()})
