"""The errors that records can raise; every one is a `ValueError` or an `OSError`.

Messages say, in this order: what must hold, what came (`name=value`), how to mend it. Places
(shard, record, key, file) are added on the way up.
"""


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


class OutputExistsError(FileExistsError):
    """The output is already there, and nothing was said about replacing it."""
