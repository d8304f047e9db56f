"""Gold standards: named sets of proteins, such as compartments, pathways or complexes."""

from __future__ import annotations

import dataclasses
import hashlib
import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from deeploc_tf.benchmark.collecting import collect
from deeploc_tf.benchmark.formats.aspects import check_aspect
from deeploc_tf.benchmark.formats.entries import Protein, Reading, entry
from deeploc_tf.benchmark.formats.registry import FORMATS, format_of
from deeploc_tf.benchmark.formats.text import StandardError
from deeploc_tf.benchmark.identifiers import IdentifierMap
from deeploc_tf.joins import Joined, joined
from deeploc_tf.names import same_form
from tfrecords.errors import did_you_mean

__all__ = [
    "MAX_MEMBERSHIPS",
    "Annotation",
    "Standard",
    "StandardError",
    "annotate",
    "read_standard",
    "sized",
    "standard_of",
]

# 5.9 million members of 47,000 terms, and the ontology, were measured to take 1.0 GB.
MAX_MEMBERSHIPS = 10_000_000


@dataclasses.dataclass(frozen=True)
class Standard:
    """Terms and their members.

    Attributes:
        name: of the standard, by default that of its file.
        terms: members of each term.
        descriptions: of terms whose name is an accession, such as `nucleus` of GO:0005634.
        report: JSON-ready; the format and options, what was left out of the file and why, and what
            became of the identifiers.
    """

    name: str
    terms: Mapping[str, frozenset[str]]
    descriptions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    report: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def aspect(self) -> str | None:
        """Of the Gene Ontology, where one was chosen."""
        found: str | None = self.report.get("options", {}).get("aspect")
        return found

    def summary(self) -> dict[str, Any]:
        """How many terms, proteins and members there are, JSON-ready."""
        sizes = [len(members) for members in self.terms.values()]
        return {
            "name": self.name,
            "format": self.report.get("format"),
            "aspect": self.aspect,
            "terms": len(sizes),
            "proteins": len(frozenset().union(*self.terms.values())),
            "memberships": sum(sizes),
            "size": {"min": min(sizes), "median": statistics.median(sizes), "max": max(sizes)},
            "report": dict(self.report),
        }

    def made_from(self) -> list[dict[str, Any]]:
        """Its file, see `deeploc_tf.provenance.parent`; nothing if it is of none."""
        if "sha256" not in self.report:
            return []
        return [{"what": "standard", "name": self.report["file"], "sha256": self.report["sha256"]}]


@dataclasses.dataclass(frozen=True)
class Annotation:
    """What a standard says of the proteins that have a profile.

    Only terms with two members or more among them are kept: a term with one member has no pair.
    Only proteins with a kept term take part; of the others the standard knows nothing.

    Attributes:
        standard: its name.
        proteins: positions, in the list of profiles, of the proteins that take part.
        members: bool `(num_proteins, num_terms)`, sparse.
        terms: names of the kept terms.
        coverage: how many proteins and terms there were, and how many take part.
        descriptions: of the standard's terms.
        meeting: which names of profiles (the data) and of the standard are one.
    """

    standard: str
    proteins: np.ndarray[Any, np.dtype[np.intp]]
    members: scipy.sparse.csr_matrix
    terms: tuple[str, ...]
    coverage: Mapping[str, int]
    descriptions: Mapping[str, str]
    meeting: Joined[str]


def read_standard(
    path: str | Path,
    name: str | None = None,
    *,
    format: str | None = None,
    aspect: str | None = None,
    exclude_evidence: Collection[str] = (),
    ontology: str | Path | None = None,
    slim: str | Path | None = None,
    identifiers: IdentifierMap | None = None,
    exclude_terms: Collection[str] = (),
) -> Standard:
    """Read a standard from a file as people download it, also .gz.

    Args:
        path: the file, UTF-8; docs/standards.md shows each format.
        name: of the standard; None takes the file's, without its suffixes.
        format: a name in `FORMATS`; None finds it by suffix and content.
        aspect: of the Gene Ontology: "C" component, "F" function, "P" process. Needed where the
            file has several.
        exclude_evidence: evidence codes, such as "IEA", in any case, whose annotations are left out
            (GAF); the file must have them.
        ontology: OBO file; proteins of a term are then proteins of all terms above it (GAF).
        slim: OBO file of a slim, or the name of a subset of `ontology`: only its terms are kept.
        identifiers: gives each protein the name to use.
        exclude_terms: terms to leave out, by name or description.

    Raises:
        StandardError: a line is not as it must be (file and line number are named), the file is
            too large, has no term, or an option means nothing for its format.
        OSError: the file cannot be read.

    Example:
        standard = read_standard("go_slim_mapping.tab", aspect="C")
    """
    path = Path(path)
    check_aspect(aspect)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    chosen, form = format_of(path, format)
    options = {
        "aspect": aspect,
        "exclude_evidence": sorted({code.strip().upper() for code in exclude_evidence}),
        "ontology": None if ontology is None else str(ontology),
        "slim": None if slim is None else str(slim),
    }
    given = {option: value for option, value in options.items() if value}
    _check_options(path, chosen, given)
    reading = Reading(
        path,
        aspect,
        frozenset(exclude_evidence),
        None if ontology is None else Path(ontology),
        slim,
    )
    members, descriptions = collect(path, form.read(reading), reading.notes, MAX_MEMBERSHIPS)
    left_out = dict(sorted(reading.left_out.items()))
    excluded = _excluded(path, members, descriptions, exclude_terms)
    report: dict[str, Any] = {
        "file": path.name,
        "sha256": digest,
        "format": chosen,
        "options": {**given, **({"exclude_terms": sorted(exclude_terms)} if excluded else {})},
        "left_out": {**left_out, **({"excluded term": len(excluded)} if excluded else {})},
        "notes": {note: count for note, count in sorted(reading.notes.items()) if count},
    }
    for term in excluded:
        del members[term]
    if not members:
        msg = f"A standard must have a term. Received: {path} without one; left out: {left_out}."
        raise StandardError(msg)
    names = _named(members, identifiers, report)
    terms = {term: frozenset(names[p] for p in proteins) for term, proteins in members.items()}
    shown = {term: text for term, text in descriptions.items() if text and term in terms}
    return Standard(name or _name_of(path), terms, shown, report)


