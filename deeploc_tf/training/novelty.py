"""What `fit` notes of good crops when it has trained: `novelty.npz` of a run.

Spaces are those of training crops. Limits, and quantiles of confidence and novelty, are those of
crops that the network has not learned from, where there are any: it knows its own too well.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.covariance import ledoit_wolf

from deeploc_tf.models.appearance import appearance
from deeploc_tf.models.crop_quality import qualities
from deeploc_tf.models.novelty import (
    AT_LEAST,
    FEATURES,
    LEVELS,
    Novelty,
    Space,
    accepted_by,
    pixels_of_cells,
)
from deeploc_tf.models.views import View, mean_of_logits, outputs_of_views
from deeploc_tf.training.evaluation import BATCH_SIZE, Evaluator

LOST = {
    **{FEATURES: 0.006, "texture": 0.014, "layout": 0.022},
    **{"sharpness": 0.002, "structure": 0.002, "saturation": 0.002},
}
"""Share of the good crops that each limit may refuse; of all together, less than 0.05."""
MOST_CROPS = 10_000  # of a split; they lie in random order
_MOST_NUMBERS = 1 << 24  # of the features of all of them
_MOST_FEATURES = 1024  # a covariance of more takes gigabytes
_PROJECTED = 256
_TINY = 1e-6

_log = logging.getLogger(__name__)


def note_novelty(evaluator: Evaluator, views: Sequence[View]) -> Novelty:
    """What the crops of a data set are like for a network that was trained on them.

    Args:
        evaluator: of the network and the data set; it is asked about its first head.
        views: over which confidence is averaged; novelty is that of the first one.
    """
    manifest = evaluator.manifest
    kind, class_names = next(iter(evaluator.heads.items()))
    num_crops = min(MOST_CROPS, _MOST_NUMBERS // evaluator.num_features)

    def crops_of(split: str, views: Sequence[View]) -> dict[str, NDArray[Any]]:
        found: dict[str, list[Any]] = {}
        for batch in evaluator.batches(split).take(-(-num_crops // BATCH_SIZE)):
            crops = {name: batch[name] for name in evaluator.inputs}
            seen = outputs_of_views(evaluator.network, crops, views)
            pixels = pixels_of_cells(crops)
            truth = evaluator.truth(kind, batch)
            logits = [output["logits"][:, : len(class_names)].numpy() for output in seen]
            tensors = {FEATURES: seen[0][FEATURES]}
            tensors |= appearance(pixels) | qualities(pixels)
            rows = {name: tensor.numpy() for name, tensor in tensors.items()}
            rows["truth"] = truth
            rows["confidence"] = _confidence(logits, several=truth.ndim == 2)
            rows["intensity"] = intensity(batch["image"].numpy())
            for name, values in rows.items():
                found.setdefault(name, []).append(values)
        return {name: np.concatenate(values) for name, values in found.items()}

    held_out = "validation" if "validation" in manifest.splits else "train"
    train = crops_of("train", views if held_out == "train" else views[:1])
    good = train if held_out == "train" else crops_of(held_out, views)
    spaces = {
        name: space(train[name], train["truth"] if name == FEATURES else None)
        for name in (FEATURES, *appearance(np.zeros((1, *manifest.schema.image_shape), np.float32)))
    }
    distances = {name: spaces[name].distance(good[name]).numpy() for name in spaces}
    good |= distances
    limits = choose_limits({name: good[name] for name in LOST if name in good})
    lost = int((~accepted_by(limits, good)).sum())
    _log.info(
        "Limits of novelty, focus, emptiness and saturation are those of %d crops of the %s split, "
        "of which %d are not accepted.",
        len(good["truth"]),
        held_out,
        lost,
    )
    if held_out == "train":
        _log.warning(
            "Without a validation split, limits of novelty are those of crops that the network has "
            "learned from: it will refuse more good crops than it should."
        )
    of_channel = dict(zip(manifest.schema.channels, train["intensity"].T, strict=True))
    novelty = np.max([distances[name] / limits[name] for name in spaces], axis=0)
    summary = {
        "split": held_out,
        "num_crops": len(novelty),
        "num_not_accepted": lost,
        "limits": limits,
        "levels": list(LEVELS),
        "quantiles": {
            "intensity": {name: quantiles(values) for name, values in of_channel.items()},
            "confidence": quantiles(good["confidence"]),
            "novelty": quantiles(novelty),
        },
    }
    return Novelty(evaluator.layer, spaces, summary)


def space(vectors: NDArray[np.float32], truth: NDArray[Any] | None = None) -> Space:
    """Where vectors lie: centers of their classes, and the covariance within all of these.

    The covariance is shrunk after Ledoit and Wolf. Of more than a thousand features it is that of
    256 random projections, which keep distances nearly as they are.

    Args:
        vectors: `(num_crops, num_features)`.
        truth: class of each crop, `(num_crops,)`; or 0 and 1, `(num_crops, num_classes)`, of which
            every combination that occurs is a class; None: all are of one class.

    References:
        Lee et al. 2018, NeurIPS, arXiv 1807.03888; Ledoit and Wolf 2004, J. Multivar. Anal. 88:365.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    centered, projection = vectors - mean, None
    if vectors.shape[1] > _MOST_FEATURES:
        projection = np.random.default_rng(0).normal(size=(vectors.shape[1], _PROJECTED))
        centered = centered @ projection
    groups = np.zeros(len(vectors), np.int64)
    if truth is not None:
        _, groups = np.unique(truth, axis=0, return_inverse=True)
        groups = groups.reshape(-1)
    counts = np.bincount(groups)
    centers = np.zeros((len(counts), centered.shape[1]))
    np.add.at(centers, groups, centered)
    centers /= counts[:, np.newaxis]
    covariance, _ = ledoit_wolf(centered - centers[groups], assume_centered=True)
    values, directions = np.linalg.eigh(covariance)
    directions /= np.sqrt(np.maximum(values, max(values.max(), _TINY) * _TINY))
    centers = centers @ directions
    directions = directions if projection is None else projection @ directions
    return Space(*(array.astype(np.float32) for array in (mean, directions, centers)))


