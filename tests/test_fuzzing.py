"""Inputs that nobody thought of: bytes of files, patterns, types of pixels, options of commands.

A short form of `make fuzz`, without a fuzzer: seeds with a few changes each.
DEEPLOC_TF_RELIABILITY=1 takes twenty times as many.
"""

from __future__ import annotations

import io
import itertools
import os
import re
import time
import warnings
from pathlib import Path
from typing import Any

import click
import fuzz_readers
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shared import run_cli

from deeploc_tf.cli import main
from deeploc_tf.sources.images import as_dtype, read_image
from deeploc_tf.sources.patterns import FolderPattern
from deeploc_tf.sources.source import RejectedCrop
from tfrecords.schema import PIXEL_DTYPES

TIMES = 20 if os.environ.get("DEEPLOC_TF_RELIABILITY") == "1" else 1
SECONDS = 20  # of one input; as the fuzzer has it


def some(number: int) -> Any:
    return settings(
        max_examples=number * TIMES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


changes = st.lists(
    st.tuples(
        st.sampled_from(["set", "cut", "insert", "double", "number"]),
        st.floats(0, 1),
        st.integers(0, 255),
        st.sampled_from([b"0", b"-1", b"4294967295", b"1e999", b"null", b"[]", b"{}", b'""']),
    ),
    min_size=1,
    max_size=6,
)


def changed(data: bytes, steps: list[tuple[str, float, int, bytes]]) -> bytes:
    for kind, place, value, text in steps:
        at = int(place * len(data))
        if kind == "set":
            data = data[:at] + bytes([value]) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at] + data[at + value :]
        elif kind == "insert":
            data = data[:at] + text + data[at:]
        elif kind == "double":
            data = data[:at] + data[at : at + value] * 2 + data[at + value :]
        elif numbers := list(re.finditer(rb"\d+", data)):
            number = numbers[int(place * (len(numbers) - 1))]
            data = data[: number.start()] + text + data[number.end() :]
    return data


@pytest.mark.parametrize("name", fuzz_readers.READERS)
def test_readers(name: str, tmp_path: Path) -> None:
    read, seeds = fuzz_readers.READERS[name]
    begun = list(seeds())
    for seed in begun:
        assert fuzz_readers.problem(read, seed, tmp_path) == ""

    @some(60)
    @given(st.sampled_from(begun), changes)
    def try_one(seed: bytes, steps: list[tuple[str, float, int, bytes]]) -> None:
        start = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert fuzz_readers.problem(read, changed(seed, steps), tmp_path) == ""
        assert time.monotonic() - start < SECONDS

    try_one()


@some(300)
@given(
    st.text(st.sampled_from("{}*?[]()|\\/._+ aé\n"), max_size=30)
    | st.lists(
        st.sampled_from(["{channel}", "{cell}", "{well}", "{field:02}", "{*}", "*", "/", "_", "x"]),
        max_size=8,
    ).map("".join),
    st.text(st.sampled_from("gfp/_x01.\n"), max_size=60),
)
def test_patterns(pattern: str, path: str) -> None:
    def match(_data: bytes, _folder: Path) -> None:
        matcher = FolderPattern(pattern, ["gfp", "rfp"])
        matcher.match(path)
        matcher.nearest([path])

    start = time.monotonic()
    assert fuzz_readers.problem(match, b"", Path()) == ""
    assert time.monotonic() - start < SECONDS


DTYPES = ["?", "i1", "u1", "<i2", ">i2", "<u2", ">u2", "<i4", ">u4", "<i8", "<u8", "<f2", ">f4"]
DTYPES += ["<f8", "<c8", "S3", "<M8[s]", "<U2"]


@some(100)
@given(
    st.sampled_from(DTYPES),
    st.sampled_from([None, *PIXEL_DTYPES]),
    st.lists(st.integers(0, 255), min_size=32, max_size=32),
)
def test_types_of_pixels(kind: str, wanted: str | None, values: list[int]) -> None:
    """Every number that comes out is one that was in the file."""
    raw = np.resize(np.array(values, np.uint8), 64)
    dtype = np.dtype(kind)
    image = raw[: 4 * dtype.itemsize].view(dtype).reshape(2, 2)
    path = Path(f"/dev/shm/deeploc-tf-{os.getpid()}.npy")
    if not path.parent.is_dir():
        path = Path(f"{os.getpid()}.npy")
    try:
        np.save(path, image)
        found = as_dtype(read_image(path), wanted, path.name)
    except RejectedCrop:
        pass
    else:
        assert found.dtype in PIXEL_DTYPES
        same = found == image
        with np.errstate(all="ignore"):
            if found.dtype == np.float32:
                same |= found == image.astype(np.float32)
        assert (same | np.isnan(found)).all()
    finally:
        path.unlink(missing_ok=True)


