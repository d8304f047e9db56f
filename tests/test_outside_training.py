"""What `fit` reports of crops of other sizes: the window, and a training too short to learn."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf  # noqa: F401 - two logical CPUs must be there before its first use
from shared import run_cli

from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.trained import load_trained
from deeploc_tf.models.views import window_size
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.fit import fit
from deeploc_tf.training.learning import check_outcome, check_plan
from deeploc_tf.training.metrics import classification_metrics, multi_label_metrics
from deeploc_tf.training.optimization import WarmupCosine, make_optimizer, warmup_steps
from tfrecords.manifest import Manifest, read_manifest

SMALL: dict[str, Any] = {
    "width": 0.06, "dense_units": (8, 6), "last_block": False, "epochs": 2, "batch_size": 9,
    "warmup_epochs": 0,
}  # fmt: skip
TINY = ("--width", "0.06", "--dense-units", "8,6", "--no-last-block", "--batch-size", "9")
WriteScreen = Callable[..., Manifest]


@pytest.fixture(scope="module")
def records(write_screen: WriteScreen, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training") / "records"
    write_screen(folder, size=16)
    return folder


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return DeepLoc((16, 16, 2), 3, width=0.02, dense_units=(4, 4))


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("side", "preset"), [(48, "kraus2017"), (65, "functional-map"), (200, "functional-map")]
)
def test_the_window_of_crops_other_than_64_is_the_whole_crop(side: int, preset: str) -> None:
    model = DeepLoc((side, side, 2), 3, preset=preset, width=0.02, dense_units=(4, 4))
    assert window_size(model) == (side, side)
    assert model.get_layer("conv_1").output.shape[1:3] == (side, side)


def test_crops_of_64_keep_the_window_of_60_and_what_is_given_wins() -> None:
    def side(**arguments: Any) -> tuple[int, int]:
        return window_size(DeepLoc((64, 64, 2), 3, width=0.02, dense_units=(4, 4), **arguments))

    assert side() == (60, 60)
    assert side(window=0) == side(window=64) == (64, 64)
    assert side(window=20) == (20, 20)


SMALL_HEAD = ("--dense-units", "8,6", "--test-time", "none")


@pytest.mark.parametrize(
    ("size", "options", "said"),
    [
        (78, SMALL_HEAD, "The network sees the whole crop of 78x78 pixels"),
        (64, SMALL_HEAD, "The network sees 60x60 of the 64x64 pixels of a crop"),
        (
            16,
            ("--method", "inpainting", "--min-cells-per-group", "2"),
            "sees the whole crop of 16x16 pixels",
        ),
    ],
)
def test_fit_prints_what_the_network_sees_and_how_many_parameters_it_has(
    size: int, options: tuple[str, ...], said: str, write_screen: WriteScreen, tmp_path: Path
) -> None:
    write_screen(tmp_path / "records", size=size)
    arguments = ("--width", "0.06", "--epochs", "0", "--batch-size", "4", *options)
    result = run_cli("fit", tmp_path / "records", tmp_path / "run", *arguments)
    assert result.exit_code == 0, result.output
    weights = load_trained(tmp_path / "run").model.trainable_weights
    parameters = sum(math.prod(weight.shape) for weight in weights)
    assert said in result.stderr
    assert f"{parameters:,} parameters" in result.stderr


def test_a_window_of_less_than_half_of_the_crop_is_warned_of(
    records: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for side in (0, 12, 11):  # all, 56 % and 47 % of the pixels
        model = DeepLoc((16, 16, 2), 3, width=0.02, dense_units=(4, 4), window=side)
        check_plan(model, FitConfig(epochs=0), read_manifest(records), 9)
    found = warnings_of(caplog)
    assert len(found) == 1
    assert "11x11 of 16x16 pixels, less than half" in found[0]


@pytest.mark.parametrize(
    ("settings", "channels", "said"),
    [
        ({"preset": "kraus2017"}, ("gfp",), "with 2 channels; the records have 1 (gfp)"),
        ({"preset": "kraus2017"}, ("gfp", "rfp"), ""),
        ({"preset": "kraus2017", "channels": ("gfp",)}, ("gfp",), ""),  # as was asked for
        ({"preset": "pifia2024"}, ("gfp",), ""),
        ({}, ("gfp",), ""),
        ({"method": "inpainting"}, ("gfp",), ""),
    ],
)
def test_fewer_channels_than_were_published_are_warned_of(
    settings: dict[str, Any],
    channels: tuple[str, ...],
    said: str,
    network: keras.Model,
    caplog: pytest.LogCaptureFixture,
) -> None:
    manifest: Any = SimpleNamespace(schema=SimpleNamespace(channels=channels))
    check_plan(network, FitConfig(epochs=0, **settings), manifest, 9)
    found = warnings_of(caplog)
    assert bool(found) == bool(said)
    assert not said or said in found[0]


def test_crops_that_are_not_square_train_by_flips_and_are_refused_otherwise() -> None:
    arguments: dict[str, Any] = {"width": 0.02, "dense_units": (4, 4)}
    for augmentation in ("none", "flips"):
        model = DeepLoc((40, 64, 1), 3, augmentation=augmentation, **arguments)
        assert window_size(model) == (40, 64)
    for augmentation in ("orientations", "rotations"):
        with pytest.raises(ValueError, match=r"need square crops.*Use augmentation='flips'"):
            DeepLoc((40, 64, 1), 3, augmentation=augmentation, **arguments)


def test_a_whole_crop_whose_dense_layer_would_be_huge_is_refused_unless_asked_for() -> None:
    with pytest.raises(ValueError, match=r"536,870,912 weights.*window.*backbone"):
        DeepLoc((512, 512, 1), 3)
    with pytest.raises(MemoryError, match=r"window"):
        DeepLoc((60_000, 60_000, 1), 3, window=0)
    small = DeepLoc((512, 512, 1), 3, width=0.02, dense_units=(4, 4), augmentation="none")
    assert window_size(small) == (512, 512)


def test_averages_warm_up_unless_told_otherwise() -> None:
    config = FitConfig()
    assert config.ema_warmup
    assert float(make_optimizer(config, 1).ema_momentum) == pytest.approx(0.1)
    without = make_optimizer(FitConfig(ema_warmup=False), 1)
    assert float(without.ema_momentum) == pytest.approx(0.99)


@pytest.mark.parametrize(
    ("steps", "changes", "said"),
    [
        (6, {}, r"6 steps .*--epochs.*--batch-size"),
        (99, {}, "99 steps"),
        (100, {}, ""),
        (200, {"batch_norm_momentum": 0.99, "ema_momentum": 0}, "batch normalization .* 13 %"),
        (300, {"batch_norm_momentum": 0.99, "ema_momentum": 0}, ""),
        (200, {"batch_norm_momentum": 0.99}, ""),  # averaged weights have statistics of their own
        (200, {"ema_warmup": False}, "13 % untrained.*--ema-warmup"),
        (300, {"ema_warmup": False}, ""),
        (200, {"ema_momentum": 0.9999}, ""),  # they warm up
        (200, {"patience": 1}, "9 crops of the validation split"),
        (200, {"warmup_epochs": 1.0}, "100 steps instead of 200"),
        (200, {"warmup_epochs": 1.0, "schedule": "constant"}, ""),
        (200, {"warmup_epochs": 0.5}, ""),
        (200, {"batch_size": 4}, "Batch normalization over 4 crops"),
        (0, {"epochs": 0, "batch_size": 4, "ema_warmup": False, "patience": 1}, ""),
    ],
)
def test_what_makes_a_training_end_at_chance_is_said_before_it_begins(
    steps: int,
    changes: dict[str, Any],
    said: str,
    network: keras.Model,
    records: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = FitConfig(**{"epochs": 1, "warmup_epochs": 0, **changes})
    check_plan(network, config, read_manifest(records), steps)
    found = warnings_of(caplog)
    assert bool(found) == bool(said)
    assert not said or re.search(said, found[0])


def test_the_rate_reaches_its_height_and_falls_however_short_the_training() -> None:
    config = FitConfig(epochs=2)  # of which the usual warm-up would take three
    schedule = WarmupCosine(config.learning_rate, warmup_steps(config, 6), 12)
    rates = [float(schedule(step)) for step in range(12)]
    assert max(rates) == pytest.approx(config.learning_rate)
    assert rates[-1] < rates[0]


@pytest.mark.parametrize(
    ("best_epoch", "steps", "is_said"),
    [(1, 6, True), (1, 100, False), (4, 6, False), (0, 6, False)],
)
def test_an_epoch_that_is_kept_although_hardly_trained_is_said(
    best_epoch: int, steps: int, is_said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    check_outcome({"epochs": 4}, steps, best_epoch)
    assert [f"epoch {best_epoch}, after {steps} steps" in text for text in warnings_of(caplog)] == [
        True
    ] * is_said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size": 1}, r"batch_size=1"),
        ({"batch_size": 28}, r"batch_size=28, split 'train' of 27 crops"),
        ({"freeze": ("logits",), "initial_model": "0" * 64}, "not the head"),
    ],
)
def test_a_training_that_cannot_learn_at_all_is_refused(
    changes: dict[str, Any], said: str, records: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        fit(records, tmp_path / "run", FitConfig(**{**SMALL, **changes}))
    assert not (tmp_path / "run").exists()


def test_the_head_learns_where_everything_else_is_held(records: Path, tmp_path: Path) -> None:
    fit(records, tmp_path / "first", FitConfig(**{**SMALL, "epochs": 0}))
    fit(
        records, tmp_path / "run", FitConfig(**SMALL, freeze=("*",)), initial_run=tmp_path / "first"
    )
    first, second = (load_trained(tmp_path / name).model for name in ("first", "run"))
    for name, held in (("conv_1_conv", True), ("fc_2_dense", True), ("logits_dense", False)):
        weights = [model.get_layer(name).get_weights()[0] for model in (first, second)]
        assert np.array_equal(*weights) == held


@pytest.mark.parametrize("several", [False, True])
def test_whether_a_model_is_better_than_chance_is_said(
    several: bool, caplog: pytest.LogCaptureFixture
) -> None:
    names, random = ("a", "b", "c", "d"), np.random.default_rng(0)
    labels = random.integers(0, 4, 200)
    truth = np.eye(4, dtype=np.float32)[labels]
    noise = random.normal(size=truth.shape).astype(np.float32)
    for signal, is_said in ((0.0, True), (0.7, False), (9.0, False)):
        logits = noise + signal * truth
        found = (
            multi_label_metrics(truth, logits, names)
            if several
            else classification_metrics(labels, logits, names)
        )
        caplog.clear()
        check_outcome({"epochs": 40, "test": found}, 100, 0)
        assert [("test split" in text and "chance" in text) for text in warnings_of(caplog)] == [
            True
        ] * is_said
    caplog.clear()
    check_outcome({"epochs": 0, "test": found}, 100, 0)  # as it begins, which was wanted
    check_outcome({"epochs": 40, "test": {"num_pairs": 9, "explained_variance": -0.1}}, 100, 0)
    assert len(warnings_of(caplog)) == 1


@pytest.mark.long
def test_the_example_of_the_readme_learns_clearly_on_a_small_screen(tmp_path: Path) -> None:
    screen, profiles, results = (tmp_path / n for n in ("s", "cells.profiles.parquet", "results"))
    commands: list[tuple[object, ...]] = [
        ("simulate", screen, "--proteins", 34, "--difficulty", 0, "--workers", 1),
        (
            *("build-records", screen / "crops", tmp_path / "records", "--label", "protein"),
            *("--pattern", "{protein}/{protein}_{field}_{cell}_{channel}.tif"),
            *("--channels", "gfp,rfp", "--test", "field=4", "--validation", "field=3"),
        ),
        (
            *("fit", tmp_path / "records", tmp_path / "run", "--width", 0.1, "--epochs", 9),
            *("--dense-units", "64,64", "--batch-size", 32, "--window", 48),
            *("--no-last-block", "--test-time", "none"),
        ),
        ("embed", tmp_path / "run", tmp_path / "records", tmp_path / "cells.parquet"),
        ("benchmark", profiles, screen / "standards" / "compartments.gmt", results),
    ]
    for command in commands:
        result = run_cli(*command)
        assert result.exit_code == 0, result.output
        assert command[0] != "fit" or "Warning" not in result.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    both = [metrics[split]["balanced_accuracy"] for split in ("validation", "test")]
    assert sum(both) / 2 > 3 / 34  # without a warm-up of the averages below 1 / 34
    (scores,) = pd.read_csv(results / "scores.csv").to_dict("records")
    assert scores["average_precision"] > 2 * scores["prevalence"]
