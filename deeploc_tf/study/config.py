"""What a study compares, as a validated YAML file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml

from deeploc_tf.sources.simulation.simulate import PROTEOME, Screen
from tfrecords.errors import did_you_mean

_LARGEST_FILE = 1 << 20
_PATHS = {"file", "identifiers", "ontology", "slim"}  # among the settings of a standard


class StudyConfigError(ValueError):
    """A study's file is not what it must be."""


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SimulatedData(_Part):
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
        return value

    @property
    def settings(self) -> Screen:
        """Those of the screen."""
        return dataclasses.replace(PROTEOME, **self.screen)  # type: ignore[arg-type]


class RecordsData(_Part):
    """Records of a real screen, and standards from files.

    Attributes:
        kind: "records".
        records: folder of the records; relative paths start at the study's file.
        standards: name -> file, or settings of `read_standard` with a `file`.
        compartments: GMT that colors the map, or None.
    """

    kind: Literal["records"]
    records: Path
    standards: dict[str, dict[str, Any]] = pydantic.Field(min_length=1)
    compartments: Path | None = None


class NetworkMethod(_Part):
    """A network that is trained, or with `untrained` only initialized, once for each seed.

    Attributes:
        kind: "network".
        fit: settings of `FitConfig`; the seed is the study's.
        layers: addresses of the features, concatenated.
        untrained: take the network as it is before its first step.
        transform: of the profiles.
    """

    kind: Literal["network"]
    fit: dict[str, Any] = {}
    layers: tuple[str, ...] = ("fc_2",)
    untrained: bool = False
    transform: tuple[str, ...] = ()


class FeaturesMethod(_Part):
    """Classic features of crops, which know no seed.

    Attributes:
        kind: "features".
        features: which ones.
        transform: of the profiles.
    """

    kind: Literal["features"]
    features: Literal["cellprofiler", "intensity", "pixels"]
    transform: tuple[str, ...] = ()


class CombinedMethod(_Part):
    """Profiles of other methods side by side, each brought to one scale first.

    Attributes:
        kind: "combined".
        of: names of methods.
        transform: of the profiles together.
    """

    kind: Literal["combined"]
    of: tuple[str, ...] = pydantic.Field(min_length=2)
    transform: tuple[str, ...] = ()


class RandomMethod(_Part):
    """Vectors that know nothing: what chance looks like.

    Attributes:
        kind: "random".
        dimensions: of the vectors.
    """

    kind: Literal["random"]
    dimensions: pydantic.PositiveInt = 128


Method = Annotated[
    NetworkMethod | FeaturesMethod | CombinedMethod | RandomMethod,
    pydantic.Field(discriminator="kind"),
]
Data = Annotated[SimulatedData | RecordsData, pydantic.Field(discriminator="kind")]


