"""A table of the cells of full fields: where each stands, and what else is known of it."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.masks import first_gap
from deeploc_tf.sources.source import RejectedCrop, SourceError
from deeploc_tf.sources.windows import Spot
from deeploc_tf.text_tables import place, read_table, require_column

if TYPE_CHECKING:
    import pandas as pd

CENTER = ("x", "y")
_MOST_DIGITS = 30  # of the number of an object; 1e999999 shall not fill the memory


@dataclasses.dataclass(frozen=True)
class CellTable:
    """Which table, and which of its columns say where a cell is.

    Coordinates are pixels of the image as it is, from 0, x to the right and y down; they are never
    scaled. A cell is given by its centre, or by a box, or by its number in the label image.

    Attributes:
        path: a `.csv`, `.tsv` or `.parquet` table, a row per cell.
        field: column that names the field, by the path of one of its files or by its key. By
            default `image` where the table has it; else the fields of the pattern are columns.
        center: columns of x and y of the centre; by default x, y.
        box: columns of left, top, right and bottom of a box; the last two are the first outside.
        number: column of the number in the label image.
        key: column of unique names; by default `key` where the table has it, else the key of the
            field and the place.
        delimiter: of a text table; None for what divides its header.
    """

    path: str | os.PathLike[str]
    field: str | None = None
    center: tuple[str, str] | None = None
    box: tuple[str, str, str, str] | None = None
    number: str | None = None
    key: str | None = None
    delimiter: str | None = None

    def __post_init__(self) -> None:
        """Refuse several ways to say where a cell is."""
        ways = [self.center, self.box, self.number]
        if sum(way is not None for way in ways) > 1 or len(set(self.columns)) != len(self.columns):
            msg = (
                "A cell must be given by one of `center` (two columns), `box` (four columns) and "
                f"`number` (one column). Received: center={self.center}, box={self.box}, "
                f"number={self.number!r}."
            )
            raise SourceError(msg)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that say where a cell is."""
        if self.number is not None:
            return (self.number,)
        return tuple(self.box or self.center or CENTER)

    def read(self, fields: Sequence[str], some: bool = False) -> CellRows:
        """The rows of the table.

        Args:
            fields: names of the fields of the pattern.
            some: the table need not have all of them.

        Raises:
            TableError: the table cannot be read, or a column is missing.
            SourceError: a column holds what is no number.
        """
        frame = read_table(self.path, self.delimiter)
        for column in self.columns:
            require_column(frame.columns, column, "A column of places")
        name = self.field or ("image" if "image" in frame.columns else None)
        shared = [field for field in fields if field in frame.columns] if some else []
        joined = [name] if name is not None else shared or list(fields or ["image"])
        for column in joined:
            require_column(frame.columns, column, "The column of the field")
        key = self.key or ("key" if "key" in frame.columns else None)
        if key is not None:
            require_column(frame.columns, key, "The key column")
        used = {*joined, *self.columns, key}
        return CellRows(
            path=Path(self.path),
            fields=list(zip(*(frame[column].map(str) for column in joined), strict=True)),
            by_name=name is not None,
            joined=tuple(joined),
            places=np.stack([self._numbers(frame[c], c) for c in self.columns], axis=1),
            keys=None if key is None else [str(value) for value in frame[key]],
            free=frame.drop(columns=[column for column in frame.columns if column in used]),
        )

    def _numbers(self, values: pd.Series[Any], column: str) -> NDArray[Any]:
        """The column as numbers; NaN where it is empty or says so itself.

        Places are float64. Numbers of objects are Python's own, because float64 does not hold all
        whole numbers from 2**53 on.
        """
        is_number = column == self.number
        if is_number:
            _check_not_rounded(values, column, self.path)
        number: Callable[[str], int | float] = _object_number if is_number else float
        numbers = np.full(len(values), np.nan, object if is_number else np.float64)
        for row, value in enumerate(values):
            text = "" if value is None else str(value).strip()
            try:
                if "_" in text:  # which Python takes for a separator
                    raise ValueError
                if text:
                    numbers[row] = number(text)
            except (ArithmeticError, ValueError) as error:
                msg = (
                    f"A place must be a number. Received: {value!r} in column {column!r} "
                    f"({place(self.path, row)})."
                )
                raise SourceError(msg) from error
        return numbers


