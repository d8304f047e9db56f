"""From cells to proteins: the mean vector of a protein's cells is its profile."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from deeploc_tf.profiles.tables import VectorTable

logger = logging.getLogger(__name__)

UNIT_SIGN = "\x1f"
"""Between the values of several columns in one name."""


class MeanProfiles:
    """Running means by protein, so that the cells need not be kept.

    Sums are float64: the mean of a million float32 vectors would otherwise drift.

    Args:
        num_features: length of the vectors.

    Attributes:
        num_without_protein: cells that name none; `table` logs them.

    Example:
        >>> profiles = MeanProfiles(2)
        >>> profiles.add(np.array([[0, 2], [2, 4], [5, 5]], np.float32), ["AAC1", "AAC1", "AAH1"])
        >>> profiles.table({}).features
        array([[1., 3.],
               [5., 5.]], dtype=float32)

    References:
        Razdaibiedina & Brechalov 2022, arXiv 2205.11676: a protein's representation is the mean
        over its test cells.
    """

    def __init__(self, num_features: int) -> None:
        self.num_features = num_features
        self.num_without_protein = 0
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._counts: dict[str, int] = {}

    def add(self, features: NDArray[np.float32], proteins: Sequence[str]) -> None:
        """Take in cells, float32 `(num_cells, num_features)`, and their proteins.

        Those of the protein "" are in no profile and counted.
        """
        codes, names = pd.factorize(np.asarray(proteins, dtype=object))
        # A row a protein, with a one for each of its cells: the additions in compiled code.
        shape = (len(names), len(codes))
        cells = csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape)
        sums = cells @ features
        for name, total, count in zip(names, sums, np.bincount(codes), strict=True):
            if name:
                self._sums[name] = self._sums.get(name, 0.0) + total
                self._counts[name] = self._counts.get(name, 0) + int(count)
            else:
                self.num_without_protein += int(count)

    def table(
        self, provenance: Mapping[str, Any], columns: Sequence[str] = ("protein",)
    ) -> VectorTable:
        """The profiles in alphabetical order, with their names and `num_crops`.

        Args:
            provenance: of the table.
            columns: that the names stand in; of several, each name was joined of its values by
                `UNIT_SIGN`.
        """
        if self.num_without_protein:
            what = ", ".join(columns)
            logger.info("%d cells name no %s: no profile has them.", self.num_without_protein, what)
        names = sorted(self._sums)
        means = [self._sums[name] / self._counts[name] for name in names]
        features = np.array(means, np.float32).reshape(len(names), self.num_features)
        parts = [name.split(UNIT_SIGN) if len(columns) > 1 else [name] for name in names]
        metadata = pd.DataFrame(parts, columns=list(columns))
        metadata["num_crops"] = [self._counts[name] for name in names]
        return VectorTable(features, metadata, {**provenance, "kind": "profiles"})
