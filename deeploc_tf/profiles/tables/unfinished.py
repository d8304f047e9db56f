"""What has been computed of a table that is not finished, kept beside the name it will have.

OUTPUT.partial-0a1b2c3d/
  000000.part    what was computed first
  000001.part    and so on; the folder is removed when the table has its name
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from tfrecords.locking import locked

_log = logging.getLogger(__name__)

_PART = re.compile(r"\d{6}\.part|\.\d{6}\.partial-\d+\.part")


class Unfinished:
    """The folder of the parts of a table; it belongs to one process at a time.

    Args:
        output: the name that the table will have; its folder must exist.
        identity: name of what is computed. The same identity goes on where another process stopped;
            the remains of others are removed.
    """

    def __init__(self, output: Path, identity: str) -> None:
        self.output = output
        self.folder = output.with_name(f"{output.name}.partial-{identity[:16]}")

    @property
    def started(self) -> bool:
        """Something is left of the same computation."""
        return self.folder.is_dir()

    def part(self, number: int) -> Path:
        """Name of a part."""
        return self.folder / f"{number:06d}.part"

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the folder while the block runs; after an error it stays, if there is a part in it.

        Raises:
            LockedError: another process computes the same output.
        """
        with locked(self.output.with_name(f".{self.output.name}.lock"), str(self.output)):
            for other in self.output.parent.iterdir():
                if self._is_temporary(other.name) and other.is_file():
                    other.unlink()
                elif self._is_of_another(other):
                    _remove(other)
            self.folder.mkdir(exist_ok=True)
            try:
                yield
            except BaseException as error:
                if any(self.folder.glob("*.part")):
                    error.add_note(
                        f"What was computed is kept in {str(self.folder)!r}: give the same command "
                        "again to go on from there, or remove it."
                    )
                else:
                    _remove(self.folder)
                raise
            _remove(self.folder)

    def _is_temporary(self, name: str) -> bool:
        """Whether a killed process was writing this file, the table or that of its profiles."""
        stem, suffix = re.escape(self.output.stem), re.escape(self.output.suffix)
        return re.fullmatch(rf"\.{stem}(\.profiles)?\.partial-\d+{suffix}", name) is not None

    def _is_of_another(self, folder: Path) -> bool:
        """Whether it holds parts of another computation of the same output, and nothing else."""
        prefix = re.escape(f"{self.output.name}.partial-")
        return (
            re.fullmatch(rf"{prefix}[0-9a-f]{{16}}", folder.name) is not None
            and folder != self.folder
            and folder.is_dir()
            and not folder.is_symlink()
            and all(_PART.fullmatch(path.name) for path in folder.iterdir())
        )


def _remove(folder: Path) -> None:
    """Remove the parts in a folder, and the folder if nothing else is in it."""
    for path in folder.iterdir():
        if _PART.fullmatch(path.name) and path.is_file():
            path.unlink()
    if left := sorted(path.name for path in folder.iterdir()):
        _log.warning("Files that are no part of a table are left in %r: %s.", str(folder), left[0])
    else:
        folder.rmdir()
