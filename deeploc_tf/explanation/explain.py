"""What a finished run looks at: `explain`."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.explanation.activation_maximization import activation_maximization
from deeploc_tf.explanation.cells import (
    SeenCell,
    Viewer,
    as_table,
    find_cells,
    nearest_cells,
    surest_and_least_sure,
)
from deeploc_tf.explanation.integrated_gradients import integrated_gradients
from deeploc_tf.explanation.pixels import PixelModel, pixel_model
from deeploc_tf.explanation.results import Cells, Explanation
from deeploc_tf.models.hardware import computing_on
from deeploc_tf.models.keras_settings import our_settings
from deeploc_tf.models.trained import OtherPixelSize, TrainedModel, load_trained, read_config
from deeploc_tf.names import same_form
from deeploc_tf.pipeline.splits import find_splits, with_usual_splits
from deeploc_tf.pipeline.targets import Kind, kinds
from deeploc_tf.progress import ShowProgress, counting
from deeploc_tf.provenance import parent
from tfrecords.errors import SchemaError, SplitError, did_you_mean
from tfrecords.manifest import Manifest
from tfrecords.reader import Place, read_crops
from tfrecords.schema import Crop
from tfrecords.verify import verify

_log = logging.getLogger(__name__)

MAX_CLASSES = 40  # that are shown unless some are named


@our_settings()
def explain(
    run: str | Path,
    records: str | Path | None = None,
    *,
    cells: Sequence[str] = (),
    split: str = "test",
    classes: Sequence[str] = (),
    num_neighbors: int = 5,
    max_cells: int = 20_000,
    seed: int = 0,
    batch_size: int = 256,
    device: str = "auto",
    other_pixel_size: OtherPixelSize = "warn",
    progress: ShowProgress = False,
) -> Explanation:
    """Show what the model of a run looks at: class pictures, attribution, nearest training cells.

    - For each class, a picture that drives its logit up: `activation_maximization`.
    - For each chosen cell, which pixels the logit of its call comes from: `integrated_gradients`.
    - For each chosen cell, the training cells whose vectors in the penultimate layer are nearest.

    Crops are seen once, as they are: not averaged over views, as the run's own answers may be.

    Args:
        run: folder of a finished training that tells classes; of two heads, the first.
        records: data set of the cells; None: class pictures alone.
        cells: keys of cells, of any split. None named: of each class of the split, the cell whose
            call has the highest probability and the one with the lowest.
        split: whose cells to choose from.
        classes: names of the classes to show; none: all, of more than 40 the first 40.
        num_neighbors: training cells to show for each cell; 0 for none.
        max_cells: look through the first cells of a split only; records are permuted, so that these
            are a random sample.
        seed: of the noise that class pictures begin as.
        batch_size: crops at a time.
        device: "auto", "cpu", "gpu" or one such as "gpu:1".
        other_pixel_size: "warn" of pixels of another size than in training, or "refuse" them; see
            `deeploc_tf.models.trained.check_pixel_size`.
        progress: True to show how far it is; or a callable that gets `(done, total)` of each step.

    Returns:
        Arrays and tables; `deeploc_tf.write_explanation` draws them.

    Raises:
        RecordsError: the run is not finished, or the records are damaged.
        SchemaError: the model tells no classes, has no class of a name, or was made for other
            crops.
        SplitError: there is no such split, no cell in it, or no cell of a key.
        ValueError: a number is out of range, a pixel is not finite, or there is no such device.

    Example:
        found = explain("run", "records", cells=["AAC1_1_003"])
        write_explanation("explanation.html", found)
    """
    if num_neighbors < 0 or max_cells < 1 or batch_size < 1:
        msg = (
            "`num_neighbors` must not be negative, `max_cells` and `batch_size` be at least 1. "
            f"Received: num_neighbors={num_neighbors}, max_cells={max_cells}, "
            f"batch_size={batch_size}."
        )
        raise ValueError(msg)
    if cells and records is None:
        msg = f"Cells need the records that hold them. Received: {list(cells)} without `records`."
        raise ValueError(msg)
    manifest = None if records is None else with_usual_splits(verify(records))
    with computing_on(device):
        trained = load_trained(run)
        trained.check_tells_classes()
        kind = kinds(read_config(Path(run))["config"].get("target", "label"))[0]
        notes: list[str] = []
        shown = _shown(trained.class_names, classes, kind, notes)
        seen = pixel_model(trained.model)
        chosen: list[SeenCell] = []
        explained = None
        if records is None or manifest is None:
            notes.append("Cells, attribution and nearest training cells: add --records RECORDS.")
        else:
            for sentence in trained.check_schema(manifest.schema, other_pixel_size):
                _log.info("%s", sentence)
            look = _Look(trained, records, manifest, kind, max_cells, batch_size, progress, notes)
            chosen = look.at(cells) if cells else look.choose(split, shown)
            explained = look.explained(seen, chosen, num_neighbors)
        context = max(chosen, key=lambda cell: cell.probabilities.max(), default=None)
        pictures = activation_maximization(
            seen,
            classes=[trained.class_names.index(name) for name in shown],
            cell=None if context is None else context.crop.image,
            mask=None if context is None else context.crop.mask,
            seed=seed,
        )
    return Explanation(
        run=Path(run).resolve().name,
        class_names=trained.class_names,
        shown=shown,
        multi_label=trained.multi_label,
        channels=trained.schema.channels,
        seen=seen.channels,
        normalization=seen.method,
        pictures=pictures,
        kept_cell="" if context is None else context.crop.key,
        cells=explained,
        seed=seed,
        notes=tuple(notes),
        made_from=tuple(
            parent(what, path)
            for what, path in (("run", run), ("records", records))
            if path is not None
        ),
    )


def _shown(
    names: Sequence[str], wanted: Sequence[str], kind: Kind, notes: list[str]
) -> tuple[str, ...]:
    """The classes that are shown, in the order of the logits."""
    if not wanted:
        if len(names) > MAX_CLASSES:
            notes.append(
                f"{len(names) - MAX_CLASSES:,} of {len(names):,} classes: name them by --class."
            )
        return tuple(names[:MAX_CLASSES])
    forms = {same_form(name, kind): name for name in names}
    for name in wanted:
        if same_form(name, kind) not in forms:
            msg = (
                "A class must be one that the model tells. Received: "
                f"{name!r}.{did_you_mean(name, names)}"
            )
            raise SchemaError(msg)
    asked = {forms[same_form(name, kind)] for name in wanted}
    return tuple(name for name in names if name in asked)


class _Look:
    """Cells of one data set, seen by one model."""

    def __init__(
        self,
        trained: TrainedModel,
        records: str | Path,
        manifest: Manifest,
        kind: Kind,
        max_cells: int,
        batch_size: int,
        progress: ShowProgress,
        notes: list[str],
    ) -> None:
        self._trained, self._records, self._manifest = trained, records, manifest
        self._kind, self._max_cells, self._progress = kind, max_cells, progress
        self._notes = notes
        self._view = Viewer(trained, batch_size)

    def at(self, keys: Sequence[str]) -> list[SeenCell]:
        """The cells of these keys, in their order."""
        crops = find_cells(self._read(self._manifest.split_names), keys)
        return list(itertools.chain.from_iterable(self._view(crops)))

    def choose(self, split: str, shown: Sequence[str]) -> list[SeenCell]:
        """The surest and the least sure cell of each shown class, each cell once."""
        (split,) = find_splits(self._manifest, [split])
        forms = {same_form(name, self._kind): name for name in shown}

        def classes_of(cell: SeenCell) -> Iterable[str]:
            names: Sequence[str] = [self._trained.class_names[cell.call]]
            if self._kind == "protein":
                names = [cell.crop.protein]
            elif cell.crop.labels or self._manifest.schema.multi_label:
                names = [self._manifest.schema.label_names[index] for index in cell.crop.labels]
            found = (forms.get(same_form(name, self._kind)) for name in names)
            return [name for name in found if name is not None]

        found = surest_and_least_sure(self._through(split, "Looking through cells"), classes_of)
        if not found:
            msg = (
                "A split must have cells of the classes that are shown. Received: "
                f"split={split!r} without one. Name another split, or cells by their keys."
            )
            raise SplitError(msg)
        if lacking := [name for name in shown if name not in found]:
            self._notes.append(f"Cells of {', '.join(lacking)}: the split {split} has none.")
        cells = {cell.crop.key: cell for name in shown for cell in found.get(name, ())}
        return list(cells.values())

    def explained(self, seen: PixelModel, chosen: Sequence[SeenCell], num_neighbors: int) -> Cells:
        """Attributions and nearest training cells of the chosen ones."""
        names = self._trained.class_names
        with counting(self._progress, "Attributing cells", len(chosen)) as done:
            attributions = integrated_gradients(
                seen,
                _images(chosen),
                np.stack([cell.crop.mask for cell in chosen if cell.crop.mask is not None])
                if self._trained.takes_mask
                else None,
                classes=[cell.call for cell in chosen],
                done=done,
            )
        near = self._nearest(chosen, num_neighbors)
        neighbors = [other for found in near for _, other in found]
        label_names = self._manifest.schema.label_names
        nearest = as_table(neighbors, label_names).drop(columns="split")
        nearest["similarity"] = np.array(
            [similarity for found in near for similarity, _ in found], np.float32
        )
        ranks = [rank for found in near for rank in range(1, len(found) + 1)]
        of = [cell.crop.key for cell, found in zip(chosen, near, strict=True) for _ in found]
        nearest.insert(0, "rank", np.array(ranks, np.int64))
        nearest.insert(0, "cell", of)
        return Cells(
            table=as_table(chosen, label_names).assign(
                call=[names[cell.call] for cell in chosen],
                probability=[cell.probabilities[cell.call] for cell in chosen],
            ),
            images=_images(chosen),
            attributions=attributions,
            nearest=nearest,
            nearest_images=_images(neighbors)
            if neighbors
            else np.zeros((0, *self._trained.schema.image_shape), self._trained.schema.dtype),
        )

    def _nearest(
        self, chosen: Sequence[SeenCell], count: int
    ) -> list[list[tuple[float, SeenCell]]]:
        """None of each cell where the training cells are not there, which is noted."""
        if not count:
            return [[] for _ in chosen]
        if self._manifest.digest != self._trained.records_digest:
            self._notes.append("Nearest training cells: the records are not those of the training.")
            return [[] for _ in chosen]
        cells = self._through("train", "Looking through training cells")
        return nearest_cells(chosen, cells, count)

    def _through(self, split: str, what: str) -> Iterable[list[SeenCell]]:
        """The cells of a split, in batches, with how far it is."""
        total = self._manifest.num_crops(split)
        if not total:
            msg = f"A split must have cells. Received: split={split!r} without one."
            raise SplitError(msg)
        if total > self._max_cells:
            self._notes.append(
                f"All cells of the split {split}: the first {self._max_cells:,} of {total:,}, "
                "a random sample, were looked through (--max-cells)."
            )
            total = self._max_cells
        done = 0
        with counting(self._progress, what, total) as count:
            for batch in self._view(itertools.islice(self._read([split]), total)):
                done += len(batch)
                count(done)
                yield batch

    def _read(self, splits: Sequence[str]) -> Iterable[tuple[Place, Crop]]:
        return read_crops(self._records, splits, manifest=self._manifest)


def _images(cells: Sequence[SeenCell]) -> NDArray[Any]:
    return np.stack([cell.crop.image for cell in cells])
