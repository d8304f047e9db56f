"""How alike profiles are: four similarities, each pair computed once, whole or in blocks."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import scipy.stats
from numpy.typing import NDArray

Kind = Literal["cosine", "pearson", "spearman", "euclidean"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_LARGEST_MATRIX = 8192  # proteins; 256 MiB


@dataclasses.dataclass(frozen=True)
class Similarities:
    """Similarities of every two proteins, kept as a matrix where it is small enough.

    Attributes:
        vectors: `(num_proteins, num_features)`, whose products are the similarities; of float64
            where distances are wanted, else of float32.
        squares: float64 `(num_proteins,)`, squared lengths of the vectors where distances are
            wanted, else None.
        matrix: float32 `(num_proteins, num_proteins)`, exactly symmetric, or None: too large.
    """

    vectors: NDArray[np.floating]
    squares: NDArray[np.float64] | None
    matrix: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.vectors)

    def block(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Similarities of some rows to some columns."""
        if self.matrix is not None:
            return self.matrix[rows, columns]
        products = self.vectors[rows] @ self.vectors[columns].T
        if self.squares is None:
            return np.asarray(products, np.float32)
        squares = self.squares[rows, None] + self.squares[columns] - 2 * products
        distances: NDArray[np.float32] = np.sqrt(np.maximum(squares, 0)).astype(np.float32)
        return -distances

    def among(self, proteins: NDArray[np.int64]) -> Similarities:
        """The similarities of some of the proteins, by their rows."""
        return Similarities(
            self.vectors[proteins],
            None if self.squares is None else self.squares[proteins],
            None if self.matrix is None else self.matrix[np.ix_(proteins, proteins)],
        )


def usable_profiles(
    features: NDArray[np.float32], names: Sequence[str], kind: Kind = "cosine"
) -> NDArray[np.bool_]:
    """Which profiles have a similarity: those that are finite and have a length.

    For a correlation a constant profile has no length; for distances every finite one is usable.

    Raises:
        ValueError: two profiles have one name, or fewer than two are usable.
    """
    double = sorted(name for name, count in Counter(names).items() if count > 1)[:3]
    if len(names) < 2 or double:
        msg = (
            "Profiles must be two or more, each of another protein. Received: "
            f"{len(names)} profiles" + (f", {double} more than once." if double else ".")
        )
        raise ValueError(msg)
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(features).all(axis=1))
    usable = finite.copy()
    if kind != "euclidean":
        usable[finite] = np.linalg.norm(_centered(features[finite], kind), axis=1) > 0
    if usable.sum() < 2:
        bad = [name for name, good in zip(names, usable, strict=True) if not good]
        msg = (
            "Two profiles or more must be finite and not zero everywhere (nor constant, for "
            f"correlations). Received: {bad[:3]} ({len(bad)} of {len(names)}) that are not."
        )
        raise ValueError(msg)
    return usable


def similarities_of(features: NDArray[np.float32], kind: Kind = "cosine") -> Similarities:
    """Similarities of every two rows.

    Args:
        features: `(num_proteins, num_features)`, all usable, see `usable_profiles`.
        kind: cosine; Pearson's or Spearman's correlation; or minus the Euclidean distance.

    Raises:
        ValueError: the kind is none of these.
    """
    if kind not in KINDS:
        msg = f"`similarity` must be one of {', '.join(KINDS)}. Received: similarity={kind!r}."
        raise ValueError(msg)
    if kind == "euclidean":
        # around their mean, so that the difference of large squares loses least
        vectors = features - features.mean(axis=0, dtype=np.float64)
        made = Similarities(vectors, np.einsum("ij,ij->i", vectors, vectors), None)
    else:
        centered = _centered(features, kind)
        lengths = np.linalg.norm(centered, axis=1, keepdims=True)
        made = Similarities((centered / lengths).astype(np.float32), None, None)
    if len(features) > _LARGEST_MATRIX:
        return made
    # Each score is computed once: the two triangles of a product may differ in the last bit.
    upper = np.triu(made.block(slice(None), slice(None)), 1)
    return dataclasses.replace(made, matrix=upper + upper.T)


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
    if made.matrix is not None:
        return made.matrix
    upper = np.triu(made.block(slice(None), slice(None)), 1)
    symmetric: NDArray[np.float32] = upper + upper.T
    return symmetric


def _centered(features: NDArray[np.float32], kind: Kind) -> NDArray[np.float64]:
    """Float64 rows whose cosine is the similarity; a constant row of a correlation is all zero."""
    values = np.asarray(features, np.float64)
    if kind == "cosine" or not len(values):
        return values
    if kind == "spearman":
        values = np.asarray(scipy.stats.rankdata(values, axis=1), np.float64)
    constant = (values == values[:, :1]).all(axis=1, keepdims=True)
    return np.where(constant, 0.0, values - values.mean(axis=1, keepdims=True))
