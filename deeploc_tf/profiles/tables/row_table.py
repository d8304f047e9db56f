"""A table of any format, some rows at a time: what is larger than memory need not fit into it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.names import tidy
from deeploc_tf.profiles.tables.foreign import our_name
from deeploc_tf.profiles.tables.table_format import (
    NUMBER_TYPES,
    Digests,
    LaterVersionError,
    Stored,
)
from deeploc_tf.profiles.tables.vector_table import VectorTable
from deeploc_tf.provenance import parent
from deeploc_tf.text_tables import TableError
from deeploc_tf.units import check_unit, spelled, told_path, whole_path
from tfrecords.errors import did_you_mean

ROWS_AT_ONCE = 8192


@dataclasses.dataclass(frozen=True)
class Groups:
    """Which group each row belongs to.

    Attributes:
        names: of the groups, in alphabetical order.
        codes: int32 `(num_rows,)`, index into `names`; -1 where the row has no name.
    """

    names: tuple[str, ...]
    codes: NDArray[np.int32]

    def counts(self) -> NDArray[np.int64]:
        """Number of rows of each group."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))


@dataclasses.dataclass(frozen=True)
class RowTable:
    """A table of any format, opened and not read.

    Attributes:
        stored: what its format gives of it.
        columns: metadata columns and their types.
        provenance: JSON values, as in `VectorTable`.
        digests: what is read is compared with them; None in a table of version 1, or of another
            program.
        called: role, such as `protein`, -> the column that the user said to have it.
    """

    stored: Stored
    columns: Mapping[str, str]
    provenance: Mapping[str, Any]
    digests: Digests | None = None
    called: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Of the file."""
        return self.stored.path

    @property
    def num_rows(self) -> int:
        """How many there are."""
        return self.stored.num_rows

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One a feature; where the file has none, made from the layer's name."""
        return self.stored.feature_names

    @property
    def num_features(self) -> int:
        """Length of the vectors."""
        return len(self.feature_names)

    def made_from(self, what: str) -> list[dict[str, Any]]:
        """Its file as a parent, see `deeploc_tf.provenance.parent`; if it is none, its parents."""
        if self.stored.is_file:
            return [parent(what, self.path, self.provenance)]
        return list(self.provenance.get("made_from", ()))

    def read(self) -> VectorTable:
        """All of it, held in memory.

        Raises:
            ValueError: it is not as it was written.
        """
        metadata = pd.DataFrame({name: self.column(name) for name in self.columns})
        return VectorTable(self.read_features(), metadata, self.provenance, self.feature_names)

    def read_features(self) -> NDArray[np.float32]:
        """All vectors, float32 `(num_rows, num_features)`, the caller's to change."""
        features = np.empty((self.num_rows, self.num_features), np.float32)
        for place, chunk in self.chunks():
            features[place] = chunk
        return features

    def chunks(self, num_rows: int = ROWS_AT_ONCE) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Rows from the first to the last: their place, and float32 `(rows, num_features)`.

        The arrays are the caller's to change.

        Raises:
            ValueError: they are not as they were written; chunks that came before may be of the
                same block.
        """
        with damage_told(self.path):
            start = 0
            check = self.digests.of_features() if self.digests is not None else None
            for chunk in _of_size(self.stored.blocks(num_rows), num_rows):
                if check is not None:
                    check.add(chunk)
                yield slice(start, start + len(chunk)), chunk
                start += len(chunk)
            if check is not None:
                check.finish()
            if start != self.num_rows:
                msg = f"{start} rows instead of {self.num_rows}"
                raise KeyError(msg)

    def used_chunks(
        self, used: NDArray[np.bool_]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Some of the rows: their numbers, and float32 `(rows, num_features)`.

        Args:
            used: bool `(num_rows,)`.

        Raises:
            ValueError: a used row has a feature that is not a finite number.
        """
        for place, chunk in self.chunks():
            inside = used[place]
            if not inside.any():
                continue
            rows = place.start + np.flatnonzero(inside)
            vectors = chunk if inside.all() else chunk[inside]
            finite = np.isfinite(vectors)
            if not finite.all():
                row, feature = np.argwhere(~finite)[0]
                msg = (
                    "Every feature of every row must be a finite number. Received: "
                    f"{self.feature_names[feature]}={vectors[row, feature]} in row {rows[row]} of "
                    f"{self.path}. Leave such rows out (--drop-undefined), or measure again."
                )
                raise ValueError(msg)
            yield rows, vectors

    def defined(self) -> NDArray[np.bool_]:
        """Which rows are finite in every feature, `(num_rows,)`."""
        found = np.empty(self.num_rows, np.bool_)
        for place, chunk in self.chunks():
            found[place] = np.isfinite(chunk).all(axis=1)
        return found

    def column(self, name: str) -> NDArray[Any]:
        """A metadata column, `(num_rows,)`."""
        role = self._known(name)
        name, kind = self.called.get(role, role), self.columns[role]
        with damage_told(self.path):
            values = self.stored.column(name)
            if kind != "text":
                values = values.astype(NUMBER_TYPES[kind], copy=False)
            if self.digests is not None:
                check = self.digests.of_column(name, kind)
                check.add(values)
                check.finish()
            if len(values) != self.num_rows:
                msg = f"{len(values)} values of column {name!r} instead of {self.num_rows}"
                raise KeyError(msg)
            return values

    def groups(self, *names: str, distinct_case: bool = True) -> Groups:
        """The groups of rows that agree in some columns; those of several are `first/second`.

        Values that are spelled in several ways are one where `deeploc_tf.names` says so.

        Args:
            *names: of the columns.
            distinct_case: let proteins that differ in case be two.

        Raises:
            ValueError: there is no such column; two values may or may not be one; or values of
                several columns, put together, cannot be told apart.
        """
        if not names:
            return Groups(("",), np.zeros(self.num_rows, np.int32))
        groups = self._groups_of(names[0], distinct_case)
        for name in names[1:]:
            further = self._groups_of(name, distinct_case)
            both = groups.codes.astype(np.int64) * len(further.names) + further.codes
            both[(groups.codes < 0) | (further.codes < 0)] = -1
            codes, found = pd.factorize(np.where(both < 0, np.nan, both), use_na_sentinel=True)
            pairs = [divmod(int(pair), len(further.names)) for pair in found]
            texts = [f"{groups.names[i]}/{further.names[j]}" for i, j in pairs]
            if len(set(texts)) < len(texts):
                twice = next(text for text in texts if texts.count(text) > 1)
                msg = (
                    f"Values of {', '.join(names)} must tell groups apart when a slash is put "
                    f"between them. Received: {twice!r} for two groups of {self.path}. Write these "
                    "values without slashes."
                )
                raise ValueError(msg)
            groups = _sorted_groups(codes, texts)
        return groups

    def unit_columns(self, columns: Sequence[str], what: str | None = None) -> tuple[str, ...]:
        """Columns that name a unit, such as `field`, with those above it, such as `plate`.

        Columns without any value are no part of it.

        Args:
            columns: as given.
            what: that they were given for; what they mean is then logged where they mean more than
                they say.

        Raises:
            ValueError: there is no such column, or the unit is numbered anew under another one, see
                `deeploc_tf.units.check_unit`.
        """
        columns = [self._known(name) for name in columns]
        above = set(whole_path(columns, self.columns)) - set(columns)
        empty = {name for name in above if not self._has_value(name)}
        known = [name for name in self.columns if name not in empty]
        if what is None:
            return whole_path(columns, known)
        path = told_path(columns, known, what)
        check_unit(path, lambda name: self.column(name).astype(str).tolist(), known, what)
        return path

    def _groups_of(self, name: str, distinct_case: bool) -> Groups:
        codes, found = pd.factorize(self.column(name))
        texts = [str(value) for value in found]
        spelling = spelled(texts, name, distinct_case=distinct_case)
        return _sorted_groups(codes, [spelling[text] for text in texts])

    def _has_value(self, name: str) -> bool:
        return any(tidy(str(value)) for value in pd.factorize(self.column(name))[1])

    def _known(self, name: str) -> str:
        """The column that is called so, in this table or in its file."""
        if name in self.columns:
            return name
        roles = {column: role for role, column in self.called.items()}
        for ours in (roles.get(name), our_name(name)):
            if ours is not None and ours in self.columns:
                return ours
        remedy = " Name the column of the proteins (--protein)." if name == "protein" else ""
        msg = (
            f"A column must be one of {', '.join(self.columns) or 'none'}. Received: {name!r} for "
            f"{self.path}.{did_you_mean(name, self.columns) or remedy}"
        )
        raise ValueError(msg)


