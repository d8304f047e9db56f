"""All formats of tables, and which of them a file has."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from deeploc_tf.profiles.tables.row_table import RowTable, VectorTable, damage_told
from deeploc_tf.profiles.tables.table_format import TableFormat, digests_of
from deeploc_tf.registry import Registry
from deeploc_tf.text_tables import DELIMITERS, suffix_of

_HERE = "deeploc_tf.profiles.tables"
FORMATS: Registry[TableFormat] = Registry(
    "suffix",
    {
        ".h5": f"{_HERE}.hdf5:HDF5",
        ".hdf5": f"{_HERE}.hdf5:HDF5",
        ".parquet": f"{_HERE}.parquet:PARQUET",
        ".npz": f"{_HERE}.npz:NPZ",
        ".h5ad": f"{_HERE}.h5ad:H5AD",
        **dict.fromkeys(DELIMITERS, f"{_HERE}.text:TEXT"),
    },
    group="deeploc_tf.tables",
)
"""By the suffix of the file's name; that of text may be followed by `.gz`."""


def format_of(path: Path, *, to_write: bool = False) -> TableFormat:
    """The format of a file, by its suffix.

    Raises:
        ValueError: no table has such a name; or none that can be written.
    """
    suffix = _suffix(path)
    if suffix not in FORMATS or (to_write and FORMATS.get(suffix).writer is None):
        known = [name for name in FORMATS if not to_write or FORMATS.get(name).writer is not None]
        msg = (
            f"A table must end in {', '.join(known)}"
            f"{'' if to_write else ' (text also in .gz)'}. Received: {path.name!r}."
            + (f" Name it, for example, {path.stem}.parquet." if to_write else "")
        )
        raise ValueError(msg)
    return FORMATS.get(suffix)


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
    if _suffix(path) not in FORMATS:
        return False
    recognizes = format_of(path).recognizes
    return recognizes is None or recognizes(path)


def open_rows(path: str | Path) -> RowTable:
    """Open a table of cells or profiles, of any format.

    Raises:
        ValueError: the file is no such table, or not as it was written.
        FileNotFoundError: there is none.
    """
    path = Path(path)
    form = format_of(path)
    of_ours = form.writer is not None
    with damage_told(path) if of_ours else contextlib.nullcontext():
        stored = form.open(path)
        provenance = json.loads(stored.provenance)
        digests = digests_of(stored) if of_ours else None
        return RowTable(stored, provenance["columns"], provenance, digests)


def read_table(path: str | Path) -> VectorTable:
    """Read a table of embeddings or profiles, of any format, as a whole.

    Raises:
        ValueError: the file is no such table, or not as it was written.
        FileNotFoundError: there is none.
    """
    return open_rows(path).read()


def _suffix(path: Path) -> str:
    plain = suffix_of(path)
    return plain if plain in DELIMITERS else path.suffix
