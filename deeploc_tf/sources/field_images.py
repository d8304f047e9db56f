"""The fields below a folder: files of one channel each, stacks or OME-Zarr, and label images."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.cell_files import CellFiles
from deeploc_tf.sources.channel_layout import Axes
from deeploc_tf.sources.field_table import FieldTable, ListedFields
from deeploc_tf.sources.formats.hdf5_labels import is_hdf5, read_hdf5_labels
from deeploc_tf.sources.formats.limits import NOT_GRAY
from deeploc_tf.sources.formats.ngff import is_damaged_group, is_ngff
from deeploc_tf.sources.images import image_files, read_stack
from deeploc_tf.sources.masks import as_labels
from deeploc_tf.sources.pattern_folder import Listing, PatternFolder, is_of_macos
from deeploc_tf.sources.patterns import ANYTHING, FolderPattern, described
from deeploc_tf.sources.resampling import Resampling
from deeploc_tf.sources.root import Root
from deeploc_tf.sources.source import Reject, RejectedCrop, SourceError
from tfrecords.errors import did_you_mean

_NAME = re.compile(r"\{([^{}]*)\}")  # as in a pattern, or misspelt
_SAMPLE_BYTES = 64 << 10


class FieldImages:
    """Fields whose paths match a pattern, numbered in the order of their paths.

    Args:
        root: the folder. Links that lead out of it are refused, but with `follow_links`.
        pattern: see `FolderPattern`; an OME-Zarr folder counts as a file. Or the table of fields.
        channels: values of `{channel}`; without it see `ChannelLayout.of`.
        label_image: pattern of the label image of each field, with the fields of `pattern`.
        axes: where the channels lie in a file that holds several, where it does not say.
        dtype: type to convert pixels to; see `as_dtype`.
        follow_links: take what links lead to, wherever it lies.
        fill_chunks: take chunks of OME-Zarr that are missing for empty ones.

    Attributes:
        keys: of each field: its path without channel and suffix.
        columns: name -> text of each field of the pattern.
        channels: known once `list` has been called.
        pixel_size: micrometres a pixel, or None; known once `list` has been called.
        resampling: of the fields and their label images, or None; set it before they are read.
        lost: field -> objects of its label image that are too small to be there when resampled.
        rejects: fields that lack a channel.
        passed_over: reason -> how many files are no fields.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        pattern: str | FieldTable,
        channels: Sequence[str],
        *,
        label_image: str | None,
        axes: Axes | None,
        dtype: str | None,
        follow_links: bool = False,
        fill_chunks: bool = False,
    ) -> None:
        below = Root(root, follow_links=follow_links)
        self._folder: PatternFolder | ListedFields
        if isinstance(pattern, FieldTable):
            self._folder = ListedFields(below, pattern)
        else:
            self._folder = PatternFolder(below, pattern, channels, item="field")
        self.label_image = None if label_image is None else self.below(label_image)
        self._label_names: dict[tuple[str, ...], str] = {}  # where only a listing tells them
        if isinstance(self._folder, ListedFields):
            self.label_image = self._folder.table.label_image
        else:
            _check_label_image(label_image or "", self._folder.pattern.fields)
        self._reader = CellFiles(
            channels,
            in_one_file=self._folder.in_one_file,
            axes=axes,
            dtype=dtype,
            fill=fill_chunks,
        )
        self._fill = fill_chunks
        self._stems: list[str] = []
        self.keys: list[str] = []
        self.columns: Mapping[str, list[str]] = {}
        self.channels = tuple(channels)
        self.pixel_size: float | None = None
        self.resampling: Resampling | None = None
        self.lost: dict[int, int] = {}
        self.rejects: tuple[Reject, ...] = ()
        self.passed_over: Mapping[str, int] = {}

    def __len__(self) -> int:
        """How many fields there are."""
        return len(self._stems)

    def list(self) -> None:
        """Find the fields; no pixels are read."""
        if isinstance(self._folder, ListedFields):
            listing = self._folder.list()
            self._stems, self.columns = listing.stems, listing.fields
            self.keys = listing.stems
        else:
            listing = self._list_folder(self._folder)
        self.rejects, self.passed_over = listing.rejects, listing.passed_over
        self._reader.settle(map(self._folder.files, self._stems), self._folder.root.real)
        self.channels, self.pixel_size = self._reader.channels, self._reader.pixel_size

    def _list_folder(self, folder: PatternFolder) -> Listing:
        """The fields of a folder without label images, which may match their pattern, too."""
        labels = None if self.label_image is None else FolderPattern(self.label_image, ())
        listing = folder.list(self._is_image, labels)
        self._stems, self.columns = listing.stems, listing.fields
        if f"{{{ANYTHING}}}" in (self.label_image or ""):
            self._label_names = self._listed_labels()
        names = {self._label_name(number) for number in range(len(self))}
        kept = [i for i, stem in enumerate(self._stems) if not names & {*folder.files(stem)}]
        self._stems = [listing.stems[i] for i in kept]
        self.columns = {name: [texts[i] for i in kept] for name, texts in self.columns.items()}
        self.keys = [folder.key(stem) for stem in self._stems]
        return listing

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of what is known of each field: those of the pattern, or columns of the table."""
        folder = self._folder
        return folder.fields if isinstance(folder, ListedFields) else folder.pattern.fields

    @property
    def fields_are_columns(self) -> bool:
        """Whether they are the columns of a table, of which one of cells need not have all."""
        return isinstance(self._folder, ListedFields)

    @property
    def description(self) -> dict[str, Any]:
        """What made the listing, for the manifest."""
        if not isinstance(self._folder, ListedFields):
            return {"pattern": self._folder.pattern.text}
        return {"field_table": list(self._folder.table.columns)}

    def names(self) -> dict[tuple[str, ...], int]:
        """What a table may call each field: the path of one of its files, or its key."""
        found: dict[tuple[str, ...], int] = {(key,): number for number, key in enumerate(self.keys)}
        for number, stem in enumerate(self._stems):
            found |= {(name,): number for name in self._folder.files(stem)}
        return found

    def below(self, name: str) -> str:
        """What a table calls a field, if it is a path then from the root and with `/`."""
        return self._folder.root.relative(name) or name

    def values(self, names: Sequence[str]) -> dict[tuple[str, ...], int]:
        """The fields by the texts of some of `fields`.

        Raises:
            SourceError: two fields have the same.
        """
        rows = list(zip(*(self.columns[name] for name in names), strict=True))
        found = {row: number for number, row in enumerate(rows)}
        if len(found) < len(rows):
            twice = next(row for number, row in enumerate(rows) if found[row] != number)
            msg = (
                "Columns that cells and fields share must name each field once. Received: "
                f"{', '.join(names)}, of which several fields have {', '.join(twice)!r}. Name the "
                "field in a column `image` of the table of cells, by its path or its key."
            )
            raise SourceError(msg)
        return found

    def files(self, number: int) -> tuple[str, ...]:
        """Relative paths: the channels or the one file, then the label image."""
        names = self._folder.files(self._stems[number])
        label = self._label_name(number)
        return names if label is None else (*names, label)

    def paths(self, number: int) -> tuple[str, ...]:
        """All files on disk that the pixels and labels come from."""
        paths = map(self._folder.root.inside, self.files(number))
        return tuple(file for path in paths for file in image_files(path, fill=self._fill))

    def copies(self, numbers: Iterable[int]) -> dict[int, int]:
        """Fields whose first file is that of an earlier one, a link to it or a copy of it.

        Only files whose size and some samples are equal are read as a whole.

        Returns:
            Number of such a field -> number of the first one.
        """
        paths = {n: Path(self._folder.root.inside(self.files(n)[0])) for n in numbers}
        files: dict[tuple[int, int], int] = {}
        alike: dict[bytes, list[int]] = {}
        links: dict[int, int] = {}
        for number, path in paths.items():
            with contextlib.suppress(OSError):  # which is told when the field is read
                status = path.stat()
                first = files.setdefault((status.st_dev, status.st_ino), number)
                if first != number:
                    links[number] = first
                elif path.is_file():
                    alike.setdefault(_samples(path, status.st_size), []).append(number)
        copies: dict[int, int] = {}
        for group in alike.values():
            contents: dict[bytes, int] = {}
            for number in group if len(group) > 1 else ():
                with contextlib.suppress(OSError), paths[number].open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").digest()
                    if (first := contents.setdefault(content, number)) != number:
                        copies[number] = first
        return copies | {number: copies.get(first, first) for number, first in links.items()}

    def size(self, number: int) -> tuple[int, int]:
        """Height and width as they are stored; only the head of a file is read."""
        name = self._folder.files(self._stems[number])[0]
        return self._reader.size_of(self._folder.root.inside(name), name)

    def read(self, number: int) -> NDArray[Any]:
        """The pixels of a field, `(height, width, channels)`."""
        self._folder.root.forget()
        names = self._folder.files(self._stems[number])
        image = self._reader.read([*map(self._folder.root.inside, names)], names)[0]
        return image if self.resampling is None else self.resampling.image(image)

    def read_labels(self, number: int) -> NDArray[Any] | None:
        """The label image of a field, `(height, width)` of whole numbers; None without any.

        Raises:
            RejectedCrop: it is missing, is of another size, or cannot be used.
        """
        name = self._label_name(number)
        if name is None:
            return None
        path = self._folder.root.inside(name)
        if not Path(path).exists():
            msg = f"Every field must have a label image. Received: {name}, which does not exist."
            raise RejectedCrop(msg, reason="label image is missing")
        labels = as_labels(self._label_pixels(path, name), name)
        size = self.size(number)
        if labels.shape != size:
            msg = (
                "A label image must have the size of its field. Received: "
                f"{labels.shape} in {name}, for a field of {size}."
            )
            raise RejectedCrop(msg, reason="label image has another size")
        if self.resampling is None:
            return labels
        resampled = self.resampling.labels(labels)
        self.lost[number] = np.setdiff1d(labels, resampled).size
        return resampled

    def _label_pixels(self, path: str, name: str) -> NDArray[Any]:
        if is_hdf5(path):
            return read_hdf5_labels(Path(path))
        try:
            pixels, description = read_stack(path, fill=self._fill)
        except RejectedCrop as error:
            if error.reason != NOT_GRAY:
                raise
            msg = (
                "A label image must hold a number for each cell, not a color. Received: "
                f"{name}, which is drawn in colors. Save the numbers (ImageJ: Image > Lookup "
                "Tables > Grays, then as TIFF; QuPath: labels as TIFF; Cellpose: _cp_masks.tif)."
            )
            raise RejectedCrop(msg, reason="label image is in color") from error
        self._reader.check_labels(description, name)
        return pixels

    def _is_image(self, folder: str, files: Sequence[str]) -> bool:
        """Whether a folder is an OME-Zarr image, or was one before its metadata were damaged."""
        if not is_damaged_group(folder, files):
            return is_ngff(folder, files)
        path = Path(folder).relative_to(self._folder.root.path).as_posix()
        of = self._folder
        return isinstance(of, PatternFolder) and of.pattern.match(path) is not None

    def _label_name(self, number: int) -> str | None:
        if isinstance(self._folder, ListedFields):
            return self._folder.label(self._stems[number])
        if self.label_image is None:
            return None
        values = {name: texts[number] for name, texts in self.columns.items()}
        if ANYTHING not in _NAME.findall(self.label_image):
            return _NAME.sub(lambda match: values[match[1]], self.label_image)
        names = FolderPattern(self.label_image, ()).fields
        found = self._label_names.get(tuple(values[name] for name in names))
        return found or _NAME.sub(lambda match: values.get(match[1], ANYTHING), self.label_image)

    def _listed_labels(self) -> dict[tuple[str, ...], str]:
        """Texts of the fields of the pattern of label images -> the one that has them.

        Raises:
            SourceError: two have the same.
        """
        pattern = FolderPattern(self.label_image or "", ())
        found: dict[tuple[str, ...], str] = {}
        for path in self._folder.root.walk():
            match = pattern.match(path)
            if match is None or is_of_macos(path):
                continue
            first = found.setdefault(tuple(match[2].values()), path)
            if first != path:
                msg = (
                    "Every field must have one label image. Received: "
                    f"{first} and {path} for {described(match[2])}. Put more fixed text into the "
                    "pattern of the label images."
                )
                raise SourceError(msg)
        return found


def _check_label_image(label_image: str, fields: Sequence[str]) -> None:
    for name in _NAME.findall(label_image):
        if name not in (*fields, ANYTHING):
            msg = (
                "A label image must be named by fields of the pattern, "
                f"{', '.join(fields)}. Received: {name!r} in {label_image!r}."
                f"{did_you_mean(name, fields)}"
            )
            raise SourceError(msg)


def _samples(path: Path, size: int) -> bytes:
    """A digest of the size of a file and of its begin, middle and end."""
    digest = hashlib.blake2b(size.to_bytes(8, "little"))
    with path.open("rb") as file:
        for start in (0, size // 2, max(0, size - _SAMPLE_BYTES)):
            file.seek(start)
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.digest()
