"""Images taken at one pixel size as another one would have seen them: averages over areas."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.source import RejectedCrop, SourceError

if TYPE_CHECKING:
    from scipy import sparse

_SAME = 1e-3  # pixel sizes that differ by less are one, as `PixelSize.is_like` has it


@dataclasses.dataclass(frozen=True, slots=True)
class Resampling:
    """From pixels of one size to pixels of another, in the middle of each image.

    A new pixel is the mean of the area that it covers; where new pixels are smaller, parts of old
    ones are repeated. Pixels that reach beyond the edge are left out. Whole numbers are rounded to
    the nearest, ties to even. Masks and label images take the number at the middle of each pixel.

    Attributes:
        ratio: the size of a new pixel in old ones.
    """

    ratio: float

    @classmethod
    def between(cls, own: float | None, wanted: float) -> Resampling | None:
        """What leads from one pixel size to another, in micrometres; None where both are one.

        Raises:
            SourceError: the own size is not known, or one is not positive.
        """
        if own is None or not all(0 < size < math.inf for size in (own, wanted)):
            msg = (
                "The size of a pixel must be known to resample images, and square. Received: "
                f"pixel_size={own}, resample_to={wanted}. The files do not say it: pass "
                "`pixel_size` (--pixel-size)."
            )
            raise SourceError(msg)
        return None if abs(own - wanted) <= _SAME * wanted else cls(wanted / own)

    def length(self, old: int) -> int:
        """How many new pixels fit into a length of old ones."""
        return int(old / self.ratio + 1e-9)

    def to_new(self, place: float, old: int) -> float:
        """A coordinate in new pixels; pixel 0 reaches from -0.5 to 0.5.

        Args:
            place: in old pixels.
            old: length of the image along that axis, in old pixels.
        """
        return (place + 0.5 - self._margin(old)) / self.ratio - 0.5

    def to_old(self, place: float, old: int) -> float:
        """A coordinate in old pixels; the inverse of `to_new`."""
        return (place + 0.5) * self.ratio + self._margin(old) - 0.5

    def image(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Area averages of `(height, width, channels)`, in the same type.

        Raises:
            RejectedCrop: not one new pixel fits.
        """
        height, width, channels = pixels.shape
        rows, columns = self.length(height), self.length(width)
        if not (rows and columns):
            msg = (
                "An image must be larger than a pixel of the new size. Received: "
                f"{height} x {width} pixels, of which one takes {self.ratio:g}."
            )
            raise RejectedCrop(msg, reason="image is smaller than a new pixel")
        flat = np.asarray(pixels, np.float64).reshape(height, width * channels)
        averaged = (_weights(height, rows, self.ratio) @ flat).reshape(rows, width, channels)
        across = np.ascontiguousarray(averaged.transpose(1, 0, 2)).reshape(width, rows * channels)
        result = (_weights(width, columns, self.ratio) @ across).reshape(columns, rows, channels)
        result = result.transpose(1, 0, 2)
        if pixels.dtype.kind != "f":
            result = np.rint(result)
        return np.ascontiguousarray(result.astype(pixels.dtype))

    def labels(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """The number at the middle of each new pixel, of `(height, width)`."""
        places = [self._middles(length) for length in numbers.shape]
        return numbers[np.ix_(*places)]

    def _middles(self, old: int) -> NDArray[np.int64]:
        middles = self.to_old(0, old) + self.ratio * np.arange(self.length(old))
        places: NDArray[np.int64] = np.floor(middles + 0.5).astype(np.int64).clip(0, old - 1)
        return places

    def _margin(self, old: int) -> float:
        """Old pixels before the first new one, as many as behind the last."""
        return (old - self.length(old) * self.ratio) / 2


@functools.lru_cache(maxsize=8)
def _weights(old: int, new: int, ratio: float) -> sparse.csr_array:
    """Share of each old pixel in each new one, `(new, old)`; every row sums up to 1.

    Sparse, so that a pixel that is not finite stays with those that cover it.
    """
    from scipy import sparse

    margin = (old - new * ratio) / 2
    edges = (margin + ratio * np.arange(new + 1)).clip(0, old)
    rows, columns, values = [], [], []
    for row, (start, stop) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)):
        for column in range(int(start), min(math.ceil(stop), old)):
            share = min(stop, column + 1) - max(start, column)
            if share > 1e-9:  # less is rounding
                rows.append(row)
                columns.append(column)
                values.append(share / (stop - start))
    return sparse.csr_array((values, (rows, columns)), shape=(new, old))
