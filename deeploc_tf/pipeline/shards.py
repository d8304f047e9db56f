"""Batches that never span shards, so that what was computed of a shard can be kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import tensorflow as tf

from tfrecords.codec import decode_batch
from tfrecords.manifest import Manifest, ShardInfo, check_shards
from tfrecords.reader import serialized_shard, without_autograph


def shard_batches(
    records: str | Path,
    manifest: Manifest,
    shards: Sequence[ShardInfo],
    *,
    batch_size: int,
    features: Collection[str],
) -> tf.data.Dataset:
    """Every crop of some shards exactly once, in their order, as one stream.

    The batches of a shard are the same ones whatever other shards are asked for.

    Args:
        records: folder of the data set.
        manifest: of `records`.
        shards: of the manifest.
        batch_size: crops a batch; the last batch of each shard may be smaller.
        features: names to decode, see `batches`.

    Returns:
        `tf.data.Dataset` of pairs: which of `shards` it is, int64, and a dict as `batches` gives
        it. Reading fails if a shard holds fewer or more crops than the manifest says.

    Raises:
        DamagedRecordsError: a shard is missing, or its size is not that of the manifest.
        ValueError: `batch_size` is less than 1.
    """
    if batch_size < 1:
        msg = f"`batch_size` must be at least 1. Received: batch_size={batch_size}."
        raise ValueError(msg)
    check_shards(records, manifest)
    files = tf.constant([str(Path(records) / shard.name) for shard in shards], tf.string)
    sizes = tf.constant([shard.num_crops for shard in shards], tf.int64)

    def of_shard(number: tf.Tensor, shard: tuple[tf.Tensor, tf.Tensor]) -> tf.data.Dataset:
        serialized = serialized_shard(*shard).batch(batch_size)
        return serialized.map(without_autograph(lambda batch: (number, batch)))

    numbered = tf.data.Dataset.from_tensor_slices((files, sizes)).enumerate()
    dataset = numbered.flat_map(without_autograph(of_shard))
    dataset = dataset.map(
        without_autograph(
            lambda number, batch: (number, decode_batch(batch, manifest.schema, features))
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return dataset.prefetch(tf.data.AUTOTUNE)
