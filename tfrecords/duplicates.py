"""Crops that are the same cell as another one, by their pixels and whatever they are called.

A file under two names, a copy in another container or another compression: all give the same
pixels. While crops are read, a checksum of the pixels of each is noted; only where two agree are
the pixels themselves compared, by their SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tfrecords.batches import Batch
from tfrecords.codec import pixels_of
from tfrecords.errors import SplitError
from tfrecords.framing import FOOTER_BYTES, HEADER_BYTES
from tfrecords.manifest import Duplicates
from tfrecords.plan import Plan
from tfrecords.schema import Schema

_AT_ONCE = 64  # frames that are read together


def count_duplicates(batches: Sequence[Batch], plan: Plan, *, allowed: bool) -> Duplicates:
    """Crops of equal pixels in one split and in two; crops without any contrast do not count.

    Memory: some bytes a crop, and some 100 for each crop that has a double.

    Args:
        batches: all crops.
        plan: of them.
        allowed: they may be in two splits.

    Raises:
        SplitError: two splits have crops of equal pixels, and that is not allowed.
    """
    groups: dict[bytes, dict[str, list[int]]] = {}
    for place, pixels in _with_equal_checksums(batches, plan.schema):
        group = groups.setdefault(hashlib.sha256(pixels).digest(), {})
        if not group and _is_blank(pixels, plan.schema):
            group[_BLANK] = []
        if _BLANK not in group:
            group.setdefault(plan.split_at(place), []).append(place)
    within = across = 0
    first: tuple[int, int] | None = None
    for group in groups.values():
        within += sum(len(places) - 1 for places in group.values() if places)
        if len(group) > 1:
            across += sum(map(len, group.values()))
            one, other, *_ = sorted(min(places) for places in group.values())
            first = min(first or (one, other), (one, other))
    if first is not None and not allowed:
        named = " and ".join(f"{plan.key_at(at)!r} in {plan.split_at(at)}" for at in first)
        msg = (
            "Equal pixels must lie in one split, or cells leak from training to test. Received: "
            f"{named} ({across} such crops). Leave one "
            "of them out, put both into one split, or say --allow-duplicates "
            "(`allow_duplicates=True`)."
        )
        raise SplitError(msg)
    return Duplicates(allowed=allowed, within_splits=within, across_splits=across)


_BLANK = ""  # the split of no crop


def _with_equal_checksums(batches: Sequence[Batch], schema: Schema) -> Iterator[tuple[int, bytes]]:
    """Place and pixels of each crop whose checksum another one has, batch after batch."""
    checksums = np.concatenate([batch.checksums for batch in batches])
    checksums.sort()
    repeated = np.unique(checksums[1:][checksums[1:] == checksums[:-1]])
    if not repeated.size:
        return
    for batch in batches:
        rows = np.flatnonzero(np.isin(batch.checksums, repeated))
        for run in _runs(rows):
            frames = batch.frames(int(run[0]), int(run[-1]) + 1)
            for row, frame in zip(run.tolist(), frames, strict=True):
                record = bytes(frame[HEADER_BYTES:-FOOTER_BYTES])
                yield int(batch.places[row]), pixels_of(record, schema)


def _runs(rows: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Rows that follow each other, some at a time."""
    for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
        for start in range(0, len(run), _AT_ONCE):
            yield run[start : start + _AT_ONCE]


def _is_blank(pixels: bytes, schema: Schema) -> bool:
    """Every channel is constant."""
    little = np.dtype(schema.dtype).newbyteorder("<")
    image = np.frombuffer(pixels, little).reshape(schema.image_shape)
    return bool((image == image[0, 0]).all())
