"""Localization of Breker et al. 2013 (LoQAtE): a table of ORFs with a place in each condition."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from deeploc_tf.benchmark.formats.entries import Entry, Reading, entry
from deeploc_tf.benchmark.formats.text import malformed

ORF, PLACE = "ORF", "control Localization"
_NO_PLACES = {"below threshold", "ambiguous", "NA", ""}


def read_loqate(reading: Reading) -> Iterator[Entry]:
    """The entries of the control: an ORF is in each of the places that `:` divides.

    `below threshold` and `ambiguous` are no places and are counted as left out.

    Raises:
        StandardError: a column is missing, or a line has another number of fields.
    """
    lines = reading.lines("")
    number, first = next(lines, (1, ""))
    header = _fields(first)
    if not {ORF, PLACE} <= set(header):
        must = f"The first line must name the columns {ORF} and {PLACE}, commas between."
        raise malformed(reading.path, number, first, must)
    orf, place = header.index(ORF), header.index(PLACE)
    for number, line in lines:
        fields = _fields(line)
        if len(fields) != len(header) or not fields[orf].strip():
            must = f"A line must have an ORF and {len(header)} fields."
            raise malformed(reading.path, number, line, must)
        for name in fields[place].split(":"):
            if name.strip() in _NO_PLACES:
                reading.left_out[f"{name.strip() or 'nothing'!r}, not a place"] += 1
            else:
                yield entry(name.strip(), [fields[orf].strip()])


def _fields(line: str) -> list[str]:
    return next(csv.reader([line]), [])
