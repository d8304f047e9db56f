"""Cells to proteins: `profile` transforms the vectors of cells and makes one vector a protein."""

from __future__ import annotations

import contextlib
import dataclasses
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.profiles.by_protein import MEMORY, means_by_replicate, vectors_by_protein
from deeploc_tf.profiles.choices import Method
from deeploc_tf.profiles.fitting import TransformSettings, as_settings, fit_transform, group_codes
from deeploc_tf.profiles.summaries import (
    METHODS,
    SUMMARIES,
    dispersion,
    half_widths,
    standard_errors,
)
from deeploc_tf.profiles.tables import (
    NO_ROLES,
    AnyTable,
    Groups,
    Roles,
    RowTable,
    TableHolder,
    TableWriter,
    VectorTable,
    check_table,
    open_rows,
    read_table,
    writing_table,
)
from deeploc_tf.profiles.transforms import Transform, load_transform, save_transform
from deeploc_tf.progress import ShowProgress, counting
from deeploc_tf.provenance import parent
from deeploc_tf.units import columns_of, is_place, spelled
from deeploc_tf.version import __version__
from tfrecords.errors import did_you_mean
from tfrecords.file_set import publishing_set

LEVEL = 0.95
_OURS = ("num_crops", "num_replicates", "dispersion", "standard_error")


@dataclasses.dataclass(frozen=True)
class ProfileSettings:
    """How vectors become profiles.

    Attributes:
        method: "mean", "median", "trimmed_mean" or "modz".
        min_cells: proteins with fewer are left out.
        replicate: column, such as `field`, or columns whose cells are averaged first: profile,
            dispersion and errors are then those of the replicates. Columns above, such as `plate`,
            are taken along. None takes the cells themselves.
        summarize_by: column, such as `well` or `compound`, or columns that name what a row of the
            result is of, in place of the protein. Columns above are taken along.
        num_resamples: bootstrap draws behind the errors of methods other than the mean; 0: none.
        intervals: whether to write the ends of each feature's 95% interval, too.
        drop_undefined: whether to leave out cells with a feature that is not finite; otherwise they
            are refused.
        fit_new_groups: see `group_codes`; for a transform that was fitted before.
        memory: bytes of vectors that are held at once.
        seed: of everything drawn.
        distinct_case: let proteins whose names differ in case alone be two.
    """

    method: Method = "mean"
    min_cells: int = 1
    replicate: str | Sequence[str] | None = None
    summarize_by: str | Sequence[str] | None = None
    num_resamples: int = 0
    intervals: bool = False
    drop_undefined: bool = False
    fit_new_groups: bool = False
    memory: int = MEMORY
    seed: int = 0
    distinct_case: bool = False

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.method not in METHODS:
            msg = (
                f"`method` must be one of {', '.join(METHODS)}. Received: method={self.method!r}."
                f"{did_you_mean(str(self.method), METHODS)}"
            )
            raise ValueError(msg)
        if self.min_cells < 1 or self.memory < 1 or self.num_resamples < 0:
            msg = (
                "`min_cells` and `memory` must be 1 or more, `num_resamples` 0 or more. Received: "
                f"{self.min_cells}, {self.memory}, {self.num_resamples}."
            )
            raise ValueError(msg)
        if self.num_resamples == 1 or (self.intervals and not self.has_errors):
            msg = (
                f"Intervals of {self.method} must have resamples, two or more. Received: "
                f"num_resamples={self.num_resamples}. Ask for 200 (--resamples 200)."
            )
            raise ValueError(msg)

    @property
    def replicate_columns(self) -> tuple[str, ...]:
        """Columns of replicates, as given; none: the cells themselves."""
        return columns_of(self.replicate)

    @property
    def has_errors(self) -> bool:
        """Whether profiles get standard errors."""
        return self.method == "mean" or self.num_resamples > 1


