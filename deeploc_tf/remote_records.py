"""Records at an address, such as `s3://bucket/records`: fetched once, checked, kept in a cache.

Whoever takes records asks `local_records` for their folder; nothing below knows of addresses.

CACHE/DIGEST/         one data set, by the digest of its manifest
    NAME -> .data     by the last name of an address, there once all files are: tables and runs
                      name their parents by it, and are those that a local copy gives
    .data/            its files; a shard has its name there once its size and digest were right
    .checked.json     size and time of each shard at that moment
    .fetching/        what has not arrived yet
    .*.use            a lock of each process that reads it, until the process ends
CACHE/DIGEST.lock     of the process that fetches or removes it
CACHE/room.lock       of the process that makes room
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import errno
import json
import logging
import os
import re
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deeploc_tf.extras import install
from deeploc_tf.provenance import file_digest
from tfrecords.errors import DamagedRecordsError, LockedError, RecordsError
from tfrecords.locking import locked
from tfrecords.manifest import (
    MANIFEST_NAME,
    REBUILD,
    Manifest,
    ShardInfo,
    files_of,
    read_manifest,
)
from tfrecords.publishing import publish_bytes, publish_json, publishing
from tfrecords.retrying import retried

FOLDER_VARIABLE, SIZE_VARIABLE = "DEEPLOC_TF_CACHE", "DEEPLOC_TF_CACHE_GB"
_DEFAULT_GB = 100.0
_AT_ONCE = 4  # files that are fetched
_CHECKED = ".checked.json"
_SILENCE = 60  # seconds without a byte of HTTP, then it is asked again
_WAIT = 0.2  # seconds between two looks at a lock
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(?::|/)")
_NAME = re.compile(r"\w[\w.+@ -]{0,200}")
_SECRET = re.compile(r"(?<=//)[^/@\s]*@|\?[^\s'\"]*")  # password; query with a signature
_DATA_SET = re.compile(r"[0-9a-f]{64}")
_OF_HERE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EINTR)

_log = logging.getLogger(__name__)
_uses: dict[Path, Path] = {}  # data set -> the lock by which this process keeps it


class MissingCloudError(ImportError, ValueError):
    """fsspec, or its package for a kind of address, is not installed."""


def is_address(place: str | Path) -> bool:
    """Whether it is an address of fsspec, such as `s3://bucket/records`, and no local path."""
    found = _ADDRESS.match(str(place))
    return found is not None and not os.path.exists(place)  # noqa: PTH110 - of any length


def name_of(address: str) -> str:
    """The last name of an address, by which its records go, without password or query."""
    name = _path_of(address).rstrip("/").rpartition("/")[2]
    return name if _NAME.fullmatch(name) else "records"


def check_local(output: str | Path) -> None:
    """Raise `ValueError` if an output is an address."""
    if is_address(output):
        msg = (
            "What is written must lie on this machine: addresses are for records that are read. "
            f"Received: {_shown(str(output))!r}. Name a local place, and copy the files afterwards."
        )
        raise ValueError(msg)


def local_manifest(records: str | Path) -> Manifest:
    """The manifest of a data set, be it a folder or at an address; no shard is fetched.

    Raises:
        RecordsError: there is no data set, or a newer program wrote it.
        OSError: the address does not answer.
    """
    return _fetched_manifest(_open(records))[0] if is_address(records) else read_manifest(records)


def local_records(records: str | Path, cache: str | Path | None = None) -> Path:
    """The folder of a data set: itself, or of the copy of what is at an address.

    The manifest is fetched each time, and then the shards that are not in the cache, or were
    changed there. The copy stays until this process ends; afterwards it may make room for others.

    Args:
        records: folder, or address that fsspec knows.
        cache: folder of copies, which processes share; None: that of `DEEPLOC_TF_CACHE`, or else
            `deeploc-tf` in the user's cache folder. It holds at most `DEEPLOC_TF_CACHE_GB` times
            10^9 bytes, 100 by default.

    Raises:
        RecordsError: there is no data set, or a newer program wrote it.
        DamagedRecordsError: a shard is missing, or is not that of the manifest however often it is
            fetched.
        MissingCloudError: fsspec, or its package for this kind of address, is not installed.
        OSError: the address does not answer, or the cache has no room.
        ValueError: it is no address, or the size of the cache is no number.
    """
    if not is_address(records):
        return Path(records)
    remote = _open(records)
    folder = _cache_folder(cache)
    manifest, content = _fetched_manifest(remote)
    shards = [shard for split in manifest.splits.values() for shard in split]
    data_set = folder / manifest.digest
    data, name = data_set / ".data", data_set / name_of(remote.shown)
    with _waiting(folder / f"{manifest.digest}.lock", remote.shown):
        data.mkdir(parents=True, exist_ok=True)
        _keep(data_set)
        if not name.is_dir() or _changed(data_set, [shard.name for shard in shards]):
            wanted = [shard for shard in shards if not _is_whole(data / shard.name, shard)]
            with _waiting(folder / "room.lock", str(folder)):
                if wanted:
                    _make_room(data_set, sum(shard.num_bytes for shard in shards))
                publish_bytes(data / MANIFEST_NAME, content)  # the room is its own from now on
            _fetch_all(remote, data_set, manifest, wanted)
            publish_json(data_set / _CHECKED, {path.name: _stamp(path) for path in data.iterdir()})
            if not os.path.lexists(name):
                name.symlink_to(data.name)
    return name


@dataclasses.dataclass(frozen=True)
class _Remote:
    """A folder that fsspec reads.

    Attributes:
        files: its file system.
        path: of the folder there, without what follows a question mark.
        query: that, such as a signature.
        shown: the address without password and query.
        stopped: set where the process is to end: files on their way come no further.
    """

    files: Any
    path: str
    query: str
    shown: str
    stopped: threading.Event = dataclasses.field(default_factory=threading.Event)

    def fetch(self, name: str, place: Path, check: Callable[[Path], object] | None = None) -> None:
        """Write a file of the folder to `place`; what is cut off, or fails the check, comes again.

        Raises:
            FileNotFoundError, PermissionError: there is none, or it may not be read.
            DamagedRecordsError: `check` raised it each time.
            OSError: the address does not answer.
        """
        try:
            retried(self._fetch_once, name, place, check)
        except _PassingError as error:  # to callers it is one that does not pass
            is_damage = isinstance(error.__cause__, DamagedRecordsError)
            raise (DamagedRecordsError if is_damage else OSError)(str(error)) from error

    def _check_wanted(self, *_: object, **__: object) -> None:
        if self.stopped.is_set():
            raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))

    def _fetch_once(self, name: str, place: Path, check: Callable[[Path], object] | None) -> None:
        from fsspec.callbacks import Callback

        try:
            callback = Callback(hooks={"stop": self._check_wanted})
            self.files.get_file(f"{self.path}/{name}{self.query}", str(place), callback=callback)
            if check is not None:
                check(place)
        except FileNotFoundError:
            raise
        except Exception as error:
            is_ours = isinstance(error, RecordsError) and not isinstance(error, DamagedRecordsError)
            if is_ours or (isinstance(error, OSError) and error.errno in _OF_HERE):
                raise
            said = _SECRET.sub("", str(error).split("\n")[0]) or type(error).__name__
            msg = f"{self.shown}/{name} could not be read: {said}"
            forbidden = isinstance(error, PermissionError)
            raise (PermissionError if forbidden else _PassingError)(msg) from error


class _PassingError(OSError):
    """What a network, or whoever writes at the address, may have mended by the next time."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.errno = errno.EIO


