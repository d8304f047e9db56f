from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deeploc_tf.processes import computed


def squared(number: int) -> int:
    if number < 0:
        msg = f"{number} is negative"
        error = Unportable(msg, lock=threading.Lock())
        error.add_note(f"Place: {number}.")
        raise error
    return number**2


def length_once_two_have_started(folder: Path) -> Callable[[bytes], int]:
    """What a process unpickles: it waits until another one does the same."""
    (folder / str(os.getpid())).touch()
    for _ in range(600):
        if len(list(folder.iterdir())) == 2:
            return len
        time.sleep(0.1)
    raise TimeoutError


class Length:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, task: bytes) -> int:
        return len(task)

    def __reduce__(self) -> tuple[Any, ...]:
        return length_once_two_have_started, (self.folder,)


class Unportable(ValueError):
    """An error that no pipe can carry."""

    def __init__(self, message: str, *, lock: object) -> None:
        super().__init__(message)
        self.lock = lock


def killed(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def later_first(number: int) -> int:
    time.sleep(0.2 if number == 0 else 0)
    return os.getpid()


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    found = list(computed(squared, iter(range(10)), workers, str))
    assert found == [(number, number**2) for number in range(10)]
    assert list(computed(squared, [], workers, str)) == []


def test_a_slow_task_keeps_its_place_and_others_go_on() -> None:
    found = list(computed(later_first, range(6), 2, str))
    assert [number for number, _ in found] == list(range(6))
    assert len({process for _, process in found} - {os.getpid()}) == 2


def test_processes_start_side_by_side_whatever_the_size_of_the_tasks(tmp_path: Path) -> None:
    """A pipe holds less than a task of crops, so whoever sends one waits for its process."""
    tasks = [bytes(1 << 20)] * 2
    assert [length for _, length in computed(Length(tmp_path), tasks, 2, str)] == [1 << 20] * 2


@pytest.mark.parametrize(("workers", "most"), [(1, 1), (2, 4)])
def test_tasks_are_taken_as_they_are_needed(workers: int, most: int) -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    for done, _ in enumerate(computed(squared, tasks(), workers, str)):
        assert len(taken) <= done + most


def test_an_error_that_no_pipe_can_carry_is_told_in_its_words() -> None:
    with pytest.raises(Unportable):
        list(computed(squared, [-1], 1, str))
    with pytest.raises(RuntimeError, match="Unportable: -1 is negative") as told:
        list(computed(squared, [1, -1], 2, str))
    assert told.value.__notes__ == ["Place: -1."]


def test_a_process_that_dies_is_told_with_its_task() -> None:
    with pytest.raises(ChildProcessError, match=r"exit code -9 in task [01]\. If memory ran out"):
        list(computed(killed, range(2), 2, lambda number: f"task {number}"))
