from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from deeploc_tf.models.augmentation import RandomCrop, RandomOrientation, RandomRotation
from deeploc_tf.models.normalization import Normalization
from deeploc_tf.models.randomness import Dropout
from deeploc_tf.network_choices import NORMALIZATIONS

DTYPES = ("uint8", "uint16", "float32")


@pytest.fixture
def mixed_precision() -> Iterator[None]:
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_global_policy("float32")


def crops(dtype: str, shape: tuple[int, ...] = (5, 24, 20, 3)) -> NDArray[Any]:
    """Crops whose channels and crops lie in ranges of their own, with a few hot and dead pixels."""
    random = np.random.default_rng(0)
    low = random.integers(0, 60, (shape[0], 1, 1, shape[3]))
    extent = random.integers(40, 150, (shape[0], 1, 1, shape[3]))
    values = low + extent * random.random(shape)
    values[:, 3, 4] = (low + extent)[:, 0, 0] + random.integers(1, 40, (shape[0], shape[3]))
    values[:, 7, 8] = low[:, 0, 0] * random.random((shape[0], shape[3]))
    if dtype == "float32":
        return (values * 7.3).astype(dtype)
    return (values * (200 if dtype == "uint16" else 1)).astype(dtype)


def reference(crop: NDArray[Any], method: str) -> NDArray[np.float64]:
    """One crop `(height, width, channels)` in plain NumPy, a channel at a time, in float64."""
    result = np.zeros(crop.shape)
    for channel in range(crop.shape[2]):
        x = crop[..., channel].astype(np.float64)
        low, high = np.percentile(x, 0.1), np.percentile(x, 99.9)
        if method == "percentile":
            x = np.clip((x - low) / (high - low), 0, 1) if high > low else 0 * x
        elif method == "kraus":
            x = np.minimum(x, high) - low
            if high - low > 1:
                x = x / (high - low)
        else:
            x = (x - x.min()) / (x.max() - x.min()) if x.max() > x.min() else 0 * x
        result[..., channel] = x
    if method == "standardize":
        result = (result - result.mean()) / max(result.std(), crop.size**-0.5)
    return result


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", NORMALIZATIONS)
def test_normalizations_agree_with_plain_numpy(method: str, dtype: str) -> None:
    images = crops(dtype)
    found = Normalization(method)(images).numpy()
    assert found.dtype == np.float32
    assert found.shape == images.shape
    expected = np.stack([reference(image, method) for image in images])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (3, 3), (31, 32), (32, 32), (45, 23), (64, 64)])
def test_percentiles_interpolate_for_any_number_of_pixels(shape: tuple[int, int]) -> None:
    images = np.random.default_rng(1).integers(0, 60000, (2, *shape, 2)).astype("uint16")
    found = Normalization("kraus")(images).numpy()  # the one that shows both percentiles
    expected = np.stack([reference(image, "kraus") for image in images])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_kraus_neither_stretches_a_small_range_nor_clips_below() -> None:
    small = np.linspace(0.2, 0.9, 1024, dtype=np.float32).reshape(1, 32, 32, 1)
    found = Normalization("kraus")(small).numpy()
    low, high = np.percentile(small, 0.1), np.percentile(small, 99.9)
    np.testing.assert_allclose(found, np.minimum(small, high) - low, atol=1e-6)
    assert found.max() < 0.75  # a stretch would reach 1
    assert found.min() < 0  # the pixels below the low percentile stay
    # A range of exactly 1 does not exceed 1; one of 2 does.
    unit = np.tile(np.array([5, 6], np.uint8), 512).reshape(1, 32, 32, 1)
    np.testing.assert_array_equal(Normalization("kraus")(unit).numpy(), unit - 5.0)
    np.testing.assert_allclose(Normalization("kraus")(2 * unit).numpy(), unit - 5.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", NORMALIZATIONS)
@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_crop_becomes_zeros(method: str, dtype: str, value: int) -> None:
    images = np.full((2, 16, 16, 2), value, dtype)
    images[1, ..., 1] = np.arange(256).reshape(16, 16) % 200  # and does not spoil its neighbors
    found = Normalization(method)(images).numpy()
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[0], 0)
    assert np.ptp(found[1, ..., 1]) > 0
    if method != "standardize":  # whose mean is that of all channels
        np.testing.assert_array_equal(found[1, ..., 0], 0)


