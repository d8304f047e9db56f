"""Faults that a build must survive; see docs/reliability.md.

Faults of axes, fields and label images are in test_faults_fields.py, those of workers in
test_ingest_resume.py.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from shared import contents, names

import tfrecords.retrying
import tfrecords.workspace
import tfrecords.writer
from deeploc_tf.ingest import build_records
from deeploc_tf.sources import FolderSource, SourceError, TableSource
from deeploc_tf.text_tables import TableError
from tfrecords.errors import (
    DamagedRecordsError,
    DuplicateKeyError,
    LockedError,
    OutputExistsError,
    SplitError,
)
from tfrecords.locking import locked
from tfrecords.manifest import Duplicates, manifest_files, read_manifest
from tfrecords.verify import verify, verify_deep

PATTERN = "{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif"
CONDITIONS = {"test": [("field", "4")], "validation": [("field", "3")]}
BAD = "AAH1/AAH1_2_rfp_1_gfp.tif"
BAD_KEY = "AAH1/AAH1_2_rfp_1"
GOOD = "AAH1/AAH1_1_rfp_1_gfp.tif"
SLOW = """
import os, sys, time
from deeploc_tf.ingest import build_records
from deeploc_tf.sources import FolderSource

class Slow(FolderSource):
    def read(self, position):
        time.sleep(float(sys.argv[3]))
        return super().read(position)

