"""The files of one cell as pixels: one a channel or one for all, then that of its mask."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from deeploc_tf.sources.channel_layout import Axes, ChannelLayout, find_axes
from deeploc_tf.sources.images import (
    as_dtype,
    describe_image,
    read_image,
    read_stack,
    stack_channels,
)
from deeploc_tf.sources.masks import as_mask
from deeploc_tf.sources.source import RejectedCrop, StampedPixels


class CellFiles:
    """Reads one cell after another, all in the same way.

    Args:
        channels: names of the channels; see `ChannelLayout.of` where one file holds them all.
        in_one_file: whether it does.
        axes: of such files.
        dtype: type to convert pixels to; see `as_dtype`.

    Attributes:
        channels: names of the channels, known once `settle` has seen a file.
        pixel_size: micrometres a pixel, by the first file, or None.
    """

    def __init__(
        self,
        channels: Sequence[str],
        *,
        in_one_file: bool,
        axes: Axes | None = None,
        dtype: str | None = None,
    ) -> None:
        self.channels = tuple(channels)
        self.pixel_size: float | None = None
        self._in_one_file = in_one_file
        self._axes = axes
        self._dtype = dtype
        self._layout: ChannelLayout | None = None
        self._are_folders = False  # OME-Zarr

    def settle(self, firsts: Iterable[tuple[str, str]]) -> None:
        """Learn channels, axes and pixel size from the first file that can be read.

        Args:
            firsts: path and name of the first file of each cell.

        Raises:
            SourceError: they are not in the file and nobody said; or no file can be read.
        """
        failure: Exception | None = None
        for path, name in firsts:
            try:
                first = describe_image(path)
            except (RejectedCrop, FileNotFoundError, PermissionError, IsADirectoryError) as error:
                failure = failure or error
                if not self._in_one_file:  # then there is little to learn
                    return
                continue
            self.pixel_size = first.pixel_size
            self._are_folders = Path(path).is_dir()
            if self._in_one_file:
                layout = ChannelLayout.of(first, self.channels, self._axes, name)
                self.channels = layout.channels
                # one plane a file is read the quick way
                self._layout = layout if len(first.shape) > 2 else None
            return
        if failure is not None:
            raise failure

    def size_of(self, path: str, name: str) -> tuple[int, int]:
        """Height and width of the image in a file; its pixels are not read."""
        description = describe_image(path)
        axes = find_axes(description, self._axes if self._layout is not None else None, name)
        return description.shape[axes.index("Y")], description.shape[axes.index("X")]

    def read(self, paths: Sequence[str], names: Sequence[str]) -> StampedPixels:
        """Image `(height, width, channels)` and mask of the cell in files `paths`.

        Raises:
            RejectedCrop: the cell cannot be used.
        """
        statuses: list[os.stat_result] = []
        if self._layout is not None:
            count = 1
            statuses.append(os.stat(paths[0]))  # noqa: PTH116 -- once a crop
            pixels, description = read_stack(paths[0])
            image = self._layout.image(pixels, description, names[0])
            image = as_dtype(image, self._dtype, names[0])
        else:
            count = len(self.channels)
            images = [self._read_plane(path, statuses) for path in paths[:count]]
            image = stack_channels(images, names[:count], self._dtype)
        if len(paths) == count:
            return StampedPixels(image, None, statuses)
        mask = as_mask(self._read_plane(paths[count], statuses), names[count], image.shape)
        return StampedPixels(image, mask, statuses)

    def _read_plane(self, path: str, statuses: list[os.stat_result]) -> NDArray[Any]:
        if not self._are_folders:
            return read_image(path, statuses=statuses)
        statuses.append(os.stat(path))  # noqa: PTH116 -- once a plane
        return read_stack(path)[0]
