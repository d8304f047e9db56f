"""`deeploc-tf neighbors`: the proteins most like a given one, and what they share."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeploc_tf.cli.group import tell
from deeploc_tf.cli.parameters import (
    FILE,
    LazyChoice,
    allow_unmatched_option,
    distinct_case_option,
    number_option,
    role_options,
    settings_of,
)
from deeploc_tf.cli.standard_files import identifiers_option

if TYPE_CHECKING:
    from deeploc_tf.profiles.approximate_index import ApproximateIndex
    from deeploc_tf.profiles.neighbors import Space

EPILOG = """\b
Examples:
  deeploc-tf neighbors cells.profiles.parquet AAC1 AAH1 -k 5
  deeploc-tf neighbors profiles.h5 AAC1 --standard complexes.gmt --standard go_cc.gmt --center
  deeploc-tf neighbors profiles.h5 YMR056C --standard kegg.tsv --identifiers SGD_features.tab
  deeploc-tf neighbors cells.h5 AAC1_1_003 --index cells.usearch --json
"""


@click.command(epilog=EPILOG)
@click.argument("profiles", type=FILE)
@click.argument("proteins", nargs=-1, required=True)
@number_option("-k", "--number", least=1, default=10)
@click.option(
    "--similarity",
    type=LazyChoice("deeploc_tf.profiles.choices:Similarity"),
    default="cosine",
    show_default=True,
    help="Of two profiles; euclidean: minus the distance.",
)
@role_options
@click.option("--center", is_flag=True, help="Take the mean of all rows off first.")
@click.option(
    "--standard",
    "standards",
    multiple=True,
    type=FILE,
    help="Show the terms that both are in. Of any form that `standards` reads. Repeatable.",
)
@identifiers_option
@distinct_case_option
@allow_unmatched_option("proteins that a standard lacks", None)
@click.option(
    "--index",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Search approximately, by this index (usearch, extra `search`); made where there is none. "
    "For many queries of more than 200,000 rows.",
)
@click.option("--json", "as_json", is_flag=True)
def neighbors(
    profiles: Path,
    proteins: tuple[str, ...],
    number: int,
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
    cells, which go by their key. Without --index the search is exact.
    """
    from deeploc_tf.benchmark.identifiers import read_identifiers
    from deeploc_tf.benchmark.shared_terms import SharedTerms
    from deeploc_tf.benchmark.standards import read_standard
    from deeploc_tf.profiles.neighbors import nearest, read_space
    from deeploc_tf.profiles.tables import Roles

    names = read_identifiers(*identifiers) if identifiers else None
    read = [read_standard(path, identifiers=names) for path in standards]
    space = read_space(
        profiles,
        similarity,
        center=center,
        roles=settings_of(Roles, roles),
        distinct_case=distinct_case,
    )
    if names is not None:
        called, _ = names.map(space.proteins)
        space = dataclasses.replace(space, proteins=tuple(called))
        proteins = tuple(names.find(name, space.names, called) for name in proteins)
    queries = space.rows_of(proteins)
    if space.left_out:
        shown = ", ".join(space.left_out[:3]) + (" ..." if len(space.left_out) > 3 else "")
        tell(
            f"{len(space.left_out)} rows are not finite or have no length and were left out: "
            f"{shown}."
        )
    shared = SharedTerms(
        read, space.proteins, distinct_case=distinct_case, allow_unmatched=allow_unmatched
    )
    approximate = None if index is None else _index(space, index)
    if approximate is None:
        rows, likeness = nearest(space, queries, number)
    else:
        rows, likeness = approximate.nearest(queries, number)
    found = [
        {
            "query": name,
            "neighbors": [
                {
                    "name": space.names[row],
                    "protein": space.proteins[row],
                    "similarity": round(float(score), 6),
                    "shared": shared(space.proteins[query], space.proteins[row]),
                }
                for row, score in zip(near, scores, strict=True)
            ],
        }
        for name, query, near, scores in zip(proteins, queries, rows, likeness, strict=True)
    ]
    if as_json:
        settings = {
            "similarity": similarity,
            "center": center,
            "exact": approximate is None,
            "rows": len(space.names) + len(space.left_out),
            "left_out": space.left_out,
            "standards": shared.reports,
        }
        if approximate is not None:
            settings["recall_at_10"] = approximate.recall
        click.echo(json.dumps({**settings, "queries": found}, indent=1, ensure_ascii=False))
        return
    click.echo("\n\n".join(_text(answer) for answer in found))


def _index(space: Space, path: Path) -> ApproximateIndex:
    from deeploc_tf.profiles.approximate_index import (
        WORTH_AN_INDEX,
        build_index,
        index_exists,
        load_index,
    )

    if len(space.names) < WORTH_AN_INDEX:
        tell(f"Of {len(space.names)} rows an exact search is as quick: leave --index out.")
    made = load_index(space, path) if index_exists(path) else build_index(space, path)
    tell(f"{path} finds {made.recall:.1%} of the true 10 nearest rows.")
    return made


def _text(answer: dict[str, Any]) -> str:
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
