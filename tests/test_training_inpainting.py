"""Paired Cell Inpainting by the same `fit`: learns, resumes, runs on two devices, embeds."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pydantic
import pytest
from shared import run_cli

import tfrecords
from deeploc_tf.embedding.embed import embed
from deeploc_tf.models.extractors import inference_function
from deeploc_tf.models.trained import load_model, load_trained
from deeploc_tf.pipeline.batches import batches
from deeploc_tf.profiles.tables import read_table
from deeploc_tf.serving.export import export
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.fit import fit
from deeploc_tf.training.state import NotFiniteError
from tfrecords.errors import RecordsError, SchemaError, SplitError
from tfrecords.schema import Crop, Schema

CONFIG = FitConfig(
    method="inpainting",
    width=0.04,
    epochs=3,
    batch_size=8,
    min_cells=4,
    learning_rate=0.01,
    seed=3,
)
SIDE = 12
SPLITS = {"train": (1, 2), "validation": (3,), "test": (4,)}


def write(
    folder: Path, *, cells: int = 8, channels: tuple[str, ...] = ("gfp", "rfp"), alone: int = 0
) -> Path:
    """Cells are squares anywhere; protein CORE shines in their middle, protein RIM around it."""
    schema = Schema((SIDE, SIDE, len(channels)), "uint16", channels, metadata={"field": "int64"})
    random = np.random.default_rng(0)
    crops, entries = [], []
    groups = [
        (split, field, protein, cell)
        for split, fields in SPLITS.items()
        for field in fields
        for protein, count in (("CORE", cells), ("RIM", cells), ("RARE", alone))
        for cell in range(count)
    ]
    for split, field, protein, cell in groups:
        image = random.integers(0, 60, (SIDE, SIDE, len(channels)))
        top, left = random.integers(0, SIDE - 6, 2)
        image[top : top + 6, left : left + 6, 1:] += 900
        shines = np.full((6, 6), protein != "CORE")
        shines[1:5, 1:5] = protein == "CORE"
        image[top : top + 6, left : left + 6, 0] += 900 * shines
        key = f"{protein}/{field}/{cell}"
        crops.append(Crop(key, image.astype("uint16"), protein=protein, metadata={"field": field}))
        entries.append(tfrecords.Entry(key, split, (), protein))
    tfrecords.write_records(
        folder, schema, entries, crops, group_by=("field",), shard_bytes=6 * SIDE * SIDE * 4
    )
    return folder


def digest(run: Path) -> str:
    """SHA-256 of all weights of the model, of the history but its seconds, and of the metrics."""
    sha = hashlib.sha256()
    for weight in load_model(run / "model.keras").weights:
        sha.update(np.ascontiguousarray(weight.numpy()).tobytes())
    history = pd.read_csv(run / "history.csv", dtype=str).drop(columns="seconds")
    sha.update(history.to_csv().encode())
    sha.update((run / "metrics.json").read_bytes())
    return sha.hexdigest()


@pytest.fixture(scope="module")
def records(tmp_path_factory: Any) -> Path:
    return write(tmp_path_factory.mktemp("inpainting") / "records", alone=3)


class Finished:
    """An uninterrupted training and what it told."""

    def __init__(self, records: Path, run: Path, logged: Callable[..., Any]) -> None:
        self.run = run
        self.progress: list[int] = []
        with logged() as self.notes:
            self.metrics = fit(
                records, run, CONFIG, progress=lambda count, _: self.progress.append(count)
            )


@pytest.fixture(scope="module")
def finished(records: Path, tmp_path_factory: Any, logged: Callable[..., Any]) -> Finished:
    return Finished(records, tmp_path_factory.mktemp("inpainting") / "run", logged)


def test_the_defaults_are_the_published_settings() -> None:
    config = FitConfig(method="inpainting")
    assert (config.optimizer, config.learning_rate, config.beta_1) == ("adam", 1e-4, 0.5)
    assert (config.schedule, config.ema_momentum) == ("constant", 0.0)
    assert (config.batch_size, config.epochs, config.min_cells) == (64, 30, 30)
    assert (config.augmentation, config.window) == ("flips", None)
    again = FitConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert FitConfig().beta_1 == 0.9


def test_a_run_says_what_it_pairs_and_how_well_it_paints(finished: Finished) -> None:
    assert any(
        note.startswith(
            "32 pairs of cells of one protein, field, in 4 groups. Left out: 2 groups with fewer "
            "than 4 cells, together 6 cells, of which 0 have no partner at all."
        )
        for note in finished.notes
    )
    assert finished.progress == [8 * step for step in range(1, 4 * CONFIG.epochs + 1)]
    assert set(finished.metrics) == {"epochs", "validation", "test"}
    history = pd.read_csv(finished.run / "history.csv")
    assert {"epoch", "loss", "val_loss", "val_explained_variance", "seconds"} == set(history)
    last = history["val_loss"].iloc[-1]
    assert last == pytest.approx(finished.metrics["validation"]["loss"], rel=1e-12)
    config = json.loads((finished.run / "config.json").read_text())
    assert config["config"]["method"] == "inpainting"
    assert config["class_names"] == []
    assert not (finished.run / "confusion.csv").exists()


@pytest.mark.slow
def test_it_learns_to_paint_and_learns_it_from_the_source(tmp_path: Path) -> None:
    records = write(tmp_path / "records", cells=32)
    longer = {"epochs": 12, "width": 0.08, "learning_rate": 0.005, "batch_norm_momentum": 0.9}
    metrics = fit(records, tmp_path / "run", CONFIG.model_copy(update=longer))
    for split in ("validation", "test"):
        assert metrics[split]["num_pairs"] == 64
        assert metrics[split]["explained_variance"] > 0.35  # 0.56 and 0.53 were measured
    model = load_model(tmp_path / "run" / "model.keras")
    paint = inference_function(keras.Model(model.input, model.get_layer("inpainted").output))
    (batch,) = batches(records, "test").as_numpy_iterator()
    of = {name: batch["image"][batch["protein"] == name.encode()] for name in ("CORE", "RIM")}

    def error(source: str, target: str) -> float:
        truth = of[target][..., :1].astype(float)
        low, high = truth.min(axis=(1, 2), keepdims=True), truth.max(axis=(1, 2), keepdims=True)
        painted = paint({"image": of[source], "target": of[target]}).numpy()
        return float(np.mean((painted - (truth - low) / (high - low)) ** 2))

    for target, other in (("CORE", "RIM"), ("RIM", "CORE")):
        assert error(target, target) < 0.7 * error(other, target)


def test_the_metrics_are_those_of_the_saved_model(finished: Finished, records: Path) -> None:
    """A second way: the targets of all pairs are all cells, so their variance needs no pairs."""
    (batch,) = batches(records, "test").as_numpy_iterator()
    protein = batch["image"][..., 0].astype(float)
    low, high = protein.min(axis=(1, 2), keepdims=True), protein.max(axis=(1, 2), keepdims=True)
    variance = ((protein - low) / (high - low)).var()
    found = finished.metrics["test"]
    assert found["explained_variance"] == pytest.approx(1 - found["loss"] / variance, abs=1e-5)


@pytest.mark.long
def test_killed_in_an_epoch_it_ends_with_the_same_bits(
    notes: list[str], records: Path, tmp_path: Path
) -> None:
    child = """
