"""Whole trainings towards several labels, towards proteins, and on balanced epochs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from shared import RECIPE, run_cli, tiny_fit

import tfrecords
from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.extractors import inference_function
from deeploc_tf.models.trained import load_trained
from deeploc_tf.pipeline.batches import batches
from deeploc_tf.serving.export import export
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.evaluation import Evaluator
from deeploc_tf.training.fit import fit
from deeploc_tf.training.state import TrainingStoppedError
from tfrecords.errors import SplitError
from tfrecords.manifest import Manifest, read_manifest
from tfrecords.schema import Crop, Schema

CONFIG = tiny_fit(width=0.1, augmentation="flips", dropout=0.1, batch_size=8, seed=4)


@pytest.fixture(scope="module")
def bars(tmp_path_factory: Any) -> Path:
    """Cells with a lying bar, an upright one, or both: two labels, the second rare."""
    folder: Path = tmp_path_factory.mktemp("bars") / "records"
    schema = Schema((14, 14, 1), "uint16", ("gfp",), False, ("lying", "upright"), True)
    random = np.random.default_rng(0)
    crops, entries = [], []
    for number in range(96):
        labels = ((0,), (0,), (0, 1), (1,))[number % 4]
        image = random.integers(20, 100, (14, 14, 1))
        image[5:9] += 150 * (0 in labels)
        image[:, 5:9] += 150 * (1 in labels)
        split = "train" if number < 64 else "validation" if number < 80 else "test"
        crop = Crop(f"{number:03}", image.astype("uint16"), labels=labels, protein=f"P{number % 3}")
        crops.append(crop)
        entries.append(tfrecords.Entry(crop.key, split, crop.labels, crop.protein))
    tfrecords.write_records(folder, schema, entries, crops, shard_bytes=20_000)
    return folder


@pytest.fixture(scope="module")
def screen(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("screen") / "records"
    write_screen(folder, size=14)
    return folder


@pytest.mark.long
def test_several_labels_a_crop_are_learnt_measured_and_exported(bars: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 12, "class_weights": "balanced"})
    run = tmp_path / "run"
    metrics = fit(bars, run, config)
    assert metrics["test"]["macro_ap"] > 0.9  # prevalence is 3/4 and 1/2
    assert not (run / "confusion.csv").exists()
    assert "val_macro_ap" in pd.read_csv(run / "history.csv").columns
    model = load_trained(run)
    assert (model.class_names, model.multi_label) == (("lying", "upright"), True)
    served = tf.saved_model.load(str(export(run, tmp_path / "model")))
    (batch,) = batches(bars, "test")
    outputs = served.signatures["classify"](image=tf.cast(batch["image"], tf.uint16))
    logits = inference_function(model.model)(batch["image"]).numpy()
    np.testing.assert_allclose(outputs["probabilities"], 1 / (1 + np.exp(-logits)), atol=1e-5)
    assert (outputs["probabilities"].numpy().sum(axis=1) > 1.2).any()  # no softmax


def variables_of(records: Path, run: Path, config: FitConfig, stop_after: int | None) -> Any:
    """All weights of the model and the history, after a training that may have been stopped."""
    done: list[int] = []
    if stop_after:
        with pytest.raises(TrainingStoppedError):
            fit(
                records,
                run,
                config,
                progress=lambda count, _: done.append(count),
                should_stop=lambda: len(done) >= stop_after - 1,
            )
    fit(records, run, config)
    history = pd.read_csv(run / "history.csv", dtype=str).drop(columns="seconds").to_dict("list")
    return [weight.numpy() for weight in load_trained(run).model.weights], history


@pytest.mark.long
@pytest.mark.parametrize(
    ("values", "several"),
    [
        ({"target": "protein", "sampling": "protein", "ema_warmup": True}, False),
        (
            {"sampling": "label", "loss": "focal", "optimizer": "sgd", "schedule": "exponential"},
            False,
        ),
        ({"sampling": "protein", "class_weights": "balanced", "clip_norm": 0.5}, True),
        ({"optimizer": "lamb", "schedule": "constant", "ema_momentum": 0.0}, False),
        ({"target": "label+protein", "protein_weight": 0.5}, True),
        ({"target": "protein", "loss": "triplet"}, False),
    ],
    ids=["protein", "focal", "several", "lamb", "both", "triplet"],
)
def test_stopped_in_an_epoch_it_ends_with_the_same_bits(
    values: dict[str, Any], several: bool, screen: Path, bars: Path, tmp_path: Path
) -> None:
    records = bars if several else screen
    config = CONFIG.model_copy(update=RECIPE | values)
    stopped = variables_of(
        records, tmp_path / "stopped", config, stop_after=5 if not several else 9
    )
    whole = variables_of(records, tmp_path / "whole", config, stop_after=None)
    assert stopped[1] == whole[1]
    for found, expected in zip(stopped[0], whole[0], strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_a_run_towards_proteins_knows_their_names(
    notes: list[str], write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    splits = {"train": (24,), "validation": (6,), "test": (6,)}
    write_screen(tmp_path / "records", splits, size=14, label_names=())
    config = CONFIG.model_copy(update={"target": "protein"})
    metrics = fit(tmp_path / "records", tmp_path / "run", config)
    assert "24 crops of 4 proteins: AAC0 6, AAC1 6, AAC2 6, AAC3 6." in notes
    names = ["AAC0", "AAC1", "AAC2", "AAC3"]
    assert json.loads((tmp_path / "run/config.json").read_text())["class_names"] == names
    assert list(metrics["test"]["per_class"]) == names
    assert sum(of["support"] for of in metrics["test"]["per_class"].values()) == 6
    assert "confusion_matrix" not in metrics["test"]
    served = tf.saved_model.load(str(export(tmp_path / "run", tmp_path / "model")))
    described = served.signatures["describe"]()
    assert [name.decode() for name in described["class_names"].numpy()] == names


def test_pifia_is_the_network_of_2022_with_fewer_features() -> None:
    model = DeepLoc((64, 64, 1), 4049, preset="pifia2024")
    assert model.get_layer("fc_1").output.shape[1:] == (128,)
    assert model.get_layer("fc_2").output.shape[1:] == (64,)
    assert model.output.shape == (None, 4049)
    convolutions = 3_123_409 - (1024 * 512 + 512) - (512 * 512 + 512) - (512 * 17 + 17)
    dense = (1024 * 128 + 128) + (128 * 64 + 64) + (64 * 4049 + 4049)
    sizes = [int(np.prod(weight.shape)) for weight in model.trainable_weights]
    assert sum(sizes) == convolutions + dense == 2_729_873


@pytest.mark.parametrize(
    ("splits", "values", "message"),
    [
        ({"train": (24,)}, {}, "no labels at all"),
        ({"train": (1,)}, {"target": "protein", "batch_size": 1}, "'AAC0' alone"),
        (
            {"train": (3,), "validation": (1,)},
            {"target": "protein", "patience": 2, "batch_size": 1},
            "proteins of the train split",
        ),
    ],
)
def test_what_cannot_be_told_is_refused_before_a_folder_is_made(
    splits: Any,
    values: dict[str, Any],
    message: str,
    write_screen: Callable[..., Manifest],
    tmp_path: Path,
) -> None:
    write_screen(tmp_path / "records", splits, size=14, label_names=())
    with pytest.raises(SplitError, match=message):
        fit(tmp_path / "records", tmp_path / "run", CONFIG.model_copy(update=values))
    assert not (tmp_path / "run").exists()


def test_the_command_line_says_why_it_refuses(screen: Path, tmp_path: Path) -> None:
    arguments = ["fit", str(screen), str(tmp_path / "run"), "--loss", "focal"]
    result = run_cli(*arguments, "--label-smoothing", "0.1")
    assert result.exit_code == 2
    assert "focal loss takes no label smoothing" in result.output
    assert "Received: --" not in result.output


@pytest.mark.long
def test_the_command_line_shows_the_metrics_of_several_labels(bars: Path, tmp_path: Path) -> None:
    arguments = ["--width", "0.1", "--dense-units", "8,6", "--epochs", "1", "--batch-size", "8"]
    arguments += ["--window", "12"]
    result = run_cli("fit", bars, tmp_path / "run", *arguments)
    assert result.exit_code == 0, result.output
    assert "64 crops of 2 labels: lying 48, upright 32." in result.stderr
    assert "validation macro ap" in result.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    seen = "test: 16 crops, 8 views of each (orientations), "
    assert f"{seen}macro ap {metrics['macro_ap']:.4f}, micro ap " in result.stdout
    precision = metrics["per_class"]["upright"]["average_precision"]
    assert f"  upright: 8 crops, average precision {precision:.4f}" in result.stdout


def test_crops_of_proteins_that_are_no_class_are_left_out(screen: Path) -> None:
    manifest = read_manifest(screen)
    model = DeepLoc((14, 14, 2), 2, window=12, width=0.1, dense_units=(8, 6))
    names = ("AAC1", "AAC3")
    evaluator = Evaluator(model, screen, manifest, mask=False, target="protein", class_names=names)
    truth, logits = evaluator.predict("test")["protein"]
    (batch,) = batches(screen, "test")
    proteins = [name.decode() for name in batch["protein"].numpy()]
    kept = [i for i, name in enumerate(proteins) if name in names]
    assert [names[i] for i in truth] == [proteins[i] for i in kept]
    expected = inference_function(model)(batch["image"]).numpy()[kept]
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert evaluator.metrics("test")["num_crops"] == len(kept) < manifest.num_crops("test")
