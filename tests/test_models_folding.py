from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeploc_tf.models import hardware
from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.folding import Passed, fast_model, fast_precision
from deeploc_tf.models.inpainting import PairedCellInpainting

SIZE = 40


def unsettled(model: keras.Model) -> keras.Model:
    """With statistics, scales and shifts in its norms that are not those of a fresh model."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.3, 1.7, w.shape) for w in layer.get_weights()])
    return model


def crops(mask: bool = False) -> Any:
    random = np.random.default_rng(1)
    image = random.integers(0, 9000, (5, SIZE, SIZE, 2)).astype("uint16")
    image[:, 10:20, 10:30] += 5000
    if not mask:
        return image
    return {"image": image, "mask": random.integers(0, 2, (5, SIZE, SIZE)).astype("uint8")}


def norms(model: keras.Model) -> int:
    return sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"preset": "razdaibiedina2022", "last_block": False}, {"mask": True, "num_proteins": 4}],
)
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 3e-6), ("bfloat16", 2e-2)])
def test_the_function_stays(arguments: dict[str, Any], precision: str, tolerance: float) -> None:
    model = unsettled(DeepLoc((SIZE, SIZE, 2), 3, width=0.1, window=32, **arguments))
    fast = fast_model(model, precision)
    assert norms(model) > 0
    assert norms(fast) == 0
    assert [layer.name for layer in fast.layers] == [layer.name for layer in model.layers]
    inputs = crops("mask" in arguments)
    expected = model(inputs, training=False).numpy()
    found = fast(inputs, training=False).numpy()
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < tolerance * np.ptp(expected)
    assert np.abs(found - expected).max() > 0 or precision == "float32"


def test_bfloat16_is_for_images_behind_the_first_convolution() -> None:
    model = DeepLoc((SIZE, SIZE, 2), 3, width=0.1, window=32, mask=True)
    fast = fast_model(model, "bfloat16")
    computed = {layer.name: layer.compute_dtype for layer in fast.layers}
    assert computed["conv_1_conv"] == "float32"  # or pixels would have 8 bits
    assert {name for name, dtype in computed.items() if dtype == "bfloat16"} == {
        name
        for name in computed
        if name.startswith(("conv_", "pool_")) and name != "conv_1_conv"
    }  # fmt: skip
    assert {tf.as_dtype(weight.dtype) for weight in fast.trainable_weights} == {tf.float32}
    computing = [layer for layer in fast_model(model, "float32").layers if layer.weights]
    assert {layer.compute_dtype for layer in computing} == {"float32"}


def test_what_somebody_takes_is_not_folded() -> None:
    model = unsettled(DeepLoc((SIZE, SIZE, 2), 3, width=0.1, window=32))
    both = keras.Model(
        model.input, [model.get_layer("conv_2_conv").output, model.get_layer("conv_3").output]
    )
    fast = fast_model(both, "float32")
    assert isinstance(fast.get_layer("conv_2_bn"), keras.layers.BatchNormalization)
    assert isinstance(fast.get_layer("conv_3_bn"), Passed)
    for found, expected in zip(fast(crops()), both(crops()), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_norms_after_an_activation_stay() -> None:
    model = unsettled(PairedCellInpainting((SIZE, SIZE, 2), width=0.05))
    fast = fast_model(model, "float32")
    assert norms(fast) == norms(model) > 0
    inputs = {"image": crops(), "target": crops()[::-1]}
    np.testing.assert_allclose(fast(inputs), model(inputs), atol=1e-4)


def test_other_networks_are_folded_where_they_can_be() -> None:
    whole = unsettled(DeepLoc((SIZE, SIZE, 2), 3, backbone="densenet121", window=32))
    model = keras.Model(whole.input, whole.get_layer("conv3_block1_concat").output)
    fast = fast_model(model, "float32")
    assert 0 < norms(fast) < norms(model)  # some stand before the convolution
    expected = model(crops(), training=False).numpy()
    found = fast(crops(), training=False).numpy()
    assert np.abs(found - expected).max() < 1e-5 * np.ptp(expected)


def test_later_weights_of_the_model_are_not_followed() -> None:
    model = unsettled(DeepLoc((SIZE, SIZE, 2), 3, width=0.1, window=32))
    fast = fast_model(model, "float32")
    before = fast(crops(), training=False).numpy()
    model.set_weights([weight * 0 for weight in model.get_weights()])
    np.testing.assert_array_equal(fast(crops(), training=False), before)


@pytest.mark.parametrize(
    ("flags", "expected"), [("fpu avx512_bf16", "bfloat16"), ("fpu avx2", "float32")]
)
def test_auto_is_what_the_processor_can(
    flags: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    monkeypatch.setattr(hardware, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    assert fast_precision() == expected
    assert fast_precision("bfloat16") == "bfloat16"
    with pytest.raises(ValueError, match="precision='float16'"):
        fast_precision("float16")
