"""How many steps does a training on few crops need, and which statistics do its averages?

    python experiments/steps_by_size.py OUT ../shared/data/hep2 [--minutes 40]

The recommended preset with an eighth of the filters, batches of 32 and crops of a half or a third
of their resolution learns from 136 to 4,000 simulated cells of 17 compartments and real HEp-2 cells
of six patterns (blocks 2 and 3; block 1 validates, block 0 tests; of equal cells one).
Each training has a schedule of its own. Ten times in those of the real cells, validation is
measured twice: as `fit` does, with batch statistics computed anew for the averaged weights, and
with the moving ones of the weights of the last steps. OUT gets `runs.csv` and `evaluations.csv`;
stopped, or after so many minutes of the processor, and started again, it goes on where it was.
Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray

from deeploc_tf import FitConfig
from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.extractors import inference_function
from deeploc_tf.simulation.simulate import CHANNELS, Screen, simulate
from deeploc_tf.sources.images import read_image
from deeploc_tf.training.averages import BatchStatistics, averaged_weights
from deeploc_tf.training.optimization import cosine, make_optimizer

SIZES = (136, 408, 1000, 4000)
STEPS = (125, 250, 500, 1000, 2000)
NETWORK: dict[str, Any] = {"width": 0.125, "dense_units": (64, 64), "dropout": 0.3}
BATCH, NUM_VALIDATED, NUM_TESTED, NUM_EVALUATIONS = 32, 300, 600, 10
RATE = FitConfig().learning_rate
DATA = ("hep2", "simulated")
# Data, crops, steps, seed and peak rate of each training; what tells most comes first.
PLAN = [
    *(
        (data, n, steps, 0, RATE)
        for data in DATA
        for steps in (500, 250, 1000)
        for n in (136, 1000)
    ),
    *(("hep2", 1000, 500, 0, rate) for rate in (1e-3, 4e-3)),
    *((data, n, steps, 0, RATE) for data in DATA for steps in (500, 1000) for n in (408, 4000)),
    *((data, n, steps, 0, RATE) for data in DATA for steps in (2000, 125) for n in (136, 1000)),
    *((data, n, steps, 0, RATE) for data in DATA for steps in (250, 2000) for n in (408, 4000)),
    *((data, n, steps, 1, RATE) for data in DATA for steps in (500, 1000) for n in (136, 408)),
]
KEY = ("data", "crops", "steps", "seed", "rate")


class Cells:
    """Crops and classes of one data set: those that train, validate and test."""

    def __init__(self, table: pd.DataFrame, read: Any) -> None:
        """Of a table in random order with `class`, `split` and whatever `read` needs of a row."""
        self.names = sorted(table["class"].unique())
        self.split = {}
        for split, most in (("train", None), ("validation", NUM_VALIDATED), ("test", NUM_TESTED)):
            rows = table[table["split"] == split].head(most or len(table))
            if split == "train":
                # The k-th of n cells of a class has rank (k + 1/2) / n: the first cells of all
                # have their classes as all of them have.
                of_class = rows.groupby("class")
                rank = (of_class.cumcount() + 0.5) / of_class["class"].transform("size")
                rows = rows.loc[rank.sort_values(kind="stable").index].head(max(SIZES))
            images = np.stack([read(row) for row in rows.to_dict("records")])
            truth = np.array([self.names.index(name) for name in rows["class"]])
            self.split[split] = images, truth


def coarse(image: NDArray[Any], factor: int) -> NDArray[np.uint16]:
    """Means of `factor` x `factor` pixels of an image `(height, width, channels)`."""
    height, width, channels = image.shape
    blocks = image.reshape(height // factor, factor, width // factor, factor, channels)
    return blocks.mean(axis=(1, 3)).round().astype(np.uint16)


def simulated(out: Path) -> Cells:
    """Cells of 17 compartments; the last field of each protein validates and tests."""
    screen, settings = out / "screen", Screen()
    if not screen.exists():
        simulate(screen, settings)
    cells = pd.read_csv(screen / "cells.csv").rename(columns={"localization": "class"})
    order = np.random.default_rng(0).permutation(len(cells))
    cells["split"] = np.where(
        cells["field"] < settings.num_fields,
        "train",
        np.where(order % 5 < 2, "validation", "test"),
    )
    return Cells(
        cells.iloc[order],
        lambda row: coarse(np.dstack([read_image(screen / row[name]) for name in CHANNELS]), 2),
    )


def real(hep2: Path) -> Cells:
    """HEp-2 cells, one of equal ones."""
    cells = pd.read_csv(hep2 / "cells.csv").rename(columns={"label": "class"})
    cells["split"] = cells["block"].map({0: "test", 1: "validation"}).fillna("train")
    cells["image"] = [read_image(hep2 / path)[..., None] for path in cells["path"]]
    digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in cells["image"]]
    cells = cells[~pd.Series(digests).duplicated().to_numpy()]
    return Cells(cells.sample(frac=1, random_state=0), lambda row: coarse(row["image"], 3))


class Training:
    """One network that is trained again and again, each time from untrained weights."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.model, self.twin = self._build(0), self._build(0)
        self.predict = inference_function(self.twin)
        # The rate is set before each step; all else is as `fit` makes it.
        optimizer = make_optimizer(FitConfig(steps=1, schedule="constant"), 1)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        self.model.compile(optimizer, loss, jit_compile=False)
        optimizer.build(self.model.trainable_variables)

    def _build(self, seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        images, _ = self.cells.split["train"]
        return DeepLoc(images.shape[1:], len(self.cells.names), **NETWORK)

    def run(
        self, crops: int, steps: int, seed: int, rate: float, *, watch: bool
    ) -> tuple[dict[str, float], list[dict[str, float]]]:
        """Accuracies after a training, and those on the way."""
        images, truth = (values[:crops] for values in self.cells.split["train"])
        onehot = np.eye(len(self.cells.names), dtype=np.float32)[truth]
        per_pass = crops // BATCH
        schedule = cosine(FitConfig(steps=steps, learning_rate=rate), per_pass)
        optimizer = self.model.optimizer
        self.model.set_weights(self._build(seed).get_weights())
        for variable in optimizer.variables:
            variable.assign(tf.zeros_like(variable))
        generator = np.random.default_rng(seed)
        first = generator.permutation(crops)
        self.statistics = BatchStatistics(
            self.model,
            self.twin,
            lambda: (
                tf.constant(images[first[i * BATCH : (i + 1) * BATCH]])
                for i in range(min(per_pass, 1024 // BATCH))
            ),
        )
        seen: list[dict[str, float]] = []
        for step in range(steps):
            if step % per_pass == 0:
                order = generator.permutation(crops) if step else first
            batch = order[step % per_pass * BATCH :][:BATCH]
            optimizer.learning_rate = float(schedule(step))
            self.model.train_on_batch(images[batch], onehot[batch])
            if watch and (step + 1) % (steps // NUM_EVALUATIONS) == 0:
                found = {
                    name: self.accuracy("validation", anew=anew)
                    for name, anew in (("moving", False), ("anew", True))
                }
                seen.append({"step": step + 1} | found)
        final = {split: self.accuracy(split, anew=True) for split in ("validation", "test")}
        return final, seen

    def accuracy(self, split: str, *, anew: bool) -> float:
        """Of the averaged weights, with statistics computed anew or the moving ones."""
        parts = ("optimizer", "weights", "trainable_variables")
        model = SimpleNamespace(**{name: getattr(self.model, name) for name in parts})
        model.batch_statistics = self.statistics if anew else None
        self.twin.set_weights(averaged_weights(model))
        images, truth = self.cells.split[split]
        logits = [
            self.predict(tf.constant(images[start : start + 200]))
            for start in range(0, len(images), 200)
        ]
        return float(np.mean(np.argmax(np.concatenate(logits), axis=1) == truth))


def main(out: Path, hep2: Path, minutes: float) -> None:
    out.mkdir(parents=True, exist_ok=True)
    path, watched = out / "runs.csv", out / "evaluations.csv"
    trainings: dict[str, Training] = {}
    for training in PLAN:
        key = dict(zip(KEY, training, strict=True))
        rows = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=list(KEY))
        if (rows[list(KEY)] == pd.Series(key)).all(axis=1).any():
            continue
        if time.process_time() > 60 * minutes:
            break
        data, *how = training
        if data not in trainings:
            trainings[data] = Training(real(hep2) if data == "hep2" else simulated(out))
        began = time.process_time()
        final, seen = trainings[data].run(*how, watch=data == "hep2" and key["steps"] >= 500)
        row = key | final | {"cpu_seconds": round(time.process_time() - began)}
        print(row, flush=True)
        pd.concat([rows, pd.DataFrame([row])]).to_csv(path, index=False)
        if seen:
            table = pd.DataFrame(seen).assign(**{f"of_{name}": key[name] for name in KEY})
            table.to_csv(watched, mode="a", header=not watched.exists(), index=False)
    print(by_steps(pd.read_csv(out / "runs.csv")))
    print(jumps(pd.read_csv(out / "evaluations.csv")))


def by_steps(rows: pd.DataFrame) -> str:
    """Accuracy on cells that validate and that test, mean over seeds, in Markdown."""
    lines = []
    usual = rows[rows["rate"] == RATE]
    for data in DATA:
        lines += [f"| {data} |" + "".join(f" {steps} steps |" for steps in STEPS)]
        lines += ["|---|" + "---|" * len(STEPS)]
        for crops in SIZES:
            shown = []
            for steps in STEPS:
                of = (usual["data"] == data) & (usual["crops"] == crops) & (usual["steps"] == steps)
                means = usual.loc[of, ["validation", "test"]].mean()
                shown.append(" / ".join(f"{mean:.2f}" for mean in means) if of.any() else "-")
            lines.append(f"| {crops:,} | {' | '.join(shown)} |")
        lines.append("")
    for row in rows[rows["rate"] != RATE].itertuples():
        lines.append(
            f"{row.data}, {row.crops} crops, {row.steps} steps at a rate of {row.rate:g}: "
            f"{row.validation:.2f} / {row.test:.2f}"
        )
    return "\n".join(lines)


def jumps(seen: pd.DataFrame) -> str:
    """Validation accuracy at each evaluation of each training, both ways, in Markdown."""
    lines = ["| crops, steps, rate, seed | moving statistics | computed anew |", "|---|---|---|"]
    for key, rows in seen.groupby(["of_crops", "of_steps", "of_rate", "of_seed"], sort=False):
        both = [" ".join(f"{v:.2f}"[1:] for v in rows[name]) for name in ("moving", "anew")]
        lines.append(f"| {', '.join(f'{value:g}' for value in key)} | {' | '.join(both)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("hep2", type=Path)
    parser.add_argument("--minutes", type=float, default=40.0, help="Of the processor.")
    given = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    main(given.out, given.hep2, given.minutes)
