"""Published networks of other fields between our preprocessing and our head, untrained."""

from __future__ import annotations

from typing import Any

import keras

BACKBONES = {
    "densenet121": keras.applications.DenseNet121,
    "densenet201": keras.applications.DenseNet201,
    "vgg16": keras.applications.VGG16,
    "vgg19": keras.applications.VGG19,
    "resnet50": keras.applications.ResNet50,
    "resnet152": keras.applications.ResNet152,
    "xception": keras.applications.Xception,
}
_SMALLEST = 32  # pixels: the networks halve their input five times


def backbone(x: Any, name: str, batch_norm_momentum: float) -> Any:
    """The features of a network of `keras.applications`, averaged over the image.

    Its layers keep their own names, and are addresses as ours are; ``pool`` names the result.

    Args:
        x: float32 `(batch_size, height, width, channels)`, a symbolic tensor.
        name: a key of `BACKBONES`.
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
            f"{x.shape[1]}x{x.shape[2]} pixels for {name}. Use larger crops or backbone='deeploc'."
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
    network = BACKBONES[name](include_top=False, weights=None, input_tensor=x)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = batch_norm_momentum
            layer.synchronized = True  # as in our own layers: replicas are then like one device
            layer.fused = False  # Keras 2's fused kernel knows nothing of replicas
    return keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="pool")(
        network.output
    )
