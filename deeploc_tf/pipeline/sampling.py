"""Balanced epochs: the same number of crops of each class, whatever the records hold of it.

The records are read once an epoch, in the order of the epoch, and each is given on so many times:
never, once, or more often.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from deeploc_tf.pipeline.classes import Classes
from tfrecords.codec import decode_batch
from tfrecords.errors import SplitError
from tfrecords.reader import without_autograph
from tfrecords.schema import Schema


def draws_of_a_class(classes: Classes) -> int:
    """How many crops of each class an epoch gets: together as many as there are, rounded down.

    Raises:
        SplitError: crops have several labels, so no number of draws of one is the same for all.
    """
    if classes.multi_label:
        msg = (
            "Sampling by label needs crops with one label each. Received: records with several "
            "labels a crop. Sample by protein, or weight the classes."
        )
        raise SplitError(msg)
    return classes.num_crops // len(classes.names)


def balanced(
    serialized: tf.data.Dataset,
    schema: Schema,
    classes: Classes,
    index: Callable[[dict[str, Any]], Any],
    epoch_seed: Any,
    *,
    records_at_once: int = 256,
) -> tf.data.Dataset:
    """Records repeated or left out so that every class comes equally often.

    The `k`-th crop of a class that has `n` of them and is to have `m` comes
    ``floor(((k + 1) m + u) / n) - floor((k m + u) / n)`` times, with ``u`` in [0, n) from the
    epoch's seed: all equally often but for one, and `m` times in all, exactly.

    Args:
        serialized: records, scalar strings, each of the split exactly once.
        schema: of the records.
        classes: of the split.
        index: what `class_index` made for them; only the feature it needs is parsed.
        epoch_seed: int64 scalar tensor.
        records_at_once: whose classes are parsed together; it changes no draw.

    Returns:
        `tf.data.Dataset` of scalar strings, `draws_of_a_class` times the number of classes.
    """
    counts = tf.constant(classes.counts, tf.int64)
    wanted = tf.constant(draws_of_a_class(classes), tf.int64)
    seed = tf.stack([tf.cast(epoch_seed, tf.int64), 1])
    share = tf.random.stateless_uniform(counts.shape, seed, dtype=tf.float64)
    offsets = tf.minimum(tf.cast(share * tf.cast(counts, tf.float64), tf.int64), counts - 1)

    def class_of(records: Any) -> tuple[Any, Any]:
        return records, index(decode_batch(records, schema, [classes.kind]))

    def repetitions(seen: Any, block: tuple[Any, Any]) -> tuple[Any, tuple[Any, Any]]:
        records, of_class = block
        number = tf.gather(seen, of_class) + _rank_within_class(of_class)
        available, offset = tf.gather(counts, of_class), tf.gather(offsets, of_class)
        times = ((number + 1) * wanted + offset) // available
        times -= (number * wanted + offset) // available
        seen += tf.math.bincount(of_class, minlength=len(classes.names), dtype=tf.int64)
        drawn = times > 0
        return seen, (tf.boolean_mask(records, drawn), tf.boolean_mask(times, drawn))

    blocks = serialized.batch(records_at_once).map(
        without_autograph(class_of), num_parallel_calls=tf.data.AUTOTUNE
    )
    drawn = blocks.scan(tf.zeros_like(counts), without_autograph(repetitions)).unbatch()
    # Not tf.repeat on the block: a crop that stands for a whole class would be copied in memory.
    return drawn.flat_map(
        without_autograph(lambda record, times: tf.data.Dataset.from_tensors(record).repeat(times))
    )


def _rank_within_class(of_class: Any) -> Any:
    """How many crops of the same class come before each one in the block, int64 `(block,)`."""
    order = tf.argsort(of_class, stable=True)
    grouped = tf.gather(of_class, order)
    place = tf.range(tf.size(grouped, out_type=tf.int64), dtype=tf.int64)
    rank = place - tf.searchsorted(grouped, grouped, side="left", out_type=tf.int64)
    return tf.scatter_nd(order[:, tf.newaxis], rank, tf.shape(of_class, out_type=tf.int32))
