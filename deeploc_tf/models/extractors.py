"""The same graph, cut at a named layer, and models as plain functions of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from deeploc_tf.models.deeploc import FEATURE_LAYER
from deeploc_tf.models.inpainting import INPAINTING_FEATURES, source_encoder
from deeploc_tf.models.keras_settings import our_settings
from deeploc_tf.models.networks import OWN_FEATURES
from tfrecords.errors import did_you_mean

POOLINGS = ("flatten", "max", "mean")


def feature_layer(model: keras.Model) -> str:
    """Where the features of a model are taken if nobody says otherwise: see `feature_extractor`."""
    named = {layer.name for layer in model.layers}
    ours = (OWN_FEATURES, FEATURE_LAYER)
    return next((name for name in ours if name in named), INPAINTING_FEATURES)


@our_settings()
def feature_extractor(model: keras.Model, layers: str | Sequence[str] | None = None) -> keras.Model:
    """A plain Keras model from the inputs of `model` to vectors of one layer, or of several.

    It shares the weights and the preprocessing of `model`; nothing is copied. Of a
    `PairedCellInpainting` model it has the source encoder, which takes a crop alone.

    Args:
        model: as `DeepLoc`, `PairedCellInpainting` or `keras.models.load_model` gives it.
        layers: an address, or several that are computed in one pass. An address is the name of a
            layer, such as ``fc_2`` (the penultimate one), ``fc_1`` or ``conv_5``. Where the layer
            has places, each channel's maximum (``conv_5:max``) or mean (``conv_5:mean``) over them
            may be taken instead of all of them (``conv_5:flatten``, as without a suffix). None:
            ``fc_2``, of a network of one's own ``features``, of inpainting ``source_conv_3:max``.

    Returns:
        `keras.Model` with output float32 `(batch_size, num_features)`; of a sequence of addresses a
        dict of such outputs by address.

    Raises:
        ValueError: the model has no layer of that name, or one without places; or an address is
            there twice, or none.

    Example:
        extractor = feature_extractor(load_trained("run").model, "fc_2")
        vectors = extractor(images)  # float32 (batch_size, num_features)
    """
    if "target" in {tensor.name for tensor in model.inputs}:
        model = source_encoder(model)
    if layers is None or isinstance(layers, str):
        address = layers or feature_layer(model)
        name = f"{model.name}_{address.partition(':')[0]}"
        return keras.Model(model.input, _vectors(model, address), name=name)
    if not layers or len(set(layers)) != len(layers):
        msg = f"Each layer must be named once, at least one. Received: layers={list(layers)}."
        raise ValueError(msg)
    outputs = {address: _vectors(model, address) for address in layers}
    return keras.Model(model.input, outputs, name=f"{model.name}_features")


def _vectors(model: keras.Model, address: str) -> Any:
    """The symbolic float32 vectors at an address."""
    layer, colon, pooling = address.partition(":")
    names = [candidate.name for candidate in model.layers]
    if layer not in names:
        msg = (
            f"`layer` must name a layer of the model. Received: layer={layer!r}; "
            f"the model has {', '.join(names)}.{did_you_mean(layer, names)}"
        )
        raise ValueError(msg)
    output: Any = model.get_layer(layer).output
    name = f"{address.replace(':', '_')}_features"
    if colon and (pooling not in POOLINGS or len(output.shape) != 4):
        msg = (
            f"`layer` may end in :{', :'.join(POOLINGS)}, if it has places to do so over. "
            f"Received: layer={address!r} of shape {tuple(output.shape[1:])}."
        )
        raise ValueError(msg)
    if pooling in ("max", "mean"):
        # In float32 whatever the layer computes in: a mean of many small numbers needs the digits.
        pool = keras.layers.GlobalMaxPooling2D
        if pooling == "mean":
            pool = keras.layers.GlobalAveragePooling2D
        output = pool(data_format="channels_last", dtype="float32", name=f"{name}_pool")(output)
    elif len(output.shape) > 2:
        output = keras.layers.Flatten(data_format="channels_last", name=f"{name}_flat")(output)
    return keras.layers.Activation("linear", dtype="float32", name=name)(output)


def feature_names(address: str, count: int) -> list[str]:
    """Names of the features at an address, as they stand in tables: `conv_5_max_00`, ..."""
    prefix, digits = address.replace(":", "_"), len(str(count - 1))
    return [f"{prefix}_{i:0{digits}d}" for i in range(count)]


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


def blank_crops(model: keras.Model, num_crops: int) -> dict[str, Any]:
    """Inputs of a model by name, all zeros."""
    return {
        spec.name: tf.zeros((num_crops, *spec.shape[1:]), spec.dtype) for spec in input_specs(model)
    }


def input_specs(model: keras.Model) -> list[tf.TensorSpec]:
    """Name, dtype and shape `(None, ...)` of each input of a model, for a function of any batch."""
    return [
        tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=tensor.name)
        for tensor in model.inputs
    ]
