"""Crops into a folder of shards: all of it appears at once, or nothing does.

Two passes. The first lists the crops without their pixels and so fixes the shard and the place of
each; the second reads them in the order that suits their source, into one spill file a shard. Then
each shard is put in order in memory and written. Everything happens in a sibling of the output,
which is renamed when it is whole and on disk.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecords.codec import encode
from tfrecords.errors import RecordsError, SchemaError, SplitError
from tfrecords.manifest import (
    Counts,
    Manifest,
    ShardInfo,
    check_split_name,
    manifest_files,
    read_manifest,
)
from tfrecords.publishing import check_absent, partial_folder, sync
from tfrecords.schema import Crop, Schema
from tfrecords.sharding import (
    SHARD_BYTES,
    check_unique_keys,
    global_order,
    num_shards,
    shard_lengths,
    shard_name,
)

_SPILL_BUFFER_BYTES = 64 << 20  # of all shards together
_FRAME_BYTES = 16  # length, its checksum, and the checksum of the record
_NAMED = 3  # keys in a message


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """What the first pass knows of a crop: everything but its pixels.

    Attributes:
        key: unique key of the crop.
        split: the split it belongs to.
        labels: class indices, ascending; empty where the schema has no labels.
        protein: gene name or ORF; "" where there is none.
    """

    key: str
    split: str
    labels: tuple[int, ...] = ()
    protein: str = ""


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
    progress: Callable[[int], None] | None = None,
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
        progress: called after each crop with the number of crops read so far.

    Returns:
        The manifest, as it was written.

    Raises:
        OutputExistsError: `output` is there already.
        DuplicateKeyError: two entries have one key.
        SplitError: there are no crops, or a split has a name that cannot be.
        SchemaError: a crop does not follow `schema`, or is not what its entry says.
        RecordsError: a crop is missing, extra, or came twice.
        OSError: the disk is too small, or failed.
    """
    output = Path(os.path.abspath(output))  # noqa: PTH100 - resolve() would follow a link named so
    check_absent(output)
    check_unique_keys(entry.key for entry in entries)
    _check_columns(schema, group_by)
    plan = _Plan(schema, entries, seed, shard_bytes)
    _check_free_disk(output.parent, plan)
    with partial_folder(output) as folder:
        spill = _Spill(folder, plan)
        for count, crop in enumerate(crops, start=1):
            spill.add(plan.take(crop), encode(crop, schema))
            if progress is not None:
                progress(count)
        plan.check_all_taken()
        spill.flush()
        manifest = Manifest(
            schema=schema,
            splits={
                split: tuple(_write_shard(folder, spill, shard) for shard in shards)
                for split, shards in plan.shards.items()
            },
            seed=seed,
            group_by=tuple(group_by),
            sources=tuple(json.loads(json.dumps(list(sources), allow_nan=False))),
            rejects=dict(sorted((rejects or {}).items())),
            counts=_counts(schema, entries),
        )
        for name, content in manifest_files(manifest).items():
            (folder / name).write_bytes(content)
            sync(folder / name)
        sync(folder)
        written = read_manifest(folder)
        check_absent(output)
        folder.rename(output)
    sync(output.parent)
    return written


@dataclasses.dataclass(frozen=True)
class _Shard:
    """A shard that is to be: its crops have the places from `start` to `stop` of the data set."""

    index: int
    name: str
    start: int
    stop: int


class _Plan:
    """The place of each crop in the data set, split after split, and of each shard."""

    def __init__(
        self, schema: Schema, entries: Sequence[Entry], seed: int, shard_bytes: int
    ) -> None:
        self.num_crops = len(entries)
        self.bytes_per_crop = _bytes_per_crop(schema)
        self.shards: dict[str, list[_Shard]] = {}
        self._entries: list[Entry] = []  # by place
        by_split: dict[str, list[Entry]] = {}
        for entry in entries:
            by_split.setdefault(entry.split, []).append(entry)
        if not by_split:
            msg = "A data set must have at least one crop. Received: none. Check the source."
            raise SplitError(msg)
        index = itertools.count()
        for split, members in sorted(by_split.items()):
            check_split_name(split)
            count = num_shards(len(members), self.bytes_per_crop, shard_bytes)
            lengths = shard_lengths(len(members), count)
            stops = [len(self._entries) + n for n in itertools.accumulate(lengths)]
            self.shards[split] = [
                _Shard(next(index), shard_name(split, i, count), stop - length, stop)
                for i, (length, stop) in enumerate(zip(lengths, stops, strict=True))
            ]
            order = global_order([entry.key for entry in members], seed)
            self._entries += [members[i] for i in order]
        # Lists, so that only `check_unique_keys` stands against two crops of one key.
        self._places: dict[str, list[int]] = {}
        for place, entry in enumerate(self._entries):
            self._places.setdefault(entry.key, []).append(place)

    def take(self, crop: Crop) -> int:
        """The place of `crop`, which nobody else gets any more."""
        places = self._places.get(crop.key)
        if not places:
            how = "unknown" if places is None else "repeated"
            msg = (
                "`crops` must be exactly those of `entries`, each once. "
                f"Received: {how} key={crop.key!r}. Did the input change meanwhile?"
            )
            raise RecordsError(msg)
        place = places.pop()
        entry = self._entries[place]
        if (crop.labels, crop.protein) != (entry.labels, entry.protein):
            msg = (
                "A crop must have the labels and protein of its entry. Received: "
                f"labels={crop.labels}, protein={crop.protein!r}, expected {entry.labels}, "
                f"{entry.protein!r}. Key: {crop.key!r}."
            )
            raise SchemaError(msg)
        return place

    def check_all_taken(self) -> None:
        missing = sorted(key for key, places in self._places.items() if places)
        if missing:
            msg = (
                "`crops` must be exactly those of `entries`, each once. Received: no crop of "
                f"key={', '.join(map(repr, missing[:_NAMED]))} (missing: {len(missing)}). "
                "Did the input change meanwhile?"
            )
            raise RecordsError(msg)


