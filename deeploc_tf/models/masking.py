"""The cell's mask on its way through the model: joined to the image, and applied to it."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


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
