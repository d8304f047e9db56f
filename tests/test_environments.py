"""Machines as they are: no home, few file handles, read-only folders, odd names, signals.

A command runs in a process of its own where the machine is to be another one; in this process
where only names are odd. The cheap commands first: what they share is what breaks. With
DEEPLOC_TF_RELIABILITY=1 signals come at many more times, and to every command.
"""

from __future__ import annotations

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from failpoints import compiler
from shared import TINY_OPTIONS, contents, run_cli

from tfrecords.manifest import Manifest

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
ALL = os.environ.get("DEEPLOC_TF_RELIABILITY") == "1"
COMMANDS = {  # words and what they write
    "build-records": (
        "build-records IN/crops OUT/records --channels gfp,rfp --label protein "
        "--pattern {protein}/{protein}_{field}_rfp_{cell}_{channel}.tif",
        "records",
    ),
    "verify": ("verify IN/records --deep", ""),
    "profile": ("profile IN/cells.csv OUT/profiles.parquet", "profiles.parquet"),
    "map": ("map IN/profiles.csv OUT/map.html --projection pca", "map.html"),
}
WITH_TENSORFLOW = {
    "fit": (
        f"fit IN/records OUT/run {' '.join(TINY_OPTIONS)} --epochs 1 --warmup-epochs 0 --quiet",
        "run",
    ),
    "embed": ("embed IN/run IN/records OUT/cells.parquet --quiet", "cells.parquet"),
    "evaluate": ("evaluate IN/run IN/records OUT/results --quiet", "results"),
    "export": ("export IN/run OUT/model", "model"),
}
WRITES = ["build-records", "profile"]
STOPPED = (0, 130, 143, -signal.SIGTERM, -signal.SIGINT)  # the last two before there is a handler


@pytest.fixture(scope="module")
def home(tmp_path_factory: Any, write_screen: Callable[..., Manifest]) -> Path:
    import tifffile

    folder: Path = tmp_path_factory.mktemp("environments")
    write_screen(folder / "records", {"train": (4, 4, 4), "test": (3, 2, 2)}, size=10)
    for protein in ("AAC1", "AAH1"):
        (folder / "crops" / protein).mkdir(parents=True)
        for number in range(8):
            field, channel = number // 2, ("gfp", "rfp")[number % 2]
            image = np.random.default_rng(number).integers(0, 200, (6, 5)).astype(np.uint16)
            name = f"{protein}_{field}_rfp_1_{channel}.tif"
            tifffile.imwrite(folder / "crops" / protein / name, image + len(protein[2:]))
    rows = [f"P{i % 12},{i % 7 - 3},{i % 5 - 2},{i % 3}" for i in range(48)]
    (folder / "cells.csv").write_text("\n".join(["protein,a,b,c", *rows]) + "\n")
    (folder / "profiles.csv").write_text("\n".join(["protein,a,b,c", *rows[:12]]) + "\n")
    return folder


def words_of(home: Path, out: Path, name: str) -> list[str]:
    words = {**COMMANDS, **WITH_TENSORFLOW}[name][0].split()
    return [word.replace("IN/", f"{home}/").replace("OUT/", f"{out}/") for word in words]


