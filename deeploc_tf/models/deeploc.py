"""DeepLoc, eight convolutions and two dense layers, as a plain Keras functional model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras

from deeploc_tf.models.augmentation import RandomCrop, RandomOrientation, RandomRotation
from deeploc_tf.models.backbones import BACKBONES
from deeploc_tf.models.backbones import backbone as apply_backbone
from deeploc_tf.models.hardware import memory_bytes
from deeploc_tf.models.heads import StopGradient, UnitLength
from deeploc_tf.models.keras_settings import our_settings
from deeploc_tf.models.normalization import Normalization
from deeploc_tf.models.randomness import Dropout

AUGMENTATIONS = ("none", "flips", "orientations", "rotations")
FEATURE_LAYER = "fc_2"  # the penultimate layer, whatever the preset
_WINDOWED = (64, 64)  # pixels of the crops for which a preset's window was made
_MOST_WEIGHTS = 1 << 28  # of fc_1 where nobody asked for so large a window
_COPIES = 6  # of each weight in training: two models, gradient, two moments, averages


@dataclasses.dataclass(frozen=True)
class Preset:
    """What distinguishes one DeepLoc network, published or best here, from the others.

    How it was trained (dropout, optimizer, schedule, initial weights, momentum of batch
    normalization) is no part of it: that is our recipe, see docs/training.md.

    Attributes:
        crop_size: pixels of the square window of 64x64 crops that the network sees, 0 or None: the
            whole crop, as of crops of any other size.
        normalization: see `Normalization`.
        augmentation: see `DeepLoc`.
        padding: of the convolutions and poolings, "same" or "valid".
        dense_batch_norm: batch normalization on the dense layers and the logits as well.
        dense_units: sizes of `fc_1` and `fc_2`.
        test_time: views of a crop over which its vector is averaged unless one says otherwise, see
            `deeploc_tf.models.views`; no matter of training.
    """

    crop_size: int | None
    normalization: str
    augmentation: str
    padding: str
    dense_batch_norm: bool
    dense_units: tuple[int, ...] = (512, 512)
    test_time: str = "none"


PRESETS = {
    # Kraus et al. 2017: 60x60 windows of 64x64 crops, batch norm everywhere, the logits included.
    # Our percentiles scale dim crops too (theirs: "kraus"), and all eight orientations are drawn.
    "kraus2017": Preset(60, "percentile", "orientations", "same", True),
    # Razdaibiedina & Brechalov 2022: the whole 64x64 crop, valid convolutions, no batch norm after
    # fc.
    "razdaibiedina2022": Preset(None, "standardize", "flips", "valid", False),
    # Razdaibiedina et al. 2024 (PIFiA): the same with fewer features. They gave it GFP alone, and
    # the protein to name: that is said by the records and by the target.
    "pifia2024": Preset(None, "standardize", "flips", "valid", False, (128, 64)),
    # The best of our ablation on pathways and complexes, docs/adr/0006: that of 2017, whose vectors
    # are means over the eight turned and mirrored views.
    "map2026": Preset(60, "percentile", "orientations", "same", True, test_time="orientations"),
}


@our_settings()
def DeepLoc(
    image_shape: Sequence[int],
    num_classes: int,
    *,
    preset: str = "kraus2017",
    backbone: str = "deeploc",
    image_dtype: str = "uint16",
    mask: bool = False,
    crop_size: int | None = None,
    normalization: str | None = None,
    augmentation: str | None = None,
    width: float = 1.0,
    dense_units: Sequence[int] | None = None,
    last_block: bool = True,
    dropout: float = 0.0,
    batch_norm_momentum: float = 0.9,
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
        preset: "kraus2017", "razdaibiedina2022", "pifia2024" or "map2026"; arguments left at None
            take its value.
        backbone: what stands between preprocessing and `fc_1`: "deeploc", the eight convolutions,
            or a network of `backbones.BACKBONES`, untrained, with its layers under their own names.
        image_dtype: dtype of the raw pixels: "uint8", "uint16" or "float32".
        mask: take a second input `mask` `(batch_size, height, width)`, not 0 inside the cell:
            a crop is normalized by the pixels of its cell alone, and its background becomes 0.
        crop_size: side in pixels of the square window that the network sees: at a random place in
            training, at the center otherwise; 0: the whole crop. None: the preset's of crops of
            64x64 pixels, the whole crop of others.
        normalization: "percentile", "kraus", "min-max" or "standardize"; see `Normalization`.
            "standardize" becomes "min-max" in a preset with a mask, so that the background stays 0.
        augmentation: "none"; "flips" (four views); "orientations" (all eight flips and quarter
            turns); "rotations" (those, and any angle between).
        width: factor on the numbers of filters (64, 128, 256).
        dense_units: sizes of `fc_1` and `fc_2`.
        last_block: keep conv_6 to conv_8.
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
        crop_size=crop_size,
        normalization=normalization,
        augmentation=augmentation,
        dense_units=dense_units,
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
    normalize = Normalization(base.normalization, masked=mask, name="normalization")
    x = normalize([image, cell] if mask else image)
    x = _augment(x, base.augmentation, base.crop_size, seed)

    batch_norm = functools.partial(_batch_norm, momentum=batch_norm_momentum)
    if backbone == "deeploc":
        x = _convolutions(x, base.padding, width, last_block, batch_norm)
        _check_size(x, base.dense_units[0], asked_for=crop_size is not None)
        x = keras.layers.Flatten(data_format="channels_last", name="flatten")(x)
    else:
        x = apply_backbone(x, backbone, batch_norm_momentum)
    for i, units in enumerate(base.dense_units, start=1):
        x = _dense(x, units, f"fc_{i}", "relu", batch_norm if base.dense_batch_norm else None)
    dense_batch_norm = batch_norm if base.dense_batch_norm else None
    outputs = _heads(x, num_classes, num_proteins, triplets, dropout, seed, dense_batch_norm)
    return keras.Model(inputs, outputs, name=backbone)


def _check_backbone(name: str, width: float, last_block: bool) -> None:
    if name != "deeploc" and name not in BACKBONES:
        msg = (
            f"`backbone` must be one of deeploc, {', '.join(BACKBONES)}. Received: "
            f"backbone={name!r}."
        )
        raise ValueError(msg)
    if name != "deeploc" and (width != 1 or not last_block):
        msg = (
            "`width` and `last_block` are of backbone='deeploc'. Received: "
            f"backbone={name!r}, width={width}, last_block={last_block}. Leave them out."
        )
        raise ValueError(msg)


def resolve_preset(
    name: str,
    image_shape: Sequence[int],
    *,
    mask: bool = False,
    crop_size: int | None = None,
    normalization: str | None = None,
    augmentation: str | None = None,
    dense_units: Sequence[int] | None = None,
) -> Preset:
    """The preset of a name for such crops, with everything that was said otherwise: see `DeepLoc`.

    Raises:
        ValueError: there is no preset of that name.
    """
    if name not in PRESETS:
        msg = f"`preset` must be one of {', '.join(PRESETS)}. Received: preset={name!r}."
        raise ValueError(msg)
    preset = PRESETS[name]
    if normalization is None:
        standardized = preset.normalization == "standardize"
        normalization = "min-max" if mask and standardized else preset.normalization
    if crop_size is None and tuple(image_shape[:2]) == _WINDOWED:
        crop_size = preset.crop_size
    return dataclasses.replace(
        preset,
        crop_size=crop_size,
        normalization=normalization,
        augmentation=augmentation or preset.augmentation,
        dense_units=tuple(dense_units or preset.dense_units),
    )


def _augment(x: Any, augmentation: str, crop_size: int | None, seed: int) -> Any:
    if augmentation not in AUGMENTATIONS:
        msg = (
            f"`augmentation` must be one of {', '.join(AUGMENTATIONS)}. "
            f"Received: augmentation={augmentation!r}."
        )
        raise ValueError(msg)
    if (
        augmentation == "rotations"
    ):  # before the window is cut: its margin hides the mirrored border
        x = RandomRotation(45.0, seed=seed, name="random_rotation")(x)
    if crop_size:
        x = RandomCrop(crop_size, crop_size, seed=seed, name="random_crop")(x)
    if augmentation != "none":
        turns = augmentation != "flips"
        x = RandomOrientation(turns, seed=seed, name="random_orientation")(x)
    return x


_BatchNorm = Callable[..., keras.layers.Layer]


def _heads(
    features: Any,
    num_classes: int,
    num_proteins: int | None,
    triplets: bool,
    dropout: float,
    seed: int,
    batch_norm: _BatchNorm | None,
) -> Any:
    """The logits, and beside them what else a training asks for."""
    x = StopGradient(name="stop_gradient")(features) if triplets else features
    if dropout:
        x = Dropout(dropout, seed=seed, name="dropout")(x)
    outputs = [_dense(x, int(num_classes), "logits", "linear", batch_norm)]
    if num_proteins is not None:
        outputs.append(_dense(x, int(num_proteins), "protein_logits", "linear", batch_norm))
    if triplets:
        outputs.append(UnitLength(name="unit_features")(features))
    if len(outputs) == 1:
        return outputs[0]
    return keras.layers.Concatenate(dtype="float32", name="outputs")(outputs)


def _convolutions(
    x: Any, padding: str, width: float, last_block: bool, batch_norm: _BatchNorm
) -> Any:
    blocks = [(64, 64), (128, 128), (256, 256, 256, 256) if last_block else (256,)]
    number = 0
    for i, block in enumerate(blocks, start=1):
        for filters in block:
            number += 1
            if padding == "valid" and min(x.shape[1:3]) < 3:
                _refuse_small_crop(f"conv_{number}", x)
            filters = max(1, round(filters * width))
            x = _convolution(x, filters, f"conv_{number}", padding, batch_norm)
        if padding == "valid" and min(x.shape[1:3]) < 2:
            _refuse_small_crop(f"pool_{i}", x)
        x = keras.layers.MaxPooling2D(
            2, padding=padding, data_format="channels_last", name=f"pool_{i}"
        )(x)
    return x


def _check_size(x: Any, units: int, *, asked_for: bool) -> None:
    """Refuse a first dense layer that this machine cannot train, or that nobody asked for."""
    height, width, channels = x.shape[1:]
    weights = height * width * channels * units
    remedy = (
        f"Name a smaller window of the crop by `crop_size`{' (0: all of it)' * (not asked_for)}, "
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


def _refuse_small_crop(name: str, x: Any) -> None:
    msg = (
        f"Crops must be large enough for every layer. Received: {x.shape[1]}x{x.shape[2]} pixels "
        f"left at {name}. Use larger crops, preset='kraus2017' or last_block=False."
    )
    raise ValueError(msg)


def _convolution(x: Any, filters: int, name: str, padding: str, batch_norm: _BatchNorm) -> Any:
    # The first one is float32 under every precision policy: bfloat16 would round pixels to 8 bits.
    dtype = "float32" if name == "conv_1" else None
    x = keras.layers.Conv2D(
        filters, 3, padding=padding, data_format="channels_last", dtype=dtype, name=f"{name}_conv"
    )(x)
    x = batch_norm(f"{name}_bn")(x)
    return keras.layers.Activation("relu", name=name)(x)


def _dense(x: Any, units: int, name: str, activation: str, batch_norm: _BatchNorm | None) -> Any:
    # Float32 under every precision policy: vectors and probabilities need the digits, and nearly
    # all of the time goes into convolutions.
    x = keras.layers.Dense(units, dtype="float32", name=f"{name}_dense")(x)
    if batch_norm is not None:
        x = batch_norm(f"{name}_bn", "float32")(x)
    return keras.layers.Activation(activation, dtype="float32", name=name)(x)


def _batch_norm(name: str, dtype: str | None = None, *, momentum: float) -> keras.layers.Layer:
    # Statistics over the global batch: without this, replicas neither train nor infer like one
    # device.
    return keras.layers.BatchNormalization(
        momentum=momentum, synchronized=True, dtype=dtype, name=name
    )
