"""A simulated screen on disk, in the form in which a laboratory would have it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray

from deeploc_tf.processes import computed
from deeploc_tf.progress import ShowProgress, counting
from deeploc_tf.provenance import sealed
from deeploc_tf.simulation.compartments import COMPARTMENTS
from deeploc_tf.simulation.field import NO_EFFECT, Field, draw_field, draw_plate
from deeploc_tf.simulation.function import Protein, make_proteins, standards
from deeploc_tf.text_tables import csv_bytes
from tfrecords.publishing import publish_json, publishing_folder

CHANNELS = ("gfp", "rfp")
FIELDS = {
    "pattern": "fields/{image}_{channel}.tif",
    "label_image": "fields/{image}_labels.tif",
    "cell_field": CHANNELS[0],
}
"""How the whole fields are read: options of `predict` and `build-records`, beside `fields.csv`."""
_SETTINGS = "simulation.json"
GENERATOR_VERSION = 1
"""Counts up whenever the same settings give other pixels or another truth."""

# Streams of random numbers; 0 to 17 and 20 are those of `make_proteins`.
_PLATE_ORDER, _PLATE_EFFECT = 18, 19

_LIMITS: Mapping[str, tuple[float, float]] = {
    "num_proteins": (2 * len(COMPARTMENTS), 20_000),
    "num_fields": (1, 1_000),
    "cells_per_field": (1, 10_000),
    "difficulty": (0, 1),
    "plates": (1, 1_000),
    "moonlighting": (0, 1),
    "crossing": (0, 1),
    "seed": (0, 2**63 - 1),
    "workers": (1, 1_024),
}


_FRACTIONS = ("difficulty", "moonlighting", "crossing")


@dataclasses.dataclass(frozen=True)
class Screen:
    """Settings of a simulated screen.

    Attributes:
        num_proteins: at least 34, in equal numbers over 17 localizations.
        num_fields: images of each protein; fields differ in focus, gain and background.
        cells_per_field: whole cells that are cut out of each.
        difficulty: in [0, 1]. The higher, the less light, the more do cells and fields vary, and
            the less does brightness tell of function.
        seed: of everything; the same settings give the same pixels.
        plates: over which the proteins are spread at random; with two or more, each plate has its
            own gain, blur and background.
        moonlighting: share of the proteins that work in a second complex, too.
        crossing: share of the processes that lie, with their pathways, in several localizations.
    """

    num_proteins: int = 272
    num_fields: int = 5
    cells_per_field: int = 4
    difficulty: float = 0.5
    seed: int = 0
    plates: int = 1
    moonlighting: float = 0.0
    crossing: float = 0.0


PROTEOME = Screen(num_proteins=612, plates=6, moonlighting=0.12, crossing=0.33)
"""36 proteins a localization, 12 cells each to train, 4 to choose and 4 to test."""


def simulate(
    output: str | os.PathLike[str],
    screen: Screen | None = None,
    *,
    fields: bool = False,
    workers: int = 1,
    progress: ShowProgress = False,
) -> pd.DataFrame:
    """Write a screen of budding-yeast cells with a GFP-tagged protein and a cytosolic RFP.

    In the folder: `cells.csv`, a row per crop, with the columns `key`, `protein`, `localization`,
    `plate`, `field`, `cell`, `gfp` and `rfp` (paths); `crops/`, uint16 TIFF of 64 x 64, one file a
    channel; `standards/`, the truth as GMT: compartments, processes, pathways and complexes;
    `proteins.csv`, what made each protein look as it does; `simulation.json`, the settings. With
    `fields`, also `fields/`, the whole images with label images, and `fields.csv`, the centers.

    Args:
        output: folder to make.
        screen: what to simulate; by default 272 proteins with 20 cells each.
        fields: whether to write whole fields, too.
        workers: processes that draw.
        progress: True to show the number of proteins drawn; or a callable that gets
            `(done, total)`.

    Returns:
        The content of `cells.csv`.

    Raises:
        OutputExistsError: `output` is there already.
        ValueError: a setting is out of its range.

    Example:
        simulate("screen", Screen(num_proteins=34), fields=True)
    """
    screen = screen or Screen()
    check_settings({**dataclasses.asdict(screen), "workers": workers})
    with (
        publishing_folder(Path(output)) as folder,
        counting(progress, "Drawing proteins", screen.num_proteins) as count,
    ):
        proteins = _proteins(screen)
        plates = _plates(screen)
        for name in ("standards", "crops", *(["fields"] if fields else [])):
            (folder / name).mkdir()
        cells: list[dict[str, Any]] = []
        centers: list[dict[str, Any]] = []
        tasks = [
            (folder, index, protein, plate, screen, fields)
            for index, (protein, plate) in enumerate(zip(proteins, plates, strict=True))
        ]
        # Not kept by a name: over an error, workers would go on as long as it is held.
        for done, (_, (its_cells, its_centers)) in enumerate(
            computed(_image_protein, tasks, workers, _named), 1
        ):
            cells += its_cells
            centers += its_centers
            count(done)
        table = pd.DataFrame(cells)
        (folder / "cells.csv").write_bytes(csv_bytes(table))
        if fields:
            (folder / "fields.csv").write_bytes(csv_bytes(pd.DataFrame(centers)))
        _write_truth(folder, proteins)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        publish_json(folder / _SETTINGS, sealed(_settings(screen), files=files, folder=folder))
    return table


def truth_digest(screen: Screen) -> str:
    """SHA-256 of settings, version of the generator, labels and standards; no cell is drawn.

    To be written down before methods are compared: whatever would make their numbers those of
    another screen changes it.
    """
    proteins = _proteins(screen)
    truth = {
        "settings": _settings(screen),
        "localizations": {protein.name: protein.compartment for protein in proteins},
        "plates": _plates(screen),
        "standards": standards(proteins),
    }
    return hashlib.sha256(json.dumps(truth).encode()).hexdigest()


def check_same_screen(folder: Path, screen: Screen) -> None:
    """Raise `ValueError` unless `simulate` made `folder` with these settings."""
    path = folder / _SETTINGS
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    expected = _settings(screen)
    other = [f"{name}={found.get(name)}" for name in expected if found.get(name) != expected[name]]
    if other:
        msg = (
            f"{folder} must be a simulated screen of the same settings. Received: "
            f"{', '.join(other)}. Name another folder, or remove this one."
        )
        raise ValueError(msg)


def screen_of_fields(folder: Path) -> Path | None:
    """The screen whose whole fields lie in a folder, itself or its `fields`; None if there is none.

    >>> screen_of_fields(Path("nowhere"))
    """
    for screen in (folder, folder.resolve().parent if folder.name == "fields" else folder):
        if (screen / _SETTINGS).is_file() and (screen / "fields.csv").is_file():
            return screen
    return None


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless each setting, by name, lies in its range."""
    for name, value in settings.items():
        low, high = _LIMITS[name]
        if not low <= value <= high:
            msg = f"`{name}` must lie in [{low}, {high}]. Received: {name}={value}."
            raise ValueError(msg)
        if name not in _FRACTIONS and value != int(value):
            msg = f"`{name}` must be a whole number. Received: {name}={value}."
            raise ValueError(msg)


