"""Tasks done by several processes; their results come in the order of the tasks."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


@dataclasses.dataclass
class _Job(Generic[_Task]):
    task: _Task
    done: bool = False
    result: Any = None


def computed(
    function: Callable[[_Task], _Result],
    tasks: Iterable[_Task],
    workers: int,
    named: Callable[[_Task], str],
) -> Iterator[tuple[_Task, _Result]]:
    """Each task with its result, in order.

    Tasks are taken as they are needed: memory holds two per process, with their results.
    Processes are spawned and not forked: a fork would take over locks that threads hold. So with
    several a script that calls this must guard its main code by `if __name__ == "__main__":`.

    Args:
        function: what is done; it is pickled once for each process.
        tasks: what it is done to; each is pickled.
        workers: how many processes; with 1, this process does it.
        named: a task in words, for messages.

    Raises:
        ChildProcessError: a process died; its task is named.
        Exception: what `function` raised.
    """
    if workers == 1:
        yield from ((task, function(task)) for task in tasks)
        return
    jobs = map(_Job, tasks)
    processes: dict[Connection, SpawnProcess] = {}
    busy: dict[Connection, _Job[_Task]] = {}
    waiting: collections.deque[_Job[_Task]] = collections.deque()
    try:
        while True:
            given, started = [], []
            while len(busy) < workers and len(waiting) < 2 * workers:
                job = next(jobs, None)
                if job is None:
                    break
                if len(processes) == len(busy):
                    connection, process = _start()
                    processes[connection] = process
                    started.append(connection)
                connection = next(c for c in processes if c not in busy)
                busy[connection] = job
                given.append(connection)
                waiting.append(job)
            # Not before all have started, and functions before tasks: what is large has to wait
            # until its process reads, and what a function imports takes seconds.
            sent = [(c, function) for c in started] + [(c, busy[c].task) for c in given]
            for connection, message in sent:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # told below
                    connection.send(message)
            if not waiting:
                return
            if waiting[0].done:
                job = waiting.popleft()
                yield job.task, job.result
                continue
            ready = wait(list(busy))
            for connection in [c for c in busy if c in ready]:
                job = busy.pop(connection)
                job.result = _received(connection, processes[connection], named(job.task))
                job.done = True
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.join()


def _start() -> tuple[Connection, SpawnProcess]:
    """A process that waits for a function, and then for its tasks."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # so that its death is an end of file here
    return ours, process


def _received(connection: Connection, process: SpawnProcess, task: str) -> Any:
    """The result of a task; raises if it failed, or if the process died instead."""
    try:
        error, result = connection.recv()
    except (EOFError, ConnectionResetError):
        process.join()
        msg = (
            f"A worker must live until its task is done. Received: exit code {process.exitcode} "
            f"in {task}. If memory ran out, use fewer workers."
        )
        raise ChildProcessError(msg) from None
    if error is not None:
        raise error
    return result


def _work(connection: Connection) -> None:
    """Receive a function and do its tasks until nobody asks for one any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; ours ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, BrokenPipeError):
        function = connection.recv()
        while True:
            task = connection.recv()
            try:
                result = function(task)
            except Exception as error:  # it is raised again in the process that waits
                connection.send((_portable(error), None))
            else:
                connection.send((None, result))


def _end_with_parent() -> None:
    """A process that was killed cannot stop its workers, which would go on for nothing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _portable(error: Exception) -> Exception:
    """The error itself if it survives a pipe, else what it says."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own
    except Exception:
        told = RuntimeError(f"{type(error).__name__}: {error} (process {os.getpid()})")
        for note in getattr(error, "__notes__", []):
            told.add_note(note)
        return told
    return error
