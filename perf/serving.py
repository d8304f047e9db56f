"""What does an exported model answer per second, and does a warm-up spare the first request?

    python perf/serving.py [--width 1] [--threads 1,8,32] [--batches 1,64] [--seconds 5]

A network as a training begins (`fit --epochs 0`) on crops of 64 x 64 x 2 uint16 of noise is
exported, and served as a program with TensorFlow alone would: `serving_default` of the SavedModel,
called by so many threads at once. No server, no network: what is measured is the model.

1. The first request of a fresh process after loading, without and with the requests of
   `assets.extra/tf_serving_warmup_requests` run before, against the median of those that follow.
2. Milliseconds per request (median, 95th and 99th percentile) and crops per second.

Prints a table and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from pipeline import make_records

from deeploc_tf import FitConfig, export, fit

_FIRST = """
import sys, time
import numpy as np, tensorflow as tf
path, warm = sys.argv[1], sys.argv[2] == "warm"
model = tf.saved_model.load(path)
serve = model.signatures["serving_default"]
crop = {"image": tf.constant(np.zeros((1, 64, 64, 2), np.uint16))}
if warm:  # what the server does with the requests in the file: a black crop by each signature
    for name in ("serving_default", "classify", "embed"):
        model.signatures[name](**crop)
seconds = []
for _ in range(51):
    started = time.perf_counter()
    serve(**crop)["probabilities"].numpy()
    seconds.append(time.perf_counter() - started)
print(seconds[0], sorted(seconds[1:])[25])
"""


def first_requests(model: Path) -> dict[str, dict[str, float]]:
    """Milliseconds of the first request and of the median one, in fresh processes."""
    found = {}
    for kind in ("cold", "warm"):
        command = [sys.executable, "-c", _FIRST, str(model), kind]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        first, median = (1000 * float(word) for word in done.stdout.split())
        found[kind] = {"first_ms": first, "median_ms": median, "ratio": first / median}
    return found


def load(serve: Any, batch: int, threads: int, seconds: float) -> dict[str, float]:
    """Requests of one size by so many threads at once, for so long."""
    crops = tf.constant(np.random.default_rng(0).integers(0, 9000, (batch, 64, 64, 2), np.uint16))
    serve(image=crops)
    stop = time.perf_counter() + seconds

    def ask(_: int) -> list[float]:
        taken = []
        while (started := time.perf_counter()) < stop:
            serve(image=crops)["probabilities"].numpy()
            taken.append(time.perf_counter() - started)
        return taken

    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        taken = [each for part in pool.map(ask, range(threads)) for each in part]
    elapsed = time.perf_counter() - started
    of_hundred = statistics.quantiles(taken, n=100) if len(taken) > 1 else taken * 99
    return {
        "batch": batch,
        "threads": threads,
        "requests": len(taken),
        **{f"p{p}_ms": 1000 * of_hundred[p - 1] for p in (50, 95, 99)},
        "crops_per_second": batch * len(taken) / elapsed,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--width", type=float, default=1)
    parser.add_argument("--threads", default="1,8,32")
    parser.add_argument("--batches", default="1,64")
    parser.add_argument("--seconds", type=float, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_records(folder / "records", 600)
        fit(
            folder / "records",
            folder / "run",
            FitConfig(width=given.width, epochs=0, test_time="none"),
        )
        model = export(folder / "run", folder / "model")
        first = first_requests(model)
        serve = tf.saved_model.load(str(model)).signatures["serving_default"]
        rows = [
            load(serve, int(batch), int(threads), given.seconds)
            for batch in given.batches.split(",")
            for threads in given.threads.split(",")
        ]
    print("| | first request (ms) | median (ms) | ratio |", "|---|---|---|---|", sep="\n")
    for kind, row in first.items():
        print(f"| {kind} | " + " | ".join(f"{value:.1f}" for value in row.values()) + " |")
    print("", "| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|", sep="\n")
    for row in rows:
        print("| " + " | ".join(f"{value:.4g}" for value in row.values()) + " |")
    print(json.dumps({"width": given.width, "first": first, "load": rows}))


if __name__ == "__main__":
    main()
