"""SavedModels that both stacks exported, kept for ever: every stack serves them as they were."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from deeploc_tf.serving.digests import check_digests, savedmodel_folder
from deeploc_tf.serving.open_model import open_model
from tfrecords.errors import SchemaError

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = ("savedmodel_v1", "savedmodel_v2")
MODELS = ("keras2_image", "keras2_masked", "keras3_image", "keras3_masked")
OUTPUTS_OF = {
    "serving_default": {"probabilities", "logits", "embedding"},
    "classify": {"probabilities", "logits"},
    "embed": {"embedding"},
}


def unpack(version: str, name: str, folder: Path) -> Path:
    """The SavedModel: `model` of version 1, `model/1` of version 2."""
    shutil.unpack_archive(GOLDEN / version / f"{name}.zip", folder)
    found = savedmodel_folder(folder / "model")
    assert found is not None
    return found


def expected_of(folder: Path) -> dict[str, Any]:
    expected: dict[str, Any] = dict(np.load(folder / "expected.npz"))
    odds = np.exp(expected["logits"])
    expected["probabilities"] = odds / odds.sum(axis=1, keepdims=True)
    assert np.ptp(expected["probabilities"], axis=0).min() > 0.1  # the crops differ
    return expected


@pytest.mark.addons
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("version", VERSIONS)
def test_golden_models_give_their_numbers(version: str, name: str, tmp_path: Path) -> None:
    model = tf.saved_model.load(str(unpack(version, name, tmp_path)))
    crops = {of: tf.constant(values) for of, values in np.load(tmp_path / "crops.npz").items()}
    assert set(crops) == ({"image", "mask"} if name.endswith("masked") else {"image"})
    expected = expected_of(tmp_path)
    for signature, outputs in OUTPUTS_OF.items():
        served = model.signatures[signature](**crops)
        assert set(served) == outputs
        for output in outputs:
            np.testing.assert_allclose(served[output], expected[output], rtol=0, atol=1e-5)
    if version == "savedmodel_v2":
        records = tf.data.TFRecordDataset(str(tmp_path / "crops.tfrecord"))
        examples = next(iter(records.batch(100)))
        for output, values in model.signatures["serialized"](examples=examples).items():
            np.testing.assert_allclose(values, expected[output], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("version", VERSIONS)
def test_golden_models_describe_themselves(version: str, name: str, tmp_path: Path) -> None:
    model = tf.saved_model.load(str(unpack(version, name, tmp_path)))
    described = {n: v.numpy().tolist() for n, v in model.signatures["describe"]().items()}
    assert len(described.pop("model_sha256")[0]) == 64
    first = {
        "class_names": [b"cytoplasm", "µ-body".encode()],
        "channels": [b"gfp", b"rfp"],
        "pixel_size": [pytest.approx(0.108)],
        "normalization": [b"percentile"],
        "layer": [b"fc_2"],
        "deeploc_tf": [b"0.1.0"],
    }
    assert {name: described[name] for name in first} == first
    if version == "savedmodel_v1":
        assert set(described) == set(first)


@pytest.mark.parametrize("name", MODELS)
def test_golden_models_open_without_trust(name: str, tmp_path: Path) -> None:
    folder = unpack("savedmodel_v2", name, tmp_path)
    assert len(check_digests(folder)) == 64
    model = open_model(tmp_path / "model")
    assert model.description.image_shape == (14, 14, 2)
    assert model.description.class_names == ("cytoplasm", "µ-body")
    crops = dict(np.load(tmp_path / "crops.npz"))
    outputs = model(crops["image"], crops.get("mask"))
    np.testing.assert_allclose(
        outputs["embedding"], expected_of(tmp_path)["embedding"], rtol=0, atol=1e-5
    )


def test_models_of_version_1_lack_what_predict_needs(tmp_path: Path) -> None:
    unpack("savedmodel_v1", "keras3_image", tmp_path)
    with pytest.raises(SchemaError, match=r"does not tell its image_shape\. Export it with"):
        open_model(tmp_path / "model", trust=True)
