"""Every pair of proteins with its similarity and what each standard says of it, as a table."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.benchmark.average_precision import shared_terms
from deeploc_tf.benchmark.choices import Kind
from deeploc_tf.benchmark.similarity import similarities_of, usable_profiles
from deeploc_tf.benchmark.standards import Standard, annotate
from deeploc_tf.text_tables import csv_bytes
from tfrecords.publishing import publishing

_BLOCK = 128  # rows


def write_pairs(
    path: Path,
    features: NDArray[np.float32],
    proteins: Sequence[str],
    standards: Sequence[Standard],
    *,
    similarity: Kind = "cosine",
    min_size: int = 2,
    max_size: int | None = None,
) -> int:
    """Write `protein_1,protein_2,similarity,STANDARD,...` as CSV in gzip, a row a pair.

    Under a standard stands 1 for a positive pair, 0 for a negative one, and nothing where one of
    the two takes no part.

    Args:
        path: to write.
        features: as of `benchmark`, and so are the rest.
        proteins: of each row.
        standards: a column each.
        similarity: of two profiles.
        min_size: of terms.
        max_size: of terms.

    Returns:
        Number of pairs.
    """
    usable = usable_profiles(features, proteins, similarity)
    names = [protein for protein, good in zip(proteins, usable, strict=True) if good]
    similarities = similarities_of(features[usable], similarity)
    annotations = [annotate(s, names, min_size=min_size, max_size=max_size) for s in standards]
    labels = [
        (a.standard, np.isin(np.arange(len(names)), a.proteins), a.proteins, shared_terms(a))
        for a in annotations
    ]
    count = 0
    with (
        publishing(path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as compressed,  # the same bytes for the same pairs
    ):
        for start in range(0, len(names) - 1, _BLOCK):
            stop = min(start + _BLOCK, len(names) - 1)
            block = similarities.block(slice(start, stop), slice(start, None))
            upper = np.triu(np.ones(block.shape, bool), 1)
            rows, columns = np.nonzero(upper)
            table = pd.DataFrame(
                {
                    "protein_1": np.array(names)[start + rows],
                    "protein_2": np.array(names)[start + columns],
                    "similarity": block[upper],
                }
            )
            for name, known, taking_part, shared in labels:
                positive = np.zeros((stop - start, len(names) - start), bool)
                inside = np.flatnonzero((taking_part >= start) & (taking_part < stop))
                right = np.flatnonzero(taking_part >= start)
                positive[np.ix_(taking_part[inside] - start, taking_part[right] - start)] = shared[
                    inside
                ][:, right].toarray()
                both = known[start + rows] & known[start + columns]
                table[name] = pd.array(positive[rows, columns], dtype="Int8")
                table.loc[~both, name] = pd.NA
            compressed.write(csv_bytes(table, header=start == 0))
            count += len(table)
    return count
