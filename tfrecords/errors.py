"""The errors that records can raise; every one is a `ValueError` or an `OSError`.

Messages say, in this order: what must hold, what came (`name=value`), how to mend it. Places
(shard, record, key, file) are added on the way up.
"""

from __future__ import annotations

from collections.abc import Iterable


class RecordsError(ValueError):
    """Something about a data set of records does not hold."""


class SchemaError(RecordsError):
    """A crop, a schema or a model disagree about shape, dtype, channels or labels."""


class DuplicateKeyError(RecordsError):
    """Two crops carry the same key."""


class SplitError(RecordsError):
    """A split is empty, unknown, or shares a group with another one (a leak)."""


class DamagedRecordsError(RecordsError):
    """Shards and manifest disagree: records were cut, swapped, removed or replaced."""


class PartsError(RecordsError):
    """A part of some work is missing, or belongs to other work."""


class OutputExistsError(FileExistsError):
    """The output is already there, and nothing was said about replacing it."""


class LockedError(BlockingIOError):
    """Another process is writing the same output."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question with the name in `known` that is nearest, whatever its case, or ""."""
    from difflib import get_close_matches

    by_folded = {other.casefold(): other for other in known}
    near = get_close_matches(name.casefold(), by_folded, n=1)
    return f" Did you mean {by_folded[near[0]]!r}?" if near else ""