def choose_limits(good: Mapping[str, NDArray[np.float32]]) -> dict[str, float]:
    """Limits, of which each refuses its share `LOST` of good crops; see `accepted_by`.

    Where there are too few crops for one of them to be that share, the limit is the utmost crop's
    and lies further out by ``1 / sqrt(num_crops)`` of it, so that others may lie there, too.

    Args:
        good: what was measured of each crop by name of its limit, `(num_crops,)`.
    """
    limits = {}
    for name, values in good.items():
        lost = int(LOST[name] * len(values))
        slack = 0.0 if lost else len(values) ** -0.5
        if name in AT_LEAST:  # 0 is no structure and no focus at all
            limit = max(np.sort(values)[lost] * (1 - slack), _TINY)
        else:
            limit = max(np.sort(values)[-1 - lost] * (1 + slack), _TINY)
        limits[name] = min(float(np.float32(limit)), float(np.finfo(np.float32).max))
    return limits


def quantiles(values: NDArray[np.floating]) -> list[float]:
    """At `LEVELS`."""
    return [float(value) for value in np.quantile(values, LEVELS)]


def intensity(images: NDArray[Any]) -> NDArray[np.float64]:
    """Mean of each channel of each crop, `(num_crops, channels)`."""
    means: NDArray[np.float64] = images.mean(axis=(1, 2), dtype=np.float64)
    return means


def _confidence(logits: Sequence[NDArray[np.float32]], *, several: bool) -> NDArray[np.float32]:
    """The highest probability of each crop, averaged over views."""
    scores = logits[0] if len(logits) == 1 else mean_of_logits(logits, multi_label=several)
    probabilities = expit(scores) if several else softmax(scores, axis=1)
    highest: NDArray[np.float32] = probabilities.max(axis=1)
    return highest
