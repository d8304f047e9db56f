"""Retrieval scores of profiles against an annotation, exact, with ties decided against us.

Pairs of proteins are ranked by the cosine similarity of their profiles; a pair is positive if the
two share a term. What follows the same department's evaluation of gene features (BIONIC, Nat
Methods 2022) is stated here as ours, since the study's own definitions are not published.

Average precision is the step-wise sum `sum_k (R_k - R_(k-1)) P_k` over distinct scores, in which
tied pairs enter together, as in scikit-learn; it is not the trapezoid area, which is too
optimistic. In recall and precision at k, a positive that ties with negatives is ranked behind them.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from deeploc_tf.benchmark.standards import Annotation, StandardError

DEFAULT_KS = (1, 5, 10, 50)


@dataclasses.dataclass(frozen=True)
class PrecisionRecallCurve:
    """Precision and recall at each distinct score of a positive pair, from the highest down.

    Attributes:
        recall: share of the positive pairs at or above the score, ascending.
        precision: share of positives among the pairs at or above it.
        score: the similarity itself.
    """

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    score: NDArray[np.float32]

    @property
    def average_precision(self) -> float:
        """`sum_k (R_k - R_(k-1)) P_k`."""
        return float(np.diff(self.recall, prepend=0.0) @ self.precision)


def cosine_similarities(features: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.float32]:
    """Cosine similarity of every two rows, float32 `(num_rows, num_rows)`, exactly symmetric.

    Args:
        features: `(num_rows, num_features)`.
        names: of the rows, for messages.

    Raises:
        ValueError: a row is not finite or has no length, two have one name, or there is one row.
    """
    features = np.asarray(features, np.float64)
    if len(names) < 2 or len(set(names)) < len(names):
        double = sorted(name for name, count in Counter(names).items() if count > 1)[:3]
        msg = (
            "Profiles must be two or more, each of another protein. Received: "
            f"{len(names)} profiles" + (f", {double} more than once." if double else ".")
        )
        raise ValueError(msg)
    lengths = np.linalg.norm(features, axis=1)
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(bad):
        msg = (
            "Profiles must be finite and not zero everywhere. Received: "
            f"{[names[i] for i in bad[:3]]} ({len(bad)} of {len(names)}). Leave them out."
        )
        raise ValueError(msg)
    unit = (features / lengths[:, None]).astype(np.float32)
    similarities = unit @ unit.T
    # Each score is computed once: the two triangles of a product may differ in the last bit.
    upper = np.triu(similarities, 1)
    symmetric: NDArray[np.float32] = upper + upper.T
    return symmetric


def shared_terms(annotation: Annotation) -> scipy.sparse.csr_matrix:
    """Which proteins share a term: bool `(num_proteins, num_proteins)`, sparse, empty diagonal.

    Raises:
        StandardError: no pair does, or every pair.
    """
    shared = (annotation.members @ annotation.members.T).astype(bool)
    shared.setdiag(False)  # nothing new: every protein shares its terms with itself
    shared.eliminate_zeros()
    count = shared.shape[0]
    if shared.nnz == 0 or shared.nnz == count * (count - 1):
        what = "none" if shared.nnz == 0 else "every one"
        msg = (
            f"Some pairs of proteins must share a term of {annotation.standard!r}, and some must "
            f"not. Received: {what} of {count * (count - 1) // 2} pairs, with "
            f"{len(annotation.terms)} terms in use. Choose another standard or other terms."
        )
        raise StandardError(msg)
    return shared


def average_precision(scores: NDArray[Any], positive_scores: NDArray[Any]) -> float:
    """Average precision of a ranking, from all its scores and those of its positives.

    Args:
        scores: `(num_pairs,)`, positives included.
        positive_scores: `(num_positives,)`, at least one.

    Example:
        >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([0.9, 0.7]))
        0.8333333333333333
    """
    return precision_recall_curve(np.sort(scores), positive_scores).average_precision


def precision_recall_curve(
    ordered: NDArray[Any], positive_scores: NDArray[Any]
) -> PrecisionRecallCurve:
    """The curve behind `average_precision`; only scores of positives are steps of it.

    Args:
        ordered: all scores `(num_pairs,)`, positives included, ascending.
        positive_scores: `(num_positives,)`, in any order.
    """
    positives = np.sort(positive_scores)
    steps = np.unique(positives)[::-1]
    above = len(ordered) - np.searchsorted(ordered, steps, side="left")
    true = len(positives) - np.searchsorted(positives, steps, side="left")
    return PrecisionRecallCurve(true / len(positives), true / above, steps)


def ordered_pairs(similarities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Similarities of unordered pairs, ascending, `(num_proteins * (num_proteins - 1) // 2,)`."""
    count = len(similarities)
    scores = np.empty(count * (count - 1) // 2, np.float32)
    start = 0
    for i in range(count - 1):
        stop = start + count - 1 - i
        scores[start:stop] = similarities[i, i + 1 :]
        start = stop
    scores.sort()
    return scores


def positive_pairs(shared: scipy.sparse.csr_matrix) -> tuple[NDArray[Any], NDArray[Any]]:
    """Row and column of each unordered pair of proteins that share a term."""
    upper = scipy.sparse.triu(shared, 1).tocoo()
    return upper.row, upper.col


def normalized_average_precision(score: float, num_positives: int, num_ranked: int) -> float:
    """`(AP - mu0) / (1 - mu0)`, with the mean AP of a random ranking: 0 is chance, 1 perfect.

    `mu0 = (H_N + (M - 1) / (N - 1) * (N - H_N)) / N` for M positives of N ranked, with the harmonic
    number `H_N`.
    """
    harmonic = float(np.sum(1.0 / np.arange(1, min(num_ranked, 10**6) + 1)))
    if num_ranked > 10**6:  # the rest of the sum, to 1e-13
        harmonic += math.log(num_ranked / 1e6) + 0.5 / num_ranked - 0.5e-6
    rest = (num_positives - 1) / (num_ranked - 1) * (num_ranked - harmonic) if num_ranked > 1 else 0
    expected = (harmonic + rest) / num_ranked
    return (score - expected) / (1 - expected)


def per_query_scores(
    similarities: NDArray[np.float32], shared: scipy.sparse.csr_matrix, ks: Sequence[int]
) -> tuple[NDArray[np.float64], Mapping[int, NDArray[np.float64]], NDArray[np.int64]]:
    """Each protein ranks all others: AP, and hits among the first k.

    Every protein of an annotation has a term with another member, so each has a positive.

    Returns:
        AP `(num_proteins,)`; for each k, how many of the first k are positives `(num_proteins,)`;
        the number of positives `(num_proteins,)`.
    """
    count = len(similarities)
    precision = np.zeros(count)
    hits = {k: np.zeros(count) for k in ks}
    others = np.ones(count, bool)
    for i in range(count):
        others[i] = False
        scores = similarities[i, others]
        positive = np.zeros(count, bool)
        positive[shared.indices[shared.indptr[i] : shared.indptr[i + 1]]] = True
        positive = positive[others]
        precision[i] = average_precision(scores, scores[positive])
        order = np.lexsort((positive, -scores))  # of equal scores, the negatives first
        found = np.cumsum(positive[order])
        for k in ks:
            hits[k][i] = found[min(k, len(found)) - 1]
        others[i] = True
    return precision, hits, np.diff(shared.indptr).astype(np.int64)
