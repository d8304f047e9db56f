"""Storage of single-cell crops in sharded TFRecord files, as docs/format.md describes it.

Names are imported when they are first used, so that `import tfrecords` does not import TensorFlow.
The quick check is `tfrecords.verify.verify` (the module has the name).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfrecords.codec import decode, decode_batch, encode, feature_spec
    from tfrecords.errors import (
        DamagedRecordsError,
        DuplicateKeyError,
        OutputExistsError,
        PartsError,
        RecordsError,
        SchemaError,
        SplitError,
    )
    from tfrecords.inspect import Summary, summarize
    from tfrecords.manifest import Manifest, ShardInfo, check_shards, read_manifest
    from tfrecords.reader import Place, read_crops, read_serialized
    from tfrecords.schema import Crop, Schema
    from tfrecords.verify import verify_deep
    from tfrecords.writer import Entry, write_records

MODULES = {
    "codec": ("decode", "decode_batch", "encode", "feature_spec"),
    "errors": (
        "DamagedRecordsError",
        "DuplicateKeyError",
        "OutputExistsError",
        "RecordsError",
        "SchemaError",
        "PartsError",
        "SplitError",
    ),
    "inspect": ("Summary", "summarize"),
    "manifest": ("Manifest", "ShardInfo", "check_shards", "read_manifest"),
    "reader": ("Place", "read_crops", "read_serialized"),
    "schema": ("Crop", "Schema"),
    "verify": ("verify_deep",),
    "writer": ("Entry", "write_records"),
}
_MODULE_OF = {name: module for module, names in MODULES.items() for name in names}

__all__ = [
    "Crop",
    "DamagedRecordsError",
    "DuplicateKeyError",
    "Entry",
    "Manifest",
    "OutputExistsError",
    "PartsError",
    "Place",
    "RecordsError",
    "Schema",
    "SchemaError",
    "ShardInfo",
    "SplitError",
    "Summary",
    "check_shards",
    "decode",
    "decode_batch",
    "encode",
    "feature_spec",
    "read_crops",
    "read_manifest",
    "read_serialized",
    "summarize",
    "verify_deep",
    "write_records",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
