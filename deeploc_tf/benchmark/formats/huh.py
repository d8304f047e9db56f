"""Compartments of Huh et al. 2003: the wide table of T and F, and the summary by ORF."""

from __future__ import annotations

from collections.abc import Iterator

from deeploc_tf.benchmark.formats.entries import Entry, Reading, entry
from deeploc_tf.benchmark.formats.text import header_of, malformed

SUMMARY_HEADER = "yORF localization summary"
_ORF, _GENE, _AMBIGUOUS = "yORF", "gene name", "ambiguous"


def read_huh_table(reading: Reading) -> Iterator[Entry]:
    """The entries of `allOrfData.txt`: the 22 columns after `ambiguous` are the compartments.

    Proteins go by gene name or, without one, by ORF. `ambiguous` is no place and is counted as
    left out; it may stand beside compartments, which are kept.
    """
    lines = reading.lines()
    header = header_of(reading.path, lines, (_ORF, _GENE, _AMBIGUOUS))
    first = header.index(_AMBIGUOUS)
    compartments = [(i, name) for i, name in enumerate(header) if i > first and name]
    orf_column, gene_column = header.index(_ORF), header.index(_GENE)
    for number, line in lines:
        fields = [field.strip() for field in line.split("\t")]
        enough = len(fields) > compartments[-1][0]
        flags = {fields[i] for i, _ in compartments} if enough else {"too few fields"}
        if not flags <= {"T", "F"} or not fields[orf_column]:
            must = f"A line must have an ORF, and T or F for {len(compartments)} compartments."
            raise malformed(reading.path, number, line, must)
        orf = fields[orf_column]
        if fields[first] == "T":
            reading.left_out["'ambiguous', not a compartment"] += 1
        elif "T" not in flags:
            reading.left_out["protein without compartment"] += 1
        for i, name in compartments:
            if fields[i] == "T":
                yield Entry(name, [(orf, fields[gene_column] or orf)])


def read_huh_summary(reading: Reading) -> Iterator[Entry]:
    """The entries of `huh_loc_070804.txt`: an ORF, a space, and compartments with commas between.

    `ambiguous` is counted as left out.
    """
    lines = reading.lines()
    header_of(reading.path, lines, (SUMMARY_HEADER,))
    for number, line in lines:
        orf, summary = [*line.split(maxsplit=1), ""][:2]
        compartments = [name.strip() for name in summary.split(",")]
        if not summary.strip():
            reading.left_out["protein without compartment"] += 1
            continue
        if not all(compartments):
            must = "A line must be an ORF, a space, and compartments with commas between."
            raise malformed(reading.path, number, line, must)
        for name in compartments:
            if name.casefold() == _AMBIGUOUS:
                reading.left_out["'ambiguous', not a compartment"] += 1
            else:
                yield entry(name, [orf])
