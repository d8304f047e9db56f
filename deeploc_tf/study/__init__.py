"""What strings the stations together: the demo."""

import deeploc_tf.models  # noqa: F401 - refuses another backend before Keras is imported
