"""Types of option values (lists, pairs and shares), and options that several commands have."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, get_args

import click

from deeploc_tf.cli.pipes import InputFile, standard_output
from deeploc_tf.registry import imported

_Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]
_Settings = TypeVar("_Settings")

FILE = InputFile()


class Records(click.Path):
    """A data set: a folder, or an address as `s3://bucket/records`, which stays a text."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Path, or address."""
        from deeploc_tf.remote_records import is_address

        return str(value) if is_address(value) else super().convert(value, param, ctx)


cache_option = click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder for copies of records that are read from an address.  [default: "
    "$DEEPLOC_TF_CACHE, or deeploc-tf in the user's cache folder]",
)


class Output(click.Path):
    """What a command writes; until it ends, no other command writes it.

    Args:
        may_be_input: a file that is there is one to read.
        suffix: `-` writes a file that ends so to standard output; None where it cannot.
        attributes: as for `click.Path`.
    """

    def __init__(
        self, *, may_be_input: bool = False, suffix: str | None = None, **attributes: Any
    ) -> None:
        super().__init__(path_type=Path, **attributes)
        self.may_be_input = may_be_input
        self.suffix = suffix

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        """The path; where its folder cannot be written, the command itself says so."""
        from deeploc_tf.remote_records import check_local
        from tfrecords.locking import writing

        if self.suffix is not None and str(value) == "-" and ctx is not None:
            return standard_output(ctx, self.suffix)
        check_local(value)
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        is_input = self.may_be_input and path.is_file()
        is_there = path.parent.is_dir() and os.access(path.parent, os.W_OK)
        if ctx is not None and not is_input and is_there:
            # that of the group is closed whatever happens; a command's not if an option is wrong
            shared = isinstance(ctx.params.get("part"), str)  # others are written meanwhile
            ctx.find_root().with_resource(writing(path, by_callee=True, shared=shared))
        return path