source = Slow(sys.argv[1], {PATTERN!r}, ["gfp", "rfp"])
build_records(source, sys.argv[2], label="protein", batch_bytes=1000)
""".replace("{PATTERN!r}", repr(PATTERN))


@pytest.fixture
def crops(write_crops: Callable[..., Path]) -> Path:
    return write_crops()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def source_of(root: Path) -> FolderSource:
    return FolderSource(root, PATTERN, ["gfp", "rfp"])


def build(root: Path, output: Path, **options: Any) -> Any:
    options = {"label": "protein", "conditions": CONDITIONS, **options}
    return build_records(source_of(root), output, **options)


build_on_disk = functools.partial(build, batch_bytes=1 << 20)


def refused(error: type[Exception], match: str, run: Callable[[], Any], home: Path) -> None:
    """Check that a build is refused, says why, and leaves the folder of its output as it was."""
    before = names(home)
    with pytest.raises(error) as caught:
        run()
    text = " ".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert match in text
    assert names(home) == before


def table_of(root: Path, rows: list[tuple[str, ...]], columns: list[str]) -> TableSource:
    pd.DataFrame(rows, columns=columns).to_csv(root / "t.csv", index=False)
    return TableSource(root / "t.csv", {"gfp": "gfp"})


def set_aside(root: Path, home: Path, reason: str, match: str, **options: Any) -> None:
    """Check that a bad cell is refused by default, and counted and listed where it may be."""
    refused((SourceError, ValueError, OSError), match, lambda: build(root, home / "no"), home)  # type: ignore[arg-type]
    manifest = build(root, home / "records", max_rejects=1, **options)
    assert manifest.rejects == {reason: 1}
    (line,) = (home / "records/rejects.jsonl").read_text().splitlines()
    reject = json.loads(line)
    assert (reject["reason"], reject["key"]) == (reason, BAD_KEY)
    assert BAD in reject["files"]
    assert reject["detail"]
    assert str(root) not in line  # a data set holds no path of this machine
    assert sum(manifest.num_crops(split) for split in manifest.split_names) == 15
    verify_deep(home / "records")


def rewrite(root: Path, **options: Any) -> None:
    """Write the bad file anew."""
    image = options.pop("image", np.arange(30, dtype=np.uint16).reshape(6, 5))
    tifffile.imwrite(root / BAD, image, **options)


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("waited in vain")


def slow_build(crops: Path, home: Path, seconds: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SLOW, str(crops), str(home / "records"), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_killed_build_is_mended_by_the_next(crops: Path, home: Path) -> None:
    """At any moment: test_ingest_crash.py."""
    with slow_build(crops, home, 0.05) as process:
        wait_until(lambda: any(home.glob("*/batches/*.index")))
        process.kill()
    assert not (home / "records").exists()
    with slow_build(crops, home, 0) as process:
        assert process.wait() == 0
    build_records(source_of(crops), home / "whole", label="protein")
    assert contents(home / "records") == contents(home / "whole")
    assert names(home) == ["records", "whole"]


CROPS_OF_A_LONG_TABLE = 20_000


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_a_command_cleanly(
    crops: Path, home: Path, number: signal.Signals, code: int
) -> None:
    rows = [(f"{i}", BAD) for i in range(CROPS_OF_A_LONG_TABLE)]
    pd.DataFrame(rows, columns=["key", "gfp"]).to_csv(crops / "cells.csv", index=False)
    command = ["build-records", str(crops / "cells.csv"), str(home / "records")]
    command += ["--image-column", "gfp=gfp", "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-m", "deeploc_tf", *command],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # if we run in a job
    )
    wait_until(lambda: bool(list(home.glob("records.partial-*"))))
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"Traceback" not in errors
    assert names(home) == []  # it would have fitted into memory, so there is nothing to go on from


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("part", ["batch", "shard", "manifest"])
def test_a_full_disk_is_freed_again(
    crops: Path, home: Path, monkeypatch: pytest.MonkeyPatch, number: int, part: str
) -> None:
    """At any write: test_ingest_crash.py."""
    with Failing(monkeypatch, part, number):
        refused(OSError, os.strerror(number), lambda: build_on_disk(crops, home / "records"), home)


@pytest.mark.parametrize("part", ["batch", "shard", "manifest"])
def test_a_failing_disk_is_told_with_its_file(
    crops: Path, home: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """At any write, and short writes: test_ingest_crash.py."""
    with Failing(monkeypatch, part, errno.EIO), pytest.raises(OSError) as caught:  # noqa: PT011
        build_on_disk(crops, home / "records")
    assert part.replace("batch", "frames").replace("shard", ".tfrecord") in caught.value.filename
    assert not (home / "records").exists()
    build_on_disk(crops, home / "records")
    assert names(home) == ["records"]
    verify_deep(home / "records")


class Failing:
    """Writes fail, once a file of a certain kind is open."""

    KINDS = {"batch": ".frames", "shard": ".tfrecord", "manifest": "manifest.json"}  # noqa: RUF012

    def __init__(self, monkeypatch: pytest.MonkeyPatch, part: str, number: int) -> None:
        self.patch = monkeypatch
        self.kind = self.KINDS[part]
        self.number = number

    def __enter__(self) -> None:
        opened, written = os.open, os.write
        bad: set[int] = set()

        def open_file(path: Any, *arguments: Any, **options: Any) -> int:
            descriptor = opened(path, *arguments, **options)
            bad.discard(descriptor)
            if self.kind in str(path):
                bad.add(descriptor)
            return descriptor

        def write(descriptor: int, data: Any) -> int:
            if descriptor in bad:
                raise OSError(self.number, os.strerror(self.number))
            return written(descriptor, data)

        self.patch.setattr(os, "open", open_file)
        self.patch.setattr(os, "write", write)

    def __exit__(self, *_: object) -> None:
        self.patch.undo()


def test_all_is_staged_beside_the_output(
    crops: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So no rename crosses a file system; and the exchange of two names may be missing."""
    build(crops, home / "records", seed=1)
    seen: list[list[str]] = []
    monkeypatch.setattr(tfrecords.workspace, "exchange", lambda *_: False)
    build(crops, home / "records", overwrite=True, progress=lambda *_: seen.append(names(home)))
    assert all(
        name.startswith("records.partial-") for name in set(seen[0]) - {".records.lock", "records"}
    )
    assert read_manifest(home / "records").seed == 0
    assert names(home) == ["records"]


