"""Everything that decides what a training does: one validated object, stored with the run."""

from __future__ import annotations

from typing import Literal

import pydantic


class FitConfig(pydantic.BaseModel):
    """Settings of `fit`; the defaults suit a few thousand crops and more.

    Two runs with equal settings and records on one machine's CPU give equal models. Fields are
    documented where they stand; the architecture's are those of
    `deeploc_tf.models.deeploc.DeepLoc`.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    # Architecture: None takes the preset's value.
    preset: Literal["kraus2017", "razdaibiedina2022"] = "kraus2017"
    width: float = pydantic.Field(default=1.0, gt=0, description="factor on the numbers of filters")
    dense_units: tuple[pydantic.PositiveInt, pydantic.PositiveInt] = (512, 512)
    last_block: bool = True
    crop_size: int | None = pydantic.Field(default=None, ge=0)
    normalization: Literal["percentile", "kraus", "min-max", "standardize"] | None = None
    augmentation: Literal["none", "flips", "orientations", "rotations"] | None = "rotations"
    dropout: float = pydantic.Field(default=0.3, ge=0, lt=1)
    mask: bool = pydantic.Field(default=False, description="set the background of each crop to 0")

    # Optimization.
    epochs: pydantic.PositiveInt = 40
    batch_size: pydantic.PositiveInt = pydantic.Field(
        default=64, description="crops, over all replicas"
    )
    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: pydantic.PositiveFloat = 2e-3
    weight_decay: pydantic.NonNegativeFloat = pydantic.Field(default=1e-2, description="AdamW only")
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: pydantic.NonNegativeFloat = 3.0
    ema_momentum: float = pydantic.Field(
        default=0.99,
        ge=0,
        lt=1,
        description="of the averaged weights that evaluation and the model use; 0: off",
    )
    label_smoothing: float = pydantic.Field(default=0.0, ge=0, lt=1)
    patience: pydantic.PositiveInt | None = pydantic.Field(
        default=None,
        description="stop after that many epochs without a lower validation loss; keep the best",
    )

    seed: int = pydantic.Field(default=0, ge=0, lt=2**31)
    device: str = pydantic.Field(
        default="auto", description="auto, cpu, gpu, or a list such as gpu:0,gpu:1"
    )
    evaluate_test: bool = pydantic.Field(
        default=True, description="measure on the test split at the end"
    )
