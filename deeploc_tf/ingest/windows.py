"""Windows of one field that overlap although they lie in two splits: a leak without equal crops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrecords.errors import SplitError

_BLOCK = 256  # windows that are compared at once with their neighbors


def check_windows(
    fields: NDArray[np.integer[Any]],
    corners: NDArray[np.integer[Any]],
    size: int,
    split: NDArray[np.object_],
    keys: Sequence[str],
    *,
    allowed: bool,
) -> int:
    """How many crops share pixels of a field with a crop of another split.

    Windows of neighbors in one split may overlap as they like, and a data set that is split by
    fields has no others.

    Args:
        fields: `(num_crops,)`, the number of each crop's field.
        corners: `(num_crops, 2)`, first row and column of each window.
        size: rows and columns of all windows.
        split: of each crop.
        keys: of the crops, for the message.
        allowed: count them, and refuse none.

    Raises:
        SplitError: there are such crops, and they are not allowed.
    """
    _, splits = np.unique(split.astype(str), return_inverse=True)
    order = np.lexsort((corners[:, 0], fields))
    overlapping = np.zeros(len(fields), bool)
    first: tuple[int, int] | None = None
    for rows in np.split(order, np.flatnonzero(np.diff(fields[order])) + 1):
        if len(np.unique(splits[rows])) < 2:
            continue
        for one, other in _pairs(rows, corners, size, splits):
            overlapping[one] = overlapping[other] = True
            pair = (int(one[0]), int(other[0]))
            first = min(first or pair, pair)
    count = int(overlapping.sum())
    if first is not None and not allowed:
        named = " and ".join(f"{keys[row]!r} in {split[row]}" for row in first)
        msg = (
            "Windows of one field that overlap must lie in one split, or pixels leak from training "
            f"to test. Received: {named} ({count} such crops). Split by fields (--group), cut "
            "smaller crops, or say --allow-duplicates (`allow_duplicates=True`)."
        )
        raise SplitError(msg)
    return count


def _pairs(
    rows: NDArray[np.intp],
    corners: NDArray[np.integer[Any]],
    size: int,
    splits: NDArray[np.intp],
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows of crops of one field that overlap and differ in their split; `rows` go down it."""
    top, left = corners[rows].astype(np.int64).T
    found = []
    for start in range(0, len(rows), _BLOCK):
        stop = min(start + _BLOCK, len(rows))
        last = int(np.searchsorted(top, top[stop - 1] + size))  # tops ascend
        here, there = slice(start, stop), slice(start, last)
        overlap = (
            (np.abs(np.subtract.outer(top[here], top[there])) < size)
            & (np.abs(np.subtract.outer(left[here], left[there])) < size)
            & np.not_equal.outer(splits[rows[here]], splits[rows[there]])
        )
        one, other = np.nonzero(overlap)
        if one.size:
            found.append((rows[here][one], rows[there][other]))
    return found
