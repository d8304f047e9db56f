"""A build that is decided but for the pixels: what it will write, and by what it is known."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.ingest.reading import Rows
from deeploc_tf.ingest.splits import check_splits
from deeploc_tf.sources.rejects import counted
from deeploc_tf.sources.source import Reject, Source
from tfrecords.plan import Plan
from tfrecords.schema import metadata_text


@dataclasses.dataclass(frozen=True)
class RecordsPlan:
    """The crops of a build, known but for their pixels.

    Attributes:
        source: where they come from.
        layout: key, split, labels and place of each crop, and the schema.
        positions: of each crop in the index of the source.
        metadata: column -> values, one a crop.
        group_by: columns whose values, taken together, are in one split only.
        units: columns of plate, well and field, from the top down.
        expected: splits that must have crops.
        left_out: how many items are no crops of this data set, by reason.
        set_aside: cells of proteins that have too few.
        overlapping: how many crops share pixels of their field with one of another split.
        allow_duplicates: such crops, and those of equal pixels, may lie in two splits.
        joins: tables that were joined to the crops, and the counts of each, JSON-ready.
    """

    source: Source
    layout: Plan
    positions: NDArray[np.intp]
    metadata: Mapping[str, Sequence[str | int | float]]
    group_by: tuple[str, ...]
    units: tuple[str, ...]
    expected: tuple[str, ...]
    left_out: Mapping[str, int]
    set_aside: tuple[Reject, ...]
    overlapping: int = 0
    allow_duplicates: bool = False
    joins: tuple[Mapping[str, Any], ...] = ()

    def rows(self, start: int, stop: int) -> Rows:
        """The crops from `start` up to `stop`, in the order of the source."""
        entries = self.layout.entries[start:stop]
        return Rows(
            positions=self.positions[start:stop].tolist(),
            places=self.layout.places[start:stop].tolist(),
            keys=[entry.key for entry in entries],
            labels=[entry.labels for entry in entries],
            proteins=[entry.protein for entry in entries],
            metadata={name: values[start:stop] for name, values in self.metadata.items()},
        )

    def check(self, places: Sequence[NDArray[np.int64]]) -> None:
        """Raise `SplitError` if too few crops are usable: those at `places`."""
        if sum(map(len, places)) in (0, len(self.layout.entries)):  # 0: it was whole already
            return
        kept = np.zeros(len(self.layout.entries), bool)
        kept[np.concatenate(places)] = True
        rows = np.flatnonzero(kept[self.layout.places]).tolist()
        entries = [self.layout.entries[row] for row in rows]
        split = np.array([entry.split for entry in entries], dtype=object)
        names = self.layout.schema.label_names
        check_splits(split, self.expected, [entry.labels for entry in entries], names)

    @property
    def origin(self) -> dict[str, Any]:
        """The source and what was joined to it, as the manifest has it, JSON-ready."""
        joins = [*self.source.description.get("joins", ()), *self.joins]
        return {**self.source.description, **({"joins": joins} if joins else {})}

    @property
    def identity(self) -> str:
        """SHA-256 of what decides the bytes of the records beside `layout` and the pixels."""
        hasher = hashlib.sha256(json.dumps(self.source.description, sort_keys=True).encode())
        for name, values in self.metadata.items():
            hasher.update(repr((name, values)).encode())
        return hasher.hexdigest()

    def forecast(self) -> dict[str, Any]:
        """What `build_records` would write if no crop turns out to be unusable, as JSON values."""
        entries = self.layout.entries
        schema = self.layout.schema
        counts = self.layout.counts(self.layout.places)
        shards = Counter(shard.split for shard in self.layout.shards())
        groups: dict[str, set[object]] = {split: set() for split in counts}
        if self.group_by:
            columns = [
                map(metadata_text, self.metadata[c])
                if c in self.metadata
                else [entry.protein for entry in entries]
                for c in self.group_by
            ]
            for entry, *group in zip(entries, *columns, strict=True):
                groups[entry.split].add(tuple(group))
        crops = Counter(entry.split for entry in entries)
        return {
            "image_shape": list(schema.image_shape),
            "dtype": schema.dtype,
            "num_crops": len(entries),
            "num_bytes": self.layout.num_bytes,
            "group_by": list(self.group_by),
            "units": list(self.units),
            "joins": self.origin.get("joins", []),
            "splits": {
                split: {
                    "num_crops": crops[split],
                    "num_shards": shards[split],
                    "num_bytes": crops[split] * self.layout.bytes_per_crop,
                    "num_groups": len(groups[split]),
                    **counts[split],
                }
                for split in counts
            },
            "rejects": {
                **self.left_out,
                **counted([*self.source.rejects, *self.set_aside]),
            },
        }
