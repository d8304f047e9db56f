"""Embedding: a trained model and records become a table of vectors, a row per cell."""

import deeploc_tf.models  # noqa: F401 - refuses another backend before Keras is imported
