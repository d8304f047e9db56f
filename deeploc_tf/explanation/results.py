"""What `explain` returns, as arrays and tables; in a file that imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.provenance import sealed
from deeploc_tf.text_tables import csv_bytes
from tfrecords.publishing import publish_bytes, publish_json

Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class ClassPictures:
    """For each class a picture that drives its logit up; see `activation_maximization`.

    Attributes:
        pixels: float32 `(num_pictures, height, width, num_seen)`, the channels that the network
            sees, normalized as it sees them.
        start_logits: float32 `(num_pictures, num_classes)`, of the noise that each began as.
        logits: float32 `(num_pictures, num_classes)`, of the pictures.
    """

    pixels: Floats
    start_logits: Floats
    logits: Floats


@dataclasses.dataclass(frozen=True)
class Attributions:
    """Which pixels of each crop the logit of one class comes from; see `integrated_gradients`.

    Attributes:
        pixels: float32 `(num_crops, height, width, channels)`; positive speaks for the class. 0 in
            channels and places that the network does not see.
        logits: float32 `(num_crops,)`, of the class of each crop.
        baseline_logits: float32 `(num_crops,)`, of the same class for a crop of zeros.
        gaps: float64 `(num_crops,)`: the sum over the pixels minus the difference of the logits,
            which is 0 but for the numeric integration.
        num_steps: int64 `(num_crops,)`, intervals of that integration.
    """

    pixels: Floats
    logits: Floats
    baseline_logits: Floats
    gaps: NDArray[np.float64]
    num_steps: NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Cells:
    """Chosen cells, what the network says of them and why, and the training cells they resemble.

    Attributes:
        table: a row per cell: `key`, `split`, `label` (several are divided by ``|``), `protein`,
            `call` (the class with the highest probability) and `probability` (of the call).
        images: `(num_cells, height, width, channels)`, raw, in the dtype of the records.
        attributions: of the logit of the call.
        nearest: a row per cell and training cell, the nearest first: `cell` (a key of `table`),
            `rank` from 1, `key`, `label`, `protein` and `similarity` (cosine of the vectors of the
            penultimate layer).
        nearest_images: `(len(nearest), height, width, channels)`, in the order of `nearest`.
    """

    table: pd.DataFrame
    images: NDArray[Any]
    attributions: Attributions
    nearest: pd.DataFrame
    nearest_images: NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What `explain` found.

    Attributes:
        run: name of the run's folder.
        class_names: classes of the logits, in their order.
        shown: those that have a picture, in the order of `pictures`.
        multi_label: probabilities are sigmoids of the logits, not a softmax.
        channels: names of the channels of the crops.
        seen: numbers of those that the network sees.
        normalization: name of the method, or "" for a network with preprocessing of its own.
        pictures: a picture per shown class.
        kept_cell: key of the cell whose other channels the pictures have; "" for none.
        cells: chosen cells; None without records.
        seed: of the noise.
        notes: sentences about what is lacking.
        made_from: the run and the records, see `deeploc_tf.provenance.parent`.
    """

    run: str
    class_names: tuple[str, ...]
    shown: tuple[str, ...]
    multi_label: bool
    channels: tuple[str, ...]
    seen: tuple[int, ...]
    normalization: str
    pictures: ClassPictures
    kept_cell: str
    cells: Cells | None
    seed: int
    notes: tuple[str, ...]
    made_from: tuple[Mapping[str, Any], ...] = ()

    def classes(self) -> pd.DataFrame:
        """A row per picture: `class`, logit of noise and of the picture, and probability."""
        places = [self.class_names.index(name) for name in self.shown]
        rows = np.arange(len(places))
        return pd.DataFrame(
            {
                "class": self.shown,
                "logit_of_noise": self.pictures.start_logits[rows, places],
                "logit": self.pictures.logits[rows, places],
                "probability": probabilities(self.pictures.logits, self.multi_label)[rows, places],
            }
        )

    def to_frame(self) -> pd.DataFrame:
        """The table of the cells with their logits, sums of attributions and gaps.

        `relative_gap` is the absolute gap as a share of the difference of the logits.

        Raises:
            ValueError: there are no cells.
        """
        if self.cells is None:
            msg = "Cells need records. Received: an explanation without. Pass `records`."
            raise ValueError(msg)
        found = self.cells.attributions
        difference = np.abs(found.logits.astype(np.float64) - found.baseline_logits)
        return self.cells.table.assign(
            logit=found.logits,
            baseline_logit=found.baseline_logits,
            attribution=found.pixels.sum(axis=(1, 2, 3), dtype=np.float64),
            gap=found.gaps,
            relative_gap=np.abs(found.gaps) / np.where(difference > 0, difference, np.nan),
            num_steps=found.num_steps,
        )

    def write(self, folder: Path) -> None:
        """Write `classes.csv`, `cells.csv`, `nearest.csv` and `arrays.npz` into a folder.

        And `explanation.json`, which names their digests.

        The arrays are `pictures` and, with cells, `images`, `attributions` and `nearest_images`.
        """
        tables = {"classes": self.classes()}
        arrays: dict[str, NDArray[Any]] = {"pictures": self.pictures.pixels}
        if self.cells is not None:
            tables |= {"cells": self.to_frame(), "nearest": self.cells.nearest}
            arrays |= {
                "images": self.cells.images,
                "attributions": self.cells.attributions.pixels,
                "nearest_images": self.cells.nearest_images,
            }
        for name, table in tables.items():
            publish_bytes(folder / f"{name}.csv", csv_bytes(table))
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)
        publish_bytes(folder / "arrays.npz", content.getvalue())
        files = [*(folder / f"{name}.csv" for name in tables), folder / "arrays.npz"]
        publish_json(folder / "explanation.json", sealed({}, self.made_from, files))


def probabilities(logits: NDArray[Any], multi_label: bool) -> NDArray[np.float64]:
    """Softmax over the last axis, or sigmoids where a crop may belong to several classes."""
    from scipy.special import expit, softmax

    values = np.asarray(logits, np.float64)
    found: NDArray[np.float64] = expit(values) if multi_label else softmax(values, axis=-1)
    return found
