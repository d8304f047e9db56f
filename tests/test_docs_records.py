"""The page on reading records elsewhere is run as it stands, against what our own reader gives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeploc_tf.pipeline.batches import batches
from tfrecords.codec import encode
from tfrecords.schema import Crop, Schema
from tfrecords.sharding import num_shards
from tfrecords.writer import Entry, write_records

DOCS = Path(__file__).parents[1] / "docs"
CLASSES = ("cytoplasm", "mitochondrion", "nucleus")
SCHEMAS = {
    "one label": Schema((8, 6, 2), "uint16", ("gfp", "rfp"), label_names=CLASSES),
    "several labels, masks, metadata": Schema(
        (4, 5, 1),
        "uint8",
        ("gfp",),
        has_mask=True,
        label_names=CLASSES,
        multi_label=True,
        metadata={"field": "text", "focus": "float32", "plate": "int64"},
    ),
    "no label": Schema(
        (3, 3, 3), "float32", ("gfp", "rfp", "nucleus"), metadata={"plate": "int64"}
    ),
}
LABELS = [(0,), (1,), (2,), (0, 1), (0, 2), (0, 1, 2)]  # the first three where a crop has one
Crops = list[dict[str, Any]]


def crop(schema: Schema, number: int) -> Crop:
    random = np.random.default_rng(number)
    labels = LABELS[number % (6 if schema.multi_label else 3)] if schema.label_names else ()
    metadata = {
        "field": f"µ{number % 7}",
        "focus": np.nan if number % 5 == 0 else number / 3,
        "plate": number - 9,
    }
    return Crop(
        f"AAC{number % 4}/{number}",
        (random.random(schema.image_shape) * 250).astype(schema.dtype),
        random.integers(0, 2, schema.image_shape[:2], "uint8") if schema.has_mask else None,
        labels,
        f"AAC{number % 4}",
        {name: metadata[name] for name in schema.metadata},
    )


@pytest.fixture(params=SCHEMAS)
def schema(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Schema:
    """Of the data set `records`, in several shards, in the working folder."""
    schema = SCHEMAS[request.param]
    crops = [crop(schema, number) for number in range(75)]
    entries = [
        Entry(crop.key, "test" if i % 5 == 0 else "train", crop.labels, crop.protein)
        for i, crop in enumerate(crops)
    ]
    monkeypatch.chdir(tmp_path)
    bytes_of_a_shard = 25 * len(encode(crops[0], schema))
    manifest = write_records("records", schema, entries, crops, shard_bytes=bytes_of_a_shard)
    # each of more than the 16 crops after which TensorFlow Datasets goes to the next shard
    assert all(shard.num_crops in (20, 30) for shard in manifest.shards("train"))
    return schema


def python_block(heading: str) -> str:
    page = (DOCS / "records-elsewhere.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.M)
    (block,) = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.M)
    return str(block)


def crops_of(dataset: Any) -> Crops:
    """One by one, labels as the set of their indices."""
    crops: Crops = []
    for batch in dataset:
        flat = {name: values for name, values in batch.items() if name != "meta"}
        flat |= {f"meta/{name}": values for name, values in batch.get("meta", {}).items()}
        for i in range(len(flat["key"])):
            crop = {name: np.asarray(values[i]) for name, values in flat.items()}
            if "label" in crop:
                crop["label"] = np.atleast_1d(crop["label"])
            crops.append(crop)
    return crops


def our_crops(split: str, schema: Schema) -> Crops:
    crops = crops_of(batches("records", split))
    for crop in crops if schema.multi_label else ():  # a row of zeros and ones
        crop["label"] = np.flatnonzero(crop["label"])
    return crops


def assert_same(crops: Crops, expected: Crops) -> None:
    assert len(crops) == len(expected)
    for crop, wanted in zip(crops, expected, strict=True):
        assert set(crop) == set(wanted)
        for name, value in wanted.items():
            np.testing.assert_array_equal(crop[name], value, err_msg=name, strict=True)


def test_the_plain_reader_is_fifteen_lines_without_code_of_ours() -> None:
    code = (DOCS / "read_records.py").read_text(encoding="utf-8")
    imported = re.findall(r"^\s*(?:import|from) (\w+)", code, re.M)
    assert sorted(imported) == ["json", "pathlib", "tensorflow"]
    _, function = code.split("\ndef read(")
    assert len([line for line in function.splitlines() if line.strip()]) == 15


def test_the_plain_reader_reads_what_ours_reads(
    schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    names: dict[str, Any] = {}
    exec(compile(python_block("Plain TensorFlow"), "records-elsewhere.md", "exec"), names)
    for split in ("train", "test"):
        crops = crops_of(names["read"]("records", split, batch_size=7))
        for crop in () if schema.label_names else crops:
            assert crop.pop("label").size == 0
        assert_same(crops, our_crops(split, schema))
    assert names["names"][-1] == our_crops("train", schema)[-1]["key"]


def test_tensorflow_datasets_reads_what_ours_reads(schema: Schema) -> None:
    tfds = pytest.importorskip(
        "tensorflow_datasets", reason="tensorflow-datasets (extra `interop`) is not installed"
    )
    block = python_block("TensorFlow Datasets")
    if schema.multi_label:
        block = block.replace('["label"].names', '["label"].feature.names')
    elif not schema.label_names:
        block = re.sub(r"^class_names.*\n", "", block, flags=re.M)
    names: dict[str, Any] = {}
    exec(compile(block, "records-elsewhere.md", "exec"), names)
    expected = our_crops("train", schema)
    assert tuple(names.get("class_names", ())) == schema.label_names
    assert_same(crops_of(names["dataset"]), expected)

    # in its own order, which takes turns between the shards, it gives the same crops
    by_key = {crop["key"].item(): crop for crop in expected}
    every = tfds.builder_from_directory("records").as_dataset(split="train")
    for dataset, num_crops in ((every, 60), (names["half"], 30)):
        crops = crops_of(dataset.ragged_batch(4))
        keys = [crop["key"].item() for crop in crops]
        assert set(keys) == set(list(by_key)[:num_crops])
        assert_same(crops, [by_key[key] for key in keys])
        assert num_crops == 30 or keys != list(by_key)


def test_the_page_on_scale_counts_as_the_writer_does() -> None:
    page = (DOCS / "scale.md").read_text(encoding="utf-8")
    numbers = [f"{num_shards(num_crops, 16_384 + 128):,}" for num_crops in (10**7, 10**9)]
    assert f"| {numbers[0]} | {numbers[1]} |" in page
    assert f"{num_shards(10**9, 16_384 + 128, 1 << 30):,} of them" in page
