"""What has been computed of a table that is not finished, kept beside the name it will have.

OUTPUT.partial-0a1b2c3d/
  000000.part    what was computed first: vectors and columns, with a digest of each batch
  000001.part    and so on; the folder is removed when the table has its name
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from deeploc_tf.profiles.tables.registry import open_rows
from deeploc_tf.profiles.tables.table_format import ARROW_TYPES, rows_digest
from tfrecords.locking import writing
from tfrecords.parts import PART_FILE, check_joined
from tfrecords.publishing import check_absent, publishing

_log = logging.getLogger(__name__)

_PART = re.compile(rf"\d{{6}}\.part|\.\d{{6}}\.partial-\d+\.part|{PART_FILE.pattern}")
_VECTORS = "vectors"
_DIGEST = b"crc32c"  # of a batch: Arrow has no checksums
_KINDS = {kind: name for name, kind in ARROW_TYPES.items()}

Rows = tuple[NDArray[np.float32], dict[str, list[Any]]]


class Spill:
    """The folder of the parts of a table; it belongs to one process at a time.

    Args:
        output: the name that the table will have; its folder must exist.
        identity: name of what is computed. The same identity goes on where another process stopped;
            the remains of others are removed.
    """

    def __init__(self, output: Path, identity: str) -> None:
        self.output = output
        self.folder = output.with_name(f"{output.name}.partial-{identity[:16]}")

    @property
    def started(self) -> bool:
        """Something is left of the same computation."""
        return self.folder.is_dir()

    def part(self, number: int) -> Path:
        """Name of a part."""
        return self.folder / f"{number:06d}.part"

    @contextlib.contextmanager
    def writing(
        self, number: int, columns: Mapping[str, str], num_features: int
    ) -> Iterator[Callable[[NDArray[np.float32], Mapping[str, Sequence[Any]]], None]]:
        """A function that appends rows to a part, which gets its name when the block ends well.

        It is not forced to the disk: its digests tell what a loss of power left.

        Args:
            number: of the part.
            columns: metadata columns and their types, as of `writing_table`.
            num_features: length of the vectors.
        """
        fields = [pa.field(name, ARROW_TYPES[kind]) for name, kind in columns.items()]
        vector = pa.list_(pa.float32(), num_features)
        schema = pa.schema([*fields, pa.field(_VECTORS, vector)])

        with (
            publishing(self.part(number), durable=False) as temporary,
            pa.OSFile(str(temporary), "wb") as file,
            pa.ipc.new_file(file, schema) as writer,
        ):

            def append(vectors: NDArray[np.float32], metadata: Mapping[str, Sequence[Any]]) -> None:
                arrays = [pa.array(metadata[n], ARROW_TYPES[kind]) for n, kind in columns.items()]
                flat = pa.array(np.ascontiguousarray(vectors).ravel())
                arrays.append(pa.FixedSizeListArray.from_arrays(flat, num_features))
                digest = rows_digest(vectors, metadata, columns).to_bytes(4, "little")
                writer.write_batch(pa.record_batch(arrays, schema=schema), {_DIGEST: digest})

            yield append

    def read(self, number: int) -> Iterator[Rows]:
        """Vectors float32 `(rows, num_features)` and columns of a part, batch by batch.

        Raises:
            FileNotFoundError: the part was not finished.
            ValueError: it is not as it was written.
        """
        path = self.part(number)
        with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
            for place in range(reader.num_record_batches):
                batch, described = reader.get_batch_with_custom_metadata(place)
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

    def num_rows(self, number: int) -> int:
        """How many rows a part has; 0 if it is not there or not as it was written."""
        try:
            return sum(len(vectors) for vectors, _ in self.read(number))
        except Exception:  # libraries say in all ways that bytes mean nothing
            return 0

    def save(self, number: int, vectors: NDArray[np.float32]) -> None:
        """Keep vectors as a part, without columns."""
        with self.writing(number, {}, vectors.shape[1]) as append:
            append(vectors, {})

    def load(self, number: int) -> NDArray[np.float32] | None:
        """The vectors of a part, or None where it is not there or not as it was written."""
        try:
            return np.concatenate([vectors for vectors, _ in self.read(number)])
        except Exception:  # libraries say in all ways that bytes mean nothing
            return None

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the folder while the block runs; after an error it stays, if there is a part in it.

        Raises:
            LockedError: another process computes the same output.
            PartsError: jobs of an array have begun it, and have not all ended; see `Part`.
        """
        with writing(self.output):
            check_joined(self.output, self.folder)
            for other in self.output.parent.iterdir():
                if self._is_temporary(other.name) and other.is_file():
                    other.unlink()
                elif self._is_of_another(other):
                    _remove(other)
            self.folder.mkdir(exist_ok=True)
            try:
                yield
            except BaseException as error:
                if any(self.folder.glob("*.part")):
                    error.add_note(
                        f"What was computed is kept in {str(self.folder)!r}: give the same command "
                        "again to go on from there, or remove it."
                    )
                else:
                    _remove(self.folder)
                raise
            _remove(self.folder)

    def _is_temporary(self, name: str) -> bool:
        """Whether a killed process was writing this file, the table or that of its profiles."""
        stem, suffix = re.escape(self.output.stem), re.escape(self.output.suffix)
        return re.fullmatch(rf"\.{stem}(\.profiles)?\.partial-\d+{suffix}", name) is not None

    def _is_of_another(self, folder: Path) -> bool:
        """Whether it holds parts of another computation of the same output, and nothing else."""
        prefix = re.escape(f"{self.output.name}.partial-")
        return (
            re.fullmatch(rf"{prefix}[0-9a-f]{{16}}", folder.name) is not None
            and folder != self.folder
            and folder.is_dir()
            and not folder.is_symlink()
            and all(_PART.fullmatch(path.name) for path in folder.iterdir())
        )


def _remove(folder: Path) -> None:
    """Remove the parts in a folder, and the folder if nothing else is in it."""
    for path in folder.iterdir():
        if _PART.fullmatch(path.name) and path.is_file():
            path.unlink()
    if left := sorted(path.name for path in folder.iterdir()):
        _log.warning("Files that are no part of a table are left in %r: %s.", str(folder), left[0])
    else:
        folder.rmdir()


def remove_unfinished(parts: Spill, paths: Sequence[Path], provenance: Mapping[str, Any]) -> None:
    """Remove tables of the same computation, killed at its very end: they are made again.

    Args:
        parts: of the computation.
        paths: of its tables.
        provenance: what is said in them.

    Raises:
        OutputExistsError: something else has one of the names.
    """
    for path in paths:
        if parts.started and _is_of(path, provenance):
            path.unlink()
        check_absent(path)


def _is_of(path: Path, provenance: Mapping[str, Any]) -> bool:
    try:
        table = open_rows(path)
    except (ValueError, OSError):
        return False
    return all(table.provenance.get(n) == v for n, v in provenance.items() if n != "kind")
