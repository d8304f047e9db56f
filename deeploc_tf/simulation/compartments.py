"""The 17 localizations of the study, each as the light that a tagged protein there would give.

Every drawing takes a cell and a generator and returns a density `(WINDOW, WINDOW)`, before the
microscope has blurred it. They are caricatures: what a person looks for in each class is there,
at the size and number at which it stands in budding yeast, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from scipy.ndimage import gaussian_filter

from deeploc_tf.simulation.cell import (
    WINDOW,
    Cell,
    Ellipse,
    Image,
    depth,
    highest,
    thickness,
)

Generator: TypeAlias = np.random.Generator
Point: TypeAlias = tuple[float, float]
Drawing: TypeAlias = Callable[[Cell, Generator], Image]

_CENTER = (WINDOW - 1) / 2


def _actin(cell: Cell, generator: Generator) -> Image:
    """Patches below the surface, crowded in the growing bud."""
    points = [
        _cortical(cell, part, generator, 1.5)
        for part in cell.parts
        for _ in range(generator.integers(9, 14) if part is cell.bud else 5)
    ]
    if cell.bud is None:
        ahead = cell.axis + generator.normal(0, 0.35, 7)
        points += [cell.mother.at(direction, 1.5) for direction in ahead]
    return _spots(points, generator.lognormal(0, 0.35, len(points)), 0.9)


def _bud_neck(cell: Cell, generator: Generator) -> Image:
    """A band across the neck; before the bud, a patch where it will come."""
    y, x = cell.neck
    half = 3.6 if cell.bud is None else min(4.2, 0.8 * cell.bud.short + 1)
    across = cell.axis + np.pi / 2
    steps = np.linspace(-half, half, 9)
    points = [(y + s * np.sin(across), x + s * np.cos(across)) for s in steps]
    return _spots(points, 0.7 + np.abs(steps) / half, 0.7 + 0.1 * generator.random())


def _cell_periphery(cell: Cell, generator: Generator) -> Image:  # noqa: ARG001
    """The outline of mother and bud."""
    return _shell(cell.depth, 0.6, 0.7)


def _cytoplasm(cell: Cell, generator: Generator) -> Image:  # noqa: ARG001
    """All of the cell but vacuole and nucleus."""
    rest: Image = np.clip(cell.cytosol - 0.45 * _filled(cell.nuclei), 0, None)
    return rest


def _endosome(cell: Cell, generator: Generator) -> Image:
    """A few large unequal dots beside the vacuole."""
    vacuole = cell.vacuoles[0]
    directions = generator.uniform(0, 2 * np.pi, generator.integers(2, 5))
    points = [vacuole.at(direction, -1.8) for direction in directions]
    points = [_inside(cell, point, 2.5) for point in points]
    return _spots(points, generator.lognormal(0, 0.5, len(points)), 1.7)


def _er(cell: Cell, generator: Generator) -> Image:
    """Rim of the nucleus, a broken line below the surface, and strands between them."""
    gaps = gaussian_filter(generator.normal(size=(WINDOW, WINDOW)), 3.0)
    cortical = _shell(cell.depth, 1.6, 0.7) * (gaps > -0.02)
    nucleus = cell.nuclei[0]
    strands = np.zeros((WINDOW, WINDOW))
    for direction in generator.uniform(0, 2 * np.pi, 3):
        points = _line(nucleus.at(direction, 0), cell.mother.at(direction, 1.6))
        strands += _spots(points, np.ones(len(points)), 0.6)
    rim = _shell(depth(cell.nuclei), 0.0, 0.7)
    network: Image = 1.25 * rim + 0.75 * cortical + 0.5 * strands
    return network


def _golgi(cell: Cell, generator: Generator) -> Image:
    """Many small dots all over the cytoplasm."""
    points = _scattered(cell, generator, int(generator.integers(11, 17)), 3.0)
    return _spots(points, generator.lognormal(0, 0.3, len(points)), 0.75)


def _lipid_particle(cell: Cell, generator: Generator) -> Image:
    """Round droplets in one heap, next to the nucleus."""
    nucleus = cell.nuclei[0]
    heap = generator.uniform(0, 2 * np.pi)
    count = int(generator.integers(4, 7))
    directions = heap + np.linspace(-0.9, 0.9, count) + generator.normal(0, 0.1, count)
    distances = -generator.uniform(1.8, 5.0, count)
    points = [nucleus.at(a, d) for a, d in zip(directions, distances, strict=True)]
    points = [_inside(cell, point, 2.0) for point in points]
    return _spots(points, generator.lognormal(0, 0.2, count), 1.25)


def _microtubule(cell: Cell, generator: Generator) -> Image:
    """Lines from the spindle pole, into the bud where there is one; a spindle in division."""
    poles = _poles(cell)
    lines = [_line(poles[0], poles[-1])] if len(poles) > 1 else []
    for pole, away in zip(poles, (cell.axis + np.pi, cell.axis), strict=False):
        for turn in generator.normal(0, 0.7, 2):
            reach = generator.uniform(7, 12)
            end = (pole[0] + reach * np.sin(away + turn), pole[1] + reach * np.cos(away + turn))
            lines.append(_line(pole, _inside(cell, end, 1.5)))
    if len(poles) == 1:
        lines.append(_line(poles[0], cell.neck))
    points = [point for line in lines for point in line]
    return _spots(points, np.ones(len(points)), 0.55)


def _mitochondrion(cell: Cell, generator: Generator) -> Image:
    """Winding tubes below the surface."""
    points: list[Point] = []
    for part in cell.parts:
        for _ in range(3 if part is cell.mother else 1):
            direction = generator.uniform(0, 2 * np.pi)
            way = generator.choice([-1, 1])
            below = generator.uniform(2.0, 5.0)
            for _ in range(int(generator.integers(14, 30) * part.long / 14)):
                direction += way * 0.9 / part.long
                below = float(np.clip(below + generator.normal(0, 0.45), 1.8, 0.55 * part.short))
                points.append(part.at(direction, below))
    return _spots(points, np.ones(len(points)), 0.8)


def _nuclear_periphery(cell: Cell, generator: Generator) -> Image:
    """A dotted line around the nucleus."""
    points = [
        nucleus.at(direction + generator.normal(0, 0.15), 0.2)
        for nucleus in cell.nuclei
        for direction in np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ]
    dots = _spots(points, generator.lognormal(0, 0.4, len(points)), 0.8)
    return 0.35 * _shell(depth(cell.nuclei), 0.2, 0.6) + dots


def _nucleolus(cell: Cell, generator: Generator) -> Image:  # noqa: ARG001
    """A crescent on that side of the nucleus which is away from the bud."""
    crescent = np.zeros((WINDOW, WINDOW))
    for nucleus in cell.nuclei:
        y, x = nucleus.at(cell.axis, 0.45 * nucleus.short)
        cut = Ellipse(y, x, nucleus.long, nucleus.short, nucleus.angle)
        crescent += np.where(cut.depth < 0, thickness(nucleus) + 0.3 * (nucleus.depth > 0), 0)
    return crescent


def _nucleus(cell: Cell, generator: Generator) -> Image:  # noqa: ARG001
    """The nucleus, evenly."""
    return _filled(cell.nuclei)


def _peroxisome(cell: Cell, generator: Generator) -> Image:
    """Two to five equal dots near the surface."""
    count = int(generator.integers(2, 6))
    parts = [cell.mother] * count
    points = [_cortical(cell, part, generator, 3.2) for part in parts]
    if cell.bud is not None and cell.bud.short > 5:
        points.append(_cortical(cell, cell.bud, generator, 3.0))
    return _spots(points, generator.lognormal(0, 0.12, len(points)), 1.1)


def _spindle_pole(cell: Cell, generator: Generator) -> Image:  # noqa: ARG001
    """One dot at the nucleus, or one at either end of the spindle."""
    points = _poles(cell)
    return _spots(points, np.ones(len(points)), 0.7)


def _vacuolar_membrane(cell: Cell, generator: Generator) -> Image:  # noqa: ARG001
    """The outline of each vacuole."""
    return highest([_shell(part.depth, 0.0, 0.7) for part in cell.vacuoles])


def _vacuole(cell: Cell, generator: Generator) -> Image:  # noqa: ARG001
    """The vacuoles, evenly."""
    return _filled(cell.vacuoles)


DRAWINGS: Mapping[str, Drawing] = {
    "actin": _actin,
    "bud neck": _bud_neck,
    "cell periphery": _cell_periphery,
    "cytoplasm": _cytoplasm,
    "endosome": _endosome,
    "ER": _er,
    "Golgi": _golgi,
    "lipid particle": _lipid_particle,
    "microtubule": _microtubule,
    "mitochondrion": _mitochondrion,
    "nuclear periphery": _nuclear_periphery,
    "nucleolus": _nucleolus,
    "nucleus": _nucleus,
    "peroxisome": _peroxisome,
    "spindle pole": _spindle_pole,
    "vacuolar membrane": _vacuolar_membrane,
    "vacuole": _vacuole,
}
"""Localization -> its drawing. Razdaibiedina & Brechalov 2022, without the two mixed classes."""

COMPARTMENTS = tuple(DRAWINGS)


def _shell(below: Image, at: float, width: float) -> Image:
    """A line at depth `at` below an outline; a band of 1.5 pixels where `width` is 0.7."""
    line: Image = np.exp(-0.5 * ((below - at) / width) ** 2)
    return line


def _filled(parts: Sequence[Ellipse]) -> Image:
    return highest([0.35 * (p.depth > 0) + 0.65 * thickness(p) for p in parts])


def _spots(points: Sequence[Point], weights: Sequence[float] | Image, width: float) -> Image:
    """Round spots at `(y, x)` from the center of the window."""
    places = np.asarray(points, float).reshape(-1, 2) + _CENTER
    grid = np.arange(WINDOW)
    rows = np.exp(-0.5 * ((grid - places[:, :1]) / width) ** 2)
    columns = np.exp(-0.5 * ((grid - places[:, 1:]) / width) ** 2)
    spots: Image = (rows * np.asarray(weights)[:, None]).T @ columns
    return spots


def _line(start: Point, stop: Point) -> list[Point]:
    """Points two thirds of a pixel apart, so that every line has the same brightness."""
    count = max(2, round(1.5 * np.hypot(stop[0] - start[0], stop[1] - start[1])))
    return [(float(y), float(x)) for y, x in np.linspace(start, stop, count)]


def _poles(cell: Cell) -> list[Point]:
    """On the nucleus, towards the bud; two of them, at either side, once the bud has grown."""
    first, last = cell.nuclei[0], cell.nuclei[-1]
    if len(cell.nuclei) > 1:
        return [first.at(cell.axis + np.pi, 0.5), last.at(cell.axis, 0.5)]
    if cell.stage > 0.55:
        return [first.at(cell.axis + np.pi, 0.2), first.at(cell.axis, 0.2)]
    return [first.at(cell.axis, 0.2)]


def _cortical(cell: Cell, part: Ellipse, generator: Generator, below: float) -> Point:
    """A point below the surface of a part, not where mother and bud run into each other."""
    other = [p for p in cell.parts if p is not part]
    for _ in range(20):
        point = part.at(generator.uniform(0, 2 * np.pi), below + generator.normal(0, 0.3))
        if all(_depth_at(p, point) < 0 for p in other):
            break
    return point


def _scattered(cell: Cell, generator: Generator, count: int, apart: float) -> list[Point]:
    """Points in the cytosol, each some pixels from the others as far as there is room."""
    weight = ((cell.cytosol > 0.25) & (cell.depth > 2)).ravel().astype(float)
    candidates = generator.choice(weight.size, size=count * 6, p=weight / weight.sum())
    points: list[Point] = []
    for candidate in candidates:
        y, x = divmod(int(candidate), WINDOW)
        point = (y - _CENTER, x - _CENTER)
        if all(np.hypot(point[0] - p[0], point[1] - p[1]) > apart for p in points):
            points.append(point)
        if len(points) == count:
            break
    return points


def _inside(cell: Cell, point: Point, below: float) -> Point:
    """The point itself, or the nearest towards the middle of the mother that is in the cell."""
    y, x = point
    for _ in range(40):
        if max(_depth_at(part, (y, x)) for part in cell.parts) >= below:
            break
        y += 0.06 * (cell.mother.y - y)
        x += 0.06 * (cell.mother.x - x)
    return y, x


def _depth_at(part: Ellipse, point: Point) -> float:
    row, column = (int(np.clip(round(v + _CENTER), 0, WINDOW - 1)) for v in point)
    return float(part.depth[row, column])
