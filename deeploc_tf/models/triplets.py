"""Semi-hard triplets: vectors of one class shall be nearer to each other than to any other."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def triplet_semihard_loss(labels: Any, vectors: Any, margin: float) -> Any:
    """Mean over pairs of one class of ``max(0, margin + d(a, p) - d(a, n))``.

    The distance d is the squared Euclidean one, of unit vectors ``2 - 2 cos``. For the anchor a and
    the positive p, the negative n is the nearest crop of another class that is farther from a than
    p is (semi-hard); where there is none, the farthest. As in tensorflow-addons, with memory for
    the square of the batch and not for its cube.

    Args:
        labels: int64 `(batch_size,)`.
        vectors: float32 `(batch_size, num_features)`, each of length 1.
        margin: by how much a negative shall be farther than a positive.

    Returns:
        float32 scalar; 0 where no two crops are of one class, or all of them are.

    References:
        Schroff et al. 2015, FaceNet, arXiv 1503.03832.
    """
    distances = tf.maximum(2.0 - 2.0 * tf.matmul(vectors, vectors, transpose_b=True), 0.0)
    same = tf.equal(labels[:, tf.newaxis], labels[tf.newaxis, :])
    positive = tf.logical_and(same, tf.logical_not(tf.eye(tf.size(labels), dtype=tf.bool)))
    num_negatives = tf.reduce_sum(tf.cast(tf.logical_not(same), tf.int32), axis=1, keepdims=True)
    farther = tf.sort(tf.where(same, distances.dtype.max, distances), axis=1)  # negatives first
    semi_hard = tf.searchsorted(farther, tf.stop_gradient(distances), side="right")
    chosen = tf.gather(
        farther, tf.maximum(tf.minimum(semi_hard, num_negatives - 1), 0), axis=1, batch_dims=1
    )
    pairs = tf.logical_and(positive, num_negatives > 0)
    terms = tf.where(pairs, tf.maximum(margin + distances - chosen, 0.0), 0.0)
    num_pairs = tf.reduce_sum(tf.cast(pairs, tf.float32))
    return tf.math.divide_no_nan(tf.reduce_sum(terms), num_pairs)
