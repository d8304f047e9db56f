"""From records to batches of raw pixels: whole and in order, or shuffled for training.

Records are batched while still serialized and parsed a batch at a time (three times cheaper than
one by one); pixels keep their own dtype, since the model's first layers normalize them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrecords.codec import decode_batch
from tfrecords.errors import DamagedRecordsError, SplitError
from tfrecords.manifest import Manifest
from tfrecords.reader import read_serialized
from tfrecords.verify import verify

SHUFFLE_BYTES = (
    64 << 20
)  # the records are permuted as a whole at build; this only varies the epochs
_SEED_STRIDE = 1_000_003  # runs of neighboring seeds share no epoch's order


def batches(
    records: str | Path,
    split: str,
    *,
    batch_size: int = 128,
    features: Collection[str] | None = None,
    manifest: Manifest | None = None,
) -> tf.data.Dataset:
    """Every crop of a split exactly once, in manifest order: for evaluation and embedding.

    Args:
        records: folder that `build-records` made.
        split: name of the split, such as "test".
        batch_size: crops a batch; the last batch may be smaller.
        features: names to decode, such as "image", "mask", "label", "protein", "key", "meta/field";
            None: all of them.
        manifest: of `records`, where the caller has read it already.

    Returns:
        `tf.data.Dataset` of dicts: `image` `(batch_size, height, width, channels)` in the records'
        dtype, `mask` uint8 `(batch_size, height, width)`, `label` int64 `(batch_size,)` (or float32
        `(batch_size, num_classes)`, 0 and 1, where crops have several), the rest `(batch_size,)`.
        Its cardinality is asserted from the manifest.

    Raises:
        DamagedRecordsError: a shard is missing, or its size is not that of the manifest.
        SplitError: there is no such split.
    """
    manifest = manifest or verify(records)
    schema = manifest.schema
    _check_batch_size(batch_size)
    dataset = read_serialized(records, split, manifest=manifest).batch(batch_size)
    dataset = dataset.map(
        lambda serialized: decode_batch(serialized, schema, features),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return dataset.prefetch(tf.data.AUTOTUNE)


def training_batches(
    records: str | Path,
    split: str = "train",
    *,
    batch_size: int = 128,
    epochs: int = 1,
    first_epoch: int = 0,
    seed: int = 0,
    mask: bool = False,
    manifest: Manifest | None = None,
) -> tf.data.Dataset:
    """Shuffled batches of inputs and targets for `keras.Model.fit`, epoch after epoch.

    The order of an epoch is a function of `seed` and the epoch's number alone, so that a training
    that resumes at epoch 7 (`first_epoch=7`) sees what an uninterrupted one would have seen. Each
    epoch drops its last incomplete batch, and has `num_crops // batch_size` steps: pass that as
    `steps_per_epoch`.

    Args:
        records: folder that `build-records` made.
        split: name of the split.
        batch_size: crops a batch, over all replicas.
        epochs: number of the last epoch, plus one.
        first_epoch: number of the first epoch, counted from 0.
        seed: of the order.
        mask: give the mask to the model as well.
        manifest: of `records`, where the caller has read it already.

    Returns:
        `tf.data.Dataset` of `(inputs, targets)`: inputs `(batch_size, height, width, channels)`,
        or a dict of `image` and `mask`; targets float32 `(batch_size, num_classes)` of 0 and 1.

    Raises:
        SplitError: the split holds fewer crops than one batch, or the crops have no labels.
        ValueError: `first_epoch` is not one of the epochs.
    """
    manifest = manifest or verify(records)
    schema = manifest.schema
    steps = steps_per_epoch(manifest, split, batch_size)
    if not 0 <= first_epoch <= epochs:  # -1 would assert an infinite cardinality
        msg = (
            "`first_epoch` must lie in [0, epochs]. Received: "
            f"first_epoch={first_epoch}, epochs={epochs}."
        )
        raise ValueError(msg)
    if not schema.label_names:
        msg = "Training needs labels. The records have none: rebuild them with --label."
        raise SplitError(msg)
    if mask and not schema.has_mask:
        msg = (
            "mask=True needs records with masks. These have none: rebuild them with a mask channel."
        )
        raise SplitError(msg)
    names = ["image", "mask", "label"] if mask else ["image", "label"]
    num_crops = manifest.num_crops(split)
    buffer_size = max(1, min(num_crops, SHUFFLE_BYTES // schema.num_image_bytes))

    def inputs_and_targets(serialized: Any) -> tuple[Any, Any]:
        batch = decode_batch(serialized, schema, names)
        target = batch["label"]
        if not schema.multi_label:
            target = tf.one_hot(target, schema.num_classes)
        if mask:
            return {"image": batch["image"], "mask": batch["mask"]}, target
        return batch["image"], target

    def one_epoch(epoch: Any) -> tf.data.Dataset:
        # This function's graph has a seed of its own: the global one must not change the order.
        tf.random.set_seed(1)
        epoch_seed = seed * _SEED_STRIDE + epoch
        serialized = read_serialized(records, split, manifest=manifest, shard_order_seed=epoch_seed)
        shuffled = serialized.shuffle(buffer_size, seed=epoch_seed, reshuffle_each_iteration=False)
        return shuffled.batch(batch_size, drop_remainder=True)

    dataset = tf.data.Dataset.range(first_epoch, epochs).flat_map(one_epoch)
    dataset = dataset.map(inputs_and_targets, num_parallel_calls=tf.data.AUTOTUNE)
    # An unknown cardinality makes Keras run one step past the end, which moves weights.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps * (epochs - first_epoch)))
    return dataset.prefetch(tf.data.AUTOTUNE)


@contextlib.contextmanager
def running_on(records: str | Path) -> Iterator[None]:
    """Say in our own errors what TensorFlow says in its, while computing on batches of `records`.

    Raises:
        DamagedRecordsError: a record is not what was written.
        MemoryError: the device has too little memory.
    """
    try:
        yield
    except tf.errors.DataLossError as error:
        found = re.search(r"(corrupted|truncated) record at \d+", error.message or "")
        msg = (
            "Records must be as they were written. Received: "
            f"{found[0] if found else 'a damaged record'} in {str(records)!r}. "
            "Run `deeploc-tf verify --deep` on them, copy them again, or rebuild them."
        )
        raise DamagedRecordsError(msg) from error
    except tf.errors.ResourceExhaustedError as error:
        msg = (
            "A batch and its gradients must fit into the device's memory. Use a smaller batch size."
        )
        raise MemoryError(msg) from error


def steps_per_epoch(manifest: Manifest, split: str, batch_size: int) -> int:
    """Number of whole batches in a split.

    Raises:
        SplitError: not even one.
    """
    _check_batch_size(batch_size)
    num_crops = manifest.num_crops(split)
    if num_crops < batch_size:
        msg = (
            f"A split must hold at least one batch. Received: batch_size={batch_size}, split "
            f"{split!r} of {num_crops} crops. Use a smaller batch size."
        )
        raise SplitError(msg)
    return num_crops // batch_size


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        msg = f"`batch_size` must be at least 1. Received: batch_size={batch_size}."
        raise ValueError(msg)
