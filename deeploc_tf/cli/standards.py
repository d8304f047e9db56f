"""`deeploc-tf standards`: what files of gold standards hold, and the same as GMT."""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeploc_tf.cli.parameters import Names

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

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SHOWN_NAMES = 5


@click.command(epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=_FILE)
@click.option(
    "--gmt",
    "output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the standard of the one file as GMT; nothing may have this name.",
)
@click.option("--format", "form", help="Of all files; else it is seen from each. docs/standards.md")
@click.option(
    "--aspect",
    type=click.Choice(["C", "F", "P"]),
    help="Of the Gene Ontology: component, function, process. Else each is listed.",
)
@click.option("--ontology", type=_FILE, help="OBO: GAF's terms are propagated to those above.")
@click.option("--slim", help="OBO file of a slim, or a subset of --ontology: keep its terms only.")
@click.option(
    "--exclude-evidence",
    type=Names(),
    default=(),
    help="Evidence codes of GAF to leave out, such as IEA,RCA.",
)
@click.option(
    "--exclude-term", "exclude_terms", multiple=True, help="Term to leave out. Repeatable."
)
@click.option(
    "--identifiers",
    multiple=True,
    type=_FILE,
    help="SGD_features.tab, uniprot and gene_id, or two columns: one name a protein. Repeatable: "
    "a later table is read through the ones before.",
)
@click.option(
    "--min-size",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Leave out terms with fewer members. The benchmark asks for 2 with a profile.",
)
@click.option("--max-size", type=click.IntRange(min=1), help="Leave out terms with more members.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON, names among it.")
def standards(
    files: tuple[Path, ...],
    output: Path | None,
    form: str | None,
    aspect: str | None,
    ontology: Path | None,
    slim: str | None,
    exclude_evidence: tuple[str, ...],
    exclude_terms: tuple[str, ...],
    identifiers: tuple[Path, ...],
    min_size: int,
    max_size: int | None,
    as_json: bool,
) -> None:
    """List what FILES of gold standards hold, what was left out of them, or convert one to GMT.

    Formats: GMT, two columns, lines of members (CYC2008), JSON modules, SGD's go_slim_mapping.tab,
    GAF, KEGG links and tables, ComplexTAB, compartments of Huh et al. All may be .gz.
    """
    from deeploc_tf.benchmark.formats.gmt import gmt_bytes
    from deeploc_tf.benchmark.identifiers import read_identifiers
    from deeploc_tf.benchmark.standards import sized
    from tfrecords.publishing import check_absent, publish_bytes

    if output is not None:
        if len(files) > 1:
            msg = "--gmt takes one file at a time: the terms of several would be mixed."
            raise click.UsageError(msg)
        check_absent(output)
    names = read_identifiers(*identifiers) if identifiers else None
    given = {
        "aspect": aspect,
        "ontology": ontology,
        "slim": slim,
        "exclude_evidence": exclude_evidence,
    }
    forms = _forms(files, form, {option for option, value in given.items() if value})
    found: list[Standard] = []
    for path, (name, options) in zip(files, forms, strict=True):
        keywords = {
            **{option: given[option] for option in options},
            "format": name,
            "identifiers": names,
            "exclude_terms": exclude_terms,
        }
        found += _read(path, keywords, each_aspect=output is None and aspect is None)
    found = [sized(standard, min_size, max_size) for standard in found]
    if output is not None:
        publish_bytes(output, gmt_bytes(found[0].terms, found[0].descriptions))
    summaries = [_summary(standard) for standard in found]
    text = json.dumps({"standards": summaries}, indent=1, ensure_ascii=False) if as_json else ""
    click.echo(text or "\n".join(_lines(summaries)))


def _forms(
    files: Sequence[Path], form: str | None, given: set[str]
) -> list[tuple[str, frozenset[str]]]:
    """The format of each file, and which of its options are given."""
    from deeploc_tf.benchmark.formats.registry import format_of

    forms = [format_of(path, form) for path in files]
    # With one file the library says what is wrong; of several, each takes what it knows.
    if len(files) == 1:
        return [(forms[0][0], frozenset(given))]
    taken = [(name, frozenset(given) & found.options) for name, found in forms]
    left = given.difference(*(options for _, options in taken))
    if left:
        msg = f"None of the files has a format that takes --{min(left).replace('_', '-')}."
        raise click.UsageError(msg)
    return taken


def _read(path: Path, keywords: Mapping[str, Any], *, each_aspect: bool) -> list[Standard]:
    """The standard of a file, or those of its aspects where it has several."""
    from deeploc_tf.benchmark.formats.aspects import ASPECTS, AspectError
    from deeploc_tf.benchmark.standards import read_standard

    try:
        return [read_standard(path, **keywords)]
    except AspectError:
        if not each_aspect:
            raise
    found = []
    for aspect in ASPECTS:
        with contextlib.suppress(AspectError):  # the file has not this one
            found.append(read_standard(path, **{**keywords, "aspect": aspect}))
    return found


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
        told = list(_told(summary["report"]))
        if told:
            aspect = f" {summary['aspect']}" if summary["aspect"] else ""
            yield f"\n{summary['name']}{aspect}"
            yield from (f"  {line}" for line in told)


def _told(report: Mapping[str, Any]) -> Iterator[str]:
    """What happened to a standard on its way from the file."""
    for title in ("left_out", "notes"):
        for reason, count in report[title].items():
            yield f"{title.replace('_', ' ')}: {count} {reason}"
    if "identifiers" not in report:
        return
    found = report["identifiers"]
    yield f"identifiers: {found['mapped']} of {found['names']} names mapped"
    ambiguous = [f"{name} ({' or '.join(found['ambiguous'][name])})" for name in found["ambiguous"]]
    merged = [f"{name} ({', '.join(came)})" for name, came in found["merged"].items()]
    shown = {"unmapped": found["unmapped"], "ambiguous": ambiguous, "merged": merged}
    for what, names in shown.items():
        if names:
            more = " ..." if len(names) > _SHOWN_NAMES else ""
            yield f"{what}: {len(names)}, {', '.join(names[:_SHOWN_NAMES])}{more}"
