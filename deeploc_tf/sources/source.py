"""What every source offers: a listing without pixels first, then the pixels of each crop."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Pixels = tuple[NDArray[Any], NDArray[Any] | None]


class StampedPixels(tuple[NDArray[Any], NDArray[Any] | None]):
    """Pixels that come with the status of their files: to ask by name costs as much as to open.

    Attributes:
        statuses: of each of the `paths` of the crop before it was read, in their order.
    """

    statuses: Sequence[os.stat_result]

    def __new__(
        cls,
        image: NDArray[Any],
        mask: NDArray[Any] | None,
        statuses: Sequence[os.stat_result],
    ) -> StampedPixels:
        """A pair of `image` and `mask`, as `Pixels` is."""
        pixels = super().__new__(cls, (image, mask))
        pixels.statuses = statuses
        return pixels


# What is wrong with one file, and not with the disk.
UNREADABLE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class SourceError(ValueError):
    """Files or tables from which no crops can be made as they are."""


class RejectedCrop(SourceError):
    """One crop that cannot be used; the rest of the source may be well.

    Attributes:
        reason: the kind of fault in a few words, without names or numbers, by which rejects are
            counted: "not an image", "mask is empty".
    """

    def __init__(self, message: str, *, reason: str = "not usable") -> None:
        super().__init__(message)
        self.reason = reason


@dataclasses.dataclass(frozen=True, slots=True)
class Reject:
    """A cell that was set aside, as `rejects.jsonl` lists it.

    Attributes:
        reason: the kind of fault, by which rejects are counted.
        key: the key that the cell has or would have had.
        files: its files as a person would name them.
        detail: what was found, for a person.
    """

    reason: str
    key: str
    files: tuple[str, ...]
    detail: str = ""


class Source(Protocol):
    """Where crops come from, in two passes: a build must know all keys before it reads a pixel.

    After `index`, a source can be pickled: each worker of a build reads with a copy of its own.

    Attributes:
        channels: names of the channels, in the order of the last axis of the images.
        description: what made this listing (kind, pattern, columns), for the manifest; no machine
            paths.
        rejects: cells that `index` set aside, known once it has been called.
        passed_over: reason -> how many files `index` passed over because they are no cells.
    """

    channels: tuple[str, ...]

    @property
    def description(self) -> Mapping[str, Any]:
        """What made this listing, as plain JSON values."""
        ...

    @property
    def rejects(self) -> Sequence[Reject]:
        """Cells that `index` set aside."""
        ...

    @property
    def passed_over(self) -> Mapping[str, int]:
        """Reason -> how many files are no cells; they count for nothing."""
        ...

    def index(self) -> pd.DataFrame:
        """One row a crop, no pixels: `key` (unique text), then columns of text or numbers."""
        ...

    def read(self, position: int) -> Pixels:
        """Image `(height, width, channels)`, and mask `(height, width)` or None, of a row.

        They stay as they are when other rows are read: several are held at a time. Where each crop
        has files of its own, they may be `StampedPixels`.

        Raises:
            RejectedCrop: this crop cannot be used.
            SourceError: nothing can be read as things are.
            OSError: a file cannot be read.
        """
        ...

    def files(self, position: int) -> tuple[str, ...]:
        """The files of row `position` as a person would name them, for messages."""
        ...

    def paths(self, position: int) -> tuple[str, ...]:
        """The real files behind row `position`; if size or time of one changes, the crop did."""
        ...


def files_behind(source: Source, positions: Iterable[int]) -> Iterator[str]:
    """The real files behind some rows, those of a field once; not the tables that list them."""
    last: tuple[str, ...] = ()
    for position in positions:
        with contextlib.suppress(SourceError, OSError):  # of a row that was set aside
            paths = source.paths(position)
            if paths is not last:
                yield from paths
                last = paths
