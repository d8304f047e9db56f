"""Averaged weights are evaluated and saved with the batch statistics that belong to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from shared import tiny_fit

from deeploc_tf.models.trained import load_trained
from deeploc_tf.pipeline.batches import batches
from deeploc_tf.serving.export import export
from deeploc_tf.training.averages import BatchStatistics
from deeploc_tf.training.fit import fit
from tfrecords.manifest import Manifest

BatchNormalization = keras.layers.BatchNormalization


class Keep(keras.callbacks.Callback):
    """The weights of the model itself, which are not averaged, after the last step."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        del epoch, logs
        self.weights = [weight.numpy() for weight in self.model.weights]


def farthest(model: keras.Model, images: np.ndarray) -> float:
    """How far a mean of batch normalization is from that of its inputs, in their deviations."""
    norms = [layer for layer in model.layers if isinstance(layer, BatchNormalization)]
    found = []
    inputs = keras.Model(model.input, [norm.input for norm in norms])(images)
    for norm, values in zip(norms, inputs, strict=True):
        values = np.asarray(values, np.float64).reshape(-1, values.shape[-1])
        distance = np.abs(norm.moving_mean.numpy() - values.mean(axis=0))
        found.append(np.max(distance / (values.std(axis=0) + 1e-3)))
    return float(max(found))


@pytest.mark.addons
def test_what_is_evaluated_saved_and_served_has_the_statistics_of_its_own_activations(
    write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    records, run, keep = tmp_path / "records", tmp_path / "run", Keep()
    write_screen(records, {"train": (9, 9, 9), "validation": (3, 3, 3)}, size=16)
    config = tiny_fit(
        window=0, augmentation="none", dropout=0.0, epochs=8, batch_size=27, optimizer="adamw",
        ema_momentum=0.9, schedule="constant",
    )  # fmt: skip
    rows: list[dict[str, float]] = []
    metrics = fit(records, run, config, callbacks=[keep], report=rows.append)
    assert rows[-1]["val_loss"] == metrics["validation"]["loss"]
    model = load_trained(run).model
    images = np.concatenate([batch["image"].numpy() for batch in batches(records, "train")])
    assert farthest(model, images) < 1e-3

    # The control: with the statistics of the last steps they are foreign to the averaged weights.
    of_last_steps = keras.Model.from_config(model.get_config())
    pairs = list(zip(model.weights, keep.weights, strict=True))
    ours = {
        id(weight)
        for layer in model.layers
        if isinstance(layer, BatchNormalization)
        for weight in layer.non_trainable_weights
    }
    of_last_steps.set_weights([last if id(w) in ours else w.numpy() for w, last in pairs])
    assert farthest(of_last_steps, images) > 0.1

    export(run, tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served" / "1")).signatures["serving_default"]
    expected = tf.nn.softmax(model(images[:5])).numpy()
    found = served(image=tf.constant(images[:5]))["probabilities"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(tf.nn.softmax(of_last_steps(images[:5])) - expected).max() > 1e-3


def network() -> keras.Model:
    """With a random layer of Keras' own, whose state is no weight."""
    image = keras.Input((6,))
    x = BatchNormalization(name="first", momentum=0.5)(image)
    x = keras.layers.Dropout(0.5, seed=1)(keras.layers.Dense(4, name="dense")(x))
    return keras.Model(image, BatchNormalization(name="second", momentum=0.9)(x))


def test_statistics_are_those_of_all_crops_and_depend_on_the_weights_alone() -> None:
    random = np.random.default_rng(0)
    parts = [random.normal(i, 1 + i, (8, 6)).astype(np.float32) for i in range(3)]
    model, twin = network(), network()
    statistics = BatchStatistics(model, twin, lambda: parts)
    begun = [weight.numpy() for weight in model.weights]
    first = statistics.of(begun)
    twin.set_weights(first)
    together = np.concatenate(parts).astype(np.float64)
    np.testing.assert_allclose(twin.get_layer("first").moving_mean, together.mean(0), rtol=1e-5)
    np.testing.assert_allclose(twin.get_layer("first").moving_variance, together.var(0), rtol=1e-4)
    twin.set_weights([weight + 1 for weight in begun])
    for value, again in zip(first, statistics.of(begun), strict=True):
        np.testing.assert_array_equal(value, again)
    for value, weight in zip(model.get_weights(), begun, strict=True):
        np.testing.assert_array_equal(value, weight)


def test_layers_that_are_held_keep_their_statistics() -> None:
    model, twin = network(), network()
    model.get_layer("first").trainable = False
    images = np.random.default_rng(0).normal(5, 3, (64, 6)).astype(np.float32)
    twin.set_weights(BatchStatistics(model, twin, lambda: [images]).of(model.get_weights()))
    np.testing.assert_array_equal(twin.get_layer("first").moving_mean, np.zeros(6))
    # What comes after sees what it will see: the crops, not normalized by themselves.
    seen = keras.Model(twin.input, twin.get_layer("dense").output)(images).numpy()
    np.testing.assert_allclose(twin.get_layer("second").moving_mean, seen.mean(0), atol=1.5)
    assert np.abs(seen.mean(0)).max() > 2
    assert all(layer.trainable for layer in twin.layers)


@pytest.mark.long
def test_the_momentum_of_moving_statistics_is_of_no_account_where_weights_are_averaged(
    write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    write_screen(tmp_path / "records", {"train": (5, 5, 5)}, size=12)
    found = []
    for momentum in (0.5, 0.99):
        run = tmp_path / f"run-{momentum}"
        averaging = {"ema_momentum": 0.99, "batch_norm_momentum": momentum}
        config = tiny_fit(**averaging, epochs=1, batch_size=7)
        fit(tmp_path / "records", run, config)
        found.append(load_trained(run).model.get_weights())
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
