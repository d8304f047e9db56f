"""What the benchmark can score, in the order of its tables: ours, and those of other packages.

A file of scores holds a `Scores`: a function, and what its numbers mean. It is added by a line in
`SCORES`, by `SCORES.register`, or by an entry point of the group `deeploc_tf.scores`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from deeploc_tf.benchmark.average_precision import PrecisionRecallCurve
from deeploc_tf.benchmark.influence import Influence
from deeploc_tf.benchmark.per_query import QueryScores, query_scores
from deeploc_tf.benchmark.pooled import pooled_curves
from deeploc_tf.benchmark.similarity import Similarities
from deeploc_tf.benchmark.standards import Annotation
from deeploc_tf.registry import Registry


@dataclasses.dataclass(frozen=True)
class Extent:
    """How much of what takes its time is computed; 0 leaves a part out.

    Attributes:
        num_shuffles: how often the rows are given to other proteins at random, to show chance.
        num_permutations: random rankings behind the p-values of queries.
        num_draws: of terms that do not overlap, for the scores of clusterings.
        intervals: whether scores of rankings have intervals, and methods p-values.
        memory: bytes that the ranking of all pairs may take; None has no bound.
        seed: of everything drawn.
    """

    num_shuffles: int = 10
    num_permutations: int = 0
    num_draws: int = 0
    intervals: bool = False
    memory: int | None = None
    seed: int = 0


@dataclasses.dataclass
class Scoring:
    """Profiles and what a standard says of them: all that a score may look at.

    Attributes:
        features: `(num_proteins, num_features)`, of the proteins that take part.
        similarities: of every two of them.
        annotation: their terms.
        shared: bool, sparse, `(num_proteins, num_proteins)`: which proteins share a term.
        ks: numbers of neighbors for recall and precision.
        extent: of the costly parts.
        labels: int64 `(num_proteins,)`, which label, or set of labels, each protein has; -1 where
            none is known. None: nobody asked for scores given the label.
        notes: by name of a number, why it, or its interval, is None; scores add theirs.
        influences: of proteins on scores, by name; likewise.
    """

    features: NDArray[np.float32]
    similarities: Similarities
    annotation: Annotation
    shared: scipy.sparse.csr_matrix
    ks: Sequence[int]
    extent: Extent
    labels: NDArray[np.int64] | None = None
    notes: dict[str, str] = dataclasses.field(default_factory=dict)
    influences: dict[str, Influence] = dataclasses.field(default_factory=dict)

    def generator(self) -> np.random.Generator:
        """A new one: no score draws other numbers because another score was computed before it."""
        return np.random.default_rng(self.extent.seed)

    @functools.cached_property
    def queries(self) -> QueryScores:
        """Each protein's ranking of all others."""
        return query_scores(self.similarities, self.shared, self.ks, self.annotation.members)

    @property
    def curve(self) -> PrecisionRecallCurve:
        """Of the ranking of all pairs."""
        return self._pooled[0]

    @property
    def shuffled_precisions(self) -> Sequence[float]:
        """Average precision of all pairs, with the proteins shuffled."""
        return self._pooled[1]

    @functools.cached_property
    def _pooled(self) -> tuple[PrecisionRecallCurve, Sequence[float]]:
        generator, count = self.generator(), len(self.similarities)
        orders = [generator.permutation(count) for _ in range(self.extent.num_shuffles)]
        return pooled_curves(self.similarities, self.shared, orders, self.extent.memory)


@dataclasses.dataclass(frozen=True)
class Bar:
    """How a number is drawn that methods are compared by; its mean over seeds is told, too.

    Attributes:
        title: of its panel.
        chance: name of the number that chance gives.
        chance_title: what that is.
    """

    title: str
    chance: str
    chance_title: str


@dataclasses.dataclass(frozen=True)
class Scores:
    """Numbers that are computed together, and what they are.

    Attributes:
        compute: numbers by name, JSON-ready, None where one is not defined (`Scoring.notes` says
            why); no number at all where the extent leaves them out.
        definitions: what `scores.json` says of them.
        columns: head and format of those that a terminal shows, such as `("AP", ".4f")`.
        bars: those that methods are compared by.
    """

    compute: Callable[[Scoring], Mapping[str, Any]]
    definitions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    columns: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    bars: Mapping[str, Bar] = dataclasses.field(default_factory=dict)


SCORES: Registry[Scores] = Registry(
    "scores",
    {
        "pairs": "deeploc_tf.benchmark.retrieval:OF_PAIRS",
        "queries": "deeploc_tf.benchmark.retrieval:OF_QUERIES",
        "shuffled": "deeploc_tf.benchmark.retrieval:SHUFFLED",
        "intervals": "deeploc_tf.benchmark.intervals:INTERVALS",
        "given label": "deeploc_tf.benchmark.conditional:GIVEN_LABEL",
        "clusters": "deeploc_tf.benchmark.clustering:OF_CLUSTERS",
    },
    group="deeploc_tf.scores",
    kind=Scores,
)


def definitions() -> dict[str, str]:
    """What each number is."""
    return {name: text for scores in _all() for name, text in scores.definitions.items()}


def columns() -> dict[str, tuple[str, str]]:
    """Head and format of each number that a terminal shows."""
    return {name: how for scores in _all() for name, how in scores.columns.items()}


def bars() -> dict[str, Bar]:
    """The numbers that methods are compared by."""
    return {name: bar for scores in _all() for name, bar in scores.bars.items()}


def _all() -> Iterator[Scores]:
    return (scores for _, scores in SCORES.usable())
