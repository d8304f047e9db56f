"""Path patterns with named fields, compiled to regular expressions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

from deeploc_tf.sources.source import SourceError

CHANNEL = "channel"
GAP = "\0"  # stands for the channel in the stem of a cell; no file name can hold it

_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class FolderPattern:
    """A path pattern such as `{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif`.

    Each `{name}` stands for one or more characters other than `/`; a name that comes again must
    stand for the same text. `{channel}` stands for one of the channels, whatever its case and
    Unicode form. All else is literal. A path that could be read in two ways is refused, not
    guessed.

    Args:
        text: the pattern, over paths relative to the root, with `/` between folders.
        channels: what `{channel}` may stand for.
    """

    def __init__(self, text: str, channels: Sequence[str]) -> None:
        parts = _FIELD.split(text)
        self.text = text
        self.occurrences = tuple(parts[1::2])  # group 1, 2, ... of the expressions
        self.fields = tuple(n for n in dict.fromkeys(self.occurrences) if n != CHANNEL)
        self.has_channel = CHANNEL in self.occurrences
        literals = "".join(parts[::2])
        if "{" in literals or "}" in literals or "\\" in literals or text.startswith("/"):
            msg = (
                "A pattern must be a relative path with `/` between folders and fields like "
                f"{{name}} of letters, digits and `_`. Received: pattern={text!r}."
            )
            raise SourceError(msg)
        if "key" in self.fields:
            msg = (
                "A field must not be called `key`: keys come from the path. Received: "
                f"pattern={text!r}."
            )
            raise SourceError(msg)
        # the shortest and the longest reading agree exactly where there is only one
        self._shortest = self._compile(parts, sorted(channels, key=len), "+?")
        self._longest = self._compile(parts, sorted(channels, key=len, reverse=True), "+")
        self._any_channel = self._compile(parts, (), "+?")

    @staticmethod
    def _compile(parts: Sequence[str], channels: Sequence[str], repeat: str) -> re.Pattern[str]:
        seen: dict[str, int] = {}
        expression = re.escape(parts[0])
        for number, (name, literal) in enumerate(
            zip(parts[1::2], parts[2::2], strict=True), start=1
        ):
            if name in seen:
                again = f"\\{seen[name]}"
                expression += f"((?i:{again}))" if name == CHANNEL else f"({again})"
            elif name == CHANNEL and channels:
                expression += f"((?i:{'|'.join(map(re.escape, _spellings(channels)))}))"
            else:
                expression += f"([^/]{repeat})"
            seen.setdefault(name, number)
            expression += re.escape(literal)
        return re.compile(expression)

    def match(self, path: str) -> tuple[str, str, dict[str, str]] | None:
        """Stem (the path with a gap for the channel), channel and fields of a path, or None.

        Raises:
            SourceError: the path can be read in two ways.
        """
        match = self._shortest.fullmatch(path)
        if match is None:
            return None
        fields = dict(zip(self.occurrences, match.groups(), strict=True))
        longest = self._longest.fullmatch(path)
        if longest is not None and longest.groups() != match.groups():
            other = dict(zip(self.occurrences, longest.groups(), strict=True))
            msg = (
                f"A pattern must leave one way to read a path. Received: pattern={self.text!r}, "
                f"{path!r} as {fields} or {other}. Put more fixed text between fields."
            )
            raise SourceError(msg)
        stem, end = "", 0
        for number, name in enumerate(self.occurrences, start=1):
            if name == CHANNEL:
                stem += path[end : match.start(number)] + GAP
                end = match.end(number)
        return stem + path[end:], fields.pop(CHANNEL, ""), fields

    def other_channel(self, path: str) -> str | None:
        """The text in the place of the channel, for a path that matches but for its channel."""
        match = self._any_channel.fullmatch(path) if self.has_channel else None
        return None if match is None else match[self.occurrences.index(CHANNEL) + 1]


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
