"""KEGG: link tables of its REST service, and the table of pathways that yeast-GEM publishes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from deeploc_tf.benchmark.formats.entries import Entry, Reading, entry
from deeploc_tf.benchmark.formats.text import header_of, malformed, names_in

_PATHWAY = re.compile(r"([a-z]{2,4}\d{5})  (.*?)(?: (?=[a-z]{2,4}\d{5}  )|$)")


_TERM = re.compile(r"(?:path|md):(.+)|([a-z]{2,4}\d{5}|(?:[a-z]{2,4}_)?M\d{5})")


def kegg_term(field: str) -> str | None:
    """The id of a pathway or module, if the field is one.

    >>> kegg_term("path:sce00010"), kegg_term("md:sce_M00001"), kegg_term("sce:YAL001C")
    ('sce00010', 'sce_M00001', None)
    """
    found = _TERM.fullmatch(field.strip())
    return None if found is None else found[1] or found[2]


def read_kegg_link(reading: Reading) -> Iterator[Entry]:
    """The entries of a gene and a pathway or module a line, in either order.

    As `sce:YAL001C TAB path:sce00010`, `sce:YAL001C TAB md:sce_M00001`, or without `path:` and
    `md:`. Genes, pathways and modules lose what stands before the colon.
    """
    for number, line in reading.lines():
        fields = names_in(reading.path, number, line)
        terms = [term for field in fields if (term := kegg_term(field)) is not None]
        genes = [field for field in fields if kegg_term(field) is None]
        if len(terms) != 1 or len(genes) != 1 or not genes[0]:
            must = (
                "A line of a KEGG link table must be a gene and a path:ID or md:ID, a tab between."
            )
            raise malformed(reading.path, number, line, must)
        yield entry(terms[0], [genes[0].rpartition(":")[2]])


def read_kegg_table(reading: Reading) -> Iterator[Entry]:
    """The entries of a table with the columns `gene_id` and `pathway`.

    A cell holds pathways as `sce03008  Name sce03010  Name`, with two spaces after each id.
    """
    lines = reading.lines()
    header = header_of(reading.path, lines, ("gene_id", "pathway"))
    gene_column, pathway_column = header.index("gene_id"), header.index("pathway")
    for number, line in lines:
        fields = line.split("\t")
        gene = fields[gene_column].strip() if len(fields) == len(header) else ""
        cell = fields[pathway_column].strip() if gene else ""
        found = list(_PATHWAY.finditer(cell))
        if not gene or sum(len(match[0]) for match in found) != len(cell):
            must = (
                f"A line of a KEGG table must have {len(header)} fields, a gene_id among them, and "
                "pathways as 'sce00010  Name sce00020  Name'."
            )
            raise malformed(reading.path, number, line if not gene else cell, must)
        if not found:
            reading.left_out["gene without pathway"] += 1
        for match in found:
            yield entry(match[1], [gene], match[2])
