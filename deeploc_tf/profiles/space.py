"""Search: the rows of a table that are most like a given one, exactly."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.joins import joined
from deeploc_tf.names import respelled
from deeploc_tf.profiles.choices import Similarity
from deeploc_tf.profiles.reading import check_proteins
from deeploc_tf.profiles.tables import NO_ROLES, AnyTable, Roles, open_rows
from tfrecords.errors import did_you_mean

SIMILARITIES: tuple[Similarity, ...] = get_args(Similarity)

logger = logging.getLogger(__name__)

_ROWS_AT_ONCE = 8192


@dataclasses.dataclass(frozen=True)
class Space:
    """Rows among which to search.

    Attributes:
        names: of the rows: proteins, or where rows are cells their keys.
        proteins: of the rows.
        vectors: float32 `(num_rows, num_features)`; of unit length but where distances are asked
            for.
        similarity: "cosine"; "pearson", the correlation over the features; or "euclidean", minus
            the distance.
        left_out: names of rows that have no similarity: not finite, or without length.
        are_keys: rows are cells, and their names keys.
        made_from: the table, see `deeploc_tf.provenance.parent`; nothing if it is no file.
    """

    names: tuple[str, ...]
    proteins: tuple[str, ...]
    vectors: NDArray[np.float32]
    similarity: Similarity
    left_out: tuple[str, ...]
    are_keys: bool = False
    made_from: tuple[Mapping[str, Any], ...] = ()

    def rows_of(self, names: Sequence[str]) -> NDArray[np.int64]:
        """The row of each name, in whatever spelling; see `deeploc_tf.names`.

        Raises:
            ValueError: a name is not among them; the nearest one is told.
        """
        place = {name: row for row, name in enumerate(self.names)}
        if unknown := [name for name in names if name not in place]:
            words = "names that were asked for", "names of the table"
            known = (*self.names, *self.left_out)
            found = joined(unknown, known, "key" if self.are_keys else "protein", words)
            if found.respelled:
                logger.info("%s", respelled(found.respelled, "Names"))
            names = [found.partners.get(name, name) for name in names]
        for name in names:
            if name in self.left_out:
                msg = (
                    "A profile must be finite and have a length (for a correlation: vary) to be "
                    f"compared. Received: {name!r}, which is not or has none."
                )
                raise ValueError(msg)
            if name not in place:
                msg = (
                    f"A name must be one of the {len(self.names)} in the table. Received: "
                    f"{name!r}.{did_you_mean(name, self.names)}"
                )
                raise ValueError(msg)
        return np.array([place[name] for name in names], np.int64)

    def similarities(
        self, queries: NDArray[np.int64], rows: NDArray[np.int64] | slice
    ) -> NDArray[np.float32]:
        """Similarity of each query to each of some rows, `(num_queries, num_rows)`."""
        return self._compare(self.vectors[queries], self.vectors[rows])

    def _compare(
        self, first: NDArray[np.float32], second: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        products = first @ second.T
        if self.similarity != "euclidean":
            return np.asarray(products, np.float32)
        squares = [np.einsum("ij,ij->i", part, part) for part in (first, second)]
        distances = np.sqrt(np.maximum(squares[0][:, None] + squares[1] - 2 * products, 0))
        return -np.asarray(distances, np.float32)


def read_space(
    table: AnyTable,
    similarity: Similarity = "cosine",
    *,
    center: bool = False,
    roles: Roles = NO_ROLES,
    distinct_case: bool = False,
) -> Space:
    """A table to search in, of any format: profiles, or cells; held in memory once.

    Args:
        table: path of the file, or a table in memory, see `open_rows`.
        similarity: see `Space`.
        center: whether to take the mean of all rows off first: vectors after a ReLU all point into
            one corner, and their cosines are all near 1.
        roles: which column names the protein.
        distinct_case: let proteins of profiles whose names differ in case alone be two.

    Raises:
        ValueError: the table is none, has two rows of one name, or fewer than two rows that can be
            compared.

    Example:
        space = read_space("cells.profiles.parquet", "pearson")
    """
    rows = open_rows(table, roles)
    names = proteins = rows.column("protein").tolist()
    if "key" in rows.columns:
        names = rows.column("key").tolist()
    else:
        check_proteins(proteins, rows.path, distinct_case=distinct_case)
    space = search_space(rows.read_features(), names, proteins, similarity, center=center)
    made_from = tuple(rows.made_from("profiles"))
    return dataclasses.replace(space, are_keys="key" in rows.columns, made_from=made_from)


def search_space(
    vectors: NDArray[np.float32],
    names: Sequence[str],
    proteins: Sequence[str],
    similarity: Similarity = "cosine",
    *,
    center: bool = False,
) -> Space:
    """Make rows comparable; `vectors` are changed in place, so that they are held once.

    Args:
        vectors: float32 `(num_rows, num_features)`.
        names: one a row.
        proteins: one a row.
        similarity: see `Space`.
        center: see `read_space`.
    """
    if similarity not in SIMILARITIES:
        msg = (
            f"`similarity` must be one of {', '.join(SIMILARITIES)}. Received: similarity="
            f"{similarity!r}.{did_you_mean(str(similarity), SIMILARITIES)}"
        )
        raise ValueError(msg)
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        msg = f"Each row must have a name of its own. Received: {twice!r} more than once."
        raise ValueError(msg)
    usable: NDArray[np.bool_] = np.asarray(np.isfinite(vectors).all(axis=1))
    if usable.any() and (
        center or similarity == "euclidean"
    ):  # distances lose least around the mean
        vectors -= vectors[usable].mean(axis=0, dtype=np.float64).astype(np.float32)
    if similarity != "euclidean":
        usable &= _scale_rows(vectors, similarity)
    if usable.sum() < 2:
        msg = (
            "Two rows or more must be finite and have a length (for a correlation: vary). "
            f"Received: {int(usable.sum())} of {len(names)} that do."
        )
        raise ValueError(msg)
    if usable.all():
        return Space(tuple(names), tuple(proteins), vectors, similarity, ())
    kept = np.flatnonzero(usable)
    return Space(
        tuple(itertools.compress(names, usable)),
        tuple(itertools.compress(proteins, usable)),
        vectors[kept],
        similarity,
        tuple(itertools.compress(names, ~usable)),
    )


def nearest(
    space: Space, queries: NDArray[np.int64], k: int, *, block_bytes: int = 256 << 20
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k rows most like each query, itself left out, the most like first.

    Of rows that are equally like it, those that come first in the table are taken.

    Args:
        space: to search in.
        queries: rows, `(num_queries,)`.
        k: number of neighbors; fewer where there are not so many rows.
        block_bytes: memory for similarities, a row of them at least.

    Returns:
        Rows and similarities, `(num_queries, k)`.

    Example:
        space = read_space("cells.profiles.parquet")
        rows, similarities = nearest(space, space.rows_of(["AAC1"]), 5)
    """
    total = len(space.names)
    k = min(k, total - 1)
    rows = np.empty((len(queries), k), np.int64)
    likeness = np.empty((len(queries), k), np.float32)
    step = max(1, block_bytes // (4 * total))
    for start in range(0, len(queries), step):
        part = queries[start : start + step]
        block = space.similarities(part, slice(None))
        block[np.arange(len(part)), part] = -np.inf
        least = np.partition(block, total - k, axis=1)[:, total - k]
        for number, (scores, edge) in enumerate(zip(block, least, strict=True), start):
            candidates = np.flatnonzero(scores >= edge)
            order = np.lexsort((candidates, -scores[candidates]))[:k]
            rows[number] = candidates[order]
            likeness[number] = scores[rows[number]]
    return rows, likeness


def _scale_rows(vectors: NDArray[np.float32], similarity: Similarity) -> NDArray[np.bool_]:
    """Give rows unit length, in place; says which have one."""
    usable = np.empty(len(vectors), np.bool_)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        block = vectors[part].astype(np.float64)
        if similarity == "pearson":
            constant = (block == block[:, :1]).all(axis=1)
            block -= block.mean(axis=1, keepdims=True)
            block[constant] = 0
        lengths = np.linalg.norm(block, axis=1, keepdims=True)
        usable[part] = np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            vectors[part] = block / lengths
    return usable
