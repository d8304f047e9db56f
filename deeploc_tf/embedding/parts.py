"""The vectors of a shard's crops with what describes them, on disk until the table is whole."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tfrecords.publishing import publishing

_VECTORS = "vectors"
_TYPES = {"text": pa.string(), "int64": pa.int64(), "float32": pa.float32()}

Rows = tuple[NDArray[np.float32], dict[str, list[Any]]]


@contextlib.contextmanager
def writing_part(
    path: Path, columns: Mapping[str, str], num_features: int
) -> Iterator[Callable[[NDArray[np.float32], Mapping[str, Sequence[Any]]], None]]:
    """A function that appends rows to a part, which gets its name when the block ends well.

    Args:
        path: name of the part.
        columns: metadata columns and their types, as of `writing_table`.
        num_features: length of the vectors.
    """
    fields = [pa.field(name, _TYPES[kind]) for name, kind in columns.items()]
    vector = pa.list_(pa.float32(), num_features)
    schema = pa.schema([*fields, pa.field(_VECTORS, vector)])

    with (
        publishing(path) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):

        def append(vectors: NDArray[np.float32], metadata: Mapping[str, Sequence[Any]]) -> None:
            arrays = [pa.array(metadata[name], _TYPES[kind]) for name, kind in columns.items()]
            flat = pa.array(np.ascontiguousarray(vectors).ravel())
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, num_features))
            writer.write_batch(pa.record_batch(arrays, schema=schema))

        yield append


def read_part(path: Path) -> Iterator[Rows]:
    """Vectors float32 `(rows, num_features)` and columns, a batch at a time, as they were written.

    Raises:
        FileNotFoundError: the part was not finished.
        pa.ArrowException: it is not whole.
    """
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            width = batch.schema.field(_VECTORS).type.list_size
            vectors = batch[_VECTORS].flatten().to_numpy().reshape(batch.num_rows, width)
            yield vectors, batch.drop_columns([_VECTORS]).to_pydict()


def rows_of_part(path: Path) -> int:
    """How many rows a part has; 0 if it is not there or not whole."""
    try:
        with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
            batches = range(reader.num_record_batches)
            return sum(reader.get_batch(number).num_rows for number in batches)
    except (FileNotFoundError, pa.ArrowException):
        return 0
