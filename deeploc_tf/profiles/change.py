"""What changed between two screens: `change` says which proteins moved, and how sure that is."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.joins import Joined, JoinError, joined
from deeploc_tf.profiles.discriminant_space import (
    FEWEST_VECTORS,
    Projected,
    Screen,
    named_alike,
    projected,
    screen,
    single_rows,
)
from deeploc_tf.profiles.fitting import as_settings
from deeploc_tf.profiles.permutations import tested
from deeploc_tf.profiles.shift_test import Shifts
from deeploc_tf.profiles.tables import NO_ROLES, AnyTable, Roles, RowTable, open_rows
from deeploc_tf.profiles.tables.row_table import check_same_features, origin
from deeploc_tf.provenance import sealed
from deeploc_tf.text_tables import csv_bytes
from deeploc_tf.units import columns_of, some
from deeploc_tf.version import __version__
from tfrecords.file_set import publishing_set
from tfrecords.publishing import publish_bytes, publish_json

FEWEST_PROTEINS = 10
"""In each group of proteins by which shifts are taken."""
DEGREES_OF_A_FEATURE = 10
"""Residual degrees of freedom for each feature, or component, that is compared by: with fewer the
scatter within proteins is too poorly known for directions that are chosen by it."""
FEWEST_COMPONENTS, MOST_COMPONENTS = 10, 256
"""Of more features than that: where fewer can be borne, proteins that differ look alike."""


@dataclasses.dataclass(frozen=True)
class ChangeSettings:
    """How two screens are compared.

    Attributes:
        replicate: column, such as `field` or `plate`, or columns whose cells (of one protein) are
            averaged to one vector; vectors, not cells, are then what the null permutes. Columns
            above, such as the plate of a field, are taken along. None takes cells.
        by: columns, such as `plate`: what all proteins of one plate have in common is no move.
            Columns above are taken along.
        num_components: principal components of the proteins' means to compare by, at most; None:
            the features themselves, or as many components as the vectors can bear.
        num_dimensions: of the space in which moves are looked for.
        false_discovery_rate: share of false ones among the proteins called moved, on average.
        num_permutations: of the vectors of each protein.
        correct_bulk: see `deeploc_tf.profiles.shift_test.shifts`.
        drop_undefined: whether to leave out rows that are not finite; otherwise they are refused.
        seed: of the permutations.
        distinct_case: let proteins whose names differ in case alone be two.
        allow_unmatched: how many proteins of either screen may be missing in the other one; None:
            any number. They are counted.
    """

    replicate: str | Sequence[str] | None = None
    by: tuple[str, ...] = ()
    num_components: int | None = None
    num_dimensions: int = 32
    false_discovery_rate: float = 0.05
    num_permutations: int = 200
    correct_bulk: bool = True
    drop_undefined: bool = False
    seed: int = 0
    distinct_case: bool = False
    allow_unmatched: int | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if (
            not 0 < self.false_discovery_rate < 1
            or self.num_permutations < 20
            or self.num_dimensions < 1
            or (self.num_components is not None and self.num_components < 1)
        ):
            msg = (
                "`false_discovery_rate` must lie between 0 and 1, `num_permutations` be 20 or "
                "more, `num_dimensions` and `num_components` 1 or more. Received: "
                f"{self.false_discovery_rate}, {self.num_permutations}, {self.num_dimensions}, "
                f"{self.num_components}."
            )
            raise ValueError(msg)

    @property
    def replicate_columns(self) -> tuple[str, ...]:
        """Columns of replicates, as given; none: rows are the vectors."""
        return columns_of(self.replicate)

    @property
    def unit(self) -> str:
        """What a vector is, for messages."""
        columns = self.replicate_columns
        return f"replicates (by {', '.join(columns)})" if columns else "rows"


@dataclasses.dataclass(frozen=True)
class Changes:
    """What `change` found.

    Attributes:
        table: a row per protein, the surest first; docs/profiles.md has the columns.
        summary: JSON-ready; counts, the bulk, settings and where the tables came from.
    """

    table: pd.DataFrame
    summary: dict[str, Any]

    def to_frame(self) -> pd.DataFrame:
        """A copy of the table."""
        return self.table.copy()


def change(
    untreated: AnyTable,
    treated: AnyTable,
    output: str | Path | None = None,
    settings: ChangeSettings | None = None,
    *,
    roles: Roles = NO_ROLES,
) -> Changes:
    """Compare two screens of the same proteins, embedded by one model.

    Args:
        untreated: table of cells, a file of any format or in memory, see `open_rows`; or of
            profiles with several rows per protein, each of them a replicate.
        treated: likewise.
        output: .csv or .tsv to write the table to, with the summary beside it as .json; None
            writes nothing.
        settings: how they are compared.
        roles: which columns of both tables name proteins, plates and wells.

    Raises:
        OutputExistsError: a file of one of the names is there already.
        ValueError: the tables have other features, or too few vectors; no protein is in both with
            two vectors or more (one in each: there are distances and no p-values), a column is
            missing, or a value is not finite.

    Example:
        found = change("untreated.parquet", "treated.parquet", settings=ChangeSettings("field"))
        found.to_frame().query("moved")
    """
    settings = as_settings(settings, ChangeSettings)
    if output is None:
        return _compared((open_rows(untreated, roles), open_rows(treated, roles)), settings)
    paths = _paths(Path(output))
    with publishing_set(paths) as (table, summary):
        tables = open_rows(untreated, roles), open_rows(treated, roles)
        changes = _compared(tables, settings)
        separator = "\t" if table.suffix == ".tsv" else ","
        publish_bytes(table, csv_bytes(changes.table, delimiter=separator))
        made_from = [*tables[0].made_from("untreated"), *tables[1].made_from("treated")]
        changes = Changes(changes.table, sealed(changes.summary, made_from, [table]))
        publish_json(summary, changes.summary)
    return changes


def _compared(tables: tuple[RowTable, RowTable], settings: ChangeSettings) -> Changes:
    must = "Both screens must have the same features."
    check_same_features(origin(tables[0]), origin(tables[1]), must)
    first, second = (_screen(table, settings) for table in tables)
    join = _joined(first, second, settings)
    second = named_alike(second, join)
    names, left_out = _in_both(first, second, settings)
    groups = _groups_of_proteins(first, second, names, settings.by)
    screens = first, second
    found = None
    if _single(screens, names):
        space = single_rows(screens, names, groups, settings.num_dimensions)
    else:
        num_components = _num_components(first, second, names, settings)
        space = projected(screens, names, groups, num_components, settings.num_dimensions)
        found = tested(
            space,
            settings.num_permutations,
            correct_bulk=settings.correct_bulk,
            seed=settings.seed,
        )
    table = _table(names, screens, space, found, settings)
    summary = _summary(tables, screens, table, left_out, found, settings, len(set(groups.tolist())))
    summary["join"] = join.counts()
    summary["dimensions"] = space.differences.shape[1]
    return Changes(table, summary)


def _joined(first: Screen, second: Screen, settings: ChangeSettings) -> Joined[str]:
    """Which proteins of the treated screen, the data, are in the untreated one."""
    words = f"proteins of {second.path.name}", f"proteins of {first.path.name}"
    found = joined(
        _with_vectors(second),
        _with_vectors(first),
        "protein",
        words,
        distinct_case=settings.distinct_case,
    )
    found.checked(settings.allow_unmatched)
    if settings.allow_unmatched is not None and len(found.unused) > settings.allow_unmatched:
        msg = (
            f"Every one of the {words[1]} must be among the {words[0]}. Received: "
            f"{some(found.unused)} without a partner. Allow so many "
            f"(allow_unmatched={len(found.unused)}, --allow-unmatched {len(found.unused)})."
        )
        raise JoinError(msg)
    return found


def _with_vectors(one: Screen) -> list[str]:
    return [name for name, count in _counts(one).items() if count]


def _paths(output: Path) -> tuple[Path, Path]:
    if output.suffix not in (".csv", ".tsv"):
        msg = (
            f"`output` must end in .csv or .tsv. Received: {output.name!r}. Name it, for example, "
            f"{output.stem}.csv."
        )
        raise ValueError(msg)
    return output, output.with_suffix(".json")


def _screen(table: RowTable, settings: ChangeSettings) -> Screen:
    used = table.defined() if settings.drop_undefined else np.ones(table.num_rows, np.bool_)
    return screen(
        table,
        used,
        settings.replicate_columns,
        settings.by,
        distinct_case=settings.distinct_case,
    )


def _num_components(
    first: Screen, second: Screen, names: Sequence[str], settings: ChangeSettings
) -> int:
    """Dimensions that the vectors can bear; where these are too few, how many vectors would do."""
    counts = [_counts(one) for one in (first, second)]
    degrees = sum(of_screen[name] - 1 for name in names for of_screen in counts)
    width = first.vectors.num_features
    borne = degrees // DEGREES_OF_A_FEATURE
    wanted = settings.num_components or min(width, FEWEST_COMPONENTS)
    if wanted > borne:
        enough = 1 + -(-DEGREES_OF_A_FEATURE * wanted // (2 * len(names)))
        msg = (
            f"There must be {DEGREES_OF_A_FEATURE} residual degrees of freedom (vectors less one "
            "for each protein and screen) or more for each dimension that proteins are compared "
            f"in, and {FEWEST_COMPONENTS} dimensions where there are so many features. Received: "
            f"{wanted} dimensions of {width} features and {degrees} degrees of freedom, from "
            f"{len(names)} proteins. Bring {enough} {settings.unit} or more of each protein in "
            f"each screen, or more proteins; or compare by at most {borne} components "
            f"(num_components={borne}, --components {borne})."
        )
        raise ValueError(msg)
    return settings.num_components or min(width, borne, MOST_COMPONENTS)


def _in_both(
    first: Screen, second: Screen, settings: ChangeSettings
) -> tuple[list[str], dict[str, Any]]:
    """Proteins to compare, and why others are not."""
    known = [set(s.proteins.names) for s in (first, second)]
    fewest = 1 if _single((first, second), known[0] & known[1]) else FEWEST_VECTORS
    enough = [{n for n, count in _counts(s).items() if count >= fewest} for s in (first, second)]
    names = sorted(enough[0] & enough[1])
    left_out = {
        "only_untreated": sorted(known[0] - known[1]),
        "only_treated": sorted(known[1] - known[0]),
        "too_few": sorted((known[0] & known[1]) - set(names)),
    }
    if not names:
        unit = settings.unit
        msg = (
            f"Some protein must have {FEWEST_VECTORS} {unit} or more in both screens. Received: "
            f"{len(known[0] & known[1])} proteins in common, none with so many {unit}, in "
            f"{first.path} and {second.path}. Bring tables of cells and not of profiles."
        )
        raise ValueError(msg)
    return names, left_out


def _counts(one: Screen) -> dict[str, int]:
    return dict(zip(one.proteins.names, one.proteins.counts().tolist(), strict=True))


def _single(screens: tuple[Screen, Screen], names: Collection[str]) -> bool:
    """Whether each of the proteins has one vector in each screen, as profiles have."""
    counts = [_counts(one) for one in screens]
    return all(of_screen[name] == 1 for name in names for of_screen in counts)


def _groups_of_proteins(
    first: Screen, second: Screen, names: Sequence[str], by: tuple[str, ...]
) -> NDArray[np.int64]:
    """Number of each protein's group: those that lie on the same plates, in both screens."""
    members: dict[Any, list[int]] = defaultdict(list)
    places = [dict(zip(s.proteins.names, s.places, strict=True)) for s in (first, second)]
    for index, name in enumerate(names):
        members[places[0][name], places[1][name]].append(index)
    groups = np.zeros(len(names), np.int64)
    for number, (key, inside) in enumerate(members.items()):
        groups[inside] = number
        if len(inside) < FEWEST_PROTEINS:
            where = " and ".join("+".join(sorted(part)) for part in key) if by else "both screens"
            msg = (
                f"There must be {FEWEST_PROTEINS} proteins or more"
                + (f" in each group by {', '.join(by)}" if by else "")
                + ", or what all have in common cannot be told from the moves of a few. Received: "
                f"{len(inside)} proteins in {where}."
                + (" Leave `by` out, or take a column with larger groups." if by else "")
            )
            raise ValueError(msg)
    return groups