def _open(address: str | Path) -> _Remote:
    text = str(address)
    if isinstance(address, Path):  # which has taken two slashes for one
        text = re.sub(r"^([\w+.-]+):/+", r"\1://", text)
    shown, query = _shown(text), ""
    if text.startswith(("http://", "https://")):
        text, sign, rest = text.partition("?")
        query = sign + rest
    try:
        from fsspec.core import url_to_fs

        options = {}
        if text.startswith(("http://", "https://")):  # else no file may take five minutes
            from aiohttp import ClientTimeout

            options["timeout"] = ClientTimeout(
                total=None, sock_connect=_SILENCE, sock_read=_SILENCE
            )
        files, path = url_to_fs(text, **options)
    except ImportError as error:
        msg = (
            "An address needs fsspec and its package for this kind of address. Received: "
            f"{shown!r}: {error}. Mend it for s3:// and https://: {install('cloud')}"
        )
        raise MissingCloudError(msg) from error
    except ValueError as error:
        msg = f"`records` must be a folder or an address of fsspec. Received: {shown!r}: {error}."
        raise ValueError(msg) from error
    return _Remote(files, path.rstrip("/"), query, shown.rstrip("/"))


def _path_of(address: str) -> str:
    return address.partition("?")[0].partition("#")[0]