def test_a_second_builder_is_refused(crops: Path, home: Path) -> None:
    """From other processes, living and dead: test_tfrecords_locking.py."""
    with locked(home / ".records.lock", "the output"):
        refused(LockedError, "process", lambda: build(crops, home / "records"), home)
    build(crops, home / "records")


def test_existing_output_is_refused(crops: Path, home: Path) -> None:
    build(crops, home / "records", seed=1)
    before = contents(home / "records")
    refused(OutputExistsError, "records", lambda: build(crops, home / "records"), home)
    assert contents(home / "records") == before
    after: list[bool] = []
    build(
        crops,
        home / "records",
        overwrite=True,
        progress=lambda *_: after.append(contents(home / "records") == before),
    )
    assert all(after)  # the old one is there until the new one is whole
    assert read_manifest(home / "records").seed == 0
    (home / "records/notes.txt").write_text("mine")
    refused(
        OutputExistsError,
        "notes.txt",
        lambda: build(crops, home / "records", overwrite=True),
        home,
    )


def test_a_dangling_link_is_set_aside(crops: Path, home: Path) -> None:
    (crops / BAD).unlink()
    (crops / BAD).symlink_to("nowhere.tif")
    set_aside(crops, home, "file cannot be read", BAD)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_without_permission_is_set_aside(crops: Path, home: Path) -> None:
    (crops / BAD).chmod(0)
    set_aside(crops, home, "file cannot be read", BAD)


