"""Fails a command at the n-th operation on its files, for n = 1, 2, ..., and says what is left.

`failpoints.c` is compiled and preloaded, so that operations of every library count. This file is
also the program that does it: it runs each command once, so that everything is imported, and then
forks a child for each n. It must not start TensorFlow, which may not be forked.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

KILLED = 99
ACTIONS = {"kill": 1, "kill after": 2, "short": 3, "ENOSPC": -errno.ENOSPC, "EIO": -errno.EIO}


def compiler() -> str | None:
    """A C compiler of this machine; the library needs one, and Linux."""
    return shutil.which("cc") if sys.platform == "linux" else None


def explored(home: Path, jobs: Sequence[Mapping[str, Any]], timeout: int = 3000) -> list[Any]:
    """What `explore` finds for each of the jobs, in a process of its own.

    Args:
        home: folder that holds the inputs of the commands; work is done in folders beside them.
        jobs: keyword arguments of `explore`.
        timeout: seconds for all.
    """
    library = home / "failpoints.so"
    source = Path(__file__).with_suffix(".c")
    subprocess.run(
        [compiler() or "cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True
    )
    # Threads of a library do not survive a fork.
    alone = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    done = subprocess.run(
        [sys.executable, __file__, str(home), json.dumps(jobs)],
        env={**os.environ, **alone, "LD_PRELOAD": str(library)},
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def in_child(run: Callable[[], int]) -> tuple[int, str]:
    """Exit code of a forked child, and what it wrote to standard error."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writing, 2)
        try:
            code = run()
        except BaseException:
            traceback.print_exc()
            code = 2
        sys.stderr.flush()
        os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def explore(
    home: Path,
    words: Sequence[str],
    outputs: Sequence[str],
    action: str,
    start: int,
    step: int,
    again: int = 1,
) -> dict[str, Any]:
    """Fail at every `step`-th operation, and say how many there are and what went wrong.

    Args:
        home: folder of the inputs.
        words: of the command; paths of outputs begin with OUT/, of inputs with IN/.
        outputs: names of what it writes into OUT; where the first is, all must be.
        action: see `ACTIONS`.
        start: first operation to fail at.
        step: from one to the next.
        again: exit code of the command where its outputs are there; 0 if it uses them: then its
            bytes may differ from run to run.
    """
    from click.testing import CliRunner

    from deeploc_tf.cli import main

    library = ctypes.CDLL(None)
    library.failpoint_count.restype = ctypes.c_long
    out = home / "out"

    def command(number: int, what: int) -> int:
        places = {"OUT/": f"{out}/", "IN/": f"{home}/"}
        given = list(words)
        for name, place in places.items():
            given = [word.replace(name, place) for word in given]
        library.failpoint_arm(os.fsencode(f"{out}/"), ctypes.c_long(number), what)
        result = CliRunner().invoke(main, given)
        count = library.failpoint_count()
        library.failpoint_arm(b"", ctypes.c_long(0), 0)
        print(result.stderr, file=sys.stderr)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            traceback.print_exception(result.exception)
            return 2
        (home / "count").write_text(str(count))
        return result.exit_code

    def same(found: Mapping[str, str]) -> bool:
        """Whether everything is there, as when nothing is disturbed."""
        kept = {name: found.get(name) for name in whole}
        return None not in kept.values() if again == 0 else kept == whole

    def fresh() -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()

    fresh()
    code = command(0, 0)
    assert code == 0, code
    whole = _contents(out)
    tops = sorted(path.name for path in out.iterdir())
    assert tops == sorted(outputs), tops
    operations = int((home / "count").read_text())
    wrong: list[str] = []
    for number in range(start, operations + 1, step):
        fresh()
        code, said = in_child(lambda number=number: command(number, ACTIONS[action]))
        found = _contents(out)
        done = (out / outputs[0]).exists()
        if done and not same(found):
            wrong.append(f"{number}: {outputs[0]} is there, others are not or differ")
        if code not in ((0,) if action == "short" else (0, 1, KILLED)):
            wrong.append(f"{number}: exit code {code}: {said[-1500:]}")
        if code == 1 and str(out) not in said:
            wrong.append(f"{number}: the message names no file: {said[-500:]}")
        if not done and code == 1 and found:
            wrong.append(f"{number}: left {sorted(found)}")
        code, said = in_child(lambda: command(0, 0))
        found = _contents(out)
        left = found.keys() - whole.keys() if again else ()
        if code != (again if done else 0) or left or not same(found):
            wrong.append(f"{number}: not mended, exit code {code}: {said[-500:]}")
    return {"operations": operations, "wrong": wrong}


def _contents(folder: Path) -> dict[str, str]:
    """The bytes of every file below a folder by its path, folders being empty."""
    return {
        str(path.relative_to(folder)): path.read_bytes().hex() if path.is_file() else ""
        for path in folder.rglob("*")
    }


if __name__ == "__main__":
    for job in json.loads(sys.argv[2]):
        print(json.dumps(explore(Path(sys.argv[1]), **job)), flush=True)
