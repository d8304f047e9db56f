"""What describes each row of a table of embeddings: a batch's metadata as plain values."""

from __future__ import annotations

from typing import Any

import numpy as np

from deeploc_tf.profiles.tables.columns import column_name
from tfrecords.schema import TEXTS, Schema


def record_features(schema: Schema) -> list[str]:
    """What must be read of the records to fill the columns."""
    label = ["label"] if schema.label_names else []
    return ["key", *TEXTS, *label, *(f"meta/{name}" for name in schema.metadata)]


def column_values(batch: dict[str, Any], schema: Schema, split: str) -> dict[str, list[Any]]:
    """The columns of a batch of records of a split, a value a crop."""
    columns: dict[str, list[Any]] = {
        "key": _texts(batch["key"]),
        **{name: _texts(batch[name]) for name in TEXTS},
        "split": [split] * len(batch["key"]),
    }
    if schema.label_names:
        columns["label"] = _label_texts(batch["label"].numpy(), schema)
    for name, kind in schema.metadata.items():
        values = batch[f"meta/{name}"]
        columns[column_name(name)] = _texts(values) if kind == "text" else values.numpy().tolist()
    return columns


def _texts(values: Any) -> list[str]:
    return [value.decode() for value in values.numpy().tolist()]


def _label_texts(labels: np.ndarray[Any, Any], schema: Schema) -> list[str]:
    names = schema.label_names
    if not schema.multi_label:
        return [names[label] for label in labels]
    return ["|".join(names[i] for i in np.flatnonzero(row)) for row in labels]
