"""Tables as HDF5, for what is larger than memory.

`features` `(num_rows, num_features)`; `feature_names`; one data set a column under `metadata/`; the
JSON of the provenance in the attribute `provenance`; `digests`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from deeploc_tf.hdf5_trial import has_varying_text, lacks_checksums, try_elsewhere
from deeploc_tf.profiles.tables.table_format import (
    NUMBER_TYPES,
    Stored,
    TableFormat,
    Writer,
    chunk_rows,
)

# What a part of a chunk holds that was never written: no number of a cell is like that.
_NEVER_WRITTEN = {"int64": np.iinfo(np.int64).min, "float32": np.nan, "float64": np.nan}


class Hdf5Table(Stored):
    """A table in an HDF5 file, opened each time that something is read."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """What the file says of itself."""
        if lacks_checksums(path):  # version 1, or another program wrote it
            try_elsewhere(path)
        with h5py.File(path, "r") as file:
            if has_varying_text(file):
                try_elsewhere(path)
            text = file.attrs["provenance"]  # bytes, or text in version 1
            num_rows, width = file["features"].shape
            names = _names_in(file, width, json.loads(text))
            digests = file["digests"].asstr()[()] if "digests" in file else None
        return cls(path, text, names, num_rows, digests)

    def blocks(self, num_rows: int) -> Iterator[NDArray[np.float32]]:
        """See `Stored`."""
        with h5py.File(self.path, "r") as file:
            features = file["features"]
            for start in range(0, len(features), num_rows):
                yield features[start : start + num_rows]

    def column(self, name: str) -> NDArray[Any]:
        """See `Stored`."""
        with h5py.File(self.path, "r") as file:
            dataset = file[f"metadata/{name}"]
            is_text = h5py.check_string_dtype(dataset.dtype) is not None
            return np.asarray(dataset.asstr()[:] if is_text else dataset[:])


def _names_in(file: h5py.File, width: int, provenance: Mapping[str, Any]) -> tuple[str, ...]:
    if "feature_names" in file:
        return tuple(file["feature_names"].asstr()[:])
    prefix = provenance.get("layer") or provenance.get("features") or "feature"
    digits = len(str(width - 1))
    return tuple(f"{prefix}_{index:0{digits}d}" for index in range(width))


def _new_file(path: Path) -> h5py.File:
    """A file with a group `metadata` that notes no time: the same rows give the same bytes."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    # Structures of before 1.10 have no checksums, and HDF5 can hang on damaged ones.
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    of_file, of_group = (
        h5py.h5p.create(kind) for kind in (h5py.h5p.FILE_CREATE, h5py.h5p.GROUP_CREATE)
    )
    of_file.set_obj_track_times(False)
    of_group.set_obj_track_times(False)
    file = h5py.File(h5py.h5f.create(bytes(path), h5py.h5f.ACC_TRUNC, of_file, access))
    h5py.h5g.create(file.id, b"metadata", gcpl=of_group)
    return file


class Hdf5Writer(Writer):
    """Writes a file that grows.

    h5py drops the errors of data sets that are closed by garbage collection: all stay open until
    the file is flushed, which raises them.
    """

    def __post_init__(self) -> None:
        self._num_rows = 0
        self._file = _new_file(self.path)
        text = _fixed([self.provenance])
        self._file.attrs.create("provenance", text[0], dtype=text.dtype)
        width = len(self.feature_names)
        self._features = self._file.create_dataset(
            "features",
            (0, width),
            "float32",
            maxshape=(None, width),
            chunks=(chunk_rows(width), max(width, 1)),
            fillvalue=_NEVER_WRITTEN["float32"],
            fletcher32=True,  # which tells other programs of damage
        )
        self._open = [self._file.create_dataset("feature_names", data=_fixed(self.feature_names))]
        self._columns = {
            name: self._column(f"metadata/{name}", NUMBER_TYPES.get(kind, _fixed([]).dtype))
            for name, kind in self.columns.items()
        }

    def _column(self, place: str, dtype: Any, num_rows: int = 0) -> h5py.Dataset:
        fill = _NEVER_WRITTEN.get(dtype.name)
        return self._file.create_dataset(
            place, (num_rows,), dtype, maxshape=(None,), chunks=(4096,), fillvalue=fill
        )

    def close(self) -> None:
        """End the file."""
        self._file.close()

    def append(self, features: NDArray[np.float32], metadata: Mapping[str, Sequence[Any]]) -> None:
        """Add rows."""
        start, stop = self._num_rows, self._num_rows + len(features)
        self._features.resize(stop, axis=0)
        self._features[start:stop] = features
        for name, dataset in self._columns.items():
            values: Any = metadata[name]
            if h5py.check_string_dtype(dataset.dtype):
                values = _fixed(values)
                dataset = self._widened(name, dataset, values.itemsize)
            dataset.resize(stop, axis=0)
            dataset[start:stop] = values
        self._num_rows = stop

    def _widened(self, name: str, dataset: h5py.Dataset, width: int) -> h5py.Dataset:
        """A text column whose values may have `width` bytes.

        They are of one length: texts of any length lie in a heap without checksums, which HDF5 can
        read for ever where it is damaged.
        """
        if width <= dataset.dtype.itemsize:
            return dataset
        place = f"metadata/{name}"
        self._file.move(place, "narrow")
        dtype = h5py.string_dtype("utf-8", max(width, 2 * dataset.dtype.itemsize))
        wide = self._columns[name] = self._column(place, dtype, self._num_rows)
        for start in range(0, self._num_rows, 1 << 16):
            wide[start : start + (1 << 16)] = dataset[start : start + (1 << 16)]
        del self._file["narrow"]
        return wide

    def finish(self, digests: str) -> None:
        """Store the digests of all rows."""
        text = _fixed([digests])
        self._open.append(self._file.create_dataset("digests", (), text.dtype, data=text[0]))
        self._file.flush()


def _fixed(texts: Sequence[str]) -> NDArray[np.bytes_]:
    """Texts as UTF-8 of one length, filled up with zeros to a multiple of eight."""
    encoded = [text.encode() for text in texts]
    longest = max(map(len, encoded), default=0)
    return np.array(encoded, h5py.string_dtype("utf-8", max(8, -(-longest // 8) * 8)))


HDF5 = TableFormat(Hdf5Table.open, Hdf5Writer)
