"""Where names of two files meet: which proteins of a standard have a profile, and which do not."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from deeploc_tf.names import loose_form, same_form

_FEW = 0.5  # of the smaller side
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Meeting:
    """Proteins of a standard beside profiles.

    Names that differ in spaces, Unicode form or zero-width characters are one. Those that differ in
    case (which can mean an allele), leading zeros or look-alike letters are two, and are counted.

    Attributes:
        standard: name of the standard.
        rows: row of the profile of each protein of the standard that has one.
        num_profiles: of all profiles.
        num_proteins: of the standard.
        by_form: name in the standard -> name of the profile, where they are spelled differently.
        almost: the same, of names that differ in case, leading zeros or look-alike letters alone.
        only_profiles: some names that only profiles have, where few meet.
        only_standard: some that only the standard has, likewise.
    """

    standard: str
    rows: Mapping[str, int]
    num_profiles: int
    num_proteins: int
    by_form: Mapping[str, str]
    almost: Mapping[str, str]
    only_profiles: tuple[str, ...] = ()
    only_standard: tuple[str, ...] = ()

    def sentence(self) -> str:
        """How many of each side meet, and what stands in the way of the others."""
        met = len(set(self.rows.values()))
        parts = [
            f"{met} of {self.num_profiles} profiles and {len(self.rows)} of {self.num_proteins} "
            f"proteins of {self.standard!r} meet."
        ]
        if self.only_profiles or self.only_standard:
            here, there = (
                ", ".join(map(repr, names)) or "none"
                for names in (self.only_profiles, self.only_standard)
            )
            parts.append(f"Only among the profiles: {here}; only in the standard: {there}.")
        if self.by_form:
            parts.append(f"{len(self.by_form)} are spelled differently: {_pairs(self.by_form)}.")
        if self.almost:
            parts.append(
                f"{len(self.almost)} do not meet and differ in case, leading zeros or look-alike "
                f"letters alone: {_pairs(self.almost)}."
            )
        return " ".join(parts)


def meet(standard: str, proteins: Sequence[str], members: Collection[str]) -> Meeting:
    """Find the profiles of the proteins of a standard.

    Args:
        standard: its name, for the sentence.
        proteins: name of each profile, no two of one form.
        members: names of the standard's proteins.
    """
    exact = {protein: row for row, protein in enumerate(proteins)}
    forms = {same_form(protein, "protein"): row for row, protein in enumerate(proteins)}
    rows: dict[str, int] = {}
    by_form: dict[str, str] = {}
    for name in members:
        row = exact.get(name)
        if row is None and (row := forms.get(same_form(name, "protein"))) is not None:
            by_form[name] = proteins[row]
        if row is not None:
            rows[name] = row
    met = set(rows.values())
    here = [protein for row, protein in enumerate(proteins) if row not in met]
    others = sorted(name for name in members if name not in rows)
    loose = {loose_form(name, "protein"): name for name in here}
    almost = {
        name: loose[form] for name in others if (form := loose_form(name, "protein")) in loose
    }
    few = len(rows) < _FEW * min(len(proteins), len(members))
    return Meeting(
        standard,
        rows,
        len(proteins),
        len(members),
        dict(sorted(by_form.items())),
        almost,
        tuple(sorted(here)[:_SHOWN]) if few else (),
        tuple(others[:_SHOWN]) if few else (),
    )


def _pairs(names: Mapping[str, str]) -> str:
    shown = ", ".join(f"{here!r} and {there!r}" for there, here in list(names.items())[:_SHOWN])
    return f"{shown} ..." if len(names) > _SHOWN else shown
