"""What a build would write, known without the pixels of any crop but one."""

from __future__ import annotations

import os
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
from deeploc_tf.ingest.labels import Unknown, assign_labels
from deeploc_tf.ingest.metadata import metadata_columns, stored_names
from deeploc_tf.ingest.records_plan import RecordsPlan
from deeploc_tf.ingest.splits import (
    Conditions,
    check_groups,
    check_images,
    check_splits,
    units_of,
)
from deeploc_tf.ingest.splitting import Splitting
from deeploc_tf.ingest.windows import check_windows
from deeploc_tf.sources.rejects import check_rejects, too_many
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
from tfrecords.schema import Schema
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

    Example:
        plan_records(FolderSource("crops", "{protein}/{cell}.tif")).forecast()
    """
    index = source.index()
    check_rejects(source.rejects, max_rejects)
    index, renamed = with_places(index, {"plate": plate, "well": well, "field": field})
    index, joins = _with_plate_map(index, source, plate_map, allow_unmatched, delimiter)
    protein = find_column(index.columns, protein) or protein
    wanted = Splitting(
        by_split(conditions or {}), by_split(fractions or {}), split_column, tuple(group_by), seed
    ).of_index(index, renamed, source, label=label, protein=protein)
    index = unify_columns(
        index,
        [*wanted.group_by, *wanted.columns_of_conditions],
        protein=protein,
        split_column=wanted.split_column,
        distinct_case=distinct_case,
    )
    enough = _has_enough(index, protein, minimum_cells)
    set_aside, positions = _few_cells(source, index, ~enough), np.flatnonzero(enough)
    index = _rows_of(index, positions)
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
    split, grouped_by = wanted.apply(index, labels)
    warn_of_unused_splits(split)
    in_split = np.array([name is not None for name in split], dtype=bool)
    kept = np.flatnonzero(in_split & ~labels.unknown)
    left_out = {
        **source.passed_over,
        "no known label": int(labels.unknown.sum()),
        "in no split": len(index) - len(kept) - int(labels.unknown.sum()),
    }
    used = {protein, wanted.split_column, label} - {None}
    metadata = metadata and [renamed.get(column, column) for column in metadata]
    stored = stored_names(_metadata_names(index, metadata, used, grouped_by))
    # left out crops neither leak nor count
    table, split, positions = _rows_of(index, kept), split[kept], positions[kept]
    chosen = [labels.indices[row] for row in kept.tolist()]
    keys = [str(key) for key in table["key"]]
    check_groups(table, split, grouped_by)
    overlapping = _check_pixels(source, positions, split, keys, allow_duplicates=allow_duplicates)
    check_splits(split, wanted.names, chosen, labels.names)
    if not len(kept):
        msg = "A data set must have crops. Received: none, all were left out."
        raise SplitError(msg)
    check_keys(keys)
    types, values = metadata_columns(table, stored)
    schema = _schema(
        source,
        _first_pixels(source, keys, positions, max_rejects),
        label_names=labels.names,
        multi_label=labels.multi_label,
        metadata=types,
        pixel_size=pixel_size,
    )
    rows = zip(keys, split, chosen, _proteins(table, protein), strict=True)
    entries = [Entry(key, str(name), indices, text) for key, name, indices, text in rows]
    return RecordsPlan(
        source=source,
        layout=Plan(schema, entries, seed, shard_bytes),
        positions=positions,
        metadata=values,
        group_by=tuple(stored.get(column, column) for column in grouped_by),
        units=tuple(stored[column] for column in units_of(table) if column in stored),
        expected=wanted.names,
        left_out={reason: count for reason, count in left_out.items() if count},
        set_aside=set_aside,
        overlapping=overlapping,
        allow_duplicates=allow_duplicates,
        joins=(*joins, *(() if labels.join is None else (labels.join.counts(),))),
    )


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


def _check_pixels(
    source: Source,
    positions: NDArray[np.intp],
    split: NDArray[np.object_],
    keys: Sequence[str],
    *,
    allow_duplicates: bool,
) -> int:
    """Refuse one image, or overlapping windows, in two splits; how many crops overlap so."""
    if hasattr(source, "image_files") and not allow_duplicates:
        check_images(map(source.image_files, positions.tolist()), split, keys)
    if not hasattr(source, "windows") or len(set(split.tolist())) < 2:
        return 0
    fields, corners, size = source.windows()
    windows = fields[positions], corners[positions], size
    return check_windows(*windows, split, keys, allowed=allow_duplicates)


def _schema(
    source: Source, pixels: Pixels, *, pixel_size: float | None, **described: Any
) -> Schema:
    """What all crops are like: the first one's pixels, and what the source says of theirs."""
    image, mask = pixels
    resampled = getattr(source, "resample_to", None)
    return Schema(
        image_shape=image.shape,
        dtype=image.dtype.name,
        channels=source.channels,
        has_mask=mask is not None,
        pixel_size=resampled or pixel_size or getattr(source, "pixel_size", None),
        resampled_from=getattr(source, "resampled_from", None),
        **described,
    )


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
