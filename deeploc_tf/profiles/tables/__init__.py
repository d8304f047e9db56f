"""Tables of vectors: embeddings and profiles, on disk and in memory."""

from __future__ import annotations

from deeploc_tf.profiles.tables.registry import is_table
from deeploc_tf.profiles.tables.row_table import open_rows
from deeploc_tf.profiles.tables.vector_table import (
    SUFFIXES,
    TableWriter,
    VectorTable,
    check_suffix,
    check_table,
    read_table,
    write_table,
    writing_table,
)

__all__ = [
    "SUFFIXES",
    "TableWriter",
    "VectorTable",
    "check_suffix",
    "check_table",
    "is_table",
    "open_rows",
    "read_table",
    "write_table",
    "writing_table",
]
