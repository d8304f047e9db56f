"""Crops listed in a CSV or Parquet table: a path column a channel, and columns of metadata."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeploc_tf.sources.cell_files import CellFiles
from deeploc_tf.sources.channel_layout import Axes
from deeploc_tf.sources.listed_source import ListedSource
from deeploc_tf.sources.root import Root, is_listed
from deeploc_tf.sources.source import Pixels, Reject, SourceError
from deeploc_tf.text_tables import place, read_table, require_column

if TYPE_CHECKING:
    import pandas as pd


class TableSource(ListedSource):
    """The crops that a table lists, one row each.

    The index has one row per crop, in the table's order: `key`, then the columns that are not
    paths. Rows whose files do not exist are rejects.

    Args:
        path: a `.csv`, `.tsv` or `.parquet` table.
        image_columns: channel -> column that holds the path of its file, in the stored order; or
            one column of files that hold all channels.
        channels: of files that hold all channels; see `ChannelLayout.of`.
        axes: where the channels lie in such files, where they do not say.
        mask_column: column that holds the path of the mask.
        root: the folder that paths are relative to, by default the table's own. No path may leave
            it, and no link but with `follow_links`.
        key_column: column of unique names. By default `key` where the table has it, else the path
            of the first channel.
        dtype: type to convert pixels to, if every number fits; see `as_dtype`.
        delimiter: of a text table; None for what divides its header.
        follow_links: take what links lead to, wherever it lies.
        resample_to: micrometres a pixel to resample images to, by averages over areas; see
            `Resampling`.
        pixel_size: micrometres a pixel of the images; by default what the files say.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        image_columns: Mapping[str, str] | str,
        *,
        channels: Sequence[str] = (),
        axes: Axes | None = None,
        mask_column: str | None = None,
        root: str | os.PathLike[str] | None = None,
        key_column: str | None = None,
        dtype: str | None = None,
        delimiter: str | None = None,
        follow_links: bool = False,
        resample_to: float | None = None,
        pixel_size: float | None = None,
    ) -> None:
        in_one_file = isinstance(image_columns, str)
        names = channels if in_one_file else tuple(image_columns)
        super().__init__(names, dtype, resample_to, pixel_size)
        columns = [image_columns] if isinstance(image_columns, str) else [*image_columns.values()]
        self._columns = [*columns, *([mask_column] if mask_column is not None else [])]
        _check_columns(columns, self._columns, None if in_one_file else (*channels, *(axes or ())))
        self.path = Path(path)
        self._delimiter = delimiter
        self._root = Root(self.path.parent if root is None else root, follow_links=follow_links)
        self.root = self._root.path
        self.mask_column = mask_column
        self.key_column = key_column
        self.axes = axes
        self._files = CellFiles(self.channels, in_one_file=in_one_file, axes=axes, dtype=dtype)
        self._paths: list[list[str]] = []  # a list a column: tuples of each row take more memory
        self._rows: Sequence[int] = ()  # of the table, for messages

    @property
    def description(self) -> Mapping[str, Any]:
        """Kind, columns, channels and options, for the manifest."""
        return {
            "kind": "table",
            "image_columns": [c for c in self._columns if c != self.mask_column],
            "channels": list(self.channels),
            "mask_column": self.mask_column,
            "key_column": self.key_column,
            "axes": self.axes,
            "dtype": self.dtype,
            **self._described_pixel_size(),
        }

    def files(self, position: int) -> tuple[str, ...]:
        """Paths as the table has them, and where in the table they stand."""
        return (*self._names(position), place(self.path, self._rows[position]))

    def image_files(self, position: int) -> tuple[str, ...]:
        """The files of the channels alone: rows with the same show the same cell."""
        names = self._names(position)
        return names if self.mask_column is None else names[:-1]

    def paths(self, position: int) -> tuple[str, ...]:
        """Paths of the row's files on disk."""
        return tuple(map(self._root.unchecked, self._names(position)))

    def read(self, position: int) -> Pixels:
        """Image `(height, width, channels)` and mask of one row."""
        row, names = self._rows[position], self._names(position)
        return self._resampled(self._files.read([self._inside(n, row) for n in names], names))

    def _names(self, position: int) -> tuple[str, ...]:
        return tuple([paths[position] for paths in self._paths])

    def _list(self) -> pd.DataFrame:
        frame = read_table(self.path, self._delimiter)
        for column in self._columns:
            require_column(frame.columns, column, f"A path column of {self.path.name}")
        keys = self.key_column or ("key" if "key" in frame.columns else None)
        if keys is not None:
            require_column(frame.columns, keys, f"The key column of {self.path.name}")
        frame = with_folders(frame, self._columns)
        self._paths = [below_root(frame[c], c, self.path, self._root) for c in self._columns]
        names = self._paths[0] if keys is None else self._keys(frame[keys])
        frame = frame.drop(columns={*self._columns, *([keys] if keys is not None else [])})
        missing = missing_files(self.root, self._paths)
        self._rejects = [
            self._reject(names[row], self._names(row), row, path) for row, path in missing.items()
        ]
        if len(missing) == len(frame):
            raise SourceError(self._rejects[0].detail)
        self._rows = range(len(frame))
        if missing:
            self._rows = [row for row in self._rows if row not in missing]
            self._paths = [[paths[row] for row in self._rows] for paths in self._paths]
            names, frame = [names[row] for row in self._rows], frame.iloc[self._rows]
        self._files.settle(map(self._names, range(len(self._rows))), self._root.real)
        self._root.forget()
        self.channels = self._files.channels
        self._settle_pixel_size(self._files.pixel_size)
        frame.insert(0, "key", names)
        return frame.reset_index(drop=True)

    def _reject(self, key: str, paths: tuple[str, ...], row: int, path: str) -> Reject:
        detail = (
            f"Every path must be that of a file. Received: {path!r} ({place(self.path, row)}), "
            "which does not exist. Paths are relative to the table's folder, or to `root`."
        )
        return Reject("file is missing", key, (*paths, place(self.path, row)), detail)

    def _keys(self, values: pd.Series[Any]) -> list[str]:
        keys = [value if isinstance(value, str) else str(value) for value in values]
        for row, key in enumerate(keys):
            if not key.strip() or key in ("None", "nan", "<NA>"):
                msg = f"Every row must have a key. Received: {key!r} ({place(self.path, row)})."
                raise SourceError(msg)
        return keys

    def _inside(self, name: str, row: int) -> str:
        path = self._root.real(name)
        if path is None:
            raise SourceError(_escape(name, row, self.path, self._root))
        return path


