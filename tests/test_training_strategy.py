"""Two replicas train like one device, on two logical CPUs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from shared import tiny_fit

from deeploc_tf.models import backbones, heads
from deeploc_tf.models.augmentation import RandomCrop
from deeploc_tf.models.randomness import Dropout
from deeploc_tf.models.trained import load_trained
from deeploc_tf.pipeline.batches import training_batches
from deeploc_tf.training.classification import build_model
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.devices import choose_strategy
from deeploc_tf.training.fit import compile_model, fit
from deeploc_tf.training.objectives import make_loss
from tfrecords.manifest import Manifest, read_manifest

# Nothing random: each replica draws numbers of its own, which one device cannot repeat. Not too
# small either: batch normalization over a few crops makes much of a little.
CONFIG = tiny_fit(
    width=0.12,
    dense_units=(32, 16),
    window=0,
    augmentation="none",
    dropout=0.0,
    epochs=21,
    batch_size=24,
    optimizer="sgd",
    learning_rate=0.005,
)


@pytest.fixture(scope="module")
def records(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("strategy") / "records"
    write_screen(folder, size=12)
    return folder


class Losses(keras.callbacks.Callback):
    """The loss of each batch: Keras tells the mean over the epoch so far, which has one."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.values.append(float((logs or {})["loss"]))


