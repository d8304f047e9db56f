"""What a study is made of: data that all methods see, and methods, as validated parts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from deeploc_tf.features.choices import FeatureKind
from deeploc_tf.network_choices import TestTime
from deeploc_tf.profiles.choices import NormalizationKind
from deeploc_tf.simulation.function import STANDARDS
from deeploc_tf.simulation.simulate import PROTEOME, Screen, check_settings
from tfrecords.errors import did_you_mean


class Part(pydantic.BaseModel):
    """What knows its keys, and never changes."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SimulatedData(Part):
    """A screen that the study simulates, with its own standards.

    Attributes:
        kind: "simulated".
        screen: settings, as of `deeploc_tf.simulate`; those not named are of the proteome.
        truth: SHA-256 of the truth (labels and standards), frozen before methods are compared: if
            the generator changes, the study stops instead of comparing other things.
    """

    kind: Literal["simulated"]
    screen: dict[str, int | float] = {}
    truth: str | None = None

    @pydantic.field_validator("screen")
    @classmethod
    def _know_settings(cls, value: dict[str, int | float]) -> dict[str, int | float]:
        known = [field.name for field in dataclasses.fields(Screen)]
        for name in value:
            if name not in known:
                msg = f"`{name}` is no setting of a screen.{did_you_mean(name, known)}"
                raise ValueError(msg)
        check_settings(value)
        return value

    @property
    def settings(self) -> Screen:
        """Those of the screen."""
        return dataclasses.replace(PROTEOME, **self.screen)  # type: ignore[arg-type]

    @property
    def standard_names(self) -> list[str]:
        """Names of the standards."""
        return list(STANDARDS)


class RecordsData(Part):
    """Records of a real screen, and standards from files.

    Attributes:
        kind: "records".
        records: folder of the records; relative paths start at the study's file.
        standards: name -> file, of any format that needs no options (see `standards --gmt`).
        compartments: file of such a format, whose terms color the map, or None.
    """

    kind: Literal["records"]
    records: Path
    standards: dict[str, Path] = pydantic.Field(min_length=1)
    compartments: Path | None = None

    @property
    def standard_names(self) -> list[str]:
        """Names of the standards."""
        return list(self.standards)


class Transform(Part):
    """What becomes of profiles before they are compared; it is fitted to all of them.

    Attributes:
        normalize: each feature to mean 0 ("center"), and deviation 1 ("standardize"), or the same
            with medians ("mad").
        sphere: make features uncorrelated.
        num_components: principal components to keep.
    """

    normalize: NormalizationKind | None = None
    sphere: bool = False
    num_components: pydantic.PositiveInt | None = None

    @pydantic.model_validator(mode="after")
    def _project_once(self) -> Transform:
        if self.sphere and self.num_components is not None:
            msg = "A transform has one projection: name `sphere` or `num_components`"
            raise ValueError(msg)
        return self

    @property
    def of_cells(self) -> bool:
        """Whether cells are normalized, before their profiles are made."""
        return False


class CellTransform(Transform):
    """A transform that may normalize cells, before their profiles are made.

    Attributes:
        by: column, such as `plate`: the cells of each of its values are normalized by themselves.
        controls: column and value of the cells that the normalization is fitted to, such as
            `{protein: CTRL}`; none: all.
    """

    by: str | None = None
    controls: dict[str, str] = pydantic.Field(default={}, max_length=1)

    @pydantic.model_validator(mode="after")
    def _normalize_cells(self) -> CellTransform:
        if self.of_cells and self.normalize is None:
            msg = "`by` and `controls` are those of a normalization: name `normalize`, too"
            raise ValueError(msg)
        return self

    @property
    def of_cells(self) -> bool:
        """Whether cells are normalized, before their profiles are made."""
        return self.by is not None or bool(self.controls)


