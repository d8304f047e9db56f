"""What networks are made of, by name; none of it is imported before it is chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from deeploc_tf.registry import Registry

TestTime = Literal["none", "crops", "orientations", "both"]
Initializer = Literal["glorot", "truncated-normal"]

BACKBONES: Registry[Callable[..., Any]] = Registry(
    "backbone",
    {
        name: f"deeploc_tf.models.backbones:{name}"
        for name in (
            *("deeploc", "densenet121", "densenet201", "vgg16", "vgg19", "resnet50", "resnet152"),
            "xception",
        )
    },
    group="deeploc_tf.backbones",
)
"""`(x, *, batch_norm_momentum)` -> features: float32 images `(batch_size, height, width, channels)`
become `(batch_size, num_features)`, or images, which are flattened."""

NETWORKS: Registry[Callable[..., Any]] = Registry("network", {}, group="deeploc_tf.networks")
"""`(image_shape, image_dtype)` -> a functional `keras.Model` from raw crops of that shape and dtype
to features `(batch_size, num_features)`, which carries its own preprocessing."""

NORMALIZATIONS: Registry[Callable[[Any, Any], Any]] = Registry(
    "normalization",
    {
        "percentile": "deeploc_tf.models.normalization:percentile",
        "kraus": "deeploc_tf.models.normalization:kraus",
        "min-max": "deeploc_tf.models.normalization:min_max",
        "standardize": "deeploc_tf.models.normalization:standardize",
    },
    group="deeploc_tf.normalizations",
)
"""`(pixels, inside)` -> pixels, float32 `(batch_size, channels, height * width)`; `inside` is None,
or bool `(batch_size, 1, height * width)`, which says where the cell is."""

AUGMENTATIONS: Registry[Callable[..., Any]] = Registry(
    "augmentation",
    {
        name: f"deeploc_tf.models.augmentation:{name}"
        for name in ("none", "flips", "orientations", "rotations")
    },
    group="deeploc_tf.augmentations",
)
"""`(x, *, window, seed, masked)` -> images as the network sees them, by random layers that do
nothing at inference but cut the window of `window` pixels (None or 0: the whole crop); `masked`:
what is outside the cell is 0 and stays so."""

# "standardize" mixes channels: the structure of the target would tell of its protein.
INPAINTING_NORMALIZATIONS = ("min-max", "percentile", "kraus")
INPAINTING_AUGMENTATIONS = ("none", "flips", "orientations")
