"""How far new cells are from those of the training, in brightness, confidence and novelty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

MANY = 0.5
"""Distance from which on there is a warning: two normal distributions have it whose means lie 1.3
standard deviations apart."""
FEWEST = 20
"""Cells without which there is no warning: quantiles of few vary."""
_MOST_KEPT = 20_000
_LOW, _HIGH = 0.1, 0.9  # levels between which the spread of the training lies


class Drift:
    """Keeps numbers of cells that stream by, and compares their quantiles with the training's.

    Of many cells every second, fourth, ... is kept, so that the memory stays that of some thousand.

    Args:
        acceptance: of a `Description`: `levels` and `quantiles` of the training.
    """

    def __init__(self, acceptance: Mapping[str, Any]) -> None:
        self._levels = acceptance["levels"]
        training = acceptance["quantiles"]
        self._channels = list(training["intensity"])
        self._training = [*training["intensity"].values()]
        self._training += [training["confidence"], training["novelty"]]
        self._kept: list[NDArray[np.float64]] = []
        self._count, self._stride = 0, 1

    def add(
        self,
        images: NDArray[Any],
        confidence: NDArray[np.floating],
        novelty: NDArray[np.floating],
    ) -> None:
        """Note some cells.

        Args:
            images: raw crops `(num_cells, height, width, channels)`.
            confidence: `(num_cells,)`.
            novelty: `(num_cells,)`.
        """
        means = images.mean(axis=(1, 2), dtype=np.float64)
        rows = np.column_stack([means, confidence, novelty]).astype(np.float64)
        self._kept += list(rows[-self._count % self._stride :: self._stride])
        self._count += len(rows)
        while len(self._kept) > _MOST_KEPT:
            self._kept, self._stride = self._kept[::2], 2 * self._stride

    def report(self) -> dict[str, Any]:
        """Quantiles of the cells, and their distance from the training, as JSON values.

        For `intensity` by channel (mean of a crop), `confidence` and `novelty`: `quantiles` at
        `levels`, those of the `training`, and `distance`, the area between the two curves of
        quantiles in units of the training's spread from its 10th to its 90th percentile.
        """
        columns = zip(np.transpose(self._kept), self._training, strict=True)
        found = [self._compared(*both) for both in columns]
        return {
            "levels": self._levels,
            "intensity": dict(zip(self._channels, found, strict=False)),
            "confidence": found[-2],
            "novelty": found[-1],
        }

    def sentences(self) -> list[str]:
        """What differs much from the training, a sentence each."""
        if self._count < FEWEST:
            return []
        report = self.report()
        named = {f"intensity of channel {name!r}": of for name, of in report["intensity"].items()}
        named |= {name: report[name] for name in ("confidence", "novelty")}
        middle = self._levels.index(0.5)
        return [
            f"The {name} of these cells differs from that of the training, by {of['distance']:.2g} "
            f"of its spread (medians {of['quantiles'][middle]:.3g} and "
            f"{of['training'][middle]:.3g}): what the model says of them may not hold."
            for name, of in named.items()
            if of["distance"] > MANY
        ]

    def _compared(self, values: NDArray[np.float64], training: list[float]) -> dict[str, Any]:
        levels = np.array(self._levels)
        ours = np.quantile(values, levels)
        apart = np.abs(ours - training)
        area = float(((apart[1:] + apart[:-1]) / 2 * np.diff(levels)).sum())
        low, high = (training[self._levels.index(level)] for level in (_LOW, _HIGH))
        # Without a spread, as of a channel that is always the same, in units of the value itself.
        spread = high - low or abs(high) or 1.0
        return {"quantiles": ours.tolist(), "training": training, "distance": area / spread}
