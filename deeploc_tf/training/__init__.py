"""Training: `fit` turns records into a run folder with a model, a history and test metrics."""

import deeploc_tf.models  # noqa: F401 - refuses another backend before Keras is imported
