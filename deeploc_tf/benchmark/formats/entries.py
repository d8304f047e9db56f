"""What a reader of any format gives: entries, and a count of what it left out."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from deeploc_tf.benchmark.formats.text import numbered_lines

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

    def lines(self, comment: str = "#") -> Iterator[tuple[int, str]]:
        """Number and text of each line of data; comments are counted.

        A line that begins with `#` is a comment before the data, and where it holds no tab; else
        it is data whose name begins so. A line that begins with `!` is one everywhere.

        Args:
            comment: what a comment begins with: "#", "!", or "" for formats without.
        """
        begun = False
        for number, line in numbered_lines(self.path):
            has_tab = "\t" in line
            if not comment or not line.startswith(comment):
                begun = True
            elif comment != "#" or not (begun and has_tab):
                if comment == "#" and has_tab:
                    reason = f"line before the data taken for a comment, {_shown(number, line)}"
                    self.left_out[reason] += 1
                else:
                    self.notes["comment lines"] += 1
                continue
            yield number, line


# Words above a column of proteins, and above one of terms.
_OF_PROTEINS = {"protein", "gene", "orf", "yorf", "symbol", "uniprot", "accession", "identifier"}
_OF_PROTEINS |= {"id", "name", "member", "entry", "systematic", "standard", "locus", "uniprotkb"}
_OF_TERMS = {"term", "compartment", "localization", "localisation", "location", "complex", "go"}
_OF_TERMS |= {"complexes", "pathway", "process", "processes", "function", "label", "class", "set"}
_OF_TERMS |= {"module", "cluster", "category", "annotation"}
_OF_TERMS |= {"ontology", "slim", "group"}


def names_proteins(field: str) -> bool:
    """Whether a field is the header of a column of proteins, such as `Gene ID` or `#protein`."""
    return bool(words := _words(field)) and words <= _OF_PROTEINS


def names_terms(field: str) -> bool:
    """Whether a field is the header of a column of terms, such as `GO term` or `gene set`."""
    words = _words(field)
    return bool(words & _OF_TERMS) and words <= _OF_TERMS | _OF_PROTEINS


def _words(field: str) -> set[str]:
    spaced = re.sub(r"(?<=[a-z])(?=ID\b|Id\b|Name|Symbol)", " ", field.lstrip("#").strip())
    words = re.split(r"[\s_.-]+", spaced.casefold())
    plural = {word for word in words if word.removesuffix("s") in _OF_PROTEINS | _OF_TERMS}
    return {word.removesuffix("s") if word in plural else word for word in words} - {""}


def _shown(number: int, line: str) -> str:
    return f"line {number}: {line[:40]!r}"


def entry(term: str, members: Iterable[str], description: str = "") -> Entry:
    """Members that the file calls by one name each."""
    return Entry(term, [(member,) for member in members], description)
