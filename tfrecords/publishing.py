"""Files that are old or new, never a mixture: written beside their name, synced, then renamed."""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import errno
import glob
import hashlib
import itertools
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tfrecords.errors import OutputExistsError

_log = logging.getLogger(__name__)

_WRITEBACK_BYTES = 8 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
HALF_WRITTEN = re.compile(r"\..+\.partial-\d+(\.\w+)?")
"""Names under which files are written before they have their own."""


_Check = Callable[[Path], None]
_replaced: contextvars.ContextVar[tuple[tuple[Path, _Check], ...]] = contextvars.ContextVar(
    "replaced", default=()
)


@contextlib.contextmanager
def replacing(output: Path, check: _Check) -> Iterator[None]:
    """Let what the block publishes replace an output that is there, and the files beside it.

    Those beside it have its name with another ending: `cells.profiles.h5` beside `cells.h5`. Old or
    new has the name at any time, but for a set of files, of which none has it for a moment.

    Args:
        output: file or folder.
        check: is called with what is there, before anything is made and before it is replaced;
            raises `OutputExistsError` where it must stay.
    """
    token = _replaced.set((*_replaced.get(), (Path(os.path.abspath(output)), check)))  # noqa: PTH100
    try:
        yield
    finally:
        _replaced.reset(token)


def _may_replace(output: Path) -> bool:
    """Whether an output that is there may be replaced; the check of whoever asked says if not."""
    place = Path(os.path.abspath(output))  # noqa: PTH100 - of a link, not of where it leads
    for named, check in _replaced.get():
        beside = place.parent == named.parent and place.name.startswith(f"{named.stem}.")
        if place == named or beside:
            check(place)
            return True
    return False


def check_absent(output: Path) -> None:
    """Refuse an output that is there already, or that has no folder to stand in.

    Raises:
        OutputExistsError: something has the name, be it a dangling link, and nobody has said that
            it is replaced.
        FileNotFoundError: there is no such folder.
    """
    if os.path.lexists(output) and not _may_replace(output):
        msg = (
            f"`output` must not exist yet. Received: output={str(output)!r}. "
            "Name another, or remove this one."
        )
        raise OutputExistsError(msg)
    if not output.parent.is_dir():
        msg = f"The folder of `output` must exist. Received: {str(output.parent)!r}. Make it first."
        raise FileNotFoundError(msg)


def check_untaken(folder: Path, begun: str, names: Iterable[str]) -> None:
    """Refuse a folder that has other files of the names that will be written into it.

    Args:
        folder: to be written into; it need not exist.
        begun: what an earlier call left there, if there was one: then the files are its own.
        names: to be written.

    Raises:
        OutputExistsError: one of the names is taken.
    """
    taken = [name for name in names if os.path.lexists(folder / name)]
    if taken and not os.path.lexists(folder / begun):
        msg = (
            "The folder must not hold other files of the names that are written into it. Received: "
            f"{', '.join(taken)} in {str(folder)!r}. Name another folder, or move them elsewhere."
        )
        raise OutputExistsError(msg)


