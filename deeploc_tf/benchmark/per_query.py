"""Each protein as a query that ranks all others: AP, hits among the first k, AUROC, p-values."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from deeploc_tf.benchmark.similarity import Similarities

_BLOCK = 256  # queries


@dataclasses.dataclass(frozen=True)
class QueryScores:
    """What each query found; every array has an element, or a row, a protein.

    Attributes:
        precision: AP of the ranking, tied proteins enter together.
        auroc: area under the ROC curve; NaN where every other protein is a positive.
        hits: int64 `(num_proteins, num_ks)`, positives among the first k; those that tie with
            negatives are ranked behind them.
        positives: int64, number of positives.
        term_precision: AP of each membership, for the term's members as positives, in the order of
            the annotation's sparse matrix.
    """

    precision: NDArray[np.float64]
    auroc: NDArray[np.float64]
    hits: NDArray[np.int64]
    positives: NDArray[np.int64]
    term_precision: NDArray[np.float64]


def query_scores(
    similarities: Similarities,
    shared: scipy.sparse.csr_matrix,
    ks: Sequence[int],
    members: scipy.sparse.csr_matrix | None = None,
) -> QueryScores:
    """Let each protein rank all others.

    Args:
        similarities: of the proteins.
        shared: bool, sparse: which proteins share a term; each has one to share with.
        ks: numbers of neighbors.
        members: sparse `(num_proteins, num_terms)`, for the AP of terms; None leaves them out.
    """
    count = len(similarities)
    by_term = None if members is None else members.tocsc()
    num_memberships = 0 if members is None else members.nnz
    scores = QueryScores(
        np.zeros(count),
        np.full(count, np.nan),
        np.zeros((count, len(ks)), np.int64),
        np.diff(shared.indptr).astype(np.int64),
        np.zeros(num_memberships),
    )
    cuts = np.minimum(np.asarray(ks, np.int64), count - 1)

    def rank(start: int) -> None:
        stop = min(start + _BLOCK, count)
        block = similarities.block(slice(start, stop), slice(None))
        if similarities.matrix is not None:  # whose rows these are
            block = block.copy()
        block[np.arange(stop - start), np.arange(start, stop)] = -np.inf  # itself, the last of all
        ordered = np.sort(block, axis=1)[:, 1:]
        _score_queries(scores, start, block, ordered, shared, cuts)
        if members is None or by_term is None:
            return
        for i, row, ranking in zip(range(start, stop), block, ordered, strict=True):
            for place in range(members.indptr[i], members.indptr[i + 1]):
                term = members.indices[place]
                inside = by_term.indices[by_term.indptr[term] : by_term.indptr[term + 1]]
                others = np.sort(row[inside[inside != i]])
                scores.term_precision[place] = _average_precision(ranking, others)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(rank, range(0, count, _BLOCK)))
    return scores


def _score_queries(
    scores: QueryScores,
    start: int,
    block: NDArray[np.float32],
    ordered: NDArray[np.float32],
    shared: scipy.sparse.csr_matrix,
    cuts: NDArray[np.int64],
) -> None:
    """Score the queries of a block; each row of `ordered` is one's ranking, ascending."""
    part = slice(start, start + len(block))
    begins = (shared.indptr[start : start + len(block) + 1] - shared.indptr[start]).astype(int)
    sizes, count = np.diff(begins), ordered.shape[1]
    rows = np.repeat(np.arange(len(block)), sizes)
    values = block[rows, shared.indices[shared.indptr[start] :][: begins[-1]]]
    lower = np.empty(len(values), np.int64)
    slices = [slice(*ends) for ends in itertools.pairwise(begins)]
    for ranking, own in zip(ordered, slices, strict=True):
        values[own].sort()
        lower[own] = np.searchsorted(ranking, values[own], side="left")
    upper = lower + 1
    ties = (ordered[rows, np.minimum(upper, count - 1)] == values) & (upper < count)
    for row in np.unique(rows[ties]):
        upper[slices[row]] = np.searchsorted(ordered[row], values[slices[row]], side="right")
    changes = (values[1:] != values[:-1]) | (rows[1:] != rows[:-1])
    runs = np.where(np.append(True, changes), np.arange(len(values)), 0)
    first = np.maximum.accumulate(runs) - begins[rows]
    sums = np.add.reduceat((sizes[rows] - first) / (count - lower), begins[:-1])
    scores.precision[part] = sums / sizes
    wins = np.add.reduceat(lower + upper + 1, begins[:-1]) / 2 - sizes * (sizes + 1) / 2
    some = sizes < count
    scores.auroc[part][some] = (wins / (sizes * np.maximum(count - sizes, 1)))[some]
    edges = ordered[:, count - cuts]
    hits = np.add.reduceat((values[:, None] >= edges[rows]).astype(np.int64), begins[:-1])
    over = (ordered[:, np.maximum(count - cuts - 1, 0)] == edges).any(axis=1)
    for row in np.flatnonzero(over):
        hits[row] = _hits_of_ties(ordered[row], values[slices[row]], edges[row], cuts)
    scores.hits[part] = hits


def _hits_of_ties(
    ranking: NDArray[np.float32],
    positives: NDArray[np.float32],
    edge: NDArray[np.float32],
    cuts: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Positives among the first k, where those at the edge tie with others beyond it."""
    above = len(ranking) - np.searchsorted(ranking, edge, side="right")
    tied = len(ranking) - np.searchsorted(ranking, edge, side="left") - above
    above_true = len(positives) - np.searchsorted(positives, edge, side="right")
    tied_true = len(positives) - np.searchsorted(positives, edge, side="left") - above_true
    # of tied proteins, the negatives take their places first
    hits: NDArray[np.int64] = above_true + np.maximum(0, cuts - above - (tied - tied_true))
    return hits


def _average_precision(ranking: NDArray[np.float32], positives: NDArray[np.float32]) -> float:
    lower = np.searchsorted(ranking, positives, side="left")
    first = np.searchsorted(positives, positives, side="left")
    return float(np.mean((len(positives) - first) / (len(ranking) - lower)))


def permutation_p_values(
    precision: NDArray[np.float64],
    positives: NDArray[np.int64],
    num_ranked: int,
    num_permutations: int,
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """Share of random rankings, the query's own among them, that score as well or better.

    Args:
        precision: AP of each query.
        positives: number of positives of each query.
        num_ranked: proteins in each ranking.
        num_permutations: random rankings; queries with as many positives share theirs.
        generator: of these.
    """
    ranks = np.tile(np.arange(1, num_ranked + 1, dtype=np.int32), (num_permutations, 1))
    generator.permuted(ranks, axis=1, out=ranks)
    p_values = np.empty(len(precision))
    for number in np.unique(positives):
        chosen = positives == number
        null = np.mean(np.arange(1, number + 1) / np.sort(ranks[:, :number], axis=1), axis=1)
        null.sort()
        # a score that equals a random one but for the last bit must count as equal
        better = num_permutations - np.searchsorted(null, precision[chosen] - 1e-12, side="left")
        p_values[chosen] = (better + 1) / (num_permutations + 1)
    return p_values


def benjamini_hochberg(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """P-values adjusted so that those below q hold a share of q false ones at most, on average."""
    order = np.argsort(p_values)[::-1]
    scaled = p_values[order] * len(p_values) / np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1, np.minimum.accumulate(scaled))
    return adjusted
