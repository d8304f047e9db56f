"""Crops in the HDF5 layout of DeepLoc: flat pixels in `dataK`, one-hot classes in `IndexK`."""

from __future__ import annotations

import bisect
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.hdf5_file import data_set, open_hdf5, whole
from deeploc_tf.sources.historical.deeploc_layout import (
    Member,
    as_image,
    channel_names_of,
    class_names_of,
    class_texts,
    members,
    named_blocks,
    place_blocks,
    read_column,
    read_slice,
)
from deeploc_tf.sources.likeness import check_different
from deeploc_tf.sources.listed_source import ListedSource
from deeploc_tf.sources.source import Pixels, Reject, RejectedCrop, SourceError
from tfrecords.errors import SplitError

if TYPE_CHECKING:
    import h5py
    import pandas as pd


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """One `dataK` of one file; parts of a source agree in all but name and rows."""

    split: str | None
    path: Path
    name: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    class_names: tuple[str, ...]
    channel_names: tuple[str, ...]
    rows: Sequence[int] | NDArray[np.intp]  # those that are in the index

    def key(self, row: int) -> str:
        key = f"{self.name}/{row}"
        return key if self.split is None else f"{self.split}/{key}"

    def place(self, row: int) -> str:
        return f"{self.path.name}, {self.name}, row {row}"


