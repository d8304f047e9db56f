"""Which cells fields hold, and where: found before any is cut, what cannot be used set aside."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Set
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.joins import Joined, joined, text
from deeploc_tf.names import Kind, respelled, same_form
from deeploc_tf.sources.cell_table import CellRows, CellTable
from deeploc_tf.sources.field_images import FieldImages
from deeploc_tf.sources.masks import check_numbered
from deeploc_tf.sources.source import UNREADABLE, Reject, RejectedCrop, SourceError
from deeploc_tf.sources.windows import Spot, Window, labeled_objects
from deeploc_tf.text_tables import place
from deeploc_tf.units import kind_of_column, same_in_column
from tfrecords.errors import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)
_WHAT = "Fields of the table of cells"
_TOO_LARGE = "cell does not fit into the crop"
Names = tuple[str, ...]
"""What names a field: its path or key, or the texts of the fields of the pattern."""


@dataclasses.dataclass(frozen=True)
class FieldCells:
    """The cells of all fields, field after field: what is needed to cut them.

    Attributes:
        fields: int32 `(cells,)`, the number of each cell's field.
        corners: int32 `(cells, 2)`, first row and column of its window.
        objects: int64 `(cells,)`, its number in the label image; 0 without one.
        rows: int64 `(cells,)`, its row in the table.
        areas: int64 `(cells,)`, pixels of its object; 0 without a label image.
        touching: bool `(cells,)`, whether its object lies beside another one.
        cut: bool `(cells,)`, whether its object reaches the edge of the field.
        table: that table, or None.
        sizes: field -> its height and width, after resampling.
        rejects: cells and fields that cannot be used.
        passed_over: reason -> fields without cells, and cells at the border.
        join: names of the fields in the table and of the images; None without a table.
    """

    fields: NDArray[np.int32]
    corners: NDArray[np.int32]
    objects: NDArray[np.int64]
    rows: NDArray[np.int64]
    areas: NDArray[np.int64]
    touching: NDArray[np.bool_]
    cut: NDArray[np.bool_]
    table: Path | None
    sizes: dict[int, tuple[int, int]]
    rejects: tuple[Reject, ...]
    passed_over: dict[str, int]
    join: Joined[Names] | None = None

    def place(self, position: int) -> tuple[str, ...]:
        """Where a cell stands in the table; () without one."""
        return () if self.table is None else (place(self.table, int(self.rows[position])),)


@dataclasses.dataclass(frozen=True, slots=True)
class _Cell:
    key: str
    field: int
    window: Window
    spot: Spot
    row: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    """One field while its cells are looked for."""

    number: int
    key: str
    files: tuple[str, ...]
    stored: tuple[int, int]  # height and width before resampling
    size: tuple[int, int]
    labels: NDArray[Any] | None
    objects: dict[int, Spot]


def find_cells(
    images: FieldImages,
    table: CellTable | None,
    crop_size: int,
    *,
    drop: bool,
    allow_unmatched: int = 0,
    where: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> tuple[FieldCells, pd.DataFrame]:
    """The cells, and the index of them.

    Args:
        images: the fields, listed.
        table: where the cells are; None for all objects of the label images.
        crop_size: of the windows.
        drop: leave out cells whose window reaches out of the field.
        allow_unmatched: how many fields of the table may have no image; their cells are passed
            over, and else rejects.
        where: column of the pattern or the table -> the values of the cells that are wanted; what
            is neither's column is passed over. Other fields are not opened.

    Raises:
        SourceError: the table does not fit to the fields.
    """
    rows = None if table is None else table.read(images.fields, images.fields_are_columns)
    search = _Search(images, rows, crop_size, drop=drop, allow_unmatched=allow_unmatched)
    fields = _wanted(images.columns, len(images), where)
    if rows is None:
        for number in np.flatnonzero(fields).tolist():
            search.look(number, None)
    else:
        cells = _wanted(rows.free, len(rows.fields), where)
        for number, chosen in sorted(search.rows_of_fields(rows).items()):
            if fields[number] and (kept := [row for row in chosen if cells[row]]):
                search.look(number, kept)
    return search.cells(), search.frame()


class _Search:
    """Looks through one field after another."""

    def __init__(
        self,
        images: FieldImages,
        rows: CellRows | None,
        crop_size: int,
        *,
        drop: bool,
        allow_unmatched: int,
    ) -> None:
        self._images = images
        self._table = rows
        self._crop_size = crop_size
        self._drop = drop
        self._allow_unmatched = allow_unmatched
        self._join: Joined[Names] | None = None
        self._sizes: dict[int, tuple[int, int]] = {}
        self._stored: dict[int, tuple[int, int]] = {}
        self._cells: list[_Cell] = []
        self._needed: list[int] = []  # crop sizes of cells that do not fit
        self._rejects: list[Reject] = []
        self._passed_over: Counter[str] = Counter()

    def rows_of_fields(self, table: CellRows) -> dict[int, list[int]]:
        """Field -> its rows in the table."""
        known = self._images.names() if table.by_name else self._images.values(table.joined)
        kinds: list[Kind] = (
            ["key"] if table.by_name else [kind_of_column(name) for name in table.joined]
        )
        below = {
            name: (self._images.below(name[0]),) if table.by_name else name
            for name in set(table.fields)
        }
        join = _meeting({*below.values()}, known, kinds)
        numbers = {ours: known[theirs] for ours, theirs in join.partners.items()}
        if table.by_name:  # a field has the names of all its files, and is one all the same
            data_of: dict[Names, Names]
            data_of = {(self._images.keys[n],): ours for ours, n in numbers.items()}
            unused = tuple((key,) for key in self._images.keys if (key,) not in data_of)
            join = dataclasses.replace(join, data_of=data_of, unused=unused)
        join.check(None, error=SourceError)
        if join.respelled:
            _log.info("%s", respelled({text(a): text(b) for a, b in join.respelled.items()}, _WHAT))
        numbers = {name: numbers[there] for name, there in below.items() if there in numbers}
        may_lack = len(join.unmatched) <= self._allow_unmatched
        found: dict[int, list[int]] = {}
        for row, name in enumerate(table.fields):
            if name in numbers:
                found.setdefault(numbers[name], []).append(row)
                continue
            if may_lack:
                self._passed_over["cell of a field without image"] += 1
                continue
            named = ", ".join(name)
            first = not self._rejects and len(known) < 10_000  # likenesses take long to find
            nearest = did_you_mean(named, map(", ".join, known)) if first else ""
            detail = (
                "Every cell must be of a field that matches the pattern. Received: "
                f"{named!r} ({table.place(row)}), in {len(self._images)} fields such as "
                f"{', '.join(next(iter(known)))!r}.{nearest}"
            )
            key = table.key(row, named)
            self._rejects.append(Reject("field is missing", key, (table.place(row),), detail))
        self._join = join
        if empty := len(self._images) - len(found):
            self._passed_over["field has no cells in the table"] = empty
        return found

    def look(self, number: int, rows: Sequence[int] | None) -> None:
        """Find the cells of one field: `rows` of the table, or all objects of its label image."""
        key, files = self._images.keys[number], self._images.files(number)
        try:
            field = self._open(number, key, files)
        except (RejectedCrop, *UNREADABLE) as error:
            reason, detail = _fault(error, files)
            names = [(key, ())] if rows is None else [self._name(key, row) for row in rows]
            for cell, row in names:
                self._rejects.append(Reject(reason, cell, (*files, *row), detail))
            return
        self._sizes[number], self._stored[number] = field.size, field.stored
        if rows is None and (lost := self._images.lost.get(number)):
            self._passed_over["object is smaller than a resampled pixel"] += lost
        for item in field.objects if rows is None else rows:
            self._take(field, item)

    def _say_what_would_fit(self) -> None:
        """Say how many cells do not fit, and which crops would hold them; rejects say so, too."""
        if not self._needed:
            return
        sizes = sorted(self._needed)
        count = len(sizes) + len(self._cells)
        sentence = (
            f"{len(sizes)} of {count} cells do not fit into crops of {self._crop_size} pixels: "
            f"crops of {sizes[-1]} would hold them all (--crop-size {sizes[-1]})"
        )
        if (few := count // 100) < len(
            sizes
        ) and few:  # of which one may be many cells grown together
            sentence += f", crops of {sizes[-1 - few]} 99 % of all cells"
        sentence += "."
        _log.warning("%s", sentence)
        self._rejects = [
            dataclasses.replace(reject, detail=f"{reject.detail} {sentence}")
            if reject.reason == _TOO_LARGE
            else reject
            for reject in self._rejects
        ]

    def cells(self) -> FieldCells:
        """What was found, without keys."""
        self._say_what_would_fit()
        windows = [(cell.window.top, cell.window.left) for cell in self._cells]
        return FieldCells(
            fields=np.array([cell.field for cell in self._cells], np.int32),
            corners=np.array(windows, np.int32).reshape(-1, 2),
            objects=np.array([cell.spot.number for cell in self._cells], np.int64),
            rows=np.array([cell.row for cell in self._cells], np.int64),
            areas=np.array([cell.spot.area for cell in self._cells], np.int64),
            touching=np.array([cell.spot.touches for cell in self._cells], np.bool_),
            cut=np.array([self._is_cut(cell) for cell in self._cells], np.bool_),
            table=None if self._table is None else self._table.path,
            sizes=self._sizes,
            rejects=tuple(self._rejects),
            passed_over=dict(self._passed_over),
            join=self._join,
        )

    def frame(self) -> pd.DataFrame:
        """The index."""
        import pandas as pd

        cells = self._cells
        columns: dict[str, Any] = {"key": [cell.key for cell in cells]}
        for name, texts in self._images.columns.items():
            columns[name] = [texts[cell.field] for cell in cells]
        columns["x"], columns["y"] = (
            np.array([self._center(cell)[axis] for cell in cells], np.int64) for axis in (0, 1)
        )
        if self._images.label_image is not None:
            columns["object"] = np.array([cell.spot.number for cell in cells], np.int64)
        frame = pd.DataFrame(columns)
        if self._table is None:
            return frame
        free = self._table.free
        if twice := sorted(set(free.columns) & set(frame.columns)):
            msg = (
                f"The columns of a table of cells must not be called {', '.join(columns)}, which "
                f"come from the fields. Received: {twice}. Rename them, or leave them out."
            )
            raise SourceError(msg)
        chosen = free.iloc[[cell.row for cell in cells]].reset_index(drop=True)
        return pd.concat([frame, chosen], axis=1)

    def _center(self, cell: _Cell) -> tuple[int, int]:
        """Column and row of the pixel in the middle of a cell's window, in the image as it is."""
        resampling = self._images.resampling
        x, y = cell.window.center
        if resampling is None:
            return x, y
        height, width = self._stored[cell.field]
        return round(resampling.to_old(x, width)), round(resampling.to_old(y, height))

    def _open(self, number: int, key: str, files: tuple[str, ...]) -> _Field:
        stored = self._images.size(number)
        resampling = self._images.resampling
        size = stored
        if resampling is not None:
            size = (resampling.length(stored[0]), resampling.length(stored[1]))
        labels = self._images.read_labels(number)
        if labels is None:
            return _Field(number, key, files, stored, size, None, {})
        objects = {spot.number: spot for spot in labeled_objects(labels)}
        if not objects:
            msg = f"A label image must have objects. Received: none in {files[-1]}."
            raise RejectedCrop(msg, reason="label image is empty")
        check_numbered(labels, len(objects), files[-1])
        return _Field(number, key, files, stored, size, labels, objects)

    def _name(self, field: str, item: int) -> tuple[str, tuple[str, ...]]:
        """Key and place of a row of the table, or of an object where there is none."""
        if self._table is None:
            return f"{field}:{item}", ()
        return self._table.key(item, field), (self._table.place(item),)

    def _take(self, field: _Field, item: int) -> None:
        """Note the cell of a row or object, or why there is none."""
        key, row = self._name(field.key, item)
        try:
            if self._table is None:
                spot = field.objects[item]
            else:
                spot = _in_labels(self._placed(self._table.spot(item), field), field)
            window = self._window(spot, field)
        except RejectedCrop as error:
            self._rejects.append(Reject(error.reason, key, (*field.files, *row), str(error)))
            return
        if self._drop and not window.lies_in(*field.size):
            self._passed_over["cell is at the border of its field"] += 1
        else:
            self._cells.append(_Cell(key, field.number, window, spot, item))

    def _is_cut(self, cell: _Cell) -> bool:
        if cell.spot.box is None:
            return False
        left, top, right, bottom = cell.spot.box
        height, width = self._sizes[cell.field]
        return left <= 0 or top <= 0 or right >= width or bottom >= height

    def _placed(self, spot: Spot, field: _Field) -> Spot:
        """The place of a row, which is in pixels of the image as it is, in those that are cut."""
        if not math.isnan(spot.x):
            _check_inside(spot, field)
        if self._images.resampling is None:
            return spot
        return spot.resampled(self._images.resampling, field.stored)

    def _window(self, spot: Spot, field: _Field) -> Window:
        window = Window.around(spot.x, spot.y, self._crop_size)
        if spot.box is not None and not window.holds(spot.box):
            left, top, right, bottom = spot.box
            msg = (
                "A cell must fit into its crop. Received: "
                f"crop_size={self._crop_size}, a cell of {right - left:g} x {bottom - top:g} "
                f"pixels at x={spot.x:g}, y={spot.y:g} in {field.files[0]}."
            )
            self._needed.append(Window.size_that_holds(spot.x, spot.y, spot.box))
            raise RejectedCrop(msg, reason=_TOO_LARGE)
        return window


