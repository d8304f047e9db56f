"""Several processes, on one machine or many, that train one model together, as `TF_CONFIG` says."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deeploc_tf.models.trained import CONFIG_NAME
from deeploc_tf.provenance import MODEL_NAME, SEAL_NAME

_KEPT = (CONFIG_NAME, MODEL_NAME, SEAL_NAME, "metrics.json", "checkpoint/*.npz")


@dataclasses.dataclass(frozen=True)
class Worker:
    """Which of the processes this is that train together.

    Attributes:
        index: from 0; the first one writes the run folder.
        num_workers: 1 where `TF_CONFIG` says nothing.
    """

    index: int
    num_workers: int

    @property
    def is_chief(self) -> bool:
        """Whether this one writes the run folder."""
        return self.index == 0


def this_worker() -> Worker:
    """This process among those that `TF_CONFIG` names.

    Raises:
        ValueError: it is no JSON, or names other tasks than workers.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return Worker(0, 1)
    try:
        values = json.loads(text)
        cluster, task = values.get("cluster", {}), values.get("task", {})
        if not set(cluster) <= {"worker"} or (cluster and task["type"] != "worker"):
            raise ValueError("tasks other than workers")  # noqa: EM101
        workers = list(cluster.get("worker", ["this"]))
        index = int(task.get("index", 0))
        workers[index]  # it is one of them
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        msg = (
            "`TF_CONFIG` must name workers and which of them this is, as in "
            '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
            '"task": {"type": "worker", "index": 0}}. Received: '
            f"{text} ({error})."
        )
        raise ValueError(msg) from error
    return Worker(index, len(workers))


@contextlib.contextmanager
def folder_of_this_worker(run: str | Path) -> Iterator[Path]:
    """The run folder; for other workers than the first one a copy of what it needs, then deleted.

    All workers do the same, writing included: reading a variable may need all of them. To be
    entered when every worker has come up, before the first step.
    """
    run = Path(run)
    if this_worker().is_chief:
        yield run
        return
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "run"
        for pattern in _KEPT:
            for path in run.glob(pattern):
                target = copy / path.relative_to(run)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        yield copy
