"""How much each protein, and each pair of proteins, moves a score: its variance in closed form.

A protein that is left out moves a score twice: its own ranking of the others is gone, and it is
gone from the rankings of all others. The sum of both is its influence. The squares of influences
sum to the jackknife's variance, which counts twice what belongs to one pair of proteins; the
squares of what pairs move are therefore taken off once. For a mean over pairs this is the variance
that is robust to pairs with a protein in common, and it is right whether most of the scatter comes
from proteins or from pairs, as in the difference of two methods that are equally good.

References:
    Efron & Stein 1981, The Annals of Statistics 9:586 (what a jackknife counts twice).
    Aronow, Samii & Assenova 2015, Political Analysis 23:564 (variances of means over pairs).
    Charikar, Chen & Farach-Colton 2002, ICALP (sums of squares of pairs from few numbers).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from deeploc_tf.benchmark.average_precision import PrecisionRecallCurve
from deeploc_tf.benchmark.per_query import QueryScores
from deeploc_tf.benchmark.pooled import keys_of, num_threads
from deeploc_tf.benchmark.similarity import Similarities

_SLOTS = 1024  # the sum of squares of pairs is right to 4 in 100
_ENTRIES = 1 << 18  # of a block of similarities
_WINDOW = 10  # ranks below k that say what enters when one of the first k is left out


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A score, or a difference of two, and how it scatters: what intervals and tests are made of.

    Attributes:
        value: the score.
        standard_error: its standard deviation over samples of as many proteins.
        degrees_of_freedom: of the standard error, after Satterthwaite: few where few proteins make
            most of it. Of its scatter that part counts which does not come with the score: a share
            near 0 or 1 has a small error because it is near it. There are fewer than proteins.
        num_proteins: that the score is of.
        chance_error: standard deviation of the score with the proteins shuffled; None where it is
            not known.
    """

    value: float
    standard_error: float
    degrees_of_freedom: float
    num_proteins: int
    chance_error: float | None = None


@dataclasses.dataclass(frozen=True)
class Influence:
    """A score, and how it moves with the proteins it is of.

    Influences of methods on the same proteins can be averaged and subtracted, see `combined`.

    Attributes:
        value: the score.
        of_proteins: float64 `(num_proteins,)`, how much less the score is without each protein.
        of_pairs: float64 `(1024,)`, what pairs move, added up in slots with random signs: squares
            of these sum, but for a few in 100, to the squares of all pairs.
        chance_error: see `Estimate`.
    """

    value: float
    of_proteins: NDArray[np.float64]
    of_pairs: NDArray[np.float64]
    chance_error: float | None = None

    @property
    def estimate(self) -> Estimate:
        """The score and its standard error."""
        count = len(self.of_proteins)
        centered = (self.of_proteins - self.of_proteins.mean()) * np.sqrt((count - 1) / count)
        squares = np.square(centered)
        jackknife = squares.sum()
        # what belongs to three proteins is counted three times, and more than that is not known
        variance = max(jackknife - np.square(self.of_pairs).sum(), jackknife / 3)
        scatter = np.square(squares - squares.mean()).sum()
        if jackknife > 0:
            scatter -= (squares @ centered) ** 2 / jackknife  # what comes with the score
        # and what is seen of it in a few squares is itself no surer than a variance of as many
        uncertainty = 2 / max(1, count - 1)
        if variance > 0:
            uncertainty += max(0.0, scatter) / variance**2
        freedom = max(1.0, 2 / uncertainty)
        return Estimate(self.value, float(np.sqrt(variance)), freedom, count, self.chance_error)


def combined(parts: Sequence[tuple[float, Influence]]) -> Influence:
    """A weighted sum of scores of the same proteins, and how that moves."""
    return Influence(
        sum(weight * part.value for weight, part in parts),
        np.sum([weight * part.of_proteins for weight, part in parts], axis=0),
        np.sum([weight * part.of_pairs for weight, part in parts], axis=0),
    )


