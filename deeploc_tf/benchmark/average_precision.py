"""Retrieval scores of profiles against an annotation, exact, with ties decided against us.

Pairs of proteins are ranked by the similarity of their profiles; a pair is positive if the
two share a term. What follows the same department's evaluation of gene features (BIONIC, Nat
Methods 2022) is stated here as ours, since the study's own definitions are not published.

Average precision is the step-wise sum `sum_k (R_k - R_(k-1)) P_k` over distinct scores, in which
tied pairs enter together, as in scikit-learn; it is not the trapezoid area, which is too
optimistic. In recall and precision at k, a positive that ties with negatives is ranked behind them.
"""

from __future__ import annotations

import dataclasses
import math
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

    @property
    def maximal_f1(self) -> float:
        """Highest harmonic mean of precision and recall along the curve."""
        return float((2 * self.recall * self.precision / (self.recall + self.precision)).max())


EMPTY_CURVE = PrecisionRecallCurve(np.empty(0), np.empty(0), np.empty(0, np.float32))


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
