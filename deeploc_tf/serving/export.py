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
from tfrecords.publishing import publishing_folder, sync


def export(run: str | Path, output: str | Path, *, layer: str = FEATURE_LAYER) -> Path:
    """Write the model of a run as a SavedModel that carries its own preprocessing.

    Every signature takes `image`, raw crops `(batch_size, height, width, channels)` in the records'
    dtype (and `mask`, uint8 `(batch_size, height, width)`, where the model has masks), of any batch
    size, and returns float32 tensors by name:

    - ``classify``: `probabilities` and `logits` `(batch_size, num_classes)`
    - ``embed``: `embedding` `(batch_size, num_features)`
    - ``serving_default``: all three, in one pass
    - ``describe`` takes nothing and returns `class_names`, `channels`, `normalization`, `layer`,
      `model_sha256`, `deeploc_tf` (strings) and `pixel_size` (float32, empty where unknown).

    When a signature runs, it refuses crops of another shape, batches of none and pixels that are
    not finite.

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
    with publishing_folder(output) as folder:
        module = _Served(load_trained(run), layer)
        tf.saved_model.save(module, str(folder), signatures=module.endpoints)
        for path in folder.rglob("*"):
            sync(path)
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
        description = _description(trained, layer)
        activation = tf.sigmoid if trained.multi_label else tf.nn.softmax

        def run(*names: str, **tensors: Any) -> dict[str, Any]:
            crops = {spec.name: _checked(tensors[spec.name], spec) for spec in specs}
            outputs = both(crops if trained.takes_mask else crops["image"], training=False)
            outputs["probabilities"] = activation(outputs["logits"])
            return {name: outputs[name] for name in names}

        def signature(*names: str) -> Any:
            # TensorFlow takes the names of the arguments from here.
            def of_image(image: Any) -> dict[str, Any]:
                return run(*names, image=image)

            def of_image_and_mask(image: Any, mask: Any) -> dict[str, Any]:
                return run(*names, image=image, mask=mask)

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


def _checked(tensor: Any, spec: tf.TensorSpec) -> Any:
    """The tensor, refused by name when the graph runs unless it holds crops of the spec's shape.

    TensorFlow holds what a signature gets to its dtype, not to its shape: without this, four crops
    of one channel would pass for two crops of two. And ReLU makes plausible numbers of NaN.
    """
    if spec.dtype.is_floating:
        tensor = tf.debugging.check_numerics(tensor, f"`{spec.name}` must be finite")
    some = tf.debugging.assert_positive(
        tf.shape(tensor)[0], message=f"`{spec.name}` must hold at least one crop"
    )
    with tf.control_dependencies([some]):
        return tf.ensure_shape(tensor, spec.shape)


def _description(trained: TrainedModel, layer: str) -> dict[str, Any]:
    """What a consumer must know of the crops and may ask about the model."""
    schema = trained.schema
    pixel_size = [] if schema.pixel_size is None else [schema.pixel_size]
    return {
        "class_names": tf.constant(list(trained.class_names)),
        "channels": tf.constant(list(schema.channels)),
        "pixel_size": tf.constant(pixel_size, tf.float32),
        "normalization": tf.constant([trained.model.get_layer("normalization").method]),
        "layer": tf.constant([layer]),
        "model_sha256": tf.constant([trained.model_sha256]),
        "deeploc_tf": tf.constant([__version__]),
    }
