"""What differs between Keras 2, that of the addons stack, and Keras 3, once for all stations."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

POLICY = "global_policy"  # of dtypes
IS_KERAS_2 = keras.__version__.startswith("2.")
ONLY_FIRST_REPLICA: Any = (
    tf.VariableAggregation.ONLY_FIRST_REPLICA if IS_KERAS_2 else "only_first_replica"
)
"""Aggregation of a variable that all replicas change alike."""


def plain_variable(weight: Any) -> tf.Variable:
    """The TensorFlow variable of a weight: of a Keras object, SavedModels keep much more."""
    return weight if IS_KERAS_2 else weight.value


def normalized_axis(norm: keras.layers.Layer) -> int:
    """The axis of a batch normalization, of which Keras 2 keeps a list."""
    return int(tf.nest.flatten(norm.axis)[0])


def owner_of_setting(name: str) -> Any:
    """The module that has a global setting; Keras 2 has no limits of epochs and steps."""
    if name == POLICY:
        return keras.mixed_precision
    return keras.backend if hasattr(keras.backend, name) else getattr(keras, "config", None)


def make_variables(optimizer: Any, variables: list[Any]) -> None:
    """Let an optimizer make its variables now, so that a checkpoint can be put into them."""
    if hasattr(optimizer, "build"):
        optimizer.build(variables)
    else:  # of Keras' old kind, from tensorflow-addons
        optimizer._create_all_weights(variables)


def optimizer_variables(optimizer: Any) -> list[Any]:
    """All variables of an optimizer: counter of steps, moments, averages, scale of the loss."""
    variables = optimizer.variables  # a method in optimizers of Keras' old kind
    found = list(variables() if callable(variables) else variables)
    scale: Any = getattr(optimizer, "_loss_scale", None)  # Keras 2 leaves it out of `variables`
    return [*found, *(scale._weights.values() if hasattr(scale, "_weights") else ())]
