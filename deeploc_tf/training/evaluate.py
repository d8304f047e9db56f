"""Measure a finished run on records, those it was trained on or others: `evaluate`."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.joins import joined
from deeploc_tf.models.calibration import read_calibration
from deeploc_tf.models.hardware import computing_on
from deeploc_tf.models.keras_settings import our_settings
from deeploc_tf.models.trained import OtherPixelSize, TrainedModel, load_trained
from deeploc_tf.models.views import views
from deeploc_tf.names import respelled
from deeploc_tf.pipeline.classes import class_index
from deeploc_tf.pipeline.splits import find_splits, with_usual_splits
from deeploc_tf.pipeline.targets import Kind, kinds
from deeploc_tf.progress import ShowProgress, counting
from deeploc_tf.provenance import parent
from deeploc_tf.remote_records import check_local, local_records
from deeploc_tf.training.field_calibration import units_of, with_label_sets
from deeploc_tf.training.multilabel import summarize_several
from deeploc_tf.training.predictions import Predictions, Question, predict
from deeploc_tf.training.run_folder import open_run
from deeploc_tf.training.summary import Summary, summarize
from deeploc_tf.version import __version__
from tfrecords.errors import SchemaError, SplitError, did_you_mean
from tfrecords.manifest import Manifest
from tfrecords.publishing import publishing_folder
from tfrecords.retrying import retrying
from tfrecords.schema import Schema
from tfrecords.verify import verify

_log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_MOST_NAMED = 30


@retrying
@our_settings()
def evaluate(
    run: str | Path,
    records: str | Path,
    results: str | Path | None = None,
    *,
    splits: Sequence[str] = ("test",),
    head: Kind | None = None,
    test_time: str | None = None,
    batch_size: int = 256,
    device: str = "auto",
    other_pixel_size: OtherPixelSize = "warn",
    cache: str | Path | None = None,
    draw: Callable[[Path], None] | None = None,
    progress: ShowProgress = False,
) -> dict[str, Any]:
    """Measure the model of a run on the crops of some splits, taken together, each exactly once.

    The records may be others than those of the training: with the same shape, dtype and channels,
    and classes that the model knows. Classes are matched by name, whatever their order. Of a model
    that tells proteins, crops of proteins that it does not know are left out.

    Args:
        run: folder of a finished training.
        records: data set to measure on, a folder or an address as `s3://bucket/records`.
        results: folder to make, for the numbers and every crop's prediction; None: no files.
        splits: names of the splits, whose crops are pooled; `val` is `validation`.
        head: "label" or "protein", of a run with both; None: what it tells first.
        test_time: views of a crop whose probabilities are averaged: "none", "crops",
            "orientations" or "both"; see `deeploc_tf.models.views`. None: as the preset
            of the training says, as `embed`, `export` and `predict` do.
        batch_size: crops at a time; every crop counts once, whatever it is.
        device: "auto", "cpu", "gpu" or one such as "gpu:1".
        other_pixel_size: "warn" of pixels of another size than in training, or "refuse" them; see
            `check_pixel_size`.
        cache: folder of copies, of records at an address; see `local_records`.
        draw: called with the folder of results before it gets its name, to add pictures.
        progress: True to show the number of crops predicted; or a callable that gets
            `(done, total)`.

    Returns:
        The content of `metrics.json`: that of `classification_metrics`, or of
        `multi_label_metrics` where the model tells several labels, and what docs/evaluation.md
        lists.

    Raises:
        OutputExistsError: `results` is there already; nothing was computed then.
        RecordsError: the run is not finished, or the records are damaged.
        SchemaError: the records have other crops or classes than the model, or no classes.
        SplitError: there is no such split.
        ValueError: `test_time` is none of these, or there is no such device.

    Example:
        evaluate("run", "records", "results", splits=["test"])["balanced_accuracy"]
    """
    check_local(results or "")
    records = local_records(records, cache)

    def measure() -> Summary:
        with computing_on(device):
            return _measure(
                run, records, splits, head, test_time, batch_size, other_pixel_size, progress
            )

    if results is None:
        return measure().metrics
    with publishing_folder(Path(results)) as folder:
        made_from = [parent("run", run), parent("records", records)]
        metrics = measure().write(folder, made_from)
        if draw is not None:
            draw(folder)
    return metrics


def _measure(
    run: str | Path,
    records: str | Path,
    splits: Sequence[str],
    head: Kind | None,
    test_time: str | None,
    batch_size: int,
    other_pixel_size: OtherPixelSize,
    progress: ShowProgress,
) -> Summary:
    manifest = with_usual_splits(verify(records))
    splits = find_splits(manifest, splits)
    trained, kind = _load_head(run, head)
    for sentence in trained.check_schema(manifest.schema, other_pixel_size):
        _log.info("%s", sentence)
    question = _question(kind, trained, manifest, splits)
    averaged = trained.views_to_average(test_time)
    chosen = views(trained.model, averaged)
    if test_time is None and len(chosen) > 1:
        _log.info("Probabilities are averaged over views, as the run says: %s.", averaged)
    if "train" in splits and manifest.digest == trained.records_digest:
        _log.warning("The model was trained on the split train: it tells nothing about new cells.")
    total = sum(manifest.num_crops(split) for split in splits)
    with counting(progress, "Evaluating crops", total) as count:
        found = predict(
            trained,
            records,
            manifest,
            splits,
            chosen,
            question=question,
            batch_size=batch_size,
            count=count,
        )
    if not len(found.labels):
        msg = (
            f"Evaluation needs crops of proteins that the model knows. Received: {list(splits)} "
            "without one. Measure on records of the same proteins."
        )
        raise SplitError(msg)
    if question.multi_label:
        summary = summarize_several(found, question.class_names)
    else:
        summary = summarize(found, question.class_names, of_proteins=kind == "protein")
    calibration = None if question.multi_label or kind == "protein" else read_calibration(run)
    if calibration is not None and calibration.test_time != averaged:
        _log.warning("No sets of labels: the run is calibrated over %s.", calibration.test_time)
    elif calibration is not None:
        columns, units = units_of(records, manifest, splits)
        summary = with_label_sets(summary, found, calibration, units, columns)
    described = {
        "schema_version": SCHEMA_VERSION,
        "deeploc_tf": __version__,
        "model_sha256": trained.model_sha256,
        "trained_on_records_digest": trained.records_digest,
        "records_digest": manifest.digest,
        "head": kind,
        "splits": list(splits),
        "test_time": averaged,
        "num_views": len(chosen),
        **_acceptance(found),
    }
    return Summary({**described, **summary.metrics}, summary.tables, summary.predictions)


def _acceptance(found: Predictions) -> dict[str, Any]:
    """How many crops are not accepted, and how often the model is right about the others."""
    if "accepted" not in found.crops:
        _log.info("The run tells no novelty: it is of a version before.")
        return {}
    accepted = found.crops["accepted"].to_numpy(bool)
    numbers: dict[str, Any] = {"num_not_accepted": int((~accepted).sum())}
    if found.labels.ndim == 1 and accepted.any():
        right = found.scores.argmax(axis=1) == found.labels
        numbers["accuracy_of_accepted"] = float(right[accepted].mean())
    return numbers


def _load_head(run: str | Path, head: Kind | None) -> tuple[TrainedModel, Kind]:
    """The model of a run up to a head, and what that tells."""
    trained, opened = load_trained(run, both_heads=head == "protein"), open_run(run)
    trained.check_tells_classes()
    known = kinds(opened.config.target)
    head = head or known[0]
    if head not in known:
        msg = (
            f"`head` must be something that the model tells. Received: head={head!r}; it tells "
            f"{' and '.join(known)}s."
        )
        raise SchemaError(msg)
    several = head == "label" and trained.schema.multi_label
    if head != known[0]:
        trained = dataclasses.replace(
            trained, model=trained.protein_model, class_names=trained.protein_names
        )
    return dataclasses.replace(trained, multi_label=several), head


def _question(
    kind: Kind,
    trained: TrainedModel,
    manifest: Manifest,
    splits: Sequence[str],
) -> Question:
    """What is asked of the model about these records."""
    if kind == "protein":
        index = class_index(kind, trained.class_names)
        _tell_unknown_proteins(trained.class_names, manifest, splits)
        return Question(kind, trained.class_names, False, lambda batch: index(batch).numpy())
    label_map = _match_classes(manifest.schema, trained)
    if not trained.multi_label:
        return Question(
            kind, trained.class_names, False, lambda batch: label_map[batch["label"].numpy()]
        )

    def truth(batch: dict[str, Any]) -> NDArray[np.float32]:
        theirs = batch["label"].numpy()
        if theirs.ndim == 1:  # records with one label a crop, which is fine
            theirs = np.eye(len(label_map), dtype=np.float32)[theirs]
        ours = np.zeros((len(theirs), len(trained.class_names)), np.float32)
        ours[:, label_map] = theirs
        return ours

    return Question(kind, trained.class_names, True, truth)


def _tell_unknown_proteins(names: Sequence[str], manifest: Manifest, splits: Sequence[str]) -> None:
    known, left_out, unnamed = set(names), 0, 0
    for split in splits:
        counts = manifest.counts[split]["protein"]
        left_out += sum(count for name, count in counts.items() if name not in known)
        unnamed += manifest.num_crops(split) - sum(counts.values())
    if left_out + unnamed:
        _log.warning(
            "%d crops of proteins that the model does not know are left out.", left_out + unnamed
        )


def _match_classes(schema: Schema, trained: TrainedModel) -> NDArray[np.int64]:
    """The model's class index of each class of the records."""
    ours, theirs = trained.class_names, schema.label_names
    if schema.multi_label and not trained.multi_label:
        msg = (
            "This model tells one label a crop. Received: records with several. Rebuild them with "
            "one label column."
        )
        raise SchemaError(msg)
    if not theirs:
        msg = "Evaluation needs labels. The records have none: rebuild them with --label."
        raise SchemaError(msg)
    join = joined(theirs, ours, "label", ("classes of the records", "classes of the model"))
    if join.almost:
        join.check(None, error=SchemaError)
    if unknown := join.unmatched:
        msg = (
            "The classes of the records must be among the model's. Received: "
            f"{_some(unknown)}; the model has {_some(ours)}.{did_you_mean(unknown[0], ours)} "
            "Rebuild the records with the model's names."
        )
        raise SchemaError(msg)
    if join.respelled:
        _log.info("%s", respelled(join.respelled, "Classes"))
    if missing := join.unused:
        _log.warning(
            "The records lack %d of the model's classes: %s.", len(missing), _some(missing)
        )
    elif ours != theirs:
        _log.info(
            "The records have the model's classes in another order; they are matched by name."
        )
    return np.array([ours.index(join.partners[name]) for name in theirs], np.int64)


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