def pair_influences(
    similarities: Similarities, shared: scipy.sparse.csr_matrix, curve: PrecisionRecallCurve
) -> dict[str, Influence]:
    """Influences of `average_precision` and `lift`: derivatives by the weights of proteins.

    Args:
        similarities: of the proteins; where they have groups, only pairs of one group count.
        shared: bool, sparse: which proteins, of one group, share a term.
        curve: of the ranking of all pairs.
    """
    count, partners = len(similarities), similarities.num_partners
    positives, pairs = shared.nnz / 2, partners.sum() / 2
    score, prevalence = curve.average_precision, positives / pairs
    ascending = curve.score[::-1]
    gained = np.diff(curve.recall, prepend=0.0)
    reached = curve.recall * positives / curve.precision
    # what a positive pair, and any pair, adds to the precisions at and below each step
    of_positive = np.append(np.cumsum((gained / reached)[::-1])[::-1], 0)
    of_any = np.append(np.cumsum((gained * curve.precision / reached)[::-1])[::-1], 0)
    by_chance = of_positive / prevalence
    of_positive = of_positive + (np.append(curve.precision, 0) - score) / positives

    def moved(rows: slice) -> _Sums:
        block = similarities.block(rows, slice(None)) + np.float32(0)
        true = shared[rows].toarray()
        step = len(ascending) - np.searchsorted(ascending, block, side="right")
        of_score = np.where(true, of_positive[step], 0) - of_any[step]
        weight = by_chance[step]
        of_prevalence = (true - prevalence) / pairs
        if similarities.groups is not None:
            of_prevalence[np.isneginf(block)] = 0
        itself = np.arange(len(block)), np.arange(count)[rows]
        of_score[itself] = of_prevalence[itself] = weight[itself] = 0
        columns = np.broadcast_to(np.arange(count), block.shape)
        places = _Places.of(rows, columns, count)
        return {
            "score": places.summed(of_score),
            "prevalence": places.summed(of_prevalence),
            "weights": (weight.sum(axis=0), np.square(weight).sum(axis=0)),
        }

    found = _sums_of_blocks(count, moved)
    # A protein takes its pairs along, so that others weigh more. Each pair is met twice.
    heavier = pairs / np.maximum(1, pairs - partners)
    of_score, of_prevalence = (
        Influence(value, found[name][0] * heavier, found[name][1] / 2)
        for name, value in (("score", score), ("prevalence", prevalence))
    )
    lift = combined([(1 / prevalence, of_score), (-score / prevalence**2, of_prevalence)])
    return {
        "average_precision": of_score,
        "lift": dataclasses.replace(
            lift,
            value=score / prevalence,
            chance_error=_error_within(similarities.groups, found["weights"], shared),
        ),
    }


def _error_within(
    groups: NDArray[np.int64] | None,
    weights: tuple[NDArray[np.float64], NDArray[np.float64]],
    shared: scipy.sparse.csr_matrix,
) -> float:
    """Standard deviation of the sum of weights of positive pairs, proteins shuffled in groups.

    Args:
        groups: of the proteins; None: one. The variances of groups add up.
        weights: sums and sums of squares over the pairs of each protein.
        shared: bool, sparse: which proteins, of one group, share a term.
    """
    positives = np.diff(shared.indptr).astype(float)
    codes = np.zeros(len(positives), np.int64) if groups is None else groups
    order = np.argsort(codes, kind="stable")
    errors = [
        _error_of_shuffles(
            weights[0][inside],
            weights[1][inside].sum(keepdims=True),
            positives[inside],
            positives[inside].sum(keepdims=True),
        )
        for inside in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    ]
    return float(np.linalg.norm(errors))


def _error_of_shuffles(
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
    other_sums: NDArray[np.float64],
    other_squares: NDArray[np.float64],
) -> float:
    """Standard deviation of a sum over pairs of products, with one factor's proteins shuffled.

    It is exact (Mantel's test). Each factor is a sum over its two proteins and a rest, and the
    parts of two shuffled factors have nothing in common but their like.

    Args:
        sums: of the one factor over the pairs of each protein.
        squares: sum of its squares over all pairs, each met twice.
        other_sums: of the other factor.
        other_squares: likewise.
    """
    count = len(sums)
    if count < 3:  # of two proteins there is one pair, whoever is who
        return 0.0
    parts = []
    for of_protein, of_all in ((sums, squares), (other_sums, other_squares)):
        by_protein = np.square(of_protein - of_protein.mean()).sum() / (count - 2)
        whole = float(of_all[0]) / 2 - of_protein.sum() ** 2 / (2 * count * (count - 1))
        parts.append((by_protein, max(0.0, whole - by_protein)))
    (first, rest), (other, other_rest) = parts
    variance = first * other / (count - 1) + rest * other_rest / max(1, count * (count - 3) / 2)
    return float(np.sqrt(variance))


