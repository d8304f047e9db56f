"""Cells cut from full fields: around the places of a table, or the objects of label images."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.cell_table import CellTable
from deeploc_tf.sources.channel_layout import Axes
from deeploc_tf.sources.field_cells import FieldCells, find_cells
from deeploc_tf.sources.field_images import FieldImages
from deeploc_tf.sources.field_table import FieldTable
from deeploc_tf.sources.listed_source import ListedSource
from deeploc_tf.sources.source import Pixels, RejectedCrop, SourceError
from deeploc_tf.sources.windows import Window
from deeploc_tf.text_tables import read_table

if TYPE_CHECKING:
    import pandas as pd

Border = Literal["drop", "pad"]


class FieldSource(ListedSource):
    """The cells of full fields, cut out in windows of one size.

    A field is a file a channel, one stack or an OME-Zarr image. Its cells come from a table, from
    an instance label image, or from both; with label images each crop has a mask, which is 1 on
    the cell's own object alone. Pixels of its neighbours stay in the image as they are.

    The index has one row per cell, field after field: `key`, the fields of the pattern, `x` and
    `y` of the pixel in the middle, `object` (the number in the label image, where there is one),
    then the columns of the table. `x` and `y` are pixels of the image as it is stored, though it be
    resampled. Cells and fields that cannot be used are rejects; files that are no fields, fields
    without cells, and cells that `border` drops are passed over.

    Args:
        root: the folder of the fields. Links that lead out of it are refused, but with
            `follow_links`.
        pattern: see `FolderPattern`. Each field but `{channel}` becomes a column of the index. Or a
            `FieldTable`, whose paths are relative to `root` and whose other columns do.
        channels: names of the channels in their stored order; as of a `FolderSource`.
        cells: the table; without it, every object of the label images is a cell.
        label_image: pattern of the label image of each field, with the fields of `pattern`. With
            centres or boxes, the cell's object is the one at its middle.
        crop_size: height and width of the crops in pixels.
        border: "drop" cells whose window reaches out of the field, which are counted, or "pad"
            them with zeros.
        axes: where the channels lie in a file that holds several, where it does not say.
        dtype: type to convert pixels to, if every number fits; see `as_dtype`.
        follow_links: take what links lead to, wherever it lies.
        allow_unmatched: how many fields of the table may have no image; their cells are passed
            over, and else rejects.
        fill_chunks: take chunks of OME-Zarr that were never written for empty ones, which cannot be
            told from lost ones.
        resample_to: micrometres a pixel to resample images to, by averages over areas; see
            `Resampling`.
        pixel_size: micrometres a pixel of the images; by default what the files say.
        where: columns and the values of the cells that are wanted; fields of others are not opened.
    """

    _left_behind = ("_open", "_failed")  # no pixels

    def __init__(
        self,
        root: str | os.PathLike[str],
        pattern: str | FieldTable,
        channels: Sequence[str] = (),
        *,
        cells: CellTable | None = None,
        label_image: str | None = None,
        crop_size: int = 64,
        border: Border = "drop",
        axes: Axes | None = None,
        dtype: str | None = None,
        follow_links: bool = False,
        allow_unmatched: int = 0,
        fill_chunks: bool = False,
        resample_to: float | None = None,
        pixel_size: float | None = None,
        where: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        super().__init__(channels, dtype, resample_to, pixel_size)
        if crop_size < 1 or border not in ("drop", "pad"):
            msg = (
                "`crop_size` must be at least 1 and `border` drop or pad. Received: "
                f"crop_size={crop_size}, border={border!r}."
            )
            raise SourceError(msg)
        if isinstance(pattern, FieldTable):
            label_image = pattern.label_image
        if label_image is None and (cells is None or cells.number is not None):
            msg = (
                "Cells must come from a table of centres or boxes, or from label images. Received: "
                f"cells={cells}, label_image=None."
            )
            raise SourceError(msg)
        self._images = FieldImages(
            root,
            pattern,
            channels,
            label_image=label_image,
            axes=axes,
            dtype=dtype,
            follow_links=follow_links,
            fill_chunks=fill_chunks,
        )
        self._fill_chunks = fill_chunks
        self.cells = cells
        self.crop_size = crop_size
        self.border = border
        self.axes = axes
        self._allow_unmatched = allow_unmatched
        self._where = dict(where or {})
        self._found: FieldCells | None = None
        self._open: tuple[int, NDArray[Any], NDArray[Any] | None] | None = None
        self._failed: tuple[int, RejectedCrop] | None = None
        self._paths: tuple[int, tuple[str, ...]] | None = None

    @property
    def description(self) -> Mapping[str, Any]:
        """Kind, pattern, channels and options, and who met in the table, for the manifest."""
        table = self.cells
        join = None if self._found is None else self._found.join
        return {
            "kind": "field",
            **self._images.description,
            "channels": list(self.channels),
            "label_image": self._images.label_image,
            "cell_columns": None if table is None else list(table.columns),
            "field_column": None if table is None else table.field,
            "key_column": None if table is None else table.key,
            "crop_size": self.crop_size,
            "border": self.border,
            "axes": self.axes,
            "dtype": self.dtype,
            **({"joins": [join.counts()]} if join is not None else {}),
            **self._described_pixel_size(),
            **({"fill_chunks": True} if self._fill_chunks else {}),
        }

    def files(self, position: int) -> tuple[str, ...]:
        """Paths of the field relative to the root, and where the cell stands in the table."""
        cells = self._cells
        return (*self._images.files(int(cells.fields[position])), *cells.place(position))

    def details(self) -> pd.DataFrame:
        """What is known of each cell and stands in no column of the index, a row per cell.

        The columns of the table that say where a cell is; `image`, the path of the field's first
        file; and with label images `area` in pixels, `touches` (another object lies beside this
        one) and `cut` (it reaches the edge of the field).
        """
        import pandas as pd

        cells, index = self._cells, self.index()
        columns: dict[str, Any] = {}
        if self.cells is not None:
            table = read_table(self.cells.path, self.cells.delimiter)
            own = [str(name) for name in table if name not in index]
            columns = {name: table[name].to_numpy()[cells.rows] for name in own}
        names = [self._images.files(number)[0] for number in range(len(self._images))]
        columns.setdefault("image", [names[number] for number in cells.fields.tolist()])
        if self._images.label_image is not None:
            columns["area"] = cells.areas
            columns |= {"touches": cells.touching, "cut": cells.cut}
        return pd.DataFrame(columns, index=index.index)

    def values_of(self, column: str) -> list[str]:
        """The different values of a column of the pattern or the table, in all fields."""
        self._cells  # noqa: B018 -- lists the fields
        if column in self._images.columns:
            return sorted(set(self._images.columns[column]))
        table = None if self.cells is None else read_table(self.cells.path, self.cells.delimiter)
        return [] if table is None or column not in table else sorted(set(table[column].map(str)))

    def windows(self) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
        """Number of each cell's field, first row and column of its window, and the windows' size.

        A field that is there under several names, by links or copies, has one number.
        """
        cells = self._cells
        of_field = np.arange(len(self._images), dtype=np.int32)
        for field, first in self._images.copies(np.unique(cells.fields).tolist()).items():
            of_field[field] = first
        return of_field[cells.fields], cells.corners, self.crop_size

    def paths(self, position: int) -> tuple[str, ...]:
        """All files on disk that the field and its label image lie in."""
        number = int(self._cells.fields[position])
        if self._paths is None or self._paths[0] != number:
            self._paths = (number, self._images.paths(number))
        return self._paths[1]

    def read(self, position: int) -> Pixels:
        """Crop `(crop_size, crop_size, channels)` and mask of one cell.

        The field is kept until a cell of another one is asked for.
        """
        cells = self._cells
        image, labels = self._field(int(cells.fields[position]))
        top, left = cells.corners[position].tolist()
        window = Window(top, left, self.crop_size)
        if labels is None:
            return window.cut(image), None
        inside = window.cut(labels) == cells.objects[position]
        return window.cut(image), inside.view(np.uint8)

    def _list(self) -> pd.DataFrame:
        images = self._images
        images.list()
        self.channels = images.channels
        self._settle_pixel_size(images.pixel_size)
        images.resampling = self._resampling
        self._found, index = find_cells(
            images,
            self.cells,
            self.crop_size,
            drop=self.border == "drop",
            allow_unmatched=self._allow_unmatched,
            where=self._where,
        )
        self._rejects = [*images.rejects, *self._found.rejects]
        self._passed_over = {**images.passed_over, **self._found.passed_over}
        return index

    @property
    def _cells(self) -> FieldCells:
        if self._found is None:
            self.index()
        assert self._found is not None  # noqa: S101 -- `index` has set it
        return self._found

    def _field(self, number: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
        if self._failed is not None and self._failed[0] == number:
            raise self._failed[1]
        if self._open is None or self._open[0] != number:
            self._open = None  # one field in memory, not two
            try:
                self._open = (number, *self._read_field(number))
            except RejectedCrop as error:
                self._failed = (number, error)
                raise
        return self._open[1:]

    def _read_field(self, number: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
        image = self._images.read(number)
        height, width = image.shape[:2]
        if (height, width) != self._cells.sizes[number]:
            msg = (
                "Fields must not change after they were listed. Received: "
                f"{self._images.files(number)[0]} of {(height, width)}, which was "
                f"{self._cells.sizes[number]}."
            )
            raise SourceError(msg)
        return image, self._images.read_labels(number)
