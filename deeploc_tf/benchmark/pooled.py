"""One ranking of all pairs, exact, in memory or in a bound of it.

In memory, four bytes a pair: scores are written row by row, sorted in chunks by threads, and the
rank of each positive is the sum of its ranks in the chunks. With a bound, pairs are taken by ranges
of their score, from the highest down, and similarities are computed anew for each range.

Rankings in which the proteins' terms are shuffled need no ranking of their own: pairs and scores
stay, others are positive.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from deeploc_tf.benchmark.average_precision import PrecisionRecallCurve
from deeploc_tf.benchmark.similarity import Similarities

_BYTES_OF_POSITIVE = 40  # while its curve is computed
_NUM_BINS = 1 << 16  # of the upper half of the bits of a score


@dataclasses.dataclass(frozen=True)
class Positives:
    """Which pairs are positive.

    Attributes:
        shared: bool, sparse: which proteins share a term, see `shared_terms`.
        order: int64 `(num_proteins,)`, whose terms each protein has; None leaves each its own.
    """

    shared: scipy.sparse.csr_matrix
    order: NDArray[np.int64] | None = None

    @property
    def count(self) -> int:
        """Number of positive pairs."""
        return int(self.shared.nnz // 2)

    def in_rows(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of those in some rows of the upper triangle, both less `start`."""
        rows = slice(start, stop) if self.order is None else self.order[start:stop]
        part = self.shared[rows]
        columns = part.indices.astype(np.int64)
        if self.order is not None:
            columns = np.argsort(self.order)[columns]
        of_row = np.repeat(np.arange(start, stop), np.diff(part.indptr))
        upper = columns > of_row
        return of_row[upper] - start, columns[upper] - start


def pooled_curve(
    similarities: Similarities, shared: scipy.sparse.csr_matrix, memory: int | None = None
) -> PrecisionRecallCurve:
    """Precision and recall of the ranking of all pairs, see `pooled_curves`."""
    return pooled_curves(similarities, shared, (), memory)[0]


