"""A method's score over its seeds: mean, spread, interval, and how much it is above another's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deeploc_tf.benchmark.benchmark import StandardScores
from deeploc_tf.benchmark.intervals import COMPARED, bounds, difference


class SeedMean:
    """A score of one method on one standard, taken together over its seeds.

    All seeds are resampled by the same draws of proteins, so a mean over seeds is one of each draw.

    Args:
        score: its name.
        results: of each seed, on the same standard.

    Attributes:
        values: float64 `(num_seeds,)`; NaN where the score is not defined.
        is_compared: whether an interval, and differences, were asked for.
    """

    def __init__(self, score: str, results: Sequence[StandardScores]) -> None:
        self.score = score
        values = [result.numbers.get(score) for result in results]
        self.values = np.array([np.nan if v is None else v for v in values], np.float64)
        draws = [result.resampled[score] for result in results if score in result.resampled]
        self._draws = np.mean(draws, axis=0) if len(draws) == len(results) else None
        self.is_compared = score in COMPARED and f"{score}_low" in results[0].numbers

    @property
    def mean(self) -> float:
        """Over seeds; NaN where one is not defined."""
        return float(self.values.mean())

    @property
    def sd(self) -> float | None:
        """Standard deviation over seeds; None of a single one."""
        return float(self.values.std(ddof=1)) if len(self.values) > 1 else None

    def interval(self) -> tuple[float | None, float | None, str]:
        """Ends of the 95% interval of the mean, or None twice and the reason, if there is one."""
        return bounds(self.score, self._draws) if self.is_compared else (None, None, "")

    def less(self, other: SeedMean) -> dict[str, Any]:
        """How much this mean is above another, see `difference`; nothing if that was not asked."""
        if not (self.is_compared and other.is_compared):
            return {}
        return difference(self.score, (self.mean, other.mean), (self._draws, other._draws))