def _table(
    names: list[str],
    screens: tuple[Screen, Screen],
    space: Projected,
    found: Shifts | None,
    settings: ChangeSettings,
) -> pd.DataFrame:
    columns: dict[str, Any] = {"protein": names}
    for which, one, counts in zip(("untreated", "treated"), screens, space.counts, strict=True):
        cells = dict(zip(one.proteins.names, one.num_cells, strict=True))
        columns[f"cells_{which}"] = [int(cells[name]) for name in names]
        if settings.replicate_columns:
            columns[f"replicates_{which}"] = counts
    squares = np.square(space.differences).sum(axis=1)
    if found is None:
        columns["distance"] = np.sqrt(np.maximum(squares - space.differences.shape[1], 0))
        columns |= dict.fromkeys(("statistic", "z_score", "p_value", "q_value"), np.nan)
        table = pd.DataFrame({**columns, "moved": pd.array([None] * len(names), "boolean")})
        return table.sort_values(
            ["distance", "protein"], ascending=[False, True], ignore_index=True
        )
    # the squared length that chance alone would give is taken off
    with np.errstate(divide="ignore", invalid="ignore"):
        by_chance = np.where(found.statistic > 0, squares / found.statistic, 0.0)
    columns |= {
        "distance": np.sqrt(np.maximum(squares - by_chance, 0)),
        "statistic": found.statistic,
        "z_score": found.z_score,
        "p_value": found.p_value,
        "q_value": found.q_value,
        "moved": found.q_value <= settings.false_discovery_rate,
    }
    table = pd.DataFrame(columns)
    order = ["q_value", "p_value", "z_score", "protein"]
    return table.sort_values(order, ascending=[True, True, False, True], ignore_index=True)


def _summary(
    tables: tuple[RowTable, RowTable],
    screens: tuple[Screen, Screen],
    table: pd.DataFrame,
    left_out: dict[str, Any],
    found: Shifts | None,
    settings: ChangeSettings,
    num_groups: int,
) -> dict[str, Any]:
    return {
        "deeploc_tf": __version__,
        "proteins": len(table),
        "moved": None if found is None else int(table["moved"].sum()),
        "left_out": left_out,
        "groups_of_proteins": num_groups,
        "bulk_inflation": None if found is None else found.bulk_inflation,
        "bulk_width": None if found is None else found.bulk_width,
        "settings": {
            **dataclasses.asdict(settings),
            "replicate": ",".join(settings.replicate_columns) or None,
        },
        "screens": {
            which: {
                "file": one.path.name,
                "rows": one.num_rows,
                "rows_left_out": dict(read.left_out),
                "replicate_columns": list(read.replicate_columns),
                "provenance": dict(one.provenance),
            }
            for which, one, read in zip(("untreated", "treated"), tables, screens, strict=True)
        },
    }
