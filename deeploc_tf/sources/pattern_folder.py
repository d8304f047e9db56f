"""What lies below a folder and matches a pattern: cells or fields, of one file or one a channel."""

from __future__ import annotations

import dataclasses
import logging
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

from deeploc_tf.names import same_form
from deeploc_tf.sources.patterns import GAP, REST, FolderPattern, described
from deeploc_tf.sources.root import IsItem, Root
from deeploc_tf.sources.source import Reject, SourceError

_logger = logging.getLogger(__name__)
_CHANNEL_IN_STEM = re.compile(rf"(?<=[^/])[-_. ]{GAP}|/{GAP}(?=/)|(?:^|(?<=/)){GAP}[-_ /]|{GAP}")
_THUMBNAIL = "_thumb"  # which MetaXpress writes beside each image
_LOOKED_AT = 200  # files that do not match, of which the nearest is shown


@dataclasses.dataclass(frozen=True)
class Listing:
    """The items of a folder, in the order of their paths.

    Attributes:
        stems: the path of each, with a gap for the channel.
        fields: name -> its text in each path.
        rejects: items that lack a channel; they are not in `stems`.
        passed_over: reason -> how many files are no items.
    """

    stems: list[str]
    fields: dict[str, list[str]]
    rejects: tuple[Reject, ...]
    passed_over: dict[str, int]


