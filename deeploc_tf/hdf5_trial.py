"""Reads HDF5 in a process of its own first: over damage the library can crash or loop for ever.

Structures of HDF5 1.8 and before have no checksums, nor have the heaps of texts of varying length
in any version. Files that have neither, as our own tables, need no trial.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py

TIMEOUT = 60  # seconds, beside those that a large file takes
_BYTES_PER_SECOND = 5 << 20  # of a slow disk
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_WITH_CHECKSUMS = 2  # version of the superblock
_READ = """
import sys, h5py
def read(data):
    if data.shape is None or not data.shape:
        data[()]
        return
    rows = max(1, (32 << 20) * data.shape[0] // max(1, data.nbytes))
    for start in range(0, data.shape[0], rows):
        data[start : start + rows]
def visit(_, found):
    dict(found.attrs)
    if isinstance(found, h5py.Dataset) and not (found.is_virtual or found.external):
        read(found)
with h5py.File(sys.argv[1], "r", locking="best-effort") as file:
    if sys.argv[2:]:
        for here, attribute in zip(sys.argv[2::2], sys.argv[3::2]):
            file[here].attrs[attribute] if attribute else file[here][...]
    else:
        visit("/", file)
        file.visititems(visit)
"""


class UnreadableError(ValueError):
    """Another process could not read the file, or did not come to an end."""


def lacks_checksums(path: Path) -> bool:
    """Whether it is an HDF5 file whose structures have no checksums."""
    import h5py

    if not h5py.is_hdf5(path):
        return False
    with path.open("rb") as file:
        start = file.read(len(_SIGNATURE) + 1)
    return start[:-1] != _SIGNATURE or start[-1] < _WITH_CHECKSUMS


def has_varying_text(file: h5py.File) -> bool:
    """Whether a data set, or an attribute of the file or of a group, has text of varying length."""
    import h5py

    found = False

    def visit(_: str, here: Any) -> None:
        nonlocal found
        types = [here.attrs.get_id(name).dtype for name in here.attrs]
        types += [here.dtype] if isinstance(here, h5py.Dataset) else []
        found |= any(dtype.hasobject for dtype in types)

    visit("/", file)
    file.visititems(visit)
    return found


def try_elsewhere(path: Path, *places: tuple[str, str]) -> None:
    """Read a file, or some of it, in another process; once for a file that does not change.

    Args:
        path: of the file.
        places: objects, and an attribute of each or "" for all values of a data set; none: the
            whole file, a piece at a time.

    Raises:
        UnreadableError: the process failed, crashed or took too long.
        OSError: there is no such file.
    """
    stamp = path.stat()
    _try(path, places, stamp.st_size, stamp.st_mtime_ns)


@functools.lru_cache(maxsize=64)  # what is raised is not kept
def _try(path: Path, places: tuple[tuple[str, str], ...], size: int, _: int) -> None:
    words = [word for place in places for word in place]
    # Files in the folder where a person works may be called as modules are: -P does not see them.
    command = [sys.executable, "-P", "-c", _READ, str(path), *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    limit = TIMEOUT + size / _BYTES_PER_SECOND
    try:
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=limit)
    except subprocess.SubprocessError as error:
        why = "in time" if isinstance(error, subprocess.TimeoutExpired) else "by HDF5"
        msg = f"it cannot be read {why}, as a damaged one"
        raise UnreadableError(msg) from error
