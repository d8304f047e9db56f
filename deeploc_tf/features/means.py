"""Profiles of proteins from features that some cells do not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.profiles.aggregate import MeanProfiles
from deeploc_tf.profiles.tables import VectorTable

MAX_UNDEFINED = 0.05  # pycytominer's default of `drop_na_columns`


class DefinedMeans:
    """Means by protein over the cells in which a feature is defined, that is, not NaN.

    The rules, which hold for the profiles and not for the table of cells:

    1. A cell without any feature (its mask is empty) is left out.
    2. A feature that is undefined in more than 5 percent of the remaining cells is left out.
    3. The mean of a protein is over the cells that have the feature.
    4. A protein in which no cell has it gets the mean of the other proteins; these are counted.

    The first three are those of pycytominer (`drop_na_columns`, then `aggregate` by mean). Constant
    features are kept: it is for transforms to know them.

    Args:
        names: names of the features.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.num_left_out = 0
        self._means = MeanProfiles(2 * len(self.names))
        self._num_cells = 0
        self._undefined = np.zeros(len(self.names), np.int64)

    def add(self, vectors: NDArray[np.float32], proteins: Sequence[str]) -> None:
        """Take in cells, float32 `(num_cells, num_features)`, and their proteins; "" counts not."""
        defined = np.isfinite(vectors)
        measured = defined.any(axis=1)
        self.num_left_out += int((~measured).sum())
        self._num_cells += int(measured.sum())
        self._undefined += (~defined[measured]).sum(axis=0)
        # Sums of values and of how many there are: the quotient of the means is the mean.
        values = np.hstack([np.where(defined, vectors, 0), defined]).astype(np.float32)[measured]
        self._means.add(values, np.asarray(proteins, dtype=object)[measured].tolist())

    def table(self, provenance: Mapping[str, Any]) -> tuple[VectorTable, list[str]]:
        """The profiles in alphabetical order and the names of the features that are in them.

        Provenance gains `features_left_out` and `num_filled`.
        """
        means = self._means.table({})
        totals, shares = np.hsplit(means.features.astype(np.float64), 2)
        kept = self._undefined <= MAX_UNDEFINED * self._num_cells
        totals, shares = totals[:, kept], shares[:, kept]
        profiles = np.divide(totals, shares, out=np.full_like(totals, np.nan), where=shares > 0)
        holes = shares == 0
        if holes.any():
            filled = pd.DataFrame(profiles).mean().to_numpy()
            profiles = np.where(holes, filled, profiles)
        values = {
            **provenance,
            "kind": "profiles",
            "features_left_out": [n for n, k in zip(self.names, kept, strict=True) if not k],
            "num_filled": int(holes.sum()),
        }
        names = [name for name, k in zip(self.names, kept, strict=True) if k]
        return VectorTable(profiles.astype(np.float32), means.metadata, values), names
