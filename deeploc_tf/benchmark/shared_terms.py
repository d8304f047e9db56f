"""Which terms of standards two proteins are both in, for proteins of a table."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

from deeploc_tf.benchmark.meeting import meet
from deeploc_tf.benchmark.standards import Standard, StandardError
from deeploc_tf.names import same_form
from deeploc_tf.units import some

logger = logging.getLogger(__name__)


class SharedTerms:
    """Terms by protein, whatever the spaces and the Unicode form of its name.

    Args:
        standards: whose terms are looked up.
        proteins: of the table.

    Attributes:
        reports: of each standard what matched and what did not, JSON-ready; it is logged, too.

    Raises:
        StandardError: no protein is in any term of a standard.
    """

    def __init__(self, standards: Sequence[Standard], proteins: Sequence[str]) -> None:
        known = list({_form(name): name for name in proteins if name}.values())
        self._terms: dict[str, dict[str, set[str]]] = {}
        self.reports = []
        for standard in standards:
            of_protein = self._terms.setdefault(standard.name, {})
            members = {}
            for term, names in standard.terms.items():
                title = standard.descriptions.get(term) or term
                for name in names:
                    members[_form(name)] = name
                    of_protein.setdefault(_form(name), set()).add(title)
            self.reports.append(_compared(standard.name, known, list(members.values())))

    def __call__(self, first: str, second: str) -> dict[str, list[str]]:
        """Terms, by standard, that have both proteins as members."""
        found = {
            standard: sorted(terms.get(_form(first), set()) & terms.get(_form(second), set()))
            for standard, terms in self._terms.items()
        }
        return {standard: terms for standard, terms in found.items() if terms}


def _form(name: str) -> str:
    return same_form(name, "protein")


def _compared(standard: str, known: list[str], members: list[str]) -> dict[str, Any]:
    """What of a table and of a standard has a name in common; no two names of one are alike."""
    meeting = meet(standard, known, members)
    met = set(meeting.rows.values())
    without_term = sorted(name for row, name in enumerate(known) if row not in met)
    without_protein = sorted(name for name in members if name not in meeting.rows)
    if not met:
        msg = (
            "Proteins of the table must be members of the standard. Received: none of them in "
            f"{standard}, such as {some(without_term)} in the table and {some(without_protein)} in "
            f"the standard. {meeting.sentence() if meeting.almost else ''} Use names of one kind "
            "in both."
        )
        raise StandardError(" ".join(msg.split()))
    if without_term or meeting.by_form or meeting.almost:
        few = 2 * len(met) < len(known)
        if few:
            some_of_each = tuple(without_term[:3]), tuple(without_protein[:3])
            meeting = dataclasses.replace(
                meeting, only_profiles=some_of_each[0], only_standard=some_of_each[1]
            )
        level = logging.WARNING if few or meeting.almost else logging.INFO
        logger.log(level, "%s", meeting.sentence())
    almost = [f"{there} ({here})" for there, here in meeting.almost.items()]
    return {
        "name": standard,
        "proteins": len(known),
        "proteins_matched": len(met),
        "proteins_without_term": _counted(without_term),
        "members_without_protein": _counted(without_protein),
        "members_that_almost_match": _counted(almost),
    }


def _counted(names: list[str]) -> dict[str, Any]:
    return {"count": len(names), "some": names[:10]}
