"""Cells by plate and well, and whether control wells differ by their place: edges and plates.

A well is one observation. Cells of a well share its staining, its focus and its neighbors, so that
a test over cells would find every plate different from every other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from deeploc_tf.benchmark.intervals import adjusted
from deeploc_tf.names import well_name
from deeploc_tf.provenance import check_unchanged
from deeploc_tf.report.reading import read_json
from deeploc_tf.text_tables import read_table
from deeploc_tf.units import (
    kind_of_column,
    names_of_units,
    row_and_column,
    same_in_column,
    some,
    whole_path,
)
from tfrecords.errors import did_you_mean

FORMATS = {96: (8, 12), 384: (16, 24), 1536: (32, 48)}
"""Wells of a plate -> its rows and columns."""

CELLS, CALLED, REFUSED = "cells", "call", "refused share"
_NUM_PERMUTATIONS = 9_999
_AT_ONCE = 500


@dataclasses.dataclass(frozen=True)
class Wells:
    """What is known of each well.

    Attributes:
        table: a row per well: `plate`, `row` and `column` from 0, `is_control`, `call` (the
            commonest; "" where none is known), and numbers: `cells`, medians over cells, shares.
        measures: columns of numbers, in the order in which they are shown.
        shape: rows and columns of a plate.
        notes: sentences about what is not shown.
    """

    table: pd.DataFrame
    measures: tuple[str, ...]
    shape: tuple[int, int]
    notes: tuple[str, ...] = ()

    @property
    def is_edge(self) -> NDArray[np.bool_]:
        """Which wells lie in an outermost row or column, `(num_wells,)`."""
        rows, columns = (self.table[name].to_numpy() for name in ("row", "column"))
        last_row, last_column = self.shape[0] - 1, self.shape[1] - 1
        edge: NDArray[np.bool_] = np.isin(rows, (0, last_row)) | np.isin(columns, (0, last_column))
        return edge


def has_wells(columns: Iterable[str]) -> bool:
    """Whether columns name wells: one of them, or the row and the column of a plate."""
    columns = list(columns)
    return _column_of_wells(columns) is not None or row_and_column(columns) is not None


def read_predictions(folder: str | Path) -> pd.DataFrame:
    """The cells that `predict` wrote, without their probabilities; `refused`: something is odd.

    Raises:
        ValueError: the folder holds something else.
        OSError: it cannot be read.
    """
    path = Path(folder) / "cells.parquet"
    if path.exists():
        check_unchanged(path)
    known = pq.read_schema(path).names if path.exists() else []
    if "flags" not in known or "wells_by" not in read_json(Path(folder) / "predict.json"):
        msg = f"Cells must be those that `predict` wrote. Received: {folder}."
        raise ValueError(msg)
    names = [name for name in known if not name.startswith("probability_")]
    table: pd.DataFrame = pd.read_parquet(path, columns=names)
    return table.assign(**{REFUSED: table["flags"].fillna("") != ""})


def wells_of(cells: pd.DataFrame, controls: Mapping[str, Collection[str]]) -> Wells:
    """Counts, medians and shares of cells by plate and well.

    Args:
        cells: a row per cell: columns of places; numbers such as `confidence`, `focus` and
            `intensity of GFP`; `call` and `refused share`, as far as they are known.
        controls: column -> values of control wells; all must hold, for every cell of the well.

    Raises:
        ValueError: no column names wells, or controls name what is not there.
    """
    frame = _with_places(cells)
    frame["is_control"] = _are_controls(cells, controls)
    frame[CALLED] = cells[CALLED].fillna("") if CALLED in cells else ""
    measures = [name for name in map(str, cells) if _is_measure(name)]
    judged = {"novelty": "f", "accepted": "b"}  # as `predict` has them; others may be anything
    measures += [n for n, kind in judged.items() if n in cells and cells[n].dtype.kind == kind]
    frame[measures] = cells[measures].astype(float)
    notes = []
    if homeless := int((frame["well"] == "").sum()):
        notes.append(f"{homeless:,} cells are of no well of a plate, and are not shown.")
    frame = frame[frame["well"] != ""]
    common = _commonest(frame[CALLED][frame["is_control"]])
    if common:
        share = f"share called {common}"
        frame = frame.assign(**{share: (frame[CALLED] == common).astype(float)})
        measures.append(share)
    grouped = frame.groupby(["plate", "well"], sort=True)
    table = pd.DataFrame({CELLS: grouped.size().astype(float)})
    for name in measures:
        is_share = name in (REFUSED, "accepted") or name not in cells
        table[name] = grouped[name].mean() if is_share else grouped[name].median()
    table["is_control"] = grouped["is_control"].all()
    table[CALLED] = grouped[CALLED].agg(_commonest)
    table = table.reset_index()
    if table.empty:
        column = _place_columns([str(name) for name in cells])[-1]
        msg = (
            "Cells must be of wells of a plate, such as A01. Received: "
            f"{len(cells)} cells, whose {column} is {some(map(str, cells[column])) or 'nothing'}."
        )
        raise ValueError(msg)
    table[["row", "column"]] = [_row_and_column(name) for name in table["well"]]
    if controls and not table["is_control"].any():
        notes.append("No well holds control cells alone.")
    return Wells(table, (CELLS, *measures), _shape(table), tuple(notes))


def with_left_out(wells: Wells, folder: str | Path) -> Wells:
    """The same wells, with the cells that `predict` left out of its table as refused ones.

    Args:
        wells: of the cells that `predict` wrote.
        folder: that it wrote; `wells.csv` says how many it left out.
    """
    check_unchanged(Path(folder) / "wells.csv")
    frame = read_table(Path(folder) / "wells.csv")
    if "num_left_out" not in frame:
        return wells
    places = _with_places(frame.loc[:, :"num_cells"].drop(columns="num_cells"))
    left_out = frame["num_left_out"].astype(float).groupby([places["plate"], places["well"]]).sum()
    table = wells.table.set_index(["plate", "well"])
    count = left_out.reindex(table.index).fillna(0.0)
    table[REFUSED] = (table[REFUSED] * table[CELLS] + count) / (table[CELLS] + count)
    empty = int((left_out[~left_out.index.isin(table.index)] > 0).sum())
    notes = [f"{empty:,} wells have no cell that was classified, and are not shown."]
    return dataclasses.replace(
        wells, table=table.reset_index(), notes=(*wells.notes, *notes[: bool(empty)])
    )


def joined_wells(first: Wells, second: Wells) -> Wells:
    """What two tables know of the same wells; where both know a measure, the first is taken."""
    by = ["plate", "well"]
    one, other = first.table.set_index(by), second.table.set_index(by)
    table = one.combine_first(other).reset_index()
    table["is_control"] = table["is_control"].astype(bool)
    table[["row", "column"]] = table[["row", "column"]].astype(int)
    measures = tuple(dict.fromkeys((*first.measures, *second.measures)))
    return Wells(table, measures, _shape(table), (*first.notes, *second.notes))


def place_effects(wells: Wells) -> pd.DataFrame:
    """Tests of each measure on control wells: edge against inner wells, and between plates.

    Wells of an edge are compared with inner ones of the same plate, and plates with each other, by
    ranks that are permuted 9,999 times: within plates for the edge, over all for the plates. No
    row where there is nothing to compare.

    Returns:
        A row per measure and effect: `measure`, `effect`, `wells` (how many on each side, or how
        many plates), `difference` (of medians; for plates the largest less the smallest), `p` and
        `adjusted p`, by Holm over all rows.
    """
    chosen = wells.table["is_control"].to_numpy(np.bool_)
    table, edge = wells.table[chosen], wells.is_edge[chosen]
    plates, _ = pd.factorize(table["plate"])
    rows = []
    for number, measure in enumerate(wells.measures):
        values = table[measure].to_numpy(np.float64)
        known = np.isfinite(values)
        for effect, groups, strata in (
            ("edge", edge.astype(int), plates),
            ("plate", plates, np.zeros(len(plates), int)),
        ):
            kept = known & _comparable(groups, strata, known)
            if not kept.any():
                continue
            of, within, found = groups[kept], strata[kept], values[kept]
            random = np.random.default_rng(number)
            medians = pd.Series(found).groupby(of).median()
            sizes = (
                f"{(of == 1).sum()} edge, {(of == 0).sum()} inner"
                if effect == "edge"
                else f"{len(found)} on {len(medians)} plates"
            )
            spread = medians[1] - medians[0] if effect == "edge" else medians.max() - medians.min()
            rows.append(
                {
                    "measure": measure,
                    "effect": effect,
                    "wells": sizes,
                    "difference": spread,
                    "p": permutation_p_value(found, of, within, random),
                }
            )
    columns = ["measure", "effect", "wells", "difference", "p"]
    return pd.DataFrame(rows, columns=columns).assign(
        **{"adjusted p": lambda table: adjusted(table["p"].tolist())}
    )


def permutation_p_value(
    values: NDArray[np.float64],
    groups: NDArray[np.integer],
    strata: NDArray[np.integer],
    random: np.random.Generator,
) -> float:
    """Whether groups differ in their ranks within strata, by permuting ranks within strata.

    The statistic is that of Kruskal and Wallis on ranks that are centered within strata and divided
    by one more than their number (van Elteren); of two groups it is the two-sided rank test.

    Args:
        values: float64 `(num_observations,)`.
        groups: to compare, `(num_observations,)`.
        strata: within which observations may change places, `(num_observations,)`.
        random: where permutations come from.
    """
    order = np.argsort(strata, kind="stable")
    frame = pd.DataFrame({"value": values, "stratum": strata}).iloc[order]
    by_stratum = frame.groupby("stratum")["value"]
    size = by_stratum.transform("size").to_numpy()
    ranks = (by_stratum.rank().to_numpy() - (size + 1) / 2) / (size + 1)
    _, codes = np.unique(groups[order], return_inverse=True)
    is_of = np.eye(codes.max() + 1)[codes]
    weights = 1 / is_of.sum(axis=0)
    borders = np.flatnonzero(np.diff(strata[order])) + 1

    def statistic(permuted: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = ((permuted @ is_of) ** 2 * weights).sum(axis=-1)
        return found

    observed = statistic(ranks) * (1 - 1e-9)  # the same sum in another order is no smaller
    as_large = 0
    for count in _portions(_NUM_PERMUTATIONS):
        parts = [
            random.permuted(np.tile(part, (count, 1)), axis=1) for part in np.split(ranks, borders)
        ]
        as_large += int((statistic(np.hstack(parts)) >= observed).sum())
    return (1 + as_large) / (1 + _NUM_PERMUTATIONS)


def _portions(count: int) -> Iterator[int]:
    while count > 0:
        yield min(count, _AT_ONCE)
        count -= _AT_ONCE


def _comparable(
    groups: NDArray[np.integer], strata: NDArray[np.integer], known: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which observations stand in a stratum with several groups."""
    frame = pd.DataFrame({"group": groups, "stratum": strata})
    several = frame[known].groupby("stratum")["group"].nunique()
    kept: NDArray[np.bool_] = np.isin(strata, several.index[several > 1])
    return kept


