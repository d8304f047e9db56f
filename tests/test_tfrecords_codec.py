from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import google.protobuf.message
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from tfrecords.codec import decode, decode_batch, encode, feature_spec
from tfrecords.errors import DamagedRecordsError, RecordsError, SchemaError
from tfrecords.schema import Crop, Schema

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = {
    "text": TEXT,
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float32": st.floats(width=32),
}


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    shape = draw(st.tuples(*[st.integers(1, 6)] * 2, st.integers(1, 4)))
    label_names = draw(
        st.lists(st.from_regex(r"[a-z]{1,5}", fullmatch=True), unique=True, max_size=4)
    )
    names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,8}", fullmatch=True)
    return Schema(
        image_shape=shape,
        dtype=draw(st.sampled_from(["uint8", "uint16", "float32"])),
        channels=tuple(f"channel{i}" for i in range(shape[2])),
        has_mask=draw(st.booleans()),
        label_names=tuple(label_names),
        multi_label=bool(label_names) and draw(st.booleans()),
        metadata=draw(st.dictionaries(names, st.sampled_from(sorted(VALUES)), max_size=3)),
    )


@st.composite
def crops(draw: st.DrawFn, schema: Schema) -> Crop:
    pixels: dict[str, Any] = {}
    if schema.dtype == "float32":
        pixels = {"elements": st.floats(width=32, allow_nan=False, allow_infinity=False)}
    classes = st.integers(0, max(0, schema.num_classes - 1))
    labels: tuple[int, ...] = ()
    if schema.multi_label:
        labels = tuple(sorted(draw(st.sets(classes, min_size=1))))
    elif schema.label_names:
        labels = (draw(classes),)
    mask = stnp.arrays("uint8", schema.image_shape[:2], elements=st.integers(0, 1))
    return Crop(
        key=draw(TEXT.filter(bool)),
        image=draw(stnp.arrays(schema.dtype, schema.image_shape, **pixels)),
        mask=draw(mask) if schema.has_mask else None,
        labels=labels,
        protein=draw(TEXT),
        metadata={name: draw(VALUES[kind]) for name, kind in schema.metadata.items()},
    )


