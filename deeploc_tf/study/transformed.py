"""Profiles made comparable: transformed, and put side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.profiles.tables import VectorTable
from deeploc_tf.profiles.transforms import (
    principal_components,
    robust_scale,
    sphering,
    spread_or_infinity,
)
from deeploc_tf.study.specification import Transform

_REGULARIZATION = 1e-3  # of sphering, against the mean variance


def transformed(features: NDArray[np.float32], transform: Transform) -> NDArray[np.float32]:
    """Profiles `(num_proteins, num_features)`, normalized first and projected second.

    Features without spread become 0. There are never more components than proteins can span.
    Profiles of cells that were normalized are projected only.
    """
    values = features.astype(np.float64)
    if transform.normalize is not None and not transform.of_cells:
        shift, scale = values.mean(axis=0), np.ones(values.shape[1])
        if transform.normalize == "mad":
            shift, scale = robust_scale(values)
        elif transform.normalize == "standardize":
            scale = spread_or_infinity(values.std(axis=0))
        values = (values - shift) / scale
    mean, covariance = values.mean(axis=0), np.atleast_2d(np.cov(values, rowvar=False))
    if transform.sphere:
        values = sphering(mean, covariance, _REGULARIZATION).apply(values)
    elif transform.num_components is not None:
        most = min(transform.num_components, int(np.linalg.matrix_rank(covariance)))
        values = principal_components(mean, covariance, most).apply(values)
    return values.astype(np.float32)


def filled(cells: VectorTable, kept: Sequence[str]) -> VectorTable:
    """Cells with some of their features, defined everywhere: at its mean where one is not.

    Cells without any feature are left out.
    """
    measured = np.isfinite(cells.features).any(axis=1)
    values = cells.features[measured][:, [cells.feature_names.index(name) for name in kept]]
    defined = np.isfinite(values)
    means = np.where(defined, values, 0).sum(axis=0, dtype=np.float64) / defined.sum(axis=0)
    features = np.where(defined, values, means).astype(np.float32)
    metadata = cells.metadata.iloc[np.flatnonzero(measured)].reset_index(drop=True)
    return VectorTable(features, metadata, cells.provenance, tuple(kept))


def side_by_side(tables: Sequence[VectorTable]) -> VectorTable:
    """The profiles of the proteins that all tables have, with the same weight for each table.

    Every feature is standardized, and a table's features are divided by the root of their number.
    """
    frames = []
    for number, table in enumerate(tables):
        names = table.metadata["protein"].tolist()
        values = transformed(table.features, Transform(normalize="standardize"))
        frame = pd.DataFrame(values / np.sqrt(values.shape[1]), index=names)
        frames.append(frame.add_prefix(f"{number}_"))
    joined = pd.concat(frames, axis=1, join="inner").sort_index()
    metadata = pd.DataFrame({"protein": joined.index.tolist()})
    return VectorTable(joined.to_numpy(np.float32), metadata, {"kind": "profiles"})
