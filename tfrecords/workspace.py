"""The folder in which a data set is built, beside the name that it will have.

RECORDS.partial-0a1b2c3d/
  batches/    what has been read of the source, for a build that goes on after a stop
  ready/      the data set; its manifest is written last, then the folder gets its name
  digest      of `ready`, once it is whole
  replaced/   for a moment, where the system cannot swap two names: the data set that was there
"""

from __future__ import annotations

import contextlib
import errno
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from tfrecords.errors import LockedError, OutputExistsError, RecordsError
from tfrecords.locking import writing
from tfrecords.manifest import files_of, is_build_file, read_manifest
from tfrecords.parts import PART_FILE, Part, check_joined
from tfrecords.publishing import check_absent, exchange, publish_bytes, sync

_log = logging.getLogger(__name__)

_FOLDERS = ("batches", "ready", "replaced")
_DIGEST = re.compile(r"digest|\.digest\.partial-\d+")
_BATCH = re.compile(r"\.?\d{6}(\.partial-\d+)?\.(index|frames)")
_ENDING = re.compile(r"[0-9a-f]{16}|\d+")
_NAMED = 3  # files in a message


class Workspace:
    """Where a build works; it belongs to one process at a time.

    Args:
        output: the name that the data set will have; its folder must exist.
        identity: name of what is being built. A build of the same identity goes on
            where another one stopped; the remains of others are removed.
        overwrite: `output` may be a data set, which is replaced when the new one is whole.
        keep: after an error the folder stays where there is something in it to go on from.
    """

    def __init__(
        self, output: Path, identity: str, *, overwrite: bool = False, keep: bool = True
    ) -> None:
        self.output = output
        self.keep = keep
        self.overwrite = overwrite
        self.folder = output.with_name(f"{output.name}.partial-{identity[:16]}")
        self.batches = self.folder / "batches"
        self.ready = self.folder / "ready"
        self._digest = self.folder / "digest"
        self._replaced = self.folder / "replaced"

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the folder while the block runs.

        It is gone afterwards, unless `keep` says otherwise; a disk that is full is always freed.

        Raises:
            LockedError: another process builds the same output.
            OutputExistsError: `output` is there, and may not or must not be replaced.
            PartsError: jobs of an array have begun it, and have not all ended; see `Part`.
        """
        check_output(self.output, overwrite=self.overwrite)
        with writing(self.output):
            check_joined(self.output, self.folder)
            self._restore()
            check_output(self.output, overwrite=self.overwrite)  # while we waited for the lock
            for other in _remains(self.output, self.folder):
                if other != self.folder or not self.keep:
                    _remove(other, other)
            _remove(self._replaced, self.folder)
            try:
                self.batches.mkdir(parents=True, exist_ok=True)
                yield
            except BaseException as error:
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    _remove(self.folder, self.folder)
                self._keep_or_remove(error)
                raise

    @contextlib.contextmanager
    def opened_for(self, part: Part) -> Iterator[None]:
        """Hold the folder while the block runs, for one part of several; see `Part.opened`."""
        check_output(self.output, overwrite=self.overwrite)
        with part.opened(self.output, self.folder):
            self.batches.mkdir(exist_ok=True)
            yield

    def publish(self, digest: str) -> None:
        """Give the data set in `ready`, which has this digest, its name; remove all else."""
        sync(self.ready)
        publish_bytes(self._digest, digest.encode())
        _remove(self.batches, self.folder)
        check_output(self.output, overwrite=self.overwrite)
        if not self.output.exists():
            self.ready.rename(self.output)
        elif not exchange(self.ready, self.output):
            self.output.rename(self._replaced)
            self.ready.rename(self.output)
        sync(self.output.parent)
        _remove(self.folder, self.folder)

    def empty_ready(self) -> Path:
        """Make the folder `ready` anew.

        Raises:
            OutputExistsError: somebody has put a file of his own there.
        """
        _remove(self.ready, self.folder)
        if self.ready.exists():
            msg = (
                "The folder of an unfinished build must hold its own files only. Received: others "
                f"in {str(self.ready)!r}. Move them elsewhere."
            )
            raise OutputExistsError(msg)
        self.ready.mkdir()
        return self.ready

    @property
    def is_ready(self) -> bool:
        """The data set is whole already, but for its name.

        After a stop between the exchange of names and the end, `ready` holds the data set that was
        replaced: the digest tells.
        """
        try:
            return read_manifest(self.ready).digest == self._digest.read_text()
        except (OSError, RecordsError):
            return False

    def _restore(self) -> None:
        """Undo a replacement that was stopped between its two steps."""
        for other in _remains(self.output, self.folder):
            if (other / "replaced").exists() and not self.output.exists():
                (other / "replaced").rename(self.output)

    def _keep_or_remove(self, error: BaseException) -> None:
        if self.keep and (self.is_ready or any(self.batches.glob("[0-9]*.index"))):
            error.add_note(
                f"What was read is kept in {str(self.folder)!r}: give the same command again to go "
                "on from there, or remove it."
            )
        else:
            _remove(self.folder, self.folder)


def check_output(output: Path, *, overwrite: bool) -> None:
    """Refuse an output that is there, unless it may be replaced and is a data set.

    What a build left that was killed once its data set had its name is then removed.

    Raises:
        OutputExistsError: something has the name.
        FileNotFoundError: there is no folder for it.
    """
    try:
        _check_output(output, overwrite=overwrite)
    except OutputExistsError:
        # who may not write there, or not now, removes nothing
        with contextlib.suppress(OSError, LockedError), writing(output):
            for other in _remains(output):
                if not any((other / name).exists() for name in _FOLDERS):
                    _remove(other, other)
        raise


def _remains(output: Path, own: Path | None = None) -> list[Path]:
    """Workspaces of an output, and nothing else that may have such a name.

    Args:
        output: the name that a data set will have.
        own: the workspace of this process, which is one with whatever lies in it.
    """
    prefix = f"{output.name}.partial-"
    return [
        path
        for path in sorted(output.parent.iterdir())
        if path.name.startswith(prefix)
        and _ENDING.fullmatch(path.name.removeprefix(prefix))
        and path.is_dir()
        and not path.is_symlink()
        and (path == own or not _foreign(path, path))
    ]


def _check_output(output: Path, *, overwrite: bool) -> None:
    if not overwrite or not output.is_dir() or output.is_symlink():
        check_absent(output)
        return
    try:
        known = files_of(read_manifest(output))
    except (RecordsError, OSError) as error:
        msg = (
            "Only a data set of records is overwritten, which its manifest tells. Received: "
            f"output={str(output)!r}: {error} Name another, or remove this one."
        )
        raise OutputExistsError(msg) from error
    paths = output.iterdir()
    foreign = sorted(p.name for p in paths if p.name not in known or not p.is_file())
    if foreign:
        msg = (
            "Only what a build wrote is overwritten. Received: "
            f"output={str(output)!r}, with {', '.join(foreign[:_NAMED])} "
            f"({len(foreign)} that its manifest does not list). Move them elsewhere, or name "
            "another output."
        )
        raise OutputExistsError(msg)


def _remove(path: Path, workspace: Path) -> None:
    """Remove what a build wrote to `path`, in its workspace; what is not of a build stays."""
    foreign = _foreign(path, workspace)
    for item in (*sorted(path.rglob("*"), reverse=True), path):
        if item not in foreign:
            with contextlib.suppress(OSError):  # gone already, or not empty
                if item.is_dir() and not item.is_symlink():
                    item.rmdir()
                else:
                    item.unlink()
    if foreign:
        named = ", ".join(str(item) for item in foreign[:_NAMED])
        _log.warning("Files that no build wrote are left where they are: %s.", named)


def _foreign(path: Path, workspace: Path) -> list[Path]:
    """What lies below `path` in a workspace and is no file of a build."""
    return [item for item in sorted(path.rglob("*")) if not _is_ours(item, workspace)]


def _is_ours(path: Path, workspace: Path) -> bool:
    folder, *names = path.relative_to(workspace).parts
    if path.is_dir() and not path.is_symlink():
        return folder in _FOLDERS and not names
    if not names:
        return any(pattern.fullmatch(folder) for pattern in (_DIGEST, PART_FILE))
    if folder == "batches":
        return len(names) == 1 and _BATCH.fullmatch(names[0]) is not None
    return folder in _FOLDERS and len(names) == 1 and is_build_file(names[0])