def _place_columns(columns: list[str]) -> tuple[str, ...]:
    """Columns above the wells, then that of the wells, or those of row and column."""
    well = _column_of_wells(columns)
    pair = row_and_column(columns)
    if well is None and pair is None:
        msg = (
            "Cells must have a column of wells, or of rows and columns of plates. Received: "
            f"columns {', '.join(columns)}."
        )
        raise ValueError(msg)
    own = (well,) if well is not None else pair or ()
    return (*(name for name in whole_path(own[:1], columns) if name not in own), *own)


def _with_places(cells: pd.DataFrame) -> pd.DataFrame:
    """Columns `plate` and `well` of each cell, by one spelling; "" where the well is none."""
    columns = _place_columns([str(name) for name in cells])
    own = 1 if kind_of_column(columns[-1]) == "well" else 2
    texts = pd.DataFrame({name: _texts(cells[name]) for name in columns}, index=cells.index)
    codes = texts.groupby(list(columns), sort=False).ngroup()
    places = texts.drop_duplicates()
    above = {name: places[name].tolist() for name in columns[:-own]}
    plates = names_of_units(above) if above else [""] * len(places)
    wells = [
        well_name("".join(parts)) or (own == 2 and well_name("R{}C{}".format(*parts))) or ""
        for parts in places[list(columns[-own:])].itertuples(index=False, name=None)
    ]
    found = pd.DataFrame({"plate": plates, "well": wells}, dtype=object)
    return found.take(codes.to_numpy()).set_index(cells.index)


