"""Several files of standards, each with every aspect of the Gene Ontology that it has."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from deeploc_tf.benchmark.formats.aspects import ASPECTS, AspectError
from deeploc_tf.benchmark.formats.gmt import gmt_bytes
from deeploc_tf.benchmark.formats.registry import format_of
from deeploc_tf.benchmark.identifiers import IdentifierMap
from deeploc_tf.benchmark.standards import (
    Standard,
    StandardError,
    read_standard,
    sized,
    standard_of,
)
from tfrecords.publishing import check_absent, publish_bytes

AnyStandard = Standard | Mapping[str, Collection[str]] | str | Path
"""A standard, a mapping from each term to its proteins, or a file of standards."""


@dataclasses.dataclass(frozen=True)
class Standards:
    """What files of gold standards contain.

    Attributes:
        standards: of the files, in their order.
    """

    standards: Sequence[Standard]

    def to_json(self) -> list[dict[str, Any]]:
        """Counts of each standard, and what became of its file."""
        return [standard.summary() for standard in self.standards]

    def to_frame(self) -> pd.DataFrame:
        """A row per membership: `standard`, `aspect`, `term`, `description`, `protein`."""
        rows = [
            (one.name, one.aspect, term, one.descriptions.get(term, ""), protein)
            for one in self.standards
            for term, members in sorted(one.terms.items())
            for protein in sorted(members)
        ]
        names = ["standard", "aspect", "term", "description", "protein"]
        return pd.DataFrame(rows, columns=names)


def standards(
    files: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    min_size: int = 1,
    max_size: int | None = None,
    **reading: Any,
) -> Standards:
    """Read files of gold standards to see what they contain, or write one as GMT.

    Args:
        files: one or several, of any formats.
        output: GMT file to write; takes one file, and one aspect.
        min_size: terms with fewer members are left out.
        max_size: terms with more members are left out; None keeps all.
        **reading: options of `read_standards`.

    Raises:
        StandardError: a standard cannot be read, or no term is left.
        OutputExistsError: the output is there already.
        ValueError: several standards would be mixed in one file.
        OSError: a file cannot be read.

    Example:
        standards("go_slim_mapping.tab", "go_cc.gmt", aspects=["C"]).to_frame()
    """
    paths = [files] if isinstance(files, str | os.PathLike) else list(files)
    if output is not None:
        if len(paths) > 1 or len(reading.get("aspects", ())) > 1:
            msg = (
                "GMT takes one file, and one aspect, at a time: terms would be mixed. Received: "
                f"{len(paths)} files, aspects={list(reading.get('aspects', ()))}."
            )
            raise ValueError(msg)
        check_absent(Path(output))
    groups = read_standards(paths, every_aspect=output is None, **reading)
    found = [sized(standard, min_size, max_size) for group in groups for standard in group]
    if output is not None:
        publish_bytes(Path(output), gmt_bytes(found[0].terms, found[0].descriptions))
    return Standards(found)


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

    Example:
        ((components,), (complexes,)) = read_standards(["go.tab", "cyc2008.txt"], aspects=["C"])
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
            a standard; or mappings from a term to its proteins, called `terms`. A mapping from
            names to such standards names them.
        identifiers: gives each protein of files and mappings the name to use.

    Raises:
        StandardError: a standard cannot be read, or a mapping is none of terms and proteins.
        OSError: a file cannot be read.
    """
    if isinstance(given, Mapping) and any(map(_is_standard, given.values())):
        named = ((str(name), standards_of(one, identifiers)) for name, one in given.items())
        return [standard for name, read in named for standard in told_apart(read, name)]
    several = isinstance(given, Iterable) and not isinstance(given, Mapping | str)
    found: list[Standard] = []
    for number, standard in enumerate(given if several else [given], 1):  # type: ignore[arg-type]
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


def _is_standard(value: object) -> bool:
    return isinstance(value, Standard | Mapping | os.PathLike)


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
