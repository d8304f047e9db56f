"""Do sets of labels cover fields that nobody has seen, and are fractions right?

    python experiments/calibration_by_field.py DATA OUT [--tasks A,B,hep2,simulated] [--linear]

DATA has `yeast_crops` and `hep2`. Of each data set a small network (with `--linear` a logistic
regression on brightness and texture, in seconds) is trained on one field (or block) and calibrated
on two others; the last one, which neither has seen, is measured: twelve ways for four fields, by
four trainings. Fractions of that field's cells are compared with its labels. `simulated` draws a
screen, leaves out three quarters of every second class in training, which has class weights, and
mixes cells of three unseen fields into 200 proteins of known fractions. Stopped and started again,
it goes on where it was. Prints the tables of docs/calibration.md in Markdown.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from real_cells import TASKS, Proteins, Task, run_command
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deeploc_tf import read_table
from deeploc_tf.models.calibration import calibrate, read_calibration
from deeploc_tf.serving.fractions import Units, corrected_fractions

# Small and short: this measures calibration and not accuracy.
RECIPE = [
    *("--width", "0.125", "--dense-units", "64,64", "--batch-size", "32", "--steps", "300"),
    *("--augmentation", "orientations", "--test-time", "none", "--learning-rate", "0.002"),
    *("--warmup-epochs", "1", "--ema-momentum", "0.95", "--quiet"),
]
LEAST = 0.85
SCREEN = ["--proteins", "68", "--fields", "8", "--cells-per-field", "4", "--difficulty", "0.3"]
PROTEINS, CELLS = 200, 16  # mixed ones, and cells of each of their fields


def predictions(task: Task, group: str) -> pd.DataFrame:
    """What the network that was trained on one group says of the cells of the others."""
    records, run, results = (task.out / f"{what}-{group}" for what in ("one", "run", "results"))
    if not records.exists():
        source, *options = task.source()
        others = [f"{task.column}={other}" for other in task.groups if other != group]
        test = [word for other in others for word in ("--test", other)]
        run_command("build-records", source, records, *options, *task.coarse, *test, "--quiet")
    if not (run / "model.keras").exists():
        run_command("fit", records, run, *RECIPE)
    if not results.exists():
        run_command("evaluate", run, records, results, "--quiet")
    cells = pd.read_parquet(results / "predictions.parquet")
    return cells.assign(group=groups_of(task, cells["key"]))


def linear(task: Task, group: str) -> pd.DataFrame:
    """The same of a logistic regression on brightness and texture."""
    task.features("intensity")  # measures them
    cells = read_table(task.out / "intensity.parquet")
    values, known = cells.features.astype(np.float64), cells.metadata
    labels = known["protein" if isinstance(task, Proteins) else "label"].to_numpy(str)
    groups = known[task.column].to_numpy(str)
    model = make_pipeline(
        SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(max_iter=2000)
    )
    model.fit(values[groups == group], labels[groups == group])
    others = groups != group
    said = pd.DataFrame(
        model.predict_proba(values[others]), columns=[f"probability_{c}" for c in model.classes_]
    )
    protein = known["protein"].to_numpy(str)[others]
    return said.assign(label=labels[others], group=groups[others], protein=protein)


def groups_of(task: Task, keys: pd.Series[str]) -> list[str]:
    """The field or block of each cell."""
    if task.column == "field":
        return keys.str.extract(r"_(\d+)_rfp_")[0].tolist()
    table = pd.read_csv(task.out / "cells.csv", dtype=str)
    blocks = dict(zip(table["path"], table["block"], strict=True))
    return [next(blocks[path] for path in (key, key.split("|")[0])) for key in keys]


def scores_of(cells: pd.DataFrame) -> tuple[list[str], NDArray[np.float64]]:
    """Names of the classes, and logarithms of the probabilities of each cell."""
    names = [str(c).removeprefix("probability_") for c in cells if "probability_" in str(c)]
    probabilities = cells[[f"probability_{name}" for name in names]].to_numpy(np.float64)
    return names, np.log(np.maximum(probabilities, 1e-30))


def ways(task: Task, *, of_linear: bool) -> Iterator[dict[str, float | str]]:
    """A row for each network and each choice of the two fields that it is calibrated on."""
    for group in task.groups:
        if not of_linear and not (task.out / f"results-{group}").exists():
            continue
        cells = linear(task, group) if of_linear else predictions(task, group)
        for held in itertools.combinations([g for g in task.groups if g != group], 2):
            mine = cells["group"].isin(held)
            unseen = cells[~mine]
            names, logs = scores_of(cells[mine])
            labels = pd.Index(names).get_indexer(cells["label"])
            columns = ["group", "protein"] if cells["protein"].any() else ["group"]
            units = cells[columns].agg("/".join, axis=1)
            by_field = calibrate(labels[mine], logs, units[mine].tolist(), names)
            by_cell = calibrate(labels[mine], logs, [""] * int(mine.sum()), names)
            truth, scores = labels[~mine], scores_of(unseen)[1]
            rows = np.arange(len(truth))
            row: dict[str, float | str] = {"field": unseen["group"].iloc[0], "cells": len(unseen)}
            row["accuracy"] = float((scores.argmax(axis=1) == truth).mean())
            row["temperature"] = by_field.temperature
            row["loss before"] = float(-scores[rows, truth].mean())
            calibrated = by_field.probabilities(scores)[rows, truth]
            row["loss after"] = float(-np.log(calibrated).mean())
            for name, found in (("cells", by_cell), ("fields", by_field)):
                sets = found.label_sets(scores)
                row[f"coverage, {name}"] = float(sets[rows, truth].mean())
                row[f"size, {name}"] = float(sets.sum(axis=1).mean())
            true = np.bincount(truth, minlength=len(names)) / len(truth)
            called = np.bincount(scores.argmax(axis=1), minlength=len(names)) / len(truth)
            sums = np.exp(scores).sum(axis=0)[np.newaxis]
            corrected = corrected_fractions(
                sums, np.array([len(truth)]), np.zeros(1, np.int64), by_field
            )
            row["fractions, calls"] = float(np.abs(called - true).mean())
            row["fractions, corrected"] = float(np.abs(corrected.fractions[0] - true).mean())
            yield row


def simulated(out: Path) -> pd.DataFrame:
    """Errors of the fractions of mixed proteins: calls and corrected, and intervals that cover."""
    screen, records, run, results = (out / n for n in ("screen", "records", "run", "results"))
    if not screen.exists():
        run_command("simulate", screen, *SCREEN, "--quiet")
    if not records.exists():
        cells = pd.read_csv(screen / "cells.csv")
        rare = cells["localization"].isin(sorted(set(cells["localization"]))[::2])
        fewer = rare & (cells["field"] <= 5) & (cells["cell"] > cells["cell"].min())
        cells[~fewer].to_csv(screen / "fewer.csv", index=False)
        splits = ("--validation", "field=4", "--validation", "field=5")
        splits += tuple(w for field in "678" for w in ("--test", f"field={field}"))
        images = ("--image-column", "gfp=gfp", "--image-column", "rfp=rfp")
        words = ("--label", "localization", *images, *splits, "--quiet")
        run_command("build-records", screen / "fewer.csv", records, *words)
    if not (run / "model.keras").exists():
        run_command("fit", records, run, *RECIPE, "--steps", "600", "--class-weights", "balanced")
    if not results.exists():
        run_command("evaluate", run, records, results, "--quiet")
    calibration = read_calibration(run)
    assert calibration is not None
    cells = pd.read_parquet(results / "predictions.parquet")
    table = pd.read_csv(screen / "cells.csv").set_index("key")
    cells["field"] = table.loc[cells["key"], "field"].to_numpy()
    names, logs = scores_of(cells)
    random = np.random.default_rng(0)
    units = Units(["protein"], ["field"])
    truth, called = np.zeros((PROTEINS, len(names))), np.zeros((PROTEINS, len(names)))
    for protein in range(PROTEINS):
        few = random.choice(len(names), 1 + protein % 3, replace=False)
        truth[protein, few] = random.dirichlet(np.ones(len(few)))
        for field in (6, 7, 8):
            number = random.multinomial(CELLS, truth[protein])
            rows = [
                random.choice(
                    np.flatnonzero((cells["field"] == field) & (cells["label"] == name)), count
                )
                for name, count in zip(names, number, strict=True)
            ]
            chosen = np.concatenate(rows)
            mixed = pd.DataFrame({"protein": f"{protein:03}", "field": field}, index=chosen)
            units.add(mixed, np.exp(logs[chosen]))
            called[protein] += np.bincount(logs[chosen].argmax(axis=1), minlength=len(names))
    found = units.table(calibration)
    corrected, lower, upper = (
        found[[f"{what}_fraction_{name}" for name in names]].to_numpy(np.float64)
        for what in ("corrected", "lower", "upper")
    )
    called /= called.sum(axis=1, keepdims=True)
    inside = (lower <= truth + 1e-9) & (truth <= upper + 1e-9)
    right = cells["predicted"] == cells["label"]
    print(f"Accuracy {right.mean():.3f}. {calibration.describe()}\n")
    rows = []
    for title, where in (
        ("0", truth == 0),
        ("0 to 0.3", (truth > 0) & (truth <= 0.3)),
        ("0.3 to 0.7", (truth > 0.3) & (truth <= 0.7)),
        ("0.7 to 1", (truth > 0.7) & (truth < 1)),
        ("1", truth == 1),
    ):
        values: dict[str, float | str] = {"true fraction": title, "number": int(where.sum())}
        for name, of in (("calls", called), ("corrected", corrected)):
            values[f"bias, {name}"] = float((of - truth)[where].mean())
            values[f"mean error, {name}"] = float(np.abs(of - truth)[where].mean())
        values["inside the interval"] = float(inside[where].mean())
        values["its length"] = float((upper - lower)[where].mean())
        rows.append(values)
    return pd.DataFrame(rows)


def printed(table: pd.DataFrame) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(map(str, table))} |", "|---" * table.shape[1] + "|"]
    for row in table.itertuples(index=False):
        cells = (f"{value:.3f}" if isinstance(value, float) else str(value) for value in row)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Make what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tasks", default="A,B,hep2,simulated")
    parser.add_argument("--linear", action="store_true", help="A logistic regression, no network.")
    parser.add_argument("--show", action="store_true", help="Print what there is; run nothing.")
    arguments = parser.parse_args()
    for name in arguments.tasks.split(","):
        out = arguments.out / name
        out.mkdir(parents=True, exist_ok=True)
        print(f"\n{name}\n", flush=True)
        if name == "simulated":
            print(printed(simulated(out)), flush=True)
            continue
        task = TASKS[name](arguments.data, out)
        for group in () if arguments.show or arguments.linear else task.groups:
            predictions(task, group)
        table = pd.DataFrame(ways(task, of_linear=arguments.linear))
        print(printed(table), flush=True)
        for kind in ("cells", "fields"):
            coverage = table[f"coverage, {kind}"]
            print(
                f"calibrated over {kind}: mean {coverage.mean():.3f}, lowest {coverage.min():.3f}, "
                f"{(coverage < LEAST).sum()} of {len(coverage)} below {LEAST}"
            )


if __name__ == "__main__":
    main()
