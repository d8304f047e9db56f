"""Are moved proteins found, and no others? `change` on simulated screens whose truth is known.

    python experiments/change_study.py OUT [PLATES]

68 proteins are imaged again and again: 5 fields of 3 cells each, with their own focus, gain and
background. In three screens nothing moved; in three others half of the light of 7 proteins is in
another compartment. Proteins lie on 3 plates (or PLATES), each of which has a gain, blur and
background of its own in every screen; with 1 there is no such effect. Cells are described by 19
plain numbers of brightness and texture. Each pair of screens of the first kind must give no
protein; each pair of one of the first and one of the second kind must give the seven. What is in
OUT already is not made again.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from deeploc_tf.features.intensity import Intensity
from deeploc_tf.profiles.change import ChangeSettings, change
from deeploc_tf.profiles.tables import VectorTable, write_table
from deeploc_tf.simulation.compartments import COMPARTMENTS
from deeploc_tf.simulation.field import NO_EFFECT, draw_field, draw_plate
from deeploc_tf.simulation.function import Protein, make_proteins

NUM_PROTEINS, NUM_FIELDS, CELLS_OF_A_FIELD, DIFFICULTY = 68, 5, 3, 0.5
MOVED_SHARE = 0.5
SCREENS = ("untreated-1", "untreated-2", "untreated-3")
TREATED = ("treated-1", "treated-2", "treated-3")
SETTINGS = {
    "cells": ChangeSettings(),
    "cells, bulk not corrected": ChangeSettings(correct_bulk=False),
    "--replicate field": ChangeSettings(replicate="field"),
    "--replicate field --by plate": ChangeSettings(replicate="field", by=("plate",)),
}


def main(output: Path, plates: int = 3) -> None:
    output.mkdir(parents=True, exist_ok=True)
    proteins = make_proteins(NUM_PROTEINS, DIFFICULTY, 0)
    moved = [protein.name for protein in proteins[::10]]
    (output / "moved.txt").write_text("\n".join(moved) + "\n")
    tasks = [
        (output / f"{name}.h5", proteins, moved, plates, number)
        for number, name in enumerate((*SCREENS, *TREATED))
    ]
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(draw_screen, tasks))
    table = pd.DataFrame(compare(output, set(moved)))
    table.to_csv(output / "change_study.csv", index=False)
    sys.stdout.write(table.to_string(index=False) + "\n")


def draw_screen(task: tuple[Path, list[Protein], list[str], int, int]) -> None:
    """Write the table of one screen; those after the untreated ones are treated."""
    path, proteins, moved, plates, number = task
    if path.exists():
        return
    measure = Intensity(("gfp", "rfp"), 1.0)
    effects = [
        NO_EFFECT if plates == 1 else draw_plate(np.random.default_rng([number, plates, plate]))
        for plate in range(plates)
    ]
    features, rows = [], []
    for index, protein in enumerate(proteins):
        drawn = move(protein) if number >= len(SCREENS) and protein.name in moved else protein
        plate = index % plates
        for field in range(NUM_FIELDS):
            generator = np.random.default_rng([number, plates, index, field, 7])
            image = draw_field(drawn, CELLS_OF_A_FIELD, DIFFICULTY, generator, effects[plate])
            crops = np.stack([image.crop(cell) for cell in range(CELLS_OF_A_FIELD)])
            features.append(measure(crops, None))
            rows += [
                {"key": f"{path.stem}/{protein.name}/{field}/{cell}", "protein": protein.name}
                | {"plate": plate + 1, "field": field + 1}
                for cell in range(CELLS_OF_A_FIELD)
            ]
    table = VectorTable(
        np.concatenate(features),
        pd.DataFrame(rows),
        {"kind": "embeddings", "features": "intensity"},
    )
    write_table(path, table, measure.names)


def move(protein: Protein) -> Protein:
    """Half of its light goes to the compartment five further on."""
    goal = np.zeros(len(COMPARTMENTS))
    goal[(COMPARTMENTS.index(protein.compartment) + 5) % len(COMPARTMENTS)] = 1
    weights = (1 - MOVED_SHARE) * protein.weights + MOVED_SHARE * goal
    return dataclasses.replace(protein, weights=weights)


def compare(output: Path, moved: set[str]) -> list[dict[str, object]]:
    """A row for each way to compare: what was called, over all pairs of screens."""
    found = []
    for name, settings in SETTINGS.items():
        nothing = [called(output, pair, settings) for pair in itertools.combinations(SCREENS, 2)]
        something = [called(output, pair, settings) for pair in itertools.product(SCREENS, TREATED)]
        shares = [len(names - moved) / max(1, len(names)) for names in something]
        found.append(
            {
                "compared by": name,
                "null pairs": len(nothing),
                "with a call": sum(bool(names) for names in nothing),
                "calls": sum(map(len, nothing)),
                "pairs": len(something),
                "found": np.mean([len(names & moved) / len(moved) for names in something]),
                "false": np.mean(shares),
            }
        )
    return found


def called(output: Path, pair: tuple[str, str], settings: ChangeSettings) -> set[str]:
    """Names of the proteins that are said to have moved."""
    first, second = (output / f"{name}.h5" for name in pair)
    table = change(first, second, settings=settings).table
    return set(table["protein"][table["moved"]])


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
