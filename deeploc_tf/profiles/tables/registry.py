"""All formats of tables, and which of them a file has."""

from __future__ import annotations

from pathlib import Path

from deeploc_tf.profiles.tables.npz import WHOLE_SUFFIXES
from deeploc_tf.profiles.tables.table_format import SUFFIXES
from deeploc_tf.profiles.tables.text import seems_text_table
from deeploc_tf.text_tables import DELIMITERS, suffix_of


def is_table(path: str | Path) -> bool:
    """Whether a file is a table of vectors rather than something else, such as a gold standard.

    The suffixes of our own tables decide at once, so that a damaged one is told as a damaged table.
    A text file is a table if it has a header and numbers in every column that does not describe
    rows.

    Raises:
        ValueError: it could be either.
        OSError: a text file cannot be read.
    """
    path = Path(path)
    if suffix_of(path) in DELIMITERS:
        return seems_text_table(path)
    return path.suffix in (*SUFFIXES, *WHOLE_SUFFIXES)
