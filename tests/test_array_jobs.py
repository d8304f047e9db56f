"""Parts of a long computation, each done by a process of its own, and joined by another one."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shared import contents, names, run_cli

from deeploc_tf.features import measure as module
from deeploc_tf.ingest import build_records, read_part
from deeploc_tf.sources import FolderSource
from tfrecords.errors import LockedError, OutputExistsError, PartsError
from tfrecords.locking import writing
from tfrecords.manifest import Manifest
from tfrecords.parts import Part, check_joined

PATTERN = "{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif"
BATCH_BYTES = 5 * (6 * 5 * 2 * 2 + 128)
SCALE = Path(__file__).parents[1] / "docs" / "scale.md"

measure = functools.partial(module.measure, kind="intensity", batch_size=4)


@pytest.fixture(scope="module")
def records(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("parts") / "records"
    write_screen(folder, size=14)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def single(records: Path, tmp_path: Path) -> dict[str, bytes]:
    """What a single measurement writes."""
    (tmp_path / "single").mkdir()
    measure(records, tmp_path / "single" / "cells.parquet", splits=("test", "train"))
    return contents(tmp_path / "single")


@pytest.mark.parametrize("count", [1, 2, 7, 10, 13])
def test_shares_are_runs_that_make_up_the_whole(count: int) -> None:
    shares = [Part(number, count).share(10) for number in range(1, count + 1)]
    assert [item for share in shares for item in share] == list(range(10))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    "text", ["0/4", "5/4", "1/0", "0/0", "-1/4", "1", "a/b", "1/4/2", "1.0/2", " 1/4", "", "٣/4"]
)
def test_what_names_no_part_is_refused(text: str, home: Path, records: Path) -> None:
    with pytest.raises(ValueError, match="K from 1 to N"):
        Part.of(text)
    result = run_cli("measure", records, home / "cells.parquet", "--part", text)
    assert result.exit_code == 2
    assert "K from 1 to N" in result.stderr
    assert names(home) == []


@pytest.mark.parametrize("count", [1, 3, 20])
def test_parts_of_a_measurement_are_joined_into_the_same_bytes(
    count: int,
    records: Path,
    home: Path,
    single: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments: dict[str, Any] = {"splits": ("test", "train")}
    output, cells = home / "cells.parquet", 0
    for number in reversed(range(1, count + 1)):
        steps: list[tuple[int, int | None]] = []
        told = measure(
            *(records, output),
            part=f"{number}/{count}",
            progress=lambda *step, steps=steps: steps.append(step),
            **arguments,
        )
        cells += told.num_crops
        assert steps[-1:] == ([(told.num_crops, told.num_crops)] if told.num_crops else [])
        assert told.num_proteins == 0
    assert cells == 38
    monkeypatch.setattr(module, "_vectors", lambda *_: pytest.fail("computed again"))
    measure(records, output, **arguments)
    assert contents(home) == single
    with pytest.raises(OutputExistsError):
        measure(records, output, part=f"1/{count}", **arguments)
    assert contents(home) == single


def test_missing_parts_are_named(records: Path, home: Path, single: dict[str, bytes]) -> None:
    output, splits = home / "cells.parquet", ("test", "train")
    for number in (1, 3, 7):
        measure(records, output, splits=splits, part=f"{number}/7")

    def stop(done: int, _: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        measure(records, output, splits=splits, part="2/7", progress=stop)
    assert "give the same command again" in stopped.value.__notes__[0]
    with pytest.raises(PartsError, match=r"none of number 2,4-6 in .*--part 2/7"):
        measure(records, output, splits=splits)
    for number in (2, 4, 5, 6):
        measure(records, output, splits=splits, part=f"{number}/7")
    measure(records, output, splits=splits)
    assert contents(home) == single


def test_other_parts_and_settings_are_refused_and_nothing_is_lost(
    records: Path, home: Path, single: dict[str, bytes]
) -> None:
    output, splits = home / "cells.parquet", ("test", "train")
    measure(records, output, splits=splits, part="1/2")
    before = contents(home)
    with pytest.raises(PartsError, match="parts of 2 are in"):
        measure(records, output, splits=splits, part="2/3")
    for part in (None, "2/2"):
        with pytest.raises(PartsError, match="same input and settings"):
            measure(records, output, splits=("test",), part=part)
        with pytest.raises(PartsError, match="same input and settings"):
            measure(records, output, splits=splits, mask_channel="gfp", part=part)
    assert contents(home) == before
    measure(records, output, splits=splits, part="2/2", workers=1)
    measure(records, output, splits=splits)
    assert contents(home) == single


def test_a_damaged_part_is_computed_again_by_the_join(
    records: Path, home: Path, single: dict[str, bytes]
) -> None:
    output, splits = home / "cells.parquet", ("test", "train")
    for part in ("1/2", "2/2"):
        measure(records, output, splits=splits, part=part)
    (partial,) = home.glob("cells.parquet.partial-*")
    (partial / "000001.part").write_bytes(b"")
    (partial / "000003.part").unlink()
    measure(records, output, splits=splits)
    assert contents(home) == single


def test_parts_go_on_from_a_single_run_that_was_stopped(
    records: Path, home: Path, single: dict[str, bytes]
) -> None:
    def stop(done: int, _: int | None) -> None:
        if done >= 12:
            raise KeyboardInterrupt

    output, splits = home / "cells.parquet", ("test", "train")
    with pytest.raises(KeyboardInterrupt):
        measure(records, output, splits=splits, progress=stop)
    for part in ("1/2", "2/2"):
        measure(records, output, splits=splits, part=part)
    measure(records, output, splits=splits)
    assert contents(home) == single


def test_parts_exclude_a_whole_run_and_themselves_but_not_each_other(tmp_path: Path) -> None:
    output, folder = tmp_path / "out", tmp_path / "out.partial-0123456789abcdef"
    with Part(1, 2).opened(output, folder), Part(2, 2).opened(output, folder):
        with pytest.raises(LockedError), writing(output):
            pytest.fail("written as a whole as well")
        with pytest.raises(LockedError, match="part 2/2"), Part(2, 2).opened(output, folder):
            pytest.fail("twice")
        with pytest.raises(PartsError, match="number 1-2 in"):
            check_joined(output, folder)
    check_joined(output, folder)
    with writing(output), pytest.raises(LockedError), Part(1, 2).opened(output, folder):
        pytest.fail("a part while the whole is written")
    assert names(tmp_path) == [folder.name]
    assert names(folder) == ["1-of-2.done", "2-of-2.done"]


def test_parts_of_a_build_are_joined_into_the_same_bytes(
    write_crops: Callable[..., Path], home: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "label": "protein",
        "conditions": {"test": [("field", "4")], "validation": [("field", "3")]},
        "batch_bytes": BATCH_BYTES,
    }
    crops = write_crops()
    output = home / "records"

    def source() -> FolderSource:
        return FolderSource(crops, PATTERN, ["gfp", "rfp"])

    build_records(source(), tmp_path / "single", **options)
    done = [read_part(source(), output, f"{number}/3", **options) for number in (3, 1)]
    with pytest.raises(PartsError, match=r"none of number 2 in"):
        build_records(source(), output, **options)
    with pytest.raises(PartsError, match="same input and settings"):
        build_records(source(), output, seed=1, **options)
    with pytest.raises(PartsError, match="parts of 3 are in"):
        read_part(source(), output, "2/4", **options)
    done.append(read_part(source(), output, "2/3", workers=2, **options))
    assert sum(done) == 16
    build_records(source(), output, **options)
    assert contents(output) == contents(tmp_path / "single")
    assert names(home) == ["records"]
    with pytest.raises(OutputExistsError):
        read_part(source(), output, "2/3", **options)
    read_part(source(), output, "1/1", overwrite=True, **options)
    build_records(source(), output, overwrite=True, **options)
    assert contents(output) == contents(tmp_path / "single")


PROGRAM = """
#!{python}
# deeploc-tf with small batches, which where KILLED is set dies when it has kept the first
import os
import signal

