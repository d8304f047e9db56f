"""Keras layers between the raw pixels and the network: normalize, rotate, crop, orient, mask.

They stand in the model's own graph, so training, embedding and the exported model cannot disagree,
and the work runs on the accelerator. All of them compute in float32 whatever the precision policy,
and the random ones draw nothing at inference.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from deeploc_tf.models.randomness import RandomLayer

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


@keras.utils.register_keras_serializable(package="deeploc_tf")
class RandomRotation(RandomLayer):
    """Turn each crop about its center by a random angle while training; leave it alone otherwise.

    Pixels are interpolated bilinearly and mirrored at the border, so that no black corner tells the
    network the angle.

    Args:
        max_degrees: angles are uniform in [-max_degrees, max_degrees].
        seed: of the random numbers.

    Input shape:
        `(batch_size, height, width, channels)`, float32.

    Output shape:
        The same.
    """

    def __init__(self, max_degrees: float = 45.0, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.max_degrees = float(max_degrees)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Turned crops, of the input's shape."""
        if not training:
            return inputs
        height, width = inputs.shape[1], inputs.shape[2]
        radians = math.radians(self.max_degrees)
        batch_size = tf.shape(inputs)[0]
        angle = tf.random.stateless_uniform(
            (batch_size,), self.next_seed(), minval=-radians, maxval=radians
        )
        cosine, sine = tf.cos(angle), tf.sin(angle)
        center_x, center_y = (width - 1) / 2, (height - 1) / 2
        zeros = tf.zeros_like(angle)
        # Output (x, y) comes from input (a0 x + a1 y + a2, b0 x + b1 y + b2).
        transforms = tf.stack(
            [
                cosine,
                -sine,
                center_x - cosine * center_x + sine * center_y,
                sine,
                cosine,
                center_y - sine * center_x - cosine * center_y,
                zeros,
                zeros,
            ],
            axis=1,
        )
        turned = tf.raw_ops.ImageProjectiveTransformV3(
            images=inputs,
            transforms=transforms,
            output_shape=(height, width),
            interpolation="BILINEAR",
            fill_mode="REFLECT",
            fill_value=0.0,
        )
        return tf.ensure_shape(turned, inputs.shape)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "max_degrees": self.max_degrees}


@keras.utils.register_keras_serializable(package="deeploc_tf")
class RandomCrop(RandomLayer):
    """Cut a window out of each crop: at a random place while training, at the center otherwise.

    Every offset is equally likely, the last one too (the ancestor's code never drew it).

    Args:
        height: of the window, in pixels.
        width: of the window, in pixels.
        seed: of the random numbers.

    Input shape:
        `(batch_size, height, width, channels)`.

    Output shape:
        `(batch_size, window height, window width, channels)`.

    Raises:
        ValueError: the window is larger than the crops.
    """

    def __init__(self, height: int, width: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.height = int(height)
        self.width = int(width)

    def build(self, input_shape: Any) -> None:
        """Refuse crops smaller than the window."""
        if input_shape[1] < self.height or input_shape[2] < self.width:
            msg = (
                "The window must not exceed the stored crop. Received: "
                f"crop_size={(self.height, self.width)}, stored {tuple(input_shape[1:3])}. "
                "Choose a smaller crop size or rebuild the records with larger crops."
            )
            raise ValueError(msg)
        super().build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Windows `(batch_size, window height, window width, channels)`."""
        slack = inputs.shape[1] - self.height, inputs.shape[2] - self.width
        if not training:
            top, left = slack[0] // 2, slack[1] // 2
            return inputs[:, top : top + self.height, left : left + self.width]
        seed = self.next_seed()
        batch_size = tf.shape(inputs)[0]
        draw = [
            tf.random.stateless_uniform(
                (batch_size, 1), seed + tf.constant([i, 0], tf.int64), 0, room + 1, tf.int32
            )
            for i, room in enumerate(slack)
        ]
        rows = draw[0] + tf.range(self.height)
        columns = draw[1] + tf.range(self.width)
        window = tf.gather(inputs, rows, axis=1, batch_dims=1)
        return tf.gather(window, columns, axis=2, batch_dims=1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`(batch_size, window height, window width, channels)`."""
        return (input_shape[0], self.height, self.width, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "height": self.height, "width": self.width}


@keras.utils.register_keras_serializable(package="deeploc_tf")
class RandomOrientation(RandomLayer):
    """Flip and turn each crop at random while training; leave it alone otherwise.

    A cell on a slide has no up and no left: the eight flips and quarter turns of a square crop are
    equally likely views of it.

    Args:
        quarter_turns: draw all eight orientations; otherwise the four that flips alone reach.
        seed: of the random numbers.

    Input shape:
        `(batch_size, height, width, channels)`; square where quarter turns are drawn.

    Output shape:
        The same.

    Raises:
        ValueError: quarter turns are asked for crops that are not square.
    """

    def __init__(self, quarter_turns: bool = True, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.quarter_turns = bool(quarter_turns)

    def build(self, input_shape: Any) -> None:
        """Refuse quarter turns of crops that are not square."""
        if self.quarter_turns and input_shape[1] != input_shape[2]:
            msg = (
                "Quarter turns need square crops. Received: "
                f"{input_shape[1]}x{input_shape[2]} pixels. Use augmentation='flips' or a square "
                "crop size."
            )
            raise ValueError(msg)
        super().build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Oriented crops, of the input's shape."""
        if not training:
            return inputs
        batch_size = tf.shape(inputs)[0]
        orientation = tf.random.stateless_uniform(
            (batch_size, 1, 1, 1), self.next_seed(), 0, 8 if self.quarter_turns else 4, tf.int32
        )
        images = tf.where(orientation % 2 == 1, inputs[:, ::-1], inputs)
        images = tf.where(orientation // 2 % 2 == 1, images[:, :, ::-1], images)
        if self.quarter_turns:
            images = tf.where(orientation // 4 == 1, tf.transpose(images, (0, 2, 1, 3)), images)
        return images

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "quarter_turns": self.quarter_turns}


@keras.utils.register_keras_serializable(package="deeploc_tf")
class JoinMask(keras.layers.Layer):
    """Append the mask to the image as a last channel, so that both are cropped and turned as one.

    Input shape:
        A list: image `(batch_size, height, width, channels)` float32; mask `(batch_size, height,
        width)`, any numeric dtype, not 0 inside the cell.

    Output shape:
        `(batch_size, height, width, channels + 1)`, float32.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, inputs: Any) -> Any:
        """Image and mask in one tensor."""
        image, mask = inputs
        inside = tf.cast(tf.not_equal(mask, 0), tf.float32)
        return tf.concat([image, inside[..., tf.newaxis]], axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """One channel more than the image."""
        return (*input_shape[0][:-1], input_shape[0][-1] + 1)


@keras.utils.register_keras_serializable(package="deeploc_tf")
class ApplyMask(keras.layers.Layer):
    """Multiply the image by its last channel, the mask, and drop that: background becomes 0.

    Input shape:
        `(batch_size, height, width, channels + 1)`, float32, as `JoinMask` made it.

    Output shape:
        `(batch_size, height, width, channels)`, float32.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, inputs: Any) -> Any:
        """The masked image."""
        return inputs[..., :-1] * inputs[..., -1:]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """One channel less."""
        return (*input_shape[:-1], input_shape[-1] - 1)
