from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.extractors import feature_extractor, inference_function
from deeploc_tf.models.folding import fast_model
from deeploc_tf.models.inpainting import PairedCellInpainting
from deeploc_tf.models.keras_settings import our_settings


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return DeepLoc((14, 14, 2), 3, window=12, width=0.06, dense_units=(8, 6))


def crops() -> Any:
    return np.random.default_rng(0).integers(0, 900, (4, 14, 14, 2)).astype("uint16")


def test_several_layers_come_from_one_pass_by_address(model: keras.Model) -> None:
    addresses = ["fc_2", "conv_5:max", "conv_5", "conv_5:mean", "logits", "conv_5:flatten"]
    extractor = feature_extractor(model, addresses)
    assert isinstance(extractor, keras.Model)
    found = {name: values.numpy() for name, values in extractor(crops(), training=False).items()}
    assert set(found) == set(addresses)
    assert {values.dtype for values in found.values()} == {np.dtype(np.float32)}
    conv = keras.Model(model.input, model.get_layer("conv_5").output)(crops()).numpy()
    np.testing.assert_allclose(found["conv_5"], conv.reshape(4, -1), atol=1e-6)
    np.testing.assert_array_equal(found["conv_5:flatten"], found["conv_5"])
    np.testing.assert_allclose(found["conv_5:max"], conv.max(axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(found["conv_5:mean"], conv.mean(axis=(1, 2)), atol=1e-6)
    for address in ("fc_2", "conv_5:max"):
        alone = inference_function(feature_extractor(model, address))(crops())
        np.testing.assert_allclose(found[address], alone, atol=1e-6)
    np.testing.assert_allclose(found["logits"], model(crops(), training=False), atol=1e-6)


def test_predict_and_fast_take_several_as_well(model: keras.Model) -> None:
    extractor = feature_extractor(model, ["conv_8:mean", "fc_1"])
    found = extractor.predict(crops(), verbose=0)
    fast = fast_model(extractor, "float32")(crops(), training=False)
    for address in ("conv_8:mean", "fc_1"):
        np.testing.assert_allclose(fast[address], found[address], atol=1e-5)


def test_pooling_is_float32_under_every_policy() -> None:
    with our_settings("mixed_bfloat16"):
        half = DeepLoc((14, 14, 2), 3, window=12, width=0.06, dense_units=(8, 6))
    vectors = feature_extractor(half, "conv_2:mean")(crops(), training=False)
    places = keras.Model(half.input, half.get_layer("conv_2").output)(crops(), training=False)
    assert tf.as_dtype(places.dtype) == tf.bfloat16
    assert tf.as_dtype(vectors.dtype) == tf.float32
    exact = tf.cast(places, tf.float64).numpy().mean(axis=(1, 2))
    np.testing.assert_allclose(vectors, exact, atol=1e-6)


def test_inpainting_takes_a_crop_alone() -> None:
    whole = PairedCellInpainting((12, 12, 2), width=0.03)
    extractor = feature_extractor(whole, ["source_conv_3:max", "source_conv_4:mean"])
    image = crops()[:, :12, :12]
    found = extractor(image, training=False)
    assert found["source_conv_3:max"].shape == (
        4,
        whole.get_layer("source_conv_3").output.shape[-1],
    )
    with pytest.raises(ValueError, match="layer='decoder_conv_1'"):
        feature_extractor(whole, ["decoder_conv_1"])


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        ("fc_3", "layer='fc_3'"),
        ("fc_2:max", r"may end in :flatten, :max, :mean.*fc_2:max"),
        ("conv_5:median", r"conv_5:median"),
        ("conv_5:", "layer='conv_5:'"),
        ([], "at least one"),
        (["fc_1", "fc_1"], "named once"),
        (["fc_1", "conv_9"], "layer='conv_9'"),
    ],
)
def test_what_is_no_layer_is_refused(layers: Any, match: str, model: keras.Model) -> None:
    with pytest.raises(ValueError, match=match):
        feature_extractor(model, layers)
