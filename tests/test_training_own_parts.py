"""Networks, backbones, normalizations, losses and methods of training from outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfrecords
from deeploc_tf.embedding.embed import embed
from deeploc_tf.models.networks import register_network
from deeploc_tf.models.trained import load_trained
from deeploc_tf.network_choices import BACKBONES, NETWORKS, NORMALIZATIONS
from deeploc_tf.pipeline.batches import batches
from deeploc_tf.profiles.tables import read_table
from deeploc_tf.serving.export import export
from deeploc_tf.serving.open_model import open_model
from deeploc_tf.training.choices import LOSSES, Objective
from deeploc_tf.training.classification import Classification
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.evaluate import evaluate
from deeploc_tf.training.fit import fit
from deeploc_tf.training.run_folder import open_run
from deeploc_tf.training.tasks import CLASSIFICATION, TASKS, Method
from tfrecords.errors import RecordsError
from tfrecords.schema import Crop, Schema

TINY: dict[str, Any] = {"epochs": 1, "batch_size": 4, "warmup_epochs": 0, "dropout": 0.0}
SMALL: dict[str, Any] = {**TINY, "width": 0.03, "dense_units": (4, 3), "augmentation": "flips"}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen crops of 8x8 pixels, of two labels: 8 to train, 4 to validate, 4 to test."""
    schema = Schema((8, 8, 2), "uint16", ("gfp", "rfp"), label_names=("a", "b"))
    random = np.random.default_rng(0)
    crops = [
        Crop(
            f"P{i % 2}/{i}",
            random.integers(0, 999, (8, 8, 2), "uint16"),
            labels=(i % 2,),
            protein=f"P{i % 2}",
        )
        for i in range(16)
    ]
    splits = ["train"] * 8 + ["validation"] * 4 + ["test"] * 4
    entries = [
        tfrecords.Entry(crop.key, split, crop.labels, crop.protein)
        for crop, split in zip(crops, splits, strict=True)
    ]
    folder = tmp_path_factory.mktemp("own") / "records"
    tfrecords.write_records(folder, schema=schema, entries=entries, crops=crops, group_by=())
    return folder


def pooled(image_shape: tuple[int, int, int], image_dtype: str) -> keras.Model:
    """A network as a user writes it, of Keras' own layers alone."""
    image = keras.Input(image_shape, dtype=image_dtype, name="image")
    x = keras.layers.Rescaling(1 / 999)(image)
    x = keras.layers.Conv2D(5, 3, activation="relu", data_format="channels_last")(x)
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last")(x)
    return keras.Model(image, x, name="pooled")


@pytest.fixture(scope="module")
def own_run(records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a network of one's own, whose network is gone afterwards."""
    run = tmp_path_factory.mktemp("own") / "run"
    fit(records, run, FitConfig(**TINY), network=pooled)
    assert NETWORKS.get("pooled") is pooled
    NETWORKS.unregister("pooled")
    return run


def test_a_run_with_a_network_of_ones_own_names_it(own_run: Path) -> None:
    config = json.loads((own_run / "config.json").read_text("utf-8"))
    assert config["config"]["network"] == "pooled"
    assert config["resolved"] == {}
    model = load_trained(own_run).model
    assert [layer.name for layer in model.layers][-2:] == ["logits_dense", "logits"]
    assert model.get_layer("features").output.shape[1:] == (5,)


def test_it_is_embedded_evaluated_and_exported_without_its_network(
    own_run: Path, records: Path, tmp_path: Path
) -> None:
    written = embed(own_run, records, tmp_path / "cells.npz", splits=["test"])
    assert (written.layer, written.num_features) == ("features", 5)
    vectors = read_table(tmp_path / "cells.npz").features
    model = load_trained(own_run).model
    (batch,) = batches(records, "test", batch_size=4, features=["image"])
    images = batch["image"].numpy()
    features = keras.Model(model.input, model.get_layer("features").output)
    np.testing.assert_allclose(vectors, features(images).numpy(), rtol=1e-5)
    metrics = evaluate(own_run, records)
    assert metrics["num_crops"] == 4
    assert (metrics["test_time"], metrics["head"]) == ("none", "label")
    exported = export(own_run, tmp_path / "model")
    opened = open_model(exported)
    assert opened.description.layer == "features"
    assert opened.description.normalization == "the network's own"
    np.testing.assert_allclose(opened(images)["embedding"], vectors, rtol=1e-5)


def test_to_go_on_it_needs_its_network(own_run: Path, records: Path, tmp_path: Path) -> None:
    config = FitConfig(**TINY, network="pooled")
    with pytest.raises(ValueError, match="Received: network='pooled'"):
        fit(records, tmp_path / "run", config)
    assert not (tmp_path / "run").exists()
    again = fit(records, own_run, FitConfig(**TINY), network=pooled)  # finished: its metrics
    NETWORKS.unregister("pooled")
    assert again["epochs"] == 1


def test_settings_of_deeploc_are_none_of_it() -> None:
    with pytest.raises(ValueError, match=r"network='pooled' with width=0\.5"):
        FitConfig(network="pooled", width=0.5)
    with pytest.raises(ValueError, match="method='inpainting' with network='pooled'"):
        FitConfig(network="pooled", method="inpainting")
    with pytest.raises(ValueError, match="should be a valid string"):
        FitConfig(method=["inpainting"])  # type: ignore[arg-type]
    assert FitConfig(network="pooled", xla=True).xla  # there are no rotations


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda shape, dtype: keras.Sequential(), "one input"),
        (lambda shape, dtype: pooled((9, 9, 2), dtype), r"Received: \('image', \(9, 9, 2\)"),
        (lambda shape, dtype: pooled(shape, "uint8"), "'uint8'"),
        (
            lambda shape, dtype: keras.Model(
                (x := keras.Input(shape, dtype=dtype, name="image")), keras.layers.Rescaling(1.0)(x)
            ),
            "one vector of features per crop",
        ),
    ],
)
def test_a_network_that_cannot_be_is_refused(
    make: Any, message: str, records: Path, tmp_path: Path
) -> None:
    def network(image_shape: tuple[int, int, int], image_dtype: str) -> keras.Model:
        return make(image_shape, image_dtype)

    try:
        with pytest.raises(ValueError, match=message):
            fit(records, tmp_path / "run", FitConfig(**TINY), network=network)
    finally:
        NETWORKS.unregister("network")
    assert not (tmp_path / "run").exists()


