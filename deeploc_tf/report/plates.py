"""Plates as heat maps, a picture per measure with all plates on one scale, and their calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from deeploc_tf.report.drawing import COLORS, SHAPES, new_figure
from deeploc_tf.report.page import Section
from deeploc_tf.report.wells import CALLED, CELLS, REFUSED, Wells, place_effects

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_PLATES = 24  # on a picture
_SIDE_BY_SIDE = 3
_COLUMN_WIDTH = 2.6  # inches


def plate_sections(wells: Wells, missing: list[str], *, has_controls: bool) -> list[Section]:
    """Heat maps of each measure and of calls, and the tests on control wells.

    Args:
        wells: what is known of them.
        missing: gets sentences about what is not shown.
        has_controls: whether somebody said which wells are controls.
    """
    table = wells.table
    plates = sorted(set(table["plate"]))
    text = (
        f"{len(table):,} wells on {len(plates):,} plate{'s' if len(plates) != 1 else ''}. Medians "
        "over the cells of a well; a refused cell is one that something is odd about. All plates "
        "of a picture have one scale."
    )
    if len(plates) > _MOST_PLATES:
        text += f" The first {_MOST_PLATES} plates are shown."
    sections = [Section("Plates", "\n\n".join([text, *wells.notes]))]
    for measure in wells.measures:
        values = table[measure].to_numpy(np.float64)
        if np.isfinite(values).any():
            figure = plate_map(wells, measure)
            alt = f"{measure} by well, from {np.nanmin(values):.4g} to {np.nanmax(values):.4g}"
            sections.append(Section("", picture=figure, alt=alt))
    if (table[CALLED] != "").any():
        alt = "The commonest call of each well"
        sections.append(Section("", picture=plate_calls(wells), alt=alt))
    for measure, command in (
        (
            REFUSED,
            "run `deeploc-tf predict RUN FIELDS PREDICTIONS`, and add --predictions PREDICTIONS",
        ),
        ("focus", "run `deeploc-tf build-records` on the fields, and add --records RECORDS"),
    ):
        if measure not in wells.measures:
            what = "Refused cells" if measure == REFUSED else "Intensity and focus"
            missing.append(f"{what} by well: {command}.")
    if not (table[CALLED] != "").any():
        missing.append("Calls by well: add --evaluation EVALUATION, or --predictions PREDICTIONS.")
    if not has_controls:
        missing.append(
            "Effects of edges and plates: say which wells are controls, --controls COLUMN=VALUE."
        )
        return sections
    effects = place_effects(wells)
    if effects.empty:
        missing.append(
            "Effects of edges and plates: control wells must lie on an edge and inside of a plate, "
            f"or on several plates; {table['is_control'].sum()} of {len(table)} wells are controls."
        )
        return sections
    sections.append(
        Section(
            "Edges and plates",
            f"{table['is_control'].sum():,} control wells. A well is one observation. Edge: the "
            "outermost rows and columns against the inner wells of the same plate, edge less "
            "inner; plate: all plates, the largest median less the smallest.",
            table=effects,
            caption="Ranks, permuted 9,999 times; p after Holm is for all rows of the table.",
        )
    )
    return sections


def plate_map(wells: Wells, measure: str) -> Figure:
    """A heat map of each plate, by Cividis; wells without a cell are white.

    Args:
        wells: what is known of them.
        measure: one of its measures.
    """
    values = wells.table[measure]
    low, high = (0.0 if measure == CELLS else float(values.min())), float(values.max())
    high = high if high > low else low + 1  # equal wells have one color on all plates
    plates = _shown_plates(wells)
    with new_figure(*_size(len(plates), wells.shape)) as figure:
        panels = _panels(figure, plates, wells.shape)
        for axes, plate in zip(panels, plates, strict=True):
            grid = np.full(wells.shape, np.nan)
            rows = wells.table[wells.table["plate"] == plate]
            grid[rows["row"], rows["column"]] = rows[measure]
            image = axes.imshow(grid, cmap="cividis", vmin=low, vmax=high)
        figure.colorbar(image, ax=panels, label=measure, shrink=0.8, pad=0.02)
        return figure


def plate_calls(wells: Wells) -> Figure:
    """The commonest call of each well, as a pair of color and shape."""
    kinds = sorted(set(wells.table[CALLED]) - {""}, key=str.casefold)
    plates = _shown_plates(wells)
    width, height = _size(len(plates), wells.shape)
    with new_figure(width, height + 0.25 * math.ceil(len(kinds) / 4)) as figure:
        panels = _panels(figure, plates, wells.shape)
        drawn = {}
        for axes, plate in zip(panels, plates, strict=True):
            on_plate = wells.table[wells.table["plate"] == plate]
            for number, kind in enumerate(kinds):
                rows = on_plate[on_plate[CALLED] == kind]
                if len(rows):
                    drawn[kind] = axes.scatter(
                        rows["column"],
                        rows["row"],
                        s=600 / wells.shape[1],
                        color=COLORS[number % len(COLORS)],
                        marker=SHAPES[number % len(SHAPES)],
                    )
        known = [kind for kind in kinds if kind in drawn]
        handles = [drawn[kind] for kind in known]
        figure.legend(handles, known, loc="outside lower center", ncols=4)
        return figure


def _shown_plates(wells: Wells) -> list[str]:
    return sorted(set(wells.table["plate"]))[:_MOST_PLATES]


def _size(count: int, shape: tuple[int, int]) -> tuple[float, float]:
    columns = min(count, _SIDE_BY_SIDE)
    width = _COLUMN_WIDTH if columns > 1 else 2 * _COLUMN_WIDTH
    return width * columns + 0.9, (width * shape[0] / shape[1] + 0.5) * math.ceil(count / columns)


def _panels(figure: Figure, plates: Sequence[str], shape: tuple[int, int]) -> list[Axes]:
    """Axes a plate, with letters of rows and numbers of columns."""
    columns = min(len(plates), _SIDE_BY_SIDE)
    rows, panels = math.ceil(len(plates) / columns), []
    step = max(1, shape[0] // 8)
    for place, plate in enumerate(plates, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.set_title(plate or "plate", loc="left", fontsize=9)
        axes.grid(visible=False)
        axes.set_xlim(-0.5, shape[1] - 0.5)
        axes.set_ylim(shape[0] - 0.5, -0.5)
        axes.set_aspect("equal")
        numbers = [str(number) for number in range(1, shape[1] + 1, step)]
        axes.set_xticks(range(0, shape[1], step), numbers, fontsize=7)
        letters = [f"{'A' * (row > 25)}{chr(ord('A') + row % 26)}" for row in range(shape[0])]
        axes.set_yticks(range(0, shape[0], step), letters[::step], fontsize=7)
        axes.set_xticks(np.arange(0.5, shape[1]), minor=True)
        axes.set_yticks(np.arange(0.5, shape[0]), minor=True)
        axes.grid(which="minor", color="white", linewidth=8 / shape[1])
        axes.set_axisbelow(False)
        axes.tick_params(which="both", length=0)
        panels.append(axes)
    return panels
