"""Search: the rows of a table that are most like a given one, and the terms that they share."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deeploc_tf.benchmark.identifiers import IdentifierMap
from deeploc_tf.benchmark.read_standards import AnyStandard, standards_of
from deeploc_tf.benchmark.shared_terms import SharedTerms
from deeploc_tf.profiles.approximate_index import (
    WORTH_AN_INDEX,
    ApproximateIndex,
    build_index,
    index_exists,
    load_index,
)
from deeploc_tf.profiles.choices import Similarity
from deeploc_tf.profiles.space import Space, nearest, read_space
from deeploc_tf.profiles.tables import NO_ROLES, AnyTable, Roles

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Neighbors:
    """The rows most like each of some rows.

    Attributes:
        queries: of each asked row its name, `query`, and its `neighbors`, the most like first:
            `name`, `protein`, `similarity`, and by standard the terms `shared`. JSON-ready.
        settings: how was searched, what was left out, and what standards matched. JSON-ready.
    """

    queries: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Everything, as `deeploc-tf neighbors --json` prints it."""
        return {**self.settings, "queries": list(self.queries)}

    def to_frame(self) -> pd.DataFrame:
        """A row per query and neighbor, the nearest first.

        Its columns are `query`, `rank` (from 1), `name`, `protein`, `similarity`, and for each
        standard `shared: STANDARD`, the terms that both are in, with `; ` between.
        """
        standards = [str(report["name"]) for report in self.settings["standards"]]
        columns = ["query", "rank", "name", "protein", "similarity"]
        columns += [f"shared: {name}" for name in standards]
        rows = [
            [
                answer["query"],
                rank,
                *(other[key] for key in ("name", "protein", "similarity")),
                *("; ".join(other["shared"].get(name, ())) for name in standards),
            ]
            for answer in self.queries
            for rank, other in enumerate(answer["neighbors"], 1)
        ]
        return pd.DataFrame(rows, columns=columns)


def neighbors(
    profiles: AnyTable,
    proteins: str | Sequence[str],
    num_neighbors: int = 10,
    *,
    similarity: Similarity = "cosine",
    center: bool = False,
    standards: AnyStandard | Sequence[AnyStandard] = (),
    identifiers: IdentifierMap | None = None,
    index: str | Path | None = None,
    roles: Roles = NO_ROLES,
    distinct_case: bool = False,
    allow_unmatched: int | None = None,
) -> Neighbors:
    """List the rows that are most like each of some rows.

    Args:
        profiles: table of profiles, or of cells, which go by their key: a file or in memory, see
            `open_rows`.
        proteins: names of one row or several, in any spelling.
        num_neighbors: of each; fewer where there are not so many rows.
        similarity: "cosine"; "pearson", over the features; or "euclidean", minus the distance.
        center: take the mean of all rows off first.
        standards: whose shared terms to show, see `standards_of`.
        identifiers: gives each protein the name to use.
        index: search approximately, by the index of this path; made where there is none.
        roles: which column names the protein.
        distinct_case: let proteins whose names differ in case alone be two.
        allow_unmatched: how many proteins a standard may lack; None: any number.

    Raises:
        ValueError: a name is not in the table, or see `read_space` and `SharedTerms`.
        OSError: a file cannot be read.

    Example:
        found = neighbors("cells.profiles.parquet", ["AAC1"], 5, standards="complexes.gmt")
        found.to_frame()
    """
    if not isinstance(num_neighbors, int | np.integer) or num_neighbors < 1:
        msg = f"`num_neighbors` must be a whole number, 1 or more. Received: {num_neighbors!r}."
        raise ValueError(msg)
    is_one = isinstance(proteins, str) or not isinstance(proteins, Iterable)
    wanted: list[Any] = [proteins] if is_one else list(proteins)
    if wrong := [name for name in wanted if not isinstance(name, str)]:
        msg = f"`proteins` must be names, texts. Received: {wrong[0]!r}."
        raise ValueError(msg)
    read = standards_of(standards, identifiers)
    space = read_space(
        profiles, similarity, center=center, roles=roles, distinct_case=distinct_case
    )
    if identifiers is not None:
        called, _ = identifiers.map(space.proteins)
        space = dataclasses.replace(space, proteins=tuple(called))
        wanted = [identifiers.find(name, space.names, called) for name in wanted]
    rows_asked = space.rows_of(wanted)
    if space.left_out:
        shown = ", ".join(space.left_out[:3]) + (" ..." if len(space.left_out) > 3 else "")
        logger.info(
            "%d rows are not finite or have no length and were left out: %s.",
            len(space.left_out),
            shown,
        )
    shared = SharedTerms(
        read, space.proteins, distinct_case=distinct_case, allow_unmatched=allow_unmatched
    )
    approximate = None if index is None else _index(space, Path(index))
    rows, likeness = (
        nearest(space, rows_asked, num_neighbors)
        if approximate is None
        else approximate.nearest(rows_asked, num_neighbors)
    )
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
        for name, query, near, scores in zip(wanted, rows_asked, rows, likeness, strict=True)
    ]
    settings: dict[str, Any] = {
        "similarity": similarity,
        "center": center,
        "exact": approximate is None,
        "rows": len(space.names) + len(space.left_out),
        "left_out": space.left_out,
        "standards": shared.reports,
    }
    if approximate is not None:
        settings["recall_at_10"] = approximate.recall
    return Neighbors(found, settings)


def _index(space: Space, path: Path) -> ApproximateIndex:
    if len(space.names) < WORTH_AN_INDEX:
        logger.info("Of %d rows an exact search is as quick: give no index.", len(space.names))
    made = load_index(space, path) if index_exists(path) else build_index(space, path)
    logger.info("%s finds %.1f%% of the true 10 nearest rows.", path, 100 * made.recall)
    return made