def assert_same(actual: Crop, expected: Crop) -> None:
    assert actual.image.dtype == expected.image.dtype
    # Bytes, not values: -0.0 must stay -0.0.
    assert actual.image.tobytes() == expected.image.tobytes()
    assert actual.image.shape == expected.image.shape
    np.testing.assert_equal(actual.mask, expected.mask)
    assert (actual.key, actual.labels, actual.protein) == (
        expected.key,
        expected.labels,
        expected.protein,
    )
    np.testing.assert_equal(dict(actual.metadata), dict(expected.metadata))


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_crop_comes_back_as_it_was(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    crop = data.draw(crops(schema))
    record = encode(crop, schema)
    assert_same(decode(record, schema), crop)
    # Protocol buffers write an Example of the same fields and sizes; only their order may differ.
    example = tf.train.Example.FromString(record)
    assert len(example.SerializeToString()) == len(record)
    assert set(example.features.feature) == set(feature_spec(schema))


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_a_batch_decodes_to_the_same_as_its_records(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    expected = data.draw(st.lists(crops(schema), min_size=1, max_size=4))
    batch = decode_batch(tf.constant([encode(crop, schema) for crop in expected]), schema)
    assert set(batch) == set(feature_spec(schema))
    np.testing.assert_array_equal(batch["image"], np.stack([crop.image for crop in expected]))
    assert [key.decode() for key in batch["key"].numpy()] == [crop.key for crop in expected]
    assert [p.decode() for p in batch["protein"].numpy()] == [crop.protein for crop in expected]
    if schema.has_mask:
        np.testing.assert_array_equal(batch["mask"], np.stack([crop.mask for crop in expected]))
    if schema.multi_label:
        classes = range(schema.num_classes)
        rows = [[float(i in crop.labels) for i in classes] for crop in expected]
        np.testing.assert_array_equal(batch["label"], np.array(rows, "float32"))
    elif schema.label_names:
        np.testing.assert_array_equal(batch["label"], [crop.labels[0] for crop in expected])
    for name, kind in schema.metadata.items():
        values = [crop.metadata[name] for crop in expected]
        actual = batch[f"meta/{name}"].numpy()
        if kind == "text":
            assert [value.decode() for value in actual] == values
        else:
            np.testing.assert_array_equal(actual, np.array(values, kind))


SCHEMA = Schema(
    image_shape=(3, 4, 2),
    dtype="uint16",
    channels=("gfp", "rfp"),
    has_mask=True,
    label_names=("nucleus", "vacuole"),
    metadata={"field": "text", "plate": "int64", "focus": "float32"},
)
CROP = Crop(
    key="AAC1/4/7",
    image=np.arange(24, dtype="uint16").reshape(3, 4, 2) * 1000,
    mask=np.eye(3, 4, dtype="uint8"),
    labels=(1,),
    protein="AAC1",
    metadata={"field": "4", "plate": -2, "focus": 0.5},
)


def test_the_features_are_named_and_stored_as_the_format_says() -> None:
    feature = tf.train.Example.FromString(encode(CROP, SCHEMA)).features.feature
    assert sorted(feature) == [
        "image",
        "key",
        "label",
        "mask",
        "meta/field",
        "meta/focus",
        "meta/plate",
        "protein",
    ]
    assert feature["image"].bytes_list.value[0][:6] == b"\x00\x00\xe8\x03\xd0\x07"
    assert feature["mask"].bytes_list.value[0] == bytes([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0])
    assert list(feature["label"].int64_list.value) == [1]
    assert list(feature["key"].bytes_list.value) == [b"AAC1/4/7"]
    assert list(feature["protein"].bytes_list.value) == [b"AAC1"]
    assert list(feature["meta/field"].bytes_list.value) == [b"4"]
    assert list(feature["meta/plate"].int64_list.value) == [-2]
    assert list(feature["meta/focus"].float_list.value) == [0.5]


def test_there_may_be_many_classes() -> None:
    schema = dataclasses.replace(SCHEMA, label_names=tuple(f"class {i}" for i in range(300)))
    crop = dataclasses.replace(CROP, labels=(np.int64(299),))
    assert decode(encode(crop, schema), schema).labels == (299,)


def test_pixels_need_not_be_contiguous() -> None:
    image = np.asfortranarray(CROP.image)
    mask = np.repeat(CROP.mask, 2, axis=1)[:, ::2]
    odd = dataclasses.replace(CROP, image=image, mask=mask)
    assert encode(odd, SCHEMA) == encode(CROP, SCHEMA)


def test_encode_names_the_key_of_a_bad_crop() -> None:
    with pytest.raises(SchemaError, match=r"one dtype.*Key: 'AAC1/4/7'"):
        encode(dataclasses.replace(CROP, image=CROP.image.astype("uint8")), SCHEMA)


def test_decode_batch_has_static_shapes_in_a_pipeline() -> None:
    dataset = tf.data.Dataset.from_tensors(encode(CROP, SCHEMA)).repeat(5)
    spec = dataset.batch(2).map(lambda batch: decode_batch(batch, SCHEMA)).element_spec
    assert spec["image"] == tf.TensorSpec((None, 3, 4, 2), tf.uint16)
    assert spec["mask"] == tf.TensorSpec((None, 3, 4), tf.uint8)
    assert spec["label"] == tf.TensorSpec((None,), tf.int64)
    whole = dataset.batch(2, drop_remainder=True).map(lambda batch: decode_batch(batch, SCHEMA))
    assert whole.element_spec["image"].shape == (2, 3, 4, 2)
    several = dataclasses.replace(SCHEMA, multi_label=True)
    spec = dataset.batch(2).map(lambda batch: decode_batch(batch, several)).element_spec
    assert spec["label"] == tf.TensorSpec((None, 2), tf.float32)


def test_a_record_is_decoded_in_a_pipeline() -> None:
    several = dataclasses.replace(SCHEMA, multi_label=True)
    for schema in (SCHEMA, several):
        records = [encode(CROP, schema)] * 2
        dataset = tf.data.Dataset.from_tensor_slices(records)
        (first, _) = dataset.map(lambda record, of=schema: decode(record, of)).as_numpy_iterator()
        batch = decode_batch(tf.constant(records), schema)
        assert list(first) == list(batch)
        for name, values in batch.items():
            np.testing.assert_array_equal(first[name], values[0])
        np.testing.assert_array_equal(first["image"], decode(records[0], schema).image)
    for wrong in (tf.constant(records), "text", None, 3):
        with pytest.raises(SchemaError, match=r"string tensor of shape \(\)"):
            decode(wrong, SCHEMA)


def test_decode_batch_takes_an_empty_batch() -> None:
    several = dataclasses.replace(SCHEMA, multi_label=True)
    batch = decode_batch(tf.constant([], tf.string), several)
    assert batch["image"].shape == (0, 3, 4, 2)
    assert batch["label"].shape == (0, 2)


def test_only_named_features_are_decoded() -> None:
    batch = decode_batch(tf.constant([encode(CROP, SCHEMA)]), SCHEMA, ["key", "meta/plate"])
    assert set(batch) == {"key", "meta/plate"}


def test_unknown_features_are_refused_with_the_known_ones() -> None:
    with pytest.raises(SchemaError, match=r"image, .*meta/focus.*features=\['pixels'\]"):
        feature_spec(SCHEMA, ["image", "pixels"])


def test_pixels_of_another_size_are_no_batch() -> None:
    smaller = dataclasses.replace(SCHEMA, image_shape=(3, 2, 2), has_mask=False)
    records = tf.constant([encode(CROP, SCHEMA)] * 2)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_batch(records, smaller)


@pytest.mark.parametrize(
    ("record", "match"),
    [
        (b"\xff\xff\xff", "tf.train.Example"),
        (tf.train.Example().SerializeToString(), "none of .*'image'"),
    ],
)
def test_decode_refuses_what_is_no_crop(record: bytes, match: str) -> None:
    with pytest.raises(DamagedRecordsError, match=match):
        decode(record, SCHEMA)


def test_decode_refuses_a_feature_of_another_type_or_size() -> None:
    for name, feature in {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"12345"])),
        "key": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"\xff"])),
        "meta/plate": tf.train.Feature(float_list=tf.train.FloatList(value=[1.0])),
    }.items():
        example = tf.train.Example.FromString(encode(CROP, SCHEMA))
        example.features.feature[name].CopyFrom(feature)
        with pytest.raises(DamagedRecordsError, match="type and size"):
            decode(example.SerializeToString(), SCHEMA)


