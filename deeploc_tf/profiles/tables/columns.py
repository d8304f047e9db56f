"""The metadata columns of a table of cells, as the records name them."""

from __future__ import annotations

from tfrecords.schema import TEXTS, Schema

_OWN = ("key", *TEXTS, "label", "split")


def column_types(schema: Schema) -> dict[str, str]:
    """The columns and their types, as `writing_table` takes them."""
    label = {"label": "text"} if schema.label_names else {}
    columns = {"key": "text", **dict.fromkeys(TEXTS, "text"), **label, "split": "text"}
    return columns | {column_name(name): kind for name, kind in schema.metadata.items()}


def column_name(name: str) -> str:
    """The table's name of a metadata column of the records: four names are taken."""
    return f"meta_{name}" if name in _OWN else name
