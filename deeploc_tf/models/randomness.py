"""Layers whose random numbers are a function of a seed and a counter that is saved with the model.

Keras 2 and Keras 3 keep the state of their random layers in different places, and not always in one
that a checkpoint holds. Here it is one integer weight a layer: saved, restored and equal on both
stacks, so that a resumed training draws what an uninterrupted one would have drawn.
"""

from __future__ import annotations

import zlib
from typing import Any

import keras
import tensorflow as tf

from deeploc_tf.models.keras_compat import ONLY_FIRST_REPLICA

_MAX_REPLICAS = 1 << 16  # room between two steps' seeds for that many replicas


class RandomLayer(keras.layers.Layer):
    """Base of the layers that draw random numbers while training, and none at inference.

    Args:
        seed: together with the layer's name it fixes every number that will be drawn.
    """

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        if not 0 <= seed < 1 << 31:
            msg = f"`seed` must lie in [0, 2**31). Received: seed={seed}."
            raise ValueError(msg)
        self.seed = int(seed)

    def build(self, input_shape: Any) -> None:
        """Make the counter of drawn batches."""
        self.num_draws = self.add_weight(
            name="num_draws",
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation=ONLY_FIRST_REPLICA,
        )
        super().build(input_shape)

    def next_seed(self) -> Any:
        """An int64 `(2,)` seed for stateless random functions; each time and replica another."""
        context = tf.distribute.get_replica_context()  # None between steps, as in a callback
        replica = 0 if context is None else context.replica_id_in_sync_group
        # Not hash(): that differs between processes. The name keeps two layers of one seed apart.
        layer_seed = tf.constant((self.seed << 32) + zlib.crc32(self.name.encode()), tf.int64)
        draw = tf.convert_to_tensor(self.num_draws) * _MAX_REPLICAS + tf.cast(replica, tf.int64)
        self.num_draws.assign_add(tf.constant(1, tf.int64))
        return tf.stack([layer_seed, draw])

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "seed": self.seed}


@keras.utils.register_keras_serializable(package="deeploc_tf")
class Dropout(RandomLayer):
    """Set a fraction of the inputs to 0 while training, scale the others up, as Keras' does.

    Args:
        rate: fraction in [0, 1).
        seed: of the random numbers.
    """

    def __init__(self, rate: float, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        if not 0 <= rate < 1:
            msg = f"`dropout` must lie in [0, 1). Received: dropout={rate}."
            raise ValueError(msg)
        self.rate = float(rate)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """The inputs, some of them 0 while training."""
        if not training or self.rate == 0:
            return inputs
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, self.next_seed())

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "rate": self.rate}
