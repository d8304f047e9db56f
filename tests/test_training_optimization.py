from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.keras_compat import make_variables, optimizer_variables
from deeploc_tf.training.averages import averaged_weights
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.optimization import WarmupCosine, make_optimizer


@pytest.mark.parametrize(("warmup", "total"), [(0, 10), (1, 10), (4, 20), (10, 10), (30, 20)])
def test_the_rate_rises_linearly_and_falls_along_half_a_cosine(warmup: int, total: int) -> None:
    rate = WarmupCosine(0.02, warmup, total)
    for step in range(total + 3):
        if step < warmup:
            expected = 0.02 * (step + 1) / warmup
        elif step >= total:
            expected = 0.0 if total > warmup or step > warmup else 0.02
        else:
            angle = math.pi * (step - warmup) / (total - warmup)
            expected = 0.02 * 0.5 * (1 + math.cos(angle))
        assert float(rate(step)) == pytest.approx(expected, abs=1e-8), step
        assert float(rate(tf.constant(step, tf.int64))) == float(rate(step))
    assert WarmupCosine.from_config(rate.get_config()).get_config() == rate.get_config()


def test_the_optimizer_is_what_the_configuration_says() -> None:
    config = FitConfig(epochs=10, warmup_epochs=2.5, learning_rate=0.01, weight_decay=0.3)
    optimizer = make_optimizer(config, 4)
    assert isinstance(optimizer, keras.optimizers.AdamW)
    assert optimizer.weight_decay == 0.3
    schedule = optimizer._learning_rate
    assert schedule.get_config() == {"peak": 0.01, "warmup_steps": 10, "total_steps": 40}
    optimizer = make_optimizer(FitConfig(optimizer="adam", schedule="constant", ema_momentum=0), 4)
    assert type(optimizer) is keras.optimizers.Adam
    assert not optimizer.use_ema
    assert float(optimizer.learning_rate.numpy()) == pytest.approx(2e-3)


