"""The first layer of every model: raw pixels become comparable numbers.

It stands in the model's own graph, so training, embedding and the exported model cannot disagree.
It computes in float32 whatever the precision policy.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

NORMALIZATIONS = ("percentile", "kraus", "min-max", "standardize")
RANGE_EPSILON = 1e-6  # a crop whose range is not larger counts as constant and becomes zeros
LOW_PERCENTILE, HIGH_PERCENTILE = 0.1, 99.9  # Kraus et al. 2017, preprocess_images.py


@keras.utils.register_keras_serializable(package="deeploc_tf")
class Normalization(keras.layers.Layer):
    """Scale each channel of each crop by its own intensities; a constant one becomes zeros.

    Methods, each a crop and channel by itself unless said otherwise:

    - ``percentile``: ``clip((x - p0.1) / (p99.9 - p0.1), 0, 1)``.
    - ``kraus``: the rule of Kraus et al. to the letter: clip at p99.9, subtract p0.1, divide by the
      range only where it exceeds 1. Images already in [0, 1] are therefore never stretched, and the
      lowest pixels stay slightly negative. Use it to reproduce, not to begin.
    - ``min-max``: ``(x - min) / (max - min)``.
    - ``standardize``: ``min-max``, then over all channels jointly ``(x - mean) / max(sd, n^-1/2)``.

    Percentiles interpolate linearly between order statistics, as `numpy.percentile` does.

    Args:
        method: one of the four names above.

    Input shape:
        `(batch_size, height, width, channels)`, any numeric dtype, raw counts; height and width
        static.

    Output shape:
        The same, float32.

    Raises:
        ValueError: the method is none of these.

    References:
        Kraus et al. 2017, Mol Syst Biol 13:924 (``percentile``, ``kraus``); Razdaibiedina &
        Brechalov 2022, arXiv 2205.11676 (``min-max``, ``standardize``).
    """

    def __init__(self, method: str = "percentile", **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        if method not in NORMALIZATIONS:
            msg = (
                f"`normalization` must be one of {', '.join(NORMALIZATIONS)}. "
                f"Received: normalization={method!r}."
            )
            raise ValueError(msg)
        self.method = method

    def call(self, inputs: Any) -> Any:
        """Float32 crops `(batch_size, height, width, channels)`."""
        height, width, channels = inputs.shape[1:]
        # Channels-first for the arithmetic: broadcasting over an innermost axis of 2 costs several
        # times the arithmetic itself, and order statistics need the pixels innermost anyway.
        pixels = tf.reshape(
            tf.transpose(tf.cast(inputs, tf.float32), (0, 3, 1, 2)), (-1, channels, height * width)
        )
        pixels = _NORMALIZERS[self.method](pixels)
        return tf.transpose(tf.reshape(pixels, (-1, channels, height, width)), (0, 2, 3, 1))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "method": self.method}


def _percentile_bounds(pixels: Any) -> tuple[Any, Any]:
    """Low and high percentile of the last axis, from its few extremes (a sort costs 4x)."""
    count = pixels.shape[-1]
    position = LOW_PERCENTILE / 100 * (count - 1)  # the two percentiles are symmetric
    below = math.floor(position)
    fraction = position - below
    num_extremes = min(below + 2, count)
    largest = tf.math.top_k(pixels, num_extremes).values
    smallest = -tf.math.top_k(-pixels, num_extremes).values
    above = min(below + 1, num_extremes - 1)

    def between(ordered: Any) -> Any:
        lower, upper = ordered[..., below, tf.newaxis], ordered[..., above, tf.newaxis]
        return lower + fraction * (upper - lower)

    return between(smallest), between(largest)


def _stretch(pixels: Any, low: Any, high: Any) -> Any:
    """`(pixels - low) / (high - low)`; zeros where the range is no range."""
    extent = high - low
    scale = tf.where(extent > RANGE_EPSILON, 1 / tf.maximum(extent, RANGE_EPSILON), 0.0)
    return (pixels - low) * scale


def _percentile(pixels: Any) -> Any:
    return tf.clip_by_value(_stretch(pixels, *_percentile_bounds(pixels)), 0.0, 1.0)


def _kraus(pixels: Any) -> Any:
    low, high = _percentile_bounds(pixels)
    extent = high - low
    return (tf.minimum(pixels, high) - low) / tf.where(extent > 1.0, extent, 1.0)


def _min_max(pixels: Any) -> Any:
    low = tf.reduce_min(pixels, axis=-1, keepdims=True)
    high = tf.reduce_max(pixels, axis=-1, keepdims=True)
    return _stretch(pixels, low, high)


def _standardize(pixels: Any) -> Any:
    pixels = _min_max(pixels)
    mean = tf.reduce_mean(pixels, axis=(1, 2), keepdims=True)
    centered = pixels - mean
    deviation = tf.sqrt(tf.reduce_mean(tf.square(centered), axis=(1, 2), keepdims=True))
    floor = 1 / math.sqrt(pixels.shape[1] * pixels.shape[2])
    return centered / tf.maximum(deviation, floor)


_NORMALIZERS = {
    "percentile": _percentile,
    "kraus": _kraus,
    "min-max": _min_max,
    "standardize": _standardize,
}
