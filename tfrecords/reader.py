"""Records as they lie on disk, into `tf.data`; `codec.decode_batch` makes pixels of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrecords.manifest import Manifest, check_shards, read_manifest

_BUFFER_BYTES = 1 << 20  # 4 and 16 MiB were measured to be slower
_CYCLE_LENGTH = 16
_BLOCK_LENGTH = 16


def read_serialized(
    records: str | Path,
    split: str,
    *,
    manifest: Manifest | None = None,
    interleave: bool = False,
    shard_order_seed: Any = None,
) -> Any:
    """All records of a split, serialized, each exactly once.

    The crops were well mixed when the data set was built, so even the plain order is a random one.

    Args:
        records: folder of the data set.
        split: name of the split.
        manifest: of `records`, where the caller has read it already.
        interleave: take turns between up to 16 shards, 16 crops each. The order is another one, but
            always the same.
        shard_order_seed: an int, or a scalar integer tensor, from which the order of the shards
            follows; None for that of the manifest.

    Returns:
        `tf.data.Dataset` of scalar strings, in the order of the manifest unless said otherwise. Its
        cardinality is that of the manifest, and reading fails if the shards hold fewer or more (of
        an unknown one Keras would run past the end, and train on nothing).

    Raises:
        SplitError: there is no such split.
        DamagedRecordsError: a shard is missing, foreign, or not of its size.
    """
    manifest = manifest or read_manifest(records)
    check_shards(records, manifest)
    files = [str(Path(records) / shard.name) for shard in manifest.shards(split)]
    cycle_length = min(_CYCLE_LENGTH, len(files))
    if shard_order_seed is not None:
        # Stateless: `tf.random.set_seed` must not change it.
        seed = tf.stack([tf.cast(shard_order_seed, tf.int64), 0])
        files = tf.random.experimental.stateless_shuffle(files, seed)
    if interleave:
        dataset = tf.data.Dataset.from_tensor_slices(files).interleave(
            lambda file: tf.data.TFRecordDataset(file, buffer_size=_BUFFER_BYTES),
            cycle_length=cycle_length,
            block_length=_BLOCK_LENGTH,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
    else:
        dataset = tf.data.TFRecordDataset(files, buffer_size=_BUFFER_BYTES)
    return dataset.apply(tf.data.experimental.assert_cardinality(manifest.num_crops(split)))
