"""The same graph, cut at a named layer, and models as plain functions of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from deeploc_tf.models.deeploc import FEATURE_LAYER
from deeploc_tf.models.inpainting import INPAINTING_FEATURES, source_encoder
from tfrecords.errors import did_you_mean

_MAXIMUM = "max"


def feature_layer(model: keras.Model) -> str:
    """Where the features of a model are taken if nobody says otherwise: see `feature_extractor`."""
    named = {layer.name for layer in model.layers}
    return FEATURE_LAYER if FEATURE_LAYER in named else INPAINTING_FEATURES


def feature_extractor(model: keras.Model, layer: str | None = None) -> keras.Model:
    """A plain Keras model from the inputs of `model` to the flattened, float32 output of one layer.

    It shares the weights and the preprocessing of `model`; nothing is copied. Of a
    `PairedCellInpainting` model it has the source encoder, which takes a crop alone.

    Args:
        model: as `DeepLoc`, `PairedCellInpainting` or `keras.models.load_model` gives it.
        layer: name of a layer, such as ``fc_2`` (the penultimate one), ``fc_1`` or ``conv_5``; with
            ``:max`` behind it the maximum over all places of each of its channels, as in
            ``source_conv_4:max``. None: ``fc_2``, of inpainting ``source_conv_3:max``.

    Returns:
        `keras.Model` with output float32 `(batch_size, num_features)`.

    Raises:
        ValueError: the model has no layer of that name, or one without places.
    """
    layer = layer or feature_layer(model)
    if "target" in {tensor.name for tensor in model.inputs}:
        model = source_encoder(model)
    address, layer = layer, layer.partition(":")[0]
    names = [candidate.name for candidate in model.layers]
    if layer not in names:
        msg = (
            f"`layer` must name a layer of the model. Received: layer={layer!r}; "
            f"the model has {', '.join(names)}.{did_you_mean(layer, names)}"
        )
        raise ValueError(msg)
    output: Any = model.get_layer(layer).output
    if address != layer:
        if address != f"{layer}:{_MAXIMUM}" or len(output.shape) != 4:
            msg = (
                f"`layer` may end in :{_MAXIMUM}, if it has places to take the maximum of. "
                f"Received: layer={address!r} of shape {tuple(output.shape[1:])}."
            )
            raise ValueError(msg)
        output = keras.layers.GlobalMaxPooling2D(name="features_max")(output)
    elif len(output.shape) > 2:
        output = keras.layers.Flatten(name="features_flat")(output)
    output = keras.layers.Activation("linear", dtype="float32", name="features")(output)
    return keras.Model(model.input, output, name=f"{model.name}_{layer}")


def inference_function(model: keras.Model) -> Callable[[Any], Any]:
    """The model at inference as one compiled function of a batch of any size.

    Without Keras' `predict` around it there is one trace for all batch sizes, and nothing that
    decides about replicas, so it sees each crop exactly once. Weights may change between calls.

    Args:
        model: its inputs are one tensor, or a dict of tensors by name.

    Returns:
        A function from what the model takes to what it returns.
    """
    specs = input_specs(model)
    signature: Any = specs[0] if len(specs) == 1 else {spec.name: spec for spec in specs}
    function: Callable[[Any], Any] = tf.function(
        lambda inputs: model(inputs, training=False), input_signature=[signature]
    )
    return function


def input_specs(model: keras.Model) -> list[tf.TensorSpec]:
    """Name, dtype and shape `(None, ...)` of each input of a model, for a function of any batch."""
    return [
        tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=tensor.name)
        for tensor in model.inputs
    ]
