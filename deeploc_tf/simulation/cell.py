"""The shape of one simulated budding-yeast cell: mother, bud, nucleus and vacuole.

Lengths are pixels, and a pixel is about a sixth of a micrometre, so that a cell fills a crop of
64 pixels as the cells of the published screens do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float64]

WINDOW = 80  # side of the square that holds a cell and its tails


@dataclasses.dataclass(frozen=True)
class Ellipse:
    """An ellipse in the window.

    Attributes:
        y: row of the center, from the center of the window.
        x: column of it.
        long: longer radius.
        short: shorter radius.
        angle: of the longer radius against the columns, in radians.
    """

    y: float
    x: float
    long: float
    short: float
    angle: float

    @cached_property
    def depth(self) -> Image:
        """Distance below the outline, `(WINDOW, WINDOW)`, negative outside; exact for a circle."""
        rows, columns = _grid()
        u = (columns - self.x) * np.cos(self.angle) + (rows - self.y) * np.sin(self.angle)
        v = (rows - self.y) * np.cos(self.angle) - (columns - self.x) * np.sin(self.angle)
        mean = np.sqrt(self.long * self.short)
        depth: Image = mean * (1 - np.hypot(u / self.long, v / self.short))
        return depth

    def at(self, direction: float, depth: float) -> tuple[float, float]:
        """The point `(y, x)` that lies `depth` below the outline in a direction from the center."""
        turned = direction - self.angle
        reach = 1 / np.hypot(np.cos(turned) / self.long, np.sin(turned) / self.short) - depth
        return self.y + reach * np.sin(direction), self.x + reach * np.cos(direction)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell; the parts are where a person would draw them.

    Attributes:
        stage: place in the cell cycle, in [0, 1): no bud below 0.3, division near 1.
        axis: direction from mother to bud, or to where the bud will come, in radians.
        mother: its outline.
        bud: its outline, or None.
        nuclei: one, or two after division.
        vacuoles: one to three.
    """

    stage: float
    axis: float
    mother: Ellipse
    bud: Ellipse | None
    nuclei: tuple[Ellipse, ...]
    vacuoles: tuple[Ellipse, ...]

    @property
    def parts(self) -> tuple[Ellipse, ...]:
        """Mother, and bud if there is one."""
        return (self.mother,) if self.bud is None else (self.mother, self.bud)

    @cached_property
    def depth(self) -> Image:
        """Distance below the surface of the cell, negative outside."""
        return depth(self.parts)

    @cached_property
    def thickness(self) -> Image:
        """Height of the cell above each pixel, in [0, 1] of the mother's; 0 outside."""
        return highest([thickness(part) for part in self.parts])

    @cached_property
    def cytosol(self) -> Image:
        """Where a protein is that fills the cell but not its vacuoles, in [0, 1]."""
        vacuoles = highest([thickness(part) for part in self.vacuoles])
        relative = vacuoles * max(part.long for part in self.vacuoles) / self.mother.long
        left: Image = np.clip(self.thickness - 1.5 * relative, 0, None)
        return left

    @cached_property
    def neck(self) -> tuple[float, float]:
        """Where mother and bud meet, `(y, x)`, or where the bud will come."""
        return self.mother.at(self.axis, 0.5)


def draw_cell(generator: np.random.Generator) -> Cell:
    """A cell of random size, shape, direction and stage of its cycle."""
    stage = generator.random()
    axis = generator.uniform(0, 2 * np.pi)
    size = generator.normal(15.5, 1.3) * (0.93 if stage < 0.3 else 1.0)
    stretch = 1 + abs(generator.normal(0, 0.06))
    mother = Ellipse(0, 0, size * stretch, size / stretch, axis + generator.normal(0, 0.3))
    bud = _bud(mother, axis, stage, generator)
    if bud is not None:  # the middle of the whole cell goes to the middle of the window
        shift = 0.5 * bud.long / size
        y, x = -bud.y * shift, -bud.x * shift
        mother = dataclasses.replace(mother, y=y, x=x)
        bud = dataclasses.replace(bud, y=bud.y + y, x=bud.x + x)
    nuclei = _nuclei(mother, bud, axis, stage, generator)
    return Cell(stage, axis, mother, bud, nuclei, _vacuoles(mother, nuclei[0], generator))


def depth(parts: tuple[Ellipse, ...]) -> Image:
    """Distance below the surface of several ellipses taken together."""
    return highest([part.depth for part in parts])


def highest(images: Sequence[Image]) -> Image:
    """The greatest value at each pixel."""
    top: Image = np.max(images, axis=0)
    return top


def thickness(part: Ellipse) -> Image:
    """Height of the ellipsoid above each pixel, in [0, 1] of its greatest; 0 outside."""
    radius = 1 - part.depth / np.sqrt(part.long * part.short)
    height: Image = np.sqrt(np.clip(1 - radius**2, 0, None))
    return height


def _bud(
    mother: Ellipse, axis: float, stage: float, generator: np.random.Generator
) -> Ellipse | None:
    if stage < 0.3:
        return None
    grown = ((stage - 0.3) / 0.7) ** 0.6
    size = mother.long * (0.2 + 0.52 * grown) * generator.normal(1, 0.04)
    y, x = mother.at(axis, -0.72 * size)
    return Ellipse(y, x, size, size * generator.uniform(0.86, 1.0), axis)


def _nuclei(
    mother: Ellipse,
    bud: Ellipse | None,
    axis: float,
    stage: float,
    generator: np.random.Generator,
) -> tuple[Ellipse, ...]:
    radius = 0.36 * mother.short * generator.normal(1, 0.05)
    direction = axis + generator.normal(0, 0.5)
    y, x = mother.at(direction, mother.short * generator.uniform(0.5, 0.75))
    if bud is None or stage < 0.6:
        return (Ellipse(y, x, radius, radius * 0.95, direction),)
    if stage < 0.8:  # it waits at the neck
        y, x = mother.at(axis, radius + 1)
        return (Ellipse(y, x, radius * 1.1, radius * 0.9, axis),)
    back = mother.at(axis + np.pi + generator.normal(0, 0.4), mother.short * 0.6)
    front = bud.at(axis + generator.normal(0, 0.4), bud.short * 0.75)
    small = radius * 0.85
    return tuple(Ellipse(y, x, small, small, axis) for y, x in (back, front))


def _vacuoles(
    mother: Ellipse, nucleus: Ellipse, generator: np.random.Generator
) -> tuple[Ellipse, ...]:
    """Away from the nucleus: one large one, or two or three that touch."""
    away = np.arctan2(mother.y - nucleus.y, mother.x - nucleus.x)
    count = generator.choice([1, 2, 3], p=[0.65, 0.25, 0.1])
    radius = mother.short * generator.uniform(0.4, 0.52) / count**0.45
    spread = np.linspace(-0.5, 0.5, count) * (count - 1) * 0.9 if count > 1 else np.zeros(1)
    vacuoles = []
    for turn in spread:
        y, x = mother.at(away + turn + generator.normal(0, 0.1), radius * 1.25 + 1.5)
        vacuoles.append(Ellipse(y, x, radius, radius * generator.uniform(0.9, 1), away))
    return tuple(vacuoles)


def _grid() -> tuple[Image, Image]:
    rows, columns = np.mgrid[:WINDOW, :WINDOW] - (WINDOW - 1) / 2
    return rows, columns