def _texts(values: pd.Series[Any]) -> pd.Series[str]:
    """Values as texts; whole numbers of a column with gaps without their `.0`."""
    if pd.api.types.is_float_dtype(values):
        return values.map(lambda value: "" if pd.isna(value) else f"{value:g}")
    return values.astype(object).where(values.notna(), "").map(str)


def _is_measure(name: str) -> bool:
    return name in ("confidence", "focus", REFUSED) or name.startswith("intensity of ")


def _column_of_wells(columns: Iterable[str]) -> str | None:
    return next((name for name in columns if kind_of_column(name) == "well"), None)


def _are_controls(
    cells: pd.DataFrame, controls: Mapping[str, Collection[str]]
) -> NDArray[np.bool_]:
    chosen = np.full(len(cells), bool(controls))
    for column, values in controls.items():
        if column not in cells:
            msg = (
                f"Controls must be told by a column of the cells. Received: {column!r}; there are "
                f"{', '.join(map(str, cells))}.{did_you_mean(column, map(str, cells))}"
            )
            raise ValueError(msg)
        wanted = {same_in_column(column, value) for value in values}
        found = [same_in_column(column, str(value)) for value in cells[column]]
        if absent := wanted - set(found):
            msg = (
                f"Controls must be cells that are there. Received: {column}={sorted(absent)[0]!r}; "
                f"the cells have {some(set(found))}."
            )
            raise ValueError(msg)
        chosen &= np.array([value in wanted for value in found], bool)
    return chosen


def _commonest(calls: pd.Series[str]) -> str:
    """The commonest call; of equally common ones the first by name."""
    counts = calls[calls != ""].value_counts()
    return str(min(counts.index[counts == counts.max()])) if len(counts) else ""


def _row_and_column(name: str) -> tuple[int, int]:
    """Numbers from 0 of a well's row and column; its name is as `well_name` writes it."""
    letters = name.rstrip("0123456789")
    row = 26 * (len(letters) - 1) + ord(letters[-1]) - ord("A")
    return row, int(name[len(letters) :]) - 1


def _shape(table: pd.DataFrame) -> tuple[int, int]:
    """Of the smallest plate that has all the wells."""
    last = table["row"].max(), table["column"].max()
    return next(
        (shape for shape in FORMATS.values() if last[0] < shape[0] and last[1] < shape[1]),
        FORMATS[1536],
    )