class PatternFolder:
    """A folder and the pattern of the paths in it.

    Args:
        root: the folder.
        pattern: over paths below the root; see `FolderPattern`.
        channels: values of `{channel}` that an item must all have.
        item: what an item is called in messages.
    """

    def __init__(
        self, root: Root, pattern: str, channels: Sequence[str], item: str = "cell"
    ) -> None:
        self.root = root
        self.channels = tuple(channels)
        self.pattern = FolderPattern(root.relative(pattern) or pattern, self.channels)
        self.item = item
        self._forms = [same_form(channel, "channel") for channel in self.channels]
        self._spelled = list(self.channels)  # as the first path of each spells it
        self._odd: dict[tuple[str, int], str] = {}  # paths that spell it otherwise

    @property
    def in_one_file(self) -> bool:
        """Whether one file holds all channels of an item."""
        return not self.pattern.has_channel

    def files(self, stem: str) -> tuple[str, ...]:
        """Relative paths of an item's files, one a channel, or the one that it is."""
        if not self.pattern.has_channel:
            return (self._odd.get((stem, 0)) or stem,)
        return tuple(
            self._odd.get((stem, i)) or self._shown(stem, spelled)
            for i, spelled in enumerate(self._spelled)
        )

    def _shown(self, stem: str, channel: str) -> str:
        return stem.replace(GAP, channel).replace(REST, "*")

    def key(self, stem: str) -> str:
        """The path without the channel, one separator beside it, `{*}`, and the suffix."""
        key = _CHANNEL_IN_STEM.sub("", stem).replace(REST, "")
        suffix = self.pattern.text.rsplit("}", 1)[-1]
        if "." in suffix:
            key = key.removesuffix(suffix[suffix.rfind(".") :])
        return key.rstrip("/")

    def list(self, is_item: IsItem | None = None, labels: FolderPattern | None = None) -> Listing:
        """The items.

        Args:
            is_item: as in `Root.walk`.
            labels: what matches it is no item, if the pattern has `{*}`, which matches anything.

        Raises:
            SourceError: nothing matches, no item has all channels, or a link leads out.
        """
        found: dict[str, int] = {}  # stem -> which channels are there, one bit each
        fields: dict[str, tuple[str, ...]] = {}
        seen: dict[str, int] = {}  # spelling in paths -> number of the channel
        others: dict[str, int] = {}  # another channel -> its files
        unmatched: list[str] = []
        twice: dict[str, list[str]] = {}  # stem -> further files of a channel that it has
        ignored: Counter[str] = Counter()
        for path in self.root.walk(is_item):
            if is_of_macos(path):
                ignored["file of macOS (._ before its name)"] += 1
                continue
            match = self.pattern.match(path)
            if match is not None and self.pattern.has_rest:
                if labels is not None and labels.match(path):
                    continue
                if _THUMBNAIL in path.rpartition("/")[2]:
                    ignored["thumbnail"] += 1
                    continue
            if match is not None:
                stem, channel, values = match
                bit = self._note_spelling(path, stem, channel, seen)
                if found.get(stem, 0) & bit:
                    twice.setdefault(stem, []).append(path)
                found[stem] = found.get(stem, 0) | bit
                # millions of cells share few proteins and fields: keep one string of each
                fields.setdefault(stem, tuple(sys.intern(values[n]) for n in self.pattern.fields))
            elif (other := self.pattern.other_channel(path)) is not None:
                others[other] = others.get(other, 0) + 1
            else:
                unmatched.append(path)
        if not found:
            raise SourceError(self._nothing(unmatched, others))
        self._say_spellings()
        self._check_split(fields)
        rejects = (*self._lacking(found), *self._ambiguous(twice))
        stems = sorted(found.keys() - {reject.key for reject in rejects})
        columns = list(zip(*(fields[stem] for stem in stems), strict=True))
        passed = {
            "file does not match the pattern": len(unmatched),
            "file of another channel": sum(others.values()),
            **ignored,
        }
        return Listing(
            stems,
            {n: list(v) for n, v in zip(self.pattern.fields, columns, strict=True)},
            tuple(dataclasses.replace(reject, key=self.key(reject.key)) for reject in rejects),
            {reason: count for reason, count in passed.items() if count},
        )

    def _check_split(self, fields: Mapping[str, tuple[str, ...]]) -> None:
        """Say how paths were split that can be split in several ways; refuse a mixture."""
        if self.pattern.split is None:
            return
        names = self.pattern.fields
        self.pattern.check_split(dict(zip(names, row, strict=True)) for row in fields.values())
        path, reading = self.pattern.split
        _logger.warning(
            "Paths that the pattern can split in several ways are split as early as can be: %r is "
            "%s. If this is wrong, name every part of the path.",
            path,
            described(reading),
        )

    def _note_spelling(self, path: str, stem: str, channel: str, seen: dict[str, int]) -> int:
        """The bit of a channel; notes how paths spell it."""
        if not self.pattern.has_channel:
            if stem != path:
                self._odd.setdefault((stem, 0), path)
            return 1
        number = seen.get(channel)
        if number is None:
            number = self._forms.index(same_form(channel, "channel"))
            if number not in seen.values():
                self._spelled[number] = channel
            seen[channel] = number
        if stem.replace(GAP, self._spelled[number]) != path:
            self._odd.setdefault((stem, number), path)
        return 1 << number

    def _say_spellings(self) -> None:
        """Say which channels the paths spell otherwise than the user."""
        spelled = [
            f"{there!r} is {ours!r}"
            for there, ours in zip(self._spelled, self.channels, strict=True)
            if there != ours
        ]
        if spelled:
            _logger.info(
                "Channels in paths are matched whatever their case: %s.", ", ".join(spelled)
            )

    def _ambiguous(self, twice: Mapping[str, Sequence[str]]) -> tuple[Reject, ...]:
        """Items of which a channel has several files, by their stems."""
        return tuple(
            Reject(
                "two files of a channel",
                stem,
                (*self.files(stem), *paths),
                f"Every {self.item} must have one file a channel. Received: {paths[0]} beside "
                f"{', '.join(self.files(stem))}, which the pattern does not tell apart. Remove or "
                "rename one, or name what tells them apart in the pattern.",
            )
            for stem, paths in sorted(twice.items())
        )

    def _lacking(self, found: Mapping[str, int]) -> tuple[Reject, ...]:
        """Items without all channels, by their stems."""
        whole = (1 << len(self.channels)) - 1 if self.pattern.has_channel else 1
        lacking = sorted(stem for stem, bits in found.items() if bits != whole)
        rejects = []
        for stem in lacking:
            missing = [c for i, c in enumerate(self.channels) if not found[stem] >> i & 1]
            detail = (
                f"Every {self.item} must have all of the channels {', '.join(self.channels)}. "
                f"Received: {self.item} {self.key(stem)!r} without channel {', '.join(missing)} "
                f"({self._shown(stem, missing[0])} is missing); {len(lacking)} of {len(found)} "
                f"{self.item}s lack a channel. Add the files, or name other channels."
            )
            rejects.append(Reject("channel is missing", stem, self.files(stem), detail))
        if len(rejects) == len(found):
            raise SourceError(rejects[0].detail)
        return tuple(rejects)

    def _nothing(self, unmatched: Sequence[str], others: Mapping[str, int]) -> str:
        root, count = self.root.path, len(unmatched) + sum(others.values())
        if not count:
            return f"A folder of {self.item}s must hold files. Received: {root}, which holds none."
        msg = (
            f"Some file must match the pattern. Received: pattern={self.pattern.text!r}, "
            f"channels={list(self.channels)}, and {count} files"
        )
        if unmatched:
            path, part = self.pattern.nearest(unmatched[:_LOOKED_AT])
            rest = self.pattern.text[len(part) :]
            msg += f" such as {path!r}, "
            msg += f"which fits up to {part!r}" if part else "which fits nowhere"
            msg += f", but not {rest!r} behind it." if part and rest else ", and goes on."
        if others:
            msg += f" With channels {', '.join(sorted(others)[:10])} it would match: name these."
        return msg


def is_of_macos(path: str) -> bool:
    """Whether a file is one that macOS writes beside each other one on disks of other systems."""
    return path.startswith("._") or "/._" in path
