"""Everything that decides what a training does: one validated object, stored with the run."""

from __future__ import annotations

from typing import Any, Literal

import pydantic

# Of Lu et al. 2019, as is the batch of 64: they stand in the place of the defaults below, which are
# ours, whatever the preset.
_INPAINTING_DEFAULTS: dict[str, Any] = {
    "augmentation": "flips",
    "epochs": 30,
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "beta_1": 0.5,
    "schedule": "constant",
    "ema_momentum": 0.0,
}
_CLASSIFICATION_ONLY = (
    *("preset", "backbone", "dense_units", "last_block", "dropout", "mask", "target"),
    *("protein_weight", "loss", "triplet_margin", "focal_gamma", "class_weights", "sampling"),
    "label_smoothing",
)
_INPAINTING_ONLY = ("min_cells", "pair_by")


class FitConfig(pydantic.BaseModel):
    """Settings of `fit`; the defaults suit a few thousand crops and more.

    Two runs with equal settings and records on one machine's CPU give equal models. Fields are
    documented where they stand; the architecture's are those of
    `deeploc_tf.models.deeploc.DeepLoc`, or with `method="inpainting"` of
    `deeploc_tf.models.inpainting.PairedCellInpainting`, which has other defaults where Lu et al.
    2019 trained otherwise.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    method: Literal["classification", "inpainting"] = pydantic.Field(
        default="classification",
        description="inpainting: Paired Cell Inpainting, which needs no labels",
    )

    # Architecture: None takes the preset's value. A preset is a network, no paper's recipe.
    preset: Literal["kraus2017", "razdaibiedina2022", "pifia2024", "map2026"] = "kraus2017"
    backbone: Literal[
        "deeploc",
        "densenet121",
        "densenet201",
        "vgg16",
        "vgg19",
        "resnet50",
        "resnet152",
        "xception",
    ] = pydantic.Field(default="deeploc", description="between preprocessing and fc_1")
    width: float = pydantic.Field(default=1.0, gt=0, description="factor on the numbers of filters")
    dense_units: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = None
    last_block: bool = True
    crop_size: int | None = pydantic.Field(
        default=None,
        ge=0,
        description="side of the window; 0: the whole crop; None: the preset's of crops of 64x64, "
        "the whole crop of others",
    )
    normalization: Literal["percentile", "kraus", "min-max", "standardize"] | None = None
    augmentation: Literal["none", "flips", "orientations", "rotations"] | None = "rotations"
    dropout: float = pydantic.Field(default=0.3, ge=0, lt=1)
    batch_norm_momentum: float = pydantic.Field(default=0.9, ge=0, lt=1)
    mask: bool = pydantic.Field(
        default=False,
        description="set the background of each crop to 0 and scale by the pixels of the cell",
    )

    # Beginning: `fit` sets the first one when it is told a run to begin with.
    initial_model: str | None = pydantic.Field(
        default=None, description="SHA-256 of the model whose weights the training begins with"
    )
    freeze: tuple[str, ...] = pydantic.Field(
        default=(), description="layers that keep those weights: names, or patterns as conv_*"
    )

    # Objective.
    target: Literal["label", "protein", "label+protein"] = pydantic.Field(
        default="label", description="what the network learns to tell; with a +, both at once"
    )
    protein_weight: float = pydantic.Field(
        default=1.0, gt=0, description="label+protein only: of the proteins' loss"
    )
    loss: Literal["cross-entropy", "focal", "triplet"] = pydantic.Field(
        default="cross-entropy",
        description="triplet: of the features; the head learns to read them by cross-entropy",
    )
    triplet_margin: float = pydantic.Field(
        default=0.2, gt=0, le=4, description="triplet loss only: of squared distances"
    )
    focal_gamma: float = pydantic.Field(
        default=2.0, gt=0, le=10, description="focal loss only: how much less easy crops count"
    )
    class_weights: Literal["balanced"] | None = pydantic.Field(
        default=None, description="in the loss: rare classes count more"
    )
    sampling: Literal["label", "protein"] | None = pydantic.Field(
        default=None, description="an epoch gets equally many crops of each; None: each crop once"
    )
    label_smoothing: float = pydantic.Field(default=0.0, ge=0, lt=1)

    min_cells: int = pydantic.Field(
        default=30, ge=2, description="inpainting only: groups with fewer cells are left out"
    )
    pair_by: tuple[str, ...] = pydantic.Field(
        default=(),
        description="inpainting only: columns in which both cells of a pair are equal; none: "
        "protein and field",
    )

    # Optimization.
    epochs: int = pydantic.Field(
        default=40, ge=0, description="0: the network as it begins, to compare others with"
    )
    batch_size: pydantic.PositiveInt = pydantic.Field(
        default=64, description="crops, over all replicas"
    )
    optimizer: Literal["adamw", "adam", "sgd", "lamb"] = pydantic.Field(
        default="adamw", description="sgd: momentum 0.9, Nesterov's"
    )
    learning_rate: pydantic.PositiveFloat = 2e-3
    beta_1: float = pydantic.Field(
        default=0.9, ge=0, lt=1, description="not of SGD: how much of the last mean gradient stays"
    )
    weight_decay: pydantic.NonNegativeFloat = pydantic.Field(default=1e-2, description="AdamW only")
    schedule: Literal["cosine", "constant", "step"] = pydantic.Field(
        default="cosine", description="step: times 0.96 every 25 steps, continuously"
    )
    warmup_epochs: pydantic.NonNegativeFloat = pydantic.Field(
        default=3.0, description="cosine only"
    )
    clip_norm: pydantic.PositiveFloat | None = pydantic.Field(
        default=None, description="longest gradient, all weights together; None: any"
    )
    ema_momentum: float = pydantic.Field(
        default=0.99,
        ge=0,
        lt=1,
        description="of the averaged weights that evaluation and the model use; 0: off",
    )
    ema_warmup: bool = pydantic.Field(
        default=True, description="averages that forget quickly at first: for short trainings"
    )
    patience: pydantic.PositiveInt | None = pydantic.Field(
        default=None,
        description="stop after that many epochs without a lower validation loss; keep the best",
    )

    precision: Literal["auto", "float32", "bfloat16", "float16"] = pydantic.Field(
        default="float32",
        description="of the arithmetic in training; auto: bfloat16 where the device has it",
    )
    xla: bool = pydantic.Field(
        default=False, description="compile the whole step; on one device, and worth it on GPUs"
    )
    deterministic: bool = pydantic.Field(
        default=False, description="equal bits on a GPU as well, slower; a CPU gives them anyway"
    )
    seed: int = pydantic.Field(default=0, ge=0, lt=2**31)
    device: str = pydantic.Field(
        default="auto", description="auto, cpu, gpu, or a list such as gpu:0,gpu:1"
    )
    evaluate_test: bool = pydantic.Field(
        default=True, description="measure on the test split at the end"
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _take_defaults_of_method(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("method") == "inpainting":
            return {**_INPAINTING_DEFAULTS, **values}
        return values

    @pydantic.model_validator(mode="after")
    def _check_method(self) -> FitConfig:
        inpainting = self.method == "inpainting"
        others = [
            f"{name}={getattr(self, name)!r}"
            for name in (_CLASSIFICATION_ONLY if inpainting else _INPAINTING_ONLY)
            if getattr(self, name) != FitConfig.model_fields[name].default
        ]
        if others:
            msg = (
                "Settings must be of the method that trains. Received: "
                f"method={self.method!r} with {', '.join(others)}"
            )
            raise ValueError(msg)
        return self

    @pydantic.model_validator(mode="after")
    def _combine(self) -> FitConfig:
        if self.loss == "focal" and self.label_smoothing:
            msg = (
                "The focal loss takes no label smoothing, which undoes it. Received: "
                f"loss='focal', label_smoothing={self.label_smoothing}"
            )
            raise ValueError(msg)
        if self.loss == "triplet" and self.target == "label+protein":
            msg = (
                f"Triplets need one class a crop. Received: loss='triplet', target={self.target!r}"
            )
            raise ValueError(msg)
        if self.xla and self.augmentation == "rotations":
            msg = (
                "XLA cannot turn crops by any angle. Received: xla=True, "
                f"augmentation={self.augmentation!r}. Use 'orientations' with it"
            )
            raise ValueError(msg)
        if self.class_weights and self.sampling in self.target.split("+"):
            msg = (
                "Classes are to be balanced once, by weights or by sampling. Received: "
                f"class_weights={self.class_weights!r}, sampling={self.sampling!r}"
            )
            raise ValueError(msg)
        return self
