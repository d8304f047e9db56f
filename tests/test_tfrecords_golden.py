"""Data sets of every format, kept for ever: read by us, by plain TensorFlow and by TFDS.

Those of the newest format are written again, with the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfrecords.codec import decode, decode_batch
from tfrecords.framing import records as framed_records
from tfrecords.manifest import Duplicates, read_manifest
from tfrecords.reader import read_serialized
from tfrecords.schema import Crop, Schema, metadata_text
from tfrecords.verify import verify_deep
from tfrecords.writer import Entry, write_records

GOLDEN = Path(__file__).parent / "golden"
NEWEST = "records_v2"
FORMAT_PAGE = Path(__file__).parents[1] / "docs" / "format.md"


@dataclasses.dataclass(frozen=True)
class Golden:
    """What a golden data set must hold; made by hand, without any code of tfrecords."""

    schema: Schema
    splits: dict[str, list[Crop]]
    options: dict[str, Any]


def pixel(number: int, y: int, x: int, channel: int) -> int:
    return (number * 4099 + y * 257 + x * 17 + channel * 30000) % 65536


def image(number: int, shape: tuple[int, int, int], dtype: str) -> Any:
    values = [
        [[pixel(number, y, x, c) for c in range(shape[2])] for x in range(shape[1])]
        for y in range(shape[0])
    ]
    if dtype == "float32":
        return (np.array(values) / 64 - 500).astype("float32")  # exact in float32
    return (np.array(values) % (np.iinfo(dtype).max + 1)).astype(dtype)


def crops() -> Golden:
    classes = ("cytoplasm", "mitochondrion", "nucleus")
    members = [
        Crop(
            key=f"AAC{number % 3 + 1}/{number // 6 + 1}/µ{number}",
            image=image(number, (8, 8, 2), "uint16"),
            mask=np.array(
                [[(y + x + number) % 3 == 0 for x in range(8)] for y in range(8)], "uint8"
            ),
            labels=(number % 3,),
            protein=f"AAC{number % 3 + 1}",
            metadata={"field": str(number // 4 + 1), "plate": number - 2, "focus": number / 8},
        )
        for number in range(12)
    ]
    return Golden(
        Schema(
            image_shape=(8, 8, 2),
            dtype="uint16",
            channels=("gfp", "rfp"),
            has_mask=True,
            label_names=classes,
            metadata={"field": "text", "plate": "int64", "focus": "float32"},
            pixel_size=0.108,
        ),
        {"test": members[8:], "train": members[:8]},
        {
            "group_by": ("field",),
            "sources": [{"kind": "golden", "pattern": "{protein}/{field}/{cell}.tif"}],
            "rejects": {"constant": 1},
            "shard_bytes": 3 * 448,
        },
    )


def several_labels() -> Golden:
    sets = [(0,), (1,), (0, 1), (0, 2, 3), (3,), (1, 2)]
    members = [
        Crop(key=f"cell {number}", image=image(number, (4, 6, 1), "uint8"), labels=labels)
        for number, labels in enumerate(sets)
    ]
    return Golden(
        Schema(
            image_shape=(4, 6, 1),
            dtype="uint8",
            channels=("gfp",),
            label_names=("ER", "Golgi", "nuclear periphery", "vacuole"),
            multi_label=True,
        ),
        {"train": members},
        {"seed": 2022},
    )


def float32() -> Golden:
    members = [
        Crop(key=str(number), image=image(number, (3, 5, 3), "float32"), protein=f"YAL00{number}W")
        for number in range(4)
    ]
    return Golden(
        Schema(image_shape=(3, 5, 3), dtype="float32", channels=("gfp", "rfp", "nucleus")),
        {"train": members[:2], "validation": members[2:]},
        {"group_by": ("protein",)},
    )


def names() -> Golden:
    """Names and values of outsiders, and crops that are there twice."""
    members = [
        Crop(
            key=f"cell {number}",
            image=image(number, (4, 4, 1), "uint8"),
            metadata={
                "Cell Area (um2)": float(np.float32(0.1 * number)) if number else math.nan,
                "µm": -(2**63) + number,
                "2nd": ("1E5", "10E4", "1.10", "1.1", "", "007")[number],
            },
        )
        for number in range(6)
    ]
    return Golden(
        Schema(
            image_shape=(4, 4, 1),
            dtype="uint8",
            channels=("gfp",),
            metadata={"Cell Area (um2)": "float32", "µm": "int64", "2nd": "text"},
        ),
        {"test": members[4:], "train": members[:4]},
        {"group_by": ("2nd", "Cell Area (um2)")},
    )


def doubled() -> Golden:
    """Crops of equal pixels in one split and, as was allowed, in two."""
    numbers = (0, 1, 0, 2, 1)
    members = [Crop(f"{i}", image(n, (4, 4, 1), "uint8")) for i, n in enumerate(numbers)]
    return Golden(
        Schema(image_shape=(4, 4, 1), dtype="uint8", channels=("gfp",)),
        {"test": members[3:], "train": members[:3]},
        {"allow_duplicates": True},
    )


DATA_SETS = {
    "crops": crops,
    "several_labels": several_labels,
    "float32": float32,
    "names": names,
    "doubled": doubled,
}
SETS = {
    f"{folder.name}/{path.name}": path
    for folder in sorted(GOLDEN.glob("records_v*"))
    for path in sorted(folder.iterdir())
}


@pytest.fixture(params=SETS)
def path(request: pytest.FixtureRequest) -> Path:
    """A golden data set."""
    return SETS[request.param]


@pytest.fixture
def name(path: Path) -> str:
    """What it holds."""
    return path.name


def as_text(value: Any) -> str:
    """NaN is not equal to NaN."""
    return value.decode() if isinstance(value, bytes) else metadata_text(value)


def as_texts(metadata: Any) -> dict[str, str]:
    return {column: as_text(value) for column, value in metadata.items()}


def write(name: str, output: Path) -> None:
    golden = DATA_SETS[name]()
    members = [(split, crop) for split, found in golden.splits.items() for crop in found]
    write_records(
        output,
        golden.schema,
        [Entry(crop.key, split, crop.labels, crop.protein) for split, crop in members],
        [crop for _, crop in members],
        **golden.options,
    )


@pytest.mark.addons
@pytest.mark.parametrize("name", DATA_SETS)
def test_todays_writer_writes_the_same_bytes(name: str, tmp_path: Path) -> None:
    write(name, tmp_path / name)
    expected = {path.name: path.read_bytes() for path in (GOLDEN / NEWEST / name).iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} == expected


@pytest.mark.addons
def test_the_data_set_is_whole(name: str, path: Path) -> None:
    manifest = verify_deep(path)
    golden = DATA_SETS[name]()
    assert manifest.schema == golden.schema
    assert {split: manifest.num_crops(split) for split in manifest.split_names} == {
        split: len(found) for split, found in golden.splits.items()
    }
    if name == "crops":
        assert [len(manifest.shards(split)) for split in ("test", "train")] == [2, 3]
    doubles = Duplicates(allowed=True, within_splits=1, across_splits=2)
    expected = doubles if name == "doubled" else Duplicates()
    assert manifest.duplicates == (None if path.parent.name == "records_v1" else expected)


@pytest.mark.addons
def test_crops_read_one_by_one_are_as_expected(name: str, path: Path) -> None:
    golden = DATA_SETS[name]()
    for split, found in golden.splits.items():
        expected = {crop.key: crop for crop in found}
        records = list(read_serialized(path, split).as_numpy_iterator())
        assert len(records) == len(expected)
        for record in records:
            crop = decode(record, golden.schema)
            wanted = expected.pop(crop.key)
            np.testing.assert_array_equal(crop.image, wanted.image, strict=True)
            np.testing.assert_array_equal(crop.mask, wanted.mask)
            assert (crop.labels, crop.protein) == (wanted.labels, wanted.protein)
            assert as_texts(crop.metadata) == as_texts(wanted.metadata)


@pytest.mark.addons
def test_batches_are_as_expected(name: str, path: Path) -> None:
    golden = DATA_SETS[name]()
    for split, found in golden.splits.items():
        expected = {crop.key.encode(): crop for crop in found}
        dataset = read_serialized(path, split).batch(3)
        seen = 0
        for batch in dataset.map(lambda b: decode_batch(b, golden.schema)).as_numpy_iterator():
            for i, key in enumerate(batch["key"]):
                wanted = expected[key]
                np.testing.assert_array_equal(batch["image"][i], wanted.image, strict=True)
                assert batch["protein"][i].decode() == wanted.protein
                if golden.schema.has_mask:
                    np.testing.assert_array_equal(batch["mask"][i], wanted.mask, strict=True)
                if golden.schema.multi_label:
                    assert tuple(np.flatnonzero(batch["label"][i])) == wanted.labels
                    assert batch["label"].shape[1] == golden.schema.num_classes
                elif golden.schema.label_names:
                    assert (batch["label"][i],) == wanted.labels
                for column, value in wanted.metadata.items():
                    read = batch[f"meta/{column}"][i]
                    assert as_text(read) == as_text(value)
                seen += 1
        assert seen == len(found)


def test_the_reader_of_the_format_page_needs_no_code_of_ours(name: str, path: Path) -> None:
    (block,) = re.findall(
        r"^<!-- plain-reader -->\n```python\n(.*?)^```", FORMAT_PAGE.read_text(), re.DOTALL | re.M
    )
    assert "tfrecords" not in block
    assert len([line for line in block.splitlines() if line.strip()]) <= 15
    page: dict[str, Any] = {}
    exec(compile(block, str(FORMAT_PAGE), "exec"), page)
    golden = DATA_SETS[name]()
    for split, found in golden.splits.items():
        expected = {crop.key: crop for crop in found}
        for batch in page["read"](path, split, batch_size=3):
            for i, key in enumerate(batch["key"].numpy()):
                wanted = expected.pop(key.decode())
                np.testing.assert_array_equal(batch["image"][i], wanted.image, strict=True)
                assert batch["protein"][i].numpy().decode() == wanted.protein
                if wanted.labels:
                    assert tuple(batch["label"][i].numpy()) == wanted.labels
        assert not expected


def test_plain_tf_data_finds_the_features_by_name(name: str, path: Path) -> None:
    golden = DATA_SETS[name]()
    files = sorted(str(path) for path in path.glob("deeploc-*.tfrecord-*"))
    expected = {crop.key: crop for found in golden.splits.values() for crop in found}
    for record in tf.data.TFRecordDataset(files).as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        wanted = expected.pop(features["key"].bytes_list.value[0].decode())
        little = {"uint8": "u1", "uint16": "<u2", "float32": "<f4"}[golden.schema.dtype]
        pixels = np.frombuffer(features["image"].bytes_list.value[0], little)
        np.testing.assert_array_equal(pixels.reshape(wanted.image.shape), wanted.image)
        assert ("mask" in features) == (wanted.mask is not None)
        if wanted.mask is not None:
            assert features["mask"].bytes_list.value[0] == wanted.mask.tobytes()
        assert tuple(features["label"].int64_list.value) == wanted.labels
    assert not expected


def test_the_manifest_is_plain_json(name: str, path: Path) -> None:
    values = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    assert values["format"] == "deeploc-tf records"
    assert f"records_v{values['format_version']}" == path.parent.name
    assert read_manifest(path).digest == values["digest"]
    digest = values.pop("digest")
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(canonical.encode("ascii")).hexdigest() == digest
    if values["format_version"] == 1:
        assert "duplicates" not in values
    for shard in itertools.chain(*values["splits"].values()):
        content = (path / shard["name"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == shard["sha256"]
        assert len(content) == shard["num_bytes"]
        if values["format_version"] == 1:
            assert "checksums" not in shard
            continue
        checksums = {int(offset): value for offset, value in shard["checksums"].items()}
        stops = [stop for _, stop in framed_records(content)]
        assert set(checksums) <= set(stops)
        assert {stops[0], stops[-1]} <= set(checksums)
        assert all(content[at : at + 4].hex() == value for at, value in checksums.items())


def test_tfds_opens_it(name: str, path: Path) -> None:
    tfds = pytest.importorskip(
        "tensorflow_datasets", reason="tensorflow-datasets (extra `interop`) is not installed"
    )
    golden = DATA_SETS[name]()
    builder = tfds.builder_from_directory(str(path))
    assert set(builder.info.splits) == set(golden.splits)
    if golden.schema.label_names:
        label = builder.info.features["label"]
        label = label.feature if golden.schema.multi_label else label
        assert tuple(label.names) == golden.schema.label_names
    for split, found in golden.splits.items():
        assert builder.info.splits[split].num_examples == len(found)
        expected = {crop.key: crop for crop in found}
        for read in builder.as_dataset(split=split).as_numpy_iterator():
            wanted = expected.pop(read["key"].decode())
            np.testing.assert_array_equal(read["image"], wanted.image, strict=True)
            assert read["protein"].decode() == wanted.protein
            assert ("mask" in read) == golden.schema.has_mask
            if wanted.mask is not None:
                np.testing.assert_array_equal(read["mask"], wanted.mask, strict=True)
            if wanted.labels:
                assert tuple(np.atleast_1d(read["label"])) == wanted.labels
            for column, value in wanted.metadata.items():
                actual = read["meta"][column]
                assert as_text(actual) == as_text(value)
        assert not expected
