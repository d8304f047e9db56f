"""Networks of one's own: any functional Keras model from raw crops to features, with our heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from deeploc_tf.models.heads import heads
from deeploc_tf.models.keras_settings import our_settings
from deeploc_tf.network_choices import NETWORKS

OWN_FEATURES = "features"


@our_settings()
def with_heads(
    network: Callable[..., keras.Model],
    image_shape: Sequence[int],
    image_dtype: str,
    num_classes: int,
    *,
    num_proteins: int | None = None,
    triplets: bool = False,
    dropout: float = 0.0,
    seed: int = 0,
) -> keras.Model:
    """A model from raw crops to class logits, whose layer `features` gives what the network gives.

    Args:
        network: called with `image_shape` and `image_dtype`; gives a functional model with one
            input named image, raw crops of that shape and dtype, and one output
            `(batch_size, num_features)`. It carries its own preprocessing.
        image_shape: `(height, width, channels)` of the stored crops.
        image_dtype: dtype of the raw pixels: "uint8", "uint16" or "float32".
        num_classes: number of logits.
        num_proteins: as of `heads`, and so are the following.
        triplets: see there.
        dropout: see there.
        seed: see there.

    Raises:
        ValueError: the network gives something else.
    """
    model = network(tuple(image_shape), image_dtype)
    if not isinstance(model, keras.Model) or len(getattr(model, "inputs", None) or ()) != 1:
        msg = (
            "A network must give a functional keras.Model with one input. Received: "
            f"{type(model).__name__} of {_name(network)}. Make it by keras.Model(inputs, outputs)."
        )
        raise ValueError(msg)
    image, features = model.inputs[0], model.output
    dtype = getattr(image.dtype, "name", image.dtype)
    found = image.name, tuple(image.shape[1:]), dtype
    if found != ("image", tuple(image_shape), image_dtype):
        msg = (
            "The input of a network must be raw crops, named image, of shape "
            f"{tuple(image_shape)} and dtype {image_dtype}. Received: {found} of {_name(network)}. "
            'Make it by keras.Input(image_shape, dtype=image_dtype, name="image").'
        )
        raise ValueError(msg)
    if isinstance(features, list | tuple | dict) or len(features.shape) != 2:
        shape = getattr(features, "shape", type(features).__name__)
        msg = (
            "A network must give one vector of features per crop. Received: output of shape "
            f"{shape} of {_name(network)}. End it with a layer such as GlobalAveragePooling2D."
        )
        raise ValueError(msg)
    features = keras.layers.Activation("linear", dtype="float32", name=OWN_FEATURES)(features)
    outputs = heads(
        features,
        num_classes,
        num_proteins=num_proteins,
        triplets=triplets,
        dropout=dropout,
        seed=seed,
    )
    return keras.Model(image, outputs, name=model.name)


def register_network(network: Callable[..., keras.Model]) -> str:
    """Let a network be chosen by its name in this process; gives the name.

    Raises:
        ValueError: it has no name, or an installed package offers that name.
    """
    name = _name(network)
    if not name.isidentifier():
        msg = (
            "A network must be a function or class with a name, under which a run is stored. "
            f"Received: {name}. Define it by def."
        )
        raise ValueError(msg)
    NETWORKS.register(name, network, replace=True)
    return name


def _name(network: Any) -> str:
    return str(getattr(network, "__name__", repr(network)))
