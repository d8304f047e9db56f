from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from tfrecords.errors import SchemaError
from tfrecords.schema import MAX_PIXELS, Crop, Schema

SCHEMA = Schema(
    image_shape=(3, 4, 2),
    dtype="float32",
    channels=("gfp", "rfp"),
    has_mask=True,
    label_names=("nucleus", "vacuole", "Golgi"),
    metadata={"field": "text", "plate": "int64", "focus": "float32"},
    pixel_size=0.108,
)
CROP = Crop(
    key="AAC1/4/7",
    image=np.ones((3, 4, 2), "float32"),
    mask=np.ones((3, 4), "uint8"),
    labels=(1,),
    protein="AAC1",
    metadata={"field": "4", "plate": 3, "focus": 0.5},
)
BARE = Schema(image_shape=(3, 4, 2), dtype="uint8", channels=("gfp", "rfp"))


def test_a_good_crop_passes() -> None:
    SCHEMA.check(CROP)
    SCHEMA.check(dataclasses.replace(CROP, protein="", metadata={**CROP.metadata, "focus": np.nan}))
    BARE.check(Crop("k", np.zeros((3, 4, 2), "uint8")))


def with_pixel(value: float) -> np.ndarray[Any, Any]:
    image = CROP.image.copy()
    image[1, 2, 0] = value
    return image


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"image": CROP.image[:2]}, r"\(2, 4, 2\) float32, expected \(3, 4, 2\) float32"),
        ({"image": CROP.image[..., :1]}, r"\(3, 4, 1\)"),
        ({"image": CROP.image.astype("uint16")}, "uint16, expected"),
        ({"image": CROP.image.astype(">f4")}, "one dtype"),
        ({"image": with_pixel(np.nan)}, "finite. Received: 1 NaN"),
        ({"image": with_pixel(-np.inf)}, "finite"),
        ({"mask": None}, "mask=False"),
        ({"mask": np.ones((4, 3), "uint8")}, r"\(4, 3\) uint8"),
        ({"mask": np.ones((3, 4), bool)}, "bool"),
        ({"mask": np.full((3, 4), 255, "uint8")}, "Received: 255"),
        ({"labels": ()}, r"exactly one label here. Received: labels=\(\)"),
        ({"labels": (0, 1)}, "exactly one label"),
        ({"labels": (3,)}, r"\[0, 3\)"),
        ({"labels": (-1,)}, r"\[0, 3\)"),
        ({"key": ""}, "key=''"),
        ({"key": "a\udc80"}, "key="),
        ({"protein": None}, "protein=None"),
        ({"metadata": {"field": "4", "plate": 3}}, "columns of the schema"),
        ({"metadata": {**CROP.metadata, "well": "A1"}}, "columns of the schema"),
        ({"metadata": {**CROP.metadata, "field": 4}}, "'field' must be text. Received: 4"),
        ({"metadata": {**CROP.metadata, "plate": "3"}}, "'plate' must be int64"),
        ({"metadata": {**CROP.metadata, "plate": 2**63}}, "'plate' must be int64"),
        ({"metadata": {**CROP.metadata, "focus": 1e39}}, "'focus' must be float32"),
        ({"metadata": {**CROP.metadata, "focus": "0.5"}}, "'focus' must be float32"),
    ],
)
def test_a_bad_crop_is_refused_by_key(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(SchemaError, match=match) as error:
        SCHEMA.check(dataclasses.replace(CROP, **changes))
    assert repr(changes.get("key", "AAC1/4/7")) in str(error.value)


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ((), "at least one"),
        ((2, 1), "ascending"),
        ((1, 1), "distinct"),
        ((0, 3), r"\[0, 3\)"),
    ],
)
def test_several_labels_are_a_set(labels: tuple[int, ...], match: str) -> None:
    several = dataclasses.replace(SCHEMA, multi_label=True)
    several.check(dataclasses.replace(CROP, labels=(0, 2)))
    with pytest.raises(SchemaError, match=match):
        several.check(dataclasses.replace(CROP, labels=labels))


def test_unlabeled_crops_have_no_label() -> None:
    with pytest.raises(SchemaError, match="no label here"):
        BARE.check(Crop("k", np.zeros((3, 4, 2), "uint8"), labels=(0,)))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"image_shape": (3, 4)}, "image_shape"),
        ({"image_shape": (0, 4, 2)}, "image_shape"),
        ({"image_shape": (MAX_PIXELS, 1, 2)}, "Cut smaller crops"),
        ({"dtype": "int16"}, "dtype='int16'"),
        ({"channels": ("gfp",)}, "channels"),
        ({"channels": ("gfp", "gfp")}, "channels"),
        ({"label_names": ("ER", "ER")}, "label_names"),
        ({"label_names": ("ER", "")}, "label_names"),
        ({"label_names": ("ER ", "x")}, "label_names"),
        ({"label_names": ("ER\nGolgi", "x")}, "label_names"),
        ({"label_names": (), "multi_label": True}, "needs `label_names`"),
        ({"pixel_size": 0}, "pixel_size"),
        ({"pixel_size": float("nan")}, "pixel_size"),
        ({"metadata": {"a/b": "text"}}, "name='a/b'"),
        ({"metadata": {"a": "string"}}, "type='string'"),
    ],
)
def test_a_schema_that_no_crop_could_follow_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(SchemaError, match=match):
        dataclasses.replace(SCHEMA, **changes)


@pytest.mark.parametrize("schema", [SCHEMA, BARE])
def test_a_schema_survives_json(schema: Schema) -> None:
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_metadata_keeps_its_order() -> None:
    turned = dict(reversed(SCHEMA.metadata.items()))
    schema = dataclasses.replace(SCHEMA, metadata=turned)
    assert list(Schema.from_json(schema.to_json()).metadata) == ["focus", "plate", "field"]


@pytest.mark.parametrize(
    "changes",
    [
        {"image_shape": 5},
        {"image_shape": [3, "4", 2]},
        {"image_shape": [3, 4.0, 2]},
        {"channels": "gr"},
        {"has_mask": "false"},
        {"has_mask": 1},
        {"multi_label": None},
        {"label_names": [1, 2]},
        {"metadata": {"field": "text"}},
        {"metadata": [{"name": "field"}]},
        {"pixel_size": "0.1"},
        {"novelty": 1},
    ],
)
def test_json_of_another_type_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match="Received"):
        Schema.from_json({**SCHEMA.to_json(), **changes})


def test_json_without_a_field_is_refused() -> None:
    values = SCHEMA.to_json()
    del values["dtype"]
    with pytest.raises(SchemaError, match="all its fields"):
        Schema.from_json(values)
    with pytest.raises(SchemaError, match="all its fields"):
        Schema.from_json([])  # type: ignore[arg-type]


def test_num_image_bytes() -> None:
    assert SCHEMA.num_image_bytes == 3 * 4 * 2 * 4
    assert BARE.num_image_bytes == 3 * 4 * 2