def standard_of(
    terms: Mapping[str, Collection[str]],
    name: str = "terms",
    *,
    identifiers: IdentifierMap | None = None,
) -> Standard:
    """A standard of terms that are in memory; names are made plain as those of files are.

    Args:
        terms: proteins of each term.
        name: of the standard.
        identifiers: gives each protein the name to use.

    Raises:
        StandardError: there is no term, or a term or its proteins are no texts.

    Example:
        standard_of({"ribosome": ["RPL1A", "RPS3"], "proteasome": ["PRE1", "PUP2"]}, "complexes")
    """
    lists: dict[str, list[str]] = {}
    for term, members in terms.items():
        listed = isinstance(members, Iterable) and not isinstance(members, str | bytes | Mapping)
        listed = listed and getattr(members, "ndim", 1) == 1
        proteins = lists[term] = list(members) if listed else [members]  # type: ignore[list-item]
        wrong = [one for one in (term, *proteins) if not isinstance(one, str)]
        if not listed or wrong or not proteins:
            what = f"{term!r}: {members!r}" if not wrong else repr(wrong[0])
            msg = (
                "A standard must be a dict of terms and lists of proteins, all of them text: "
                f"{{'ribosome': ['RPL1A', 'RPS3']}}. Received: {what[:100]} in {name!r}."
            )
            raise StandardError(msg)
    notes: Counter[str] = Counter()
    entries = [entry(term, proteins) for term, proteins in lists.items()]
    found, _ = collect(Path(name), iter(entries), notes, MAX_MEMBERSHIPS)
    if not found:
        msg = f"A standard must have a term. Received: {name!r} without one."
        raise StandardError(msg)
    report: dict[str, Any] = {"format": "mapping", "options": {}, "left_out": {}}
    report["notes"] = {note: count for note, count in sorted(notes.items()) if count}
    names = _named(found, identifiers, report)
    members = {term: frozenset(names[p] for p in proteins) for term, proteins in found.items()}
    return Standard(name, members, {}, report)


def sized(standard: Standard, min_size: int = 1, max_size: int | None = None) -> Standard:
    """The standard without the terms that have fewer or more members; the report counts them.

    `annotate` counts members that have a profile; this counts all.

    Raises:
        StandardError: no term is left.
    """
    sizes = {term: len(members) for term, members in standard.terms.items()}
    too_small = {term for term, size in sizes.items() if size < min_size}
    too_large = {term for term, size in sizes.items() if max_size is not None and size > max_size}
    kept = sizes.keys() - too_small - too_large
    if not kept:
        msg = (
            f"Some term of {standard.name!r} must have {min_size} to {max_size or 'any number of'} "
            f"members. Received: {len(too_small)} with fewer, {len(too_large)} with more."
        )
        raise StandardError(msg)
    counts = {"term too small": len(too_small), "term too large": len(too_large)}
    left_out = {
        **standard.report.get("left_out", {}),
        **{reason: count for reason, count in counts.items() if count},
    }
    return dataclasses.replace(
        standard,
        terms={term: members for term, members in standard.terms.items() if term in kept},
        descriptions={t: text for t, text in standard.descriptions.items() if t in kept},
        report={**standard.report, "left_out": left_out},
    )


