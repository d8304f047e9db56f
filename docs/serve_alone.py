"""Serves an exported model; needs NumPy and TensorFlow: serve_alone.py MODEL BATCH.npz ..."""

import sys

import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
class_names = [name.decode() for name in model.signatures["describe"]()["class_names"].numpy()]
for path in sys.argv[2:]:
    # `image`, raw pixels, and `mask` where the model takes one; tf.constant keeps their dtypes.
    crops = {name: tf.constant(values) for name, values in np.load(path).items()}
    outputs = model.signatures["serving_default"](**crops)
    outputs = {name: values.numpy() for name, values in outputs.items()}
    np.savez(path.removesuffix(".npz") + ".served.npz", class_names=class_names, **outputs)
    for probabilities in outputs["probabilities"]:
        print(class_names[probabilities.argmax()], probabilities.max())
