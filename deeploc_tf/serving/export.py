"""A trained model as a SavedModel that takes raw crops and needs nothing but TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from deeploc_tf.models.deeploc import FEATURE_LAYER
from deeploc_tf.models.extractors import feature_extractor, input_specs
from deeploc_tf.models.trained import TrainedModel, load_trained
from deeploc_tf.version import __version__
from tfrecords.publishing import check_absent, partial_folder, sync


def export(run: str | Path, output: str | Path, *, layer: str = FEATURE_LAYER) -> Path:
    """Write the model of a run as a SavedModel that carries its own preprocessing.

    Every signature takes `image`, raw crops `(batch_size, height, width, channels)` in the records'
    dtype (and `mask`, uint8 `(batch_size, height, width)`, where the model has masks), of any batch
    size, and returns float32 tensors by name:

    - ``classify``: `probabilities` and `logits` `(batch_size, num_classes)`
    - ``embed``: `embedding` `(batch_size, num_features)`
    - ``serving_default``: all three, in one pass
    - ``describe`` takes nothing and returns strings: `class_names`, `channels`, `layer`,
      `deeploc_tf`.

    Args:
        run: folder of a finished training.
        output: folder to make.
        layer: of the embedding; "fc_2" is the penultimate one.

    Returns:
        `output`.

    Raises:
        OutputExistsError: `output` is there already.
        RecordsError: the run is not finished.
        ValueError: the model has no layer of that name.
    """
    output = Path(output)
    check_absent(output)
    trained = load_trained(run)
    module = _Served(trained, layer)
    with partial_folder(output) as folder:
        tf.saved_model.save(module, str(folder), signatures=module.endpoints)
        for path in folder.rglob("*"):
            sync(path)
        folder.rename(output)
    sync(output.parent)
    return output


class _Served(tf.Module):
    """The signatures, and the variables that they read."""

    def __init__(self, trained: TrainedModel, layer: str) -> None:
        super().__init__()
        model = trained.model
        embedding = feature_extractor(model, layer).output
        both = keras.Model(model.input, {"logits": model.output, "embedding": embedding})
        # Plain tf.Variables: of a Keras object, TensorFlow would save much more than its values.
        keras_2 = keras.__version__.startswith("2.")
        self.weights = [weight if keras_2 else weight.value for weight in model.weights]
        specs = input_specs(model)
        description = {
            "class_names": tf.constant(list(trained.schema.label_names)),
            "channels": tf.constant(list(trained.schema.channels)),
            "layer": tf.constant([layer]),
            "deeploc_tf": tf.constant([__version__]),
        }

        def run(inputs: Any, *names: str) -> dict[str, Any]:
            outputs = both(inputs, training=False)
            outputs["probabilities"] = tf.nn.softmax(outputs["logits"])
            return {name: outputs[name] for name in names}

        def signature(*names: str) -> Any:
            # TensorFlow takes the names of the arguments from here.
            def of_image(image: Any) -> dict[str, Any]:
                return run(image, *names)

            def of_image_and_mask(image: Any, mask: Any) -> dict[str, Any]:
                return run({"image": image, "mask": mask}, *names)

            function = of_image_and_mask if trained.takes_mask else of_image
            return tf.function(function, input_signature=specs)

        def describe() -> dict[str, Any]:
            return {name: tf.identity(value) for name, value in description.items()}

        self.endpoints = {
            "serving_default": signature("probabilities", "logits", "embedding"),
            "classify": signature("probabilities", "logits"),
            "embed": signature("embedding"),
            "describe": tf.function(describe, input_signature=[]),
        }
