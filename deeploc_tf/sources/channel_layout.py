"""Which of the planes of a file are the channels: settled by the first file, then held for all."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.formats.description import ImageDescription
from deeploc_tf.sources.source import RejectedCrop, SourceError
from tfrecords.errors import did_you_mean

Axes = Literal["YX", "CYX", "YXC"]


@dataclasses.dataclass(frozen=True, slots=True)
class ChannelLayout:
    """How the planes of the files of one source become channels.

    Attributes:
        channels: names of the channels as they are stored.
        axes: what the user said, which is stronger than what a file says.
        names: what the files call their channels, in their order; () where they do not, or where
            `channels` names them anew, by their order.
        pixel_size: what the first file says.
    """

    channels: tuple[str, ...]
    axes: Axes | None = None
    names: tuple[str, ...] = ()
    pixel_size: float | None = None

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
            SourceError: the axes or names are not known, or do not fit.
        """
        found = find_axes(first, axes, name)
        count = first.shape[found.index("C")] if "C" in found else 1
        names = first.channels if len(set(first.channels)) == count else ()
        wanted = tuple(channels) or names
        if not wanted:
            msg = (
                "Channels must have names. Received: none, and none in the metadata of "
                f"{name} ({count} channels). Name them in their order as `channels`."
            )
            raise SourceError(msg)
        known = [channel for channel in wanted if channel in names]
        if known and len(known) < len(wanted):
            missing = next(channel for channel in wanted if channel not in names)
            msg = (
                f"Channels must be those of the files, {', '.join(names)}, or new names for all "
                f"of them. Received: {missing!r}.{did_you_mean(missing, names)}"
            )
            raise SourceError(msg)
        if not known and count != len(wanted):
            kept = f" ({', '.join(names)})" if names else ""
            msg = (
                f"A file must hold one plane a channel. Received: {name} with {count}{kept}, for "
                f"channels={list(wanted)}. Name as many channels as there are, or some of those "
                "that the file names."
            )
            raise SourceError(msg)
        return cls(wanted, axes, names, first.pixel_size)

    def image(self, pixels: NDArray[Any], description: ImageDescription, name: str) -> NDArray[Any]:
        """The channels of one file, `(height, width, channels)`.

        Raises:
            RejectedCrop: its axes are not known, or its channels or its pixel size are not those
                of the first file.
        """
        axes = find_axes(description, self.axes, name)
        self._check_pixel_size(description, name)
        planes = pixels.reshape(description.shape)
        planes = planes[..., np.newaxis] if "C" not in axes else planes
        planes = np.moveaxis(planes, 0, -1) if axes.startswith("C") else planes
        return np.ascontiguousarray(planes[..., self._picks(planes.shape[-1], description, name)])

    def _picks(self, count: int, description: ImageDescription, name: str) -> list[int] | slice:
        by_name = bool(set(self.channels) & set(self.names))
        names = description.channels
        if by_name and set(self.channels) <= set(names) and len(set(names)) == count:
            return [names.index(channel) for channel in self.channels]
        if by_name or (self.names and names != self.names):
            msg = (
                f"The files of a source must have the same channels, {', '.join(self.names)}. "
                f"Received: {', '.join(names) or 'no names'} in {name}."
            )
            raise RejectedCrop(msg, reason="channels differ")
        if count != len(self.channels):
            msg = (
                f"A file must hold one plane a channel. Received: {name} with {count}, for "
                f"channels={list(self.channels)}."
            )
            raise RejectedCrop(msg, reason="channels differ")
        return slice(None)

    def _check_pixel_size(self, description: ImageDescription, name: str) -> None:
        here, first = description.pixel_size, self.pixel_size
        if here is not None and first is not None and abs(here - first) > 1e-3 * first:
            msg = (
                "The files of a source must have one pixel size. Received: "
                f"{here:g} micrometres in {name}, {first:g} in the first file."
            )
            raise RejectedCrop(msg, reason="pixel size differs")


def find_axes(description: ImageDescription, axes: Axes | None, name: str) -> str:
    """The axes of a file: "YX", "CYX" or "YXC"."""
    shape = description.shape
    found = axes or ("YX" if len(shape) == 2 else description.axes)
    if axes is not None and len(shape) == 2 and len(axes) == 3:
        found = "YX"  # one channel: its axis is not stored
    if len(found) == len(shape) and found in ("YX", "CYX", "YXC"):
        return found
    if description.axes and axes is None:
        msg = (
            "A file must hold one plane a channel. Received: "
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
