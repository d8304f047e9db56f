"""What a model says of every crop of some splits, each exactly once, averaged over views."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.models.extractors import blank_crops, inference_function
from deeploc_tf.models.hardware import within_memory
from deeploc_tf.models.novelty import FEATURES, network_with_features
from deeploc_tf.models.trained import TrainedModel
from deeploc_tf.models.views import View, mean_of_logits, outputs_of_views
from deeploc_tf.pipeline.batches import batches, running_on
from deeploc_tf.pipeline.targets import Kind
from tfrecords.manifest import Manifest


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions of crops, in manifest order.

    Attributes:
        crops: columns `key`, `protein` and `split`, and `novelty` and `accepted` of a model that
            tells them.
        labels: int64 `(num_crops,)`, class indices; for several labels a crop float32
            `(num_crops, num_classes)`, 0 and 1.
        scores: float32 `(num_crops, num_classes)`, all of them finite: log probabilities; for
            several labels a crop the logits of their probabilities.
    """

    crops: pd.DataFrame
    labels: NDArray[Any]
    scores: NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Question:
    """What a model is asked about crops.

    Attributes:
        kind: "label" or "protein": the feature of the records that holds the truth.
        class_names: that the model tells, in the order of its logits.
        multi_label: a crop may belong to several of them.
        truth: from a parsed batch to what is true, as `Predictions.labels`, -1 for a protein that
            is no class.
    """

    kind: Kind
    class_names: tuple[str, ...]
    multi_label: bool
    truth: Callable[[dict[str, Any]], NDArray[Any]]


def predict(
    trained: TrainedModel,
    records: str | Path,
    manifest: Manifest,
    splits: Sequence[str],
    views: Sequence[View],
    *,
    question: Question,
    batch_size: int,
    count: Callable[[int], None] = lambda _: None,
) -> Predictions:
    """Mean probabilities over views of the crops of some splits, one split after the other.

    Args:
        trained: the model.
        records: folder of the data set.
        manifest: of `records`.
        splits: names of the splits.
        views: to average over.
        question: what is to be told. Crops of proteins that are no class are left out.
        batch_size: crops at a time.
        count: called with the number of crops so far.

    Raises:
        DamagedRecordsError: the shards do not hold what the manifest says.
    """
    inputs = ["image", "mask"] if trained.takes_mask else ["image"]
    novelty = trained.novelty
    layer = None if novelty is None else novelty.layer
    network = inference_function(network_with_features(trained.model, layer))
    crops, labels, scores, done = [], [], [], 0

    def attempt(num_crops: int) -> None:
        outputs_of_views(network, blank_crops(trained.model, num_crops), views)

    with running_on(records, manifest), within_memory(batch_size, attempt):
        for split in splits:
            for batch in batches(
                records,
                split,
                batch_size=batch_size,
                features=[*inputs, "key", *{question.kind, "protein"}],
                manifest=manifest,
            ):
                pixels = {name: batch[name] for name in inputs}
                seen = outputs_of_views(network, pixels, views)
                logits = [outputs["logits"].numpy() for outputs in seen]
                scores.append(mean_of_logits(logits, multi_label=question.multi_label))
                labels.append(question.truth(batch))
                columns = {name: _texts(batch[name]) for name in ("key", "protein")}
                table = pd.DataFrame(columns | {"split": split})
                if novelty is not None:
                    judged = novelty.judge(pixels, seen[0][FEATURES])
                    table = table.assign(**{name: of.numpy() for name, of in judged.items()})
                crops.append(table)
                done += len(labels[-1])
                count(done)
    table, truth = pd.concat(crops, ignore_index=True), np.concatenate(labels)
    known = np.ones(len(truth), bool) if question.multi_label else truth >= 0
    return Predictions(
        table[known].reset_index(drop=True), truth[known], np.concatenate(scores)[known]
    )


def _texts(values: Any) -> list[str]:
    return [value.decode() for value in values.numpy().tolist()]
