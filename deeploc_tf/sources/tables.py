"""Crops listed in a CSV or Parquet table: a path column a channel, and columns of metadata."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeploc_tf.sources.images import as_mask, read_image, stack_channels
from deeploc_tf.sources.read_table import place, read_table, require_column
from deeploc_tf.sources.root import Root
from deeploc_tf.sources.source import Pixels, SourceError

if TYPE_CHECKING:
    import pandas as pd


class TableSource:
    """The crops that a table lists, one row each.

    Args:
        path: a `.csv`, `.tsv` or `.parquet` table.
        image_columns: channel -> column that holds the path of its file, in the stored order.
        mask_column: column that holds the path of the mask.
        root: the folder that paths are relative to, by default the table's own. No path may leave
            it.
        key_column: column of unique names. By default `key` where the table has it, else the path
            of the first channel.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        image_columns: Mapping[str, str],
        *,
        mask_column: str | None = None,
        root: str | os.PathLike[str] | None = None,
        key_column: str | None = None,
    ) -> None:
        if not image_columns:
            msg = "`image_columns` must name a column for one channel at least. Received: none."
            raise SourceError(msg)
        self.path = Path(path)
        self._root = Root(self.path.parent if root is None else root)
        self.root = self._root.path
        self.channels = tuple(image_columns)
        self.image_columns = dict(image_columns)
        self.mask_column = mask_column
        self.key_column = key_column
        self._columns = [
            *image_columns.values(),
            *([mask_column] if mask_column is not None else []),
        ]
        if len(set(self._columns)) != len(self._columns):
            msg = f"Each channel must have a column of its own. Received: columns={self._columns}."
            raise SourceError(msg)
        self._paths: list[tuple[str, ...]] = []
        self._index: pd.DataFrame | None = None

    @property
    def description(self) -> Mapping[str, Any]:
        """Kind and columns, for the manifest."""
        return {
            "kind": "table",
            "image_columns": [{"channel": c, "column": n} for c, n in self.image_columns.items()],
            "mask_column": self.mask_column,
            "key_column": self.key_column,
        }

    @property
    def rejects(self) -> Mapping[str, int]:
        """Always empty: a row that cannot be used is an error."""
        return {}

    def index(self) -> pd.DataFrame:
        """One row a crop, in the table's order: `key`, then the columns that are not paths.

        Raises:
            SourceError: a column is missing, or a path is empty, leaves the root or has no file.
        """
        if self._index is None:
            self._index = self._list()
        return self._index.copy()

    def files(self, position: int) -> tuple[str, ...]:
        """Paths as the table has them, and where in the table they stand."""
        return (*self._paths[position], place(self.path, position))

    def read(self, position: int) -> Pixels:
        """Image `(height, width, channels)` and mask of one row."""
        names = self._paths[position]
        images = [read_image(self._inside(name, position)) for name in names]
        count = len(self.channels)
        image = stack_channels(images[:count], names[:count])
        return image, as_mask(images[count], names[count]) if len(images) > count else None

    def _list(self) -> pd.DataFrame:
        frame = read_table(self.path)
        for column in self._columns:
            require_column(frame.columns, column, "A path column")
        keys = self.key_column or ("key" if "key" in frame.columns else None)
        if keys is not None:
            require_column(frame.columns, keys, "The key column")
        self._paths = list(zip(*(self._clean(frame[c], c) for c in self._columns), strict=True))
        _check_files(self.root, self._paths, self.path)
        key = [paths[0] for paths in self._paths] if keys is None else self._keys(frame[keys])
        free = frame.drop(columns=[*self._columns, *([keys] if keys is not None else [])])
        free.insert(0, "key", key)
        return free

    def _clean(self, values: pd.Series[Any], column: str) -> list[str]:
        cleaned = []
        for row, value in enumerate(values):
            if not isinstance(value, str) or not value.strip():
                msg = (
                    f"Every row must have a path in column {column!r}. Received: {value!r} "
                    f"({place(self.path, row)})."
                )
                raise SourceError(msg)
            path = value if os.sep == "/" else value.replace(os.sep, "/")
            if posixpath.isabs(path):
                path = posixpath.relpath(path, self.root.as_posix())
            path = posixpath.normpath(path)
            if path == ".." or path.startswith("../"):
                raise SourceError(self._escape(value, row))
            cleaned.append(path)
        return cleaned

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
            raise SourceError(self._escape(name, row))
        return path

    def _escape(self, value: str, row: int) -> str:
        return (
            f"Paths must stay inside {self.root}. Received: {value!r} ({place(self.path, row)}). "
            "Name the folder that holds all files as `root`."
        )


def _check_files(root: Path, rows: Sequence[Sequence[str]], table: Path) -> None:
    """Find missing files now and not hours into a build: one call a folder, not a file."""
    listings: dict[str, frozenset[str]] = {}
    for row, paths in enumerate(rows):
        for path in paths:
            folder, name = posixpath.split(path)
            if folder not in listings:
                here = root / folder
                listings[folder] = frozenset(os.listdir(here)) if here.is_dir() else frozenset()  # noqa: PTH208
            if name not in listings[folder]:
                msg = (
                    f"Every path must be a file below {root}. Received: {path!r} "
                    f"({place(table, row)}), which does not exist. Paths are relative to the "
                    "table's folder, or to `root`."
                )
                raise SourceError(msg)