def test_a_stale_handle_is_told_with_its_file(
    crops: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def stale(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith(BAD):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", stale)
    monkeypatch.setattr(tfrecords.retrying, "_WAITS", (0, 0, 0))
    refused(OSError, BAD, lambda: build(crops, home / "records", max_rejects=9), home)


def test_a_file_that_changes_during_the_build_is_refused(crops: Path, home: Path) -> None:
    def touch(count: int, _: int | None) -> None:
        if count == 15:
            os.utime(crops / BAD, ns=(0, 1))

    refused(SourceError, BAD, lambda: build(crops, home / "records", progress=touch), home)


def test_odd_names_clocks_and_locales(home: Path, tmp_path: Path) -> None:
    odd = ["Ünïcode µm", "with  spaces", "x" * 200, "dash-ed.name", "日本語"]
    for number, name in enumerate(odd):
        (tmp_path / "odd" / name).mkdir(parents=True)
        path = tmp_path / "odd" / name / "cell_gfp.tif"
        tifffile.imwrite(path, np.full((4, 4), number, np.uint8))
        os.utime(path, (4e9, 4e9))  # written in the future: the clock went back
    command = ["build-records", str(tmp_path / "odd"), str(home / "records"), "--quiet"]
    command += ["--pattern", "{protein}/{cell}_{channel}.tif", "--channels", "gfp"]
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-m", "deeploc_tf", *command],
        check=False,
        capture_output=True,
        env=environment,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert set(read_manifest(home / "records").counts["train"]["protein"]) == set(odd)
    verify_deep(home / "records")


def test_names_that_differ_in_case_alone_are_two(crops: Path, home: Path) -> None:
    """No name of a user becomes that of a file, so nothing collides on a disk that folds case."""
    rows = [("Cell", BAD, "a"), ("cell", BAD, "b"), ("c\u0327ell", BAD, "\u00e9")]
    pd.DataFrame(rows, columns=["key", "gfp", "protein"]).to_csv(crops / "t.csv", index=False)
    manifest = build_records(TableSource(crops / "t.csv", {"gfp": "gfp"}), home / "records")
    assert manifest.num_crops("train") == 3
    assert set(manifest.counts["train"]["protein"]) == {"a", "b", "\u00e9"}
    assert not [name for name in names(home / "records") if "cell" in name.lower()]


TABLES = {
    "empty": (b"", "must begin with a header line"),
    "header only": (b"key,gfp,protein\n", "t.csv, which has only a header"),
    "missing column": (b"key,protein\na,b\n", "t.csv must be one of the columns key, protein"),
    "duplicate column": (b"key,gfp,gfp\na,{},{}\n", "t.csv, line 1: 'gfp' twice"),
    "wrong delimiter": (b"key|gfp|protein\na|{}|b\n", "line 1: one column 'key|gfp|protein'"),
    "other encoding": (b"key,gfp,protein\na,{},b\n\xe4,{},b\n", "t.csv, line 3"),
    "too many fields": (b"key,gfp,protein\na,{},b\na2,{},b,c\n", "line 3"),
    "empty path": (b"key,gfp,protein\na,{},b\na2,,b\n", "line 3"),
}


@pytest.mark.parametrize("fault", TABLES)
def test_bad_tables_are_refused(crops: Path, home: Path, fault: str) -> None:
    content, match = TABLES[fault]
    (crops / "t.csv").write_bytes(content.replace(b"{}", BAD.encode()))
    refused(
        (SourceError, SplitError, TableError),  # type: ignore[arg-type]
        match,
        lambda: build_records(TableSource(crops / "t.csv", {"gfp": "gfp"}), home / "records"),
        home,
    )


def test_byte_order_mark_and_windows_lines_are_read(crops: Path, home: Path) -> None:
    (crops / "t.csv").write_bytes(b"\xef\xbb\xbfkey,gfp\r\na," + BAD.encode() + b"\r\n")
    manifest = build_records(TableSource(crops / "t.csv", {"gfp": "gfp"}), home / "records")
    assert manifest.num_crops("train") == 1


def test_duplicates_and_leaks_are_refused(crops: Path, home: Path) -> None:
    rows = [("a", BAD, "train"), ("a", GOOD, "test")]
    table = table_of(crops, rows, ["key", "gfp", "split"])
    refused(DuplicateKeyError, "'a'", lambda: build_records(table, home / "records"), home)
    refused(
        SplitError,
        "leak",
        lambda: build(crops, home / "records", group_by=["protein"]),
        home,
    )


def test_a_crop_under_two_keys_in_two_splits_is_refused(crops: Path, home: Path) -> None:
    columns = ["key", "gfp", "split"]
    once = table_of(crops, [("a", BAD, "train"), ("b", GOOD, "test")], columns)
    assert build_records(once, home / "once").num_crops("test") == 1
    twice = table_of(crops, [("a", BAD, "train"), ("b", BAD, "test")], columns)
    match = f"{BAD} as 'a' in train and as 'b' in test"
    refused(SplitError, match, lambda: build_records(twice, home / "records"), home)


def test_only_two_checks_stand_against_a_crop_in_two_splits(
    crops: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = ["key", "gfp", "split"]
    twice = table_of(crops, [("a", BAD, "train"), ("b", BAD, "test")], columns)
    monkeypatch.setattr("deeploc_tf.ingest.plan.check_images", lambda *_: None)
    with pytest.raises(SplitError, match="Equal pixels"):
        build_records(twice, home / "records")
    monkeypatch.setattr("tfrecords.writer.count_duplicates", lambda *_, **__: Duplicates())
    assert build_records(twice, home / "records").num_crops("test") == 1
    verify_deep(home / "records")


LABELS = {
    "case": (["nucleus", "Nucleus"], {}, "Nucleus"),
    "zeros": (["class 1", "class 01"], {}, "class 01"),
    "empty": (["nucleus", ""], {}, "Every crop must have a label"),
    "missing": (["nucleus", "nan"], {}, "must be a name. Received: 'nan'"),
    "unseen class": (["nucleus", "vacuole"], {"classes": ["nucleus"]}, "vacuole"),
    "nothing among several": (["nucleus|ER", "|"], {"label_separator": "|"}, "must have a label"),
}


@pytest.mark.parametrize("fault", LABELS)
def test_bad_labels_are_refused(crops: Path, home: Path, fault: str) -> None:
    labels, options, match = LABELS[fault]
    rows = [(f"{number}", BAD, label) for number, label in enumerate(labels)]
    table = table_of(crops, rows, ["key", "gfp", "where"])
    refused(
        SourceError,
        match,
        lambda: build_records(table, home / "records", label="where", **options),
        home,
    )


def test_a_class_of_one_crop_outside_train_is_refused(crops: Path, home: Path) -> None:
    rows = [("a", BAD, "x", "train"), ("b", GOOD, "y", "test")]
    table = table_of(crops, rows, ["key", "gfp", "label", "split"])
    refused(SplitError, "'y'", lambda: build_records(table, home / "records", label="label"), home)


def test_crops_of_no_class_are_left_out_on_request_and_counted(crops: Path, home: Path) -> None:
    rows = [("a", BAD, "nucleus"), ("b", GOOD, ""), ("c", GOOD, "vacuole")]
    table = table_of(crops, rows, ["key", "gfp", "where"])
    options = {"label": "where", "classes": ["nucleus"], "unknown": "skip"}
    manifest = build_records(table, home / "records", **options)
    assert manifest.num_crops("train") == 1
    assert manifest.rejects == {"no known label": 2}


def truncated(root: Path) -> None:
    rewrite(root)
    (root / BAD).write_bytes((root / BAD).read_bytes()[:-7])


def corrupt_lzw(root: Path) -> None:
    rewrite(root, compression="lzw", image=np.arange(3000, dtype=np.uint16).reshape(50, 60) % 7)
    content = bytearray((root / BAD).read_bytes())
    content[-300:] = bytes(300)
    (root / BAD).write_bytes(content)


IMAGES = {
    "no bytes": (lambda root: (root / BAD).write_bytes(b""), "file is empty"),
    "truncated": (truncated, "image is damaged"),
    "no image": (lambda root: (root / BAD).write_bytes(b"some text\n" * 9), "not an image"),
    "damaged LZW": (corrupt_lzw, "image is damaged"),
}


@pytest.mark.parametrize("fault", IMAGES)
def test_damaged_images_are_set_aside(crops: Path, home: Path, fault: str) -> None:
    damage, reason = IMAGES[fault]
    damage(crops)
    set_aside(crops, home, reason, BAD.rpartition("/")[2])


def test_a_wrong_suffix_is_no_fault(crops: Path, home: Path) -> None:
    import imagecodecs

    png = imagecodecs.png_encode(np.arange(30, dtype=np.uint16).reshape(6, 5))
    (crops / BAD).write_bytes(png)
    assert build(crops, home / "records").rejects == {}


def test_a_bomb_is_set_aside_before_memory_is_taken(crops: Path, home: Path) -> None:
    rewrite(crops)
    content = bytearray((crops / BAD).read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    for entry in range(count):
        at = start + 2 + 12 * entry
        tag, kind = struct.unpack_from("<HH", content, at)
        if tag in (256, 257):  # width and height
            content[at + 8 : at + 12] = struct.pack(
                "<I" if kind == 4 else "<HH", *((60_000,) if kind == 4 else (60_000, 0))
            )
    (crops / BAD).write_bytes(content)
    set_aside(crops, home, "too many pixels", "3600000000 pixels")


DTYPES = {
    "other": (np.zeros((6, 5), np.uint8), "channels differ"),
    "signed": (np.zeros((6, 5), np.int16), "channels differ"),
    "other shape": (np.zeros((5, 6), np.uint16), "channels differ"),
}


@pytest.mark.parametrize("fault", DTYPES)
def test_a_mix_of_types_is_set_aside(crops: Path, home: Path, fault: str) -> None:
    image, reason = DTYPES[fault]
    rewrite(crops, image=image)
    set_aside(crops, home, reason, "one dtype")


@pytest.mark.parametrize("dtype", [np.int16, np.float64])
def test_types_that_are_not_kept_are_refused(
    write_crops: Callable[..., Path], home: Path, dtype: Any
) -> None:
    crops = write_crops(dtype=dtype)
    refused(SourceError, "in silence", lambda: build(crops, home / "records"), home)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_not_finite_are_set_aside(
    write_crops: Callable[..., Path], home: Path, value: float
) -> None:
    crops = write_crops(dtype=np.float32)
    image = np.ones((6, 5), np.float32)
    image[3, 2] = value
    rewrite(crops, image=image)
    set_aside(crops, home, "pixels are not finite", "1 NaN or infinite")


def test_big_endian_files_hold_the_same_numbers(crops: Path, home: Path) -> None:
    build(crops, home / "little")
    tifffile.imwrite(crops / BAD, tifffile.imread(crops / BAD), byteorder=">")
    build(crops, home / "big")
    little, big = contents(home / "little"), contents(home / "big")
    assert little.pop("inputs.sha256") != big.pop("inputs.sha256")
    assert little == big


def test_negative_numbers_of_floats_are_kept(write_crops: Callable[..., Path], home: Path) -> None:
    crops = write_crops(dtype=np.float32)
    image = np.linspace(-1, 1, 30, dtype=np.float32).reshape(6, 5)
    rewrite(crops, image=image)
    manifest = build(crops, home / "records")
    records = b"".join(path.read_bytes() for path in (home / "records").glob("*.tfrecord-*"))
    rfp = tifffile.imread(crops / BAD.replace("_gfp", "_rfp"))
    assert np.stack([image, rfp], axis=-1).astype("<f4").tobytes() in records
    assert manifest.schema.dtype == "float32"


COLORS: dict[str, tuple[Any, dict[str, Any]]] = {
    "rgb": (np.zeros((6, 5, 3), np.uint8), {"photometric": "rgb"}),
    "palette": (
        np.zeros((6, 5), np.uint8),
        {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)},
    ),
}


@pytest.mark.parametrize("fault", COLORS)
def test_color_is_set_aside(crops: Path, home: Path, fault: str) -> None:
    image, options = COLORS[fault]
    rewrite(crops, image=image, **options)
    set_aside(crops, home, "not gray-level", "not gray-level")


def test_lossy_compression_is_set_aside(crops: Path, home: Path) -> None:
    image = np.zeros((16, 16), np.uint8)
    rewrite(crops, image=image, compression="jpeg")
    set_aside(crops, home, "lossy compression", "JPEG-compressed")


def test_another_number_of_planes_is_set_aside(crops: Path, home: Path) -> None:
    rewrite(crops, image=np.zeros((2, 6, 5), np.uint16), photometric="minisblack")
    set_aside(crops, home, "not one plane", "(2, 6, 5)")


def test_channels_are_taken_by_name_and_others_are_set_aside(tmp_path: Path, home: Path) -> None:
    channels = {"a": ("gfp", "rfp"), "b": ("rfp", "gfp"), "c": ("gfp", "dic")}
    for name, order in channels.items():
        image = np.full((2, 6, 5), 1, np.uint16)
        image[order.index("gfp")] = ord(name)
        metadata = {"axes": "CYX", "Channel": {"Name": list(order)}}
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", image, metadata=metadata)
    source = FolderSource(tmp_path, "{cell}.ome.tif")
    refused(SourceError, "gfp, dic", lambda: build_records(source, home / "records"), home)
    manifest = build_records(source, home / "records", max_rejects=1)
    assert manifest.num_crops("train") == 2
    assert manifest.rejects == {"channels differ": 1}
    (shard,) = (home / "records").glob("*.tfrecord-*")
    assert np.array([ord("b"), 1] * 30, np.uint16).tobytes() in shard.read_bytes()


MASKS = {
    "empty": (np.zeros((6, 5), np.uint8), "mask is empty"),
    "several objects": (np.arange(30, dtype=np.uint8).reshape(6, 5), "mask has several objects"),
    "other shape": (np.ones((5, 6), np.uint8), "mask shape differs"),
}


@pytest.mark.parametrize("fault", MASKS)
def test_bad_masks_are_set_aside_for_their_reasons(
    write_crops: Callable[..., Path], home: Path, fault: str
) -> None:
    image, reason = MASKS[fault]
    crops = write_crops(channels=("gfp", "mask"))
    for path in crops.rglob("*_mask.tif"):
        tifffile.imwrite(path, np.ones((6, 5), np.uint8))
    tifffile.imwrite(crops / BAD.replace("_gfp", "_mask"), image)
    source = FolderSource(crops, PATTERN, ["gfp"], mask_channel="mask")
    manifest = build_records(source, home / "records", max_rejects=1)
    assert manifest.rejects == {reason: 1}


def test_dead_and_saturated_crops_are_kept_and_flagged(crops: Path, home: Path) -> None:
    """What sets them aside: test_ingest_quality.py."""
    pairs = {"AAC1/AAC1_1_rfp_1": 0, "AAC1/AAC1_1_rfp_2": 7}
    for stem, value in pairs.items():
        for channel in ("gfp", "rfp"):
            tifffile.imwrite(crops / f"{stem}_{channel}.tif", np.full((6, 5), value, np.uint16))
    image = np.arange(30, dtype=np.uint16).reshape(6, 5)
    image[0] = 4095
    rewrite(crops, image=image)
    manifest = build(crops, home / "records")
    assert manifest.rejects == {}
    assert manifest.flagged == {
        "all pixels are zero": 1,
        "channel is constant": 1,
        "saturated": 1,
    }
    lines = (home / "records/flagged.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == [*pairs, BAD_KEY]
    assert not (home / "records/rejects.jsonl").exists()
    verify_deep(home / "records")


def test_paths_that_escape_are_refused(crops: Path, home: Path, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "secret.tif", np.zeros((6, 5), np.uint16))
    (crops / "t.csv").write_text("key,gfp\na,../secret.tif\n")
    table = TableSource(crops / "t.csv", {"gfp": "gfp"})
    refused(SourceError, "secret.tif", lambda: build_records(table, home / "records"), home)
    (crops / BAD).unlink()
    (crops / BAD).symlink_to(tmp_path / "secret.tif")
    refused(SourceError, BAD, lambda: build(crops, home / "records"), home)


def test_metadata_of_ome_lead_to_no_other_file(tmp_path: Path, home: Path) -> None:
    """The thorough tests are in test_sources_images.py and test_tfrecords_manifest.py."""
    tifffile.imwrite(tmp_path / "secret.tif", np.full((6, 5), 7, np.uint16))
    (tmp_path / "crops").mkdir()
    path = tmp_path / "crops/cell.ome.tif"
    tifffile.imwrite(path, np.zeros((6, 5), np.uint16), metadata={"axes": "YX"})
    xml = tifffile.tiffcomment(path).replace(
        'IFD="0"', 'IFD="0"><UUID FileName="../secret.tif">urn:uuid:0</UUID></TiffData', 1
    )
    tifffile.tiffcomment(path, xml.replace("</TiffData/>", "</TiffData>").encode())
    assert "../secret.tif" in tifffile.tiffcomment(path)
    source = FolderSource(tmp_path / "crops", "{cell}.ome.tif", ["gfp"])
    refused(SourceError, "cell.ome.tif", lambda: build_records(source, home / "records"), home)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "deeploc-train.tfrecord-00000-of-1"])
def test_a_manifest_leads_to_no_other_file(crops: Path, home: Path, name: str) -> None:
    manifest = build(crops, home / "records")
    (shard, *_) = manifest.shards("train")
    bad = dataclasses.replace(shard, name=name)
    foreign = dataclasses.replace(manifest, splits={**manifest.splits, "train": (bad,)})
    for file, content in manifest_files(foreign).items():
        (home / "records" / file).write_bytes(content)
    with pytest.raises(DamagedRecordsError, match="shards of a split"):
        verify(home / "records")
