"""The table of contents of a data set: `manifest.json`, and the files that TFDS wants beside it.

The manifest is what tells a whole data set from a part of one. TFRecord files carry checksums of
their records but no count, so a shard that was cut between two records reads as a shorter, healthy
one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tfrecords.errors import (
    DamagedRecordsError,
    RecordsError,
    SchemaError,
    SplitError,
    did_you_mean,
)
from tfrecords.framing import FOOTER_BYTES
from tfrecords.retrying import retried
from tfrecords.schema import Schema
from tfrecords.sharding import DATASET_NAME, shard_name
from tfrecords.tfds import tfds_features, tfds_info

MANIFEST_NAME = "manifest.json"
REJECTS_NAME = "rejects.jsonl"
FLAGGED_NAME = "flagged.jsonl"
INPUTS_NAME = "inputs.sha256"
FORMAT_NAME = "deeploc-tf records"
FORMAT_VERSION = 2
MAX_CHECKSUMS = 16  # of a shard, in the manifest

_SPLIT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SHARD_FILE = re.compile(r".*\.tfrecord.*", re.DOTALL)
_SHARD_NAME = re.compile(rf"{DATASET_NAME}-\w+\.tfrecord-\d{{5,}}-of-\d{{5,}}")
_CHECKSUM = re.compile(r"[0-9a-f]{8}")
_FILES = (
    "features.json",
    "dataset_info.json",
    "label.labels.txt",
    MANIFEST_NAME,
    REJECTS_NAME,
    FLAGGED_NAME,
    INPUTS_NAME,
)
REBUILD = "Copy the data set again, or rebuild it."
"""How damage is mended, in all messages."""

Counts = Mapping[str, Mapping[str, Mapping[str, int]]]


@dataclasses.dataclass(frozen=True)
class ShardInfo:
    """What must be true of one shard.

    Attributes:
        name: file name, within the folder of the data set.
        num_crops: number of records.
        num_bytes: size of the file.
        sha256: digest of the file, in hexadecimal.
        checksums: of the first, the last and up to 14 records between: byte of the file at which
            the checksum of the record stands -> its four bytes, in hexadecimal. By these few bytes
            shards of equal size are told apart at once. Empty in format 1, which has none.
    """

    name: str
    num_crops: int
    num_bytes: int
    sha256: str
    checksums: Mapping[int, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """Crops that are the same cell as another one; blank crops do not count.

    Attributes:
        allowed: such crops were allowed to lie in two splits.
        within_splits: crops with the pixels of an earlier crop of their split.
        across_splits: crops whose pixels are in another split as well.
        overlapping: crops whose window overlaps one of the same field in another split.
    """

    allowed: bool = False
    within_splits: int = 0
    across_splits: int = 0
    overlapping: int = 0


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a data set holds, and where it came from.

    Attributes:
        schema: what all crops have in common.
        splits: the shards of each split, in reading order.
        seed: of the permutation of the crops.
        group_by: the columns whose values, taken together, never occur in two splits.
        units: the columns that say where a cell was imaged, from the top down: plate, well, field.
            What they name is numbered anew in whatever lies above it, so that an image has all of
            them as its name.
        sources: description of each source; paths in it are relative.
        rejects: how many cells were set aside, by reason.
        flagged: how many crops were kept although something is odd about them, by reason.
        counts: by split, how many crops each label and each protein has:
            `counts["train"]["label"]["nucleus"]`.
        duplicates: crops that are there twice; None in format 1, whose builds did not look.
        format_version: of the data set on disk.
    """

    schema: Schema
    splits: Mapping[str, tuple[ShardInfo, ...]]
    seed: int = 0
    group_by: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    sources: tuple[Mapping[str, Any], ...] = ()
    rejects: Mapping[str, int] = dataclasses.field(default_factory=dict)
    counts: Counts = dataclasses.field(default_factory=dict)
    flagged: Mapping[str, int] = dataclasses.field(default_factory=dict)
    duplicates: Duplicates | None = dataclasses.field(default_factory=Duplicates)
    format_version: int = FORMAT_VERSION

    @property
    def has_checksums(self) -> bool:
        """Whether a shard of another build is told at once: not in data sets of format 1."""
        return self.format_version > 1

    @property
    def split_names(self) -> tuple[str, ...]:
        """Names of the splits, in alphabetical order."""
        return tuple(self.splits)

    def shards(self, split: str) -> tuple[ShardInfo, ...]:
        """The shards of a split in reading order; raises `SplitError` if there is no such split."""
        if split not in self.splits:
            msg = (
                f"`split` must be one of {', '.join(self.splits)}. Received: split={split!r}."
                f"{did_you_mean(split, self.splits)} "
                "Name one of these, or rebuild the records with it."
            )
            raise SplitError(msg)
        return self.splits[split]

    def num_crops(self, split: str) -> int:
        """How many crops a split has; raises `SplitError` if there is no such split."""
        return sum(shard.num_crops for shard in self.shards(split))

    @property
    def digest(self) -> str:
        """SHA-256 over everything that the manifest says: the identity of the data set.

        It holds the digest of every shard, and no place: a data set that was moved or copied keeps
        it.
        """
        canonical = json.dumps(
            _to_json(self), sort_keys=True, separators=(",", ":"), allow_nan=False
        )
        return hashlib.sha256(canonical.encode()).hexdigest()


