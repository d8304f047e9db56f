"""Function against the epoch: which standard a network has learned when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from deeploc_tf.report.drawing import COLORS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OF_ONE_TRAINING: dict[str, str] = {"method": "training", "seed": "0"}
_COLUMNS = ("method", "seed", "epoch", "standard", "average_precision")


def function_curves(curves: pd.DataFrame) -> Figure:
    """Average precision against the epoch, a row of two panels a method.

    On the left as it is; on the right as a share of the highest mean of its standard, where a dot
    marks the epoch of it. Lines are means over seeds, bands go from the lowest to the highest seed.

    Args:
        curves: columns `epoch`, `standard`, `average_precision`, and of several trainings `method`
            and `seed`: what a study writes, or `FunctionByEpoch`.

    Raises:
        ValueError: a column is missing, or there is no row.

    References:
        Razdaibiedina & Brechalov 2022: localization is learned first, pathways later.

    Example:
        function_curves(pd.read_csv("function.csv")).savefig("function.png")
    """
    for column, value in _OF_ONE_TRAINING.items():
        if column not in curves:
            curves = curves.assign(**{column: value})
    missing = [name for name in _COLUMNS if name not in curves]
    if missing or curves.empty:
        msg = (
            f"Curves must have rows and the columns {', '.join(_COLUMNS)}. Received: {len(curves)} "
            f"rows, without {', '.join(missing) or 'none of the columns missing'}."
        )
        raise ValueError(msg)
    methods = list(dict.fromkeys(curves["method"]))
    standards = list(dict.fromkeys(curves["standard"]))
    with new_figure(8, 0.5 + 2.6 * len(methods)) as figure:
        from matplotlib.ticker import MaxNLocator

        panels = figure.subplots(len(methods), 2, squeeze=False, sharex="row")
        for (plain, relative), method in zip(panels, methods, strict=True):
            for number, standard in enumerate(standards):
                color = COLORS[number % len(COLORS)]
                chosen = curves[(curves["method"] == method) & (curves["standard"] == standard)]
                by_epoch = chosen.groupby("epoch")["average_precision"]
                mean, low, high = by_epoch.mean(), by_epoch.min(), by_epoch.max()
                best = float(mean.max())
                scale = best if np.isfinite(best) and best > 0 else 1.0
                plain.plot(mean.index, mean, color=color, label=standard)
                plain.fill_between(mean.index, low, high, color=color, alpha=0.2, linewidth=0)
                relative.plot(mean.index, mean / scale, color=color)
                if mean.notna().any():
                    relative.scatter([mean.idxmax()], [best / scale], s=26, color=color, zorder=3)
            plain.set_title(f"{method}: average precision", loc="left")
            relative.set_title("share of the standard's highest", loc="left")
            plain.set_ylim(bottom=0)
            relative.set_ylim(0, 1.05)
            for axes in (plain, relative):
                axes.set_xlabel("epoch")
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        return figure
