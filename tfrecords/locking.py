"""One writer at a time: a lock that dies with its process."""

from __future__ import annotations

import contextlib
import contextvars
import errno
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tfrecords.errors import LockedError, OutputExistsError

_LONGEST = 20
_CONTENT = re.compile(rb"\d{0,%d}" % _LONGEST)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


_handed_on: contextvars.ContextVar[frozenset[Path]] = contextvars.ContextVar(
    "handed_on", default=frozenset()
)


@contextlib.contextmanager
def writing(output: Path, *, by_callee: bool = False, shared: bool = False) -> Iterator[None]:
    """Keep other processes from writing `output` while the block runs; see `locked`.

    Args:
        output: file or folder, in a folder that is there.
        by_callee: a function that is called within the block asks for the same, as that of a
            command does which holds its output from its beginning.
        shared: with others that ask for the same.

    Raises:
        LockedError: another process, or another part of this one, writes it.
        OutputExistsError: a file of the user has the name of the lock.
    """
    place = Path(os.path.abspath(output))  # noqa: PTH100 - of a link, not of where it leads
    lock = place.parent.resolve() / f".{place.name}.lock"
    before = _handed_on.get()
    with contextlib.nullcontext() if lock in before else locked(lock, str(output), shared):
        token = _handed_on.set(before | {lock} if by_callee else before - {lock})
        try:
            yield
        finally:
            _handed_on.reset(token)


@contextlib.contextmanager
def locked(path: Path, what: str, shared: bool = False) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; it is gone afterwards.

    The system lets go of the lock when its process ends, however it ends, so that a file that was
    left behind by a dead process locks nobody out. On a file system without locks nothing is held.

    Args:
        path: the lock file; its folder must exist.
        what: what is being locked, for the message.
        shared: with others that ask for the same, who leave the file there, since another may hold
            it; Windows has no such locks, and there nothing is held.

    Raises:
        LockedError: another process holds the lock.
        OutputExistsError: the file is there and is no lock.
    """
    descriptor = _acquire(path, what, shared)
    try:
        _check_is_lock(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    try:
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
        except OSError as error:
            error.filename = str(path)
            raise
        yield
    finally:
        if not shared:
            with contextlib.suppress(OSError):  # Windows removes no file that is open
                path.unlink()
        os.close(descriptor)


def _acquire(path: Path, what: str, shared: bool) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor, shared)
            # The holder before us may have removed the file after we opened it: then this lock is
            # one on a name that is gone, and somebody else may hold the file of that name now.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
        except (BlockingIOError, PermissionError) as error:
            holder = os.read(descriptor, 20).decode(errors="replace") or "unknown"
            os.close(descriptor)
            msg = (
                f"One process at a time may write {what}. Received: process {holder} is writing "
                f"it. Wait for it, or stop it. Lock: {path}."
            )
            raise LockedError(msg) from error
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _check_is_lock(descriptor: int, path: Path) -> None:
    """Refuse a file of somebody who called it as we call a lock: it would be lost."""
    content = os.read(descriptor, _LONGEST + 1)
    os.lseek(descriptor, 0, os.SEEK_SET)
    if not _CONTENT.fullmatch(content):
        msg = (
            "A lock must hold the number of a process and nothing else. Received: another file "
            f"{str(path)!r}. Give it another name."
        )
        raise OutputExistsError(msg)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int, shared: bool) -> None:
        if shared:
            return
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # beyond the text, which others read
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(descriptor: int, shared: bool) -> None:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
