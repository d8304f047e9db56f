from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from deeploc_tf.models.extractors import inference_function
from deeploc_tf.models.inpainting import PairedCellInpainting, source_encoder
from deeploc_tf.models.trained import load_model

# name, shape of the output, trainable parameters; ReLU comes before batch normalization
SOURCE = [
    ("image", (64, 64, 2), 0),
    ("source_normalization", (64, 64, 2), 0),
    ("source_orientation", (64, 64, 2), 0),
    ("source_conv_1_conv", (64, 64, 96), 1824),
    ("source_conv_1", (64, 64, 96), 0),
    ("source_conv_1_bn", (64, 64, 96), 192),
    ("source_pool_1", (32, 32, 96), 0),
    ("source_conv_2_conv", (32, 32, 256), 221440),
    ("source_conv_2", (32, 32, 256), 0),
    ("source_conv_2_bn", (32, 32, 256), 512),
    ("source_pool_2", (16, 16, 256), 0),
    ("source_conv_3_conv", (16, 16, 384), 885120),
    ("source_conv_3", (16, 16, 384), 0),
    ("source_conv_3_bn", (16, 16, 384), 768),
    ("source_conv_4_conv", (16, 16, 384), 1327488),
    ("source_conv_4", (16, 16, 384), 0),
    ("source_conv_4_bn", (16, 16, 384), 768),
    ("source_conv_5_conv", (16, 16, 256), 884992),
    ("source_conv_5", (16, 16, 256), 0),
    ("source_conv_5_bn", (16, 16, 256), 512),
]
TARGET = [
    ("target", (64, 64, 2), 0),
    ("target_normalization", (64, 64, 2), 0),
    ("target_orientation", (64, 64, 2), 0),
    ("target_structure", (64, 64, 1), 0),
    ("target_conv_1_conv", (64, 64, 16), 160),
    ("target_conv_1", (64, 64, 16), 0),
    ("target_conv_1_bn", (64, 64, 16), 32),
    ("target_pool_1", (32, 32, 16), 0),
    ("target_conv_2_conv", (32, 32, 32), 4640),
    ("target_conv_2", (32, 32, 32), 0),
    ("target_conv_2_bn", (32, 32, 32), 64),
    ("target_pool_2", (16, 16, 32), 0),
    ("target_conv_3_conv", (16, 16, 32), 9248),
    ("target_conv_3", (16, 16, 32), 0),
    ("target_conv_3_bn", (16, 16, 32), 64),
]
DECODER = [
    ("joined", (16, 16, 288), 0),
    ("decoder_conv_1_conv", (16, 16, 256), 663808),
    ("decoder_conv_1", (16, 16, 256), 0),
    ("decoder_conv_2_conv", (16, 16, 384), 885120),
    ("decoder_conv_2", (16, 16, 384), 0),
    ("decoder_conv_3_conv", (16, 16, 384), 1327488),
    ("decoder_conv_3", (16, 16, 384), 0),
    ("decoder_up_4", (32, 32, 384), 0),
    ("decoder_conv_4_conv", (32, 32, 256), 884992),
    ("decoder_conv_4", (32, 32, 256), 0),
    ("decoder_up_5", (64, 64, 256), 0),
    ("decoder_conv_5_conv", (64, 64, 96), 221280),
    ("decoder_conv_5", (64, 64, 96), 0),
    ("inpainted", (64, 64, 1), 97),
    ("target_protein", (64, 64, 1), 0),
    ("residual", (64, 64, 1), 0),
]


def num_trainable(weights: Any) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)


def pixels(seed: int, count: int = 3, shape: tuple[int, int, int] = (8, 12, 2)) -> Any:
    return np.random.default_rng(seed).integers(0, 2**16, (count, *shape), "uint16")


@pytest.fixture(scope="module")
def tiny() -> keras.Model:
    return PairedCellInpainting((8, 12, 2), width=0.03, seed=4)


def outputs(model: keras.Model, *layers: str) -> Any:
    cut = keras.Model(model.input, {layer: model.get_layer(layer).output for layer in layers})
    values = cut({"image": pixels(1), "target": pixels(2)}, training=False)
    return [values[layer].numpy() for layer in layers]


def test_it_is_the_published_network() -> None:
    model = PairedCellInpainting((64, 64, 2))
    rows = {}
    for layer in model.layers:
        shape = tuple(int(n) for n in layer.output.shape[1:])
        rows[layer.name] = (layer.name, shape, num_trainable(layer.trainable_weights))
    expected = [*SOURCE, *TARGET, *DECODER]
    assert len(rows) == len(expected)
    assert [rows[name] for name, *_ in expected] == expected
    assert num_trainable(model.trainable_weights) == 7_320_609
    for layer in model.layers:
        if layer.name.endswith("_conv"):
            assert (layer.kernel_size, layer.strides, layer.padding) == ((3, 3), (1, 1), "same")


