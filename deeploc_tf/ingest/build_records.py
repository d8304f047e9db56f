"""Crops of a source into a data set of records: the first of the three commands."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.ingest.labels import Labels, Unknown, assign_labels
from deeploc_tf.ingest.metadata import metadata_columns
from deeploc_tf.ingest.splits import (
    Conditions,
    check_groups,
    check_splits,
    split_by_conditions,
    split_by_fractions,
)
from deeploc_tf.sources.read_table import require_column
from deeploc_tf.sources.source import Pixels, Source, SourceError
from tfrecords.errors import SchemaError, SplitError
from tfrecords.publishing import check_absent
from tfrecords.schema import Crop, MetadataType, Schema

if TYPE_CHECKING:
    import pandas as pd

    from tfrecords.manifest import Manifest


def build_records(
    source: Source,
    output: str | os.PathLike[str],
    *,
    label: str | None = None,
    label_table: str | os.PathLike[str] | None = None,
    label_key: str = "protein",
    label_separator: str | None = None,
    classes: Sequence[str] | None = None,
    unknown: Unknown = "refuse",
    protein: str = "protein",
    conditions: Conditions | None = None,
    fractions: Mapping[str, float] | None = None,
    split_column: str | None = None,
    group_by: Sequence[str] = (),
    metadata: Sequence[str] | None = None,
    pixel_size: float | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Manifest:
    """Write the crops of `source` as records; everything is checked before anything is written.

    The same crops, options and seed give the same bytes, whatever the order of the source.

    Args:
        source: where the crops come from, for example a `FolderSource`.
        output: folder to make.
        label: column of the labels, in the index or in `label_table`; None for crops without
            labels.
        label_table: a table that gives labels to the values of `label_key`.
        label_key: column that joins index and label table.
        label_separator: text between several labels of a crop; makes the data set multi-label.
        classes: class names in the order of their indices; by default all labels, sorted.
        unknown: "refuse" crops without a known label, or "skip" them; the manifest counts them.
        protein: column of the protein; crops have none where the index lacks it.
        conditions: split -> (column, value) pairs. The rest is `train`; if `train` has conditions
            too, the rest is left out and counted.
        fractions: split -> share of the crops, in whole groups.
        split_column: column that names the split of each crop; `split` is found by itself.
        group_by: columns whose values, taken together, must not occur in two splits. With
            `conditions` alone, the columns of the conditions.
        metadata: columns to keep with each crop; by default all that are left.
        pixel_size: micrometres a pixel.
        seed: of the order of the crops, and of the choice of groups.
        progress: called after each crop with the number of crops read so far.

    Returns:
        The manifest of the new data set.

    Raises:
        SourceError: files, tables, columns or labels are not as they must be.
        SchemaError: crops differ in shape or dtype, or have pixels that are not finite.
        SplitError: a group lies in two splits, a split is empty, or a class has no training crops.
        DuplicateKeyError: two crops have the same key.
        OutputExistsError: `output` is there already.
    """
    check_absent(Path(output))
    index = source.index()
    labels = assign_labels(
        index,
        label,
        label_table=label_table,
        label_key=label_key,
        separator=label_separator,
        classes=classes,
        unknown=unknown,
    )
    if split_column is None and "split" in index.columns and not (conditions or fractions):
        split_column = "split"
    wanted = _Splitting(conditions or {}, fractions or {}, split_column, tuple(group_by), seed)
    split, group_by = wanted.apply(index, labels)
    kept = np.flatnonzero(np.array([name is not None for name in split]) & ~labels.unknown)
    columns = _metadata_names(index, metadata, {protein, split_column, label} - {None}, group_by)
    plan = _Plan(source, index.iloc[kept], kept, split[kept], labels, protein, columns)
    # left out crops neither leak nor count
    check_groups(plan.index, plan.split, group_by)
    check_splits(plan.split, wanted.names, plan.label_indices, labels.names)
    rejects = {
        **source.rejects,
        "no known label": int(labels.unknown.sum()),
        "in no split": len(index) - len(kept) - int(labels.unknown.sum()),
    }
    return plan.write(
        output,
        pixel_size=pixel_size,
        seed=seed,
        group_by=group_by,
        rejects={reason: count for reason, count in rejects.items() if count},
        progress=progress,
    )


@dataclasses.dataclass(frozen=True)
class _Splitting:
    """How crops are divided: exactly one of the three ways, or none (all train)."""

    conditions: Conditions
    fractions: Mapping[str, float]
    split_column: str | None
    group_by: tuple[str, ...]
    seed: int

    @property
    def names(self) -> tuple[str, ...]:
        """The splits that must have crops."""
        if self.split_column is not None:
            return ()
        return tuple(self.fractions) or tuple(dict.fromkeys([*self.conditions, "train"]))

    def apply(
        self, index: pd.DataFrame, labels: Labels
    ) -> tuple[NDArray[np.object_], tuple[str, ...]]:
        """The split of each crop, or None, and the columns that name its group."""
        if bool(self.conditions) + bool(self.fractions) + (self.split_column is not None) > 1:
            msg = (
                "Splits must come from conditions, from fractions or from a column. Received: "
                f"conditions={dict(self.conditions)}, fractions={dict(self.fractions)}, "
                f"split_column={self.split_column!r}."
            )
            raise SplitError(msg)
        if self.fractions:
            split = np.full(len(index), None, dtype=object)
            kept = np.flatnonzero(~labels.unknown)
            split[kept] = split_by_fractions(
                index.iloc[kept],
                self.fractions,
                self.group_by,
                labels=[labels.indices[i] for i in kept.tolist()],
                seed=self.seed,
            )
            return split, self.group_by
        if self.split_column is not None:
            require_column(index.columns, self.split_column, "The split column")
            return _split_names(index, self.split_column), self.group_by
        rest = None if "train" in self.conditions else "train"
        columns = dict.fromkeys(c for pairs in self.conditions.values() for c, _ in pairs)
        split = split_by_conditions(index, self.conditions, rest)
        return split, self.group_by or tuple(c for c in columns if c != "key")


class _Plan:
    """The crops of a build, known but for their pixels."""

    def __init__(
        self,
        source: Source,
        index: pd.DataFrame,
        positions: NDArray[np.intp],
        split: NDArray[np.object_],
        labels: Labels,
        protein: str,
        columns: Sequence[str],
    ) -> None:
        self.source = source
        self.index = index
        self.positions = positions
        self.split = split
        self.label_names = labels.names
        self.multi_label = labels.multi_label
        self.label_indices = [labels.indices[i] for i in positions.tolist()]
        self.keys = [str(key) for key in index["key"]]
        self.proteins = [""] * len(index)
        if protein in index.columns:
            texts = zip(index[protein], index[protein].isna(), strict=True)
            self.proteins = ["" if missing else str(value) for value, missing in texts]
        elif protein != "protein":
            require_column(index.columns, protein, "The protein column")
        self.types: dict[str, MetadataType]
        self.types, self.values = metadata_columns(index, columns)

    def write(
        self,
        output: str | os.PathLike[str],
        *,
        pixel_size: float | None,
        seed: int,
        group_by: tuple[str, ...],
        rejects: Mapping[str, int],
        progress: Callable[[int], None] | None,
    ) -> Manifest:
        """Read all crops in the order of the source, and write them."""
        from tfrecords.writer import Entry, write_records  # imports TensorFlow

        if not len(self.positions):
            msg = "A data set must have crops. Received: none, all were left out."
            raise SplitError(msg)
        rows = zip(self.keys, self.split, self.label_indices, self.proteins, strict=True)
        entries = [Entry(key, str(name), chosen, text) for key, name, chosen, text in rows]
        first = self._read(0)
        schema = Schema(
            image_shape=first[0].shape,
            dtype=first[0].dtype.name,
            channels=self.source.channels,
            has_mask=first[1] is not None,
            label_names=self.label_names,
            multi_label=self.multi_label,
            metadata=self.types,
            pixel_size=pixel_size,
        )
        return write_records(
            Path(output),
            schema,
            entries,
            self._crops(schema),
            seed=seed,
            group_by=group_by,
            sources=[self.source.description],
            rejects=rejects,
            progress=progress,
        )

    def _crops(self, schema: Schema) -> Iterator[Crop]:
        for row in range(len(self.positions)):
            image, mask = self._read(row)
            crop = Crop(
                key=self.keys[row],
                image=image,
                mask=mask,
                labels=self.label_indices[row],
                protein=self.proteins[row],
                metadata={name: values[row] for name, values in self.values.items()},
            )
            try:
                schema.check(crop)
            except SchemaError as error:
                error.add_note(f"Files: {', '.join(self._files(row))}.")
                raise
            yield crop

    def _read(self, row: int) -> Pixels:
        try:
            return self.source.read(int(self.positions[row]))
        except (SourceError, OSError) as error:
            error.add_note(f"Crop: {self.keys[row]!r} ({', '.join(self._files(row))}).")
            raise

    def _files(self, row: int) -> tuple[str, ...]:
        return self.source.files(int(self.positions[row]))


def _split_names(index: pd.DataFrame, column: str) -> NDArray[np.object_]:
    missing = index[column].isna() | (index[column].map(str) == "")
    if missing.any():
        msg = (
            "Every crop must have a split. Received: none at key "
            f"{index['key'][missing].iloc[0]!r} ({int(missing.sum())} of {len(index)} crops). "
            f"Fill column {column!r}."
        )
        raise SplitError(msg)
    return index[column].map(str).to_numpy(dtype=object)


def _metadata_names(
    index: pd.DataFrame, wanted: Sequence[str] | None, used: set[Any], group_by: Sequence[str]
) -> list[str]:
    """Columns that stay with the crops: those asked for, and those that name groups."""
    free = [str(c) for c in index.columns if c not in {"key", *used}]
    if wanted is not None:
        for name in wanted:
            require_column(index.columns, name, "A metadata column")
        free = [name for name in free if name in wanted]
    groups = [name for name in group_by if name not in free and name in index.columns]
    return [*free, *(name for name in groups if name != "protein")]