class _Spill:
    """The records as they came, in one file a shard; `records` gives them back by place."""

    def __init__(self, folder: Path, plan: _Plan) -> None:
        shards = [shard for split in plan.shards.values() for shard in split]
        self._paths = [folder / f"{shard.name}.spill" for shard in shards]
        self._starts = np.array([shard.start for shard in shards])
        self._buffers = [bytearray() for _ in shards]
        self._limit = _SPILL_BUFFER_BYTES // len(shards)
        self._sizes = [0] * len(shards)
        self._spans = np.zeros((plan.num_crops, 2), np.int64)  # by place: from, to

    def add(self, place: int, record: bytes) -> None:
        """Keep the record of the crop at `place`."""
        index = int(np.searchsorted(self._starts, place, side="right")) - 1
        start = self._sizes[index]
        self._sizes[index] += len(record)
        self._spans[place] = start, self._sizes[index]
        self._buffers[index] += record
        if len(self._buffers[index]) > self._limit:
            self._flush(index)

    def flush(self) -> None:
        """Put everything on disk; call it before `records`."""
        for index in range(len(self._buffers)):
            self._flush(index)

    def _flush(self, index: int) -> None:
        # Opened anew each time: there may be more shards than a process may have open files.
        with self._paths[index].open("ab", buffering=0) as file:
            view = memoryview(self._buffers[index])
            while view:
                view = view[file.write(view) :]
        self._buffers[index] = bytearray()

    def records(self, shard: _Shard) -> Iterator[memoryview]:
        """The records of a shard in their final order; its spill file is gone afterwards."""
        content = memoryview(self._paths[shard.index].read_bytes())
        self._paths[shard.index].unlink()
        for start, stop in self._spans[shard.start : shard.stop]:
            yield content[start:stop]


def _write_shard(folder: Path, spill: _Spill, shard: _Shard) -> ShardInfo:
    path = folder / shard.name
    expected = 0
    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in spill.records(shard):
                writer.write(bytes(record))
                expected += len(record) + _FRAME_BYTES
    except tf.errors.OpError as error:  # no OSError, which callers know
        msg = f"A shard must be written whole. Received: {error.message}. Check disk and quota."
        raise OSError(errno.EIO, msg) from error
    sync(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        num_bytes = file.tell()
    if num_bytes != expected:
        msg = (
            "A shard must be written whole. "
            f"Received: {shard.name} of {num_bytes} bytes, expected {expected}."
        )
        raise OSError(errno.EIO, msg)
    return ShardInfo(shard.name, shard.stop - shard.start, num_bytes, digest)


def _counts(schema: Schema, entries: Sequence[Entry]) -> Counts:
    counts = {}
    for split in sorted({entry.split for entry in entries}):
        members = [entry for entry in entries if entry.split == split]
        labels = Counter(label for entry in members for label in entry.labels)
        proteins = Counter(entry.protein for entry in members if entry.protein)
        counts[split] = {
            "label": {name: labels[i] for i, name in enumerate(schema.label_names)},
            "protein": dict(sorted(proteins.items())),
        }
    return counts


def _bytes_per_crop(schema: Schema) -> int:
    """Size of a record, all but exactly: text varies."""
    height, width, _ = schema.image_shape
    return schema.num_image_bytes + height * width * schema.has_mask + 128


def _check_columns(schema: Schema, group_by: Sequence[str]) -> None:
    unknown = sorted(set(group_by) - {"protein", *schema.metadata})
    if unknown:
        msg = (
            "`group_by` must name columns that the records keep: protein or metadata, here "
            f"{['protein', *schema.metadata]}. Received: {unknown}."
        )
        raise SchemaError(msg)


def _check_free_disk(folder: Path, plan: _Plan) -> None:
    # Once, and a shard: each spill file goes when its shard is written.
    longest = max(shard.stop - shard.start for split in plan.shards.values() for shard in split)
    needed = (plan.num_crops + longest) * plan.bytes_per_crop
    free = shutil.disk_usage(folder).free
    if free < needed:
        msg = (
            f"There must be room for the records. Received: {free} bytes free in {str(folder)!r}, "
            f"expected {needed}. Free some, or write elsewhere."
        )
        raise OSError(errno.ENOSPC, msg)
