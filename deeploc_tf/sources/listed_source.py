"""What all sources of this package share: a listing that is made once, and copies that read."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from deeploc_tf.sources.source import Reject, Source

if TYPE_CHECKING:
    import pandas as pd


class ListedSource(Source):
    """A source that lists its crops in `_list` when it is first asked, and then remembers them.

    Args:
        channels: names of the channels, in the stored order.
        dtype: type to convert pixels to.

    Attributes:
        channels: as given, or, once `index` has been called, as the files name them.
        dtype: as given.
        pixel_size: micrometres per pixel where the files say it; known after `index`.
    """

    _left_behind: ClassVar[tuple[str, ...]] = ()  # attributes that are None in a pickled copy

    def __init__(self, channels: Sequence[str], dtype: str | None) -> None:
        self.channels = tuple(channels)
        self.dtype = dtype
        self.pixel_size: float | None = None
        self._rejects: list[Reject] = []  # `_list` sets these two
        self._passed_over: Mapping[str, int] = {}
        self._index: pd.DataFrame | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the index: a worker reads by position alone."""
        return vars(self) | dict.fromkeys(("_index", *self._left_behind))

    @property
    def rejects(self) -> Sequence[Reject]:
        """Cells that `index` set aside."""
        return tuple(self._rejects)

    @property
    def passed_over(self) -> Mapping[str, int]:
        """Reason -> how many files or cells count for nothing."""
        return dict(self._passed_over)

    def index(self) -> pd.DataFrame:
        """One row per crop, with the columns that the class describes; no pixels are read.

        Raises:
            SourceError: no crops can be made of what is there, or a link leads out of its folder.
            OSError: a table or a file cannot be read.
        """
        if self._index is None:
            self._index = self._list()
        return self._index.copy()

    @abc.abstractmethod
    def _list(self) -> pd.DataFrame:
        """Find the crops: the index, and on the way rejects, what is passed over, pixel size."""
