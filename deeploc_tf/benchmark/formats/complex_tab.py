"""ComplexTAB of the Complex Portal: complexes and their participants."""

from __future__ import annotations

import re
from collections.abc import Iterator

from deeploc_tf.benchmark.formats.entries import Entry, Reading, entry
from deeploc_tf.benchmark.formats.text import header_of, malformed

ACCESSION = "#Complex ac"
_NAME = "Recommended name"
_MEMBERS = "Identifiers (and stoichiometry) of molecules in complex"
_STOICHIOMETRY = re.compile(r"\s*\([^()]*\)$")
# a UniProt accession, perhaps of an isoform (-2) or a processed chain (-PRO_0000002073)
_UNIPROT = re.compile(
    r"([OPQ]\d[A-Z0-9]{3}\d|[A-NR-Z]\d(?:[A-Z][A-Z0-9]{2}\d){1,2})(?:-\d+|[-:]PRO_\d+)?$"
)


def read_complex_tab(reading: Reading) -> Iterator[Entry]:
    """The entries of the complexes: terms by accession, proteins by UniProt accession.

    Stoichiometry is left out. A complex within a complex gives its own proteins. Of a set of
    molecules that stand for one another, `[A,B]`, all are members. What is no protein (RNA, small
    molecules) is left out and counted.

    Raises:
        StandardError: a line is malformed, or two are of one complex.
    """
    participants: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    lines = reading.lines("")
    header = header_of(reading.path, lines, (ACCESSION, _NAME, _MEMBERS))
    for number, line in lines:
        fields = line.split("\t")
        if len(fields) != len(header) or not fields[header.index(ACCESSION)].strip():
            must = f"A line of this ComplexTAB must be an accession and {len(header) - 1} others."
            raise malformed(reading.path, number, line, must)
        complex_id = fields[header.index(ACCESSION)].strip()
        if complex_id in participants:
            must = f"Each complex must have one line, and {complex_id} has two."
            raise malformed(reading.path, number, line, must)
        names[complex_id] = fields[header.index(_NAME)].strip()
        participants[complex_id] = _molecules(fields[header.index(_MEMBERS)])
    for complex_id in participants:
        proteins = _proteins(complex_id, participants, reading)
        if not proteins:
            reading.left_out["complex without a protein"] += 1
            continue
        yield entry(complex_id, proteins, names[complex_id])


def _molecules(cell: str) -> list[str]:
    """Identifiers of a cell `P1(2)|[P3,P4](1)|CPX-5(0)`, without stoichiometry."""
    parts = [_STOICHIOMETRY.sub("", part.strip()) for part in cell.split("|")]
    return [name.strip() for part in parts for name in part.strip("[]").split(",") if name != "-"]


def _proteins(complex_id: str, participants: dict[str, list[str]], reading: Reading) -> list[str]:
    """Accessions of a complex and of those within it, each complex once: cycles come to an end."""
    proteins: dict[str, None] = {}
    entered = {complex_id}
    waiting = list(participants[complex_id])
    while waiting:
        molecule = waiting.pop()
        uniprot = _UNIPROT.match(molecule.upper())
        if uniprot:
            proteins[uniprot[1]] = None
        elif molecule in entered:
            continue
        elif molecule in participants:
            entered.add(molecule)
            waiting += participants[molecule]
            reading.notes["complexes within a complex"] += 1
        else:
            absent = molecule.startswith("CPX-")
            reason = "complex that the file does not have" if absent else "molecule, not a protein"
            reading.left_out[reason] += 1
    return list(proteins)
