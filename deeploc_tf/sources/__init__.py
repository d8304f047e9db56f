"""Where crops come from: folders, tables, whole fields, DeepLoc HDF5 files, label dictionaries."""

from __future__ import annotations

from deeploc_tf.sources.cell_table import CellTable
from deeploc_tf.sources.crop_table import TableSource
from deeploc_tf.sources.field_table import FieldTable
from deeploc_tf.sources.fields import FieldSource
from deeploc_tf.sources.folders import FolderSource
from deeploc_tf.sources.historical.deeploc_hdf5 import DeepLocHDF5Source
from deeploc_tf.sources.historical.label_dictionary import LabelDictionarySource
from deeploc_tf.sources.images import read_image
from deeploc_tf.sources.source import Source, SourceError

__all__ = [
    "CellTable",
    "DeepLocHDF5Source",
    "FieldSource",
    "FieldTable",
    "FolderSource",
    "LabelDictionarySource",
    "Source",
    "SourceError",
    "TableSource",
    "read_image",
]
