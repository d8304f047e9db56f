"""The Gene Ontology from an OBO file: parents, propagation, obsolete and alternative ids.

The file is parsed by fastobo, the parser within pronto: pronto itself stops at a parent that the
file does not have, and such files (slims, cut ontologies) are in use.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeploc_tf.benchmark.formats.text import StandardError, whole_file
from deeploc_tf.extras import install

_PART_OF = frozenset({"part_of", "BFO:0000050"})


@dataclasses.dataclass
class Term:
    """A term of the ontology.

    Attributes:
        name: of the term.
        namespace: such as `cellular_component`; "" takes the file's default.
        parents: ids over is_a and part_of.
        subsets: slims that it is in.
        obsolete: whether it must not be used any more.
        replaced_by: ids to use instead.
    """

    name: str = ""
    namespace: str = ""
    parents: list[str] = dataclasses.field(default_factory=list)
    subsets: set[str] = dataclasses.field(default_factory=set)
    obsolete: bool = False
    replaced_by: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Ontology:
    """Terms by id, and the id that stands for each alternative one."""

    terms: Mapping[str, Term]
    alternatives: Mapping[str, str]

    def current(self, term_id: str) -> tuple[str | None, str]:
        """The id to use now, or None, and what happened on the way.

        Successors are followed to the last one, through obsolete terms and alternative ids; those
        that lead in a circle lead nowhere.

        Returns:
            The second part is "" or one of "alternative id", "obsolete term replaced", "obsolete
            term", "unknown term".
        """
        event = ""
        seen: set[str] = set()
        while term_id not in seen:
            seen.add(term_id)
            if term_id not in self.terms and term_id in self.alternatives:
                term_id, event = self.alternatives[term_id], event or "alternative id"
            term = self.terms.get(term_id)
            if term is None:
                return (
                    None,
                    "obsolete term" if event == "obsolete term replaced" else "unknown term",
                )
            if not term.obsolete:
                return term_id, event
            if len(term.replaced_by) != 1:
                break
            term_id, event = term.replaced_by[0], "obsolete term replaced"
        return None, "obsolete term"

    def ancestors(self, term_id: str) -> tuple[frozenset[str], frozenset[str]]:
        """All terms above one over is_a and part_of, and the parents that the file does not have.

        The term itself is among its ancestors only where the ontology runs in a circle.
        """
        above: set[str] = set()
        missing: set[str] = set()
        waiting = list(self.terms[term_id].parents)
        while waiting:
            parent = waiting.pop()
            if parent not in self.terms:
                missing.add(parent)
            elif parent not in above:
                above.add(parent)
                waiting += self.terms[parent].parents
        return frozenset(above), frozenset(missing)


def read_ontology(path: Path) -> Ontology:
    """The terms of an OBO file, also .gz.

    Raises:
        StandardError: it is not OBO, or the extra `go` is not installed.
        OSError: the file cannot be read.
    """
    if importlib.util.find_spec("fastobo") is None:
        msg = (
            "Ontologies need fastobo. Received: an installation without it. Mend it: "
            f"{install('go')}"
        )
        raise StandardError(msg)
    fastobo: Any = importlib.import_module("fastobo")
    content = whole_file(path)
    terms: dict[str, Term] = {}
    alternatives: dict[str, str] = {}
    try:
        document = fastobo.load(io.BytesIO(content))
    except (SyntaxError, ValueError, OSError) as error:
        msg = f"An ontology must be an OBO file. Received: {path}: {error}."
        raise StandardError(msg) from error
    for frame in document:
        if isinstance(frame, fastobo.term.TermFrame):
            term = terms.setdefault(str(frame.id), Term())
            for clause in frame:
                _add(term, clause)
                if clause.raw_tag() == "alt_id":
                    alternatives[clause.raw_value()] = str(frame.id)
    if not terms:
        msg = f"An ontology must have terms. Received: {path} without one. Is it OBO?"
        raise StandardError(msg)
    return Ontology(terms, alternatives)


def _add(term: Term, clause: Any) -> None:
    tag, value = clause.raw_tag(), clause.raw_value()
    if tag == "name":
        term.name = value
    elif tag == "namespace":
        term.namespace = value
    elif tag == "is_a":
        term.parents.append(value)
    elif tag == "relationship" and str(clause.typedef) in _PART_OF:
        term.parents.append(str(clause.term))
    elif tag == "subset":
        term.subsets.add(value)
    elif tag == "is_obsolete":
        term.obsolete = value == "true"
    elif tag == "replaced_by":
        term.replaced_by.append(value)
