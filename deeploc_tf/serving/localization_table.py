"""How the cells of each well or protein spread over the compartments."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MIN_FRACTION = 0.2  # of the cells, for a compartment to count among a protein's; a convention


@dataclasses.dataclass
class _Sums:
    num_cells: int
    num_left_out: int
    num_not_accepted: int | None
    called: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    confidence: float


class Tally:
    """Counts of calls by group, kept while cells stream by; memory grows with groups alone.

    Args:
        columns: what names a group, such as plate and well.
        class_names: the compartments.

    Attributes:
        num_without: cells whose group has no name.
    """

    def __init__(self, columns: Sequence[str], class_names: Sequence[str]) -> None:
        self.columns = list(columns)
        self._class_names = list(class_names)
        self.num_without = 0
        self._sums: dict[tuple[str, ...], _Sums] = {}

    def __len__(self) -> int:
        """How many groups there are with a cell that was classified."""
        return sum(sums.num_cells > 0 for sums in self._sums.values())

    def __bool__(self) -> bool:
        """Whether there is any group, be it of cells that were left out."""
        return bool(self._sums)

    def add(
        self,
        cells: pd.DataFrame,
        called: NDArray[np.bool_],
        probabilities: NDArray[np.floating],
        accepted: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count some cells; those without a name in the last column of their group are apart.

        Args:
            cells: with the columns of the group.
            called: `(num_cells, num_classes)`, the compartments that each cell was said to be in.
            probabilities: `(num_cells, num_classes)`.
            accepted: `(num_cells,)`; None of a model that does not tell.
        """
        names = pd.MultiIndex.from_frame(cells[self.columns].astype(str))
        codes, groups = names.factorize()
        for code, group in enumerate(groups):
            name = tuple(group)
            mine = codes == code
            if not name[-1]:
                self.num_without += int(mine.sum())
                continue
            sums = self._sums.setdefault(name, self._nothing())
            sums.num_cells += int(mine.sum())
            if accepted is not None:
                refused = int((mine & ~accepted).sum())
                sums.num_not_accepted = (sums.num_not_accepted or 0) + refused
            sums.called += called[mine].sum(axis=0)
            sums.probabilities += probabilities[mine].sum(axis=0, dtype=np.float64)
            sums.confidence += float(probabilities[mine].max(axis=1).sum(dtype=np.float64))

    def leave_out(self, cells: pd.DataFrame) -> None:
        """Count cells that were not classified."""
        names = cells[self.columns].astype(str).itertuples(index=False, name=None)
        for name, count in Counter(names).items():
            if name[-1]:
                self._sums.setdefault(name, self._nothing()).num_left_out += count

    def table(self, min_fraction: float = MIN_FRACTION) -> pd.DataFrame:
        """One row a group, sorted by its names.

        Columns: those of the group; `num_cells`; `num_left_out`, cells that were not classified;
        `num_not_accepted`, how many of `num_cells` are not accepted (they count in all that
        follows; empty of a model that does not tell); `localizations`, the compartments
        that hold at least `min_fraction` of the cells, the largest first, divided by ``|``;
        `mean_confidence`;
        for each class `fraction_<class>`, the share of the cells that were called there (with
        several calls a cell they may sum to more than 1), and `probability_<class>`, the mean.
        """
        rows = []
        for name, sums in sorted(self._sums.items()):
            count = sums.num_cells or np.nan  # all were left out: there are no shares
            fractions = sums.called / count
            order = np.argsort(-fractions, kind="stable")
            chosen = [self._class_names[i] for i in order if fractions[i] >= min_fraction]
            means = sums.probabilities / count
            rows.append(
                [
                    *name,
                    sums.num_cells,
                    sums.num_left_out,
                    sums.num_not_accepted,
                    "|".join(chosen),
                    sums.confidence / count,
                    *fractions.tolist(),
                    *means.tolist(),
                ]
            )
        titles = [*self.columns, "num_cells", "num_left_out", "num_not_accepted"]
        titles += ["localizations", "mean_confidence"]
        titles += [f"fraction_{name}" for name in self._class_names]
        titles += [f"probability_{name}" for name in self._class_names]
        return pd.DataFrame(rows, columns=titles).astype({"num_not_accepted": "Int64"})

    def _nothing(self) -> _Sums:
        size = len(self._class_names)
        return _Sums(0, 0, None, np.zeros(size, np.int64), np.zeros(size), 0.0)
