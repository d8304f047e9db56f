"""Profiles of many cells: how fast, in how much memory; and what an approximate index is worth.

    nice -n 5 python perf/profiles.py [--cells 1000000] [--rows 250000] [--repeats 3]

Cells are noise of 64 numbers around 2,000 proteins, in HDF5, in an order that has nothing to do
with proteins. `profile` makes means, and centers by plate first, with 64 MB for vectors; pandas
reads the whole and takes the mean of groups. Every run is a process of its own, which says its time
and its highest memory less that before; contestants take turns, and ratios are medians over rounds.
The memory of `profile` is also taken at a quarter of the cells. The index is of rows of 32 numbers
around 5,000 centers: seconds to build, recall of the ten nearest, and a query against an exact one.
Prints each run, and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deeploc_tf.profiles.approximate_index import build_index, recall
from deeploc_tf.profiles.fitting import TransformSettings
from deeploc_tf.profiles.profile import ProfileSettings, profile
from deeploc_tf.profiles.space import nearest, search_space
from deeploc_tf.profiles.tables import read_table, writing_table

FEATURES, PROTEINS, PLATES, ROWS_AT_ONCE, MEMORY = 64, 2000, 8, 50_000, 64 << 20
INDEX_FEATURES, CENTERS, QUERIES = 32, 5000, 200


def make(path: Path, count: int) -> None:
    """Write a table of so many cells."""
    generator = np.random.default_rng(0)
    places = generator.normal(size=(PROTEINS, FEATURES)).astype(np.float32)
    names = [f"fc_2_{i:02d}" for i in range(FEATURES)]
    with writing_table(path, names, {"protein": "text", "plate": "int64"}, {}) as writer:
        for start in range(0, count, ROWS_AT_ONCE):
            size = min(ROWS_AT_ONCE, count - start)
            protein = generator.integers(0, PROTEINS, size)
            noise = generator.standard_normal((size, FEATURES), np.float32)
            columns = {"protein": [f"P{i}" for i in protein], "plate": (protein % PLATES).tolist()}
            writer.append(places[protein] + noise, columns)


def run(contestant: str, cells: Path, folder: Path) -> None:
    """Make profiles."""
    settings = ProfileSettings(memory=MEMORY)
    if contestant == "pandas":
        table = read_table(cells)
        frame = pd.DataFrame(table.features)
        frame.groupby(table.metadata["protein"].to_numpy()).mean()
    elif contestant == "means":
        profile(cells, folder / "p.h5", settings)
    else:
        profile(cells, folder / "p.h5", settings, fit=TransformSettings("center", ("plate",)))


def child(contestant: str, cells: Path) -> dict[str, float]:
    """What one run takes, in this process."""
    before, held = resource.getrusage(resource.RUSAGE_SELF), highest_mib()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run(contestant, cells, Path(folder))
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": seconds,
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "mib": highest_mib() - held,
    }


def highest_mib() -> float:
    """Highest memory so far; not from `getrusage`, which begins with that of the parent."""
    (line,) = [
        line
        for line in Path("/proc/self/status").read_text("ascii").splitlines()
        if line.startswith("VmHWM")
    ]
    return int(line.split()[1]) / 1024


def measure(contestant: str, cells: Path) -> dict[str, Any]:
    """What one run takes, in a process of its own."""
    command = [sys.executable, __file__, "--child", contestant, str(cells)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    sys.stdout.write(f"{contestant:9} {cells.name:14} {found}\n")
    sys.stdout.flush()
    return found


def index(count: int) -> dict[str, float]:
    """An index of so many rows against the exact search."""
    generator = np.random.default_rng(0)
    centers = generator.standard_normal((CENTERS, INDEX_FEATURES), np.float32)
    vectors = centers[generator.integers(0, CENTERS, count)]
    vectors += generator.standard_normal(vectors.shape, np.float32)
    names = [str(row) for row in range(count)]
    space = search_space(vectors, names, names)
    queries = generator.integers(0, count, QUERIES)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        made = build_index(space, Path(folder) / "index.usearch")
        built = time.perf_counter()
    exact_start = time.perf_counter()
    nearest(space, queries, 10)
    exact_end = time.perf_counter()
    made.nearest(queries, 10)
    end = time.perf_counter()
    return {
        "index_rows": count,
        "index_build_seconds": round(built - start, 1),
        "index_recall_at_10": round(recall(space, made, 10, seed=1), 4),
        "exact_query_ms": round(1000 * (exact_end - exact_start) / QUERIES, 3),
        "index_query_ms": round(1000 * (end - exact_end) / QUERIES, 3),
    }


def main() -> None:
    """Let the contestants take turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=250_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", nargs=2)
    given = parser.parse_args()
    if given.child:
        sys.stdout.write(json.dumps(child(given.child[0], Path(given.child[1]))) + "\n")
        return
    found: dict[str, list[dict[str, Any]]] = {"pandas": [], "means": [], "centered": []}
    with tempfile.TemporaryDirectory() as folder:
        cells, quarter = Path(folder) / "cells.h5", Path(folder) / "quarter.h5"
        make(cells, given.cells)
        make(quarter, given.cells // 4)
        for _ in range(given.repeats):
            for contestant, runs in found.items():
                runs.append(measure(contestant, cells))
        of_quarter = measure("means", quarter)
    ratios = [
        mine["cpu"] / theirs["cpu"]
        for mine, theirs in zip(found["means"], found["pandas"], strict=True)
    ]
    memory = {name: statistics.median(run["mib"] for run in runs) for name, runs in found.items()}
    values = {
        "cells": given.cells,
        "means_over_pandas_cpu": round(statistics.median(ratios), 2),
        "vectors_mib": round(given.cells * FEATURES * 4 / 2**20),
        "means_mib": round(memory["means"]),
        "means_mib_of_a_quarter": round(of_quarter["mib"]),
        "centered_mib": round(memory["centered"]),
        "pandas_mib": round(memory["pandas"]),
        **index(given.rows),
    }
    sys.stdout.write(json.dumps(values) + "\n")


if __name__ == "__main__":
    main()
