"""What stands on the features of a network: one head, two, or one beside the features themselves.

A network has one output tensor while it trains, whatever it learns: its heads side by side. The
heads keep their names (``logits``, ``protein_logits``), and a finished model is cut at one of them.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from deeploc_tf.models.keras_settings import our_settings


@keras.utils.register_keras_serializable(package="deeploc_tf")
class StopGradient(keras.layers.Layer):
    """The input; what comes after learns nothing to what comes before."""

    def call(self, inputs: Any) -> Any:
        """The input."""
        return tf.stop_gradient(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape


@keras.utils.register_keras_serializable(package="deeploc_tf")
class UnitLength(keras.layers.Layer):
    """Vectors divided by their Euclidean length, float32; zeros stay zeros."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, inputs: Any) -> Any:
        """Float32 `(batch_size, num_features)`."""
        return tf.math.l2_normalize(tf.cast(inputs, tf.float32), axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape


@our_settings()
def head(model: keras.Model, name: str = "logits") -> keras.Model:
    """The model up to one of its heads; it shares the weights, and has none of the other heads."""
    if model.layers[-1].name == name:
        return model
    return keras.Model(model.input, model.get_layer(name).output, name=model.name)
