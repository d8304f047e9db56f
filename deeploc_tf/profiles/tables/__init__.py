"""Tables of vectors, embeddings and profiles, in every format: see `registry.FORMATS`.

All formats hold the same: float32 features and their names, text or number columns that describe
each row, a JSON object that says where all of it came from, and digests of all of these, which
every reader compares. Tables of other programs have neither: see `foreign`.
"""

from __future__ import annotations

from deeploc_tf.profiles.tables.foreign import NO_ROLES, RoleError, Roles
from deeploc_tf.profiles.tables.given import AnyTable
from deeploc_tf.profiles.tables.registry import is_table, open_rows, read_table
from deeploc_tf.profiles.tables.row_table import Groups, RowTable
from deeploc_tf.profiles.tables.vector_table import VectorTable
from deeploc_tf.profiles.tables.writing import (
    TableHolder,
    TableWriter,
    check_table,
    write_table,
    writing_table,
)

__all__ = [
    "NO_ROLES",
    "AnyTable",
    "Groups",
    "RoleError",
    "Roles",
    "RowTable",
    "TableHolder",
    "TableWriter",
    "VectorTable",
    "check_table",
    "is_table",
    "open_rows",
    "read_table",
    "write_table",
    "writing_table",
]
