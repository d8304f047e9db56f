"""What a reader of any format gives: entries, and a count of what it left out."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

Protein = tuple[str, ...]
"""What a file calls a protein, the surest name first; the last one is shown."""


class Entry(NamedTuple):
    """Proteins in one term: all of them, or some of many entries of the term.

    Attributes:
        term: name of the term, unique in the standard.
        proteins: members.
        description: of the term, such as the name that belongs to an accession.
    """

    term: str
    proteins: Collection[Protein]
    description: str = ""


@dataclasses.dataclass
class Reading:
    """One call of a reader: what it is asked for, and what it counts on its way.

    Attributes:
        path: the file.
        aspect: "C", "F" or "P"; None takes the only one there is.
        exclude_evidence: evidence codes whose annotations are left out.
        ontology: OBO file.
        slim: OBO file of the slim terms, or the name of a subset of `ontology`.
        left_out: reason -> how many lines or members.
        notes: further counts, by name.
    """

    path: Path
    aspect: str | None = None
    exclude_evidence: frozenset[str] = frozenset()
    ontology: Path | None = None
    slim: str | Path | None = None
    left_out: Counter[str] = dataclasses.field(default_factory=Counter)
    notes: Counter[str] = dataclasses.field(default_factory=Counter)


def entry(term: str, members: Iterable[str], description: str = "") -> Entry:
    """Members that the file calls by one name each."""
    return Entry(term, [(member,) for member in members], description)
