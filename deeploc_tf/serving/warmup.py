"""Requests that TensorFlow Serving answers itself while it loads a model.

The first call of a signature makes its kernels and takes many times as long as the next; so that no
user waits for it, SavedModels may bring requests in `assets.extra/tf_serving_warmup_requests`: a
TFRecord file of `tensorflow.serving.PredictionLog`, whose few fields are written here by hand,
because the package that has them pulls in gRPC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from deeploc_tf.models.trained import TrainedModel
from deeploc_tf.serving.signatures import OUTPUTS, rest_specs
from tfrecords.codec import encode, field
from tfrecords.framing import frame
from tfrecords.schema import Crop, MetadataType, Schema

WARMUP_NAME = "assets.extra/tf_serving_warmup_requests"


def warmup_requests(model_name: str, trained: TrainedModel) -> bytes:
    """A TFRecord file with a request of one black crop for each signature that takes crops.

    Args:
        model_name: what the server calls the model.
        trained: the model.
    """
    schema = trained.schema
    image = np.zeros((1, *schema.image_shape), schema.dtype)
    mask = np.ones((1, *schema.image_shape[:2]), np.uint8)
    crops = {"image": image, "mask": mask} if trained.takes_mask else {"image": image}
    example = encode(_black_crop(schema, image[0], mask[0]), schema)
    numbers = {
        spec.name: crops[spec.name].astype(spec.dtype.as_numpy_dtype)
        for spec in rest_specs(trained.model)
    }
    inputs = {
        **dict.fromkeys(OUTPUTS, crops),
        "serialized": {"examples": np.array([example], object)},
        "rest": numbers,
    }
    return b"".join(
        frame(_prediction_log(model_name, signature, tensors))
        for signature, tensors in inputs.items()
    )


def _black_crop(schema: Schema, image: Any, mask: Any) -> Crop:
    empty: dict[MetadataType, Any] = {"text": "", "int64": 0, "float32": 0.0}
    return Crop(
        key="warmup",
        image=image,
        mask=mask if schema.has_mask else None,
        labels=(0,) if schema.label_names else (),
        metadata={name: empty[kind] for name, kind in schema.metadata.items()},
    )


def _prediction_log(model_name: str, signature: str, tensors: Mapping[str, Any]) -> bytes:
    """`PredictionLog(predict_log=PredictLog(request=PredictRequest(model_spec, inputs)))`."""
    model_spec = field(1, model_name.encode()) + field(3, signature.encode())
    inputs = b"".join(
        field(2, field(1, name.encode()) + field(2, tf.make_tensor_proto(v).SerializeToString()))
        for name, v in tensors.items()
    )
    return field(6, field(1, field(1, model_spec) + inputs))
