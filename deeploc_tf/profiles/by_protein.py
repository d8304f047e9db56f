"""All vectors of one protein after another, from a table in which they lie scattered."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.profiles.tables import Groups, RowTable

MEMORY = 4 << 30

Transformed = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]]


def vectors_by_protein(
    table: RowTable,
    proteins: Groups,
    width: int,
    transformed: Transformed,
    memory: int = MEMORY,
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.float32]]]:
    """The vectors of each protein, in the order of their rows.

    Vectors are read once where all fit into `memory`; otherwise the file is read several times, for
    some proteins each time. What comes out does not depend on it.

    Args:
        table: of cells.
        proteins: of each row; rows of no protein (code -1) are left out.
        width: length of the transformed vectors.
        transformed: gives transformed vectors, of vectors and their row numbers.
        memory: bytes of vectors that are held; a protein that needs more gets it.

    Yields:
        Index of the protein, row numbers, and float32 `(num_cells, width)`, the caller's to change.
    """
    order = np.argsort(proteins.codes, kind="stable").astype(np.int64)
    order = order[np.searchsorted(proteins.codes[order], 0) :]
    ends = np.cumsum(proteins.counts())
    place = np.full(table.num_rows, -1, np.int64)
    place[order] = np.arange(len(order))
    for first, last in _blocks(ends, max(1, memory // (4 * width))):
        start, stop = int(ends[first - 1]) if first else 0, int(ends[last])
        held = np.empty((stop - start, width), np.float32)
        for rows, vectors in table.used_chunks((place >= start) & (place < stop)):
            held[place[rows] - start] = transformed(vectors, rows)
        for protein in range(first, last + 1):
            low, high = int(ends[protein - 1]) if protein else 0, int(ends[protein])
            if high > low:
                yield protein, order[low:high], held[low - start : high - start]


def means_by_replicate(
    vectors: NDArray[np.float32], replicates: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Mean vector of each replicate, in the order of their codes."""
    codes, found = pd.factorize(replicates, sort=True)
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(found)))
    sums = np.add.reduceat(vectors[order], starts, axis=0, dtype=np.float64)
    return (sums / np.bincount(codes)[:, None]).astype(np.float32)


def _blocks(ends: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """First and last protein of blocks of at most so many vectors, or of one protein."""
    first = 0
    while first < len(ends):
        before = int(ends[first - 1]) if first else 0
        last = max(first, int(np.searchsorted(ends, before + most, side="right")) - 1)
        yield first, last
        first = last + 1
