"""Pairs of different cells of one protein and one field, for Paired Cell Inpainting.

The records stay where they are, in their one copy: an epoch is two permutations of numbers, a batch
two gathers from memory-mapped shards.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deeploc_tf.pipeline.batches import SHUFFLE_BYTES
from deeploc_tf.pipeline.classes import count_classes
from deeploc_tf.pipeline.random_access import RandomAccess
from deeploc_tf.pipeline.splits import with_usual_splits
from deeploc_tf.units import kind_of_column, told_path
from tfrecords.errors import SchemaError, SplitError, did_you_mean
from tfrecords.manifest import Manifest
from tfrecords.reader import without_autograph
from tfrecords.verify import verify

MIN_CELLS = 30  # Lu et al. 2019 left out images with fewer

Numbers = NDArray[np.int64]


def pair_columns(manifest: Manifest, pair_by: Sequence[str] = ()) -> tuple[str, ...]:
    """The columns in which both cells of a pair are equal.

    A field is that of one well and plate: columns above those that are named, such as `plate` above
    `field`, are taken along.

    Args:
        manifest: of the records.
        pair_by: such columns; none: the protein, what the records were grouped by, and the column
            of the field (`field`, `site`, ...) if there is one.

    Raises:
        SchemaError: the crops have one channel only.
        SplitError: there is no such column, or none that tells one field from another.
    """
    schema = manifest.schema
    if len(schema.channels) < 2:
        msg = (
            "Inpainting needs a structural channel beside the protein's. Received: "
            f"channels={', '.join(schema.channels)}. Rebuild the records with two channels."
        )
        raise SchemaError(msg)
    known = ("protein", *schema.metadata)
    for column in pair_by:
        if column not in known:
            msg = (
                f"`pair_by` must name columns of the records: {', '.join(known)}. Received: "
                f"{column!r}.{did_you_mean(column, known)}"
            )
            raise SplitError(msg)
    if pair_by:
        return told_path(dict.fromkeys(pair_by), known, "`pair_by`")
    fields_in_records = [column for column in schema.metadata if kind_of_column(column) == "field"]
    wanted = dict.fromkeys((*manifest.group_by, *fields_in_records))
    fields = [column for column in wanted if column in schema.metadata]
    if not fields:
        msg = (
            "Both cells of a pair must come from one field. Received: records without a column "
            f"that tells fields apart, group_by={list(manifest.group_by)}. Rebuild them with "
            "--group field, or say what pairs have in common, as in pair_by=('protein',)."
        )
        raise SplitError(msg)
    return ("protein", *told_path(fields, schema.metadata, "Pairs of cells"))


class Pairs:
    """The cells of a split that have a partner, and the pairs of each epoch.

    In an epoch each cell is the source of one pair and the target of another. Memory: 32 bytes for
    each crop of the split, some 100 more while an epoch is put in order.

    Args:
        records: folder that `build-records` made.
        split: name of the split.
        min_cells: groups with fewer cells are left out; at least 2.
        pair_by: see `pair_columns`.
        manifest: of `records`, where the caller has read it already.
        window_bytes: of neighboring crops that are sources one after the other.

    Attributes:
        columns: in which both cells of a pair are equal.
        crops: of the split, by their numbers.
        num_pairs: in an epoch.

    Raises:
        SchemaError: the crops have one channel only.
        SplitError: no two cells can be paired, or a crop has no protein.
        DamagedRecordsError: a record is not what was written.
    """

    def __init__(
        self,
        records: str | Path,
        split: str,
        *,
        min_cells: int = MIN_CELLS,
        pair_by: Sequence[str] = (),
        manifest: Manifest | None = None,
        window_bytes: int = SHUFFLE_BYTES,
    ) -> None:
        manifest = manifest or with_usual_splits(verify(records))
        self.split, self.min_cells, self._window_bytes = split, min_cells, window_bytes
        self.columns = pair_columns(manifest, pair_by)
        if min_cells < 2:
            msg = f"A pair needs two cells. Received: min_cells={min_cells}. Let it be 2 or more."
            raise ValueError(msg)
        if "protein" in self.columns:
            count_classes(manifest, "protein", split)  # refuses crops that name none
        self.crops = RandomAccess(
            records, split, manifest, fingerprints=(self.columns, ("protein",))
        )
        groups, proteins = self.crops.fingerprints
        self.crops.fingerprints = []
        self._keep(groups, proteins)
        self._lock = threading.Lock()  # several threads of tf.data would sort the same epoch
        self._epoch = functools.lru_cache(2)(self._permute)

    def describe(self) -> str:
        """Sentences about the pairs, and about what is left out or odd, if anything is."""
        text = (
            f"{self.num_pairs} pairs of cells of one {', '.join(self.columns)}, in "
            f"{self._num_groups} groups."
        )
        if self._num_small:
            text += (
                f" Left out: {self._num_small} groups with fewer than {self.min_cells} cells, "
                f"together {self.crops.num_crops - self.num_pairs} cells, of which "
                f"{self._num_alone} have no partner at all."
            )
        if self._num_in_one_field:
            text += (
                f" Proteins in one group only: {self._num_in_one_field}. Nothing shows the network "
                "what of their looks belongs to the field."
            )
        return text

    def steps_per_epoch(self, batch_size: int) -> int:
        """Number of whole batches in an epoch.

        Raises:
            SplitError: not even one.
        """
        if batch_size < 1:
            msg = f"`batch_size` must be at least 1. Received: batch_size={batch_size}."
            raise ValueError(msg)
        if self.num_pairs < batch_size:
            msg = (
                f"A split must hold at least one batch. Received: batch_size={batch_size}, split "
                f"{self.split!r} of {self.num_pairs} pairs. Use a smaller batch size, or "
                f"`min_cells` below {self.min_cells}."
            )
            raise SplitError(msg)
        return self.num_pairs // batch_size

    def batch(
        self, batch_size: int, *, epoch: int = 0, step: int, seed: int = 0
    ) -> tuple[Numbers, Numbers]:
        """Numbers of the sources and of the targets in a step of an epoch, both counted from 0.

        They follow from the seed and the epoch's number alone. Sources come in windows of
        neighboring records, so that half of what is read lies together on the disk; targets lie
        anywhere.
        """
        with self._lock:
            sources, targets = self._epoch(seed, epoch)
        chosen = slice(step * batch_size, (step + 1) * batch_size)
        return sources[chosen], targets[chosen]

    def keys(self, batch_size: int, *, epoch: int, step: int, seed: int) -> list[str]:
        """Keys of the crops of a batch, source and target of each pair; for messages."""
        sources, targets = self.batch(batch_size, epoch=epoch, step=step, seed=seed)
        return [
            f"{self.crops.crop(source).key} with {self.crops.crop(target).key}"
            for source, target in zip(sources.tolist(), targets.tolist(), strict=True)
        ]

    def _keep(self, groups: Numbers, proteins: Numbers) -> None:
        """Choose the groups with enough cells, and count the others."""
        _, first, group, sizes = np.unique(
            groups, return_index=True, return_inverse=True, return_counts=True
        )
        large = sizes >= self.min_cells
        if not large.any():
            self._refuse(int(first[np.argmax(sizes)]), int(sizes.max()))
        kept = np.flatnonzero(large[group])
        # Groups in the order of their first cells: nothing hangs on what a fingerprint is.
        rank = np.argsort(np.argsort(first))
        self._members = kept[np.argsort(rank[group[kept]], kind="stable")]
        self._group_of_member = rank[group[self._members]]
        edges = np.flatnonzero(np.diff(self._group_of_member))
        self._last = np.append(edges, len(self._members) - 1)
        self._first = np.insert(edges + 1, 0, 0)
        self.num_pairs, self._num_groups = len(self._members), int(large.sum())
        self._num_small = len(sizes) - self._num_groups
        self._num_alone = int((sizes == 1).sum())
        groups_of_protein = np.unique(proteins[first[large]], return_counts=True)[1]
        fields = len(self.columns) > 1
        self._num_in_one_field = int((groups_of_protein == 1).sum()) if fields else 0

    def _refuse(self, crop: int, size: int) -> None:
        example = self.crops.crop(crop)
        values = {"protein": example.protein, **example.metadata}
        name = ", ".join(f"{column} {values[column]}" for column in self.columns)
        received = (
            f"split {self.split!r}, whose largest group has {size} cells ({name}). Use a smaller "
            "`min_cells`"
            if size > 1
            else f"split {self.split!r}, where no cell has a partner. Use records with more cells"
        )
        msg = (
            f"Pairs need groups of at least min_cells={self.min_cells} cells of one "
            f"{', '.join(self.columns)}. Received: {received}, or name fewer columns in `pair_by`."
        )
        raise SplitError(msg)

    def _permute(self, seed: int, epoch: int) -> tuple[Numbers, Numbers]:
        """Sources and targets of an epoch, int64 `(num_pairs,)` each."""
        # Raw numbers of a bit generator: NumPy promises that these stay the same.
        bits = np.random.PCG64([seed, epoch])
        # Within its group, in a random order, each cell is painted into the next one, and the last
        # one into the first: no cell meets itself, and each is a target once.
        keys = bits.random_raw(self.num_pairs)
        sources = self._members[np.lexsort((keys, self._group_of_member))]
        targets = np.roll(sources, -1)
        targets[self._last] = sources[self._first]
        num_crops = self.crops.num_crops
        length = max(1, self._window_bytes // self.crops.schema.num_image_bytes)
        shift = int(bits.random_raw() % num_crops)  # other neighbors in each epoch
        window = (sources + shift) % num_crops // length
        turn = bits.random_raw(num_crops // length + 1)[window]
        order = np.lexsort((bits.random_raw(self.num_pairs), turn))
        return sources[order], targets[order]


def training_pairs(
    pairs: Pairs,
    *,
    batch_size: int,
    epochs: int = 1,
    first_epoch: int = 0,
    first_step: int = 0,
    seed: int = 0,
) -> tf.data.Dataset:
    """Batches of pairs for `keras.Model.fit`, epoch after epoch; see `training_batches`.

    A resumed training gets the pairs that an uninterrupted one would have got, and reads nothing of
    what came before.

    Returns:
        `tf.data.Dataset` of `(inputs, zeros)`: inputs a dict of `image` (sources) and `target`,
        each `(batch_size, height, width, channels)` raw pixels; zeros float32
        `(batch_size, 1, 1, 1)`, to which the model's residual is to go.

    Raises:
        SplitError: there are fewer pairs than one batch.
        ValueError: `first_epoch` is not one of the epochs, or `first_step` not one of its steps.
    """
    steps = pairs.steps_per_epoch(batch_size)
    if not 0 <= first_epoch <= epochs or not 0 <= first_step < steps:
        msg = (
            "`first_epoch` must lie in [0, epochs], `first_step` in [0, steps_per_epoch). "
            f"Received: first_epoch={first_epoch}, epochs={epochs}, first_step={first_step}, "
            f"steps_per_epoch={steps}."
        )
        raise ValueError(msg)

    def batch(number: int) -> tuple[Numbers, Numbers]:
        epoch, step = divmod(number, steps)
        return pairs.batch(batch_size, epoch=epoch, step=step, seed=seed)

    first = first_epoch * steps + first_step
    return _read(pairs.crops, batch, first, max(first, epochs * steps))


def evaluation_pairs(pairs: Pairs, *, batch_size: int) -> tf.data.Dataset:
    """Every pair of one epoch, always the same ones; the last batch may be smaller.

    Returns:
        `tf.data.Dataset` of what `training_pairs` gives.
    """
    return _read(
        pairs.crops,
        lambda number: pairs.batch(batch_size, step=number),
        0,
        -(-pairs.num_pairs // batch_size),
    )


def _read(
    crops: RandomAccess, batch: Callable[[int], tuple[Numbers, Numbers]], first: int, stop: int
) -> tf.data.Dataset:
    dtype, shape = tf.dtypes.as_dtype(crops.schema.dtype), (None, *crops.schema.image_shape)

    def images(number: Any) -> tuple[NDArray[Any], ...]:
        return tuple(crops.images(chosen) for chosen in batch(int(number)))

    def inputs_and_targets(number: Any) -> tuple[dict[str, Any], Any]:
        both = tf.numpy_function(images, [number], (dtype, dtype))
        image, target = (tf.ensure_shape(pixels, shape) for pixels in both)
        return {"image": image, "target": target}, tf.zeros((tf.shape(image)[0], 1, 1, 1))

    dataset = tf.data.Dataset.range(first, stop)
    dataset = dataset.map(
        without_autograph(inputs_and_targets), num_parallel_calls=tf.data.AUTOTUNE
    )
    return dataset.prefetch(tf.data.AUTOTUNE)
