"""One name for each protein: maps from ORFs, aliases and accessions to it."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from deeploc_tf.benchmark.formats.entries import Protein
from deeploc_tf.benchmark.formats.registry import SYSTEMATIC_NAME
from deeploc_tf.benchmark.formats.text import StandardError, malformed, names_in, numbered_lines
from deeploc_tf.names import tidy

Tier = Mapping[str, frozenset[str]]

_log = logging.getLogger(__name__)
_GENES = ("ORF", "pseudogene", "blocked_reading_frame")
_SGD_FIELDS = 16


class Gene(NamedTuple):
    """What one row of a table says: the name to use, and names of falling certainty."""

    name: str
    tiers: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class IdentifierMap:
    """Names of proteins, and the one name to use for each.

    Attributes:
        tiers: from names to what they may stand for, the surest names first: a name is looked up
            in the first tier that has it, so that the alias of one gene does not hide the standard
            name of another.
    """

    tiers: tuple[Tier, ...]

    def candidates(self, name: str) -> frozenset[str]:
        """What a name may stand for: nothing, one protein, or several.

        A name as addresses write it, `ADE5%2C7`, is looked up as `ADE5,7`; spaces around it and
        zero-width characters are no part of it.
        """
        plain = tidy(unquote(name))
        return next((tier[plain] for tier in self.tiers if plain in tier), frozenset())

    def map(self, names: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
        """The one name of each protein.

        Names that are not known, or stand for several proteins, stay as they are.

        Returns:
            A name for each name, and a JSON-ready report: `names` and `mapped` are counts of
            different names, `unmapped` a list, `ambiguous` what each may stand for, `merged` the
            proteins that came under several names.
        """
        return self.map_alternatives([(name,) for name in names])

    def find(self, wanted: str, names: Sequence[str], proteins: Sequence[str]) -> str:
        """The one of `names` that goes by `wanted`, or whose protein does; else `wanted` itself.

        Args:
            wanted: any name of a protein.
            names: of the rows of a table.
            proteins: of these rows, under the names to use.
        """
        if wanted in names:
            return wanted
        (protein,), _ = self.map([wanted])
        meant = [n for n, own in zip(names, proteins, strict=True) if own == protein]
        return meant[0] if len(meant) == 1 else wanted

    def map_alternatives(self, proteins: Sequence[Protein]) -> tuple[list[str], dict[str, Any]]:
        """As `map`, for proteins with several names each: the first that stands for one decides.

        Where none does, the last name stays.
        """
        found: dict[Protein, str] = {}
        unmapped: set[str] = set()
        ambiguous: dict[str, list[str]] = {}
        for names in dict.fromkeys(proteins):
            candidates = [self.candidates(name) for name in names]
            sure = next((next(iter(c)) for c in candidates if len(c) == 1), None)
            found[names] = names[-1] if sure is None else sure
            if sure is None and any(candidates):
                ambiguous[names[-1]] = sorted(frozenset().union(*candidates))
            elif sure is None:
                unmapped.add(names[-1])
        sources: dict[str, set[str]] = defaultdict(set)
        for names, name in found.items():
            sources[name].add(names[-1])
        report = {
            "names": len(found),
            "mapped": len(found) - len(unmapped) - len(ambiguous),
            "unmapped": sorted(unmapped),
            "ambiguous": dict(sorted(ambiguous.items())),
            "merged": {n: sorted(came) for n, came in sorted(sources.items()) if len(came) > 1},
        }
        return [found[names] for names in proteins], report


def read_identifiers(path: str | Path, *more: str | Path) -> IdentifierMap:
    """Read a table of names; further tables are read through the ones before.

    - `SGD_features.tab`: the name to use is the standard name or, without one, the systematic one.
      SGDIDs, systematic and standard names win over aliases.
    - A table with the columns `uniprot` and `gene_id` (yeast-GEM's of Swiss-Prot): accessions and
      gene names; the name to use is the first in `gene_id`.
    - Two columns, divided by a tab: a name, and the name to use. Names to use win.

    All may be .gz. With `SGD_features.tab` first and a table of accessions second, an accession
    gets the name that SGD uses for its gene.

    Raises:
        StandardError: a line is malformed, or a table has no name.
        OSError: a file cannot be read.

    Example:
        names, report = read_identifiers("SGD_features.tab").map(["AAC1", "YMR056C"])
    """
    identifiers = IdentifierMap(())
    for table in (path, *more):
        identifiers = _extended(identifiers, _genes(Path(table)))
    return identifiers


def _extended(known: IdentifierMap, genes: Sequence[Gene]) -> IdentifierMap:
    """The map with the names of `genes` added after its own."""
    tiers: list[dict[str, set[str]]] = []
    for gene in genes:
        names = _known_names(known, gene) or {gene.name}
        for level, aliases in enumerate(gene.tiers):
            if level == len(tiers):
                tiers.append(defaultdict(set))
            for alias in aliases:
                tiers[level][alias] |= names
    added = [{alias: frozenset(names) for alias, names in tier.items()} for tier in tiers]
    return IdentifierMap((*known.tiers, *added))


def _known_names(known: IdentifierMap, gene: Gene) -> frozenset[str]:
    """What a map knows a gene as, by its surest names."""
    for names in gene.tiers:
        found: frozenset[str] = frozenset().union(*map(known.candidates, names))
        if found:
            return found
    return known.candidates(gene.name)


def _genes(path: Path) -> list[Gene]:
    """The genes of a table, whichever of the three it is; rows without one are counted."""
    rows = list(_rows(path))
    if empty := sum(not genes for genes in rows):
        _log.info("%d of %d rows of %s name no gene and are left out.", empty, len(rows), path.name)
    return [gene for genes in rows for gene in genes]


def _rows(path: Path) -> Iterator[list[Gene]]:
    """The genes of each row: none, one or several."""
    lines = numbered_lines(path)
    number, first = next(lines, (0, ""))
    header = first.split("\t")
    if not number:
        msg = f"A table of identifiers must have a line. Received: {path}, which is empty."
        raise StandardError(msg)
    if {"uniprot", "gene_id"} <= set(header):
        for number, line in lines:
            yield _accession(path, number, line, header)
        return
    read = _sgd_gene if len(header) == _SGD_FIELDS else _pair
    for place, line in itertools.chain([(number, first)], lines):
        yield read(path, place, line)


def _sgd_gene(path: Path, number: int, line: str) -> list[Gene]:
    fields = [field.strip() for field in line.split("\t")]
    if len(fields) != _SGD_FIELDS:
        must = f"A line of SGD_features.tab must have {_SGD_FIELDS} fields."
        raise malformed(path, number, line, must)
    sgd_id, kind, _, systematic, standard, aliases = fields[:6]
    if not systematic or not (kind in _GENES or kind.endswith("_gene")):
        return []
    others = [alias.strip() for alias in aliases.split("|") if alias.strip()]
    tiers = [[systematic, sgd_id], [standard] if standard else [], others]
    return [Gene(standard or systematic, tiers)]


def _accession(path: Path, number: int, line: str, header: Sequence[str]) -> list[Gene]:
    """The genes of one protein; `;` stands between genes that code for the same one."""
    fields = [field.strip() for field in line.split("\t")]
    accession = fields[header.index("uniprot")] if len(fields) == len(header) else ""
    genes = fields[header.index("gene_id")].split(";") if accession else []
    if len(fields) != len(header):
        must = f"A line of this table must have {len(header)} fields."
        raise malformed(path, number, line, must)
    found = []
    for names in (gene.split() for gene in genes):
        if names:
            systematic = [name for name in names if SYSTEMATIC_NAME.fullmatch(name)]
            found.append(Gene(names[0], [[*systematic, accession], names[:1], names[1:]]))
    return found


def _pair(path: Path, number: int, line: str) -> list[Gene]:
    fields = names_in(path, number, line)
    if len(fields) != 2 or not all(fields):
        must = (
            "A line of a table of identifiers must be a name and the name to use, a tab between "
            "(or the table SGD_features.tab, or one with the columns uniprot and gene_id)."
        )
        raise malformed(path, number, line, must)
    return [Gene(fields[1], [[fields[1]], [fields[0]]])]