def pooled_curves(
    similarities: Similarities,
    shared: scipy.sparse.csr_matrix,
    orders: Sequence[NDArray[np.int64]] = (),
    memory: int | None = None,
) -> tuple[PrecisionRecallCurve, list[float]]:
    """Precision and recall of the ranking of all pairs, and average precisions with terms shuffled.

    Args:
        similarities: of the proteins.
        shared: bool, sparse: which proteins share a term, see `shared_terms`.
        orders: int64 `(num_proteins,)` each: whose terms each protein has.
        memory: bytes to stay below, beyond profiles, standard and curve; None has no bound. The
            numbers are the same.
    """
    positives = [Positives(shared), *(Positives(shared, order) for order in orders)]
    count = len(similarities)
    bytes_needed = 4 * (count * (count - 1) // 2 + len(positives) * positives[0].count)
    bytes_needed += _BYTES_OF_POSITIVE * positives[0].count
    if memory is not None and bytes_needed > memory:
        return _bounded_curves(similarities, positives, memory)
    ranking, scores = _rank_pairs(similarities, positives)
    curve = ranking.curve(scores[0])
    return curve, [ranking.curve(of_shuffled).average_precision for of_shuffled in scores[1:]]


def _rank_pairs(
    similarities: Similarities, positives: Sequence[Positives]
) -> tuple[Ranking, list[NDArray[np.float32]]]:
    """The ranking of all pairs, and the scores of the positive ones."""
    count = len(similarities)
    sizes = [count * (count - 1) // 2, *(those.count for those in positives)]
    scores = [np.empty(size, np.float32) for size in sizes]
    ends = [0] * len(scores)
    for blocks in scores_by_rows(similarities, positives):
        for k, block in enumerate(blocks):
            scores[k][ends[k] : ends[k] + len(block)] = block
            ends[k] += len(block)
    return Ranking(scores[0]), scores[1:]


class Ranking:
    """All pairs by their scores `(num_pairs,)`, which are sorted in place, in chunks by threads."""

    def __init__(self, scores: NDArray[np.float32]) -> None:
        self.num_pairs = len(scores)
        self._num_threads = num_threads()
        self._chunks = np.array_split(scores, self._num_threads)
        with ThreadPoolExecutor(self._num_threads) as pool:
            list(pool.map(lambda chunk: chunk.sort(), self._chunks))

    def curve(self, positives: NDArray[np.float32]) -> PrecisionRecallCurve:
        """Precision and recall, tied pairs enter together; `positives` is sorted in place."""
        positives.sort()
        first = _first_of_each(positives)
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


def scores_by_rows(
    similarities: Similarities, positives: Sequence[Positives]
) -> Iterator[list[NDArray[np.float32]]]:
    """Scores of pairs, row after row of the upper triangle, and of the positives among them."""
    count = len(similarities)
    step = similarities.rows_at_once
    for start in range(0, count - 1, step):
        stop = min(start + step, count)
        # no -0, whose bits are not those of 0
        block = similarities.block(slice(start, stop), slice(start, None)) + np.float32(0)
        rows = np.concatenate([block[i, i + 1 :] for i in range(stop - start)])
        yield [rows, *(block[those.in_rows(start, stop)] for those in positives)]


def _bounded_curves(
    similarities: Similarities, positives: Sequence[Positives], memory: int
) -> tuple[PrecisionRecallCurve, list[float]]:
    """As `pooled_curves`, by ranges of scores, none of which has more pairs than fit.

    A range is a run of bins, which share the upper half of their scores' bits.
    """
    counts = np.zeros((1 + len(positives), _NUM_BINS), np.int64)
    for blocks in scores_by_rows(similarities, positives):
        for count, block in zip(counts, blocks, strict=True):
            count += np.bincount(keys_of(block) >> 16, minlength=_NUM_BINS)
    weights = 4 * counts.sum(axis=0) + _BYTES_OF_POSITIVE * counts[1]
    limit = max(1, memory // 2)  # the other half is for blocks
    above, trues = 0, [0] * len(positives)
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []
    shuffled = [0.0] * len(positives)
    for low, high in _ranges(weights, limit):
        many_ties = high == low + 1 and weights[low] > limit
        look = _steps_of_ties if many_ties else _steps_in_range
        sizes = counts[:, low:high].sum(axis=1)
        for k, (steps, true, reached) in enumerate(look(similarities, positives, low, high, sizes)):
            true, reached = true + trues[k], reached + above
            if k == 0:
                parts.append((true, reached, _scores_of(steps)))
            gained = np.diff(true, prepend=trues[k])
            shuffled[k] += float(gained @ (true / reached)) / positives[k].count
            trues[k] += int(sizes[1 + k])
        above += int(sizes[0])
    true, reached = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    scores = np.concatenate([part[2] for part in parts])
    return PrecisionRecallCurve(true / trues[0], true / reached, scores), shuffled[1:]


def _ranges(weights: NDArray[np.int64], limit: int) -> Iterator[tuple[int, int]]:
    """Runs of bins `[low, high)` from the last down, each of at most `limit` bytes or one bin."""
    low = high = inside = 0
    for this in np.flatnonzero(weights)[::-1].tolist():
        if inside and inside + weights[this] > limit:
            yield low, high
            inside = 0
        high = high if inside else this + 1
        low = this
        inside += int(weights[this])
    yield low, high


_Steps = tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]]


def _steps_in_range(
    similarities: Similarities,
    positives: Sequence[Positives],
    low: int,
    high: int,
    sizes: NDArray[np.int64],
) -> Iterator[_Steps]:
    """For each labeling, from the highest score down: key, positives and pairs reached by it."""
    found = [np.empty(size, np.uint32) for size in sizes]
    ends = [0] * len(found)
    for blocks in scores_by_rows(similarities, positives):
        for k, block in enumerate(blocks):
            keys = keys_of(block)
            keys = keys[(keys >= low << 16) & (keys < high << 16)]
            found[k][ends[k] : ends[k] + len(keys)] = keys
            ends[k] += len(keys)
    for keys in found:
        keys.sort()
    for keys in found[1:]:
        first = _first_of_each(keys)
        reached = len(found[0]) - np.searchsorted(found[0], keys[first], side="left")
        yield keys[first][::-1], (len(keys) - first)[::-1], reached[::-1]


def _steps_of_ties(
    similarities: Similarities,
    positives: Sequence[Positives],
    low: int,
    high: int,  # noqa: ARG001
    sizes: NDArray[np.int64],  # noqa: ARG001
) -> Iterator[_Steps]:
    """As `_steps_in_range`, of one bin with too many pairs to keep: each score is counted."""
    counts = np.zeros((1 + len(positives), _NUM_BINS), np.int64)
    for blocks in scores_by_rows(similarities, positives):
        for count, block in zip(counts, blocks, strict=True):
            keys = keys_of(block)
            count += np.bincount(keys[keys >> 16 == low] & 0xFFFF, minlength=_NUM_BINS)
    reached = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    for k in range(1, len(counts)):
        steps = np.flatnonzero(counts[k])[::-1]
        yield (steps + (low << 16)).astype(np.uint32), reached[k, steps], reached[0, steps]


def keys_of(scores: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Integers in the order of the scores."""
    bits = np.ascontiguousarray(scores).view(np.uint32)
    sign = np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
    keys: NDArray[np.uint32] = bits ^ sign
    return keys


def _scores_of(keys: NDArray[np.uint32]) -> NDArray[np.float32]:
    sign = np.where(keys >> 31, np.uint32(0x80000000), np.uint32(0xFFFFFFFF))
    return np.ascontiguousarray(keys ^ sign).view(np.float32)


def _first_of_each(ordered: NDArray[np.generic]) -> NDArray[np.int64]:
    """Where each run of equal values begins."""
    return np.flatnonzero(np.append(len(ordered) > 0, ordered[1:] != ordered[:-1]))


def num_threads() -> int:
    """Threads that this process may use, at most eight."""
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