def _wanted(
    columns: Mapping[str, Sequence[Any]] | pd.DataFrame,
    count: int,
    where: Mapping[str, Collection[str]],
) -> NDArray[np.bool_]:
    """Which of so many fields or rows meet all conditions on their columns."""
    wanted = np.ones(count, np.bool_)
    for name, values in where.items():
        if name in columns:
            forms = {same_in_column(name, value) for value in values}
            wanted &= [same_in_column(name, str(value)) in forms for value in columns[name]]
    return wanted


def _meeting(names: Set[Names], known: Mapping[Names, int], kinds: Sequence[Kind]) -> Joined[Names]:
    """The field that each name of the table means, of those that mean one."""

    def form(name: Names) -> Names:
        return tuple(map(same_form, name, kinds))

    alike = Counter(map(form, known))
    # of two files that only zeros tell apart, neither is meant unless it is named letter by letter
    unclear = {name for name in names if name not in known and alike[form(name)] > 1}
    words = "fields of the table of cells", "fields of the images"
    found = joined(names - unclear, known.keys(), kinds, words)
    return dataclasses.replace(found, unmatched=(*found.unmatched, *sorted(unclear)))


def _fault(error: RejectedCrop | OSError, files: Sequence[str]) -> tuple[str, str]:
    """Reason and sentence, without paths of this machine."""
    if isinstance(error, RejectedCrop):
        return error.reason, str(error)
    name = Path(error.filename or "").name
    detail = (
        f"The files of a field must be readable. Received: {name}: {error.strerror} "
        f"({', '.join(files)})."
    )
    return "file cannot be read", detail