import tfrecords.batches
import tfrecords.writer
from deeploc_tf.cli import main
from deeploc_tf.profiles.tables.spill import Spill

def dying(function):
    def called(*arguments, **named):
        function(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)
    return called

tfrecords.writer._BATCH_BYTES = ({batch_bytes}, {batch_bytes})
if "KILLED" in os.environ:
    Spill.save = dying(Spill.save)
    tfrecords.batches.MemoryBatch.save = dying(tfrecords.batches.MemoryBatch.save)
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="bash and POSIX signals")
@pytest.mark.parametrize(
    "command", ["build-records", pytest.param("measure", marks=pytest.mark.long)]
)
def test_the_script_of_the_page_gives_the_bytes_of_a_single_run(
    command: str,
    write_screen: Callable[..., Manifest],
    write_crops: Callable[..., Path],
    home: Path,
    tmp_path: Path,
) -> None:
    script = tmp_path / "array.sh"
    script.write_text(re.search(r"```bash\n(.*?)```", SCALE.read_text("utf-8"), re.DOTALL)[1])
    program = tmp_path / "bin" / "deeploc-tf"
    program.parent.mkdir()
    text = textwrap.dedent(PROGRAM).lstrip()
    program.write_text(text.format(python=sys.executable, batch_bytes=BATCH_BYTES))
    program.chmod(0o755)
    if command == "measure":
        write_screen(tmp_path / "records", {"train": (60, 60, 60)}, size=8)  # three batches
        words = ["measure", str(tmp_path / "records"), "out.h5", "--kind", "intensity"]
        words += ["--split", "train"]
    else:
        words = ["build-records", str(write_crops()), "out", "--pattern", PATTERN]
        words += ["--channels", "gfp,rfp", "--label", "protein", "--test", "field=4"]
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"

    def start(**changes: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", str(script), "3", *words],
            cwd=home,
            env={**os.environ, "PATH": path, **changes},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    parts = [
        start(SLURM_ARRAY_TASK_ID=str(n), **({"KILLED": "1"} if n == 2 else {})) for n in (1, 2, 3)
    ]
    told = [part.communicate() for part in parts]
    assert [part.returncode for part in parts] == [0, -signal.SIGKILL, 0], told
    assert "The same command without --part joins the parts" in told[0][0]
    early = start()
    assert "none of number 2 in" in early.communicate()[1]
    assert early.returncode == 1
    for changes in ({"SLURM_ARRAY_TASK_ID": "2"}, {}):
        job = start(**changes)
        _, errors = job.communicate()
        assert job.returncode == 0, errors
    single = tmp_path / "single"
    single.mkdir()
    done = subprocess.run(
        [str(program), *words], cwd=single, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert contents(home) == contents(single)
    assert all(name.startswith("out") for name in names(home))  # no lock is left
