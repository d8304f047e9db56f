"""Three real data sets, one protocol: a network against plain baselines where a field is left out.

    python experiments/real_cells.py DATA OUT [--tasks A,B,fields,hep2] [--seeds 1,2,3]

DATA has `yeast_crops`, `yeast_fields` and `hep2`. Each field of the yeast cells (A: two patterns,
B: five proteins), each of two whole fields of view, and each block of HEp-2 cells is left out in
turn: the others train, it tests. One recipe for all of them, `RECIPE`, and nothing is chosen on
what tests. The baselines are the majority, and of brightness and texture and of CellProfiler's
features a random forest, a logistic regression and nearest neighbors, whose settings are chosen by
leaving out one training field at a time (where there is one only, by five folds of its cells).
Stopped and started again, it goes on where it was. Prints the tables of docs/real-cells.md in
Markdown; what has not been trained yet is left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deeploc_tf import read_table

# The recommended preset, a quarter of its filters.
RECIPE = ["--width", "0.25", "--dense-units", "128,128", "--batch-size", "32"]
CLASSES_OF_FIELDS = ("Cell Periphery", "Cytoplasm")  # the others have 9 cells together
PATTERN_OF = {
    "AAC1": "mitochondrial",
    "AAC3": "mitochondrial",
    "AAH1": "cytoplasmic",
    "AAP1": "cytoplasmic",
    "AAR2": "cytoplasmic",
}
YEAST = [
    *("--pattern", "{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif"),
    *("--channels", "gfp,rfp", "--label"),
]
BASELINES: dict[str, tuple[Any, dict[str, Any]]] = {
    "random forest": (RandomForestClassifier(500, random_state=0, n_jobs=1), {}),
    "logistic regression": (LogisticRegression(max_iter=5000), {"C": [0.001, 0.01, 0.1, 1.0]}),
    "nearest neighbors": (KNeighborsClassifier(), {"n_neighbors": [5, 10, 20, 40]}),
}
FEATURES = {"brightness and texture": "intensity", "CellProfiler": "cellprofiler"}
MAX_UNDEFINED = 0.05  # as in profiles


def run_command(*words: str | Path) -> None:
    """Run `deeploc-tf` in a process of its own."""
    command = [sys.executable, "-m", "deeploc_tf", *map(str, words)]
    print("$ deeploc-tf", *map(str, words), file=sys.stderr, flush=True)
    subprocess.run(command, check=True, stdout=sys.stderr)


class Task:
    """Cells that are told apart, and the column whose values are left out in turn.

    Args:
        data: the folder of all data sets.
        out: receives tables, records, runs and results.
    """

    column = "field"
    groups: tuple[str, ...] = ("1", "2", "3", "4")
    recipe: tuple[str, ...] = ()
    coarse: tuple[str, ...] = ()  # what the network sees is read with these options, too

    def __init__(self, data: Path, out: Path) -> None:
        self.data, self.out = data, out

    def source(self) -> list[str | Path]:
        """Words of `build-records` that say what is read."""
        raise NotImplementedError

    def records(self, group: str) -> Path:
        """The records in which this group tests."""
        return self._records(group, f"records-{group}", self.coarse)

    def _records(self, group: str, name: str, more: tuple[str, ...]) -> Path:
        folder = self.out / name
        if not folder.exists():
            source, *options = self.source()
            test = ("--test", f"{self.column}={group}")
            run_command("build-records", source, folder, *options, *more, *test)
        return folder

    def features(self, kind: str) -> pd.DataFrame:
        """Features of all cells, with `label` and `group`; those that many lack are left out."""
        path = self.out / f"{kind}.parquet"
        if not path.exists():
            records = self._records(self.groups[0], "records", ())
            splits = ("--split", "train", "--split", "test")
            run_command("measure", records, path, "--kind", kind, *splits, "--quiet")
        cells = read_table(path)
        frame = pd.DataFrame(cells.features.astype(np.float64))
        frame = frame.loc[:, frame.isna().mean() <= MAX_UNDEFINED]
        names = {"label": "label", "group": self.column}
        return frame.assign(**{new: cells.metadata[old].to_numpy() for new, old in names.items()})


class Patterns(Task):
    """Two patterns of five yeast proteins."""

    def source(self) -> list[str | Path]:
        """All crops, labelled by a table."""
        table = self.out / "patterns.csv"
        lines = [f"{protein},{pattern}" for protein, pattern in PATTERN_OF.items()]
        table.write_text("\n".join(["protein,pattern", *lines]) + "\n")
        return [self.data / "yeast_crops/images", *YEAST, "pattern", "--label-table", table]


class Proteins(Task):
    """Five yeast proteins."""

    def source(self) -> list[str | Path]:
        """All crops, labelled by their proteins."""
        return [self.data / "yeast_crops/images", *YEAST, "protein"]


class Fields(Task):
    """The two large classes of two whole fields of view."""

    groups = ("01", "02")

    def source(self) -> list[str | Path]:
        """Both fields, with the centers of their cells."""
        cells = pd.read_csv(self.data / "yeast_fields/cells.csv")
        table = self.out / "cells.csv"
        cells[cells["localization"].isin(CLASSES_OF_FIELDS)].to_csv(table, index=False)
        return [
            self.data / "yeast_fields",
            *("--pattern", "{well}f{field}p01-ch{channel}sk1fk1fl1.tiff", "--channels", "1,3"),
            *("--border", "pad", "--cells", table, "--label", "localization"),
        ]


class HEp2(Task):
    """Six staining patterns, one of equal cells; the network sees half the resolution."""

    column = "block"
    groups = ("0", "1", "2", "3")
    recipe = ("--epochs", "15")
    coarse = ("--pixel-size", "1", "--resample-to", "2")

    def source(self) -> list[str | Path]:
        """A table of the images, those of which an equal one came before left out."""
        cells = pd.read_csv(self.data / "hep2/cells.csv")
        digests = [
            hashlib.sha256(_pixels(self.data / "hep2" / path)).digest() for path in cells["path"]
        ]
        table = self.out / "cells.csv"
        cells[~pd.Series(digests).duplicated()].to_csv(table, index=False)
        return [
            *(table, "--root", self.data / "hep2", "--image-column", "antibody=path"),
            *("--label", "label"),
        ]


TASKS = {"A": Patterns, "B": Proteins, "fields": Fields, "hep2": HEp2}


def _pixels(path: Path) -> bytes:
    from deeploc_tf.sources.images import read_image

    return read_image(path).tobytes()


def scores(truth: NDArray[Any], calls: NDArray[Any]) -> dict[str, float]:
    """Accuracy and balanced accuracy."""
    return {
        "accuracy": float(accuracy_score(truth, calls)),
        "balanced": float(balanced_accuracy_score(truth, calls)),
    }


def baselines(task: Task, group: str) -> dict[str, dict[str, float]]:
    """Scores of the majority and of each probe of each kind of features."""
    path = task.out / f"baselines-{group}.json"
    if path.exists():
        found: dict[str, dict[str, float]] = json.loads(path.read_text())
        return found
    found = {}
    for name, kind in FEATURES.items():
        cells = task.features(kind)
        test = (cells["group"].astype(str) == group).to_numpy()
        labels, groups = cells["label"].to_numpy(str), cells["group"].to_numpy(str)[~test]
        values = cells.drop(columns=["label", "group"]).to_numpy()
        classes, counts = np.unique(labels[~test], return_counts=True)
        majority = np.full(test.sum(), classes[counts.argmax()])
        found["majority of the training cells"] = scores(labels[test], majority)
        for probe, (model, grid) in BASELINES.items():
            pipeline = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), model)
            step = pipeline.steps[-1][0]
            several_fields = len(set(groups)) > 1
            folds = StratifiedKFold(5, shuffle=True, random_state=0)
            search = GridSearchCV(
                pipeline,
                {f"{step}__{key}": choices for key, choices in grid.items()},
                cv=LeaveOneGroupOut() if several_fields else folds,
            )
            search.fit(values[~test], labels[~test], groups=groups)
            found[f"{probe}, {name}"] = scores(labels[test], search.predict(values[test]))
    path.write_text(json.dumps(found, indent=1))
    return found


def network(task: Task, group: str, seed: int) -> pd.DataFrame:
    """What the network says of each cell of the group that was left out."""
    run = task.out / f"run-{group}-{seed}"
    results = task.out / f"results-{group}-{seed}"
    if not (run / "model.keras").exists():
        recipe = (*RECIPE, *task.recipe, "--seed", str(seed))
        run_command("fit", task.records(group), run, *recipe, "--quiet")
    if not results.exists():
        run_command("evaluate", run, task.records(group), results, "--quiet")
    return pd.read_parquet(results / "predictions.parquet")


def table(task: Task, seeds: list[int]) -> str:
    """Accuracy / balanced accuracy of each method on each group that was trained, in Markdown."""
    groups = [g for g in task.groups if (task.out / f"baselines-{g}.json").exists()]
    rows: dict[str, list[str]] = {}
    means: dict[str, list[dict[str, float]]] = {}

    def add(name: str, each: list[dict[str, float]], spread: str = "") -> None:
        found = {key: float(np.mean([one[key] for one in each])) for key in each[0]}
        rows.setdefault(name, []).append(
            f"{found['accuracy']:.3f}{spread} / {found['balanced']:.3f}"
        )
        means.setdefault(name, []).append(found)

    for group in groups:
        for name, found in baselines(task, group).items():
            add(name, [found])
        done = [s for s in seeds if (task.out / f"results-{group}-{s}").exists()]
        calls = [network(task, group, seed) for seed in done]
        if not calls:
            continue
        columns = [name for name in map(str, calls[0]) if name.startswith("probability_")]
        truth = calls[0]["label"].to_numpy(str)
        each = [scores(truth, one["predicted"].to_numpy(str)) for one in calls]
        several = ", ".join(f"{one['accuracy']:.3f}" for one in each)
        add("network, mean over seeds", each, f" ({several})" if len(each) > 1 else "")
        if len(calls) > 1 and columns:
            mean = np.mean([one[columns].to_numpy() for one in calls], axis=0)
            names = np.array([name.removeprefix("probability_") for name in columns])
            add("network, probabilities of all seeds", [scores(truth, names[mean.argmax(1)])])
    lines = [f"| left out | {' | '.join(groups)} | mean |", "|---" * (len(groups) + 2) + "|"]
    for name, cells in rows.items():
        missing = ["-"] * (len(groups) - len(cells))
        mean = {key: np.mean([one[key] for one in means[name]]) for key in means[name][0]}
        whole = "-" if missing else f"{mean['accuracy']:.3f} / {mean['balanced']:.3f}"
        lines.append(f"| {name} | {' | '.join([*cells, *missing])} | {whole} |")
    return "\n".join(lines)


def main() -> None:
    """Make what is missing, the first seed of everything first, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--show", action="store_true", help="Print what there is; run nothing.")
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    tasks = {}
    for name in arguments.tasks.split(","):
        out = arguments.out / name
        out.mkdir(parents=True, exist_ok=True)
        tasks[name] = TASKS[name](arguments.data, out)
    if not arguments.show:
        for task in tasks.values():
            for group in task.groups:
                baselines(task, group)
        for seed in seeds:
            for task in tasks.values():
                for group in task.groups:
                    network(task, group, seed)
    for name, task in tasks.items():
        print(f"\n{name}: accuracy / balanced accuracy\n\n{table(task, seeds)}", flush=True)


if __name__ == "__main__":
    main()
