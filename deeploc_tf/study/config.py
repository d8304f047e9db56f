"""A study's file: read, validated, and what is wrong with it said in a sentence."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pydantic

from deeploc_tf.names import USUAL_SPLITS, known_split
from deeploc_tf.study.specification import (
    KINDS,
    ChosenMethod,
    CombinedMethod,
    Data,
    Method,
    NetworkMethod,
    Part,
    Plain,
    RecordsData,
)
from deeploc_tf.study.yaml_file import read_yaml
from tfrecords.errors import did_you_mean


class StudyConfigError(ValueError):
    """A study's file is not what it must be."""


class StudyConfig(Part):
    """A study: data, methods, seeds and how they are scored.

    Attributes:
        title: heads the page.
        data: what all methods see.
        seeds: of the learned methods; each is trained once a seed.
        methods: by the name that tables and figures show, in their order.
        reference: the method that the others are compared with, protein by protein.
        curves: methods whose scores on validation profiles are drawn against the epoch.
        map: method whose map is drawn.
        densities: standard whose largest terms are drawn as densities on the map.
        split: whose cells make the profiles.
        choose_by: standard whose terms hold together when proteins are divided into two halves, on
            which methods are scored once more: methods of the kind `chosen`, and whoever reads,
            choose on the first, and judge on the other.
        distinct_case: let proteins whose names differ in case alone be two.
        draws: of terms that do not overlap, for AMI and F.
    """

    title: str = "Functional maps of proteins, compared"
    data: Data
    seeds: tuple[pydantic.NonNegativeInt, ...] = pydantic.Field(default=(1, 2, 3), min_length=1)
    methods: dict[str, Method] = pydantic.Field(min_length=1)
    reference: str | None = None
    curves: tuple[str, ...] = ()
    map: str | None = None
    densities: str | None = None
    split: str = "test"
    choose_by: str | None = None
    draws: pydantic.PositiveInt = 10
    distinct_case: bool = False

    @property
    def candidates(self) -> dict[str, Plain]:
        """All methods, and in the place of each chosen one those that it is chosen of."""
        return dict(self._named_candidates())

    def _named_candidates(self) -> Iterator[tuple[str, Plain]]:
        for name, method in self.methods.items():
            if isinstance(method, ChosenMethod):
                yield from method.named(name).items()
            else:
                yield name, method

    @pydantic.field_validator("split")
    @classmethod
    def _spell(cls, value: str) -> str:
        return known_split(value, USUAL_SPLITS)

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
                several = CombinedMethod, ChosenMethod
                if any(isinstance(self.methods[other], several) for other in simple):
                    msg = f"`methods.{name}.of` must name methods that are not combined or chosen"
                    raise ValueError(msg)
            if isinstance(method, ChosenMethod) and self.choose_by is None:
                msg = (
                    f"`methods.{name}` is chosen on one half of the proteins: name the standard "
                    "that divides them as `choose_by`"
                )
                raise ValueError(msg)
        all_names = [name for name, _ in self._named_candidates()]
        twice = next((name for name in all_names if all_names.count(name) > 1), None)
        if twice is not None:
            msg = f"A method and a candidate must not have one name. Received: {twice!r} for both"
            raise ValueError(msg)
        for place, names in named.items():
            for name in names:
                _check_known(place, "method", name, self.methods)
        if self.densities is not None:
            if self.map is None:
                msg = "`densities` are drawn on a map: name the method of `map`"
                raise ValueError(msg)
            _check_known("densities", "standard", self.densities, self.data.standard_names)
        if self.choose_by is not None:
            _check_known("choose_by", "standard", self.choose_by, self.data.standard_names)
        for name in self.curves:
            method = self.methods[name]
            if not isinstance(method, NetworkMethod) or method.untrained:
                msg = f"`curves` must name methods that are trained. Received: {name!r}"
                raise ValueError(msg)
        return self


def _check_known(place: str, what: str, name: str, known: Iterable[str]) -> None:
    names = list(known)
    if name not in names:
        hint = did_you_mean(name, names) or f" Known: {', '.join(names)}"
        msg = f"`{place}` must name a {what}. Received: {name!r}.{hint}"
        raise ValueError(msg)


def read_study(path: str | Path) -> StudyConfig:
    """Read a study's YAML file; relative paths in it start at its folder.

    Raises:
        StudyConfigError: it is no YAML, or does not say what a study needs; the message names the
            key, and the nearest known one if it is unknown.
        OSError: the file cannot be read.
    """
    path = Path(path)
    try:
        values = read_yaml(path, "A study")
    except ValueError as error:
        raise StudyConfigError(str(error)) from error
    try:
        config = _below(path.parent, StudyConfig.model_validate(values))
        for name, method in config.candidates.items():
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
    found: dict[str, Any] = {
        "records": folder / data.records,
        "standards": {name: folder / file for name, file in data.standards.items()},
    }
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
    keys, kind = _place(problem["loc"])
    where = ".".join((*place, *keys))
    if problem["type"] == "extra_forbidden":
        part: Any = KINDS.get(kind, StudyConfig)
        if "transform" in keys[:-1]:
            part = part.model_fields["transform"].annotation
        known = (model or part).model_fields
        hint = did_you_mean(keys[-1], known)
        return f"`{where}` is no key of a study.{hint or ' Known: ' + ', '.join(sorted(known))}"
    if problem["type"] == "union_tag_not_found":
        return f"`{where}` must say its `kind`. Received: {_shown(problem['input'])}."
    text = str(problem["msg"]).removeprefix("Value error, ").rstrip(".")
    received = "" if "Received" in text else f" Received: {_shown(problem['input'])}."
    return f"{f'`{where}`: ' if where else ''}{text}{'' if text[-1] in '?.' else '.'}{received}"


def _shown(value: object) -> str:
    """A value in few words; aliases of YAML may stand for more than memory holds."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, 200, 200
    try:
        return short.repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a number of too many digits"


def _place(found: Sequence[int | str]) -> tuple[list[str], str]:
    """Keys down to where something is wrong, and the kind of the part that it is in, or "".

    pydantic puts the kind into the place: ("methods", "DeepLoc", "network", "fitt").
    """
    keys = [str(key) for key in found]
    places = {"data": [1], "methods": [2, 4]}.get(keys[0], []) if keys else []
    kind = ""
    for place in places:  # the second one is that of a candidate of a chosen method
        if place < len(keys) and keys[place] in KINDS and kind in ("", "chosen"):
            kind = keys.pop(place)
    return keys, kind
