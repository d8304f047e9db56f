"""Batch normalization on one device and on two: the same statistics, and nothing that counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeploc_tf.models.backbones import resnet50
from deeploc_tf.models.batch_normalization import SynchronizedBatchNormalization, batch_norm
from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.inpainting import PairedCellInpainting
from deeploc_tf.training.devices import choose_strategy
from deeploc_tf.training.precision import computing_in

SHAPE = (8, 6, 5, 3)
COUNTING = {"OnesLike", "Fill", "Const"}


@pytest.fixture
def crops() -> np.ndarray:
    """Numbers of mean 100 and standard deviation 1, for which E[x^2] - E[x]^2 is 10000 +- .001."""
    numbers = np.random.default_rng(0).normal(size=SHAPE)
    numbers -= numbers.mean(axis=(0, 1, 2))
    return (100 + numbers / numbers.std(axis=(0, 1, 2))).astype(np.float32)


@pytest.fixture
def two(two_cpus: list[str]) -> tf.distribute.Strategy:
    return choose_strategy(",".join(two_cpus))


def trained_on(layer: Any, strategy: Any, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a layer makes of a batch that replicas share, and the gradient of a loss of it."""
    weights = tf.constant(np.random.default_rng(1).normal(size=SHAPE), tf.float32)
    share = len(crops) // strategy.num_replicas_in_sync

    def step(x: Any, w: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=True)
            loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * w)
        return outputs, tape.gradient(loss, x)

    dataset = tf.data.Dataset.from_tensor_slices((crops, weights)).batch(len(crops))
    (batch,) = strategy.experimental_distribute_dataset(dataset)
    found = tf.function(lambda *args: strategy.run(step, args))(*batch)
    parts = [strategy.experimental_local_results(part) for part in found]
    assert all(len(part) == share for of_all in parts for part in of_all)
    outputs, gradient = (np.concatenate([np.asarray(p, np.float32) for p in of]) for of in parts)
    return outputs, gradient


def made(strategy: Any, **arguments: Any) -> Any:
    with strategy.scope():
        layer = batch_norm("bn", 0.0, **arguments)
        layer.build(SHAPE)
    return layer


@pytest.mark.addons
def test_two_devices_have_the_statistics_of_one_also_where_the_mean_is_large(
    crops: np.ndarray, two: Any
) -> None:
    one = tf.distribute.get_strategy()
    found = []
    for strategy in (one, two):
        layer = made(strategy)
        outputs, gradient = trained_on(layer, strategy, crops)
        # The moving averages, which have forgotten all but this batch.
        np.testing.assert_allclose(layer.moving_variance.numpy(), 1, rtol=1e-4)
        np.testing.assert_allclose(layer.moving_mean.numpy(), 100, rtol=1e-6)
        np.testing.assert_allclose(outputs.std(axis=(0, 1, 2)), 1, atol=1e-3)
        assert np.isfinite(layer(crops, training=False)).all()
        found.append((outputs, gradient))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)
    assert np.abs(found[0][1]).max() > 0.1


@pytest.mark.parametrize("devices", [1, 2])
def test_statistics_are_float32_under_bfloat16(devices: int, crops: np.ndarray, two: Any) -> None:
    strategy = two if devices == 2 else tf.distribute.get_strategy()
    rounded = np.asarray(tf.cast(tf.cast(crops / 100, tf.bfloat16), tf.float32))
    with computing_in("bfloat16"):
        layer = made(strategy)
    outputs, _ = trained_on(layer, strategy, rounded)
    assert layer(rounded).dtype == tf.bfloat16
    values = rounded.astype(np.float64)
    np.testing.assert_allclose(layer.moving_mean, values.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, values.var(axis=(0, 1, 2)), rtol=1e-4)
    assert np.isfinite(outputs).all()


def operations(layer: Any, strategy: Any, shape: tuple[int, ...] = SHAPE) -> list[Any]:
    """What the graph of a training step of a layer does, on all replicas."""
    inputs = tf.zeros(shape)

    @tf.function
    def step() -> Any:
        return strategy.run(lambda: layer(inputs + 1.0, training=True))

    return list(step.get_concrete_function().graph.get_operations())


@pytest.mark.parametrize("devices", [1, 2])
def test_nothing_as_large_as_the_input_is_made_to_count(devices: int, two: Any) -> None:
    strategy = two if devices == 2 else tf.distribute.get_strategy()
    large = types_of_large_ones(made(strategy), strategy)
    # Two passes: of what is as large as the input, nothing is made of ones, or squared.
    assert "SquaredDifference" in large
    assert not {*COUNTING, "Square"} & large
    with two.scope():
        keras_own = keras.layers.BatchNormalization(synchronized=True)
        keras_own.build(SHAPE)
    theirs = types_of_large_ones(keras_own, two)
    assert COUNTING & theirs  # what the test above would see
    assert "Square" in theirs


def types_of_large_ones(layer: Any, strategy: Any) -> set[str]:
    """Types of the operations that make something as large as the input."""
    return {
        operation.type
        for operation in operations(layer, strategy)
        for tensor in operation.outputs
        if tensor.shape.num_elements() == np.prod(SHAPE)
    }


def small_published(input_tensor: Any, **_: Any) -> keras.Model:
    """In the place of a network of `keras.applications`, which takes long to make."""
    x = keras.layers.Conv2D(3, 3)(input_tensor)
    return keras.Model(input_tensor, keras.layers.BatchNormalization()(x))


def published() -> keras.Model:
    image = keras.Input((32, 32, 2))
    return keras.Model(image, resnet50(image, batch_norm_momentum=0.9))


NETWORKS: dict[str, Callable[[], keras.Model]] = {
    "deeploc": lambda: DeepLoc((16, 16, 2), 3, width=0.02, dense_units=(4, 4)),
    "inpainting": lambda: PairedCellInpainting((16, 16, 2), width=0.05),
    "published": published,
}


@pytest.mark.addons
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_synchronize_only_where_several_replicas_train(
    name: str, two: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.applications, "ResNet50", small_published)

    def norms() -> list[Any]:
        norm = keras.layers.BatchNormalization
        return [layer for layer in NETWORKS[name]().layers if isinstance(layer, norm)]

    assert {type(layer) for layer in norms()} == {keras.layers.BatchNormalization}
    with two.scope():
        layers = norms()
    assert {type(layer) for layer in layers} == {SynchronizedBatchNormalization}
    assert {layer.momentum for layer in layers} == {0.9}
    shape = (4, *layers[0].input.shape[1:])
    found = {o.type for o in operations(layers[0], two, shape)}
    assert "SquaredDifference" in found
    assert "Square" not in found
