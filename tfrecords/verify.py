"""Is a data set whole? `verify` asks names and sizes, `verify_deep` reads every byte.

TensorFlow alone reads a shard that was cut between two records, or whose records were swapped, as a
healthy one; a shard that was damaged it reports without its name.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from tfrecords.errors import DamagedRecordsError, DuplicateKeyError, SplitError
from tfrecords.manifest import (
    FLAGGED_NAME,
    MANIFEST_NAME,
    REBUILD,
    REJECTS_NAME,
    Manifest,
    ShardInfo,
    check_shards,
    manifest_files,
    read_manifest,
)
from tfrecords.reader import Place, crops_of, framed, read_shard
from tfrecords.retrying import retried
from tfrecords.schema import Crop, metadata_text

Groups = dict[tuple[str, ...], tuple[Place, tuple[str, ...]]]
"""What the spellings of a group have in common -> place and texts of its first crop."""


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


def verify_deep(
    records: str | Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    same: Callable[[str, str], str] | None = None,
) -> Manifest:
    """Read every byte: digests, every record, labels, keys, files for TFDS, groups in two splits.

    Args:
        records: folder of the data set.
        progress: called after each crop with the number of crops checked so far, and of all.
        same: gives what all spellings of a name have in common, from the column's name and a text
            in it; groups are compared by that. None: by their texts, letter by letter.

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
    _check_other_files(Path(records), manifest)
    keys: dict[str, Place] = {}
    groups: Groups = {}
    num_crops, total = 0, sum(map(manifest.num_crops, manifest.split_names))
    for split in manifest.split_names:
        labels: Counter[str] = Counter()
        proteins: Counter[str] = Counter()
        for shard in manifest.shards(split):
            content = read_shard(records, shard)
            _check_digest(manifest, split, shard, content)
            for place, crop in crops_of(content, split, shard, manifest.schema):
                check_new_key(keys, crop.key, place)
                check_one_split(groups, _group(crop, manifest.group_by), place, same)
                labels.update(manifest.schema.label_names[label] for label in crop.labels)
                proteins.update([crop.protein] * bool(crop.protein))
                num_crops += 1
                if progress is not None:
                    progress(num_crops, total)
        _check_counts(manifest, split, {"label": labels, "protein": proteins})
    return manifest


def check_new_key(keys: dict[str, Place], key: str, place: Place) -> None:
    """Raise `DuplicateKeyError` if `keys` (place by key) has `key` already; else add it."""
    if key in keys:
        msg = (
            f"Every crop must have a key of its own. Received: key={key!r} twice, in {keys[key]} "
            f"and in {place}. Rebuild the data set."
        )
        raise DuplicateKeyError(msg)
    keys[key] = place


def check_one_split(
    groups: Groups,
    group: Mapping[str, str],
    place: Place,
    same: Callable[[str, str], str] | None = None,
) -> None:
    """Raise `SplitError` if `groups` has `group`, column -> text, in another split; else add it.

    A data set that was not split by groups has the empty group for every crop, which is no leak.
    """
    texts = tuple(group.values())
    form = texts if same is None else tuple(same(*item) for item in group.items())
    other, other_texts = groups.setdefault(form, (place, texts))
    if group and other.split != place.split:
        spelled = f"as {texts} " if texts != other_texts else ""
        msg = (
            f"A group must be in one split only (else it leaks). Received: group={other_texts} in "
            f"{other.split} ({other}) and {spelled}in {place.split} ({place}). Rebuild the data "
            "set."
        )
        raise SplitError(msg)


def _group(crop: Crop, group_by: tuple[str, ...]) -> dict[str, str]:
    """The values by their text, as the build compared them: NaN is not equal to NaN."""
    return {name: metadata_text(crop.metadata.get(name, crop.protein)) for name in group_by}


def _check_digest(manifest: Manifest, split: str, shard: ShardInfo, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest == shard.sha256:
        return
    for shards in manifest.splits.values():
        for other in shards:
            if other.sha256 == digest:
                msg = (
                    f"A shard must hold its own records. Received: those of {other.name} in "
                    f"{shard.name}. Were they swapped? {REBUILD}"
                )
                raise DamagedRecordsError(msg)
    for _ in framed(content, split, shard):  # the first that is damaged is named
        pass
    msg = (
        "A shard must have the digest in the manifest. Received: "
        f"sha256={digest} of {shard.name}, expected {shard.sha256}, though each of its "
        f"records is whole: some were replaced, or their order was changed. {REBUILD}"
    )
    raise DamagedRecordsError(msg)


def _check_other_files(records: Path, manifest: Manifest) -> None:
    """The files for TFDS say what the manifest says, and lists of rejects have as many lines."""
    expected = manifest_files(manifest)
    del expected[MANIFEST_NAME]
    for name, content in expected.items():
        path = records / name
        found = retried(path.read_bytes) if path.is_file() else b""
        if found != content and not (name.endswith(".json") and _same_json(found, content)):
            what = "another one" if found else "none"
            msg = (
                f"{name} must say what the manifest says, for TensorFlow Datasets. Received: "
                f"{what} in {str(records)!r}. {REBUILD}"
            )
            raise DamagedRecordsError(msg)
    for name, counts in ((REJECTS_NAME, manifest.rejects), (FLAGGED_NAME, manifest.flagged)):
        path = records / name
        if not path.is_file():
            continue  # a data set may be handed on without what is for people
        try:
            reasons = [json.loads(line)["reason"] for line in path.read_bytes().splitlines()]
            wrong = {r: n for r, n in Counter(reasons).items() if n > counts.get(r, 0)}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            wrong = {str(error): 1}
        if wrong:
            msg = (
                f"{name} must list what the manifest counts. Received: {wrong} more than that in "
                f"{str(path)!r}. {REBUILD}"
            )
            raise DamagedRecordsError(msg)


def _same_json(found: bytes, expected: bytes) -> bool:
    """Whether two texts are the same JSON, as an earlier version may have set it out otherwise."""
    try:
        return bool(json.loads(found) == json.loads(expected))
    except (ValueError, RecursionError):
        return False


def _check_counts(manifest: Manifest, split: str, counts: dict[str, Counter[str]]) -> None:
    for what, counter in counts.items():
        expected = {name: n for name, n in manifest.counts[split][what].items() if n}
        if expected != dict(counter):
            msg = (
                f"The crops of each {what} must be as many as the manifest says. Received: "
                f"{dict(counter)} in split {split!r}, expected {expected}. {REBUILD}"
            )
            raise DamagedRecordsError(msg)
