"""`deeploc-tf standards`: what files of gold standards hold, and the same as GMT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer
from deeploc_tf.cli.parameters import FILE, Output, json_option, number_option, overwrite_option
from deeploc_tf.cli.standard_files import reading_keywords, reading_options, told

EPILOG = """\b
Examples:
  deeploc-tf standards go_slim_mapping.tab.gz cyc2008.txt
  deeploc-tf standards go_slim_mapping.tab.gz --aspect C --gmt go_cc.gmt
  deeploc-tf standards sgd.gaf.gz --ontology go-basic.obo --aspect P \\
      --exclude-evidence IEA --slim goslim_yeast --gmt go_bp.gmt
  deeploc-tf standards complexes.tsv --identifiers SGD_features.tab.gz \\
      --identifiers swissprot.tsv --gmt complexes.gmt
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option(
    "--gmt",
    "output",
    type=Output(dir_okay=False, suffix=".gmt"),
    help="Write the standard as GMT to this new file, or to standard output (-); for one file and "
    "aspect only.",
)
@reading_options
@number_option(
    *("--min-members", "min_size"),
    least=1,
    default=1,
    help="Leave out terms with fewer members than this.",
)
@number_option(
    *("--max-members", "max_size"), least=1, help="Leave out terms with more members than this."
)
@overwrite_option
@json_option
def standards(
    files: tuple[Path, ...],
    output: Path | None,
    min_size: int,
    max_size: int | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Show what FILES of gold standards contain and what was left out, or convert one to GMT.

    Formats: GMT, two columns, lines of members (CYC2008), JSON modules, SGD's go_slim_mapping.tab,
    GAF, KEGG links and tables, ComplexTAB, compartments of Huh et al.; any of them may be .gz.
    """
    from deeploc_tf.benchmark.read_standards import standards as read

    if output is not None and (len(files) > 1 or len(reading["aspects"]) > 1):
        msg = "--gmt takes one file, and one aspect, at a time: terms would be mixed."
        raise click.UsageError(msg)
    keywords = reading_keywords(reading)
    found = read(files, output, min_size=min_size, max_size=max_size, **keywords)
    summaries = found.to_json()
    answer({"standards": summaries}, _lines(summaries), as_json=as_json)


def _lines(summaries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A table with a row a standard, then what was left out of each."""
    rows = [
        [
            summary["name"],
            summary["format"],
            summary["aspect"] or "",
            *(str(summary[count]) for count in ("terms", "proteins", "memberships")),
            *(f"{summary['size'][what]:g}" for what in ("min", "median", "max")),
        ]
        for summary in summaries
    ]
    head = ["standard", "format", "aspect", "terms", "proteins", "members", "min", "median", "max"]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in [head, *rows]:
        cells = zip(row, widths, strict=True)
        yield "  ".join(f"{c:<{w}}" if i < 3 else f"{c:>{w}}" for i, (c, w) in enumerate(cells))
    for summary in summaries:
        lines = list(told(summary["report"]))
        if lines:
            aspect = f" {summary['aspect']}" if summary["aspect"] else ""
            yield f"\n{summary['name']}{aspect}"
            yield from (f"  {line}" for line in lines)
