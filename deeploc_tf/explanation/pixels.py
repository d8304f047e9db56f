"""A model from the pixels that can be explained: normalized, and of a type that has gradients.

Raw pixels are whole numbers, which have no gradient, and no place for a path to black either: a
crop of half the brightness is the same crop to a normalization. So our own normalization is passed
by: what is explained is the network after it, as a function of normalized pixels. A network with
preprocessing of its own is explained as a whole, as a function of raw pixels as real numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deeploc_tf.models.channels import SelectChannels
from deeploc_tf.models.extractors import inference_function
from deeploc_tf.models.heads import StopGradient
from deeploc_tf.models.keras_settings import our_settings
from deeploc_tf.models.normalization import Normalization

Gradients = Callable[[NDArray[Any], NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]


@dataclasses.dataclass(frozen=True)
class PixelModel:
    """A model as a function of the pixels that it sees.

    Attributes:
        channels: numbers of the channels of the crops that it sees.
        shape: `(height, width, num_seen)` of its pixels.
        num_classes: number of its logits.
        white: where pixels end: 1 of normalized ones, and of raw ones the largest of their type.
        method: of normalization; "" where it is a part of what is explained.
        of_crops: from raw images `(batch_size, height, width, channels)`, and masks or None, to
            float32 pixels `(batch_size, *shape)`.
        normalized: from any float32 pixels, and masks or None, to such as a crop can give: they
            are normalized again, or clipped to the range of raw ones.
        gradients: from pixels and int32 class indices `(batch_size,)` to the gradients of these
            classes' logits, and all logits `(batch_size, num_classes)`, both float32.
    """

    channels: tuple[int, ...]
    shape: tuple[int, int, int]
    num_classes: int
    white: float
    method: str
    of_crops: Callable[[NDArray[Any], NDArray[Any] | None], NDArray[np.float32]]
    normalized: Callable[[NDArray[Any], NDArray[Any] | None], NDArray[np.float32]]
    gradients: Gradients


@our_settings()
def pixel_model(model: keras.Model) -> PixelModel:
    """A model of crops as a function of the pixels that it sees; it shares the weights.

    Args:
        model: from `image`, or a dict of `image` and `mask`, to logits.
    """
    image = {tensor.name: tensor for tensor in model.inputs}["image"]
    norm = next((layer for layer in model.layers if isinstance(layer, Normalization)), None)
    if norm is None:
        return _of_raw_pixels(model, image)
    selects = [layer for layer in model.layers if isinstance(layer, SelectChannels)]
    normalize = inference_function(keras.Model(model.input, norm.output))

    def of_crops(images: NDArray[Any], masks: NDArray[Any] | None) -> NDArray[np.float32]:
        crops = tf.constant(images)
        inputs = {"image": crops, "mask": tf.constant(masks)} if norm.masked else crops
        found: NDArray[np.float32] = normalize(inputs).numpy()
        return found

    def normalized(pixels: NDArray[Any], masks: NDArray[Any] | None) -> NDArray[np.float32]:
        seen = tf.constant(pixels, tf.float32)
        found = norm([seen, tf.constant(masks)] if norm.masked else seen)
        return np.array(found.numpy())  # a copy, which can be changed

    return PixelModel(
        channels=selects[0].channels if selects else tuple(range(image.shape[-1])),
        shape=tuple(norm.output.shape[1:]),
        num_classes=int(model.output.shape[-1]),
        white=1.0,
        method=norm.method,
        of_crops=of_crops,
        normalized=normalized,
        gradients=_gradients(_same_layers(keras.Model(norm.output, model.output))),
    )


def _of_raw_pixels(model: keras.Model, image: Any) -> PixelModel:
    """Of a network of one's own: the same layers, fed with real numbers."""
    shape = tuple(image.shape[1:])
    dtype = np.dtype(getattr(image.dtype, "name", image.dtype))
    white = float(np.iinfo(dtype).max) if dtype.kind == "u" else 1.0
    return PixelModel(
        channels=tuple(range(shape[-1])),
        shape=shape,
        num_classes=int(model.output.shape[-1]),
        white=white,
        method="",
        of_crops=lambda images, _: np.asarray(images, np.float32),
        normalized=lambda pixels, _: np.clip(pixels, 0, white).astype(np.float32),
        gradients=_gradients(_same_layers(model)),
    )


def _same_layers(model: keras.Model) -> keras.Model:
    """The same layers, fed with real numbers, and without those that keep gradients from others."""
    return keras.models.clone_model(
        model,
        input_tensors=keras.Input(model.inputs[0].shape[1:], dtype="float32"),
        clone_function=lambda layer: (
            keras.layers.Activation("linear", dtype="float32", name=layer.name)
            if isinstance(layer, StopGradient)
            else layer
        ),
    )


def _gradients(network: keras.Model) -> Gradients:
    spec = tf.TensorSpec((None, *network.inputs[0].shape[1:]), tf.float32)

    @tf.function(input_signature=[spec, tf.TensorSpec((None,), tf.int32)])
    def compute(pixels: Any, classes: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            logits = tf.cast(network(pixels, training=False), tf.float32)
            chosen = tf.reduce_sum(tf.gather(logits, classes, batch_dims=1))
        found = tape.gradient(chosen, pixels)
        return tf.fill(tf.shape(pixels), np.nan) if found is None else found, logits

    def gradients(pixels: NDArray[Any], classes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        found, logits = compute(tf.constant(pixels, tf.float32), tf.constant(classes, tf.int32))
        slopes = found.numpy()
        if not np.isfinite(slopes).all():
            msg = (
                "Logits must have finite gradients with respect to pixels. Received: a network "
                "without them. Let its first layer cast pixels to float32 and scale them."
            )
            raise ValueError(msg)
        return slopes, logits.numpy()

    return gradients