def check_same_features(first: Mapping[str, Any], second: Mapping[str, Any], must: str) -> None:
    """Raise `ValueError` unless features of two origins mean the same.

    Args:
        first: `num_features`, and where known `feature_names` and the provenance's `layer`,
            `features` and `model_sha256`.
        second: likewise.
        must: what must hold, as a sentence.
    """
    for name in ("num_features", "layer", "features", "model_sha256", "feature_names"):
        ours, theirs = first.get(name), second.get(name)
        if ours is not None and theirs is not None and ours != theirs:
            if name == "feature_names":
                ours, theirs = next((a, b) for a, b in zip(ours, theirs, strict=True) if a != b)
            msg = (
                f"{must} Received: {name}={ours!r} and {name}={theirs!r}. Embed both with one "
                "model and one layer."
            )
            raise ValueError(msg)


def origin(table: RowTable) -> dict[str, Any]:
    """What `check_same_features` compares, JSON-ready."""
    kept = ("layer", "features", "model_sha256")
    return {
        "num_features": table.num_features,
        "feature_names": list(table.feature_names),
        **{name: table.provenance[name] for name in kept if name in table.provenance},
    }


def _sorted_groups(codes: NDArray[Any], names: Sequence[str]) -> Groups:
    """Groups in alphabetical order; rows of the empty name belong to none."""
    order = sorted(set(names) - {""})
    place = {name: number for number, name in enumerate(order)}
    new = np.array([*(place.get(name, -1) for name in names), -1], np.int32)  # the last: code -1
    return Groups(tuple(order), new[codes])


def _of_size(blocks: Iterable[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    """The same rows, so many at a time, whatever the format gives: sums do not depend on it."""
    waiting: list[NDArray[np.float32]] = []
    count = 0
    for block in blocks:
        start = 0
        while count + len(block) - start >= size:
            stop = start + size - count
            yield _joined([*waiting, block[start:stop]])
            waiting, count, start = [], 0, stop
        if start < len(block):
            waiting.append(block[start:])
            count += len(block) - start
    if waiting:
        yield _joined(waiting)


def _joined(blocks: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


@contextlib.contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Give what libraries say of a damaged file the name of the file; they raise all kinds."""
    try:
        yield
    except (FileNotFoundError, LaterVersionError, TableError, ImportError, MemoryError):
        raise
    except Exception as error:
        msg = (
            "A table must be one that `embed` or `measure` wrote. Received: "
            f"{str(path)!r} ({error}). Write it again."
        )
        raise ValueError(msg) from error
