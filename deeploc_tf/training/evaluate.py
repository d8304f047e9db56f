"""Measure a finished run on records, those it was trained on or others: `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.models.trained import TrainedModel, load_trained
from deeploc_tf.training.predictions import predict
from deeploc_tf.training.summary import Summary, summarize
from deeploc_tf.training.test_time import views
from deeploc_tf.version import __version__
from tfrecords.errors import SchemaError, SplitError, did_you_mean
from tfrecords.manifest import Manifest
from tfrecords.publishing import publishing_folder
from tfrecords.schema import Schema
from tfrecords.verify import verify

SCHEMA_VERSION = 1
_MOST_NAMED = 30


def evaluate(
    run: str | Path,
    records: str | Path,
    results: str | Path | None = None,
    *,
    splits: Sequence[str] = ("test",),
    test_time: str = "none",
    batch_size: int = 256,
    draw: Callable[[Path], None] | None = None,
    progress: Callable[[int], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure the model of a run on the crops of some splits, taken together, each exactly once.

    The records may be others than those of the training: with the same shape, dtype and channels,
    and classes that the model knows. Classes are matched by name, whatever their order.

    Args:
        run: folder of a finished training.
        records: data set to measure on.
        results: folder to make, for the numbers and every crop's prediction; None: no files.
        splits: names of the splits; their crops are pooled.
        test_time: views of a crop whose probabilities are averaged: "none", "crops",
            "orientations" or "both"; see `deeploc_tf.training.test_time.views`.
        batch_size: crops at a time; every crop counts once, whatever it is.
        draw: called with the folder of results before it gets its name, to add pictures.
        progress: called with the number of crops predicted so far.
        note: called with sentences worth telling.

    Returns:
        The content of `metrics.json`: that of `classification_metrics`, and what docs/evaluation.md
        lists.

    Raises:
        OutputExistsError: `results` is there already; nothing was computed then.
        RecordsError: the run is not finished, or the records are damaged.
        SchemaError: the records have other crops or classes than the model, or no classes.
        SplitError: there is no such split.
        ValueError: `test_time` is none of these.
    """

    def measure() -> Summary:
        return _measure(run, records, splits, test_time, batch_size, progress, note)

    if results is None:
        return measure().metrics
    with publishing_folder(Path(results)) as folder:
        summary = measure()
        summary.write(folder)
        if draw is not None:
            draw(folder)
    return summary.metrics


def _measure(
    run: str | Path,
    records: str | Path,
    splits: Sequence[str],
    test_time: str,
    batch_size: int,
    progress: Callable[[int], None] | None,
    note: Callable[[str], None] | None,
) -> Summary:
    note = note or (lambda _: None)
    manifest = verify(records)
    _check_splits(splits, manifest)
    trained = load_trained(run)
    for sentence in trained.check_schema(manifest.schema):
        note(sentence)
    label_map = _match_classes(manifest.schema, trained, note)
    chosen = views(trained.model, test_time)
    if "train" in splits and manifest.digest == trained.records_digest:
        note("The model was trained on the split train: it tells nothing about new cells.")
    found = predict(
        trained,
        records,
        manifest,
        splits,
        chosen,
        label_map=label_map,
        batch_size=batch_size,
        progress=progress,
    )
    summary = summarize(found, trained.class_names)
    described = {
        "schema_version": SCHEMA_VERSION,
        "deeploc_tf": __version__,
        "model_sha256": trained.model_sha256,
        "trained_on_records_digest": trained.records_digest,
        "records_digest": manifest.digest,
        "splits": list(splits),
        "test_time": test_time,
        "num_views": len(chosen),
    }
    return Summary({**described, **summary.metrics}, summary.tables, summary.predictions)


def _check_splits(splits: Sequence[str], manifest: Manifest) -> None:
    for split in splits:
        manifest.shards(split)  # names the splits there are, if this one is not
    if not splits or len(set(splits)) != len(splits):
        msg = f"There must be a split, each named once. Received: splits={list(splits)}."
        raise SplitError(msg)


def _match_classes(
    schema: Schema, trained: TrainedModel, note: Callable[[str], None]
) -> NDArray[np.int64]:
    """The model's class index of each class of the records."""
    ours, theirs = trained.class_names, schema.label_names
    if trained.multi_label or ours != trained.schema.label_names:
        msg = (
            "`evaluate` measures models that tell one label a crop. Received: one that tells "
            f"{'several' if trained.multi_label else 'proteins'}. The metrics.json of its run has "
            "the scores of its test split."
        )
        raise SchemaError(msg)
    if schema.multi_label:
        msg = (
            "This model tells one label a crop. Received: records with several. Rebuild them with "
            "one label column."
        )
        raise SchemaError(msg)
    if not theirs:
        msg = "Evaluation needs labels. The records have none: rebuild them with --label."
        raise SchemaError(msg)
    unknown = [name for name in theirs if name not in ours]
    if unknown:
        msg = (
            "The classes of the records must be among the model's. Received: "
            f"{_some(unknown)}; the model has {_some(ours)}.{did_you_mean(unknown[0], ours)} "
            "Rebuild the records with the model's names."
        )
        raise SchemaError(msg)
    missing = [name for name in ours if name not in theirs]
    if missing:
        note(f"The records lack {len(missing)} of the model's classes: {_some(missing)}.")
    elif ours != theirs:
        note("The records have the model's classes in another order; they are matched by name.")
    return np.array([ours.index(name) for name in theirs], np.int64)


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
