"""How many labels two patterns of yeast cells need: an annotator is simulated, crop by crop.

    python experiments/labels_needed.py DATA OUT [--seeds 1,2,3] [--page docs/label.md]

DATA is a folder with `images/<PROTEIN>/<PROTEIN>_<field>_rfp_<cell>_{gfp,rfp}.tif`; OUT receives
records and tables. Stopped and started again, it goes on where it was. The annotator labels cells
of fields 1 to 3, ten at a time, in a random order or those of which the learner is least certain; a
logistic regression learns from all labels so far, and is tested on field 4. Prints the table of
docs/label.md, and with --page puts it there.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from numpy.typing import NDArray
from real_features import MAX_UNDEFINED, spread
from real_run import PATTERN_OF, build, run_command
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deeploc_tf.profiles.tables import read_table

MEASURED = {
    "intensity and texture": ["--kind", "intensity"],
    "pixels, 64 components": ["--kind", "pixels"],
}
ORDERS = ("random", "least certain")
AT_ONCE, MOST, GOAL = 10, 400, 0.95
SHOWN = (10, 20, 30, 50, 100, 200, 400)
BEGIN, END = "<!-- written by labels_needed.py -->", "<!-- end -->"


def curve(
    features: NDArray[np.float64],
    labels: NDArray[Any],
    train: NDArray[np.bool_],
    order: str,
    seed: int,
) -> dict[int, float]:
    """Number of labels -> accuracy on the cells that are not `train`.

    Numbers are scaled by all cells of `train`, which need no labels. While all labels are one class
    there is no learner: the next crops are random ones, and the accuracy that of this class.
    """
    prepared = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    pool, of_pool = prepared.fit_transform(features[train]), labels[train]
    test, of_test = prepared.transform(features[~train]), labels[~train]
    left = np.random.default_rng(seed).permutation(len(pool))
    taken = left[:0]
    accuracy = {}
    while len(taken) < min(MOST, len(pool)):
        taken, left = np.append(taken, left[:AT_ONCE]), left[AT_ONCE:]
        if len(set(of_pool[taken])) < 2:
            accuracy[len(taken)] = float((of_test == of_pool[taken[0]]).mean())
            continue
        learner = LogisticRegression(C=0.1, max_iter=5000).fit(pool[taken], of_pool[taken])
        accuracy[len(taken)] = float(learner.score(test, of_test))
        if order == "least certain" and len(left):
            certainty = learner.predict_proba(pool[left]).max(axis=1)
            left = left[np.argsort(certainty, kind="stable")]
    return accuracy


def needed(accuracy: dict[int, float]) -> float:
    """The number of labels from which on the accuracy is never below the goal; inf for none."""
    missed = [number for number, value in accuracy.items() if value < GOAL]
    later = [number for number in accuracy if number > max(missed, default=0)]
    return min(later, default=np.inf)


def curves(table: Path, seeds: list[int]) -> dict[str, list[dict[int, float]]]:
    """By order, a curve for each seed."""
    cells = read_table(table)
    train = (cells.metadata["field"].astype(str) != "4").to_numpy()
    labels = np.array([PATTERN_OF[protein] for protein in cells.metadata["protein"]])
    kept = np.isnan(cells.features[train]).mean(axis=0) <= MAX_UNDEFINED
    features = cells.features[:, kept].astype(np.float64)
    return {
        order: [curve(features, labels, train, order, seed) for seed in seeds] for order in ORDERS
    }


def markdown(found: dict[str, dict[str, list[dict[int, float]]]]) -> str:
    """Labels that the goal needs, and accuracies, as means over seeds."""
    head = ["features", "order", f"labels for {GOAL}", *(f"{number} labels" for number in SHOWN)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, by_order in found.items():
        for order, own in by_order.items():
            least = [needed(accuracy) for accuracy in own]
            counts = ", ".join("–" if np.isinf(count) else f"{count:.0f}" for count in least)
            numbers = [spread([accuracy[number] for accuracy in own]) for number in SHOWN]
            lines.append(f"| {' | '.join([name, order, counts, *numbers])} |")
    return "\n".join(lines)


def main() -> None:
    """Make what is missing and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--page", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    records = build(arguments.data, arguments.out)["A"]
    found = {}
    for name, options in MEASURED.items():
        table = arguments.out / f"{options[1]}.parquet"
        if not table.exists():
            splits = ("--split", "train", "--split", "test")
            run_command("measure", records, table, *options, *splits, "--quiet")
        found[name] = curves(table, seeds)
    text = markdown(found)
    print(text)
    if arguments.page is not None:
        page = arguments.page.read_text(encoding="utf-8")
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        content = f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"
        arguments.page.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
