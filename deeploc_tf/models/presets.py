"""Presets: what distinguishes one DeepLoc network from the others, without importing any."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from deeploc_tf.registry import Registry

_WINDOWED = (64, 64)  # pixels of the crops for which a preset's window was made


@dataclasses.dataclass(frozen=True)
class Preset:
    """What distinguishes one DeepLoc network, published or best here, from the others.

    How it was trained (dropout, optimizer, schedule, initial weights, momentum of batch
    normalization) is no part of it: that is our recipe, see docs/training.md.

    Attributes:
        window: pixels of the square window of 64x64 crops that the network sees, 0 or None: the
            whole crop, as of crops of any other size.
        normalization: see `deeploc_tf.models.normalization.Normalization`.
        augmentation: see `deeploc_tf.models.deeploc.DeepLoc`.
        padding: of the convolutions and poolings, "same" or "valid".
        dense_batch_norm: batch normalization on the dense layers and the logits as well.
        dense_units: sizes of `fc_1` and `fc_2`.
        test_time: views of a crop over which its vector is averaged unless one says otherwise, see
            `deeploc_tf.models.views.views`; no matter of training.
    """

    window: int | None
    normalization: str
    augmentation: str
    padding: str
    dense_batch_norm: bool
    dense_units: tuple[int, ...] = (512, 512)
    test_time: str = "none"


PRESETS: Registry[Preset] = Registry(
    "preset",
    {
        # Kraus et al. 2017: 60x60 windows of 64x64 crops, batch norm everywhere, the logits
        # included. Our percentiles scale dim crops too (theirs: "kraus"), and all eight
        # orientations are drawn.
        "kraus2017": Preset(60, "percentile", "orientations", "same", True),
        # Razdaibiedina & Brechalov 2022: the whole 64x64 crop, valid convolutions, no batch norm
        # after fc.
        "razdaibiedina2022": Preset(None, "standardize", "flips", "valid", False),
        # Razdaibiedina et al. 2024 (PIFiA): the same with fewer features. They gave it GFP alone,
        # and the protein to name: that is said by the records and by the target.
        "pifia2024": Preset(None, "standardize", "flips", "valid", False, (128, 64)),
        # The best of our ablation on pathways and complexes, docs/adr/0006: that of 2017, whose
        # vectors are means over the eight turned and mirrored views.
        "map2026": Preset(60, "percentile", "orientations", "same", True, test_time="orientations"),
    },
    group="deeploc_tf.presets",
)


def resolve_preset(
    name: str,
    image_shape: Sequence[int],
    *,
    mask: bool = False,
    window: int | None = None,
    normalization: str | None = None,
    augmentation: str | None = None,
    dense_units: Sequence[int] | None = None,
) -> Preset:
    """The preset of a name for such crops, with everything that was said otherwise.

    The arguments are those of `deeploc_tf.models.deeploc.DeepLoc`.

    Raises:
        ValueError: there is no preset of that name.
    """
    preset = PRESETS.get(name)
    if normalization is None:
        standardized = preset.normalization == "standardize"
        normalization = "min-max" if mask and standardized else preset.normalization
    if window is None and tuple(image_shape[:2]) == _WINDOWED:
        window = preset.window
    return dataclasses.replace(
        preset,
        window=window,
        normalization=normalization,
        augmentation=augmentation or preset.augmentation,
        dense_units=tuple(dense_units or preset.dense_units),
    )
