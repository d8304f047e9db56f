"""How far scores would scatter: a bootstrap over proteins, and paired differences of methods.

Pairs are not independent, since each protein is in many, so proteins are what is drawn, with
replacement. A protein drawn twice counts twice: a pair weighs the product of its two weights, and
no pair is one of a protein with itself. Similarities and their order are those of the whole and
are computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from deeploc_tf.benchmark.pooled import Positives, keys_of, num_threads, scores_by_rows
from deeploc_tf.benchmark.scores import Scores, Scoring
from deeploc_tf.benchmark.similarity import Similarities

LEVEL = 0.95
COMPARED = ("average_precision", "mean_average_precision")
"""Scores of which an interval, and the differences of methods, are asked for."""

_TOO_NARROW = (
    "Intervals of mAP from a bootstrap over proteins are about half as wide as they must be, since "
    "a query's ranking stays that of all, and p-values are too small; none is given."
)
_FEWEST_RESAMPLES = 40  # of fewer, the outermost one lies within the middle 95 percent
_MOST_EMPTY = 0.05
_MOST_PROTEINS = 1 << 15


def resampled_weights(
    num_proteins: int, num_resamples: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """How often each protein is drawn, `(num_resamples, num_proteins)`."""
    shares = np.full(num_proteins, 1 / num_proteins)
    return generator.multinomial(num_proteins, shares, size=num_resamples)


def resampled_average_precisions(
    similarities: Similarities,
    shared: scipy.sparse.csr_matrix,
    weights: NDArray[np.int64],
    memory: int | None = None,
    *,
    pairs_at_once: int = 1 << 16,  # with weights below 256 their sum stays below 2^32
) -> NDArray[np.float64] | None:
    """Pooled average precision of each resample; NaN where it holds no positive pair.

    All pairs are put in order once, eight bytes each.

    Args:
        similarities: of the proteins.
        shared: bool, sparse: which proteins share a term.
        weights: as `resampled_weights` gives them.
        memory: bytes that the pairs may take; None has no bound.
        pairs_at_once: how many are summed at once; it changes no score.

    Returns:
        A score a resample, or None where the pairs take more memory, or the proteins are more than
        32,768.
    """
    num_pairs = len(similarities) * (len(similarities) - 1) // 2
    if len(similarities) > _MOST_PROTEINS or (memory is not None and 8 * num_pairs > memory):
        return None
    ordered = _ordered_pairs(similarities, shared, num_pairs)
    groups = np.array_split(weights.astype(np.uint32), min(num_threads(), len(weights)))
    with ThreadPoolExecutor(len(groups)) as pool:
        scores = pool.map(lambda group: _scores(ordered, group, pairs_at_once), groups)
        return np.concatenate(list(scores))


def _ordered_pairs(
    similarities: Similarities, shared: scipy.sparse.csr_matrix, num_pairs: int
) -> NDArray[np.uint64]:
    """Each pair in 64 bits, the most similar first: 32 of score, 15 of row, 15 of column, 0, label.

    The bits of the score are turned, so that a higher one comes first.
    """
    pairs = np.empty(num_pairs, np.uint64)
    positives = Positives(shared)
    end = start = 0
    count = len(similarities)
    for block, _ in scores_by_rows(similarities, [positives]):
        first, width = end, len(block)
        stop = start
        while end < first + width:  # whole rows
            end += count - 1 - stop
            stop += 1
        rows = np.arange(start, stop)
        lengths = count - 1 - rows
        columns = np.concatenate([np.arange(row + 1, count) for row in rows])
        low = np.repeat(rows << 17, lengths) | columns << 2
        begins = np.cumsum(lengths) - lengths
        of_row, of_column = positives.in_rows(start, stop)
        low[begins[of_row] + of_column - of_row - 1] |= 1
        pairs[first:end] = (~keys_of(block)).astype(np.uint64) << np.uint64(32)
        pairs[first:end] |= low.astype(np.uint64)
        start = stop
    pairs.sort()
    return pairs


def _scores(
    ordered: NDArray[np.uint64], weights: NDArray[np.uint32], step: int
) -> NDArray[np.float64]:
    """Average precision of some resamples, from pairs in order, `step` after `step`."""
    pairs, true, at_end = (np.zeros(len(weights), np.int64) for _ in range(3))
    sums = np.zeros(len(weights))
    waiting = 0  # positives since the last run of ties that came to its end
    for start in range(0, len(ordered), step):
        chunk = ordered[start : start + step + 1] >> np.uint64(32)
        changes = chunk[1:] != chunk[:-1]
        low = ordered[start : start + step].astype(np.uint32)
        ends = np.flatnonzero(changes if len(chunk) > len(low) else np.append(changes, True))
        rows, columns = (low >> 17).astype(np.intp), (low >> 2 & 0x7FFF).astype(np.intp)
        positive = np.flatnonzero(low & 1)
        seen = np.cumsum(low & 1)[ends].astype(np.int64)
        gaining = np.diff(seen, prepend=-waiting) > 0
        waiting = len(positive) - (int(seen[-1]) if len(seen) else -waiting)
        ends, seen = ends[gaining], seen[gaining]
        for k, weight in enumerate(weights):
            of_pair = weight[rows] * weight[columns]
            reached = np.cumsum(of_pair, dtype=np.uint32)
            found = np.append(0, np.cumsum(of_pair[positive], dtype=np.int64))
            at_ends = true[k] + found[seen]
            gained = np.diff(at_ends, prepend=at_end[k])
            sums[k] += float(gained @ (at_ends / np.maximum(pairs[k] + reached[ends], 1)))
            at_end[k] = at_ends[-1] if len(at_ends) else at_end[k]
            pairs[k] += int(reached[-1])
            true[k] += int(found[-1])
    scores = np.full(len(weights), np.nan)
    np.divide(sums, true, out=scores, where=true > 0)
    return scores


def why_no_interval(score: str, resampled: NDArray[np.float64] | None) -> str:
    """Why a score has no interval that can be believed, or "".

    Args:
        score: one of `COMPARED`.
        resampled: as `resampled_average_precisions` gives them.
    """
    if score != "average_precision":
        return _TOO_NARROW
    if resampled is None:
        return "All pairs in order do not fit into the memory that is allowed."
    if len(resampled) < _FEWEST_RESAMPLES:
        return f"An interval takes {_FEWEST_RESAMPLES} resamples or more, and had {len(resampled)}."
    empty = int((~np.isfinite(resampled)).sum())
    if empty > _MOST_EMPTY * len(resampled):
        return f"{empty} of {len(resampled)} resamples hold no positive pair; there are too few."
    return ""


def bounds(
    score: str, resampled: NDArray[np.float64] | None
) -> tuple[float | None, float | None, str]:
    """Ends of a score's interval, or None twice and the reason."""
    note = why_no_interval(score, resampled)
    return (None, None, note) if note or resampled is None else (*interval(resampled), "")


