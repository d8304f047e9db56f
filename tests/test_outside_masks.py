"""With masks, a cell is scaled by its own pixels: what lies around it changes no number."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from shared import tiny_fit

from deeploc_tf.embedding.embed import embed
from deeploc_tf.features.crops import CropBatch
from deeploc_tf.features.white_levels import white_levels
from deeploc_tf.models.augmentation import RandomRotation
from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.normalization import Normalization
from deeploc_tf.models.trained import load_model
from deeploc_tf.network_choices import NORMALIZATIONS
from deeploc_tf.profiles.tables import read_table
from deeploc_tf.serving.export import export
from deeploc_tf.serving.open_model import open_model
from deeploc_tf.training.evaluate import evaluate
from deeploc_tf.training.fit import fit
from tfrecords.schema import Crop, Schema
from tfrecords.writer import Entry, write_records

GOLDEN = Path(__file__).parent / "golden" / "masked_model_v1"
SIZE = 16


def as_defined(crop: NDArray[Any], mask: NDArray[Any], method: str) -> NDArray[np.float64]:
    """One crop in plain NumPy: only the pixels of the cell are ever looked at."""
    inside = mask != 0
    cell = crop[inside].astype(np.float64)  # (pixels, channels)
    scaled = np.zeros_like(cell)
    for channel in range(crop.shape[2]) if len(cell) else ():
        x = cell[:, channel]
        if method in ("percentile", "kraus"):
            low, high = np.percentile(x, [0.1, 99.9])
        else:
            low, high = x.min(), x.max()
        if method == "kraus":
            x = (np.minimum(x, high) - low) / (high - low if high - low > 1 else 1)
        else:
            x = (x - low) / (high - low) if high > low else 0 * x
        scaled[:, channel] = np.clip(x, 0, 1) if method == "percentile" else x
    if method == "standardize" and len(cell):
        scaled = (scaled - scaled.mean()) / max(scaled.std(), scaled.size**-0.5)
    result = np.zeros(crop.shape)
    result[inside] = scaled
    return result


def masks_of(shape: tuple[int, int]) -> dict[str, NDArray[np.uint8]]:
    """Masks of a cell in the middle, of few pixels, of none and of all."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    disk = (rows - shape[0] / 2) ** 2 + (columns - shape[1] / 2) ** 2 < (min(shape) / 3) ** 2
    points = np.zeros(shape, bool)
    two, three = points.copy(), points.copy()
    points[3, 4], two[3, 4:6], three[2:5, 7] = True, True, True
    found = {"cell": disk, "one": points, "two": two, "three": three, "none": disk & ~disk}
    return {name: mask.astype(np.uint8) * 255 for name, mask in found.items()} | {
        "all": np.ones(shape, np.uint8)
    }


def images_of(count: int, shape: tuple[int, int], dtype: str = "uint16") -> NDArray[Any]:
    return np.random.default_rng(3).integers(40, 5000, (count, *shape, 3)).astype(dtype)


@pytest.mark.parametrize("shape", [(16, 16), (64, 64), (45, 70)])
@pytest.mark.parametrize("method", NORMALIZATIONS)
def test_a_masked_normalization_is_that_of_the_pixels_inside(
    method: str, shape: tuple[int, int]
) -> None:
    masks = np.stack(list(masks_of(shape).values()))
    images = images_of(len(masks), shape)
    layer: Any = Normalization(method, masked=True)
    found = layer([images, masks]).numpy()
    assert found.dtype == np.float32
    expected = np.stack([as_defined(i, m, method) for i, m in zip(images, masks, strict=True)])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not found[masks == 0].any()
    other = np.where(masks[..., None] != 0, images, 65535 - images)
    np.testing.assert_array_equal(layer([other, masks]).numpy(), found)