@pytest.mark.parametrize("method", NORMALIZATIONS)
def test_a_nearly_constant_crop_stays_finite_and_small(method: str) -> None:
    images = np.full((1, 16, 16, 1), 1000, np.float32)
    images[0, 3, 3, 0] = np.nextafter(np.float32(1000), np.float32(2000))
    images[0, 5, 5, 0] += 1e-3
    found = Normalization(method)(images).numpy()
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 16.0


def test_crops_and_channels_are_normalized_by_themselves() -> None:
    images = crops("uint16")
    for method in ("percentile", "kraus", "min-max"):
        together = Normalization(method)(images).numpy()
        alone = Normalization(method)(images[2:3, ..., 1:2]).numpy()
        np.testing.assert_allclose(together[2, ..., 1], alone[0, ..., 0], atol=1e-6)
        rescaled = images.copy()
        rescaled[..., 0] = rescaled[..., 0] // 2 + 9
        assert np.array_equal(Normalization(method)(rescaled).numpy()[..., 1:], together[..., 1:])


@pytest.mark.usefixtures("mixed_precision")
@pytest.mark.parametrize("method", NORMALIZATIONS)
def test_preprocessing_is_float32_under_every_precision_policy(method: str) -> None:
    image = keras.Input((24, 20, 3), dtype="uint16")
    x = Normalization(method)(image)
    for layer in (RandomRotation(), RandomCrop(16, 16), RandomOrientation()):
        assert layer.compute_dtype == "float32"
        x = layer(x)
    images = crops("uint16")
    found = keras.Model(image, x)(images).numpy()
    assert found.dtype == np.float32
    expected = np.stack([reference(image, method) for image in images])[:, 4:20, 2:18]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_an_unknown_normalization_is_refused() -> None:
    with pytest.raises(ValueError, match=r"percentile, kraus, .* Received: normalization='max'"):
        Normalization("max")


def test_random_windows_reach_every_offset_and_are_windows() -> None:
    height, width, side = 64, 64, 60
    # The value of a pixel is its place, so a window names its offset.
    image = np.arange(height * width, dtype=np.float32).reshape(1, height, width, 1)
    images = np.repeat(image, 800, axis=0)
    windows = RandomCrop(side, side, seed=1)(images, training=True).numpy()
    counts = np.zeros((height - side + 1, width - side + 1), int)
    for window in windows:
        top, left = divmod(int(window[0, 0, 0]), width)
        counts[top, left] += 1
        np.testing.assert_array_equal(window, image[0, top : top + side, left : left + side])
    assert counts.shape == (5, 5)
    # 800 / 25 = 32 expected, sd 5.5; all offsets equally likely, both margins included.
    assert counts.min() >= 10
    assert counts.max() <= 60


def test_random_windows_of_crops_that_are_not_square() -> None:
    image = np.arange(7 * 9, dtype=np.float32).reshape(1, 7, 9, 1)
    windows = RandomCrop(6, 5)(np.repeat(image, 300, axis=0), training=True).numpy()
    corners = {divmod(int(window[0, 0, 0]), 9) for window in windows}
    assert corners == {(top, left) for top in range(2) for left in range(5)}


@pytest.mark.parametrize(("stored", "top"), [(64, 2), (63, 1), (60, 0)])
def test_the_window_is_the_center_at_inference(stored: int, top: int) -> None:
    images = np.random.default_rng(0).random((3, stored, stored, 2), np.float32)
    layer = RandomCrop(60, 60)
    for arguments in ({}, {"training": False}):
        found = layer(images, **arguments).numpy()
        np.testing.assert_array_equal(found, images[:, top : top + 60, top : top + 60])
    assert int(layer.num_draws.numpy()) == 0


