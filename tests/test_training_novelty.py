"""Novelty and quality of crops: what `fit` notes, and what the graph makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from deeploc_tf.models.appearance import appearance
from deeploc_tf.models.crop_quality import qualities as in_graph
from deeploc_tf.models.novelty import NOVELTY_NAME, accepted_by, read_novelty
from deeploc_tf.models.trained import load_trained
from deeploc_tf.pipeline.batches import batches
from deeploc_tf.serving.export import export
from deeploc_tf.serving.open_model import OpenModel, open_model
from deeploc_tf.sources.quality import qualities
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.evaluate import evaluate
from deeploc_tf.training.fit import fit
from deeploc_tf.training.novelty import LOST, choose_limits, space
from tfrecords.errors import RecordsError


def random_crops(dtype: str, shape: tuple[int, ...], seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    values = random.random(shape) ** 3
    return values.astype(dtype) if dtype == "float32" else (values * 250).astype(dtype)


@pytest.mark.addons
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(3, 14, 14, 1), (2, 17, 10, 3), (2, 7, 30, 2)])
def test_the_graph_measures_what_numpy_measures(dtype: str, shape: tuple[int, ...]) -> None:
    crops = random_crops(dtype, shape)
    crops[-1] = np.minimum(crops[-1], np.quantile(crops[-1], 0.8))
    crops[0, :, :, 0] = 7
    expected = [qualities(image) for image in crops]
    measured = tf.function(in_graph)(tf.constant(crops))
    for name, values in measured.items():
        np.testing.assert_allclose(values, [row[name] for row in expected], rtol=1e-6)
    assert max(row["saturation"] for row in expected) > 0.15


def test_limits_lose_at_most_a_twentieth_of_the_cells_they_are_made_of() -> None:
    random = np.random.default_rng(0)
    for count in (1, 7, 60, 1000):
        good = {name: random.lognormal(size=count).astype(np.float32) for name in LOST}
        limits = choose_limits(good)
        accepted = accepted_by(limits, good)
        assert 0.95 <= accepted.mean() <= 1
        if count == 1000:
            assert accepted.mean() < 0.97  # nor do they lose nothing
            new = {name: random.lognormal(size=9000).astype(np.float32) for name in LOST}
            assert 0.93 < accepted_by(limits, new).mean() < 0.97


def test_a_space_is_one_of_mahalanobis_distances() -> None:
    random = np.random.default_rng(1)
    mixing = random.normal(size=(5, 5))
    truth = np.repeat([0, 1, 2], 400)
    vectors = random.normal(size=(1200, 5)) @ mixing + 30 * truth[:, np.newaxis]
    found = space(vectors.astype(np.float32), truth)
    distances = found.distance(vectors.astype(np.float32)).numpy()
    np.testing.assert_allclose((distances**2).mean(), 5, rtol=0.05)  # a chi-squared of 5
    centers = np.stack([vectors[truth == label].mean(axis=0) for label in range(3)])
    inverse = np.linalg.inv(np.cov((vectors - centers[truth]).T))
    apart = vectors[:9, np.newaxis] - centers
    squares = np.einsum("ncd,de,nce->nc", apart, inverse, apart).min(axis=1)
    np.testing.assert_allclose(distances[:9], np.sqrt(squares), rtol=0.1)
    several = np.eye(3, dtype=np.float32)[truth]
    np.testing.assert_allclose(space(vectors, several).distance(vectors), distances, rtol=1e-3)


def test_very_wide_features_are_projected() -> None:
    random = np.random.default_rng(2)
    truth = np.repeat([0, 1], 150)
    vectors = random.normal(size=(300, 1500)).astype(np.float32)
    vectors[truth == 1] += 1
    found = space(vectors, truth)
    assert found.directions.shape == (1500, 256)
    far = found.distance(vectors + random.normal(size=1500) * 3).numpy()
    assert far.min() > 2 * found.distance(vectors).numpy().max()


def numbers_of(image: Any) -> dict[str, Any]:
    """`appearance` of one image, written for people to read."""
    height, width, channels = image.shape
    low, high = np.percentile(image.astype(float), [0.1, 99.9], axis=(0, 1))
    pixels = np.clip((image - low) / np.where(high > low, high - low, np.inf), 0, 1)
    texture = []
    for scale in (1, 2, 4):
        if min(height, width) // scale < 4:
            continue
        for channel in range(channels):
            rows, columns = height // scale, width // scale
            cut = pixels[: rows * scale, : columns * scale, channel]
            mean = cut.reshape(rows, scale, columns, scale).mean(axis=(1, 3))
            laplacian = (
                sum(np.roll(mean, shift, axis) for shift in (1, -1) for axis in (0, 1)) - 4 * mean
            )
            ratio = laplacian[1:-1, 1:-1].var() / mean.var() if mean.var() > 0 else 0
            texture.append(np.log(ratio + 1e-6))
    y, x = np.indices((height, width)) + 0.5
    radius = np.hypot(2 * y / height - 1, 2 * x / width - 1)
    layout = []
    for channel in range(channels):
        rings = [pixels[(i / 4 <= radius) & (radius < (i + 1) / 4), channel] for i in range(4)]
        layout += [np.log(ring.mean() + 0.05) for ring in rings]
        layout += [ring.std() for ring in rings]
    return {"texture": texture, "layout": layout}


@pytest.mark.addons
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_graph_sees_the_numbers_of_a_crop(dtype: str) -> None:
    crops = random_crops(dtype, (3, 17, 14, 2))
    crops[0, :, :, 1] = 3
    expected = [numbers_of(image) for image in crops]
    for name, values in tf.function(appearance)(tf.constant(crops)).items():
        np.testing.assert_allclose(values, [row[name] for row in expected], rtol=1e-3, atol=1e-4)


KINDS = {
    "two channels": {"dtype": "uint16"},
    "one channel, masks": {"dtype": "uint8", "channels": ("stain",), "has_mask": True},
    "float32": {"dtype": "float32"},
}


@pytest.fixture(
    scope="module",
    params=[pytest.param(k, marks=[pytest.mark.long] * (k == "float32")) for k in KINDS],
)
def run(request: Any, write_screen: Callable[..., Any], tmp_path_factory: Any) -> Path:
    """A short training whose calibration cells are those of the validation split."""
    folder: Path = tmp_path_factory.mktemp("novelty")
    splits = {"train": (40, 40, 40), "validation": (30, 30, 30), "test": (40, 40, 40)}
    options = KINDS[request.param]
    write_screen(folder / "records", splits, size=16, crops_of_a_shard=64, **options)
    config = FitConfig(
        width=0.06,
        dense_units=(8, 8),
        last_block=False,
        window=0,
        epochs=2,
        batch_size=24,
        mask="has_mask" in options,
        test_time="none",
        ema_momentum=0,
    )
    fit(folder / "records", folder / "run", config)
    return folder / "run"


def crops_of(run: Path, split: str) -> dict[str, Any]:
    (batch,) = batches(run.with_name("records"), split, batch_size=1000)
    return {name: batch[name].numpy() for name in ("image", "mask") if name in batch}


def judged(model: OpenModel, crops: dict[str, Any]) -> dict[str, Any]:
    return model(crops["image"], crops.get("mask"))


def spoiled(images: Any) -> dict[str, Any]:
    """The same crops as nobody wants them, in their dtype."""
    random = np.random.default_rng(5)
    highest = 1000 if images.dtype == np.float32 else np.iinfo(images.dtype).max
    kinds = {
        "blurred": gaussian_filter(images.astype(float), (0, 2, 2, 0)),
        "black": np.zeros(images.shape),
        "noise alone": random.integers(20, 100, images.shape),
        "saturated": np.where(images > np.quantile(images, 0.8), highest, images),
        "foreign": np.indices(images.shape)[1] % 4 * 60,
    }
    return {name: values.astype(images.dtype) for name, values in kinds.items()}


@pytest.mark.addons
def test_spoiled_and_foreign_crops_are_not_accepted(run: Path) -> None:
    model = open_model(run)
    good = crops_of(run, "validation")
    assert judged(model, good)["accepted"].mean() >= 0.95
    new = crops_of(run, "test")
    outputs = judged(model, new)
    assert outputs["accepted"].dtype == bool
    assert outputs["accepted"].mean() >= 0.85
    assert (outputs["novelty"][outputs["accepted"]] <= 1).all()
    for name, images in spoiled(new["image"]).items():
        refused = ~judged(model, {**new, "image": images})["accepted"]
        # noise in the shape of a cell has the cell's border, which is much of its texture
        assert refused.mean() >= (0.7 if name == "noise alone" and "mask" in new else 0.9), name


@pytest.mark.addons
def test_exported_models_tell_novelty_and_its_limits(run: Path, tmp_path: Path) -> None:
    folder = export(run, tmp_path / "model")
    loaded = tf.saved_model.load(str(folder))
    crops = crops_of(run, "test")
    expected = judged(open_model(run), crops)
    inputs = {name: tf.constant(values) for name, values in crops.items()}
    for signature in ("serving_default", "classify"):
        outputs = loaded.signatures[signature](**inputs)
        np.testing.assert_allclose(outputs["novelty"], expected["novelty"], rtol=1e-4)
        assert (outputs["accepted"].numpy() == expected["accepted"]).mean() > 0.98
    novelty = read_novelty(run, load_trained(run).model_sha256)
    assert novelty is not None
    described = json.loads(loaded.signatures["describe"]()["acceptance"].numpy()[0])
    assert described == novelty.to_json()
    beside = json.loads((folder / "assets.extra" / "description.json").read_text("utf-8"))
    assert beside["acceptance"] == described
    assert described["split"] == "validation"
    assert set(described["limits"]) == set(LOST)
    channels = list(load_trained(run).schema.channels)
    assert list(described["quantiles"]["intensity"]) == channels
    means = crops_of(run, "train")["image"].mean(axis=(1, 2))
    middle = described["levels"].index(0.5)
    for channel, values in zip(channels, means.T, strict=True):
        found = described["quantiles"]["intensity"][channel][middle]
        np.testing.assert_allclose(found, np.median(values), rtol=1e-6)


def test_evaluation_counts_what_is_not_accepted(run: Path, tmp_path: Path) -> None:
    metrics = evaluate(run, run.with_name("records"), tmp_path / "results", test_time="none")
    table = pd.read_parquet(tmp_path / "results" / "predictions.parquet")
    expected = judged(open_model(run), crops_of(run, "test"))
    np.testing.assert_allclose(table["novelty"], expected["novelty"], rtol=1e-4)
    assert metrics["num_not_accepted"] == int((~table["accepted"]).sum())
    right = table["label"] == table["predicted"]
    assert metrics["accuracy_of_accepted"] == pytest.approx(right[table["accepted"]].mean())


def test_damaged_novelty_is_refused_and_a_missing_one_told(run: Path, tmp_path: Path) -> None:
    trained, path = load_trained(run), run / NOVELTY_NAME
    assert trained.novelty is not None
    content = path.read_bytes()
    with pytest.raises(RecordsError, match="one of another model"):
        read_novelty(run, "0" * 64)
    places = np.random.default_rng(0).integers(0, len(content), 12)
    for place in places:
        other = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        (tmp_path / NOVELTY_NAME).write_bytes(other)
        try:  # a few bytes of a zip file mean nothing
            found = read_novelty(tmp_path, trained.model_sha256)
        except RecordsError:
            continue
        assert found is not None
        assert found.to_json() == trained.novelty.to_json()
    (tmp_path / NOVELTY_NAME).write_bytes(content[: len(content) // 2])
    with pytest.raises(RecordsError, match=r"novelty\.npz of a run must be what fit wrote"):
        read_novelty(tmp_path, trained.model_sha256)
    assert read_novelty(tmp_path / "elsewhere", trained.model_sha256) is None
