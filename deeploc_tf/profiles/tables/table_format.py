"""What all formats of a table share: what each gives, types of columns, versions and digests.

HDF5 has no checksums of its own accord, those of Parquet are of pages and not of what says where
they are, and a chunk that was never written reads as zeros. So a table carries a CRC-32C of each
block of rows of its features and of each column, and one of its head: the JSON of the provenance,
the names of the features in their order, and the number of rows. Every reader compares what it
reads: by blocks, so that a table larger than memory need not be read twice.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import google_crc32c
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from deeploc_tf.profiles.tables.foreign import Roles

FORMAT_VERSION = 2
NUMBER_TYPES: dict[str, Any] = {
    "int64": np.dtype("<i8"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
}
ARROW_TYPES = {
    "text": pa.string(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
}
_BLOCK_ROWS = 4096
_CHUNK_BYTES = 512 << 10  # of HDF5: what is read at least
_HEX = 8  # digits of a digest

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Stored(abc.ABC):
    """What one format gives of a table that it opened.

    Attributes:
        path: of the file.
        provenance: its JSON as it stands; `columns` in it are the types of the metadata columns.
        feature_names: one a feature.
        num_rows: how many there are.
        digests: their JSON; None where the table has none.
        is_file: whether there is a file of that path.
    """

    path: Path
    provenance: str | bytes
    feature_names: tuple[str, ...]
    num_rows: int
    digests: str | bytes | None

    is_file: ClassVar[bool] = True

    @abc.abstractmethod
    def blocks(self, num_rows: int) -> Iterator[NDArray[np.float32]]:
        """All rows in their order, float32 `(rows, num_features)`, about so many at a time.

        The arrays are the caller's to change.
        """

    @abc.abstractmethod
    def column(self, name: str) -> NDArray[Any]:
        """A metadata column, `(num_rows,)`; one of text holds `str`."""


@dataclasses.dataclass(eq=False)
class Writer(abc.ABC):
    """Writes a file while the block runs.

    Attributes:
        path: of the file, which gets its final name later.
        feature_names: one a feature.
        columns: metadata columns and their types.
        provenance: as JSON.
    """

    path: Path
    feature_names: Sequence[str]
    columns: Mapping[str, str]
    provenance: str

    @abc.abstractmethod
    def __post_init__(self) -> None:
        """Begin the file, or wait with it."""

    def close(self) -> None:  # noqa: B027
        """End the file; after an error it is thrown away."""

    @abc.abstractmethod
    def append(self, features: NDArray[np.float32], metadata: Mapping[str, Sequence[Any]]) -> None:
        """Add rows: float32 `(num_rows, num_features)` and, for each column, a value a row."""

    @abc.abstractmethod
    def finish(self, digests: str) -> None:
        """Take the digests of all rows, which are written."""


@dataclasses.dataclass(frozen=True)
class TableFormat:
    """How tables of one format are read and written.

    Attributes:
        open: what is stored in a file. It may raise anything where the file is damaged.
        writer: None: tables of other programs, which are read only, and have neither digests nor
            versions.
        check: raises `ValueError` where a table of path, number of rows and of features cannot be
            written; it is asked before anything is computed.
        recognizes: whether a file is a table, by its content and the roles of its columns; None:
            it is, by its suffix.
        foreign: opens tables of other programs as well, given the roles of their columns, in the
            place of `open`; None: there are no others.
    """

    open: Callable[[Path], Stored]
    writer: type[Writer] | None = None
    check: Callable[[Path, int, int], None] | None = None
    recognizes: Callable[[Path, Roles], bool] | None = None
    foreign: Callable[[Path, Roles], Stored] | None = None


def chunk_rows(width: int) -> int:
    """Rows of a chunk of HDF5; what is written at once is a multiple of it."""
    return max(1, min(4096, _CHUNK_BYTES // (4 * max(width, 1))))


def kind_of(values: pd.Series[Any]) -> str:
    """What a column is written as: "text", "int64", "float32" or "float64"."""
    if pd.api.types.is_bool_dtype(values.dtype):
        return "text"
    if pd.api.types.is_integer_dtype(values.dtype):
        return "int64"
    if pd.api.types.is_float_dtype(values.dtype):
        return "float32" if values.dtype in ("float32", "float16", "Float32") else "float64"
    return "text"


def values_of(values: pd.Series[Any], kind: str) -> list[Any]:
    """The values of a column as they are written; missing text is empty.

    Raises:
        ValueError: a whole number is missing.
    """
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


class BlockDigests:
    """Digests of the blocks of what comes a piece at a time: features, or a column.

    Args:
        kind: type of the column; "float32" for features.
        what: it is, for messages.
        expected: digests to compare with; None to make them.
        block_rows: rows of a block.
    """

    def __init__(
        self,
        kind: str,
        what: str = "",
        expected: Sequence[int] | None = None,
        block_rows: int = _BLOCK_ROWS,
    ) -> None:
        self.digests: list[int] = []
        self._kind, self._what, self._expected = kind, what, expected
        self._block_rows = block_rows
        self._crc = self._filled = 0

    def add(self, values: Any) -> None:
        """Take further rows: an array `(num_rows, ...)`, or texts.

        Raises:
            ValueError: a block that they end is not as it was written.
        """
        start = 0
        while start < len(values):
            part = values[start : start + self._block_rows - self._filled]
            self._crc = google_crc32c.extend(self._crc, _canonical(part, self._kind))
            self._filled += len(part)
            start += len(part)
            if self._filled == self._block_rows:
                self._end_block()

    def finish(self) -> None:
        """End the last block.

        Raises:
            ValueError: it is not as it was written, or blocks are missing.
        """
        if self._filled:
            self._end_block()
        if self._expected is not None and len(self.digests) != len(self._expected):
            msg = f"{len(self.digests)} blocks of {self._what} instead of {len(self._expected)}"
            raise ValueError(msg)

    def _end_block(self) -> None:
        number = len(self.digests)
        self.digests.append(self._crc)
        expected = self._expected
        if expected is not None and (number >= len(expected) or expected[number] != self._crc):
            first = number * self._block_rows
            msg = (
                f"{self._what} of rows {first} to {first + self._filled - 1} are not as they were "
                "written"
            )
            raise ValueError(msg)
        self._crc = self._filled = 0


@dataclasses.dataclass(frozen=True)
class Digests:
    """The digests of a table.

    Attributes:
        head: of provenance, names of features and number of rows.
        features: of the blocks of features.
        columns: of the blocks of each column.
        block_rows: rows of a block.
    """

    head: int
    features: Sequence[int]
    columns: Mapping[str, Sequence[int]]
    block_rows: int = _BLOCK_ROWS

    def to_json(self) -> str:
        """As a table stores them."""
        return json.dumps(
            {
                "block_rows": self.block_rows,
                "head": _as_hex([self.head]),
                "features": _as_hex(self.features),
                "columns": {name: _as_hex(values) for name, values in self.columns.items()},
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Digests:
        """Those that a table stores.

        Raises:
            KeyError, TypeError, ValueError: they are damaged.
        """
        stored = json.loads(text)
        columns = {name: _from_hex(value) for name, value in stored["columns"].items()}
        (head,) = _from_hex(stored["head"])
        block_rows = stored["block_rows"]
        if not block_rows > 0:
            msg = f"digests of {block_rows} rows"
            raise ValueError(msg)
        return cls(head, _from_hex(stored["features"]), columns, block_rows)

    def of_features(self) -> BlockDigests:
        """To compare features with, as they are read."""
        return BlockDigests("float32", "features", self.features, self.block_rows)

    def of_column(self, name: str, kind: str) -> BlockDigests:
        """To compare a column with, as it is read."""
        return BlockDigests(kind, f"values of column {name!r}", self.columns[name], self.block_rows)


def head_digest(provenance: str | bytes, feature_names: Sequence[str], num_rows: int) -> int:
    """Digest of what a table says of itself; `provenance` is its JSON as it stands."""
    text = provenance.encode() if isinstance(provenance, str) else provenance
    names = "\0".join(feature_names).encode()
    return int(google_crc32c.value(b"%d %d\0%b\0%b" % (num_rows, len(feature_names), text, names)))


def rows_digest(
    features: NDArray[np.float32], metadata: Mapping[str, Sequence[Any]], columns: Mapping[str, str]
) -> int:
    """One digest of some rows: their features, then each column of `columns`, name -> type."""
    digest = google_crc32c.value(_canonical(features, "float32"))
    for name, kind in columns.items():
        digest = google_crc32c.extend(digest, name.encode())
        digest = google_crc32c.extend(digest, _canonical(metadata[name], kind))
    return int(digest)


def digests_of(stored: Stored) -> Digests | None:
    """The digests of a table that is opened, once its head is as it was written.

    Returns:
        None for a table of version 1, which has none; that is logged once.

    Raises:
        LaterVersionError: the table is of a later version.
        KeyError, TypeError, ValueError: it is not as it was written.
    """
    version = json.loads(stored.provenance).get("format_version", 1)
    if version > FORMAT_VERSION:
        raise LaterVersionError(stored.path, version)
    if stored.digests is not None:
        found = Digests.from_json(stored.digests)
        head = head_digest(stored.provenance, stored.feature_names, stored.num_rows)
        if head != found.head:
            msg = "provenance, names of features or number of rows are not as they were written"
            raise ValueError(msg)
        return found
    if version != 1:
        msg = f"version {version} without digests, as if another program had written it again"
        raise ValueError(msg)
    _tell_once(stored.path)
    return None


class LaterVersionError(ValueError):
    """A table that a later version of this package wrote."""

    def __init__(self, path: Path, version: Any) -> None:
        super().__init__(
            f"A table must be of format version {FORMAT_VERSION} or before. Received: {path}, of "
            f"version {version}. Update deeploc-tf."
        )


@functools.cache
def _tell_once(path: Path) -> None:
    _log.info("%s is a table of version 1, without digests: damage in it can pass unseen.", path)


def _canonical(values: Any, kind: str) -> Any:
    """The same bytes for the same values, whatever they are read from."""
    if kind == "text":
        return "\0".join([*values, ""]).encode()
    array = np.ascontiguousarray(values, NUMBER_TYPES[kind]).view()
    array.flags.writeable = False  # the checksum takes no other
    return array


def _as_hex(digests: Sequence[int]) -> str:
    return "".join(f"{digest:0{_HEX}x}" for digest in digests)


def _from_hex(text: str) -> list[int]:
    return [int(text[at : at + _HEX], 16) for at in range(0, len(text), _HEX)]
