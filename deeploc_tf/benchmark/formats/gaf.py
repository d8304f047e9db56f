"""GAF 2.x, the annotation files of the Gene Ontology, with or without the ontology itself.

Without an ontology the terms are those that curators chose. With one, a protein of a term is a
protein of all terms above it too, over is_a and part_of, within the aspect.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from deeploc_tf.benchmark.formats.aspects import ASPECTS, ROOTS, OneAspect
from deeploc_tf.benchmark.formats.entries import Entry, Protein, Reading
from deeploc_tf.benchmark.formats.ontology import Ontology, read_ontology
from deeploc_tf.benchmark.formats.text import StandardError, malformed
from tfrecords.errors import did_you_mean

# A qualifier that begins with NOT or has it as a word, and is not NOT: read as no qualifier, the
# line would say the opposite.
_SEEMS_NEGATIVE = re.compile(r"^NOT.|(?<![A-Z])NOT(?![A-Z])(?!$)|.(?<![A-Z])NOT$")
_MIN_FIELDS, _MAX_FIELDS = 15, 17


def read_gaf(reading: Reading) -> Iterator[Entry]:
    """The entries of one aspect: terms by GO id, proteins by symbol.

    Left out and counted are `NOT`, excluded evidence, annotations of complexes, the root of the
    ontology, and terms that it does not have or has given up without a successor.

    Raises:
        StandardError: a line is malformed, several aspects are there and none is chosen, or a slim
            is asked for without an ontology.
    """
    if reading.slim is not None and reading.ontology is None:
        msg = (
            "A slim needs the ontology that it is a part of. Received: "
            f"slim={str(reading.slim)!r} without ontology. Name an OBO file such as go-basic.obo."
        )
        raise StandardError(msg)
    ontology = read_ontology(reading.ontology) if reading.ontology else None
    slim = _slim_terms(reading, ontology) if ontology and reading.slim else None
    excluded = frozenset(code.strip().upper() for code in reading.exclude_evidence)
    evidence: set[str] = set()
    chosen = OneAspect(reading)
    proteins: dict[tuple[str, str], set[Protein]] = defaultdict(set)
    count: Counter[tuple[str, str]] = Counter()
    for number, line in reading.lines("!"):
        fields = [field.strip() for field in line.split("\t")]
        fields[6:9] = [field.upper() for field in fields[6:9]]
        if not _MIN_FIELDS <= len(fields) <= _MAX_FIELDS or not (
            fields[1] and fields[4].startswith("GO:") and chosen.known(fields[8])
        ):
            must = "A line of GAF 2 must have 17 fields: a protein, a GO id, an aspect C, F or P."
            raise malformed(reading.path, number, line, must)
        evidence.add(fields[6])
        if any(_SEEMS_NEGATIVE.search(part) for part in _qualifiers(fields)):
            must = "Qualifiers must be divided by |, and a negation must be NOT alone."
            raise malformed(reading.path, number, line, must)
        if chosen.takes(fields[8]) and _counts(fields, excluded, reading):
            annotated = fields[4], fields[8]
            proteins[annotated].add((fields[1], fields[2] or fields[1]))
            count[annotated] += 1
    chosen.check_found()
    _check_evidence(reading, excluded, evidence)
    for (term_id, aspect), members in proteins.items():
        terms = _terms(term_id, aspect, ontology, slim, reading)
        if not terms:
            reading.left_out[_reason(term_id, ontology)] += count[term_id, aspect]
        for above in terms:
            yield Entry(above, members, ontology.terms[above].name if ontology else "")


def _check_evidence(reading: Reading, excluded: frozenset[str], there: set[str]) -> None:
    """Refuse to leave out what the file does not have: nothing would be."""
    for code in sorted(excluded - there):
        msg = (
            f"`exclude_evidence` must be codes that the file has: {', '.join(sorted(there))}. "
            f"Received: {code!r} for {reading.path}.{did_you_mean(code, there)}"
        )
        raise StandardError(msg)


def _counts(fields: list[str], excluded: frozenset[str], reading: Reading) -> bool:
    """Whether a line says that a protein is in a term; the reason is counted where it does not."""
    reason = ""
    if "NOT" in _qualifiers(fields):
        reason = "NOT"
    elif fields[6] in excluded:
        reason = f"evidence {fields[6]}"
    elif "complex" in fields[11].casefold():
        reason = "complex as a member"
    if reason:
        reading.left_out[reason] += 1
    return not reason


def _qualifiers(fields: list[str]) -> list[str]:
    return [part.strip().upper() for part in fields[3].split("|")]


def _terms(
    term_id: str,
    aspect: str,
    ontology: Ontology | None,
    slim: frozenset[str] | None,
    reading: Reading,
) -> tuple[str, ...]:
    """The terms that a protein of this term is in; what its id went through is noted."""
    if ontology is None:
        return () if term_id in ROOTS else (term_id,)
    current, event = ontology.current(term_id)
    if current is None:
        return ()
    if event:
        reading.notes[f"terms by {event}"] += 1
    above, missing = ontology.ancestors(current)
    reading.notes["parents that the ontology does not have"] += len(missing)
    reading.notes["terms above themselves"] += current in above
    namespace = ASPECTS[aspect]
    found = {t for t in above | {current} if ontology.terms[t].namespace in ("", namespace)}
    return tuple(sorted(found - ROOTS if slim is None else (found & slim) - ROOTS))


def _reason(term_id: str, ontology: Ontology | None) -> str:
    """Why an annotation has no term."""
    if term_id in ROOTS:
        return "root of the ontology"
    current, event = ontology.current(term_id) if ontology else (term_id, "")
    return event if current is None else "no term of the aspect, or of the slim"


def _slim_terms(reading: Reading, ontology: Ontology) -> frozenset[str]:
    """Ids of a slim: the terms of an OBO file, or the subset of the ontology that has its name."""
    slim = reading.slim or ""
    if Path(slim).is_file():
        terms = read_ontology(Path(slim)).terms
        found = [ontology.current(term_id)[0] for term_id, t in terms.items() if not t.obsolete]
        reading.notes["terms of the slim that the ontology does not have"] += found.count(None)
        return frozenset(term_id for term_id in found if term_id is not None)
    subsets: Mapping[str, None] = dict.fromkeys(
        subset for term in ontology.terms.values() for subset in sorted(term.subsets)
    )
    if str(slim) not in subsets:
        msg = (
            "`slim` must be an OBO file or a subset that the ontology has. Received: "
            f"slim={str(slim)!r}.{did_you_mean(str(slim), subsets)}"
        )
        raise StandardError(msg)
    return frozenset(i for i, term in ontology.terms.items() if str(slim) in term.subsets)
