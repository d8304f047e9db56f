"""Batch normalization: Keras' own on one device, and the same of several replicas together."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from deeploc_tf.models.keras_compat import IS_KERAS_2, normalized_axis

# Keras 2's fused kernel takes another variance for the moving averages, and not all 16 bits.
_FORM: dict[str, Any] = {"fused": False} if IS_KERAS_2 else {}


@keras.utils.register_keras_serializable(package="deeploc_tf")
class SynchronizedBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization that replicas train with the statistics of the whole batch.

    These are computed as on one device: the mean first, then the mean squared distance from it, in
    float32 under every precision policy. The form of Keras, `synchronized=True`, subtracts the
    squared mean from the mean square, which loses the variance where the mean is large, and counts
    by a tensor of ones as large as its input.

    Shares of the batch must be equal, as `choose_strategy` sees to. Only models that several
    replicas train have it; those that are saved are made on one device, with Keras' own layer.
    """

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:  # noqa: ARG002
        """The inputs normalized; while training by the statistics of this batch."""
        if not (training and self.trainable):
            return super().call(inputs, training=False)
        x = tf.cast(inputs, tf.float32)
        axes = [
            axis for axis in range(len(x.shape)) if axis != normalized_axis(self) % len(x.shape)
        ]
        mean = _over_replicas(tf.reduce_mean(x, axes, keepdims=True))
        distance = tf.math.squared_difference(x, tf.stop_gradient(mean))
        variance = _over_replicas(tf.reduce_mean(distance, axes, keepdims=True))
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + tf.reshape(now, [-1]) * (1 - self.momentum))
        scale, offset = (
            None if weight is None else tf.reshape(tf.convert_to_tensor(weight), tf.shape(mean))
            for weight in (self.gamma, self.beta)
        )
        outputs = tf.nn.batch_normalization(x, mean, variance, offset, scale, self.epsilon)
        return tf.cast(outputs, self.compute_dtype)


def batch_norm(name: str, momentum: float, dtype: str | None = None) -> keras.layers.Layer:
    """Batch normalization over the global batch: else replicas are not like one device.

    Args:
        name: of the layer.
        momentum: of the moving averages that inference uses.
        dtype: policy; None: the one that is set.
    """
    return batch_norm_class()(momentum=momentum, dtype=dtype, name=name, **_FORM)


def batch_norm_class() -> type[keras.layers.BatchNormalization]:
    """Keras' own on one device, `SynchronizedBatchNormalization` in the scope of several."""
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1
    return SynchronizedBatchNormalization if several else keras.layers.BatchNormalization


def _over_replicas(values: Any) -> Any:
    """The mean over replicas; outside of a step, as in a model that is being built, the values."""
    replica = tf.distribute.get_replica_context()
    return values if replica is None else replica.all_reduce(tf.distribute.ReduceOp.MEAN, values)
