"""Does `change` keep its promise? Calls where nothing moved, and where a tenth of the proteins did.

    python experiments/change_calibration.py OUT

Two screens of 120 proteins, 20 and 24 cells each, are drawn as vectors of 12 numbers: a protein has
a place, its cells scatter around it with standard deviation 1, and the treated screen is shifted as
a whole. In the null screens that is all; in the others 12 proteins moved by 3. Scenarios add heavy
tails (Student's t, 4 degrees), fields with a shift of their own (standard deviation .5, five fields
in each screen), plates with a shift of their own in each screen (1, three plates), and proteins
that each differ a little between the screens for no reason (.4). For each, the share of 40 null
pairs with any call, the mean number of calls in them, and of 20 pairs with moves the share that was
found and the mean share of false ones among the calls. A rate of .05 is asked for.

    python experiments/change_calibration.py OUT bound

Null pairs of few proteins, or with as many features as have ten residual degrees of freedom each:
the share of 200 with a call, and its 95% interval after Clopper and Pearson.

    python experiments/change_calibration.py OUT grid [PROTEINS ...]

Proteins with places in ten common directions, by how many proteins, features and replicates there
are. Null pairs; pairs in which six proteins sit where another one sat; and, at 32 features, pairs
in which six proteins were shifted by 2, 3 or 5 standard deviations, each in a direction of its own.
OUT/grid.jsonl has a line for each pair, and what it has already is not run again; without PROTEINS
all are run. The table is printed in the end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from deeploc_tf.profiles.change import ChangeSettings, change
from deeploc_tf.profiles.tables import VectorTable, write_table

WIDTH = 12
NAMES = [f"fc_2_{i:02d}" for i in range(WIDTH)]
NULL_PAIRS, PAIRS, NUM_MOVED, EFFECT = 40, 20, 12, 3.0

Options = Mapping[str, Any]
SCENARIOS: Mapping[str, tuple[Options, Options]] = {
    "cells independent": ({}, {}),
    "heavy tails": ({"heavy": True}, {}),
    "fields, --replicate field": ({"field_effect": 0.5}, {"replicate": "field"}),
    "fields, cells permuted": ({"field_effect": 0.5}, {}),
    "fields, cells permuted, --no-bulk": ({"field_effect": 0.5}, {"correct_bulk": False}),
    "plates, --by plate": ({"plate_effect": 1.0}, {"by": ("plate",)}),
    "proteins differ": ({"protein_effect": 0.4}, {}),
    "proteins differ, --no-bulk": ({"protein_effect": 0.4}, {"correct_bulk": False}),
}


def main(output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, (screens, settings) in SCENARIOS.items():
        nothing = [
            false_and_true(write_screens(output, seed=seed, **screens), 0, **settings)[0]
            for seed in range(NULL_PAIRS)
        ]
        moves = {"num_moved": NUM_MOVED, "effect": EFFECT, **screens}
        pairs = [
            false_and_true(write_screens(output, seed=seed, **moves), NUM_MOVED, **settings)
            for seed in range(1000, 1000 + PAIRS)
        ]
        row = {
            "scenario": name,
            "null with a call": np.mean([number > 0 for number in nothing]),
            "calls in a null": np.mean(nothing),
            "found": np.mean([true for _, true in pairs]) / NUM_MOVED,
            "false": np.mean([false / max(1, false + true) for false, true in pairs]),
        }
        rows.append(row)
        sys.stdout.write(f"{row}\n")
        sys.stdout.flush()
    table = pd.DataFrame(rows)
    table.to_csv(output / "change_calibration.csv", index=False)
    sys.stdout.write(table.round(3).to_string(index=False) + "\n")


# Proteins, features, and vectors of each protein in each screen.
SIZES = [
    (10, 2, 2),
    (12, 4, 3),
    (12, 26, 12),
    (20, 8, 3),
    (60, 12, 2),
    (60, 24, 3),
    (60, 36, 4),
    (60, 100, 10),
]
NULL_PAIRS_AT_THE_BOUND = 200


def at_the_bound(output: Path) -> None:
    """Print how many null pairs have a call, by size."""
    output.mkdir(parents=True, exist_ok=True)
    number = NULL_PAIRS_AT_THE_BOUND
    for size in SIZES:
        # the correction makes no p-value smaller: no call without it, none with it
        seeds: Sequence[int] = range(number)
        for correct_bulk in (False, True):
            seeds = [
                seed
                for seed in seeds
                if null_calls(output, *size, seed=seed, correct_bulk=correct_bulk)
            ]
            called = len(seeds)
            low = scipy.stats.beta.ppf(0.025, called, number - called + 1) if called else 0.0
            high = scipy.stats.beta.ppf(0.975, called + 1, number - called)
            text = f"{size} bulk={correct_bulk}: {called / number:.3f} ({low:.3f} to {high:.3f})\n"
            sys.stdout.write(text)
            sys.stdout.flush()


def null_calls(
    folder: Path, proteins: int, features: int, vectors: int, *, seed: int, correct_bulk: bool
) -> int:
    """How many proteins are called of two screens that differ by one shift of all."""
    paths = write_pair(folder, proteins, features, vectors, seed=seed)
    return sum(false_and_true(paths, 0, correct_bulk=correct_bulk))


def write_pair(
    folder: Path,
    proteins: int,
    features: int,
    vectors: int,
    *,
    seed: int,
    resettled: bool = False,
    shift: float = 0.0,
) -> tuple[Path, Path]:
    """Two screens of proteins P0000 ... in ten directions; six of them moved, if any did.

    Args:
        folder: for the two tables.
        proteins: in both.
        features: of each vector.
        vectors: of each protein in each screen.
        seed: of all that is drawn.
        resettled: whether the first six proteins sit in the treated screen where six others sat.
        shift: of the first six, each in a direction of its own, in standard deviations.
    """
    random = np.random.default_rng([seed, proteins, features, vectors])
    basis = np.linalg.qr(random.normal(size=(features, min(10, features))))[0]
    before = 4 * random.normal(size=(proteins, basis.shape[1])) @ basis.T
    after = before.copy()
    if resettled:
        after[:NUM_OF_GRID] = before[-NUM_OF_GRID:]
    directions = random.normal(size=(NUM_OF_GRID, features))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    after[:NUM_OF_GRID] += shift * directions
    metadata = pd.DataFrame({"protein": np.repeat([f"P{i:04d}" for i in range(proteins)], vectors)})
    metadata["key"] = metadata.index.astype(str)
    paths = []
    for name, places in (("untreated", before), ("treated", after)):
        values = random.standard_normal((len(metadata), features), np.float32)
        values += np.repeat((places + random.normal(size=features)).astype(np.float32), vectors, 0)
        paths.append(folder / f"{name}-{proteins}.h5")
        paths[-1].unlink(missing_ok=True)
        table = VectorTable(values, metadata, {"kind": "embeddings"})
        write_table(paths[-1], table, [f"f{i}" for i in range(features)])
    return paths[0], paths[1]


# Of each number of proteins: features, vectors of each protein and screen, and how many null pairs,
# pairs with six that moved and pairs with six that were shifted there are.
GRID: Mapping[int, tuple[Sequence[int], Sequence[int], tuple[int, int, int]]] = {
    60: ((32, 128, 512, 1024), (2, 3, 4, 10, 30), (16, 3, 8)),
    400: ((32, 1024), (2, 4, 10, 30), (12, 3, 3)),
    4000: ((32, 1024), (2, 10, 30), (2, 2, 1)),
}
NUM_OF_GRID = 6
SHIFTS = (2.0, 3.0, 5.0)


def grid(output: Path, numbers: Sequence[int]) -> None:
    """Run the pairs of the grid that are not in the log, and print what the log says."""
    output.mkdir(parents=True, exist_ok=True)
    log = output / "grid.jsonl"
    known = {tuple(json.loads(line)["pair"]) for line in _lines(log)}
    for proteins in numbers:
        for pair in pairs_of(proteins):
            if pair in known:
                continue
            _, features, vectors, kind, seed = pair
            moves: dict[str, Any] = (
                {}
                if kind == "null"
                else {"resettled": True}
                if kind == "moved"
                else {"shift": kind}
            )
            paths = write_pair(output, proteins, features, vectors, seed=seed, **moves)
            found = {}
            # the correction makes no p-value smaller: no call without it, none with it
            for correct_bulk in (False, True):
                if correct_bulk and not any(found["no bulk"]):
                    found["default"] = (0, 0)
                    break
                name = "default" if correct_bulk else "no bulk"
                number = 0 if kind == "null" else NUM_OF_GRID
                found[name] = false_and_true(paths, number, correct_bulk=correct_bulk)
            with log.open("a") as file:
                file.write(json.dumps({"pair": pair, **found}) + "\n")
            for path in paths:
                path.unlink()
    rows = []
    for line in _lines(log):
        proteins, features, vectors, kind, _ = (row := json.loads(line))["pair"]
        cell = {"proteins": proteins, "features": features, "vectors": vectors, "kind": str(kind)}
        for name in ("default", "no bulk"):
            false, true = row[name]
            cell[name] = float(false + true > 0) if kind == "null" else true / NUM_OF_GRID
        rows.append(cell)
    table = pd.DataFrame(rows).groupby(["kind", "proteins", "features", "vectors"])
    summary = table[["default", "no bulk"]].mean().assign(pairs=table.size())
    sys.stdout.write(summary.round(3).to_string() + "\n")
    null = pd.DataFrame(rows).query("kind == 'null'")[["default", "no bulk"]]
    sys.stdout.write(f"{len(null)} null pairs, with a call: {null.mean().round(4).to_dict()}\n")


def pairs_of(proteins: int) -> Iterator[tuple[int, int, int, Any, int]]:
    """Proteins, features, vectors, kind ("null", "moved" or a shift) and seed of each pair."""
    features, vectors, (num_null, num_moved, num_shifted) = GRID[proteins]
    for kind, count in (
        ("null", num_null),
        ("moved", num_moved),
        *((s, num_shifted) for s in SHIFTS),
    ):
        for width in features if kind in ("null", "moved") else (32,):
            for number in vectors:
                for seed in range(count):
                    yield proteins, width, number, kind, seed


def _lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def write_screens(
    folder: Path,
    *,
    num_proteins: int = 120,
    num_moved: int = 0,
    effect: float = 2.5,
    fields: int = 5,
    field_effect: float = 0.0,
    plate_effect: float = 0.0,
    protein_effect: float = 0.0,
    seed: int = 0,
    suffix: str = "h5",
    heavy: bool = False,
) -> tuple[Path, Path]:
    """Two screens of proteins P000 ...; the first `num_moved` moved. Twenty cells of each."""
    random = np.random.default_rng(seed)
    places = random.normal(size=(num_proteins, WIDTH)) * np.linspace(3, 0.3, WIDTH)
    moves = random.normal(size=(num_moved, WIDTH))
    moves *= effect / np.linalg.norm(moves, axis=1, keepdims=True)
    plates = np.arange(num_proteins) % 3 + 1
    paths = []
    for treated, name in enumerate(("untreated", "treated")):
        number = 20 + 4 * treated
        protein = np.repeat(np.arange(num_proteins), number)
        field = np.tile(np.arange(number) % fields + 1, num_proteins)
        draws = random.standard_t(4, (len(protein), WIDTH)) / np.sqrt(2)
        noise = draws if heavy else random.normal(size=(len(protein), WIDTH))
        of_field = random.normal(0, field_effect, (num_proteins, fields, WIDTH))
        of_plate = random.normal(0, plate_effect, (4, WIDTH))
        features = places[protein] + noise + of_field[protein, field - 1]
        features += of_plate[plates[protein]] + treated * random.normal(size=WIDTH)
        if treated:
            features += random.normal(0, protein_effect, (num_proteins, WIDTH))[protein]
            chosen = protein < num_moved
            features[chosen] += moves[protein[chosen]]
        metadata = pd.DataFrame(
            {
                "key": [f"{name}{i}" for i in range(len(protein))],
                "protein": [f"P{i:03d}" for i in protein],
                "plate": plates[protein],
                "field": field,
            }
        )
        order = random.permutation(len(protein))
        paths.append(folder / f"{name}{seed}.{suffix}")
        table = VectorTable(
            features[order].astype(np.float32),
            metadata.iloc[order].reset_index(drop=True),
            {"kind": "embeddings", "layer": "fc_2"},
        )
        write_table(paths[-1], table, NAMES)
    return paths[0], paths[1]


def false_and_true(paths: tuple[Path, Path], num_moved: int, **settings: Any) -> tuple[int, int]:
    """How many proteins were called that stayed, and how many that moved: the first ones."""
    table = change(*paths, settings=ChangeSettings(**{"num_permutations": 100, **settings})).table
    called = table["protein"][table["moved"]].str[1:].astype(int)
    return int((called >= num_moved).sum()), int((called < num_moved).sum())


if __name__ == "__main__":
    if sys.argv[2:3] == ["grid"]:
        grid(Path(sys.argv[1]), [int(word) for word in sys.argv[3:]] or list(GRID))
    else:
        (at_the_bound if sys.argv[2:] == ["bound"] else main)(Path(sys.argv[1]))
