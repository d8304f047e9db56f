"""Which of the planes of a file are the channels: by their names where the file names them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.names import same_form, tidy
from deeploc_tf.sources.formats.description import ImageDescription
from deeploc_tf.sources.likeness import Likeness
from deeploc_tf.sources.source import RejectedCrop
from tfrecords.errors import did_you_mean

Axes = Literal["YX", "CYX", "YXC"]


@dataclasses.dataclass(frozen=True, slots=True)
class ChannelLayout:
    """How the planes of the files of one source become channels.

    Attributes:
        channels: names of the channels as they are stored.
        axes: what the user said, which is stronger than what a file says.
        names: what the first file calls its channels, in their order; () where it does not.
        by_name: whether they are picked by these names; else `channels` names them anew, by their
            order.
        likeness: what all files have in common.
    """

    channels: tuple[str, ...]
    axes: Axes | None
    names: tuple[str, ...]
    by_name: bool
    likeness: Likeness

    @classmethod
    def of(
        cls, first: ImageDescription, channels: Sequence[str], axes: Axes | None, name: str
    ) -> ChannelLayout:
        """The layout that the first file shows.

        Args:
            first: what the file says of itself.
            channels: the channels to keep, by the names in the file, in the stored order; or new
                names for all of them; or nothing for all that the file names.
            axes: the axes of all files, where they do not say or say it wrong.
            name: the file, for messages.

        Raises:
            RejectedCrop: the axes or names are not known, or do not fit.
        """
        found = find_axes(first, axes, name)
        count = first.shape[found.index("C")] if "C" in found else 1
        names = _names(first, channels, count)
        wanted = tuple(channels)
        if not wanted and _are_different(names):
            wanted = tuple(map(tidy, names))
        if not wanted:
            msg = (
                f"Channels must have names. Received: {_listed(names)} in the metadata of {name} "
                f"({count} channels). Name them in their order as `channels`."
            )
            raise RejectedCrop(msg, reason="channels differ")
        by_name = find_channels(wanted, names, name) is not None
        if not by_name and count != len(wanted):
            kept = f" ({', '.join(names)})" if names else ""
            msg = (
                f"A file must hold one plane per channel. Received: {name} with {count}{kept}, for "
                f"channels={list(wanted)}. Name as many channels as there are, or some of those "
                "that the file names."
            )
            raise RejectedCrop(msg, reason="channels differ")
        return cls(wanted, axes, names, by_name, Likeness.of(first))

    def image(self, pixels: NDArray[Any], description: ImageDescription, name: str) -> NDArray[Any]:
        """The channels of one file, `(height, width, channels)`.

        Raises:
            RejectedCrop: its axes are not known, it lacks a channel, or it says something else of
                its channels, its pixel size or its numbers than the first file.
        """
        axes = find_axes(description, self.axes, name)
        self.likeness.check(description, name)
        planes = pixels.reshape(description.shape)
        planes = planes[..., np.newaxis] if "C" not in axes else planes
        planes = np.moveaxis(planes, 0, -1) if axes.startswith("C") else planes
        return np.ascontiguousarray(planes[..., self._picks(planes.shape[-1], description, name)])

    def _picks(self, count: int, description: ImageDescription, name: str) -> list[int] | slice:
        names = _names(description, self.channels, count)
        found = find_channels(self.channels, names, name)
        if found is not None:
            return found
        is_only_one = count == len(self.channels) == 1 and not names  # nothing to mistake it for
        if not is_only_one and (self.by_name or _forms(names) != _forms(self.names)):
            msg = (
                "The files of a source must have the same channels, "
                f"{', '.join(self.names) or 'without names'}. Received: {_listed(names)} in {name}."
            )
            raise RejectedCrop(msg, reason="channels differ")
        if count != len(self.channels):
            msg = (
                f"A file must hold one plane per channel. Received: {name} with {count}, for "
                f"channels={list(self.channels)}."
            )
            raise RejectedCrop(msg, reason="channels differ")
        return slice(None)


def find_channels(wanted: Sequence[str], names: Sequence[str], file: str) -> list[int] | None:
    """The place of each of the `wanted` channels among the `names` of a file.

    Case, spaces around a name and its Unicode form do not matter.

    Returns:
        The places; None where the file has none of the names, which may then be new ones.

    Raises:
        RejectedCrop: some are there and others not, or names cannot be told apart.
    """
    forms, asked = _forms(names), _forms(wanted)
    known = set(forms) & set(asked)
    missing = next((c for c, form in zip(wanted, asked, strict=True) if form not in known), None)
    if known and missing is not None:
        msg = (
            f"Channels must be those of the files, {', '.join(names)}, or new names for all "
            f"of them. Received: {missing!r} ({file}).{did_you_mean(missing, names)}"
        )
        raise RejectedCrop(msg, reason="channels differ")
    twice = [name for name, form in zip(names, forms, strict=True) if forms.count(form) > 1]
    # names that are all the same, such as "Camera", tell nothing; to differ in case is a riddle
    if any(form in known for form in _forms(twice)) or len(set(twice)) > len(set(_forms(twice))):
        msg = (
            "The channels of a file must have names that differ in more than case. Received: "
            f"{', '.join(names)} in {file}."
        )
        raise RejectedCrop(msg, reason="channels differ")
    return [forms.index(form) for form in asked] if known else None


def find_axes(description: ImageDescription, axes: Axes | None, name: str) -> str:
    """The axes of a file: "YX", "CYX" or "YXC"."""
    shape = description.shape
    found = axes or ("YX" if len(shape) == 2 else description.axes)
    if axes is not None and len(shape) == 2 and len(axes) == 3:
        found = "YX"  # one channel: its axis is not stored
    if len(found) == len(shape) and found in ("YX", "CYX", "YXC"):
        return found
    if len(shape) > 3 and not description.axes:
        msg = (
            f"A file must hold one cell or one field. Received: {name} of shape {shape}, an array "
            "of many. Save each to a file of its own, as in `for i, cell in enumerate(cells): "
            'numpy.save(f"{i:05d}.npy", cell)`.'
        )
    elif description.axes and axes is None:
        msg = (
            "A file must hold one plane per channel. Received: "
            f"{name} with axes {description.axes} {shape}. Write one plane (or a projection) of "
            "the other axes; or where they are channels, pass `axes`, CYX (planes first) or YXC "
            "(planes last)."
        )
    else:
        msg = (
            "A file of several planes must say which axis holds the channels, or come with "
            f"`axes`, CYX (planes first) or YXC (planes last). Received: axes={axes}, {name} of "
            f"shape {shape}."
        )
    raise RejectedCrop(msg, reason="axes are not known")


def _names(description: ImageDescription, wanted: Sequence[str], count: int) -> tuple[str, ...]:
    """What a file calls its `count` channels; labels of planes count where they are names of some.

    ImageJ's labels are names of channels, of files or of anything else. `c:1/2 - GFP` or
    `a_gfp.tif` is known by the channel in it where each label has another one.
    """
    mentioned = tuple(_mentioned(label, wanted) for label in description.labels)
    if not description.channels and all(mentioned) and len(set(mentioned)) == count:
        return mentioned
    for names in (description.channels, description.labels):
        is_label = names is description.labels
        if len(names) == count and not (is_label and set(_forms(names)).isdisjoint(_forms(wanted))):
            return names
    return ()


def _mentioned(label: str, wanted: Sequence[str]) -> str:
    """The one of the channels whose name is a word of the label, or ""."""
    words = set(re.split(r"[^a-z0-9]+", same_form(label, "channel")))
    found = [name for name in wanted if len(name) > 1 and same_form(name, "channel") in words]
    return found[0] if len(found) == 1 else ""


def _are_different(names: Sequence[str]) -> bool:
    return all(_forms(names)) and len(set(_forms(names))) == len(names)


def _forms(names: Sequence[str]) -> list[str]:
    return [same_form(name, "channel") for name in names]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name or "''" for name in names) or "no names"
