"""The entries of a file put together: terms, members under one spelling each, descriptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from deeploc_tf.benchmark.formats.entries import Entry, Protein
from deeploc_tf.benchmark.formats.text import StandardError
from deeploc_tf.names import loose_form, same_form, tidy

Terms = dict[str, set[Protein]]


def collect(
    path: Path, entries: Iterator[Entry], notes: Counter[str], max_memberships: int
) -> tuple[Terms, dict[str, str]]:
    """Members, by all their names, and description of each term.

    Names that differ in spaces, Unicode form or zero-width characters are one; `notes` counts them,
    and those that differ in case, leading zeros or look-alike letters, which stay apart.

    Args:
        path: of the file, for messages.
        entries: as a reader gives them.
        notes: receives counts.
        max_memberships: more are refused before memory is taken for them.

    Raises:
        StandardError: a name is empty or holds a tab or line end, or there are too many members.
    """
    terms: Terms = {}
    descriptions: dict[str, str] = {}
    spelled_proteins, spelled_terms = _Spelling(path), _Spelling(path)
    count = 0
    for raw_term, proteins, description in entries:
        (term,) = spelled_terms.of((raw_term,))
        if term not in terms:
            terms[term] = set()
            descriptions[term] = description
        members = terms[term]
        count -= len(members)
        members.update([spelled_proteins.of(protein) for protein in proteins])
        count += len(members)
        if count > max_memberships:
            msg = (
                f"A standard must fit into memory. Received: {path} with more than "
                f"{max_memberships:,} members of terms. Take one organism, one aspect or a slim."
            )
            raise StandardError(msg)
    notes["names made plain (spaces, Unicode form)"] += spelled_proteins.changed
    notes["terms made plain (spaces, Unicode form)"] += spelled_terms.changed
    notes["proteins that only look like another"] += spelled_proteins.look_alike()
    notes["terms that only look like another"] += spelled_terms.look_alike()
    shown = Counter(protein[-1] for protein in spelled_proteins.known())
    notes["names that stand for several proteins"] += sum(n > 1 for n in shown.values())
    return terms, descriptions


class _Spelling:
    """One spelling of each name: that in which it comes first, without what nobody sees."""

    def __init__(self, path: Path) -> None:
        self.changed = 0
        self._path = path
        self._as_came: dict[Protein, Protein] = {}  # a protein of many terms is kept once
        self._by_form: dict[Protein, Protein] = {}

    def of(self, names: Protein) -> Protein:
        """The spelling of a protein's names, or of a term's one."""
        found = self._as_came.get(names)
        if found is None:
            plain = tuple(map(tidy, names))
            if not all(plain) or any(sign in name for name in names for sign in "\t\n\r"):
                msg = (
                    "Names must be text on one line, without tabs. Received: "
                    f"{names[-1]!r} in {self._path}."
                )
                raise StandardError(msg)
            form = tuple(same_form(name, "protein") for name in plain)
            found = self._by_form.setdefault(form, plain)
            self._as_came[names] = found
            self.changed += found != names
        return found

    def known(self) -> set[Protein]:
        """All, once each."""
        return set(self._by_form.values())

    def look_alike(self) -> int:
        """How many are another's but for case, leading zeros or look-alike letters."""
        loose = {tuple(loose_form(n, "protein") for n in names) for names in self._by_form}
        return len(self._by_form) - len(loose)
