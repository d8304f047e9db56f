"""Commands with TensorFlow, whose process is killed or whose disk fails at an operation.

TensorFlow may not be forked, so that each operation is a process of its own, which takes long: at
least 60 of each command, the first and last 15 among them, and a few of `export` alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from failpoints import ACTIONS, KILLED, compiler
from shared import TINY_OPTIONS, run_cli

from tfrecords.manifest import Manifest

COMMANDS = {  # words, and what is there when all is there
    "export": ("export IN/run OUT/model", "model"),
    "embed": ("embed IN/run IN/records OUT/cells.h5 --quiet", "cells.profiles.h5"),
    "measure": (
        "measure IN/records OUT/cells.h5 --kind intensity --threshold-channel none --quiet",
        "cells.profiles.h5",
    ),
    "evaluate": ("evaluate IN/run IN/records OUT/results --quiet", "results"),
    "fit": (
        f"fit IN/records OUT/run {' '.join(TINY_OPTIONS)} --epochs 1 --warmup-epochs 0 --quiet",
        "run/model.keras",
    ),
}
RESUMED = ("fit", "embed", "measure")  # keep what was made, and go on by the same command
OF_RUNS = ("environment.json", "events.out.tfevents", "history.csv")  # have times in them

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs Linux and a C compiler")


@pytest.fixture(scope="module")
def home(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    """Records, a run on them, and the library that fails."""
    folder: Path = tmp_path_factory.mktemp("failpoints")
    write_screen(folder / "records", {"train": (4, 4, 4), "test": (3, 2, 2)}, size=10)
    options = (*TINY_OPTIONS, "--epochs", "1", "--warmup-epochs", "0", "--quiet")
    done = run_cli("fit", folder / "records", folder / "run", *options)
    assert done.exit_code == 0, done.stderr
    source = Path(__file__).with_name("failpoints.c")
    library = folder / "failpoints.so"
    subprocess.run(
        [compiler() or "cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True
    )
    return folder


def run(
    home: Path, name: str, number: int = 0, action: str = "EIO", *, reads: bool = False
) -> tuple[int, str, int]:
    """Exit code, what was told, and the number of operations of a command, or of reads."""
    out, count = home / "out", home / "count"
    words = COMMANDS[name][0].replace("IN/", f"{home}/").replace("OUT/", f"{out}/").split()
    environment = {
        "LD_PRELOAD": str(home / "failpoints.so"),
        "FAILPOINT_FOLDER": f"{out}/",
        "FAILPOINT_NUMBER": str(number),
        "FAILPOINT_ACTION": str(ACTIONS[action]),
        "FAILPOINT_COUNT": str(count),
    }
    if reads:
        environment |= {"FAILPOINT_FOLDER": f"{home}/records/", "FAILPOINT_READS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "deeploc_tf", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr, int(count.read_text() or 0)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(OF_RUNS)
    }


def explore(home: Path, name: str, chosen: Callable[[int], list[int]]) -> None:
    out, last = home / "out", COMMANDS[name][1]

    def fresh() -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()

    fresh()
    code, told, operations = run(home, name)
    assert code == 0, told
    whole = contents(out)
    wrong = []
    for index, number in enumerate(chosen(operations)):
        action = list(ACTIONS)[index % len(ACTIONS)]
        fresh()
        code, told, _ = run(home, name, number, action)
        place, found = f"{number}, {action}", contents(out)
        if "Traceback" in told or code not in ((0,) if action == "short" else (0, 1, KILLED)):
            wrong.append(f"{place}: exit code {code}: {told[-800:]}")
        if code == 1 and str(out) not in told:
            wrong.append(f"{place}: the message names no file: {told[-300:]}")
        if code == 1 and name not in RESUMED and not (out / last).exists() and found:
            wrong.append(f"{place}: left {sorted(found)}")
        was_done = (out / last).exists()
        code, told, _ = run(home, name)
        if code != 0 and not (was_done and code == 1):
            wrong.append(f"{place}: not mended: {told[-500:]}")
        if left := sorted(contents(out).keys() ^ whole.keys()):
            wrong.append(f"{place}: other files than undisturbed: {left}")
        if name in ("embed", "measure", "evaluate") and contents(out) != whole:
            wrong.append(f"{place}: other bytes than undisturbed")
    assert wrong == []


@pytest.mark.long
@pytest.mark.parametrize("name", ["embed", "evaluate", "fit"])
def test_a_read_that_fails_for_a_moment_changes_nothing(home: Path, name: str) -> None:
    """TensorFlow reads the shards: the error is one of `tf.data`."""
    out = home / "out"

    def fresh() -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()

    fresh()
    code, told, reads = run(home, name, reads=True)
    assert code == 0, told
    whole = contents(out)
    tried = 0
    for number in sorted({round(reads * share / 8) for share in (4, 6, 8)}):
        fresh()
        code, told, _ = run(home, name, number, reads=True)
        assert code == 0, f"read {number} of {reads}: {told}"
        found = contents(out)
        if name == "fit":  # Keras writes the time into its archive, and the seal has its digest
            changed = {key for key in whole if found[key] != whole[key]}
            assert changed <= {"run/model.keras", "run/run.json"}, number
        else:
            assert found == whole, number
        tried += "is tried again" in told
    assert tried >= 2


@pytest.mark.long
def test_an_export_is_all_there_or_not(home: Path) -> None:
    explore(home, "export", lambda operations: [operations // 2, operations // 3])


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS)
def test_sixty_operations_of_each_command(home: Path, name: str) -> None:
    def chosen(operations: int) -> list[int]:
        ends = {*range(1, 16), *range(operations - 14, operations + 1)}
        between = {round(operations * share / 31) for share in range(1, 31)}
        return sorted(number for number in ends | between if 0 < number <= operations)

    explore(home, name, chosen)
