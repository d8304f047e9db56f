"""Plain numbers of brightness and texture: what any method must beat.

Nine a channel, and the likeness of each pair of channels: ten of one pair, hence "ten numbers".
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude
from scipy.stats import skew

from tfrecords.schema import Schema

NUMBERS = (
    "LogMean",
    "LogStd",
    "LogTop",
    "LogMeanInside",
    "Skewness",
    "LogFineTexture",
    "LogCoarseTexture",
    "LogEdges",
    "Entropy",
)
_SMALLEST_RATIO = 1e-6  # of texture to brightness, before its logarithm


@dataclasses.dataclass(frozen=True)
class Intensity:
    """The numbers of crops; all are NaN where nothing is inside the cell.

    Attributes:
        channels: names of the channels.
        floor: the darkest value told apart, see `channel_numbers`.
    """

    channels: Sequence[str]
    floor: float

    @classmethod
    def of(cls, schema: Schema) -> Intensity:
        """For crops of records; the floor is a count of a camera, or about as much in [0, 1]."""
        return cls(schema.channels, 2.0**-16 if schema.dtype == "float32" else 1.0)

    @property
    def names(self) -> list[str]:
        """Names of the features, `Number__channel`."""
        names = [f"{number}__{channel}" for channel in self.channels for number in NUMBERS]
        pairs = itertools.combinations(self.channels, 2)
        return names + [f"Correlation__{first}__{second}" for first, second in pairs]

    @property
    def provenance(self) -> dict[str, Any]:
        """What the numbers depend on, as JSON values."""
        return {"floor": self.floor}

    def __call__(
        self, images: NDArray[Any], masks: NDArray[np.bool_] | None
    ) -> NDArray[np.float32]:
        """The features, float32 `(num_crops, num_features)`.

        Args:
            images: `(num_crops, height, width, channels)`.
            masks: bool `(num_crops, height, width)`; None: the cell fills the crop.
        """
        if masks is None:
            masks = np.ones(images.shape[:3], bool)
        vectors = np.full((len(images), len(self.names)), np.nan, np.float32)
        for vector, image, inside in zip(vectors, images, masks, strict=True):
            if inside.any():
                planes = np.moveaxis(image.astype(np.float64), -1, 0)
                numbers = [channel_numbers(plane, inside, self.floor) for plane in planes]
                pairs = itertools.combinations(planes, 2)
                vector[:] = [*itertools.chain(*numbers), *(correlation(*pair) for pair in pairs)]
        return vectors


def channel_numbers(
    channel: NDArray[np.float64], inside: NDArray[np.bool_], floor: float = 1.0
) -> list[float]:
    """Brightness, contrast, skewness, texture at two scales, edges and entropy of a channel.

    The first three look at the whole crop, the others inside the cell; texture and edges are
    relative to the mean brightness there. Scales are pixels.

    Args:
        channel: `(height, width)`.
        inside: `(height, width)`, the cell; not empty.
        floor: brightness and contrast below it count as this, in the unit of the pixels: their
            logarithms must be numbers.

    Returns:
        The numbers of `NUMBERS`. Skewness is NaN where all pixels inside are equal.
    """
    values = channel[inside]
    level = max(values.mean(), floor)
    smooth = gaussian_filter(channel, 1.5)
    smoother = gaussian_filter(channel, 5)
    shares = np.histogram(values, 16)[0] / values.size
    shares = shares[shares > 0]
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        skewness = float(skew(values))  # of equal values: NaN, with a warning
    ratios = [
        (channel - smooth)[inside].std() / level,
        (smooth - smoother)[inside].std() / level,
        gaussian_gradient_magnitude(channel, 1)[inside].mean() / level,
    ]
    return [
        float(np.log(max(channel.mean(), floor))),
        float(np.log(max(channel.std(), floor))),
        float(np.log(max(np.percentile(channel, 99), floor))),
        float(np.log(level)),
        skewness,
        *(float(np.log(max(ratio, _SMALLEST_RATIO))) for ratio in ratios),
        float(-(shares * np.log(shares)).sum()),
    ]


def correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Pearson's correlation of two channels over the whole crop; NaN where one is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])
