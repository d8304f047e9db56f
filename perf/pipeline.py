"""How near is our pipeline to reading the bytes alone? Ratios of crops per second, side by side.

    python perf/pipeline.py [--crops 16384] [--batch-size 256] [--repeats 5]

Contestants, on the same shards and in alternating order, so that a busy machine hits all alike:

- raw: `TFRecordDataset(files).batch(B)`: bytes read, checksums verified, nothing parsed (the limit)
- raw shuffled: the same behind our shuffle buffer
- ours: `batches`: raw pixels, parsed and shaped
- ours shuffled: `training_batches`: pixels and one-hot targets in an epoch's order

Prints a table and ends with one line of JSON: `ours_over_raw_unshuffled` (ratio of the medians),
`ours_over_raw_shuffled` (both against the unshuffled raw), and the crops per second behind them.
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

import numpy as np
import tensorflow as tf

from deeploc_tf.pipeline.batches import SHUFFLE_BYTES, batches, training_batches
from tfrecords.schema import Crop, Schema
from tfrecords.verify import verify
from tfrecords.writer import Entry, write_records

SCHEMA = Schema((64, 64, 2), "uint16", ("gfp", "rfp"), label_names=("a", "b", "c"))


def make_records(output: Path, num_crops: int) -> None:
    """A data set of noise: what is in the pixels costs nothing here."""
    generator = np.random.default_rng(0)
    entries = [Entry(f"cell/{i:08d}", "train", (i % 3,), f"P{i % 97}") for i in range(num_crops)]
    crops = (
        Crop(e.key, generator.integers(0, 9000, (64, 64, 2), np.uint16), None, e.labels, e.protein)
        for e in entries
    )
    write_records(output, SCHEMA, entries, crops)


def crops_per_second(dataset: tf.data.Dataset, num_crops: int) -> float:
    """Rate of one pass."""
    start = time.perf_counter()
    for _ in dataset:
        pass
    return num_crops / (time.perf_counter() - start)


def measure(records: Path, batch_size: int, repeats: int) -> dict[str, list[float]]:
    """Rates of each contestant, one a repeat."""
    manifest = verify(records)
    num_crops = manifest.num_crops("train")
    files = [str(records / shard.name) for shard in manifest.shards("train")]
    buffer_size = min(num_crops, SHUFFLE_BYTES // SCHEMA.num_image_bytes)

    def raw() -> Any:
        return tf.data.TFRecordDataset(files)

    contestants: dict[str, Callable[[], Any]] = {
        "raw": lambda: raw().batch(batch_size).prefetch(tf.data.AUTOTUNE),
        "ours": lambda: batches(
            records, "train", batch_size=batch_size, features=["image"], manifest=manifest
        ),
        "raw_shuffled": lambda: (
            raw().shuffle(buffer_size, seed=1).batch(batch_size).prefetch(tf.data.AUTOTUNE)
        ),
        "ours_shuffled": lambda: training_batches(
            records, batch_size=batch_size, manifest=manifest
        ),
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(-1, repeats):  # the first round warms up
        order = list(contestants)
        for name in order if repeat % 2 else reversed(order):
            rate = crops_per_second(contestants[name](), num_crops)
            if repeat >= 0:
                rates[name].append(rate)
    return rates


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=16384)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder) / "records"
        make_records(records, arguments.crops)
        rates = measure(records, arguments.batch_size, arguments.repeats)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{'':16}{'crops/s':>10}{'lowest':>10}{'highest':>10}")
    for name, values in rates.items():
        print(f"{name:16}{medians[name]:>10,.0f}{min(values):>10,.0f}{max(values):>10,.0f}")
    result = {
        "ours_over_raw_unshuffled": round(medians["ours"] / medians["raw"], 3),
        "ours_over_raw_shuffled": round(medians["ours_shuffled"] / medians["raw"], 3),
        "crops_per_second": {name: round(value) for name, value in medians.items()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
