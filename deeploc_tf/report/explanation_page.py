"""A page about what a trained network looks at, drawn from what `explain` found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.explanation.results import Cells, Explanation
from deeploc_tf.report.crops import colored, crop_sheet, limits
from deeploc_tf.report.drawing import check_matplotlib, new_figure, without_axes
from deeploc_tf.report.page import Section, write_page
from tfrecords.publishing import publishing_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE_NAME = "index.html"
_PANEL = 1.35  # inches
_PANELS = 8  # in a row
_BRIGHTEST = 99.5  # percentile of the absolute attributions at full brightness
_LETTERS = 20  # of a title

CAN_AND_CANNOT = "\n\n".join(
    (
        "What this page can show: where in the image the network's answers come from. If it looks "
        "at the edge of the crop, at a neighboring cell or at the wrong channel, that is seen "
        "here, and accuracy alone does not tell it.",
        "What it cannot show: that an answer is right, or where a protein is. A green pixel is one "
        "that raises the logit of the class that was called, for whatever reason; that a network "
        "looks at the nucleus does not mean that the protein is there. Attribution is relative to "
        "its baseline: pixels as dark as the baseline get none, although darkness, such as a hole "
        "where the vacuole is, may be what tells the class. Pixels act together, and their shares "
        "are one way among others to divide what they do. What is true of one cell need not be "
        "of the next.",
        "A class picture is what the network takes for the class most of all. It is no cell, need "
        "not look like one, and another seed gives another one. Neighbors are near in the "
        "network's own space, its mistakes included.",
    )
)


def write_explanation(output: str | Path, found: Explanation) -> Path:
    """Write what `explain` found as a page, or as a folder with the page and the numbers.

    Args:
        output: a page whose name ends in .html, which is replaced if it is there; or a folder to
            make, with the page `index.html`, tables as CSV and `arrays.npz`.
        found: as `explain` returns it.

    Returns:
        The page.

    Raises:
        MissingExtraError: there is no matplotlib.
        OutputExistsError: the folder is there already.

    Example:
        write_explanation("explanation.html", explain("run"))
    """
    output = Path(output)
    check_matplotlib()
    if output.suffix.lower() in (".html", ".htm"):
        _write_page(output, found)
        return output
    with publishing_folder(output) as folder:
        _write_page(folder / PAGE_NAME, found)
        found.write(folder)
    return output / PAGE_NAME


def signed_colors(values: NDArray[Any], limit: float) -> NDArray[np.float64]:
    """Numbers as RGB in [0, 1], `(..., 3)`: above 0 green, below 0 magenta, 0 black.

    Args:
        values: any shape.
        limit: the absolute value at full brightness; with 0, all is black.
    """
    shares = np.clip(np.asarray(values, np.float64) / (limit or 1.0), -1, 1)
    green, magenta = np.maximum(shares, 0), np.maximum(-shares, 0)
    return np.stack([magenta, green, magenta], axis=-1)


def attribution_sheet(cells: Cells, row: int, channels: dict[int, str]) -> Figure:
    """A cell, its attribution by channel, and its nearest training cells, side by side.

    Attributions of all channels of the cell have one scale.

    Args:
        cells: as `explain` found them.
        row: number of the cell.
        channels: numbers and names of the channels to show.
    """
    seen = list(channels)
    attribution = cells.attributions.pixels[row]
    limit = float(np.percentile(np.abs(attribution[..., seen]), _BRIGHTEST))
    panels = [("cell", _one(cells.images[row], seen))]
    panels += [
        (f"by {name}", signed_colors(attribution[..., number], limit))
        for number, name in channels.items()
    ]
    near = cells.nearest["cell"] == cells.table["key"].iloc[row]
    panels += [
        (f"{place}. {label or protein}", _one(cells.nearest_images[number], seen))
        for number, place, label, protein in zip(
            np.flatnonzero(near),
            *(cells.nearest.loc[near, name] for name in ("rank", "label", "protein")),
            strict=True,
        )
    ]
    columns = min(len(panels), _PANELS)
    rows = -(-len(panels) // columns)
    with new_figure(columns * _PANEL, rows * (_PANEL + 0.2)) as figure:
        for number, (title, image) in enumerate(panels, start=1):
            axes = figure.add_subplot(rows, columns, number)
            axes.imshow(image, interpolation="nearest")
            axes.set_title(_short(title), fontsize=7, loc="left")
            without_axes(axes)
        return figure


def _one(image: NDArray[Any], seen: list[int]) -> NDArray[np.float64]:
    """A crop in color, of the channels that are seen."""
    batch = image[np.newaxis][..., seen]
    color: NDArray[np.float64] = colored(batch, limits(batch))[0]
    return color


def _short(title: str) -> str:
    return title if len(title) <= _LETTERS else f"{title[: _LETTERS - 1]}…"


def _write_page(path: Path, found: Explanation) -> None:
    sections = [_what_is_shown(found), *_class_pictures(found)]
    if found.cells is not None:
        sections += _of_cells(found, found.cells)
    if found.notes:
        sections.append(Section("What this page does not show", "\n".join(found.notes)))
    write_page(path, f"What {found.run} looks at", sections, made_from=found.made_from)


def _what_is_shown(found: Explanation) -> Section:
    method = found.normalization
    what = (
        f"after the run's normalization ({method})"
        if method
        else "as they are in the records, since the network has preprocessing of its own"
    )
    views = (
        f"Pixels are those {what}. The network sees the channels {', '.join(_seen(found).values())}"
        ". Each crop is seen once, as it is, not averaged over views as the run's own answers "
        "may be."
    )
    return Section("How to read this page", f"{CAN_AND_CANNOT}\n\n{views}")


def _seen(found: Explanation) -> dict[int, str]:
    return {number: found.channels[number] for number in found.seen}


def _class_pictures(found: Explanation) -> list[Section]:
    kept = (
        f"The other channels are those of the cell {found.kept_cell}, and outside of it stays dark."
        if found.kept_cell and len(found.seen) > 1
        else "All channels began as noise."
    )
    text = (
        "Noise was changed step by step so that the logit of the class rises, with blur, and with "
        "dark pixels where little depends on them, as in Kraus et al. 2017. The normalization is "
        f"passed by, but each step ends with it. {kept} Seed {found.seed}."
    )
    images = found.pictures.pixels[:, np.newaxis]
    sheet = crop_sheet(dict(zip(found.shown, images, strict=True)), by_crop=True)
    return [
        Section(
            "What the network takes for each class",
            text,
            picture=sheet,
            alt="For each class a picture that drives its logit up",
            caption=_colors(found),
        ),
        Section(
            "",
            table=found.classes().rename(
                columns={"logit_of_noise": "logit of the noise", "logit": "logit of the picture"}
            ),
            caption="How far each picture came. Where the probability stays low, another class "
            "has the picture, too.",
        ),
    ]


def _colors(found: Explanation) -> str:
    names = list(_seen(found).values())
    if len(names) == 1:
        return f"{names[0]} in gray."
    rest = f" Not shown: {', '.join(names[2:])}." if names[2:] else ""
    return f"{names[0]} is green, {names[1]} magenta.{rest}"


def _of_cells(found: Explanation, cells: Cells) -> list[Section]:
    text = (
        "Left, the cell. Then, for each channel, what its pixels add to the logit of the class "
        "that was called (green) or take from it (magenta), by integrated gradients from a crop of "
        "zeros, on one scale per cell. Right, the training cells with the most similar vectors in "
        f"the penultimate layer. {_colors(found)}"
    )
    table = found.to_frame()
    sections = [Section("Cells", text)]
    for number, row in enumerate(table.to_dict("records")):
        sheet = attribution_sheet(cells, number, _seen(found))
        sections.append(
            Section(
                "",
                picture=sheet,
                alt=f"Cell {row['key']}, its attribution and its nearest training cells",
                caption=_caption(row),
            )
        )
    shown = table.drop(columns="num_steps").rename(
        columns={
            "baseline_logit": "logit of the baseline",
            "attribution": "sum of attributions",
            "relative_gap": "gap, relative",
        }
    )
    caption = (
        "The sum of all attributions is the logit minus that of the baseline, a crop of zeros; the "
        "gap is what the numeric integration left over. Where it is not small against that "
        "difference, do not trust the map."
    )
    sections.append(Section("Cells in numbers", table=shown, caption=caption))
    if len(cells.nearest):
        sections.append(
            Section(
                "Nearest training cells",
                table=cells.nearest,
                caption="Cosine similarity of vectors in the penultimate layer.",
            )
        )
    return sections


def _caption(row: dict[Any, Any]) -> str:
    is_called = f"called {row['call']} with probability {row['probability']:.2f}"
    label = f"label {row['label']}, " if row["label"] else ""
    protein = f"{row['protein']}, " if row["protein"] else ""
    return (
        f"{row['key']}: {protein}{label}{is_called}. Attributions sum to {row['attribution']:.2f}, "
        f"with a gap of {row['gap']:.2g}."
    )
