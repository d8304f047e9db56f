"""Crops of records as plain arrays, a batch at a time, with what describes each of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.profiles.tables.columns import column_name, column_types
from tfrecords.manifest import Manifest
from tfrecords.reader import read_crops
from tfrecords.schema import TEXTS, Crop, Schema


@dataclasses.dataclass(frozen=True)
class CropBatch:
    """Some crops that follow each other in the records.

    Attributes:
        number: place of the batch among all of them, from 0.
        images: `(num_crops, height, width, channels)`, in the dtype of the records.
        masks: uint8 `(num_crops, height, width)`, or None where none are stored.
        columns: values of each metadata column of the table, one a crop.
    """

    number: int
    images: NDArray[Any]
    masks: NDArray[np.uint8] | None
    columns: dict[str, list[Any]]


def crop_batches(
    records: str | Path,
    manifest: Manifest,
    splits: Sequence[str],
    batch_size: int,
    numbers: range | None = None,
) -> Iterator[CropBatch]:
    """Every crop of the splits, one split after the other, each in manifest order.

    Memory holds a shard and a batch.

    Args:
        records: folder of the data set.
        manifest: of `records`.
        splits: names of splits.
        batch_size: crops per batch; the last may have fewer.
        numbers: of the batches that are wanted; None for all. Shards without any are not read.

    Raises:
        DamagedRecordsError: a record is damaged; its place is named.
        SplitError: there is no such split.
    """
    schema = manifest.schema
    start = 0 if numbers is None else numbers.start * batch_size
    shards, skipped, stops = set(), 0, 0
    for split in splits:
        for shard in manifest.shards(split):
            stops += shard.num_crops
            if stops <= start:
                skipped = stops
            else:
                shards.add(shard.name)
    crops = itertools.islice(
        read_crops(records, splits, shards=shards, manifest=manifest), start - skipped, None
    )
    for number in itertools.count() if numbers is None else numbers:
        some = list(itertools.islice(crops, batch_size))
        if not some:
            return
        rows = [_row(place.split, crop, schema) for place, crop in some]
        masks = [crop.mask for _, crop in some if crop.mask is not None]
        yield CropBatch(
            number,
            np.stack([crop.image for _, crop in some]),
            np.stack(masks) if masks else None,
            {name: [row[name] for row in rows] for name in column_types(schema)},
        )


def _row(split: str, crop: Crop, schema: Schema) -> dict[str, Any]:
    return {
        "key": crop.key,
        **{name: getattr(crop, name) for name in TEXTS},
        "label": "|".join(schema.label_names[label] for label in crop.labels),
        "split": split,
        **{column_name(name): value for name, value in crop.metadata.items()},
    }
