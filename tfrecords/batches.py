"""Batches of framed records on their way from a source into shards: sorted runs of a merge sort.

A build reads its source in the source's own order, a batch at a time. Within a batch the records
lie in the order of their places, so that a shard takes one contiguous piece of each batch: a disk
is only ever read and written in long runs, and memory holds a batch or a shard.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tfrecords.errors import DamagedRecordsError
from tfrecords.framing import (
    FOOTER_BYTES,
    FRAME_BYTES,
    HEADER_BYTES,
    header_and_footer,
    masked_checksum,
    records,
)
from tfrecords.publishing import publish_chunks

_BLOCK_BYTES = 16 << 20
_CHUNK_BYTES = 1 << 20


class Batch(Protocol):
    """Some crops of a build, framed.

    Attributes:
        places: int64, ascending.
        checksums: uint32, of some of the pixels alone: equal pixels have equal ones.
        notes: whatever the reader of the source had to say, as JSON values.
    """

    places: NDArray[np.int64]
    checksums: NDArray[np.uint32]
    notes: Any

    def frames(self, start: int, stop: int) -> Sequence[memoryview]:
        """The frames at `places[start:stop]`."""
        ...

    def view(self) -> Callable[[int], memoryview]:
        """Gives the frame of a row, again and again, without reading the others."""
        ...


class FrameStore:
    """Frames in memory, in few large blocks, which the system gives out far faster than many small.

    Example:
        >>> store = FrameStore()
        >>> store.add(7, b"record", checksum=0)
        >>> len(store.batch().frames(0, 1)[0])
        22
    """

    def __init__(self) -> None:
        self._places: list[int] = []
        self._checksums: list[int] = []
        self._frames: list[memoryview] = []
        self._block = memoryview(b"")
        self._used = 0

    def __len__(self) -> int:
        """How many frames there are."""
        return len(self._places)

    def add(self, place: int, record: bytes, checksum: int) -> None:
        """Keep a record, in its frame, for the crop at `place`; `checksum` is of its pixels."""
        start = self._used
        stop = start + len(record) + FRAME_BYTES
        if stop > len(self._block):
            start, stop = 0, stop - start
            self._block = np.empty(max(_BLOCK_BYTES, stop), np.uint8).data
        header, footer = header_and_footer(record)
        self._block[start : start + HEADER_BYTES] = header
        self._block[start + HEADER_BYTES : stop - FOOTER_BYTES] = record
        self._block[stop - FOOTER_BYTES : stop] = footer
        self._used = stop
        self._places.append(place)
        self._checksums.append(checksum)
        self._frames.append(self._block[start:stop])

    def batch(self, notes: Any = None) -> MemoryBatch:
        """What was added, in the order of the places."""
        places = np.array(self._places, np.int64)
        order = np.argsort(places, kind="stable")
        frames = [self._frames[i] for i in order.tolist()]
        checksums = np.array(self._checksums, np.uint32)
        return MemoryBatch(places[order], checksums[order], frames, notes)


class MemoryBatch:
    """A batch in memory; the arguments are as of `Batch`."""

    def __init__(
        self,
        places: NDArray[np.int64],
        checksums: NDArray[np.uint32],
        frames: Sequence[memoryview],
        notes: Any = None,
    ) -> None:
        self.places = places
        self.checksums = checksums
        self.notes = notes
        self._frames = frames

    def frames(self, start: int, stop: int) -> Sequence[memoryview]:
        """The frames at `places[start:stop]`."""
        return self._frames[start:stop]

    def view(self) -> Callable[[int], memoryview]:
        """Gives the frame of a row."""
        return self._frames.__getitem__

    def save(self, folder: Path, number: int) -> None:
        """Write the batch; it is there, whole, once this returns, and is not before.

        Not forced to the disk: what a loss of power leaves of it is told by its checksums.
        """
        stops = np.cumsum([len(frame) for frame in self._frames], dtype=np.int64)
        paths = _Paths(folder, number)
        count = len(stops).to_bytes(8, "little")
        notes = json.dumps(self.notes).encode()
        arrays = (self.places, stops, self.checksums)
        index = b"".join((count, *(array.tobytes() for array in arrays), notes))
        publish_chunks(paths.frames, chunked(self._frames), durable=False)
        publish_chunks(paths.index, (masked_checksum(index), index), durable=False)


class SavedBatch:
    """A batch that `MemoryBatch.save` wrote.

    Raises:
        DamagedRecordsError: it is not as it was written.
        OSError: it did not come to its end.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._paths = _Paths(folder, number)
        content = self._paths.index.read_bytes()
        if content[:4] != masked_checksum(content[4:]):
            msg = f"A batch must be as it was written. Received: another {self._paths.index}."
            raise DamagedRecordsError(msg)
        count = int.from_bytes(content[4:12], "little")
        self.places, self._stops = np.frombuffer(content, np.int64, 2 * count, 12).reshape(2, -1)
        self.checksums = np.frombuffer(content, np.uint32, count, 12 + 16 * count)
        self.notes = json.loads(content[12 + 20 * count :])

    def frames(self, start: int, stop: int) -> Sequence[memoryview]:
        """The frames at `places[start:stop]`, in one read."""
        if start == stop:
            return []
        bounds = [0 if start == 0 else int(self._stops[start - 1]), *self._stops[start:stop]]
        content = memoryview(_read(self._paths.frames, bounds[0], int(bounds[-1])))
        return [content[a - bounds[0] : b - bounds[0]] for a, b in itertools.pairwise(bounds)]

    def view(self) -> Callable[[int], memoryview]:
        """Gives the frame of a row, from the file, which stays open as long as this is kept."""
        content = np.memmap(self._paths.frames, np.uint8, "r").data
        bounds = [0, *self._stops.tolist()]
        return lambda row: content[bounds[row] : bounds[row + 1]]

    def check(self) -> None:
        """Raise `DamagedRecordsError` unless every record is whole: after a loss of power."""
        content = self._paths.frames.read_bytes()
        stops = [stop + FOOTER_BYTES for _, stop in records(content)]
        if stops != self._stops.tolist():
            msg = f"A batch must hold its records. Received: others in {self._paths.frames}."
            raise DamagedRecordsError(msg)


