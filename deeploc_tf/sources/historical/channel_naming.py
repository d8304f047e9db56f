"""What the files of a cell's other channels are called, from the name of its GFP file."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Collection, Mapping, Sequence

from deeploc_tf.names import same_form
from deeploc_tf.sources.source import SourceError


@dataclasses.dataclass(frozen=True)
class ChannelNaming:
    """A text in the name of a file for each channel.

    Attributes:
        name: of this way of naming.
        marks: channel -> what stands for it; each ends in the character that follows the channel.
    """

    name: str
    marks: Mapping[str, str]

    def fits(self, path: str) -> bool:
        """Whether `path` is of a GFP file: only its name counts, and it says so exactly once."""
        return posixpath.basename(path).count(self.marks["gfp"]) == 1

    def file(self, path: str, channel: str) -> str:
        """The file of a channel or mask, whatever its case, from the GFP file `path`."""
        return self._renamed(path, self.marks[same_form(channel, "channel")])

    def key(self, path: str) -> str:
        """The GFP file `path` without what stands for the channel, and without the suffix."""
        return posixpath.splitext(self._renamed(path, self.marks["gfp"][-1]))[0]

    def _renamed(self, path: str, mark: str) -> str:
        folder, name = posixpath.split(path)
        return posixpath.join(folder, name.replace(self.marks["gfp"], mark))


NAMINGS: Mapping[str, ChannelNaming] = {
    naming.name: naming
    for naming in (
        ChannelNaming("gfp", {"gfp": "_gfp.", "rfp": "_rfp.", "mask": "_mask."}),
        ChannelNaming(
            "ch1", {"gfp": "_ch1_", "nucleus": "_ch2_", "rfp": "_ch3_", "mask": "_mask_"}
        ),
    )
}


def find_naming(
    paths: Collection[str], channels: Sequence[str], name: str | None = None
) -> ChannelNaming:
    """The one naming that knows `channels` and fits all GFP files.

    Args:
        paths: the GFP files; without any, only the rest is checked.
        channels: channels and mask.
        name: the naming, where the names of the files leave a choice.

    Raises:
        SourceError: there is none, or more than one.
    """
    fitting = [
        naming
        for naming in NAMINGS.values()
        if name in (None, naming.name)
        and {same_form(channel, "channel") for channel in channels} <= set(naming.marks)
        and all(map(naming.fits, paths))
    ]
    if len(fitting) == 1 or (fitting and not paths):
        return fitting[0]
    known = "; or ".join(
        f"{naming.name}: " + ", ".join(f"{c} {mark}" for c, mark in naming.marks.items())
        for naming in NAMINGS.values()
    )
    wrong = [p for p in paths if not any(naming.fits(p) for naming in NAMINGS.values())]
    some = next(iter(wrong or paths), None)
    msg = (
        "Names of files must tell the channel in one way, and exactly once. Received: "
        f"channels={list(channels)}, naming={name!r}"
        + (f", GFP file {some!r}" if some else "")
        + f". Known ways are {known}."
    )
    raise SourceError(msg)
