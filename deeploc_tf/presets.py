"""Presets: networks and the recipes of their training, without importing any network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from deeploc_tf.registry import Registry

RECOMMENDED = "functional-map"
_WINDOWED = (64, 64)  # pixels of the crops for which a preset's window was made


@dataclasses.dataclass(frozen=True)
class Preset:
    """A network and how it is trained; what a user says otherwise wins.

    The defaults are those of the recommended preset. `RECIPE` names the attributes that are fields
    of `deeploc_tf.training.config.FitConfig` as well, where each is described; docs/training.md
    has the source of each value.

    Attributes:
        num_channels: number of the channels of the crops, from the first on, that the network sees;
            None: all.
        window: side in pixels of the square window of 64x64 crops that the network sees; None: the
            whole crop, as of crops of any other size.
        normalization: see `deeploc_tf.models.normalization.Normalization`.
        padding: of convolutions and poolings, "same" or "valid".
        dense_batch_norm: batch normalization of the dense layers and the logits as well.
        dense_units: sizes of `fc_1` and `fc_2`.
        test_time: views of a crop over which answers and vectors are averaged, as far as its
            shape and window have them; see `deeploc_tf.models.views.views`.
    """

    num_channels: int | None = None
    window: int | None = 60
    normalization: str = "percentile"
    padding: str = "same"
    dense_batch_norm: bool = True
    dense_units: tuple[int, ...] = (512, 512)
    test_time: str = "orientations"
    augmentation: str = "rotations"
    initializer: str = "glorot"
    batch_norm_momentum: float = 0.9
    dropout: float = 0.3
    target: str = "label"
    epochs: int | None = 40
    steps: int | None = None
    min_steps: int = 1000
    batch_size: int = 64
    optimizer: str = "adamw"
    learning_rate: float = 2e-3
    beta_1: float = 0.9
    epsilon: float = 1e-7
    weight_decay: float = 1e-2
    schedule: str = "cosine"
    warmup_epochs: float = 3.0
    decay_rate: float = 0.96
    decay_steps: int = 25
    ema_momentum: float = 0.99

    @property
    def recipe(self) -> dict[str, Any]:
        """The values of the settings of a training."""
        return {name: getattr(self, name) for name in RECIPE}


RECIPE = (
    *("augmentation", "initializer", "batch_norm_momentum", "dropout", "target", "epochs", "steps"),
    "min_steps",
    *("batch_size", "optimizer", "learning_rate", "beta_1", "epsilon", "weight_decay", "schedule"),
    *("warmup_epochs", "decay_rate", "decay_steps", "ema_momentum"),
)

# The code of Razdaibiedina & Brechalov 2022, with the defaults of Keras for what it does not say.
# How many epochs it does not say either: 30, as the same authors trained PIFiA.
_OF_2022 = Preset(
    num_channels=1,
    window=None,
    normalization="standardize",
    padding="valid",
    dense_batch_norm=False,
    test_time="none",
    augmentation="flips",
    batch_norm_momentum=0.99,
    dropout=0.0,
    epochs=30,
    min_steps=0,
    batch_size=128,
    optimizer="adam",
    learning_rate=1e-3,
    weight_decay=0.0,
    schedule="constant",
    warmup_epochs=0.0,
    ema_momentum=0.0,
)

PRESETS: Registry[Preset] = Registry(
    "preset",
    {
        # Ours, the best of the ablation on pathways and complexes, docs/adr/0006: the layers of
        # 2017, trained on crops at any angle, whose vectors are means over eight turned views.
        RECOMMENDED: Preset(),
        "kraus2017": Preset(
            num_channels=2,
            normalization="kraus",
            test_time="crops",
            augmentation="orientations",
            initializer="truncated-normal",
            batch_norm_momentum=0.5,
            dropout=0.0,
            epochs=None,
            steps=10_000,
            min_steps=0,
            batch_size=128,
            optimizer="adam",
            learning_rate=0.1,
            epsilon=1e-8,
            weight_decay=0.0,
            schedule="exponential",
            warmup_epochs=0.0,
            ema_momentum=0.0,
        ),
        "razdaibiedina2022": _OF_2022,
        # PIFiA: the same network with fewer features, which learns to name the protein.
        "pifia2024": dataclasses.replace(
            _OF_2022,
            dense_units=(128, 64),
            target="protein",
            dropout=0.02,
            learning_rate=3e-4,
            schedule="cosine",
        ),
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
    test_time: str | None = None,
    **given: Any,
) -> Preset:
    """The preset of a name for such crops, with everything that is given otherwise.

    Args:
        name: of the preset.
        image_shape: `(height, width, channels)` of the stored crops.
        mask: whether the background of the crops becomes 0.
        window: as of `deeploc_tf.models.deeploc.DeepLoc`.
        normalization: see there.
        test_time: see `deeploc_tf.models.views.views`.
        given: other attributes; None: the preset's.

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
        test_time=test_time or _possible_views(preset.test_time, image_shape, window),
        **{name: value for name, value in given.items() if value is not None},
    )


def _possible_views(test_time: str, image_shape: Sequence[int], window: int | None) -> str:
    """What such crops have of the views: windows beside the middle one, and quarter turns."""
    height, width = image_shape[:2]
    windows = test_time in ("crops", "both") and 0 < (window or 0) < max(height, width)
    turns = test_time in ("orientations", "both") and height == width
    return {(True, True): "both", (True, False): "crops", (False, True): "orientations"}.get(
        (windows, turns), "none"
    )