def test_decode_ignores_features_that_a_later_writer_adds() -> None:
    example = tf.train.Example.FromString(encode(CROP, SCHEMA))
    example.features.feature["novelty"].int64_list.value.append(1)
    assert_same(decode(example.SerializeToString(), SCHEMA), CROP)


def test_decode_refuses_labels_out_of_range() -> None:
    fewer = dataclasses.replace(SCHEMA, label_names=("nucleus",))
    with pytest.raises(SchemaError, match=r"\[0, 1\).*labels=\(1,\).*Key: 'AAC1/4/7'"):
        decode(encode(CROP, SCHEMA), fewer)


def by_tensorflow(record: bytes) -> Crop | None:
    """What TensorFlow's own protocol buffer finds in a record of `SCHEMA`; None: no such crop."""
    try:
        found = dict(tf.train.Example.FromString(record).features.feature)
        (image,) = found["image"].bytes_list.value
        (mask,) = found["mask"].bytes_list.value
        (key,) = found["key"].bytes_list.value
        (protein,) = found["protein"].bytes_list.value
        (field,) = found["meta/field"].bytes_list.value
        (plate,) = found["meta/plate"].int64_list.value
        (focus,) = found["meta/focus"].float_list.value
        crop = Crop(
            key=key.decode(),
            image=np.frombuffer(image, "<u2").reshape(SCHEMA.image_shape),
            mask=np.frombuffer(mask, "uint8").reshape(SCHEMA.image_shape[:2]),
            labels=tuple(found["label"].int64_list.value),
            protein=protein.decode(),
            metadata={"field": field.decode(), "plate": plate, "focus": focus},
        )
        SCHEMA.check(crop)
    except (KeyError, ValueError, google.protobuf.message.DecodeError):
        return None
    return crop


