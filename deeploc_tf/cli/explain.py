"""`deeploc-tf explain`: a page about what a trained network looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deeploc_tf.cli.group import tell
from deeploc_tf.cli.parameters import Output, device_option, other_pixel_size_option, quiet_option
from deeploc_tf.cli.tensorflow_start import start_tensorflow

EPILOG = """\b
Examples:
  deeploc-tf explain RUN explained.html
  deeploc-tf explain RUN explained.html --records RECORDS
  deeploc-tf explain RUN EXPLAINED --records RECORDS --cell ACT1/4_17 --cell PEX3/4_2
"""


@click.command(epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("output", type=Output(), metavar="OUT.html|FOLDER")
@click.option(
    "--records",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Data set whose cells to show.",
)
@click.option(
    "--cell",
    "cells",
    multiple=True,
    metavar="KEY",
    help="Key of a cell to explain, of any split; can be given several times.  [default: the most "
    "and the least certain cell of each class of the split]",
)
@click.option("--split", default="test", show_default=True, help="Split to choose cells from.")
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="NAME",
    help="Class to show; can be given several times.  [default: all, at most the first 40]",
)
@click.option(
    "-k",
    "--number",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="Number of nearest training cells per cell.",
)
@click.option(
    "--max-cells",
    type=click.IntRange(min=1),
    default=20_000,
    show_default=True,
    help="Look through so many cells of a split, a random sample.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of the noise that class pictures begin as.",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=256, show_default=True)
@device_option
@other_pixel_size_option
@quiet_option
def explain(
    run: Path,
    output: Path,
    records: Path | None,
    cells: tuple[str, ...],
    split: str,
    classes: tuple[str, ...],
    number: int,
    max_cells: int,
    seed: int,
    batch_size: int,
    device: str,
    other_pixel_size: Any,
    quiet: bool,
) -> None:
    """Write a page about what the model in RUN looks at.

    For each class, a picture that drives its logit up. With --records, for some cells, which pixels
    the answer comes from (integrated gradients), and the nearest training cells. The page is one
    file; a FOLDER gets the tables and arrays as well. docs/explain.md says what attribution can and
    cannot show.
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
        num_neighbors=number,
        max_cells=max_cells,
        seed=seed,
        batch_size=batch_size,
        device=device,
        other_pixel_size=other_pixel_size,
        progress=not quiet,
    )
    click.echo(str(write_explanation(output, found)))
    for note in found.notes:
        tell(f"Not shown: {note}")
    if found.cells is not None:
        gaps = found.cell_table()["relative_gap"]
        click.echo(
            f"{len(gaps)} cells; attributions add up to the difference of the logits but for at "
            f"most {gaps.max():.2%}"
        )
