"""How alike profiles are: four similarities, each pair computed once, whole or in blocks."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import get_args

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from deeploc_tf.benchmark.choices import Kind
from deeploc_tf.names import same_form

KINDS: tuple[Kind, ...] = get_args(Kind)

_BLOCK = 512  # rows
_COARSE = 1024.0  # added and taken away, it leaves multiples of 2e-13: no noise around zero
_NOTHING = 1e-12  # of the sum of two squares: what is left of the distance of equal vectors

Places = slice | NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Similarities:
    """Similarities of every two proteins, kept as a matrix where it is small enough.

    Attributes:
        vectors: `(num_proteins, num_features)`, whose products are the similarities.
        squares: float64 `(num_proteins,)`, squared lengths of the vectors where distances are
            wanted, else None.
        matrix: float32 `(num_proteins, num_proteins)`, exactly symmetric, or None: too large.
        rows_at_once: how many rows pooled scores look at; the last bit of a product depends on it.
        groups: int64 `(num_proteins,)` where proteins are compared within their group alone: any
            others are minus infinity alike, behind all in each ranking. None: one group.
    """

    vectors: NDArray[np.floating]
    squares: NDArray[np.float64] | None
    matrix: NDArray[np.float32] | None
    rows_at_once: int = 256
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def num_partners(self) -> NDArray[np.int64]:
        """How many others each protein is compared with, int64 `(num_proteins,)`."""
        if self.groups is None:
            return np.full(len(self), len(self) - 1)
        _, group, sizes = np.unique(self.groups, return_inverse=True, return_counts=True)
        partners: NDArray[np.int64] = sizes[group] - 1
        return partners

    def block(self, rows: Places, columns: Places) -> NDArray[np.float32]:
        """Similarities of some rows to some columns."""
        block = self._block(rows, columns)
        if self.groups is None:
            return block
        together = self.groups[rows, None] == self.groups[columns]
        return np.where(together, block, np.float32(-np.inf))

    def _block(self, rows: Places, columns: Places) -> NDArray[np.float32]:
        if self.matrix is not None:
            return self.matrix[rows][:, columns]
        products = self.vectors[rows] @ self.vectors[columns].T
        if self.squares is None:
            if products.dtype == np.float64:
                products += _COARSE
                products -= _COARSE
            return np.asarray(products, np.float32)
        sums = self.squares[rows, None] + self.squares[columns]
        squares = sums - 2 * products
        squares[squares < _NOTHING * sums] = 0
        distances: NDArray[np.float32] = np.sqrt(squares).astype(np.float32)
        return -distances

    def of_groups(self, groups: NDArray[np.int64]) -> Similarities:
        """The same, of proteins that are compared within groups alone."""
        return dataclasses.replace(self, groups=groups)

    def among(self, proteins: NDArray[np.int64]) -> Similarities:
        """The similarities of some of the proteins, by their rows."""
        return dataclasses.replace(
            self,
            vectors=self.vectors[proteins],
            squares=None if self.squares is None else self.squares[proteins],
            matrix=None if self.matrix is None else self.matrix[np.ix_(proteins, proteins)],
            groups=None if self.groups is None else self.groups[proteins],
        )


def usable_profiles(
    features: NDArray[np.float32], names: Sequence[str], kind: Kind = "cosine"
) -> NDArray[np.bool_]:
    """Which profiles have a similarity: those that are finite and have a length.

    For a correlation a constant profile has no length; for distances every finite one is usable.

    Raises:
        ValueError: two profiles have one name, or fewer than two are usable.
    """
    forms = [same_form(name, "protein") for name in names]
    double = sorted(name for name, count in Counter(forms).items() if count > 1)[:3]
    if len(names) < 2 or double:
        msg = (
            "Profiles must be two or more, each of another protein. Received: "
            f"{len(names)} profiles" + (f", {double} more than once." if double else ".")
        )
        raise ValueError(msg)
    unusable = unusable_profiles(features, kind)
    usable: NDArray[np.bool_] = ~np.any(list(unusable.values()), axis=0)
    if usable.sum() < 2:
        bad = [name for name, good in zip(names, usable, strict=True) if not good]
        msg = (
            "Two profiles or more must be finite and not zero everywhere (nor constant, for "
            f"correlations). Received: {bad[:3]} ({len(bad)} of {len(names)}) that are not."
        )
        raise ValueError(msg)
    return usable


def unusable_profiles(
    features: NDArray[np.float32], kind: Kind = "cosine"
) -> dict[str, NDArray[np.bool_]]:
    """Which profiles have no similarity, by reason: `not_finite`, `all_zero`, `constant`."""
    features = np.asarray(features)
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(features).all(axis=1))
    without_length = np.zeros(len(features), bool)
    if kind != "euclidean":
        without_length[finite] = np.linalg.norm(_centered(features[finite], kind), axis=1) == 0
    constant = without_length & features.any(axis=1)
    return {
        "not_finite": ~finite,
        "all_zero": without_length & ~constant,
        "constant": constant,
    }


def similarities_of(
    features: NDArray[np.float32],
    kind: Kind = "cosine",
    memory: int | None = None,
    *,
    largest_matrix: int = 8192,
) -> Similarities:
    """Similarities of every two rows.

    Scores that are equal in theory must tie, or the order of the rows would decide; so products
    are of float64 and rounded to float32 at last. Only of more than
    `largest_matrix` different rows, whose products take their time, are they of float32.

    Args:
        features: `(num_proteins, num_features)`, all usable, see `usable_profiles`.
        kind: cosine; Pearson's or Spearman's correlation; or minus the Euclidean distance.
        memory: bytes that a matrix may take; None has no bound.
        largest_matrix: of more proteins no matrix is kept; that of 8,192 takes 256 MiB.

    Raises:
        ValueError: the kind is none of these.
    """
    if kind not in KINDS:
        msg = f"`similarity` must be one of {', '.join(KINDS)}. Received: similarity={kind!r}."
        raise ValueError(msg)
    count = len(features)
    if kind == "euclidean":
        # around their mean, so that the difference of large squares loses least
        vectors = features - features.mean(axis=0, dtype=np.float64)
        made = Similarities(vectors, np.einsum("ij,ij->i", vectors, vectors), None)
    else:
        centered = _centered(features, kind)
        vectors = centered / np.linalg.norm(centered, axis=1, keepdims=True)
        if count > largest_matrix:
            short = vectors.astype(np.float32)
            if len({row.tobytes() for row in short}) == count:
                vectors = short
        made = Similarities(vectors, None, None)
    if count > largest_matrix or (memory is not None and 4 * count**2 > memory):
        return made
    return dataclasses.replace(made, matrix=_matrix(made))


def _matrix(similarities: Similarities) -> NDArray[np.float32]:
    """The whole matrix; each score is computed once, as that of a product may differ in a bit."""
    count = len(similarities)
    matrix = np.empty((count, count), np.float32)
    for start in range(0, count, _BLOCK):
        rows = slice(start, start + _BLOCK)
        block = similarities.block(rows, slice(start, None))
        width = len(block)
        upper = np.triu(block[:, :width], 1)
        matrix[rows, rows] = upper + upper.T
        matrix[rows, start + width :] = block[:, width:]
        matrix[start + width :, rows] = block[:, width:].T
    return matrix


def cosine_similarities(features: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.float32]:
    """Cosine similarity of every two rows, float32 `(num_rows, num_rows)`, zero on the diagonal.

    Raises:
        ValueError: two rows have one name, or a row has no length.
    """
    usable = usable_profiles(features, names)
    if not usable.all():
        bad = [name for name, good in zip(names, usable, strict=True) if not good]
        msg = f"Profiles must be finite and not zero everywhere. Received: {bad[:3]}."
        raise ValueError(msg)
    made = similarities_of(features)
    return _matrix(made) if made.matrix is None else made.matrix


def _centered(features: NDArray[np.float32], kind: Kind) -> NDArray[np.float64]:
    """Float64 rows whose cosine is the similarity; a constant row of a correlation is all zero."""
    values = np.asarray(features, np.float64)
    if kind == "cosine" or not len(values):
        return values
    if kind == "spearman":
        values = np.asarray(scipy.stats.rankdata(values, axis=1), np.float64)
    constant = (values == values[:, :1]).all(axis=1, keepdims=True)
    return np.where(constant, 0.0, values - values.mean(axis=1, keepdims=True))
