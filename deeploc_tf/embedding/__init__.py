"""Embedding: a trained model and records become a table of vectors, a row per cell."""

from deeploc_tf.backend import check_keras

check_keras()  # before a module of this room imports Keras
