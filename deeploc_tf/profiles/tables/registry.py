"""All formats of tables, and which of them a file has."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from deeploc_tf.profiles.tables.foreign import KIND, NO_ROLES, Roles, found_column
from deeploc_tf.profiles.tables.given import AnyTable, given_table
from deeploc_tf.profiles.tables.row_table import RowTable, damage_told
from deeploc_tf.profiles.tables.table_format import Digests, Stored, TableFormat, digests_of
from deeploc_tf.profiles.tables.vector_table import VectorTable
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
        known = [name for name, form in FORMATS.usable() if not to_write or form.writer is not None]
        msg = (
            f"A table must end in {', '.join(known)}"
            f"{'' if to_write else ' (text also in .gz)'}. Received: {path.name!r}."
            + (f" Name it, for example, {path.stem}.parquet." if to_write else "")
        )
        raise ValueError(msg)
    return FORMATS.get(suffix)


def is_table(path: str | Path, roles: Roles = NO_ROLES) -> bool:
    """Whether a file is a table of vectors rather than something else, such as a gold standard.

    The suffixes of our own tables decide at once, so that damage is reported as that of a table.
    A text file is a table if it has a header and numbers in every column that does not describe
    rows, or the column that `roles` names as that of the protein.

    Raises:
        ValueError: it could be either.
        OSError: a text file cannot be read.
    """
    path = Path(path)
    if _suffix(path) not in FORMATS:
        return False
    recognizes = format_of(path).recognizes
    return recognizes is None or recognizes(path, roles)


def open_rows(table: AnyTable, roles: Roles = NO_ROLES) -> RowTable:
    """Open a table of cells or profiles: a file of any format, also of another program, or a frame.

    Args:
        table: path of the file, or a table in memory, see `given.given_table`.
        roles: which of its columns name proteins, plates and wells.

    Raises:
        ValueError: the file is no such table, or not as it was written; or a role is that of no
            column.
        FileNotFoundError: there is none.
    """
    stored, digests = _opened(table, roles)
    provenance = json.loads(stored.provenance)
    columns = provenance["columns"]
    is_foreign = provenance.get("kind") == KIND
    called = {} if is_foreign else _called(stored.path, columns, roles)
    moved = {column for role, column in called.items() if role != "protein"}
    columns = {name: kind for name, kind in columns.items() if name not in moved} | {
        role: columns[column] for role, column in called.items()
    }
    return RowTable(stored, columns, provenance, digests, called)


def _opened(table: AnyTable, roles: Roles) -> tuple[Stored, Digests | None]:
    """What is stored, and the digests of what is ours and in a file."""
    if not isinstance(table, str | os.PathLike):
        return given_table(table, roles), None
    path = Path(table)
    form = format_of(path)
    with damage_told(path) if form.writer is not None else contextlib.nullcontext():
        stored = form.open(path) if form.foreign is None else form.foreign(path, roles)
        said = json.loads(stored.provenance)
        is_foreign = said["columns"] is not None and said.get("kind") == KIND
        return stored, digests_of(stored) if form.writer is not None and not is_foreign else None


def _called(path: Path, columns: Mapping[str, str], roles: Roles) -> dict[str, str]:
    """Role -> column of a table of ours."""
    return {
        role: found_column(given, columns, path, f"column of the {role}")
        for role, given in roles.given().items()
    }


def read_table(table: AnyTable, roles: Roles = NO_ROLES) -> VectorTable:
    """Read a table of embeddings or profiles, of any format, as a whole.

    Args:
        table: path of the file, or a table in memory, as of `open_rows`.
        roles: as of `open_rows`.

    Raises:
        ValueError: the file is no such table, or not as it was written.
        FileNotFoundError: there is none.

    Example:
        table = read_table("cells.profiles.parquet")
        table.features  # float32 (num_proteins, num_features)
        table.metadata["protein"]
    """
    return open_rows(table, roles).read()


def _suffix(path: Path) -> str:
    plain = suffix_of(path)
    return plain if plain in DELIMITERS else path.suffix
