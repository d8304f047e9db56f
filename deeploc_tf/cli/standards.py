"""`deeploc-tf standards`: what files of gold standards hold, and the same as GMT."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeploc_tf.cli.parameters import FILE, Output, json_option, number_option
from deeploc_tf.cli.standard_files import reading_keywords, reading_options, told

if TYPE_CHECKING:
    from deeploc_tf.benchmark.standards import Standard

EPILOG = """\b
Examples:
  deeploc-tf standards go_slim_mapping.tab.gz cyc2008.txt
  deeploc-tf standards go_slim_mapping.tab.gz --aspect C --gmt go_cc.gmt
  deeploc-tf standards sgd.gaf.gz --ontology go-basic.obo --aspect P \\
      --exclude-evidence IEA --slim goslim_yeast --gmt go_bp.gmt
  deeploc-tf standards complexes.tsv --identifiers SGD_features.tab.gz \\
      --identifiers swissprot.tsv --gmt complexes.gmt
"""


@click.command(epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option(
    "--gmt",
    "output",
    type=Output(dir_okay=False),
    help="Write the standard as GMT to this new file; for one file and aspect only.",
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
    from deeploc_tf.benchmark.formats.gmt import gmt_bytes
    from deeploc_tf.benchmark.read_standards import read_standards
    from deeploc_tf.benchmark.standards import sized
    from tfrecords.publishing import check_absent, publish_bytes

    if output is not None:
        if len(files) > 1 or len(reading["aspects"]) > 1:
            msg = "--gmt takes one file, and one aspect, at a time: terms would be mixed."
            raise click.UsageError(msg)
        check_absent(output)
    groups = read_standards(files, every_aspect=output is None, **reading_keywords(reading))
    found = [sized(standard, min_size, max_size) for group in groups for standard in group]
    if output is not None:
        publish_bytes(output, gmt_bytes(found[0].terms, found[0].descriptions))
    summaries = [_summary(standard) for standard in found]
    text = json.dumps({"standards": summaries}, indent=1, ensure_ascii=False) if as_json else ""
    click.echo(text or "\n".join(_lines(summaries)))


def _summary(standard: Standard) -> dict[str, Any]:
    """Counts of a standard, JSON-ready."""
    sizes = [len(members) for members in standard.terms.values()]
    return {
        "name": standard.name,
        "format": standard.report["format"],
        "aspect": standard.report["options"].get("aspect"),
        "terms": len(sizes),
        "proteins": len(frozenset().union(*standard.terms.values())),
        "memberships": sum(sizes),
        "size": {"min": min(sizes), "median": statistics.median(sizes), "max": max(sizes)},
        "report": dict(standard.report),
    }


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