@contextlib.contextmanager
def keeping(what: str, folder: Path, pattern: str = "*") -> Iterator[None]:
    """Say what is kept, and how to go on, with whatever stops the block from outside.

    Args:
        what: is kept: "Steps that are done".
        folder: where it is.
        pattern: of files in `folder`; without one, nothing is kept.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, OSError, MemoryError) as error:
        if any(folder.glob(pattern)) and not hasattr(error, "__notes__"):
            error.add_note(
                f"{what} are kept in {str(folder)!r}: give the same command again to go on."
            )
        raise


@contextlib.contextmanager
def publishing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary sibling to write to; it gets the name `path` when the block ends well.

    If the block raises, the sibling is removed and whatever had the name before still has it; if
    the process is killed, the next one that writes `path` removes it. The suffix is kept, since
    some writers choose their format by it.

    Args:
        path: final name; its folder must exist.
        durable: whether all is forced to the disk; else a loss of power may leave anything.

    Yields:
        The name to write to: a file, which the block must create.
    """
    temporary = _temporary(path, clean=durable)
    try:
        with _naming(path, only=(*_FULL, errno.EIO)):  # most libraries name no file
            yield temporary
        if durable:
            sync(temporary)
        temporary.replace(path)
        if durable:
            sync(path.parent)
        _log.debug("%s is written.", path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def publishing_folder(output: Path) -> Iterator[Path]:
    """A temporary sibling to fill; it gets the name `output` when the block ends well.

    If the block raises, the sibling is removed. Files in it are synced by whoever writes them.

    Args:
        output: final name, which nothing may have, except within `replacing`; its folder exists.

    Yields:
        The folder to fill: it is there, so a place that cannot be written is told before any work.

    Raises:
        OutputExistsError: something has the name, at the beginning or at the end.
        FileNotFoundError: there is no folder for it.
    """
    check_absent(output)
    folder = _new_folder(output)
    try:
        with _naming(output, only=_FULL):
            yield folder
        sync(folder)
        check_absent(output)
        if os.path.lexists(output) and not exchange(folder, output):
            old = folder.with_name(f"{folder.name}-old")
            output.rename(old)
            folder.rename(output)
            shutil.rmtree(old, ignore_errors=True)
        elif not os.path.lexists(output):
            folder.rename(output)
        sync(output.parent)
        _log.debug("%s is written.", output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _new_folder(output: Path) -> Path:
    """A folder beside `output` that nobody had before, be it of a killed process of our number."""
    first = _temporary(output, "")
    for ending in itertools.chain([""], map("-{}".format, itertools.count(1))):
        folder = first.with_name(first.name + ending)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError


def _temporary(path: Path, suffix: str | None = None, *, clean: bool = True) -> Path:
    """The name under which this process makes `path`; what killed ones left there is removed."""
    suffix = path.suffix if suffix is None else suffix
    begin = f".{path.name.removesuffix(suffix)}.partial-"
    ours = re.compile(rf"{re.escape(begin)}(\d+)(-\d+)?{re.escape(suffix)}")
    if clean:
        for left in path.parent.glob(f"{glob.escape(begin)}*"):
            process = ours.fullmatch(left.name)
            if process is None or _runs(int(process[1])):
                continue
            _log.info("%s was left by a process that was killed, and is removed.", left)
            with contextlib.suppress(OSError):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return path.with_name(f"{begin}{os.getpid()}{suffix}")


def _runs(process: int) -> bool:
    """Whether there is a process of this number; on Windows, where asking ends it, always."""
    try:
        if sys.platform != "win32":
            os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def publish_bytes(path: Path, content: bytes) -> None:
    """Give `path` this content, at once or not at all."""
    publish_chunks(path, (content,))


def publish_chunks(path: Path, chunks: Iterable[bytes], *, durable: bool = True) -> None:
    """Give `path` the content of `chunks`, at once or not at all.

    Without `durable` nothing is forced to the disk: a killed process leaves old or new, a loss of
    power may leave anything.
    """
    temporary = _temporary(path, clean=durable)
    try:
        write_file(temporary, chunks, durable=durable)
        temporary.replace(path)
        if durable:
            sync(path.parent)
        _log.debug("%s is written.", path)
    finally:
        temporary.unlink(missing_ok=True)


def publish_json(path: Path, values: Any) -> None:
    """Give `path` these values as JSON, at once or not at all; NaN and infinity are refused."""
    content = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    publish_bytes(path, content.encode())


def json_digest(values: Mapping[str, Any]) -> str:
    """SHA-256 of JSON values, however they are ordered and set out, without their own `digest`."""
    rest = {name: value for name, value in values.items() if name != "digest"}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_file(path: Path, chunks: Iterable[bytes], *, durable: bool = True) -> int:
    """Write a file under its own name, and with `durable` wait until it is on the disk.

    Returns:
        Its size in bytes.

    Raises:
        OSError: the disk is full or failed; the error names the file.
    """
    size = started = 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
    with _naming(path):
        descriptor = os.open(path, flags, 0o666)
        try:
            for chunk in chunks:
                view = memoryview(chunk)
                size += len(view)
                while view:  # a system may take less than it is given
                    written = os.write(descriptor, view)
                    if written < 1:
                        raise OSError(errno.EIO, os.strerror(errno.EIO))
                    view = view[written:]
                if durable and size - started >= _WRITEBACK_BYTES:
                    _start_writeback(descriptor, started, size - started)
                    started = size
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return size


@contextlib.contextmanager
def _naming(path: Path, only: Collection[int] = ()) -> Iterator[None]:
    """Let an error of the disk, or `only` those of these numbers, name its file."""
    try:
        yield
    except OSError as error:
        if error.filename is None and (not only or error.errno in only):
            error.filename = str(path)
        raise


def _start_writeback(descriptor: int, start: int, length: int) -> None:
    """Let the disk begin, so that it is all but done when the whole file is waited for."""
    if hasattr(os, "posix_fadvise"):
        # pages that are not on the disk yet are written and kept, whatever the name says
        os.posix_fadvise(descriptor, start, length, os.POSIX_FADV_DONTNEED)


def exchange(first: Path, second: Path) -> bool:
    """Let two folders swap their names in one step; False where the system has no such step."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        names = os.fsencode(first), os.fsencode(second)
        if sys.platform == "darwin":
            failed = libc.renamex_np(*names, 2)  # RENAME_SWAP
        else:
            failed = libc.renameat2(-100, names[0], -100, names[1], 2)  # AT_FDCWD, RENAME_EXCHANGE
    except (AttributeError, TypeError, OSError):  # no such function, or Windows
        return False
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):  # not on this file system
        return False
    raise OSError(number, os.strerror(number), str(first))


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    with _naming(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
