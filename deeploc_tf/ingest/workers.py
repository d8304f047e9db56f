"""Batches read by several processes. Rows go to them, and nothing but "done" comes back."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from deeploc_tf.ingest.reading import BatchReader, Rows


def read_in_workers(
    reader: BatchReader, jobs: Iterator[tuple[int, Rows]], folder: Path, workers: int
) -> Iterator[int]:
    """Read batches in processes of their own, which save them in `folder`.

    Processes are spawned and not forked: a fork would take over locks that threads hold. So a
    script that calls this must guard its main code by `if __name__ == "__main__":`.

    Args:
        reader: what each process reads with; it is pickled once for each.
        jobs: number and rows of each batch.
        folder: where batches are saved.
        workers: how many processes.

    Yields:
        The number of each batch that is saved, in the order in which they are done.

    Raises:
        ChildProcessError: a process died; the batch that it was reading is named.
        Exception: what a process raised.
    """
    context = multiprocessing.get_context("spawn")
    processes: dict[Connection, SpawnProcess] = {}
    busy: dict[Connection, tuple[int, Rows]] = {}
    try:
        for number, rows in jobs:
            if len(processes) < workers:
                connection, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, reader, folder), daemon=True)
                process.start()
                theirs.close()  # so that its death is an end of file here
                processes[connection] = process
            else:
                connection = _next_done(busy, processes)
                yield busy.pop(connection)[0]
            with contextlib.suppress(BrokenPipeError):  # then it is dead, which is told below
                connection.send((number, rows))
            busy[connection] = number, rows
        while busy:
            connection = _next_done(busy, processes)
            yield busy.pop(connection)[0]
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.join()


def _next_done(
    busy: dict[Connection, tuple[int, Rows]], processes: dict[Connection, SpawnProcess]
) -> Connection:
    """Wait for a process that has saved its batch; raises if one failed or died instead."""
    ready = wait(list(busy))
    connection = next(connection for connection in busy if connection in ready)
    number, rows = busy[connection]
    try:
        error = connection.recv()
    except (EOFError, ConnectionResetError):
        process = processes[connection]
        process.join()
        msg = (
            f"A worker must live until its batch is read. Received: exit code {process.exitcode} "
            f"in batch {number} ({len(rows.keys)} crops, {rows.keys[0]!r} to {rows.keys[-1]!r}). "
            "If memory ran out, use fewer workers."
        )
        raise ChildProcessError(msg) from None
    if error is not None:
        raise error
    return connection


def _work(connection: Connection, reader: BatchReader, folder: Path) -> None:
    """Read batches until nobody asks for one any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; ours ends us
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            number, rows = connection.recv()
            try:
                reader.read(rows).save(folder, number)
            except Exception as error:  # it is raised again in the process that waits
                connection.send(_portable(error))
            else:
                connection.send(None)


def _portable(error: Exception) -> Exception:
    """The error itself if it survives a pipe, else what it says."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error} (process {os.getpid()})")
    return error
