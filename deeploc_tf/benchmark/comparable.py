"""Who takes part where methods are compared: the proteins that all have, under one name each."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.benchmark.benchmark import StandardScores
from deeploc_tf.benchmark.choices import Kind
from deeploc_tf.benchmark.identifiers import IdentifierMap
from deeploc_tf.benchmark.similarity import unusable_profiles, usable_profiles
from deeploc_tf.joins import joined
from deeploc_tf.profiles.reading import read_profiles
from deeploc_tf.profiles.tables import NO_ROLES, AnyTable, RoleError, Roles, VectorTable
from deeploc_tf.profiles.tables.foreign import KIND

_log = logging.getLogger(__name__)
_SHOWN_NAMES = 5


@dataclasses.dataclass(frozen=True)
class Method:
    """Profiles of a method, and what they scored.

    Attributes:
        name: of the method; tables of one name are its seeds.
        profiles: those that take part.
        file: of the profiles; None where they were never in one.
        seed: that they were made with, where it is known.
        identifiers: what a table of identifiers did to the names, JSON-ready.
        excluded: how many `profiles` there were and, for each reason, how many of them take no
            part, with the `names` of the first few, JSON-ready.
        results: what `benchmark` says of them; nothing before they are scored.
    """

    name: str
    profiles: VectorTable
    file: Path | None = None
    seed: int | None = None
    identifiers: Mapping[str, Any] | None = None
    excluded: Mapping[str, Any] | None = None
    results: Sequence[StandardScores] = ()


def comparable(
    methods: Iterable[tuple[str, AnyTable]],
    *,
    similarity: Kind = "cosine",
    identifiers: IdentifierMap | None = None,
    proteins: Collection[str] | None = None,
    num_random: int | None = None,
    roles: Roles = NO_ROLES,
    seed: int = 0,
    distinct_case: bool = False,
    allow_unmatched: int | None = None,
) -> list[Method]:
    """Profiles of methods, of several those of the proteins that all have usable ones of.

    Args:
        methods: name and profiles, or the file of these; profiles of one name are seeds.
        similarity: of two profiles, which says what is usable.
        identifiers: gives each protein the name to use; profiles that come together are averaged.
        proteins: nobody else takes part; None asks nobody to stay away.
        num_random: add a method `random`, vectors of so many random numbers for the proteins of the
            first method.
        roles: which column names the protein in tables of other programs, and in those of ours
            that have it.
        seed: of the random numbers.
        distinct_case: let names of two methods differ in case and be two proteins.
        allow_unmatched: how many profiles of a method may have none in another; None: any number.

    Returns:
        The methods in their order, with the names of the first one where they are spelled
        otherwise. The proteins of several, or chosen ones, are in alphabetical
        order; those of one table in its own.

    Raises:
        ValueError: methods have fewer than two proteins in common, a protein may or may not be one
            of another method (see `deeploc_tf.names`), more have no profile in another method than
            are allowed, a chosen protein has none in one, or a table is not of profiles.
        OSError: a file cannot be read.
    """
    found = [
        _renamed(method, identifiers)
        for method in _read(methods, roles, distinct_case=distinct_case)
    ]
    if not found:
        msg = "`methods` must be pairs of a name and profiles. Received: none. Name one or more."
        raise ValueError(msg)
    found = _named_alike(found, distinct_case=distinct_case)
    if num_random is not None:
        if any(method.name == "random" for method in found):
            msg = (
                "No method may be called 'random' where random vectors are added. Received: one "
                "that is. Give it another name, as in mine=FILE."
            )
            raise ValueError(msg)
        of_first = found[0].profiles.metadata["protein"].tolist()
        found.append(Method("random", random_profiles(of_first, num_random, seed)))
    reasons = [unusable_profiles(method.profiles.features, similarity) for method in found]
    if len(found) == 1 and proteins is None:
        return [dataclasses.replace(found[0], excluded=_excluded(found[0], reasons[0]))]
    common = common_proteins([method.profiles for method in found], similarity)
    if proteins is not None:
        known = found[0].profiles.metadata["protein"].tolist()
        words = "proteins that were chosen", f"profiles of {found[0].name!r}"
        spelled = joined(proteins, known, "protein", words, distinct_case=distinct_case).partners
        proteins = [spelled.get(name, name) for name in proteins]
        _check_have(found, proteins)
        common = sorted(set(common) & set(proteins))
    if len(common) < 2:
        msg = (
            "Methods must have two proteins or more in common. Received: "
            f"{', '.join(method.name for method in found)} with {len(common)}. Use the same "
            "kind of name in all, or a table of identifiers."
        )
        raise ValueError(msg)
    chosen = []
    lacking = _lacking(found, reasons)
    for method, bad, lacks in zip(found, reasons, lacking, strict=True):
        names = method.profiles.metadata["protein"]
        if proteins is not None:
            bad["not_chosen"] = ~names.isin(proteins).to_numpy() & ~np.any([*bad.values()], axis=0)
        if len(found) > 1:
            missing = ~names.isin(common).to_numpy()
            bad["not_in_every_method"] = missing & ~np.any([*bad.values()], axis=0)
            _check_few(method, bad["not_in_every_method"], allow_unmatched)
        order = names.reset_index(drop=True).sort_values()
        kept = _rows_of(method.profiles, order.index[order.isin(common)].tolist())
        excluded = _excluded(method, bad)
        if len(found) > 1:
            some = lacks[:_SHOWN_NAMES]
            excluded["lacking_here_alone"] = {"count": len(lacks), "some": some}
        chosen.append(dataclasses.replace(method, profiles=kept, excluded=excluded))
    return chosen


def common_proteins(tables: Iterable[VectorTable], similarity: Kind = "cosine") -> list[str]:
    """Proteins of which every table has a profile that can be compared, in alphabetical order."""
    common: set[str] | None = None
    for table in tables:
        proteins = table.metadata["protein"].tolist()
        usable = usable_profiles(table.features, proteins, similarity)
        here = {protein for protein, good in zip(proteins, usable, strict=True) if good}
        common = here if common is None else common & here
    return sorted(common or ())


def random_profiles(proteins: Sequence[str], num_features: int, seed: int = 0) -> VectorTable:
    """Vectors that know nothing, of normal numbers: what chance scores."""
    vectors = np.random.default_rng(seed).normal(size=(len(proteins), num_features))
    metadata = pd.DataFrame({"protein": list(proteins)})
    return VectorTable(vectors.astype(np.float32), metadata, {"kind": "random", "seed": seed})


def _read(
    methods: Iterable[tuple[str, AnyTable]], roles: Roles, *, distinct_case: bool
) -> Iterator[Method]:
    lacking: list[RoleError] = []
    count = 0
    for count, (name, profiles) in enumerate(methods, 1):  # noqa: B007
        try:
            table = read_profiles(profiles, roles, distinct_case=distinct_case)
        except RoleError as error:
            lacking.append(error)
            try:  # a table of ours has the proteins where it always has them
                table = read_profiles(profiles, distinct_case=distinct_case)
            except ValueError:
                raise error from None
            if table.provenance.get("kind") == KIND:
                raise
        yield Method(name, table, Path(profiles) if isinstance(profiles, str | Path) else None)
    if lacking and len(lacking) == count:
        raise lacking[0]


def _named_alike(methods: Sequence[Method], *, distinct_case: bool) -> list[Method]:
    """The methods with the names of the first one, where they are spelled otherwise."""
    first = methods[0]
    known = first.profiles.metadata["protein"].tolist()
    same = [first]
    for method in methods[1:]:
        names = method.profiles.metadata["protein"].tolist()
        words = f"profiles of {method.name!r}", f"profiles of {first.name!r}"
        found = joined(names, known, "protein", words, distinct_case=distinct_case)
        found.check(None)
        if found.respelled:
            _log.info("%s", found.sentence())
        metadata = method.profiles.metadata.assign(
            protein=[found.partners.get(name, name) for name in names]
        )
        profiles = dataclasses.replace(method.profiles, metadata=metadata)
        same.append(dataclasses.replace(method, profiles=profiles))
    return same


def _check_few(method: Method, missing: NDArray[np.bool_], allowed: int | None) -> None:
    if allowed is not None and (count := int(missing.sum())) > allowed:
        names = method.profiles.metadata["protein"][missing].tolist()[:_SHOWN_NAMES]
        msg = (
            f"Every protein must have a profile in every method. Received: {', '.join(names)} "
            f"({count} of {len(missing)} of {method.name!r}) without one in another. Allow so many "
            f"(allow_unmatched={count}, --allow-unmatched {count})."
        )
        raise ValueError(msg)


def _check_have(methods: Iterable[Method], proteins: Collection[str]) -> None:
    for method in methods:
        missing = sorted(set(proteins) - set(method.profiles.metadata["protein"]))
        if missing:
            msg = (
                "Each of `proteins` must have a profile in every method. Received: "
                f"{', '.join(missing[:_SHOWN_NAMES])} ({len(missing)} of {len(proteins)}) without "
                f"one in {method.name!r}. Leave them out."
            )
            raise ValueError(msg)


def _lacking(
    methods: Sequence[Method], reasons: Sequence[Mapping[str, NDArray[np.bool_]]]
) -> list[list[str]]:
    """Of each method the proteins that it alone has no usable profile of: those that it removes."""
    usable: list[set[str]] = []
    for method, bad in zip(methods, reasons, strict=True):
        good = ~np.any([*bad.values()], axis=0)
        usable.append(set(method.profiles.metadata["protein"][good]))
    found = []
    for number, own in enumerate(usable):
        others = [names for place, names in enumerate(usable) if place != number]
        found.append(sorted(set.intersection(*others) - own) if others else [])
    return found


def _excluded(method: Method, reasons: Mapping[str, NDArray[np.bool_]]) -> dict[str, Any]:
    """How many profiles take no part, by reason, and the first few of each, JSON-ready."""
    proteins = method.profiles.metadata["protein"]
    return {
        "profiles": len(proteins),
        **{reason: int(rows.sum()) for reason, rows in reasons.items()},
        "names": {
            reason: proteins[rows].tolist()[:_SHOWN_NAMES]
            for reason, rows in reasons.items()
            if rows.any()
        },
    }


def _renamed(method: Method, identifiers: IdentifierMap | None) -> Method:
    """Proteins under the names to use; profiles that come together are one, their mean."""
    if identifiers is None:
        return method
    written = method.profiles.metadata["protein"].tolist()
    mapped, report = identifiers.map(written)
    if len(set(written)) < len(written):  # names that are there twice are left to be refused
        rows = {str(row): [row] for row in range(len(mapped))}
    else:
        rows = {}
        for row, name in enumerate(mapped):
            rows.setdefault(name, []).append(row)
    averaged = {name: own for name, own in rows.items() if len(own) > 1}
    first = [own[0] for own in rows.values()]
    kept = _rows_of(method.profiles, first)
    features = kept.features.copy()
    for place, own in enumerate(rows.values()):
        if len(own) > 1:
            features[place] = _mean(method.profiles.features[own])
    metadata = kept.metadata.assign(protein=[mapped[row] for row in first])
    return dataclasses.replace(
        method,
        profiles=dataclasses.replace(kept, features=features, metadata=metadata),
        identifiers={
            **report,
            "profiles_merged_away": len(written) - len(first),
            "profiles_averaged": {
                name: [written[row] for row in own] for name, own in sorted(averaged.items())
            },
        },
    )


def _mean(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the finite vectors, or of all where none is."""
    finite = np.isfinite(vectors).all(axis=1)
    used = vectors[finite] if finite.any() else vectors
    return np.asarray(used.mean(axis=0, dtype=np.float64), np.float32)


def _rows_of(table: VectorTable, rows: Sequence[int]) -> VectorTable:
    metadata = table.metadata.iloc[list(rows)].reset_index(drop=True)
    return dataclasses.replace(table, features=table.features[list(rows)], metadata=metadata)
