"""Crops into a folder of shards: all of it appears at once, or nothing does.

Two passes. The first lists the crops without their pixels and so fixes the place of each (`plan`);
the second reads them in the order that suits their source, a batch at a time (`batches`). Then each
shard takes its piece of every batch. Everything happens in a sibling of the output (`workspace`),
which gets the name when it is whole and on disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tfrecords.batches import (
    Batch,
    FrameStore,
    MemoryBatch,
    SavedBatch,
    chunked,
    merged,
    remove,
)
from tfrecords.codec import encode, pixel_checksum
from tfrecords.duplicates import count_duplicates
from tfrecords.errors import DamagedRecordsError, RecordsError, SchemaError
from tfrecords.framing import FOOTER_BYTES
from tfrecords.manifest import (
    FORMAT_VERSION,
    MAX_CHECKSUMS,
    Manifest,
    ShardInfo,
    manifest_files,
    read_manifest,
)
from tfrecords.parts import Part
from tfrecords.plan import Entry, Plan, ShardPlan
from tfrecords.publishing import write_file
from tfrecords.schema import Crop, Schema
from tfrecords.sharding import SHARD_BYTES
from tfrecords.workspace import Workspace, check_output

_MEMORY_BYTES = 256 << 20  # a build by one process that is no larger is held in memory
_BATCH_BYTES = 16 << 20, 128 << 20  # at least, at most
_BATCHES = 64  # of a build between the two
_NAMED = 3  # keys in a message

__all__ = ["Entry", "RecordsBuild", "write_records"]


def write_records(
    output: str | Path,
    schema: Schema,
    entries: Sequence[Entry],
    crops: Iterable[Crop],
    *,
    seed: int = 0,
    group_by: Sequence[str] = (),
    sources: Sequence[Mapping[str, Any]] = (),
    rejects: Mapping[str, int] | None = None,
    shard_bytes: int = SHARD_BYTES,
    batch_bytes: int | None = None,
    overwrite: bool = False,
    allow_duplicates: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Write a data set; the same crops and seed give the same bytes in every file.

    The order in which entries and crops come does not matter. After any error, an interrupt
    included, nothing is left on disk.

    Args:
        output: folder to make; its parent must exist.
        schema: what all crops follow.
        entries: one a crop, in any order.
        crops: exactly the crops of `entries`, in any order; read once, one at a time.
        seed: of the permutation of the crops, see `sharding.order_hash`.
        group_by: columns (`protein`, or metadata columns) whose values, taken together, are in one
            split only. Kept for `verify_deep`, not checked here.
        sources: description of each source, in plain JSON values; paths in it should be relative.
        rejects: how many cells were set aside, by reason.
        shard_bytes: about the size of a shard.
        batch_bytes: crops wait for their shards on disk, in batches of about this size. By default
            up to 256 MiB wait in memory, and more in batches of 16 to 128 MiB on disk.
        overwrite: `output` may be a data set, which is replaced when the new one is whole.
        allow_duplicates: crops of equal pixels may lie in two splits.
        progress: called after each crop with the number of crops read so far, and of all.

    Returns:
        The manifest, as it was written.

    Raises:
        OutputExistsError: `output` is there already.
        LockedError: another process writes the same output.
        DuplicateKeyError: two entries have one key.
        SplitError: there are no crops, a split has a name that cannot be, or two splits have crops
            of equal pixels.
        SchemaError: a crop does not follow `schema`, or is not what its entry says.
        RecordsError: a crop is missing, extra, or came twice.
        OSError: the disk is too small, or failed.
    """
    check_output(Path(output), overwrite=overwrite)
    plan = Plan(schema, entries, seed, shard_bytes)
    wanted = _Wanted(plan)
    build = RecordsBuild(
        output,
        plan,
        group_by=group_by,
        sources=sources,
        overwrite=overwrite,
        allow_duplicates=allow_duplicates,
        resumable=False,
        batch_bytes=batch_bytes,
    )
    with build.opened():
        store, number = FrameStore(), 0
        for count, crop in enumerate(crops, start=1):
            record = encode(crop, schema)
            store.add(wanted.take(crop), record, pixel_checksum(record, schema))
            if len(store) == build.batch_crops:
                build.add(number, store.batch())
                store, number = FrameStore(), number + 1
            if progress is not None:
                progress(count, len(entries))
        wanted.check_all_taken()
        if len(store):
            build.add(number, store.batch())
        return build.finish(rejects=rejects or {})


