"""Curves, bars and matrices of the tables in a run folder and in a folder of benchmark results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deeploc_tf.report.benchmark_results import BenchmarkResults
from deeploc_tf.report.drawing import COLORS, GRAY, figure_of, legend, new_axes, new_figure
from deeploc_tf.report.reading import read_confusion, read_csv, read_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LARGEST_WITH_COUNTS = 24


def training_curves(run: str | Path) -> Figure:
    """Loss and accuracy against the epoch, of training and, where it was done, of validation.

    A training without an accuracy, as of inpainting, has a loss alone.

    Args:
        run: folder of a training, finished or not; `history.csv` is read.

    Raises:
        ValueError: the file is not what `fit` writes.
        OSError: it cannot be read.

    Example:
        training_curves("run").savefig("training.png")
    """
    history = read_csv(Path(run) / "history.csv", ["epoch", "loss"])
    panels = [name for name in ("loss", "accuracy") if name in history]
    with new_figure(3.75 * len(panels), 3) as figure:
        from matplotlib.ticker import MaxNLocator

        for place, name in enumerate(panels, start=1):
            axes = figure.add_subplot(1, len(panels), place)
            for column, label, color in (
                (name, "training", COLORS[0]),
                (f"val_{name}", "validation", COLORS[1]),
            ):
                if column in history:
                    marker = "o" if len(history) < 40 else ""
                    axes.plot(
                        history["epoch"],
                        history[column],
                        color=color,
                        label=label,
                        marker=marker,
                        markersize=3,
                    )
            axes.set_xlabel("epoch")
            axes.set_title(name)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if len(history) == 1:
                axes.set_xticks(history["epoch"])
            if name == "loss":
                axes.set_ylim(bottom=0)
                axes.legend()
            else:
                axes.set_ylim(0, 1.02)
        return figure


def confusion_matrix(run: str | Path, ax: Axes | None = None) -> Figure:
    """Test crops by true class (rows) and predicted class; colors are shares of a row.

    Numbers in the cells are crops, up to 24 classes; a zero is left blank.

    Args:
        run: folder of a finished training; `confusion.csv` is read.
        ax: axes to draw on; by default those of a new figure.

    Raises:
        ValueError: the file is not what `fit` writes.
        OSError: it cannot be read.

    Example:
        confusion_matrix("results").savefig("confusion.png")
    """
    names, counts = read_confusion(Path(run) / "confusion.csv")
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    with_counts = len(names) <= _LARGEST_WITH_COUNTS
    side = len(names) * (0.4 if with_counts else 0.2)
    with new_axes(ax, side + 2.8, side + 2.0) as axes:
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        accuracy = np.trace(counts) / max(counts.sum(), 1)
        axes.set_title(f"{counts.sum():,} crops, accuracy {accuracy:.3f}")
        if with_counts:
            for row, column in zip(*np.nonzero(counts), strict=True):
                axes.text(
                    column,
                    row,
                    _short(int(counts[row, column])),
                    color="white" if shares[row, column] > 0.55 else "black",
                    fontsize=7,
                    ha="center",
                    va="center",
                )
        figure = figure_of(axes)
        figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.6, pad=0.02)
        return figure


def precision_recall(results: str | Path | BenchmarkResults, ax: Axes | None = None) -> Figure:
    """Precision against recall of the ranked pairs, a curve a standard, its prevalence dashed.

    The curve is drawn in the steps that average precision sums.

    Args:
        results: folder that `benchmark` wrote; `precision_recall.csv` and `scores.json` are read.
        ax: axes to draw on; by default those of a new figure.

    Raises:
        ValueError: the files are not what `benchmark` writes.
        OSError: they cannot be read.

    Example:
        precision_recall("results").savefig("precision_recall.svg")
    """
    found = BenchmarkResults.of(results)
    curves = read_names(found.folder / "precision_recall.csv", "standard", "recall", "precision")
    scores = found.standards
    with new_axes(ax, 5.5, 4.2 + 0.2 * (len(scores) // 2)) as axes:
        for number, (name, numbers) in enumerate(scores.items()):
            color = COLORS[number % len(COLORS)]
            chosen = curves["standard"] == name
            if "method" in curves:  # the others of a comparison are in methods.py
                chosen &= curves["method"] == curves["method"].iloc[0]
            curve = curves[chosen]
            axes.step(
                [0, *curve["recall"]],
                [*curve["precision"][:1], *curve["precision"]],
                color=color,
                label=f"{name}, AP {numbers['average_precision']:.3f}{_interval(numbers)}",
                linewidth=1.3,
            )
            axes.axhline(numbers["prevalence"], color=color, linestyle="--", linewidth=1)
        axes.plot([], [], color=GRAY, linestyle="--", linewidth=1, label="prevalence")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        legend(axes, ax, loc="outside lower center", ncols=2)
        return figure_of(axes)


def average_precisions(results: str | Path | BenchmarkResults, ax: Axes | None = None) -> Figure:
    """Average precision of each standard beside chance: shuffled proteins, and the prevalence.

    Args:
        results: folder that `benchmark` wrote; `scores.json` is read.
        ax: axes to draw on; by default those of a new figure.

    Raises:
        ValueError: the file is not what `benchmark` writes.
        OSError: it cannot be read.

    Example:
        average_precisions("results").savefig("scores.png")
    """
    scores = BenchmarkResults.of(results).standards
    places = np.arange(len(scores))[::-1]
    numbers = list(scores.values())
    values = [n["average_precision"] for n in numbers]
    with new_axes(ax, 7, 1.2 + 0.55 * len(scores)) as axes:
        axes.barh(places + 0.2, values, 0.36, color=COLORS[0], label="average precision")
        if all("shuffled_average_precision" in n for n in numbers):
            axes.barh(
                places - 0.2,
                [n["shuffled_average_precision"] for n in numbers],
                0.36,
                xerr=[3 * (n["shuffled_average_precision_sd"] or 0) for n in numbers],
                color="#BDBDBD",
                error_kw={"elinewidth": 1, "capsize": 2},
                label="proteins shuffled, ± 3 sd",
            )
        axes.vlines(
            [n["prevalence"] for n in numbers],
            places - 0.42,
            places + 0.42,
            color=COLORS[1],
            label="prevalence",
        )
        for place, value, n in zip(places, values, numbers, strict=True):
            axes.annotate(
                f"{value:.3f} ({n['lift']:.1f} × prevalence)",
                (max(value, n["prevalence"]), place + 0.2),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_yticks(places, list(scores))
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, 1.5 * max(values + [n["prevalence"] for n in numbers]))
        axes.set_xlabel("average precision of all pairs")
        handles, labels = axes.get_legend_handles_labels()
        shown = handles[1:] + handles[:1], labels[1:] + labels[:1]
        legend(axes, ax, *shown, loc="outside lower center", ncols=3)
        return figure_of(axes)


def _interval(numbers: Mapping[str, Any]) -> str:
    low, high = (numbers.get(f"average_precision_{end}") for end in ("low", "high"))
    return "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"


def _short(count: int) -> str:
    """Four characters at most, up to a thousand million."""
    if count < 10_000:
        return str(count)
    return f"{count / 1e3:.0f}k" if count < 999_500 else f"{count / 1e6:.0f}M"
