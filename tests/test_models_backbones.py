"""Each backbone is really the network that it is called, and lives as our own does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import keras
import numpy as np
import pydantic
import pytest

from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.extractors import feature_extractor
from deeploc_tf.models.trained import load_model
from deeploc_tf.network_choices import BACKBONES
from deeploc_tf.training.config import FitConfig

# Parameters without the top, of RGB images, as Keras' own pages and weight files have them; layers
# with weights (of DenseNet-121: 1 + 2 * 58 + 3 convolutions, and as many batch norms and one more).
LARGE_SIBLINGS = ("densenet201", "resnet152", "vgg19")
PUBLISHED = {
    "densenet121": (7_037_504, 120, 121, 1024),
    "densenet201": (18_321_984, 200, 201, 1920),
    "vgg16": (14_714_688, 13, 0, 512),
    "vgg19": (20_024_384, 16, 0, 512),
    "resnet50": (23_587_712, 53, 53, 2048),
    "resnet152": (58_370_944, 155, 155, 2048),
    "xception": (20_861_480, 40, 40, 2048),
}
LAST = {
    "densenet121": "conv5_block16_concat",
    "densenet201": "conv5_block32_concat",
    "vgg16": "block5_conv3",
    "vgg19": "block5_conv4",
    "resnet50": "conv5_block3_out",
    "resnet152": "conv5_block3_out",
    "xception": "block14_sepconv2_act",
}
TINY: dict[str, Any] = {
    **{"window": 0, "augmentation": "orientations", "dense_units": (8, 6)},
    "dropout": 0.0,  # whose random state is a weight
}
CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.SeparableConv2D)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",  # of each family, the smallest is fast
    [pytest.param(name, marks=[pytest.mark.long] * (name in LARGE_SIBLINGS)) for name in PUBLISHED],
)
def test_each_backbone_is_the_network_of_its_name(name: str) -> None:
    model = DeepLoc((64, 64, 3), 4, backbone=name, **{**TINY, "window": 60})
    ours = {"fc_1_dense", "fc_1_bn", "fc_2_dense", "fc_2_bn", "logits_dense", "logits_bn"}
    ours |= {"random_crop", "random_orientation"}
    trunk = [layer for layer in model.layers if layer.name not in ours and layer.weights]
    sizes = [int(np.prod(weight.shape)) for layer in trunk for weight in layer.weights]
    parameters, num_convolutions, num_norms, num_features = PUBLISHED[name]
    assert sum(sizes) == parameters
    assert sum(isinstance(layer, CONVOLUTIONS) for layer in trunk) == num_convolutions
    norms = [la for la in trunk if isinstance(la, keras.layers.BatchNormalization)]
    assert len(norms) == num_norms
    assert all(norm.momentum == 0.9 for norm in norms)
    assert model.get_layer("pool").output.shape == (None, num_features)
    assert model.get_layer(LAST[name]).output.shape[-1] == num_features
    assert model.get_layer("fc_2").output.shape == (None, 6)
    assert model.output.shape == (None, 4)


@pytest.mark.long
@pytest.mark.parametrize("name", ["resnet50", "vgg16"])
def test_a_backbone_lives_as_our_own_network(name: str, tmp_path: Path) -> None:
    model = DeepLoc((32, 32, 2), 3, backbone=name, mask=name == "vgg16", **TINY)
    random = np.random.default_rng(0)
    image = random.integers(0, 4000, (4, 32, 32, 2), np.uint16)
    inputs: Any = image
    if name == "vgg16":
        inputs = {"image": image, "mask": np.ones((4, 32, 32), np.uint8)}
    if name == "vgg16":  # the others take a minute
        before = model.get_weights()
        model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
        model.train_on_batch(inputs, np.eye(3, dtype=np.float32)[[0, 1, 2, 0]])
        moved = [np.abs(a - b).max() > 0 for a, b in zip(before, model.get_weights(), strict=True)]
        assert sum(moved) > 0.9 * len(moved)
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(inputs).numpy(), model(inputs).numpy())
    features = feature_extractor(again, LAST[name])(inputs).numpy()
    assert features.shape == (4, int(np.prod(again.get_layer(LAST[name]).output.shape[1:])))
    # One crop tells the same alone: batch normalization is at inference what it was saved as.
    first = {key: value[:1] for key, value in inputs.items()} if name == "vgg16" else inputs[:1]
    np.testing.assert_allclose(again(first).numpy(), model(inputs).numpy()[:1], atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "resnet51"}, "must be one of deeploc, densenet121.*backbone='resnet51'"),
        ({"backbone": "vgg16", "width": 0.5}, "backbone='vgg16', width=0.5, last_block=True"),
        ({"backbone": "vgg16", "image_shape": (24, 40, 1)}, "24x40 pixels for VGG16"),
    ],
)
def test_backbones_that_cannot_be_are_refused(arguments: dict[str, Any], message: str) -> None:
    values = {"image_shape": (32, 32, 1), **TINY, "augmentation": "flips", **arguments}
    with pytest.raises(ValueError, match=message):
        DeepLoc(values.pop("image_shape"), 3, **values)


def test_settings_and_command_line_know_the_same_backbones() -> None:
    from deeploc_tf.cli.fit import fit

    params = fit.get_params(click.Context(fit))
    (option,) = (option for option in params if option.name == "backbone")
    assert list(option.type.choices) == [*BACKBONES]  # type: ignore[attr-defined]
    for name in BACKBONES:
        assert FitConfig(backbone=name).backbone == name  # type: ignore[arg-type]
    with pytest.raises(pydantic.ValidationError, match="backbone"):
        FitConfig(backbone="alexnet")  # type: ignore[arg-type]
