"""The only door to tensorflow-addons: what it has and Keras has not, from whichever is there.

tensorflow-addons cannot be imported beside Keras 3; on the default stack Keras' own stands in.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import keras
import tensorflow as tf

from deeploc_tf.models.keras_compat import IS_KERAS_2
from deeploc_tf.models.triplets import triplet_semihard_loss


def is_available() -> bool:
    """Whether this environment is the addons stack."""
    return IS_KERAS_2 and importlib.util.find_spec("tensorflow_addons") is not None


def lamb_class() -> type:
    """LAMB: Adam whose step is as long, layer by layer, as the layer's weights deserve.

    Returns:
        Keras' optimizer, or that of tensorflow-addons, which is of Keras' old kind: it keeps no
        moving averages of the weights.

    Raises:
        ValueError: this environment has neither.

    References:
        You et al. 2020, Large batch optimization for deep learning, arXiv 1904.00962.
    """
    found: Any = getattr(keras.optimizers, "Lamb", None)
    if found is None and is_available():
        import tensorflow_addons

        found = tensorflow_addons.optimizers.LAMB
    if found is None:
        msg = (
            "LAMB needs Keras 3 or tensorflow-addons. Received: Keras "
            f"{keras.__version__} alone. Install deeploc-tf with its extra `addons` (Python 3.11), "
            "or use another optimizer."
        )
        raise ValueError(msg)
    return found  # type: ignore[no-any-return]


def semihard_triplets(labels: Any, vectors: Any, margin: float) -> Any:
    """The semi-hard triplet loss of unit vectors, squared distances; see `triplet_semihard_loss`.

    That of tensorflow-addons is 0/0 where no two crops are of one class: it is not asked then.

    Returns:
        float32 scalar.
    """
    if not is_available():
        return triplet_semihard_loss(labels, vectors, margin)
    import tensorflow_addons

    def of_addons() -> Any:
        return tensorflow_addons.losses.triplet_semihard_loss(
            labels, vectors, margin=margin, distance_metric="squared-L2"
        )

    num_classes = tf.size(tf.unique(labels).y)
    some = tf.logical_and(num_classes < tf.size(labels), num_classes > 1)
    return tf.cond(some, of_addons, lambda: tf.constant(0.0))
