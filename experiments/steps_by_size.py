"""How many steps does a training on few crops need, and which statistics do its averages?

    python experiments/steps_by_size.py OUT ../shared/data/hep2 [--minutes 30]

The recommended preset with an eighth of the filters learns from 136 to 10,000 simulated crops of 17
compartments and from 136 to 4,000 real HEp-2 cells of six patterns (blocks 2 and 3; block 1
validates, block 0 tests; of equal cells one), for so many steps each. After each epoch of the real
cells, validation is measured twice: as `fit` does, with batch statistics that are computed anew for
the averaged weights, and with the moving ones of the weights of the last steps. OUT gets
`runs.csv` and `evaluations.csv`; stopped, or after so many minutes of the processor, and started
again, it goes on where it was. Prints the tables of docs/training.md in Markdown.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import pandas as pd
import tensorflow as tf

from deeploc_tf import FitConfig, TableSource, build_records, fit
from deeploc_tf.simulation.simulate import CHANNELS, Screen, simulate
from deeploc_tf.training.averages import averaged_weights
from deeploc_tf.training.tasks import TASKS
from tfrecords.manifest import read_manifest

SIZES = {"simulated": (136, 408, 1000, 3000, 10_000), "hep2": (136, 408, 1000, 4000)}
STEPS = (250, 500, 1000, 2000)
NETWORK: dict[str, Any] = {"width": 0.125, "dense_units": (64, 64), "test_time": "none"}
NUM_VALIDATED, NUM_TESTED = 500, 1000
# What is tried: data, crops, steps, seed and settings; what tells most comes first.
PLAN = [
    *((data, n, steps, 0, {}) for steps in STEPS[:3] for data in SIZES for n in SIZES[data]),
    *((data, n, 1000, 0, {"learning_rate": 1e-3}) for data in SIZES for n in (136, 1000)),
    *((data, n, 2000, 0, {}) for data in SIZES for n in SIZES[data]),
    *((data, n, steps, 1, {}) for steps in STEPS for data in SIZES for n in (136, 408)),
]


def main(out: Path, hep2: Path, minutes: float) -> None:
    out.mkdir(parents=True, exist_ok=True)
    tables = {"simulated": simulated(out), "hep2": real(out, hep2)}
    roots = {"simulated": out / "screen", "hep2": hep2}
    path = out / "runs.csv"
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    done = {(r["data"], r["crops"], r["steps"], r["seed"], r["learning_rate"]) for r in rows}
    for data, crops, steps, seed, settings in PLAN:
        config = FitConfig(**NETWORK, **settings, steps=steps, seed=seed)
        if (data, crops, steps, seed, config.learning_rate) in done:
            continue
        if time.process_time() > 60 * minutes:
            break
        began = time.process_time()
        records = sample(out, data, tables[data], roots[data], crops, seed)
        run = out / f"run-{data}-{crops}-{steps}-{seed}-{config.learning_rate:g}"
        watch = [MovingStatistics(records, config)] if data == "hep2" else []
        metrics = fit(records, run, config, callbacks=watch)
        rows.append(
            {"data": data, "crops": crops, "steps": steps, "seed": seed}
            | {"learning_rate": config.learning_rate}
            | {
                f"{split}_{name}": metrics[split][name]
                for split in ("validation", "test")
                for name in ("loss", "accuracy", "balanced_accuracy")
            }
            | {"cpu_seconds": round(time.process_time() - began, 1)}
        )
        pd.DataFrame(rows).to_csv(path, index=False)
        if watch:
            keep_evaluations(out / "evaluations.csv", run, watch[0].rows)
        shutil.rmtree(run)
        keras.backend.clear_session()
    print(in_words(pd.DataFrame(rows)))
    if (out / "evaluations.csv").exists():
        print(jumps(pd.read_csv(out / "evaluations.csv")))


def simulated(out: Path) -> pd.DataFrame:
    """Cells of 17 compartments; the fifth field of each protein validates and tests."""
    if not (out / "screen").exists():
        simulate(out / "screen", Screen(cells_per_field=10), workers=1)
    cells = pd.read_csv(out / "screen" / "cells.csv")
    cells = cells.rename(columns={"localization": "class"}).sample(frac=1, random_state=0)
    last = cells["field"].astype(str) == "5"
    return pd.concat([cells[~last].assign(split="train"), held_out(cells[last])])


def real(out: Path, hep2: Path) -> pd.DataFrame:
    """Cells of six patterns, one of equal ones."""
    cells = pd.read_csv(hep2 / "cells.csv").rename(columns={"label": "class"})
    digests = out / "hep2-pixels.csv"
    if not digests.exists():
        cells["pixels"] = [
            hashlib.sha256(tf.io.decode_png((hep2 / path).read_bytes()).numpy()).hexdigest()
            for path in cells["path"]
        ]
        cells[["path", "pixels"]].to_csv(digests, index=False)
    cells = cells.merge(pd.read_csv(digests)[["path", "pixels"]], on="path", suffixes=("", "_"))
    cells = cells.drop_duplicates("pixels").drop(columns=["pixels", "given_split"])
    cells = cells.sample(frac=1, random_state=0)
    split = cells["block"].map({0: "test", 1: "validation"}).fillna("train")
    validated = cells[split == "validation"].head(NUM_VALIDATED).assign(split="validation")
    tested = cells[split == "test"].head(NUM_TESTED).assign(split="test")
    return pd.concat([cells[split == "train"].assign(split="train"), validated, tested])


def held_out(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells that validate, and others that test."""
    both = cells.head(NUM_VALIDATED + NUM_TESTED)
    return both.assign(
        split=["validation"] * NUM_VALIDATED + ["test"] * (len(both) - NUM_VALIDATED)
    )


