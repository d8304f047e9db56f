"""How far long work has come, on stderr.

A terminal gets a bar, a notebook one line that is written anew, anything else a line now and then.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import rich.progress

ShowProgress = bool | Callable[[int, int | None], None]
"""Whether to show progress, or what is called with how many are done, and of how many, if known."""

Count = Callable[[int], None]
"""Called with how many are done by now."""

SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_UPDATES = 0.1
_SECONDS_IN_NOTEBOOKS = 0.5  # each of them is sent to the browser


@contextlib.contextmanager
def counting(progress: ShowProgress, what: str, total: int | None = None) -> Iterator[Count]:
    """Gives what is to be called with the number of things done.

    Args:
        progress: whether to show it, or what to call with it.
        what: what is going on, such as "Reading crops".
        total: how many things there are; None where nobody knows.

    Raises:
        TypeError: `progress` is neither.
    """
    if not isinstance(progress, bool) and not callable(progress):
        msg = (
            "`progress` must be True, False or a callable that gets (done, total). Received: "
            f"progress={progress!r}."
        )
        raise TypeError(msg)
    if progress is True:
        with Progress(what, total) as shown:
            yield shown
    elif progress is False:
        yield lambda _: None
    else:
        called = progress
        yield lambda done: called(done, total)


class Progress:
    """Shows a count of things done, its rate and the time that is left; call it with the count.

    Args:
        what: what is going on, such as "Reading crops".
        total: how many things there are; None where nobody knows.
        stream: where to write, stderr by default.

    Example:
        with Progress("Reading crops", total=1642) as progress:
            for number in range(1642):
                progress(number + 1)
    """

    def __init__(
        self, what: str, total: int | None = None, *, stream: IO[str] | None = None
    ) -> None:
        self.what = what
        self.total = total
        self.done = 0
        self._stream = sys.stderr if stream is None else stream
        # of Jupyter, where a carriage return goes back to the beginning of the line
        self._in_notebook = type(self._stream).__module__.startswith("ipykernel")
        self._width = 0  # of the line that stands there
        self._bar: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None
        self._start = self._last = 0.0
        self._before = 0  # what was done when the clock started

    def __enter__(self) -> Progress:
        """Show the bar where there is a terminal."""
        if self._stream.isatty():
            self._bar, self._task = _bar(self.what, self.total, self._stream)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Show the last count and take the bar away."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self.done)
            self._bar.stop()
        elif kind is None and self._start:
            self._line(time.monotonic(), end="\n")
        elif self._width:
            self._stream.write("\n")

    def __call__(self, done: int) -> None:
        """Note that `done` things are done by now."""
        self.done = done
        now = time.monotonic()
        if (
            not self._start
        ):  # with the first thing done: what comes before it is no measure of the rest
            self._start = self._last = now
            self._before = done
        if self._bar is not None:
            wait = _SECONDS_BETWEEN_UPDATES
        else:
            wait = _SECONDS_IN_NOTEBOOKS if self._in_notebook else SECONDS_BETWEEN_LINES
        if now - self._last < wait:
            return
        self._last = now
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)
        else:
            self._line(now, end="" if self._in_notebook else "\n")

    def update(self, number: int) -> None:
        """Note that `number` more things are done."""
        self(self.done + number)

    def _line(self, now: float, end: str) -> None:
        rate = (self.done - self._before) / max(now - self._start, 1e-3)
        of = "" if self.total is None else f" of {self.total}"
        left = ""
        if self.total is not None and rate > 0 and self.done < self.total:
            left = f", {duration((self.total - self.done) / rate)} left"
        text = f"{self.what}: {self.done}{of}, {_short(rate)} per second{left}"
        if self._in_notebook:
            text, self._width = f"\r{text:<{self._width}}", len(text)
        self._stream.write(text + end)
        self._stream.flush()


def _short(rate: float) -> str:
    """Whole numbers, but for rates of slow things, which would be 0."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def duration(seconds: float) -> str:
    """A time span as hours, minutes and seconds: `1:02:03`, or `2:03` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _bar(
    what: str, total: int | None, stream: IO[str]
) -> tuple[rich.progress.Progress, rich.progress.TaskID]:
    from rich import progress
    from rich.console import Console

    class Rate(progress.ProgressColumn):
        def render(self, task: progress.Task) -> str:
            return "" if task.speed is None else f"{_short(task.speed)}/s"

    bar = progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        Rate(),
        progress.TimeRemainingColumn(),
        console=Console(file=stream),
    )
    return bar, bar.add_task(what, total=total)
