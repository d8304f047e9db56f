"""Which crop goes where: the place of each in its data set, and the shards that places fall into.

Known before a pixel is read. Crops that turn out to be unusable leave their places empty; the
shards are then those of a data set that never had them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tfrecords.errors import SplitError
from tfrecords.manifest import Counts, check_split_name
from tfrecords.schema import Schema
from tfrecords.sharding import (
    check_unique_keys,
    global_order,
    num_shards,
    shard_lengths,
    shard_name,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """What the first pass knows of a crop: everything but its pixels.

    Attributes:
        key: unique key of the crop.
        split: the split it belongs to.
        labels: class indices, ascending; empty where the schema has no labels.
        protein: gene name or ORF; "" where there is none.
    """

    key: str
    split: str
    labels: tuple[int, ...] = ()
    protein: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ShardPlan:
    """A shard that is to be: the crops whose places lie in `[first, last]`."""

    split: str
    name: str
    num_crops: int
    first: int
    last: int


class Plan:
    """The place of each crop in the data set, split after split.

    Args:
        schema: what all crops follow.
        entries: one a crop, in any order: a **row** is a position in them.
        seed: of the permutation, see `sharding.order_hash`.
        shard_bytes: about the size of a shard.

    Attributes:
        places: int64 `(num_crops,)`, the place of each row.

    Raises:
        DuplicateKeyError: two entries have one key.
        SplitError: there are no crops, or a split has a name that cannot be.
    """

    def __init__(
        self, schema: Schema, entries: Sequence[Entry], seed: int, shard_bytes: int
    ) -> None:
        check_unique_keys(entry.key for entry in entries)
        self.entries = entries
        self.schema = schema
        self.seed = seed
        self.shard_bytes = shard_bytes
        self.places = np.empty(len(entries), np.int64)
        self._bounds: dict[str, tuple[int, int]] = {}
        numbers: dict[str, int] = {}
        number_of = (numbers.setdefault(entry.split, len(numbers)) for entry in entries)
        split_numbers = np.fromiter(number_of, np.int32, len(entries))
        if not numbers:
            msg = "A data set must have at least one crop. Received: none. Check the source."
            raise SplitError(msg)
        start = 0
        for split, number in sorted(numbers.items()):
            check_split_name(split)
            members = np.flatnonzero(split_numbers == number)
            order = global_order([entries[row].key for row in members.tolist()], seed)
            self.places[members[order]] = np.arange(start, start + len(members))
            self._bounds[split] = start, start + len(members)
            start += len(members)

    @property
    def bytes_per_crop(self) -> int:
        """Size of a record, all but exactly: text varies."""
        height, width, _ = self.schema.image_shape
        return self.schema.num_image_bytes + height * width * self.schema.has_mask + 128

    @property
    def num_bytes(self) -> int:
        """Size of all records, all but exactly."""
        return len(self.entries) * self.bytes_per_crop

    def shards(self, places: NDArray[np.int64] | None = None) -> Iterator[ShardPlan]:
        """The shards of all splits, in the order of the manifest.

        Args:
            places: those that hold a crop, ascending; None for all.

        Raises:
            SplitError: a split has no crop left.
        """
        taken = np.arange(len(self.entries)) if places is None else places
        for split, (start, stop) in self._bounds.items():
            first, last = np.searchsorted(taken, (start, stop)).tolist()
            if first == last:
                msg = f"A split must have crops. Received: split={split!r}, all of them rejected."
                raise SplitError(msg)
            count = num_shards(last - first, self.bytes_per_crop, self.shard_bytes)
            lengths = shard_lengths(last - first, count)
            for index, end in enumerate(itertools.accumulate(lengths)):
                begin = first + end - lengths[index]
                yield ShardPlan(
                    split=split,
                    name=shard_name(split, index, count),
                    num_crops=lengths[index],
                    first=int(taken[begin]),
                    last=int(taken[first + end - 1]),
                )

    def counts(self, places: NDArray[np.int64]) -> Counts:
        """Crops of each class and protein, by split, of those whose places are in `places`."""
        kept = np.zeros(len(self.entries), bool)
        kept[places] = True
        labels: dict[str, Counter[int]] = {split: Counter() for split in self._bounds}
        proteins: dict[str, Counter[str]] = {split: Counter() for split in self._bounds}
        for entry, is_kept in zip(self.entries, kept[self.places].tolist(), strict=True):
            if is_kept:
                labels[entry.split].update(entry.labels)
                proteins[entry.split].update((entry.protein,) if entry.protein else ())
        names = self.schema.label_names
        return {
            split: {
                "label": {name: labels[split][index] for index, name in enumerate(names)},
                "protein": dict(sorted(proteins[split].items())),
            }
            for split in self._bounds
        }

    def split_at(self, place: int) -> str:
        """The split that a place belongs to."""
        return next(split for split, (_, stop) in self._bounds.items() if place < stop)

    def key_at(self, place: int) -> str:
        """The key of the crop at a place."""
        return self.entries[int(np.flatnonzero(self.places == place)[0])].key

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides where which crop goes: equal for equal plans only."""
        head = [self.schema.to_json(), self.seed, self.shard_bytes]
        hasher = hashlib.sha256(json.dumps(head).encode())
        for entry in self.entries:
            hasher.update(repr((entry.key, entry.split, entry.labels, entry.protein)).encode())
        return hasher.hexdigest()
