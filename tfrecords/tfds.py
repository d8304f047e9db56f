"""What TensorFlow Datasets wants beside the shards, so that it opens them with no code of ours.

Written out as TFDS itself writes it; TFDS is never imported, and nothing of ours reads it back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfrecords.schema import TEXTS, MetadataType, Schema
from tfrecords.sharding import DATASET_NAME

_TFDS = "tensorflow_datasets.core.features."
_TEXT = {"pythonClassName": f"{_TFDS}text_feature.Text", "text": {}}


def _tensor(shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
    dimensions = [str(n) for n in shape]
    return {
        "pythonClassName": f"{_TFDS}tensor_feature.Tensor",
        "tensor": {"shape": {"dimensions": dimensions}, "dtype": dtype, "encoding": "bytes"},
    }


def _metadata(kind: MetadataType) -> dict[str, Any]:
    if kind == "text":
        return _TEXT
    return {
        "pythonClassName": f"{_TFDS}scalar.Scalar",
        "tensor": {"shape": {}, "dtype": kind, "encoding": "none"},
    }


def _dict(features: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "pythonClassName": f"{_TFDS}features_dict.FeaturesDict",
        "featuresDict": {"features": dict(features)},
    }


def tfds_features(schema: Schema) -> dict[str, Any]:
    """Content of `features.json`."""
    features = {"image": _tensor(schema.image_shape, schema.dtype), "key": _TEXT}
    features |= dict.fromkeys(TEXTS, _TEXT)
    if schema.has_mask:
        features["mask"] = _tensor(schema.image_shape[:2], "uint8")
    if schema.label_names:
        label = {
            "pythonClassName": f"{_TFDS}class_label_feature.ClassLabel",
            "classLabel": {"numClasses": str(schema.num_classes)},
        }
        many = {
            "pythonClassName": f"{_TFDS}sequence_feature.Sequence",
            "sequence": {"feature": label, "length": "-1"},
        }
        features["label"] = many if schema.multi_label else label
    if schema.metadata:
        features["meta"] = _dict({n: _metadata(t) for n, t in schema.metadata.items()})
    return _dict(features)


def tfds_info(shards: Mapping[str, Sequence[tuple[int, int]]]) -> dict[str, Any]:
    """Content of `dataset_info.json`; `shards` gives crops and bytes of each shard, by split."""
    return {
        "name": DATASET_NAME,
        "version": "1.0.0",
        "description": "Single-cell crops of tagged proteins, written by deeploc-tf.",
        "fileFormat": "tfrecord",
        "splits": [
            {
                "name": split,
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "shardLengths": [str(num_crops) for num_crops, _ in sizes],
                "numBytes": str(sum(num_bytes for _, num_bytes in sizes)),
            }
            for split, sizes in shards.items()
        ],
    }
