"""All formats by name, and which of them a file has.

Another package adds its own by an entry point of the group `deeploc_tf.standards`, a program by
`FORMATS.register`.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from deeploc_tf.benchmark.formats.complex_tab import ACCESSION, read_complex_tab
from deeploc_tf.benchmark.formats.cyc2008 import COLUMNS, read_cyc2008
from deeploc_tf.benchmark.formats.entries import Entry, Reading
from deeploc_tf.benchmark.formats.gaf import read_gaf
from deeploc_tf.benchmark.formats.gmt import read_described_gmt, read_gmt, read_gmt_of_members
from deeploc_tf.benchmark.formats.huh import SUMMARY_HEADER, read_huh_summary, read_huh_table
from deeploc_tf.benchmark.formats.kegg import kegg_term, read_kegg_link, read_kegg_table
from deeploc_tf.benchmark.formats.loqate import ORF, PLACE, read_loqate
from deeploc_tf.benchmark.formats.modules_json import read_modules_json
from deeploc_tf.benchmark.formats.pairs import read_lines, read_pairs
from deeploc_tf.benchmark.formats.sgd_slim import columns_of, read_sgd_slim
from deeploc_tf.benchmark.formats.text import StandardError, numbered_lines
from deeploc_tf.registry import Registry

# A name of a yeast gene by its place: chromosome, arm, number, strand; Q: mitochondrial, R: plasmid
SYSTEMATIC_NAME = re.compile(r"Y[A-P][LR]\d{3}[WC](-[A-Z])?|Q\d{4}|R\d{4}[WC]")
_SAMPLE_LINES = 50


@dataclasses.dataclass(frozen=True)
class Format:
    """How one format is read, and what it can be asked for.

    Attributes:
        read: entries of a file.
        what: the format in a few words.
        options: of `read_standard`, those that mean something here.
        suffixes: in lower case and without `.gz`; files that end so are taken for this format.
    """

    read: Callable[[Reading], Iterator[Entry]]
    what: str
    options: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = ()


_OURS = {
    "gmt": Format(
        read_gmt,
        "a term a line: name, description, members; or without descriptions",
        suffixes=(".gmt",),
    ),
    "gmt-described": Format(read_described_gmt, "the same, whatever descriptions look like"),
    "gmt-members": Format(read_gmt_of_members, "a term a line: name, members, no description"),
    "pairs": Format(read_pairs, "two columns: protein, term"),
    "lines": Format(read_lines, "the members of a term a line, as some copies of CYC2008"),
    "cyc2008": Format(read_cyc2008, "CYC2008_complex.tab: ORF, Name, Complex"),
    "json": Format(read_modules_json, 'modules: {"term": ["member", ...]}', suffixes=(".json",)),
    "sgd-slim": Format(read_sgd_slim, "SGD's go_slim_mapping.tab", frozenset({"aspect"})),
    "gaf": Format(
        read_gaf,
        "annotations of the Gene Ontology",
        frozenset({"aspect", "exclude_evidence", "ontology", "slim"}),
        (".gaf",),
    ),
    "kegg-link": Format(read_kegg_link, "KEGG's gene and pathway or module, either order"),
    "kegg-table": Format(read_kegg_table, "yeast-GEM's table with gene_id and pathway"),
    "complex-tab": Format(read_complex_tab, "Complex Portal"),
    "huh-table": Format(read_huh_table, "allOrfData.txt of Huh et al. 2003"),
    "huh-summary": Format(read_huh_summary, "ORF and localisation summary of the same"),
    "loqate": Format(read_loqate, "table of LoQAtE, Breker et al. 2013: places in the control"),
}
FORMATS: Registry[Format] = Registry(
    "format", _OURS, group="deeploc_tf.standards", error=StandardError, kind=Format
)


def format_of(path: Path, name: str | None = None) -> tuple[str, Format]:
    """Name and format of a file: those that are named, else what it seems to be.

    Raises:
        StandardError: there is no format of that name.
        OSError: the file cannot be read.
    """
    found = sniff(path) if name is None else name
    return found, FORMATS.get(found)


def sniff(path: Path) -> str:
    """The name in `FORMATS` of what a file seems to be, by its suffix, else by its content.

    Members without names of their terms are believed only where nearly all are systematic names of
    yeast: a table of two columns with a tab too many must not pass for them.

    Raises:
        StandardError: the file is not UTF-8 text.
        OSError: it cannot be read.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    suffix = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else path.suffix.lower()
    by_suffix = (name for name, form in FORMATS.usable() if suffix in form.suffixes)
    if found := next(by_suffix, None):  # ours come first
        return found
    numbered = itertools.islice(numbered_lines(path), _SAMPLE_LINES)
    lines = [line for _, line in numbered]
    first = lines[0].split("\t") if lines else [""]
    if first[0].startswith("!gaf-version"):
        return "gaf"
    if first[0] == ACCESSION:
        return "complex-tab"
    if first[0].strip() == SUMMARY_HEADER:
        return "huh-summary"
    if lines and {ORF, PLACE} <= set(lines[0].split(",")):
        return "loqate"
    if {"yORF", "gene name", "ambiguous"} <= set(first):
        return "huh-table"
    if set(COLUMNS) <= {name.strip() for name in first}:
        return "cyc2008"
    if {"gene_id", "pathway"} <= set(first):
        return "kegg-table"
    if first[0].lstrip().startswith("{"):
        return "json"
    return _by_columns([line.split("\t") for line in lines if line[0] not in "#!"])


def _by_columns(rows: list[list[str]]) -> str:
    """The format of a table without a header."""
    if not rows:
        return "pairs"
    if columns_of(rows) is not None:
        return "sgd-slim"
    if all(len(row) >= 15 and row[4].startswith("GO:") for row in rows):
        return "gaf"
    terms = {tuple(kegg_term(field) is not None for field in row) for row in rows}
    if terms in ({(True, False)}, {(False, True)}):
        return "kegg-link"
    fields = [field.strip() for row in rows for field in row if field.strip()]
    systematic = sum(SYSTEMATIC_NAME.fullmatch(field) is not None for field in fields)
    if systematic <= 0.9 * len(fields):
        return "pairs"
    named = sum(SYSTEMATIC_NAME.fullmatch(row[0].strip()) is None for row in rows)
    return "gmt" if named > 0.5 * len(rows) else "lines"  # of long terms, each with its name
