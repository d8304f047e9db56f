"""From records to batches of raw pixels: whole and in order, or shuffled for training.

Records are batched while still serialized and parsed a batch at a time (three times cheaper than
one by one); pixels keep their own dtype, since the model's first layers normalize them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from deeploc_tf.pipeline.classes import class_index, count_classes
from deeploc_tf.pipeline.sampling import balanced, draws_of_a_class
from deeploc_tf.pipeline.splits import with_usual_splits
from deeploc_tf.pipeline.targets import Kind, Target, kinds
from tfrecords.codec import decode_batch
from tfrecords.errors import DamagedRecordsError, SplitError
from tfrecords.manifest import Manifest
from tfrecords.reader import read_crops, read_serialized, without_autograph
from tfrecords.verify import verify

SHUFFLE_BYTES = (
    32 << 20
)  # the records are permuted as a whole at build; this only varies the epochs
# What TensorFlow says of a data set, and not of a model or a loss.
_OF_RECORDS = re.compile("Iterator::|expected to contain|(corrupted|truncated) record")
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

    Example:
        for batch in batches("records", "test", features=["image", "key"]):
            batch["image"]  # (batch_size, height, width, channels)
    """
    manifest = manifest or with_usual_splits(verify(records))
    schema = manifest.schema
    _check_batch_size(batch_size)
    dataset = read_serialized(records, split, manifest=manifest).batch(batch_size)
    dataset = dataset.map(
        without_autograph(lambda serialized: decode_batch(serialized, schema, features)),
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
    first_step: int = 0,
    seed: int = 0,
    mask: bool = False,
    target: Target = "label",
    sampling: Kind | None = None,
    as_supervised: bool = True,
    one_hot: bool = True,
    manifest: Manifest | None = None,
) -> tf.data.Dataset:
    """Shuffled batches of inputs and targets for `keras.Model.fit`, epoch after epoch.

    The order of an epoch is a function of `seed` and the epoch's number alone, so that a training
    that resumes at epoch 7 (`first_epoch=7`) sees what an uninterrupted one would have seen, in the
    midst of an epoch as well (`first_step=120`). Each epoch drops its last incomplete batch, and
    has as many steps as `steps_per_epoch` says: pass that to Keras.

    Args:
        records: folder that `build-records` made.
        split: name of the split.
        batch_size: crops a batch, over all replicas.
        epochs: number of the last epoch, plus one.
        first_epoch: number of the first epoch, counted from 0.
        first_step: number of the first batch of that epoch, counted from 0.
        seed: of the order.
        mask: give the mask to the model as well.
        target: what is to be told: "label", "protein" (the proteins of the split, sorted), or
            "label+protein", whose targets stand side by side.
        sampling: "label" or "protein": every epoch gets equally many crops of each; None: every
            crop once.
        as_supervised: give pairs of inputs and targets, as Keras takes them; False gives dicts of
            `image`, `mask` if asked for, and the targets by name: `label`, `protein`.
        one_hot: give targets as rows of 0 and 1; False gives the number of each crop's class, for
            sparse losses and metrics.
        manifest: of `records`, where the caller has read it already.

    Returns:
        `tf.data.Dataset` of `(inputs, targets)`: inputs `(batch_size, height, width, channels)` in
        the records' dtype, or a dict of `image` and `mask` (uint8 `(batch_size, height, width)`);
        targets float32 `(batch_size, num_classes)` of 0 and 1, or int64 `(batch_size,)`.

    Raises:
        SplitError: the split holds fewer crops than one batch, or the crops lack what `target` or
            `sampling` needs.
        ValueError: `first_epoch` is not one of the epochs, or `first_step` not one of its steps; or
            there is no one number of a class, since crops have several labels, or two targets.

    Example:
        dataset = training_batches("records", batch_size=64, one_hot=False)
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(dataset, steps_per_epoch=len(dataset), shuffle=False)
    """
    manifest = manifest or with_usual_splits(verify(records))
    schema = manifest.schema
    steps = steps_per_epoch(manifest, split, batch_size, sampling)
    if not 0 <= first_epoch <= epochs:  # -1 would assert an infinite cardinality
        msg = (
            "`first_epoch` must lie in [0, epochs]. Received: "
            f"first_epoch={first_epoch}, epochs={epochs}."
        )
        raise ValueError(msg)
    if not 0 <= first_step < steps:
        msg = (
            "`first_step` must lie in [0, steps_per_epoch). Received: "
            f"first_step={first_step}, steps_per_epoch={steps}."
        )
        raise ValueError(msg)
    if "label" in kinds(target) and not schema.label_names:
        msg = "Training needs labels. The records have none: rebuild them with --label."
        raise SplitError(msg)
    truths = {kind: _truth_of(kind, manifest, split, one_hot=one_hot) for kind in kinds(target)}
    if as_supervised and not one_hot and len(truths) > 1:
        msg = (
            "Two targets side by side must be one-hot. Received: one_hot=False, "
            f"target={target!r}. Leave it out, or ask for dicts (as_supervised=False)."
        )
        raise ValueError(msg)
    if mask and not schema.has_mask:
        msg = (
            "mask=True needs records with masks. These have none: rebuild them with a mask channel."
        )
        raise SplitError(msg)
    names = ["image", *(["mask"] if mask else []), *kinds(target)]
    order = _Order(records, split, batch_size, seed, sampling, manifest)

    def inputs_and_targets(serialized: Any) -> Any:
        batch = decode_batch(serialized, schema, names)
        inputs = {name: batch[name] for name in names if name not in truths}
        targets = {kind: truth_of(batch) for kind, truth_of in truths.items()}
        if not as_supervised:
            return {**inputs, **targets}
        truth = tf.concat([*targets.values()], axis=-1)
        return (inputs if mask else inputs["image"]), truth

    def one_epoch(epoch: Any) -> tf.data.Dataset:
        whole = order.batches(epoch)
        return whole.skip(tf.where(epoch == first_epoch, tf.constant(first_step, tf.int64), 0))

    dataset = tf.data.Dataset.range(first_epoch, epochs).flat_map(without_autograph(one_epoch))
    dataset = dataset.map(
        without_autograph(inputs_and_targets), num_parallel_calls=tf.data.AUTOTUNE
    )
    # An unknown cardinality makes Keras run one step past the end, which moves weights.
    left = max(steps * (epochs - first_epoch) - first_step, 0)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(left))
    return dataset.prefetch(tf.data.AUTOTUNE)


