"""What stands on the features of a network: one head, two, or one beside the features themselves.

A network has one output tensor while it trains, whatever it learns: its heads side by side. The
heads keep their names (``logits``, ``protein_logits``), and a finished model is cut at one of them.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from deeploc_tf.models.backbones import initial_weights
from deeploc_tf.models.batch_normalization import batch_norm
from deeploc_tf.models.keras_settings import our_settings
from deeploc_tf.models.randomness import Dropout


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


def heads(
    features: Any,
    num_classes: int,
    *,
    num_proteins: int | None = None,
    triplets: bool = False,
    dropout: float = 0.0,
    seed: int = 0,
    batch_norm_momentum: float | None = None,
    initializer: str = "glorot",
) -> Any:
    """The logits on features, and beside them what else a training asks for.

    Args:
        features: `(batch_size, num_features)`, a symbolic tensor.
        num_classes: number of logits.
        num_proteins: number of `protein_logits`, or None.
        triplets: give the features as well, each of length 1; the logits teach them nothing then.
        dropout: fraction of the features set to 0 in training before the head.
        seed: of dropout.
        batch_norm_momentum: of batch normalization of the logits; None: there is none.
        initializer: see `deeploc_tf.models.backbones.initial_weights`.

    Returns:
        float32 `(batch_size, num_outputs)`.
    """
    x = StopGradient(name="stop_gradient")(features) if triplets else features
    if dropout:
        x = Dropout(dropout, seed=seed, name="dropout")(x)
    sizes = {"logits": num_classes, "protein_logits": num_proteins}
    outputs = [
        dense(x, int(size), name, "linear", batch_norm_momentum, initializer)
        for name, size in sizes.items()
        if size is not None
    ]
    if triplets:
        outputs.append(UnitLength(name="unit_features")(features))
    if len(outputs) == 1:
        return outputs[0]
    return keras.layers.Concatenate(dtype="float32", name="outputs")(outputs)


def dense(
    x: Any, units: int, name: str, activation: str, momentum: float | None, initializer: str
) -> Any:
    """A dense layer, batch normalization of that momentum if it is not None, and an activation."""
    # Float32 under every precision policy: vectors and probabilities need the digits, and nearly
    # all of the time goes into convolutions.
    weights = initial_weights(initializer)
    x = keras.layers.Dense(units, dtype="float32", name=f"{name}_dense", **weights)(x)
    if momentum is not None:
        x = batch_norm(f"{name}_bn", momentum, "float32")(x)
    return keras.layers.Activation(activation, dtype="float32", name=name)(x)
