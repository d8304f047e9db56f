"""Microscopy of tagged proteins in, functional maps of proteins out.

Names are imported when they are first used, so that `import deeploc_tf` imports no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import tfrecords
from deeploc_tf.version import __version__

if TYPE_CHECKING:
    from deeploc_tf.embedding.embed import embed
    from deeploc_tf.ingest.build_records import build_records
    from deeploc_tf.models.deeploc import DeepLoc
    from deeploc_tf.models.extractors import feature_extractor
    from deeploc_tf.models.trained import load_trained
    from deeploc_tf.pipeline.batches import batches, training_batches
    from deeploc_tf.profiles.tables import read_table
    from deeploc_tf.simulation.simulate import simulate
    from deeploc_tf.sources import FieldSource, FolderSource, Source, SourceError, TableSource
    from deeploc_tf.training.config import FitConfig
    from deeploc_tf.training.evaluate import evaluate
    from deeploc_tf.training.fit import fit

# PyPI has an unrelated distribution whose package is called `tfrecords` too
if "read_manifest" not in getattr(tfrecords, "__all__", ()):
    msg = (
        "The package `tfrecords` must be the one that comes with deeploc-tf. Received: "
        f"{getattr(tfrecords, '__file__', None)}, which is not. Mend it: pip uninstall tfrecords, "
        "then pip install --force-reinstall --no-deps deeploc-tf."
    )
    raise ImportError(msg)

_MODULE_OF = {
    "FieldSource": "deeploc_tf.sources",
    "FolderSource": "deeploc_tf.sources",
    "Source": "deeploc_tf.sources",
    "SourceError": "deeploc_tf.sources",
    "TableSource": "deeploc_tf.sources",
    "build_records": "deeploc_tf.ingest.build_records",
    "DeepLoc": "deeploc_tf.models.deeploc",
    "feature_extractor": "deeploc_tf.models.extractors",
    "load_trained": "deeploc_tf.models.trained",
    "read_table": "deeploc_tf.profiles.tables",
    "batches": "deeploc_tf.pipeline.batches",
    "training_batches": "deeploc_tf.pipeline.batches",
    "FitConfig": "deeploc_tf.training.config",
    "evaluate": "deeploc_tf.training.evaluate",
    "fit": "deeploc_tf.training.fit",
    "simulate": "deeploc_tf.simulation.simulate",
    "embed": "deeploc_tf.embedding.embed",
}

__all__ = [
    "DeepLoc",
    "FieldSource",
    "FitConfig",
    "FolderSource",
    "Source",
    "SourceError",
    "TableSource",
    "__version__",
    "batches",
    "build_records",
    "embed",
    "evaluate",
    "feature_extractor",
    "fit",
    "load_trained",
    "read_table",
    "simulate",
    "training_batches",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
