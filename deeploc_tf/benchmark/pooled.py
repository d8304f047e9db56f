"""One ranking of all pairs, exact, in memory or in a bound of it.

In memory, four bytes a pair: scores are written row by row, sorted in chunks by threads, and the
rank of each positive is the sum of its ranks in the chunks. With a bound, pairs are taken by ranges
of their score, from the highest down, and similarities are computed anew for each range.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from deeploc_tf.benchmark.scores import PrecisionRecallCurve
from deeploc_tf.benchmark.similarity import Similarities

_BLOCK = 512  # rows
_BYTES_PER_PAIR = 6  # of the ranking in memory: the scores, and room for the positives
_BYTES_IN_RANGE = 24  # of a pair in a range: collected, concatenated, sorted


def pooled_curve(
    similarities: Similarities, shared: scipy.sparse.csr_matrix, memory: int | None = None
) -> PrecisionRecallCurve:
    """Precision and recall of the ranking of all pairs.

    Args:
        similarities: of the proteins.
        shared: bool, sparse: which proteins share a term, see `shared_terms`.
        memory: bytes to stay below, beyond profiles, standard and curve; None has no bound. The
            numbers are the same.
    """
    upper = scipy.sparse.triu(shared, 1).tocsr()
    if memory is not None and not fits(len(similarities), memory):
        return _bounded_curve(similarities, upper, memory)
    ranking, positives = rank_pairs(similarities, upper)
    return ranking.curve(positives)


def fits(count: int, memory: int | None) -> bool:
    """Whether a ranking of all pairs of so many proteins stays below a number of bytes."""
    return memory is None or count * (count - 1) // 2 * _BYTES_PER_PAIR <= memory


def rank_pairs(
    similarities: Similarities, upper: scipy.sparse.csr_matrix
) -> tuple[Ranking, NDArray[np.float32]]:
    """The ranking of all pairs, and the scores of the positive ones `(num_positives,)`."""
    count = len(similarities)
    scores = np.empty(count * (count - 1) // 2, np.float32)
    positives = np.empty(upper.nnz, np.float32)
    start = found = 0
    for block, true in _blocks(similarities, upper):
        scores[start : start + len(block)] = block
        positives[found : found + len(true)] = true
        start, found = start + len(block), found + len(true)
    return Ranking(scores), positives


def positive_scores(
    similarities: Similarities, upper: scipy.sparse.csr_matrix
) -> NDArray[np.float32]:
    """Scores of the positive pairs alone, `(num_positives,)`."""
    if similarities.matrix is not None:
        pairs = upper.tocoo()
        chosen: NDArray[np.float32] = similarities.matrix[pairs.row, pairs.col]
        return chosen
    return np.concatenate([true for _, true in _blocks(similarities, upper)])


class Ranking:
    """All pairs by their scores `(num_pairs,)`, which are sorted in place, in chunks by threads."""

    def __init__(self, scores: NDArray[np.float32]) -> None:
        self.num_pairs = len(scores)
        self._num_threads = _num_threads()
        self._chunks = np.array_split(scores, self._num_threads)
        with ThreadPoolExecutor(self._num_threads) as pool:
            list(pool.map(lambda chunk: chunk.sort(), self._chunks))

    def curve(self, positives: NDArray[np.float32]) -> PrecisionRecallCurve:
        """Precision and recall, tied pairs enter together; `positives` is sorted in place."""
        positives.sort()
        first = np.flatnonzero(np.append(True, positives[1:] != positives[:-1]))
        steps = positives[first]
        below = np.zeros(len(steps), np.int64)

        def add_ranks(part: slice) -> None:
            for chunk in self._chunks:
                below[part] += np.searchsorted(chunk, steps[part], side="left")

        width = -(-len(steps) // (4 * self._num_threads))
        with ThreadPoolExecutor(self._num_threads) as pool:
            list(pool.map(add_ranks, [slice(i, i + width) for i in range(0, len(steps), width)]))
        true = (len(positives) - first)[::-1]
        above = (self.num_pairs - below)[::-1]
        return PrecisionRecallCurve(true / len(positives), true / above, steps[::-1])


def _blocks(
    similarities: Similarities, upper: scipy.sparse.csr_matrix
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Scores of pairs, row after row of the upper triangle, and those of the positives in them."""
    count = len(similarities)
    for start in range(0, count - 1, _BLOCK):
        stop = min(start + _BLOCK, count)
        block = similarities.block(slice(start, stop), slice(start, None)) + np.float32(0)
        part = upper[start:stop].tocoo()
        rows = [block[i, i + 1 :] for i in range(stop - start)]
        yield np.concatenate(rows), block[part.row, part.col - start]