def test_a_window_larger_than_the_crop_is_refused() -> None:
    with pytest.raises(ValueError, match=r"window=\(9, 8\), stored \(8, 8\)"):
        RandomCrop(9, 8)(np.zeros((1, 8, 8, 1), np.float32))


def transforms(image: NDArray[Any]) -> dict[str, NDArray[Any]]:
    turned = {f"rot{k}": np.rot90(image, k) for k in range(4)}
    return turned | {f"{name}-flipped": np.fliplr(view) for name, view in turned.items()}


@pytest.mark.parametrize(
    ("quarter_turns", "expected"),
    [
        (True, ["rot0", "rot1", "rot2", "rot3"]),
        (False, ["rot0", "rot2"]),
    ],
)
def test_orientations_are_all_eight_or_the_four_of_flips(
    quarter_turns: bool, expected: list[str]
) -> None:
    random = np.random.default_rng(0)
    images = random.random((400, 6, 6, 2), np.float32)
    found = RandomOrientation(quarter_turns, seed=2)(images, training=True).numpy()
    counts: dict[str, int] = {}
    for before, after in zip(images, found, strict=True):
        names = [n for n, view in transforms(before).items() if np.array_equal(view, after)]
        assert len(names) == 1
        counts[names[0]] = counts.get(names[0], 0) + 1
    assert sorted(counts) == sorted([*expected, *(f"{name}-flipped" for name in expected)])
    share = len(images) / len(counts)
    assert all(0.5 * share < count < 1.6 * share for count in counts.values()), counts


def test_quarter_turns_need_square_crops_and_flips_do_not() -> None:
    images = np.zeros((2, 6, 8, 1), np.float32)
    with pytest.raises(ValueError, match=r"6x8 pixels.*'flips'"):
        RandomOrientation()(images)
    assert RandomOrientation(quarter_turns=False)(images, training=True).shape == images.shape


def test_an_angle_of_zero_changes_nothing() -> None:
    images = np.random.default_rng(0).random((4, 9, 12, 2), np.float32)
    found = RandomRotation(0.0)(images, training=True).numpy()
    np.testing.assert_allclose(found, images, atol=1e-6)


@pytest.mark.parametrize("side", [8, 9])
def test_a_quarter_turn_is_numpys(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).random((3, side, side, 2), np.float32)
    monkeypatch.setattr(
        tf.random,
        "stateless_uniform",
        lambda shape, seed, minval, maxval: tf.fill(shape, float(maxval)),
    )
    found = RandomRotation(90.0)(images, training=True).numpy()
    turned = [np.rot90(images, k, axes=(1, 2)) for k in (1, 3)]
    assert any(np.allclose(found, view, atol=1e-4) for view in turned)


def test_angles_are_spread_over_the_whole_range_both_ways() -> None:
    # A bright arm from the center to the right; where it points after the turn is the angle.
    side, center = 41, 20
    image = np.zeros((1, side, side, 1), np.float32)
    image[0, center, center + 4 : center + 11] = 1  # too short to meet a mirrored corner
    found = RandomRotation(45.0, seed=3)(np.repeat(image, 200, axis=0), training=True).numpy()
    rows, columns = np.mgrid[:side, :side] - center
    weights = found[..., 0] / found.sum(axis=(1, 2, 3))[:, None, None]
    angles = np.degrees(np.arctan2((weights * rows).sum((1, 2)), (weights * columns).sum((1, 2))))
    assert np.abs(angles).max() <= 46
    assert angles.min() < -38
    assert angles.max() > 38
    assert abs(angles.mean()) < 6
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3)), 7, rtol=0.2)  # nothing is lost


def test_the_border_is_mirrored_not_black() -> None:
    images = np.ones((50, 12, 12, 1), np.float32)
    found = RandomRotation(45.0)(images, training=True).numpy()
    np.testing.assert_allclose(found, 1, atol=1e-5)


def test_beyond_the_border_lies_the_mirrored_crop_and_not_its_last_pixel() -> None:
    images = np.ones((50, 32, 32, 1), np.float32)
    images[:, [0, -1]] = images[:, :, [0, -1]] = 0  # a frame; turned corners lie beyond it
    found = RandomRotation(45.0)(images, training=True).numpy()
    assert found[:, 0, 0, 0].max() > 0.9