def _in_labels(spot: Spot, field: _Field) -> Spot:
    """The spot with its object in the label image of the field, if it has one."""
    if field.labels is None:
        return spot
    if spot.number:
        found = field.objects.get(spot.number)
        if found is None:
            msg = (
                "An object must be in the label image. Received: "
                f"number {spot.number}, {len(field.objects)} others in {field.files[-1]}."
            )
            raise RejectedCrop(msg, reason="object is not in the label image")
        return found
    number = int(field.labels[math.floor(spot.y + 0.5), math.floor(spot.x + 0.5)])
    if number == 0:
        msg = (
            "A cell must have an object at its middle. Received: background at "
            f"x={spot.x:g}, y={spot.y:g} in {field.files[-1]}."
        )
        raise RejectedCrop(msg, reason="no object at the middle of the cell")
    return dataclasses.replace(field.objects[number], x=spot.x, y=spot.y)


def _check_inside(spot: Spot, field: _Field) -> None:
    height, width = field.stored
    if not (-0.5 <= spot.x < width - 0.5 and -0.5 <= spot.y < height - 0.5):
        msg = (
            f"A cell must lie in its field. Received: x={spot.x:g}, y={spot.y:g}, for "
            f"{field.files[0]} of {width} x {height} pixels."
        )
        raise RejectedCrop(msg, reason="cell is outside its field")
