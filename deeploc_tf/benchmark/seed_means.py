"""A method's score over its seeds: mean, spread, interval, and how much it is above another's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deeploc_tf.benchmark.benchmark import StandardScores
from deeploc_tf.benchmark.influence import combined
from deeploc_tf.benchmark.intervals import interval, paired_difference


class SeedMean:
    """A score of one method on one standard, taken together over its seeds.

    All seeds are of the same proteins, so a protein moves their mean by the mean of its influences.

    Args:
        score: its name.
        results: of each seed, on the same standard.

    Attributes:
        values: float64 `(num_seeds,)`; NaN where the score is not defined.
        influence: of proteins on the mean; None where no interval was asked for.
    """

    def __init__(self, score: str, results: Sequence[StandardScores]) -> None:
        self.score = score
        values = [result.numbers.get(score) for result in results]
        self.values = np.array([np.nan if v is None else v for v in values], np.float64)
        found = [result.influences[score] for result in results if score in result.influences]
        parts = [(1 / len(results), influence) for influence in found]
        self.influence = combined(parts) if len(found) == len(results) else None

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
        if self.influence is None:
            return None, None, ""
        return interval(self.score, self.influence.estimate)

    def less(self, other: SeedMean) -> dict[str, Any]:
        """How much this mean is above another, see `paired_difference`; nothing if not asked."""
        if self.influence is None or other.influence is None:
            return {}
        return paired_difference(self.influence, other.influence)
