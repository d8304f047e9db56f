"""What TensorBoard shows of a training: scalars, what the network sees, and where it puts cells.

The embedding projector gets files of our own: those that Keras writes name a checkpoint it has not.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deeploc_tf.extras import install
from deeploc_tf.models.extractors import feature_extractor, feature_layer, inference_function
from deeploc_tf.models.hardware import placed_on
from deeploc_tf.models.novelty import FEATURES
from deeploc_tf.pipeline.batches import batches, running_on
from deeploc_tf.training.evaluation import Evaluator
from deeploc_tf.training.run_folder import Run
from deeploc_tf.training.tasks import SplitEvaluator
from tfrecords.manifest import Manifest
from tfrecords.publishing import publish_bytes

_log = logging.getLogger(__name__)

_MOST_IMAGES = 16
_MOST_VECTORS = 2000  # the projector draws them all in a browser
_COLORS = np.array([[0, 1, 0], [1, 0, 1]], np.float32)  # green and magenta: for everybody's eyes
_PREPROCESSING = (
    *("random_orientation", "random_crop", "random_rotation", "normalization"),
    *("source_orientation", "source_crop", "source_normalization"),
)


def watchers(
    folder: Run,
    twin: keras.Model,
    first_batch: Callable[[], Any],
    device: str | None = None,
) -> list[keras.callbacks.Callback]:
    """Callbacks that write to RUN/logs; without TensorBoard none, and one note.

    Args:
        folder: the run folder.
        twin: a model as the one that is trained; its counters of random numbers are used.
        first_batch: gives the inputs of the batch with which the training begins.
        device: of the twin; None: that which TensorFlow chooses.
    """
    if importlib.util.find_spec("tensorboard") is None:
        _log.info(
            "No scalars, pictures and vectors for TensorBoard, which is not installed: %s.",
            install("tensorboard"),
        )
        return []
    logs = folder.path / "logs"
    images = TrainingImages(logs / "train", twin, first_batch, device)
    return [images, keras.callbacks.TensorBoard(logs)]


class TrainingImages(keras.callbacks.Callback):
    """Write crops of the first batch as the network sees them: normalized, cut, turned.

    The twin draws the random numbers, so that the training draws the same ones as without pictures.

    Args:
        logs: folder of event files.
        twin: a model as the one that is trained, whose weights are set before each use.
        first_batch: gives the inputs of a batch.
        device: of the twin; None: that which TensorFlow chooses.
    """

    def __init__(
        self,
        logs: Path,
        twin: keras.Model,
        first_batch: Callable[[], Any],
        device: str | None = None,
    ) -> None:
        super().__init__()
        self.logs = logs
        self.twin = twin
        self.first_batch = first_batch
        self.device = device
        self._done = False

    def on_epoch_begin(
        self,
        epoch: int,
        logs: dict[str, Any] | None = None,  # noqa: ARG002 - Keras names the arguments
    ) -> None:
        """Write them, once a start."""
        if self._done:
            return
        self._done = True
        inputs = tf.nest.map_structure(lambda x: x[:_MOST_IMAGES], self.first_batch())
        with placed_on(self.device):
            images = preprocessing(self.twin)(inputs, training=True).numpy()
            images = colored(images.astype(np.float32))
        writer = tf.summary.create_file_writer(str(self.logs))
        with writer.as_default():
            tf.summary.image("training_batch", images, step=epoch, max_outputs=_MOST_IMAGES)
        writer.close()


def preprocessing(model: keras.Model) -> keras.Model:
    """The model up to what its network sees, `(batch_size, height, width, channels)`.

    Of a network of one's own, whose preprocessing nobody knows, that is the crop itself.
    """
    names = {layer.name for layer in model.layers}
    last = next((name for name in _PREPROCESSING if name in names), "image")
    return keras.Model(model.input, model.get_layer(last).output)


def colored(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Crops as RGB in [0, 1], each channel stretched: one gray, of several the first two.

    Args:
        images: `(batch_size, height, width, channels)`.
    """
    low = images.min(axis=(1, 2), keepdims=True)
    extent = images.max(axis=(1, 2), keepdims=True) - low
    stretched = (images - low) / np.where(extent > 0, extent, 1)
    if images.shape[-1] == 1:
        return np.repeat(stretched, 3, axis=-1)
    return np.asarray(np.clip(stretched[..., :2] @ _COLORS, 0, 1), np.float32)


def write_projector(
    folder: Run, evaluator: SplitEvaluator, records: str | Path, manifest: Manifest, split: str
) -> None:
    """Files for the embedding projector: vectors of the first crops of a split, and what they are.

    Args:
        folder: the run folder.
        evaluator: of the finished model.
        records: data set of the training.
        manifest: of `records`.
        split: whose crops are shown.
    """
    if importlib.util.find_spec("tensorboard") is None:
        return
    if isinstance(evaluator, Evaluator):
        names, network = evaluator.inputs, evaluator.network
    else:
        extractor = feature_extractor(evaluator.model)
        names, network = [tensor.name for tensor in extractor.inputs], inference_function(extractor)
    columns = ["key", "protein", *(["label"] if manifest.schema.label_names else [])]
    vectors, rows, count = [], ["\t".join(columns)], 0
    with running_on(records, manifest):
        for batch in batches(records, split, features=[*names, *columns], manifest=manifest):
            inputs = {name: batch[name] for name in names}
            found = network(inputs if "mask" in inputs else inputs["image"])
            vectors.append((found[FEATURES] if isinstance(found, dict) else found).numpy())
            rows += _described(batch, columns, manifest.schema.label_names)
            count += len(vectors[-1])
            if count >= _MOST_VECTORS:
                break
    logs = folder.path / "logs" / "train"
    logs.mkdir(parents=True, exist_ok=True)
    shown = np.concatenate(vectors)[:_MOST_VECTORS]
    lines = ["\t".join(f"{value:.6g}" for value in vector) for vector in shown]
    publish_bytes(logs / "vectors.tsv", "".join(f"{line}\n" for line in lines).encode())
    described = "".join(f"{row}\n" for row in rows[: len(shown) + 1])
    publish_bytes(logs / "metadata.tsv", described.encode())
    config = (
        f'embeddings {{\n  tensor_name: "{feature_layer(evaluator.model)} of {split}"\n'
        '  tensor_path: "vectors.tsv"\n  metadata_path: "metadata.tsv"\n}\n'
    )
    publish_bytes(logs / "projector_config.pbtxt", config.encode())


def _described(batch: dict[str, Any], columns: list[str], labels: tuple[str, ...]) -> list[str]:
    """A line a crop; no name may hold a tab."""
    values = []
    for column in columns:
        found = batch[column].numpy()
        if column != "label":
            texts = [text.decode() for text in found.tolist()]
        elif found.ndim == 1:
            texts = [labels[index] for index in found]
        else:
            texts = ["|".join(np.asarray(labels, object)[row > 0]) for row in found]
        values.append([" ".join(text.split()) for text in texts])
    return ["\t".join(row) for row in zip(*values, strict=True)]
