"""The splits of records under their usual names, however records and people spell them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

from deeploc_tf.names import known_split, unified, unused_splits
from tfrecords.errors import SplitError
from tfrecords.manifest import Manifest

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Renamed(Manifest):
    """A manifest with other names of splits; it is still that of the same data set."""

    original: Manifest | None = None

    @property
    def digest(self) -> str:
        """That of the manifest as it was read."""
        return super().digest if self.original is None else self.original.digest


def with_usual_splits(manifest: Manifest) -> Manifest:
    """The manifest with its splits called `train`, `validation` and `test` where they mean these.

    `build_records` writes these names, but records may come from elsewhere. Without this a split
    `val` would be there, and no training would use it.

    Raises:
        SplitError: two splits mean the same.
    """
    spelling = unified(manifest.splits, "split", "Splits")
    if all(name == usual for name, usual in spelling.items()):
        return manifest
    named: dict[str, str] = {}
    for name, usual in spelling.items():
        if (first := named.setdefault(usual, name)) != name:
            msg = (
                f"Each split must be named once. Received: {first!r} and {name!r}, which are one. "
                "Rebuild the records."
            )
            raise SplitError(msg)
        if name != usual:
            _log.info(f"The split {name!r} of the records is taken as {usual!r}.")
    values = {field.name: getattr(manifest, field.name) for field in dataclasses.fields(manifest)}
    for field in ("splits", "counts"):
        values[field] = {usual: values[field][named[usual]] for usual in sorted(named)}
    return _Renamed(**{**values, "original": manifest})


def warn_of_unused_splits(manifest: Manifest) -> None:
    """Say through logging which splits a training of these records does not look at."""
    if sentence := unused_splits(manifest.splits):
        _log.warning(sentence)


def find_splits(manifest: Manifest, names: Sequence[str]) -> list[str]:
    """The splits of the manifest that a person means by `names`.

    Raises:
        SplitError: there is no such split, or they are not each named once.
    """
    found = [known_split(name, manifest.splits) for name in names]
    for split in found:
        manifest.shards(split)  # names the splits there are, if this one is not
    if not found or len(set(found)) != len(found):
        msg = f"There must be a split, each named once. Received: splits={list(names)}."
        raise SplitError(msg)
    return found