def annotate(
    standard: Standard,
    proteins: Sequence[str],
    *,
    min_size: int = 2,
    max_size: int | None = None,
    distinct_case: bool = False,
    allow_unmatched: int | None = None,
) -> Annotation:
    """What `standard` says of `proteins`, see `Annotation`.

    Args:
        standard: as `read_standard` gives it.
        proteins: names of the profiles.
        min_size: terms with fewer members among `proteins` are left out; at least 2.
        max_size: terms with more of them are left out; None keeps all.
        distinct_case: let names of profiles and of the standard differ in case and be two proteins.
        allow_unmatched: how many proteins may be in no term; None: any number, since standards know
            a part of the proteins only.

    Raises:
        StandardError: no protein is in it, or more are not than is allowed; a protein may or may
            not be one of it (see `deeploc_tf.names`); no term has members enough, or the sizes make
            no sense.
    """
    if min_size < 2 or (max_size is not None and max_size < min_size):
        msg = (
            "`min_size` must be 2 or more, and `max_size` no less. Received: "
            f"min_size={min_size}, max_size={max_size}."
        )
        raise StandardError(msg)
    known = frozenset().union(*standard.terms.values())
    meeting = met(standard, proteins, distinct_case=distinct_case)
    meeting.check(allow_unmatched, error=StandardError)
    row_of = {protein: row for row, protein in enumerate(proteins)}
    position = {member: row_of[name] for member, name in meeting.data_of.items()}
    rows: list[int] = []
    columns: list[int] = []
    kept: list[str] = []
    too_small = too_large = 0
    for term, members in sorted(standard.terms.items()):
        present = sorted({position[protein] for protein in members if protein in position})
        if len(present) < min_size:
            too_small += 1
        elif max_size is not None and len(present) > max_size:
            too_large += 1
        else:
            rows += present
            columns += [len(kept)] * len(present)
            kept.append(term)
    overlap = len(set(position.values()))
    if not kept:
        sizes = f"{min_size} or more" if max_size is None else f"{min_size} to {max_size}"
        msg = (
            f"Some term of {standard.name!r} must have {sizes} proteins with a profile. Received: "
            f"{overlap} proteins in common, {too_small} terms with fewer and {too_large} with "
            "more: no positive pair. Choose another standard or other sizes."
        )
        raise StandardError(msg)
    taking_part, row_numbers = np.unique(rows, return_inverse=True)
    members_matrix = scipy.sparse.csr_matrix(
        (np.ones(len(rows), np.int32), (row_numbers, columns)), (len(taking_part), len(kept))
    )
    coverage = {
        "proteins_with_profile": len(proteins),
        "proteins_in_standard": len(known),
        "proteins_in_both": overlap,
        "proteins_matched_by_form": len(meeting.respelled),
        "proteins_scored": len(taking_part),
        "terms_in_standard": len(standard.terms),
        "terms_too_small": too_small,
        "terms_too_large": too_large,
        "terms_scored": len(kept),
    }
    return Annotation(
        standard.name,
        taking_part,
        members_matrix,
        tuple(kept),
        coverage,
        standard.descriptions,
        meeting,
    )


def met(standard: Standard, proteins: Sequence[str], *, distinct_case: bool = False) -> Joined[str]:
    """Which proteins that have a profile are members of a standard, unchecked."""
    members = frozenset().union(*standard.terms.values())
    words = "profiles", f"proteins of {standard.name!r}"
    return joined(proteins, members, "protein", words, distinct_case=distinct_case)


def _check_options(path: Path, chosen: str, given: Mapping[str, Any]) -> None:
    """Refuse what the format does not know: an option without an effect would be a wrong number."""
    for option, value in given.items():
        if option not in FORMATS.get(chosen).options:
            taking = ", ".join(name for name, form in FORMATS.usable() if option in form.options)
            msg = (
                f"`{option}` must be given for a format that has it: {taking}. Received: "
                f"{option}={value!r} for {path}, read as {chosen}. Leave it out, or name the "
                "format."
            )
            raise StandardError(msg)


def _excluded(
    path: Path,
    terms: Mapping[str, Any],
    descriptions: Mapping[str, str],
    exclude_terms: Collection[str],
) -> list[str]:
    """The terms to leave out, all of which must be there."""
    known = {*terms, *descriptions.values()}
    forms = {same_form(name, "label") for name in known}
    unwanted = {same_form(name, "label") for name in exclude_terms}
    for name in exclude_terms:
        if same_form(name, "label") not in forms - {""}:
            msg = (
                f"A term to leave out must be in the standard. Received: {name!r} for {path}."
                f"{did_you_mean(name, known - {''})}"
            )
            raise StandardError(msg)
    return [
        term
        for term in terms
        if unwanted & {same_form(name, "label") for name in (term, descriptions.get(term, ""))}
    ]


def _named(
    terms: Mapping[str, set[Protein]],
    identifiers: IdentifierMap | None,
    report: dict[str, Any],
) -> dict[Protein, str]:
    """The name to use for each protein; what a table of identifiers did is added to the report."""
    proteins = sorted({protein for members in terms.values() for protein in members})
    if identifiers is None:
        return {protein: protein[-1] for protein in proteins}
    mapped, report["identifiers"] = identifiers.map_alternatives(proteins)
    return dict(zip(proteins, mapped, strict=True))


def _name_of(path: Path) -> str:
    """The file's name without `.gz` and one suffix more."""
    return Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem
