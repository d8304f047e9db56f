"""Whether a crop is like those that a network has learned from: what `fit` notes of a run.

    RUN/novelty.npz   spaces in which good crops lie together, and limits; with digests

`novelty` is the distance from good crops in units of the largest one that is accepted: in the
features of the network from the nearest class, and in numbers about its appearance; the largest
counts. A crop is accepted whose novelty is at most 1, and which is in focus, not empty and not
saturated: docs/trust.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deeploc_tf.models.appearance import appearance
from deeploc_tf.models.crop_quality import qualities
from deeploc_tf.models.extractors import feature_extractor, feature_layer
from tfrecords.errors import RecordsError
from tfrecords.publishing import publishing

NOVELTY_NAME = "novelty.npz"
FEATURES = "features"
LEVELS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
"""Shares of the crops below the quantiles of `Novelty.summary`."""
AT_LEAST = ("sharpness", "structure")
"""Limits that a crop must reach; the others it must not exceed."""


@dataclasses.dataclass(frozen=True)
class Space:
    """Where good crops lie: around centers, equally far in all directions.

    Attributes:
        mean: float32 `(num_features,)`, subtracted from vectors first.
        directions: float32 `(num_features, num_directions)`, by which they are multiplied then.
        centers: float32 `(num_centers, num_directions)`.
    """

    mean: NDArray[np.float32]
    directions: NDArray[np.float32]
    centers: NDArray[np.float32]

    def distance(self, vectors: Any) -> Any:
        """From the nearest center, a Mahalanobis distance, float32 `(batch_size,)`.

        Args:
            vectors: float32 `(batch_size, num_features)`.
        """
        centered = tf.cast(vectors, tf.float64) - self.mean.astype(np.float64)
        places = tf.matmul(centered, self.directions.astype(np.float64))
        centers = self.centers.astype(np.float64)
        squares = tf.reduce_sum(tf.square(places), axis=1, keepdims=True)
        squares += np.square(centers).sum(axis=1)
        squares -= 2 * tf.matmul(places, centers, transpose_b=True)
        nearest = tf.reduce_min(squares, axis=1)
        return tf.cast(tf.sqrt(tf.maximum(nearest, 0)), tf.float32)


_ARRAYS = [field.name for field in dataclasses.fields(Space)]


@dataclasses.dataclass(frozen=True)
class Novelty:
    """What is known of the crops that a network was trained for.

    Attributes:
        layer: whose vectors are the features of the network.
        spaces: by name: of the features, and those of `appearance`.
        summary: JSON values: `limits`, `levels` and `quantiles`, and of which crops they are.
    """

    layer: str
    spaces: Mapping[str, Space]
    summary: Mapping[str, Any]

    def measure(self, crops: Mapping[str, Any], features: Any) -> dict[str, Any]:
        """The distance in each space, and focus, structure and saturation, `(batch_size,)` each.

        Args:
            crops: the inputs of the network, see `pixels_of_cells`.
            features: of these, `(batch_size, num_features)`, from `network_with_features`.
        """
        image = pixels_of_cells(crops)
        vectors = {FEATURES: features, **appearance(image)}
        distances = {name: space.distance(vectors[name]) for name, space in self.spaces.items()}
        return {**distances, **qualities(image)}

    def judge(self, crops: Mapping[str, Any], features: Any) -> dict[str, Any]:
        """`novelty` float32 and `accepted` bool, `(batch_size,)`, in a graph or outside.

        Args:
            crops: the inputs of the network, see `pixels_of_cells`.
            features: of these, `(batch_size, num_features)`, from `network_with_features`.
        """
        limits, measured = self.summary["limits"], self.measure(crops, features)
        ratios = [measured[name] / limits[name] for name in self.spaces]
        novelty = tf.reduce_max(tf.stack(ratios), axis=0)
        return {"novelty": novelty, "accepted": accepted_by(limits, measured)}

    def to_json(self) -> dict[str, Any]:
        """All but the arrays, and a digest of all, as plain JSON values."""
        values = {"layer": self.layer, **self.summary}
        sha256 = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
        for name, array in sorted(self._arrays().items()):
            sha256.update(f"{name} {array.shape}".encode() + array.tobytes())
        return {**values, "digest": sha256.hexdigest()}

    def write(self, run: Path, model_sha256: str) -> None:
        """Write it into the folder of a run; the file is old or new, never a mixture."""
        values = {"model_sha256": model_sha256, **self.to_json()}
        with publishing(run / NOVELTY_NAME) as temporary:
            np.savez(temporary, summary=json.dumps(values, sort_keys=True), **self._arrays())

    def _arrays(self) -> dict[str, Any]:
        return {
            f"{name}_{of}": np.ascontiguousarray(getattr(space, of), "<f4")
            for name, space in self.spaces.items()
            for of in _ARRAYS
        }


def pixels_of_cells(crops: Mapping[str, Any]) -> Any:
    """What a network sees of raw crops: where there are masks, background is 0.

    Args:
        crops: `image` `(batch_size, height, width, channels)` and, of a network that takes masks,
            `mask` `(batch_size, height, width)`.
    """
    image = crops["image"]
    if "mask" not in crops:
        return image
    return tf.where(crops["mask"][..., tf.newaxis] > 0, image, tf.zeros_like(image))


def accepted_by(limits: Mapping[str, float], measured: Mapping[str, Any]) -> Any:
    """Which crops are within all limits, bool `(batch_size,)`; of arrays or tensors.

    Args:
        limits: by name; those of `AT_LEAST` are lower ones.
        measured: the same of each crop, float32 `(batch_size,)`.
    """
    within = True
    for name, limit in limits.items():
        found = measured[name]
        within &= found >= limit if name in AT_LEAST else found <= limit
    return within


def read_novelty(run: str | Path, model_sha256: str) -> Novelty | None:
    """What `fit` noted of the crops of a run; None of a run from before it did.

    Args:
        run: its folder.
        model_sha256: digest of its model.

    Raises:
        RecordsError: the file is damaged, or of another model.
    """
    path = Path(run) / NOVELTY_NAME
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = json.loads(str(stored["summary"]))
            names = [name.removesuffix("_mean") for name in stored if name.endswith("_mean")]
            spaces = {n: Space(*(stored[f"{n}_{of}"] for of in _ARRAYS)) for n in names}
        of_model, digest = values.pop("model_sha256"), values.pop("digest")
        novelty = Novelty(values.pop("layer"), spaces, values)
        whole = novelty.to_json()["digest"] == digest
    except Exception as error:  # zipfile, zlib and NumPy have their own for damage
        raise _refused(path, f"one that cannot be read ({type(error).__name__})") from error
    if not whole:
        raise _refused(path, "one whose digest is not that of its content")
    if of_model != model_sha256:
        raise _refused(path, "one of another model")
    return novelty


def network_with_features(
    model: keras.Model,
    novelty_layer: str | None,
    embedding: str | None = None,
    protein_model: keras.Model | None = None,
) -> keras.Model:
    """From the inputs of a model to `logits`, and what else is asked for, in one pass.

    Args:
        model: ends in logits.
        novelty_layer: of `Novelty`, whose vectors are `features`; None: there are none.
        embedding: layer of an `embedding`; None: there is none.
        protein_model: the same network, ends in `protein_logits`; None: there are none.
    """
    layers = {FEATURES: novelty_layer, "embedding": embedding}
    wanted = list(dict.fromkeys(layer for layer in layers.values() if layer is not None))
    vectors = feature_extractor(model, wanted).output if wanted else {}
    outputs = {name: vectors[layer] for name, layer in layers.items() if layer is not None}
    if protein_model is not None:
        last = feature_layer(protein_model)
        features = protein_model.get_layer(last).output
        second_head = keras.Model(features, protein_model.output, name="protein_head")
        outputs["protein_logits"] = second_head(model.get_layer(last).output)
    return keras.Model(model.input, {"logits": model.output, **outputs})


def _refused(path: Path, found: str) -> RecordsError:
    msg = (
        f"{path.name} of a run must be what fit wrote with its model. Received: {str(path)!r}, "
        f"{found}. Restore it; or remove it, and predictions have no novelty."
    )
    return RecordsError(msg)
