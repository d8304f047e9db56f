"""Write the tables that every later version must read.

    python tests/golden/make_tables.py tests/golden/tables_v2.zip

`tables_v1.zip` was written so by the last version without digests; it cannot be made again.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from deeploc_tf.profiles.tables import VectorTable, write_table


def table() -> VectorTable:
    """Five cells."""
    metadata = pd.DataFrame(
        {
            "key": ["P1/1", "P1/2", "P2/1", "P2/2", "P3/1"],
            "protein": ["AAC1", "AAC1", "ÄAH1", "ÄAH1", ""],
            "plate": np.array([1, 2**53 + 1, 3, -4, 5]),
            "focus": np.array([0.5, np.nan, 1.25, -2, 3], np.float32),
        }
    )
    features = np.arange(15, dtype=np.float32).reshape(5, 3) / 7 - 1
    provenance = {"kind": "embeddings", "layer": "fc_2", "channels": ["gfp", "µ"]}
    return VectorTable(features, metadata, provenance, ("fc_2_0", "fc_2_1", "fc_2_2"))


def main(archive: Path) -> None:
    """Write one of each format."""
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".h5", ".parquet", ".npz", ".h5ad"):
            write_table(Path(folder) / f"cells{suffix}", table())
        shutil.make_archive(str(archive.with_suffix("")), "zip", folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
