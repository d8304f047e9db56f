"""Crops of a split by their number: pixels from memory-mapped shards, without reading the others.

One pass over the split notes where each record begins and where in it the pixels do; afterwards a
batch is one gather of bytes a shard. Python runs once a batch, never once a crop.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deeploc_tf.pipeline.batches import running_on
from tfrecords.codec import META_PREFIX, decode, feature_spec
from tfrecords.framing import FRAME_BYTES, HEADER_BYTES
from tfrecords.manifest import Manifest
from tfrecords.reader import read_serialized, without_autograph
from tfrecords.schema import Crop

_BLOCK = 256  # records that are looked at at once
_MAX_OPEN = 256  # shards that are mapped at once
_SEPARATOR = "\x1f"


class RandomAccess:
    """Where the crops of a split lie, in one copy on the disk.

    The pass checks every record against its checksum, as reading in order does; later reads do not.
    Shards must therefore stay as they are, which is what a build promises. Memory: 16 bytes a crop,
    and 8 for each fingerprint.

    Args:
        records: folder that `build-records` made.
        split: name of the split.
        manifest: of `records`.
        fingerprints: for each of them, columns ("protein" or metadata) whose values it stands for.

    Attributes:
        num_crops: of the split.
        fingerprints: int64 `(num_crops,)` each, equal where the columns' values are; of a million
            different values two are taken for one with a chance of 1e-7.

    Raises:
        DamagedRecordsError: a record is not what was written.
    """

    def __init__(
        self,
        records: str | Path,
        split: str,
        manifest: Manifest,
        *,
        fingerprints: Sequence[Sequence[str]] = (),
    ) -> None:
        self.schema = manifest.schema
        shards = manifest.shards(split)
        self._paths = [Path(records) / shard.name for shard in shards]
        self._first_of_shard = np.cumsum([0, *(shard.num_crops for shard in shards)])
        self.num_crops = int(self._first_of_shard[-1])
        serialized = read_serialized(records, split, manifest=manifest)
        with running_on(records, manifest):
            found = self._look_through(serialized, fingerprints)
        self._lengths, self._begins, *self.fingerprints = found
        self._starts = self._where_records_start()
        self._map = functools.lru_cache(_MAX_OPEN)(functools.partial(np.memmap, mode="r"))

    def images(self, crops: NDArray[np.int64]) -> NDArray[Any]:
        """Raw pixels of crops `(num_crops, height, width, channels)`, in the records' dtype."""
        size = self.schema.num_image_bytes
        pixels = np.empty((len(crops), size), np.uint8)
        places = self._starts[crops] + self._begins[crops]
        shards = self._shards_of(crops)
        for shard in np.unique(shards):
            here = shards == shard
            windows = np.lib.stride_tricks.sliding_window_view(self._map(self._paths[shard]), size)
            pixels[here] = windows[places[here]]
        little = np.dtype(self.schema.dtype).newbyteorder("<")
        images = pixels.view(little).reshape(-1, *self.schema.image_shape)
        return images.astype(self.schema.dtype, copy=False)

    def crop(self, number: int) -> Crop:
        """One whole crop, decoded; for messages, not for training."""
        shard = int(self._shards_of(np.array([number]))[0])
        with self._paths[shard].open("rb") as file:
            file.seek(int(self._starts[number]))
            return decode(file.read(int(self._lengths[number])), self.schema)

    def _look_through(
        self, serialized: tf.data.Dataset, fingerprints: Sequence[Sequence[str]]
    ) -> list[NDArray[Any]]:
        """Length of each record, byte at which its pixels begin, and fingerprints."""
        size = self.schema.num_image_bytes
        names = {name: _feature(name) for columns in fingerprints for name in columns}
        spec = feature_spec(self.schema, {"image", *names.values()})
        first = next(iter(serialized.take(1))).numpy()
        expected = first.find(tf.io.parse_single_example(first, spec)["image"].numpy())

        def look(records: Any) -> tuple[Any, ...]:
            features = tf.io.parse_example(records, spec)
            lengths = tf.strings.length(records)
            begin = tf.minimum(expected, lengths)
            there = tf.strings.substr(records, begin, tf.fill(tf.shape(begin), size))
            elsewhere = there != features["image"]
            prints = [
                _fingerprint([features[names[name]] for name in columns])
                for columns in fingerprints
            ]
            others = tf.boolean_mask(records, elsewhere)
            images = tf.boolean_mask(features["image"], elsewhere)
            return elsewhere, others, images, lengths, *prints

        parts: list[list[NDArray[Any]]] = []
        blocks = serialized.batch(_BLOCK).map(
            without_autograph(look), num_parallel_calls=tf.data.AUTOTUNE
        )
        for block in blocks.prefetch(2):
            elsewhere, others, images, lengths, *prints = (value.numpy() for value in block)
            begins = np.full(len(lengths), expected, np.int32)
            # Seldom any: a reader must not rely on the order in which features were written.
            begins[elsewhere] = [r.find(i) for r, i in zip(others, images, strict=True)]
            parts.append([lengths, begins, *prints])
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _where_records_start(self) -> NDArray[np.int64]:
        """Byte in its shard at which each record starts, int64 `(num_crops,)`."""
        framed = self._lengths.astype(np.int64) + FRAME_BYTES
        starts = np.cumsum(framed) - framed
        starts -= np.repeat(starts[self._first_of_shard[:-1]], np.diff(self._first_of_shard))
        return starts + HEADER_BYTES

    def _shards_of(self, crops: NDArray[np.int64]) -> NDArray[np.intp]:
        return np.searchsorted(self._first_of_shard, crops, side="right") - 1


def _feature(column: str) -> str:
    return column if column == "protein" else META_PREFIX + column


def _fingerprint(values: Sequence[Any]) -> Any:
    # Bits of floats, whose text would be rounded.
    bits = [tf.bitcast(v, tf.int32) if v.dtype == tf.float32 else v for v in values]
    texts = [v if v.dtype == tf.string else tf.strings.as_string(v) for v in bits]
    return tf.strings.to_hash_bucket_fast(tf.strings.join(texts, _SEPARATOR), 2**63 - 1)
