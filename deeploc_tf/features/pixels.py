"""Raw pixels, reduced by a principal component analysis of the training crops."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.features.crops import CropBatch


@dataclasses.dataclass(frozen=True)
class PixelComponents:
    """What is seen of a crop by the directions in which training crops differ most.

    Attributes:
        shrink: side of the squares of pixels that are averaged first.
        white_levels: value of each channel that becomes 1, so that no channel outshines others.
        mean: float32 `(num_pixels,)`, the mean training crop.
        components: float32 `(num_components, num_pixels)`, of length 1.
    """

    shrink: int
    white_levels: Sequence[float]
    mean: NDArray[np.float32]
    components: NDArray[np.float32]

    @property
    def names(self) -> list[str]:
        """Names of the features, `pixels_00` and on."""
        width = len(str(len(self.components) - 1))
        return [f"pixels_{i:0{width}d}" for i in range(len(self.components))]

    @property
    def provenance(self) -> dict[str, Any]:
        """What the features depend on, as JSON values."""
        return {
            "shrink": self.shrink,
            "white_levels": list(self.white_levels),
            "components_sha256": hashlib.sha256(self.components.tobytes()).hexdigest(),
        }

    def __call__(
        self,
        images: NDArray[Any],
        masks: NDArray[np.bool_] | None,  # noqa: ARG002 -- pixels are taken as they are
    ) -> NDArray[np.float32]:
        """The features, float32 `(num_crops, num_components)`.

        Args:
            images: `(num_crops, height, width, channels)`.
            masks: not looked at.
        """
        pixels = _pixels(images, self.shrink, self.white_levels)
        vectors: NDArray[np.float32] = np.matmul(pixels - self.mean, self.components.T)
        return vectors


def fit_components(
    batches: Iterable[CropBatch],
    white_levels: Sequence[float],
    *,
    num_components: int,
    shrink: int = 2,
    crops_at_once: int = 512,
) -> PixelComponents:
    """The principal components of the pixels of some crops, some at a time.

    Memory does not grow with the number of crops, and nothing is random.

    Args:
        batches: the training crops.
        white_levels: one a channel.
        num_components: how many, at most the number of crops and of (shrunken) pixels.
        shrink: side of the squares of pixels that are averaged first; rows and columns that are
            left over at the end are not looked at.
        crops_at_once: how many are looked at in a step, at least `num_components`.

    Raises:
        ValueError: there are too few crops or pixels.

    References:
        Ross et al. 2008, International Journal of Computer Vision 77: 125-141, as in scikit-learn.
    """
    from sklearn.decomposition import IncrementalPCA

    model = IncrementalPCA(num_components)
    waiting: list[NDArray[np.float32]] = []
    step = max(crops_at_once, num_components)
    for batch in batches:
        waiting += [_pixels(batch.images, shrink, white_levels)]
        # the last step must not be smaller than `num_components`
        if sum(map(len, waiting)) >= 2 * step:
            rows = np.concatenate(waiting)
            model.partial_fit(rows[:step])
            waiting = [rows[step:]]
    rows = np.concatenate(waiting)
    if num_components > min(rows.shape):
        msg = (
            "`num_components` must not exceed the number of training crops or of pixels. "
            f"Received: num_components={num_components}, {rows.shape[0]} crops of {rows.shape[1]} "
            "pixels. Take fewer."
        )
        raise ValueError(msg)
    model.partial_fit(rows)
    return PixelComponents(
        shrink,
        tuple(white_levels),
        model.mean_.astype(np.float32),
        model.components_.astype(np.float32),
    )


def _pixels(
    images: NDArray[Any], shrink: int, white_levels: Sequence[float]
) -> NDArray[np.float32]:
    """float32 `(num_crops, num_pixels)`."""
    count, height, width, channels = images.shape
    rows, columns = height // shrink, width // shrink
    if not rows or not columns:
        msg = (
            "`shrink` must not exceed the height and width of the crops. Received: "
            f"shrink={shrink} for crops of {height}x{width}. Take a smaller one."
        )
        raise ValueError(msg)
    squares = images[:, : rows * shrink, : columns * shrink].reshape(
        count, rows, shrink, columns, shrink, channels
    )
    scaled = squares.mean((2, 4), dtype=np.float64) / np.asarray(white_levels)
    flat: NDArray[np.float32] = scaled.reshape(count, -1).astype(np.float32)
    return flat
