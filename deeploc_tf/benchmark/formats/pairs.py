"""Two columns, protein and term; and lines of members whose terms have no name, as CYC2008."""

from __future__ import annotations

import re
from collections.abc import Iterator

from deeploc_tf.benchmark.formats.entries import Entry, Reading, entry, names_proteins, names_terms
from deeploc_tf.benchmark.formats.text import malformed, names_in

_MISSING = frozenset({"-", "na", "n/a", "#n/a", "nan", "null", "none"})


def read_pairs(reading: Reading) -> Iterator[Entry]:
    """The entries of a table of two columns, a line a membership.

    A first line such as `protein` and `term` names the columns and is left out.

    Raises:
        StandardError: a line has not two fields, the header names them in the other order, or the
            first line may be a header and may be data.
    """
    first = ("", "", 0, "")  # protein and term of a first line that may be a header, where it is
    shapes: set[str] = set()
    for place, (number, line) in enumerate(reading.lines()):
        fields = names_in(reading.path, number, line)
        if len(fields) != 2 or not all(fields):
            must = (
                "A line must be a protein and a term with a tab between them (GMT files end in "
                ".gmt; name any other format)."
            )
            raise malformed(reading.path, number, line, must)
        protein, term = fields
        if place == 0 and names_terms(protein) and names_proteins(term):
            must = "The columns must be the protein and then the term; exchange them."
            raise malformed(reading.path, number, line, must)
        if place == 0 and names_proteins(protein):
            reading.left_out["header line"] += 1
            continue
        if place == 0:
            first = protein, term, number, line
        else:
            shapes.add(_shape(protein))
            if protein == first[0] or term == first[1]:
                first = ("", "", 0, "")
        if {protein.casefold(), term.casefold()} & _MISSING:
            reading.left_out["line without a protein or a term (-, NA)"] += 1
            continue
        if re.search(r"[^;|][;|]\s*[^;|\s]", term):
            reading.notes["lines whose term holds ; or |, read as one term"] += 1
        yield entry(term, [protein])
    protein, term, number, line = first
    if shapes and protein and (names_terms(term) or _is_unlike(protein, shapes)):
        must = (
            "A first line whose protein and term no other line has may be a header. Name its "
            "columns protein and term, or put a line with these two words above it."
        )
        raise malformed(reading.path, number, line, must)


def _is_unlike(protein: str, shapes: set[str]) -> bool:
    """Whether a name is written as no other and holds no digit, as a word above a column."""
    return not re.search(r"\d", protein) and _shape(protein) not in shapes


def _shape(name: str) -> str:
    """How a name is written: `SEC61` is `A0`, `Locus tag` is `Aa a`."""
    return re.sub(r"\d+", "0", re.sub(r"[a-z]+", "a", re.sub(r"[A-Z]+", "A", name)))


def read_lines(reading: Reading) -> Iterator[Entry]:
    """The entries of a file with a term a line: nothing but its members, divided by tabs.

    A term's name is the number of its line.
    """
    for number, line in reading.lines():
        members = [name for name in names_in(reading.path, number, line) if name]
        yield entry(f"line {number}", members)
