"""Profiles of any origin: our own tables, and text tables of other tools."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from deeploc_tf.profiles.tables.text import read_text
from deeploc_tf.profiles.tables.vector_table import SUFFIXES, VectorTable, read_table
from deeploc_tf.text_tables import DELIMITERS, suffix_of
from deeploc_tf.units import unified_in_column


def read_profiles(path: str | Path) -> VectorTable:
    """A table with a row a protein: ours (.h5, .parquet), or text (.csv, .tsv, .txt, also .gz).

    In a text table the columns named `Metadata_...` describe the proteins and every other one is a
    feature. The protein stands in `Metadata_Protein`, else in `Metadata_Gene`, `protein` or `gene`,
    else in the first column, which needs no name. Names of proteins are text, as they stand but for
    spaces around them.

    Returns:
        The table; its metadata has the column `protein`.

    Raises:
        ValueError: the table has no proteins, no header, a protein twice or none in some line, or a
            feature that is not a number.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if path.suffix in SUFFIXES:
        table = read_table(path)
        if "protein" not in table.metadata or "key" in table.metadata:
            msg = (
                "Profiles must have a row a protein. Received: "
                f"{path}, a table of {table.provenance.get('kind', 'something else')}. "
                "Take NAME.profiles.SUFFIX, which `embed` writes beside it."
            )
            raise ValueError(msg)
        check_proteins(table.metadata["protein"], path)
        return table
    if suffix_of(path) not in DELIMITERS:
        known = ", ".join([*SUFFIXES, *DELIMITERS])
        msg = f"Profiles must end in {known} (text also in .gz). Received: {path.name!r}."
        raise ValueError(msg)
    table = read_text(path)
    check_proteins(table.metadata["protein"], path)
    return table


def check_proteins(proteins: Iterable[str], path: Path) -> None:
    """Refuse two rows of one protein; warn where names may be one protein's (`ACT1`, `act1`).

    Raises:
        ValueError: two names are one, see `deeploc_tf.names`.
    """
    rows: dict[str, str] = {}
    names = list(proteins)
    spelling = unified_in_column(names, "protein", path.name)
    for name in names:
        if (first := rows.setdefault(spelling[name], name)) is not name:
            msg = (
                f"Each protein must have one row. Received: {first!a} and {name!a} in "
                f"{path}, which are one name. Profile the cells of both together, or name them "
                "clearly."
            )
            raise ValueError(msg)