def sample(out: Path, data: str, cells: pd.DataFrame, root: Path, crops: int, seed: int) -> Path:
    """Records with so many training cells, the classes as in all of them."""
    records = out / f"records-{data}-{crops}-{seed}"
    if records.exists():
        return records
    train = cells[cells["split"] == "train"].sample(frac=1, random_state=seed)
    # The k-th of the n cells of a class has rank (k + 1/2) / n: the first crops hold each class.
    of_class = train.groupby("class")
    rank = (of_class.cumcount() + 0.5) / of_class["class"].transform("size")
    chosen = train.loc[rank.sort_values(kind="stable").index[:crops]]
    table = out / f"{records.name}.csv"
    pd.concat([chosen, cells[cells["split"] != "train"]]).to_csv(table, index=False)
    columns = {c: c for c in CHANNELS} if data == "simulated" else {"gfp": "path"}
    build_records(TableSource(table, columns, root=root), records, label="class")
    return records


class MovingStatistics(keras.callbacks.Callback):
    """Validate the averaged weights with the moving statistics of the weights of the last steps."""

    def __init__(self, records: Path, config: FitConfig) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self._task = TASKS.get("classification").load()(records, read_manifest(records), config)
        self._twin = self._task.build()
        self._evaluator = self._task.evaluator(self._twin, ["validation"])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - as Keras calls it
        parts = ("optimizer", "weights", "trainable_variables")
        bare = SimpleNamespace(**{name: getattr(self.model, name) for name in parts})
        self._twin.set_weights(averaged_weights(bare))
        metrics = self._evaluator.metrics("validation")
        self.rows.append({"epoch": epoch + 1, "moving": metrics["accuracy"]})


def keep_evaluations(path: Path, run: Path, rows: list[dict[str, float]]) -> None:
    """Add those of a run, with what `fit` saw."""
    table = pd.DataFrame(rows).merge(pd.read_csv(run / "history.csv"), on="epoch")
    table = table[["epoch", "moving", "val_accuracy", "accuracy"]].assign(run=run.name)
    table.to_csv(path, mode="a", header=not path.exists(), index=False)


def in_words(rows: pd.DataFrame) -> str:
    """Accuracy on the validation and test cells against steps, mean over seeds, in Markdown."""
    lines = []
    usual = rows[rows["learning_rate"] == FitConfig().learning_rate]
    for data in SIZES:
        lines += [f"| {data} |" + "".join(f" {steps} steps |" for steps in STEPS)]
        lines += ["|---|" + "---|" * len(STEPS)]
        for crops in SIZES[data]:
            cells = []
            for steps in STEPS:
                found = usual[
                    (usual["data"] == data) & (usual["crops"] == crops) & (usual["steps"] == steps)
                ]
                means = found[["validation_accuracy", "test_accuracy"]].mean()
                cells.append("-" if found.empty else " / ".join(f"{m:.2f}" for m in means))
            lines.append(f"| {crops} | " + " | ".join(cells) + " |")
    for row in rows[rows["learning_rate"] != FitConfig().learning_rate].itertuples():
        lines.append(
            f"rate {row.learning_rate:g}, {row.data}, {row.crops} crops, {row.steps} steps: "
            f"{row.validation_accuracy:.2f} / {row.test_accuracy:.2f}"
        )
    return "\n".join(lines)


def jumps(evaluations: pd.DataFrame) -> str:
    """Changes of validation accuracy from one evaluation to the next, in Markdown."""
    lines = ["| run | mean change, moving | computed anew | lowest in the last half | last |"]
    lines += ["|---|---|---|---|---|"]
    for run, rows in evaluations.groupby("run", sort=False):
        half = rows.iloc[len(rows) // 2 :]
        both = [half["moving"], half["val_accuracy"]]
        changes = [values.diff().abs().mean() for values in both]
        lowest, last = [v.min() for v in both], [v.iloc[-1] for v in both]
        pairs = [f"{a:.3f} / {b:.3f}" for a, b in (lowest, last)]
        lines.append(f"| {run} | {changes[0]:.3f} | {changes[1]:.3f} | {' | '.join(pairs)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("hep2", type=Path)
    parser.add_argument("--minutes", type=float, default=30.0, help="Of the processor.")
    given = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    main(given.out, given.hep2, given.minutes)