def _bounded_curve(
    similarities: Similarities, upper: scipy.sparse.csr_matrix, memory: int
) -> PrecisionRecallCurve:
    """The curve by ranges of scores, none of which has more pairs than fit.

    A range is a run of bins, which share the upper half of their scores' bits.
    """
    counts = np.zeros(1 << 16, np.int64)
    for block, _ in _blocks(similarities, upper):
        counts += np.bincount(_keys(block) >> 16, minlength=1 << 16)
    true = above = 0
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []
    limit = max(1, memory // _BYTES_IN_RANGE)
    for low, high in _ranges(counts, limit):
        if high == low + 1 and counts[low] > limit:  # ties, mostly: count each score
            numbers, trues = _counts_in_bin(similarities, upper, low)
            chosen = np.flatnonzero(trues)[::-1]
            steps = (chosen + (low << 16)).astype(np.uint32)
            trues, numbers_above = (np.cumsum(n[::-1])[::-1][chosen] for n in (trues, numbers))
            inside, found = int(numbers.sum()), int(trues[-1]) if len(trues) else 0
        else:
            keys, positives = _in_range(similarities, upper, low, high)
            steps, times = np.unique(positives, return_counts=True)
            numbers_above = (len(keys) - np.searchsorted(np.sort(keys), steps))[::-1]
            trues, steps = np.cumsum(times[::-1]), steps[::-1]
            inside, found = len(keys), len(positives)
        parts.append((true + trues, above + numbers_above, _scores_of_keys(steps)))
        true, above = true + found, above + inside
    trues, numbers_above = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    return PrecisionRecallCurve(
        trues / true, trues / numbers_above, np.concatenate([p[2] for p in parts])
    )


def _ranges(counts: NDArray[np.int64], limit: int) -> Iterator[tuple[int, int]]:
    """Runs of bins `[low, high)` from the last down, each of at most `limit` pairs or one bin."""
    high, inside = len(counts), 0
    for low in range(len(counts) - 1, -1, -1):
        if inside and inside + counts[low] > limit:
            yield low + 1, high
            high, inside = low + 1, 0
        inside += int(counts[low])
    if inside:
        yield 0, high


def _in_range(
    similarities: Similarities, upper: scipy.sparse.csr_matrix, low: int, high: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Keys of the pairs, and of the positive pairs, in bins `[low, high)`."""
    pairs: list[NDArray[np.uint32]] = []
    positives: list[NDArray[np.uint32]] = []
    for block, true in _blocks(similarities, upper):
        for scores, chosen in ((block, pairs), (true, positives)):
            keys = _keys(scores)
            bins = keys >> 16
            chosen.append(keys[(bins >= low) & (bins < high)])
    return np.concatenate(pairs), np.concatenate(positives)


def _counts_in_bin(
    similarities: Similarities, upper: scipy.sparse.csr_matrix, number: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many pairs, and positive pairs, have each score of one bin."""
    counts = np.zeros((2, 1 << 16), np.int64)
    for blocks in _blocks(similarities, upper):
        for count, scores in zip(counts, blocks, strict=True):
            keys = _keys(scores)
            inside = keys[keys >> 16 == number] & 0xFFFF
            count += np.bincount(inside, minlength=1 << 16)
    return counts[0], counts[1]


def _keys(scores: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Integers in the order of the scores."""
    bits = np.ascontiguousarray(scores).view(np.uint32)
    sign = np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
    keys: NDArray[np.uint32] = bits ^ sign
    return keys


def _scores_of_keys(keys: NDArray[np.uint32]) -> NDArray[np.float32]:
    sign = np.where(keys >> 31, np.uint32(0x80000000), np.uint32(0xFFFFFFFF))
    return np.ascontiguousarray(keys ^ sign).view(np.float32)


def _num_threads() -> int:
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
