from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import pytest
import tensorflow as tf
from shared import RECIPE, tiny_fit

from deeploc_tf.models import hardware
from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.inpainting import PairedCellInpainting
from deeploc_tf.models.trained import load_trained
from deeploc_tf.training.fit import fit
from deeploc_tf.training.precision import computing_in, resolve_precision
from deeploc_tf.training.state import TrainingStoppedError
from tfrecords.manifest import Manifest

CONFIG = tiny_fit(width=0.1, precision="bfloat16", **RECIPE)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_weights_head_and_preprocessing_are_float32(precision: str) -> None:
    with computing_in(precision):
        model = DeepLoc(
            (16, 16, 2), 3, window=12, augmentation="rotations", dropout=0.5, mask=True,
            width=0.1, dense_units=(8, 6),
        )  # fmt: skip
    assert keras.mixed_precision.global_policy().name == "float32"
    computed = {layer.name: layer.compute_dtype for layer in model.layers}
    assert {tf.as_dtype(weight.dtype) for weight in model.trainable_weights} == {tf.float32}
    for name in ("conv_1_bn", "conv_2_conv", "conv_8"):
        assert computed[name] == precision
    for name in (
        "normalization", "random_rotation", "random_crop", "random_orientation",
        "conv_1_conv", "fc_1_dense", "fc_1_bn", "fc_2", "dropout", "logits_dense",
        "logits_bn", "logits",
    ):  # fmt: skip
        assert computed[name] == "float32", name
    image = np.random.default_rng(0).integers(0, 999, (2, 16, 16, 2)).astype("uint16")
    logits = model({"image": image, "mask": np.ones((2, 16, 16), "uint8")})
    assert tf.as_dtype(logits.dtype) == tf.float32


def test_inpainting_sees_pixels_and_paints_them_in_float32() -> None:
    with computing_in("bfloat16"):
        model = PairedCellInpainting((16, 16, 2), width=0.1)
    computed = {layer.name: layer.compute_dtype for layer in model.layers}
    for name in ("source_conv_2_conv", "target_conv_2_conv", "source_conv_5"):
        assert computed[name] == "bfloat16"
    for name in ("source_conv_1_conv", "target_conv_1_conv", "inpainted"):
        assert computed[name] == "float32", name


@pytest.mark.long
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_trains_goes_on_exactly_and_leaves_a_float32_model(
    notes: list[str],
    precision: Literal["bfloat16", "float16"],
    write_screen: Callable[..., Manifest],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # so that float16 is taken on a CPU
    monkeypatch.setattr("deeploc_tf.training.fit.resolve_precision", lambda name, _: name)
    write_screen(tmp_path / "records", size=14)
    config = CONFIG.model_copy(update={"precision": precision})
    fit(tmp_path / "records", tmp_path / "whole", config)
    assert any(note.endswith(f"in {precision}.") for note in notes)
    done: list[int] = []
    again: dict[str, Any] = {
        "progress": lambda count, _: done.append(count),
        "should_stop": lambda: len(done) >= 4,
    }
    with pytest.raises(TrainingStoppedError):
        fit(tmp_path / "records", tmp_path / "stopped", config, **again)
    fit(tmp_path / "records", tmp_path / "stopped", config)
    models = [load_trained(tmp_path / name).model for name in ("whole", "stopped")]
    for found, expected in zip(models[1].weights, models[0].weights, strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy())
    assert {layer.compute_dtype for layer in models[0].layers if layer.weights} == {"float32"}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx512_bf16 sse", "bfloat16"), ("amx_bf16", "bfloat16"), ("fpu avx2", "float32")],
)
def test_auto_is_what_the_processor_says(
    flags: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    monkeypatch.setattr(hardware, "_CPU_INFO", tmp_path / "cpuinfo")
    strategy = tf.distribute.OneDeviceStrategy("cpu:0")
    assert resolve_precision("auto", strategy) == expected
    assert resolve_precision("bfloat16", strategy) == "bfloat16"
    with pytest.raises(ValueError, match="float16 is for GPUs"):
        resolve_precision("float16", strategy)
