from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfrecords.errors import LockedError
from tfrecords.locking import locked

HOLDER = """
import sys
from pathlib import Path
from tfrecords.locking import locked

with locked(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    """A process that holds the lock until it is told to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    with holder(tmp_path / "lock") as process:
        match = f"process {process.pid} is writing"
        with pytest.raises(LockedError, match=match), locked(tmp_path / "lock", "it"):
            pytest.fail("locked twice")
        process.communicate()
    with locked(tmp_path / "lock", "it"):
        assert (tmp_path / "lock").read_text() == str(os.getpid())
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_dead_process_locks_nobody_out(tmp_path: Path) -> None:
    with holder(tmp_path / "lock") as process:
        process.kill()
        process.wait()
    assert (tmp_path / "lock").exists()
    with locked(tmp_path / "lock", "it"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_let_go_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with locked(tmp_path / "lock", "it"):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []
