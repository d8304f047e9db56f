from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from shared import contents, names

import tfrecords.batches
import tfrecords.plan
import tfrecords.writer
from tfrecords.codec import decode
from tfrecords.errors import (
    DuplicateKeyError,
    OutputExistsError,
    RecordsError,
    SchemaError,
    SplitError,
)
from tfrecords.manifest import read_manifest
from tfrecords.schema import Crop
from tfrecords.sharding import order_hash
from tfrecords.writer import Entry

Change = Callable[[list[Crop]], list[Crop]]


def keys_on_disk(folder: Path, split: str) -> list[str]:
    files = [str(folder / shard.name) for shard in read_manifest(folder).shards(split)]
    schema = read_manifest(folder).schema
    return [decode(r, schema).key for r in tf.data.TFRecordDataset(files).as_numpy_iterator()]


def test_the_folder_holds_shards_manifest_and_what_tfds_wants(
    tiny_records: Any, tmp_path: Path
) -> None:
    manifest = tiny_records.write(tmp_path / "records", rejects={"empty": 1})
    assert sorted(contents(tmp_path / "records")) == [
        "dataset_info.json",
        "deeploc-test.tfrecord-00000-of-00001",
        "deeploc-train.tfrecord-00000-of-00002",
        "deeploc-train.tfrecord-00001-of-00002",
        "features.json",
        "label.labels.txt",
        "manifest.json",
    ]
    assert names(tmp_path) == ["records"]
    assert manifest == read_manifest(tmp_path / "records")
    assert manifest.rejects == {"empty": 1}
    assert manifest.num_crops("train") == 8
    train = [c for c in tiny_records.crops if tiny_records.split(c) == "train"]
    assert manifest.counts["train"]["label"] == {
        "cytoplasm": sum(c.labels == (0,) for c in train),
        "mitochondrion": sum(c.labels == (1,) for c in train),
    }
    assert manifest.counts["train"]["protein"] == {
        name: sum(c.protein == name for c in train) for name in ("AAC0", "AAC1", "AAC2")
    }


@pytest.mark.parametrize("seed", [0, 5])
def test_each_split_is_ordered_by_hash(tiny_records: Any, tmp_path: Path, seed: int) -> None:
    tiny_records.write(tmp_path / "records", seed=seed)
    for split in ("train", "test"):
        expected = [c.key for c in tiny_records.crops if tiny_records.split(c) == split]
        expected.sort(key=lambda key: order_hash(key, seed))
        assert keys_on_disk(tmp_path / "records", split) == expected


def test_every_byte_is_the_same_whatever_the_input_order(tiny_records: Any, tmp_path: Path) -> None:
    tiny_records.write(tmp_path / "a")
    shuffled = random.Random(1)
    tiny_records.write(
        tmp_path / "b",
        entries=shuffled.sample(tiny_records.entries, 12),
        crops=iter(shuffled.sample(tiny_records.crops, 12)),
    )
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_another_seed_gives_another_order(tiny_records: Any, tmp_path: Path) -> None:
    first = tiny_records.write(tmp_path / "a")
    second = tiny_records.write(tmp_path / "b", seed=1)
    assert keys_on_disk(tmp_path / "a", "train") != keys_on_disk(tmp_path / "b", "train")
    assert first.digest != second.digest


@pytest.mark.parametrize("crops_of_a_batch", [1, 5, 12])
def test_batches_on_disk_change_nothing(
    tiny_records: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crops_of_a_batch: int
) -> None:
    tiny_records.write(tmp_path / "a")
    monkeypatch.setattr(tfrecords.batches, "_CHUNK_BYTES", 1000)
    tiny_records.write(tmp_path / "b", batch_bytes=crops_of_a_batch * 448)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert names(tmp_path) == ["a", "b"]


def test_the_manifest_returned_is_the_one_written(tiny_records: Any, tmp_path: Path) -> None:
    sources = [{"kind": "folder", "channels": ("gfp", "rfp")}]
    manifest = tiny_records.write(tmp_path / "records", sources=sources)
    assert manifest == read_manifest(tmp_path / "records")
    assert manifest.sources == ({"kind": "folder", "channels": ["gfp", "rfp"]},)
    written = json.loads((tmp_path / "records/manifest.json").read_bytes())
    assert written["digest"] == manifest.digest


def test_progress_counts_crops(tiny_records: Any, tmp_path: Path) -> None:
    seen: list[int] = []
    tiny_records.write(tmp_path / "records", progress=lambda count, _: seen.append(count))
    assert seen == list(range(1, 13))


