"""A group of commands that imports a command when it is called, and turns errors into sentences."""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import click

from deeploc_tf.backend import unneeded
from deeploc_tf.cli.messages import messages_on_stderr, tell
from deeploc_tf.cli.recorded import recorded_words
from deeploc_tf.cli.streams import STANDARD_OUTPUT, standard_streams
from tfrecords.errors import did_you_mean

FAILED, OUT_OF_MEMORY, RESUMABLE, INTERRUPTED, TERMINATED = 1, 3, 75, 130, 143


class Lazy(NamedTuple):
    """A command that is imported when it is called.

    Attributes:
        where: `module:attribute`.
        summary: what the list of commands says of it.
        also: what others call it; the error then names this command.
    """

    where: str
    summary: str
    also: tuple[str, ...] = ()


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
        self.running: click.Command | None = None  # that runs

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
        self.running = getattr(importlib.import_module(module), attribute)
        return self.running

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands, of which none is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.summary) for name, lazy in self.lazy_commands.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name for a command that does not exist."""
        if args[0] not in self.lazy_commands and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}.{self._near(args[0])}")
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:
            from deeploc_tf.provenance import command_recorded

            ctx.with_resource(command_recorded(recorded_words(command, name or "", rest, ctx)))
        return name, command, rest

    def _near(self, word: str) -> str:
        """A question with the commands that a word may mean, or ""."""
        word = word.casefold()
        meant = [
            name
            for name, lazy in self.lazy_commands.items()
            if word in lazy.also or (len(word) > 1 and name.startswith(word))
        ]
        if not meant:
            return did_you_mean(word, self.lazy_commands)
        return f" Did you mean {' or '.join(map(repr, meant))}?"

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run a command and leave the process with its exit code."""
        kwargs["standalone_mode"] = False
        self.debug = False
        words = sys.argv[1:] if (given := (*args, kwargs.get("args"))[0]) is None else given
        helps = not {"-h", "--help", "--help-all"}.isdisjoint(words)
        with (
            standard_streams(),
            _signals_as_exceptions() as came,
            messages_on_stderr(),
            unneeded() if helps else contextlib.nullcontext(),
        ):
            run = functools.partial(super().main, *args, **kwargs)
            sys.exit(self._exit_code(run, came, shlex.join(["deeploc-tf", *words])))

    def _exit_code(self, run: Callable[[], Any], came: list[int], words: str) -> int:
        """The exit code of `run`; its errors are told on stderr.

        Args:
            run: the command.
            came: gets the exit codes of signals that arrive; libraries make other errors of them.
            words: how the command was called.
        """
        try:
            code = run()
            sys.stdout.flush()
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except BrokenPipeError:  # whoever read our output has left
            return FAILED
        except BaseException as error:
            if isinstance(error, SystemExit) and not came:
                raise
            if self.debug:
                traceback.print_exception(error)
            if came or isinstance(error, KeyboardInterrupt | click.Abort):
                code = came[0] if came else INTERRUPTED
                said = "Terminated." if code == TERMINATED else "Interrupted."
                stopped = error.__cause__ if isinstance(error, click.Abort) else error
                notes = getattr(stopped, "__notes__", None) or [_NOTHING_HALF]
                tell(" ".join([said, *notes]))
                return code
            tell(f"Error: {sentence(error, words, _options(self.running))}")
            return OUT_OF_MEMORY if _is_of_memory(error) else FAILED
        return code if isinstance(code, int) else 0


_NOTHING_HALF = "No half-written file is left; the same command starts again."
_OF_MEMORY = ("--batch-size", "--workers", "--memory", "--max-cells", "--max-megabytes")
_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EROFS)
_WORDS_OF_MEMORY = (
    *("bad_alloc", "Cannot allocate memory", "failed to map segment from shared object"),
    *("can't start new thread", "Failed to launch worker thread"),
)
_OURS = ("deeploc_tf", "tfrecords")
_ENDS_OF_SENTENCES = (".", "!", "?")


def _options(command: click.Command | None) -> list[str]:
    """Options of a command that decide how much memory it takes."""
    known = {name for parameter in command.params for name in parameter.opts} if command else set()
    return [name for name in _OF_MEMORY if name in known]


def _is_of_memory(error: BaseException) -> bool:
    """Whether memory has run out, in the words of any library."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    text = str(error)
    if type(error).__name__ == "ResourceExhaustedError":  # of TensorFlow, of a full disk as well
        return not any(os.strerror(number) in text for number in _OF_DISKS)
    return any(words in text for words in _WORDS_OF_MEMORY)


def sentence(error: BaseException, words: str = "", options: Sequence[str] = ()) -> str:
    """What an error says, with the places that were added on its way up.

    Args:
        error: ours, or of a library.
        words: how the command was called: of errors of libraries, which may name no file.
        options: of the command, that decide how much memory it takes.
    """
    notes = getattr(error, "__notes__", [])
    text = str(error) or type(error).__name__
    if _is_of_memory(error):
        lower = f"Lower {' or '.join(options)}" if options else "Take fewer cells or proteins"
        remedy = (
            []
            if "smaller" in text.lower() or "lower" in text.lower()
            else [f"{lower}, or use a machine with more memory."]
        )
        return " ".join([f"Out of memory. {_ended(_first_line(error))}".strip(), *notes, *remedy])
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.strerror}: {error.filename}"
        if error.filename == STANDARD_OUTPUT:
            text += ". Files that the command writes are whole"
    elif isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        text = (
            "Names must be UTF-8 where a library takes no other, as for Parquet and HDF5. "
            f"Received: {ascii(error.object)[:300]}. Rename the file, or its folder."
        )
    elif not isinstance(error, ValueError | OSError) or _is_of_a_library(error):
        kind = type(error)
        text = (
            f"{_ended(_first_line(error))} ({kind.__module__.partition('.')[0]}, {kind.__name__}) "
            f"This came up in `{words}`."
        )
        if not any(os.strerror(number) in str(error) for number in _OF_DISKS):
            text += (
                " If its files are whole, please report it with what `deeploc-tf --debug` shows of "
                "the same command."
            )
    text = " ".join(text.split("\n"))
    return " ".join([_ended(text), *notes]) if notes else text


def _is_of_a_library(error: BaseException) -> bool:
    """Whether an error was raised by somebody else's code, which does not know our files."""
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    package = str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]
    installed = "site-packages" in trace.tb_frame.f_code.co_filename
    return package in sys.stdlib_module_names or (installed and package not in _OURS)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "")


def _ended(text: str) -> str:
    return text if not text or text.endswith(_ENDS_OF_SENTENCES) else f"{text}."


@contextlib.contextmanager
def _signals_as_exceptions() -> Iterator[list[int]]:
    """Let SIGTERM raise, as Ctrl-C does, so that partial output is removed on the way out.

    Yields:
        The exit codes of those that came.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def stop(number: int, _: object) -> NoReturn:
        came.append(128 + number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(TERMINATED)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, stop)}
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # ignored in the background
        before[signal.SIGINT] = signal.signal(signal.SIGINT, stop)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
