"""How near is `embed` to the network alone, what does `--fast` gain and cost, and is memory flat?

    nice -n 5 python perf/embed.py [--width 0.25] [--batch-size 256] [--rounds 20]
        [--data ../shared/data/yeast_crops] [--epochs 12] [--memory-crops 400000]

1. `embed` from records on disk (64 x 64 x 2 uint16 of noise) against `predict_on_batch` of the same
   extractor, again and again on crops in memory. They take turns within one `embed`: the
   callback of its progress stops it for a while and lets the other run, so that a busy machine hits
   both alike. After a turn's first batches, which eat what was prefetched, some are timed; each
   ratio is the median over the rounds, in wall time and in time of the CPU, which other processes
   disturb less. What `embed` does at its end, when it makes the table of its
   parts, is shared out among all crops.
2. Plain float32 `predict` of a network of full width against what `--fast` takes on this
   machine, and against both of its precisions, in turns, in wall time.
3. With `--data`: a network of `--width` is trained on real crops for some epochs; of its profiles
   of the test field by float32 and by each fast precision, the smallest cosine. fc_2 is never
   negative, which makes any two profiles alike: the same after the mean profile is subtracted
   is given, too.
4. The largest memory of a process that embeds few crops of 8 x 8 pixels, and one that embeds many.

Prints tables and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from numpy.typing import NDArray
from pipeline import SCHEMA, make_records

from deeploc_tf import FitConfig, batches, build_records, embed, fit, load_trained
from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.extractors import feature_extractor, inference_function
from deeploc_tf.models.folding import fast_model, fast_precision
from deeploc_tf.sources.folders import FolderSource
from tfrecords.manifest import read_manifest
from tfrecords.schema import Crop, Schema
from tfrecords.writer import Entry, write_records

WARM, TIMED = 3, 5  # batches of a turn: short ones, so that both meet the same disturbances
FEW = 100_000
PATTERN = "{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif"


def make_run(folder: Path, records: Path, model: keras.Model) -> Path:
    """A run folder as `fit` leaves it, untrained."""
    folder.mkdir()
    model.save(folder / "model.keras")
    manifest = read_manifest(records)
    config = {
        "schema": manifest.schema.to_json(),
        "records_digest": manifest.digest,
        "config": {},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


class Turns:
    """Progress of `embed` that stops it after each turn, and lets the bare loop have its one."""

    def __init__(self, bare: Callable[[], None], batch_size: int, num_crops: int) -> None:
        self.bare, self.batch_size, self.num_crops = bare, batch_size, num_crops
        self.seconds: dict[str, list[float]] = {"embed": [], "bare": []}
        self.cpu_seconds: dict[str, list[float]] = {"embed": [], "bare": []}
        self.count = 0
        self.last = 0.0

    def __call__(self, done: int, _: int | None) -> None:
        """Called after each batch with the number of crops so far."""
        self.count += 1
        if self.count == WARM:
            self.started = clocks()
        if self.count == WARM + TIMED:
            self.note("embed", self.started)
            for _ in range(WARM):
                self.bare()
            started = clocks()
            for _ in range(TIMED):
                self.bare()
            self.note("bare", started)
            self.count = 0
        if done == self.num_crops:
            self.last = time.perf_counter()

    def note(self, name: str, started: tuple[float, float]) -> None:
        """Add what passed since then to the times of a contestant."""
        wall, cpu = clocks()
        self.seconds[name].append(wall - started[0])
        self.cpu_seconds[name].append(cpu - started[1])


def clocks() -> tuple[float, float]:
    """Seconds of the wall, and of all threads of this process."""
    return time.perf_counter(), time.process_time()


def embed_and_bare(folder: Path, width: float, batch_size: int, rounds: int) -> dict[str, Any]:
    """Seconds of each turn but the first, in which embed traces, with the end of embed in them.

    Also those of the CPU, without that end: `embed, CPU` and `bare, CPU`.
    """
    num_crops = (rounds + 1) * (WARM + TIMED) * batch_size
    records = folder / "records"
    make_records(records, num_crops)
    run = make_run(folder / "run", records, DeepLoc(SCHEMA.image_shape, 3, width=width))
    extractor = feature_extractor(load_trained(run).model)
    (batch,) = batches(records, "train", batch_size=batch_size).take(1)
    crops = batch["image"].numpy()
    extractor.predict_on_batch(crops)
    turns = Turns(lambda: extractor.predict_on_batch(crops), batch_size, num_crops)
    embed(run, records, folder / "cells.h5", splits=["train"], batch_size=batch_size,
          progress=turns)  # fmt: skip
    end = (time.perf_counter() - turns.last) / num_crops * TIMED * batch_size
    return {
        "embed": [seconds + end for seconds in turns.seconds["embed"][1:]],
        "bare": turns.seconds["bare"][1:],
        "embed, CPU": turns.cpu_seconds["embed"][1:],
        "bare, CPU": turns.cpu_seconds["bare"][1:],
    }


def fast_speeds(batch_size: int, rounds: int) -> dict[str, list[float]]:
    """Seconds a batch of the full network: Keras' `predict`, and both fast models."""
    crops = np.random.default_rng(0).integers(0, 9000, (batch_size, 64, 64, 2)).astype("uint16")
    extractor = feature_extractor(DeepLoc((64, 64, 2), 19))
    contestants: dict[str, Callable[[], Any]] = {
        "float32 predict": lambda: extractor.predict(crops, batch_size=batch_size, verbose=0)
    }
    for precision in ("float32", "bfloat16"):
        function = inference_function(fast_model(extractor, precision))
        contestants[precision] = lambda function=function: function(crops).numpy()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name in list(contestants)[:: 1 if turn % 2 else -1]:
            started = time.perf_counter()
            contestants[name]()
            if turn:  # the first one traces
                seconds[name].append(time.perf_counter() - started)
    return seconds


