from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from deeploc_tf.processes import computed


def squared(number: int) -> int:
    if number < 0:
        msg = f"{number} is negative"
        raise Unportable(msg, lock=threading.Lock())
    return number**2


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
    with pytest.raises(RuntimeError, match="Unportable: -1 is negative"):
        list(computed(squared, [1, -1], 2, str))


def test_a_process_that_dies_is_told_with_its_task() -> None:
    with pytest.raises(ChildProcessError, match=r"exit code -9 in task [01]\. If memory ran out"):
        list(computed(killed, range(2), 2, lambda number: f"task {number}"))
