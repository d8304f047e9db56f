"""The first layer of every model: raw pixels become comparable numbers.

It stands in the model's own graph, so training, embedding and the exported model cannot disagree.
It computes in float32 whatever the precision policy.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from deeploc_tf.network_choices import NORMALIZATIONS

RANGE_EPSILON = 1e-6  # a crop whose range is not larger counts as constant and becomes zeros
LOW_PERCENTILE, HIGH_PERCENTILE = 0.1, 99.9  # Kraus et al. 2017, preprocess_images.py
_LARGEST = tf.float32.max


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

    With a mask, minimum, maximum, percentiles, mean and standard deviation are those of the pixels
    of the cell, and what is outside becomes 0: nothing around a cell changes what becomes of it. A
    cell of one pixel, or of equal ones, becomes zeros, and so does a crop whose mask is empty.

    Args:
        method: one of the four names above, or another one in `choices.NORMALIZATIONS`.
        masked: take a mask beside the image.

    Input shape:
        `(batch_size, height, width, channels)`, any numeric dtype, raw counts; height and width
        static. With a mask, a list of that and the mask `(batch_size, height, width)`, any numeric
        dtype, not 0 inside the cell.

    Output shape:
        That of the image, float32.

    Raises:
        ValueError: the method is none of these.

    References:
        Kraus et al. 2017, Mol Syst Biol 13:924 (``percentile``, ``kraus``); Razdaibiedina &
        Brechalov 2022, arXiv 2205.11676 (``min-max``, ``standardize``).
    """

    def __init__(self, method: str = "percentile", *, masked: bool = False, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self._normalize = NORMALIZATIONS.get(method)
        self.method = method
        self.masked = bool(masked)

    def call(self, inputs: Any) -> Any:
        """Float32 crops `(batch_size, height, width, channels)`."""
        image, mask = inputs if self.masked else (inputs, None)
        height, width, channels = image.shape[1:]
        # Channels-first for the arithmetic: broadcasting over an innermost axis of 2 costs several
        # times the arithmetic itself, and order statistics need the pixels innermost anyway.
        pixels = tf.reshape(
            tf.transpose(tf.cast(image, tf.float32), (0, 3, 1, 2)), (-1, channels, height * width)
        )
        inside = None
        if mask is not None:
            inside = tf.reshape(tf.not_equal(mask, 0), (-1, 1, height * width))
        # Twice, so that a pixel outside that is not finite spoils nothing.
        pixels = self._normalize(_outside_as(0.0, pixels, inside), inside)
        pixels = _outside_as(0.0, pixels, inside)
        return tf.transpose(tf.reshape(pixels, (-1, channels, height, width)), (0, 2, 3, 1))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the image."""
        return input_shape[0] if self.masked else input_shape

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "method": self.method, "masked": self.masked}


def _percentile_bounds(pixels: Any, inside: Any) -> tuple[Any, Any]:
    """Low and high percentile of the last axis, from its few extremes (a sort costs 4x)."""
    position = LOW_PERCENTILE / 100 * (pixels.shape[-1] - 1)  # the two percentiles are symmetric
    below = math.floor(position)
    num_extremes = min(below + 2, pixels.shape[-1])
    largest = tf.math.top_k(_outside_as(-_LARGEST, pixels, inside), num_extremes).values
    smallest = -tf.math.top_k(-_outside_as(_LARGEST, pixels, inside), num_extremes).values
    if inside is not None:
        return _between(smallest, inside), _between(largest, inside)
    fraction = position - below
    above = min(below + 1, num_extremes - 1)

    def between(ordered: Any) -> Any:
        lower, upper = ordered[..., below, tf.newaxis], ordered[..., above, tf.newaxis]
        return lower + fraction * (upper - lower)

    return between(smallest), between(largest)


def _between(ordered: Any, inside: Any) -> Any:
    """The low percentile of as many pixels as are inside, `(batch_size, channels, 1)`."""
    last = tf.maximum(tf.math.count_nonzero(inside, axis=-1, dtype=tf.int32) - 1, 0)
    position = LOW_PERCENTILE / 100 * tf.cast(last, tf.float64)
    below = tf.cast(tf.floor(position), tf.int32)
    lower, upper = (
        tf.gather(ordered, index, axis=2, batch_dims=1)
        for index in (below, tf.minimum(below + 1, last))
    )
    fraction = tf.cast(position - tf.floor(position), tf.float32)[..., tf.newaxis]
    return lower + fraction * (upper - lower)


def _outside_as(value: float, pixels: Any, inside: Any) -> Any:
    """The pixels, those outside replaced, so that they are no extremes."""
    return pixels if inside is None else tf.where(inside, pixels, value)


def _stretch(pixels: Any, low: Any, high: Any) -> Any:
    """`(pixels - low) / (high - low)`; zeros where the range is no range."""
    extent = high - low
    scale = tf.where(extent > RANGE_EPSILON, 1 / tf.maximum(extent, RANGE_EPSILON), 0.0)
    return (pixels - low) * scale


def percentile(pixels: Any, inside: Any) -> Any:
    """``clip((x - p0.1) / (p99.9 - p0.1), 0, 1)``, each channel by itself; see `Normalization`."""
    return tf.clip_by_value(_stretch(pixels, *_percentile_bounds(pixels, inside)), 0.0, 1.0)


def kraus(pixels: Any, inside: Any) -> Any:
    """The rule of Kraus et al. 2017 to the letter; see `Normalization`."""
    low, high = _percentile_bounds(pixels, inside)
    extent = high - low
    return (tf.minimum(pixels, high) - low) / tf.where(extent > 1.0, extent, 1.0)


def min_max(pixels: Any, inside: Any) -> Any:
    """``(x - min) / (max - min)``, each channel by itself; see `Normalization`."""
    low = tf.reduce_min(_outside_as(_LARGEST, pixels, inside), axis=-1, keepdims=True)
    high = tf.reduce_max(_outside_as(-_LARGEST, pixels, inside), axis=-1, keepdims=True)
    return _stretch(pixels, low, high)


def standardize(pixels: Any, inside: Any) -> Any:
    """`min_max`, then over all channels ``(x - mean) / max(sd, n^-1/2)``; see `Normalization`."""
    pixels = min_max(pixels, inside)
    if inside is None:
        count = float(pixels.shape[1] * pixels.shape[2])
    else:
        inside = tf.broadcast_to(inside, tf.shape(pixels))
        count = tf.math.count_nonzero(inside, axis=(1, 2), keepdims=True, dtype=tf.float32)
        count = tf.maximum(count, 1.0)
    centered = pixels - _mean(pixels, inside, count)
    deviation = tf.sqrt(_mean(tf.square(centered), inside, count))
    return centered / tf.maximum(deviation, 1 / count**0.5)


def _mean(values: Any, inside: Any, count: Any) -> Any:
    """Over all channels of each crop."""
    if inside is None:
        return tf.reduce_mean(values, axis=(1, 2), keepdims=True)
    return tf.reduce_sum(tf.where(inside, values, 0.0), axis=(1, 2), keepdims=True) / count
