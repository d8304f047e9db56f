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
import shutil
from collections.abc import Iterator
from pathlib import Path

from tfrecords.errors import OutputExistsError, RecordsError
from tfrecords.locking import locked
from tfrecords.manifest import MANIFEST_NAME, is_records_file, read_manifest
from tfrecords.publishing import check_absent, exchange, publish_bytes, sync

_PARTS = {"batches", "ready", "digest", "replaced"}


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
        """
        what = str(self.output)
        check_output(self.output, overwrite=self.overwrite)
        with locked(self.output.with_name(f".{self.output.name}.lock"), what):
            self._restore()
            check_output(self.output, overwrite=self.overwrite)  # while we waited for the lock
            for other in self._remains():
                if other != self.folder or not self.keep:
                    shutil.rmtree(other)
            shutil.rmtree(self._replaced, ignore_errors=True)
            try:
                self.batches.mkdir(parents=True, exist_ok=True)
                yield
            except BaseException as error:
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    shutil.rmtree(self.folder, ignore_errors=True)
                self._keep_or_remove(error)
                raise

    def publish(self, digest: str) -> None:
        """Give the data set in `ready`, which has this digest, its name; remove all else."""
        sync(self.ready)
        publish_bytes(self._digest, digest.encode())
        shutil.rmtree(self.batches)
        check_output(self.output, overwrite=self.overwrite)
        if not self.output.exists():
            self.ready.rename(self.output)
        elif not exchange(self.ready, self.output):
            self.output.rename(self._replaced)
            self.ready.rename(self.output)
        sync(self.output.parent)
        shutil.rmtree(self.folder)

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
        for other in self._remains():
            if (other / "replaced").exists() and not self.output.exists():
                (other / "replaced").rename(self.output)

    def _remains(self) -> list[Path]:
        """Workspaces of this output, and nothing else that may have such a name."""
        prefix = f"{self.output.name}.partial-"
        return [
            path
            for path in sorted(self.output.parent.iterdir())
            if path.name.startswith(prefix)
            and path.is_dir()
            and {item.name for item in path.iterdir() if item.name[0] != "."} <= _PARTS
        ]

    def _keep_or_remove(self, error: BaseException) -> None:
        if self.keep and (self.is_ready or any(self.batches.glob("[0-9]*.index"))):
            error.add_note(
                f"What was read is kept in {str(self.folder)!r}: give the same command again to go "
                "on from there, or remove it."
            )
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


def check_output(output: Path, *, overwrite: bool) -> None:
    """Refuse an output that is there, unless it may be replaced and is a data set.

    Raises:
        OutputExistsError: something has the name.
        FileNotFoundError: there is no folder for it.
    """
    if not overwrite or not output.is_dir():
        check_absent(output)
        return
    foreign = [path.name for path in output.iterdir() if not is_records_file(path.name)]
    if foreign or output.is_symlink() or not (output / MANIFEST_NAME).is_file():
        msg = (
            "Only a data set of records is overwritten. Received: "
            f"output={str(output)!r}, with {', '.join(sorted(foreign)[:3]) or 'no manifest'}. "
            "Name another, or remove this one."
        )
        raise OutputExistsError(msg)
