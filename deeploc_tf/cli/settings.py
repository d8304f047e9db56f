"""Options made of the fields of a settings class: each setting is declared once.

A field gives the flag by its name, type and choices by its annotation, help by its description, and
the default that is shown. `json_schema_extra` says what differs: "flag", None for no option;
"default", in words, where the value does not say it. `SECTIONS` of the class heads groups of
fields.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from deeploc_tf.cli.command import ALL_OPTIONS, Command
from deeploc_tf.cli.config_file import is_typed, was_given
from deeploc_tf.cli.parameters import Names, Sizes
from deeploc_tf.registry import imported

if TYPE_CHECKING:
    import pydantic
    from pydantic.fields import FieldInfo

_TYPES: dict[Any, Any] = {
    int: click.INT,
    float: click.FLOAT,
    str: click.STRING,
    tuple[str, ...]: Names(),
}


_DURATION = ("epochs", "steps", "min_steps")


class SettingsCommand(Command):
    """A command with an option for each field of a settings class, beside its own.

    The class, and with it pydantic, is imported when the options are asked for.

    Args:
        settings: where the class is, as "module:attribute".
        attributes: as for `Command`.
    """

    def __init__(self, *, settings: str, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._settings = settings
        self._made: dict[str, list[click.Option]] | None = None

    def has_many_options(self) -> bool:
        """Yes: the fields of the settings are many."""
        return True

    @property
    def field_names(self) -> list[str]:
        """Of the settings, which are keys of a run's config.json."""
        return list(imported(self._settings).model_fields)

    def read_settings(self, ctx: click.Context) -> dict[str, Any]:
        """The settings with the values that they have when nothing else is given."""
        found: dict[str, Any] = given_settings(ctx, imported(self._settings)).model_dump()
        return found

    @property
    def sections(self) -> dict[str, list[click.Option]]:
        """The options of the settings by their heading."""
        if self._made is None:
            self._made = options_of(imported(self._settings))
        return self._made

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Arguments, options of the settings, and the command's own."""
        arguments = [param for param in self.params if isinstance(param, click.Argument)]
        others = [param for param in super().get_params(ctx) if param not in arguments]
        made = [option for options in self.sections.values() for option in options]
        return [*arguments, *made, *others]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of each section below its heading, the command's own at last."""
        if not ctx.meta.get(ALL_OPTIONS):
            super().format_options(ctx, formatter)
            return
        own = [param for param in super().get_params(ctx) if isinstance(param, click.Option)]
        for heading, options in {**self.sections, "Run": own}.items():
            with formatter.section(f"{heading} options"):
                formatter.write_dl(self.help_rows(ctx, options))


def given_settings(context: click.Context, settings: type[pydantic.BaseModel]) -> Any:
    """The settings, made of exactly those options that were given.

    Raises:
        UsageError: a value is not allowed, or does not go with another one.
    """
    import pydantic

    given = {
        name: value
        for name, value in context.params.items()
        if name in settings.model_fields and was_given(context, name)
    }
    typed = {name for name in given if is_typed(context, name)}
    if not typed.isdisjoint(_DURATION):  # that of the file is another one
        given = {name: given[name] for name in given if name in typed or name not in _DURATION}
    try:
        return settings(**given)
    except pydantic.ValidationError as error:
        raise click.UsageError(_sentence(error, settings)) from error


def options_of(settings: type[pydantic.BaseModel]) -> dict[str, list[click.Option]]:
    """The options of a settings class by their heading, in the order of the fields."""
    headings: Mapping[str, str] = getattr(settings, "SECTIONS", {})
    found: dict[str, list[click.Option]] = {}
    heading = "Settings"
    for name, field in settings.model_fields.items():
        heading = headings.get(name, heading)
        option = _option(name, field)
        if option is not None:
            found.setdefault(heading, []).append(option)
    return found


def _option(name: str, field: FieldInfo) -> click.Option | None:
    """The option of a field, or None where it has none; hidden where there are no choices."""
    flag = _flag(name, field)
    kind, choices = _kind_and_choices(field)
    if flag is None:
        return None
    words = _extra(field).get("default")
    text = f"{field.description}  [default: {words}]" if words else field.description
    attributes: dict[str, Any] = {"default": field.default, "help": text}
    shown = words is None and field.default not in (None, ())
    if choices:
        attributes["type"] = click.Choice(list(choices))
    elif choices == ():  # what is chosen is missing, and the settings say so
        attributes["hidden"] = True
    elif kind is not bool:
        attributes["type"] = _TYPES.get(kind) or Sizes()
    elif not field.default:
        attributes["is_flag"], shown = True, False
    return click.Option([flag, name], show_default=shown, **attributes)


def _flag(name: str, field: FieldInfo) -> str | None:
    """How the option is written, both ways of a switch that is on by default."""
    flag = f"--{name.replace('_', '-')}"
    if field.annotation is bool and field.default:
        flag += f"/--no-{flag[2:]}"
    found: str | None = _extra(field).get("flag", flag)
    return found


def _extra(field: FieldInfo) -> Mapping[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _kind_and_choices(field: FieldInfo) -> tuple[Any, Sequence[str] | None]:
    """The type of a field's values without None and bounds, and its choices, if it has some."""
    kind, metadata = field.annotation, list(field.metadata)
    while True:
        arguments = typing.get_args(kind)
        if typing.get_origin(kind) is typing.Annotated:
            kind, metadata = arguments[0], [*metadata, *arguments[1:]]
        elif typing.get_origin(kind) in (typing.Union, types.UnionType):
            (kind,) = (argument for argument in arguments if argument is not type(None))
        else:
            break
    if typing.get_origin(kind) is typing.Literal:
        return kind, arguments
    registries = [one.registry for one in metadata if hasattr(one, "registry")]
    return kind, registries[0].names if registries else None


def _sentence(error: pydantic.ValidationError, settings: type[pydantic.BaseModel]) -> str:
    """What is wrong, with the flag that it is about."""
    problem = error.errors()[0]
    text = str(problem["msg"]).removeprefix("Value error, ").rstrip(".")
    if not problem["loc"]:  # it is about several options, and names them
        return f"{text}."
    name = str(problem["loc"][0])
    flag = (_flag(name, settings.model_fields[name]) or name).partition("/")[0]
    return f"{text}. Received: {flag} {problem['input']}."