def query_influences(
    similarities: Similarities,
    shared: scipy.sparse.csr_matrix,
    queries: QueryScores,
    ks: Sequence[int],
) -> dict[str, Influence]:
    """Influences of the means over queries: what each changes when a protein is left out.

    Args:
        similarities: of the proteins.
        shared: bool, sparse: which proteins share a term.
        queries: scores of each query.
        ks: numbers of neighbors.
    """
    count = len(similarities)
    of_query = {"mean_average_precision": queries.precision, "mean_auroc": queries.auroc}
    for column, k in enumerate(ks):
        if k < count:
            of_query[f"precision_at_{k}"] = queries.hits[:, column] / k
            of_query[f"recall_at_{k}"] = queries.hits[:, column] / queries.positives
    of_query = {name: values for name, values in of_query.items() if np.isfinite(values).any()}
    defined = {name: np.isfinite(values) for name, values in of_query.items()}
    means = {name: float(np.nanmean(values)) for name, values in of_query.items()}

    def moved(rows: slice) -> _Sums:
        block = similarities.block(rows, slice(None)) + np.float32(0)
        rankings = _Rankings(rows, block, shared[rows].toarray())
        places = _Places.of(rows, rankings.columns, count)
        sums = {}
        for name, changes, where in rankings.changes(ks):
            if name not in means:
                continue
            query = rows.start + where // rankings.columns.shape[1]
            # a query whose only positive (or negative) is left out counts no longer
            lost = np.flatnonzero(~np.isfinite(changes))
            changes[lost] = means[name] - of_query[name][query[lost]]
            changes[~defined[name][query]] = 0
            sums[name] = places.summed(changes, where)
            if len(sums) == len(means):
                break
        return sums

    influences = {}
    for name, (of_proteins, of_pairs) in _sums_of_blocks(count, moved).items():
        number = max(2, int(defined[name].sum()))
        own = np.where(defined[name], of_query[name] - means[name], 0)
        influences[name] = Influence(
            means[name], (own - of_proteins) / (number - 1), of_pairs / number
        )
    return influences


class _Rankings:
    """Rankings of all others by some queries, the most similar first: what leaving one out does.

    Of proteins that tie, those that share no term with the query come first.

    Attributes:
        columns: int64 `(num_queries, num_others)`, the protein of each place.
        true: float64 of that shape, 1 where it shares a term.
    """

    def __init__(self, rows: slice, block: NDArray[np.float32], shared: NDArray[np.bool_]) -> None:
        order = (~keys_of(block)).astype(np.uint64) << np.uint64(32)
        order |= shared.astype(np.uint64) << np.uint64(31)
        order |= np.arange(block.shape[1], dtype=np.uint64)
        order[np.arange(len(block)), np.arange(rows.start, rows.stop)] = np.uint64(2**64 - 1)
        order.sort(axis=1)
        order = order[:, :-1]
        low = order.astype(np.uint32)
        self.columns = (low & 0x7FFFFFFF).astype(np.int64)
        self.true = (low >> 31).astype(np.float64)
        self._true_until = np.cumsum(self.true, axis=1)
        self._positives = self._true_until[:, -1:]
        place = np.broadcast_to(np.arange(order.shape[1]), order.shape)
        self._first = self._last = place  # of those that tie
        ties = order[:, 1:] >> np.uint64(32) == order[:, :-1] >> np.uint64(32)
        if ties.any():
            edge = np.ones((len(order), 1), bool)
            starts, ends = np.hstack([edge, ~ties]), np.hstack([~ties, edge])
            self._first = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
            ends = np.where(ends, place, order.shape[1])[:, ::-1]
            self._last = np.minimum.accumulate(ends, axis=1)[:, ::-1]

    def changes(
        self, ks: Sequence[int]
    ) -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.int64]]]:
        """Each score of a query without a protein, less that with it, and their places.

        It is not finite where there is no score without the protein. Places count through all
        rankings; where there is none, nothing changes.
        """
        everywhere = np.arange(self.true.size)
        with np.errstate(divide="ignore", invalid="ignore"):
            yield "mean_average_precision", self._of_precision().ravel(), everywhere
            yield "mean_auroc", self._of_auroc().ravel(), everywhere
            yield from self._of_hits([k for k in ks if k <= self.columns.shape[1]])

    def _of_precision(self) -> NDArray[np.float64]:
        true, positives = self.true, self._positives
        found, reached = self._at(self._true_until, self._last), self._last + 1.0
        others = np.maximum(reached - 1, 1)
        precision = true * found / reached
        until = np.cumsum(precision, axis=1)
        score = until[:, -1:] / positives
        above = self._at(until - precision, self._first)
        fewer = true * (found - 1) / others
        without_true = above + self._at(_from_here_on(fewer), self._first) - fewer
        more = self._at(_from_here_on(precision / others), self._first)
        return np.where(true > 0, without_true / (positives - 1) - score, more / positives)

    def _of_auroc(self) -> NDArray[np.float64]:
        true, positives = self.true, self._positives
        negatives = self.columns.shape[1] - positives
        last = self._at(self._true_until, self._last)
        first = self._at(self._true_until - true, self._first)
        # of pairs of a positive and a negative; ties count half
        wins = negatives - (self._last + 1 - last + self._first - first) / 2
        total = (true * wins).sum(axis=1, keepdims=True)
        without_true = (total - wins) / ((positives - 1) * negatives)
        without_false = (total - (last + first) / 2) / (positives * (negatives - 1))
        changes: NDArray[np.float64] = np.where(true > 0, without_true, without_false)
        changes -= total / (positives * negatives)
        return changes

    def _of_hits(
        self, ks: Sequence[int]
    ) -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.int64]]]:
        width = self.columns.shape[1]
        where = np.flatnonzero((self.true > 0) | (np.arange(width) < max(ks, default=0)))
        query, place = np.divmod(where, width)
        true, positives = self.true.ravel()[where], self._positives[query, 0]
        for k in ks:
            hits = self._true_until[query, k - 1]
            # who is next is one protein; the share of positives there is known from several
            entering = self.true[:, k : k + max(k, _WINDOW)].sum(axis=1)
            entering /= max(1, min(max(k, _WINDOW), width - k))
            without = hits + np.where(place < k, entering[query] - true, 0)
            change = np.where((positives == 1) & (true > 0), np.nan, (without - hits) / k)
            yield f"precision_at_{k}", change, where
            yield f"recall_at_{k}", without / (positives - true) - hits / positives, where

    def _at(self, values: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Values at the first, or last, of those that tie with each place."""
        return values if places.strides[0] == 0 else np.take_along_axis(values, places, axis=1)


def _from_here_on(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of each row from each place to the end."""
    return np.cumsum(values[:, ::-1], axis=1)[:, ::-1]


_Sums = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]


