"""Whole fields that a table lists: a row per field, a column of paths per channel or for all."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from deeploc_tf.sources.crop_table import below_root, missing_files, with_folders
from deeploc_tf.sources.pattern_folder import Listing
from deeploc_tf.sources.root import Root
from deeploc_tf.sources.source import Reject, SourceError
from deeploc_tf.text_tables import place, read_table, require_column


@dataclasses.dataclass(frozen=True)
class FieldTable:
    """Which table lists the fields, and what its columns are; the others describe the fields.

    Attributes:
        path: a table, a row per field.
        image_columns: channel -> column that holds the path of its file, in the stored order; or
            one column of files that hold all channels.
        label_image: column that holds the path of the label image, or None.
        key: column of unique names; by default `key` where the table has it, else the first path
            without its suffix.
        delimiter: of a text table; None for what divides its header.
    """

    path: str | os.PathLike[str]
    image_columns: Mapping[str, str] | str
    label_image: str | None = None
    key: str | None = None
    delimiter: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of paths: of the channels, then of the label image."""
        images = self.image_columns
        columns = (images,) if isinstance(images, str) else tuple(images.values())
        return columns if self.label_image is None else (*columns, self.label_image)


class ListedFields:
    """The fields of a table, as `PatternFolder` has those of a folder.

    Args:
        root: the folder that all files lie in.
        table: that lists them.

    Attributes:
        fields: names of the columns that describe the fields; known once `list` has been called.
    """

    def __init__(self, root: Root, table: FieldTable) -> None:
        self.root = root
        self.table = table
        self.fields: tuple[str, ...] = ()
        self._paths: dict[str, tuple[str, ...]] = {}  # by key

    @property
    def in_one_file(self) -> bool:
        """Whether one file holds all channels of a field."""
        return isinstance(self.table.image_columns, str)

    def files(self, key: str) -> tuple[str, ...]:
        """Relative paths of a field's channels, or the one file that it is."""
        return self._paths[key] if self.table.label_image is None else self._paths[key][:-1]

    def label(self, key: str) -> str | None:
        """Relative path of a field's label image."""
        return None if self.table.label_image is None else self._paths[key][-1]

    def list(self) -> Listing:
        """The fields; no pixels are read. One whose files do not exist is a reject.

        Raises:
            TableError: the table cannot be read, or a column is missing.
            SourceError: two fields have one key, no field has files, or a path leads out.
        """
        path, columns = Path(self.table.path), self.table.columns
        frame = read_table(path, self.table.delimiter)
        key = self.table.key or ("key" if "key" in frame.columns else None)
        for column in (*columns, *([key] if key is not None else [])):
            require_column(frame.columns, column, f"A column of {path.name}")
        frame = with_folders(frame, columns)
        paths = [below_root(frame[column], column, path, self.root) for column in columns]
        first = (str(PurePosixPath(name).with_suffix("")) for name in paths[0])
        keys = list(first) if key is None else [str(value) for value in frame[key]]
        if twice := [name for name, count in Counter(keys).items() if count > 1]:
            msg = (
                f"A table of fields must have one row a field. Received: {twice[0]!r} twice in "
                f"{path.name}. List cells in a table of their own (--cells), or name a key column."
            )
            raise SourceError(msg)
        self._paths = dict(zip(keys, zip(*paths, strict=True), strict=True))
        missing = missing_files(self.root.path, paths)
        rejects = [
            Reject(
                "file is missing",
                keys[row],
                (*self._paths[keys[row]], place(path, row)),
                f"Every path must be that of a file. Received: {name!r} ({place(path, row)}), "
                "which does not exist. Paths are relative to the table's folder, or to `root`.",
            )
            for row, name in missing.items()
        ]
        kept = [row for row in range(len(keys)) if row not in missing]
        if not kept:
            raise SourceError(rejects[0].detail)
        free = frame.drop(columns=[name for name in frame if name in (*columns, key)])
        self.fields = tuple(map(str, free))
        texts = {str(n): ["" if v is None else str(v) for v in free[n]] for n in free}
        return Listing(
            [keys[row] for row in kept],
            {name: [values[row] for row in kept] for name, values in texts.items()},
            tuple(rejects),
            {},
        )
