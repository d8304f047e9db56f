"""HDF5 files that others made, read such that they lead to no other file and hide no gap."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeploc_tf.hdf5_trial import UnreadableError, try_elsewhere
from deeploc_tf.sources.source import SourceError

if TYPE_CHECKING:
    import h5py

_MAX_CHUNK_BYTES = 1 << 30  # HDF5 unpacks a chunk as a whole


def open_hdf5(path: Path) -> h5py.File:
    """The file, open for reading.

    Raises:
        SourceError: it is not a whole HDF5 file.
        OSError: it cannot be read.
    """
    import h5py

    if path.exists() and not path.is_file():
        msg = f"An HDF5 file must be a regular file. Received: {path}, which is none."
        raise SourceError(msg)
    with whole(path):
        return h5py.File(path, "r", locking="best-effort")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[None]:
    """Turns what HDF5 says of a damaged file into a `SourceError` that names it."""
    try:
        yield
    except (SourceError, MemoryError):
        raise
    except Exception as error:  # h5py raises half a dozen types for damage
        if isinstance(error, OSError) and error.errno is not None:  # the system's, not HDF5's
            raise
        msg = (
            f"An HDF5 file must be whole. Received: {path}: {str(error) or type(error).__name__}. "
            "Copy it again, or mend it."
        )
        raise SourceError(msg) from error


def data_set(file: h5py.File, name: str) -> h5py.Dataset:
    """A data set of the file's root, all of whose values lie in this very file.

    HDF5 can send a reader to any file of the machine, by links, by external storage and by virtual
    data sets, and gives zeros for what was never written. All of these are refused.

    Raises:
        SourceError: it is no such data set.
    """
    import h5py

    problem = None
    # the link first: to open what it points to may open another file
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        problem = "is a link"
    elif not isinstance(found := file[name], h5py.Dataset):
        problem = "is a group"
    elif found.is_virtual or found.external:  # before its shape, which may open files too
        problem = "keeps its values in other files"
    elif found.chunks and math.prod(found.chunks) * found.dtype.itemsize > _MAX_CHUNK_BYTES:
        problem = f"has chunks {found.chunks} of more than {_MAX_CHUNK_BYTES} bytes"
    elif not _all_written(found):
        problem = "was not written to its end"
    if problem is not None:
        msg = (
            "A data set must lie in its file as a whole. Received: "
            f"{name!r} of {Path(file.filename).name}, which {problem}. Copy its values there."
        )
        raise SourceError(msg)
    return found


def text_lists(file: h5py.File, holder: str, longest: int) -> Mapping[str, tuple[str, ...]]:
    """Lists of text in a file: data sets of its root, and attributes of the file and of `holder`.

    Args:
        file: an open file.
        holder: a data set, whose attributes are looked at.
        longest: lists of more texts are left alone.

    Returns:
        Name -> texts; an attribute of `holder` is called `holder/name`.
    """
    lists: dict[str, tuple[str, str]] = {}  # object, and attribute of it or ""
    varying = False
    for prefix, here in (("", "/"), (f"{holder}/", holder)):
        for name in file[here].attrs:
            attribute = file[here].attrs.get_id(name)
            if _is_text_list(attribute, longest):
                lists[prefix + name] = (here, name)
                varying |= attribute.dtype.kind == "O"
    for name in file:
        if _is_own(file, name) and _is_text_list(file[name], longest):
            lists[name] = (name, "")
            varying |= data_set(file, name).dtype.kind == "O"
    if varying:
        path = Path(file.filename)
        try:
            try_elsewhere(path, *lists.values())
        except UnreadableError as error:
            msg = (
                f"An HDF5 file must be whole. Received: {path}: its text cannot be read. Copy it "
                "again."
            )
            raise SourceError(msg) from error
    return {
        name: _texts(file[here].attrs[attribute] if attribute else file[here][...], name)
        for name, (here, attribute) in lists.items()
    }


def _all_written(found: h5py.Dataset) -> bool:
    if found.shape is None or not found.chunks:
        return bool(found.id.get_storage_size() >= (found.nbytes if found.shape else 0))
    counts = [-(-size // step) for size, step in zip(found.shape, found.chunks, strict=True)]
    return bool(found.id.get_num_chunks() >= math.prod(counts))


def _is_own(file: h5py.File, name: str) -> bool:
    """Whether `name` is a data set and neither a link nor virtual; opens nothing else."""
    import h5py

    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return False
    found = file[name]
    return isinstance(found, h5py.Dataset) and not found.is_virtual


def _is_text_list(found: Any, longest: int) -> bool:
    import h5py

    is_list = found.shape is not None and len(found.shape) == 1  # None where it is empty
    return is_list and bool(h5py.check_string_dtype(found.dtype)) and found.shape[0] <= longest


def _texts(values: Any, name: str) -> tuple[str, ...]:
    try:
        return tuple(v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist())
    except UnicodeDecodeError as error:
        msg = f"Names in HDF5 must be UTF-8. Received: {name!r}: {error.reason}."
        raise SourceError(msg) from error
