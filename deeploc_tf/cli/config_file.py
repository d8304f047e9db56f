"""`--config FILE`: options from a file, as if they had been typed; and `--print-config`.

Keys are the names of the options, `learning_rate` or `learning-rate`. What is typed wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from deeploc_tf.cli.parameters import FILE, Fractions, Pair
from tfrecords.errors import did_you_mean

CONFIG = "config_file"
"""Name of the parameter."""

_OF_NO_FILE = {"quiet", "verbose", "print_config"}
_SETTINGS = "config"  # of a run's config.json
_Text = str | bool | list[str]


def config_options() -> list[click.Option]:
    """Both options, for a command that takes a file."""
    return [
        click.Option(
            ["--config", CONFIG],
            type=FILE,
            is_eager=True,
            expose_value=False,
            callback=_take,
            help="Read options from a YAML or JSON file, such as the config.json of a run; options "
            "that are given win.",
        ),
        click.Option(
            ["--print-config"],
            is_flag=True,
            expose_value=False,
            help="Print all options as YAML, as --config reads it, and exit.",
        ),
    ]


def _take(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Make the values of the file the defaults of this call."""
    if path is not None and not context.resilient_parsing:
        texts = texts_of(path, context)
        context.default_map = {**(context.default_map or {}), **texts}


def texts_of(path: Path, context: click.Context) -> dict[str, _Text]:
    """Parameter -> what one would type, of every key of a file that has a value.

    Raises:
        click.UsageError: a key is unknown or its value of a wrong type; the key is named.
    """
    from deeploc_tf.study.yaml_file import read_yaml

    try:
        values = read_yaml(path, "Configuration")
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if isinstance(values, Mapping) and isinstance(values.get(_SETTINGS), Mapping):
        values = {
            name: value for name, value in values[_SETTINGS].items() if name != "initial_model"
        }
    if values is None:  # an empty file
        values = {}
    if not isinstance(values, Mapping):
        msg = f"Configuration must be keys with values. Received: {path}: {_short(values)}."
        raise click.UsageError(msg)
    options = _by_key(context)
    found: dict[str, _Text] = {}
    for key, value in values.items():
        option = options.get(str(key).replace("-", "_"))
        if option is None or option.name is None:
            hint = did_you_mean(str(key), _keys(context))
            msg = f"{path.name}: keys must be options of the command. Received: {key!r}.{hint}"
            raise click.UsageError(msg, context)
        if option.name in found:
            msg = f"{path.name}: {key} is there twice, under two names. Remove one of them."
            raise click.UsageError(msg, context)
        if value is not None and value != []:
            found[option.name] = _text(option, key, value, path)
    for name, text in found.items():
        option = options[name] if name in options else _named(context, name)
        _check(option, text, path, context)
    return found


def _check(option: click.Option, text: _Text, path: Path, context: click.Context) -> None:
    """Let click read it now, so that the error names the key and the file."""
    try:
        option.type_cast_value(context, text)
    except click.BadParameter as error:
        msg = f"{path.name}: {_key(option)}: {error.message}"
        raise click.UsageError(msg, context) from error


def _named(context: click.Context, name: str) -> click.Option:
    return next(option for option in _options(context) if option.name == name)


def _options(context: click.Context) -> list[click.Option]:
    """Those that a file may hold."""
    return [
        option
        for option in context.command.get_params(context)
        if isinstance(option, click.Option) and not (option.is_eager or option.name in _OF_NO_FILE)
    ]


def _key(option: click.Option) -> str:
    """How a file calls it: its long flag without dashes."""
    return max(option.opts, key=len).lstrip("-").replace("-", "_")


def _keys(context: click.Context) -> list[str]:
    return [_key(option) for option in _options(context) if not option.hidden]


def _by_key(context: click.Context) -> dict[str, click.Option]:
    """Options by their keys; fields of settings also by their names, as a run's config.json has."""
    found = {_key(option): option for option in _options(context)}
    fields = getattr(context.command, "field_names", ())
    of_fields = {str(option.name): option for option in _options(context) if option.name in fields}
    return {**of_fields, **found}


