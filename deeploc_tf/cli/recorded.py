"""The words of a command as files keep them: no folder of this machine, and no name of what is new.

So the same command writes the same bytes wherever its files lie, and can be repeated when they were
moved: see `deeploc_tf.lineage.replay`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from deeploc_tf.cli.config_file import CONFIG, texts_of
from deeploc_tf.cli.parameters import Output, Records

OUTPUT = "OUTPUT"
"""Stands for what is written, with its suffix."""

_OF_NO_BYTE = {
    *("quiet", "verbose", "as_json", "memory", "workers", "debug", "overwrite", "cache", CONFIG),
}


def recorded_words(
    command: click.Command, name: str, args: Sequence[str], parent: click.Context
) -> list[str]:
    """Name, options as they were given, then arguments; nothing where the usage is wrong."""
    # Of this parent: a command keeps the names of its help option from the first context that asks.
    context = click.Context(command, parent, resilient_parsing=True)
    try:
        values, _, order = command.make_parser(context).parse_args(list(args))
    except click.UsageError:  # which click tells
        return [name]
    if values.get(CONFIG) and Path(values[CONFIG]).is_file():
        with contextlib.suppress(click.UsageError, OSError):  # which click tells
            texts = texts_of(Path(values[CONFIG]), context)
            order += [p for p in command.get_params(context) if p.name in texts and p not in order]
            values = {**texts, **values}
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    new = [one for one in arguments if _is_new(one)][-1:]
    words = [name]
    for parameter in dict.fromkeys([*(p for p in order if p not in arguments), *arguments]):
        given = values.get(parameter.name or "")
        if parameter.name not in _OF_NO_BYTE and isinstance(given, str | bool | list | tuple):
            words += _words(parameter, given, is_new=parameter in new)
    return words


def _is_new(parameter: click.Parameter) -> bool:
    """Whether it names what need not be there."""
    return isinstance(parameter.type, click.Path) and not parameter.type.exists


def _words(parameter: click.Parameter, given: Any, *, is_new: bool) -> Iterator[str]:
    texts = [given] if isinstance(given, str | bool) else given
    for value in texts:
        parts = [value] if isinstance(value, str) else value if isinstance(value, tuple) else []
        shown = [_shown(part, parameter, is_new=is_new) for part in parts]
        if isinstance(parameter, click.Option):
            off = value is False and parameter.secondary_opts
            yield (parameter.secondary_opts if off else parameter.opts)[-1]
        yield from shown


def _shown(text: str, parameter: click.Parameter, *, is_new: bool) -> str:
    """A value; of a file the last name."""
    if isinstance(parameter.type, Records):
        from deeploc_tf.remote_records import is_address, name_of

        if is_address(text):
            return name_of(text)
    # What a killed command has left of its outputs does not make them inputs.
    is_output = isinstance(parameter.type, Output) and not parameter.type.may_be_input
    if is_new or is_output or (_is_new(parameter) and not _exists(text)):
        return OUTPUT + Path(text).suffix
    if _exists(text):
        return Path(text).absolute().name
    name, sign, rest = text.partition("=")
    return f"{name}={Path(rest).absolute().name}" if sign and _exists(rest) else text


def _exists(text: str) -> bool:
    try:
        return bool(text) and Path(text).exists()
    except (OSError, ValueError):  # too long, or with a zero
        return False
