"""Is a data set whole? `verify` asks names and sizes, `verify_deep` reads every byte.

TensorFlow alone reads a shard that was cut between two records, or whose records were swapped, as a
healthy one; a shard that was damaged it reports without its name.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tfrecords.codec import decode
from tfrecords.errors import DamagedRecordsError, DuplicateKeyError, RecordsError, SplitError
from tfrecords.framing import FOOTER_BYTES
from tfrecords.framing import records as framed_records
from tfrecords.manifest import Manifest, ShardInfo, check_shards, read_manifest
from tfrecords.retrying import retried
from tfrecords.schema import Crop, metadata_text

_REBUILD = "Copy the data set again, or rebuild it."


def verify(records: str | Path) -> Manifest:
    """Check in milliseconds that every shard is there, of its size, and that no other is.

    Args:
        records: folder of the data set.

    Returns:
        Its manifest.

    Raises:
        FileNotFoundError: there is no such folder.
        RecordsError: it is no data set, or a newer program wrote it.
        DamagedRecordsError: manifest and shards disagree; the shard is named.
    """
    manifest = read_manifest(records)
    check_shards(records, manifest)
    return manifest


def verify_deep(records: str | Path, progress: Callable[[int], None] | None = None) -> Manifest:
    """Read every byte: digests, every record, labels, keys, and that no group is in two splits.

    Args:
        records: folder of the data set.
        progress: called after each crop with the number of crops checked so far.

    Returns:
        Its manifest.

    Raises:
        FileNotFoundError: there is no such folder.
        RecordsError: it is no data set, or a newer program wrote it.
        DamagedRecordsError: something was cut, changed, swapped or removed; the message names
            shard, record and byte offset, as far as they can be known.
        DuplicateKeyError: two records have one key.
        SplitError: a group is in two splits (a leak).
    """
    manifest = verify(records)
    keys: dict[str, str] = {}
    groups: dict[tuple[object, ...], tuple[str, str]] = {}
    num_crops = 0
    for split in manifest.split_names:
        labels: Counter[str] = Counter()
        proteins: Counter[str] = Counter()
        for shard in manifest.shards(split):
            content = retried((Path(records) / shard.name).read_bytes)
            _check_digest(manifest, shard, content)
            for place, record in _records(shard, content):
                try:
                    crop = decode(record, manifest.schema)
                except RecordsError as error:
                    msg = f"{error} Place: {place}. {_REBUILD}"
                    raise DamagedRecordsError(msg) from error
                check_new_key(keys, crop.key, place)
                check_one_split(groups, _group(crop, manifest.group_by), split, place)
                labels.update(manifest.schema.label_names[label] for label in crop.labels)
                proteins.update([crop.protein] * bool(crop.protein))
                num_crops += 1
                if progress is not None:
                    progress(num_crops)
        _check_counts(manifest, split, {"label": labels, "protein": proteins})
    return manifest


def check_new_key(keys: dict[str, str], key: str, place: str) -> None:
    """Raise `DuplicateKeyError` if `keys` (place by key) has `key` already; else add it."""
    if key in keys:
        msg = (
            f"Every crop must have a key of its own. Received: key={key!r} twice, in {keys[key]} "
            f"and in {place}. Rebuild the data set."
        )
        raise DuplicateKeyError(msg)
    keys[key] = place


def check_one_split(
    groups: dict[tuple[object, ...], tuple[str, str]],
    group: tuple[object, ...],
    split: str,
    place: str,
) -> None:
    """Raise `SplitError` if `groups` (split and place by group) has `group` in another split.

    A data set that was not split by groups has the empty group for every crop, which is no leak.
    """
    other, other_place = groups.setdefault(group, (split, place))
    if group and other != split:
        msg = (
            f"A group must be in one split only (else it leaks). Received: group={group} in "
            f"{other} ({other_place}) and in {split} ({place}). Rebuild the data set."
        )
        raise SplitError(msg)


def _group(crop: Crop, group_by: tuple[str, ...]) -> tuple[object, ...]:
    """The values by their text, as the build compared them: NaN is not equal to NaN."""
    return tuple(metadata_text(crop.metadata.get(column, crop.protein)) for column in group_by)


def _records(shard: ShardInfo, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Each record and its place in words."""
    offset = index = 0
    try:
        for start, stop in framed_records(content):
            yield _place(shard, index, offset), content[start:stop]
            offset = stop + FOOTER_BYTES
            index += 1
    except DamagedRecordsError as error:
        msg = f"{error} Place: {_place(shard, index, offset)}. {_REBUILD}"
        raise DamagedRecordsError(msg) from error
    if index != shard.num_crops:
        msg = (
            f"A shard must hold the crops of the manifest. Received: {index} in {shard.name}, "
            f"expected {shard.num_crops}. {_REBUILD}"
        )
        raise DamagedRecordsError(msg)


def _place(shard: ShardInfo, index: int, offset: int) -> str:
    return f"shard {shard.name}, record {index}, byte {offset}"


def _check_digest(manifest: Manifest, shard: ShardInfo, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest == shard.sha256:
        return
    for split in manifest.splits.values():
        for other in split:
            if other.sha256 == digest:
                msg = (
                    f"A shard must hold its own records. Received: those of {other.name} in "
                    f"{shard.name}. Were they swapped? {_REBUILD}"
                )
                raise DamagedRecordsError(msg)
    for _ in _records(shard, content):  # the first that is damaged is named
        pass
    msg = (
        "A shard must have the digest in the manifest. Received: "
        f"sha256={digest} of {shard.name}, expected {shard.sha256}, though each of its "
        f"records is whole: some were replaced, or their order was changed. {_REBUILD}"
    )
    raise DamagedRecordsError(msg)


def _check_counts(manifest: Manifest, split: str, counts: dict[str, Counter[str]]) -> None:
    for what, counter in counts.items():
        expected = {name: n for name, n in manifest.counts[split][what].items() if n}
        if expected != dict(counter):
            msg = (
                f"The crops of each {what} must be as many as the manifest says. Received: "
                f"{dict(counter)} in split {split!r}, expected {expected}. {_REBUILD}"
            )
            raise DamagedRecordsError(msg)
