"""CYC2008 as it is downloaded: a table of ORFs, their genes and the complexes that they are in."""

from __future__ import annotations

from collections.abc import Iterator

from deeploc_tf.benchmark.formats.entries import Entry, Reading
from deeploc_tf.benchmark.formats.text import header_of, malformed

COLUMNS = ("ORF", "Name", "Complex")


def read_cyc2008(reading: Reading) -> Iterator[Entry]:
    """The entries of `CYC2008_complex.tab`: terms by the name of the complex.

    Proteins go by gene name or, without one, by ORF; references and GO terms are left alone. This
    table has quotation marks as spreadsheets write them, which are no part of a name.

    Raises:
        StandardError: a line names no ORF.
    """
    lines = reading.lines()
    header = header_of(reading.path, lines, COLUMNS)
    places = [header.index(name) for name in COLUMNS]
    for number, line in lines:
        fields = line.split("\t")
        fields += [""] * (len(header) - len(fields))
        orf, gene, name = (_unquoted(fields[place]) for place in places)
        if not orf:
            must = "A line of CYC2008 must have an ORF, a name and a complex, tabs between."
            raise malformed(reading.path, number, line, must)
        if name:
            yield Entry(name, [(orf, gene or orf)])
        else:
            reading.left_out["protein without a complex"] += 1


def _unquoted(field: str) -> str:
    plain = field.strip()
    is_quoted = len(plain) > 1 and plain[0] == plain[-1] == '"'
    return plain[1:-1].replace('""', '"').strip() if is_quoted else plain
