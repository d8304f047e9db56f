"""The map: a point a protein, near points have similar profiles, colors are compartments."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.extras import install
from deeploc_tf.profiles.reading import read_profiles
from deeploc_tf.profiles.tables import AnyTable
from deeploc_tf.report.choices import Projection
from deeploc_tf.report.drawing import (
    COLORS,
    SHAPES,
    MissingExtraError,
    figure_of,
    legend,
    new_axes,
    without_axes,
)
from tfrecords.errors import did_you_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PROJECTIONS: tuple[Projection, ...] = get_args(Projection)

_LARGEST_PERPLEXITY = 30.0
_NEIGHBORS = 15  # of UMAP
# Proteins below which the principal components are taken.
_FEWEST: dict[str, float] = {"tsne": 5, "umap": _NEIGHBORS + 2, "pca": math.inf}
_OTHERS = "#C8C8C8"


def protein_map(
    profiles: AnyTable, compartments: Mapping[str, str], ax: Axes | None = None
) -> Figure:
    """Proteins in the plane, colored by compartment; see `positions` for how they are placed.

    A compartment has its own pair of color and shape, so that neither alone must be told apart.

    Args:
        profiles: a table with a row per protein, a file or in memory, see `open_rows`.
        compartments: protein -> compartment; proteins without one are small and gray.
        ax: axes to draw on; by default those of a new figure.

    Raises:
        ValueError: a profile is not finite.

    Example:
        protein_map("cells.profiles.parquet", {"AAC1": "mitochondrion"}).savefig("map.png")
    """
    table = read_profiles(profiles)
    names = table.metadata["protein"].tolist()
    places = positions(table.features)
    labels = np.array([compartments.get(name, "") for name in names], dtype=object)
    kinds = sorted(set(labels) - {""}, key=str.casefold)
    size = float(np.clip(4000 / max(len(names), 1), 8, 40))
    with new_axes(ax, 8, 5.6) as axes:
        without_axes(axes)
        for number, kind in enumerate(kinds):
            here = labels == kind
            x, y = places[here].T
            axes.scatter(
                x,
                y,
                s=size,
                color=COLORS[number % len(COLORS)],
                marker=SHAPES[number % len(SHAPES)],
                edgecolors="#333333",
                linewidths=size / 100,
                label=f"{kind} ({here.sum()})",
            )
        others = labels == ""
        if others.any():
            x, y = places[others].T
            label = f"no compartment ({others.sum()})"
            axes.scatter(x, y, s=size / 3, color=_OTHERS, linewidths=0, label=label, zorder=0)
        columns = 1 + len(kinds) // 26
        scale = float(np.sqrt(32 / size))
        legend(axes, ax, loc="outside right center", ncols=columns, markerscale=scale)
        return figure_of(axes)


def positions(
    features: NDArray[np.float32], projection: Projection = "tsne"
) -> NDArray[np.float64]:
    """A place in the plane for each profile, float64 `(num_proteins, 2)`.

    All projections are of profiles scaled to length one, and t-SNE and UMAP, which compare them by
    cosine, start from the first two principal components. Perplexity is 30, or a third of the
    other proteins where those are fewer; UMAP looks at 15 neighbors. Fewer than five proteins (17
    for UMAP) get the principal components themselves. Distances between far points mean little,
    and the axes nothing. The same profiles give the same places.

    Args:
        features: `(num_proteins, num_features)`.
        projection: "tsne"; "umap", which is quicker for many proteins and needs the extra `map`; or
            "pca", the principal components.

    Raises:
        ValueError: a profile is not finite, or there is no such projection.
        MissingExtraError: UMAP is not installed.

    References:
        Van der Maaten and Hinton 2008; the start from principal components: Kobak and Berens 2019;
        McInnes et al. 2018.
    """
    if projection not in PROJECTIONS:
        msg = (
            f"`projection` must be one of {', '.join(PROJECTIONS)}. Received: projection="
            f"{projection!r}.{did_you_mean(str(projection), PROJECTIONS)}"
        )
        raise ValueError(msg)
    features = np.asarray(features, np.float64)
    if not np.isfinite(features).all():
        count = int((~np.isfinite(features)).any(axis=1).sum())
        msg = f"Profiles must be finite. Received: {count} of {len(features)} that are not."
        raise ValueError(msg)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.where(lengths == 0, 1, lengths)
    start = _principal_components(unit)
    spread = start[:, 0].std() if len(start) else 0.0
    if used_projection(projection, len(unit)) == "pca" or spread == 0:
        return start
    place = _umap if projection == "umap" else _tsne
    return place(unit, (start / spread).astype(np.float32)).astype(np.float64)


def used_projection(projection: Projection, num_proteins: int) -> Projection:
    """The one that `positions` takes: principal components where proteins are too few."""
    return projection if num_proteins >= _FEWEST[projection] else "pca"


def has_umap() -> bool:
    """Whether the extra `map` is installed."""
    return importlib.util.find_spec("umap") is not None


def _tsne(unit: NDArray[np.float64], start: NDArray[np.float32]) -> NDArray[np.float64]:
    from sklearn.manifold import TSNE

    placement: NDArray[np.float64] = TSNE(
        metric="cosine",
        init=start * 1e-4,
        perplexity=min(_LARGEST_PERPLEXITY, (len(unit) - 1) / 3),
        random_state=0,
    ).fit_transform(unit)
    return placement


def _umap(unit: NDArray[np.float64], start: NDArray[np.float32]) -> NDArray[np.float64]:
    if not has_umap():
        msg = (
            "This projection needs umap-learn. Received: an installation without it. Mend it: "
            f"{install('map')}, or choose tsne."
        )
        raise MissingExtraError(msg)
    import umap

    placement: NDArray[np.float64] = umap.UMAP(
        n_neighbors=_NEIGHBORS, metric="cosine", init=start, random_state=0, n_jobs=1
    ).fit_transform(unit)
    return placement


def _principal_components(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first two, `(num_rows, 2)`; zeros where there are fewer."""
    places = np.zeros((len(rows), 2))
    if len(rows) > 1:
        left, values, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
        count = min(2, len(values))
        places[:, :count] = (left * values)[:, :count]
    return places
