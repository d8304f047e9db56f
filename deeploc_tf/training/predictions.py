"""What a model says of every crop of some splits, each exactly once, averaged over views."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from deeploc_tf.models.extractors import inference_function
from deeploc_tf.models.trained import TrainedModel
from deeploc_tf.pipeline.batches import batches, running_on
from deeploc_tf.training.test_time import View
from tfrecords.errors import DamagedRecordsError
from tfrecords.manifest import Manifest


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions of crops, in manifest order.

    Attributes:
        crops: columns `key`, `protein` and `split`.
        labels: int64 `(num_crops,)`, class indices.
        log_probabilities: float32 `(num_crops, num_classes)`, all of them finite.
    """

    crops: pd.DataFrame
    labels: NDArray[np.int64]
    log_probabilities: NDArray[np.float32]


def predict(
    trained: TrainedModel,
    records: str | Path,
    manifest: Manifest,
    splits: Sequence[str],
    views: Sequence[View],
    *,
    label_map: NDArray[np.int64],
    batch_size: int,
    progress: Callable[[int], None] | None = None,
) -> Predictions:
    """Mean probabilities over views of the crops of some splits, one split after the other.

    Args:
        trained: the model.
        records: folder of the data set.
        manifest: of `records`.
        splits: names of the splits.
        views: to average over.
        label_map: the model's class index of each class of the records.
        batch_size: crops at a time.
        progress: called with the number of crops so far.

    Raises:
        DamagedRecordsError: the shards do not hold what the manifest says.
    """
    inputs = ["image", "mask"] if trained.takes_mask else ["image"]
    logits_of = inference_function(trained.model)
    crops, labels, logs, done = [], [], [], 0
    with running_on(records):
        for split in splits:
            for batch in batches(
                records,
                split,
                batch_size=batch_size,
                features=[*inputs, "label", "key", "protein"],
                manifest=manifest,
            ):
                pixels = {name: batch[name].numpy() for name in inputs}
                logs.append(_mean_log_probabilities(logits_of, pixels, views))
                labels.append(label_map[batch["label"].numpy()])
                crops.append(
                    pd.DataFrame(
                        {name: _texts(batch[name]) for name in ("key", "protein")}
                        | {"split": split}
                    )
                )
                done += len(labels[-1])
                if progress is not None:
                    progress(done)
    total = sum(manifest.num_crops(split) for split in splits)
    if done != total:
        msg = (
            f"Every crop of the manifest must be predicted once. Received: {done} crops, expected "
            f"{total}. Run `deeploc-tf verify --deep` on the records."
        )
        raise DamagedRecordsError(msg)
    return Predictions(
        pd.concat(crops, ignore_index=True), np.concatenate(labels), np.concatenate(logs)
    )


def _mean_log_probabilities(
    logits_of: Callable[[Any], Any], pixels: dict[str, NDArray[Any]], views: Sequence[View]
) -> NDArray[np.float32]:
    """``log(mean over views of softmax(logits))``, finite where the mean itself would be 0."""
    logs = []
    for view in views:
        seen = {name: view(values) for name, values in pixels.items()}
        logits = logits_of(seen if "mask" in seen else seen["image"]).numpy()
        logs.append(log_softmax(logits.astype(np.float64), axis=1))
    mean = logsumexp(logs, axis=0) - np.log(len(views))
    return np.asarray(mean, np.float32)


def _texts(values: Any) -> list[str]:
    return [value.decode() for value in values.numpy().tolist()]
