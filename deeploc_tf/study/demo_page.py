"""The page of the demo: the report of its run, with the screen before it and the folder after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.report.crops import crop_sheet
from deeploc_tf.report.page import Section
from deeploc_tf.report.run_page import write_report
from deeploc_tf.simulation.simulate import CHANNELS
from deeploc_tf.sources.images import read_image
from deeploc_tf.study.demo_folder import PLACES, Demo

_CROPS_SHOWN = 6


def write_demo_page(here: Demo) -> None:
    """Write `index.html` of a demo whose steps are done."""
    cells = pd.read_csv(here.screen / "cells.csv")
    names = [(getattr(here, name).name, what) for name, what in PLACES.items()]
    write_report(
        here.page,
        here.run,
        evaluation=here.evaluation,
        records=here.records,
        benchmarks=[here.results],
        profiles=here.profiles,
        map_page=here.map,
        title="deeploc-tf: a demo on a simulated screen",
        before=[
            Section(
                "The screen",
                f"{cells['protein'].nunique()} simulated proteins, {len(cells):,} cells: the "
                "tagged protein in green, a cytosolic marker in magenta. Proteins work in "
                "complexes, pathways and processes; the nearer in function, the more alike they "
                "look. DeepLoc, a quarter of its filters, learns the localization of a protein "
                "from one cell. It never sees the test field, nor the functional standards.",
                picture=crop_sheet(examples(here.screen, cells, _CROPS_SHOWN), by_crop=True),
                alt=f"{_CROPS_SHOWN} cells of each localization",
                caption="Each crop is stretched by itself, from the 1st to the 99.8th percentile.",
            )
        ],
        after=[
            Section(
                "Where everything is",
                table=pd.DataFrame(names, columns=["name", "what it holds"]),
            )
        ],
    )


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
