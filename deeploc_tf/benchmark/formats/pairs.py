"""Two columns, protein and term; and lines of members whose terms have no name, as CYC2008."""

from __future__ import annotations

from collections.abc import Iterator

from deeploc_tf.benchmark.formats.entries import Entry, Reading, entry
from deeploc_tf.benchmark.formats.text import malformed, names_in, numbered_lines


def read_pairs(reading: Reading) -> Iterator[Entry]:
    """The entries of a table of two columns, a line a membership."""
    for number, line in numbered_lines(reading.path):
        fields = names_in(reading.path, number, line)
        if len(fields) != 2 or not all(fields):
            must = (
                "A line must be a protein and a term with a tab between them (GMT files end in "
                ".gmt; name any other format)."
            )
            raise malformed(reading.path, number, line, must)
        yield entry(fields[1], [fields[0]])


def read_lines(reading: Reading) -> Iterator[Entry]:
    """The entries of a file with a term a line: nothing but its members, divided by tabs.

    A term's name is the number of its line.
    """
    for number, line in numbered_lines(reading.path):
        members = [name for name in names_in(reading.path, number, line) if name]
        yield entry(f"line {number}", members)