def test_a_network_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="function or class with a name"):
        register_network(lambda image_shape, image_dtype: pooled(image_shape, image_dtype))


def halved(pixels: Any, inside: Any) -> Any:
    """A normalization."""
    del inside
    return pixels / 2000


def flat(x: Any, *, batch_norm_momentum: float) -> Any:
    """A backbone."""
    del batch_norm_momentum
    return keras.layers.GlobalMaxPooling2D(data_format="channels_last", name="flat")(x)


class Squares(keras.losses.Loss):
    """A loss of the logits."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return tf.reduce_mean(tf.square(y_true - y_pred), axis=-1)


class Twice(Classification):
    """A method: classification, each epoch with twice as many batches."""

    def __init__(self, records: Any, manifest: Any, config: FitConfig) -> None:
        super().__init__(records, manifest, config)
        self.described = True

    def describe(self) -> str:
        return "Twice."


def test_parts_from_outside_make_a_run_that_is_refused_without_them(
    notes: list[str], records: Path, tmp_path: Path
) -> None:
    parts: list[tuple[Any, str, Any]] = [
        (NORMALIZATIONS, "halved", halved),
        (BACKBONES, "flat", flat),
        (LOSSES, "squares", Objective(lambda config, classes: Squares())),
        (TASKS, "twice", Method(Twice, CLASSIFICATION.settings, {"epochs": 1})),
    ]
    for registry, name, part in parts:
        registry.register(name, part)
    try:
        config = FitConfig(
            **{k: v for k, v in SMALL.items() if k not in ("width", "epochs")},
            **{registry.what: name for registry, name, _ in parts},
        )
        assert config.epochs == 1  # the method's own default
        fit(records, tmp_path / "run", config)
        assert "Twice." in notes
        trained = load_trained(tmp_path / "run")
        assert trained.model.get_layer("normalization").method == "halved"
        assert trained.model.get_layer("flat").output.shape[1:] == (2,)
        assert open_run(tmp_path / "run").config == config
    finally:
        for registry, name, _ in parts:
            registry.unregister(name)
    for registry, name, _ in parts:
        others = [other for other in parts if other[0] is not registry]
        for other in others:
            other[0].register(*other[1:])
        try:
            for read in (open_run, load_trained):
                with pytest.raises(RecordsError, match=f"{registry.what}='{name}'"):
                    read(tmp_path / "run")
        finally:
            for other in others:
                other[0].unregister(other[1])


def test_a_loss_from_outside_goes_with_what_ours_of_its_kind_go_with() -> None:
    LOSSES.register("nearest", Objective(lambda config, classes: Squares(), of_features=True))
    LOSSES.register("hardest", Objective(lambda config, classes: Squares(), smoothing=False))
    try:
        for loss in ("triplet", "nearest"):
            with pytest.raises(ValueError, match=f"one class per crop. Received: loss='{loss}'"):
                FitConfig(loss=loss, target="label+protein")
            assert FitConfig(loss=loss, label_smoothing=0.1).loss == loss
        for loss in ("focal", "hardest"):
            with pytest.raises(ValueError, match=f"{loss} loss takes no label smoothing"):
                FitConfig(loss=loss, label_smoothing=0.1)
            assert FitConfig(loss=loss, target="label+protein").loss == loss
    finally:
        for loss in ("nearest", "hardest"):
            LOSSES.unregister(loss)