class DeepLocHDF5Source(ListedSource):
    """The crops of a DeepLoc HDF5 file, or of one such file for each split.

    Such a file holds `data1`, `data2`, ..., each `(num_crops, num_blocks * side * side)`, where a
    block is one channel of a crop, row by row. `Index1`, `Index2`, ..., `(num_crops, num_columns)`,
    have a 1 in the column of the crop's class. `Info1`, ... may hold further numbers of each crop.

    The index has one row per crop, in the order of the files, of K and of the rows: `key`
    (`data1/17`, or `train/data1/17` where there are splits; rows count from 0), `label` where
    there is an `Index`, `split` where there are splits, and the columns of `info`. Crops that have
    no class with a name are rejects.

    Args:
        path: the file, or split -> file; the index then has a column `split`.
        channels: names of the channels in the stored order.
        blocks: which block each channel is, from 0; by default the one of its name, where the file
            names them (a list of text called `channels`), else the first, the second and so on, and
            then there must be no others.
        side: height and width of the crops. By default 64 where the columns can be such blocks,
            otherwise what fits the number of channels.
        class_names: names of the first columns of `Index`. A crop of another column is rejected.
        names_from: the attribute or data set that holds these names. By default the only list of
            text in the file.
        label_separator: text between the classes of a crop that has several; without it such a
            crop is an error.
        info: column of the index -> column of `Info`, from 0, to keep with the crops.
        dtype: type to convert pixels to, "float32" also where this rounds. By default uint8 and
            uint16 stay as they are, and all others become float32, exactly.
        resample_to: micrometres a pixel to resample crops to, by averages over areas; see
            `Resampling`.
        pixel_size: micrometres a pixel of the crops, which such files do not say.
    """

    _left_behind = ("_table", "_slice")  # a copy opens the file anew

    def __init__(
        self,
        path: str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]],
        channels: Sequence[str],
        *,
        blocks: Sequence[int] | None = None,
        side: int | None = None,
        class_names: Sequence[str] | None = None,
        names_from: str | None = None,
        label_separator: str | None = None,
        info: Mapping[str, int] | None = None,
        dtype: str | None = None,
        resample_to: float | None = None,
        pixel_size: float | None = None,
    ) -> None:
        super().__init__(channels, dtype, resample_to, pixel_size)
        paths = path.items() if isinstance(path, Mapping) else [(None, path)]
        self._files = [(split, Path(p).absolute()) for split, p in paths]
        self.blocks = None if blocks is None else tuple(blocks)
        self.side = side
        self.class_names = tuple(class_names or ())
        self.names_from = names_from
        self.label_separator = label_separator
        self.info = dict(info or {})
        self._given_names = None if class_names is None else self.class_names
        self._check_options()
        self._parts: list[_Part] = []
        self._starts: list[int] = []  # position of the first crop of each part
        self._table: tuple[_Part, h5py.Dataset] | None = None  # that is open
        self._slice: tuple[_Part, int, NDArray[Any]] | None = None  # its first row, and pixels

    @property
    def description(self) -> Mapping[str, Any]:
        """Kind, splits, channels and options, for the manifest."""
        return {
            "kind": "deeploc_hdf5",
            "splits": [split for split, _ in self._files if split is not None],
            "channels": list(self.channels),
            "blocks": None if self.blocks is None else list(self.blocks),
            "side": self.side,
            "class_names": list(self.class_names),
            "label_separator": self.label_separator,
            "info": [{"column": name, "number": n} for name, n in self.info.items()],
            "dtype": self.dtype,
            **self._described_pixel_size(),
        }

    def files(self, position: int) -> tuple[str, ...]:
        """File, data set and row of a crop."""
        part, row = self._locate(position)
        return (part.place(row),)

    def paths(self, position: int) -> tuple[str, ...]:
        """Path of the file that a crop lies in."""
        return (str(self._locate(position)[0].path),)

    def read(self, position: int) -> Pixels:
        """Image `(height, width, channels)` of one row; there is no mask.

        Raises:
            RejectedCrop: the file is damaged where this row lies, or pixels would be changed.
            SourceError: the file has changed.
        """
        part, row = self._locate(position)
        if self._slice is None or self._slice[0] is not part or not _holds(self._slice, row):
            self._slice = None  # before the next is read: one at a time in memory
            self._slice = (part, *self._read(part, row))
        planes = self._slice[2][row - self._slice[1]].reshape(-1, self.side, self.side)
        image = as_image(planes[list(self.blocks or ())], self.dtype, part.place(row))
        return (image if self._resampling is None else self._resampling.image(image)), None

    def _check_options(self) -> None:
        blocks = self.channels if self.blocks is None else self.blocks
        check_different(self.channels)
        if not self.channels or not len(self.channels) == len(blocks) == len(set(blocks)):
            msg = (
                "`channels` must be one or more different names, and `blocks` as many different "
                f"numbers. Received: channels={list(self.channels)}, blocks={self.blocks}."
            )
            raise SourceError(msg)
        if self._given_names is not None and self.names_from is not None:
            msg = (
                "Class names must be given or be in the file. Received: "
                f"class_names={list(self.class_names)}, names_from={self.names_from!r}."
            )
            raise SourceError(msg)

    def _list(self) -> pd.DataFrame:
        import pandas as pd

        self._parts, self._rejects = [], []
        self._settle_pixel_size(None)
        self._check_files()
        frames = []
        for split, path in self._files:
            with open_hdf5(path) as file, whole(path):
                found = members(file)
                names = class_names_of(file, found[0], self._given_names, self.names_from)
                channels = channel_names_of(file, found[0])
                frames += [
                    self._list_part(split, path, member, names, channels) for member in found
                ]
        self._starts = np.cumsum([0, *(len(part.rows) for part in self._parts)]).tolist()
        return pd.concat(frames, ignore_index=True)

    def _check_files(self) -> None:
        seen: dict[tuple[int, int], str | None] = {}
        for split, path in self._files:
            status = path.stat()
            other = seen.setdefault((status.st_dev, status.st_ino), split)
            if other != split:
                msg = (
                    "Each split must have a file of its own, or crops leak from training to test. "
                    f"Received: {path} for {other} and {split}."
                )
                raise SplitError(msg)

    def _list_part(
        self,
        split: str | None,
        path: Path,
        member: Member,
        names: tuple[str, ...],
        channels: tuple[str, ...],
    ) -> pd.DataFrame:
        """Rows of the index; notes the part, and the crops that are rejected."""
        import pandas as pd

        rows: Sequence[int] | NDArray[np.intp] = range(member.data.shape[0])
        name, shape, dtype = member.data.name[1:], member.data.shape, member.data.dtype
        part = _Part(split, path, name, shape, dtype, names, channels, rows)
        self._agree(part)
        columns: dict[str, Any] = {}
        if member.index is not None:
            texts = class_texts(member.index, names, self.label_separator)
            columns["label"] = [text for text in texts if text]
            if not all(texts):
                rows = np.flatnonzero([bool(text) for text in texts])
                self._reject(part, [row for row, text in enumerate(texts) if not text])
        if split is not None:
            columns["split"] = split
        for name, number in self.info.items():
            columns[name] = read_column(member, number)[np.asarray(rows)]
        self._parts.append(dataclasses.replace(part, rows=rows))
        return pd.DataFrame({"key": [part.key(row) for row in rows], **columns})

    def _agree(self, part: _Part) -> None:
        """What the first part says holds for all."""
        if not self._parts:
            self.class_names = part.class_names
            wanted = (part.shape[1], self.channels, self.blocks, self.side)
            if part.channel_names:
                placed = named_blocks(*wanted, part.channel_names, part.path.name)
            else:
                placed = place_blocks(*wanted)
            self.side, self.blocks = placed
            return
        first = self._parts[0]
        for what, one, other in (
            ("columns", first.shape[1], part.shape[1]),
            ("dtype", first.dtype, part.dtype),
            ("class names", first.class_names, part.class_names),
            ("channels", first.channel_names, part.channel_names),
        ):
            if one != other:
                msg = (
                    f"All `dataK` of a source must have the same {what}. Received: {one} "
                    f"({first.path.name}, {first.name}) and {other} ({part.path.name}, "
                    f"{part.name})."
                )
                raise SourceError(msg)

    def _reject(self, part: _Part, rows: Sequence[int]) -> None:
        self._rejects += [
            Reject(
                "no class",
                part.key(row),
                (part.place(row),),
                "A crop must have a 1 in a column of `Index` that has a name. Received: none at "
                f"key {part.key(row)!r}.",
            )
            for row in rows
        ]

    def _locate(self, position: int) -> tuple[_Part, int]:
        number = bisect.bisect_right(self._starts, position) - 1
        part = self._parts[number]
        return part, int(part.rows[position - self._starts[number]])

    def _read(self, part: _Part, row: int) -> tuple[int, NDArray[Any]]:
        """A slice with this row, or the row alone where there is damage near it."""
        table = self._open(part)
        try:
            return read_slice(table, row)
        except SourceError:
            pass
        try:
            return read_slice(table, row, alone=True)
        except SourceError as error:
            msg = (
                "A crop must be readable. Received: damage to the file where it lies "
                f"({part.place(row)}): {error.__cause__}."
            )
            raise RejectedCrop(msg, reason="damaged in its file") from error

    def _open(self, part: _Part) -> h5py.Dataset:
        if self._table is None or self._table[0] is not part:
            with whole(part.path):
                table = data_set(open_hdf5(part.path), part.name)
                if (table.shape, table.dtype) != (part.shape, part.dtype):
                    msg = f"A file must not change while it is read. Received: {part.path}."
                    raise SourceError(msg)
            self._table = part, table
        return self._table[1]


def _holds(held: tuple[_Part, int, NDArray[Any]], row: int) -> bool:
    return held[1] <= row < held[1] + len(held[2])
