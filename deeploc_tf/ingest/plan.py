"""What a build would write, known without the pixels of any crop but one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.ingest.identity import (
    by_split,
    check_keys,
    find_column,
    unify_columns,
    warn_of_unused_splits,
    with_places,
)
from deeploc_tf.ingest.labels import Labels, Unknown, assign_labels
from deeploc_tf.ingest.metadata import metadata_columns, stored_names
from deeploc_tf.ingest.reading import Rows
from deeploc_tf.ingest.splits import (
    Conditions,
    check_groups,
    check_images,
    check_splits,
    split_by_conditions,
    split_by_fractions,
    units_of,
    whole_groups,
)
from deeploc_tf.ingest.windows import check_windows
from deeploc_tf.sources.rejects import check_rejects, counted, too_many
from deeploc_tf.sources.source import (
    UNREADABLE,
    Pixels,
    Reject,
    RejectedCrop,
    Source,
    SourceError,
)
from deeploc_tf.text_tables import require_column
from tfrecords.errors import SplitError
from tfrecords.plan import Entry, Plan
from tfrecords.schema import Schema, metadata_text
from tfrecords.sharding import SHARD_BYTES

if TYPE_CHECKING:
    import pandas as pd

FEW_CELLS = "protein has too few cells"


def plan_records(
    source: Source,
    *,
    label: str | None = None,
    label_table: str | os.PathLike[str] | None = None,
    label_key: str = "protein",
    label_separator: str | None = None,
    plate_map: str | os.PathLike[str] | None = None,
    delimiter: str | None = None,
    classes: Sequence[str] | None = None,
    unknown: Unknown = "refuse",
    protein: str = "protein",
    conditions: Conditions | None = None,
    fractions: Mapping[str, float] | None = None,
    split_column: str | None = None,
    group_by: Sequence[str] = (),
    plate: str | None = None,
    well: str | None = None,
    field: str | None = None,
    metadata: Sequence[str] | None = None,
    pixel_size: float | None = None,
    seed: int = 0,
    minimum_cells: int = 0,
    distinct_case: bool = False,
    allow_unmatched: int = 0,
    max_rejects: int = 0,
    allow_duplicates: bool = False,
    shard_bytes: int = SHARD_BYTES,
) -> RecordsPlan:
    """Decide which crop gets which label, split and place; reads the pixels of one crop only.

    Args:
        source: where the crops come from, for example a `FolderSource`.
        label: column of the labels, in the index or in `label_table`; None for crops without
            labels.
        label_table: a table that gives labels to the values of `label_key`.
        label_key: column that joins index and label table.
        label_separator: text between several labels of a crop; makes the data set multi-label.
        plate_map: a table of what is in each well; see `PlateMap`. Its columns are then columns of
            the crops, which `label`, `protein`, conditions and groups may name.
        delimiter: of the label table and plate map in text; None for what divides their headers.
        classes: class names in the order of their indices; by default all labels, sorted.
        unknown: "refuse" crops without a known label, or "skip" them; the manifest counts them.
        protein: column of the protein; crops have none where the index lacks it.
        conditions: split -> (column, value) pairs. The rest is `train`; if `train` has conditions
            too, the rest is left out and counted.
        fractions: split -> share of the crops, in whole groups.
        split_column: column that names the split of each crop; `split` is found by itself.
        group_by: columns whose values, taken together, must not occur in two splits; columns above
            one of them, such as plate and well above field, are taken along. With `conditions`
            alone, the columns of the conditions.
        plate: column of the plate, where it is called otherwise; the records call it `plate`.
        well: likewise of the well.
        field: likewise of the field.
        metadata: columns to keep with each crop; by default all that are left.
        pixel_size: micrometres a pixel; by default what the files say, if they do. Of a source that
            resamples, its own.
        seed: of the order of the crops, and of the choice of groups.
        minimum_cells: set the cells of proteins aside that have fewer than this in the source.
        distinct_case: let proteins be two whose names differ in case alone, such as alleles.
        allow_unmatched: how many names of the crops may have no row in the label table, whose crops
            are left out; and how many wells none in the plate map.
        max_rejects: how many cells may be unusable.
        allow_duplicates: crops of equal pixels, or that overlap in their field, may lie in two
            splits; they are counted.
        shard_bytes: about the size of a shard.

    Returns:
        The plan, ready to be written.

    Raises:
        SourceError: files or labels are not as they must be, or two names may or may not be one
            (see `deeploc_tf.names`).
        TableError: tables or columns are not.
        SplitError: a group lies in two splits, a split is empty, or a class has no training crops.
        DuplicateKeyError: two crops have the same key.
    """
    index = source.index()
    check_rejects(source.rejects, max_rejects)
    conditions, fractions = by_split(conditions or {}), by_split(fractions or {})
    index, renamed = with_places(index, {"plate": plate, "well": well, "field": field})
    index, map_join = _with_plate_map(index, source, plate_map, allow_unmatched, delimiter)
    conditions = {
        split: [(renamed.get(column, column), value) for column, value in pairs]
        for split, pairs in conditions.items()
    }
    group_by = tuple(renamed.get(column, column) for column in group_by)
    metadata = metadata and [renamed.get(column, column) for column in metadata]
    protein = find_column(index.columns, protein) or protein
    if split_column is None and not (conditions or fractions):
        split_column = find_column(index.columns, "split")
    if group_by:
        group_by = whole_groups(
            index.drop(columns=[c for c in (label, split_column) if c in index.columns]),
            group_by,
            folders=_folders(source),
            protein=protein,
        )
    index = unify_columns(
        index,
        [*group_by, *(column for pairs in conditions.values() for column, _ in pairs)],
        protein=protein,
        split_column=split_column,
        distinct_case=distinct_case,
    )
    enough = _has_enough(index, protein, minimum_cells)
    full, positions = index, np.flatnonzero(enough)
    index = _rows_of(full, positions)
    labels = assign_labels(
        # a label table may know a place by the name that it had
        index.assign(**{old: index[new] for old, new in renamed.items()}) if renamed else index,
        label,
        label_table=label_table,
        label_key=label_key,
        separator=label_separator,
        classes=classes,
        unknown=unknown,
        protein=protein,
        distinct_case=distinct_case,
        allow_unmatched=allow_unmatched,
        delimiter=delimiter,
    )
    joins = (*map_join, *(() if labels.join is None else (labels.join.counts(),)))
    wanted = _Splitting(conditions, fractions, split_column, group_by, seed)
    split, group_by = wanted.apply(index, labels)
    warn_of_unused_splits(split)
    in_split = np.array([name is not None for name in split], dtype=bool)
    kept = np.flatnonzero(in_split & ~labels.unknown)
    columns = _metadata_names(index, metadata, {protein, split_column, label} - {None}, group_by)
    left_out = {
        **source.passed_over,
        "no known label": int(labels.unknown.sum()),
        "in no split": len(index) - len(kept) - int(labels.unknown.sum()),
    }
    table = _rows_of(index, kept)
    chosen = [labels.indices[row] for row in kept.tolist()]
    # left out crops neither leak nor count
    check_groups(table, split[kept], group_by)
    keys = [str(key) for key in table["key"]]
    if hasattr(source, "image_files") and not allow_duplicates:
        check_images(map(source.image_files, positions[kept].tolist()), split[kept], keys)
    overlapping = 0
    if hasattr(source, "windows") and len(set(split[kept].tolist())) > 1:
        fields, corners, size = source.windows()
        chosen_windows = fields[positions[kept]], corners[positions[kept]], size
        overlapping = check_windows(*chosen_windows, split[kept], keys, allowed=allow_duplicates)
    check_splits(split[kept], wanted.names, chosen, labels.names)
    if not len(kept):
        msg = "A data set must have crops. Received: none, all were left out."
        raise SplitError(msg)
    check_keys(keys)
    stored = stored_names(columns)
    types, values = metadata_columns(table, stored)
    image, mask = _first_pixels(source, keys, positions[kept], max_rejects)
    schema = Schema(
        image_shape=image.shape,
        dtype=image.dtype.name,
        channels=source.channels,
        has_mask=mask is not None,
        label_names=labels.names,
        multi_label=labels.multi_label,
        metadata=types,
        pixel_size=(
            getattr(source, "resample_to", None)
            or pixel_size
            or getattr(source, "pixel_size", None)
        ),
        resampled_from=getattr(source, "resampled_from", None),
    )
    rows = zip(keys, split[kept], chosen, _proteins(table, protein), strict=True)
    entries = [Entry(key, str(name), indices, text) for key, name, indices, text in rows]
    return RecordsPlan(
        source=source,
        layout=Plan(schema, entries, seed, shard_bytes),
        positions=positions[kept],
        metadata=values,
        group_by=tuple(stored.get(column, column) for column in group_by),
        units=tuple(stored[column] for column in units_of(table) if column in stored),
        expected=wanted.names,
        left_out={reason: count for reason, count in left_out.items() if count},
        set_aside=_few_cells(source, full, ~enough),
        overlapping=overlapping,
        allow_duplicates=allow_duplicates,
        joins=joins,
    )


@dataclasses.dataclass(frozen=True)
class RecordsPlan:
    """The crops of a build, known but for their pixels.

    Attributes:
        source: where they come from.
        layout: key, split, labels and place of each crop, and the schema.
        positions: of each crop in the index of the source.
        metadata: column -> values, one a crop.
        group_by: columns whose values, taken together, are in one split only.
        units: columns of plate, well and field, from the top down.
        expected: splits that must have crops.
        left_out: how many items are no crops of this data set, by reason.
        set_aside: cells of proteins that have too few.
        overlapping: how many crops share pixels of their field with one of another split.
        allow_duplicates: such crops, and those of equal pixels, may lie in two splits.
        joins: tables that were joined to the crops, and the counts of each, JSON-ready.
    """

    source: Source
    layout: Plan
    positions: NDArray[np.intp]
    metadata: Mapping[str, Sequence[str | int | float]]
    group_by: tuple[str, ...]
    units: tuple[str, ...]
    expected: tuple[str, ...]
    left_out: Mapping[str, int]
    set_aside: tuple[Reject, ...]
    overlapping: int = 0
    allow_duplicates: bool = False
    joins: tuple[Mapping[str, Any], ...] = ()

    def rows(self, start: int, stop: int) -> Rows:
        """The crops from `start` up to `stop`, in the order of the source."""
        entries = self.layout.entries[start:stop]
        return Rows(
            positions=self.positions[start:stop].tolist(),
            places=self.layout.places[start:stop].tolist(),
            keys=[entry.key for entry in entries],
            labels=[entry.labels for entry in entries],
            proteins=[entry.protein for entry in entries],
            metadata={name: values[start:stop] for name, values in self.metadata.items()},
        )

    def check(self, places: Sequence[NDArray[np.int64]]) -> None:
        """Raise `SplitError` if too few crops are usable: those at `places`."""
        if sum(map(len, places)) in (0, len(self.layout.entries)):  # 0: it was whole already
            return
        kept = np.zeros(len(self.layout.entries), bool)
        kept[np.concatenate(places)] = True
        rows = np.flatnonzero(kept[self.layout.places]).tolist()
        entries = [self.layout.entries[row] for row in rows]
        split = np.array([entry.split for entry in entries], dtype=object)
        names = self.layout.schema.label_names
        check_splits(split, self.expected, [entry.labels for entry in entries], names)

    @property
    def origin(self) -> dict[str, Any]:
        """The source and what was joined to it, as the manifest has it, JSON-ready."""
        joins = [*self.source.description.get("joins", ()), *self.joins]
        return {**self.source.description, **({"joins": joins} if joins else {})}

    @property
    def identity(self) -> str:
        """SHA-256 of what decides the bytes of the records beside `layout` and the pixels."""
        hasher = hashlib.sha256(json.dumps(self.source.description, sort_keys=True).encode())
        for name, values in self.metadata.items():
            hasher.update(repr((name, values)).encode())
        return hasher.hexdigest()

    def forecast(self) -> dict[str, Any]:
        """What `build_records` would write if no crop turns out to be unusable, as JSON values."""
        entries = self.layout.entries
        schema = self.layout.schema
        counts = self.layout.counts(self.layout.places)
        shards = Counter(shard.split for shard in self.layout.shards())
        groups: dict[str, set[object]] = {split: set() for split in counts}
        if self.group_by:
            columns = [
                map(metadata_text, self.metadata[c])
                if c in self.metadata
                else [entry.protein for entry in entries]
                for c in self.group_by
            ]
            for entry, *group in zip(entries, *columns, strict=True):
                groups[entry.split].add(tuple(group))
        crops = Counter(entry.split for entry in entries)
        return {
            "image_shape": list(schema.image_shape),
            "dtype": schema.dtype,
            "num_crops": len(entries),
            "num_bytes": self.layout.num_bytes,
            "group_by": list(self.group_by),
            "units": list(self.units),
            "joins": self.origin.get("joins", []),
            "splits": {
                split: {
                    "num_crops": crops[split],
                    "num_shards": shards[split],
                    "num_bytes": crops[split] * self.layout.bytes_per_crop,
                    "num_groups": len(groups[split]),
                    **counts[split],
                }
                for split in counts
            },
            "rejects": {
                **self.left_out,
                **counted([*self.source.rejects, *self.set_aside]),
            },
        }


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


def _folders(source: Source) -> set[str]:
    """The fields of a pattern that stand for folders."""
    above = str(source.description.get("pattern") or "").rpartition("/")[0]
    return set(re.findall(r"\{(\w+)\}", above))


def _with_plate_map(
    index: pd.DataFrame,
    source: Source,
    plate_map: str | os.PathLike[str] | None,
    allow_unmatched: int,
    delimiter: str | None,
) -> tuple[pd.DataFrame, tuple[Mapping[str, Any], ...]]:
    """The index with the columns of a plate map, and what of it met."""
    if plate_map is None:
        return index, ()
    from deeploc_tf.sources.plate_map import PlateMap, columns_above_wells, with_wells

    table = PlateMap(plate_map, allow_unmatched, delimiter)
    index = with_wells(index)
    index = table.join(index, columns_above_wells(index, None, source))
    return index, (table.report(),)


def _rows_of(index: pd.DataFrame, rows: NDArray[np.intp]) -> pd.DataFrame:
    """These rows, ascending; without a copy where they are all."""
    return index if len(rows) == len(index) else index.iloc[rows]


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


def _proteins(index: pd.DataFrame, column: str) -> list[str]:
    """The protein of each crop, "" where there is none."""
    if column not in index.columns:
        if column != "protein":
            require_column(index.columns, column, "The protein column")
        return [""] * len(index)
    texts = zip(index[column], index[column].isna(), strict=True)
    return ["" if missing else str(value) for value, missing in texts]


def _has_enough(index: pd.DataFrame, protein: str, minimum_cells: int) -> NDArray[np.bool_]:
    """Which crops have a protein with `minimum_cells` cells; one without a protein is not asked."""
    if minimum_cells < 2:
        return np.ones(len(index), dtype=bool)
    proteins = _proteins(index, protein)
    cells = Counter(proteins)
    return np.array([not name or cells[name] >= minimum_cells for name in proteins], dtype=bool)


def _few_cells(
    source: Source, index: pd.DataFrame, is_few: NDArray[np.bool_]
) -> tuple[Reject, ...]:
    rows = np.flatnonzero(is_few).tolist()
    return tuple(Reject(FEW_CELLS, str(index["key"].iloc[i]), source.files(i)) for i in rows)


def _first_pixels(
    source: Source, keys: Sequence[str], positions: NDArray[np.intp], max_rejects: int
) -> Pixels:
    """Pixels of the first usable crop in the order of the keys, whatever that of the source."""
    problems = 0
    for row in sorted(range(len(keys)), key=keys.__getitem__):
        position = int(positions[row])
        try:
            return source.read(position)
        except (RejectedCrop, SourceError, OSError) as error:
            problems += 1
            if problems > max_rejects or not isinstance(error, (RejectedCrop, *UNREADABLE)):
                error.add_note(f"Crop: {keys[row]!r} ({', '.join(source.files(position))}).")
                if isinstance(error, (RejectedCrop, *UNREADABLE)):
                    error.add_note(too_many(problems, max_rejects))
                raise
    msg = "A data set must have crops. Received: none that is usable."
    raise SplitError(msg)
