"""Bars of several methods beside each other, as in the study's figure: AP, mAP, AMI and F."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deeploc_tf.benchmark.scores import bars
from deeploc_tf.report.benchmark_results import BenchmarkResults
from deeploc_tf.report.drawing import COLORS, GRAY, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def methods_compared(results: str | Path | BenchmarkResults) -> Figure:
    """Scores of each method on each standard, a panel a score, with intervals and chance dashed.

    Tables of one method, its seeds, are one bar at their mean; then the whiskers are a standard
    deviation over them. Else they are the 95% interval over proteins or, for scores of clusters, a
    standard deviation over draws; where neither was computed, or is known to be right, there is
    none. A score that is not defined has no bar.

    Args:
        results: folder that `benchmark` wrote; `scores.json` is read.

    Raises:
        ValueError: the file is not what `benchmark` writes.
        OSError: it cannot be read.

    Example:
        methods_compared("results").savefig("methods.png")
    """
    read = BenchmarkResults.of(results)
    standards, methods = read.standards, read.methods
    seeds = {(row["method"], row["standard"]): row for row in read.scores["seeds"]}
    panels = {
        score: bar for score, bar in bars().items() if all(score in n for n in standards.values())
    }
    width = max(3.6, 0.9 + len(standards) * (0.4 + 0.25 * len(methods)))
    with new_figure(width * min(2, len(panels)), 3.2 * -(-len(panels) // 2) + 0.3) as figure:
        for place, (score, panel) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(-(-len(panels) // 2), min(2, len(panels)), place)
            for number, (name, found) in enumerate(methods.items()):
                drawn = np.array([_bar(score, found[s], seeds.get((name, s))) for s in standards])
                axes.bar(
                    np.arange(len(standards)) - 0.4 + 0.8 * (number + 0.5) / len(methods),
                    drawn[:, 0],
                    0.8 / len(methods),
                    yerr=drawn[:, 1:].T,
                    color=COLORS[number % len(COLORS)],
                    error_kw={"elinewidth": 1, "capsize": 2},
                    label=name,
                )
            for number, numbers in enumerate(standards.values()):
                axes.hlines(
                    np.nan if numbers[panel.chance] is None else numbers[panel.chance],
                    number - 0.45,
                    number + 0.45,
                    color=GRAY,
                    linestyle="--",
                    label="" if number else "chance",
                )
            axes.set_xticks(range(len(standards)), list(standards), rotation=20, ha="right")
            axes.set_title(f"{panel.title}\n(dashed: {panel.chance_title})")
            if place == 1:
                figure.legend(
                    *axes.get_legend_handles_labels(), loc="outside lower center", ncols=4
                )
        return figure


def _bar(
    score: str, numbers: Mapping[str, Any], seeds: Mapping[str, Any] | None
) -> tuple[float, float, float]:
    """Height of a bar, and how far its whiskers reach down and up; NaN draws none."""
    if seeds is not None:
        mean, spread = (seeds.get(name, np.nan) for name in (score, f"{score}_sd"))
        return mean, spread, spread
    height = np.nan if numbers[score] is None else numbers[score]
    low, high, spread = (numbers.get(f"{score}_{what}") for what in ("low", "high", "sd"))
    if low is None or high is None:
        return height, spread or 0.0, spread or 0.0
    return height, max(0.0, height - low), max(0.0, high - height)
