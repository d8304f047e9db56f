"""DeepLoc, eight convolutions and two dense layers, as a plain Keras functional model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from deeploc_tf.models.channels import seen_channels, select_channels
from deeploc_tf.models.hardware import memory_bytes
from deeploc_tf.models.heads import dense, heads
from deeploc_tf.models.keras_settings import our_settings
from deeploc_tf.models.normalization import Normalization
from deeploc_tf.network_choices import AUGMENTATIONS, BACKBONES
from deeploc_tf.presets import RECOMMENDED, resolve_preset

FEATURE_LAYER = "fc_2"  # the penultimate layer, whatever the preset
_MOST_WEIGHTS = 1 << 28  # of fc_1 where nobody asked for so large a window
_COPIES = 6  # of each weight in training: two models, gradient, two moments, averages


@our_settings()
def DeepLoc(
    image_shape: Sequence[int],
    num_classes: int,
    *,
    preset: str = RECOMMENDED,
    backbone: str = "deeploc",
    image_dtype: str = "uint16",
    mask: bool = False,
    channels: Sequence[int] | None = None,
    window: int | None = None,
    normalization: str | None = None,
    augmentation: str | None = None,
    width: float = 1.0,
    dense_units: Sequence[int] | None = None,
    last_block: bool = True,
    initializer: str | None = None,
    dropout: float | None = None,
    batch_norm_momentum: float | None = None,
    num_proteins: int | None = None,
    triplets: bool = False,
    seed: int = 0,
) -> keras.Model:
    """A model from raw crops to class logits that carries its own preprocessing.

    The layer names are addresses: ``conv_1`` ... ``conv_8``, ``fc_1``, ``fc_2`` give the tensor
    after batch normalization (where there is one) and ReLU, ``logits`` the head. ``fc_2`` holds the
    representation; `feature_extractor` cuts the model there.

    Args:
        image_shape: `(height, width, channels)` of the stored crops.
        num_classes: number of logits.
        preset: "functional-map", "kraus2017", "razdaibiedina2022" or "pifia2024"; arguments left at
            None take its value.
        backbone: what stands between preprocessing and `fc_1`: "deeploc", the eight convolutions,
            or another one in `choices.BACKBONES`, untrained, with its layers under their own names.
        image_dtype: dtype of the raw pixels: "uint8", "uint16" or "float32".
        mask: take a second input `mask` `(batch_size, height, width)`, not 0 inside the cell:
            a crop is normalized by the pixels of its cell alone, and its background becomes 0.
        channels: numbers, from 0, of the channels of the crops that the network sees. None: as many
            as the preset sees, from the first on.
        window: side in pixels of the square window that the network sees: at a random place in
            training, at the center otherwise; 0: the whole crop. None: the preset's of crops of
            64x64 pixels, the whole crop of others.
        normalization: "percentile", "kraus", "min-max" or "standardize"; see `Normalization`.
            "standardize" becomes "min-max" in a preset with a mask, so that the background stays 0.
        augmentation: "none"; "flips" (four views); "orientations" (all eight flips and quarter
            turns); "rotations" (those, and any angle between).
        width: factor on the numbers of filters (64, 128, 256).
        dense_units: sizes of `fc_1` and `fc_2`.
        last_block: keep conv_6 to conv_8.
        initializer: of kernels and biases: "glorot", Keras' own; or "truncated-normal", with a
            standard deviation of 0.1 and biases of 0.1.
        dropout: fraction of `fc_2` set to 0 in training before the head.
        batch_norm_momentum: of the moving averages that inference uses: 0.9 forgets in some 20
            steps, so that they follow a short training, too; Keras' own 0.99 needs some 300.
        num_proteins: add a second head of that many logits, `protein_logits`, beside the first.
        triplets: give the features, each of length 1, beside the logits, which learn from them
            without teaching them anything.
        seed: of augmentation and dropout.

    Returns:
        `keras.Model`: input `image` (or a dict of `image` and `mask`), output `logits`, float32
        `(batch_size, num_classes)`, without softmax; with `num_proteins` or `triplets` the logits
        and what was asked for in one tensor, side by side.

    Raises:
        ValueError: an argument is not one of its choices, the crop is too small for the network,
            or so large that it should be asked for.
        MemoryError: this machine cannot hold the network while it trains.

    Example:
        >>> model = DeepLoc((64, 64, 2), num_classes=19)
        >>> sum(int(np.prod(w.shape)) for w in model.trainable_weights)
        10991417

    References:
        Kraus et al. 2017, Mol Syst Biol 13:924; Razdaibiedina & Brechalov 2022, arXiv 2205.11676;
        Razdaibiedina et al. 2024, Mol Syst Biol 20:521 (PIFiA).
    """
    base = resolve_preset(
        preset,
        image_shape,
        mask=mask,
        window=window,
        normalization=normalization,
        augmentation=augmentation,
        dense_units=None if dense_units is None else tuple(dense_units),
        initializer=initializer,
        dropout=dropout,
        batch_norm_momentum=batch_norm_momentum,
    )
    _check_backbone(backbone, width, last_block)
    if num_classes < 1 or len(base.dense_units) != 2 or width <= 0:
        msg = (
            "`num_classes` must be at least 1, `dense_units` two sizes, `width` positive. "
            "Received: "
            f"num_classes={num_classes}, dense_units={base.dense_units}, width={width}."
        )
        raise ValueError(msg)

    image = keras.Input(tuple(image_shape), dtype=image_dtype, name="image")
    inputs: Any = image
    if mask:
        cell = keras.Input(tuple(image_shape[:2]), dtype="uint8", name="mask")
        inputs = {"image": image, "mask": cell}
    x = select_channels(image, seen_channels(image_shape, base.num_channels, channels))
    normalize = Normalization(base.normalization, masked=mask, name="normalization")
    x = normalize([x, cell] if mask else x)
    x = AUGMENTATIONS.get(base.augmentation)(x, window=base.window, seed=seed, masked=mask)

    own: dict[str, Any] = {}
    if backbone == "deeploc":
        own = {"padding": base.padding, "width": width, "last_block": last_block}
        own["initializer"] = base.initializer
    x = BACKBONES.get(backbone)(x, batch_norm_momentum=base.batch_norm_momentum, **own)
    if len(x.shape) > 2:
        _check_size(x, base.dense_units[0], asked_for=window is not None)
        x = keras.layers.Flatten(data_format="channels_last", name="flatten")(x)
    momentum = base.batch_norm_momentum if base.dense_batch_norm else None
    for i, units in enumerate(base.dense_units, start=1):
        x = dense(x, units, f"fc_{i}", "relu", momentum, base.initializer)
    outputs = heads(
        x,
        num_classes,
        num_proteins=num_proteins,
        triplets=triplets,
        dropout=base.dropout,
        seed=seed,
        batch_norm_momentum=momentum,
        initializer=base.initializer,
    )
    return keras.Model(inputs, outputs, name=backbone)


def _check_backbone(name: str, width: float, last_block: bool) -> None:
    BACKBONES.check(name)
    if name != "deeploc" and (width != 1 or not last_block):
        msg = (
            "`width` and `last_block` are of backbone='deeploc'. Received: "
            f"backbone={name!r}, width={width}, last_block={last_block}. Leave them out."
        )
        raise ValueError(msg)


def _check_size(x: Any, units: int, *, asked_for: bool) -> None:
    """Refuse a first dense layer that this machine cannot train, or that nobody asked for."""
    height, width, channels = x.shape[1:]
    weights = height * width * channels * units
    remedy = (
        f"Name a smaller window of the crop by `window`{' (0: all of it)' * (not asked_for)}, "
        "smaller `dense_units` or `width`, or a backbone, which averages over the image."
    )
    if weights * _COPIES * 4 > memory_bytes():
        msg = (
            f"The network must fit into memory {_COPIES} times to be trained. Received: "
            f"{weights:,} weights of fc_1 and {memory_bytes() / 1e9:.0f} GB. {remedy}"
        )
        raise MemoryError(msg)
    if weights > _MOST_WEIGHTS and not asked_for:
        msg = (
            f"A window as large as the crop must leave fc_1 at most {_MOST_WEIGHTS:,} weights. "
            f"Received: {weights:,} weights. {remedy}"
        )
        raise ValueError(msg)
