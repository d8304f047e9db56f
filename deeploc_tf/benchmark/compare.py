"""Methods beside each other: profiles of each, scored on the same proteins and standards."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deeploc_tf.benchmark.benchmark import benchmark
from deeploc_tf.benchmark.cells import table_scores
from deeploc_tf.benchmark.choices import Kind
from deeploc_tf.benchmark.comparable import comparable
from deeploc_tf.benchmark.identifiers import IdentifierMap
from deeploc_tf.benchmark.labels import Labels, label_profiles, read_labels
from deeploc_tf.benchmark.read_standards import AnyStandard, standards_of
from deeploc_tf.benchmark.results import Comparison
from deeploc_tf.benchmark.scores import Extent
from deeploc_tf.profiles.tables import NO_ROLES, AnyTable, Roles, VectorTable

LABELS = "labels"
"""Name of the method whose profiles are the labels of the proteins."""

_USUAL_EXTENT = Extent(num_permutations=1000, intervals=True)


def compare(
    methods: Mapping[str, AnyTable] | Iterable[tuple[str, AnyTable]] | AnyTable,
    standards: AnyStandard | Iterable[AnyStandard],
    *,
    similarity: Kind = "cosine",
    min_size: int = 2,
    max_size: int | None = None,
    extent: Extent | None = None,
    identifiers: IdentifierMap | None = None,
    proteins: Collection[str] | None = None,
    num_random: int | None = None,
    labels: Labels | None = None,
    given: Labels | None = None,
    cells: Iterable[tuple[str | None, AnyTable]] = (),
    group: Sequence[str] = ("protein",),
    roles: Roles = NO_ROLES,
    distinct_case: bool = False,
    allow_unmatched: int | None = None,
) -> Comparison:
    """Score profiles of one method or several against standards, as `deeploc-tf benchmark` does.

    Several methods are scored on the proteins that all of them have usable profiles of.

    Args:
        methods: pairs of a name and profiles (a table with a row per protein, a file or in memory,
            see `open_rows`), or a mapping; profiles of one name are seeds of a method, and the
            others are compared with the first. One table alone is a method, too.
        standards: one or several, see `standards_of`: files, of which every aspect is a standard,
            what `read_standard` gives, or dicts `{term: [proteins]}`.
        similarity: of two profiles, see `similarities_of`.
        min_size: terms with fewer members that have a profile are left out.
        max_size: terms with more are left out; None keeps all.
        extent: of the costly parts, and the seed of everything drawn; None: the command's.
        identifiers: gives each protein of methods, and of standards that are files, the name to
            use.
        proteins: nobody else takes part; None asks nobody to stay away.
        num_random: add a method `random`, vectors of so many random numbers.
        labels: add a method `labels`, what is known of each protein, such as its compartment, as a
            vector of zeros and ones, see `read_labels`; proteins without a label take no part then.
        given: likewise: score pairs of proteins with the same label once more, by themselves.
        cells: name (None: the file's) and embeddings of single cells, to be scored by their labels.
        group: columns of `cells`: cells of a group are predicted from other groups only.
        roles: which column names the protein in tables of other programs.
        distinct_case: let names of proteins differ in case and be two.
        allow_unmatched: how many proteins of a method may be missing in another one, or in all
            terms of a standard; None: any number. They are counted.

    Raises:
        StandardError: a standard cannot be read, or shares no pair with the profiles, or all.
        ValueError: methods have fewer than two proteins in common, there is no standard, or two
            have one name.
        OSError: a file cannot be read.

    Example:
        found = compare([("deeploc", "cells.profiles.parquet")], ["complexes.gmt"])
        print(found.summary())
        found.write("results")
    """
    extent = extent or _USUAL_EXTENT
    chosen = standards_of(standards, identifiers)
    if not chosen:
        msg = "`standards` must be standards, or their files. Received: none. Name one or more."
        raise ValueError(msg)
    methods = _named(methods)
    if labels is not None:
        if any(name == LABELS for name, _ in methods):
            msg = (
                f"No method may be called {LABELS!r} where labels are added as one. Received: one "
                "that is. Give it another name, as in mine=FILE."
            )
            raise ValueError(msg)
        methods.append((LABELS, label_profiles(read_labels(labels, identifiers))))
    condition = None if given is None else read_labels(given, identifiers)
    taking_part = comparable(
        methods,
        similarity=similarity,
        identifiers=identifiers,
        proteins=proteins,
        num_random=num_random,
        roles=roles,
        seed=extent.seed,
        distinct_case=distinct_case,
        allow_unmatched=allow_unmatched,
    )
    options: dict[str, Any] = {
        "similarity": similarity,
        "min_size": min_size,
        "max_size": max_size,
    }
    scored = [
        dataclasses.replace(
            method,
            results=benchmark(
                method.profiles.features,
                method.profiles.metadata["protein"].tolist(),
                chosen,
                extent=extent,
                given=condition,
                distinct_case=distinct_case,
                allow_unmatched=allow_unmatched,
                **options,
            ),
        )
        for method in taking_part
    ]
    settings = {**options, "seed": extent.seed, "extent": dataclasses.asdict(extent)}
    if condition is not None:
        settings["given"] = {"name": condition.name, **condition.report}
    return Comparison(
        scored,
        chosen,
        settings,
        [table_scores(t, group, name=name, roles=roles, seed=extent.seed) for name, t in cells],
    )


def _named(methods: Any) -> list[tuple[str, AnyTable]]:
    """Pairs of a name and a table; one table alone goes by the name of its file."""
    if isinstance(methods, Mapping):
        methods = list(methods.items())
    is_pair = isinstance(methods, tuple) and len(methods) == 2
    if is_pair and isinstance(methods[0], str) and not isinstance(methods[1], tuple):
        return [methods]
    is_array = is_pair and not isinstance(methods[0], tuple)
    if isinstance(methods, str | Path):
        return [(Path(methods).name.split(".")[0], methods)]
    if (
        is_array
        or isinstance(methods, VectorTable)
        or hasattr(methods, "shape")
        or hasattr(methods, "to_pandas")
    ):
        return [("profiles", methods)]
    several = methods if isinstance(methods, Iterable) else [methods]
    pairs = [tuple(pair) if isinstance(pair, tuple | list) else (pair,) for pair in several]
    wrong = [pair for pair in pairs if len(pair) != 2 or not isinstance(pair[0], str)]
    if wrong:
        msg = (
            "`methods` must be pairs of a name and a table, or one table. Received: "
            f"{', '.join(type(part).__name__ for part in wrong[0])}. Name each: [('mine', table)]."
        )
        raise ValueError(msg)
    return pairs