def _shown(address: str) -> str:
    """An address as it may be seen: without password and query."""
    return _SECRET.sub("", _path_of(address))


def _cache_folder(cache: str | Path | None) -> Path:
    given = cache or os.environ.get(FOLDER_VARIABLE)
    users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(given or Path(users) / "deeploc-tf").expanduser().absolute()
    if given:
        check_local(given)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _fetched_manifest(remote: _Remote) -> tuple[Manifest, bytes]:
    with tempfile.TemporaryDirectory(prefix="deeploc-tf-") as folder:
        place = Path(folder) / MANIFEST_NAME
        try:
            remote.fetch(MANIFEST_NAME, place, lambda _: read_manifest(folder))
        except FileNotFoundError as error:
            msg = (
                f"A data set must have a {MANIFEST_NAME}. Received: {remote.shown!r} without one. "
                "Is it the address of the folder?"
            )
            raise RecordsError(msg) from error
        return read_manifest(folder), place.read_bytes()


def _fetch_all(
    remote: _Remote, data_set: Path, manifest: Manifest, wanted: Sequence[ShardInfo]
) -> None:
    """Bring these shards, and the files beside them that are at the address."""
    data, fetching = data_set / ".data", data_set / ".fetching"
    fetching.mkdir(exist_ok=True)

    def fetch(name: str, check: Callable[[Path], object] | None = None) -> None:
        with publishing(fetching / name) as place:
            remote.fetch(name, place, check)
        (fetching / name).replace(data / name)

    def fetch_shard(shard: ShardInfo) -> None:
        try:
            fetch(shard.name, lambda place: _check_shard(place, shard))
        except FileNotFoundError as error:
            where = f"no {shard.name} at {remote.shown!r}"
            msg = f"Every shard must be there. Received: {where}. {REBUILD}"
            raise DamagedRecordsError(msg) from error

    size = sum(shard.num_bytes for shard in wanted) / 1e6
    _log.info("Fetching %d shards (%.1f MB) from %s.", len(wanted), size, remote.shown)
    shards = {shard.name for split in manifest.splits.values() for shard in split}
    for name in sorted(files_of(manifest) - shards - {MANIFEST_NAME}):
        # S3 forbids what is not there where one may not list the folder.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            fetch(name)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            list(pool.map(fetch_shard, wanted))
        except (KeyboardInterrupt, SystemExit):
            remote.stopped.set()
            raise


def _check_shard(path: Path, shard: ShardInfo) -> None:
    size = path.stat().st_size
    if size != shard.num_bytes or file_digest(path) != shard.sha256:
        msg = (
            f"its size and digest must be those of the manifest. Received: {size} bytes, expected "
            f"{shard.num_bytes} of sha256={shard.sha256}. {REBUILD}"
        )
        raise DamagedRecordsError(msg)


