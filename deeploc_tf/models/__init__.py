"""Networks as plain Keras functional models, and the layers and extractors that belong to them.

Importing this registers the layers with Keras, as the package `deeploc_tf`, so that
`keras.models.load_model("run/model.keras")` finds them.
"""

from deeploc_tf.backend import check_keras

check_keras()  # before a module of this room, or of one that uses it, imports Keras

from deeploc_tf.models import (  # noqa: E402, F401
    augmentation,
    batch_normalization,
    channels,
    heads,
    normalization,
    randomness,
)
