"""What lies where in the folder that the demo makes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

PLACES = {
    "screen": "crops (TIFF), cells.csv, and the true standards (GMT)",
    "records": "TFRecords, also for TFDS; look at them with deeploc-tf inspect",
    "run": "model.keras, history.csv, metrics.json, confusion.csv",
    "evaluation": "what the model says of every test cell, calibration, classes and proteins",
    "cells": "vectors of the test cells",
    "profiles": "profiles of the proteins",
    "savedmodel": "the model for any TensorFlow code: classify, embed, serving_default",
    "results": "scores.json, scores.csv, precision_recall.csv",
    "map": "the proteins as a page to explore",
}
"""Attribute of `Demo` -> what is there."""


@dataclasses.dataclass(frozen=True)
class Demo:
    """Where the demo put everything, below one folder.

    Attributes:
        folder: all of it.
        screen: the simulated screen.
        records: its records.
        run: the training.
        evaluation: of the model on the test cells.
        cells: vectors of the test cells.
        profiles: profiles of the proteins.
        savedmodel: the model for other TensorFlow code.
        results: scores of the profiles.
        map: page of the proteins.
        page: the page to open.
    """

    folder: Path
    screen: Path
    records: Path
    run: Path
    evaluation: Path
    cells: Path
    profiles: Path
    savedmodel: Path
    results: Path
    map: Path
    page: Path

    @classmethod
    def below(cls, folder: Path) -> Demo:
        """The places in a folder, there or not."""
        return cls(
            folder=folder,
            screen=folder / "screen",
            records=folder / "records",
            run=folder / "run",
            evaluation=folder / "evaluation",
            cells=folder / "cells.parquet",
            profiles=folder / "cells.profiles.parquet",
            savedmodel=folder / "savedmodel",
            results=folder / "benchmark",
            map=folder / "map.html",
            page=folder / "index.html",
        )
