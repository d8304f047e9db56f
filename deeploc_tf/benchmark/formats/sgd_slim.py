"""SGD's `go_slim_mapping.tab`: genes and the terms of the yeast GO slim.

No header; ORF, gene, SGDID, aspect (C component, F function, P process), slim term, GO id, type.
"""

from __future__ import annotations

from collections.abc import Iterator

from deeploc_tf.benchmark.formats.aspects import ROOTS, OneAspect
from deeploc_tf.benchmark.formats.entries import Entry, Reading
from deeploc_tf.benchmark.formats.text import malformed


def read_sgd_slim(reading: Reading) -> Iterator[Entry]:
    """The entries of one aspect: terms by GO id, proteins by gene name or, without one, by ORF.

    Left out are complexes, the roots of the ontology (which say "nothing is known"), and `other`
    and `not_yet_annotated`, which have no GO id.

    Raises:
        StandardError: a line is malformed, or the file has several aspects and none is chosen.
    """
    chosen = OneAspect(reading)
    for number, line in reading.lines("!"):
        fields = [field.strip() for field in line.split("\t")]
        fields[3:4] = [field.upper() for field in fields[3:4]]
        if len(fields) != 7 or not fields[0] or not chosen.known(fields[3]):
            must = (
                "A line of go_slim_mapping.tab must be ORF, gene, SGDID, aspect (C, F or P), term, "
                "GO id and type, tabs between."
            )
            raise malformed(reading.path, number, line, must)
        orf, gene, _, aspect, term, go_id, kind = fields
        if not chosen.takes(aspect):
            continue
        if "complex" in kind.casefold():
            reading.left_out["complex as a member"] += 1
        elif not go_id:
            reading.left_out[f"term {term!r} without GO id"] += 1
        elif go_id in ROOTS:
            reading.left_out["root of the ontology"] += 1
        else:
            yield Entry(go_id, [(orf, gene or orf)], term)
    chosen.check_found()
