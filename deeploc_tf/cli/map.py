"""`deeploc-tf map`: proteins in the plane, with cells, neighbors and terms, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer, note, quiet_option
from deeploc_tf.cli.parameters import (
    FILE,
    POSITIVE,
    LazyChoice,
    Output,
    allow_unmatched_option,
    center_option,
    distinct_case_option,
    json_option,
    neighbors_option,
    number_option,
)
from deeploc_tf.cli.standard_files import READING, reading_keywords, reading_options

EPILOG = """\b
Examples:
  deeploc-tf map cells.profiles.parquet map.html
  deeploc-tf map cells.profiles.parquet map.html --records RECORDS --standard complexes.gmt
  deeploc-tf map profiles.tsv map.html --standard go_slim_mapping.tab.gz --aspect C \\
      --identifiers SGD_features.tab --projection tsne --center
"""


COMMON = (
    *("--records", "--standard", "--aspect", "--identifiers", "--neighbors", "--center"),
    *("--projection", "--crops-per-protein", "--max-megabytes", "--title"),
)


@click.command(cls=Command, common=COMMON, epilog=EPILOG)
@click.argument("profiles", type=FILE)
@click.argument("output", type=Output(dir_okay=False), metavar="OUT.html")
@click.option(
    "--records",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Data set of records whose cells to show.",
)
@click.option(
    "--standard",
    "standards",
    multiple=True,
    type=FILE,
    help="Gold standard, whose terms to show; can be given several times.",
)
@reading_options
@distinct_case_option
@allow_unmatched_option("proteins that a standard lacks", None)
@neighbors_option()
@center_option
@click.option(
    "--projection",
    type=LazyChoice("deeploc_tf.report.choices:Projection"),
    help="Method that places proteins in the plane.  [default: umap if the extra `map` is "
    "installed, else tsne]",
)
@number_option("--crops-per-protein", default=4, help="Number of cells to show per protein.")
@click.option(
    "--max-megabytes",
    type=POSITIVE,
    default=25,
    show_default=True,
    help="Maximum size of the page; if not all cells fit, fewer are shown.",
)
@click.option("--title", default="Map of proteins", show_default=True, help="Title of the page.")
@quiet_option
@json_option
def map(
    profiles: Path,
    output: Path,
    standards: tuple[Path, ...],
    as_json: bool,
    max_megabytes: float,
    quiet: bool,
    **options: Any,
) -> None:
    """Draw the proteins of PROFILES as an interactive page, OUT.html.

    The page is one file that opens by a double click and loads nothing from a network. It colors
    proteins by any column or standard, finds them by name, alias or term, and shows cells, nearest
    neighbors and shared terms; OUT.html#NAME opens it at a protein.
    """
    from deeploc_tf.benchmark.read_standards import read_standards, told_apart
    from deeploc_tf.report.map_page import write_map

    keywords = reading_keywords({name: options.pop(name) for name in READING})
    read = read_standards(standards, **keywords) if standards else []
    written = write_map(
        output,
        profiles,
        standards=[standard for file in read for standard in told_apart(file)],
        identifiers=keywords["identifiers"],
        max_bytes=int(max_megabytes * 10**6),
        progress=not quiet,
        **options,
    )
    line = (
        f"{written.path}: {written.num_proteins} proteins, {written.num_crops} cells, "
        f"{written.num_bytes / 10**6:.1f} MB"
    )
    answer(written, [line], as_json=as_json)
    for sentence in written.notes:
        note(sentence)
