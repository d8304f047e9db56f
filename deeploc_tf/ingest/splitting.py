"""How the crops of a build are divided: by conditions, by fractions or by a column."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.ingest.identity import find_column
from deeploc_tf.ingest.labels import Labels
from deeploc_tf.ingest.splits import (
    Conditions,
    split_by_conditions,
    split_by_fractions,
    whole_groups,
)
from deeploc_tf.sources.source import Source
from deeploc_tf.text_tables import require_column
from tfrecords.errors import SplitError

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Splitting:
    """How crops are divided: exactly one of the three ways, or none (all train)."""

    conditions: Conditions
    fractions: Mapping[str, float]
    split_column: str | None
    group_by: tuple[str, ...]
    seed: int

    @property
    def names(self) -> tuple[str, ...]:
        """The splits that must have crops."""
        if self.split_column is not None:
            return ()
        return tuple(self.fractions) or tuple(dict.fromkeys([*self.conditions, "train"]))

    @property
    def columns_of_conditions(self) -> tuple[str, ...]:
        """Columns that conditions name, each once."""
        return tuple(dict.fromkeys(c for pairs in self.conditions.values() for c, _ in pairs))

    def of_index(
        self,
        index: pd.DataFrame,
        renamed: Mapping[str, str],
        source: Source,
        *,
        label: str | None,
        protein: str,
    ) -> Splitting:
        """The same with the columns that the index has: renamed ones, `split`, whole groups."""
        conditions = {
            split: [(renamed.get(column, column), value) for column, value in pairs]
            for split, pairs in self.conditions.items()
        }
        split_column, group_by = self.split_column, tuple(renamed.get(c, c) for c in self.group_by)
        if split_column is None and not (conditions or self.fractions):
            split_column = find_column(index.columns, "split")
        if group_by:
            others = index.drop(columns=[c for c in (label, split_column) if c in index.columns])
            group_by = whole_groups(others, group_by, folders=_folders(source), protein=protein)
        return dataclasses.replace(
            self, conditions=conditions, split_column=split_column, group_by=group_by
        )

    def apply(
        self, index: pd.DataFrame, labels: Labels
    ) -> tuple[NDArray[np.object_], tuple[str, ...]]:
        """The split of each crop, or None, and the columns that name its group."""
        if bool(self.conditions) + bool(self.fractions) + (self.split_column is not None) > 1:
            msg = (
                "Splits must come from conditions, from fractions or from a column. Received: "
                f"conditions={dict(self.conditions)}, fractions={dict(self.fractions)}, "
                f"split_column={self.split_column!r}."
            )
            raise SplitError(msg)
        if self.fractions:
            split = np.full(len(index), None, dtype=object)
            kept = np.flatnonzero(~labels.unknown)
            split[kept] = split_by_fractions(
                index.iloc[kept],
                self.fractions,
                self.group_by,
                labels=[labels.indices[i] for i in kept.tolist()],
                seed=self.seed,
            )
            return split, self.group_by
        if self.split_column is not None:
            require_column(index.columns, self.split_column, "The split column")
            return _split_names(index, self.split_column), self.group_by
        rest = None if "train" in self.conditions else "train"
        split = split_by_conditions(index, self.conditions, rest)
        return split, self.group_by or tuple(c for c in self.columns_of_conditions if c != "key")


def _folders(source: Source) -> set[str]:
    """The fields of a pattern that stand for folders."""
    above = str(source.description.get("pattern") or "").rpartition("/")[0]
    return set(re.findall(r"\{(\w+)\}", above))


def _split_names(index: pd.DataFrame, column: str) -> NDArray[np.object_]:
    missing = index[column].isna() | (index[column].map(str) == "")
    if missing.any():
        msg = (
            "Every crop must have a split. Received: none at key "
            f"{index['key'][missing].iloc[0]!r} ({int(missing.sum())} of {len(index)} crops). "
            f"Fill column {column!r}."
        )
        raise SplitError(msg)
    return index[column].map(str).to_numpy(dtype=object)