class StudyConfig(_Part):
    """A study: data, methods, seeds and how they are scored.

    Attributes:
        title: heads the page.
        data: what all methods see.
        seeds: of the learned methods; each is trained once a seed.
        methods: by the name that tables and figures show, in their order.
        reference: the method that the others are compared with, protein by protein.
        curves: methods whose scores on validation profiles are drawn against the epoch.
        map: method whose map is drawn.
        split: whose cells make the profiles.
        resamples: bootstrap resamples of the proteins for the intervals.
    """

    title: str = "Functional maps of proteins, compared"
    data: Data
    seeds: tuple[pydantic.NonNegativeInt, ...] = pydantic.Field(default=(1, 2, 3), min_length=1)
    methods: dict[str, Method] = pydantic.Field(min_length=1)
    reference: str | None = None
    curves: tuple[str, ...] = ()
    map: str | None = None
    split: str = "test"
    resamples: pydantic.NonNegativeInt = 200

    @pydantic.field_validator("seeds")
    @classmethod
    def _differ(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            msg = "each seed must be named once"
            raise ValueError(msg)
        return value

    @pydantic.model_validator(mode="after")
    def _know_methods(self) -> StudyConfig:
        named = {
            "reference": [self.reference] if self.reference else [],
            "map": [self.map] if self.map else [],
            "curves": self.curves,
        }
        for name, method in self.methods.items():
            if isinstance(method, CombinedMethod):
                named[f"methods.{name}.of"] = method.of
                simple = [other for other in method.of if other in self.methods]
                if any(isinstance(self.methods[other], CombinedMethod) for other in simple):
                    msg = f"`methods.{name}.of` must name methods that are not combined themselves"
                    raise ValueError(msg)
        for place, names in named.items():
            for name in names:
                if name not in self.methods:
                    hint = did_you_mean(name, self.methods)
                    msg = f"`{place}` must name a method. Received: {name!r}.{hint}"
                    raise ValueError(msg)
        for name in self.curves:
            method = self.methods[name]
            if not isinstance(method, NetworkMethod) or method.untrained:
                msg = f"`curves` must name methods that are trained. Received: {name!r}"
                raise ValueError(msg)
        return self


_KINDS: Mapping[str | int, type[pydantic.BaseModel]] = {
    "simulated": SimulatedData,
    "records": RecordsData,
    "network": NetworkMethod,
    "features": FeaturesMethod,
    "combined": CombinedMethod,
    "random": RandomMethod,
}


def read_study(path: str | Path) -> StudyConfig:
    """Read a study's YAML file; relative paths in it start at its folder.

    Raises:
        StudyConfigError: it is no YAML, or does not say what a study needs; the message names the
            key, and the nearest known one if it is unknown.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if path.stat().st_size > _LARGEST_FILE:
        msg = f"A study's file must be under 1 MiB. Received: {path}. Is it the right one?"
        raise StudyConfigError(msg)
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        msg = f"A study must be a YAML file. Received: {path}: {' '.join(str(error).split())}."
        raise StudyConfigError(msg) from error
    try:
        config = _below(path.parent, StudyConfig.model_validate(values))
        for name, method in config.methods.items():
            if isinstance(method, NetworkMethod):
                _check_fit(name, method)
    except pydantic.ValidationError as error:
        raise StudyConfigError(f"{path}: {_sentence(error)}") from error  # noqa: EM102
    return config


def _below(folder: Path, config: StudyConfig) -> StudyConfig:
    """The study with its paths starting at a folder."""
    data = config.data
    if not isinstance(data, RecordsData):
        return config
    standards = {
        name: {**settings, **{key: str(folder / settings[key]) for key in _PATHS & settings.keys()}}
        for name, settings in data.standards.items()
    }
    found: dict[str, Any] = {"records": folder / data.records, "standards": standards}
    if data.compartments is not None:
        found["compartments"] = folder / data.compartments
    return config.model_copy(update={"data": data.model_copy(update=found)})


def _check_fit(name: str, method: NetworkMethod) -> None:
    from deeploc_tf.training.config import FitConfig

    if "seed" in method.fit:
        msg = f"`methods.{name}.fit` must leave the seed to the study's `seeds`. Take it out."
        raise StudyConfigError(msg)
    try:
        FitConfig(**method.fit)
    except pydantic.ValidationError as error:
        raise StudyConfigError(_sentence(error, ("methods", name, "fit"), FitConfig)) from error


def _sentence(
    error: pydantic.ValidationError,
    place: tuple[str, ...] = (),
    model: type[pydantic.BaseModel] | None = None,
) -> str:
    """The first thing that is wrong, with its place and, for an unknown key, the nearest one."""
    # An unknown key first: a required one that is missing is then most likely the same one.
    problem = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    keys = [str(part) for part in problem["loc"] if part not in _KINDS]
    where = ".".join((*place, *keys))
    if problem["type"] == "extra_forbidden":
        known = model.model_fields if model else _known_keys(problem["loc"])
        hint = did_you_mean(keys[-1], known)
        return f"`{where}` is no key of a study.{hint or ' Known: ' + ', '.join(sorted(known))}"
    text = str(problem["msg"]).removeprefix("Value error, ").rstrip(".")
    received = "" if "Received" in text else f" Received: {problem['input']!r}."
    return f"{f'`{where}`: ' if where else ''}{text}{'' if text[-1] in '?.' else '.'}{received}"


def _known_keys(place: tuple[int | str, ...]) -> list[str]:
    """Keys that may stand where an unknown one was found.

    pydantic puts the kind into the place: ("methods", "DeepLoc", "network", "fitt").
    """
    model = _KINDS.get(str(place[-2]), StudyConfig) if len(place) > 1 else StudyConfig
    return list(model.model_fields)
