"""The page of the demo: numbers and pictures of every step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.benchmark.benchmark import StandardScores
from deeploc_tf.profiles.reading import read_profiles
from deeploc_tf.report.crops import crop_sheet
from deeploc_tf.report.curves import (
    average_precisions,
    confusion_matrix,
    precision_recall,
    training_curves,
)
from deeploc_tf.report.map import protein_map
from deeploc_tf.report.page import Section, write_page
from deeploc_tf.simulation.simulate import CHANNELS
from deeploc_tf.sources.images import read_image
from deeploc_tf.study.demo_folder import PLACES, Demo

_CROPS_SHOWN = 6
_COLUMNS = {
    "terms_scored": "terms",
    "prevalence": "prevalence",
    "average_precision": "AP",
    "lift": "lift",
    "shuffled_average_precision": "AP, shuffled",
    "shuffled_average_precision_sd": "its sd",
    "mean_average_precision": "mAP",
    "precision_at_10": "P@10",
}


def write_demo_page(here: Demo, scores: Sequence[StandardScores]) -> None:
    """Write `index.html` of a demo whose steps are done."""
    cells = pd.read_csv(here.screen / "cells.csv")
    metrics = json.loads((here.run / "metrics.json").read_text("utf-8"))["test"]
    profiles = read_profiles(here.profiles)
    compartments = dict(zip(cells["protein"], cells["localization"], strict=True))
    table = pd.DataFrame(
        [{"standard": r.standard} | {t: r.numbers[n] for n, t in _COLUMNS.items()} for r in scores]
    )
    sections = [
        Section(
            "The screen",
            f"{cells['protein'].nunique()} simulated proteins, {len(cells):,} cells: the tagged "
            "protein in green, a cytosolic marker in magenta. Proteins work in complexes, pathways "
            "and processes; the nearer in function, the more alike they look.",
            picture=crop_sheet(examples(here.screen, cells, _CROPS_SHOWN), by_crop=True),
            alt=f"{_CROPS_SHOWN} cells of each localization",
            caption="Each crop is stretched by itself, from the 1st to the 99.8th percentile.",
        ),
        Section(
            "The training",
            "DeepLoc, a quarter of its filters, learns the localization of a protein from one "
            "cell. It never sees the test field, nor the functional standards.",
            picture=training_curves(here.run),
            alt="Loss and accuracy against the epoch",
        ),
        Section(
            "",
            f"On {metrics['num_crops']:,} test cells: accuracy {metrics['accuracy']:.3f}, "
            f"macro-F1 {metrics['macro_f1']:.3f}; the best constant answer has "
            f"{metrics['majority_accuracy']:.3f}.",
            picture=confusion_matrix(here.run),
            alt="Confusion matrix of the test cells",
        ),
        Section(
            "What the profiles hold",
            "A protein's profile is the mean of its test cells in the penultimate layer. Pairs of "
            "proteins are ranked by cosine similarity; a pair is right if the two share a term.",
            table=table.round(4),
            caption="Shuffled: the same profiles, given to the proteins at random.",
        ),
        Section("", picture=average_precisions(here.results), alt="AP by standard"),
        Section("", picture=precision_recall(here.results), alt="Precision against recall"),
        Section(
            "The map",
            picture=protein_map(profiles, compartments),
            alt="Proteins in the plane, colored by compartment",
            caption="t-SNE of the profiles by cosine distance.",
        ),
        Section(
            "Where everything is",
            table=pd.DataFrame(
                [(getattr(here, name).name, what) for name, what in PLACES.items()],
                columns=["name", "what it holds"],
            ),
        ),
    ]
    write_page(here.page, "deeploc-tf: a demo on a simulated screen", sections)


def examples(screen: Path, cells: pd.DataFrame, count: int) -> dict[str, NDArray[Any]]:
    """Crops of each localization `(count, height, width, channels)`, each of another protein.

    Args:
        screen: folder of a simulated screen.
        cells: rows of its table.
        count: of crops; there are fewer where there are fewer proteins.
    """
    chosen = cells.groupby(["localization", "protein"], sort=False).head(1)
    sheets = {}
    for name, rows in chosen.groupby("localization"):
        pairs = rows[list(CHANNELS)].head(count).itertuples(index=False)
        sheets[str(name)] = np.stack(
            [np.stack([read_image(screen / path) for path in pair], axis=-1) for pair in pairs]
        )
    return sheets
