"""The vectors of a shard's crops with what describes them, on disk until the table is whole."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from deeploc_tf.profiles.tables.table_format import ARROW_TYPES, rows_digest
from tfrecords.publishing import publishing

_VECTORS = "vectors"
_DIGEST = b"crc32c"  # of a batch: Arrow has no checksums
_KINDS = {kind: name for name, kind in ARROW_TYPES.items()}

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
    fields = [pa.field(name, ARROW_TYPES[kind]) for name, kind in columns.items()]
    vector = pa.list_(pa.float32(), num_features)
    schema = pa.schema([*fields, pa.field(_VECTORS, vector)])

    with (
        publishing(path) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):

        def append(vectors: NDArray[np.float32], metadata: Mapping[str, Sequence[Any]]) -> None:
            arrays = [pa.array(metadata[name], ARROW_TYPES[kind]) for name, kind in columns.items()]
            flat = pa.array(np.ascontiguousarray(vectors).ravel())
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, num_features))
            digest = rows_digest(vectors, metadata, columns).to_bytes(4, "little")
            writer.write_batch(pa.record_batch(arrays, schema=schema), {_DIGEST: digest})

        yield append


def read_part(path: Path) -> Iterator[Rows]:
    """Vectors float32 `(rows, num_features)` and columns, a batch at a time, as they were written.

    Raises:
        FileNotFoundError: the part was not finished.
        ValueError: it is not as it was written.
    """
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        for number in range(reader.num_record_batches):
            batch, described = reader.get_batch_with_custom_metadata(number)
            batch.validate(full=True)  # offsets that lead elsewhere would end the process
            width = batch.schema.field(_VECTORS).type.list_size
            vectors = batch[_VECTORS].flatten().to_numpy().reshape(batch.num_rows, width)
            metadata = batch.drop_columns([_VECTORS])
            columns = {field.name: _KINDS[field.type] for field in metadata.schema}
            values = metadata.to_pydict()
            digest = rows_digest(vectors, values, columns).to_bytes(4, "little")
            if described[_DIGEST] != digest:
                msg = f"A part must be as it was written. Received: {path}. Remove it."
                raise ValueError(msg)
            yield vectors, values


def rows_of_part(path: Path) -> int:
    """How many rows a part has; 0 if it is not there or not as it was written."""
    try:
        return sum(len(vectors) for vectors, _ in read_part(path))
    except Exception:  # libraries say in all ways that bytes mean nothing
        return 0
