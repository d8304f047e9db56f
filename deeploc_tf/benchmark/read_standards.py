"""Several files of standards, each with every aspect of the Gene Ontology that it has."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deeploc_tf.benchmark.formats.aspects import ASPECTS, AspectError
from deeploc_tf.benchmark.formats.registry import format_of
from deeploc_tf.benchmark.identifiers import IdentifierMap
from deeploc_tf.benchmark.standards import (
    Standard,
    StandardError,
    read_standard,
    standard_of,
)

AnyStandard = Standard | Mapping[str, Collection[str]] | str | Path
"""A standard, a mapping from each term to its proteins, or a file of standards."""


def read_standards(
    files: Sequence[str | Path],
    *,
    format: str | None = None,
    aspects: Collection[str] = (),
    exclude_evidence: Collection[str] = (),
    ontology: str | Path | None = None,
    slim: str | Path | None = None,
    identifiers: IdentifierMap | None = None,
    exclude_terms: Collection[str] = (),
    every_aspect: bool = True,
) -> list[list[Standard]]:
    """Read files of standards; each takes the options that its format knows.

    Args:
        files: of any formats.
        format: of all files; None finds each one's.
        aspects: of the Gene Ontology, a standard each; none: every one that a file has.
        exclude_evidence: as of `read_standard`, and so are the rest.
        ontology: OBO file.
        slim: OBO file of a slim, or a subset of `ontology`.
        identifiers: gives each protein the name to use.
        exclude_terms: terms to leave out.
        every_aspect: if not, a file of several aspects is refused unless `aspects` says which.

    Returns:
        The standards of each file; those of several aspects have one name, see `told_apart`.

    Raises:
        StandardError: an option means nothing for any of the files; else as `read_standard`.
        OSError: a file cannot be read.
    """
    forms = [format_of(Path(file), format) for file in files]
    given = {
        option: value
        for option, value in (
            ("aspect", aspects),
            ("exclude_evidence", exclude_evidence),
            ("ontology", ontology),
            ("slim", slim),
        )
        if value
    }
    # What no format knows goes to the first one, which says so.
    for_nobody = given.keys() - frozenset().union(*(form.options for _, form in forms))
    found = []
    for file, (name, form) in zip(files, forms, strict=True):
        options: dict[str, Any] = {
            option: value
            for option, value in given.items()
            if option in form.options or option in for_nobody
        }
        chosen = options.pop("aspect", ())
        options |= {"format": name, "identifiers": identifiers, "exclude_terms": exclude_terms}
        found.append(
            [read_standard(file, aspect=aspect, **options) for aspect in chosen]
            or _read(file, options, every_aspect=every_aspect)
        )
    return found


def standards_of(
    given: AnyStandard | Iterable[AnyStandard], identifiers: IdentifierMap | None = None
) -> list[Standard]:
    """Standards, whatever they come as.

    Args:
        given: one standard or several: what `read_standard` gives; files, of which every aspect is
            a standard; or mappings from a term to its proteins, called `terms`.
        identifiers: gives each protein of files and mappings the name to use.

    Raises:
        StandardError: a standard cannot be read, or a mapping is none of terms and proteins.
        OSError: a file cannot be read.
    """
    one = isinstance(given, Standard | Mapping | str | os.PathLike)
    found: list[Standard] = []
    for number, standard in enumerate([given] if one else given, 1):  # type: ignore[arg-type]
        if isinstance(standard, Standard):
            found.append(standard)
        elif isinstance(standard, Mapping):
            name = "terms" if number == 1 else f"terms {number}"
            found.append(standard_of(standard, name, identifiers=identifiers))
        elif isinstance(standard, str | os.PathLike):
            (read,) = read_standards([Path(standard)], identifiers=identifiers)
            found += told_apart(read)
        else:
            msg = (
                "A standard must be a file, a Standard, or a dict {term: [proteins]}. Received: "
                f"{type(standard).__name__}."
            )
            raise StandardError(msg)
    return found


def told_apart(standards: Sequence[Standard], name: str | None = None) -> list[Standard]:
    """The standards of one file under different names: the aspect is added where it has several.

    Args:
        standards: of the file.
        name: to use instead of the file's.
    """
    return [
        dataclasses.replace(
            standard,
            name=f"{name or standard.name} {standard.report['options']['aspect']}"
            if len(standards) > 1
            else name or standard.name,
        )
        for standard in standards
    ]


def _read(file: str | Path, options: dict[str, Any], *, every_aspect: bool) -> list[Standard]:
    try:
        return [read_standard(file, **options)]
    except AspectError:
        if not every_aspect:
            raise
    found = []
    for aspect in ASPECTS:
        with contextlib.suppress(AspectError):  # the file has not this one
            found.append(read_standard(file, aspect=aspect, **options))
    return found
