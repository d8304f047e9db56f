"""Standard output and error: closed, full or without a terminal, and names that steer one."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

from deeploc_tf.names import printable

STANDARD_OUTPUT = "standard output"


class _Standard(io.FileIO):
    """A standard stream that fails once at most, or never.

    Python would fail again when it flushes at the end, and change the exit code.
    """

    def __init__(self, descriptor: int, name: str | None) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._name = name
        self._failed = False

    def write(self, data: Any) -> int | None:  # type: ignore[override,unused-ignore]
        """Write, or raise the error of the system for the first time, if the stream has a name."""
        try:
            return len(data) if self._failed else super().write(data)
        except OSError as error:
            self._failed = True
            if self._name is None:
                return len(data)
            error.filename = self._name
            raise


class _Printed:
    """A stream that shows control characters of names as escapes, which JSON reads back."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text whose lines are ours."""
        written: int = self._stream.write(printable(text, keep="\n\t"))
        return written


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Streams of a command, whatever it was started with.

    What is written to a closed stream is lost, and no file that is opened later gets its number. A
    reader of standard output that leaves, or a disk that is full, is an error once; standard error
    has only what is told meanwhile, so that work goes on without it.
    """
    _open_closed_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout = _Printed(_stream(sys.stdout, sys.__stdout__, STANDARD_OUTPUT))
    sys.stderr = _stream(sys.stderr, sys.__stderr__, None)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        sys.stdout, sys.stderr = before


def _open_closed_descriptors() -> None:
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest number


def _stream(given: Any, original: Any, name: str | None) -> Any:
    if given is None:
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - of the process
    if given is not original or sys.platform == "win32":  # of a test, or a console of its own kind
        if hasattr(given, "reconfigure"):  # names may hold what a terminal cannot show
            given.reconfigure(errors="backslashreplace")
        return given
    with contextlib.suppress(OSError):
        given.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Standard(given.fileno(), name)),
        encoding=given.encoding,
        errors="backslashreplace",
        line_buffering=given.line_buffering or name is None,
        write_through=given.write_through,
    )
