"""Focus, emptiness and saturation of crops in a graph, as `deeploc_tf.sources.quality` has them.

Both are held against each other by a test. In float64: sums of squares of raw counts need it.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

QUALITIES = ("sharpness", "structure", "saturation")
_SMALLEST = 8  # pixels of a side, from which on there is structure to speak of


def qualities(image: Any) -> dict[str, Any]:
    """Each of `QUALITIES` of raw crops; of sharpness, structure and saturation, the best channel.

    Args:
        image: `(batch_size, height, width, channels)`, any numeric dtype; height and width static.

    Returns:
        float32 `(batch_size,)` by name, as `deeploc_tf.sources.quality.qualities` gives them.
    """
    planes = tf.cast(tf.transpose(image, (0, 3, 1, 2)), tf.float64)
    found = {
        "sharpness": _sharpness(planes),
        "structure": _structure(planes),
        "saturation": _saturation(planes),
    }
    return {name: tf.cast(tf.reduce_max(of, axis=1), tf.float32) for name, of in found.items()}


def _variance(values: Any) -> Any:
    return tf.math.reduce_variance(values, axis=(2, 3))


def _sharpness(planes: Any) -> Any:
    middle = planes[..., 1:-1, 1:-1]
    neighbors = (
        planes[..., :-2, 1:-1]
        + planes[..., 2:, 1:-1]
        + planes[..., 1:-1, :-2]
        + planes[..., 1:-1, 2:]
    )
    return tf.math.divide_no_nan(_variance(neighbors - 4 * middle), _variance(planes))


def _structure(planes: Any) -> Any:
    channels = planes.shape[1]
    height, width = (size - size % 4 for size in planes.shape[2:])
    infinite = tf.fill(tf.shape(planes)[:2], tf.constant(float("inf"), tf.float64))
    if min(height, width) < _SMALLEST:
        return infinite
    planes = planes[..., :height, :width]
    second = planes[..., :-2] - 2 * planes[..., 1:-1] + planes[..., 2:]
    mixed = second[..., :-2, :] - 2 * second[..., 1:-1, :] + second[..., 2:, :]
    noise = tf.reduce_mean(tf.abs(mixed), axis=(2, 3)) * ((3.141592653589793 / 2) ** 0.5 / 6)
    blocks = tf.reshape(planes, (-1, channels, height // 4, 4, width // 4, 4))
    spread = tf.sqrt(_variance(tf.reduce_mean(blocks, axis=(3, 5))))
    none = tf.where(spread > 0, infinite, tf.zeros_like(spread))
    return tf.where(noise > 0, tf.math.divide_no_nan(spread, noise / 4), none)


def _saturation(planes: Any) -> Any:
    highest = tf.reduce_max(planes, axis=(2, 3), keepdims=True)
    return tf.reduce_mean(tf.cast(tf.equal(planes, highest), tf.float64), axis=(2, 3))
