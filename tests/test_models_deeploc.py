from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import deeploc_tf.models
from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.extractors import feature_extractor, inference_function
from deeploc_tf.models.keras_settings import our_settings
from deeploc_tf.models.trained import TrainedModel, load_model, load_trained
from deeploc_tf.network_choices import AUGMENTATIONS, NORMALIZATIONS
from tfrecords.errors import RecordsError, SchemaError
from tfrecords.schema import Schema

# name, shape of the output, trainable parameters
KRAUS = [
    ("image", (64, 64, 2), 0),
    ("normalization", (64, 64, 2), 0),
    ("random_crop", (60, 60, 2), 0),
    ("random_orientation", (60, 60, 2), 0),
    ("conv_1_conv", (60, 60, 64), 1216),
    ("conv_1_bn", (60, 60, 64), 128),
    ("conv_1", (60, 60, 64), 0),
    ("conv_2_conv", (60, 60, 64), 36928),
    ("conv_2_bn", (60, 60, 64), 128),
    ("conv_2", (60, 60, 64), 0),
    ("pool_1", (30, 30, 64), 0),
    ("conv_3_conv", (30, 30, 128), 73856),
    ("conv_3_bn", (30, 30, 128), 256),
    ("conv_3", (30, 30, 128), 0),
    ("conv_4_conv", (30, 30, 128), 147584),
    ("conv_4_bn", (30, 30, 128), 256),
    ("conv_4", (30, 30, 128), 0),
    ("pool_2", (15, 15, 128), 0),
    ("conv_5_conv", (15, 15, 256), 295168),
    ("conv_5_bn", (15, 15, 256), 512),
    ("conv_5", (15, 15, 256), 0),
    ("conv_6_conv", (15, 15, 256), 590080),
    ("conv_6_bn", (15, 15, 256), 512),
    ("conv_6", (15, 15, 256), 0),
    ("conv_7_conv", (15, 15, 256), 590080),
    ("conv_7_bn", (15, 15, 256), 512),
    ("conv_7", (15, 15, 256), 0),
    ("conv_8_conv", (15, 15, 256), 590080),
    ("conv_8_bn", (15, 15, 256), 512),
    ("conv_8", (15, 15, 256), 0),
    ("pool_3", (8, 8, 256), 0),
    ("flatten", (16384,), 0),
    ("fc_1_dense", (512,), 8389120),
    ("fc_1_bn", (512,), 1024),
    ("fc_1", (512,), 0),
    ("fc_2_dense", (512,), 262656),
    ("fc_2_bn", (512,), 1024),
    ("fc_2", (512,), 0),
    ("logits_dense", (19,), 9747),
    ("logits_bn", (19,), 38),
    ("logits", (19,), 0),
]
RAZDAIBIEDINA = [
    ("image", (64, 64, 1), 0),
    ("normalization", (64, 64, 1), 0),
    ("random_orientation", (64, 64, 1), 0),
    ("conv_1_conv", (62, 62, 64), 640),
    ("conv_1_bn", (62, 62, 64), 128),
    ("conv_1", (62, 62, 64), 0),
    ("conv_2_conv", (60, 60, 64), 36928),
    ("conv_2_bn", (60, 60, 64), 128),
    ("conv_2", (60, 60, 64), 0),
    ("pool_1", (30, 30, 64), 0),
    ("conv_3_conv", (28, 28, 128), 73856),
    ("conv_3_bn", (28, 28, 128), 256),
    ("conv_3", (28, 28, 128), 0),
    ("conv_4_conv", (26, 26, 128), 147584),
    ("conv_4_bn", (26, 26, 128), 256),
    ("conv_4", (26, 26, 128), 0),
    ("pool_2", (13, 13, 128), 0),
    ("conv_5_conv", (11, 11, 256), 295168),
    ("conv_5_bn", (11, 11, 256), 512),
    ("conv_5", (11, 11, 256), 0),
    ("conv_6_conv", (9, 9, 256), 590080),
    ("conv_6_bn", (9, 9, 256), 512),
    ("conv_6", (9, 9, 256), 0),
    ("conv_7_conv", (7, 7, 256), 590080),
    ("conv_7_bn", (7, 7, 256), 512),
    ("conv_7", (7, 7, 256), 0),
    ("conv_8_conv", (5, 5, 256), 590080),
    ("conv_8_bn", (5, 5, 256), 512),
    ("conv_8", (5, 5, 256), 0),
    ("pool_3", (2, 2, 256), 0),
    ("flatten", (1024,), 0),
    ("fc_1_dense", (512,), 524800),
    ("fc_1", (512,), 0),
    ("fc_2_dense", (512,), 262656),
    ("fc_2", (512,), 0),
    ("logits_dense", (17,), 8721),
    ("logits", (17,), 0),
]


