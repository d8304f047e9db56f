"""Class pictures, attribution and nearest training cells, on cells whose truth is known."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from shared import TINY_OPTIONS, contents, run_cli, write_config

from deeploc_tf import activation_maximization, explain, integrated_gradients
from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.extractors import feature_extractor
from deeploc_tf.models.heads import head
from deeploc_tf.models.networks import with_heads
from deeploc_tf.models.trained import load_trained
from deeploc_tf.simulation.cell import WINDOW, draw_cell
from deeploc_tf.simulation.compartments import DRAWINGS
from tfrecords.manifest import Manifest
from tfrecords.reader import read_crops

SIZE = 48
CLASSES = ("nucleus", "cytoplasm", "cell periphery")

explain_command = functools.partial(run_cli, "explain")


def screen(count: int, seed: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """Crops of `count` cells of each class, their classes, and where their nuclei are."""
    random = np.random.default_rng(seed)
    crops, nuclei = [], []
    inside = slice((WINDOW - SIZE) // 2, (WINDOW + SIZE) // 2)
    for name in CLASSES:
        for _ in range(count):
            cell = draw_cell(random)
            tagged = gaussian_filter(DRAWINGS[name](cell, random), 1.2)
            light = np.stack([tagged / np.sort(tagged.ravel())[-30:].mean(), cell.cytosol], axis=-1)
            photons = random.poisson(120 * light[inside, inside] + 8)
            crops.append((100 + 2 * photons).astype(np.uint16))
            nuclei.append(np.max([part.depth for part in cell.nuclei], axis=0)[inside, inside] > 0)
    return np.stack(crops), np.repeat(np.arange(len(CLASSES)), count), np.stack(nuclei)


@pytest.fixture(scope="module")
def localizer() -> keras.Model:
    """A network that tells three simulated compartments, trained for some seconds."""
    keras.utils.set_random_seed(0)
    small: dict[str, Any] = {"width": 0.1, "dense_units": (16, 16), "dropout": 0.0}
    model = DeepLoc((SIZE, SIZE, 2), len(CLASSES), window=SIZE, augmentation="none", **small)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    crops, classes, _ = screen(40, 1)
    model.fit(crops, classes, batch_size=16, epochs=5, verbose=0)
    return model


def test_attribution_of_a_nuclear_protein_lies_in_the_nucleus(localizer: keras.Model) -> None:
    crops, classes, nuclei = screen(6, 2)
    assert (localizer(crops, training=False).numpy().argmax(axis=1) == classes).mean() > 0.9
    found = integrated_gradients(localizer, crops[:6], classes=[0] * 6)
    for_nucleus = np.maximum(found.pixels[..., 0], 0)
    share = (for_nucleus * nuclei[:6]).sum(axis=(1, 2)) / for_nucleus.sum(axis=(1, 2))
    by_chance = nuclei[:6].mean(axis=(1, 2))
    assert (share > 4 * by_chance).all()
    # Of a protein that fills the cell, the same pixels speak for the nucleus less than their share.
    others = integrated_gradients(localizer, crops[6:12], classes=[0] * 6)
    of_cytoplasm = (others.pixels[..., 0] * nuclei[6:12]).sum(axis=(1, 2))
    assert (of_cytoplasm < (found.pixels[..., 0] * nuclei[:6]).sum(axis=(1, 2)).min()).all()


def test_attributions_add_up_to_the_difference_of_the_logits(localizer: keras.Model) -> None:
    crops, classes, _ = screen(2, 3)
    found = integrated_gradients(localizer, crops, classes=classes)
    logits = localizer(crops, training=False).numpy()[np.arange(6), classes]
    np.testing.assert_allclose(found.logits, logits, atol=1e-5)
    sums = found.pixels.sum(axis=(1, 2, 3), dtype=np.float64)
    difference = found.logits.astype(np.float64) - found.baseline_logits
    np.testing.assert_allclose(sums - difference, found.gaps, atol=1e-4)
    assert (np.abs(found.gaps) <= 0.01 * np.abs(difference) + 1e-5).all()
    rough = integrated_gradients(localizer, crops, classes=classes, tolerance=9)
    assert set(rough.num_steps) == {16}
    assert np.abs(rough.gaps).max() > np.abs(found.gaps).max()


def test_pictures_raise_the_logit_of_their_class(localizer: keras.Model) -> None:
    crops, classes, _ = screen(4, 4)
    found = activation_maximization(localizer, cell=crops[0], steps=40)
    assert found.pixels.shape == (3, SIZE, SIZE, 2)
    assert found.pixels.dtype == np.float32
    of_class = np.diag(found.logits)
    real = localizer(crops, training=False).numpy()
    assert (of_class > np.diag(found.start_logits) + 0.5).all()
    assert (of_class > [real[classes == i, i].mean() for i in range(3)]).all()
    assert (found.logits.argmax(axis=1) == np.arange(3)).all()
    # the other channel is the cell's, as it was, and what is outside of the cell is dark
    norm = localizer.get_layer("normalization")
    kept = norm(crops[:1]).numpy()[0]
    np.testing.assert_array_equal(found.pixels[..., 1], np.stack([kept[..., 1]] * 3))
    assert found.pixels[:, 0, :, 0].max() < 0.1
    again = activation_maximization(localizer, cell=crops[0], steps=40, classes=[2])
    np.testing.assert_allclose(again.pixels[0], found.pixels[2], atol=1e-3)
    other = activation_maximization(localizer, cell=crops[0], steps=40, classes=[2], seed=1)
    assert np.abs(other.pixels[0] - found.pixels[2]).max() > 0.1


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"backbone": "resnet50"}, marks=pytest.mark.long),
        {"mask": True, "normalization": "standardize"},
        {"channels": (1,), "window": 24, "normalization": "kraus"},
    ],
    ids=["backbone", "mask", "channels"],
)
def test_every_backbone_and_dtype_is_explained(settings: dict[str, Any], dtype: str) -> None:
    if dtype != "uint16" and "backbone" in settings:
        pytest.skip("one type is enough for a large network")
    shape = (32, 32, 2)
    own = {} if "backbone" in settings else {"width": 0.06}
    model = DeepLoc(shape, 3, image_dtype=dtype, dense_units=(8, 6), **own, **settings)
    random = np.random.default_rng(0)
    crops = random.integers(0, 200, (2, *shape)).astype(dtype)
    masks = (random.random((2, 32, 32)) > 0.4).astype(np.uint8) if "mask" in settings else None
    found = integrated_gradients(model, crops, masks, classes=[0, 2], max_steps=64)
    inputs = crops if masks is None else {"image": crops, "mask": masks}
    logits = model(inputs, training=False).numpy()
    np.testing.assert_allclose(found.logits, logits[[0, 1], [0, 2]], rtol=1e-4, atol=1e-5)
    difference = np.abs(found.logits - found.baseline_logits)
    assert (np.abs(found.gaps) <= 0.05 * difference + 1e-5).all()
    assert np.abs(found.pixels).max() > 0
    if masks is not None:
        assert not found.pixels[masks == 0].any()
    if "channels" in settings:  # what the network does not see has no share in its answer
        assert not found.pixels[..., 0].any()
        assert not found.pixels[:, :4].any()
    mask = None if masks is None else masks[0]
    pictures = activation_maximization(model, cell=crops[0], mask=mask, steps=4, classes=[1])
    assert np.isfinite(pictures.pixels).all()


def test_the_attribution_of_a_linear_network_is_known_exactly() -> None:
    def linear(image_shape: Any, image_dtype: str) -> keras.Model:
        image = keras.Input(image_shape, dtype=image_dtype, name="image")
        scaled = keras.layers.Rescaling(1 / 255)(image)
        return keras.Model(image, keras.layers.Flatten()(scaled), name="linear")

    model = with_heads(linear, (5, 4, 2), "uint8", 3)
    crops = np.random.default_rng(0).integers(0, 255, (2, 5, 4, 2), "uint8")
    found = integrated_gradients(model, crops, classes=[1, 2])
    weights = model.get_layer("logits_dense").kernel.numpy().reshape(5, 4, 2, 3)
    expected = np.stack([crops[i] / 255 * weights[..., c] for i, c in ((0, 1), (1, 2))])
    np.testing.assert_allclose(found.pixels, expected, atol=1e-6)
    pictures = activation_maximization(model, steps=10)
    assert (np.diag(pictures.logits) > np.diag(pictures.start_logits)).all()
    assert 0 <= pictures.pixels.min() <= pictures.pixels.max() <= 255


def test_logits_that_teach_the_features_nothing_are_explained_too() -> None:
    whole = DeepLoc((16, 16, 2), 3, window=16, width=0.06, dense_units=(8, 6), triplets=True)
    model = head(whole)
    crops = np.random.default_rng(0).integers(0, 200, (2, 16, 16, 2)).astype("uint16")
    found = integrated_gradients(model, crops, classes=[0, 1])
    difference = found.logits - found.baseline_logits
    np.testing.assert_allclose(found.pixels.sum(axis=(1, 2, 3)), difference, rtol=0.05, atol=1e-5)
    assert np.abs(difference).max() > 0


def test_a_network_without_gradients_is_refused() -> None:
    def rounding(image_shape: Any, image_dtype: str) -> keras.Model:
        image = keras.Input(image_shape, dtype=image_dtype, name="image")
        one_hot = keras.layers.CategoryEncoding(256, output_mode="multi_hot")
        return keras.Model(image, one_hot(keras.layers.Flatten()(image)), name="rounding")

    model = with_heads(rounding, (5, 4, 1), "uint8", 3)
    with pytest.raises(ValueError, match="finite gradients with respect to pixels"):
        integrated_gradients(model, np.ones((1, 5, 4, 1), "uint8"), classes=[0])


def test_numbers_out_of_range_are_refused(localizer: keras.Model) -> None:
    crops, _, _ = screen(1, 0)
    with pytest.raises(ValueError, match="one class per crop"):
        integrated_gradients(localizer, crops, classes=[0])
    with pytest.raises(ValueError, match="below 3"):
        integrated_gradients(localizer, crops, classes=[0, 1, 3])
    with pytest.raises(ValueError, match="below 3"):
        activation_maximization(localizer, classes=[-1])
    with pytest.raises(ValueError, match="`steps` must be at least 1"):
        activation_maximization(localizer, steps=0)
    with pytest.raises(ValueError, match="must be finite"):
        integrated_gradients(localizer, np.full((1, SIZE, SIZE, 2), np.nan), classes=[0])


@pytest.fixture(scope="module")
def runs(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("explained")
    splits = {"train": (8, 6, 6), "test": (3, 2, 2)}
    write_screen(folder / "records", splits, size=10)
    write_screen(folder / "others", {"train": (4, 4, 4), "test": (2, 2, 2)}, size=10, seed=1)
    fit = ("fit", folder / "records", folder / "run", *TINY_OPTIONS, "--quiet")
    done = run_cli(*fit)
    assert done.exit_code == 0, done.output
    return folder


def test_nearest_training_cells_are_those_of_an_exhaustive_search(runs: Path) -> None:
    found = explain(runs / "run", runs / "records", num_neighbors=4, batch_size=7)
    assert found.cells is not None
    model = load_trained(runs / "run").model
    crops = {crop.key: (place.split, crop) for place, crop in read_crops(runs / "records")}
    images = np.stack([crop.image for _, crop in crops.values()])
    vectors = feature_extractor(model)(images, training=False).numpy()
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    of = dict(zip(crops, vectors, strict=True))
    train = [key for key, (split, _) in crops.items() if split == "train"]
    for key, near in found.cells.nearest.groupby("cell", sort=False):
        similarities = np.array([of[str(key)] @ of[other] for other in train])
        expected = np.sort(similarities)[::-1][:4]
        np.testing.assert_allclose(near["similarity"], expected, atol=1e-5)
        own = [of[str(key)] @ of[other] for other in near["key"]]
        np.testing.assert_allclose(own, expected, atol=1e-5)
        assert list(near["rank"]) == [1, 2, 3, 4]
        assert set(near["key"]) <= set(train)
    shown = found.cells.nearest["key"]
    expected_images = np.stack([crops[key][1].image for key in shown])
    np.testing.assert_array_equal(found.cells.nearest_images, expected_images)


def test_cells_are_the_surest_and_the_least_sure_of_each_class(runs: Path) -> None:
    found = explain(runs / "run", runs / "records")
    assert found.cells is not None
    model = load_trained(runs / "run").model
    rows = []
    for place, crop in read_crops(runs / "records", ["test"]):
        logits = model(crop.image[np.newaxis], training=False).numpy()[0]
        probabilities = np.exp(logits) / np.exp(logits).sum()
        rows.append((crop.key, place.split, crop.labels[0], probabilities.max()))
    table = pd.DataFrame(rows, columns=["key", "split", "label", "sure"])
    expected = []
    for _, of_class in table.groupby("label"):
        ends = of_class.iloc[[of_class["sure"].argmax(), of_class["sure"].argmin()]]
        expected += list(dict.fromkeys(ends["key"]))
    assert list(found.cells.table["key"]) == expected
    assert set(found.cells.table["split"]) == {"test"}


def test_a_page_stands_alone_and_says_what_attribution_cannot_show(
    runs: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")
    words = (runs / "run", tmp_path / "page.html", "--records", runs / "records", "--quiet")
    done = explain_command(*words)
    assert done.exit_code == 0, done.output
    page = (tmp_path / "page.html").read_text("utf-8")
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", page) == [
        *("How to read this page", "What the network takes for each class", "Cells"),
        *("Cells in numbers", "Nearest training cells"),
    ]
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)  # it asks no other machine
    assert "cannot show" in page
    assert "a gap of" in page
    assert "cells; attributions add up" in done.stdout


def test_a_folder_holds_the_numbers_and_is_the_same_by_seed(runs: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")
    words = ("--records", runs / "records", "--cell", "test/025", "--cell", "train/003", "-k", "2")
    for name in ("one", "two"):
        done = explain_command(runs / "run", tmp_path / name, *words, "--seed", "3", "--quiet")
        assert done.exit_code == 0, done.output
    first, second = contents(tmp_path / "one"), contents(tmp_path / "two")
    tables = ["cells.csv", "classes.csv", "nearest.csv"]
    assert sorted(first) == sorted(["arrays.npz", "explanation.json", "index.html", *tables])
    assert {name: first[name] == second[name] for name in first if name != "arrays.npz"} == {
        name: True for name in first if name != "arrays.npz"
    }
    cells = pd.read_csv(tmp_path / "one" / "cells.csv")
    assert list(cells["key"]) == ["test/025", "train/003"]
    arrays = np.load(tmp_path / "one" / "arrays.npz")
    assert arrays["attributions"].shape == arrays["images"].shape == (2, 10, 10, 2)
    near = pd.read_csv(tmp_path / "one" / "nearest.csv")
    assert "train/003" not in set(near["key"][near["cell"] == "train/003"])
    done = explain_command(runs / "run", tmp_path / "one", "--quiet")
    assert (done.exit_code, "must not exist yet" in done.stderr) == (1, True)


def test_without_records_and_with_others_what_lacks_is_said(runs: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")
    done = explain_command(runs / "run", tmp_path / "page.html", "--class", "nucleus")
    assert done.exit_code == 0, done.output
    assert "add --records RECORDS" in done.stderr
    assert (tmp_path / "page.html").read_text("utf-8").count("<img") == 1
    words = ("--records", runs / "others", "--class", "nucleus", "--max-cells", "5")
    done = explain_command(runs / "run", tmp_path / "page.html", *words)
    assert done.exit_code == 0, done.output
    assert "the records are not those of the training" in done.stderr
    assert "the first 5 of 6" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "options", "classes"),
    [
        ({"multi_label": True}, (), ["cytoplasm", "mitochondrion", "nucleus"]),
        ({"channels": ("gfp",), "has_mask": True}, ("--mask", "--target", "protein"), ["AAC0"]),
    ],
    ids=["several labels", "proteins of masked cells"],
)
def test_other_questions_are_explained(
    write_screen: Callable[..., Manifest],
    tmp_path: Path,
    made: dict[str, Any],
    options: tuple[str, ...],
    classes: list[str],
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")
    records, run = tmp_path / "records", tmp_path / "run"
    write_screen(records, {"train": (8, 6, 6), "test": (3, 2, 2)}, size=10, **made)
    done = run_cli("fit", records, run, *TINY_OPTIONS, *options, "--quiet")
    assert done.exit_code == 0, done.output
    found = explain(run, records, num_neighbors=1)
    assert found.cells is not None
    assert found.multi_label == bool(made.get("multi_label"))
    assert list(found.shown[: len(classes)]) == classes
    table = found.to_frame()
    assert ((table["probability"] > 0) & (table["probability"] <= 1)).all()
    assert len(found.cells.nearest) == len(table)
    done = explain_command(run, tmp_path / "page.html", "--records", records, "--quiet")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--cell", "test/025"), 2, "--cell needs --records"),
        (("--records", "records", "--cell", "test/25"), 1, "Did you mean 'test/02"),
        (("--records", "records", "--cell", "a", "--cell", "a"), 1, "named once"),
        (("--records", "records", "--split", "validation"), 1, "validation"),
        (("--records", "records", "--class", "nucleolus"), 1, "Did you mean 'nucleus'"),
        (("--records", "none"), 2, "does not exist"),
        (("-k", "-1"), 2, "-k"),
        (("--device", "tpu"), 1, "device='tpu'"),
    ],
)
def test_what_is_not_there_is_refused_in_a_sentence(
    runs: Path, tmp_path: Path, words: tuple[str, ...], code: int, text: str
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")
    words = tuple(str(runs / word) if word in ("records", "none") else word for word in words)
    done = explain_command(runs / "run", tmp_path / "page.html", *words, "--quiet")
    assert done.exit_code == code, done.output
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "page.html").exists()


def test_a_run_that_tells_no_classes_is_refused(runs: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")
    run = tmp_path / "run"
    run.mkdir()
    for path in (runs / "run").glob("*.*"):
        (run / path.name).write_bytes(path.read_bytes())
    config = json.loads((run / "config.json").read_text())
    write_config(run, {**config, "class_names": []})
    done = explain_command(run, tmp_path / "page.html", "--quiet")
    assert done.exit_code == 1
    assert "needs a model that tells classes" in done.stderr
    (run / "model.keras").unlink()
    done = explain_command(run, tmp_path / "page.html", "--quiet")
    assert (done.exit_code, "must be finished" in done.stderr) == (1, True)
