"""What is in a data set, told from its manifest alone, in milliseconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfrecords.manifest import Counts, Duplicates, Manifest, read_manifest
from tfrecords.schema import Schema


@dataclasses.dataclass(frozen=True)
class SplitSummary:
    """Size of a split.

    Attributes:
        num_crops: number of crops.
        num_shards: number of shards.
        num_bytes: size of the shards.
    """

    num_crops: int
    num_shards: int
    num_bytes: int


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a data set holds.

    Attributes:
        schema: shape, dtype, channels, classes and metadata columns.
        splits: size of each split.
        counts: by split, how many crops each label and each protein has.
        seed: of the permutation of the crops.
        group_by: columns that were kept together by the splits.
        units: columns of plate, well and field, from the top down.
        rejects: how many cells were set aside, by reason.
        digest: identity of the data set.
        duplicates: crops that are there twice; None where nobody looked.
        format_version: of the data set; those of version 1 are without digests of their crops and
            records.
    """

    schema: Schema
    splits: Mapping[str, SplitSummary]
    counts: Counts
    seed: int
    group_by: tuple[str, ...]
    units: tuple[str, ...]
    rejects: Mapping[str, int]
    digest: str
    duplicates: Duplicates | None
    format_version: int

    @property
    def num_crops(self) -> int:
        """Number of crops of all splits."""
        return sum(split.num_crops for split in self.splits.values())

    @property
    def num_bytes(self) -> int:
        """Size of all shards."""
        return sum(split.num_bytes for split in self.splits.values())

    def to_frame(self) -> Any:
        """Numbers of crops, a pandas `DataFrame`: `split`, `kind` (label, protein), `name`."""
        import pandas as pd

        rows = [
            (split, kind, name, count)
            for split in self.splits
            for kind, counts in self.counts[split].items()
            for name, count in counts.items()
        ]
        return pd.DataFrame(rows, columns=["split", "kind", "name", "num_crops"])

    def to_json(self) -> dict[str, Any]:
        """The summary as plain JSON values."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            **values,
            "schema": self.schema.to_json(),
            "splits": {name: dataclasses.asdict(split) for name, split in self.splits.items()},
            "group_by": list(self.group_by),
            "units": list(self.units),
            "duplicates": self.duplicates and dataclasses.asdict(self.duplicates),
            "num_crops": self.num_crops,
            "num_bytes": self.num_bytes,
        }


def summarize(records: str | Path, *, manifest: Manifest | None = None) -> Summary:
    """What the data set in folder `records` holds; raises as `read_manifest` does.

    Args:
        records: folder of the data set.
        manifest: of `records`, where the caller has read it already.

    Example:
        summarize("records").to_frame()
    """
    manifest = manifest or read_manifest(records)
    return Summary(
        schema=manifest.schema,
        splits={
            split: SplitSummary(
                num_crops=manifest.num_crops(split),
                num_shards=len(shards),
                num_bytes=sum(shard.num_bytes for shard in shards),
            )
            for split, shards in manifest.splits.items()
        },
        counts=manifest.counts,
        seed=manifest.seed,
        group_by=manifest.group_by,
        units=manifest.units,
        rejects=manifest.rejects,
        digest=manifest.digest,
        duplicates=manifest.duplicates,
        format_version=manifest.format_version,
    )
