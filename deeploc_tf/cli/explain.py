"""`deeploc-tf explain`: a page about what a trained network looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer, note, quiet_option
from deeploc_tf.cli.parameters import (
    Output,
    batch_size_option,
    device_option,
    json_option,
    neighbors_option,
    other_pixel_size_option,
    overwrite_option,
    seed_option,
)
from deeploc_tf.cli.tensorflow_start import start_tensorflow

EPILOG = """\b
Examples:
  deeploc-tf explain RUN explained.html
  deeploc-tf explain RUN explained.html --records RECORDS
  deeploc-tf explain RUN EXPLAINED --records RECORDS --cell ACT1/4_17 --cell PEX3/4_2
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("output", type=Output(), metavar="OUT.html|FOLDER")
@click.option(
    "--records",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Data set of records whose cells to show.",
)
@click.option(
    "--cell",
    "cells",
    multiple=True,
    metavar="KEY",
    help="Key of a cell to explain, of any split; can be given several times.  [default: the most "
    "and the least certain cell of each class of the split]",
)
@click.option("--split", default="test", show_default=True, help="Split to use.")
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="NAME",
    help="Class to show; can be given several times.  [default: all, at most the first 40]",
)
@neighbors_option(default=5)
@click.option(
    "--max-cells",
    type=click.IntRange(min=1),
    default=20_000,
    show_default=True,
    help="Maximum number of cells per split to search, drawn at random.",
)
@seed_option
@batch_size_option
@device_option
@other_pixel_size_option
@quiet_option
@overwrite_option
@json_option
def explain(
    run: Path,
    output: Path,
    records: Path | None,
    cells: tuple[str, ...],
    as_json: bool,
    split: str,
    classes: tuple[str, ...],
    num_neighbors: int,
    max_cells: int,
    seed: int,
    batch_size: int,
    device: str,
    other_pixel_size: Any,
    quiet: bool,
) -> None:
    """Write a page about what the model in RUN looks at.

    It shows, for each class, an image that maximizes its logit; with --records also, for some
    cells, the pixels that the prediction depends on (integrated gradients) and the nearest training
    cells. The page is one file; a FOLDER gets tables and arrays as well. The page
    "What a network looks at" of the documentation says what attribution can and cannot show.
    """
    from deeploc_tf.report.drawing import check_matplotlib
    from tfrecords.publishing import check_absent

    if cells and records is None:
        msg = "--cell needs --records, the data set that holds the cells."
        raise click.UsageError(msg)
    check_matplotlib()  # before TensorFlow takes its seconds
    if output.suffix.lower() not in (".html", ".htm"):
        check_absent(output)

    start_tensorflow()
    from deeploc_tf.explanation.explain import explain as explain_run
    from deeploc_tf.report.explanation_page import write_explanation

    found = explain_run(
        run,
        records,
        cells=cells,
        split=split,
        classes=classes,
        num_neighbors=num_neighbors,
        max_cells=max_cells,
        seed=seed,
        batch_size=batch_size,
        device=device,
        other_pixel_size=other_pixel_size,
        progress=not quiet,
    )
    page = write_explanation(output, found)
    for sentence in found.notes:
        note(f"Not shown: {sentence}")
    values = {"path": page, "num_cells": 0, "largest_relative_gap": None, "notes": found.notes}
    lines = [str(page)]
    if found.cells is not None:
        gaps = found.to_frame()["relative_gap"]
        values |= {"num_cells": len(gaps), "largest_relative_gap": float(gaps.max())}
        lines.append(
            f"{len(gaps)} cells; attributions add up to the difference of the logits but for at "
            f"most {gaps.max():.2%}"
        )
    answer(values, lines, as_json=as_json)