def _changed(data_set: Path, shards: Sequence[str]) -> list[str]:
    """Files that are not what they were when they were checked, or never were."""
    try:
        known = json.loads((data_set / _CHECKED).read_bytes())
    except (OSError, ValueError):
        return list(shards)
    data = data_set / ".data"
    return [name for name in {*shards, *known} if known.get(name) != _stamp(data / name)]


def _is_whole(path: Path, shard: ShardInfo) -> bool:
    try:
        _check_shard(path, shard)
    except (FileNotFoundError, DamagedRecordsError):
        return False
    return True


def _stamp(path: Path) -> list[int] | None:
    if not path.is_file():
        return None
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _keep(data_set: Path) -> None:
    """Keep others from removing it while this process lives, and note that it is used."""
    if data_set not in _uses or not _uses[data_set].exists():
        path = data_set / f".{uuid.uuid4().hex}.use"
        held = contextlib.ExitStack()
        held.enter_context(locked(path, str(data_set)))
        atexit.register(held.close)
        _uses[data_set] = path
    os.utime(data_set)


def _make_room(data_set: Path, num_bytes: int) -> None:
    """Remove the data sets that were not used for the longest time, until this one has room."""
    text = os.environ.get(SIZE_VARIABLE) or str(_DEFAULT_GB)
    try:
        limit = float(text) * 1e9
    except ValueError:
        limit = -1
    if not limit > 0:
        msg = f"{SIZE_VARIABLE} must be a number of 10^9 bytes above 0. Received: {text!r}."
        raise ValueError(msg)
    folder = data_set.parent
    others = [p for p in folder.iterdir() if _DATA_SET.fullmatch(p.name) and p != data_set]
    others.sort(key=lambda path: path.stat().st_mtime_ns)
    sizes = {path: _size(path) for path in others}
    there = _bytes_in(data_set)

    def lacks_room() -> bool:
        is_full = shutil.disk_usage(folder).free < num_bytes - there
        return is_full or sum(sizes.values()) + num_bytes > limit

    for path in others:
        if lacks_room() and _removed(path):
            _log.info("Removed the copy of records %s to make room.", path.name[:12])
            del sizes[path]
    if lacks_room():
        msg = (
            f"The cache of records must have room. Received: {num_bytes / 1e9:.3g} GB to fetch, "
            f"{sum(sizes.values()) / 1e9:.3g} GB in use, at most {limit / 1e9:.3g} GB allowed and "
            f"{shutil.disk_usage(folder).free / 1e9:.3g} GB free in {str(folder)!r}. Raise "
            f"{SIZE_VARIABLE}, or name a folder on another disk by --cache."
        )
        raise OSError(msg)


def _removed(data_set: Path) -> bool:
    """Whether it is gone; not if a process reads or fetches it."""
    try:
        with locked(data_set.with_name(f"{data_set.name}.lock"), str(data_set)):
            for use in data_set.glob(".*.use"):
                with locked(use, str(data_set)):  # left by a process that was killed
                    pass
            shutil.rmtree(data_set)
    except LockedError:
        return False
    return True


def _size(data_set: Path) -> int:
    """Bytes of a data set, also of what is still to be fetched."""
    try:
        shards = read_manifest(data_set / ".data").splits.values()
    except (OSError, ValueError):
        return _bytes_in(data_set)
    return max(_bytes_in(data_set), sum(shard.num_bytes for split in shards for shard in split))


def _bytes_in(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


@contextlib.contextmanager
def _waiting(path: Path, what: str) -> Iterator[None]:
    """Hold a lock as soon as no other process does."""
    with contextlib.ExitStack() as stack:
        told = False
        while True:
            try:
                stack.enter_context(locked(path, what))
                break
            except LockedError:
                if not told:
                    _log.info("Waiting for another process, which is busy with %s.", what)
                told = True
                time.sleep(_WAIT)
        yield
