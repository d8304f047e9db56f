"""A build that is killed, or whose disk fails, at any moment: old or new, and the rerun mends it.

Each operation on the file system is counted; for n = 1, 2, ... a forked child is killed at the
n-th, or gets an error there. After each, the output must be the old data set or the new one, and
the same build again must end in the same bytes, with nothing else left in the folder.

This file is also the program that does it, in a process without TensorFlow, which may fork. By
default some of the combinations run; all of them with DEEPLOC_TF_RELIABILITY=1.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from shared import contents

import tfrecords.publishing
import tfrecords.workspace
from deeploc_tf.ingest import build_records

OPERATIONS = (
    "write",
    "fsync",
    "ftruncate",
    "mkdir",
    "rename",
    "replace",
    "unlink",
    "rmdir",
)
KILLED = 99
NUM_CROPS = 10
SHAPE = (4, 4, 1)


class Memory:
    """Crops that are made as they are read."""

    channels = ("gfp",)
    description: ClassVar[dict[str, str]] = {"kind": "memory"}
    rejects = ()
    passed_over: ClassVar[dict[str, int]] = {}

    def __init__(self, log: Path | None = None) -> None:
        self.log = log

    def index(self) -> pd.DataFrame:
        keys = [f"cell {i}" for i in range(NUM_CROPS)]
        return pd.DataFrame({"key": keys, "split": ["test", "train"] * (NUM_CROPS // 2)})

    def read(self, position: int) -> tuple[Any, None]:
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{position}\n")
        return np.random.default_rng(position).integers(0, 250, SHAPE, np.uint8), None

    def files(self, position: int) -> tuple[str, ...]:
        return (f"crop {position}",)

    def paths(self, position: int) -> tuple[str, ...]:
        return ()


def build(output: Path, *, seed: int = 1, **options: Any) -> Any:
    source = Memory(options.pop("log", None))
    return build_records(source, output, seed=seed, batch_bytes=4 * 144, **options)


class Failpoint:
    """Counts what is done to the file system, and does `action` at the n-th."""

    def __init__(self, number: int, action: str) -> None:
        self.number = number
        self.action = action
        self.count = 0
        for name in OPERATIONS:
            setattr(os, name, self._counted(getattr(os, name), name))
        exchange = tfrecords.workspace.exchange
        tfrecords.workspace.exchange = self._counted(exchange, "exchange")
        opened = self._counted(lambda: None, "open")

        def audit(event: str, arguments: Any) -> None:
            if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR):
                opened()

        sys.addaudithook(audit)  # whoever opens a file to write

    def _counted(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            if self.count != self.number:
                return function(*arguments, **options)
            if self.action == "kill":
                if name == "write":  # half of it was written
                    function(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os._exit(KILLED)
            if self.action == "kill after":
                function(*arguments, **options)
                os._exit(KILLED)
            if self.action == "short" and name == "write":
                return function(arguments[0], arguments[1][:1])
            if self.action == "short":
                return function(*arguments, **options)
            number = getattr(errno, self.action)
            raise OSError(number, os.strerror(number))

        return counted


def in_child(run: Callable[[], None]) -> int:
    """Exit code of a forked child: 0, 1 after an `OSError`, 2 after any other error, or KILLED."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        run()
    except OSError:
        os._exit(1)
    except BaseException:
        traceback.print_exc()
        os._exit(2)
    os._exit(0)


def count_operations(home: Path, output: Path, overwrite: bool) -> int:
    """How many operations a build takes that nothing disturbs."""

    def run() -> None:
        failpoint = Failpoint(0, "")
        build(output, overwrite=overwrite)
        (home / "count").write_text(str(failpoint.count))

    assert in_child(run) == 0
    count = int((home / "count").read_text())
    (home / "count").unlink()
    return count


def explore(home: Path, scenario: str, action: str, start: int, step: int) -> dict[str, Any]:
    """Fail at every `step`-th operation, and say how many there are and what went wrong."""
    os.fsync = lambda _: None  # it is counted; what it is for, no kill of a process shows
    if scenario == "overwrite without exchange":
        tfrecords.workspace.exchange = lambda first, second: False
    overwrite = scenario != "new"
    output = home / "records"
    build(home / "old", seed=7)
    build(home / "new")
    old, new = contents(home / "old"), contents(home / "new")
    assert old != new
    assert "manifest.json" in old

    def reset() -> None:
        shutil.rmtree(output, ignore_errors=True)
        if overwrite:
            shutil.copytree(home / "old", output)

    reset()
    operations = count_operations(home, output, overwrite)
    assert contents(output) == new
    wrong: list[str] = []
    for number in range(start, operations + 1, step):
        reset()

        def fail(number: int = number) -> None:
            Failpoint(number, action)
            build(output, overwrite=overwrite)

        code = in_child(fail)
        found = contents(output)
        # two renames instead of one exchange: for a moment there is nothing, and it is mended
        between = scenario == "overwrite without exchange" and not found
        if found not in (old if overwrite else {}, new) and not between:
            wrong.append(f"{number}: a mixture of {sorted(found)}")
        if code not in ((0,) if action == "short" else (0, 1, KILLED)):
            wrong.append(f"{number}: exit code {code}")
        again = in_child(lambda: build(output, overwrite=overwrite or output.exists()))
        if again or contents(output) != new:
            wrong.append(f"{number}: not mended, exit code {again}")
        left = sorted(path.name for path in home.iterdir())
        if left != ["new", "old", "records"]:
            wrong.append(f"{number}: left {left}")
    return {"operations": operations, "wrong": wrong}


ALL = os.environ.get("DEEPLOC_TF_RELIABILITY") == "1"
SCENARIOS = ("new", "overwrite", "overwrite without exchange")
ACTIONS = ("kill", "kill after", "ENOSPC", "EIO", "short")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that can fork")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_old_or_new_and_mended_by_the_same_command(tmp_path: Path, scenario: str) -> None:
    jobs = []
    for number, action in enumerate(ACTIONS):
        step = 1 if ALL or (scenario, action) == ("new", "kill") else 9
        start = 1 + (SCENARIOS.index(scenario) + 2 * number) % step
        jobs.append({"scenario": scenario, "action": action, "start": start, "step": step})
    command = [sys.executable, __file__, str(tmp_path), json.dumps(jobs)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["wrong"] for result in results] == [[]] * len(ACTIONS)
    assert min(result["operations"] for result in results) > 60


if __name__ == "__main__":
    home = Path(sys.argv[1])
    for job in json.loads(sys.argv[2]):
        shutil.rmtree(home)
        home.mkdir()
        print(json.dumps(explore(home, **job)), flush=True)
