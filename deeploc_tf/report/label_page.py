"""A page on which people give cells their first labels: crops, a key for each class, and a CSV.

It is `label_page.html` with `label_page.css`, `label_page.js` and the data; see `script_page`.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.features.crops import CropBatch, crop_batches
from deeploc_tf.features.intensity import Intensity
from deeploc_tf.joins import joined
from deeploc_tf.names import same_form, tidy, unified
from deeploc_tf.pipeline.splits import find_splits, with_usual_splits
from deeploc_tf.profiles.tables import AnyTable, VectorTable, open_rows
from deeploc_tf.progress import ShowProgress, counting
from deeploc_tf.report.choices import MAX_LABEL_CROPS, LabelOrder
from deeploc_tf.report.crops import encoded, limits, reduced
from deeploc_tf.report.drawing import COLORS
from deeploc_tf.report.script_page import check_suffix, script_page
from deeploc_tf.version import __version__
from tfrecords.errors import did_you_mean
from tfrecords.manifest import Manifest, read_manifest
from tfrecords.publishing import publish_bytes

ORDERS: tuple[LabelOrder, ...] = get_args(LabelOrder)
KEYS = string.digits[1:] + string.ascii_lowercase
"""Of the classes, in their order."""

Model = Callable[[NDArray[Any], NDArray[np.uint8] | None], Mapping[str, NDArray[np.float32]]]
"""From crops and their masks to `probabilities` and `embedding`, as `open_model` gives it."""

_LARGEST_SIDE = 160  # pixels of a crop: one is looked at closely
_AT_ONCE = 64  # crops
_IN_A_GROUP = 60  # crops, where there are no clusters
_MOST_CLUSTERS = 40


@dataclasses.dataclass(frozen=True)
class WrittenLabelPage:
    """What a page of `write_label_page` holds.

    Attributes:
        path: of the page.
        num_bytes: its size.
        num_crops: how many are on it.
        num_total: how many the splits have.
        num_clusters: 0 in any other order.
        classes: in the order of their keys.
    """

    path: Path
    num_bytes: int
    num_crops: int
    num_total: int
    num_clusters: int
    classes: tuple[str, ...]


def write_label_page(
    path: str | Path,
    records: str | Path,
    classes: Sequence[str] = (),
    *,
    order: LabelOrder = "clusters",
    number: int = 500,
    splits: Sequence[str] = (),
    model: Model | None = None,
    vectors: AnyTable | None = None,
    seed: int = 0,
    title: str = "First labels",
    progress: ShowProgress = False,
) -> WrittenLabelPage:
    """Write crops as one page, on which a person labels them by keys, without a network.

    The page saves a table with the columns `key` and `label`, which `build_records` takes as
    `label_table` with `label_key="key"`, and reads it again. Each crop and channel is stretched by
    itself from the 1st to the 99.8th percentile.

    Args:
        path: of the page, ending in .html; the file is old or new, never a mixture.
        records: folder of the data set, with labels or without; read without TensorFlow.
        classes: to choose from, at most 35; by default those of the records.
        order: "clusters" of similar crops, the largest first and in each the most typical first;
            "least-certain": those first whose most probable class is least probable; or "random".
        number: of crops on the page, at most 5,000. For clusters and the random order they are
            drawn from all; with a larger number the same ones are on the page, and more.
        splits: to take crops from; by default those of `vectors`, else all.
        model: what the least certain order needs, and clusters may use: see `open_model`.
        vectors: of the cells, with a column `key`, to find clusters in. By default those of the
            model, or without one plain numbers of brightness and texture.
        seed: of the choice and of the clusters.
        title: of the page.
        progress: True to show how many crops are read; or a callable that gets `(done, total)`.

    Returns:
        What was written.

    Raises:
        ValueError: there are no classes, too many, or two that may be one; the number, the order or
            the vectors are not as they must be.
        SplitError: there is no such split, or one is named twice.
        DamagedRecordsError: the records are damaged.

    Example:
        write_label_page("label.html", "records", ["nucleus", "vacuole"])
    """
    path = check_suffix(path)
    _check(order, number, model, vectors)
    manifest = with_usual_splits(read_manifest(records))
    table = None if vectors is None else _table_of_cells(vectors)
    if not splits:
        splits = manifest.split_names if table is None else _splits_of(table, manifest)
    splits = find_splits(manifest, splits)
    names = _checked_classes(classes or manifest.schema.label_names)
    total = sum(manifest.num_crops(split) for split in splits)

    def batches(what: str) -> Iterator[CropBatch]:
        with counting(progress, what, total) as count:
            for batch in crop_batches(records, manifest, splits, _AT_ONCE):
                yield batch
                count(min((batch.number + 1) * _AT_ONCE, total))

    if order == "least-certain" and model is not None:
        found = (model(batch.images, batch.masks) for batch in batches("Asking the model"))
        certainty = np.concatenate([said["probabilities"].max(axis=1) for said in found])
        rows = np.argsort(certainty, kind="stable")[:number]
    else:
        rows = np.random.default_rng(seed).permutation(total)[:number]
    clustered = order == "clusters"
    describe = _description(manifest, model) if clustered and table is None else None
    keys, images, described = _crops(batches("Reading crops"), rows, describe)
    if clustered:
        groups = _clusters(described if table is None else _of_keys(table, keys), seed)
    else:
        every = list(range(len(keys)))
        groups = [every[start : start + _IN_A_GROUP] for start in every[::_IN_A_GROUP]]
    content = {
        "title": title,
        "version": __version__,
        # Pages of one data set and the same classes share what the browser keeps.
        "id": hashlib.sha256(json.dumps([manifest.digest, *sorted(names)]).encode()).hexdigest(),
        "classes": names,
        "letters": KEYS,
        "order": order,
        "total": total,
        "keys": keys,
        "images": [base64.b64encode(image).decode() for image in images],
        "channels": manifest.schema.channels[:2],
        "groups": groups,
        "palette": COLORS,
    }
    data = script_page("label_page", title, content)
    publish_bytes(path, data)
    num_clusters = len(groups) if clustered else 0
    return WrittenLabelPage(path, len(data), len(keys), total, num_clusters, tuple(names))


def _check(order: LabelOrder, number: int, model: Model | None, vectors: AnyTable | None) -> None:
    """Refuse what does not go together."""
    if order not in ORDERS:
        msg = f"`order` must be one of {', '.join(ORDERS)}. Received: order={order!r}."
        raise ValueError(msg + did_you_mean(order, ORDERS))
    if not 1 <= number <= MAX_LABEL_CROPS:
        msg = (
            f"`number` must be 1 to {MAX_LABEL_CROPS:,} crops. Received: number={number}. Label in "
            "rounds: a saved table can be loaded on the next page."
        )
        raise ValueError(msg)
    if order == "least-certain" and model is None:
        msg = "The order 'least-certain' needs a `model` (--run). Received: none."
        raise ValueError(msg)
    if vectors is not None and (model is not None or order != "clusters"):
        msg = (
            "`vectors` (--vectors) must be for clusters, and without a `model` (--run). Received: "
            f"order={order!r}{'' if model is None else ' and a model'}. Leave one of them out."
        )
        raise ValueError(msg)


def _checked_classes(names: Sequence[str]) -> list[str]:
    """The names, tidy."""
    tidied = [tidy(name) for name in names]
    if not names:
        msg = (
            "There must be classes to choose from. Received: none, for records without labels. "
            "Name them by `classes` (--classes nucleus,cytoplasm)."
        )
        raise ValueError(msg)
    if not all(tidied) or len({same_form(n, "label") for n in tidied}) < len(tidied):
        msg = f"`classes` must be different names. Received: classes={list(names)}."
        raise ValueError(msg)
    unified(tidied, "label", "Classes")
    if len(names) > len(KEYS):
        msg = (
            f"`classes` must be {len(KEYS)} at most, with a key each. Received: {len(names)}. Name "
            "those that matter (--classes)."
        )
        raise ValueError(msg)
    return tidied


def _description(manifest: Manifest, model: Model | None) -> Model:
    """From crops and masks to what clusters are found in."""
    if model is not None:
        return model
    numbers = Intensity.of(manifest.schema)
    return lambda images, masks: {
        "embedding": numbers(images, None if masks is None else masks.astype(bool))
    }


def _crops(
    batches: Iterator[CropBatch], rows: NDArray[np.int64], describe: Model | None
) -> tuple[list[str], list[bytes], NDArray[np.float32]]:
    """Keys, pictures and vectors of the crops of these rows, in their order."""
    place = {row: at for at, row in enumerate(rows.tolist())}
    keys, images = [""] * len(rows), [b""] * len(rows)
    vectors: dict[int, NDArray[np.float32]] = {}
    start = 0
    for batch in batches:
        inside = [at for at in range(len(batch.images)) if start + at in place]
        if inside and describe is not None:
            masks = None if batch.masks is None else batch.masks[inside]
            found = describe(batch.images[inside], masks)["embedding"]
            vectors |= {place[start + at]: row for at, row in zip(inside, found, strict=True)}
        for at in inside:
            pixels = reduced(batch.images[at], _LARGEST_SIDE)[np.newaxis]
            keys[place[start + at]] = batch.columns["key"][at]
            (images[place[start + at]],) = encoded(pixels, limits(pixels))
        start += len(batch.images)
    return keys, images, np.array([vectors[at] for at in sorted(vectors)], np.float32)


def _table_of_cells(table: AnyTable) -> VectorTable:
    rows = open_rows(table)
    if "key" not in rows.columns:
        msg = (
            "Vectors must have a row per cell, and a column 'key'. Received: a table with "
            f"{', '.join(rows.columns)}. Take the table of cells of `embed` or `measure`, not that "
            "of profiles."
        )
        raise ValueError(msg)
    return rows.read()


def _splits_of(table: VectorTable, manifest: Manifest) -> Sequence[str]:
    """The splits whose cells the table has, by its own column."""
    if "split" not in table.metadata:
        return manifest.split_names
    return sorted(set(table.metadata["split"].map(str)))


def _of_keys(table: VectorTable, keys: Sequence[str]) -> NDArray[np.float32]:
    """The vectors of the cells of these keys, in their order."""
    theirs = table.metadata["key"].map(str).tolist()
    meeting = joined(keys, theirs, "key", ("crops", "cells of the vectors"))
    meeting.check()
    row_of = {key: row for row, key in enumerate(theirs)}
    return table.features[[row_of[meeting.partners[key]] for key in keys]]


def _clusters(vectors: NDArray[np.float32], seed: int) -> list[list[int]]:
    """Rows of each cluster, by k-means on standardized features; the most typical first.

    There are at most 40, about as many as crops in each. What is not finite counts as the mean.
    """
    from sklearn.cluster import KMeans

    known = np.ma.masked_invalid(vectors.astype(np.float64))
    values = ((known - known.mean(axis=0)) / known.std(axis=0)).filled(0)  # also of constant ones
    count = min(round(len(values) ** 0.5), _MOST_CLUSTERS, len(np.unique(values, axis=0)))
    found = KMeans(max(count, 1), n_init=3, random_state=seed).fit(values)
    distance = found.transform(values).min(axis=1)
    rows = [np.flatnonzero(found.labels_ == number) for number in range(count)]
    rows = [own[np.argsort(distance[own], kind="stable")] for own in rows]
    return [own.tolist() for own in sorted(rows, key=len, reverse=True)]