def described(duplicates: Duplicates | None) -> dict[str, int]:
    """How many crops are there twice, by how, in words; only what there is."""
    if duplicates is None:
        return {}
    counts = {
        "pixels of another crop of the same split": duplicates.within_splits,
        "pixels that are in two splits": duplicates.across_splits,
        "overlap a crop of another split": duplicates.overlapping,
    }
    return {how: count for how, count in counts.items() if count}


def check_split_name(split: str) -> None:
    """Raise `SplitError` unless `split` may name a split, here and in TFDS."""
    if not _SPLIT_NAME.fullmatch(split) or split == "all":
        msg = (
            "The name of a split must be a letter, then letters, digits and `_`, and not `all` "
            f"(in TFDS that is all splits together). Received: split={split!r}."
        )
        raise SplitError(msg)


def files_of(manifest: Manifest) -> frozenset[str]:
    """Names of the files that the build of a data set wrote, as far as they are there."""
    shards = (shard.name for split in manifest.splits.values() for shard in split)
    return frozenset((*shards, *_FILES))


def is_build_file(name: str) -> bool:
    """Whether a build, which may not have come to its end, gives a file this name."""
    return name in _FILES or _SHARD_NAME.fullmatch(name) is not None


def manifest_files(manifest: Manifest) -> dict[str, bytes]:
    """Content of every file of a data set but its shards; `manifest.json` comes last.

    The other three are what `tfds.builder_from_directory` reads. All of it follows from the
    manifest: no time, no host, no path.
    """
    schema = manifest.schema
    sizes = {
        split: [(shard.num_crops, shard.num_bytes) for shard in shards]
        for split, shards in manifest.splits.items()
    }
    files = {
        "features.json": _dumps(tfds_features(schema)),
        "dataset_info.json": _dumps(tfds_info(sizes)),
    }
    if schema.label_names:
        files["label.labels.txt"] = "".join(f"{name}\n" for name in schema.label_names).encode()
    files[MANIFEST_NAME] = _dumps({**_to_json(manifest), "digest": manifest.digest})
    return files


def read_manifest(records: str | Path) -> Manifest:
    """Read and check the manifest of a data set; the shards are not looked at (see `check_shards`).

    Args:
        records: folder of the data set.

    Raises:
        FileNotFoundError: there is no such folder.
        RecordsError: it is no data set, or a newer program wrote it.
        DamagedRecordsError: the manifest is not what a build wrote.
    """
    records = Path(records)
    if not records.is_dir():
        msg = f"`records` must be a folder of records. Received: records={str(records)!r}."
        raise FileNotFoundError(msg)
    path = records / MANIFEST_NAME
    try:
        content = retried(path.read_bytes)
    except FileNotFoundError as error:
        msg = (
            f"A data set must have a {MANIFEST_NAME}. Received: {str(records)!r} without one. "
            "Was its build interrupted, or is this another folder?"
        )
        raise RecordsError(msg) from error
    try:
        return _from_json(json.loads(content))
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if isinstance(error, RecordsError) and not isinstance(error, SchemaError):
            error.add_note(f"File: {path}")
            raise
        msg = (
            f"A manifest must be what a build wrote. Received: {type(error).__name__}: {error}. "
            f"File: {path}. {REBUILD}"
        )
        raise DamagedRecordsError(msg) from error


def check_shards(records: str | Path, manifest: Manifest) -> None:
    """Raise `DamagedRecordsError` unless the folder holds the shards of the manifest and no others.

    Looks at names, sizes and the checksums of a few records of each shard, so it takes
    milliseconds; whether every record is whole is for `verify_deep`.
    """
    records = Path(records)
    expected = {shard.name: shard for split in manifest.splits.values() for shard in split}
    for name, shard in expected.items():
        try:
            status = retried((records / name).stat)
        except FileNotFoundError as error:
            msg = f"Every shard must be there. Received: no {name} in {str(records)!r}. {REBUILD}"
            raise DamagedRecordsError(msg) from error
        if not stat.S_ISREG(status.st_mode) or status.st_size != shard.num_bytes:
            msg = (
                "A shard must be a file of the size in the manifest. Received: "
                f"{name} of {status.st_size} bytes, expected {shard.num_bytes}. {REBUILD}"
            )
            raise DamagedRecordsError(msg)
        retried(_check_checksums, records / name, shard, expected.values())
    foreign = sorted(
        entry.name
        for entry in records.iterdir()
        if _SHARD_FILE.fullmatch(entry.name) and entry.name not in expected
    )
    if foreign:
        msg = (
            "A data set must hold no shards but its own. Received: "
            f"{', '.join(foreign[:3])} in {str(records)!r} (foreign files: {len(foreign)}). "
            "Move them elsewhere."
        )
        raise DamagedRecordsError(msg)


