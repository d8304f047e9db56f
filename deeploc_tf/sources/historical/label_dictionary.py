"""Crops listed by a label dictionary: {class or protein: {split: [path of the GFP file, ...]}}."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from deeploc_tf.names import USUAL_SPLITS, same_form
from deeploc_tf.sources.cell_files import CellFiles
from deeploc_tf.sources.historical.channel_naming import ChannelNaming, find_naming
from deeploc_tf.sources.historical.pickled_dictionary import read_pickled_dictionary
from deeploc_tf.sources.likeness import check_different
from deeploc_tf.sources.listed_source import ListedSource
from deeploc_tf.sources.patterns import FolderPattern
from deeploc_tf.sources.root import Root, is_listed
from deeploc_tf.sources.source import Pixels, Reject, SourceError
from tfrecords.errors import SplitError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd


class _Listed(NamedTuple):
    """Where the dictionary has a file."""

    split: str
    names: tuple[str, ...]  # its keys


class LabelDictionarySource(ListedSource):
    """The crops that a label dictionary lists, in the splits that it gives them.

    The index has one row per crop, in the order of the dictionary: `key` (the path without what
    stands for the channel and without the suffix), `label` or `protein`, `split` (train,
    validation or test), and the fields of the pattern. Crops that lack a file, are listed twice, or
    do not match the pattern are rejects.

    Args:
        path: a `.npy` file, as `numpy.save` writes it of a dictionary
            `{class or protein: {"train" or "val" or "test": [path of the GFP file, ...]}}`; other
            spellings of these are understood. Nothing that is pickled in it is run.
        channels: names among those of `naming`, in the order in which they are stored.
        mask_channel: the name of the masks there, if they are to be read.
        naming: how the files of other channels are called, a key of `NAMINGS`. By default the one
            that the names of all files follow.
        root: the folder that paths are relative to, by default the dictionary's own. No path may
            leave it.
        prefix: the folder that paths begin with in place of `root`, where the dictionary was made
            elsewhere.
        keys: what the keys of the dictionary are; the index has them in a column of this name.
        pattern: fields of the paths of the GFP files, which become columns; see `FolderPattern`.
        label_separator: text between the classes of a file that has several; without it such a
            file is an error.
        dtype: type to convert pixels to; see `as_dtype`.
        resample_to: micrometres a pixel to resample crops to, by averages over areas; see
            `Resampling`.
        pixel_size: micrometres a pixel of the crops; by default what the files say.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        channels: Sequence[str] = ("gfp",),
        *,
        mask_channel: str | None = None,
        naming: str | None = None,
        root: str | os.PathLike[str] | None = None,
        prefix: str | None = None,
        keys: Literal["label", "protein"] = "label",
        pattern: str | None = None,
        label_separator: str | None = None,
        dtype: str | None = None,
        resample_to: float | None = None,
        pixel_size: float | None = None,
    ) -> None:
        super().__init__(channels, dtype, resample_to, pixel_size)
        self.path = Path(path)
        self.mask_channel = mask_channel
        self.prefix = None if prefix is None else prefix.rstrip("/") + "/"
        self.keys = keys
        self.pattern = None if pattern is None else FolderPattern(pattern, ("gfp", "ch1"))
        self.label_separator = label_separator
        self._files = self.channels + ((mask_channel,) if mask_channel is not None else ())
        self._naming_name = naming
        self._check_options()
        self._naming: ChannelNaming | None = None
        self._cells = CellFiles(self.channels, in_one_file=False, dtype=dtype)
        self._root = Root(self.path.parent if root is None else root)
        self._paths: list[str] = []  # of the GFP files

    @property
    def description(self) -> Mapping[str, Any]:
        """Kind and options, for the manifest."""
        return {
            "kind": "label_dictionary",
            "channels": list(self.channels),
            "mask_channel": self.mask_channel,
            "naming": self._naming.name if self._naming is not None else self._naming_name,
            "keys": self.keys,
            "pattern": self.pattern.text if self.pattern is not None else None,
            "label_separator": self.label_separator,
            "dtype": self.dtype,
            **self._described_pixel_size(),
        }

    def files(self, position: int) -> tuple[str, ...]:
        """Paths of the crop's files relative to the root: its channels, then its mask."""
        return self._names(self._paths[position])

    def paths(self, position: int) -> tuple[str, ...]:
        """Paths of the crop's files on disk."""
        return tuple(map(self._root.inside, self.files(position)))

    def read(self, position: int) -> Pixels:
        """Image `(height, width, channels)` and mask of one crop."""
        return self._resampled(self._cells.read(self.paths(position), self.files(position)))

    def _check_options(self) -> None:
        find_naming((), self._files, self._naming_name)
        if not self.channels:
            msg = "`channels` must be one or more different names. Received: channels=[]."
            raise SourceError(msg)
        check_different(self._files)
        fields = self.pattern.fields if self.pattern is not None else ()
        if self.keys not in ("label", "protein") or not {"split", self.keys}.isdisjoint(fields):
            msg = (
                "`keys` must be label or protein, and fields of the pattern must not be called so "
                f"nor split. Received: keys={self.keys!r}, fields {list(fields)}."
            )
            raise SourceError(msg)

    def _names(self, path: str) -> tuple[str, ...]:
        naming = self._naming
        return () if naming is None else tuple(naming.file(path, name) for name in self._files)

    def _list(self) -> pd.DataFrame:
        import pandas as pd

        self._rejects = []
        listed, twice = self._listed()
        naming = self._naming = find_naming(listed, self._files, self._naming_name)
        for path in twice:
            self._reject("file is listed twice", path, "comes again in one list")
        fields = self._usable(listed)
        self._paths = list(fields)
        columns: dict[str, Sequence[str]] = {
            "key": [naming.key(path) for path in self._paths],
            self.keys: [(self.label_separator or "").join(listed[p].names) for p in self._paths],
            "split": [listed[path].split for path in self._paths],
        }
        names = self.pattern.fields if self.pattern is not None else ()
        for number, name in enumerate(names):
            columns[name] = [values[number] for values in fields.values()]
        self._cells.settle(map(self._names, self._paths), self._root.real)
        self._root.forget()
        self._settle_pixel_size(self._cells.pixel_size)
        return pd.DataFrame(columns)

    def _listed(self) -> tuple[dict[str, _Listed], list[str]]:
        """Where each file is listed, by its path; and the files that come again in one list."""
        listed: dict[str, _Listed] = {}
        again = []
        for name, split, paths in _lists(self.path):
            here = _Listed(split, (name,))  # one for all these paths
            for text in paths:
                path = self._relative(text, f"{self.path.name}, {split} of {name!r}")
                if path not in listed:
                    listed[path] = here
                elif name in listed[path].names and listed[path].split == split:
                    again.append(path)
                else:
                    listed[path] = self._several(path, listed[path], here)
        if not listed:
            msg = f"A label dictionary must list files. Received: {self.path}, which lists none."
            raise SourceError(msg)
        return listed, again

    def _several(self, path: str, one: _Listed, other: _Listed) -> _Listed:
        """A file of two classes, if it may be."""
        found = f"{path!r} in {one.split} of {one.names[0]!r}, in {other.split} of "
        found += f"{other.names[0]!r} ({self.path.name})"
        if one.split != other.split:
            msg = f"A file must lie in one split, or it leaks to the test. Received: {found}."
            raise SplitError(msg)
        if self.keys == "protein" or self.label_separator is None:
            msg = (
                f"A file must have one {self.keys}, or `label_separator` be given, which makes the "
                f"data set multi-label. Received: {found}."
            )
            raise SourceError(msg)
        return _Listed(one.split, one.names + other.names)

    def _relative(self, text: object, place: str) -> str:
        """A path of the dictionary, from the root."""
        if not isinstance(text, str) or not text.strip():
            msg = f"Every path must be text. Received: {type(text).__name__} ({place})."
            raise SourceError(msg)
        path = text
        if self.prefix is not None:
            path = text if os.sep == "/" else text.replace(os.sep, "/")
            if not path.startswith(self.prefix):
                msg = f"Every path must begin with {self.prefix!r}. Received: {text!r} ({place})."
                raise SourceError(msg)
            path = path[len(self.prefix) :].lstrip("/")
        relative = self._root.relative(path)
        if relative in (None, ".") or not _is_utf8(relative):
            msg = (
                f"Every path must be UTF-8 and stay inside {self._root.path}. Received: {text!r} "
                f"({place}). Name the folder of all files as `root`; where paths begin with "
                "another folder in its place, name that as `prefix`."
            )
            raise SourceError(msg)
        return relative

    def _usable(self, listed: Mapping[str, _Listed]) -> dict[str, tuple[str, ...]]:
        """Files of the crops that can be used, and the fields of their paths."""
        is_there = is_listed(self._root.path)
        usable: dict[str, tuple[str, ...]] = {}
        for path in listed:
            missing = [name for name in self._names(path) if not is_there(name)]
            if missing:
                self._reject("file is missing", path, f"needs {', '.join(missing)}")
                continue
            match = self.pattern.match(path) if self.pattern is not None else ("", "", {})
            if match is None:
                self._reject("path does not match the pattern", path, f"has the path {path}")
                continue
            usable[path] = tuple(map(sys.intern, match[2].values()))
        if not usable:
            msg = (
                f"Some crop must have its files below {self._root.path}. Received: none of "
                f"{len(listed)}; {self._rejects[-1].detail} Name the folder as `root`."
            )
            raise SourceError(msg)
        return usable

    def _reject(self, reason: str, path: str, problem: str) -> None:
        key = path if self._naming is None else self._naming.key(path)
        detail = f"A crop must be listed once and have all its files. Received: {key!r} {problem}."
        self._rejects.append(Reject(reason, key, self._names(path), detail))


