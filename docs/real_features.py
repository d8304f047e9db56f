"""What tables of features hold of five yeast proteins: neighbors and a linear probe, cell by cell.

    python docs/real_features.py DATA OUT [NAME=TABLE ...] [--page docs/features.md]

DATA is a folder with `images/<PROTEIN>/<PROTEIN>_<field>_rfp_<cell>_{gfp,rfp}.tif`; OUT receives
records and the tables that `measure` writes; TABLE is any further one of the same crops, for example
of `deeploc-tf embed RUN OUT/records-B TABLE --split train --split test`, and NAME its row. What is
there already is not made again. Everything is chosen on fields 1 to 3; field 4 tests. Prints the
table of docs/features.md, and with --page puts it there.
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

KINDS = {
    "cellprofiler": "CellProfiler (cp-measure)",
    "intensity": "intensity and texture numbers",
    "pixels": "pixels, 64 components",
}
PROBES = {
    "neighbors": (KNeighborsClassifier(), {"n_neighbors": [5, 10, 20, 40]}),
    "linear": (LogisticRegression(max_iter=5000), {"C": [0.001, 0.01, 0.1, 1.0]}),
}
MAX_UNDEFINED = 0.05  # as in profiles
BEGIN, END = "<!-- written by real_features.py -->", "<!-- end -->"


def measured(records: Path, out: Path, workers: int) -> dict[str, Path]:
    """A table of each kind of feature."""
    tables = {name: out / f"{kind}.parquet" for kind, name in KINDS.items()}
    for kind, table in zip(KINDS, tables.values(), strict=True):
        if not table.exists():
            options = ["--kind", kind, "--split", "train", "--split", "test"]
            run_command("measure", records, table, *options, "--workers", str(workers))
    return tables


def accuracies(table: Path) -> dict[str, float]:
    """Accuracy of each probe and task on field 4; everything is fitted on fields 1 to 3."""
    cells = read_table(table)
    fields, proteins = (cells.metadata[name].to_numpy() for name in ("field", "protein"))
    train, test = fields != "4", fields == "4"
    if not train.any() or not test.any():
        message = f"A table must hold the splits train and test. Received: {table}."
        raise SystemExit(message)
    features = defined(cells.features.astype(np.float64), train)
    scores = {"number of features": features.shape[1]}
    for task, labels in {
        "5 proteins": proteins,
        "2 patterns": np.array([PATTERN_OF[protein] for protein in proteins]),
    }.items():
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


def majority(table: Path) -> dict[str, float]:
    """Always the class with most training cells."""
    metadata = read_table(table).metadata
    scores: dict[str, float] = {"number of features": 0}
    for task, labels in {
        "5 proteins": metadata["protein"],
        "2 patterns": metadata["protein"].map(PATTERN_OF),
    }.items():
        first = labels[metadata["field"] != "4"].mode()[0]
        share = float((labels[metadata["field"] == "4"] == first).mean())
        scores |= {f"{task}, {name}": share for name in PROBES}
    return scores


def markdown(rows: dict[str, dict[str, float]]) -> str:
    columns = list(next(iter(rows.values())))
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, scores in rows.items():
        numbers = [f"{scores[column]:.3f}".removeprefix("0") for column in columns[1:]]
        lines.append(f"| {name} | {scores[columns[0]]:.0f} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("tables", nargs="*", metavar="NAME=TABLE")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    records = build(arguments.data, arguments.out)["B"]
    tables = measured(records, arguments.out, arguments.workers)
    tables |= {name: Path(path) for name, _, path in (t.partition("=") for t in arguments.tables)}
    rows = {"majority": majority(next(iter(tables.values())))}
    rows |= {name: accuracies(table) for name, table in tables.items()}
    text = markdown(rows)
    print(text)
    if arguments.page is not None:
        before, _, rest = arguments.page.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        page = f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"
        arguments.page.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
