"""Path patterns with named fields, compiled to regular expressions."""

from __future__ import annotations

import collections
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from deeploc_tf.sources.source import SourceError
from deeploc_tf.units import kind_of_column

CHANNEL = "channel"
GAP = "\0"  # stands for the channel in the stem of a cell; no file name can hold it
ANYTHING = "*"
REST = "\1"  # stands in a stem for what `{*}` matches

_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*|\*)\}")
_GAPS = {CHANNEL: GAP, ANYTHING: REST}
_MOST_WAYS = 1_000_000  # a fraction of a second
_WELL = "(?:[A-Za-z]{1,2}[0-9]{1,2}|[Rr][0-9]{1,2}[Cc][0-9]{1,2})"

Reading = dict[str, str]


class FolderPattern:
    r"""A path pattern such as `{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif`.

    Each `{name}` stands for one or more characters other than `/`; a name that comes again must
    stand for the same text. `{channel}` stands for one of the channels, whatever its case and
    Unicode form. `{*}` stands for any characters but `/`, or none, which do not matter. All else is
    literal.

    A path that can be read in several ways is read by two rules. First, a `{well}` is a well
    (`A1` to `AF48`, `r01c01`) where any reading lets it be one. Then each field, from the left, is
    as short as it can be: `A1CF_762_F2` is `{protein}_{field}` with protein `A1CF` and field
    `762_F2`. `check_split` refuses a folder whose paths are not all split in the same way.

    Args:
        text: the pattern, over paths relative to the root, with `/` between folders; `\` counts as
            `/`.
        channels: what `{channel}` may stand for.

    Attributes:
        split: the first path that was read by the second rule, and how; or None.
    """

    def __init__(self, text: str, channels: Sequence[str]) -> None:
        text = text.replace("\\", "/")
        self._parts = _FIELD.split(text)
        self.text = text
        self.occurrences = tuple(self._parts[1::2])  # group 1, 2, ... of the expressions
        # the numbers, from 1, of those that stand for other text than one before
        self._first_occurrences = [
            number
            for number, name in enumerate(self.occurrences, start=1)
            if name == ANYTHING or name not in self.occurrences[: number - 1]
        ]
        self.fields = tuple(n for n in dict.fromkeys(self.occurrences) if n not in _GAPS)
        self.has_channel = CHANNEL in self.occurrences
        self.has_rest = ANYTHING in self.occurrences
        self.split: tuple[str, Reading] | None = None
        literals = "".join(self._parts[::2])
        if "{" in literals or "}" in literals or text.startswith("/"):
            msg = (
                "A pattern must be a path below the folder, with `/` between folders, fields like "
                f"{{name}} of letters, digits and `_`, and {{*}} for what does not matter. "
                f"Received: pattern={text!r}."
            )
            raise SourceError(msg)
        if "key" in self.fields:
            msg = (
                "A field must not be called `key`: keys come from the path. Received: "
                f"pattern={text!r}."
            )
            raise SourceError(msg)
        self._channels = sorted(channels, key=len)
        # the shortest and the longest reading agree exactly where there is only one
        self._shortest = self._compiled("?")
        self._longest = self._compiled("")
        self._any_channel = re.compile(_expression(self._parts, (), "?"))
        wells = [("?", True), ("", True)] if any(map(_is_well, self.fields)) else []
        self._with_well = [self._compiled(*how) for how in wells]

    def _compiled(self, greed: str, is_well: bool = False) -> re.Pattern[str]:
        channels = self._channels if greed else self._channels[::-1]
        return re.compile(_expression(self._parts, channels, greed, is_well=is_well))

    def match(self, path: str) -> tuple[str, str, Reading] | None:
        """Stem, channel and fields of a path, or None.

        The stem is the path with gaps for the channel and for `{*}`.

        Raises:
            SourceError: the path leaves open which channel it is of, or may be read in too many
                ways.
        """
        if self._ways(path) > _MOST_WAYS:
            if not self._may_match(path):
                return None
            msg = (
                "A pattern must leave few ways to read a path. Received: "
                f"pattern={self.text!r}, more than {_MOST_WAYS} for {path!r}. Put more fixed text "
                "between fields, or fewer fields."
            )
            raise SourceError(msg)
        match = self._shortest.fullmatch(path)
        if match is None:
            return None
        fields = self._reading(match)
        longest = self._longest.fullmatch(path)
        if longest is not None and self._reading(longest) != fields:
            match, fields = self._by_rule(path, match, longest)
        stem, end = "", 0
        for number, name in enumerate(self.occurrences, start=1):
            if name in _GAPS:
                stem += path[end : match.start(number)] + _GAPS[name]
                end = match.end(number)
        return stem + path[end:], fields.pop(CHANNEL, ""), fields

    def _ways(self, path: str) -> int:
        """An upper bound of the readings that an expression may try, as it does if none fits."""
        free = collections.Counter(self._parts[2 * n] for n in self._first_occurrences)
        ways = (
            math.comb((path.count(text) if text else len(path)) + number, number)
            for text, number in free.items()
        )
        return math.prod(ways)

    def _may_match(self, path: str) -> bool:
        """Whether the fixed text is there in its order, fields between; takes no time."""
        ends = {0}
        for number, part in enumerate(self._parts):
            if number % 2 == 0:
                ends = {end + len(part) for end in ends if path.startswith(part, end)}
                continue
            reached: set[int] = set()
            for end in sorted(ends):
                if end + (part != ANYTHING) in reached:
                    continue  # and whatever else one comes to from here
                folder = path.find("/", end)
                last = len(path) if folder < 0 else folder
                reached.update(range(end + (part != ANYTHING), last + 1))
            ends = reached
        return len(path) in ends

    def _reading(self, match: re.Match[str]) -> Reading:
        pairs = zip(self.occurrences, match.groups(), strict=True)
        return {name: text for name, text in pairs if name != ANYTHING}

    def _by_rule(
        self, path: str, shortest: re.Match[str], longest: re.Match[str]
    ) -> tuple[re.Match[str], Reading]:
        """Which of several readings of a path holds."""
        matches = [shortest, longest]
        of_wells = [expression.fullmatch(path) for expression in self._with_well]
        matches = [match for match in of_wells if match is not None] or matches
        first, *others = map(self._reading, matches)
        if any(other.get(CHANNEL) != first.get(CHANNEL) for other in others):
            msg = (
                f"A pattern must leave one channel for a path. Received: pattern={self.text!r}, "
                f"{path!r} as {first} or {others[0]}. Put more fixed text around {{channel}}."
            )
            raise SourceError(msg)
        if any(other != first for other in others) and self.split is None:
            self.split = path, {**first}
        return matches[0], first

    def check_split(self, readings: Iterable[Mapping[str, str]]) -> None:
        """Refuse paths of which some were split by rule, and not all in the same way.

        What stands between fields must come as often within each field of every path.

        Args:
            readings: the fields of all paths.

        Raises:
            SourceError: they do not all agree with the first that was split.
        """
        if self.split is None:
            return
        path, first = self.split
        between = {literal for literal in self._parts[2:-1:2] if literal}

        def form(reading: Mapping[str, str]) -> list[int]:
            return [sum(map(reading[name].count, between)) for name in self.fields]

        other = next((r for r in readings if form(r) != form(first)), None)
        if other is not None:
            msg = (
                "A pattern must split all paths in the same way. Received: "
                f"pattern={self.text!r}, {path!r} as {described(first)}, another as "
                f"{described(other)}. Name every part of the path, or put more fixed text between "
                "fields."
            )
            raise SourceError(msg)

    def other_channel(self, path: str) -> str | None:
        """The text in the place of the channel, for a path that matches but for its channel."""
        tried = self.has_channel and self._ways(path) <= _MOST_WAYS
        match = self._any_channel.fullmatch(path) if tried else None
        return None if match is None else match[self.occurrences.index(CHANNEL) + 1]

    def nearest(self, paths: Iterable[str]) -> tuple[str, str]:
        """Of paths that do not match, the one that fits furthest, and how much of the pattern fits.

        Example:
            >>> FolderPattern("{plate}/{well}_{cell}.tif", []).nearest(["notes.txt", "P1/A01.tif"])
            ('P1/A01.tif', '{plate}/{well}')
        """
        ends = (end for end in range(len(self.text), 0, -1))
        beginnings = [self.text[:end] for end in ends if _is_whole(self.text[:end])]
        expressions = [
            re.compile(_expression(_FIELD.split(text), self._channels, "?")) for text in beginnings
        ]

        def fitting(path: str) -> str:
            if self._ways(path) > _MOST_WAYS:
                return ""
            pairs = zip(beginnings, expressions, strict=True)
            return next((text for text, expression in pairs if expression.match(path)), "")

        return max(((path, fitting(path)) for path in paths), key=lambda found: len(found[1]))


