"""What every source offers: a listing without pixels first, then the pixels of each crop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Pixels = tuple[NDArray[Any], NDArray[Any] | None]


class SourceError(ValueError):
    """Files or tables from which no crops can be made as they are."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question with the name in `known` that is nearest, whatever its case, or ""."""
    by_folded = {other.casefold(): other for other in known}
    near = get_close_matches(name.casefold(), by_folded, n=1)
    return f" Did you mean {by_folded[near[0]]!r}?" if near else ""


class Source(Protocol):
    """Where crops come from, in two passes: a build must know all keys before it reads a pixel.

    Attributes:
        channels: names of the channels, in the order of the last axis of the images.
        description: what made this listing (kind, pattern, columns), for the manifest; no machine
            paths.
        rejects: reason -> how many items `index` left out, known once it has been called.
    """

    channels: tuple[str, ...]

    @property
    def description(self) -> Mapping[str, Any]:
        """What made this listing, as plain JSON values."""
        ...

    @property
    def rejects(self) -> Mapping[str, int]:
        """Reason -> how many items `index` left out."""
        ...

    def index(self) -> pd.DataFrame:
        """One row a crop, no pixels: `key` (unique text), then columns of text or numbers."""
        ...

    def read(self, position: int) -> Pixels:
        """Image `(height, width, channels)`, and mask `(height, width)` or None, of a row."""
        ...

    def files(self, position: int) -> tuple[str, ...]:
        """The files of row `position` as a person would name them, for messages."""
        ...
