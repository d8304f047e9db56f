"""`deeploc-tf report`: a page about a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer, note
from deeploc_tf.cli.parameters import CONDITION, FILE, Output, json_option, values_by_column

EPILOG = """\b
Examples:
  deeploc-tf report RUN report.html
  deeploc-tf evaluate RUN RECORDS EVALUATION
  deeploc-tf report RUN report.html --evaluation EVALUATION --records RECORDS
  deeploc-tf report RUN report.html --predictions PREDICTIONS --controls protein=WT
"""

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(cls=Command, epilog=EPILOG)
@click.argument("run", type=_FOLDER)
@click.argument("output", type=Output(dir_okay=False), metavar="OUT.html")
@click.option("--evaluation", type=_FOLDER, help="Folder that `evaluate` wrote for this run.")
@click.option("--records", type=_FOLDER, help="Data set of records whose cells to show.")
@click.option(
    "--benchmark",
    "benchmarks",
    type=_FOLDER,
    multiple=True,
    help="Folder that `benchmark` wrote; can be given several times.",
)
@click.option("--profiles", type=FILE, help="Table of profiles, to draw the map of proteins.")
@click.option("--map", "map_page", type=FILE, help="Page that `map` wrote, to be linked.")
@click.option(
    "--function", type=FILE, help="CSV file of scores per epoch that `FunctionByEpoch` wrote."
)
@click.option(
    "--predictions", "cells", type=_FOLDER, help="Folder that `predict` wrote, for maps of plates."
)
@click.option(
    "--controls",
    **CONDITION,
    help="Controls: wells on which edge and plate effects are tested. Conditions on several "
    "columns must all hold.",
)
@json_option
def report(
    run: Path,
    output: Path,
    as_json: bool,
    controls: tuple[tuple[str, str], ...],
    **given: Any,
) -> None:
    """Write a page about RUN to OUT.html, in one file.

    The page shows settings, versions, the course of training, the confusion matrix and, if given,
    calibration, classes, proteins, cells, function, plates and the map. It names what is missing,
    with the command that adds it. Requires the extra report.
    """
    from deeploc_tf.report.run_page import write_report

    missing = write_report(output, run, controls=values_by_column(controls), **given)
    answer({"path": output, "missing": missing}, [str(output)], as_json=as_json)
    for sentence in missing:
        note(f"Not shown: {sentence}")
