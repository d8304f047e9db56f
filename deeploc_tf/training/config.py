"""Everything that decides what a training does: one validated object, stored with the run.

The command line makes its options from these fields: name, type, choices, default and description.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

import pydantic

from deeploc_tf.network_choices import (
    AUGMENTATIONS,
    BACKBONES,
    NETWORKS,
    NORMALIZATIONS,
    Initializer,
    TestTime,
)
from deeploc_tf.pipeline.targets import Kind, Target, kinds
from deeploc_tf.presets import PRESETS, RECOMMENDED
from deeploc_tf.registry import Registry
from deeploc_tf.training.choices import LOSSES, OPTIMIZERS, SCHEDULES, Precision
from deeploc_tf.training.tasks import INPAINTING, SETTINGS_OF_SOME, TASKS
from tfrecords.errors import did_you_mean

_OURS: Any = PRESETS.get(RECOMMENDED)  # whose values are the defaults
_TOO_LONG = 2**31  # epochs or steps
_OF_DEEPLOC = (  # and of no other network
    *("preset", "backbone", "width", "dense_units", "last_block", "channels", "window"),
    *("normalization", "augmentation", "initializer", "batch_norm_momentum", "mask"),
)


class OneOf:
    """Metadata of a field whose value is a name in a registry, which may still grow.

    Args:
        registry: of the names.
        checked: whether a name must be known when the field is set, and not only when it is used.
    """

    def __init__(self, registry: Registry[Any], *, checked: bool = True) -> None:
        self.registry = registry
        self.checked = checked

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """A string that the registry knows."""
        if not self.checked:
            return handler(source)
        return pydantic.AfterValidator(self.registry.check).__get_pydantic_core_schema__(
            source, handler
        )


def _with_recipe(given: dict[str, Any]) -> dict[str, Any]:
    """The settings that are given, and else those of the preset and the method."""
    preset, method = given.get("preset", RECOMMENDED), given.get("method", "classification")
    found: dict[str, Any] = {}
    for layer in (
        PRESETS.get(preset).recipe if preset in PRESETS else {},
        TASKS.get(method).defaults if method in TASKS else {},
        given,
    ):
        if not {"epochs", "steps"}.isdisjoint(layer):  # one of them says how long
            found |= {"epochs": None, "steps": None, "min_steps": 0}
        found |= layer
    return found


class FitConfig(pydantic.BaseModel):
    """Settings of `fit`; what is not given is as the preset, or the method, says.

    The defaults of the fields are those of the recommended preset; other presets have others, see
    `deeploc_tf.presets.PRESETS`. None is as if nothing was given. Fields are documented
    where they stand; the architecture's are those of `deeploc_tf.models.deeploc.DeepLoc`, or with
    `method="inpainting"` of `deeploc_tf.models.inpainting.PairedCellInpainting`, which has no
    presets but the defaults of Lu et al. 2019. Two runs with equal settings and records on one
    machine's CPU give equal models.

    What the command line says otherwise about a field stands in its `json_schema_extra`: "flag", or
    None for no option; "default", in words, where the value does not say it.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    SECTIONS: ClassVar[dict[str, str]] = {
        "method": "Architecture",
        "freeze": "Transfer",
        "target": "Objective",
        "min_cells": "Inpainting",
        "epochs": "Optimization",
        "precision": "Execution",
    }
    """First field of each section -> its heading."""

    method: Annotated[str, OneOf(TASKS)] = pydantic.Field(
        default="classification",
        description="Supervised classification, or self-supervised Paired Cell Inpainting. "
        "Defaults of inpainting: "
        + ", ".join(f"{n} {v}".replace("_", "-") for n, v in INPAINTING.defaults.items())
        + ".",
    )
    preset: Annotated[str, OneOf(PRESETS)] = pydantic.Field(
        default=RECOMMENDED,
        description="Network and training recipe: ours for functional maps, or as published by "
        "Kraus et al. 2017, Razdaibiedina & Brechalov 2022 (GFP only), or PIFiA 2024 (GFP only, "
        "learns proteins). Options override the preset; defaults shown are those of "
        "functional-map.",
    )
    backbone: Annotated[str, OneOf(BACKBONES)] = pydantic.Field(
        default="deeploc",
        description="Network between preprocessing and fc_1: the convolutions of DeepLoc, or a "
        "network of keras.applications with random initial weights.",
    )
    # A finished run needs it no more: its model is in its file.
    network: Annotated[str, OneOf(NETWORKS, checked=False)] | None = pydantic.Field(
        default=None,
        description="Registered network over raw crops, in place of preset and backbone.",
    )
    width: float = pydantic.Field(
        default=1.0, gt=0, description="Multiplier for the number of filters of every convolution."
    )
    dense_units: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = pydantic.Field(
        default=None,
        description="Sizes of fc_1 and fc_2.",
        json_schema_extra={"default": "the preset's"},
    )
    last_block: bool = pydantic.Field(
        default=True, description="Keep the last convolutional block (conv_6 to conv_8)."
    )
    channels: tuple[str, ...] = pydantic.Field(
        default=(),
        description="Names of the channels to use, the protein's first.",
        json_schema_extra={"default": "as many as the preset uses: all, or GFP only"},
    )
    window: int | None = pydantic.Field(
        default=None,
        ge=0,
        description="Side of the square window that the network sees, in pixels; 0 for the whole "
        "crop.",
        json_schema_extra={"default": "the preset's for crops of 64x64 pixels, else 0"},
    )
    normalization: Annotated[str, OneOf(NORMALIZATIONS)] | None = pydantic.Field(
        default=None,
        description="Per-crop intensity normalization.",
        json_schema_extra={"default": "the preset's"},
    )
    augmentation: Annotated[str, OneOf(AUGMENTATIONS)] = pydantic.Field(
        default=_OURS.augmentation,
        description="Random flips; flips and 90-degree rotations (orientations); or rotation by "
        "any angle as well.",
    )
    initializer: Initializer = pydantic.Field(
        default=_OURS.initializer,
        description="Initial weights: Glorot uniform; or truncated normal with a standard "
        "deviation of 0.1, and biases of 0.1.",
    )
    dropout: float = pydantic.Field(
        default=_OURS.dropout,
        ge=0,
        lt=1,
        description="Dropout rate before the classification head.",
    )
    batch_norm_momentum: float = pydantic.Field(
        default=_OURS.batch_norm_momentum,
        ge=0,
        lt=1,
        description="Momentum of the moving averages of batch normalization; nearer 1 averages "
        "over more steps.",
    )
    mask: bool = pydantic.Field(
        default=False,
        description="Set the background of each crop to 0 and normalize by the pixels of the cell; "
        "needs records with masks.",
    )
    test_time: TestTime | None = pydantic.Field(
        default=None,
        description="Test-time augmentation: average the finished model over 5 windows of each "
        "crop, over its 8 flips and rotations, or over both; embed, evaluate, export and predict "
        "do the same.",
        json_schema_extra={"default": "the preset's, as far as crops and window have them"},
    )

    # `fit` sets it when it is told a run to begin with.
    initial_model: str | None = pydantic.Field(
        default=None,
        description="SHA-256 of the model whose weights the training begins with.",
        json_schema_extra={"flag": None},
    )
    freeze: tuple[str, ...] = pydantic.Field(
        default=(),
        description="Layers that keep the weights of the --from run: names, or patterns such as "
        "'conv_*'.",
    )

    target: Target = pydantic.Field(
        default=_OURS.target,
        description="What the network learns to predict; proteins need no labels.",
    )
    protein_weight: float = pydantic.Field(
        default=1.0, gt=0, description="Weight of the protein loss; label+protein only."
    )
    loss: Annotated[str, OneOf(LOSSES)] = pydantic.Field(
        default="cross-entropy",
        description="Training loss. Cross-entropy and focal loss act on the logits (softmax, or "
        "sigmoid for crops with several labels); the triplet loss acts on the features, and the "
        "head is trained by cross-entropy.",
    )
    triplet_margin: float = pydantic.Field(
        default=0.2,
        gt=0,
        le=4,
        description="Margin between squared distances; triplet loss only.",
    )
    focal_gamma: float = pydantic.Field(
        default=2.0,
        gt=0,
        le=10,
        description="Focusing exponent: higher values count easy crops less; focal loss only.",
    )
    class_weights: Literal["balanced"] | None = pydantic.Field(
        default=None, description="Weight the loss inversely to class frequency."
    )
    sampling: Kind | None = pydantic.Field(
        default=None,
        description="Balance each epoch: draw the same number of crops per label or per protein.",
        json_schema_extra={"default": "each crop once"},
    )
    label_smoothing: float = pydantic.Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Fraction of each target that is spread evenly over all classes.",
    )

    min_cells: int = pydantic.Field(
        default=30,
        ge=2,
        description="Leave out groups with fewer cells than this; a group is a protein in a field, "
        "unless --pair-by says otherwise.",
        json_schema_extra={"flag": "--min-cells-per-group"},
    )
    pair_by: tuple[str, ...] = pydantic.Field(
        default=(),
        description="Columns whose values the two cells of a pair share.",
        json_schema_extra={"default": "protein, and plate, well and field where there are any"},
    )

    epochs: int | None = pydantic.Field(
        default=_OURS.epochs,
        ge=0,
        lt=_TOO_LONG,
        description="Number of epochs; 0 keeps the untrained network.",
    )
    steps: pydantic.PositiveInt | None = pydantic.Field(
        default=_OURS.steps,
        lt=_TOO_LONG,
        description="Number of training steps, in place of epochs; the last epoch may be shorter.",
    )
    min_steps: int = pydantic.Field(
        default=_OURS.min_steps,
        ge=0,
        lt=_TOO_LONG,
        description="Train for at least this many steps, by repeating small data sets; 0 if "
        "--epochs or --steps is given. If more than 80 epochs would result, an epoch is several "
        "passes over the data.",
    )
    batch_size: pydantic.PositiveInt = pydantic.Field(
        default=_OURS.batch_size, description="Number of crops per batch, summed over replicas."
    )
    optimizer: Annotated[str, OneOf(OPTIMIZERS)] = pydantic.Field(
        default=_OURS.optimizer, description="Optimizer; sgd has Nesterov momentum of 0.9."
    )
    learning_rate: pydantic.PositiveFloat = pydantic.Field(
        default=_OURS.learning_rate, description="Peak learning rate."
    )
    beta_1: float = pydantic.Field(
        default=_OURS.beta_1, ge=0, lt=1, description="First-moment decay rate; ignored by SGD."
    )
    epsilon: pydantic.PositiveFloat = pydantic.Field(
        default=_OURS.epsilon, description="Added to the denominator of Adam and AdamW."
    )
    weight_decay: pydantic.NonNegativeFloat = pydantic.Field(
        default=_OURS.weight_decay, description="Decoupled weight decay; AdamW only."
    )
    schedule: Annotated[str, OneOf(SCHEDULES)] = pydantic.Field(
        default=_OURS.schedule,
        description="Learning-rate schedule: warmup, then cosine decay to 0; constant; or "
        "exponential decay in steps.",
    )
    warmup_epochs: pydantic.NonNegativeFloat = pydantic.Field(
        default=_OURS.warmup_epochs,
        description="Epochs of linear warmup, at most half of the training; cosine schedule only.",
    )
    decay_rate: float = pydantic.Field(
        default=_OURS.decay_rate,
        gt=0,
        le=1,
        description="Multiplier for the learning rate after every --decay-steps; exponential "
        "schedule only.",
    )
    decay_steps: pydantic.PositiveInt = pydantic.Field(
        default=_OURS.decay_steps,
        description="Steps between two decays of the learning rate; exponential schedule only.",
    )
    clip_norm: pydantic.PositiveFloat | None = pydantic.Field(
        default=None, description="Clip gradients to this global norm."
    )
    ema_momentum: float = pydantic.Field(
        default=_OURS.ema_momentum,
        ge=0,
        lt=1,
        description="Momentum of the exponential moving average (EMA) of the weights, which is "
        "evaluated and saved; 0 for none.",
    )
    ema_warmup: bool = pydantic.Field(
        default=True, description="Warm up the EMA decay; helps short runs."
    )
    patience: pydantic.PositiveInt | None = pydantic.Field(
        default=None,
        description="Early stopping: epochs without improvement in validation loss; the best epoch "
        "is kept.",
    )

    precision: Precision = pydantic.Field(
        default="float32",
        description="Numeric precision of training; auto selects bfloat16 if the hardware has it.",
    )
    tf32: bool = pydantic.Field(
        default=True,
        description="Let NVIDIA GPUs round the factors of float32 products to 10 bits of fraction "
        "(TensorFloat-32), which is faster; elsewhere it changes nothing.",
    )
    xla: bool = pydantic.Field(
        default=False,
        description="Compile the training step with XLA; single device only, faster on GPUs.",
    )
    deterministic: bool = pydantic.Field(
        default=False,
        description="Bitwise-reproducible training on GPUs (slower). CPU runs always are.",
    )
    seed: int = pydantic.Field(
        default=0,
        ge=0,
        lt=2**31,
        description="Random seed, for initial weights, augmentation and the order of crops.",
    )
    device: str = pydantic.Field(
        default="auto",
        description="Device to use: auto, cpu, gpu (all), or a list such as gpu:0,gpu:1.",
    )
    evaluate_test: bool = pydantic.Field(
        default=True,
        description="Evaluate on the test split at the end; turn it off while choosing settings.",
    )

    def changed(self, settings: Mapping[str, Any]) -> FitConfig:
        """The settings with others in their place; what was not given follows preset and method.

        Raises:
            TypeError: there is no setting of that name; the message has the nearest one.
            ValueError: a setting cannot be met.
        """
        known = type(self).model_fields
        if unknown := [name for name in settings if name not in known]:
            msg = (
                "Keywords must be settings of FitConfig. Received: "
                f"{unknown[0]}={settings[unknown[0]]!r}.{did_you_mean(unknown[0], known)}"
            )
            raise TypeError(msg)
        given = self.model_dump(exclude_unset=True)
        if not {"epochs", "steps"}.isdisjoint(settings):  # one of them says how long
            given = {n: v for n, v in given.items() if n not in ("epochs", "steps", "min_steps")}
        return type(self)(**{**given, **settings})

    @pydantic.model_validator(mode="wrap")
    @classmethod
    def _take_recipe(cls, values: Any, handler: Any) -> FitConfig:
        """What is given, and else what the preset and the method say."""
        if not isinstance(values, dict):
            return cast("FitConfig", handler(values))
        given = {name: value for name, value in values.items() if value is not None}
        found: FitConfig = handler(_with_recipe(given))
        # Those that were given: pydantic would count the recipe among them.
        fields = set(given).intersection(cls.model_fields)
        object.__setattr__(found, "__pydantic_fields_set__", fields)
        return found

    @pydantic.model_validator(mode="after")
    def _check_method(self) -> FitConfig:
        foreign = SETTINGS_OF_SOME.difference(TASKS.get(self.method).settings)
        if others := self._set_otherwise(foreign):
            msg = (
                "Settings must be of the method that trains. Received: "
                f"method={self.method!r} with {others}"
            )
            raise ValueError(msg)
        if self.network is not None and (others := self._set_otherwise(_OF_DEEPLOC)):
            msg = (
                "A network of your own has no settings of DeepLoc. Received: "
                f"network={self.network!r} with {others}"
            )
            raise ValueError(msg)
        return self

    def _set_otherwise(self, names: Any) -> str:
        """Those of the fields that are not at their default, in words."""
        fields = type(self).model_fields
        return ", ".join(
            f"{name}={getattr(self, name)!r}"
            for name in fields
            if name in names and getattr(self, name) != fields[name].default
        )

    @pydantic.model_validator(mode="after")
    def _combine(self) -> FitConfig:
        if (self.epochs is None) == (self.steps is None):
            msg = (
                "A training must be so many epochs long, or so many steps. Received: "
                f"epochs={self.epochs}, steps={self.steps}. Say one of them"
            )
            raise ValueError(msg)
        if self.steps is not None and self.steps < self.min_steps:
            msg = (
                "`steps` must be `min_steps` or more. Received: "
                f"steps={self.steps}, min_steps={self.min_steps}. Say one of them"
            )
            raise ValueError(msg)
        loss = LOSSES.get(self.loss)
        if self.label_smoothing and not loss.smoothing:
            msg = (
                f"The {self.loss} loss takes no label smoothing, which undoes it. Received: "
                f"loss={self.loss!r}, label_smoothing={self.label_smoothing}"
            )
            raise ValueError(msg)
        if loss.of_features and len(kinds(self.target)) > 1:
            msg = (
                "A loss of the features needs one class per crop. Received: "
                f"loss={self.loss!r}, target={self.target!r}. Choose one target"
            )
            raise ValueError(msg)
        if self.xla and self.augmentation == "rotations" and self.network is None:
            msg = (
                "XLA cannot turn crops by any angle. Received: xla=True, "
                f"augmentation={self.augmentation!r}. Use 'orientations' with it"
            )
            raise ValueError(msg)
        if self.xla and self.deterministic:
            msg = (
                "XLA has no deterministic gradient of max pooling on GPUs. Received: xla=True, "
                "deterministic=True. Leave one of them out"
            )
            raise ValueError(msg)
        if self.class_weights and self.sampling in kinds(self.target):
            msg = (
                "Classes are to be balanced once, by weights or by sampling. Received: "
                f"class_weights={self.class_weights!r}, sampling={self.sampling!r}"
            )
            raise ValueError(msg)
        return self
