"""Profiles of any origin: our own tables, and text tables of other tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from deeploc_tf.profiles.tables import SUFFIXES, VectorTable, read_table

_SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


def read_profiles(path: str | Path) -> VectorTable:
    """A table with a row a protein: ours (.h5, .parquet), or text (.csv, .tsv, .txt, also .gz).

    In a text table the first column names the protein and every other one is a feature.

    Returns:
        The table; its metadata has the column `protein`.

    Raises:
        ValueError: the table has no proteins, or a feature that is not a number.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if path.suffix in SUFFIXES:
        table = read_table(path)
        if "protein" not in table.metadata or "key" in table.metadata:
            msg = (
                "Profiles must have a row a protein. Received: "
                f"{path}, a table of {table.provenance.get('kind', 'something else')}. "
                "Take NAME.profiles.SUFFIX, which `embed` writes beside it."
            )
            raise ValueError(msg)
        return table
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if suffix not in _SEPARATORS:
        known = ", ".join([*SUFFIXES, *_SEPARATORS])
        msg = f"Profiles must end in {known} (text also in .gz). Received: {path.name!r}."
        raise ValueError(msg)
    try:
        frame = pd.read_csv(path, sep=_SEPARATORS[suffix], index_col=0)
        features = frame.to_numpy(np.float32)
    except (ValueError, UnicodeDecodeError) as error:
        msg = (
            "A text table must have a header, a first column of proteins, and numbers in all "
            f"others. Received: {path}: {error}."
        )
        raise ValueError(msg) from error
    if features.shape[1] == 0:
        msg = f"Profiles must have a feature. Received: {path} without; is it divided by commas?"
        raise ValueError(msg)
    proteins = [str(name) for name in frame.index]
    metadata = pd.DataFrame({"protein": proteins})
    return VectorTable(features, metadata, {"kind": "profiles", "columns": {"protein": "text"}})