def remove(folder: Path, number: int) -> None:
    """Forget a saved batch: it is to be read again."""
    paths = _Paths(folder, number)
    paths.index.unlink(missing_ok=True)
    paths.frames.unlink(missing_ok=True)


def merged(batches: Sequence[Batch], first: int, last: int) -> list[memoryview]:
    """The frames of all batches whose places lie in `[first, last]`, in order."""
    places: list[NDArray[np.int64]] = []
    frames: list[memoryview] = []
    for batch in batches:
        start, stop = np.searchsorted(batch.places, (first, last + 1)).tolist()
        places.append(batch.places[start:stop])
        frames += batch.frames(start, stop)
    order = np.argsort(np.concatenate(places), kind="stable").tolist()
    return [frames[i] for i in order]


def chunked(frames: Sequence[memoryview]) -> Iterator[bytes]:
    """The frames, several in a chunk: a call for each costs more than a copy."""
    if frames:
        count = max(1, _CHUNK_BYTES // len(frames[0]))
        for start in range(0, len(frames), count):
            yield b"".join(frames[start : start + count])


@dataclasses.dataclass(frozen=True, slots=True)
class _Paths:
    folder: Path
    number: int

    @property
    def frames(self) -> Path:
        return self.folder / f"{self.number:06d}.frames"

    @property
    def index(self) -> Path:
        """Written last: a batch without it is none."""
        return self.folder / f"{self.number:06d}.index"


def _read(path: Path, start: int, stop: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        parts = []
        while start < stop:
            part = file.read(stop - start)
            if not part:
                msg = f"A batch must hold its records. Received: {path} cut at byte {start}."
                raise DamagedRecordsError(msg)
            parts.append(part)
            start += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