def train(
    records: Path, device: str, config: FitConfig = CONFIG
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Losses and weights of one step an epoch from the same beginning."""
    schema = read_manifest(records).schema
    keras.utils.set_random_seed(1)
    beginning = build_model(config, schema).get_weights()
    losses = Losses()
    with choose_strategy(device, config.batch_size).scope():
        model = build_model(config, schema)
        model.set_weights(beginning)
        compile_model(model, config, 1, make_loss(config))
    assert bool(model.jit_compile) is config.xla
    epochs = config.epochs
    dataset = training_batches(records, batch_size=config.batch_size, epochs=epochs)
    model.fit(
        dataset, epochs=epochs, steps_per_epoch=1, callbacks=[losses], shuffle=False, verbose=0
    )
    assert int(model.optimizer.iterations.numpy()) == len(losses.values) == epochs
    # Not the biases before batch normalization: that takes them out again.
    weights = [
        weight.numpy()
        for layer in model.layers
        for weight in layer.weights
        if not (layer.name.endswith(("_conv", "_dense")) and weight is layer.bias)
    ]
    return np.array(losses.values), weights


def largest_difference(first: list[np.ndarray], second: list[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True))


@pytest.fixture(scope="module")
def one_device(records: Path) -> tuple[np.ndarray, list[np.ndarray]]:
    return train(records, "cpu:0")


@pytest.mark.slow
def test_two_replicas_train_like_one_device(
    records: Path, one_device: Any, two_cpus: list[str]
) -> None:
    losses, weights = train(records, ",".join(two_cpus))
    np.testing.assert_allclose(losses, one_device[0], atol=1e-3)
    assert largest_difference(weights, one_device[1]) < 5e-3


@pytest.mark.long
def test_without_synchronized_batch_norm_they_do_not(
    records: Path, one_device: Any, two_cpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control: the test above would not pass whatever happened.
    for module in (backbones, heads):
        monkeypatch.setattr(
            module, "batch_norm", lambda name, *_, **__: keras.layers.BatchNormalization(name=name)
        )
    losses, weights = train(records, ",".join(two_cpus))
    assert np.abs(losses - one_device[0]).max() > 1e-3
    assert largest_difference(weights, one_device[1]) > 5e-3


@pytest.mark.slow
def test_without_batch_norm_they_differ_by_rounding_alone(
    records: Path, two_cpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (backbones, heads):
        monkeypatch.setattr(
            module,
            "batch_norm",
            lambda name, *_, **__: keras.layers.Activation("linear", name=name),
        )
    (losses, weights), (found, others) = (
        train(records, device) for device in ("cpu:0", ",".join(two_cpus))
    )
    np.testing.assert_allclose(found, losses, atol=1e-5)
    assert largest_difference(others, weights) < 1e-5


@pytest.mark.long
def test_a_step_that_xla_compiles_is_the_same_step(records: Path) -> None:
    config = CONFIG.model_copy(
        update={"last_block": False, "epochs": 3, "ema_momentum": 0.0, "width": 0.02}
    )
    losses, weights = train(records, "cpu", config)
    found, others = train(records, "cpu", config.model_copy(update={"xla": True}))
    np.testing.assert_allclose(found, losses, atol=1e-3)
    assert largest_difference(others, weights) < 5e-3


def test_replicas_draw_different_numbers_and_count_draws_once(two_cpus: list[str]) -> None:
    strategy = choose_strategy(",".join(two_cpus))
    place = np.arange(64, dtype=np.float32).reshape(1, 8, 8, 1)
    images = tf.constant(np.repeat(place, 200, axis=0))
    with strategy.scope():
        layers = [RandomCrop(4, 4, seed=1, name="crop"), Dropout(0.5, seed=1, name="dropout")]
        for layer in layers:
            layer(images)

    @tf.function
    def step(layer: Any) -> Any:
        return strategy.run(lambda: layer(images, training=True))

    for layer in layers:
        draws = [strategy.experimental_local_results(step(layer)) for _ in range(2)]
        results = {replica.numpy().tobytes() for draw in draws for replica in draw}
        assert len(results) == 4
        assert int(layer.num_draws.numpy()) == 2


@pytest.fixture(scope="module")
def on_two(
    records: Path, two_cpus: list[str], tmp_path_factory: Any, logged: Callable[..., Any]
) -> dict[str, Any]:
    """An uninterrupted `fit` on two devices, with everything random on."""
    config = CONFIG.model_copy(
        update={
            "device": ",".join(two_cpus), "epochs": 2, "dropout": 0.3, "window": 8,
            "augmentation": "rotations",
        }
    )  # fmt: skip
    run = tmp_path_factory.mktemp("on_two") / "run"
    with logged() as notes:
        metrics = fit(records, run, config)
    return {"config": config, "run": run, "notes": notes, "metrics": metrics}


@pytest.mark.slow
def test_a_remainder_is_counted_once_on_two_devices(records: Path, on_two: Any) -> None:
    assert "Training on 2 devices under MirroredStrategy, in float32." in on_two["notes"]
    manifest = read_manifest(records)
    for split in ("validation", "test"):  # each crop once, although 11 is odd
        found = on_two["metrics"][split]
        assert found["num_crops"] == manifest.num_crops(split)
        assert np.sum(found["confusion_matrix"]) == manifest.num_crops(split)
        support = {name: scores["support"] for name, scores in found["per_class"].items()}
        assert support == manifest.counts[split]["label"]
    trained = load_trained(on_two["run"])
    assert trained.model.distribute_strategy.num_replicas_in_sync == 1


def test_a_batch_that_two_devices_cannot_share_is_refused(
    records: Path, two_cpus: list[str], tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"batch_size": 9, "device": ",".join(two_cpus)})
    with pytest.raises(ValueError, match="divisible by the number of devices"):
        fit(records, tmp_path / "odd", config)
    assert not (tmp_path / "odd").exists()


@pytest.mark.long
def test_a_training_on_two_devices_resumes_exactly(
    records: Path, on_two: Any, tmp_path: Path
) -> None:
    def stop(row: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(records, tmp_path / "resumed", on_two["config"], report=stop)
    metrics = fit(records, tmp_path / "resumed", on_two["config"])
    assert metrics["test"]["loss"] == pytest.approx(on_two["metrics"]["test"]["loss"], abs=1e-6)
    models = [load_trained(run).model for run in (on_two["run"], tmp_path / "resumed")]
    for first, second in zip(models[0].weights, models[1].weights, strict=True):
        np.testing.assert_allclose(first.numpy(), second.numpy(), atol=1e-6)
