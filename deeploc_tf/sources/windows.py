"""Where crops lie in a field: pixel arithmetic, without files."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.resampling import Resampling


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """A square of a field; it may reach out of it.

    Attributes:
        top: first row.
        left: first column.
        size: rows and columns.
    """

    top: int
    left: int
    size: int

    @classmethod
    def around(cls, x: float, y: float, size: int) -> Window:
        """The window whose middle is the pixel at `x`, `y`.

        Pixel 0 reaches from -0.5 to 0.5. Of an even size, the middle is the first pixel of the
        second half.

        Example:
            >>> Window.around(x=100.4, y=40, size=64)
            Window(top=8, left=68, size=64)
        """
        return cls(math.floor(y + 0.5) - size // 2, math.floor(x + 0.5) - size // 2, size)

    @property
    def center(self) -> tuple[int, int]:
        """Column and row of the pixel in the middle."""
        return self.left + self.size // 2, self.top + self.size // 2

    def lies_in(self, height: int, width: int) -> bool:
        """Whether no pixel is outside a field of that size."""
        return (
            self.top >= 0
            and self.left >= 0
            and self.top + self.size <= height
            and self.left + self.size <= width
        )

    def holds(self, box: tuple[float, float, float, float]) -> bool:
        """Whether the box (left, top, right, bottom; the last two excluded) is in the window."""
        left, top, right, bottom = box
        return (
            self.left <= left
            and self.top <= top
            and right <= self.left + self.size
            and bottom <= self.top + self.size
        )

    @staticmethod
    def size_that_holds(x: float, y: float, box: tuple[float, float, float, float]) -> int:
        """The size of the smallest window around `x`, `y` that holds a box.

        Example:
            >>> Window.size_that_holds(10, 10, (8, 6, 12, 12))
            8
        """
        left, top, right, bottom = box
        column, row = math.floor(x + 0.5), math.floor(y + 0.5)
        before = math.ceil(max(column - left, row - top, 0))
        behind = math.ceil(max(right - column, bottom - row, 1))
        return min(2 * max(before, behind), 2 * max(before, behind - 1) + 1)

    def cut(self, field: NDArray[Any]) -> NDArray[Any]:
        """A copy of the pixels of the window; 0 where it reaches out of the field.

        Args:
            field: `(height, width)` or `(height, width, channels)`.
        """
        top, left = max(self.top, 0), max(self.left, 0)
        bottom, right = max(self.top + self.size, 0), max(self.left + self.size, 0)
        inside = field[top:bottom, left:right]
        if inside.shape[:2] == (self.size, self.size):
            return inside.copy()
        crop = np.zeros((self.size, self.size, *field.shape[2:]), field.dtype)
        if inside.size:
            rows, columns = inside.shape[:2]
            top, left = top - self.top, left - self.left
            crop[top : top + rows, left : left + columns] = inside
        return crop


@dataclasses.dataclass(frozen=True, slots=True)
class Spot:
    """Where a cell is in its field.

    Attributes:
        x: column of its middle; pixel 0 reaches from -0.5 to 0.5.
        y: row of its middle.
        box: left, top, right, bottom (the last two are the first outside), or None.
        number: in the label image; 0 without one.
        area: pixels of its object; 0 without one.
        touches: whether a pixel of another object lies beside one of its own.
    """

    x: float
    y: float
    box: tuple[float, float, float, float] | None = None
    number: int = 0
    area: int = 0
    touches: bool = False

    def resampled(self, resampling: Resampling, size: tuple[int, int]) -> Spot:
        """The same place in a field of `size` (height, width) after it was resampled.

        What lies in the rim that makes no whole pixel counts as in the pixel beside it.
        """
        height, width = size

        def place(x: float, old: int) -> float:
            new = resampling.to_new(x, old)
            return x if math.isnan(x) else min(max(new, -0.5), resampling.length(old) - 0.51)

        box = self.box
        if box is not None:
            edges = zip(box, (width, height, width, height), strict=True)
            left, top, right, bottom = (
                resampling.to_new(edge - 0.5, old) + 0.5 for edge, old in edges
            )
            box = (left, top, right, bottom)
        return Spot(place(self.x, width), place(self.y, height), box, self.number)


def labeled_objects(labels: NDArray[Any]) -> list[Spot]:
    """The objects of a label image `(height, width)`, by their numbers, which need not follow on.

    Pixels of one number are one object, whether they touch or not; its middle is their mean.

    Example:
        >>> labeled_objects(np.array([[0, 7, 7], [0, 0, 3]]))[1]
        Spot(x=1.5, y=0.0, box=(1, 0, 3, 1), number=7, area=2, touches=True)
    """
    places = np.flatnonzero(labels)
    if not places.size:
        return []
    values = labels.ravel()[places]
    order = np.argsort(values, kind="stable")
    numbers, starts, counts = np.unique(values[order], return_index=True, return_counts=True)
    rows, columns = np.divmod(places[order], labels.shape[1])
    means = [np.add.reduceat(along, starts) / counts for along in (columns, rows)]
    edges = [
        np.minimum.reduceat(columns, starts),
        np.minimum.reduceat(rows, starts),
        np.maximum.reduceat(columns, starts) + 1,
        np.maximum.reduceat(rows, starts) + 1,
    ]
    boxes = zip(*(edge.tolist() for edge in edges), strict=True)
    touching = _touching(labels)
    areas = counts.tolist()
    each = zip(means[0].tolist(), means[1].tolist(), boxes, numbers.tolist(), areas, strict=True)
    return [Spot(x, y, b, int(n), area, n in touching) for x, y, b, n, area in each]


def _touching(labels: NDArray[Any]) -> set[int]:
    """Numbers of the objects that lie beside another one, in a row or a column."""
    found: set[int] = set()
    for one, other in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        meet = (one != other) & (one != 0) & (other != 0)
        found.update(np.unique(one[meet]).tolist(), np.unique(other[meet]).tolist())
    return found
