"""Embeddings and profiles are streamed to disk, in blocks with digests, and appear as a whole."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.profiles.tables.registry import format_of
from deeploc_tf.profiles.tables.table_format import (
    FORMAT_VERSION,
    NUMBER_TYPES,
    BlockDigests,
    Digests,
    Writer,
    chunk_rows,
    head_digest,
    kind_of,
    values_of,
)
from deeploc_tf.profiles.tables.vector_table import VectorTable
from deeploc_tf.provenance import written_by
from tfrecords.publishing import publishing

_BLOCK_BYTES = 32 << 20  # written at once; a Parquet file of many small row groups is slow to read


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
    make: Any = format_of(path, to_write=True).writer
    check_table(path)
    values = {**provenance, **written_by()}
    values |= {"format_version": FORMAT_VERSION, "columns": dict(columns)}
    text = json.dumps(values, allow_nan=False)
    width = len(feature_names)
    with publishing(path) as temporary:
        with _errors_of_disk(temporary):
            writer = make(temporary, feature_names, columns, text)
        try:
            blocks = TableWriter(writer, width, columns)
            yield blocks
            blocks.flush()
            head = head_digest(text, feature_names, blocks.num_rows)
            with _errors_of_disk(temporary):
                writer.finish(blocks.digests(head).to_json())
        finally:
            with _errors_of_disk(temporary):
                writer.close()


@contextlib.contextmanager
def _errors_of_disk(path: Path) -> Iterator[None]:
    """Raise what libraries say of a disk that is full or fails as the system says it."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        named = re.search(r"errno = (\d+)", str(error))  # HDF5
        number = int(named[1]) if named else getattr(error, "errno", None)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


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
    check = format_of(path, to_write=True).check
    if check is not None:
        check(path, num_rows, num_features)


def write_table(
    path: str | Path, table: VectorTable, feature_names: Sequence[str] | None = None
) -> None:
    """Write a whole table at once, also to convert one that was read; see `writing_table`.

    Args:
        path: its suffix says how.
        table: what to write.
        feature_names: None for those of the table.

    Example:
        write_table("cells.h5", read_table("cells.parquet"))
    """
    columns = {str(name): kind_of(values) for name, values in table.metadata.items()}
    names = table.feature_names if feature_names is None else feature_names
    path = Path(path)
    check_table(path, *table.features.shape)
    with writing_table(path, names, columns, table.provenance) as writer:
        writer.append(
            table.features,
            {name: values_of(table.metadata[name], kind) for name, kind in columns.items()},
        )


class TableHolder:
    """Takes rows as a `TableWriter` does, and holds them in memory.

    Args:
        feature_names: one per feature.
        columns: metadata columns and their types.
        provenance: JSON values.
    """

    def __init__(
        self,
        feature_names: Sequence[str],
        columns: Mapping[str, str],
        provenance: Mapping[str, Any],
    ) -> None:
        self.num_rows = 0
        self._names, self._kinds = tuple(feature_names), dict(columns)
        self._provenance = {**provenance, **written_by(), "columns": self._kinds}
        self._blocks: list[NDArray[np.float32]] = []
        self._columns: dict[str, list[Any]] = {name: [] for name in columns}

    def append(self, features: NDArray[np.float32], metadata: Mapping[str, Sequence[Any]]) -> None:
        """Add rows: float32 `(num_rows, num_features)` and, for each column, a value per row."""
        self._blocks.append(features)
        for name, values in self._columns.items():
            values.extend(metadata[name])
        self.num_rows += len(features)

    def table(self) -> VectorTable:
        """All rows."""
        types = {"text": object, **NUMBER_TYPES}
        metadata = {n: np.array(v, types[self._kinds[n]]) for n, v in self._columns.items()}
        features = np.concatenate([np.empty((0, len(self._names)), np.float32), *self._blocks])
        return VectorTable(features, pd.DataFrame(metadata), self._provenance, self._names)


class TableWriter:
    """Takes rows, and hands them on in blocks of one size: a file does not tell how they came.

    Attributes:
        num_rows: how many came so far.
    """

    def __init__(self, writer: Writer, width: int, columns: Mapping[str, str]) -> None:
        self.num_rows = 0
        self._writer = writer
        chunk = chunk_rows(width)
        self._size = chunk * max(1, _BLOCK_BYTES // (4 * max(width, 1) * chunk))
        self._waiting: list[NDArray[np.float32]] = []
        self._columns: dict[str, list[Any]] = {name: [] for name in columns}
        self._count = 0
        self._of_features = BlockDigests("float32")
        self._of_columns = {name: BlockDigests(kind) for name, kind in columns.items()}

    def append(self, features: NDArray[np.float32], metadata: Mapping[str, Sequence[Any]]) -> None:
        """Add rows: float32 `(num_rows, num_features)` and, for each column, a value a row."""
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
        with _errors_of_disk(self._writer.path):
            self._writer.append(features[:size], columns)
        self._of_features.add(features[:size])
        for name, values in columns.items():
            self._of_columns[name].add(values)
        self._waiting = [features[size:].copy()]
        self._columns = {name: values[size:] for name, values in self._columns.items()}
        self._count -= size