def test_the_background_of_a_masked_crop_is_black_in_every_view() -> None:
    random = np.random.default_rng(0)
    mask = random.integers(0, 2, (64, 16, 16)).astype("uint8") * 255
    pixels = np.where(mask[..., None] > 0, random.random((64, 16, 16, 1)) + 5, 7.0)
    normalize: Any = Normalization("min-max", masked=True)
    x = normalize([pixels.astype(np.float32), mask])
    np.testing.assert_array_equal(x.numpy()[..., 0][mask == 0], 0)
    assert x.numpy().max() == 1  # of the cell, not of the brighter background
    x = RandomCrop(12, 12)(x, training=True)
    x = RandomOrientation()(x, training=True)
    seen, whole = np.sort(x.numpy().ravel()), np.sort(normalize([pixels, mask]).numpy().ravel())
    assert np.isin(seen, whole).all()
    assert (seen == 0).mean() > 0.4


def random_layers(seed: int, prefix: str = "") -> list[keras.layers.Layer]:
    return [
        RandomRotation(seed=seed, name=f"{prefix}rotation"),
        RandomCrop(12, 12, seed=seed, name=f"{prefix}crop"),
        RandomOrientation(seed=seed, name=f"{prefix}orientation"),
        Dropout(0.5, seed=seed, name=f"{prefix}dropout"),
    ]


IMAGES = np.random.default_rng(5).random((40, 16, 16, 1), np.float32)


@pytest.mark.parametrize("position", range(4))
def test_numbers_follow_from_seed_name_and_draw(position: int) -> None:
    def draws(seed: int, prefix: str = "", count: int = 2) -> list[NDArray[Any]]:
        layer = random_layers(seed, prefix)[position]
        return [layer(IMAGES, training=True).numpy() for _ in range(count)]

    first, second = draws(1)
    again = draws(1)
    tf.random.set_seed(99)
    np.testing.assert_array_equal(first, again[0])
    np.testing.assert_array_equal(second, again[1])
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, draws(2)[0])
    assert not np.array_equal(first, draws(1, "other_")[0])
    assert np.isfinite(draws(2**31 - 1)[0]).all()  # the largest seed that `fit` takes


@pytest.mark.parametrize("position", range(4))
def test_inference_draws_nothing(position: int) -> None:
    layer = random_layers(1)[position]
    layer(IMAGES, training=True)
    results = {layer(IMAGES, training=False).numpy().tobytes() for _ in range(3)}
    assert len(results) == 1
    assert int(layer.num_draws.numpy()) == 1


@pytest.mark.parametrize("position", range(4))
def test_a_saved_model_goes_on_drawing_where_it_stopped(position: int, tmp_path: Path) -> None:
    image = keras.Input((16, 16, 1))
    model = keras.Model(image, random_layers(1)[position](image))
    for _ in range(3):
        model(IMAGES, training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    assert [int(w.numpy()) for w in loaded.weights] == [3]
    for _ in range(2):
        expected = model(IMAGES, training=True).numpy()
        np.testing.assert_array_equal(loaded(IMAGES, training=True).numpy(), expected)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_its_rate_and_keeps_the_mean(rate: float) -> None:
    found = Dropout(rate, seed=1)(np.ones((200, 100), np.float32), training=True).numpy()
    assert abs((found == 0).mean() - rate) < 0.02
    np.testing.assert_allclose(found[found > 0], 1 / (1 - rate), rtol=1e-5)
    assert abs(found.mean() - 1) < 0.1


def test_dropout_of_zero_is_nothing_and_of_one_refused() -> None:
    layer = Dropout(0.0)
    np.testing.assert_array_equal(layer(IMAGES, training=True).numpy(), IMAGES)
    for rate in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="must lie in"):
            Dropout(rate)


def test_layers_come_back_from_their_configuration() -> None:
    for layer in [*random_layers(7), RandomRotation(30.0), Normalization("kraus", masked=True)]:
        config = layer.get_config()
        assert type(layer).from_config(config).get_config() == config