def _object_number(text: str) -> int | float:
    """A whole number as it is, however it is written; what is none as float64."""
    if text.isdecimal():
        return int(text)
    number = Decimal(text)
    is_whole = number.is_finite() and number.adjusted() < _MOST_DIGITS and number % 1 == 0
    return int(number) if is_whole else float(number)


def _check_not_rounded(values: pd.Series[Any], column: str, path: str | os.PathLike[str]) -> None:
    """Raise `SourceError` if floats are so large that they may stand for other whole numbers."""
    if values.dtype.kind != "f":
        return
    numbers = values.to_numpy()
    limit = first_gap(numbers.dtype)
    too_large = np.flatnonzero(np.isfinite(numbers) & (np.abs(numbers) >= limit))
    if too_large.size:
        row = int(too_large[0])
        msg = (
            f"Numbers of objects in a column of {values.dtype} must be below {limit}, from where "
            f"on it does not hold every whole number. Received: {numbers[row]:.0f} in column "
            f"{column!r} ({place(path, row)}). Write them as whole numbers or text."
        )
        raise SourceError(msg)


@dataclasses.dataclass(frozen=True)
class CellRows:
    """The rows of a table of cells.

    Attributes:
        path: the table.
        fields: what names the field of each row.
        by_name: whether that is one name, or the values of the pattern's fields.
        joined: columns that it is or they are.
        places: `(rows, columns)`: centre or box as float64, or the number of an object as Python
            has it; NaN where it is not known.
        keys: key of each row, or None.
        free: the other columns.
    """

    path: Path
    fields: list[tuple[str, ...]]
    by_name: bool
    joined: tuple[str, ...]
    places: NDArray[Any]
    keys: list[str] | None
    free: pd.DataFrame

    def place(self, row: int) -> str:
        """Where a row stands in the table, for messages."""
        return place(self.path, row)

    def key(self, row: int, field: str) -> str:
        """The key of a row: its own, or the key of its field and where the cell is."""
        if self.keys is not None:
            return self.keys[row]
        return f"{field}:{','.join(map(_in_full, self.places[row].tolist()))}"

    def spot(self, row: int) -> Spot:
        """Where the cell of a row is; NaN where only its number is known.

        Raises:
            RejectedCrop: a number is missing or the box has no area.
        """
        numbers = self.places[row].tolist()
        if len(numbers) == 1 and isinstance(numbers[0], int):
            if numbers[0] >= 1:
                return Spot(math.nan, math.nan, None, numbers[0])
            problem, reason = f"object {numbers[0]}", "place is not known"
        elif len(numbers) == 1:
            problem, reason = f"object {numbers[0]}", "place is not known"
        elif not np.isfinite(numbers).all():
            problem, reason = "no place", "place is not known"
        elif len(numbers) == 2:
            return Spot(*numbers)
        elif numbers[0] < numbers[2] and numbers[1] < numbers[3]:
            left, top, right, bottom = numbers
            return Spot((left + right - 1) / 2, (top + bottom - 1) / 2, tuple(numbers))
        else:
            problem, reason = f"box {numbers}", "box has no area"
        msg = (
            "A cell must have a finite centre, a box of left < right and top < bottom, or an "
            f"object's number. Received: {problem} ({self.place(row)})."
        )
        raise RejectedCrop(msg, reason=reason)


def _in_full(number: float) -> str:
    """A number as text that no other number has; short where ten digits are all it has.

    >>> _in_full(720.0), _in_full(20.12345678901), _in_full(9007199254740993)
    ('720', '20.12345678901', '9007199254740993')
    """
    if isinstance(number, int):
        return str(number)
    short = f"{number:.10g}"
    return short if float(short) == number or math.isnan(number) else repr(number)
