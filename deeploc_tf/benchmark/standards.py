"""Gold standards: named sets of proteins, such as compartments, pathways or complexes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse


class StandardError(ValueError):
    """A standard's file is malformed, or has nothing in common with the profiles."""


@dataclasses.dataclass(frozen=True)
class Standard:
    """Terms and their members.

    Attributes:
        name: of the standard, by default that of its file.
        terms: members of each term.
    """

    name: str
    terms: Mapping[str, frozenset[str]]


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
    """

    standard: str
    proteins: np.ndarray[Any, np.dtype[np.intp]]
    members: scipy.sparse.csr_matrix
    terms: tuple[str, ...]
    coverage: Mapping[str, int]


def read_standard(path: str | Path, name: str | None = None) -> Standard:
    """Read a standard from GMT or from two columns.

    GMT: a line a term: name, description, members, divided by tabs. Two columns: a line a
    membership, protein and term, divided by a tab. Lines that begin with `#` and empty ones are
    passed over. A file is GMT if its name ends in `.gmt`.

    Args:
        path: the file, UTF-8.
        name: of the standard; None takes the file's, without its suffix.

    Raises:
        StandardError: a line is not as it must be; file and line number are named.
        OSError: the file cannot be read.
    """
    path = Path(path)
    read = _read_gmt if path.suffix.lower() == ".gmt" else _read_pairs
    terms: dict[str, set[str]] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        msg = (
            f"A standard must be UTF-8 text. Received: {path}, which is not at byte {error.start}."
        )
        raise StandardError(msg) from error
    for term, members in read(path, _lines(text)):
        terms.setdefault(term, set()).update(members)
    if not terms:
        msg = f"A standard must have a term. Received: {path} without one."
        raise StandardError(msg)
    return Standard(name or path.stem, {term: frozenset(m) for term, m in terms.items()})


def annotate(standard: Standard, proteins: Sequence[str]) -> Annotation:
    """What `standard` says of `proteins`, see `Annotation`.

    Raises:
        StandardError: no protein is in it, or no term has two of them.
    """
    position = {protein: i for i, protein in enumerate(proteins)}
    known = {protein for members in standard.terms.values() for protein in members}
    rows: list[int] = []
    columns: list[int] = []
    kept: list[str] = []
    for term, members in sorted(standard.terms.items()):
        present = [position[protein] for protein in members if protein in position]
        if len(present) < 2:
            continue
        rows += present
        columns += [len(kept)] * len(present)
        kept.append(term)
    overlap = len(known & position.keys())
    if not overlap:
        msg = (
            f"Proteins of {standard.name!r} must have profiles. Received: 0 proteins in common, "
            f"such as {sorted(known)[:3]} there and {sorted(position)[:3]} here. Use the same kind "
            "of name in both."
        )
        raise StandardError(msg)
    if not kept:
        msg = (
            f"Some term of {standard.name!r} must have two proteins with a profile. Received: "
            f"{overlap} proteins in common, each in terms of its own: no positive pair. Choose "
            "another standard."
        )
        raise StandardError(msg)
    taking_part, row_numbers = np.unique(rows, return_inverse=True)
    members_matrix = scipy.sparse.csr_matrix(
        (np.ones(len(rows), np.int32), (row_numbers, columns)), (len(taking_part), len(kept))
    )
    coverage = {
        "proteins_with_profile": len(position),
        "proteins_in_standard": len(known),
        "proteins_in_both": overlap,
        "proteins_scored": len(taking_part),
        "terms_in_standard": len(standard.terms),
        "terms_scored": len(kept),
    }
    return Annotation(standard.name, taking_part, members_matrix, tuple(kept), coverage)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            yield number, line


def _read_gmt(path: Path, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[str, list[str]]]:
    seen: dict[str, int] = {}
    for number, line in lines:
        term, *rest = (field.strip() for field in line.split("\t"))
        members = [field for field in rest[1:] if field]
        if not term or not members:
            msg = (
                "A line of a GMT file must be a term, a description and members, divided by tabs. "
                f"Received: {path}, line {number}: {line[:60]!r}."
            )
            raise StandardError(msg)
        if term in seen:
            msg = (
                f"Each term must have one line. Received: {term!r} in lines {seen[term]} and "
                f"{number} of {path}."
            )
            raise StandardError(msg)
        seen[term] = number
        yield term, members


def _read_pairs(path: Path, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[str, list[str]]]:
    for number, line in lines:
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) != 2 or not all(fields):
            msg = (
                "A line must be a protein and a term with a tab between them (GMT files end in "
                f".gmt). Received: {path}, line {number}: {line[:60]!r}."
            )
            raise StandardError(msg)
        yield fields[1], [fields[0]]