def num_trainable(weights: Any) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)


def table(model: keras.Model) -> list[tuple[str, tuple[int, ...], int]]:
    rows = []
    for layer in model.layers:
        assert layer.output.shape[0] is None
        shape = tuple(int(n) for n in layer.output.shape[1:])
        rows.append((layer.name, shape, num_trainable(layer.trainable_weights)))
    return rows


def shape_of(model: keras.Model, layer: str) -> tuple[int, ...]:
    return tuple(model.get_layer(layer).output.shape[1:])


@pytest.mark.parametrize(
    ("preset", "shape", "num_classes", "expected", "parameters"),
    [
        ("kraus2017", (64, 64, 2), 19, KRAUS, 10_991_417),
        ("razdaibiedina2022", (64, 64, 1), 17, RAZDAIBIEDINA, 3_123_409),
    ],
)
def test_the_presets_are_the_published_networks(
    preset: str, shape: Any, num_classes: int, expected: Any, parameters: int
) -> None:
    model = DeepLoc(shape, num_classes, preset=preset)
    assert table(model) == expected
    assert num_trainable(model.trainable_weights) == parameters
    assert [model.get_layer(f"conv_{i}_conv").strides for i in range(1, 9)] == [(1, 1)] * 8


def test_kraus_counts_are_those_at_60_pixels_stored() -> None:
    model = DeepLoc((60, 60, 2), 19)
    assert num_trainable(model.trainable_weights) == 10_991_417
    sides = [model.input.shape[1], *(shape_of(model, f"pool_{i}")[0] for i in (1, 2, 3))]
    assert sides == [60, 30, 15, 8]


def test_the_last_block_can_be_left_out() -> None:
    model = DeepLoc((64, 64, 1), 17, preset="razdaibiedina2022", last_block=False)
    assert shape_of(model, "flatten") == (6400,)
    names = {layer.name for layer in model.layers}
    assert "conv_5" in names
    assert not names & {"conv_6", "conv_7", "conv_8"}
    assert shape_of(model, "pool_3") == (5, 5, 256)


@pytest.mark.parametrize(
    ("width", "filters"), [(0.5, [32, 64, 128]), (0.25, [16, 32, 64]), (0.001, [1, 1, 1])]
)
def test_width_scales_the_filters_and_dense_units_are_free(width: float, filters: Any) -> None:
    model = DeepLoc((24, 24, 2), 4, window=0, width=width, dense_units=(10, 7))
    assert [shape_of(model, f"conv_{i}")[-1] for i in (1, 3, 8)] == filters
    assert [shape_of(model, name) for name in ("fc_1", "fc_2", "logits")] == [(10,), (7,), (4,)]


TINY: dict[str, Any] = {"width": 0.06, "dense_units": (8, 6)}


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 33), (40, 24)])
def test_any_size_and_number_of_channels(height: int, width: int, channels: int) -> None:
    shape = (height, width, channels)
    model = DeepLoc(shape, 3, window=0, augmentation="flips", **TINY)
    images = np.random.default_rng(0).integers(0, 999, (2, *shape)).astype("uint16")
    assert model(images, training=True).shape == (2, 3)
    assert model(images).shape == (2, 3)


def test_each_augmentation_has_its_layers() -> None:
    def layers(augmentation: str | None, **arguments: Any) -> list[str]:
        model = DeepLoc((24, 24, 1), 3, augmentation=augmentation, **{**TINY, **arguments})
        return [layer.name for layer in model.layers if layer.name.startswith("random")]

    assert layers("none", window=0) == []
    assert layers("none", window=20) == ["random_crop"]
    assert layers("flips", window=0) == ["random_orientation"]
    # Turned before the window is cut, whose margin hides the mirrored border.
    expected = ["random_rotation", "random_crop", "random_orientation"]
    assert layers("rotations", window=20) == expected
    assert layers(None, window=20) == expected
    kraus = layers(None, window=20, preset="kraus2017")
    assert kraus == ["random_crop", "random_orientation"]
    model = DeepLoc((36, 36, 1), 3, preset="razdaibiedina2022", last_block=False, **TINY)
    assert not model.get_layer("random_orientation").quarter_turns


def test_normalization_follows_preset_and_mask() -> None:
    def method(**arguments: Any) -> str:
        model = DeepLoc((64, 64, 1), 3, **TINY, **arguments)
        return str(model.get_layer("normalization").method)

    assert method() == "percentile"
    assert method(preset="razdaibiedina2022") == "standardize"
    assert method(preset="razdaibiedina2022", mask=True) == "min-max"  # the background stays 0
    assert method(preset="razdaibiedina2022", mask=True, normalization="standardize") == (
        "standardize"
    )
    assert method(normalization="kraus") == "kraus"


def batch_of(shape: tuple[int, int, int], mask: bool, count: int = 6) -> Any:
    random = np.random.default_rng(1)
    images = random.integers(50, 4000, (count, *shape)).astype("uint16")
    if not mask:
        return images
    return {"image": images, "mask": random.integers(0, 2, (count, *shape[:2])).astype("uint8")}


def whole_life(
    model: keras.Model, inputs: Any, folder: Path, layer: str = "fc_2", *, eager: bool = True
) -> None:
    """Train a step, save, reload in safe mode, extract: equal to the one before.

    Eagerly unless said otherwise: seven traces a model would take most of the time.
    """

    def function(model: keras.Model) -> Any:
        return (lambda x: model(x, training=False)) if eager else inference_function(model)

    before = [weight.numpy() for weight in model.trainable_weights]
    num_classes = model.output.shape[-1]
    count = len(inputs["image"] if isinstance(inputs, dict) else inputs)
    targets = np.eye(num_classes, dtype=np.float32)[np.arange(count) % num_classes]
    model.compile(
        keras.optimizers.Adam(1e-2),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        jit_compile=False,
        run_eagerly=eager,
    )
    model.fit(inputs, targets, batch_size=count, verbose=0)
    after = [weight.numpy() for weight in model.trainable_weights]
    assert any(np.any(a != b) for a, b in zip(before, after, strict=True))
    assert all(np.isfinite(weight).all() for weight in after)

    logits = function(model)(inputs).numpy()
    features = function(feature_extractor(model, layer))(inputs).numpy()
    assert logits.dtype == features.dtype == np.float32
    model.save(folder / "model.keras")
    loaded = load_model(folder / "model.keras")
    names = [[layer.name for layer in m.layers] for m in (model, loaded)]
    assert names[0] == names[1]
    for weight, saved in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), saved.numpy())
    # Equal but for the last bit, which some kernels take from where their memory lies.
    np.testing.assert_allclose(function(loaded)(inputs).numpy(), logits, atol=1e-6)
    extractor = feature_extractor(loaded, layer)
    np.testing.assert_allclose(function(extractor)(inputs).numpy(), features, atol=1e-6)
    # One crop at a time: nothing depends on the batch.
    one = {n: v[:1] for n, v in inputs.items()} if isinstance(inputs, dict) else inputs[:1]
    np.testing.assert_allclose(function(loaded)(one), logits[:1], atol=1e-5)
    if not eager:
        np.testing.assert_allclose(loaded.predict(inputs, verbose=0), logits, atol=1e-5)


@pytest.mark.parametrize(
    ("preset", "mask", "normalization"),
    [  # any two of them meet in the half that is not long
        pytest.param(preset, mask, name, marks=[pytest.mark.long] * ((i + j + k) % 2))
        for i, preset in enumerate(["kraus2017", "razdaibiedina2022"])
        for j, mask in enumerate([False, True])
        for k, name in enumerate(NORMALIZATIONS)
    ],
)
def test_whole_life(preset: str, mask: bool, normalization: str, tmp_path: Path) -> None:
    # Each augmentation, dropout and block is lived through by some of the cases.
    number = NORMALIZATIONS.names.index(normalization)
    valid = preset == "razdaibiedina2022"
    model = DeepLoc(
        (40, 40, 2),
        3,
        preset=preset,
        mask=mask,
        normalization=normalization,
        augmentation=AUGMENTATIONS.names[(number + mask) % 4],
        window=36 if valid else 16,
        last_block=not valid,
        dropout=0.3 if number % 2 else 0.0,
        **TINY,
    )
    whole_life(model, batch_of((40, 40, 2), mask), tmp_path)


@pytest.mark.long
def test_whole_life_with_a_convolution_as_features(tmp_path: Path) -> None:
    model = DeepLoc((20, 20, 2), 3, window=16, **TINY)
    assert feature_extractor(model, "conv_5").output.shape[1:] == (4 * 4 * 15,)
    whole_life(model, batch_of((20, 20, 2), False), tmp_path, layer="conv_5", eager=False)


def test_the_background_makes_no_difference_under_a_mask() -> None:
    model = DeepLoc((20, 20, 2), 3, mask=True, window=16, normalization="min-max", **TINY)
    inputs = batch_of((20, 20, 2), True)
    inside = inputs["mask"][..., None] > 0
    changed = {**inputs, "image": np.where(inside, inputs["image"], 60000).astype("uint16")}
    np.testing.assert_array_equal(model(changed), model(inputs))
    moved = {**inputs, "mask": inputs["mask"][:, ::-1]}
    assert not np.allclose(model(moved), model(inputs), atol=1e-6)
    # 0 and 255 are as good as 0 and 1.
    np.testing.assert_array_equal(model({**inputs, "mask": inputs["mask"] * 255}), model(inputs))


def test_logits_and_features_are_float32_under_mixed_precision(tmp_path: Path) -> None:
    with our_settings("mixed_bfloat16"):
        model = DeepLoc((20, 20, 2), 3, window=16, dropout=0.2, **TINY)
    assert model.get_layer("conv_2_conv").compute_dtype == "bfloat16"
    assert model.get_layer("normalization").compute_dtype == "float32"
    images = batch_of((20, 20, 2), False)
    assert model(images).dtype == tf.float32
    assert feature_extractor(model)(images).dtype == tf.float32
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert loaded.get_layer("normalization").compute_dtype == "float32"
    np.testing.assert_array_equal(loaded(images), model(images))


LOADED = """
import sys
import deeploc_tf.models
import keras
model = keras.models.load_model(sys.argv[1])
print(*sorted(name for name in keras.utils.get_custom_objects() if "deeploc_tf>" in name))
"""


def test_keras_loads_a_model_by_itself_after_the_room_was_imported(tmp_path: Path) -> None:
    DeepLoc((20, 20, 2), 3, window=16, **TINY).save(tmp_path / "model.keras")
    command = [sys.executable, "-c", LOADED, str(tmp_path / "model.keras")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    room = Path(deeploc_tf.models.__file__).parent
    registered = r'package="deeploc_tf"\)\nclass (\w+)'
    known = {n for path in room.glob("*.py") for n in re.findall(registered, path.read_text())}
    assert known
    assert set(done.stdout.split()) == {f"deeploc_tf>{name}" for name in known}


def test_the_feature_layer_is_penultimate_after_relu_and_before_dropout() -> None:
    model = DeepLoc((20, 20, 2), 3, window=16, dropout=0.5, **TINY)
    images = batch_of((20, 20, 2), False)
    features = feature_extractor(model)(images).numpy()
    assert features.shape == (6, 6)
    assert features.min() == 0
    normalized = model.get_layer("logits_bn")(model.get_layer("logits_dense")(features))
    np.testing.assert_allclose(normalized, model(images), atol=1e-5)


def test_one_trace_serves_every_batch_size() -> None:
    model = DeepLoc((20, 20, 2), 3, window=16, **TINY)
    function: Any = inference_function(model)
    images = batch_of((20, 20, 2), False)
    whole = function(images).numpy()
    parts = np.concatenate([function(images[:1]).numpy(), function(images[1:]).numpy()])
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    assert function.experimental_get_tracing_count() == 1
    model.get_layer("logits_bn").beta.assign([5.0, 0.0, 0.0])
    np.testing.assert_allclose(function(images)[:, 0], whole[:, 0] + 5, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "kraus"}, r"razdaibiedina2022, pifia2024\. Received: preset='kraus'"),
        ({"normalization": "max"}, "Received: normalization='max'"),
        ({"augmentation": "flip"}, "Received: augmentation='flip'"),
        ({"window": 21}, r"window=\(21, 21\), stored \(20, 20\)"),
        ({"preset": "razdaibiedina2022"}, "large enough .* pixels left at conv_5"),
        ({"preset": "razdaibiedina2022", "window": 12}, "2x2 pixels left at conv_4"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"width": 0}, "width=0"),
        ({"dense_units": (8,)}, r"dense_units=\(8,\)"),
        ({"window": 16, "dropout": 1.0}, r"must lie in \[0, 1\)\. Received: dropout=1.0"),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments: dict[str, Any], message: str) -> None:
    values = {"image_shape": (20, 20, 2), "num_classes": 3, **TINY, **arguments}
    with pytest.raises(ValueError, match=message):
        DeepLoc(**values)


def test_quarter_turns_of_crops_that_are_not_square_are_refused() -> None:
    with pytest.raises(ValueError, match="Quarter turns need square crops"):
        DeepLoc((20, 24, 2), 3, window=0, **TINY)


def test_an_unknown_layer_is_refused_with_the_names_there_are() -> None:
    model = DeepLoc((20, 20, 2), 3, window=16, **TINY)
    with pytest.raises(ValueError, match=r"layer='fc_3'; the model has .*conv_1.*fc_2"):
        feature_extractor(model, "fc_3")


SCHEMA = Schema((20, 20, 2), "uint16", ("gfp", "rfp"), label_names=("a", "b"), pixel_size=0.1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run folder, as `fit` leaves it, as far as other stations need it."""
    folder = tmp_path_factory.mktemp("trained")
    DeepLoc((20, 20, 2), 2, window=16, **TINY).save(folder / "model.keras")
    config = {"schema": SCHEMA.to_json(), "records_digest": "d" * 64, "config": {}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_trained_model_comes_with_what_it_was_trained_on(run: Path) -> None:
    trained = load_trained(str(run))
    assert trained.schema == SCHEMA
    assert trained.records_digest == "d" * 64
    assert not trained.takes_mask
    assert trained.check_schema(SCHEMA) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"image_shape": (20, 24, 2)}, "image_shape"),
        ({"dtype": "uint8"}, "dtype"),
        ({"channels": ("rfp", "gfp")}, "channels"),
        ({"image_shape": (20, 20, 1), "channels": ("gfp",)}, "image_shape"),
    ],
)
def test_other_crops_are_refused(run: Path, changes: Any, named: str) -> None:
    other = Schema(**{**vars(SCHEMA), **changes})
    with pytest.raises(SchemaError, match=f"Received: {named}="):
        load_trained(run).check_schema(other)


def test_other_pixels_are_told_and_other_labels_are_nobodys_business(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained = load_trained(run)
    near = Schema(**{**vars(SCHEMA), "pixel_size": 0.109})
    assert trained.check_schema(near, "refuse") == []
    assert not caplog.text
    for size, said in (
        (0.2, r"\(0\.2\) is not that of the training \(0\.1\)"),
        (None, "is not known"),
    ):
        other = Schema(**{**vars(SCHEMA), "pixel_size": size})
        caplog.clear()
        assert trained.check_schema(other) == []
        assert re.search(said, caplog.text)
        with pytest.raises(SchemaError, match=said):
            trained.check_schema(other, "refuse")
    other = Schema(**{**vars(SCHEMA), "label_names": ("x",), "has_mask": True})
    assert trained.check_schema(other) == []


def test_a_model_that_takes_masks_needs_them() -> None:
    model = DeepLoc((20, 20, 2), 2, window=16, mask=True, **TINY)
    trained = TrainedModel(model, SCHEMA, "", "")
    assert trained.takes_mask
    with pytest.raises(SchemaError, match="needs masks"):
        trained.check_schema(SCHEMA)


def copy_of(run: Path, folder: Path) -> Path:
    for path in run.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_what_is_no_finished_run_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match=r"a folder that fit made.*without config\.json"):
        load_trained(tmp_path)
    copy_of(run, tmp_path)
    (tmp_path / "model.keras").unlink()
    with pytest.raises(RecordsError, match=r"must be finished.*Start the same"):
        load_trained(tmp_path)
    for content in ("{", "[]", "{}", '{"schema": {}}'):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(RecordsError, match=r"config\.json must be what fit wrote"):
            load_trained(tmp_path)


def test_a_damaged_model_is_refused(run: Path, tmp_path: Path) -> None:
    path = copy_of(run, tmp_path) / "model.keras"
    whole = path.read_bytes()
    places = [len(whole) // 3, len(whole) // 2, len(whole) - 5]
    damages = [b"", whole[: len(whole) // 2], whole[:-1]]
    damages += [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in places]
    for damaged in damages:
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"whole \.keras file"):
            load_trained(tmp_path)
