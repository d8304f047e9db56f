"""A group of commands that imports a command when it is called, and turns errors into sentences."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

import click

from deeploc_tf.backend import unneeded
from tfrecords.errors import did_you_mean

FAILED, OUT_OF_MEMORY, RESUMABLE, INTERRUPTED, TERMINATED = 1, 3, 75, 130, 143


class Lazy(NamedTuple):
    """A command that is imported when it is called.

    Attributes:
        where: `module:attribute`.
        summary: what the list of commands says of it.
    """

    where: str
    summary: str


class LazyGroup(click.Group):
    """A click group that imports a command when it is called.

    Exit codes: 0 done, 1 failed with a sentence, 2 wrong usage, 3 out of memory, 75 stopped but
    resumable, 130 and 143 interrupted. A command may return its exit code.

    Args:
        lazy_commands: by name, in the order in which one uses them.
        attributes: as for `click.Group`.
    """

    def __init__(self, *, lazy_commands: Mapping[str, Lazy], **attributes: Any) -> None:
        super().__init__(**attributes)
        self.lazy_commands = dict(lazy_commands)
        self.debug = False  # contexts are gone when an error arrives at `main`

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of the commands, in the order in which one uses them."""
        return list(self.lazy_commands)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        """The command, imported now; None where there is none of that name."""
        if cmd_name not in self.lazy_commands:
            return None
        module, attribute = self.lazy_commands[cmd_name].where.split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands, of which none is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.summary) for name, lazy in self.lazy_commands.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name for a command that does not exist."""
        near = did_you_mean(args[0], self.lazy_commands)
        if args[0] not in self.lazy_commands and not args[0].startswith("-") and near:
            ctx.fail(f"No such command {args[0]!r}.{near}")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run a command and leave the process with its exit code."""
        kwargs["standalone_mode"] = False
        self.debug = False
        for stream in (sys.stdout, sys.stderr):  # names may hold what a terminal cannot show
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        words = sys.argv[1:] if (given := (*args, kwargs.get("args"))[0]) is None else given
        helps = not {"-h", "--help"}.isdisjoint(words)
        with (
            _termination_as_exception(),
            _messages_on_stderr(),
            unneeded() if helps else contextlib.nullcontext(),
        ):
            sys.exit(self._exit_code(lambda: super(LazyGroup, self).main(*args, **kwargs)))

    def _exit_code(self, run: Callable[[], Any]) -> int:
        """The exit code of `run`; its errors are told on stderr."""
        try:
            code = run()
            sys.stdout.flush()
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except BrokenPipeError:
            # whoever read our output has left; keep Python from flushing once more at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except (KeyboardInterrupt, click.Abort) as error:
            click.echo(" ".join(["Interrupted.", *getattr(error, "__notes__", [])]), err=True)
            return INTERRUPTED
        except (ValueError, OSError, MemoryError) as error:
            if self.debug:
                traceback.print_exception(error)
            click.echo(f"Error: {sentence(error)}", err=True)
            return OUT_OF_MEMORY if isinstance(error, MemoryError) else FAILED
        return code if isinstance(code, int) else 0


def sentence(error: Exception) -> str:
    """What an error says, with the places that were added on its way up."""
    text = str(error) or type(error).__name__
    if isinstance(error, MemoryError):
        text = f"Out of memory. {error}".strip()
    elif isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.strerror}: {error.filename}"
    return " ".join([text, *getattr(error, "__notes__", [])])


def tell(message: str) -> None:
    """Write a line to stderr, above the bar if there is one."""
    # With `err=True`, click finds the stream behind that of the bar, and writes into its line.
    click.echo(message, file=sys.stderr)


class _Messages(logging.Handler):
    """Shows what the library logs: what a person should know, in sentences."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line on stderr, as it is at this moment."""
        is_warning = record.levelno >= logging.WARNING
        tell(f"{'Warning: ' * is_warning}{record.getMessage()}")


@contextlib.contextmanager
def _messages_on_stderr() -> Iterator[None]:
    """Show what `deeploc_tf` and `tfrecords` log while a command runs."""
    handler = _Messages(logging.INFO)
    loggers = [logging.getLogger(name) for name in ("deeploc_tf", "tfrecords")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False  # other libraries may give the root a handler: not said twice
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


@contextlib.contextmanager
def _termination_as_exception() -> Iterator[None]:
    """Let SIGTERM raise, so that partial output is removed on the way out."""

    def stop(*_: object) -> NoReturn:
        raise SystemExit(TERMINATED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def noting_termination() -> Iterator[Callable[[], bool]]:
    """Let the first SIGTERM be noted only; gives a function that says whether it came."""
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    before = signal.getsignal(signal.SIGTERM)

    def note(*_: object) -> None:
        came.set()
        signal.signal(signal.SIGTERM, before)  # the second one is obeyed at once

    signal.signal(signal.SIGTERM, note)
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