VALUES = [
    "",
    "0",
    "-1",
    "1",
    "2",
    "nan",
    "inf",
    "1e400",
    "9" * 30,
    "a",
    "é",
    "x=y",
    "x=y,z",
    "=",
    ",",
]
VALUES += ["/nonexistent", "{}", "{a}", "A1", "P1", "protein", "a,b", "%", "\u202e", "--", "true"]
INPUTS: dict[str, list[str]] = {
    "profile": ["cells.csv", "OUT.h5"],
    "change": ["cells.csv", "other.csv", "OUT.csv"],
    "neighbors": ["profiles.csv", "P1"],
    "map": ["profiles.csv", "OUT.html", "--projection", "pca"],
    "standards": ["terms.gmt"],
    "benchmark": ["profiles.csv", "terms.gmt", "OUT", "--permutations", "0", "--shuffles", "2"],
    "inspect": ["records"],
    "verify": ["records"],
    "trace": ["records"],
}
NOT_TRIED = {"--help", "--memory", "--suite"}  # of what is downloaded, or takes long


@pytest.fixture
def here(tmp_path: Path, tiny_records: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [f"P{i % 12},{i % 7 - 3},{i % 5 - 2},{i % 3}" for i in range(48)]
    header = "protein,a,b,c\n"
    (tmp_path / "cells.csv").write_text(header + "\n".join(rows) + "\n")
    (tmp_path / "other.csv").write_text(header + "\n".join(reversed(rows)) + "\n")
    (tmp_path / "profiles.csv").write_text(header + "\n".join(rows[:12]) + "\n")
    (tmp_path / "terms.gmt").write_text("one\t\tP0\tP2\tP4\ntwo\t\tP1\tP3\tP5\n")
    tiny_records.write(tmp_path / "records")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options_of(name: str) -> st.SearchStrategy[list[str]]:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    words = []
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not NOT_TRIED & set(parameter.opts):
            option = parameter.opts[0]
            if parameter.is_flag or parameter.count:
                words.append(st.just([option]))
                continue
            values = VALUES
            if isinstance(parameter.type, click.Choice):
                values = [*VALUES[:4], *parameter.type.choices]
            if isinstance(parameter.type, click.types.IntParamType):
                values = ["0", "1", "2", "3", "-1", "a", "1.5"]  # a million permutations take long
            value = st.sampled_from(values)
            words.append(st.tuples(st.just(option), *[value] * parameter.nargs).map(list))
    return st.lists(st.one_of(words), min_size=1, max_size=4).map(
        lambda parts: list(itertools.chain(*parts))
    )


@pytest.mark.parametrize("name", INPUTS)
def test_options(name: str, here: Path) -> None:
    """Whatever is asked for: an answer, or a sentence; never a traceback."""

    @some(15)
    @given(options_of(name))
    def try_one(words: list[str]) -> None:
        for path in here.glob("OUT*"):
            for file in sorted(path.rglob("*"), reverse=True):
                file.unlink() if file.is_file() else file.rmdir()
            path.unlink() if path.is_file() else path.rmdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            done = run_cli(name, *INPUTS[name], *words)
        assert done.exit_code in (0, 1, 2), (words, done.output)
        assert isinstance(done.exception, SystemExit | None), (words, done.exception)
        assert "please report it" not in done.output, (words, done.output)
        assert "Traceback" not in done.output, words

    try_one()


def test_the_fuzzer_keeps_what_it_finds(tmp_path: Path) -> None:
    def read(_data: bytes, _folder: Path) -> None:
        raise KeyError

    assert fuzz_readers.problem(read, b"", tmp_path).startswith("KeyError-test_fuzzing-")
    assert io.BytesIO(next(fuzz_readers.READERS["image"][1]())).read(2) == b"II"
