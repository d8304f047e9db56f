"""The same network made cheaper for inference: batch norm folded away, convolutions in 16 bits."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deeploc_tf.models.hardware import cpu_has_bfloat16, gpus_have_bfloat16, on_gpu
from deeploc_tf.models.keras_compat import normalized_axis
from deeploc_tf.models.keras_settings import our_settings

FAST_PRECISIONS = ("auto", "bfloat16", "float32")


class Passed(keras.layers.Layer):
    """Its input: stands where a batch normalization was that is folded into the layer before it."""

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:  # noqa: ARG002
        """The input; the other arguments are those of a batch normalization."""
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape


def fast_precision(precision: str = "auto") -> str:
    """What "auto" means here: bfloat16 where the device multiplies it in hardware, else float32.

    Args:
        precision: "auto", "bfloat16" or "float32".

    Returns:
        "bfloat16" or "float32".

    Raises:
        ValueError: it is none of these.
    """
    if precision not in FAST_PRECISIONS:
        msg = (
            f"`precision` must be one of {', '.join(FAST_PRECISIONS)}. Received: "
            f"precision={precision!r}."
        )
        raise ValueError(msg)
    if precision != "auto":
        return precision
    return "bfloat16" if (gpus_have_bfloat16() if on_gpu() else cpu_has_bfloat16()) else "float32"


@our_settings()
def fast_model(model: keras.Model, precision: str = "auto") -> keras.Model:
    """A copy of a model for inference alone: the same function of the crops, at less cost.

    Each batch normalization that directly follows a convolution or a dense layer becomes a part of
    its kernel and bias; layer names stay. With bfloat16, layers on images (convolutions, pooling)
    compute in it from the second convolution on: the first one would round pixels to 8 bits, which
    changed the profiles of a trained network ten times as much as all that comes after it.
    Preprocessing, vectors and heads stay float32, and so do all weights.

    Cut the model first (`feature_extractor`): a layer whose output somebody takes is not folded.

    Args:
        model: computes in float32, as `fit` saves it.
        precision: see `fast_precision`.

    Returns:
        `keras.Model` with inputs, outputs and their dtypes as those of `model`; later changes of
        its weights are not followed.

    Raises:
        ValueError: `precision` is none of its choices.
    """
    policy = {"bfloat16": "mixed_bfloat16", "float32": None}[fast_precision(precision)]
    folded = {norm.name: layer for layer, norm in _foldable(model)}
    before = {layer.name for layer in folded.values()}
    cheap = _behind_a_convolution(model) if policy is not None else set()

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if layer.name in cheap:
            config["dtype"] = policy  # layers that must be float32 take no notice
        if layer.name in folded:
            return Passed(name=layer.name, dtype=config["dtype"])
        if layer.name in before:
            config["use_bias"] = True
        return layer.__class__.from_config(config)

    copy = keras.models.clone_model(model, clone_function=copied)
    for layer in model.layers:
        if layer.name not in folded and layer.name not in before:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    for name, layer in folded.items():
        copy.get_layer(layer.name).set_weights(_folded_weights(layer, model.get_layer(name)))
    return copy


def _foldable(model: keras.Model) -> list[tuple[keras.layers.Layer, keras.layers.Layer]]:
    """Convolutions and dense layers whose only reader is a batch normalization, each with it."""
    makers = {id(layer.output): layer for layer in model.layers}
    readers: dict[int, int] = {}
    for tensor in [*model.outputs, *(t for layer in model.layers for t in _inputs(layer))]:
        readers[id(tensor)] = readers.get(id(tensor), 0) + 1
    found = []
    for norm in model.layers:
        if not isinstance(norm, keras.layers.BatchNormalization):
            continue
        (tensor,) = _inputs(norm)
        layer = makers[id(tensor)]
        if (
            type(layer) in (keras.layers.Conv2D, keras.layers.Dense)
            and layer.activation is keras.activations.linear
            and readers[id(tensor)] == 1
            and normalized_axis(norm) in (-1, len(tensor.shape) - 1)
        ):
            found.append((layer, norm))
    return found


def _folded_weights(
    layer: keras.layers.Layer, norm: keras.layers.Layer
) -> list[NDArray[np.float32]]:
    """Kernel and bias of the layer with what the normalization does after it."""
    kernel, *bias = (np.asarray(weight, np.float64) for weight in layer.get_weights())
    values = iter(np.asarray(weight, np.float64) for weight in norm.get_weights())
    gamma = next(values) if norm.scale else 1.0
    beta = next(values) if norm.center else 0.0
    mean, variance = values
    scale = gamma / np.sqrt(variance + norm.epsilon)
    shift = beta + (sum(bias) - mean) * scale
    return [(kernel * scale).astype(np.float32), shift.astype(np.float32)]


def _behind_a_convolution(model: keras.Model) -> set[str]:
    """Names of the layers on images whose input is, by whatever layers, that of a convolution."""
    convolved: set[int] = set()  # tensors
    found = set()
    for layer in model.layers:  # a layer stands behind those that it reads
        behind = any(id(tensor) in convolved for tensor in _inputs(layer))
        if behind or isinstance(layer, keras.layers.Conv2D):
            convolved.update(map(id, tf.nest.flatten(layer.output)))
        if behind and len(getattr(layer.output, "shape", ())) == 4:
            found.add(layer.name)
    return found


def _inputs(layer: keras.layers.Layer) -> list[Any]:
    return list(tf.nest.flatten(layer.input))