def started(words: list[str], before: str = "", **changes: str | None) -> subprocess.Popen[bytes]:
    """A command, after a line of bash, where some variables are others or not there."""
    line = shlex.join([sys.executable, "-m", "deeploc_tf", *words])
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **changes}
    return subprocess.Popen(
        ["bash", "-c", f"{before}\nexec {line}"],
        env={name: value for name, value in environment.items() if value is not None},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    told = process.communicate(timeout=600)[1].decode(errors="replace")
    return process.returncode, told


def works(home: Path, out: Path, name: str, before: str = "", **changes: str | None) -> None:
    out.mkdir(exist_ok=True)
    code, told = ended(started(words_of(home, out, name), before, **changes))
    assert code == 0, told
    assert "Traceback" not in told
    assert "Exception ignored" not in told
    written = COMMANDS[name][1]
    assert [path.name for path in out.iterdir()] == [written] * bool(written)


@LINUX
@pytest.mark.parametrize(
    ("name", "before", "changes"),
    [
        ("build-records", "ulimit -n 24", {}),
        ("map", "cd /", {"HOME": None, "USER": None, "MPLCONFIGDIR": None, "XDG_CACHE_HOME": None}),
        ("profile", "", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        ("build-records", "", {"TMPDIR": "/nonexistent"}),
        ("verify", "ulimit -n 24", {"HOME": "/nonexistent", "TMPDIR": "/nonexistent"}),
    ],
)
def test_odd_machines(
    home: Path, tmp_path: Path, name: str, before: str, changes: dict[str, str | None]
) -> None:
    works(home, tmp_path / "out", name, before, **changes)


@LINUX
@pytest.mark.parametrize("name", ["build-records"])
def test_workers_on_one_processor_without_shared_memory(
    home: Path, tmp_path: Path, name: str
) -> None:
    hidden = "mount -t tmpfs -o ro none /dev/shm"
    if subprocess.run(["unshare", "-rm", "bash", "-c", hidden], capture_output=True).returncode:
        pytest.skip("needs unshare, to hide /dev/shm")
    script = f"{hidden} && taskset -c 0 {shlex.join([sys.executable, '-m', 'deeploc_tf'])} "
    (tmp_path / "out").mkdir()
    words = shlex.join([*words_of(home, tmp_path / "out", name), "--workers", "2"])
    done = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script + words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(compiler() is None, reason="needs Linux and a C compiler")
def test_a_clock_that_goes_back(home: Path, tmp_path: Path) -> None:
    library, source = tmp_path / "clock.so", Path(__file__).with_name("failpoints.c")
    subprocess.run(
        [compiler() or "cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True
    )
    changes = {"LD_PRELOAD": str(library), "CLOCK_BACK": "1"}
    works(home, tmp_path / "out", "build-records", **changes)
    assert run_cli("verify", tmp_path / "out" / "records", "--deep").exit_code == 0


@LINUX
@pytest.mark.parametrize("mask", [0o077, 0o002])
def test_files_have_the_modes_that_the_user_asks_for(home: Path, tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        for name in WRITES:
            done = run_cli(*words_of(home, tmp_path, name))
            assert done.exit_code == 0, done.output
    finally:
        os.umask(before)
    for path in tmp_path.rglob("*"):
        usual = 0o777 if path.is_dir() else 0o666
        assert path.stat().st_mode & 0o777 == usual & ~mask, path.name


@LINUX
@pytest.mark.parametrize("name", WRITES)
def test_a_folder_that_nobody_may_write_to(home: Path, tmp_path: Path, name: str) -> None:
    """Root may write anywhere, but not without that capability."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("needs setpriv, as root")
    out = tmp_path / "out"
    out.mkdir(mode=0o555)
    powerless = "setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-all"
    prefix = powerless if os.geteuid() == 0 else ""
    line = f"exec {prefix} {shlex.join([sys.executable, '-m', 'deeploc_tf'])} "
    done = subprocess.run(
        ["bash", "-c", line + shlex.join(words_of(home, out, name))], capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert str(out) in done.stderr
    assert list(out.iterdir()) == []


ODD_NAMES = {
    "spaces": " a  b ",
    "option": "-o",
    "letters": "\u65e5\u672c \u05e9\u05dc\u05d5\u05dd e\u0301",
    "line": "new\nline",
    "quotes": "'\"$HOME`",
    "braces": "%s {0} {name} [a-z]*?",
    "long": "x" * 230,
    "dots": "..a.b.",
}


@LINUX
@pytest.mark.parametrize("odd", ODD_NAMES.values(), ids=ODD_NAMES)
def test_odd_paths(home: Path, tmp_path: Path, odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / odd
    folder.mkdir()
    for name in WRITES:
        done = run_cli(*words_of(home, folder, name))
        assert done.exit_code == 0, done.output
        assert done.exception is None
    done = run_cli("verify", folder / "records", "--deep")
    assert done.exit_code == 0, done.output
    assert run_cli("inspect", folder / "records", "--json").exit_code == 0
    monkeypatch.chdir(tmp_path)
    (folder / "profiles.parquet").rename(f"{odd}.parquet")
    shutil.copytree(folder / "records", tmp_path / f"{odd}.records")
    done = run_cli("verify", "--", f"{odd}.records")
    assert done.exit_code == 0, done.output
    done = run_cli("neighbors", "--", f"{odd}.parquet", "P1")
    assert done.exit_code == 0, done.output
    done = run_cli("map", "--projection", "pca", "--", f"{odd}.parquet", f"{odd}.html")
    assert done.exit_code == 0, done.output
    assert f"{odd}.html" in os.listdir(tmp_path)  # noqa: PTH208 - as the system has them
    done = run_cli("trace", "--", f"{odd}.parquet")
    assert done.exit_code == 0, done.output


@LINUX
def test_a_path_that_is_no_unicode(home: Path, tmp_path: Path) -> None:
    """Records take it; what libraries write refuses it in a sentence, and leaves nothing."""
    folder = tmp_path / os.fsdecode(b"\xff\xfe")
    folder.mkdir()
    done = run_cli(*words_of(home, folder, "build-records"))
    assert done.exit_code == 0, done.output
    assert run_cli("verify", folder / "records", "--deep").exit_code == 0
    for suffix in ("parquet", "h5", "npz", "h5ad"):
        done = run_cli("profile", home / "cells.csv", folder / f"p.{suffix}")
        assert done.exit_code in (0, 1), done.output
        assert (done.exit_code == 1) == ("Names must be UTF-8" in done.output), done.output
        assert (folder / f"p.{suffix}").exists() == (done.exit_code == 0)
    assert not list(folder.glob(".*"))


def test_a_name_that_is_too_long_for_the_disk(home: Path, tmp_path: Path) -> None:
    command, crops, _, *options = words_of(home, tmp_path, "build-records")
    for length in (250, 255, 300, 5000):
        name = "x" * length
        for words in (
            ["profile", str(home / "cells.csv"), str(tmp_path / f"{name[:-8]}.parquet")],
            [command, crops, str(tmp_path / name), *options],
        ):
            done = run_cli(*words)
            assert done.exit_code in (0, 1, 2)
            assert done.exception is None or isinstance(done.exception, SystemExit)
            assert done.exit_code == 0 or "File name too long" in done.output, done.output[-300:]


@LINUX
def test_memory_that_is_limited(home: Path, tmp_path: Path) -> None:
    """Where numpy itself finds no room it says so; a command ends by its own code."""
    (tmp_path / "out").mkdir()
    words = words_of(home, tmp_path / "out", "profile")
    for megabytes in (500, 3000):
        process = started(words, f"ulimit -v {megabytes * 1024}", OPENBLAS_NUM_THREADS="1")
        code, told = ended(process)
        assert code in (0, 3), told
        assert "Traceback" not in told, told
        assert (code == 3) == ("Out of memory" in told), told
        assert (code == 0) == (tmp_path / "out" / "profiles.parquet").exists()
        if code == 0:
            return
    pytest.fail("three gigabytes must be enough for 48 cells")


def stopped_at(home: Path, out: Path, name: str, seconds: float, number: int) -> tuple[int, str]:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    process = started(words_of(home, out, name), "trap - INT TERM")
    time.sleep(seconds)
    process.send_signal(number)
    return ended(process)


def signals_at_random_times(home: Path, out: Path, name: str, times: int) -> None:
    """Old or new, an exit code that says so, no traceback, and the same command then ends well."""
    out.mkdir(exist_ok=True)
    begun = time.monotonic()
    code, told = ended(started(words_of(home, out, name)))
    assert code == 0, told
    needed, whole = time.monotonic() - begun, contents(out)
    written = {**COMMANDS, **WITH_TENSORFLOW}[name][1]
    draws = random.Random(name)
    for turn in range(times):
        number = (signal.SIGINT, signal.SIGTERM)[turn % 2]
        seconds = draws.uniform(0, needed)
        code, told = stopped_at(home, out, name, seconds, number)
        place = f"{name}, {number!r} after {seconds:.2f} of {needed:.2f} s: {code}, {told[-900:]}"
        # Python's own start, before there is a line of ours, has a traceback of Ctrl-C
        assert "Traceback" not in told or "deeploc_tf" not in told, place
        assert code in (*STOPPED, 75), place
        left = {path.name for path in out.iterdir()}
        if name != "fit":
            assert left <= {written}, place
        if code == 0 and written:
            assert left == {written}, place
        code, told = ended(started(words_of(home, out, name)))
        there = written in left and name != "fit"
        assert code == (1 if there else 0), f"{place} and then {told}"
        if name in COMMANDS:
            assert contents(out) == whole, place


@LINUX
@pytest.mark.parametrize("name", WRITES if not ALL else COMMANDS)
def test_signals_at_random_times(home: Path, tmp_path: Path, name: str) -> None:
    signals_at_random_times(home, tmp_path / "out", name, 20 if ALL else 2)


@LINUX
@pytest.mark.long
@pytest.mark.parametrize("name", WITH_TENSORFLOW)
def test_signals_to_commands_with_tensorflow(home: Path, tmp_path: Path, name: str) -> None:
    if not (home / "run").exists():
        done = run_cli(*words_of(home, home, "fit"))
        assert done.exit_code == 0, done.output
    signals_at_random_times(home, tmp_path / "out", name, 20 if ALL else 3)
