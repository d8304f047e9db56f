"""Networks as plain Keras functional models, and the layers and extractors that belong to them."""

from deeploc_tf.backend import check_keras

check_keras()  # before a module of this room, or of one that uses it, imports Keras
