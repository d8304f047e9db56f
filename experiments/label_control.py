"""What the training label alone explains of the simulated standards, and what true looks do.

    python experiments/label_control.py

One-hot labels, and the true shares of light in each compartment, as profiles of the proteins of the
three studies' screens; average precision of all pairs by standard. No cell is drawn. The table is
in docs/simulation.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deeploc_tf.benchmark.benchmark import benchmark
from deeploc_tf.benchmark.standards import Standard
from deeploc_tf.simulation.compartments import COMPARTMENTS
from deeploc_tf.simulation.function import make_proteins, standards
from deeploc_tf.study.config import read_study

DOCS = Path(__file__).resolve().parents[1] / "docs"


def main() -> None:
    """Print a row of the table for each screen and kind of profiles."""
    for name in ("study-small", "study-ablation", "study"):
        data = read_study(DOCS / f"{name}.yaml").data
        assert data.kind == "simulated"
        screen = data.settings
        proteins = make_proteins(
            screen.num_proteins,
            screen.difficulty,
            screen.seed,
            moonlighting=screen.moonlighting,
            crossing=screen.crossing,
        )
        truth = [
            Standard(standard, {term: frozenset(members) for term, members in terms.items()})
            for standard, terms in standards(proteins).items()
        ]
        labels = np.eye(len(COMPARTMENTS))[[COMPARTMENTS.index(p.compartment) for p in proteins]]
        light = np.array([protein.weights for protein in proteins])
        for kind, profiles in (("label", labels), ("true weights", light)):
            found = benchmark(profiles.astype(np.float32), [p.name for p in proteins], truth)
            scores = [f"{of.numbers['average_precision']:.3f}".lstrip("0") for of in found]
            print(f"| `{name}.yaml` | {kind} | {' | '.join(scores)} |")


if __name__ == "__main__":
    main()
