"""`deeploc-tf report`: a page about a run."""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """\b
Examples:
  deeploc-tf report RUN report.html
  deeploc-tf evaluate RUN RECORDS EVALUATION
  deeploc-tf report RUN report.html --evaluation EVALUATION --records RECORDS
"""

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(epilog=EPILOG)
@click.argument("run", type=_FOLDER)
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path), metavar="OUT.html")
@click.option("--evaluation", type=_FOLDER, help="Folder that `evaluate` wrote for this run.")
@click.option("--records", type=_FOLDER, help="Data set that was evaluated, to show its cells.")
@click.option(
    "--benchmark",
    "benchmarks",
    type=_FOLDER,
    multiple=True,
    help="Folder that `benchmark` wrote; can be given several times.",
)
@click.option("--profiles", type=_FILE, help="Table of profiles, to draw the map of proteins.")
@click.option("--function", type=_FILE, help="CSV file of scores by epoch of `FunctionByEpoch`.")
def report(
    run: Path,
    output: Path,
    evaluation: Path | None,
    records: Path | None,
    benchmarks: tuple[Path, ...],
    profiles: Path | None,
    function: Path | None,
) -> None:
    """Write a page about RUN to OUT.html, in one file.

    It says what was run, on what and with which versions, and shows the training, the confusion
    matrix and, where they are given, calibration, classes, proteins, cells, function and the map.
    What is missing is named, with the command that would add it.
    """
    from deeploc_tf.report.run_page import write_report

    missing = write_report(
        output,
        run,
        evaluation=evaluation,
        records=records,
        benchmarks=benchmarks,
        profiles=profiles,
        function=function,
    )
    click.echo(str(output))
    for sentence in missing:
        click.echo(f"Not shown: {sentence}", err=True)
