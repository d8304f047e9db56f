"""A simulated field of view: cells side by side, under a microscope, on a camera."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from deeploc_tf.simulation.cell import WINDOW, Cell, Image, draw_cell
from deeploc_tf.simulation.compartments import COMPARTMENTS, DRAWINGS
from deeploc_tf.simulation.function import Protein

CROP_SIZE = 64
SPACING = 46
_OFFSET, _READ_NOISE, _COUNTS_PER_PHOTON = 105.0, 2.2, 2.0
_AUTOFLUORESCENCE = 0.05  # of the cytosol in the GFP channel, against a mean protein


@dataclasses.dataclass(frozen=True)
class Plate:
    """What all images of a plate have in common and those of another have not: a batch effect.

    Attributes:
        gain: factor of the light.
        blur: pixels, added to the focus.
        background: factor of the light around the cells.
    """

    gain: float = 1.0
    blur: float = 0.0
    background: float = 1.0


NO_EFFECT = Plate()


def draw_plate(generator: np.random.Generator) -> Plate:
    """A plate as another day and another hand would make it."""
    return Plate(
        gain=float(np.exp(generator.normal(0, 0.35))),
        blur=float(generator.uniform(0, 0.5)),
        background=float(np.exp(generator.normal(0, 0.5))),
    )


@dataclasses.dataclass(frozen=True)
class Field:
    """One image of one protein, with its truth.

    Attributes:
        image: uint16 `(height, width, 2)`, GFP and RFP.
        labels: uint16 `(height, width)`, number of the cell from 1, 0 where there is none.
        centers: int64 `(num_cells, 2)`, row and column of each cell.
        whole: bool `(num_cells,)`, whether a crop around the center lies in the image.
    """

    image: NDArray[np.uint16]
    labels: NDArray[np.uint16]
    centers: NDArray[np.int64]
    whole: NDArray[np.bool_]

    def crop(self, cell: int) -> NDArray[np.uint16]:
        """Uint16 `(64, 64, 2)` around the center of a cell that is `whole`."""
        row, column = self.centers[cell] - CROP_SIZE // 2
        return self.image[row : row + CROP_SIZE, column : column + CROP_SIZE]


def draw_field(
    protein: Protein,
    num_cells: int,
    difficulty: float,
    generator: np.random.Generator,
    plate: Plate = NO_EFFECT,
) -> Field:
    """A field with at least `num_cells` whole cells, all of which carry the same tagged protein."""
    side = math.ceil(math.sqrt(num_cells))
    size = CROP_SIZE + SPACING * side
    light = np.zeros((2, size + WINDOW, size + WINDOW))
    depths = np.full(light.shape[1:], -0.5)
    labels = np.zeros(light.shape[1:], np.uint16)
    centers = _places(side, size, generator)
    for number, (row, column) in enumerate(centers, 1):
        cell = draw_cell(generator)
        window = (slice(row, row + WINDOW), slice(column, column + WINDOW))
        variation = np.exp(generator.normal(0, 0.15 + 0.4 * difficulty))
        light[0][window] += _tagged(cell, protein, generator) * variation
        light[0][window] += _AUTOFLUORESCENCE * cell.cytosol
        light[1][window] += cell.cytosol * np.exp(generator.normal(0, 0.2))
        nearer = cell.depth > depths[window]
        depths[window][nearer] = cell.depth[nearer]
        labels[window][nearer] = number
    inside = (slice(WINDOW // 2, WINDOW // 2 + size),) * 2
    half = CROP_SIZE // 2
    return Field(
        image=_photograph(light, inside, difficulty, plate, generator),
        labels=labels[inside],
        centers=centers,
        whole=np.all((centers >= half) & (centers <= size - half), axis=1),
    )


def _places(side: int, size: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """On a shaken grid: those that are whole first, then the rest, cut by the border."""
    start = CROP_SIZE // 2 + SPACING / 2
    steps = start + SPACING * np.arange(-1, side + 1)
    grid = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
    places = np.rint(grid + generator.uniform(-8, 8, grid.shape)).astype(np.int64)
    inner = np.all((grid > start - 1) & (grid < size - start + 1), axis=1)
    kept = inner | (generator.random(len(grid)) < 0.65)
    order = np.argsort(~inner[kept], kind="stable")
    ordered: NDArray[np.int64] = places[kept][order]
    return ordered


def _tagged(cell: Cell, protein: Protein, generator: np.random.Generator) -> Image:
    """Light of the tagged protein in one cell, before the microscope."""
    light = np.zeros((WINDOW, WINDOW))
    for index in np.flatnonzero(protein.weights):
        drawn = DRAWINGS[COMPARTMENTS[index]](cell, generator)
        light += protein.weights[index] * drawn / _contrast(COMPARTMENTS[index])
    grain = gaussian_filter(generator.normal(size=light.shape), 1.5)
    light *= np.exp(0.6 * protein.granularity * grain / 0.19)  # 0.19: what the filter leaves of 1
    if cell.bud is not None:
        in_bud = cell.bud.depth > cell.mother.depth
        light *= np.exp(0.8 * protein.polarity * np.where(in_bud, 1.0, -0.35))
    swing = np.cos(2 * np.pi * (cell.stage - protein.phase))
    amount = protein.abundance + 0.7 * protein.cycle * swing
    amplified: Image = light * np.exp(amount)
    return amplified


@functools.cache
def _contrast(compartment: str) -> float:
    """What makes the classes equally bright to the eye: the brightest 30 pixels, blurred."""
    brightest = []
    for seed in range(16):
        generator = np.random.default_rng(seed)
        drawn = gaussian_filter(DRAWINGS[compartment](draw_cell(generator), generator), 1.2)
        brightest.append(np.partition(drawn.ravel(), -30)[-30:].mean())
    return float(np.mean(brightest))


def _photograph(
    light: Image,
    inside: tuple[slice, slice],
    difficulty: float,
    plate: Plate,
    generator: np.random.Generator,
) -> NDArray[np.uint16]:
    """Counts of both channels, `(height, width, 2)`: blur, background, photons, camera."""
    focus = 1.1 + 0.5 * (0.5 + difficulty) * generator.random() + plate.blur
    photons = 120 * 10 ** (-0.9 * (difficulty - 0.5))
    counts = []
    for channel, brightness in zip(light, (photons, 2.5 * photons), strict=True):
        gain = plate.gain * np.exp(generator.normal(0, 0.1 + 0.4 * difficulty))
        background = plate.background * photons * generator.uniform(0.02, 0.06)
        expected = brightness * gain * gaussian_filter(channel, focus)[inside] + background
        noise = generator.normal(0, _READ_NOISE, expected.shape)
        counts.append(_OFFSET + _COUNTS_PER_PHOTON * generator.poisson(expected) + noise)
    image: NDArray[np.uint16] = np.clip(np.rint(np.stack(counts, -1)), 0, 65535).astype(np.uint16)
    return image
