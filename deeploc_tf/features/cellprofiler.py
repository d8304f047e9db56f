"""CellProfiler's features of each crop and its cell, by cp-measure."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.extras import install

_PREFIX = "Cells_"  # by which pycytominer knows features
_GRAY_LEVELS = 65535  # on which the Costes thresholds are searched


class MissingCpMeasureError(ImportError, ValueError):
    """There is no cp-measure."""


@dataclasses.dataclass(frozen=True)
class CellProfiler:
    """Shape, intensity, texture, granularity, radial distribution and colocalization of cells.

    All measurements of cp-measure, of all channels and pairs of channels, with its own settings but
    for granularity: crops of one cell are not shrunk to a quarter before it.

    Attributes:
        channels: names of the channels.
        white_levels: value of each channel that becomes 1; brighter pixels are 1 as well.
        names: names of the features, see `cellprofiler_features`.
    """

    channels: Sequence[str]
    white_levels: Sequence[float]
    names: Sequence[str]

    @property
    def provenance(self) -> dict[str, Any]:
        """What the features depend on, as JSON values."""
        return {
            "white_levels": list(self.white_levels),
            "cp_measure": importlib.metadata.version("cp-measure"),
        }

    def __call__(self, images: NDArray[Any], masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The features, float32 `(num_crops, num_features)`.

        What is not defined is NaN: all of a crop whose mask is empty, some of a cell of a few
        pixels or of one gray.

        Args:
            images: `(num_crops, height, width, channels)`.
            masks: bool `(num_crops, height, width)`.
        """
        vectors = np.full((len(images), len(self.names)), np.nan, np.float32)
        for vector, image, mask in zip(vectors, images, masks, strict=True):
            if mask.any():
                scaled = np.clip(image / np.asarray(self.white_levels, np.float64), 0, 1)
                vector[:] = _featurize(scaled, mask, self.channels)[0]
        vectors[~np.isfinite(vectors)] = np.nan
        return vectors


def cellprofiler_features(
    channels: Sequence[str], white_levels: Sequence[float], size: tuple[int, int]
) -> CellProfiler:
    """The measurements for crops of these channels and of this (height, width).

    Raises:
        MissingCpMeasureError: there is no cp-measure.
    """
    if importlib.util.find_spec("cp_measure") is None:
        msg = (
            "CellProfiler's features need cp-measure. Received: an installation without it. Mend "
            f"it: {install('cellprofiler')}"
        )
        raise MissingCpMeasureError(msg)
    image = np.random.default_rng(0).random((*size, len(channels)))
    names = _featurize(image, np.ones(size, bool), channels)[1]
    return CellProfiler(tuple(channels), tuple(white_levels), tuple(_PREFIX + n for n in names))


def _featurize(
    image: NDArray[np.float64], mask: NDArray[np.bool_], channels: Sequence[str]
) -> tuple[NDArray[np.float32], list[str]]:
    """The features of one cell and their names."""
    from cp_measure.featurizer import featurize, make_featurizer_config

    config = make_featurizer_config(
        list(channels),
        granularity_params={"subsample_size": 1.0},
        correlation_costes_params={"scale_max": _GRAY_LEVELS},
    )
    # Undefined features come as NaN, each with a warning of its own.
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        values, names, _ = featurize(
            np.moveaxis(image, -1, 0)[None], mask.astype(np.int32)[None, None], config
        )
        return values[0].astype(np.float32), names
