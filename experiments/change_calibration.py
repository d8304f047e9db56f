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

Null pairs of few proteins, or with as many features as are let through (ten residual degrees of
freedom each): the share of 200 with a call, and its 95% interval after Clopper and Pearson.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
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
        for correct_bulk in (True, False):
            called = sum(
                null_calls(output, *size, seed=seed, correct_bulk=correct_bulk) > 0
                for seed in range(number)
            )
            low = scipy.stats.beta.ppf(0.025, called, number - called + 1) if called else 0.0
            high = scipy.stats.beta.ppf(0.975, called + 1, number - called)
            text = f"{size} bulk={correct_bulk}: {called / number:.3f} ({low:.3f} to {high:.3f})\n"
            sys.stdout.write(text)
            sys.stdout.flush()


def null_calls(
    folder: Path, proteins: int, features: int, vectors: int, *, seed: int, correct_bulk: bool
) -> int:
    """How many proteins are called of two screens that differ by one shift of all."""
    random = np.random.default_rng([seed, proteins, features, vectors])
    basis = np.linalg.qr(random.normal(size=(features, min(10, features))))[0]
    places = 4 * random.normal(size=(proteins, basis.shape[1])) @ basis.T
    metadata = pd.DataFrame({"protein": np.repeat([f"P{i:04d}" for i in range(proteins)], vectors)})
    metadata["key"] = metadata.index.astype(str)
    paths = []
    for name in ("untreated", "treated"):
        values = np.repeat(places + random.normal(size=features), vectors, axis=0)
        values += random.normal(size=values.shape)
        table = VectorTable(values.astype(np.float32), metadata, {"kind": "embeddings"})
        paths.append(folder / f"{name}.h5")
        paths[-1].unlink(missing_ok=True)
        write_table(paths[-1], table, [f"f{i}" for i in range(features)])
    settings = ChangeSettings(correct_bulk=correct_bulk, num_permutations=100)
    return int(change(paths[0], paths[1], settings=settings).table["moved"].sum())


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
    (at_the_bound if sys.argv[2:] == ["bound"] else main)(Path(sys.argv[1]))