def interval(resampled: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 in a hundred of the resamples."""
    low, high = np.nanquantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def paired_difference(
    first: float, second: float, resampled: Sequence[NDArray[np.float64]]
) -> dict[str, Any]:
    """How much a method is above another, from the same draws of the same proteins, JSON-ready.

    The p-value is two-sided: twice the share of resamples in which the difference has the other
    sign or is zero, the whole counted among them.

    Args:
        first: score of the method.
        second: score of the other.
        resampled: both methods' scores of the same resamples.
    """
    differences = resampled[0] - resampled[1]
    differences = differences[np.isfinite(differences)]
    low, high = interval(differences)
    smaller = min((differences <= 0).sum(), (differences >= 0).sum())
    return {
        "difference": first - second,
        "low": low,
        "high": high,
        "p_value": float(min(1.0, 2 * (smaller + 1) / (len(differences) + 1))),
    }


def difference(
    score: str,
    values: tuple[float, float],
    resampled: Sequence[NDArray[np.float64] | None],
) -> dict[str, Any]:
    """As `paired_difference`; without an interval that can be believed, nulls and a `note`."""
    notes = [why_no_interval(score, draws) for draws in resampled]
    drawn = [draws for draws in resampled if draws is not None]
    if any(notes) or len(drawn) < len(resampled):
        unknown = dict.fromkeys(("low", "high", "p_value"))
        return {"difference": values[0] - values[1], **unknown, "note": max(notes, key=len)}
    return paired_difference(*values, drawn)


def _intervals(scoring: Scoring) -> dict[str, float | None]:
    """Ends of the intervals; the ranking of all pairs is resampled where memory allows it."""
    extent = scoring.extent
    values: dict[str, float | None] = {}
    if not extent.num_resamples:
        return values
    count = len(scoring.similarities)
    weights = resampled_weights(count, extent.num_resamples, scoring.generator())
    pooled = resampled_average_precisions(
        scoring.similarities, scoring.shared, weights, extent.memory
    )
    if pooled is not None:
        scoring.resampled["average_precision"] = pooled
    for score in COMPARED:
        low, high, note = bounds(score, scoring.resampled.get(score))
        values |= {f"{score}_low": low, f"{score}_high": high}
        scoring.notes |= {score: f"No interval of {score}: {note}"} if note else {}
    return values


INTERVALS = Scores(_intervals)