def described(reading: Mapping[str, str]) -> str:
    """The fields of a path in words.

    >>> described({"protein": "A1CF", "field": "762_F2"})
    "protein 'A1CF', field '762_F2'"
    """
    return ", ".join(f"{name} {text!r}" for name, text in reading.items() if name != CHANNEL)


def _is_well(name: str) -> bool:
    return kind_of_column(name) == "well"


def _is_whole(text: str) -> bool:
    """Whether no `{name}` is cut at the end of a piece of a pattern."""
    return "{" not in _FIELD.split(text)[-1]


def _expression(
    parts: Sequence[str], channels: Sequence[str], greed: str, *, is_well: bool = False
) -> str:
    """The regular expression of a pattern that was split at its fields.

    Args:
        parts: fixed text and names of fields in turns.
        channels: what `{channel}` may be, the preferred one first; none for any text.
        greed: "?" for fields as short as they can be, "" for as long.
        is_well: whether `{well}`, or what else is called so, must be a well.
    """
    seen: dict[str, int] = {}
    expression = re.escape(parts[0])
    for number, (name, literal) in enumerate(zip(parts[1::2], parts[2::2], strict=True), start=1):
        if name == ANYTHING:
            expression += f"([^/]*{greed})"
        elif name in seen:
            again = f"\\{seen[name]}"
            expression += f"((?i:{again}))" if name == CHANNEL else f"({again})"
        elif name == CHANNEL and channels:
            expression += f"((?i:{'|'.join(map(re.escape, _spellings(channels)))}))"
        elif is_well and _is_well(name):
            expression += f"({_WELL})"
        else:
            expression += f"([^/]+{greed})"
        seen.setdefault(name, number)
        expression += re.escape(literal)
    return expression


def _spellings(channels: Sequence[str]) -> list[str]:
    """The channels in each of the Unicode forms that disks and archives write."""
    forms: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
    return list(
        dict.fromkeys(
            spelling
            for channel in channels
            for spelling in (channel, *(unicodedata.normalize(form, channel) for form in forms))
        )
    )
