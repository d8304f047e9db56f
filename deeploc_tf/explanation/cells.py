"""Cells as a network sees them: which to explain, and the training cells next to them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray

from deeploc_tf.explanation.results import probabilities
from deeploc_tf.models.extractors import feature_extractor, inference_function
from deeploc_tf.models.trained import TrainedModel
from tfrecords.errors import SplitError, did_you_mean
from tfrecords.reader import Place
from tfrecords.schema import Crop

_LEAST_LENGTH = 1e-12
_MOST_COMPARED = 10_000  # keys, to find the nearest to one that is not there


@dataclasses.dataclass(frozen=True)
class SeenCell:
    """A cell, and what the network makes of it.

    Attributes:
        crop: pixels, key, labels and protein.
        split: where it is.
        probabilities: float64 `(num_classes,)`.
        direction: float32 `(num_features,)`, the vector of the penultimate layer divided by its
            length; zeros stay zeros.
    """

    crop: Crop
    split: str
    probabilities: NDArray[np.float64]
    direction: NDArray[np.float32]

    @property
    def call(self) -> int:
        """Index of the class with the highest probability."""
        return int(self.probabilities.argmax())


class Viewer:
    """Runs cells through a network, batch by batch.

    Args:
        trained: the model.
        batch_size: crops at a time.
    """

    def __init__(self, trained: TrainedModel, batch_size: int) -> None:
        model = trained.model
        outputs = {"logits": model.output, "vectors": feature_extractor(model).output}
        self._network = inference_function(keras.Model(model.input, outputs))
        self._trained, self._batch_size = trained, batch_size

    def __call__(self, crops: Iterable[tuple[Place, Crop]]) -> Iterator[list[SeenCell]]:
        """Batches of these cells."""
        iterator = iter(crops)
        while batch := list(itertools.islice(iterator, self._batch_size)):
            inputs: Any = {"image": tf.constant(np.stack([crop.image for _, crop in batch]))}
            if self._trained.takes_mask:
                masks = [crop.mask for _, crop in batch if crop.mask is not None]
                inputs["mask"] = tf.constant(np.stack(masks))
            outputs = self._network(inputs if "mask" in inputs else inputs["image"])
            found = probabilities(outputs["logits"].numpy(), self._trained.multi_label)
            vectors = outputs["vectors"].numpy()
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors /= np.maximum(lengths, _LEAST_LENGTH)
            yield [
                SeenCell(crop, place.split, *row)
                for (place, crop), *row in zip(batch, found, vectors, strict=True)
            ]


def surest_and_least_sure(
    batches: Iterable[Sequence[SeenCell]], classes_of: Callable[[SeenCell], Iterable[str]]
) -> dict[str, list[SeenCell]]:
    """Of each class the cell whose call has the highest probability, and that with the lowest.

    Args:
        batches: of all cells.
        classes_of: names of the classes of a cell.

    Returns:
        Class -> one cell, or two; of equal ones the first.
    """
    most: dict[str, SeenCell] = {}
    least: dict[str, SeenCell] = {}
    for cell in itertools.chain.from_iterable(batches):
        sure = cell.probabilities.max()
        for name in classes_of(cell):
            if name not in most or sure > most[name].probabilities.max():
                most[name] = cell
            if name not in least or sure < least[name].probabilities.max():
                least[name] = cell
    return {
        name: [cell] if least[name] is cell else [cell, least[name]] for name, cell in most.items()
    }


def find_cells(
    crops: Iterable[tuple[Place, Crop]], keys: Sequence[str]
) -> list[tuple[Place, Crop]]:
    """The crops of these keys, in their order.

    Raises:
        SplitError: one is not there, or asked for twice.
    """
    if len(set(keys)) < len(keys):
        msg = f"Each cell must be named once. Received: {', '.join(keys)}."
        raise SplitError(msg)
    found: dict[str, tuple[Place, Crop]] = {}
    others = []
    for place, crop in crops:
        if crop.key in keys:
            found[crop.key] = place, crop
            if len(found) == len(keys):
                break
        else:
            others.append(crop.key)
    for key in keys:
        if key not in found:
            msg = (
                "A cell must be named by its key in the records. Received: "
                f"{key!r}, which no crop has.{did_you_mean(key, others[:_MOST_COMPARED])}"
            )
            raise SplitError(msg)
    return [found[key] for key in keys]


def nearest_cells(
    cells: Sequence[SeenCell], batches: Iterable[Sequence[SeenCell]], count: int
) -> list[list[tuple[float, SeenCell]]]:
    """Of each cell its nearest ones by cosine similarity, exactly; memory is that of a batch.

    Args:
        cells: whose neighbors to find.
        batches: of those that may be neighbors; a cell is not its own.
        count: of neighbors of each.

    Returns:
        For each cell similarity and neighbor, the most similar first, of equal ones the first.
    """
    directions = np.stack([cell.direction for cell in cells])
    found: list[list[tuple[float, SeenCell]]] = [[] for _ in cells]
    for batch in batches:
        similarities = directions @ np.stack([other.direction for other in batch]).T
        for cell, near, row in zip(cells, found, similarities.tolist(), strict=True):
            near += [
                (similarity, other)
                for similarity, other in zip(row, batch, strict=True)
                if other.crop.key != cell.crop.key
            ]
            near.sort(key=lambda pair: -pair[0])
            del near[count:]
    return found


def as_table(cells: Collection[SeenCell], label_names: Sequence[str]) -> pd.DataFrame:
    """Columns `key`, `split`, `label` and `protein` of some cells."""
    rows = [
        (
            cell.crop.key,
            cell.split,
            "|".join(label_names[index] for index in cell.crop.labels),
            cell.crop.protein,
        )
        for cell in cells
    ]
    return pd.DataFrame(rows, columns=["key", "split", "label", "protein"])
