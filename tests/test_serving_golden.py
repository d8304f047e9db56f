"""SavedModels that both stacks exported, kept for ever: every stack serves them as they were."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

GOLDEN = Path(__file__).parent / "golden" / "savedmodel_v1"
MODELS = ("keras2_image", "keras2_masked", "keras3_image", "keras3_masked")


@pytest.mark.parametrize("name", MODELS)
def test_golden_models_give_their_numbers(name: str, tmp_path: Path) -> None:
    shutil.unpack_archive(GOLDEN / f"{name}.zip", tmp_path)
    signatures = tf.saved_model.load(str(tmp_path / "model")).signatures
    crops = {of: tf.constant(values) for of, values in np.load(tmp_path / "crops.npz").items()}
    assert set(crops) == ({"image", "mask"} if name.endswith("masked") else {"image"})
    expected: dict[str, Any] = dict(np.load(tmp_path / "expected.npz"))
    odds = np.exp(expected["logits"])
    expected["probabilities"] = odds / odds.sum(axis=1, keepdims=True)
    assert np.ptp(expected["probabilities"], axis=0).min() > 0.1  # the crops differ
    outputs_of = {
        "serving_default": {"probabilities", "logits", "embedding"},
        "classify": {"probabilities", "logits"},
        "embed": {"embedding"},
    }
    for signature, outputs in outputs_of.items():
        served = signatures[signature](**crops)
        assert set(served) == outputs
        for output in outputs:
            np.testing.assert_allclose(served[output], expected[output], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_golden_models_describe_themselves(name: str, tmp_path: Path) -> None:
    shutil.unpack_archive(GOLDEN / f"{name}.zip", tmp_path)
    model = tf.saved_model.load(str(tmp_path / "model"))
    described = {n: v.numpy().tolist() for n, v in model.signatures["describe"]().items()}
    assert len(described.pop("model_sha256")[0]) == 64
    assert described == {
        "class_names": [b"cytoplasm", "µ-body".encode()],
        "channels": [b"gfp", b"rfp"],
        "pixel_size": [pytest.approx(0.108)],
        "normalization": [b"percentile"],
        "layer": [b"fc_2"],
        "deeploc_tf": [b"0.1.0"],
    }