class RecordsBuild:
    """A data set that is being written, a batch at a time, by one process or several.

    Args:
        output: folder to make; its parent must exist.
        plan: the place of each crop.
        group_by: see `write_records`.
        units: metadata columns of plate, well and field, from the top down.
        sources: see `write_records`.
        overwrite: see `write_records`.
        allow_duplicates: see `write_records`. A build that was refused for them goes on with it.
        identity: of all that decides the bytes of the records beside `plan`. A build of the same
            plan and identity goes on where another one stopped.
        resumable: keep what was read when the build stops.
        workers: how many processes read; they must save their batches in `folder`.
        batch_bytes: see `write_records`; with several workers all batches are on disk.
        part: the share of the batches that this process reads, for another one to finish.

    Attributes:
        batches: those that are whole, by number. Batch n has the rows from `n * batch_crops`.
        batch_crops: how many rows a batch has, but for the last.
    """

    def __init__(
        self,
        output: str | Path,
        plan: Plan,
        *,
        group_by: Sequence[str] = (),
        units: Sequence[str] = (),
        sources: Sequence[Mapping[str, Any]] = (),
        overwrite: bool = False,
        allow_duplicates: bool = False,
        identity: str = "",
        resumable: bool = True,
        workers: int = 1,
        batch_bytes: int | None = None,
        part: Part | None = None,
    ) -> None:
        _check_columns(plan.schema, group_by)
        self.plan = plan
        self.workers = workers
        self.batches: dict[int, Batch] = {}
        lowest, highest = _BATCH_BYTES
        wanted = batch_bytes or min(max(lowest, plan.num_bytes // _BATCHES), highest)
        self.batch_crops = max(1, wanted // plan.bytes_per_crop)
        is_small = batch_bytes is None and plan.num_bytes <= _MEMORY_BYTES
        self._in_memory = workers == 1 and part is None and is_small
        self._part = part
        self._group_by, self._units = tuple(group_by), tuple(units)
        self._sources = tuple(json.loads(json.dumps(list(sources), allow_nan=False)))
        self._allow_duplicates = allow_duplicates
        parts = [
            FORMAT_VERSION,
            *(plan.digest, identity, self._group_by, self._sources, self.batch_crops),
        ]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        path = Path(os.path.abspath(output))  # noqa: PTH100 - resolve() would follow a link named so
        self._workspace = Workspace(
            path, digest if resumable else f"{os.getpid()}", overwrite=overwrite, keep=resumable
        )

    @property
    def folder(self) -> Path:
        """Where a process that reads a batch saves it."""
        return self._workspace.batches

    @property
    def todo(self) -> list[int]:
        """Numbers of the batches that are not whole yet."""
        if self._is_ready:
            return []
        return [number for number in self._numbers if number not in self.batches]

    @property
    def _numbers(self) -> range:
        """Of the batches that this process has to see to."""
        count = -(-len(self.plan.entries) // self.batch_crops)
        return range(count) if self._part is None else self._part.share(count)

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the output while the block runs, with what an earlier build of the same left."""
        part, space = self._part, self._workspace
        with space.opened() if part is None else space.opened_for(part):
            if not self._is_ready:
                self._load()
                self._check_free_disk()
            yield

    def add(self, number: int, batch: MemoryBatch | None = None) -> None:
        """Take a batch; without `batch` it was saved by another process."""
        if batch is not None and self._in_memory:
            self.batches[number] = batch
            return
        if batch is not None:
            batch.save(self.folder, number)
        self.batches[number] = SavedBatch(self.folder, number)

    def drop(self, number: int) -> None:
        """Forget a batch: what it was read from has changed."""
        del self.batches[number]
        remove(self.folder, number)

    def finish(
        self,
        *,
        rejects: Mapping[str, int],
        flagged: Mapping[str, int] | None = None,
        overlapping: int = 0,
        files: Mapping[str, bytes] | None = None,
    ) -> Manifest:
        """Put the batches into shards, and give the data set its name.

        Args:
            rejects: how many cells were set aside, by reason.
            flagged: how many crops were kept although something is odd, by reason.
            overlapping: how many crops overlap one of another split, see `Duplicates`.
            files: name -> content of files that stand beside the manifest.

        Raises:
            SplitError: no crop of a split was usable, or two splits have crops of equal pixels.
            OutputExistsError: somebody else made the output meanwhile.
            OSError: the disk is full, or failed.
        """
        if not self._is_ready:
            self._assemble(rejects, flagged or {}, overlapping, files or {})
        manifest = read_manifest(self._workspace.ready)
        self._workspace.publish(manifest.digest)
        return manifest

    @property
    def _is_ready(self) -> bool:
        """The data set is whole already, but for its name, and was looked through as is asked."""
        if not self._workspace.is_ready:
            return False
        duplicates = read_manifest(self._workspace.ready).duplicates
        return duplicates is not None and duplicates.allowed == self._allow_duplicates

    def _assemble(
        self,
        rejects: Mapping[str, int],
        flagged: Mapping[str, int],
        overlapping: int,
        files: Mapping[str, bytes],
    ) -> None:
        batches = list(self.batches.values())
        duplicates = count_duplicates(batches, self.plan, allowed=self._allow_duplicates)
        ready = self._workspace.empty_ready()
        places = np.sort(np.concatenate([batch.places for batch in batches]))
        shards = list(self.plan.shards(places))
        splits: dict[str, list[ShardInfo]] = {}
        # Two at least: one shard is read while another one is written. Each is held in memory.
        threads = ThreadPoolExecutor(max(2, self.workers))
        try:
            written = threads.map(lambda shard: _write_shard(ready, batches, shard), shards)
            for shard, info in zip(shards, written, strict=True):
                splits.setdefault(shard.split, []).append(info)
        finally:
            threads.shutdown(cancel_futures=True)  # after an error, not one shard more
        manifest = Manifest(
            schema=self.plan.schema,
            splits={split: tuple(infos) for split, infos in splits.items()},
            seed=self.plan.seed,
            group_by=self._group_by,
            units=self._units,
            sources=self._sources,
            rejects=dict(sorted(rejects.items())),
            counts=self.plan.counts(places),
            flagged=dict(sorted(flagged.items())),
            duplicates=dataclasses.replace(duplicates, overlapping=overlapping),
        )
        for name, content in {**files, **manifest_files(manifest)}.items():
            write_file(ready / name, (content,))

    def _load(self) -> None:
        """Take the batches of an earlier build that are whole."""
        for path in sorted(self.folder.glob("[0-9]*.index")):
            number = int(path.stem)
            if number not in self._numbers:
                continue
            try:
                batch = SavedBatch(self.folder, number)
                batch.check()
            except (OSError, DamagedRecordsError):
                remove(self.folder, number)
            else:
                self.batches[number] = batch

    def _check_free_disk(self) -> None:
        # In batches and in shards, which are there together for a while.
        times = 1 if self._in_memory else 2
        saved = sum(path.stat().st_size for path in self.folder.iterdir())
        needed = times * self.plan.num_bytes - saved
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            msg = (
                f"There must be room for the records. Received: {free} bytes free in "
                f"{str(self.folder.parents[1])!r}, expected {needed}. Free some, or write "
                "elsewhere."
            )
            raise OSError(errno.ENOSPC, msg)


class _Wanted:
    """The entries of a plan whose crops have not come yet, by key."""

    def __init__(self, plan: Plan) -> None:
        self._entries = plan.entries
        self._places = plan.places
        # Lists, so that only the check of unique keys stands against two crops of one key.
        self._rows: dict[str, list[int]] = {}
        for row, entry in enumerate(plan.entries):
            self._rows.setdefault(entry.key, []).append(row)

    def take(self, crop: Crop) -> int:
        """The place of `crop`, which nobody else gets any more."""
        rows = self._rows.get(crop.key)
        if not rows:
            how = "unknown" if rows is None else "repeated"
            msg = (
                "`crops` must be exactly those of `entries`, each once. "
                f"Received: {how} key={crop.key!r}. Did the input change meanwhile?"
            )
            raise RecordsError(msg)
        row = rows.pop()
        entry = self._entries[row]
        if (crop.labels, crop.protein) != (entry.labels, entry.protein):
            msg = (
                "A crop must have the labels and protein of its entry. Received: "
                f"labels={crop.labels}, protein={crop.protein!r}, expected {entry.labels}, "
                f"{entry.protein!r}. Key: {crop.key!r}."
            )
            raise SchemaError(msg)
        return int(self._places[row])

    def check_all_taken(self) -> None:
        """Raise `RecordsError` unless every crop has come."""
        missing = sorted(key for key, rows in self._rows.items() if rows)
        if missing:
            msg = (
                "`crops` must be exactly those of `entries`, each once. Received: no crop of "
                f"key={', '.join(map(repr, missing[:_NAMED]))} (missing: {len(missing)}). "
                "Did the input change meanwhile?"
            )
            raise RecordsError(msg)


def _write_shard(folder: Path, batches: Sequence[Batch], shard: ShardPlan) -> ShardInfo:
    path = folder / shard.name
    digest = hashlib.sha256()
    with ThreadPoolExecutor(1) as thread:  # to digest and to write take about equally long
        frames = merged(batches, shard.first, shard.last)
        num_bytes = write_file(path, _digested(chunked(frames), digest, thread))
    if path.stat().st_size != num_bytes:
        msg = (
            "A shard must be written whole. "
            f"Received: {shard.name} of {path.stat().st_size} bytes, expected {num_bytes}."
        )
        raise OSError(errno.EIO, msg)
    return ShardInfo(shard.name, shard.num_crops, num_bytes, digest.hexdigest(), _checksums(frames))


def _checksums(frames: Sequence[memoryview]) -> dict[int, str]:
    """Byte and checksum of the first record, of the last, and of some evenly between."""
    count = min(len(frames), MAX_CHECKSUMS)
    rows = [i * (len(frames) - 1) // max(count - 1, 1) for i in range(count)]
    stops = np.cumsum([len(frame) for frame in frames], dtype=np.int64)
    return {int(stops[row]) - FOOTER_BYTES: frames[row][-FOOTER_BYTES:].hex() for row in rows}


def _digested(chunks: Iterable[bytes], digest: Any, thread: ThreadPoolExecutor) -> Iterator[bytes]:
    """The chunks, which `thread` adds to `digest` meanwhile."""
    pending: Future[None] | None = None
    for chunk in chunks:
        if pending is not None:
            pending.result()
        pending = thread.submit(digest.update, chunk)
        yield chunk
    if pending is not None:
        pending.result()


def _check_columns(schema: Schema, group_by: Sequence[str]) -> None:
    unknown = sorted(set(group_by) - {"protein", *schema.metadata})
    if unknown:
        msg = (
            "`group_by` must name columns that the records keep: protein or metadata, here "
            f"{['protein', *schema.metadata]}. Received: {unknown}."
        )
        raise SchemaError(msg)
