"""What vectors of each method tell of five yeast proteins: neighbors and a linear probe, by cell.

    python experiments/real_features.py DATA OUT [--seeds 1,2,3] [--page docs/real-features.md]

DATA is a folder with `images/<PROTEIN>/<PROTEIN>_<field>_rfp_<cell>_{gfp,rfp}.tif`; OUT receives
records, runs and tables. Stopped and started again, it goes on where it was. Fields 1 to 3 train
networks and probes, and choose the probes' strength, one field left out at a time; field 4 tests.
Prints the table of docs/real-features.md, and with --page puts it there.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from numpy.typing import NDArray
from real_run import PATTERN_OF, build, run_command
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deeploc_tf import read_table

SPLITS = ("--split", "train", "--split", "test")
NETWORK = [
    *("--width", "0.125", "--dense-units", "64,64", "--batch-size", "16", "--epochs", "20"),
    *("--learning-rate", "0.001", "--label-smoothing", "0.1", "--batch-norm-momentum", "0.99"),
]
NETWORKS = {
    "DeepLoc, 2 patterns": NETWORK,
    "the same network, 5 proteins": [*NETWORK, "--target", "protein"],
    "the same network, untrained": [*NETWORK, "--epochs", "0"],
    "paired cell inpainting": [
        *("--method", "inpainting", "--width", "0.125", "--batch-size", "32"),
        *("--learning-rate", "0.001", "--epochs", "20"),
    ],
}
MEASURED = {
    "CellProfiler (cp-measure)": ["--kind", "cellprofiler"],
    "intensity and texture": ["--kind", "intensity"],
    "pixels, 64 components": ["--kind", "pixels"],
}
PROBES = {
    "neighbors": (KNeighborsClassifier(), {"n_neighbors": [5, 10, 20, 40]}),
    "linear": (LogisticRegression(max_iter=5000), {"C": [0.001, 0.01, 0.1, 1.0]}),
}
MAX_UNDEFINED = 0.05  # as in profiles
BEGIN, END = "<!-- written by real_features.py -->", "<!-- end -->"


def tables(records: Path, out: Path, seeds: list[int]) -> dict[str, list[Path]]:
    """The tables of each method, those of networks one a seed; finished ones are left alone."""
    found: dict[str, list[Path]] = {}
    for name, options in NETWORKS.items():
        for seed in seeds:
            run = out / f"{'-'.join(name.replace(',', '').split())}-{seed}"
            table = run.with_suffix(".parquet")
            if not (run / "model.keras").exists():
                run_command("fit", records, run, *options, "--seed", str(seed), "--quiet")
            if not table.exists():
                run_command("embed", run, records, table, *SPLITS, "--quiet")
            found.setdefault(name, []).append(table)
    for name, options in MEASURED.items():
        table = out / f"{options[1]}.parquet"
        if not table.exists():
            run_command("measure", records, table, *options, *SPLITS, "--workers", "2", "--quiet")
        found[name] = [table]
    return found


def accuracies(table: Path) -> dict[str, float]:
    """Accuracy of each probe and task on field 4; everything is fitted on fields 1 to 3."""
    cells = read_table(table)
    fields, proteins = (
        cells.metadata[name].astype(str).to_numpy() for name in ("field", "protein")
    )
    train, test = fields != "4", fields == "4"
    features = defined(cells.features.astype(np.float64), train)
    scores = {"features": float(features.shape[1])}
    for task, labels in {
        "5 proteins": proteins,
        "2 patterns": np.array([PATTERN_OF[protein] for protein in proteins]),
    }.items():
        first, counts = np.unique(labels[train], return_counts=True)
        scores[f"{task}, majority"] = float((labels[test] == first[counts.argmax()]).mean())
        for name, (probe, grid) in PROBES.items():
            pipeline = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), probe)
            step = pipeline.steps[-1][0]
            search = GridSearchCV(
                pipeline, {f"{step}__{k}": v for k, v in grid.items()}, cv=LeaveOneGroupOut()
            )
            search.fit(features[train], labels[train], groups=fields[train])
            scores[f"{task}, {name}"] = float(search.score(features[test], labels[test]))
    return scores


def defined(features: NDArray[Any], train: NDArray[np.bool_]) -> NDArray[Any]:
    """Without the features that are undefined in more than 5 percent of the training cells."""
    return features[:, np.isnan(features[train]).mean(axis=0) <= MAX_UNDEFINED]


def markdown(rows: dict[str, list[dict[str, float]]]) -> str:
    """Means over seeds, and standard deviations where there are several."""
    columns = [f"{task}, {probe}" for task in ("5 proteins", "2 patterns") for probe in PROBES]
    lines = [f"| | features | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    first = next(iter(rows.values()))[0]
    always = [f"{first[column.split(',')[0] + ', majority']:.3f}" for column in columns]
    lines.append(f"| always the class with most training cells | 0 | {' | '.join(always)} |")
    for name, scores in rows.items():
        numbers = [spread([score[column] for score in scores]) for column in columns]
        lines.append(f"| {name} | {scores[0]['features']:.0f} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """The mean, with the standard deviation of several values."""
    text = f"{np.mean(values):.3f}"
    return text if len(values) == 1 else f"{text} ± {np.std(values, ddof=1):.3f}"


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
    found = tables(records, arguments.out, seeds)
    text = markdown({name: [accuracies(table) for table in each] for name, each in found.items()})
    print(text)
    if arguments.page is not None:
        before, _, rest = arguments.page.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        page = f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"
        arguments.page.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
