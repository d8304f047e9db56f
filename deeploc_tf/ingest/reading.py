"""Rows of a source into a batch of records; what a worker of a build does."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.quality import Quality
from deeploc_tf.sources.rejects import to_json, too_many
from deeploc_tf.sources.source import (
    UNREADABLE,
    Pixels,
    Reject,
    RejectedCrop,
    Source,
    SourceError,
    StampedPixels,
)
from tfrecords.batches import FrameStore, MemoryBatch
from tfrecords.codec import encode, pixel_checksum
from tfrecords.errors import SchemaError
from tfrecords.retrying import retried
from tfrecords.schema import Crop, Schema

Found = dict[str, list[Reject]]
"""What was odd about crops: "rejects", "set_aside" and "flagged"."""

# So many crops are read, then encoded, then looked at: a processor that does the same over and over
# keeps it at hand, and takes a quarter less than for one crop after the other.
_GROUP = 32
_GROUP_BYTES = 4 << 20


@dataclasses.dataclass(frozen=True)
class Rows:
    """All that is known of some crops but their pixels; one value a crop.

    Attributes:
        positions: of the crops in the index of the source.
        places: of the crops in the data set.
        keys: their keys.
        labels: their classes, ascending.
        proteins: their proteins, "" for none.
        metadata: column -> values.
    """

    positions: Sequence[int]
    places: Sequence[int]
    keys: Sequence[str]
    labels: Sequence[tuple[int, ...]]
    proteins: Sequence[str]
    metadata: Mapping[str, Sequence[str | int | float]]


class BatchReader:
    """Reads crops and makes records of them.

    Args:
        source: where the crops come from; `index` has been called.
        schema: what all crops must follow.
        quality: what is looked for in the pixels.
        max_rejects: how many crops may be unusable; the next one is an error.
    """

    def __init__(self, source: Source, schema: Schema, quality: Quality, max_rejects: int) -> None:
        self.source = source
        self.schema = schema
        self.quality = quality
        self.max_rejects = max_rejects
        # One for all batches: a field that stays open from one to the next keeps its stamp, too.
        self._stamp = Stamper(source)
        self._are_stamped = False  # what the source gave last were `StampedPixels`

    def read(self, rows: Rows, progress: Callable[[int], None] | None = None) -> MemoryBatch:
        """A batch with the records of `rows`.

        Its notes are `rejects`, `set_aside` and `flagged`, as `rejects.to_json` writes them, and
        `stamps`, by which `changed` finds files that are not as they were.

        Args:
            rows: which crops.
            progress: called after each crop with the number of crops of `rows` read so far.

        Raises:
            SourceError: a crop is unusable, and no more may be; or the source is.
            SchemaError: a crop does not follow the schema, and no more may do so.
            OSError: the disk failed.
        """
        store = FrameStore()
        found: Found = {"rejects": [], "set_aside": [], "flagged": []}
        stamps = np.zeros(len(rows.keys), np.int64)
        done = 0
        while done < len(rows.keys):
            group, failure = self._pixels(rows, done, stamps)
            records = self._records(rows, done, group, found)
            for i in self._good(rows, done, group, records, found):
                record = records[i - done]
                store.add(rows.places[i], record, pixel_checksum(record, self.schema))
            before, done = done, done + len(group)
            if failure is not None:
                self._refuse(failure, rows, done, None, found)
                done += 1
            if progress is not None:
                for count in range(before, done):
                    progress(count + 1)
        notes: dict[str, Any] = {kind: to_json(rejects) for kind, rejects in found.items()}
        notes["stamps"] = base64.b64encode(stamps.tobytes()).decode()
        return store.batch(notes)

    def _pixels(
        self, rows: Rows, start: int, stamps: NDArray[np.int64]
    ) -> tuple[list[Pixels], Exception | None]:
        """Pixels of the next crops, and why the one behind them has none, if it is so."""
        size = max(1, min(_GROUP, _GROUP_BYTES // self.schema.num_image_bytes))
        positions = rows.positions[start : start + size]
        group: list[Pixels] = []
        try:
            for row, position in enumerate(positions, start=start):
                pixels = self._crop(position, row, stamps)
                group.append(pixels)
                if pixels[0].shape != self.schema.image_shape:  # many of another size may be large
                    return group, None
        except Exception as error:  # those before it have their turn first
            return group, error
        return group, None

    def _crop(self, position: int, row: int, stamps: NDArray[np.int64]) -> Pixels:
        """Pixels of one crop, whose stamp is from before they were read, though they be unusable.

        A file that is written in between must not have the later stamp.
        """
        if self._are_stamped:
            with contextlib.suppress(Exception):  # the way below says the same of it, or succeeds
                pixels = self.source.read(position)
                if isinstance(pixels, StampedPixels):
                    stamps[row] = _stamp_of(pixels.statuses)
                    return pixels
        stamps[row] = retried(self._stamp, position)
        pixels = retried(self.source.read, position)
        self._are_stamped = isinstance(pixels, StampedPixels)
        return pixels

    def _records(
        self, rows: Rows, start: int, group: Sequence[Pixels], found: Found
    ) -> list[bytes]:
        """The records of crops; an empty one for a crop that does not follow the schema."""
        records = []
        for i, (image, mask) in enumerate(group, start=start):
            metadata = {name: values[i] for name, values in rows.metadata.items()}
            crop = Crop(
                *(rows.keys[i], image, mask, rows.labels[i], rows.proteins[i]), metadata=metadata
            )
            try:
                records.append(encode(crop, self.schema))
            except SchemaError as error:
                self._refuse(error, rows, i, crop, found)
                records.append(b"")
        return records

    def _refuse(
        self, error: Exception, rows: Rows, row: int, crop: Crop | None, found: Found
    ) -> None:
        """Note a crop that cannot be used; raise `error` if it is one too many or no such thing."""
        key, position = rows.keys[row], rows.positions[row]
        if isinstance(error, (RejectedCrop, SchemaError, *UNREADABLE)):
            rejects = found["rejects"]
            rejects.append(self._reject(error, position, key, crop))
            if len(rejects) <= self.max_rejects:
                return
            error.add_note(self._place(key, position))
            error.add_note(too_many(len(rejects), self.max_rejects))
        elif isinstance(error, (SourceError, OSError)):
            error.add_note(self._place(key, position))
        raise error

    def _good(
        self,
        rows: Rows,
        start: int,
        group: Sequence[Pixels],
        records: Sequence[bytes],
        found: Found,
    ) -> list[int]:
        """Rows of crops that have a record and pass the quality filter; notes what is odd."""
        good = []
        for i, ((image, _), record) in enumerate(zip(group, records, strict=True), start=start):
            if not record:
                continue
            oddities = self.quality.oddities(image)
            for reason, detail in oddities:
                kind = "set_aside" if reason in self.quality.drop else "flagged"
                files = self.source.files(rows.positions[i])
                found[kind].append(Reject(reason, rows.keys[i], files, detail))
            if not any(reason in self.quality.drop for reason, _ in oddities):
                good.append(i)
        return good

    def _reject(self, error: Exception, position: int, key: str, crop: Crop | None) -> Reject:
        files = self.source.files(position)
        detail = str(error)
        if isinstance(error, RejectedCrop):
            reason = error.reason
        elif isinstance(error, OSError):
            reason = "file cannot be read"
            detail = f"{error.strerror}: {error.filename}"
        else:
            reason = "" if crop is None else _difference(crop, self.schema)
            if not reason:  # labels and metadata are ours
                raise error
        for path, name in zip(self.source.paths(position), files, strict=False):
            detail = detail.replace(path, name)  # no path of this machine in a data set
        return Reject(reason, key, files, detail)

    def _place(self, key: str, position: int) -> str:
        return f"Crop: {key!r} ({', '.join(self.source.files(position))})."


class Stamper:
    """Gives a number that is another one when a file behind a crop was written meanwhile.

    The files of a field, of which an OME-Zarr has thousands, are looked at once while its crops
    come one after another: a source gives the same tuple of paths for all of them.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._paths: tuple[str, ...] | None = None
        self._stamp = 0

    def __call__(self, position: int) -> int:
        """The number for the crop at a position of the index."""
        paths = self._source.paths(position)
        if paths is not self._paths:
            self._stamp = _stamp_of([os.stat(path) for path in paths])  # noqa: PTH116 -- each crop
            self._paths = paths
        return self._stamp


