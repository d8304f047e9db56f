"""Files of the publications of DeepLoc and PIFiA into records."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

from deeploc_tf.ingest.build_records import build_records
from deeploc_tf.ingest.plan import plan_records
from deeploc_tf.sources import DeepLocHDF5Source, LabelDictionarySource, Source, SourceError
from tfrecords.manifest import Manifest


def convert(
    file: str | os.PathLike[str],
    output: str | os.PathLike[str],
    **options: Any,
) -> Manifest:
    """Write records of an HDF5 file in DeepLoc's layout, or of a label dictionary (.npy).

    Args:
        file: HDF5 file, or label dictionary; of several HDF5 files that of the train split.
        output: folder to make.
        **options: `validation_file` and `test_file`, HDF5 files of other splits; those of the
            source (`DeepLocHDF5Source`, which needs `channels`, or `LabelDictionarySource`); and
            those of `build_records`.

    Returns:
        The manifest of the new data set.

    Raises:
        TypeError: there is no such option.
        SourceError: the file is none of these; else as `build_records`.

    Example:
        convert("train.hdf5", "records", channels=("gfp", "rfp"), test_file="test.hdf5")
    """
    known = {"validation_file", "test_file", *inspect.signature(_kind_of(file)).parameters}
    own = {name: value for name, value in options.items() if name in known}
    of_records = inspect.signature(plan_records).parameters  # some are known to both
    rest = {n: value for n, value in options.items() if n not in known or n in of_records}
    return build_records(published_source(file, **own), output, **rest)


def published_source(
    file: str | os.PathLike[str],
    *,
    validation_file: str | os.PathLike[str] | None = None,
    test_file: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Source:
    """The source of what `convert` takes; options are those of its class."""
    others = {"validation": validation_file, "test": test_file}
    files = {split: path for split, path in others.items() if path is not None}
    kind = _kind_of(file)
    if files and kind is LabelDictionarySource:
        msg = (
            "Files of other splits must go with an HDF5 file. Received: "
            f"{', '.join(map(str, files.values()))} with {file}. Leave them out."
        )
        raise SourceError(msg)
    source: Source = kind({"train": file, **files} if files else file, **options)
    return source


def _kind_of(file: str | os.PathLike[str]) -> Any:
    is_dictionary = Path(file).suffix.lower() == ".npy"
    return LabelDictionarySource if is_dictionary else DeepLocHDF5Source