def _check_checksums(path: Path, shard: ShardInfo, shards: Collection[ShardInfo]) -> None:
    with path.open("rb", buffering=0) as file:
        for offset, checksum in shard.checksums.items():
            file.seek(offset)
            found = file.read(FOOTER_BYTES).hex()
            if found == checksum:
                continue
            other = next((s.name for s in shards if s.checksums.get(offset) == found), None)
            if other is None or other == shard.name:
                what = f"others in {shard.name}: it, or the manifest, is of another build, or"
                what += " its records were changed"
            else:
                what = f"those of {other} in {shard.name}. Were they swapped?"
            msg = (
                f"A shard must hold its own records. Received: {what} (checksum {found} at byte "
                f"{offset}, expected {checksum}). {REBUILD}"
            )
            raise DamagedRecordsError(msg)


def _to_json(manifest: Manifest) -> dict[str, Any]:
    duplicates = manifest.duplicates and dataclasses.asdict(manifest.duplicates)
    return {
        "format": FORMAT_NAME,
        "format_version": manifest.format_version,
        "schema": manifest.schema.to_json(),
        "splits": {
            split: [_shard_to_json(shard, manifest.format_version) for shard in shards]
            for split, shards in manifest.splits.items()
        },
        "counts": manifest.counts,
        **({"duplicates": duplicates} if manifest.format_version > 1 else {}),
        "seed": manifest.seed,
        "group_by": list(manifest.group_by),
        **({"units": list(manifest.units)} if manifest.units else {}),
        "sources": list(manifest.sources),
        "rejects": manifest.rejects,
        **({"flagged": manifest.flagged} if manifest.flagged else {}),
    }


def _shard_to_json(shard: ShardInfo, format_version: int) -> dict[str, Any]:
    values = dataclasses.asdict(shard)
    checksums = values.pop("checksums")
    if format_version > 1:
        values["checksums"] = {str(offset): value for offset, value in checksums.items()}
    return values


def _shard_from_json(values: dict[str, Any], format_version: int) -> ShardInfo:
    if format_version == 1:
        return ShardInfo(**values)
    checksums = {int(offset): value for offset, value in values["checksums"].items()}
    return ShardInfo(**{**values, "checksums": checksums})


def _from_json(values: dict[str, Any]) -> Manifest:
    if values["format"] != FORMAT_NAME:
        msg = f"A manifest must be of {FORMAT_NAME!r}. Received: format={values['format']!r}."
        raise RecordsError(msg)
    if values["format_version"] not in range(1, FORMAT_VERSION + 1):
        msg = (
            f"This version reads records of formats 1 to {FORMAT_VERSION}. Received: "
            f"format_version={values['format_version']}. Upgrade deeploc-tf."
        )
        raise RecordsError(msg)
    version = values["format_version"]
    manifest = Manifest(
        schema=Schema.from_json(values["schema"]),
        splits={
            split: tuple(_shard_from_json(shard, version) for shard in shards)
            for split, shards in values["splits"].items()
        },
        seed=values["seed"],
        group_by=tuple(values["group_by"]),
        units=tuple(values.get("units", ())),
        sources=tuple(values["sources"]),
        rejects=values["rejects"],
        counts=values["counts"],
        flagged=values.get("flagged", {}),
        duplicates=Duplicates(**values["duplicates"]) if version > 1 else None,
        format_version=version,
    )
    if manifest.digest != values["digest"]:
        msg = (
            "A manifest must be as it was written. Received: content of digest "
            f"{manifest.digest}, expected {values['digest']}. {REBUILD}"
        )
        raise DamagedRecordsError(msg)
    if not manifest.splits:
        msg = f"A data set must have a split. Received: splits={{}}. {REBUILD}"
        raise DamagedRecordsError(msg)
    for split, shards in manifest.splits.items():
        check_split_name(split)
        # A name that is spelled out here cannot lead out of the folder.
        names = [shard_name(split, i, len(shards)) for i in range(len(shards))]
        if (
            not shards
            or [shard.name for shard in shards] != names
            or any(shard.num_crops < 1 for shard in shards)
            or any(_lacks_checksums(shard) for shard in shards if manifest.has_checksums)
        ):
            msg = (
                f"The shards of a split must be {names or 'at least one'}, none empty, each with "
                "checksums. "
                f"Received: {shards}."
            )
            raise DamagedRecordsError(msg)
    return manifest


def _lacks_checksums(shard: ShardInfo) -> bool:
    last = shard.num_bytes - FOOTER_BYTES
    return last not in shard.checksums or any(
        not 0 <= offset <= last or not _CHECKSUM.fullmatch(value)
        for offset, value in shard.checksums.items()
    )


def _dumps(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