def _stamp_of(statuses: Iterable[os.stat_result]) -> int:
    return hash(tuple([(status.st_size, status.st_mtime_ns) for status in statuses]))


def changed(source: Source, rows: Rows, notes: Mapping[str, Any]) -> list[int]:
    """Positions of the crops whose files are not as they were when a batch was read."""
    stamps = np.frombuffer(base64.b64decode(notes["stamps"]), np.int64).tolist()
    stamp = Stamper(source)
    return [
        position
        for position, before in zip(rows.positions, stamps, strict=True)
        if _stamp_now(stamp, position) != before
    ]


def _stamp_now(stamp: Stamper, position: int) -> int:
    try:
        return stamp(position)
    except OSError:
        return 0  # as that of a crop whose files could not be read


def _difference(crop: Crop, schema: Schema) -> str:
    """In which way a crop does not follow the schema; "" if it is not the pixels."""
    image, mask = crop.image, crop.mask
    if image.shape != schema.image_shape:
        return "shape differs"
    if image.dtype.name != schema.dtype:
        return "dtype differs"
    if (mask is not None) != schema.has_mask:
        return "mask is missing" if schema.has_mask else "mask is too many"
    if mask is not None and (mask.shape != image.shape[:2] or mask.max() > 1):
        return "mask does not fit"
    return "" if np.isfinite(image).all() else "pixels are not finite"
