"""How hard is the simulated screen? DeepLoc against a linear model on ten numbers a cell.

    python experiments/difficulty.py OUT

For three settings of `--difficulty`, OUT gets a screen, its records, a DeepLoc of a quarter of the
filters and its profiles; what is there already is not made again. The linear model gets ten
intensity and texture numbers of each crop and is trained on the same localizations; its profile of
a protein is the mean of its class probabilities, which did better than its scores and than the
ten numbers themselves. Both are scored on the test field by the four standards of the simulation.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deeploc_tf import TableSource, build_records, embed, fit, read_table
from deeploc_tf.benchmark.benchmark import benchmark
from deeploc_tf.benchmark.standards import read_standard
from deeploc_tf.features.intensity import channel_numbers, correlation
from deeploc_tf.simulation.compartments import COMPARTMENTS
from deeploc_tf.simulation.function import STANDARDS
from deeploc_tf.simulation.simulate import CHANNELS, Screen, simulate
from deeploc_tf.sources.images import read_image
from deeploc_tf.study.demo import CONFIG

DIFFICULTIES = (0.1, 0.5, 0.9)


def main(output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    rows = [row for difficulty in DIFFICULTIES for row in compare(output, difficulty)]
    table = pd.DataFrame(rows)
    table.to_csv(output / "difficulty.csv", index=False)
    print(table.round(3).to_string(index=False))


def compare(output: Path, difficulty: float) -> list[dict[str, object]]:
    """A row for the linear model, one for DeepLoc, and one for looks that are known exactly."""
    name = f"difficulty-{difficulty}"
    screen, records, run = (output / f"{name}-{kind}" for kind in ("screen", "records", "run"))
    vectors = output / f"{name}.parquet"
    if not screen.exists():
        simulate(screen, Screen(difficulty=difficulty), workers=2)
    if not records.exists():
        build_records(
            TableSource(screen / "cells.csv", {channel: channel for channel in CHANNELS}),
            records,
            label="localization",
            conditions={"test": [("field", "5")], "validation": [("field", "4")]},
        )
    metrics = fit(records, run, CONFIG)  # goes on, or is finished
    if not vectors.exists():
        embed(run, records, vectors)
    deeploc = read_table(vectors.with_suffix(".profiles.parquet"))
    accuracy, linear = linear_profiles(screen)
    return [
        {"difficulty": difficulty, "model": model, "accuracy": accuracy}
        | scores(screen, names, features)
        for model, accuracy, names, features in (
            ("linear", accuracy, list(linear.index), linear.to_numpy(np.float32)),
            ("true weights", np.nan, *true_weights(screen)),
            (
                "DeepLoc",
                metrics["test"]["accuracy"],
                deeploc.metadata["protein"].tolist(),
                deeploc.features,
            ),
        )
    ]


def linear_profiles(screen: Path) -> tuple[float, pd.DataFrame]:
    """Accuracy on the test field, and mean class probabilities by protein."""
    cells = pd.read_csv(screen / "cells.csv")
    paths = cells[list(CHANNELS)].itertuples(index=False)
    numbers = np.array([ten_numbers(*(read_image(screen / p) for p in pair)) for pair in paths])
    train, test = cells["field"] <= 3, cells["field"] == 5
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    model.fit(numbers[train], cells["localization"][train])
    accuracy = model.score(numbers[test], cells["localization"][test])
    probabilities = pd.DataFrame(model.predict_proba(numbers[test]))
    return float(accuracy), probabilities.groupby(cells["protein"][test].to_numpy()).mean()


def true_weights(screen: Path) -> tuple[list[str], np.ndarray]:
    """Names of the proteins, and the share of their light in each compartment."""
    truth = pd.read_csv(screen / "proteins.csv").set_index("name")
    return list(truth.index), truth[list(COMPARTMENTS)].to_numpy(np.float32)


def ten_numbers(gfp: np.ndarray, rfp: np.ndarray) -> list[float]:
    """Brightness, contrast, texture at two scales, edges, entropy, and likeness of the channels."""
    gfp, rfp = gfp.astype(float) - 100, rfp.astype(float)  # 100: about the offset of the camera
    low, high = np.percentile(rfp, (50, 99))
    cell = rfp > low + 0.25 * (high - low)
    return [*channel_numbers(gfp, cell), correlation(gfp, rfp)]


def scores(screen: Path, proteins: list[str], features: np.ndarray) -> dict[str, float]:
    """AP of each standard, and mAP of the last two."""
    standards = [read_standard(screen / "standards" / f"{name}.gmt") for name in STANDARDS]
    results = benchmark(features, proteins, standards)
    values = {r.standard: r.numbers["average_precision"] for r in results}
    mean = {f"mAP {r.standard}": r.numbers["mean_average_precision"] for r in results[2:]}
    return values | mean


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
