"""Features computed part by part: by several processes, and going on after a stop."""

from __future__ import annotations

import collections
import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.features.crops import CropBatch
from deeploc_tf.profiles.tables.spill import Spill

Vectors = NDArray[np.float32]
VectorsOf = Callable[[NDArray[Any], NDArray[np.uint8] | None], Vectors]
"""Features of images and their masks; it is pickled where several processes compute."""


def computed(
    batches: Iterable[CropBatch], vectors_of: VectorsOf, parts: Spill, workers: int
) -> Iterator[tuple[CropBatch, Vectors]]:
    """Each batch with its features, in order; those of finished parts are not computed again.

    Processes are spawned and not forked: a fork would take over locks that threads hold. So with
    several a script that calls this must guard its main code by `if __name__ == "__main__":`.

    Raises:
        ChildProcessError: a process died.
        Exception: what `vectors_of` raised; the crops are named.
    """
    batches = iter(batches)
    capacity = 1 if workers == 1 else 2 * workers  # keeps all busy, and memory small
    waiting: collections.deque[tuple[CropBatch, Future[Vectors] | Vectors]] = collections.deque()
    with _executor(workers) as executor:
        while True:
            for batch in itertools.islice(batches, capacity - len(waiting)):
                vectors = parts.load(batch.number)
                if vectors is None:
                    future = executor.submit(vectors_of, batch.images, batch.masks)
                    waiting.append((batch, future))
                else:
                    waiting.append((batch, vectors))
            if not waiting:
                return
            batch, result = waiting.popleft()
            if isinstance(result, Future):
                vectors = _result(result, batch.columns["key"])
                parts.save(batch.number, vectors)
            else:
                vectors = result
            yield batch, vectors


def _result(future: Future[Vectors], keys: Sequence[str]) -> Vectors:
    place = f"Crops: {keys[0]!r} to {keys[-1]!r}."
    try:
        return future.result()
    except BrokenProcessPool as error:
        msg = (
            "A worker must live until its crops are measured. Received: one that died. If memory "
            f"ran out, use fewer workers. {place}"
        )
        raise ChildProcessError(msg) from error
    except Exception as error:
        error.add_note(place)
        raise


@contextlib.contextmanager
def _executor(workers: int) -> Iterator[Executor]:
    executor: Executor = (
        _InThisProcess()
        if workers == 1
        else ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), initializer=_start_worker
        )
    )
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


class _InThisProcess(Executor):
    """Computes at once."""

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **options))
        except Exception as error:
            future.set_exception(error)
        return future


def _start_worker() -> None:
    """No interrupts of the terminal, and no life after the parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; ours ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    """A process that was killed cannot stop its workers, which would wait for ever."""
    parent.join()
    os._exit(1)
