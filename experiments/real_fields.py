"""Real fields: train on the cells of one field, predict those of the other.

    python experiments/real_fields.py DATA OUT [--seeds 1,2,3]

DATA is a folder with two fields of view, `r01c01f0{1,2}p01-ch{1,3}sk1fk1fl1.tiff`, and `cells.csv`,
a row a cell: image, x, y, localization. OUT receives records, runs and predictions. Stopped and
started again, it goes on where it was. Prints the table of docs/real-fields.md in Markdown.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import balanced_accuracy_score

from deeploc_tf import FieldSource
from deeploc_tf.sources import CellTable

PATTERN = "{well}f{field}p01-ch{channel}sk1fk1fl1.tiff"
CHANNELS = ("1", "3")  # the tagged protein and the cytosolic marker
CLASSES = ("Cell Periphery", "Cytoplasm")  # the others have 9 cells together
FIELDS = ["--pattern", PATTERN, "--channels", ",".join(CHANNELS), "--border", "pad"]
SETTINGS = [
    *("--width", "0.125", "--dense-units", "64,64", "--batch-size", "16", "--epochs", "24"),
    *("--learning-rate", "0.001", "--label-smoothing", "0.1", "--class-weights", "balanced"),
]
RESAMPLES = 10_000


def run_command(*arguments: str | Path) -> None:
    """Run `deeploc-tf` in a process of its own."""
    command = [sys.executable, "-m", "deeploc_tf", *map(str, arguments)]
    print("$ deeploc-tf", *map(str, arguments), file=sys.stderr, flush=True)
    subprocess.run(command, check=True, stdout=sys.stderr)


def tables(data: Path, out: Path) -> tuple[Path, Path]:
    """A table of all cells, and one of those of the two large classes."""
    cells = pd.read_csv(data / "cells.csv")
    paths = out / "all.csv", out / "large.csv"
    cells.to_csv(paths[0], index=False)
    cells[cells["localization"].isin(CLASSES)].to_csv(paths[1], index=False)
    return paths


def predict(data: Path, out: Path, trained_on: str, seed: int) -> pd.DataFrame:
    """Every cell of both fields as the network that saw one of them calls it."""
    every, large = tables(data, out)
    records, run = out / f"records-{trained_on}", out / f"run-{trained_on}-{seed}"
    calls = out / f"calls-{trained_on}-{seed}"
    if not records.exists():
        train = ["--label", "localization", "--train", f"field={trained_on}"]
        run_command("build-records", data, records, *FIELDS, "--cells", large, *train)
    if not (run / "model.keras").exists():
        run_command("fit", records, run, *SETTINGS, "--seed", str(seed))
    if not calls.exists():
        run_command("predict", run, data, calls, *FIELDS, "--cells", every)
    return pd.read_parquet(calls / "cells.parquet")


def forest(data: Path, out: Path, trained_on: str) -> pd.DataFrame:
    """The same of a random forest on eight intensities of each crop."""
    source = FieldSource(
        data, PATTERN, CHANNELS, cells=CellTable(tables(data, out)[1]), border="pad"
    )
    cells = source.index()
    pixels = np.stack([source.read(i)[0] for i in range(len(cells))]).reshape(len(cells), -1, 2)
    numbers = [pixels.mean(1), pixels.std(1), *np.percentile(pixels, [50, 99], axis=1)]
    features = np.concatenate(numbers, axis=1)
    train = (cells["field"] == trained_on).to_numpy()
    model = RandomForestClassifier(500, class_weight="balanced", random_state=0)
    model.fit(features[train], cells["localization"][train])
    return cells.assign(call=model.predict(features))


def measured(cells: pd.DataFrame, trained_on: str) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """Labels and calls of the cells of the two classes in the field that was not trained on."""
    chosen = (cells["field"] != trained_on) & cells["localization"].isin(CLASSES)
    return cells["localization"][chosen].to_numpy(str), cells["call"][chosen].to_numpy(str)


def interval(labels: NDArray[np.str_], calls: list[NDArray[np.str_]]) -> tuple[float, float]:
    """95 % of the mean over seeds, when as many cells of each class are drawn again."""
    random = np.random.default_rng(0)
    recalls = []
    for name in CLASSES:
        right = np.mean([of_seed[labels == name] == name for of_seed in calls], axis=0)
        drawn = random.integers(0, len(right), (RESAMPLES, len(right)))
        recalls.append(right[drawn].mean(axis=1))
    low, high = np.percentile(np.mean(recalls, axis=0), [2.5, 97.5])
    return float(low), float(high)


def print_row(title: str, labels: NDArray[np.str_], calls: list[NDArray[np.str_]]) -> None:
    """A row of the table: both scores, the interval of the second, and the recalls."""
    balanced = [balanced_accuracy_score(labels, of_seed) for of_seed in calls]
    accuracy = np.mean([(of_seed == labels).mean() for of_seed in calls])
    low, high = interval(labels, calls)
    recalls = [
        np.mean([(of_seed[labels == name] == name).mean() for of_seed in calls]) for name in CLASSES
    ]
    each = f" ({', '.join(f'{value:.3f}' for value in balanced)})" if len(calls) > 1 else ""
    print(
        f"| {title} | {len(labels)} | {accuracy:.3f} | {np.mean(balanced):.3f}{each} | "
        f"{low:.3f} to {high:.3f} | {recalls[0]:.3f} | {recalls[1]:.3f} |"
    )


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", default="1,2,3")
    arguments = parser.parse_args()
    data, out = arguments.data, arguments.out
    out.mkdir(parents=True, exist_ok=True)
    print(
        "| | cells | accuracy | balanced accuracy | 95 % interval of it | recall, periphery | "
        "recall, cytoplasm |\n|---|---|---|---|---|---|---|"
    )
    for trained_on, other in (("01", "02"), ("02", "01")):
        runs = [predict(data, out, trained_on, int(s)) for s in arguments.seeds.split(",")]
        labels, _ = measured(runs[0], trained_on)
        majority = [np.full(len(labels), CLASSES[0])]
        print_row(f"field {other}: always Cell Periphery", labels, majority)
        baseline = forest(data, out, trained_on)
        labels_of_forest, calls = measured(baseline, trained_on)
        print_row(f"field {other}: random forest on 8 intensities", labels_of_forest, [calls])
        calls_of_runs = [measured(run, trained_on)[1] for run in runs]
        print_row(f"field {other}: DeepLoc, {len(runs)} seeds", labels, calls_of_runs)


if __name__ == "__main__":
    main()
