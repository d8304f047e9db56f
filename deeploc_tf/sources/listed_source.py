"""What all sources of this package share: a listing that is made once, and copies that read."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from deeploc_tf.sources.resampling import Resampling
from deeploc_tf.sources.source import Reject, Source, StampedPixels

if TYPE_CHECKING:
    import pandas as pd


class ListedSource(Source):
    """A source that lists its crops in `_list` when it is first asked, and then remembers them.

    Args:
        channels: names of the channels, in the stored order.
        dtype: type to convert pixels to.
        resample_to: micrometres a pixel that images are resampled to; None leaves them as they are.
        pixel_size: micrometres a pixel of the images; by default what the files say.

    Attributes:
        channels: as given, or, once `index` has been called, as the files name them.
        dtype: as given.
        resample_to: as given.
        pixel_size: micrometres per pixel of what `read` gives, where that is known; after `index`.
    """

    _left_behind: ClassVar[tuple[str, ...]] = ()  # attributes that are None in a pickled copy

    def __init__(
        self,
        channels: Sequence[str],
        dtype: str | None,
        resample_to: float | None = None,
        pixel_size: float | None = None,
    ) -> None:
        self.channels = tuple(channels)
        self.dtype = dtype
        self.resample_to = resample_to
        self.pixel_size = self._own_pixel_size = pixel_size
        self._resampling: Resampling | None = None
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

    def _settle_pixel_size(self, found: float | None) -> None:
        """Learn how large pixels are by the files, which what the user said overrules.

        Raises:
            SourceError: they are to be resampled, and nobody knows how large they are.
        """
        self._own_pixel_size = self.pixel_size = self._own_pixel_size or found
        if self.resample_to is not None:
            self._resampling = Resampling.between(self.pixel_size, self.resample_to)
            self.pixel_size = self.resample_to

    @property
    def resampled_from(self) -> float | None:
        """Micrometres per pixel before resampling; None where pixels are as they were."""
        return None if self._resampling is None else self._own_pixel_size

    def _described_pixel_size(self) -> dict[str, float | None]:
        """What the manifest tells of resampling: from and to which size."""
        if self.resample_to is None:
            return {}
        return {"resample_to": self.resample_to, "resampled_from": self.resampled_from}

    def _resampled(self, pixels: StampedPixels) -> StampedPixels:
        """A crop at the size that was asked for."""
        if self._resampling is None:
            return pixels
        image, mask = pixels
        mask = None if mask is None else self._resampling.labels(mask)
        return StampedPixels(self._resampling.image(image), mask, pixels.statuses)

    @abc.abstractmethod
    def _list(self) -> pd.DataFrame:
        """Find the crops: the index, and on the way rejects, what is passed over, pixel size."""
