"""What a command says beside its results: on stderr, more with `-v`, less with `-q`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import math
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from deeploc_tf.cli.pipes import writes_standard_output
from deeploc_tf.extras import installed_version
from deeploc_tf.names import printable
from deeploc_tf.version import __version__

_LOGGERS = ("deeploc_tf", "tfrecords")
_QUIET, _VERBOSE = "deeploc_tf.cli: quiet", "deeploc_tf.cli: verbose"
_log = logging.getLogger(__name__)


def tell(message: str) -> None:
    """Write a line to stderr, above the bar if there is one."""
    # With `err=True`, click finds the stream behind that of the bar, and writes into its line.
    click.echo(printable(message), file=sys.stderr)


def note(message: str) -> None:
    """Say what a person should know of a result; `--quiet` hides it."""
    _log.info("%s", message)


def answer(values: Any, lines: Iterable[str], *, as_json: bool) -> None:
    """Print a result: as one JSON document, or in lines.

    Args:
        values: the document, or an object whose fields it has; docs/json.md names the keys.
        lines: the same for a person.
        as_json: what `--json` says.
    """
    context = click.get_current_context(silent=True)
    if writes_standard_output(context):
        if as_json:
            msg = "Standard output holds one thing: '-' as output and --json exclude each other."
            raise click.UsageError(msg)
        for line in lines:
            note(line)
        return
    if as_json:
        click.echo(json.dumps(_plain(values), indent=1, ensure_ascii=False))
        return
    for line in lines:
        click.echo(line)


def tell_part(part: str, num_crops: int, *, as_json: bool) -> None:
    """Print that one part of several is done."""
    line = f"Part {part}: {num_crops} cells. The same command without --part joins the parts."
    answer({"part": part, "num_crops": num_crops}, [line], as_json=as_json)


def _plain(values: Any) -> Any:
    """Values of JSON: numbers that are not finite are null, as in no standard they are numbers."""
    if dataclasses.is_dataclass(values):
        values = {field.name: getattr(values, field.name) for field in dataclasses.fields(values)}
    if isinstance(values, Mapping):
        return {str(name): _plain(value) for name, value in values.items()}
    if isinstance(values, list | tuple | set | frozenset):
        return [_plain(value) for value in values]
    if isinstance(values, float):
        return values if math.isfinite(values) else None
    return values if values is None or isinstance(values, bool | int | str) else str(values)


class _Messages(logging.Handler):
    """Shows what the library logs: what a person should know, in sentences."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line on stderr, as it is at this moment."""
        begin = f"{record.name}: " if record.levelno < logging.INFO else ""
        tell(f"{begin}{'Warning: ' * (record.levelno >= logging.WARNING)}{record.getMessage()}")


@contextlib.contextmanager
def messages_on_stderr() -> Iterator[None]:
    """Show what `deeploc_tf` and `tfrecords` log while a command runs."""
    handler = _Messages()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False  # other libraries may give the root a handler: not said twice
    _show_from(logging.INFO)
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


def _show_from(level: int) -> None:
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(level)


def _set_quiet(context: click.Context, _: click.Parameter, value: bool) -> bool:
    """Whether progress is hidden: by this option, or by that of the group."""
    if value and not context.resilient_parsing:
        context.meta[_QUIET] = True
        _check_one(context)
        _show_from(logging.WARNING)
    return bool(context.meta.get(_QUIET))


def _set_verbose(context: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing or _VERBOSE in context.meta:
        return
    context.meta[_VERBOSE] = True
    _check_one(context)
    _show_from(logging.DEBUG)
    names = ("tensorflow", "keras", "numpy", "pandas", "pyarrow", "h5py")
    packages = [f"{name} {found}" for name in names if (found := installed_version(name))]
    _log.debug(
        "deeploc-tf %s, Python %s, %s; %s",
        *(__version__, platform.python_version(), platform.platform(), ", ".join(packages)),
    )
    context.call_on_close(functools.partial(_tell_effort, time.monotonic()))


def _check_one(context: click.Context) -> None:
    if _QUIET in context.meta and _VERBOSE in context.meta:
        msg = "--quiet and --verbose contradict each other. Give one of them."
        raise click.UsageError(msg, context)


def _tell_effort(start: float) -> None:
    """How long the command took, and how much memory, where the system counts it."""
    memory = ""
    with contextlib.suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        memory = f", {peak / (2**30 if sys.platform == 'darwin' else 2**20):.2f} GiB of memory"
    _log.debug("It took %.1f seconds%s.", time.monotonic() - start, memory)


_QUIET_OPTION: dict[str, Any] = {
    "is_flag": True,
    "callback": _set_quiet,
    "help": "Hide progress and notes.",
}
quiet_option = click.option("-q", "--quiet", **_QUIET_OPTION)
quiet_alone_option = click.option("-q", "--quiet", expose_value=False, **_QUIET_OPTION)
"""Of the group, and of commands that show no progress."""
verbose_option = click.option(
    *("-v", "--verbose"),
    is_flag=True,
    expose_value=False,
    callback=_set_verbose,
    help="Show versions, details, time and memory as well.",
)