def _text(option: click.Option, key: Any, value: Any, path: Path) -> _Text:
    """A value as it would be typed."""
    if option.is_flag or option.secondary_opts:
        if not isinstance(value, bool):
            raise _wrong(path, key, "true or false", value)
        return value
    if option.multiple:
        if isinstance(value, Mapping) and isinstance(option.type, Pair):
            return [f"{name}={_joined(path, key, one)}" for name, one in value.items()]
        parts = value if isinstance(value, list) else [value]
        return [_scalar(path, key, part) for part in parts]
    if isinstance(value, Mapping):
        if isinstance(option.type, Fractions | Pair):
            return ",".join(f"{name}={_joined(path, key, one)}" for name, one in value.items())
        raise _wrong(path, key, _expected(option), value)
    if isinstance(value, list):
        if not _takes_list(option):
            raise _wrong(path, key, _expected(option), value)
        return _joined(path, key, value)
    if isinstance(value, bool):
        raise _wrong(path, key, _expected(option), value)
    is_number = isinstance(value, int | float) or _is_exponential(value)
    wants_whole = isinstance(option.type, click.types.IntParamType)
    wants_number = isinstance(option.type, click.types.FloatParamType)
    if (wants_whole and not isinstance(value, int)) or (wants_number and not is_number):
        raise _wrong(path, key, _expected(option), value)
    if isinstance(option.type, click.Choice | click.Path) and is_number:
        raise _wrong(path, key, _expected(option), value)
    return _scalar(path, key, value)


def _is_exponential(value: str) -> bool:
    """Whether a text is a number such as 1e-08, which JSON writes and YAML does not know."""
    return re.fullmatch(r"[+-]?\d+(\.\d+)?[eE][+-]?\d+", value) is not None


def _takes_list(option: click.Option) -> bool:
    return option.type.name in ("name,...", "n,n", "number,...")


def _expected(option: click.Option) -> str:
    kind = option.type
    if isinstance(kind, click.Choice):
        return f"one of {', '.join(map(str, kind.choices))}"
    if isinstance(kind, click.types.IntParamType):
        return "a whole number"
    if isinstance(kind, click.types.FloatParamType):
        return "a number"
    return "a list or text" if _takes_list(option) else "text"


def _joined(path: Path, key: Any, value: Any) -> str:
    parts = value if isinstance(value, list) else [value]
    return ",".join(_scalar(path, key, part) for part in parts)


def _scalar(path: Path, key: Any, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _wrong(path, key, "text or a number", value)
    return value if isinstance(value, str) else str(value)


def _wrong(path: Path, key: Any, expected: str, value: Any) -> click.UsageError:
    msg = f"{path.name}: {key} must be {expected}. Received: {_short(value)}."
    return click.UsageError(msg)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def print_config(context: click.Context, arguments: Sequence[str]) -> None:
    """Print the options as they are after `--config` and what is typed, and leave."""
    import yaml

    parameters = [p for p in context.command.get_params(context) if isinstance(p, click.Option)]
    values, rest, order = context.command.make_parser(context).parse_args(list(arguments))
    for parameter in click.core.iter_params_for_processing(order, parameters):
        parameter.handle_parse_result(context, values, rest)
    settings: dict[str, Any] = {}
    if hasattr(context.command, "read_settings"):
        settings = context.command.read_settings(context)
    found = {
        _key(option): _plain(settings.get(option.name, context.params.get(str(option.name))))
        for option in _options(context)
        if not option.hidden
    }
    click.echo(yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=100), nl=False)
    context.exit()


def _plain(value: Any) -> Any:
    """A value that YAML has."""
    if isinstance(value, list | tuple):
        if value and all(isinstance(one, tuple) and len(one) == 2 for one in value):
            return ["=".join(map(str, one)) for one in value if one[0] is not None] or [
                str(one[1]) for one in value
            ]
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if type(value).__name__ == "Sentinel":  # click's word for what is not given
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def is_typed(context: click.Context, name: str) -> bool:
    """Whether an option was typed."""
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def was_given(context: click.Context, name: str) -> bool:
    """Whether an option was typed or stands in the file."""
    return context.get_parameter_source(name) not in (None, ParameterSource.DEFAULT)
