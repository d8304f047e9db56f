"""What strings the stations together: the demo."""

from deeploc_tf.backend import check_keras

check_keras()  # before a module of this room imports Keras
