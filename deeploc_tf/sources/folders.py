"""Crops in a folder tree, described by a pattern with named fields."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deeploc_tf.sources.cell_files import CellFiles
from deeploc_tf.sources.channel_layout import Axes
from deeploc_tf.sources.likeness import check_different
from deeploc_tf.sources.listed_source import ListedSource
from deeploc_tf.sources.pattern_folder import PatternFolder
from deeploc_tf.sources.root import Root
from deeploc_tf.sources.source import Pixels, SourceError

if TYPE_CHECKING:
    import pandas as pd


class FolderSource(ListedSource):
    """The crops below a folder whose paths match a pattern; one file a channel, or one a cell.

    The index has one row per cell, in the order of the paths: `key`, the relative path without the
    channel and without the suffix, then the fields of the pattern as text. Cells that lack a
    channel are rejects; files that do not match the pattern are passed over.

    Args:
        root: the folder. Links that lead out of it are refused, but with `follow_links`.
        pattern: see `FolderPattern`. Each field but `{channel}` becomes a column of the index.
        channels: names of the channels in the order in which they are stored. With `{channel}` in
            the pattern they are its values, and a cell must have all of them; without it see
            `ChannelLayout.of`.
        mask_channel: the value of `{channel}` that marks the file of the mask.
        axes: where the channels lie in a file that holds several, "CYX" or "YXC"; needed where the
            files do not say.
        dtype: type to convert pixels to, if every number fits; see `as_dtype`.
        follow_links: take what links lead to, wherever it lies.
        resample_to: micrometres a pixel to resample images to, by averages over areas; see
            `Resampling`.
        pixel_size: micrometres a pixel of the images; by default what the files say.

    Example:
        >>> source = FolderSource(".", "{protein}/{protein}_{cell}_{channel}.tif", ["gfp"])
        >>> source.pattern.fields
        ('protein', 'cell')
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        pattern: str,
        channels: Sequence[str] = (),
        *,
        mask_channel: str | None = None,
        axes: Axes | None = None,
        dtype: str | None = None,
        follow_links: bool = False,
        resample_to: float | None = None,
        pixel_size: float | None = None,
    ) -> None:
        super().__init__(channels, dtype, resample_to, pixel_size)
        names = self.channels + ((mask_channel,) if mask_channel is not None else ())
        self._folder = PatternFolder(Root(root, follow_links=follow_links), pattern, names)
        self.pattern = self._folder.pattern
        _check_channels(names, self.pattern.has_channel, mask_channel, axes, pattern)
        self.root = self._folder.root.path
        self.mask_channel = mask_channel
        self.axes = axes
        self._files = CellFiles(
            self.channels, in_one_file=not self.pattern.has_channel, axes=axes, dtype=dtype
        )
        self._stems: list[str] = []

    @property
    def description(self) -> Mapping[str, Any]:
        """Kind, pattern, channels and options, for the manifest."""
        return {
            "kind": "folder",
            "pattern": self.pattern.text,
            "channels": list(self.channels),
            "mask_channel": self.mask_channel,
            "axes": self.axes,
            "dtype": self.dtype,
            **self._described_pixel_size(),
        }

    def files(self, position: int) -> tuple[str, ...]:
        """Paths of the cell's files relative to the root: its channels, then its mask."""
        return self._folder.files(self._stems[position])

    def paths(self, position: int) -> tuple[str, ...]:
        """Paths of the cell's files on disk."""
        return tuple(map(self._folder.root.unchecked, self.files(position)))

    def read(self, position: int) -> Pixels:
        """Image `(height, width, channels)` and mask of one cell."""
        names = self.files(position)
        return self._resampled(self._files.read([*map(self._folder.root.inside, names)], names))

    def _list(self) -> pd.DataFrame:
        import pandas as pd

        listing = self._folder.list()
        self._stems = listing.stems
        self._rejects, self._passed_over = [*listing.rejects], listing.passed_over
        self._files.settle(map(self._folder.files, listing.stems), self._folder.root.real)
        self._folder.root.forget()
        self.channels = self._files.channels
        self._settle_pixel_size(self._files.pixel_size)
        frame = {"key": [self._folder.key(stem) for stem in listing.stems]}
        return pd.DataFrame(frame | listing.fields)


def _check_channels(
    names: Sequence[str],
    has_channel: bool,
    mask_channel: str | None,
    axes: Axes | None,
    pattern: str,
) -> None:
    """Refuse channels that cannot be told apart, or that the pattern has no place for."""
    check_different(names)
    if has_channel and not names:
        msg = f"`channels` must be one or more different names. Received: channels={list(names)}."
        raise SourceError(msg)
    if not has_channel and mask_channel is not None:
        msg = (
            f"A mask in a file of its own needs {{channel}} in the pattern. Received: {pattern!r}."
        )
        raise SourceError(msg)
    if has_channel and axes is not None:
        msg = (
            "`axes` is for files that hold all channels; with {channel} in the pattern each "
            f"file holds one. Received: pattern={pattern!r}, axes={axes}."
        )
        raise SourceError(msg)