def _lists(path: Path) -> Iterator[tuple[str, str, list[Any]]]:
    """Key, split and paths of each list in a dictionary."""
    total, most = 0, path.stat().st_size
    for key, splits in read_pickled_dictionary(path).items():
        name = str(key) if type(key) is int else key
        if not isinstance(name, str) or not name.strip() or not isinstance(splits, dict):
            msg = (
                "A label dictionary must hold a dictionary of splits for each class or protein. "
                f"Received: {type(key).__name__} {name!r:.80} with {type(splits).__name__} "
                f"({path.name})."
            )
            raise SourceError(msg)
        for split, paths in splits.items():
            known = same_form(split, "split") if isinstance(split, str) else ""
            if known not in USUAL_SPLITS or not isinstance(paths, list):
                msg = (
                    f"Splits must be {', '.join(USUAL_SPLITS)}, each a list of paths. Received: "
                    f"{split!r:.80} with {type(paths).__name__}, of {name!r} ({path.name})."
                )
                raise SourceError(msg + did_you_mean(str(split)[:80], USUAL_SPLITS))
            total += len(paths)
            if total > most:  # one list, many times over
                msg = (
                    f"A label dictionary must list each file once. Received: {path}: more than "
                    f"{most} paths in as many bytes."
                )
                raise SourceError(msg)
            yield name, known, paths


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
