"""Several files that belong together get their names as a set, or none does.

FOLDER/.NAME.partial/    NAME is the file that says that all are there, the first of the set
    ready.json           all are written; which file is which, once they have their names
    NAME, ...            the files, under the names that they will have
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfrecords.errors import OutputExistsError
from tfrecords.locking import writing
from tfrecords.publishing import HALF_WRITTEN, check_absent, publish_json, sync

_READY = "ready.json"


@contextlib.contextmanager
def publishing_set(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Places to write the files of a set to; they get the names `paths` when the block ends well.

    If the block raises, none of them is there. What a process left that was killed meanwhile is
    removed by the next one that writes this set, so that it finds all or none as well; the first
    file appears last, and where it is, all are.

    Args:
        paths: final names, the file first that says that all are there; they are not there yet,
            and their folders exist.

    Yields:
        The names to write to, in the same order: files, which the block must create.

    Raises:
        OutputExistsError: something has one of the names.
        FileNotFoundError: there is no folder for one of them.
        LockedError: another process writes the same set.
        ValueError: two files have one name.
    """
    if len(set(paths)) < len(paths):
        msg = f"Files must have names of their own. Received: {', '.join(map(str, paths))}."
        raise ValueError(msg)
    if not paths[0].parent.is_dir():
        check_absent(paths[0])  # says so
    places = [path.parent / f".{paths[0].name}.partial" / path.name for path in paths]
    folders = list(dict.fromkeys(place.parent for place in places))
    with writing(paths[0]):
        _remove_remains(paths, places, folders)
        for path in paths:
            check_absent(path)
        try:
            for folder in folders:
                folder.mkdir()
            yield places
            for place in places:
                sync(place)
            for folder in folders:
                sync(folder)
            _give_names(paths, places)
        finally:
            with contextlib.suppress(OSError):  # the next process that writes this set does it
                _remove_remains(paths, places, folders)


def _give_names(paths: Sequence[Path], places: Sequence[Path]) -> None:
    publish_json(places[0].with_name(_READY), [_identity(place) for place in places])
    for path in paths:
        check_absent(path)
    if len(paths) > 1:  # an old one that is replaced: where the first file is, all are of one set
        paths[0].unlink(missing_ok=True)
    for place, path in reversed(list(zip(places, paths, strict=True))):
        check_absent(path)
        place.rename(path)
    for folder in dict.fromkeys(path.parent for path in paths):
        sync(folder)


def _identity(path: Path) -> list[int]:
    """What a file keeps when it is renamed, and has in common with no other."""
    found = path.stat()
    return [found.st_ino, found.st_size, found.st_mtime_ns]


def _remove_remains(paths: Sequence[Path], places: Sequence[Path], folders: Sequence[Path]) -> None:
    """Remove the files of a set that was not finished, also those that have their names already."""
    ready = places[0].with_name(_READY)
    if ready.exists():
        try:
            identities = json.loads(ready.read_text("utf-8"))
        except ValueError:  # somebody else's, or damaged: nothing has a name by it
            identities = [None] * len(paths)
        moved = [not os.path.lexists(place) for place in places]
        if not all(moved):  # else the set is there
            for path, gone, identity in zip(paths, moved, identities, strict=True):
                if gone and path.is_file() and _identity(path) == identity:
                    path.unlink()
    ours = {*places, ready}
    for folder in folders:
        if not os.path.lexists(folder):
            continue
        for path in sorted(folder.iterdir()):
            if path == ready or not (path in ours or HALF_WRITTEN.fullmatch(path.name)):
                continue
            path.unlink()
        ready.unlink(missing_ok=True)
        try:
            folder.rmdir()
        except OSError as error:
            names = ", ".join(sorted(path.name for path in folder.iterdir())) or error.strerror
            msg = (
                "The folder in which files are made must hold nothing else. Received: "
                f"{str(folder)!r} with {names}. Move it elsewhere."
            )
            raise OutputExistsError(msg) from error
