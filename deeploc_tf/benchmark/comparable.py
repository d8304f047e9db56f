"""Profiles of the methods that `benchmark` compares, of the proteins that all of them have."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeploc_tf.benchmark.identifiers import IdentifierMap
    from deeploc_tf.profiles.tables import VectorTable


_SHOWN_NAMES = 5


@dataclasses.dataclass(frozen=True)
class MethodTable:
    """Profiles of a method, what a table of identifiers did to their names, and what was excluded.

    `excluded` has the number of `profiles` there were, and for each reason how many profiles take
    no part; `names` are the first few of each.
    """

    name: str
    path: Path | None
    vectors: VectorTable
    identifiers: Mapping[str, Any] | None = None
    excluded: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def method_tables(
    named: Sequence[tuple[str, Path]],
    names: IdentifierMap | None,
    random: int | None,
    similarity: Any,
    seed: int,
) -> list[MethodTable]:
    """Profiles of each method; of several, those of the proteins that all have usable ones of."""
    import numpy as np

    from deeploc_tf.benchmark.similarity import unusable_profiles, usable_profiles
    from deeploc_tf.profiles.reading import read_profiles
    from deeploc_tf.profiles.tables import VectorTable

    tables = [_renamed(MethodTable(name, path, read_profiles(path)), names) for name, path in named]
    if random is not None:
        metadata = tables[0].vectors.metadata[["protein"]]
        vectors = np.random.default_rng(seed).normal(size=(len(metadata), random))
        made = VectorTable(vectors.astype(np.float32), metadata, {"kind": "random", "seed": seed})
        tables.append(MethodTable("random", None, made))
    bad = [unusable_profiles(table.vectors.features, similarity) for table in tables]
    if len(tables) == 1:
        return [dataclasses.replace(tables[0], excluded=_excluded(tables[0], bad[0]))]
    common: set[str] | None = None
    for table in tables:
        proteins = table.vectors.metadata["protein"].tolist()
        usable = usable_profiles(table.vectors.features, proteins, similarity)
        here = {protein for protein, good in zip(proteins, usable, strict=True) if good}
        common = here if common is None else common & here
    if len(common or ()) < 2:
        msg = (
            "Methods must have two proteins or more in common. Received: "
            f"{', '.join(table.name for table in tables)} with {len(common or ())}. Use the same "
            "kind of name in all, or --identifiers."
        )
        raise ValueError(msg)
    chosen = []
    for table, reasons in zip(tables, bad, strict=True):
        missing = ~table.vectors.metadata["protein"].isin(common or set()).to_numpy()
        reasons["not_in_every_method"] = missing & ~np.any(list(reasons.values()), axis=0)
        order = table.vectors.metadata.reset_index(drop=True).sort_values("protein")
        rows = order.index[order["protein"].isin(common or set())]
        excluded = _excluded(table, reasons)
        kept = _rows_of(table.vectors, rows)
        chosen.append(dataclasses.replace(table, vectors=kept, excluded=excluded))
    return chosen


def _excluded(table: MethodTable, reasons: Mapping[str, Any]) -> dict[str, Any]:
    """How many profiles take no part, by reason, and the first few of each, JSON-ready."""
    proteins = table.vectors.metadata["protein"]
    return {
        "profiles": len(proteins),
        **{reason: int(rows.sum()) for reason, rows in reasons.items()},
        "names": {
            reason: proteins[rows].tolist()[:_SHOWN_NAMES]
            for reason, rows in reasons.items()
            if rows.any()
        },
    }


def _renamed(table: MethodTable, names: IdentifierMap | None) -> MethodTable:
    """Proteins under the names to use; of those that come together, the one called so, or first."""
    if names is None:
        return table
    import numpy as np

    written = table.vectors.metadata["protein"].tolist()
    mapped, report = names.map(written)
    first: dict[str, int] = {}
    for row, (name, old) in enumerate(zip(mapped, written, strict=True)):
        if name not in first or (name == old and written[first[name]] != name):
            first[name] = row
    rows = (
        np.sort(list(first.values())) if len(set(written)) == len(written) else range(len(mapped))
    )
    kept = _rows_of(table.vectors, rows)
    metadata = kept.metadata.assign(protein=[mapped[row] for row in rows])
    report = {**report, "profiles_merged_away": len(written) - len(rows)}
    return dataclasses.replace(
        table, vectors=dataclasses.replace(kept, metadata=metadata), identifiers=report
    )


def _rows_of(table: VectorTable, rows: Any) -> VectorTable:
    metadata = table.metadata.iloc[list(rows)].reset_index(drop=True)
    return dataclasses.replace(table, features=table.features[list(rows)], metadata=metadata)