@dataclasses.dataclass(frozen=True)
class Profiled:
    """What `profile` made.

    Attributes:
        profiles: path of the table; None if it was not written.
        table: the profiles, where they were not written.
        num_proteins: number of its rows.
        num_features: length of the profiles.
        num_cells: cells behind them.
        num_undefined: cells left out, since they are not finite.
        num_without_protein: cells left out, since they name no protein.
        num_without_replicate: cells left out, since they have no value in a column of replicates.
        summarized_by: columns that name what a row is of, those above included.
        too_few: proteins left out, with fewer than `min_cells` cells.
        replicate_columns: columns that name a replicate, those above included.
        transform: what was done to the cells; None: nothing.
    """

    profiles: Path | None
    table: VectorTable | None
    num_proteins: int
    num_features: int
    num_cells: int
    num_undefined: int
    num_without_protein: int
    num_without_replicate: int
    summarized_by: tuple[str, ...]
    too_few: tuple[str, ...]
    replicate_columns: tuple[str, ...]
    transform: Transform | None

    def to_frame(self) -> pd.DataFrame:
        """The profiles, a row each: what describes them, then their features."""
        table = self.table if self.profiles is None else read_table(self.profiles)
        return cast(VectorTable, table).to_frame()


def profile(
    cells: AnyTable,
    output: str | Path | None = None,
    settings: ProfileSettings | None = None,
    *,
    fit: TransformSettings | None = None,
    transform: str | Path | None = None,
    save: str | Path | None = None,
    roles: Roles = NO_ROLES,
    progress: ShowProgress = False,
) -> Profiled:
    """Make a profile of each protein: its cells transformed, then summarized.

    The table has the columns `protein`, `num_crops`, `dispersion` (root mean squared distance of
    the cells, or replicates, from the profile), with `replicate` also `num_replicates`, and
    `standard_error`, the length of the vector of the features' standard errors. With `intervals`,
    `NAME.low.SUFFIX` and `NAME.high.SUFFIX` beside it are tables of the same shape. Summarized by
    other columns, a row has these in the place of `protein`, and those that have one value in each
    of their groups, such as the protein of a well.

    Args:
        cells: table of any number of rows: a file of any format, also of another program, or in
            memory, see `open_rows`.
        output: file to write, .h5, .parquet, .npz or .h5ad; None holds the profiles in memory.
        settings: how vectors become profiles.
        fit: transform to fit to these cells.
        transform: file of a transform that was fitted before, instead.
        save: file (.npz) to save the fitted transform to.
        roles: which columns of the table name proteins, plates and wells.
        progress: True to show the number of proteins profiled; or a callable that gets
            `(done, total)`.

    Raises:
        OutputExistsError: a file of one of the names is there already.
        ValueError: see `fit_transform` and `group_codes`; or no protein has cells enough.

    Example:
        made = profile("cells.parquet", fit=TransformSettings("standardize", by=("plate",)))
        made.to_frame()  # a row per protein
    """
    settings = as_settings(settings, ProfileSettings)
    paths = _paths(None if output is None else Path(output), settings, fit, transform, save)
    with contextlib.ExitStack() as stack:
        places = stack.enter_context(publishing_set(list(paths.values()))) if paths else []
        to_write = dict(zip(paths, places, strict=True))
        found = _profiled(open_rows(cells, roles), to_write, settings, fit, transform, progress)
    return dataclasses.replace(found, profiles=None if output is None else Path(output))


