"""Reliability of a classifier: how often it is right against how sure it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from deeploc_tf.provenance import check_unchanged
from deeploc_tf.report.drawing import COLORS, GRAY, new_figure
from deeploc_tf.training.calibration import expected_calibration_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = ("above", "up_to", "num_crops", "confidence", "accuracy")


def reliability_diagram(results: str | Path) -> Figure:
    """Accuracy of each bin of confidence, its distance from the diagonal, and the crops in it.

    Below the diagonal the model is surer than it may be, above it less sure.

    Args:
        results: folder that `evaluate` wrote; `reliability.csv` is read.

    Raises:
        ValueError: the file is not what `evaluate` writes.
        OSError: it cannot be read.

    References:
        Guo et al. 2017, On Calibration of Modern Neural Networks, ICML, arXiv 1706.04599.

    Example:
        reliability_diagram("results").savefig("reliability.png")
    """
    table = _read(Path(results) / "reliability.csv")
    width = table["up_to"] - table["above"]
    middle = table["above"] + width / 2
    filled = table["num_crops"] > 0
    with new_figure(4.6, 5.2) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.bar(middle, table["accuracy"].fillna(0), width, color=COLORS[0], edgecolor="white")
        upper.vlines(
            table["confidence"][filled],
            table["accuracy"][filled],
            table["confidence"][filled],
            color=COLORS[1],
            linewidth=2,
            label="distance from the mean confidence",
        )
        upper.plot([0, 1], [0, 1], color=GRAY, linestyle="--", linewidth=1)
        upper.set_xlim(0, 1)
        upper.set_ylim(0, 1.02)
        upper.set_ylabel("accuracy")
        upper.legend(loc="upper left")
        error = expected_calibration_error(table)
        upper.set_title(f"expected calibration error {error:.3f}, {len(table)} bins")
        lower.bar(middle, table["num_crops"], width, color="#BDBDBD", edgecolor="white")
        lower.set_ylabel("crops")
        lower.set_xlabel("confidence: highest probability of a crop")
        return figure


def _read(path: Path) -> pd.DataFrame:
    check_unchanged(path)
    try:
        table = pd.read_csv(path).loc[:, list(_COLUMNS)].astype(float)
        wrong = None if table["num_crops"].sum() > 0 else "no crops"
    except (ValueError, KeyError) as error:  # pandas' own errors are ValueErrors
        wrong = str(error)
    if wrong is not None:
        msg = (
            f"{path.name} must be a table that `evaluate` wrote. Received: {path} ({wrong}). "
            "Evaluate again."
        )
        raise ValueError(msg)
    return table
