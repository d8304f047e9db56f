"""Where crops come from: folders described by a pattern, and tables of paths."""

from __future__ import annotations

from deeploc_tf.sources.folders import FolderSource
from deeploc_tf.sources.images import read_image
from deeploc_tf.sources.source import Source, SourceError
from deeploc_tf.sources.tables import TableSource

__all__ = ["FolderSource", "Source", "SourceError", "TableSource", "read_image"]