import os, signal, sys
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.fit import fit

def progress(done, _):
    if done == 8 * 6:
        os.kill(os.getpid(), signal.SIGKILL)

config = FitConfig.model_validate_json(sys.stdin.read())
fit(sys.argv[1], sys.argv[2], config, checkpoint_steps=1, progress=progress)
"""
    config = CONFIG.model_copy(update={"epochs": 3, "ema_momentum": 0.5})
    fit(records, tmp_path / "undisturbed", config)
    result = subprocess.run(
        [sys.executable, "-c", child, str(records), str(tmp_path / "run")],
        input=config.model_dump_json(),
        text=True,
        capture_output=True,
        check=False,
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    done: list[int] = []
    fit(records, tmp_path / "run", config, progress=lambda count, _: done.append(count))
    assert "Going on after epoch 1 of 3, step 2 of 4." in notes
    assert done == [8 * step for step in range(7, 13)]
    assert digest(tmp_path / "run") == digest(tmp_path / "undisturbed")


@pytest.mark.long
def test_two_devices_train_like_one(
    notes: list[str], records: Path, tmp_path: Path, two_cpus: list[str]
) -> None:
    del two_cpus
    still = {"augmentation": "none", "epochs": 2, "learning_rate": 1e-3}
    config = FitConfig(**{**CONFIG.model_dump(), **still})
    one = fit(records, tmp_path / "one", config.model_copy(update={"device": "cpu:0"}))
    two = fit(
        records,
        tmp_path / "two",
        config.model_copy(update={"device": "cpu:0,cpu:1"}),
    )
    assert any("2 " in note and note.startswith("Training on") for note in notes)
    assert two["test"]["loss"] == pytest.approx(one["test"]["loss"], rel=1e-3)
    losses = [pd.read_csv(tmp_path / name / "history.csv")["loss"] for name in ("one", "two")]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)


@pytest.mark.slow
def test_bfloat16_leaves_a_float32_model(records: Path, tmp_path: Path) -> None:
    changes = {"precision": "bfloat16", "epochs": 8, "batch_norm_momentum": 0.9}
    config = CONFIG.model_copy(update=changes)
    metrics = fit(records, tmp_path / "run", config)
    assert metrics["test"]["explained_variance"] > 0
    model = load_model(tmp_path / "run" / "model.keras")
    assert {layer.compute_dtype for layer in model.layers if layer.weights} == {"float32"}


def test_embedding_takes_single_cells(finished: Finished, records: Path, tmp_path: Path) -> None:
    written = embed(finished.run, records, tmp_path / "cells.parquet", layer="source_conv_4")
    found = read_table(tmp_path / "cells.parquet")
    assert (written.num_crops, written.num_proteins) == (19, 3)
    pooled = embed(finished.run, records, tmp_path / "pooled.parquet")
    assert pooled.layer == "source_conv_3:max"
    (batch,) = batches(records, "test").as_numpy_iterator()
    model = load_model(finished.run / "model.keras")
    cut = inference_function(keras.Model(model.input, model.get_layer("source_conv_4").output))
    any_target = np.zeros_like(batch["image"])
    crops = {"image": batch["image"], "target": any_target}
    expected = cut(crops).numpy()
    np.testing.assert_allclose(found.features, expected.reshape(19, -1), atol=1e-5)
    cut = inference_function(keras.Model(model.input, model.get_layer("source_conv_3").output))
    maximum = cut(crops).numpy().max(axis=(1, 2))
    np.testing.assert_allclose(read_table(tmp_path / "pooled.parquet").features, maximum, atol=1e-5)
    for layer, message in (
        ("decoder_conv_1", "source_conv_5"),
        ("source_conv_3:median", "may end in :flatten, :max, :mean"),
        ("features:max", "source_conv_5"),
    ):
        with pytest.raises(ValueError, match=message):
            embed(finished.run, records, tmp_path / "other.parquet", layer=layer)


def test_what_tells_no_classes_is_neither_exported_nor_evaluated(
    finished: Finished, records: Path, tmp_path: Path
) -> None:
    assert load_trained(finished.run).class_names == ()
    with pytest.raises(SchemaError, match=r"tells no classes.*deeploc-tf embed"):
        export(finished.run, tmp_path / "served")
    assert not (tmp_path / "served").exists()
    result = run_cli("evaluate", finished.run, records, tmp_path / "evaluation")
    assert result.exit_code == 1
    assert "tells no classes" in result.stderr


def test_a_loss_that_is_no_number_names_the_pairs(records: Path, tmp_path: Path) -> None:
    class Poison(keras.callbacks.Callback):
        """Spoils a weight after the second step."""

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 1:
                bias = self.model.trainable_variables[-1]
                bias.assign(np.full(bias.shape, np.nan, np.float32))

    with pytest.raises(NotFiniteError, match=r"epoch 1, step 3.*/\d/\d+ with .*/\d/\d+") as error:
        fit(records, tmp_path / "run", CONFIG, callbacks=[Poison()])
    pairs = str(error.value).split("on the crops ")[1].split(". The last")[0].split(", ")
    assert len(pairs) == 8
    for pair in pairs:
        source, target = (key.rsplit("/", 1) for key in pair.split(" with "))
        assert source[0] == target[0]
        assert source[1] != target[1]


def test_records_that_cannot_be_paired_are_refused_before_there_is_a_run(
    records: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    config = CONFIG.model_copy(update={"min_cells": 9})
    with pytest.raises(SplitError, match=r"min_cells=9.*largest group has 8 cells"):
        fit(records, run, config)
    flat = write(tmp_path / "flat", channels=("gfp",))
    with pytest.raises(SchemaError, match="structural channel"):
        fit(flat, run, CONFIG)
    with pytest.raises(SplitError, match="batch_size=33"):
        fit(records, run, CONFIG.model_copy(update={"batch_size": 33}))
    with pytest.raises(SplitError, match="'plate'"):
        fit(records, run, CONFIG.model_copy(update={"pair_by": ("plate",)}))
    lonely = write(tmp_path / "lonely", cells=1)
    with pytest.raises(SplitError, match="no cell has a partner"):
        fit(lonely, run, CONFIG.model_copy(update={"min_cells": 2}))
    for settings, message in (
        ({"normalization": "standardize"}, r"min-max.*'standardize'"),
        ({"augmentation": "rotations"}, r"flips.*'rotations'"),
        ({"window": 10}, "multiples of 4"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(records, run, CONFIG.model_copy(update=settings))
    assert not run.exists()


def test_a_split_without_pairs_is_not_evaluated(
    notes: list[str], records: Path, tmp_path: Path
) -> None:
    manifest = tfrecords.read_manifest(records)
    crops = [
        Crop(
            key=key.decode(),
            image=image,
            protein=protein.decode(),
            metadata={"field": field},
        )
        for split in ("train", "validation")
        for batch in batches(records, split).as_numpy_iterator()
        for key, image, protein, field in list(
            zip(
                batch["key"], batch["image"], batch["protein"], batch["meta/field"].tolist(),
                strict=True,
            )
        )[: 1 if split == "validation" else None]
    ]  # fmt: skip
    entries = [
        tfrecords.Entry(
            crop.key, "validation" if crop.metadata["field"] == 3 else "train", (), crop.protein
        )
        for crop in crops
    ]
    tfrecords.write_records(tmp_path / "few", manifest.schema, entries, crops, group_by=("field",))
    short = CONFIG.model_copy(update={"epochs": 1})
    metrics = fit(tmp_path / "few", tmp_path / "run", short)
    assert set(metrics) == {"epochs"}
    assert any(
        note.startswith("The validation split is not evaluated. Pairs need") for note in notes
    )
    patient = short.model_copy(update={"patience": 2})
    with pytest.raises(SplitError, match="no cell has a partner"):
        fit(tmp_path / "few", tmp_path / "patient", patient)
    assert not (tmp_path / "patient").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dropout": 0.5}, "dropout=0.5"),
        ({"target": "protein", "mask": True}, "mask=True, target='protein'"),
        ({"min_cells": 1}, "greater than or equal to 2"),
        ({"method": "classification", "min_cells": 5}, "method='classification'.*min_cells=5"),
    ],
)
def test_settings_that_mean_nothing_here_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        FitConfig(**{"method": "inpainting", **settings})


def test_other_settings_do_not_go_on(finished: Finished, records: Path) -> None:
    other = CONFIG.model_copy(update={"min_cells": 5})
    with pytest.raises(RecordsError, match=r"min_cells=5 \(was 4\)"):
        fit(records, finished.run, other)


def test_the_command_trains_and_prints(records: Path, tmp_path: Path) -> None:
    few = ["--method", "inpainting", "--width", "0.03", "--batch-size", "8", "--epochs", "1"]
    result = run_cli("fit", records, tmp_path / "run", *few, "--min-cells-per-group", "3")
    assert result.exit_code == 0, result.output
    assert "38 pairs of cells of one protein, field, in 6 groups." in result.stderr
    assert "Epoch 1 of 1: loss" in result.stderr
    assert "validation: 19 pairs, loss" in result.stdout
    assert "test: 19 pairs, loss" in result.stdout
    stored = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert (stored["learning_rate"], stored["optimizer"]) == (1e-4, "adam")
    result = run_cli("fit", records, tmp_path / "other", *few)
    assert result.exit_code == 1
    assert "min_cells=30" in result.stderr
    result = run_cli("fit", records, tmp_path / "other", *few, "--dropout", "0.5")
    assert result.exit_code == 2
    assert "dropout=0.5" in result.stderr
    assert not (tmp_path / "other").exists()