def assert_as_tensorflow(record: bytes) -> None:
    expected = by_tensorflow(record)
    if expected is None:
        with pytest.raises(RecordsError):
            decode(record, SCHEMA)
    else:
        assert_same(decode(record, SCHEMA), expected)


def delimited(number: int, content: bytes) -> bytes:
    assert len(content) < 1 << 14
    length = [len(content)] if len(content) < 128 else [len(content) & 127 | 128, len(content) >> 7]
    return bytes([number << 3 | 2, *length]) + content


def entry(name: str, feature: bytes) -> bytes:
    """A part of a record: what is merged is written one after the other."""
    named = delimited(1, name.encode()) + delimited(2, feature)
    return delimited(1, delimited(1, named))


PLATE_7 = delimited(3, delimited(1, b"\x07"))
ODD = {
    "the last of equal names": entry("meta/plate", PLATE_7),
    "unpacked": entry("meta/plate", delimited(3, b"\x08\x07")),
    "an unpacked float": entry("meta/focus", delimited(2, b"\x0d\x00\x00\x80\x3e")),
    "the last kind of list": entry("meta/plate", delimited(1, b"") + PLATE_7),
    "another kind at last": entry("meta/plate", PLATE_7 + delimited(1, b"")),
    "two lists are one": entry("meta/plate", PLATE_7 * 2),
    "an unknown field": b"\x18\x01" + entry("meta/plate", b"\x20\x01" + PLATE_7),
    "a group": b"\x1b\x08\x01\x1c",
    "a group without an end": b"\x1b\x08\x01",
    "an unknown wire type": b"\x1f\x01",
    "field 0": b"\x02\x00",
    "a length that leads outside": b"\x0a\x7f",
    "a name that is no text": delimited(1, delimited(1, delimited(1, b"\xff"))),
    "an empty entry": delimited(1, delimited(1, b"")),
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_records_are_read_as_tensorflow_reads_them(odd: str) -> None:
    record = encode(CROP, SCHEMA)
    assert_as_tensorflow(record + ODD[odd])
    assert_as_tensorflow(ODD[odd] + record)
    if odd in ("the last of equal names", "unpacked", "the last kind of list", "an unknown field"):
        assert decode(record + ODD[odd], SCHEMA).metadata["plate"] == 7
        assert decode(ODD[odd] + record, SCHEMA).metadata["plate"] == -2


@settings(deadline=None, max_examples=1000)
@given(
    st.integers(0, len(encode(CROP, SCHEMA)) - 1),
    st.integers(0, 8),
    st.binary(max_size=8),
    st.booleans(),
)
def test_damaged_records_are_read_as_tensorflow_reads_them(
    place: int, removed: int, put: bytes, cut: bool
) -> None:
    record = encode(CROP, SCHEMA)
    assert_as_tensorflow(record[:place] + put + (b"" if cut else record[place + removed :]))


def test_decoding_a_record_imports_no_tensorflow(tmp_path: Path) -> None:
    (tmp_path / "record").write_bytes(encode(CROP, SCHEMA))
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA.to_json()))
    program = """
import json, pathlib, sys
from tfrecords import Schema, decode
schema = Schema.from_json(json.loads(pathlib.Path("schema.json").read_text()))
assert decode(pathlib.Path("record").read_bytes(), schema).key == "AAC1/4/7"
assert "tensorflow" not in sys.modules
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    assert run.returncode == 0
