"""`deeploc-tf neighbors`: the proteins most like a given one, and what they share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer
from deeploc_tf.cli.parameters import (
    FILE,
    LazyChoice,
    allow_unmatched_option,
    center_option,
    distinct_case_option,
    json_option,
    neighbors_option,
    role_options,
    settings_of,
)
from deeploc_tf.cli.standard_files import identifiers_option

EPILOG = """\b
Examples:
  deeploc-tf neighbors cells.profiles.parquet AAC1 AAH1 -k 5
  deeploc-tf neighbors profiles.h5 AAC1 --standard complexes.gmt --standard go_cc.gmt --center
  deeploc-tf neighbors profiles.h5 YMR056C --standard kegg.tsv --identifiers SGD_features.tab
  deeploc-tf neighbors cells.h5 AAC1_1_003 --index cells.usearch --json
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("profiles", type=FILE)
@click.argument("proteins", nargs=-1, required=True)
@neighbors_option(least=1)
@click.option(
    "--similarity",
    type=LazyChoice("deeploc_tf.profiles.choices:Similarity"),
    default="cosine",
    show_default=True,
    help="Similarity of two profiles; euclidean is the negative distance.",
)
@role_options
@center_option
@click.option(
    "--standard",
    "standards",
    multiple=True,
    type=FILE,
    help="Gold standard, whose shared terms to show; can be given several times.",
)
@identifiers_option
@distinct_case_option
@allow_unmatched_option("proteins that a standard lacks", None)
@click.option(
    "--index",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Search approximately, with this index (usearch, extra `search`), which is built if it "
    "does not exist. Pays off for many queries of more than 200,000 rows.",
)
@json_option
def neighbors(
    profiles: Path,
    proteins: tuple[str, ...],
    num_neighbors: int,
    similarity: Any,
    center: bool,
    standards: tuple[Path, ...],
    identifiers: tuple[Path, ...],
    distinct_case: bool,
    allow_unmatched: int | None,
    index: Path | None,
    as_json: bool,
    **roles: Any,
) -> None:
    """List the rows of PROFILES that are most like each of PROTEINS.

    PROFILES is a table of profiles in any format (.h5, .parquet, .npz, .h5ad, or text), or one of
    cells, which are named by their keys. Without --index the search is exact.
    """
    from deeploc_tf.benchmark.identifiers import read_identifiers
    from deeploc_tf.benchmark.neighbors import neighbors as find
    from deeploc_tf.profiles.tables import Roles

    found = find(
        profiles,
        proteins,
        num_neighbors,
        similarity=similarity,
        center=center,
        standards=standards,
        identifiers=read_identifiers(*identifiers) if identifiers else None,
        index=index,
        roles=settings_of(Roles, roles),
        distinct_case=distinct_case,
        allow_unmatched=allow_unmatched,
    )
    answer(found.to_json(), ["\n\n".join(map(_text, found.queries))], as_json=as_json)


def _text(answer: Mapping[str, Any]) -> str:
    """One query and its neighbors as lines."""
    near = answer["neighbors"]
    width = max(len(other["name"]) for other in near)
    lines = [answer["query"]]
    for other in near:
        shared = "; ".join(
            f"{standard}: {', '.join(terms)}" for standard, terms in other["shared"].items()
        )
        lines.append(f"  {other['name']:<{width}}  {other['similarity']:7.4f}  {shared}".rstrip())
    return "\n".join(lines)
