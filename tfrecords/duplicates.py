"""Crops that are the same cell as another one, by their pixels and whatever they are called.

A file under two names, a copy in another container or another compression: all give the same
pixels. While crops are read, a checksum of the pixels of each is noted; only where two agree are
the pixels themselves compared, byte for byte, or by their SHA-256 where very many agree.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterator, Sequence

import numpy as np

from tfrecords.batches import Batch
from tfrecords.codec import pixels_of
from tfrecords.errors import SplitError
from tfrecords.framing import FOOTER_BYTES, HEADER_BYTES
from tfrecords.manifest import Duplicates
from tfrecords.plan import Plan
from tfrecords.schema import Schema

_FEW = 64  # crops of one checksum whose pixels are compared byte for byte
_MAX_OPEN = 64  # batches


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
    within = across = 0
    first: tuple[int, int] | None = None
    for group in _groups(batches, plan):
        within += sum(len(places) - 1 for places in group.values())
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


def _groups(batches: Sequence[Batch], plan: Plan) -> Iterator[dict[str, list[int]]]:
    """Places of crops of equal pixels, by split; crops that are alone, or blank, in none."""
    view = functools.lru_cache(_MAX_OPEN)(lambda number: batches[number].view())
    for candidates in _with_equal_checksums(batches):
        alike: list[tuple[bytes, list[int]]] = []
        by_digest: dict[bytes, list[int]] = {}
        for number, row in candidates:
            frame = view(number)(row)
            pixels = pixels_of(frame[HEADER_BYTES:-FOOTER_BYTES], plan.schema)
            if len(candidates) > _FEW:  # nobody wants to keep all of them, nor to compare all pairs
                if _is_blank(pixels, plan.schema):
                    continue
                places = by_digest.setdefault(hashlib.sha256(pixels).digest(), [])
            else:
                places = next((places for other, places in alike if other == pixels), [])
                if not places:
                    alike.append((pixels, places))
            places.append(int(batches[number].places[row]))
        sets = [p for pixels, p in alike if len(p) > 1 and not _is_blank(pixels, plan.schema)]
        for places in (*sets, *by_digest.values()):
            group: dict[str, list[int]] = {}
            for place in places:
                group.setdefault(plan.split_at(place), []).append(place)
            yield group


def _with_equal_checksums(batches: Sequence[Batch]) -> Iterator[list[tuple[int, int]]]:
    """Batch and row of the crops of each checksum that several have."""
    checksums = np.concatenate([batch.checksums for batch in batches])
    order = np.argsort(checksums, kind="stable")
    ends = np.flatnonzero(np.diff(checksums[order])) + 1
    starts = np.concatenate([[0], ends])
    lengths = np.diff(np.concatenate([starts, [len(order)]]))
    bounds = np.cumsum([0, *(len(batch.checksums) for batch in batches)])
    for start, length in zip(
        starts[lengths > 1].tolist(), lengths[lengths > 1].tolist(), strict=True
    ):
        rows = order[start : start + length]
        numbers = np.searchsorted(bounds, rows, side="right") - 1
        yield list(zip(numbers.tolist(), (rows - bounds[numbers]).tolist(), strict=True))


def _is_blank(pixels: bytes, schema: Schema) -> bool:
    """Every channel is constant."""
    size = len(pixels) // math.prod(schema.image_shape[:2])
    if pixels[:size] != pixels[-size:]:  # as in nearly all crops
        return False
    little = np.dtype(schema.dtype).newbyteorder("<")
    image = np.frombuffer(pixels, little).reshape(schema.image_shape)
    return bool((image == image[0, 0]).all())