def _profiled(
    table: RowTable,
    paths: Mapping[str, Path],
    settings: ProfileSettings,
    fit: TransformSettings | None,
    transform: str | Path | None,
    progress: ShowProgress,
) -> Profiled:
    """Compute and write what `paths` names, by kind; hold the profiles where it names none."""
    used = table.defined() if settings.drop_undefined else np.ones(table.num_rows, np.bool_)
    columns = table.unit_columns(settings.replicate_columns, "`replicate`")
    replicates = table.groups(*columns)
    given = columns_of(settings.summarize_by)
    # compounds come again on every plate; wells must not
    what = "`summarize_by`" if any(map(is_place, given)) else None
    by = table.unit_columns(given, what) or ("protein",)
    proteins = table.groups(*by, distinct_case=settings.distinct_case)
    named = proteins.codes >= 0
    left_out = {
        "cells_undefined": int((~used).sum()),
        "cells_without_protein": int((used & ~named).sum()),
        "cells_without_replicate": int((used & named & (replicates.codes < 0)).sum()),
    }
    proteins, too_few = _with_enough(
        table, proteins, used & (replicates.codes >= 0), settings.min_cells
    )
    kinds, described = _described(table, proteins, by, settings.distinct_case)
    fitted, codes = _transform(table, used, settings, fit, transform)
    names = table.feature_names if fitted is None else fitted.output_names
    made_from = table.made_from("cells")
    if transform is not None:
        made_from.append(parent("transform", transform))
    provenance = _provenance(table, settings, columns, fitted, made_from) | {
        "left_out": {**left_out, "proteins_with_too_few_cells": list(too_few)}
    }
    with contextlib.ExitStack() as stack:
        writers: list[TableWriter | TableHolder] = [
            stack.enter_context(
                writing_table(path, names, kinds | _columns(settings), {**provenance, "kind": kind})
            )
            for kind, path in paths.items()
            if kind != "transform"
        ]
        holder = None
        if not writers:
            described_as = {**provenance, "kind": "profiles"}
            holder = TableHolder(names, kinds | _columns(settings), described_as)
            writers.append(holder)
        of_cells = replicates if columns else None
        total = int(np.count_nonzero(proteins.counts()))
        count = stack.enter_context(counting(progress, "Profiling proteins", total))
        blocks = _grouped(table, proteins, of_cells, len(names), fitted, codes, settings.memory)
        for number, vectors in blocks:
            _append(writers, proteins.names[number], described[number], *vectors, settings)
            count(writers[0].num_rows)
        num_proteins = writers[0].num_rows
        if "transform" in paths and fitted is not None:
            save_transform(paths["transform"], fitted, made_from)
    num_cells = int((proteins.codes >= 0).sum())
    return Profiled(
        None,
        None if holder is None else holder.table(),
        num_proteins,
        len(names),
        num_cells,
        left_out["cells_undefined"],
        left_out["cells_without_protein"],
        left_out["cells_without_replicate"],
        by,
        too_few,
        columns,
        fitted,
    )


def _paths(
    output: Path | None,
    settings: ProfileSettings,
    fit: TransformSettings | None,
    transform: str | Path | None,
    save: str | Path | None,
) -> Mapping[str, Path]:
    """What is written, by kind: all names are good and free."""
    fits = fit is not None and fit.fits_something
    if fits and transform is not None:
        msg = (
            "A transform must be fitted or given, not both. Received: "
            f"transform={str(transform)!r} and settings to fit. Leave one out."
        )
        raise ValueError(msg)
    if save is not None and not fits:
        msg = (
            f"A transform must be fitted to be saved. Received: save={str(save)!r} and nothing to "
            "fit. Ask for one (--normalize, --sphere, --components)."
        )
        raise ValueError(msg)
    paths = {}
    if output is None and settings.intervals:
        msg = (
            "Intervals must be written beside a table of profiles. Received: intervals=True and no "
            "`output`. Name a file."
        )
        raise ValueError(msg)
    if output is not None:
        check_table(output)
        paths = {"profiles": output}
    if output is not None and settings.intervals:
        for end in ("low", "high"):
            paths[end] = output.with_name(f"{output.stem}.{end}{output.suffix}")
    if save is not None:
        paths["transform"] = Path(save)
    return paths


def _with_enough(
    table: RowTable, groups: Groups, used: NDArray[np.bool_], min_cells: int
) -> tuple[Groups, tuple[str, ...]]:
    """Proteins of the used rows, without those that have too few cells, and these."""
    groups = Groups(groups.names, np.where(used, groups.codes, np.int32(-1)))
    enough = groups.counts() >= min_cells
    if not enough.any():
        most = max(groups.counts(), default=0)
        undefined = int((~used).sum())
        msg = (
            f"Some protein must have {min_cells} cells or more. Received: {len(groups.names)} "
            f"proteins with {most} or fewer in {table.path}"
            + (f", {undefined} of {table.num_rows} cells being left out." if undefined else ".")
        )
        raise ValueError(msg)
    kept = np.where(enough[groups.codes] & (groups.codes >= 0), groups.codes, np.int32(-1))
    few = [name for name, good in zip(groups.names, enough, strict=True) if not good]
    return Groups(groups.names, kept), tuple(few)


