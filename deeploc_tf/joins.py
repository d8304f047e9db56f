"""Names of data and of a reference put together: the one way in which tables are joined.

Plate maps, label tables, tables of cells, standards, methods and screens all name things that the
data name, too. `joined` says which names are one, by the kind of name (`deeploc_tf.names`);
`Joined.check` refuses what nobody meant: data without a partner, names that may or may not be
one, and tables that have nothing in common.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Generic, TypeVar

from deeploc_tf.names import ALLELES, Kind, date_hint, loose_form, same_form, told_apart

logger = logging.getLogger(__name__)

Name = TypeVar("Name", str, tuple[str, ...])
"""A text or, where several columns join two tables, a text for each of them."""

_SHOWN = 3  # names in a message
_LISTED = 10  # names in JSON
_FEW = 0.5  # of the smaller side


class JoinError(ValueError):
    """Two tables whose names do not fit together."""


@dataclasses.dataclass(frozen=True)
class Joined(Generic[Name]):
    """Which names of data and of a reference are one.

    Attributes:
        words: what the names of the data and those of the reference are called in messages, such as
            "profiles" and "proteins of 'go'".
        partners: name of the data -> name of the reference, for all that have one.
        data_of: name of the reference -> name of the data, likewise.
        unmatched: names of the data without a partner, of each one spelling.
        unused: names of the reference without data.
        almost: name of the data without a partner -> name of the reference that may or may not be
            it: they differ in case, leading zeros or letters that look alike.
        may_be_alleles: proteins that differ in case may be told apart, if somebody says so.
    """

    words: tuple[str, str]
    partners: Mapping[Name, Name]
    data_of: Mapping[Name, Name]
    unmatched: tuple[Name, ...]
    unused: tuple[Name, ...]
    almost: Mapping[Name, Name]
    may_be_alleles: bool = False

    @property
    def respelled(self) -> dict[Name, Name]:
        """The partners that are spelled otherwise: name of the data -> name of the reference."""
        return {ours: theirs for ours, theirs in self.partners.items() if ours != theirs}

    @property
    def num_data(self) -> int:
        """How many names the data have."""
        return len(self.partners) + len(self.unmatched)

    @property
    def num_reference(self) -> int:
        """How many names the reference has."""
        return len(self.data_of) + len(self.unused)

    def checked(
        self, allow_unmatched: int | None = 0, *, error: type[ValueError] = JoinError
    ) -> Joined[Name]:
        """This, checked as `check` does; who meets is logged where not all do."""
        self.check(allow_unmatched, error=error)
        if self.unmatched or self.unused or self.respelled:
            few = len(self.partners) < _FEW * min(self.num_data, self.num_reference)
            level = logging.WARNING if self.unmatched and few else logging.INFO
            logger.log(level, "%s", self.sentence())
        return self

    def check(
        self, allow_unmatched: int | None = 0, *, error: type[ValueError] = JoinError
    ) -> None:
        """Refuse what cannot have been meant.

        Args:
            allow_unmatched: how many names of the data may have no partner; None: any number, for
                references that know a part of the names only, such as standards.
            error: to raise.

        Raises:
            JoinError: a name may or may not be one of the reference; no name, or more names of the
                data than are allowed, have no partner there.
        """
        ours, theirs = self.words
        if self.almost:
            msg = (
                f"{_capital(ours)} and {theirs} must differ in more than case, leading zeros, a "
                f"decimal .0 and letters that look alike. Received: {_pairs(self.almost)}. Spell "
                "what is one name in one way."
            )
            if self.may_be_alleles:
                msg += f" {ALLELES}"
            raise error(msg)
        if not self.partners and self.num_data and self.num_reference:
            msg = (
                f"Some of the {ours} must be among the {theirs}. Received: none of "
                f"{self.num_data}, such as {_some(self.unmatched)}; the {theirs} are "
                f"{_some(self.unused)}.{self._hint()} Use names of one kind in both."
            )
            raise error(msg)
        if allow_unmatched is not None and len(self.unmatched) > allow_unmatched:
            msg = (
                f"Every one of the {ours} must be among the {theirs}. Received: "
                f"{_some(self.unmatched)} ({len(self.unmatched)} of {self.num_data}) without a "
                f"partner; the {theirs} are {_some(self.unused or tuple(self.data_of))}."
                f"{self._hint()} Mend the names, or allow so many "
                f"(allow_unmatched={len(self.unmatched)}, --allow-unmatched {len(self.unmatched)})."
            )
            raise error(msg)

    def merged(self, more: Joined[Name]) -> Joined[Name]:
        """This, and what joined further data to the same reference."""
        unused = set(more.unused)
        return Joined(
            self.words,
            {**self.partners, **more.partners},
            {**self.data_of, **more.data_of},
            tuple(dict.fromkeys(self.unmatched + more.unmatched)),
            tuple(name for name in self.unused if name in unused),
            {**self.almost, **more.almost},
            self.may_be_alleles,
        )

    def sentence(self) -> str:
        """How many names of each side meet, and some of those that do not."""
        ours, theirs = self.words
        parts = [
            f"{len(self.partners)} of {self.num_data} {ours} and {len(self.data_of)} of "
            f"{self.num_reference} {theirs} meet."
        ]
        if self.unmatched or self.unused:
            parts.append(
                f"Only among the {ours}: {_some(self.unmatched)}; only among the {theirs}: "
                f"{_some(self.unused)}.{self._hint()}"
            )
        if respelled := self.respelled:
            parts.append(f"{len(respelled)} are spelled differently: {_pairs(respelled)}.")
        if self.almost:
            parts.append(
                f"{len(self.almost)} do not meet and differ in case, leading zeros or look-alike "
                f"letters alone: {_pairs(self.almost)}."
            )
        return " ".join(parts)

    def counts(self) -> dict[str, Any]:
        """What matched and what did not, JSON-ready."""
        return {
            "joined": list(self.words),
            "data": self.num_data,
            "data_matched": len(self.partners),
            "data_unmatched": listed(self.unmatched),
            "reference": self.num_reference,
            "reference_matched": len(self.data_of),
            "reference_unmatched": listed(self.unused),
            "respelled": len(self.respelled),
        }

    def _hint(self) -> str:
        hint = date_hint(text(name) for name in (*self.unmatched, *self.unused))
        return f" {hint}" if hint else ""


def joined(
    data: Collection[Name],
    reference: Collection[Name],
    kinds: Kind | Sequence[Kind],
    words: tuple[str, str],
    *,
    distinct_case: bool = False,
) -> Joined[Name]:
    """Find the partner of each name: the same text or, without one, another spelling of the name.

    Args:
        data: names that need a partner, with or without repetition.
        reference: names of the table that they are looked up in. Of several spellings of one name
            the first in alphabetical order is taken.
        kinds: of the names or, where they are tuples, of each of their parts.
        words: see `Joined`.
        distinct_case: let names that differ in case be two; only where case would be refused.

    Example:
        >>> found = joined(["a1", "B2"], ["A01", "C03"], "well", ("wells", "rows of the map"))
        >>> found.partners, found.unmatched, found.unused
        ({'a1': 'A01'}, ('B2',), ('C03',))
    """
    of_parts = [kinds] if isinstance(kinds, str) else list(kinds)
    ours, theirs = sorted(set(data)), sorted(set(reference))

    def form(name: Name) -> tuple[str, ...]:
        return tuple(map(same_form, _parts(name), of_parts))

    def loose(name: Name) -> tuple[str, ...]:
        return tuple(
            loose_form(part, kind, distinct_case=distinct_case)
            for part, kind in zip(_parts(name), of_parts, strict=True)
        )

    known = set(theirs)
    partners: dict[Name, Name] = {name: name for name in ours if name in known}
    data_of = dict(partners)
    unmatched: dict[tuple[str, ...], Name] = {}
    if len(partners) < len(ours) or len(data_of) < len(theirs):
        first = {form(name): name for name in reversed(theirs)}
        of_form: dict[tuple[str, ...], Name] = {}
        for name in ours:
            name_form = form(name)
            of_form.setdefault(name_form, name)
            if name not in partners and name_form in first:
                partners[name] = first[name_form]
            elif name not in partners:
                unmatched.setdefault(name_form, name)
        for name in theirs:
            if name not in data_of and (partner := of_form.get(form(name))) is not None:
                data_of[name] = partner
    lookalikes = {loose(name): name for name in reversed(theirs)} if unmatched else {}
    almost = {
        name: other
        for name in unmatched.values()
        if (other := lookalikes.get(loose(name))) is not None
    }
    return Joined(
        words,
        {name: partners[name] for name in ours if name in partners},
        {name: data_of[name] for name in theirs if name in data_of},
        tuple(unmatched.values()),
        tuple(name for name in theirs if name not in data_of),
        almost,
        may_be_alleles="protein" in of_parts and not distinct_case,
    )


def listed(names: Collection[Name]) -> dict[str, Any]:
    """How many names there are, and the first few of them, JSON-ready."""
    texts = sorted(set(map(text, names)))
    return {"count": len(texts), "some": texts[:_LISTED]}


def text(name: str | tuple[str, ...]) -> str:
    """A name as one text, its parts divided by slashes."""
    return name if isinstance(name, str) else "/".join(name)


def _parts(name: str | tuple[str, ...]) -> tuple[str, ...]:
    return (name,) if isinstance(name, str) else name


def _some(names: Sequence[str] | Sequence[tuple[str, ...]]) -> str:
    shown = ", ".join(repr(text(name)) for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return shown + more if shown else "none"


def _pairs(names: Mapping[Any, Any]) -> str:
    pairs = [" and ".join(told_apart(text(a), text(b))) for a, b in list(names.items())[:_SHOWN]]
    return ", ".join(pairs) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
