"""Training: `fit` turns records into a run folder with a model, a history and test metrics."""

from deeploc_tf.backend import check_keras

check_keras()  # before a module of this room imports Keras
