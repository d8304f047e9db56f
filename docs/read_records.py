"""Reads a data set of deeploc-tf; needs TensorFlow and none of deeploc-tf's code."""

import json
from pathlib import Path

import tensorflow as tf


def read(folder, split, batch_size=128):
    manifest = json.loads(Path(folder, "manifest.json").read_text(encoding="utf-8"))
    schema, shape = manifest["schema"], manifest["schema"]["image_shape"]
    kinds = dict.fromkeys(["image", "key", "protein"] + ["mask"] * schema["has_mask"], "string")
    kinds |= {f"meta/{c['name']}": c["type"].replace("text", "string") for c in schema["metadata"]}
    features = {name: tf.io.FixedLenFeature([], tf.as_dtype(kind)) for name, kind in kinds.items()}
    features["label"] = tf.io.RaggedFeature(tf.int64)  # one a crop; several, or none

    def parse(records):
        batch = tf.io.parse_example(records, features)
        batch["image"] = tf.reshape(tf.io.decode_raw(batch["image"], schema["dtype"]), [-1, *shape])
        if schema["has_mask"]:
            batch["mask"] = tf.reshape(tf.io.decode_raw(batch["mask"], "uint8"), [-1, *shape[:2]])
        return batch

    files = [str(Path(folder, shard["name"])) for shard in manifest["splits"][split]]
    return tf.data.TFRecordDataset(files).batch(batch_size).map(parse)