class PartOf(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A part of several, such as 2/4."""

    name = "k/n"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """The text, if it names a part."""
        from tfrecords.parts import Part

        try:
            return str(Part.of(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


part_option = click.option(
    "--part",
    type=PartOf(),
    metavar="K/N",
    is_eager=True,  # `Output` must know: parts are written at the same time
    help="Do part K of N, such as 1/8, as a job of an array; once all are done, the same command "
    "without it joins them. See docs/scale.md.",
)


POSITIVE = click.FloatRange(min=0, min_open=True)


def settings_of(kind: type[_Settings], given: Mapping[str, Any]) -> _Settings:
    """Settings made of those parameters of a command that are called as its fields."""
    fields: Any = kind
    names = [field.name for field in dataclasses.fields(fields)]
    return kind(**{name: given[name] for name in names if name in given})


class Pair(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Two texts with an equals sign between them."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        """Both texts, neither of them empty."""
        left, _, right = (
            value.partition("=") if isinstance(value, str) else (value[0], "=", value[1])
        )
        if not (left and right):
            self.fail(f"{value!r} must have the form {self.name}.", param, ctx)
        return left, right


CONDITION: dict[str, Any] = {
    "multiple": True,
    "type": Pair("column=value[,value]"),
    "metavar": "COLUMN=VALUE[,VALUE]",
}
"""Of an option that chooses rows; `values_by_column` reads it."""


def values_by_column(conditions: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """What pairs such as `field=3,4` say: column -> its values, of all pairs together."""
    found: dict[str, tuple[str, ...]] = {}
    for column, values in conditions:
        found[column] = (*found.get(column, ()), *values.split(","))
    return found


def number_option(
    *names: str, least: int = 0, default: int | None = None, help: str | None = None
) -> _Decorator:
    """A whole number from `least` on; a default is shown."""
    shown = default is not None
    number = click.IntRange(min=least)
    return click.option(*names, type=number, default=default, show_default=shown, help=help)


batch_size_option = number_option(
    "--batch-size", least=1, default=256, help="Number of crops per batch."
)
seed_option = number_option("--seed", default=0, help="Random seed.")


workers_option = number_option(
    "--workers", least=1, default=1, help="Number of parallel processes."
)
OVERWRITE = "deeploc_tf.cli: overwrite"


def _set_overwrite(context: click.Context, _: click.Parameter, value: bool) -> bool:
    if value:
        context.meta[OVERWRITE] = True
    return value


_OVERWRITE: dict[str, Any] = {
    "is_flag": True,
    "help": "Replace an existing output once the new one is complete.",
}
own_overwrite_option = click.option("--overwrite", **_OVERWRITE)
"""Of a command that replaces its output itself; of others `Command` sees to it."""
overwrite_option = click.option(
    "--overwrite", expose_value=False, callback=_set_overwrite, **_OVERWRITE
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as one JSON document."
)


max_rejects_option = number_option(
    "--max-rejects",
    default=0,
    help="Allow up to this many unusable cells or fields; they are listed in rejects.jsonl.",
)


def neighbors_option(*, least: int = 0, default: int = 10) -> _Decorator:
    """How many of the most similar rows are wanted."""
    return number_option(
        *("-k", "--neighbors", "num_neighbors"),
        least=least,
        default=default,
        help="Number of nearest neighbors to show.",
    )


center_option = click.option(
    "--center", is_flag=True, help="Subtract the mean of each feature over all rows first."
)


split_option = click.option(
    "--split",
    "splits",
    multiple=True,
    default=("test",),
    show_default=True,
    help="Split to use; can be given several times.",
)


class LazyChoice(click.Choice):  # type: ignore[type-arg,unused-ignore]
    """Names of a registry, or of a `Literal`, that is imported when they are asked for.

    Args:
        place: where it is, as "module:attribute".
    """

    def __init__(self, place: str) -> None:
        self._place = place
        super().__init__(())

    @property
    def choices(self) -> tuple[str, ...]:
        """The names."""
        found = imported(self._place)
        return tuple(get_args(found) or found)

    @choices.setter
    def choices(self, value: Any) -> None:
        """Nothing: click sets it when the type is made."""


test_time_option = click.option(
    "--test-time",
    type=LazyChoice("deeploc_tf.network_choices:TestTime"),
    help="Test-time augmentation: average over 5 windows of each crop, over its 8 flips and "
    "rotations, or over both (40 views).  [default: that of the run]",
)

layer_option = click.option(
    "--layer", help="Layer whose output is the embedding; of a run only.  [default: fc_2]"
)

fast_option = click.option(
    "--fast",
    is_flag=True,
    help="Fold batch normalization into the convolutions, and compute in bfloat16 if the hardware "
    "supports it; of a run only.",
)

device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="Device to use: auto, cpu, gpu (the first), or one such as gpu:1.",
)

devices_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="Device to use: auto (all GPUs, else the CPU), cpu, gpu (all), or a list such as "
    "gpu:0,gpu:1. Results do not depend on their number.",
)


distinct_case_option = click.option(
    "--distinct-case",
    is_flag=True,
    help="Treat proteins whose names differ only in case, such as alleles, as different.",
)


def allow_unmatched_option(what: str, default: int | None = 0) -> _Decorator:
    """How many names of the data may have no partner where tables are joined.

    Args:
        what: these names, in words.
        default: where nothing is given; None allows any number.
    """
    shown = "any number" if default is None else str(default)
    return click.option(
        "--allow-unmatched",
        type=click.IntRange(min=0),
        default=default,
        metavar="N",
        help=f"Allow up to N unmatched names: {what}; they are counted.  [default: {shown}]",
    )


other_pixel_size_option = click.option(
    "--other-pixel-size",
    type=click.Choice(["warn", "refuse"]),
    default="warn",
    show_default=True,
    help="Warn about, or refuse, pixels more than 10% larger or smaller than in training.",
)


_DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t"}


def _delimiter(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    delimiter = _DELIMITERS.get(value, value) if value is not None else None
    if delimiter is not None and len(delimiter.encode()) != 1:
        msg = f"must be comma, semicolon, tab or one character. Received: {value!r}."
        raise click.BadParameter(msg)
    return delimiter


plate_map_option = click.option(
    "--plate-map",
    type=FILE,
    help="Table of what each well contains; it is joined on the columns it shares with the cells.",
)

delimiter_option = click.option(
    "--delimiter",
    callback=_delimiter,
    metavar="comma|semicolon|tab",
    help="Delimiter of text tables.  [default: detected from the header]",
)


def together(*options: _Decorator) -> _Decorator:
    """Several options as one decorator, in this order in the help."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


class Bytes(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A number of bytes, such as 1GB."""

    name = "bytes"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """Read a number with a unit."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)B?", str(value), re.IGNORECASE)
        if not found:
            self.fail(f"{value!r} is not a number of bytes, such as 500MB or 1GB.", param, ctx)
        return int(float(found[1]) * _UNITS[found[2].upper()])


def memory_option(default: str | None) -> _Decorator:
    """How much memory may be taken; a result that records it has another `default` than others."""
    return click.option(
        "--memory",
        type=Bytes(),
        default=default,
        show_default=default is not None,
        help="Memory limit for vectors and rankings, such as 1GB.",
    )


role_options = together(
    click.option(
        "--protein",
        help="Column that names the protein, or whatever a row describes.  [default: protein, "
        "gene or Metadata_...]",
    ),
    click.option("--plate", help="Column that names the plate.  [default: plate, barcode, ...]"),
    click.option("--well", help="Column that names the well.  [default: well, ...]"),
)


class Names(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Names divided by commas."""

    name = "name,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        """The names, none of them empty."""
        names = tuple(value.split(",")) if isinstance(value, str) else tuple(value)
        if not all(names):
            self.fail(f"{value!r} must be names divided by commas, none of them empty.", param, ctx)
        return names


class Sizes(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Two whole numbers with a comma between them."""

    name = "n,n"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        """Both numbers."""
        try:
            first, second = value.split(",") if isinstance(value, str) else value
            return int(first), int(second)
        except ValueError:
            self.fail(f"{value!r} must be two numbers, as in 512,512.", param, ctx)


class Numbers(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Whole numbers, from 0, divided by commas."""

    name = "number,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """The numbers."""
        texts = value.split(",") if isinstance(value, str) else [str(number) for number in value]
        if not all(text.isascii() and text.isdigit() for text in texts):
            self.fail(f"{value!r} must be whole numbers divided by commas.", param, ctx)
        return tuple(int(text) for text in texts)


class Fractions(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Shares such as `train=0.8,validation=0.1,test=0.1`."""

    name = "split=share,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> dict[str, float]:
        """Split -> share."""
        if isinstance(value, dict):  # click converts a default twice
            return value
        try:
            pairs = [part.split("=") for part in value.split(",")]
            fractions = {split.strip(): float(share) for split, share in pairs}
        except ValueError:
            self.fail(
                f"{value!r} must have the form train=0.8,validation=0.1,test=0.1.", param, ctx
            )
        if len(fractions) != len(pairs):
            self.fail(f"{value!r} must name each split once.", param, ctx)
        return fractions
