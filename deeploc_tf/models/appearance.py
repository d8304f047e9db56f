"""What crops look like, in a few numbers that no network has learned: for `novelty`.

A network that tells compartments learns to overlook much else: blur below noise, a cell that is not
in the middle, pixels of another microscope. These numbers do not overlook it; docs/trust.md has
what each of them finds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from deeploc_tf.models.normalization import percentile

_SCALES = (1, 2, 4)  # pixels that are averaged before the texture is measured
_SMALLEST = 4  # pixels of a side after that
_RINGS = 4
_NOTHING = 1e-6  # what has less variance than this share has none
_DARK = 0.05  # of the brightest pixel


def appearance(image: Any) -> dict[str, Any]:
    """Vectors of numbers about raw crops, which come from their percentiles as in `Normalization`.

    - ``texture``: logarithm of the variance of the Laplacian over that of the pixels, after means
      of 1, 2 and 4 pixels a side, each channel by itself. Blur, noise and the size of pixels are
      seen there.
    - ``layout``: logarithm of the mean, and the standard deviation, in four rings around the
      middle, each channel by itself. Where the cell is, is seen there.

    Args:
        image: `(batch_size, height, width, channels)`, any numeric dtype; height and width static.

    Returns:
        float32 `(batch_size, num_numbers)` by name; a crop that is too small for one has none.
    """
    height, width, channels = image.shape[1:]
    flat = tf.reshape(
        tf.transpose(tf.cast(image, tf.float32), (0, 3, 1, 2)), (-1, channels, height * width)
    )
    pixels = percentile(flat, None)
    planes = tf.reshape(pixels, (-1, channels, height, width))
    found = {}
    scales = [scale for scale in _SCALES if min(height, width) // scale >= _SMALLEST]
    if scales:
        found["texture"] = tf.concat([_roughness(planes, scale) for scale in scales], axis=1)
    rings = _rings(height, width)
    means = tf.einsum("bcp,pr->bcr", pixels, rings)
    squares = tf.einsum("bcp,pr->bcr", tf.square(pixels), rings)
    deviations = tf.sqrt(tf.maximum(squares - tf.square(means), 0.0))
    both = tf.concat([tf.math.log(means + _DARK), deviations], axis=2)
    found["layout"] = tf.reshape(both, (-1, channels * both.shape[2]))
    return found


def _roughness(planes: Any, scale: int) -> Any:
    channels, height, width = planes.shape[1:]
    rows, columns = height // scale, width // scale
    cut = planes[..., : rows * scale, : columns * scale]
    means = tf.reduce_mean(tf.reshape(cut, (-1, channels, rows, scale, columns, scale)), (3, 5))
    middle = means[..., 1:-1, 1:-1]
    neighbors = (
        means[..., :-2, 1:-1] + means[..., 2:, 1:-1] + means[..., 1:-1, :-2] + means[..., 1:-1, 2:]
    )
    laplacian = tf.math.reduce_variance(neighbors - 4 * middle, axis=(2, 3))
    variance = tf.math.reduce_variance(means, axis=(2, 3))
    return tf.math.log(tf.math.divide_no_nan(laplacian, variance) + _NOTHING)


def _rings(height: int, width: int) -> Any:
    """Weights of the pixels of each ring, `(num_pixels, num_rings)`; corners are in none."""
    rows, columns = np.indices((height, width)) + 0.5
    radius = np.hypot(2 * rows / height - 1, 2 * columns / width - 1).reshape(-1, 1)
    inside = np.floor(radius * _RINGS) == np.arange(_RINGS)
    inside = inside[:, inside.any(axis=0)]
    return (inside / inside.sum(axis=0)).astype(np.float32)
