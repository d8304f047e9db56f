"""Tables of other programs: which columns are features, and which describe the rows.

pycytominer, CytoTable and copairs name what describes a row `Metadata_...`; CellProfiler's image
table comes as `Image_...`; AnnData keeps it in `obs`. Other columns describe rows by their type,
by a name that no feature has, or because the user gives them a role (`Roles`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.names import tidy
from deeploc_tf.text_tables import TableError
from deeploc_tf.units import is_place
from tfrecords.errors import did_you_mean

PROTEIN_NAMES = ("protein", "gene")
KIND = "foreign"
"""What the provenance of a table of another program says of its kind."""

_METADATA = re.compile(r"(?:image_)?metadata_", re.IGNORECASE)
# What our tables say of a protein; as a feature it would decide who is alike, as would a plate.
_OF_ROWS = {*PROTEIN_NAMES, "key", "label", "split", "class", "cluster", "compartment", "batch"}
_OF_ROWS |= {"localization", "num_crops", "num_cells", "n_cells", "cell_count", "count_cells"}
_OF_ROWS |= {"num_replicates", "replicate", "dispersion", "standard_error"}
_IDENTIFIER = re.compile(r"(?:.*_)?(?:id|uid|uuid|index|object|object_?number)")
# Of CellProfiler: names, numbers and places of images and objects.
_OF_OBJECTS = re.compile(
    r"image_.*|(?:image|object|table)number|.*_(?:parent|children|location|number_object_number)"
    r"(?:_.*)?|.*_areashape_(?:center|boundingbox).*|.*_(?:file|path)name(?:_.*)?"
)
_SHOWN = 5  # names in a sentence


class RoleError(TableError):
    """A column that a user names is not in the table."""


@dataclasses.dataclass(frozen=True)
class Roles:
    """Columns that say what a row is of, by their names in the file or in our tables.

    Attributes:
        protein: column of the protein, or of what else a row is of, such as a compound; None:
            `protein` or `gene`, with `Metadata_` before it or not.
        plate: column of the plate; None: what is called so.
        well: column of the well; None: what is called so.
    """

    protein: str | None = None
    plate: str | None = None
    well: str | None = None

    def given(self) -> dict[str, str]:
        """Role -> column, of those that are given."""
        return {role: name for role, name in dataclasses.asdict(self).items() if name is not None}


NO_ROLES = Roles()


def our_name(column: str) -> str | None:
    """What our tables call a column whose name says that it describes rows; else None.

    >>> our_name("Metadata_Plate"), our_name("Image_Metadata_Well"), our_name("Cells_Area")
    ('plate', 'well', None)
    """
    plain = tidy(column)
    if (prefix := _METADATA.match(plain)) is None:
        return None
    name = plain[prefix.end() :]
    name = name[:1].lower() + name[1:]
    return name.lower() if name.lower() in PROTEIN_NAMES else name


def describes_rows(column: str) -> bool:
    """Whether a column is called as what describes a row and not as a feature.

    >>> describes_rows("Plate_ID"), describes_rows("cell_id"), describes_rows("feat0001")
    (True, True, False)
    """
    plain = re.sub(r"[\s.-]+", "_", tidy(column).lower())
    return plain in _OF_ROWS or is_place(column) or _IDENTIFIER.fullmatch(plain) is not None


def describes_objects(column: str) -> bool:
    """Whether CellProfiler calls so what is a name, a number or a place of an image or object."""
    return _OF_OBJECTS.fullmatch(tidy(column).lower()) is not None


def found_column(given: str, columns: Collection[str], path: Path, role: str = "column") -> str:
    """The column that a user means: by its name, or by its name without `Metadata_`.

    Raises:
        RoleError: there is none; the message has the nearest one.
    """
    if given in columns:
        return given
    form = (our_name(given) or tidy(given)).lower()
    alike = [name for name in columns if (our_name(name) or tidy(name)).lower() == form]
    if len(alike) == 1:
        return alike[0]
    msg = (
        f"A {role} must be one of the columns {some(columns, 20)}. Received: {given!r} for {path}."
        f"{did_you_mean(given, columns)}"
    )
    raise RoleError(msg)


def described_columns(
    columns: Iterable[str], roles: Roles, path: Path, others: Collection[str] = ()
) -> dict[str, str]:
    """Name in our metadata -> column of the file, of the columns that describe rows.

    Args:
        columns: all of the file.
        roles: what the user says of them.
        path: of the file, for messages.
        others: columns that describe rows whatever they are called.

    Raises:
        TableError: two columns would get one name, or that of a role is not there.
    """
    columns = list(columns)
    described: dict[str, str] = {}
    for column in columns:
        name = our_name(column)
        if name in described:  # such as that of the image table, beside that of the object
            if tidy(column).lower().startswith("metadata_"):
                msg = (
                    "Columns of metadata must differ in more than the case of their first letters. "
                    f"Received: {described[name]!r} and {column!r} in {path}, line 1."
                )
                raise TableError(msg)
            name = tidy(column)
        if name is not None or column in others:
            described[name or tidy(column)] = column
    for role, given in roles.given().items():
        column = found_column(given, columns, path, f"column of the {role}")
        if role == "protein":
            described.setdefault(our_name(column) or tidy(column), column)
            if described.get("protein", column) != column:
                described["other_protein"] = described["protein"]
        else:
            described = {name: own for name, own in described.items() if own != column}
        described[role] = column
    if "protein" not in described:
        by_name = {tidy(column).lower(): column for column in reversed(columns)}
        known = ((found, name) for found in (described, by_name) for name in PROTEIN_NAMES)
        column_of = next((found[name] for found, name in known if name in found), None)
        if column_of is not None:
            described = {name: own for name, own in described.items() if own != column_of}
            described["protein"] = column_of
    return described


def provenance(path: Path, described: Mapping[str, str], num_features: int) -> dict[str, Any]:
    """What is known of a table of another program; its metadata are text, as they stand."""
    return {
        "kind": KIND,
        "foreign": {
            "file": path.name,
            "num_features": num_features,
            "metadata": sorted(set(described.values())),
        },
        "columns": dict.fromkeys(described, "text"),
    }


def sentence(path: Path, features: Collection[str], described: Mapping[str, str]) -> str:
    """What a table of another program is taken for."""
    metadata = dict.fromkeys(described.values())
    protein = described.get("protein")
    of = "; none names the protein"
    if protein is not None:
        of = f"; proteins are those of {repr(protein) if protein else 'the first column'}"
    return (
        f"{path.name} is of another program: {len(features)} features ({some(features)}), "
        f"{len(metadata)} columns of metadata ({some(metadata) or 'none'}){of}."
    )


def some(names: Collection[str], most: int = _SHOWN) -> str:
    """The first of some names, and how many more there are."""
    shown = ", ".join(map(str, list(names)[:most]))
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def as_texts(values: pd.Series[Any]) -> NDArray[Any]:
    """A column as text, object `(num_rows,)`: "" where there is no value.

    Whole numbers that a missing value, or a program, made floats are written as whole ones.
    """
    missing = values.isna().to_numpy()
    if pd.api.types.is_float_dtype(values.dtype):
        numbers = values.to_numpy(np.float64, na_value=np.nan)
        known = numbers[~missing]
        if np.isfinite(known).all() and (np.abs(known) < 2**53).all() and (known % 1 == 0).all():
            values = pd.Series(np.where(missing, 0, numbers).astype(np.int64))
    texts = ["" if gone else tidy(str(v)) for v, gone in zip(values, missing, strict=True)]
    return np.array(texts, object)


def named_by_index(
    columns: dict[str, NDArray[Any]], described: dict[str, str], index: pd.Index[Any], what: str
) -> None:
    """Let the index name the rows: their proteins, or their keys where a column has the proteins.

    Args:
        columns: metadata, changed in place.
        described: name in our metadata -> where it stands, likewise.
        index: of the rows; one that counts them names nothing.
        what: the index is called.
    """
    rows = as_texts(pd.Series(index.astype(str)))
    if all(str(row) == name for row, name in enumerate(rows)):
        return
    if "protein" not in columns:
        columns["protein"], described["protein"] = rows, what
    elif "key" not in columns and not pd.Series(columns["protein"]).is_unique:
        columns["key"], described["key"] = rows, what  # rows are cells, or replicates


def check_features(features: Collection[str], described: Collection[str], path: Path) -> None:
    """Raise `TableError` where a table has no features, or those are no vectors."""
    if not features:
        msg = (
            "A table must have a feature, a column of numbers that is not called as what describes "
            f"rows. Received: {path} with {some(described) or 'no column'}."
        )
        raise TableError(msg)
    if "call" in described and "confidence" in features:
        msg = (
            "A table must hold the vectors of cells or proteins. Received: "
            f"{path}, what `predict` says of cells. Take embeddings.parquet, which it writes with "
            "--embedding."
        )
        raise TableError(msg)