def _described(
    table: RowTable, groups: Groups, by: Sequence[str], distinct_case: bool
) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Columns of the result that say what a row is of, their types, and their values by group."""
    if tuple(by) == ("protein",):
        return {"protein": "text"}, [{"protein": name} for name in groups.names]
    rows = np.flatnonzero(groups.codes >= 0)
    codes = groups.codes[rows]
    first = np.zeros(len(groups.names), np.int64)
    first[codes[::-1]] = rows[::-1]
    kinds = dict.fromkeys(by, "text")
    values: dict[str, list[Any]] = {}
    for name, kind in table.columns.items():
        column = table.column(name)
        own = pd.factorize(column, use_na_sentinel=False)[0]
        if name in by:
            texts = [str(value) for value in column[first]]
            spelling = spelled(texts, name, distinct_case=distinct_case)
            values[name] = [spelling[text] for text in texts]
        elif name not in (*_OURS, "key") and (own[rows] == own[first[codes]]).all():
            kinds[name], values[name] = kind, column[first].tolist()
    each = zip(*values.values(), strict=True)
    return kinds, [dict(zip(values, row, strict=True)) for row in each]


def _transform(
    table: RowTable,
    used: NDArray[np.bool_],
    settings: ProfileSettings,
    fit: TransformSettings | None,
    path: str | Path | None,
) -> tuple[Transform | None, NDArray[np.int32]]:
    """The transform, fitted or loaded, and the group of each row."""
    if path is not None:
        fitted = load_transform(path)
    elif fit is not None and fit.fits_something:
        fitted = fit_transform(table, fit, used, seed=settings.seed)
    else:
        return None, np.zeros(table.num_rows, np.int32)
    return group_codes(
        table, fitted, used, fit_new_groups=settings.fit_new_groups, seed=settings.seed
    )


def _grouped(
    table: RowTable,
    proteins: Groups,
    replicates: Groups | None,
    width: int,
    fitted: Transform | None,
    codes: NDArray[np.int32],
    memory: int,
) -> Iterator[tuple[int, tuple[NDArray[np.float32], int]]]:
    """Index of each protein, its vectors (of cells or replicates), and its number of cells."""

    def transformed(vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return vectors if fitted is None else fitted.apply(vectors, codes[rows])

    blocks = vectors_by_protein(table, proteins, width, transformed, memory)
    for protein, rows, vectors in blocks:
        if replicates is None:
            yield protein, (vectors, len(rows))
        else:
            yield protein, (means_by_replicate(vectors, replicates.codes[rows]), len(rows))


def _append(
    writers: Sequence[TableWriter | TableHolder],
    name: str,
    described: Mapping[str, Any],
    vectors: NDArray[np.float32],
    num_cells: int,
    settings: ProfileSettings,
) -> None:
    """Write the profile of one protein, and the ends of its intervals where they are wanted."""
    vector = SUMMARIES[settings.method](vectors)
    row: dict[str, list[Any]] = {
        **{column: [value] for column, value in described.items()},
        "num_crops": [num_cells],
        "dispersion": [dispersion(vectors, vector)],
    }
    if settings.replicate_columns:
        row["num_replicates"] = [len(vectors)]
    # of its own, so that the order of proteins and the memory change nothing
    generator = np.random.default_rng([settings.seed, zlib.crc32(name.encode())])
    errors = standard_errors(vectors, settings.method, settings.num_resamples, generator)
    ends = [vector]
    if errors is not None:
        row["standard_error"] = [float(np.sqrt(np.square(errors).sum()))]
        half = half_widths(errors, len(vectors), LEVEL)
        ends += [vector - half, vector + half]
    for writer, values in zip(writers, ends, strict=False):
        writer.append(values[None].astype(np.float32), row)


def _columns(settings: ProfileSettings) -> dict[str, str]:
    return {
        "num_crops": "int64",
        **({"num_replicates": "int64"} if settings.replicate_columns else {}),
        "dispersion": "float32",
        **({"standard_error": "float32"} if settings.has_errors else {}),
    }


def _provenance(
    table: RowTable,
    settings: ProfileSettings,
    columns: Sequence[str],
    fitted: Transform | None,
    made_from: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Where the cells came from, and what became of them."""
    origin = {n: v for n, v in table.provenance.items() if n not in ("columns", "command")}
    left_out = {"memory", *(() if settings.summarize_by else ("summarize_by",))}
    described = {n: v for n, v in dataclasses.asdict(settings).items() if n not in left_out}
    return {
        **origin,
        "profile": {
            **described,
            "replicate": ",".join(settings.replicate_columns) or None,
            "replicate_columns": list(columns),
        },
        "transform": None if fitted is None else dict(fitted.settings),
        "interval_level": LEVEL,
        "made_from": list(made_from),
        "deeploc_tf": __version__,
    }
