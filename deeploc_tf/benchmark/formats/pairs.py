"""Two columns, protein and term; and lines of members whose terms have no name, as CYC2008."""

from __future__ import annotations

from collections.abc import Iterator

from deeploc_tf.benchmark.formats.entries import Entry, Reading, entry, names_proteins, names_terms
from deeploc_tf.benchmark.formats.text import malformed, names_in


def read_pairs(reading: Reading) -> Iterator[Entry]:
    """The entries of a table of two columns, a line a membership.

    A first line such as `protein` and `term` names the columns and is left out.

    Raises:
        StandardError: a line has not two fields, or the header names them in the other order.
    """
    for place, (number, line) in enumerate(reading.lines()):
        fields = names_in(reading.path, number, line)
        if len(fields) != 2 or not all(fields):
            must = (
                "A line must be a protein and a term with a tab between them (GMT files end in "
                ".gmt; name any other format)."
            )
            raise malformed(reading.path, number, line, must)
        if place == 0 and names_terms(fields[0]) and names_proteins(fields[1]):
            must = "The columns must be the protein and then the term; exchange them."
            raise malformed(reading.path, number, line, must)
        if place == 0 and names_proteins(fields[0]):
            reading.left_out["header line"] += 1
            continue
        yield entry(fields[1], [fields[0]])


def read_lines(reading: Reading) -> Iterator[Entry]:
    """The entries of a file with a term a line: nothing but its members, divided by tabs.

    A term's name is the number of its line.
    """
    for number, line in reading.lines():
        members = [name for name in names_in(reading.path, number, line) if name]
        yield entry(f"line {number}", members)