def test_the_exponential_schedule_falls_in_steps() -> None:
    config = FitConfig(
        optimizer="sgd",
        schedule="exponential",
        decay_rate=0.5,
        decay_steps=20,
        learning_rate=0.1,
        ema_momentum=0,
    )
    optimizer = make_optimizer(config, 4)
    assert isinstance(optimizer, keras.optimizers.SGD)
    assert (optimizer.momentum, optimizer.nesterov) == (0.9, True)
    for step in (0, 1, 19, 20, 60):
        rate = float(optimizer._learning_rate(step))
        assert rate == pytest.approx(0.1 * 0.5 ** (step // 20), rel=1e-5)


def apply(config: FitConfig, gradients: list[Any]) -> np.ndarray:
    """Weights (3, 4, 0) after steps of an optimizer whose variables were made beforehand."""
    optimizer = make_optimizer(config, 4)
    if keras.__version__.startswith("2."):
        variable = tf.Variable([3.0, 4.0, 0.0])
    else:
        variable = keras.Variable([3.0, 4.0, 0.0])
    make_variables(optimizer, [variable])
    num_variables = len(optimizer_variables(optimizer))
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
    assert len(optimizer_variables(optimizer)) == num_variables >= 2
    return np.asarray(variable.numpy())


@pytest.mark.addons
def test_lamb_steps_are_those_of_the_paper_on_both_stacks() -> None:
    config = FitConfig(
        optimizer="lamb", schedule="constant", learning_rate=0.1, ema_momentum=0, clip_norm=1e3
    )
    gradients = [[0.3, -0.2, 0.5], [0.1, 0.4, -0.7]]
    weights = np.array([3.0, 4.0, 0.0])
    first, second = np.zeros(3), np.zeros(3)
    for step, gradient in enumerate(np.array(gradients), start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        ratio = (first / (1 - 0.9**step)) / np.sqrt(second / (1 - 0.999**step))
        weights = weights - 0.1 * np.linalg.norm(weights) / np.linalg.norm(ratio) * ratio
    np.testing.assert_allclose(apply(config, gradients), weights, rtol=1e-4)


def test_the_gradient_is_clipped_as_a_whole() -> None:
    config = FitConfig(
        optimizer="sgd", schedule="constant", learning_rate=1.0, ema_momentum=0, clip_norm=0.5
    )
    # the first step of Nesterov's momentum is 1.9 times the gradient
    moved = np.array([3.0, 4.0, 0.0]) - apply(config, [[30.0, 0.0, 40.0]])
    np.testing.assert_allclose(moved, 1.9 * 0.5 * np.array([0.6, 0, 0.8]), rtol=1e-5)
    moved = np.array([3.0, 4.0, 0.0]) - apply(config, [[0.03, 0.0, 0.04]])
    np.testing.assert_allclose(moved, 1.9 * np.array([0.03, 0, 0.04]), rtol=1e-4)


def test_what_an_environment_cannot_do_is_refused() -> None:
    if keras.__version__.startswith("2."):
        with pytest.raises(ValueError, match=r"averages no weights.*ema_momentum=0"):
            make_optimizer(FitConfig(optimizer="lamb"), 4)
        make_optimizer(FitConfig(clip_norm=1.0), 4, num_replicas=2)
    else:
        assert make_optimizer(FitConfig(optimizer="lamb"), 4).use_ema
        with pytest.raises(ValueError, match=r"clip_norm=1\.0 with 2 devices"):
            make_optimizer(FitConfig(clip_norm=1.0), 4, num_replicas=2)


def trained(config: FitConfig, steps: int) -> tuple[keras.Model, list[list[np.ndarray]]]:
    """A model after some steps, and its trainable weights after each of them."""
    keras.utils.set_random_seed(1)
    model = DeepLoc((16, 16, 1), 2, window=0, augmentation="none", width=0.05, dense_units=(4, 4))
    optimizer = make_optimizer(config, max(steps, 1))
    model.compile(
        optimizer, keras.losses.CategoricalCrossentropy(from_logits=True), run_eagerly=True
    )
    optimizer.build(model.trainable_variables)
    images = np.random.default_rng(0).integers(0, 999, (8, 16, 16, 1)).astype("uint16")
    targets = np.eye(2, dtype=np.float32)[np.arange(8) % 2]
    history = [[w.numpy() for w in model.trainable_weights]]
    for _ in range(steps):
        model.train_on_batch(images, targets)
        history.append([w.numpy() for w in model.trainable_weights])
    return model, history


def test_averaged_weights_are_the_moving_average_by_hand() -> None:
    momentum = 0.6
    config = FitConfig(
        ema_momentum=momentum, ema_warmup=False, learning_rate=0.05, schedule="constant"
    )
    model, history = trained(config, 3)
    # Keras 2 begins the average with the initial weights, Keras 3 with those after the first step.
    first = 0 if keras.__version__.startswith("2.") else 1
    expected: Any = history[first]
    for weights in history[first + 1 :]:
        expected = [
            momentum * a + (1 - momentum) * w for a, w in zip(expected, weights, strict=True)
        ]
    found = averaged_weights(model)
    assert len(found) == len(model.weights)
    trainable = {id(weight) for weight in model.trainable_weights}
    averages = [a for a, w in zip(found, model.weights, strict=True) if id(w) in trainable]
    for average, by_hand, last in zip(averages, expected, history[-1], strict=True):
        np.testing.assert_allclose(average, by_hand, atol=1e-6)
        assert not np.array_equal(average, last)
    others = [(a, w) for a, w in zip(found, model.weights, strict=True) if id(w) not in trainable]
    assert others
    for value, weight in others:  # moving statistics of batch norm
        np.testing.assert_array_equal(value, weight.numpy())


def test_with_a_warmup_the_average_forgets_quickly_at_first() -> None:
    config = FitConfig(ema_momentum=0.3, ema_warmup=True, learning_rate=0.05, schedule="constant")
    model, history = trained(config, 7)
    keras_2 = keras.__version__.startswith("2.")
    expected: Any = history[0]
    for step, weights in enumerate(history[1:]):
        momentum = min(0.3, (1 + step) / (10 + step))
        if step == 0 and not keras_2:
            momentum = 0.0
        expected = [
            momentum * a + (1 - momentum) * w for a, w in zip(expected, weights, strict=True)
        ]
    trainable = {id(weight) for weight in model.trainable_weights}
    pairs = zip(averaged_weights(model), model.weights, strict=True)
    averages = [average for average, weight in pairs if id(weight) in trainable]
    for average, by_hand in zip(averages, expected, strict=True):
        np.testing.assert_allclose(average, by_hand, atol=1e-6)


def test_without_averaging_the_weights_are_the_models() -> None:
    model, _ = trained(FitConfig(ema_momentum=0), 1)
    for value, weight in zip(averaged_weights(model), model.weights, strict=True):
        np.testing.assert_array_equal(value, weight.numpy())


def test_before_the_first_step_the_average_is_what_the_model_has() -> None:
    model, history = trained(FitConfig(ema_momentum=0.5), 0)
    assert len(history) == 1
    for value, weight in zip(averaged_weights(model), model.weights, strict=True):
        np.testing.assert_array_equal(value, weight.numpy())
