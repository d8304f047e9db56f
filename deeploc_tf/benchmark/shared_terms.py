"""Which terms of standards two proteins are both in, for proteins of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from deeploc_tf.benchmark.standards import Standard, StandardError, met
from deeploc_tf.joins import listed
from deeploc_tf.names import same_form


class SharedTerms:
    """Terms by protein, whatever the spaces and the Unicode form of its name.

    A term is called by its description, if it has one of its own.

    Args:
        standards: whose terms are looked up.
        proteins: of the table.
        distinct_case: let names of the table and of a standard differ in case and be two proteins.
        allow_unmatched: how many proteins may be in no term of a standard; None: any number.

    Attributes:
        reports: of each standard what matched and what did not, JSON-ready; it is logged, too.

    Raises:
        StandardError: no protein is in any term of a standard, or see `annotate`.
    """

    def __init__(
        self,
        standards: Sequence[Standard],
        proteins: Sequence[str],
        *,
        distinct_case: bool = False,
        allow_unmatched: int | None = None,
    ) -> None:
        known = list({_form(name): name for name in proteins if name}.values())
        self._terms: dict[str, dict[str, set[str]]] = {}
        self.reports = []
        for standard in standards:
            of_protein = self._terms.setdefault(standard.name, {})
            # Some files describe all their terms by one word: that names none of them.
            uses = Counter(text for text in standard.descriptions.values() if text)
            for term, names in standard.terms.items():
                description = standard.descriptions.get(term, "")
                title = description if uses[description] == 1 else term
                for name in names:
                    of_protein.setdefault(_form(name), set()).add(title)
            self.reports.append(
                _compared(standard, known, allow_unmatched, distinct_case=distinct_case)
            )

    def of(self, protein: str) -> dict[str, list[str]]:
        """Terms, by standard, that have a protein as a member; every standard is there."""
        return {name: sorted(terms.get(_form(protein), ())) for name, terms in self._terms.items()}

    def __call__(self, first: str, second: str) -> dict[str, list[str]]:
        """Terms, by standard, that have both proteins as members."""
        found = {
            standard: sorted(terms.get(_form(first), set()) & terms.get(_form(second), set()))
            for standard, terms in self._terms.items()
        }
        return {standard: terms for standard, terms in found.items() if terms}


def _form(name: str) -> str:
    return same_form(name, "protein")


def _compared(
    standard: Standard, proteins: Sequence[str], allow_unmatched: int | None, *, distinct_case: bool
) -> dict[str, Any]:
    """What of a table and of a standard has a name in common; it is logged, too."""
    found = met(standard, proteins, distinct_case=distinct_case)
    found.checked(allow_unmatched, error=StandardError)
    return {
        "name": standard.name,
        "proteins": found.num_data,
        "proteins_matched": len(found.partners),
        "proteins_without_term": listed(found.unmatched),
        "members_without_protein": listed(found.unused),
    }
