"""The files of one cell as pixels: one a channel or one for all, then that of its mask."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from deeploc_tf.sources.channel_layout import Axes, ChannelLayout, find_axes
from deeploc_tf.sources.formats.description import ImageDescription, PixelSize
from deeploc_tf.sources.images import (
    as_dtype,
    describe_image,
    read_plane,
    read_stack,
    stack_channels,
)
from deeploc_tf.sources.likeness import OneChannel, check_different
from deeploc_tf.sources.masks import as_mask
from deeploc_tf.sources.source import UNREADABLE, RejectedCrop, SourceError, StampedPixels

_LOOKED_AT = 16  # first cells whose files may say the pixel size, or may lack channels

_logger = logging.getLogger(__name__)


class CellFiles:
    """Reads one cell after another, all in the same way.

    Args:
        channels: names of the channels; see `ChannelLayout.of` where one file holds them all.
        in_one_file: whether it does.
        axes: of such files.
        dtype: type to convert pixels to; see `as_dtype`.
        fill: take chunks of OME-Zarr that are missing for empty ones.

    Attributes:
        channels: names of the channels, known once `settle` has seen a file.
    """

    def __init__(
        self,
        channels: Sequence[str],
        *,
        in_one_file: bool,
        axes: Axes | None = None,
        dtype: str | None = None,
        fill: bool = False,
    ) -> None:
        check_different(channels)
        self.channels = tuple(channels)
        self._size: PixelSize | None = None
        self._in_one_file = in_one_file
        self._axes = axes
        self._dtype = dtype
        self._fill = fill
        self._layout: ChannelLayout | None = None
        self._are_stacks = False
        # by the place of a file in its cell
        self._rules: dict[int, OneChannel] = {}
        self._alike: dict[int, ImageDescription] = {}  # the last that was found to be so

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_alike": {}}

    @property
    def pixel_size(self) -> float | None:
        """Micrometres a pixel, by the first file that says it; None where pixels are not square."""
        return None if self._size is None else self._size.micrometres

    @property
    def _has_axes(self) -> bool:
        """Whether the user said which axis holds the channels, as those of a color image."""
        return self._in_one_file and self._axes is not None

    def settle(self, cells: Iterable[Sequence[str]], find: Callable[[str], str | None]) -> None:
        """Learn channels, axes and pixel size from the first files that can be read.

        Args:
            cells: names of the files of each cell.
            find: gives the path of a file; None if it must not be opened.

        Raises:
            SourceError: channels are not in the files and nobody said; or no file can be read.
        """
        failures: list[Exception] = []
        needed: set[int] | None = None
        for number, cell in enumerate(cells):
            needed = set(range(len(cell))) if needed is None else needed
            settled = needed <= self._rules.keys()
            if (settled and self._size is not None) or (
                number >= _LOOKED_AT and (settled or (self._in_one_file and self._layout is None))
            ):
                break
            for i, name in enumerate(cell):
                if i not in self._rules or self._size is None:
                    self._learn(i, find(name), name, failures)
        if self._in_one_file and self._layout is None and failures:
            raise failures[0]
        self._hold_pixel_size()
        self._check_orientation()
        self._note()

    def _learn(self, position: int, path: str | None, name: str, failures: list[Exception]) -> None:
        """What a file says, if it can be read and is the first or says the pixel size."""
        is_all = self._in_one_file and position == 0
        try:
            if path is None:
                msg = f"Files must lie inside their folder. Received: {name}, a link out of it."
                raise RejectedCrop(msg)
            described = (
                describe_image(path, colors=self._has_axes)
                if is_all
                else self._read_file(path, [])[1]
            )
            channels = self.channels if not self._in_one_file else self.channels[:1]
            if is_all:
                layout = ChannelLayout.of(described, self.channels, self._axes, name)
            rule = OneChannel.of(described, () if is_all else channels, position)
        except (RejectedCrop, *UNREADABLE) as error:
            failures.append(error)
            return
        if is_all and self._layout is None:
            self._layout, self.channels = layout, layout.channels
            self._are_stacks = len(described.shape) > 2
        self._rules.setdefault(position, rule)
        if self._size is None and (is_all or rule.channel is not None):
            self._size = described.size

    def _hold_pixel_size(self) -> None:
        """What is held for all files is the size that was found, whichever file said it."""
        for i, rule in self._rules.items():
            likeness = dataclasses.replace(rule.likeness, size=self._size)
            self._rules[i] = dataclasses.replace(rule, likeness=likeness)
        if self._layout is not None:
            likeness = dataclasses.replace(self._layout.likeness, size=self._size)
            self._layout = dataclasses.replace(self._layout, likeness=likeness)

    def _check_orientation(self) -> None:
        """Refuse files of a cell that show it in several ways, since none of them is turned.

        Masks seldom say one.

        Raises:
            SourceError: there are such.
        """
        rules = [self._rules[position] for position in sorted(self._rules)]
        for rule in rules:
            first, found = (r.likeness.orientation for r in (rules[0], rule))
            if found != first and not (rule.channel is None and found == 1):
                msg = (
                    "The files of a cell must have one orientation, which is not applied. "
                    f"Received: {first} and, in those of {rule.channel or 'the masks'}, {found}. "
                    "Turn the pixels of one kind."
                )
                raise SourceError(msg)

    def check_labels(self, found: ImageDescription, name: str) -> None:
        """Refuse a label image that is to be turned otherwise than its field.

        Raises:
            RejectedCrop: it is.
        """
        rule = self._rules.get(0)
        if found.orientation not in (1, rule.likeness.orientation if rule else 1):
            msg = (
                "A label image must have the orientation of its field. Received: "
                f"{found.orientation} in {name}. Turn its pixels, or remove the tag."
            )
            raise RejectedCrop(msg, reason="orientation differs")

    def _note(self) -> None:
        """Say what a person may not expect."""
        layout = self._layout
        if layout is not None and not layout.by_name and layout.names:
            pairs = zip(layout.names, layout.channels, strict=True)
            _logger.info(
                "Channels get new names, by their order in the files: %s.",
                ", ".join(f"{name!r} is {channel!r}" for name, channel in pairs),
            )
        renamed = [rule for rule in self._rules.values() if rule.is_renamed]
        if renamed:
            _logger.info(
                "The files of a channel call it otherwise: %s.",
                ", ".join(f"{rule.name!r} is {rule.channel!r}" for rule in renamed),
            )
        likenesses = [rule.likeness for rule in self._rules.values()]
        if any(likeness.zero_is_white for likeness in likenesses):
            _logger.warning(
                "The files say that 0 is white (photometric interpretation WhiteIsZero); their "
                "numbers are kept as they are, so that bright pixels have low numbers."
            )
        if any(likeness.orientation != 1 for likeness in likenesses):
            _logger.warning(
                "The files ask to be turned or mirrored (Orientation); their pixels are kept as "
                "they are stored."
            )

    def size_of(self, path: str, name: str) -> tuple[int, int]:
        """Height and width of the image in a file; its pixels are not read."""
        description = describe_image(path, colors=self._has_axes)
        axes = find_axes(description, self._axes if self._in_one_file else None, name)
        return description.shape[axes.index("Y")], description.shape[axes.index("X")]

    def read(self, paths: Sequence[str], names: Sequence[str]) -> StampedPixels:
        """Image `(height, width, channels)` and mask of the cell in files `paths`.

        Raises:
            RejectedCrop: the cell cannot be used.
        """
        statuses: list[os.stat_result] = []
        if self._in_one_file:
            count = 1
            image = self._read_all(paths[0], names[0], statuses)
        else:
            count = len(self.channels)
            read = self._read_one
            images = [read(i, paths[i], names[i], statuses) for i in range(count)]
            image = stack_channels(images, names[:count], self._dtype)
        if len(paths) == count:
            return StampedPixels(image, None, statuses)
        plane = self._read_one(count, paths[count], names[count], statuses)
        return StampedPixels(image, as_mask(plane, names[count], image.shape), statuses)

    def _read_all(self, path: str, name: str, statuses: list[os.stat_result]) -> NDArray[Any]:
        """The channels of a file that holds them all."""
        if self._are_stacks:
            statuses.append(os.stat(path))  # noqa: PTH116 -- once a crop
            pixels, description = read_stack(path, colors=self._has_axes, fill=self._fill)
        else:
            pixels, description = self._read_file(path, statuses)
        if description is not self._alike.get(0) and self._layout is not None:
            image = self._layout.image(pixels, description, name)
            if self._are_stacks or pixels.ndim > 2:
                return as_dtype(image, self._dtype, name)
            self._alike[0] = description
        return stack_channels([pixels], [name], self._dtype)

    def _read_one(
        self, position: int, path: str, name: str, statuses: list[os.stat_result]
    ) -> NDArray[Any]:
        """The pixels of a file of one channel or mask."""
        try:  # as `_read_file`: a call more for each plane of millions is time
            pixels, description = read_plane(path, statuses=statuses)
        except (RejectedCrop, PermissionError):
            pixels, description = self._read_file(path, statuses)
        if description is not self._alike.get(position):
            rule = self._rules.get(position)
            if rule is not None:
                rule.check(description, name)
            self._alike[position] = description
        return pixels

    def _read_file(
        self, path: str, statuses: list[os.stat_result]
    ) -> tuple[NDArray[Any], ImageDescription]:
        try:
            return read_plane(path, statuses=statuses)
        except (RejectedCrop, PermissionError):
            if not Path(path).is_dir():
                raise
        statuses.append(os.stat(path))  # noqa: PTH116 -- once a plane
        return read_stack(path, fill=self._fill)  # an OME-Zarr image
