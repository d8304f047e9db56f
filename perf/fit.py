"""How near is `fit` to its own train step alone, and how far from the ancestors' training loop?

    nice -n 5 python perf/fit.py [--width 0.25] [--batch-size 128] [--rounds 10]
        [--index-crops 1000000]

The crops are 64 x 64 x 2 uint16 of noise, in the page cache; the network is that of the preset
razdaibiedina2022, Adam. Contestants:

- fit: `deeploc_tf.fit` from records, with all it does beside: order, parsing, checks of the loss
- bare_step: the compiled train step of the same model, again and again on one batch in memory
- bfloat16_step: the same in bfloat16, where the device multiplies it in hardware
- ancestor: the published training code's way, written anew: a subclassed model, a step under
  `@tf.function`, crops read one file at a time through Python (perf/pipeline.py has the loader)

They take turns within one `fit`: a callback stops it for a while and lets the others run, so that a
busy machine hits all alike. After each turn's first steps, which eat what was prefetched, a few
are timed; each ratio is the median over the rounds. On a CPU the network is most of the time, so
that a slow loader shows less than on a GPU. CPU time (all threads, `per_cpu_second`) is steadier
while others use the cores, but counts what is prefetched meanwhile as if somebody waited for it.

Then the cost of many crops: records of 4 x 4 pixels, 10,000 and `--index-crops` of them, with as
many crops in the shuffle buffer as of whole ones. `many_over_few` is the CPU time a crop of an
epoch's batches with the many over that with the few, `seconds_to_first_batch` what one waits for.

Prints a table and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from pipeline import ancestor_batches, make_records, write_pairs

from deeploc_tf.models.hardware import cpu_has_bfloat16, gpus_have_bfloat16
from deeploc_tf.pipeline import batches as pipeline_batches
from deeploc_tf.training.classification import build_model
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.fit import compile_model, fit
from deeploc_tf.training.objectives import make_accuracies, make_loss
from deeploc_tf.training.precision import computing_in
from tfrecords.manifest import read_manifest
from tfrecords.schema import Crop, Schema
from tfrecords.writer import Entry, write_records

WARM, TIMED = 4, 8  # steps of a turn
FEW = 10_000
CROPS_IN_BUFFER = 2048  # as many 64 x 64 x 2 uint16 as fit into SHUFFLE_BYTES


Seconds = dict[str, list[NDArray[np.float64]]]


def now() -> NDArray[np.float64]:
    """Seconds of the clock, and of CPU time of all threads."""
    return np.array([time.perf_counter(), time.process_time()])


class Ancestor(keras.Model):
    """DeepLoc as its authors wrote it: layers in a constructor, their order in `call`."""

    def __init__(self, width: float, num_classes: int) -> None:
        super().__init__()
        filters = [round(width * f) for f in (64, 64, 128, 128, 256, 256, 256, 256)]
        self.convolutions = [keras.layers.Conv2D(f, 3) for f in filters]
        self.norms = [keras.layers.BatchNormalization() for _ in filters]
        self.pool = keras.layers.MaxPooling2D(2)
        self.flatten = keras.layers.Flatten()
        self.dense = [keras.layers.Dense(512, activation="relu") for _ in range(2)]
        self.logits = keras.layers.Dense(num_classes)

    def call(self, x: Any, training: bool = False) -> Any:
        """Logits of normalized crops."""
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = tf.nn.relu(norm(convolution(x), training=training))
            if i in (1, 3, 7):
                x = self.pool(x)
        x = self.flatten(x)
        for dense in self.dense:
            x = dense(x)
        return self.logits(x)


def ancestor_steps(pairs: Any, width: float, num_classes: int) -> Callable[[], None]:
    """Their loop, a step a call."""
    model, optimizer = Ancestor(width, num_classes), keras.optimizers.Adam(1e-3)
    loss_of = keras.losses.CategoricalCrossentropy(from_logits=True)
    mean, accuracy = keras.metrics.Mean(), keras.metrics.CategoricalAccuracy()
    dataset = iter(ancestor_batches(*pairs).repeat())

    @tf.function
    def train_step(images: Any, labels: Any) -> None:
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            loss = loss_of(labels, outputs)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        mean.update_state(loss)
        accuracy.update_state(labels, outputs)

    return lambda: train_step(*next(dataset))


def bare_steps(records: Path, config: FitConfig, precision: str) -> Callable[[], None]:
    """The train step of our model on one batch, a step a call."""
    with computing_in(precision):
        model = build_model(config, read_manifest(records).schema)
    compile_model(model, config, 1000, make_loss(config), make_accuracies())
    dataset = pipeline_batches.training_batches(records, batch_size=config.batch_size)
    batch = next(iter(dataset))

    @tf.function
    def train_step(images: Any, targets: Any) -> Any:
        return model.train_step((images, targets))

    return lambda: train_step(*batch)


class Turns(keras.callbacks.Callback):
    """Stops the training after each turn, and lets the others have theirs."""

    def __init__(self, others: dict[str, Callable[[], None]]) -> None:
        super().__init__()
        self.others = others
        self.seconds: Seconds = {name: [] for name in ("fit", *others)}
        self.steps = 0

    def on_train_batch_end(
        self,
        batch: int,  # noqa: ARG002 - Keras names the arguments
        logs: Any = None,  # noqa: ARG002
    ) -> None:
        """Count; after its own steps, those of the others."""
        self.steps += 1
        if self.steps == WARM:
            self.started = now()
        if self.steps == WARM + TIMED:
            self.seconds["fit"].append(now() - self.started)
            for name, step in self.others.items():
                for _ in range(WARM):
                    step()
                started = now()
                for _ in range(TIMED):
                    step()
                self.seconds[name].append(now() - started)
            self.steps = 0


def compare(folder: Path, width: float, batch_size: int, rounds: int) -> Seconds:
    """Seconds of the timed steps of each contestant in each round but the first, which traces."""
    records = folder / "records"
    steps = (rounds + 1) * (WARM + TIMED)
    make_records(records, steps * batch_size)
    config = FitConfig(
        preset="razdaibiedina2022",
        channels=("gfp", "rfp"),
        width=width,
        epochs=1,
        batch_size=batch_size,
    )
    pairs = write_pairs(records, folder / "pairs", (WARM + TIMED) * batch_size)
    others = {
        "bare_step": bare_steps(records, config, "float32"),
        "ancestor": ancestor_steps(pairs, width, 3),
    }
    if cpu_has_bfloat16() or gpus_have_bfloat16():
        others["bfloat16_step"] = bare_steps(records, config, "bfloat16")
    turns = Turns(others)
    fit(records, folder / "run", config, callbacks=[turns])
    return {name: seconds[1:] for name, seconds in turns.seconds.items()}


def index_cost(folder: Path, num_crops: int, batch_size: int) -> tuple[float, float]:
    """Seconds to the first batch of an epoch, and CPU seconds a crop of those that follow."""
    schema = Schema((4, 4, 1), "uint8", ("gfp",), label_names=("a", "b", "c"))
    image = np.zeros(schema.image_shape, np.uint8)
    entries = [Entry(f"cell/{i:08d}", "train", (i % 3,), f"P{i % 97}") for i in range(num_crops)]
    crops = (Crop(entry.key, image, None, entry.labels, entry.protein) for entry in entries)
    write_records(folder, schema, entries, crops)
    pipeline_batches.SHUFFLE_BYTES = CROPS_IN_BUFFER * schema.num_image_bytes
    started = time.perf_counter()
    batches = iter(pipeline_batches.training_batches(folder, batch_size=batch_size))
    next(batches)
    waited = time.perf_counter() - started
    cpu = time.process_time()
    timed = 0
    for _ in batches:
        timed += batch_size
    return waited, (time.process_time() - cpu) / timed


def ratios(seconds: Seconds, batch_size: int, clock: int) -> dict[str, float]:
    """How many crops `fit` does while each of the others does one, by a clock of `now`."""
    scale = {"bare_step": 1.0, "ancestor": batch_size / 128}  # whose batches have 128 crops
    return {
        f"fit_over_{other}": round(
            factor
            * statistics.median(
                theirs[clock] / ours[clock]
                for ours, theirs in zip(seconds["fit"], seconds[other], strict=True)
            ),
            3,
        )
        for other, factor in scale.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--index-crops", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = compare(folder, arguments.width, arguments.batch_size, arguments.rounds)
        costs = {
            crops: index_cost(folder / f"index-{crops}", crops, arguments.batch_size)
            for crops in sorted({min(FEW, arguments.index_crops // 10), arguments.index_crops})
        }
    print(f"{'crops per second':20}{'median':>10}{'highest':>10}{'per CPU s':>12}")
    for contestant, values in seconds.items():
        crops = TIMED * (128 if contestant == "ancestor" else arguments.batch_size)
        rates = crops / np.array(values)
        median, per_cpu = np.median(rates, axis=0)
        print(f"{contestant:20}{median:10,.0f}{rates[:, 0].max():10,.0f}{per_cpu:12,.0f}")
    (few, of_few), (many, of_many) = costs.items()
    print(f"\n{'crops of an index':20}{'first batch':>12}{'CPU a crop':>12}")
    for crops, (waited, cpu) in costs.items():
        print(f"{crops:20,}{waited:10.2f} s{cpu * 1e6:9.1f} us")
    wall, per_cpu = (ratios(seconds, arguments.batch_size, clock) for clock in (0, 1))
    if "bfloat16_step" in seconds:
        pairs = zip(seconds["bare_step"], seconds["bfloat16_step"], strict=True)
        wall["bfloat16_over_float32"] = round(statistics.median(a[0] / b[0] for a, b in pairs), 3)
    result = {
        **wall,
        "per_cpu_second": per_cpu,
        "many_over_few": round(of_many[1] / of_few[1], 3),
        "seconds_to_first_batch": {str(few): round(of_few[0], 2), str(many): round(of_many[0], 2)},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
