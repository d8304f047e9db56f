"""The averaged weights of a training, evaluated and saved with batch statistics of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deeploc_tf.models.hardware import placed_on

CROPS_OF_STATISTICS = 1024  # docs/training.md has what was measured

Weights = list[NDArray[Any]]


class BatchStatistics:
    """Means and variances of batch normalization that belong to given weights.

    While a model trains, the moving mean and variance follow the activations of its weights at the
    last steps; averaged weights give other activations. Here they are those of some batches of the
    training that go through the network with the averaged weights. They depend on nothing but the
    weights and these batches: a training that goes on after a stop finds the same ones.

    Args:
        model: that is trained; layers that are held there keep their statistics.
        twin: the same network on one device, whose weights may be changed at any time.
        batches: gives the inputs of the batches, the same ones each time.
        device: of the twin; None: that which TensorFlow chooses.
    """

    def __init__(
        self,
        model: keras.Model,
        twin: keras.Model,
        batches: Callable[[], Iterable[Any]],
        device: str | None = None,
    ) -> None:
        self._twin, self._batches, self._device = twin, batches, device
        pairs = list(zip(_norms(twin), _norms(model), strict=True))
        self._norms = [layer for layer, trained in pairs if trained.trainable]
        self._held = [layer for layer, trained in pairs if not trained.trainable]
        weights = {id(weight) for weight in twin.weights}
        # The state of Keras' own random layers, which `set_weights` does not reach.
        self._seeds = [(v, v.numpy()) for v in twin.variables if id(v) not in weights]
        self._pass = tf.function(self._forget_and_pass, autograph=False, reduce_retracing=True)

    def _forget_and_pass(self, inputs: Any) -> None:
        """Bring one batch through the network; moving averages are then of this batch alone."""
        for layer in self._norms:
            layer.moving_mean.assign(tf.zeros_like(layer.moving_mean))
            layer.moving_variance.assign(tf.zeros_like(layer.moving_variance))
        for layer in self._held:
            layer.trainable = False
        self._twin(inputs, training=True)
        for layer in self._held:
            layer.trainable = True  # as it is saved

    def of(self, weights: Weights) -> Weights:
        """The values of all weights, means and variances replaced by those that belong to them."""
        means: list[Any] = [[] for _ in self._norms]
        variances: list[Any] = [[] for _ in self._norms]
        self._twin.set_weights(weights)
        for variable, begun in self._seeds:
            variable.assign(begun)
        with placed_on(self._device):
            for inputs in self._batches():
                self._pass(inputs)
                for i, layer in enumerate(self._norms):
                    share = 1.0 - layer.momentum  # of a batch after it was begun with zeros
                    means[i].append(layer.moving_mean.numpy() / share)
                    variances[i].append(layer.moving_variance.numpy() / share)
        found = {}
        for layer, mean, variance in zip(self._norms, means, variances, strict=True):
            found[id(layer.moving_mean)] = np.mean(mean, axis=0)
            # Of all crops together: their batches differ, too.
            spread = np.mean(variance, axis=0) + np.var(mean, axis=0)
            found[id(layer.moving_variance)] = spread
        pairs = zip(self._twin.weights, weights, strict=True)
        return [np.asarray(found.get(id(w), value), value.dtype) for w, value in pairs]


def _norms(model: keras.Model) -> Iterator[keras.layers.BatchNormalization]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _norms(layer)
        elif isinstance(layer, keras.layers.BatchNormalization):
            yield layer


def averaged_weights(model: keras.Model) -> Weights:
    """Values of `model.weights`, the trainable ones replaced by moving averages if there are any.

    Of a model that `fit` trains, the statistics of batch normalization are those that belong to the
    averages, see `BatchStatistics`. Before the first step there are no averages: Keras 3 has zeros
    there.

    The averages live in the optimizer, whose attribute for them is private in both Keras versions;
    Keras' own `SwapEMAWeights` reads it too.
    """
    # float16 training has another optimizer around it, which scales the loss
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not getattr(optimizer, "use_ema", False) or not int(optimizer.iterations.numpy()):
        return [weight.numpy() for weight in model.weights]
    moving = optimizer._model_variables_moving_average
    averages = {
        id(variable): average
        for variable, average in zip(model.trainable_variables, moving, strict=True)
    }
    weights = [averages.get(id(weight), weight).numpy() for weight in model.weights]
    statistics: BatchStatistics | None = getattr(model, "batch_statistics", None)
    return weights if statistics is None else statistics.of(weights)
