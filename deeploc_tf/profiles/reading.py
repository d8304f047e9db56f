"""Profiles of any origin: our own tables, and text tables of other tools."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from deeploc_tf.names import matched
from deeploc_tf.profiles.tables import NO_ROLES, AnyTable, Roles, RowTable, VectorTable, open_rows
from deeploc_tf.text_tables import DELIMITERS, suffix_of


def open_profiles(
    profiles: AnyTable, roles: Roles = NO_ROLES, *, distinct_case: bool = False
) -> RowTable:
    """A table of any format with a row per protein; see `deeploc_tf.profiles.tables`.

    Args:
        profiles: path of the file, or a table in memory, see `open_rows`.
        roles: which of its columns names the protein.
        distinct_case: let proteins whose names differ in case alone be two.

    Returns:
        The table; it has the column `protein`.

    Raises:
        ValueError: the file is no table, holds cells, or has two rows of what is or may be one
            protein.
        OSError: the file cannot be read.
    """
    table = open_rows(profiles, roles)
    if "key" in table.columns:
        msg = (
            f"Profiles must have a row per protein. Received: {table.path}, a table of embeddings "
            "of cells. Take NAME.profiles.SUFFIX, which `embed` writes beside it, or what "
            "`profile` makes of it."
        )
        raise ValueError(msg)
    check_proteins(table.column("protein"), table.path, distinct_case=distinct_case)
    return table


def read_profiles(
    profiles: AnyTable, roles: Roles = NO_ROLES, *, distinct_case: bool = False
) -> VectorTable:
    """What `open_profiles` opens, held in memory."""
    return open_profiles(profiles, roles, distinct_case=distinct_case).read()


def check_proteins(proteins: Iterable[str], path: Path, *, distinct_case: bool = False) -> None:
    """Refuse two rows of one protein, or of what may be one (`ACT1`, `act1`).

    Raises:
        ValueError: a name is missing, or two are or may be one, see `deeploc_tf.names`.
    """
    names = list(proteins)
    if unnamed := [row for row, name in enumerate(names) if not name]:
        msg = (
            f"Each row must name its protein. Received: {path} without a name in row {unnamed[0]} "
            f"({len(unnamed)} of {len(names)}). Leave it out."
        )
        raise ValueError(msg)
    told = f"Proteins of {path.name}"
    spelling = matched(names, "protein", told, distinct_case=distinct_case)
    what, at = ("lines", 2) if suffix_of(path) in DELIMITERS else ("rows", 0)
    rows: dict[str, int] = {}
    for row, name in enumerate(names):
        if (first := rows.setdefault(spelling[name], row)) != row:
            msg = (
                f"Each protein must have one row. Received: {names[first]!a} and {name!a}, which "
                f"are one name, in {what} {first + at} and {row + at} of {path}. Profile the cells "
                "of both together (deeploc-tf profile), or name them clearly."
            )
            raise ValueError(msg)