def _truth_of(
    kind: Kind, manifest: Manifest, split: str, *, one_hot: bool
) -> Callable[[dict[str, Any]], Any]:
    """A function from a parsed batch to its targets, see `training_batches`."""
    classes = count_classes(manifest, kind, split)
    index = class_index(kind, classes.names)
    if classes.multi_label and not one_hot:
        msg = (
            "Crops of several labels have no one class. Received: one_hot=False for records of "
            "several labels. Leave it out."
        )
        raise ValueError(msg)
    if classes.multi_label or not one_hot:
        return index
    return lambda batch: tf.one_hot(index(batch), len(classes.names))


def keys_of_training_batch(
    records: str | Path,
    split: str = "train",
    *,
    batch_size: int,
    epoch: int,
    step: int,
    seed: int,
    sampling: Kind | None = None,
    manifest: Manifest,
) -> list[str]:
    """Keys of the crops that `training_batches` gives in a step of an epoch, counted from 0."""
    order = _Order(records, split, batch_size, seed, sampling, manifest)
    serialized = order.batches(epoch).skip(step).take(1)
    decoded = serialized.map(
        without_autograph(lambda records: decode_batch(records, manifest.schema, ["key"]))
    )
    for batch in decoded:
        return [key.decode() for key in batch["key"].numpy()]
    return []


class _Order:
    """The order in which epochs come: a function of the seed and the epoch's number alone."""

    def __init__(
        self,
        records: str | Path,
        split: str,
        batch_size: int,
        seed: int,
        sampling: Kind | None,
        manifest: Manifest,
    ) -> None:
        self.records, self.split, self.batch_size = records, split, batch_size
        self.seed, self.manifest = seed, manifest
        # Here and not in `batches`, which tf.data calls where no table can be made.
        self.strata = count_classes(manifest, sampling, split) if sampling else None
        self.index = class_index(sampling, self.strata.names) if sampling and self.strata else None

    def batches(self, epoch: Any) -> tf.data.Dataset:
        """Whole batches of serialized records in the order of an epoch."""
        # This function's graph has a seed of its own: the global one must not change the order.
        tf.random.set_seed(1)
        epoch_seed = self.seed * _SEED_STRIDE + epoch
        schema = self.manifest.schema
        num_crops = self.manifest.num_crops(self.split)
        buffer_size = max(1, min(num_crops, SHUFFLE_BYTES // schema.num_image_bytes))
        serialized = read_serialized(
            self.records, self.split, manifest=self.manifest, shard_order_seed=epoch_seed
        )
        if self.strata and self.index:
            serialized = balanced(serialized, schema, self.strata, self.index, epoch_seed)
        shuffled = serialized.shuffle(buffer_size, seed=epoch_seed, reshuffle_each_iteration=False)
        return shuffled.batch(self.batch_size, drop_remainder=True)


@contextlib.contextmanager
def running_on(records: str | Path, manifest: Manifest | None = None) -> Iterator[None]:
    """Say in our own errors what TensorFlow says in its, while computing on batches of `records`.

    TensorFlow names no shard: the records are read again, until the damage is found.

    Raises:
        DamagedRecordsError: a record is not what was written, or one is missing.
        MemoryError: the device has too little memory.
    """
    try:
        yield
    except (
        tf.errors.DataLossError,  # a checksum
        tf.errors.FailedPreconditionError,  # the number of records
        tf.errors.InvalidArgumentError,  # an example
    ) as error:
        if not _OF_RECORDS.search(str(error)):  # a large data set is not read for that
            raise
        for _ in read_crops(records, manifest=manifest):
            pass
        if not isinstance(error, tf.errors.DataLossError):
            raise
        msg = (
            "Records must read the same twice. Received: damage that a second reading of "
            f"{str(records)!r} did not find ({(error.message or '').splitlines()[0]}). Give the "
            "same command again; if it comes back, look at the disk, the network or the memory."
        )
        raise DamagedRecordsError(msg) from error
    except tf.errors.ResourceExhaustedError as error:
        msg = (
            "A batch and its gradients must fit into the device's memory. Use a smaller batch size."
        )
        raise MemoryError(msg) from error


def steps_per_epoch(
    manifest: Manifest, split: str, batch_size: int, sampling: Kind | None = None
) -> int:
    """Number of whole batches in an epoch of a split.

    Raises:
        SplitError: not even one, or the crops cannot be sampled in that way.
    """
    _check_batch_size(batch_size)
    num_crops = manifest.num_crops(split)
    if sampling:
        classes = count_classes(manifest, sampling, split)
        num_crops = draws_of_a_class(classes) * len(classes.names)
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