def _settings(screen: Screen) -> dict[str, Any]:
    return {"generator_version": GENERATOR_VERSION} | dataclasses.asdict(screen)


def _proteins(screen: Screen) -> list[Protein]:
    return make_proteins(
        screen.num_proteins,
        screen.difficulty,
        screen.seed,
        moonlighting=screen.moonlighting,
        crossing=screen.crossing,
    )


def _plates(screen: Screen) -> list[int]:
    """Number of each protein's plate, from 1, whatever its function."""
    order = np.random.default_rng([screen.seed, _PLATE_ORDER]).permutation(screen.num_proteins)
    return [int(place) % screen.plates + 1 for place in order]


_Task = tuple[Path, int, Protein, int, Screen, bool]
_Rows = list[dict[str, Any]]


def _image_protein(task: _Task) -> tuple[_Rows, _Rows]:
    """Draw and write all fields of a protein; its own generator makes it independent of others."""
    folder, index, protein, plate, screen, whole_fields = task
    effect = NO_EFFECT
    if screen.plates > 1:
        effect = draw_plate(np.random.default_rng([screen.seed, _PLATE_EFFECT, plate]))
    home = folder / "crops" / protein.name
    home.mkdir()
    cells: _Rows = []
    centers: _Rows = []
    for number in range(1, screen.num_fields + 1):
        generator = np.random.default_rng([screen.seed, 1, index, number])
        field = draw_field(protein, screen.cells_per_field, screen.difficulty, generator, effect)
        stem = f"{protein.name}_{number}"
        for cell in range(screen.cells_per_field):
            key = f"{stem}_{cell + 1:03d}"
            paths = {channel: f"crops/{protein.name}/{key}_{channel}.tif" for channel in CHANNELS}
            _write_channels(folder, paths, field.crop(cell))
            cells.append(_row(protein, plate, key, number, cell) | paths)
        if whole_fields:
            centers += _write_field(folder, stem, protein, plate, number, field)
    return cells, centers


def _named(task: _Task) -> str:
    return f"protein {task[2].name!r}"


def _row(protein: Protein, plate: int, key: str, field: int, cell: int) -> dict[str, Any]:
    return {
        "key": key,
        "protein": protein.name,
        "localization": protein.compartment,
        "plate": plate,
        "field": field,
        "cell": cell + 1,
    }


def _write_field(
    folder: Path, stem: str, protein: Protein, plate: int, number: int, field: Field
) -> _Rows:
    paths = {name: f"fields/{stem}_{name}.tif" for name in (*CHANNELS, "labels")}
    _write_channels(folder, paths, field.image)
    tifffile.imwrite(folder / paths["labels"], field.labels, compression="zlib")
    return [
        _row(protein, plate, f"{stem}_{cell + 1:03d}", number, cell)
        | {"y": int(y), "x": int(x), "whole": bool(whole)}
        | paths
        for cell, ((y, x), whole) in enumerate(zip(field.centers, field.whole, strict=True))
    ]


def _write_channels(folder: Path, paths: Mapping[str, str], image: NDArray[np.uint16]) -> None:
    for index, channel in enumerate(CHANNELS):
        pixels = np.ascontiguousarray(image[..., index])
        tifffile.imwrite(folder / paths[channel], pixels, metadata=None)


def _write_truth(folder: Path, proteins: list[Protein]) -> None:
    for standard, terms in standards(proteins).items():
        lines = ["\t".join([term, standard, *members]) for term, members in terms.items()]
        (folder / "standards" / f"{standard}.gmt").write_text("\n".join(lines) + "\n")
    weights = pd.DataFrame([p.weights for p in proteins], columns=list(COMPARTMENTS))
    traits = pd.DataFrame([dataclasses.asdict(p) for p in proteins]).drop(columns="weights")
    table = pd.concat([traits, weights.round(6)], axis=1)
    (folder / "proteins.csv").write_bytes(csv_bytes(table))
