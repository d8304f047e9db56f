"""A training that begins with another one's weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shared import run_cli, tiny_fit

from deeploc_tf.models.trained import load_trained
from deeploc_tf.training.classification import build_model
from deeploc_tf.training.fit import fit
from deeploc_tf.training.state import TrainingStoppedError
from deeploc_tf.training.transfer import freeze, take_weights
from tfrecords.errors import RecordsError, SchemaError
from tfrecords.manifest import Manifest, read_manifest

CONFIG = tiny_fit(augmentation="orientations", dropout=0.3, warmup_epochs=0, last_block=True)
FOUR = ("bud", "cytoplasm", "mitochondrion", "nucleus")


@pytest.fixture(scope="module")
def first(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    """A finished run on a screen with three classes."""
    folder: Path = tmp_path_factory.mktemp("first")
    write_screen(folder / "records", size=16)
    fit(folder / "records", folder / "run", CONFIG)
    return folder / "run"


@pytest.fixture(scope="module")
def second(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    """Records of another screen, with four classes."""
    folder: Path = tmp_path_factory.mktemp("second") / "records"
    write_screen(folder, {"train": (6, 6, 6, 6), "test": (2, 2, 2, 2)}, size=16,
                 label_names=FOUR, seed=7)  # fmt: skip
    return folder


def weights_of(run: Path) -> dict[str, list[np.ndarray]]:
    layers = load_trained(run).model.layers
    return {layer.name: [w.numpy() for w in layer.weights] for layer in layers if layer.weights}


def same(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_all_but_the_head_is_taken_over(first: Path, second: Path) -> None:
    source = load_trained(first).model
    model = build_model(CONFIG, read_manifest(second).schema)
    fresh = [weight.copy() for weight in model.get_layer("logits_dense").get_weights()]
    take_weights(model, source)
    taken = 0
    for layer in model.layers:
        if layer.name.startswith("logits"):
            continue
        if layer.weights and "random" not in layer.name and layer.name != "dropout":
            taken += len(layer.weights)
            assert same(layer.get_weights(), source.get_layer(layer.name).get_weights()), layer.name
    assert taken == 8 * 6 + 2 * 6  # convolutions and dense layers, batch norm with each
    assert same(model.get_layer("logits_dense").get_weights(), fresh)
    # What is random begins anew.
    assert int(model.get_layer("dropout").num_draws.numpy()) == 0
    assert int(source.get_layer("dropout").num_draws.numpy()) > 0


@pytest.fixture(scope="module")
def transferred(first: Path, second: Path, tmp_path_factory: Any) -> Path:
    run: Path = tmp_path_factory.mktemp("transferred") / "run"
    config = CONFIG.model_copy(update={"freeze": ("conv_[1-3]*", "fc_1")})
    fit(second, run, config, initial_run=first)
    return run


@pytest.mark.slow
def test_frozen_layers_stay_and_the_others_move(first: Path, transferred: Path) -> None:
    before, after = weights_of(first), weights_of(transferred)
    frozen = {f"conv_{i}_{part}" for i in (1, 2, 3) for part in ("conv", "bn")}
    frozen |= {"fc_1_dense", "fc_1_bn"}
    for name, values in after.items():
        if name.startswith("logits"):
            assert values[0].shape != before[name][0].shape
        elif not name.startswith(("random", "dropout")):
            assert same(values, before[name]) == (name in frozen), name


@pytest.mark.long
def test_a_transfer_that_was_stopped_ends_with_the_same_bits(
    first: Path, second: Path, transferred: Path, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"freeze": ("conv_[1-3]*", "fc_1")})
    done: list[int] = []
    with pytest.raises(TrainingStoppedError):
        fit(
            second, tmp_path / "run", config, initial_run=first,
            progress=lambda count, _: done.append(count),
            should_stop=lambda: len(done) >= 2,
        )  # fmt: skip
    with pytest.raises(RecordsError, match=r"initial_model=None \(was '"):
        fit(second, tmp_path / "run", config.model_copy(update={"freeze": ()}))
    moved = tmp_path / "moved"  # a run is known by its model, not by its place
    shutil.copytree(first, moved)
    fit(second, tmp_path / "run", config, initial_run=moved)
    found, expected = weights_of(tmp_path / "run"), weights_of(transferred)
    assert all(same(found[name], expected[name]) for name in expected)
    values = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert values["initial_model"] == load_trained(first).model_sha256


@pytest.mark.parametrize(
    ("records", "values", "message"),
    [
        ({"channels": ("gfp",)}, {}, r"image_shape=\(16, 16, 1\), the model has \(16, 16, 2\)"),
        ({"channels": ("rfp", "gfp")}, {}, r"channels=\('rfp', 'gfp'\), the model has"),
        ({"dtype": "uint8"}, {}, "dtype=uint8, the model has uint16"),
        ({}, {"width": 0.12}, r"conv_1_conv .*\(there .*preset, backbone, width"),
        ({}, {"dense_units": (8, 7)}, r"fc_2_dense \[\(8, 7\), \(7,\)\] \(there \[\(8, 6\), \(6,"),
        ({}, {"last_block": False}, r"conv_6_conv missing.*and 5 more"),
        ({}, {"window": 14}, r"window 14x14 \(there 12x12\).*preset"),  # of equal shapes
        ({}, {"window": 0}, r"window 16x16 \(there 12x12\)"),
        ({}, {"normalization": "min-max"}, r"normalization min-max \(there percentile\)"),
        ({"has_mask": True}, {"mask": True}, "mask"),
    ],
)
def test_a_run_of_other_crops_or_another_network_is_refused(
    records: dict[str, Any],
    values: dict[str, Any],
    message: str,
    first: Path,
    write_screen: Callable[..., Manifest],
    tmp_path: Path,
) -> None:
    write_screen(tmp_path / "records", {"train": (4, 4, 4)}, **{"size": 16, **records})
    config = CONFIG.model_copy(update=values)
    with pytest.raises(SchemaError, match=message):
        fit(tmp_path / "records", tmp_path / "run", config, initial_run=first)
    assert not (tmp_path / "run").exists()


def test_layers_that_are_not_there_and_weights_that_nobody_trained_are_not_frozen(
    first: Path, second: Path, tmp_path: Path
) -> None:
    frozen = CONFIG.model_copy(update={"freeze": ("fc_3",)})
    with pytest.raises(ValueError, match="Received: 'fc_3'; the model has conv_1_conv, "):
        fit(second, tmp_path / "run", frozen, initial_run=first)
    with pytest.raises(ValueError, match="no run to begin with"):
        fit(second, tmp_path / "run", frozen)
    with pytest.raises(RecordsError, match="must be a folder that fit made"):
        fit(second, tmp_path / "run", CONFIG, initial_run=tmp_path)
    assert not (tmp_path / "run").exists()


def test_an_address_freezes_the_layers_behind_it(second: Path) -> None:
    model = build_model(CONFIG, read_manifest(second).schema)
    freeze(model, ("conv_1", "fc_2_bn"))
    held = {layer.name for layer in model.layers if not layer.trainable}
    assert held == {"conv_1_conv", "conv_1_bn", "fc_2_bn"}


@pytest.mark.long
def test_the_command_line_transfers(first: Path, second: Path, tmp_path: Path) -> None:
    arguments = [
        *("fit", str(second), str(tmp_path / "run"), "--from", str(first)),
        *("--freeze", "conv_*,fc_1"),
        *("--width", "0.06", "--dense-units", "8,6", "--window", "12", "--batch-size", "8"),
        *("--epochs", "1", "--optimizer", "sgd", "--ema-momentum", "0", "--test-time", "none"),
        "--quiet",
    ]  # fmt: skip
    done = run_cli(*arguments)
    assert done.exit_code == 0, done.output
    before, after = weights_of(first), weights_of(tmp_path / "run")
    assert same(after["conv_8_conv"], before["conv_8_conv"])
    assert not same(after["fc_2_dense"], before["fc_2_dense"])