def test_structure_may_have_several_channels() -> None:
    model = PairedCellInpainting((8, 8, 4), width=0.03)
    assert tuple(model.get_layer("target_structure").output.shape[1:]) == (8, 8, 3)
    assert tuple(model.output.shape[1:]) == (8, 8, 1)


def test_the_residual_is_the_painted_protein_less_the_true_one(tiny: keras.Model) -> None:
    residual, painted, protein = outputs(tiny, "residual", "inpainted", "target_protein")
    np.testing.assert_allclose(residual, painted - protein, atol=1e-6)
    raw = pixels(2)[..., :1].astype(np.float64)
    low, high = raw.min(axis=(1, 2), keepdims=True), raw.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(protein, (raw - low) / (high - low), atol=1e-6)


def test_what_is_painted_knows_nothing_of_the_targets_protein(tiny: keras.Model) -> None:
    cut = inference_function(keras.Model(tiny.input, tiny.get_layer("inpainted").output))
    image, target = pixels(1), pixels(2)
    painted = cut({"image": image, "target": target}).numpy()
    for channel, told in ((0, False), (1, True)):
        other = target.copy()
        other[..., channel] = pixels(3)[..., channel]
        assert np.array_equal(cut({"image": image, "target": other}), painted) is not told
    for channel in (0, 1):  # of the source it may know both
        other = image.copy()
        other[..., channel] = pixels(3)[..., channel]
        assert not np.array_equal(cut({"image": other, "target": target}), painted)


def test_source_and_target_are_flipped_independently_but_each_as_a_whole() -> None:
    model = PairedCellInpainting((8, 12, 2), width=0.03, seed=4)
    cut = keras.Model(
        model.input,
        [model.get_layer(f"{name}_orientation").output for name in ("source", "target")],
    )
    crop = np.repeat(pixels(1, count=1), 400, axis=0)
    seen = [value.numpy() for value in cut({"image": crop, "target": crop}, training=True)]
    straight = cut({"image": crop[:1], "target": crop[:1]}, training=False)[0].numpy()[0]
    views = [straight[::row, ::column] for row in (1, -1) for column in (1, -1)]
    drawn = [
        [next(i for i, view in enumerate(views) if np.array_equal(view, one)) for one in many]
        for many in seen
    ]
    counts = np.zeros((4, 4), int)
    np.add.at(counts, tuple(drawn), 1)
    # 16 combinations of 25 each: independent ones stay within 5 standard deviations
    assert counts.min() > 1
    assert counts.max() < 50


def test_orientations_and_windows_are_chosen_by_name() -> None:
    model = PairedCellInpainting(
        (10, 9, 2), width=0.03, window=8, augmentation="orientations", normalization="percentile"
    )
    assert model.get_layer("source_orientation").quarter_turns
    assert model.get_layer("target_normalization").method == "percentile"
    assert tuple(model.output.shape[1:]) == (8, 8, 1)
    plain = PairedCellInpainting((8, 8, 2), width=0.03, augmentation="none")
    assert not [layer for layer in plain.layers if "orientation" in layer.name]


def test_the_source_encoder_takes_a_single_crop(tiny: keras.Model) -> None:
    encoder = source_encoder(tiny)
    assert [tensor.name for tensor in encoder.inputs] == ["image"]
    (expected,) = outputs(tiny, "source_conv_5")
    np.testing.assert_allclose(encoder(pixels(1)), expected, atol=1e-6)
    names = [layer.name for layer in encoder.layers]
    assert [name for name in names if name.startswith("source_conv") and name[-1].isdigit()] == [
        f"source_conv_{i}" for i in range(1, 6)
    ]
    assert not [name for name in names if "target" in name or "decoder" in name]


def test_a_saved_model_is_the_same_model(tiny: keras.Model, tmp_path: Path) -> None:
    tiny.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    crops = {"image": pixels(1), "target": pixels(2)}
    expected = inference_function(tiny)(crops).numpy()
    np.testing.assert_allclose(inference_function(loaded)(crops), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ((8, 8, 1), {}, "structure"),
        ((8, 10, 2), {}, "multiples of 4.*8x10"),
        ((8, 8, 2), {"window": 6}, "multiples of 4.*6x6"),
        ((8, 8, 2), {"window": 12}, "must not exceed"),
        ((8, 8, 2), {"normalization": "standardize"}, "one of min-max.*'standardize'"),
        ((8, 8, 2), {"augmentation": "rotations"}, "one of none.*'rotations'"),
        ((8, 8, 2), {"width": 0.0}, "width=0.0"),
    ],
)
def test_what_cannot_be_built_is_refused(shape: Any, settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairedCellInpainting(shape, **{"width": 0.03, **settings})
