"""Paired Cell Inpainting: to paint a protein into a cell, after seeing it in another one.

The target cell shows its structural channels only. What the protein must look like there can be
learnt from the source cell alone, so the source's encoder has to describe the protein, whatever the
shape of the cell it was seen in.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras

from deeploc_tf.models.augmentation import RandomCrop, RandomOrientation
from deeploc_tf.models.batch_normalization import batch_norm
from deeploc_tf.models.channels import SelectChannels, seen_channels, select_channels
from deeploc_tf.models.keras_settings import our_settings
from deeploc_tf.models.normalization import Normalization
from deeploc_tf.network_choices import INPAINTING_AUGMENTATIONS, INPAINTING_NORMALIZATIONS

INPAINTING_FEATURES = "source_conv_3:max"  # with source_conv_4 the best ones of Lu et al.

_SOURCE = (96, 256, 384, 384, 256)
_TARGET = (16, 32, 32)
_DECODER = (256, 384, 384, 256, 96)
_POOLS = 2  # in both encoders, after their first and second convolution
_UPSAMPLED = (4, 5)  # convolutions of the decoder that see twice as many pixels as those before


@our_settings()
def PairedCellInpainting(
    image_shape: Sequence[int],
    *,
    image_dtype: str = "uint16",
    channels: Sequence[int] | None = None,
    window: int | None = None,
    normalization: str | None = None,
    augmentation: str | None = None,
    width: float = 1.0,
    batch_norm_momentum: float = 0.9,
    seed: int = 0,
) -> keras.Model:
    """A model from two raw crops to what is wrong with the protein it paints into the second.

    The first channel is the protein, the others show the structure of the cell. Source and target
    are normalized, cut and flipped by layers of their own, hence independently. The target's
    protein goes to no other layer than the last: to train, let the mean square of the output go to
    0.

    The layer names are addresses: ``source_conv_1`` ... ``source_conv_5`` give the tensor after
    ReLU, before batch normalization, as published; so do ``target_conv_1`` to ``_3`` and
    ``decoder_conv_1`` to ``_5``. ``inpainted`` is the painted protein, ``target_protein`` the true
    one, both normalized.

    Args:
        image_shape: `(height, width, channels)` of the stored crops.
        image_dtype: dtype of the raw pixels: "uint8", "uint16" or "float32".
        channels: numbers, from 0, of the channels of the crops that the network sees, the protein's
            first; None: all.
        window: side in pixels of the square window that the network sees: at a random place in
            training, at the center otherwise; None or 0: the whole crop.
        normalization: "min-max" (None: that one), "percentile" or "kraus"; see `Normalization`.
            "standardize" mixes channels: the target's structure would tell of its protein.
        augmentation: "none"; "flips" (None: that one), four views; "orientations", all eight flips
            and quarter turns.
        width: factor on the numbers of filters.
        batch_norm_momentum: of the moving averages that inference uses.
        seed: of the augmentation.

    Returns:
        `keras.Model`: inputs a dict of `image` (the source) and `target`, both crops of
        `image_shape`; output `residual`, ``inpainted - target_protein``, float32
        `(batch_size, window height, window width, 1)`.

    Raises:
        ValueError: an argument is not one of its choices, there is no structural channel, or the
            sides of the window are no multiples of 4.

    Example:
        >>> model = PairedCellInpainting((64, 64, 2))
        >>> sum(int(np.prod(w.shape)) for w in model.trainable_weights)
        7320609

    References:
        Lu et al. 2019, PLoS Comput Biol 15:e1007348.
    """
    normalization, augmentation = normalization or "min-max", augmentation or "flips"
    _check_choice("normalization", normalization, INPAINTING_NORMALIZATIONS)
    _check_choice("augmentation", augmentation, INPAINTING_AUGMENTATIONS)
    channels = seen_channels(image_shape, None, channels)
    _check_shape((*image_shape[:-1], len(channels)), window, width)
    view = functools.partial(
        _view,
        channels=channels,
        normalization=normalization,
        augmentation=augmentation,
        window=window,
        seed=seed,
    )
    encode = functools.partial(_encoder, width=width, momentum=batch_norm_momentum)

    image = keras.Input(tuple(image_shape), dtype=image_dtype, name="image")
    target = keras.Input(tuple(image_shape), dtype=image_dtype, name="target")
    x = encode(view(image, "source"), _SOURCE, "source")
    both = view(target, "target")
    protein = SelectChannels([0], name="target_protein")(both)
    structure = SelectChannels(range(1, len(channels)), name="target_structure")(both)
    marker = encode(structure, _TARGET, "target")
    x = keras.layers.Concatenate(name="joined")([x, marker])
    for i, filters in enumerate(_DECODER, start=1):
        if i in _UPSAMPLED:
            x = keras.layers.UpSampling2D(2, data_format="channels_last", name=f"decoder_up_{i}")(x)
        x = _convolution(x, filters, f"decoder_conv_{i}", width)
    # The head and all that the loss is made of are float32 under every precision policy.
    painted = keras.layers.Conv2D(
        1, 1, data_format="channels_last", dtype="float32", name="inpainted"
    )(x)
    residual = keras.layers.Subtract(dtype="float32", name="residual")([painted, protein])
    return keras.Model({"image": image, "target": target}, residual, name="inpainting")


@our_settings()
def source_encoder(model: keras.Model) -> keras.Model:
    """The half of a `PairedCellInpainting` model that describes a cell: from `image` alone.

    Returns:
        `keras.Model` with the layers up to ``source_conv_5`` and the weights of `model`.
    """
    image = model.get_layer("image").output
    return keras.Model(image, model.get_layer("source_conv_5").output, name="source_encoder")


def _view(
    x: Any,
    name: str,
    *,
    channels: Sequence[int],
    normalization: str,
    augmentation: str,
    window: int | None,
    seed: int,
) -> Any:
    """The crop as the network sees it, by layers of its own: they draw their own numbers."""
    x = select_channels(x, channels, f"{name}_channels")
    x = Normalization(normalization, name=f"{name}_normalization")(x)
    if window:
        x = RandomCrop(window, window, seed=seed, name=f"{name}_crop")(x)
    if augmentation != "none":
        turns = augmentation == "orientations"
        x = RandomOrientation(turns, seed=seed, name=f"{name}_orientation")(x)
    return x


def _encoder(x: Any, blocks: Sequence[int], name: str, *, width: float, momentum: float) -> Any:
    for i, filters in enumerate(blocks, start=1):
        # The first one is float32 under every policy: bfloat16 would round pixels to 8 bits.
        dtype = "float32" if i == 1 else None
        x = _convolution(x, filters, f"{name}_conv_{i}", width, dtype)
        x = batch_norm(f"{name}_conv_{i}_bn", momentum)(x)
        if i <= _POOLS:
            x = keras.layers.MaxPooling2D(2, data_format="channels_last", name=f"{name}_pool_{i}")(
                x
            )
    return x


def _convolution(x: Any, filters: int, name: str, width: float, dtype: str | None = None) -> Any:
    filters = max(1, round(filters * width))
    x = keras.layers.Conv2D(
        filters, 3, padding="same", data_format="channels_last", dtype=dtype, name=f"{name}_conv"
    )(x)
    return keras.layers.Activation("relu", name=name)(x)


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        msg = (
            f"`{name}` must be one of {', '.join(choices)} for inpainting. "
            f"Received: {name}={value!r}."
        )
        raise ValueError(msg)


def _check_shape(image_shape: Sequence[int], window: int | None, width: float) -> None:
    if len(image_shape) != 3 or image_shape[2] < 2 or width <= 0:
        msg = (
            "Inpainting needs crops with the protein's channel and at least one of the cell's "
            "structure, and a positive `width`. Received: "
            f"image_shape={tuple(image_shape)}, width={width}. Rebuild the records with such a "
            "channel."
        )
        raise ValueError(msg)
    sides = (window, window) if window else tuple(image_shape[:2])
    if any(side % 2**_POOLS for side in sides):
        msg = (
            "Both sides of what the network sees must be multiples of 4, to be halved and doubled "
            f"twice. Received: {sides[0]}x{sides[1]} pixels. Choose such a `window`, "
            f"{min(image_shape[:2]) // 4 * 4} at most."
        )
        raise ValueError(msg)
