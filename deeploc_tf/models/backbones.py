"""What stands between preprocessing and head: DeepLoc, or a published network of another field."""

from __future__ import annotations

import functools
from typing import Any

import keras

from deeploc_tf.models.batch_normalization import batch_norm, batch_norm_class

_SMALLEST = 32  # pixels: the networks halve their input five times


def deeploc(
    x: Any,
    *,
    batch_norm_momentum: float,
    padding: str = "same",
    width: float = 1.0,
    last_block: bool = True,
    initializer: str = "glorot",
) -> Any:
    """The eight convolutions of DeepLoc; ``conv_1`` ... ``conv_8`` are after batch norm and ReLU.

    Args:
        x: float32 `(batch_size, height, width, channels)`, a symbolic tensor.
        batch_norm_momentum: of the moving averages that inference uses.
        padding: of convolutions and poolings, "same" or "valid".
        width: factor on the numbers of filters.
        last_block: keep conv_6 to conv_8.
        initializer: see `initial_weights`.

    Returns:
        `(batch_size, height, width, channels)` after the last pooling.

    Raises:
        ValueError: the crop is too small for a layer.
    """
    blocks = [(64, 64), (128, 128), (256, 256, 256, 256) if last_block else (256,)]
    number = 0
    for i, block in enumerate(blocks, start=1):
        for filters in block:
            number += 1
            if padding == "valid" and min(x.shape[1:3]) < 3:
                _refuse_small_crop(f"conv_{number}", x)
            filters = max(1, round(filters * width))
            weights = initial_weights(initializer)
            x = _convolution(x, filters, f"conv_{number}", padding, batch_norm_momentum, weights)
        if padding == "valid" and min(x.shape[1:3]) < 2:
            _refuse_small_crop(f"pool_{i}", x)
        x = keras.layers.MaxPooling2D(
            2, padding=padding, data_format="channels_last", name=f"pool_{i}"
        )(x)
    return x


def initial_weights(initializer: str) -> dict[str, Any]:
    """Arguments of a layer for how its weights begin: as Keras' do, or as Kraus et al. 2017's."""
    if initializer == "glorot":
        return {}
    return {
        "kernel_initializer": keras.initializers.TruncatedNormal(stddev=0.1),
        "bias_initializer": keras.initializers.Constant(0.1),
    }


def _convolution(
    x: Any, filters: int, name: str, padding: str, momentum: float, weights: dict[str, Any]
) -> Any:
    # The first one is float32 under every precision policy: bfloat16 would round pixels to 8 bits.
    dtype = "float32" if name == "conv_1" else None
    x = keras.layers.Conv2D(
        filters,
        3,
        padding=padding,
        data_format="channels_last",
        dtype=dtype,
        name=f"{name}_conv",
        **weights,
    )(x)
    x = batch_norm(f"{name}_bn", momentum)(x)
    return keras.layers.Activation("relu", name=name)(x)


def _refuse_small_crop(name: str, x: Any) -> None:
    msg = (
        f"Crops must be large enough for every layer. Received: {x.shape[1]}x{x.shape[2]} pixels "
        f"left at {name}. Use larger crops, preset='functional-map' or last_block=False."
    )
    raise ValueError(msg)


def _published(x: Any, *, application: str, batch_norm_momentum: float) -> Any:
    """The features of a network of `keras.applications`, averaged over the image.

    Its layers keep their own names, and are addresses as ours are; ``pool`` names the result.

    Args:
        x: float32 `(batch_size, height, width, channels)`, a symbolic tensor.
        application: name of the network in `keras.applications`.
        batch_norm_momentum: of the moving averages that inference uses.

    Returns:
        `(batch_size, num_features)`.

    Raises:
        ValueError: the network's input is too small, or Keras is set to images with channels first,
            which the layers of these networks would follow.
    """
    if min(x.shape[1:3]) < _SMALLEST:
        msg = (
            f"Crops must be at least {_SMALLEST} pixels wide and high for a backbone. Received: "
            f"{x.shape[1]}x{x.shape[2]} pixels for {application}. Use larger crops or "
            "backbone='deeploc'."
        )
        raise ValueError(msg)
    data_format = keras.backend.image_data_format()
    if data_format != "channels_last":
        msg = (
            "A backbone needs Keras' own image data format, channels_last. Received: "
            f"image_data_format={data_format!r}, from keras.json or set by the program. Change it "
            "there, or use backbone='deeploc', which does not depend on it."
        )
        raise ValueError(msg)
    # No `input_shape`: with it, Keras refuses what is smaller than the network's own images.
    network = getattr(keras.applications, application)(
        include_top=False, weights=None, input_tensor=x
    )
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = batch_norm_momentum
            layer.fused = False  # of Keras 2, as in our own layers
            layer.__class__ = batch_norm_class()  # Keras takes none for the layers of its networks
    return keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="pool")(
        network.output
    )


densenet121 = functools.partial(_published, application="DenseNet121")
densenet201 = functools.partial(_published, application="DenseNet201")
vgg16 = functools.partial(_published, application="VGG16")
vgg19 = functools.partial(_published, application="VGG19")
resnet50 = functools.partial(_published, application="ResNet50")
resnet152 = functools.partial(_published, application="ResNet152")
xception = functools.partial(_published, application="Xception")
