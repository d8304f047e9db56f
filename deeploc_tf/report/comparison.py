"""The figure of a study: methods against standards, by three scores, with the spread over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from deeploc_tf.report.drawing import COLORS, GRAY, new_figure

SCORES: Mapping[str, str] = MappingProxyType(
    {
        "average_precision": "average precision",
        "adjusted_mutual_information": "adjusted mutual information",
        "cluster_f1": "F-score of clusters",
    }
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
_BAR = 0.7


def comparison(scores: pd.DataFrame, reference: str | None = None) -> Figure:
    """A row of panels a score, a column a standard, a bar a method: the mean over its seeds.

    A dot is a seed, a whisker the standard deviation over them, and the dark line what the same
    profiles score when they are given to the proteins at random.

    Args:
        scores: columns `method`, `seed`, `standard`, and each of `SCORES` with its `shuffled_`.
        reference: method to set apart by color.

    Raises:
        ValueError: a column is missing.
    """
    needed = ["method", "standard", *SCORES, *(f"shuffled_{name}" for name in SCORES)]
    missing = [name for name in needed if name not in scores]
    if missing:
        msg = f"Scores must have the columns {', '.join(needed)}. Missing: {', '.join(missing)}."
        raise ValueError(msg)
    methods = list(dict.fromkeys(scores["method"]))
    standards = list(dict.fromkeys(scores["standard"]))
    height = 0.55 + 0.24 * len(methods)
    with new_figure(2.6 + 1.9 * len(standards), 0.4 + height * len(SCORES)) as figure:
        panels = figure.subplots(len(SCORES), len(standards), sharey=True, squeeze=False)
        for row, (score, title) in zip(panels, SCORES.items(), strict=True):
            for axes, standard in zip(row, standards, strict=True):
                chosen = scores[scores["standard"] == standard]
                for place, method in enumerate(methods):
                    ours = chosen[chosen["method"] == method]
                    color = COLORS[1] if method == reference else COLORS[0]
                    _bar(axes, len(methods) - 1 - place, ours, score, color)
                axes.set_xlim(left=0)
                axes.grid(visible=False, axis="y")
                axes.tick_params(axis="y", length=0)
                axes.set_yticks(range(len(methods)), methods[::-1])
                if score == next(iter(SCORES)):
                    axes.set_title(standard)
            row[0].set_xlabel(title, loc="left")
        panels[0][0].plot([], [], color="black", linewidth=1.5, label="proteins shuffled")
        panels[0][0].scatter([], [], s=9, color="white", edgecolors="black", label="one seed")
        figure.legend(loc="outside lower right", ncols=2)
        return figure


def _bar(axes: Any, place: int, rows: pd.DataFrame, score: str, color: str) -> None:
    values = rows[score].to_numpy(np.float64)
    spread = {"xerr": values.std(ddof=1)} if len(values) > 1 else {}
    axes.barh(
        place,
        values.mean(),
        _BAR,
        color=color,
        alpha=0.85,
        error_kw={"elinewidth": 1, "capsize": 2, "ecolor": GRAY},
        **spread,
    )
    if len(values) > 1:
        offsets = place + np.linspace(-0.15, 0.15, len(values))
        axes.scatter(
            values, offsets, s=9, color="white", edgecolors="black", linewidths=0.6, zorder=3
        )
    chance = rows[f"shuffled_{score}"].mean()
    axes.vlines(chance, place - _BAR / 2, place + _BAR / 2, color="black", linewidth=1.5)
