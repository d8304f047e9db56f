"""Progress: lines with rate and time left where there is no terminal, a bar where there is."""

from __future__ import annotations

import io
import logging
import re
from typing import Any

import click
import pytest

from deeploc_tf import progress as module
from deeploc_tf.cli.group import LazyGroup
from deeploc_tf.progress import Progress, counting, duration


class Clock:
    """Time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_lines_come_now_and_then_with_rate_and_time_left(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress("Reading crops", total=1000, stream=stream) as progress:
        clock.now += 60  # imports and the like are no measure
        for done in range(1, 1001):
            progress(done)
            clock.now += 1 / 64
    assert stream.getvalue().splitlines() == [
        "Reading crops: 321 of 1000, 64 per second, 0:11 left",
        "Reading crops: 641 of 1000, 64 per second, 0:06 left",
        "Reading crops: 961 of 1000, 64 per second, 0:01 left",
        "Reading crops: 1000 of 1000, 64 per second",
    ]


def test_work_that_was_done_before_counts_for_nothing(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress("Training", total=1000, stream=stream) as progress:
        progress(500)
        clock.now += 10
        progress(600)
    assert stream.getvalue().splitlines()[0] == "Training: 600 of 1000, 10 per second, 0:40 left"


def test_update_adds_and_an_unknown_total_is_not_shown(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress("Reading", stream=stream) as progress:
        progress.update(3)
        clock.now += 6
        progress.update(6)
        assert progress.done == 9
    assert stream.getvalue().splitlines()[0] == "Reading: 9, 1 per second"


def test_nothing_is_said_of_nothing_or_after_an_error(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress("Reading", stream=stream):
        pass
    progress = Progress("Reading", stream=stream)
    progress(1)
    progress.__exit__(ValueError, ValueError("bad"), None)
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with Progress("Reading crops", total=10, stream=stream) as progress:
        for done in range(1, 11):
            progress(done)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "Reading crops" in text
    assert "10/10" in text


class OutStream(io.StringIO):
    """As that of Jupyter."""

    __module__ = "ipykernel.iostream"


def test_a_notebook_gets_one_line(clock: Clock) -> None:
    stream = OutStream()
    with Progress("Reading crops", total=10_000, stream=stream) as progress:
        for done in (1, 5000, 9999, 10_000):
            progress(done)
            clock.now += 1
    written = stream.getvalue()
    assert written.count("\n") == 1
    assert written.endswith("\n")
    assert written.count("\r") >= 3
    shown: list[str] = []  # as a browser overwrites it
    for line in written.strip("\n").split("\r"):
        shown = [*line, *shown[len(line) :]]
    assert "".join(shown).rstrip() == written.rsplit("\r", 1)[1].rstrip()
    failed = OutStream()
    progress = Progress("Reading", stream=failed)
    for done in (1, 2):
        progress(done)
        clock.now += 1
    progress.__exit__(KeyError, KeyError(), None)
    assert failed.getvalue().endswith("second\n")


@pytest.mark.parametrize("progress", [None, 1, "yes"])
def test_progress_is_true_or_false_or_a_callable(progress: Any) -> None:
    with pytest.raises(TypeError, match="callable"), counting(progress, "Reading"):
        pass


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (123, "2:03"), (3723, "1:02:03")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_progress_is_shown_or_handed_on(capsys: pytest.CaptureFixture[str]) -> None:
    got: list[tuple[int, int | None]] = []
    for progress in (True, False, lambda done, total: got.append((done, total))):
        with counting(progress, "Reading crops", 3) as count:
            count(1)
            count(3)
    assert capsys.readouterr().err.count("Reading crops: 3 of 3") == 1
    assert got == [(1, 3), (3, 3)]


class Terminal(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), "utf-8")

    def isatty(self) -> bool:
        return True


def test_messages_stand_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")

    @click.command(cls=LazyGroup, lazy_commands={}, invoke_without_command=True)
    def command() -> None:
        with counting(True, "Things", 2) as count:
            count(1)
            logging.getLogger("deeploc_tf.things").warning("One is odd.")

    with pytest.raises(SystemExit):
        command.main([])
    terminal.flush()
    shown = terminal.buffer.getvalue().decode()  # type: ignore[attr-defined]
    clear = "\r\x1b[2K"  # the line of the bar
    assert f"{clear}Warning: One is odd.\n" in shown
