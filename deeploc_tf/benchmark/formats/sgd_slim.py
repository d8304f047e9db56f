"""SGD's `go_slim_mapping.tab`: genes and the terms of the yeast GO slim.

ORF, gene, SGDID, aspect (C component, F function, P process), slim term, GO id, type. Downloads
differ: with a header or without, and without the type, the SGDID or the gene.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from deeploc_tf.benchmark.formats.aspects import ASPECTS, ROOTS, OneAspect
from deeploc_tf.benchmark.formats.entries import Entry, Reading
from deeploc_tf.benchmark.formats.text import malformed

_COLUMNS = ("orf", "gene", "sgd_id", "aspect", "term", "go_id", "kind")
_TITLES = {
    "aspect": "aspect",
    "go_id": r"go_?id|go_?accession",
    "term": r"term|slim",
    "kind": "type",
    "sgd_id": r"sgd_?id",
    "orf": r"orf|systematic|locus",
    "gene": "gene|standard|symbol",
}
_SGD_ID = re.compile(r"(?:SGD:)?S\d{9}")


def columns_of(rows: Sequence[Sequence[str]]) -> dict[str, int] | None:
    """Where each column stands, from the first lines of a file; None: it is no such table."""
    if not rows:
        return None
    if (named := _named(rows[0])) is not None:
        return named
    for columns in (_COLUMNS, *([*_COLUMNS[:n], *_COLUMNS[n + 1 :]] for n in (6, 2, 1))):
        at = {name: place for place, name in enumerate(columns)}
        if all(len(row) == len(at) and _fits(row, at) for row in rows):
            return at
    return None


def _named(header: Sequence[str]) -> dict[str, int] | None:
    at: dict[str, int] = {}
    for place, title in enumerate(header):
        plain = re.sub(r"\(.*?\)", "", title).strip().casefold().replace(" ", "_")
        name = next((n for n, form in _TITLES.items() if re.search(form, plain)), None)
        if name is not None:
            at.setdefault(name, place)
    return at if {"orf", "aspect", "term", "go_id"} <= at.keys() else None


def _fits(row: Sequence[str], at: Mapping[str, int]) -> bool:
    """Whether the values of a line are what its columns say."""
    values = {name: row[place].strip() for name, place in at.items()}
    is_id = _SGD_ID.fullmatch(values.get("gene", "")) is None
    return (
        values["aspect"].upper() in ASPECTS
        and is_id
        and (not values["go_id"] or values["go_id"].startswith("GO:"))
    )


def read_sgd_slim(reading: Reading) -> Iterator[Entry]:
    """The entries of one aspect: terms by GO id, proteins by gene name or, without one, by ORF.

    Left out are complexes, the roots of the ontology (which say "nothing is known"), and `other`
    and `not_yet_annotated`, which have no GO id.

    Raises:
        StandardError: a line is malformed, or the file has several aspects and none is chosen.
    """
    chosen = OneAspect(reading)
    at: dict[str, int] | None = None
    for number, line in reading.lines("!"):
        fields = [field.strip() for field in line.split("\t")]
        if at is None:
            at = columns_of([fields]) or {name: place for place, name in enumerate(_COLUMNS)}
            if _named(fields) is not None:
                reading.left_out["header line"] += 1
                width = len(fields)
                continue
            width = len(at)
        values = {name: fields[place] for name, place in at.items() if place < len(fields)}
        aspect = values.get("aspect", "").upper()
        if len(fields) != width or not values["orf"] or not chosen.known(aspect):
            must = (
                "A line of go_slim_mapping.tab must be ORF, gene, SGDID, aspect (C, F or P), term, "
                "GO id and type, tabs between, as the first one."
            )
            raise malformed(reading.path, number, line, must)
        if not chosen.takes(aspect):
            continue
        orf, go_id, term = values["orf"], values["go_id"], values["term"]
        if "complex" in values.get("kind", "").casefold():
            reading.left_out["complex as a member"] += 1
        elif not go_id:
            reading.left_out[f"term {term!r} without GO id"] += 1
        elif go_id in ROOTS:
            reading.left_out["root of the ontology"] += 1
        else:
            yield Entry(go_id, [(orf, values.get("gene") or orf)], term)
    chosen.check_found()
