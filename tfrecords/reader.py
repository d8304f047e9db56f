"""Records as they lie on disk: crop by crop as arrays, or serialized into `tf.data`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from tfrecords.codec import decode
from tfrecords.errors import DamagedRecordsError, RecordsError
from tfrecords.framing import FOOTER_BYTES
from tfrecords.framing import records as framed_records
from tfrecords.manifest import REBUILD, Manifest, ShardInfo, check_shards, read_manifest
from tfrecords.retrying import retried
from tfrecords.schema import Crop, Schema

_BUFFER_BYTES = 1 << 20  # 4 and 16 MiB were measured to be slower
_CYCLE_LENGTH = 16
_BLOCK_LENGTH = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a record is.

    Attributes:
        split: name of the split.
        shard: name of the file.
        record: number of the record in the shard, from 0.
        byte: of the shard, at which the frame of the record begins.
    """

    split: str
    shard: str
    record: int
    byte: int

    def __str__(self) -> str:
        """The place in words, for messages."""
        return f"shard {self.shard}, record {self.record}, byte {self.byte}"


def read_crops(
    records: str | Path,
    splits: Collection[str] | None = None,
    *,
    shards: Collection[str] | None = None,
    manifest: Manifest | None = None,
) -> Iterator[tuple[Place, Crop]]:
    """Every crop of some splits as NumPy arrays, one split after the other, in manifest order.

    For one crop at a time, without TensorFlow; memory holds one shard. To train, see
    `read_serialized`.

    Args:
        records: folder of the data set.
        splits: names of the splits; None for all.
        shards: names of the files to read; None for all of these splits.
        manifest: of `records`, where the caller has read it already.

    Returns:
        Place and crop of each record, each exactly once.

    Raises:
        SplitError: there is no such split.
        ValueError: there is no such shard.
        DamagedRecordsError: a shard is missing, foreign, or not of its size; or, on the way, a
            record is damaged, or a shard holds fewer or more of them. The place is named.
    """
    manifest = manifest or read_manifest(records)
    check_shards(records, manifest)
    names = {shard.name for split in manifest.splits.values() for shard in split}
    unknown = sorted(set(shards or ()) - names)
    if unknown:
        msg = f"`shards` must be files of the manifest. Received: shards={unknown}."
        raise ValueError(msg)
    chosen = [
        (split, shard)
        for split in (manifest.split_names if splits is None else splits)
        for shard in manifest.shards(split)
        if shards is None or shard.name in shards
    ]
    return (
        found
        for split, shard in chosen
        for found in crops_of(read_shard(records, shard), split, shard, manifest.schema)
    )


def read_shard(records: str | Path, shard: ShardInfo) -> bytes:
    """The content of a shard; a disk that fails for a moment is asked again."""
    return retried((Path(records) / shard.name).read_bytes)


def crops_of(
    content: bytes, split: str, shard: ShardInfo, schema: Schema
) -> Iterator[tuple[Place, Crop]]:
    """Place and crop of each record of a shard; raises as `framed` does."""
    for place, record in framed(content, split, shard):
        try:
            crop = decode(record, schema)
        except RecordsError as error:
            msg = f"{error} Place: {place}. {REBUILD}"
            raise DamagedRecordsError(msg) from error
        yield place, crop


def framed(content: bytes, split: str, shard: ShardInfo) -> Iterator[tuple[Place, bytes]]:
    """Place and bytes of each record of a shard.

    Raises:
        DamagedRecordsError: a checksum is wrong, or the records are fewer or more than the
            manifest says. What was yielded before stands.
    """
    place = Place(split, shard.name, 0, 0)
    try:
        for start, stop in framed_records(content):
            yield place, content[start:stop]
            place = Place(split, shard.name, place.record + 1, stop + FOOTER_BYTES)
    except DamagedRecordsError as error:
        msg = f"{error} Place: {place}. {REBUILD}"
        raise DamagedRecordsError(msg) from error
    if place.record != shard.num_crops:
        msg = (
            f"A shard must hold the crops of the manifest. Received: {place.record} in "
            f"{shard.name}, expected {shard.num_crops}. {REBUILD}"
        )
        raise DamagedRecordsError(msg)


def without_autograph(function: Callable[..., Any]) -> Any:
    """A function for `tf.data` as it stands: rewriting ours takes AutoGraph seconds, in vain.

    It is for Python's `if` and `for` over tensors, of which ours have none.
    """
    import tensorflow as tf

    return tf.autograph.experimental.do_not_convert(function)


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
    import tensorflow as tf

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
            without_autograph(
                lambda file: tf.data.TFRecordDataset(file, buffer_size=_BUFFER_BYTES)
            ),
            cycle_length=cycle_length,
            block_length=_BLOCK_LENGTH,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
    else:
        dataset = tf.data.TFRecordDataset(files, buffer_size=_BUFFER_BYTES)
    return dataset.apply(tf.data.experimental.assert_cardinality(manifest.num_crops(split)))


def serialized_shard(file: Any, num_crops: Any) -> Any:
    """The records of one shard as `read_serialized` gives them, exactly `num_crops`; for `tf.data`.

    Args:
        file: path of the shard, a scalar string tensor.
        num_crops: scalar int64 tensor.
    """
    import tensorflow as tf

    dataset = tf.data.TFRecordDataset(file, buffer_size=_BUFFER_BYTES)
    return dataset.apply(tf.data.experimental.assert_cardinality(num_crops))
