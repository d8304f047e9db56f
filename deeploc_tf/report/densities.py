"""The map with densities: where the proteins of a process gather among all others."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.profiles.reading import read_profiles
from deeploc_tf.profiles.tables import AnyTable
from deeploc_tf.report.drawing import COLORS, new_figure, without_axes
from deeploc_tf.report.map import positions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = 8
_COLUMNS = 4
_FEWEST_MEMBERS = 2
_GRID = 80
_BANDWIDTH = 0.45  # of the spread of a process's proteins
_SHARES = (0.25, 0.5, 0.75)  # of the highest density
_OTHERS = "#C8C8C8"


def density_map(profiles: AnyTable, terms: Mapping[str, frozenset[str]]) -> Figure:
    """A small map for each of the largest terms: its proteins, and the density of these.

    Positions are those of `protein_map`. Contours are at a quarter, half and three quarters of the
    highest density, a Gaussian kernel estimate.

    Args:
        profiles: a table with a row per protein, a file or in memory, see `open_rows`.
        terms: members of each term, such as biological processes.

    Raises:
        ValueError: a profile is not finite, or no term has two proteins among the profiles.

    Example:
        density_map("cells.profiles.parquet", standard.terms).savefig("densities.png")
    """
    table = read_profiles(profiles)
    names = table.metadata["protein"].tolist()
    inside = {
        term: np.array([name in members for name in names]) for term, members in terms.items()
    }
    largest = sorted(inside, key=lambda term: (-inside[term].sum(), term))[:_PANELS]
    chosen = [term for term in largest if inside[term].sum() >= _FEWEST_MEMBERS]
    if not chosen:
        msg = (
            f"A term must have {_FEWEST_MEMBERS} proteins or more among the profiles. Received: "
            f"{len(terms)} terms, {max((m.sum() for m in inside.values()), default=0)} at most."
        )
        raise ValueError(msg)
    places = positions(table.features)
    columns = min(_COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    with new_figure(2.1 * columns, 2.4 * rows) as figure:
        for number, term in enumerate(chosen):
            axes = figure.add_subplot(rows, columns, number + 1)
            without_axes(axes)
            here = inside[term]
            color = COLORS[number % (len(COLORS) - 1)]
            axes.scatter(places[~here, 0], places[~here, 1], s=3, color=_OTHERS, linewidths=0)
            axes.scatter(places[here, 0], places[here, 1], s=9, color=color, linewidths=0, zorder=3)
            _contours(axes, places, places[here], color)
            title = f"{term} ({here.sum()})"
            axes.set_title("\n".join(textwrap.wrap(title, 26)), fontsize=8)
        return figure


def _contours(
    axes: Any, everywhere: NDArray[np.float64], members: NDArray[np.float64], color: str
) -> None:
    from scipy.stats import gaussian_kde

    if np.linalg.matrix_rank(members - members.mean(axis=0)) < 2:
        return  # on a line, or in a point: there is no density in the plane
    low, high = everywhere.min(axis=0), everywhere.max(axis=0)
    margin = 0.2 * (high - low)
    grid = np.meshgrid(*np.linspace(low - margin, high + margin, _GRID).T)
    kernel = gaussian_kde(members.T, bw_method=_BANDWIDTH)
    density = kernel(np.stack([part.ravel() for part in grid])).reshape(_GRID, _GRID)
    top = density.max()
    axes.contourf(*grid, density, [_SHARES[0] * top, top], colors=[color], alpha=0.12, zorder=1)
    levels = [share * top for share in _SHARES]
    axes.contour(*grid, density, levels, colors=color, linewidths=0.7, alpha=0.8, zorder=2)
