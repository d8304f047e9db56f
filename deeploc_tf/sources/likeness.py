"""What all files of a source must have in common with the first that can be read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from deeploc_tf.names import same_form
from deeploc_tf.sources.formats.description import ImageDescription, PixelSize
from deeploc_tf.sources.source import RejectedCrop, SourceError


@dataclasses.dataclass(frozen=True, slots=True)
class Likeness:
    """What files say of their numbers and pixels.

    Attributes:
        size: of a pixel; None where no file may say one.
        zero_is_white: their photometric interpretation.
        orientation: of their images.
    """

    size: PixelSize | None
    zero_is_white: bool = False
    orientation: int = 1

    @classmethod
    def of(cls, first: ImageDescription) -> Likeness:
        """What the first file says."""
        return cls(first.size, first.zero_is_white, first.orientation)

    def check(self, found: ImageDescription, name: str) -> None:
        """Refuse a file that says something else. One that says no pixel size may be alike.

        Raises:
            RejectedCrop: it does.
        """
        if found.size is not None and (self.size is None or not found.size.is_like(self.size)):
            msg = (
                "The files of a source must have one pixel size. Received: "
                f"{found.size} in {name}, {self.size or 'none'} in the first file."
            )
            raise RejectedCrop(msg, reason="pixel size differs")
        self.check_numbers(found, name)

    def check_numbers(self, found: ImageDescription, name: str) -> None:
        """As `check`, for masks, whose pixels have no size of their own."""
        if found.zero_is_white != self.zero_is_white:
            kinds = ("BlackIsZero", "WhiteIsZero")
            msg = (
                "The files of a source must have one photometric interpretation. Received: "
                f"{kinds[found.zero_is_white]} in {name}, {kinds[self.zero_is_white]} in the "
                "first file. Invert the numbers of one kind."
            )
            raise RejectedCrop(msg, reason="photometric interpretation differs")
        if found.orientation != self.orientation:
            msg = (
                "The files of a source must have one orientation, which is not applied. Received: "
                f"{found.orientation} in {name}, {self.orientation} in the first file."
            )
            raise RejectedCrop(msg, reason="orientation differs")


@dataclasses.dataclass(frozen=True, slots=True)
class OneChannel:
    """What is known of the files of one channel, or of the masks, beside what their names say.

    Attributes:
        channel: its name, or None for masks.
        others: the other channels.
        name: what the first file calls its channel, or "".
        likeness: what all files have in common.
    """

    channel: str | None
    others: tuple[str, ...]
    name: str
    likeness: Likeness

    @classmethod
    def of(cls, first: ImageDescription, channels: Sequence[str], position: int) -> OneChannel:
        """By the first file of a channel, or of the masks, which come behind the channels.

        One that calls itself another of the channels gives no name: reading it says what is wrong.
        """
        is_mask = position >= len(channels)
        names = first.channels if len(first.channels) == 1 and not is_mask else ("",)
        others = tuple(c for i, c in enumerate(channels) if i != position)
        return cls(
            channel=None if is_mask else channels[position],
            others=others,
            name="" if _form(names[0]) in map(_form, others) else names[0],
            likeness=Likeness.of(first),
        )

    @property
    def is_renamed(self) -> bool:
        """Whether the files call the channel otherwise."""
        return bool(self.name) and _form(self.name) != _form(self.channel or "")

    def check(self, found: ImageDescription, file: str) -> None:
        """Refuse a file that says something else than the first, or that it is another channel.

        Raises:
            RejectedCrop: it does.
        """
        if self.channel is None:
            self.likeness.check_numbers(found, file)
            return
        self.likeness.check(found, file)
        self._check_name(found, file)

    def _check_name(self, found: ImageDescription, file: str) -> None:
        if self.channel is None or len(found.channels) != 1 or not found.channels[0]:
            return
        form = _form(found.channels[0])
        if form in (_form(self.channel), _form(self.name)):
            return
        is_other = form in map(_form, self.others)
        first = f", {self.name!r} in the first file" if self.name and not is_other else ""
        msg = (
            f"A file of channel {self.channel!r} must hold it. Received: channel "
            f"{found.channels[0]} in {file}{first}."
        )
        raise RejectedCrop(msg, reason="channels differ")


def check_different(channels: Sequence[str]) -> None:
    """Refuse channels that are one, though case, spaces or Unicode form may tell them apart.

    Raises:
        SourceError: there are such.
    """
    if not all(map(_form, channels)) or len(set(map(_form, channels))) != len(channels):
        msg = (
            "`channels` must be one or more different names, which differ in more than case. "
            f"Received: channels={list(channels)}."
        )
        raise SourceError(msg)


def _form(name: str) -> str:
    return same_form(name, "channel")
