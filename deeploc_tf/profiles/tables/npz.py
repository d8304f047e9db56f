"""Tables as .npz, for tools that read nothing but NumPy's files.

`features`, `feature_names`, `metadata_<column>` a column, and the JSON texts `provenance` and
`digests`; nothing in it is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.profiles.tables.in_memory import InMemoryTable, InMemoryWriter, check_size
from deeploc_tf.profiles.tables.table_format import TableFormat


def open_npz(path: Path) -> InMemoryTable:
    """All of a table."""
    with np.load(path, allow_pickle=False) as file:
        text = str(file["provenance"])
        columns = {name: file[f"metadata_{name}"] for name in json.loads(text)["columns"]}
        features = np.asarray(file["features"], np.float32)
        digests = str(file["digests"]) if "digests" in file else None
        names = tuple(file["feature_names"].tolist())
    return InMemoryTable(path, text, names, len(features), digests, features, columns)


class NpzWriter(InMemoryWriter):
    """Writes one array of each kind."""

    def write(
        self, features: NDArray[np.float32], columns: Mapping[str, NDArray[Any]], digests: str
    ) -> None:
        """See `InMemoryWriter`."""
        arrays: dict[str, Any] = {
            "features": features,
            "feature_names": np.array(self.feature_names, np.str_),
            "provenance": np.array(self.provenance),
            "digests": np.array(digests),
            **{f"metadata_{name}": values for name, values in columns.items()},
        }
        np.savez(self.path, **arrays)


NPZ = TableFormat(open_npz, NpzWriter, check_size)
