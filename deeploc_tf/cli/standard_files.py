"""How files of standards are read: the options that `standards` and `benchmark` share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from deeploc_tf.cli.parameters import FILE, LazyChoice, Names, together

_SHOWN_NAMES = 5
identifiers_option = click.option(
    "--identifiers",
    multiple=True,
    type=FILE,
    help=(
        "Table that maps names of proteins to one name each: SGD_features.tab, a table "
        "with uniprot and gene_id, or two columns. Can be given several times; later "
        "tables are read through earlier ones."
    ),
)
READING = (
    *("format", "aspects", "ontology", "slim", "exclude_evidence", "exclude_terms", "identifiers"),
)
"""Names of the parameters that `reading_options` add, which `reading_keywords` takes."""
reading_options = together(
    click.option(
        "--format",
        type=LazyChoice("deeploc_tf.benchmark.formats.registry:FORMATS"),
        help="Format of all standards.  [default: detected per file]",
    ),
    click.option(
        "--aspect",
        "aspects",
        multiple=True,
        type=click.Choice(["C", "F", "P"], case_sensitive=False),
        help=(
            "Aspect of the Gene Ontology: component, function or process; can be given "
            "several times.  [default: each in the file]"
        ),
    ),
    click.option(
        "--ontology",
        type=FILE,
        help="OBO file; annotations of GAF files are propagated to ancestor terms.",
    ),
    click.option(
        "--slim", help="OBO file of a slim, or name of a subset of --ontology; keep only its terms."
    ),
    click.option(
        "--exclude-evidence",
        type=Names(),
        default=(),
        help=(
            "Evidence codes of GAF files to exclude, such as IEA,RCA; the file must contain them."
        ),
    ),
    click.option(
        "--exclude-term",
        "exclude_terms",
        multiple=True,
        help="Term to exclude; can be given several times.",
    ),
    identifiers_option,
)


def reading_keywords(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the options say, as keywords of `read_standards`; the tables of identifiers are read."""
    from deeploc_tf.benchmark.identifiers import read_identifiers

    tables = options["identifiers"]
    return {**options, "identifiers": read_identifiers(*tables) if tables else None}


def told(report: Mapping[str, Any]) -> Iterator[str]:
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
    averaged = found.get("profiles_averaged", {})
    of_one = [f"{name} ({', '.join(came)})" for name, came in averaged.items()]
    shown = {"unmapped": found["unmapped"], "ambiguous": ambiguous, "merged": merged}
    shown["profiles averaged"] = of_one
    for what, names in shown.items():
        if names:
            more = " ..." if len(names) > _SHOWN_NAMES else ""
            yield f"{what}: {len(names)}, {', '.join(names[:_SHOWN_NAMES])}{more}"