@pytest.mark.parametrize("method", NORMALIZATIONS)
def test_a_mask_of_all_pixels_is_none(method: str) -> None:
    images = images_of(3, (33, 32), "float32")
    whole = Normalization(method)(images).numpy()
    layer: Any = Normalization(method, masked=True)
    masked = layer([images, np.ones((3, 33, 32), np.uint8)]).numpy()
    np.testing.assert_allclose(masked, whole, atol=1e-6)


@pytest.mark.parametrize("method", NORMALIZATIONS)
def test_a_cell_of_no_or_equal_pixels_becomes_zeros(method: str) -> None:
    masks = np.zeros((3, 8, 8), np.uint8)
    masks[1, 4, 4], masks[2, 2:6, 2:6] = 1, 1
    images = np.random.default_rng(0).random((3, 8, 8, 2)).astype(np.float32)
    images[2, 2:6, 2:6] = 0.25
    images[0, 0, 0] = np.inf  # what is outside may be anything
    layer: Any = Normalization(method, masked=True)
    np.testing.assert_array_equal(layer([images, masks]).numpy(), np.zeros((3, 8, 8, 2)))


def test_turned_cells_hold_nothing_of_what_was_around_them() -> None:
    images, mask = images_of(4, (16, 16)), masks_of((16, 16))["cell"]
    masks = np.repeat(mask[None], 4, axis=0)
    other = np.where(mask[None, ..., None] != 0, images, 60000).astype("uint16")
    layer: Any = Normalization("min-max", masked=True)
    turned = [
        RandomRotation(seed=1, name="turn")(layer([pixels, masks]), training=True).numpy()
        for pixels in (images, other)
    ]
    np.testing.assert_array_equal(*turned)
    assert turned[0].any()


def test_a_cell_at_the_border_is_turned_as_if_there_were_only_background_outside() -> None:
    model = DeepLoc(
        (16, 16, 1), 2, mask=True, augmentation="rotations", window=0, normalization="min-max",
        width=0.05, dense_units=(6, 5),
    )  # fmt: skip
    cells = np.zeros((50, 16, 16, 1), np.float32)
    cells[:, :9, :12] = np.random.default_rng(0).random((50, 9, 12, 1)) + 1  # two sides touched
    found = model.get_layer("random_rotation")(cells, training=True).numpy()
    wide = np.pad(cells, ((0, 0), (8, 8), (8, 8), (0, 0)))
    turned = RandomRotation(name="random_rotation")(wide, training=True).numpy()
    np.testing.assert_allclose(found, turned[:, 8:-8, 8:-8], atol=1e-4)
    assert found.any()


@dataclasses.dataclass(frozen=True)
class Screens:
    """The same cells, twice: in the second the pixels around them are others."""

    plain: Path
    other: Path


def write_cells(output: Path, *, others: bool) -> Path:
    random, around = np.random.default_rng(0), np.random.default_rng(1)
    mask = masks_of((SIZE, SIZE))["cell"] // 255
    schema = Schema((SIZE, SIZE, 2), "uint16", ("gfp", "rfp"), True, ("bar", "spot"))
    crops, entries = [], []
    for number in range(40):
        image = random.integers(200, 400, (SIZE, SIZE, 2))
        if number % 2:
            image[6:10, :, 0] += 300
        else:
            image[7:9, 7:9, 0] += 900
        if others:
            outside = around.integers(0, 60000, image.shape)
            image = np.where(mask[..., None] != 0, image, outside)
        split = "test" if number >= 28 else "validation" if number >= 22 else "train"
        crops.append(
            Crop(str(number), image.astype(np.uint16), mask, (number % 2,), f"P{number % 4}")
        )
        entries.append(Entry(str(number), split, (number % 2,), f"P{number % 4}"))
    write_records(output, schema, entries, crops)
    return output


@pytest.fixture(scope="module")
def screens(tmp_path_factory: pytest.TempPathFactory) -> Screens:
    folder = tmp_path_factory.mktemp("masks")
    return Screens(
        write_cells(folder / "plain", others=False), write_cells(folder / "other", others=True)
    )


CONFIG = tiny_fit(mask=True, normalization="min-max", augmentation="rotations", precision="float32")


