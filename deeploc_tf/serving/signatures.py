"""The signatures of a trained model: functions from raw crops to named tensors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from deeploc_tf.models.extractors import input_specs
from deeploc_tf.models.folding import fast_model
from deeploc_tf.models.keras_compat import plain_variable
from deeploc_tf.models.novelty import FEATURES, Novelty, network_with_features
from deeploc_tf.models.trained import TrainedModel
from deeploc_tf.models.views import (
    View,
    mean_of_logits_in_graph,
    mean_of_vectors,
    outputs_of_views,
    views,
)
from deeploc_tf.serving.description import Description
from tfrecords.codec import decode_batch

CALIBRATED = "calibrated_probabilities"
"""An output beside `probabilities`, of runs that are calibrated."""
# Those that a model does not have are left out.
_CLASSES = ("probabilities", CALIBRATED, "logits", "protein_probabilities", "novelty", "accepted")
OUTPUTS = {
    "serving_default": (*_CLASSES, "embedding"),
    "classify": _CLASSES,
    "embed": ("embedding",),
}


class Signatures(tf.Module):
    """The signatures, and the variables that they read.

    Args:
        trained: the model.
        description: layer, views, precision and the rest of what `describe` returns.
        fast: fold batch normalizations away; see `fast_model`.

    Attributes:
        endpoints: TensorFlow function by the name of its signature; see `export`.
    """

    def __init__(
        self, trained: TrainedModel, description: Description, *, fast: bool = False
    ) -> None:
        super().__init__()
        layer = None if trained.novelty is None else trained.novelty.layer
        network = network_with_features(
            trained.model, layer, description.layer, trained.protein_model
        )
        if fast:
            network = fast_model(network, description.precision)
        self.weights = [plain_variable(weight) for weight in network.weights]
        calibration = description.calibration
        mean = _MeanOverViews(
            network,
            views(trained.model, description.test_time),
            several=description.activation == "sigmoid",
            temperature=None if calibration is None else calibration.temperature,
            novelty=trained.novelty,
        )
        self.endpoints = _endpoints(mean, trained)
        tensors = description.to_tensors()

        def describe() -> dict[str, Any]:
            return {name: tf.identity(value) for name, value in tensors.items()}

        self.endpoints["describe"] = tf.function(describe, input_signature=[], autograph=False)

        # TensorFlow Serving's REST interface calls no signature that takes nothing.
        def describe_to(request: Any) -> dict[str, Any]:
            del request  # any string
            return describe()

        taken = [tf.TensorSpec((), tf.string, name="request")]
        self.endpoints["rest_describe"] = tf.function(
            describe_to, input_signature=taken, autograph=False
        )


class _MeanOverViews:
    """Probabilities and embeddings of crops, averaged over views of them; novelty of the first.

    With several views, `logits` are those of the mean probabilities: their logarithms, or for
    sigmoids their log odds. With a temperature there are `calibrated_probabilities`, too.
    """

    def __init__(
        self,
        network: keras.Model,
        of: Sequence[View],
        *,
        several: bool,
        temperature: float | None = None,
        novelty: Novelty | None = None,
    ) -> None:
        self._views = of
        self._several = several
        self._temperature = temperature
        self._novelty = novelty
        # a function of its own, so that forty views do not write the network forty times
        self._run = tf.function(lambda crops: network(crops, training=False))

    def __call__(self, crops: dict[str, Any]) -> dict[str, Any]:
        seen = outputs_of_views(self._run, crops, self._views)
        logits = seen[0]["logits"]
        if len(seen) > 1:
            each = [output["logits"] for output in seen]
            logits = mean_of_logits_in_graph(each, multi_label=self._several)
        calibrated = {}
        if self._temperature is not None:
            calibrated = {CALIBRATED: tf.nn.softmax(logits / self._temperature)}
        judged = {}
        if self._novelty is not None:
            judged = self._novelty.judge(crops, seen[0][FEATURES])
        proteins = {}
        if "protein_logits" in seen[0]:
            each = [tf.nn.softmax(output["protein_logits"]) for output in seen]
            proteins = {"protein_probabilities": tf.add_n(each) / len(each)}
        return {
            **calibrated,
            **proteins,
            "probabilities": (tf.sigmoid if self._several else tf.nn.softmax)(logits),
            "logits": logits,
            "embedding": mean_of_vectors([output["embedding"] for output in seen]),
            **judged,
        }


def rest_specs(model: keras.Model) -> list[tf.TensorSpec]:
    """What the signature `rest` takes: inputs of the model, of types that JSON requests can send.

    TensorFlow Serving's REST interface has no uint16, and 300 is 44 in its uint8.
    """
    types = {"uint8": tf.int32, "uint16": tf.int32, "float32": tf.float32}
    return [
        tf.TensorSpec(spec.shape, types[spec.dtype.name], name=spec.name)
        for spec in input_specs(model)
    ]


def _endpoints(mean: _MeanOverViews, trained: TrainedModel) -> dict[str, Any]:
    """The signatures that take crops."""
    specs = input_specs(trained.model)

    def run(names: Sequence[str], tensors: dict[str, Any]) -> dict[str, Any]:
        checked = {spec.name: _checked(tensors[spec.name], spec) for spec in specs}
        with tf.control_dependencies([_same_number(list(checked.values()))]):
            outputs = mean({name: tf.identity(tensor) for name, tensor in checked.items()})
        return {name: outputs[name] for name in names if name in outputs}

    def signature(
        names: Sequence[str], taken: list[tf.TensorSpec], convert: Callable[..., Any] = _unchanged
    ) -> Any:
        # TensorFlow takes the names of the arguments from here.
        def of_image(image: Any) -> dict[str, Any]:
            return run(names, convert({"image": image}))

        def of_image_and_mask(image: Any, mask: Any) -> dict[str, Any]:
            return run(names, convert({"image": image, "mask": mask}))

        return tf.function(
            of_image if len(specs) == 1 else of_image_and_mask,
            input_signature=taken,
            autograph=False,  # for Python's `if` over tensors, of which there is none
        )

    def of_examples(examples: Any) -> dict[str, Any]:
        crops = decode_batch(examples, trained.schema, [spec.name for spec in specs])
        return run(OUTPUTS["serving_default"], crops)

    examples = tf.TensorSpec((None,), tf.string, name="examples")
    narrowed = functools.partial(_narrowed, dtypes={spec.name: spec.dtype for spec in specs})
    return {
        **{name: signature(outputs, specs) for name, outputs in OUTPUTS.items()},
        "serialized": tf.function(of_examples, input_signature=[examples], autograph=False),
        "rest": signature(OUTPUTS["serving_default"], rest_specs(trained.model), narrowed),
    }


def _unchanged(crops: dict[str, Any]) -> dict[str, Any]:
    return crops


def _narrowed(crops: dict[str, Any], dtypes: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of JSON as pixels in the dtype of the records, refused where they do not fit."""
    narrowed = {}
    for name, tensor in crops.items():
        dtype = dtypes[name]
        pixels = tf.cast(tensor, dtype)
        if dtype.is_integer:
            fits = tf.debugging.assert_equal(
                tf.cast(pixels, tensor.dtype),
                tensor,
                message=f"`{name}` must be whole numbers from 0 to {dtype.max}",
            )
            with tf.control_dependencies([fits]):
                pixels = tf.identity(pixels)
        narrowed[name] = pixels
    return narrowed


def _same_number(tensors: list[Any]) -> Any:
    """Refuse, when the graph runs, one mask for several crops, which would fit to each of them."""
    first, last = tf.shape(tensors[0])[0], tf.shape(tensors[-1])[0]
    return tf.debugging.assert_equal(first, last, message="`mask` must hold one mask per crop")


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