def with_folders(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The table with whole paths where names and folders are apart, as CellProfiler writes them.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"PathName_DNA": ["/data/p1"], "FileName_DNA": ["a.tif"]})
    >>> with_folders(table, ["FileName_DNA"]).to_dict("list")
    {'FileName_DNA': ['/data/p1/a.tif']}
    """
    for column in columns:
        folder = column.replace("FileName_", "PathName_")
        if folder != column and folder in frame:
            pairs = zip(frame[folder], frame[column], strict=True)
            paths = [f"{above}/{name}" if above and name else name for above, name in pairs]
            frame = frame.assign(**{column: paths}).drop(columns=folder)
    return frame


def below_root(values: pd.Series[Any], column: str, table: Path, root: Root) -> list[str]:
    """The paths in a column of a table, relative to the root.

    Raises:
        SourceError: one is empty, or leads out.
    """
    cleaned = []
    for row, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            msg = (
                f"Every row must have a path in column {column!r}. Received: {value!r} "
                f"({place(table, row)})."
            )
            raise SourceError(msg)
        path = root.relative(value)
        if path is None:
            raise SourceError(_escape(value, row, table, root))
        cleaned.append(path)
    return cleaned


def _escape(value: str, row: int, table: Path, root: Root) -> str:
    return (
        f"Paths must stay inside {root.path}. Received: {value!r} ({place(table, row)}). "
        "Name the folder that holds all files as `root`."
    )


def _check_columns(
    columns: Sequence[str], paths: Sequence[str], foreign: Sequence[str] | None
) -> None:
    """Refuse columns that cannot be; `foreign` are options that need one file for all channels."""
    if not columns:
        msg = "`image_columns` must name a column for one channel at least. Received: none."
        raise SourceError(msg)
    if len(set(paths)) != len(paths):
        msg = f"Each channel must have a column of its own. Received: columns={list(paths)}."
        raise SourceError(msg)
    if foreign:
        msg = (
            "`channels` and `axes` are for one column of files that hold all channels. Received: "
            f"columns={list(columns)}. Name the channels in `image_columns` alone."
        )
        raise SourceError(msg)


def missing_files(root: Path, columns: Sequence[Sequence[str]]) -> dict[int, str]:
    """Row, ascending -> first file that does not exist."""
    is_there = is_listed(root)
    missing: dict[int, str] = {}
    for paths in columns:
        for row, path in enumerate(paths):
            if not is_there(path):
                missing.setdefault(row, path)
    return dict(sorted(missing.items()))