class NetworkMethod(Part):
    """A network that is trained, or with `untrained` only initialized, once for each seed.

    Attributes:
        kind: "network".
        fit: settings of `FitConfig`; the seed is the study's.
        layers: addresses of the features, concatenated; none: the network's own.
        test_time: views of each crop over which vectors are averaged, as of `embed`; none said: the
            preset's.
        untrained: take the network as it is before its first step.
        shuffled: train on labels that are those of other crops, drawn at random.
        transform: of the profiles.
    """

    kind: Literal["network"]
    fit: dict[str, Any] = {}
    layers: tuple[str, ...] = ()
    test_time: TestTime | None = None
    untrained: bool = False
    shuffled: bool = False
    transform: CellTransform = CellTransform()

    @pydantic.model_validator(mode="after")
    def _train_or_not(self) -> NetworkMethod:
        if self.untrained and self.shuffled:
            msg = "A network that is not trained sees no labels: name `untrained` or `shuffled`"
            raise ValueError(msg)
        return self


class FeaturesMethod(Part):
    """Classic features of crops, which know no seed.

    Attributes:
        kind: "features".
        features: which ones.
        mask_channel: channel that shows all of the cell, or "none" for the whole crop, as of
            `measure`; none said: stored masks, or the second channel.
        transform: of the profiles.
    """

    kind: Literal["features"]
    features: FeatureKind
    mask_channel: str | None = None
    transform: CellTransform = CellTransform()


class LabelsMethod(Part):
    """The labels of the cells that networks are trained on: no pixel, no seed.

    Attributes:
        kind: "labels".
    """

    kind: Literal["labels"]


class SupervisedFeaturesMethod(Part):
    """Classic features that are trained as networks are: logits of the labels, cell by cell.

    Logistic regression learns the labels from the cells of the split `train`; a profile is the mean
    of the logits of a protein's cells.

    Attributes:
        kind: "supervised_features".
        features: which ones.
        mask_channel: channel that shows all of the cell, or "none" for the whole crop, as of
            `measure`; none said: stored masks, or the second channel.
        transform: of the profiles.
    """

    kind: Literal["supervised_features"]
    features: FeatureKind
    mask_channel: str | None = None
    transform: Transform = Transform()


class CombinedMethod(Part):
    """Profiles of other methods side by side, each brought to one scale first.

    Attributes:
        kind: "combined".
        of: names of methods.
        transform: of the profiles together.
    """

    kind: Literal["combined"]
    of: tuple[str, ...] = pydantic.Field(min_length=2)
    transform: Transform = Transform()


Candidate = Annotated[
    NetworkMethod | FeaturesMethod | SupervisedFeaturesMethod,
    pydantic.Field(discriminator="kind"),
]


class RandomMethod(Part):
    """Vectors that know nothing: what chance looks like.

    Attributes:
        kind: "random".
        dimensions: of the vectors.
    """

    kind: Literal["random"]
    dimensions: pydantic.PositiveInt = 128


Plain = (
    NetworkMethod
    | FeaturesMethod
    | SupervisedFeaturesMethod
    | LabelsMethod
    | CombinedMethod
    | RandomMethod
)
"""Methods that are not chosen of others."""


class ChosenMethod(Part):
    """The best of several methods on the half of the proteins that chooses, see `choose_by`.

    Attributes:
        kind: "chosen".
        of: the candidates, by name.
    """

    kind: Literal["chosen"]
    of: dict[str, Candidate] = pydantic.Field(min_length=2)

    def named(self, name: str) -> dict[str, Candidate]:
        """The candidates of a method of this name, by names that tell them from other methods."""
        return {f"{name}: {candidate}": method for candidate, method in self.of.items()}


Method = Annotated[Plain | ChosenMethod, pydantic.Field(discriminator="kind")]
Data = Annotated[SimulatedData | RecordsData, pydantic.Field(discriminator="kind")]

KINDS: dict[str, type[Part]] = {
    "simulated": SimulatedData,
    "records": RecordsData,
    "network": NetworkMethod,
    "features": FeaturesMethod,
    "supervised_features": SupervisedFeaturesMethod,
    "labels": LabelsMethod,
    "combined": CombinedMethod,
    "chosen": ChosenMethod,
    "random": RandomMethod,
}