def test_a_relative_output_works(
    tiny_records: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_records.write("records")
    assert (tmp_path / "records/manifest.json").is_file()


def replaced(crops: list[Crop], **changes: Any) -> list[Crop]:
    return [*crops[:7], dataclasses.replace(crops[7], **changes), *crops[8:]]


def with_nan(crops: list[Crop]) -> list[Crop]:
    image = crops[7].image.astype("float32")
    image[3, 3, 1] = np.nan
    return replaced(crops, image=image)


FAULTS: dict[str, tuple[Change, type[Exception], str]] = {
    "wrong shape": (
        lambda crops: replaced(crops, image=crops[7].image[:6]),
        SchemaError,
        r"\(6, 8, 2\) uint16, expected \(8, 8, 2\) uint16.*Key: 'AAC1/3'",
    ),
    "wrong dtype": (
        lambda crops: replaced(crops, image=crops[7].image.astype("uint8")),
        SchemaError,
        "Key: 'AAC1/3'",
    ),
    "no mask": (lambda crops: replaced(crops, mask=None), SchemaError, "Key: 'AAC1/3'"),
    "other labels": (lambda crops: replaced(crops, labels=(0,)), SchemaError, "its entry.*AAC1/3"),
    "other protein": (lambda crops: replaced(crops, protein="X"), SchemaError, "its entry.*AAC1/3"),
    "missing crop": (
        lambda crops: crops[:-1],
        RecordsError,
        r"no crop of key='AAC2/4' \(missing: 1\)",
    ),
    "extra crop": (
        lambda crops: [*crops, dataclasses.replace(crops[0], key="novel")],
        RecordsError,
        "unknown key='novel'",
    ),
    "repeated crop": (
        lambda crops: [*crops, crops[3]],
        RecordsError,
        "repeated key='AAC0/2'",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fault_nothing_is_left(tiny_records: Any, tmp_path: Path, fault: str) -> None:
    change, error, match = FAULTS[fault]
    with pytest.raises(error, match=match):
        tiny_records.write(tmp_path / "records", crops=change(list(tiny_records.crops)))
    assert names(tmp_path) == []


def test_nan_pixels_are_refused(tiny_records: Any, tmp_path: Path) -> None:
    schema = dataclasses.replace(tiny_records.schema, dtype="float32")
    crops = [
        dataclasses.replace(crop, image=crop.image.astype("float32")) for crop in tiny_records.crops
    ]
    with pytest.raises(SchemaError, match=r"1 NaN or infinite pixels. Key: 'AAC1/3'"):
        tiny_records.write(tmp_path / "records", schema=schema, crops=with_nan(crops))
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError])
def test_after_an_interrupt_nothing_is_left(
    tiny_records: Any, tmp_path: Path, error: type[BaseException]
) -> None:
    def interrupted() -> Iterator[Crop]:
        yield from tiny_records.crops[:7]
        assert names(tmp_path) == [".records.lock", f"records.partial-{os.getpid()}"]
        raise error

    with pytest.raises(error):
        tiny_records.write(tmp_path / "records", crops=interrupted())
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["manifest_files", "_write_shard", "write_file"])
def test_an_interrupt_while_the_files_are_written_leaves_nothing(
    tiny_records: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    function = getattr(tfrecords.writer, name)
    calls = 0

    def interrupted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2 or name == "manifest_files":
            raise KeyboardInterrupt
        return function(*arguments, **options)

    monkeypatch.setattr(tfrecords.writer, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        tiny_records.write(tmp_path / "records")
    assert names(tmp_path) == []


KILLED = """
import os, signal, sys
import numpy as np
import tfrecords

schema = tfrecords.Schema((4, 4, 1), "uint8", ("gfp",))

def crops():
    for i in range(5):
        yield tfrecords.Crop(str(i), np.zeros((4, 4, 1), "uint8"))
        if i == 3 and sys.argv[2] != "0":
            os.kill(os.getpid(), int(sys.argv[2]))

entries = [tfrecords.Entry(str(i), "train") for i in range(5)]
tfrecords.write_records(sys.argv[1], schema, entries, crops())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_process_leaves_nothing_under_the_final_name(
    tmp_path: Path, number: signal.Signals
) -> None:
    def build(name: str, number: int) -> int:
        command = [sys.executable, "-c", KILLED, str(tmp_path / name), str(number)]
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            timeout=120,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # if we run in a job
        ).returncode

    assert build("records", number) != 0
    left = [".records.lock", "records.partial"] if number == signal.SIGKILL else []
    assert [name.split("-")[0] for name in names(tmp_path)] == left
    assert build("records", 0) == 0
    assert read_manifest(tmp_path / "records").num_crops("train") == 5
    assert names(tmp_path) == ["records"]


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_an_existing_output_is_refused_before_anything_is_read(
    tiny_records: Any, tmp_path: Path, kind: str
) -> None:
    output = tmp_path / "records"
    if kind == "folder":
        output.mkdir()
    elif kind == "file":
        output.write_text("mine")
    else:
        output.symlink_to("nowhere")

    def unread() -> Iterator[Crop]:
        pytest.fail("crops were read")
        yield

    with pytest.raises(OutputExistsError, match="records"):
        tiny_records.write(output, crops=unread())
    assert names(tmp_path) == ["records"]


def test_an_output_that_appears_meanwhile_is_left_alone(tiny_records: Any, tmp_path: Path) -> None:
    output = tmp_path / "records"

    def crops() -> Iterator[Crop]:
        yield from tiny_records.crops
        output.mkdir()

    with pytest.raises(OutputExistsError):
        tiny_records.write(output, crops=crops())
    assert names(tmp_path) == ["records"]
    assert names(output) == []


def test_remains_of_a_killed_process_of_our_number_are_replaced(
    tiny_records: Any, tmp_path: Path
) -> None:
    partial = tmp_path / f"records.partial-{os.getpid()}"
    (partial / "batches").mkdir(parents=True)
    (partial / "batches/000000.frames").write_bytes(b"old")
    (partial / "batches/000000.index").write_bytes(b"old")
    tiny_records.write(tmp_path / "records")
    tiny_records.write(tmp_path / "again")
    assert names(tmp_path) == ["again", "records"]
    assert contents(tmp_path / "records") == contents(tmp_path / "again")


def test_what_only_has_such_a_name_is_left_alone(tiny_records: Any, tmp_path: Path) -> None:
    tiny_records.write(tmp_path / "records.partial-2")
    (tmp_path / "records.partial-mine").write_text("mine")
    before = contents(tmp_path / "records.partial-2")
    tiny_records.write(tmp_path / "records")
    assert contents(tmp_path / "records.partial-2") == before
    assert names(tmp_path) == ["records", "records.partial-2", "records.partial-mine"]


def test_a_missing_parent_is_refused(tiny_records: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Make it first"):
        tiny_records.write(tmp_path / "no/records")


def test_no_crops_are_refused(tiny_records: Any, tmp_path: Path) -> None:
    with pytest.raises(SplitError, match="at least one crop"):
        tiny_records.write(tmp_path / "records", entries=[], crops=[])


def test_a_bad_name_of_a_split_is_refused(tiny_records: Any, tmp_path: Path) -> None:
    entries = [dataclasses.replace(entry, split="../x") for entry in tiny_records.entries]
    with pytest.raises(SplitError, match=r"split='\.\./x'"):
        tiny_records.write(tmp_path / "records", entries=entries)
    assert names(tmp_path) == []


def test_unknown_group_columns_are_refused(tiny_records: Any, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"'focus'\]. Received: \['well'\]"):
        tiny_records.write(tmp_path / "records", group_by=("protein", "well"))


def test_a_full_disk_is_refused_first(
    tiny_records: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"room.*1000 bytes free"):
        tiny_records.write(tmp_path / "records")
    assert names(tmp_path) == []


def doubled(tiny_records: Any) -> dict[str, Any]:
    """A second crop under a key that is taken."""
    other = dataclasses.replace(tiny_records.crops[5], key=tiny_records.crops[4].key)
    entry = Entry(other.key, tiny_records.split(other), other.labels, other.protein)
    return {
        "entries": [*tiny_records.entries, entry],
        "crops": [*tiny_records.crops, other],
    }


def test_a_duplicate_key_is_refused_by_name(tiny_records: Any, tmp_path: Path) -> None:
    with pytest.raises(DuplicateKeyError, match=r"key='AAC1/2' twice"):
        tiny_records.write(tmp_path / "records", **doubled(tiny_records))
    assert names(tmp_path) == []


def test_only_the_check_stands_against_duplicate_keys(
    tiny_records: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tfrecords.plan, "check_unique_keys", lambda _: None)
    entry = dataclasses.replace(tiny_records.entries[4])
    tiny_records.write(
        tmp_path / "records",
        entries=[*tiny_records.entries, entry],
        crops=[*tiny_records.crops, tiny_records.crops[4]],
    )
    keys = keys_on_disk(tmp_path / "records", entry.split)
    assert keys.count("AAC1/2") == 2