def profile_cosines(folder: Path, data: Path, width: float, epochs: int) -> dict[str, float]:
    """Smallest cosines of profiles by the fast models with those by float32, also centered."""
    source = FolderSource(data / "images", PATTERN, channels=("gfp", "rfp"))
    build_records(source, folder / "real", label="protein", conditions={"test": [("field", "4")]})
    config = FitConfig(
        width=width, dense_units=(128, 128), batch_size=16, learning_rate=1e-3, epochs=epochs,
        batch_norm_momentum=0.99,
    )  # fmt: skip
    fit(folder / "real", folder / "real-run", config)
    extractor = feature_extractor(load_trained(folder / "real-run").model)
    models = {"plain": extractor}
    models |= {p: fast_model(extractor, p) for p in ("float32", "bfloat16")}
    profiles = {name: profiles_of(model, folder / "real") for name, model in models.items()}
    found = {}
    for precision in ("float32", "bfloat16"):
        for name, mean in (("", 0.0), ("_centered", profiles["plain"].mean(axis=0))):
            a, b = profiles["plain"] - mean, profiles[precision] - mean
            cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
            found[precision + name] = float(cosines.min())
    return found


def profiles_of(model: keras.Model, records: Path) -> NDArray[np.float64]:
    """Mean vectors by protein of the test split."""
    function = inference_function(model)
    vectors, proteins = [], []
    for batch in batches(records, "test", batch_size=64, features=["image", "protein"]):
        vectors.append(function(batch["image"]).numpy().astype(np.float64))
        proteins += batch["protein"].numpy().tolist()
    features = np.concatenate(vectors)
    of = np.array(proteins)
    return np.stack([features[of == name].mean(axis=0) for name in sorted(set(proteins))])


def largest_memory(folder: Path, num_crops: int) -> float:
    """MiB of a process of its own that embeds this many small crops."""
    schema = Schema((8, 8, 1), "uint8", ("gfp",), label_names=("a", "b", "c"))
    image = np.random.default_rng(0).integers(0, 255, schema.image_shape).astype("uint8")
    entries = [Entry(f"cell/{i:08d}", "test", (i % 3,), f"P{i % 97}") for i in range(num_crops)]
    crops = (Crop(entry.key, image, None, entry.labels, entry.protein) for entry in entries)
    records = folder / f"records-{num_crops}"
    write_records(records, schema, entries, crops, shard_bytes=2 << 20)
    model = DeepLoc(
        schema.image_shape, 3, image_dtype="uint8", width=0.05, window=0, dense_units=(64, 128)
    )
    run = make_run(folder / f"run-{num_crops}", records, model)
    code = (
        "import sys\n"
        "from deeploc_tf import embed\n"
        "embed(*sys.argv[1:4], batch_size=1024)\n"
        # Not from `getrusage`, whose largest memory begins with that of the parent.
        "lines = open('/proc/self/status').read().splitlines()\n"
        "print(next(int(line.split()[1]) for line in lines if line[:5] == 'VmHWM') / 1024)\n"
    )
    output = folder / f"cells-{num_crops}.parquet"
    done = subprocess.run(
        [sys.executable, "-c", code, str(run), str(records), str(output)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--memory-crops", type=int, default=400_000)
    arguments = parser.parse_args()
    batch_size = arguments.batch_size
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        near = embed_and_bare(folder, arguments.width, batch_size, arguments.rounds)
        show("embed from records", near, TIMED * batch_size)
        result["embed_over_bare_predict"] = ratio(near, "bare", "embed")
        result["embed_over_bare_predict_cpu"] = ratio(near, "bare, CPU", "embed, CPU")
        fast = fast_speeds(batch_size, arguments.rounds)
        show("full width", fast, batch_size)
        result["fast_precision"] = fast_precision()
        result["fast_over_float32"] = ratio(fast, "float32 predict", fast_precision())
        for precision in ("float32", "bfloat16"):
            result[f"fast_{precision}_over_float32"] = ratio(fast, "float32 predict", precision)
        if arguments.data:
            cosines = profile_cosines(folder, arguments.data, arguments.width, arguments.epochs)
            print(f"\nsmallest cosines of profiles: {cosines}")
            result["fast_profile_cosine"] = round(cosines["bfloat16"], 7)
            result["fast_centered_profile_cosine"] = round(cosines["bfloat16_centered"], 7)
            result["fast_float32_profile_cosine"] = round(cosines["float32"], 7)
        few = min(FEW, arguments.memory_crops)
        memory = {n: largest_memory(folder, n) for n in {few, arguments.memory_crops}}
        print(
            "\nlargest memory: " + ", ".join(f"{n:,} crops {m:.0f} MiB" for n, m in memory.items())
        )
        result["memory_many_over_few"] = round(memory[arguments.memory_crops] / memory[few], 3)
    print(json.dumps(result))


def ratio(seconds: dict[str, list[float]], numerator: str, denominator: str) -> float:
    """Median over the rounds."""
    pairs = zip(seconds[numerator], seconds[denominator], strict=True)
    return round(statistics.median(a / b for a, b in pairs), 3)


def show(title: str, seconds: dict[str, list[float]], crops: int) -> None:
    """Rates of the contestants."""
    print(f"\n{title + ', crops per second':40}{'median':>10}{'highest':>10}")
    for name, values in seconds.items():
        rates = [crops / value for value in values]
        print(f"{name:40}{statistics.median(rates):10,.1f}{max(rates):10,.1f}")


if __name__ == "__main__":
    main()
