"""Crops in a folder tree, described by a pattern with named fields."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeploc_tf.sources.images import Axes, as_channels, as_mask, read_image, stack_channels
from deeploc_tf.sources.patterns import GAP, FolderPattern
from deeploc_tf.sources.root import Root
from deeploc_tf.sources.source import Pixels, SourceError

if TYPE_CHECKING:
    import pandas as pd

_CHANNEL_IN_STEM = re.compile(rf"(?<=[^/])[-_. ]{GAP}|/{GAP}(?=/)|(?:^|(?<=/)){GAP}[-_ /]|{GAP}")


class FolderSource:
    """The crops below a folder whose paths match a pattern; one file a channel, or one a cell.

    Args:
        root: the folder. Links that lead out of it are refused.
        pattern: see `FolderPattern`. Each field but `{channel}` becomes a column of the index.
        channels: names of the channels in the order in which they are stored. With `{channel}` in
            the pattern they are its values, and a cell must have all of them.
        mask_channel: the value of `{channel}` that marks the file of the mask.
        axes: where the channels lie in a file that holds several, "CYX" or "YXC".

    Example:
        >>> FolderPattern("{protein}/{protein}_{cell}_{channel}.tif", ["gfp"]).fields
        ('protein', 'cell')
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        pattern: str,
        channels: Sequence[str],
        *,
        mask_channel: str | None = None,
        axes: Axes | None = None,
    ) -> None:
        self.channels = tuple(channels)
        self._files = self.channels + ((mask_channel,) if mask_channel is not None else ())
        if not self.channels or not all(self._files) or len(set(self._files)) != len(self._files):
            msg = (
                "`channels` must be one or more different names. Received: "
                f"channels={list(self._files)}."
            )
            raise SourceError(msg)
        self.pattern = FolderPattern(pattern, self._files)
        if not self.pattern.has_channel and mask_channel is not None:
            msg = (
                "A mask in a file of its own needs {channel} in the pattern. Received: "
                f"{pattern!r}."
            )
            raise SourceError(msg)
        if not self.pattern.has_channel and len(self.channels) > 1 and axes is None:
            msg = (
                "Several channels need {channel} in the pattern, or `axes` (CYX or YXC) where one "
                f"file holds them all. Received: pattern={pattern!r}, "
                f"channels={list(self.channels)}."
            )
            raise SourceError(msg)
        if self.pattern.has_channel and axes is not None:
            msg = (
                "`axes` is for files that hold all channels; with {channel} in the pattern each "
                f"file holds one. Received: pattern={pattern!r}, axes={axes}."
            )
            raise SourceError(msg)
        self._root = Root(root)
        self.root = self._root.path
        self.mask_channel = mask_channel
        self.axes = axes
        self._stems: list[str] = []
        self._index: pd.DataFrame | None = None
        self._rejects: dict[str, int] = {}

    @property
    def description(self) -> Mapping[str, Any]:
        """Kind, pattern, channels and options, for the manifest."""
        return {
            "kind": "folder",
            "pattern": self.pattern.text,
            "channels": list(self.channels),
            "mask_channel": self.mask_channel,
            "axes": self.axes,
        }

    @property
    def rejects(self) -> Mapping[str, int]:
        """How many files do not match the pattern."""
        return dict(self._rejects)

    def index(self) -> pd.DataFrame:
        """One row a cell, in the order of the paths: `key`, then the fields of the pattern as text.

        The key is the relative path without the channel and without the suffix.

        Raises:
            SourceError: nothing matches, a cell lacks a channel, or a link leads out of the folder.
        """
        if self._index is None:
            self._index = self._list()
        return self._index.copy()

    def files(self, position: int) -> tuple[str, ...]:
        """Paths of the cell's files relative to the root: its channels, then its mask."""
        stem = self._stems[position]
        if not self.pattern.has_channel:
            return (stem,)
        return tuple(stem.replace(GAP, channel) for channel in self._files)

    def read(self, position: int) -> Pixels:
        """Image `(height, width, channels)` and mask of one cell."""
        names = self.files(position)
        images = [read_image(self._inside(name)) for name in names]
        if not self.pattern.has_channel:
            return as_channels(images[0], len(self.channels), self.axes, names[0]), None
        count = len(self.channels)
        image = stack_channels(images[:count], names[:count])
        return image, as_mask(images[count], names[count]) if len(images) > count else None

    def _list(self) -> pd.DataFrame:
        import pandas as pd

        found: dict[str, int] = {}  # stem -> which channels are there, one bit each
        fields: dict[str, tuple[str, ...]] = {}
        others: dict[str, int] = {}
        unmatched = [
            path for path in _walk(self.root) if not self._take(path, found, fields, others)
        ]
        if not found:
            raise SourceError(self._nothing(unmatched, others))
        self._check_channels(found)
        if unmatched:
            self._rejects = {"file does not match the pattern": len(unmatched)}
        self._stems = sorted(found)
        columns = list(zip(*(fields[stem] for stem in self._stems), strict=True))
        frame = {"key": [self._key(stem) for stem in self._stems]}
        frame |= {n: list(v) for n, v in zip(self.pattern.fields, columns, strict=True)}
        return pd.DataFrame(frame)

    def _take(
        self,
        path: str,
        found: dict[str, int],
        fields: dict[str, tuple[str, ...]],
        others: dict[str, int],
    ) -> bool:
        """Note a path that matches; False for one that does not."""
        match = self.pattern.match(path)
        if match is None:
            other = self.pattern.other_channel(path)
            if other is not None:
                others[other] = others.get(other, 0) + 1
            return False
        stem, channel, values = match
        bit = 1 << self._files.index(channel) if channel else 1
        found[stem] = found.get(stem, 0) | bit
        # millions of cells share few proteins and fields: keep one string of each
        fields.setdefault(stem, tuple(sys.intern(values[name]) for name in self.pattern.fields))
        return True

    def _check_channels(self, found: Mapping[str, int]) -> None:
        if not self.pattern.has_channel:
            return
        whole = (1 << len(self._files)) - 1
        lacking = sorted(stem for stem, bits in found.items() if bits != whole)
        if lacking:
            stem = lacking[0]
            missing = [c for i, c in enumerate(self._files) if not found[stem] >> i & 1]
            msg = (
                f"Every cell must have all of the channels {', '.join(self._files)}. Received: "
                f"cell {self._key(stem)!r} without channel {', '.join(missing)} "
                f"({stem.replace(GAP, missing[0])} is missing); {len(lacking)} of {len(found)} "
                "cells lack a channel. Add the files, or name other channels."
            )
            raise SourceError(msg)

    def _key(self, stem: str) -> str:
        """The path without the channel, one separator beside it, and the suffix."""
        key = _CHANNEL_IN_STEM.sub("", stem)
        suffix = self.pattern.text.rsplit("}", 1)[-1]
        if "." in suffix:
            key = key.removesuffix(suffix[suffix.rfind(".") :])
        return key.rstrip("/")

    def _nothing(self, unmatched: Sequence[str], others: Mapping[str, int]) -> str:
        if not unmatched:
            return f"A folder of crops must hold files. Received: {self.root}, which holds none."
        msg = (
            f"Some file must match the pattern. Received: pattern={self.pattern.text!r}, "
            f"channels={list(self._files)}, and {len(unmatched)} files such as {unmatched[0]!r}."
        )
        if others:
            msg += f" With channels {', '.join(sorted(others)[:10])} it would match: name these."
        return msg

    def _inside(self, name: str) -> str:
        path = self._root.real(name)
        if path is None:
            target = (self.root / name).resolve()
            msg = (
                f"Files must lie inside {self.root}. Received: {name}, a link to {target}. Copy it "
                "there."
            )
            raise SourceError(msg)
        return path


def _walk(root: Path) -> Iterator[str]:
    """Relative POSIX paths of all files below `root`, sorted; links must stay inside."""
    if not root.is_dir():
        msg = f"Crops must lie in a folder that exists. Received: {root}."
        raise FileNotFoundError(msg)

    def fail(error: OSError) -> None:
        raise error

    for folder, folders, files in os.walk(root, onerror=fail):
        folders.sort()
        relative = Path(folder).relative_to(root).as_posix()
        prefix = "" if relative == "." else relative + "/"
        for name in [n for n in folders if (Path(folder) / n).is_symlink()]:
            if not (Path(folder) / name).resolve().is_relative_to(root):
                msg = (
                    f"Links must not lead out of {root}. Received: folder {prefix}{name}. Copy it "
                    "there."
                )
                raise SourceError(msg)
        for name in sorted(files):
            _check_name(prefix + name)
            yield prefix + name


def _check_name(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        msg = (
            f"File names must be UTF-8, because they become keys. Received: {path!r}. Rename the "
            "file."
        )
        raise SourceError(msg) from error
