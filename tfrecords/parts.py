"""Long work done by the jobs of an array: each leaves its part, and a later process joins them.

OUTPUT.partial-0a1b2c3d/
  2-of-4.started    part 2 was begun
  2-of-4.done       or it is whole; what was computed lies beside it, as a killed process leaves it
  2-of-4.lock       held by the process that is at it
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfrecords.errors import PartsError
from tfrecords.locking import locked, writing

PART_FILE = re.compile(r"(\d+)-of-(\d+)\.(started|done|lock)")
_TEXT = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


@dataclasses.dataclass(frozen=True)
class Part:
    """One of several equal shares of some work.

    Args:
        number: which one, from 1.
        count: how many there are.

    Raises:
        ValueError: there is no such share.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            msg = f"`part` must be K/N with K from 1 to N, such as 1/4. Received: part={self}."
            raise ValueError(msg)

    @classmethod
    def of(cls, text: str) -> Part:
        """The part that `K/N` names.

        Raises:
            ValueError: it names none.

        Example:
            >>> Part.of("2/4").share(10)
            range(2, 5)
        """
        found = _TEXT.fullmatch(text)
        if found is None:
            msg = f"`part` must be K/N with K from 1 to N, such as 1/4. Received: part={text!r}."
            raise ValueError(msg)
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def share(self, length: int) -> range:
        """Which of `length` items belong to it: a run of them, maybe none if they are few."""
        return range((self.number - 1) * length // self.count, self.number * length // self.count)

    @contextlib.contextmanager
    def opened(self, output: Path, folder: Path) -> Iterator[None]:
        """Hold the part while the block runs; it is whole when the block ends well.

        Other parts may be held by other processes, but not `output` as a whole.

        Args:
            output: what all parts together will be.
            folder: where what is computed of it is kept; it is made where it is absent.

        Raises:
            LockedError: another process writes `output`, or this part.
            PartsError: there are parts of other settings, or of another number of parts.
        """
        with writing(output, shared=True):
            self._check(output, folder)
            folder.mkdir(exist_ok=True)
            begun, done, lock = (folder / self._name(end) for end in ("started", "done", "lock"))
            with locked(lock, f"part {self} of {output}"):
                begun.touch()
                try:
                    self._check(output, folder)  # of one that began at the same time
                except PartsError:
                    begun.unlink()
                    raise
                try:
                    yield
                except BaseException as error:
                    error.add_note(
                        f"What was computed of part {self} is kept in {str(folder)!r}: give the "
                        "same command again to go on from there."
                    )
                    raise
                done.touch()
                begun.unlink()

    def _name(self, ending: str) -> str:
        return f"{self.number}-of-{self.count}.{ending}"

    def _check(self, output: Path, folder: Path) -> None:
        for count in _done(output, folder):
            if count != self.count:
                msg = (
                    "All parts must be of one number of parts. Received: "
                    f"part={self}, where parts of {count} are in {str(folder)!r}. Give K/{count}, "
                    "or remove that folder."
                )
                raise PartsError(msg)


def check_joined(output: Path, folder: Path) -> None:
    """Refuse to go on from parts that are not all there; without parts nothing is refused.

    Args:
        output: what all parts together will be.
        folder: where what is computed of it is kept, whether it is there or not.

    Raises:
        PartsError: a part is missing, or there are parts of other settings.
    """
    for count, done in _done(output, folder).items():
        missing = [number for number in range(1, count + 1) if number not in done]
        if missing:
            msg = (
                f"All {count} parts must be done before they are joined. Received: none of number "
                f"{_ranges(missing)} in {str(folder)!r}. Run them (--part {missing[0]}/{count}), "
                "or remove that folder to begin again."
            )
            raise PartsError(msg)


def _done(output: Path, folder: Path) -> dict[int, set[int]]:
    """Numbers of the parts that are whole, by the number of parts that somebody began."""
    found: dict[int, set[int]] = {}
    for path in sorted(output.parent.glob(f"{glob.escape(output.name)}.partial-*/*-of-*.*")):
        name = PART_FILE.fullmatch(path.name)
        if name is None or name[3] == "lock":
            continue
        if path.parent != folder:
            msg = (
                f"Parts of {output} must be of the same input and settings. Received: others in "
                f"{str(path.parent)!r}. Give the command that they were made by, or remove that "
                "folder."
            )
            raise PartsError(msg)
        found.setdefault(int(name[2]), set()).update([int(name[1])] if name[3] == "done" else [])
    return found


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as SLURM takes them, such as "2,5-7"."""
    runs = itertools.groupby(enumerate(numbers), lambda item: item[1] - item[0])
    ends = [[number for _, number in run] for _, run in runs]
    return ",".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in ends)
