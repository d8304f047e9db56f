"""Formats that are read and written as a whole, held in memory."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.profiles.tables.table_format import NUMBER_TYPES, Stored, Writer

MOST_BYTES = 2 << 30  # of features; writing takes about twice as much memory


@dataclasses.dataclass(frozen=True, eq=False)
class InMemoryTable(Stored):
    """A table that was read when it was opened.

    Attributes:
        features: float32 `(num_rows, num_features)`.
        columns: values of each metadata column, `(num_rows,)`.
    """

    features: NDArray[np.float32]
    columns: Mapping[str, NDArray[Any]]

    def blocks(self, num_rows: int) -> Iterator[NDArray[np.float32]]:
        """See `Stored`."""
        for start in range(0, len(self.features), num_rows):
            yield self.features[start : start + num_rows].copy()

    def column(self, name: str) -> NDArray[Any]:
        """See `Stored`."""
        values = self.columns[name]
        return values.astype(object) if values.dtype.kind == "U" else values


class InMemoryWriter(Writer):
    """Collects rows and writes them at the end."""

    def __post_init__(self) -> None:
        self._num_rows = 0
        self._blocks: list[NDArray[np.float32]] = []
        self._columns: dict[str, list[Any]] = {name: [] for name in self.columns}

    @abc.abstractmethod
    def write(
        self, features: NDArray[np.float32], columns: Mapping[str, NDArray[Any]], digests: str
    ) -> None:
        """Write all rows, float32 `(num_rows, num_features)`, and the values of each column."""

    def append(self, features: NDArray[np.float32], metadata: Mapping[str, Sequence[Any]]) -> None:
        """Add rows."""
        self._num_rows += len(features)
        check_size(self.path, self._num_rows, len(self.feature_names))
        self._blocks.append(np.array(features, np.float32))
        for name, values in self._columns.items():
            values.extend(metadata[name])

    def finish(self, digests: str) -> None:
        """Write what was collected."""
        features = np.concatenate(
            [np.empty((0, len(self.feature_names)), np.float32), *self._blocks]
        )
        self._blocks.clear()
        types: Any = {"text": np.str_, **NUMBER_TYPES}
        columns = {n: np.array(self._columns[n], types[t]) for n, t in self.columns.items()}
        self.write(features, columns, digests)


def check_size(path: Path, num_rows: int, num_features: int) -> None:
    """Raise `ValueError` for a table that is too large to be written at once.

    Args:
        path: its name.
        num_rows: how many there will be.
        num_features: length of the vectors.
    """
    if 4 * num_rows * num_features > MOST_BYTES:
        msg = (
            f"A table in {path.suffix} must fit into memory: {MOST_BYTES >> 20} MiB at most. "
            f"Received: {num_rows} rows of {num_features} float32 features, "
            f"{4 * num_rows * num_features >> 20} MiB. Write .h5 or .parquet, take fewer features "
            "(--layer NAME:max) or fewer splits."
        )
        raise ValueError(msg)