@dataclasses.dataclass(frozen=True)
class _Places:
    """Where what pairs move is added: the protein of the column, and the slot of the pair."""

    columns: NDArray[np.int64]
    slots: NDArray[np.int64]
    signs: NDArray[np.float64]
    count: int

    @classmethod
    def of(cls, rows: slice, columns: NDArray[np.int64], count: int) -> _Places:
        """Places of pairs of these rows and columns; a pair has one slot, however it is met."""
        row = np.arange(count)[rows, None]
        code = (np.minimum(row, columns) * count + np.maximum(row, columns)).astype(np.uint64)
        for factor in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9):  # mixed until nothing is regular
            code *= np.uint64(factor)
            code ^= code >> np.uint64(31)
        signs = 1.0 - 2.0 * (code >> np.uint64(20) & np.uint64(1)).astype(np.float64)
        return cls(columns.ravel(), (code % _SLOTS).astype(np.int64).ravel(), signs.ravel(), count)

    def summed(
        self, moves: NDArray[np.float64], where: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What pairs move, all or some of them, by protein of the column and by slot."""
        parts = self.columns, self.slots, self.signs
        if where is not None and len(where) < len(self.columns):
            parts = self.columns[where], self.slots[where], self.signs[where]
        columns, slots, signs = parts
        by_protein = np.bincount(columns, moves.ravel(), self.count).astype(np.float64)
        return by_protein, np.bincount(slots, moves.ravel() * signs, _SLOTS).astype(np.float64)


def _sums_of_blocks(count: int, of_rows: Callable[[slice], _Sums]) -> _Sums:
    """Sums over blocks of rows, by threads, in the order of the blocks."""
    step = max(1, _ENTRIES // count)
    blocks = [slice(start, min(start + step, count)) for start in range(0, count, step)]
    total: _Sums = {}
    with ThreadPoolExecutor(min(num_threads(), len(blocks))) as pool:
        for sums in pool.map(of_rows, blocks):
            for name, (of_proteins, of_pairs) in sums.items():
                if name in total:
                    of_proteins, of_pairs = total[name][0] + of_proteins, total[name][1] + of_pairs
                total[name] = of_proteins, of_pairs
    return total