@pytest.fixture(scope="module")
def run(screens: Screens) -> Path:
    fit(screens.plain, screens.plain.with_name("run"), CONFIG)
    return screens.plain.with_name("run")


def test_a_training_sees_the_cells_alone(run: Path, screens: Screens, tmp_path: Path) -> None:
    fit(screens.other, tmp_path / "run", CONFIG)
    weights = [load_model(of / "model.keras").get_weights() for of in (run, tmp_path / "run")]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("test_time", ["none", "both"])
def test_vectors_and_scores_are_of_the_cells_alone(
    run: Path, screens: Screens, test_time: str, tmp_path: Path
) -> None:
    vectors, scores = [], []
    for records in (screens.plain, screens.other):
        name = tmp_path / f"{records.name}.npz"
        embed(run, records, name, test_time=test_time, layer=["fc_2", "conv_3:mean"])
        vectors.append(read_table(name).features)
        metrics = evaluate(run, records, test_time=test_time)
        scores.append({k: v for k, v in metrics.items() if k != "records_digest"})
    np.testing.assert_array_equal(*vectors)
    assert np.ptp(vectors[0], axis=0).max() > 0
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    "test_time", [pytest.param("none", marks=pytest.mark.long), "orientations"]
)
def test_what_is_exported_sees_the_cells_alone(run: Path, test_time: str, tmp_path: Path) -> None:
    export(run, tmp_path / "model", test_time=test_time)
    exported = open_model(tmp_path / "model")
    images = images_of(3, (SIZE, SIZE))[..., :2]
    masks = np.stack([masks_of((SIZE, SIZE))[name] for name in ("cell", "two", "none")])
    other = np.where(masks[..., None] != 0, images, 65535 - images).astype(np.uint16)
    answers = [exported(pixels, masks) for pixels in (images, other)]
    here = open_model(run, test_time=test_time)(images, masks)
    for name, values in answers[0].items():
        np.testing.assert_array_equal(answers[1][name], values)
        np.testing.assert_allclose(here[name], values, atol=1e-6)
        assert np.isfinite(values).all()


def test_the_run_tells_what_its_network_does_with_masks(run: Path) -> None:
    layer = load_model(run / "model.keras").get_layer("normalization")
    assert layer.get_config()["masked"] is True
    again = Normalization.from_config(layer.get_config())
    assert again.masked


@pytest.mark.parametrize("name", ["keras2", "keras3"])
def test_a_model_that_was_scaled_by_the_whole_crop_is_refused(name: str) -> None:
    if name != f"keras{keras.__version__[0]}":
        pytest.skip("a .keras file is of one Keras")
    with pytest.raises(ValueError, match=r"scaled by .* whole crop.* Train it again"):
        load_model(GOLDEN / f"{name}.keras")


def test_the_level_of_white_is_that_of_cells() -> None:
    random = np.random.default_rng(0)
    images = random.integers(100, 900, (6, 20, 20, 2))
    masks = np.stack([*masks_of((20, 20)).values()])
    masks[1:] = masks[0]
    masks[5] = 0  # nothing is inside: it has no say
    other = np.where(masks[..., None] != 0, images, 60000)
    expected = np.percentile(
        [
            [np.percentile(i[..., c][m != 0], 99.9) for c in range(2)]
            for i, m in zip(images, masks, strict=True)
            if m.any()
        ],
        99,
        axis=0,
    )
    for pixels in (images, other):
        found = white_levels([CropBatch(0, pixels, masks, {})], lambda batch: batch.masks)
        np.testing.assert_allclose(found, expected)


def test_networks_without_masks_are_as_they_were() -> None:
    image = keras.Input((20, 20, 2), dtype="uint16")
    for method in NORMALIZATIONS:
        config = Normalization(method).get_config()
        del config["masked"]  # as saved before
        model = keras.Model(image, Normalization.from_config(config)(image))
        assert tf.as_dtype(model.output.dtype) == tf.float32
