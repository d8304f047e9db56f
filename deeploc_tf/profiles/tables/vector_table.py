"""A table of vectors in memory, with what describes each row."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from anndata import AnnData

_ROWS_SHOWN = 10  # in a notebook


@dataclasses.dataclass(frozen=True, repr=False)
class VectorTable:
    """Rows of vectors with what describes them.

    Attributes:
        features: float32 `(num_rows, num_features)`.
        metadata: one row each, columns such as `key`, `protein`, `label`, `split`.
        provenance: JSON values: kind, layer, digests of model and records, version.
        feature_names: one a feature; empty where they are not known.
    """

    features: NDArray[np.float32]
    metadata: pd.DataFrame
    provenance: Mapping[str, Any]
    feature_names: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """Metadata, then a column per feature, with a row each; values are copied.

        Raises:
            ValueError: a metadata column is called as a feature is.
        """
        names = self.names()
        if both := sorted(set(names) & set(self.metadata.columns)):
            msg = (
                "Metadata and features must have different names in one frame. Received: "
                f"{', '.join(both)} in both. Rename the metadata column."
            )
            raise ValueError(msg)
        features = pd.DataFrame(self.features.copy(), self.metadata.index, names)
        return pd.concat([self.metadata, features], axis=1)

    def to_anndata(self) -> AnnData:
        """An `AnnData` as tables in .h5ad hold it: features in `X`, metadata in `obs`.

        Raises:
            MissingAnnDataError: anndata is not installed.
        """
        from deeploc_tf.profiles.tables.h5ad import as_anndata

        columns = {str(name): values.to_numpy() for name, values in self.metadata.items()}
        return as_anndata(self.features.copy(), columns, self.names())

    def names(self) -> tuple[str, ...]:
        """Names of the features; where they are not known, their numbers."""
        return tuple(self.feature_names or map(str, range(self.features.shape[-1])))

    def __repr__(self) -> str:
        """The size, and the names of the columns."""
        rows, width = self.features.shape
        kind = self.provenance.get("kind", "vectors")
        return f"VectorTable({kind}, {rows} x {width}: {', '.join(map(str, self.metadata))})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the size, and the first and last rows of the metadata."""
        shown = self.metadata.to_html(max_rows=_ROWS_SHOWN, notebook=True)
        return f"<p>{html.escape(repr(self))}</p>{shown}"
