"""A plate map: a table of what is in each well, joined to the cells by the names of the wells."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deeploc_tf.joins import Joined, joined, listed
from deeploc_tf.names import Kind, same_form, tidy, unified, well_name
from deeploc_tf.sources.source import Source, SourceError
from deeploc_tf.text_tables import place, read_table, require_column
from deeploc_tf.units import is_plate, kind_of_column, row_and_column, whole_path

logger = logging.getLogger(__name__)

_PLACES: tuple[Kind, ...] = ("plate", "well", "field")


class PlateMap:
    """The wells of a table, and how many cells found theirs.

    Args:
        path: of the table: columns that it shares with the cells (well, and perhaps plate) join
            it, the others are added to the cells.
        allow_unmatched: how many wells of the cells may have no row.
        delimiter: of a text table; None for what divides its header.

    Raises:
        SourceError: the table cannot be read, or two of its columns may be one.
    """

    def __init__(
        self, path: str | os.PathLike[str], allow_unmatched: int = 0, delimiter: str | None = None
    ) -> None:
        self.path = path = Path(path)
        self._allow_unmatched = allow_unmatched
        self.wells = read_table(path, delimiter).pipe(as_texts)
        with_well = with_wells(self.wells)
        if with_well is not self.wells:  # what the well was made of joins nothing by itself
            parts = row_and_column([str(name) for name in self.wells]) or ()
            self.wells = with_well.drop(columns=list(parts))
        forms = [same_form(str(name), "channel") for name in self.wells]
        if len(set(forms)) < len(forms):
            same = [n for n, f in zip(self.wells, forms, strict=True) if forms.count(f) > 1]
            msg = (
                "Columns of a plate map must differ in more than case. Received: "
                f"{', '.join(map(repr, same))} in {path.name}. Remove or rename one."
            )
            raise SourceError(msg)
        self._columns: tuple[str, ...] = ()
        self._found: Joined[tuple[str, ...]] | None = None
        self._cells = self._cells_matched = 0

    def join(self, cells: pd.DataFrame, plates: Sequence[str]) -> pd.DataFrame:
        """The cells with the columns of the map; those without a row have "" in them.

        Args:
            cells: of one source.
            plates: columns of the cells that name their plate, such as `plate` or `folder`.

        Raises:
            SourceError: no column is shared, a well has two rows, more wells than are allowed have
                none, or nobody can tell which plate the cells are of.
        """
        shared = self._shared(cells, plates)
        ours, theirs = list(shared.values()), list(shared)
        kinds = [kind_of_column(column) for column in ours]
        of_cells = as_texts(cells[ours])
        for our, their, kind in zip(ours, theirs, kinds, strict=True):
            if kind != "protein":
                both = {*of_cells[our], *self.wells[their]}
                unified(both, kind, f"Names of {our!r} in the cells and the plate map")
        rows = [tuple(row) for row in self.wells[theirs].to_numpy().tolist()]
        self._check_unique(rows, kinds)
        codes, wells = pd.MultiIndex.from_frame(of_cells).factorize()
        words = "wells of the cells", f"rows of {self.path.name}"
        found = joined([tuple(well) for well in wells], rows, kinds, words)
        self._columns = tuple(ours)
        self._found = found if self._found is None else self._found.merged(found)
        if self._found.almost or len(self._found.unmatched) > self._allow_unmatched:
            self._found.checked(self._allow_unmatched, error=SourceError)
        row_of = {row: number for number, row in enumerate(rows)}
        partners = [found.partners.get(tuple(well)) for well in wells]
        at = np.array([-1 if row is None else row_of[row] for row in partners], np.int64)[codes]
        self._cells += len(at)
        self._cells_matched += int((at >= 0).sum())
        for name in self.wells.columns.difference(theirs, sort=False):
            cells[name] = np.where(at >= 0, self.wells[name].to_numpy()[at], "")
        return cells

    def report(self) -> dict[str, Any]:
        """What matched and what did not, JSON-ready; it is logged, too.

        Raises:
            SourceError: no cell has a row.
        """
        if self._found is None:
            return {"file": self.path.name}
        found = self._found.checked(self._allow_unmatched, error=SourceError)
        logger.info(
            "%s has a row for %d of %d cells, by %s.",
            self.path.name,
            self._cells_matched,
            self._cells,
            ", ".join(self._columns),
        )
        return {
            "file": self.path.name,
            "columns": list(self._columns),
            "cells": self._cells,
            "cells_matched": self._cells_matched,
            "cells_without_row": listed(found.unmatched),
            "rows_without_cells": listed(found.unused),
        }

    def _shared(self, cells: pd.DataFrame, plates: Sequence[str]) -> dict[str, str]:
        """Columns of the map -> those of the cells that they are compared with."""
        names, columns = [str(name) for name in cells], [str(name) for name in self.wells]
        by_form = {same_form(name, "channel"): name for name in names}
        shared: dict[str, str] = {}
        for name in columns:
            if name in names:
                shared[name] = name
            elif (form := same_form(name, "channel")) in by_form:
                shared[name] = by_form[form]
        for kind in _PLACES:
            ours = [n for n in names if kind_of_column(n) == kind and n not in shared.values()]
            theirs = [n for n in columns if kind_of_column(n) == kind and n not in shared]
            if kind == "plate" and not ours:
                ours = [name for name in plates if name not in shared.values()]
            has_kind = any(kind_of_column(name) == kind for name in shared.values())
            if len(ours) == len(theirs) == 1 and not has_kind:
                shared[theirs[0]] = ours[0]
        if not shared:
            msg = (
                "A plate map must share a column with the cells. Received: "
                f"{', '.join(map(str, self.wells.columns))} in {self.path.name}, the cells have "
                f"{', '.join(map(str, cells.columns))}. Name the well in the pattern, as {{well}}."
            )
            raise SourceError(msg)
        # the plate first, as in a path
        shared = dict(sorted(shared.items(), key=lambda pair: pair[1] not in plates))
        renamed = [f"{theirs} with {ours}" for theirs, ours in shared.items() if theirs != ours]
        if renamed and not self._columns:
            logger.info("Columns of %s are matched: %s.", self.path.name, ", ".join(renamed))
        self._theirs = tuple(shared)
        self._check_plates(shared, plates, cells)
        return shared

    def _check_plates(
        self, shared: dict[str, str], plates: Sequence[str], cells: pd.DataFrame
    ) -> None:
        """Refuse wells of several plates where nobody can tell which plate the cells are of."""
        columns = [str(name) for name in self.wells]
        unknown = [name for name in columns if is_plate(name) and name not in shared]
        several = [name for name in unknown if len(set(self.wells[name].map(tidy))) > 1]
        if several and not set(plates) & set(shared.values()):
            msg = (
                "A plate map of several plates must share the column of the plate with the cells. "
                f"Received: {several[0]} in {self.path.name}, the cells have "
                f"{', '.join(map(str, cells.columns))}. Name the plate in the pattern, as "
                "{plate}, or name its column with `plate` (--plate)."
            )
            raise SourceError(msg)
        if plates and not unknown and not set(plates) & set(shared.values()) and not self._columns:
            logger.info(
                "%s names no plate: the wells of every plate get its values.", self.path.name
            )

    def _check_unique(self, rows: Sequence[tuple[str, ...]], kinds: Sequence[Kind]) -> None:
        first: dict[tuple[str, ...], tuple[str, ...]] = {}
        for number, row in enumerate(rows):
            form = tuple(map(same_form, row, kinds))
            if form in first:
                one, other = ", ".join(first[form]), ", ".join(row)
                received = f"{one!r} twice" if one == other else f"{one!r} and {other!r}"
                msg = (
                    f"A plate map must name each well once. Received: {received} "
                    f"({place(self.path, number)})."
                )
                raise SourceError(msg)
            first[form] = row


def columns_above_wells(frame: pd.DataFrame, plate: str | None, source: Source) -> tuple[str, ...]:
    """Columns in which wells of one name may lie: folder, plate, and what the pattern names first.

    What else stands before the well in a path is above it, as a plate of whatever name.
    """
    names = [str(name) for name in frame]
    if plate is not None:
        require_column(names, plate, "The column of the plate")
    found = {*whole_path(["well"], names), plate} - {"well", None}
    fields = fields_of_pattern(source)
    if wells := [name for name in fields if kind_of_column(name) == "well"]:
        found |= {name for name in fields[: fields.index(wells[0])] if may_be_a_plate(name)}
    ordered = dict.fromkeys(("folder", *names))
    return tuple(name for name in ordered if name in found and name in names)


def fields_of_pattern(source: Source) -> list[str]:
    """The names in the pattern of a source, in their order; none of a table."""
    pattern = str(source.description.get("pattern") or "")
    return list(dict.fromkeys(re.findall(r"\{(\w+)\}", pattern)))


def may_be_a_plate(name: str) -> bool:
    """Whether a column may name plates by whatever word."""
    return kind_of_column(name) in ("plate", "group") and name not in ("channel", "label")


def as_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with text in every column, "" where there is no value."""
    return pd.DataFrame(
        {
            name: ["" if gone else str(v) for v, gone in zip(column, column.isna(), strict=True)]
            for name, column in frame.items()
        },
        index=frame.index,
    )


def with_wells(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with wells, made of the row and the column of a plate if nothing else names them.

    >>> with_wells(pd.DataFrame({"row": ["B", "2"], "col": ["1", "12"]}))["well"].tolist()
    ['B01', 'B12']
    """
    names = [str(name) for name in frame]
    if any(kind_of_column(name) == "well" for name in names):
        return frame
    parts = row_and_column(names)
    if parts is None:
        return frame
    texts = as_texts(frame[list(parts)]).to_numpy().tolist()
    wells = [well_name(f"{r}{c}") or well_name(f"r{r}c{c}") for r, c in texts]
    known = [well for well in wells if well is not None]
    return frame.assign(well=known) if len(known) == len(frame) else frame
