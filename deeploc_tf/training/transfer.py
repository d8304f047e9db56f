"""Begin a training with the weights of another one, all but the head's, and hold some of them."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Sequence
from pathlib import Path

import keras

from deeploc_tf.models.augmentation import RandomCrop
from deeploc_tf.models.channels import SelectChannels
from deeploc_tf.models.normalization import Normalization
from deeploc_tf.models.randomness import RandomLayer
from deeploc_tf.models.trained import TrainedModel, load_trained
from deeploc_tf.training.config import FitConfig
from tfrecords.errors import SchemaError, did_you_mean
from tfrecords.schema import Schema

_log = logging.getLogger(__name__)

_HEADS = ("logits_", "protein_logits_")
_PARTS = ("conv", "dense", "bn")  # of the layer that an address such as conv_1 or fc_1 names


def load_source(run: str | Path, schema: Schema) -> TrainedModel:
    """The finished run to begin with; refuses records whose crops are not those it was made for.

    Raises:
        RecordsError: the run is not finished.
        SchemaError: shape, dtype, channels or masks of the crops differ.
    """
    trained = load_trained(run)
    for sentence in trained.check_schema(schema):
        _log.info("%s", sentence)
    return trained


def check_transfer(model: keras.Model, config: FitConfig, source: TrainedModel | None) -> None:
    """Refuse a source that is another network than the model, and names that freeze nothing.

    Args:
        model: made for this, of the network that is to be trained.
        config: settings.
        source: what the training begins with, if there is something.

    Raises:
        SchemaError: a layer, a shape, the window, the normalization or the mask differs.
        ValueError: weights are to be held that nobody trained, or layers that are not there.
    """
    if config.freeze and config.initial_model is None:
        msg = (
            f"Frozen layers need trained weights. Received: freeze={','.join(config.freeze)} and "
            "no run to begin with. Name one with --from."
        )
        raise ValueError(msg)
    if source is not None:
        _check_same_network(model, source.model)
    for name in config.freeze:
        _named(model, name)


def begin_with(model: keras.Model, config: FitConfig, source: TrainedModel | None) -> None:
    """Give a model that is not compiled yet the weights of the source, and hold what is named."""
    if source is not None:
        take_weights(model, source.model)
    freeze(model, config.freeze)


def _check_same_network(model: keras.Model, source: keras.Model) -> None:
    expected = {layer.name: [tuple(w.shape) for w in layer.weights] for layer in _body(model)}
    found = {layer.name: [tuple(w.shape) for w in layer.weights] for layer in _body(source)}
    differing = [
        f"{name} {expected.get(name, 'missing')} (there {found.get(name, 'missing')})"
        for name in [*expected, *(name for name in found if name not in expected)]
        if expected.get(name) != found.get(name)
    ]
    methods = [
        ", ".join(sorted({la.method for la in network.layers if isinstance(la, Normalization)}))
        for network in (model, source)
    ]
    if methods[0] != methods[1]:
        differing.append(f"normalization {methods[0]} (there {methods[1]})")
    seen = [
        sorted((la.name, la.channels) for la in network.layers if isinstance(la, SelectChannels))
        for network in (model, source)
    ]
    if seen[0] != seen[1]:
        differing.append("channels")
    windows = [_window(network) for network in (model, source)]
    if windows[0] != windows[1]:  # shapes may be equal: 57 to 64 pixels are 8 after three poolings
        differing.insert(0, "window {}x{} (there {}x{})".format(*windows[0], *windows[1]))
    if len(model.inputs) != len(source.inputs):
        differing.append("mask")
    if differing:
        msg = (
            "A training must have the network that it begins with, but for the head. Received: "
            f"{differing[0]}{f' and {len(differing) - 1} more' if len(differing) > 1 else ''}. "
            "Name the same preset, backbone, width, dense units, channels, window, normalization "
            "and mask."
        )
        raise SchemaError(msg)


def _window(model: keras.Model) -> tuple[int, int]:
    """Height and width in pixels of what the network sees of a crop."""
    for layer in model.layers:
        if isinstance(layer, RandomCrop):
            return layer.height, layer.width
    height, width = model.get_layer("image").output.shape[1:3]
    return int(height), int(width)


def take_weights(model: keras.Model, source: keras.Model) -> None:
    """Give every layer of a model but its head the weights of the source's layer of that name."""
    for layer in _body(model):
        layer.set_weights([weight.numpy() for weight in source.get_layer(layer.name).weights])


def freeze(model: keras.Model, names: Sequence[str]) -> None:
    """Hold the weights of layers; batch normalization then uses the averages that it came with.

    Args:
        model: not compiled yet.
        names: layers, addresses such as ``conv_1``, or patterns such as ``conv_*``.

    Raises:
        ValueError: a name is that of no layer with weights.
    """
    for name in names:
        for layer in _named(model, name):
            layer.trainable = False


def _named(model: keras.Model, name: str) -> list[keras.layers.Layer]:
    layers = _body(model)  # the head is new: it has nothing to keep
    found = [layer for layer in layers if _is_named(layer.name, name)]
    if not found:
        known = [layer.name for layer in layers]
        msg = (
            f"`freeze` must name layers with weights, not the head. Received: {name!r}; the model "
            f"has {', '.join(known)}.{did_you_mean(name, known)}"
        )
        raise ValueError(msg)
    return found


def _body(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers with weights, without heads and without the counters of random layers."""
    return [
        layer
        for layer in model.layers
        if layer.weights
        and not layer.name.startswith(_HEADS)
        and not isinstance(layer, RandomLayer)
    ]


def _is_named(layer: str, name: str) -> bool:
    return fnmatch.fnmatchcase(layer, name) or layer in {f"{name}_{part}" for part in _PARTS}
