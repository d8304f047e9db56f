"""Do the modules of a standard come out as clusters? Adjusted mutual information and pairwise F1.

Terms overlap and clusters do not: each draw takes terms at random as long as they share no protein.
The proteins of a draw are clustered by hierarchical clustering, every linkage with every metric,
and each tree is cut at many heights. The best cut by adjusted mutual information (AMI) is the
draw's clustering, and its pairwise F1 is that of "same cluster" against "same term". The best of
many is optimistic, so the same trees are cut with the proteins shuffled: the null.

What cuts share is computed once: distances of a standard, a tree of each linkage and metric, and
along it the sums that a merge changes. The expected mutual information of a cut is a sum over its
clusters of a function of their size alone, since the terms' sizes are those of the draw.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform
from scipy.special import gammaln

from deeploc_tf.benchmark.cells import NO_SCATTER, cluster_score, finite_or_none
from deeploc_tf.benchmark.scores import Bar, Scores, Scoring

LINKAGES = ("average", "single", "complete")
METRICS = ("euclidean", "cosine")
NUM_THRESHOLDS = 500


@dataclasses.dataclass(frozen=True)
class Cut:
    """The best cut of a draw."""

    ami: float
    f1: float
    linkage: str = ""
    metric: str = ""
    num_clusters: int = 0


def cluster_scores(
    features: NDArray[np.float32],
    members: scipy.sparse.csr_matrix,
    num_draws: int,
    generator: np.random.Generator,
    num_thresholds: int = NUM_THRESHOLDS,
) -> dict[str, Any]:
    """AMI and pairwise F1 of the best cuts, mean and standard deviation over draws, JSON-ready.

    Beside them stands the mean `cluster_score` of the modules themselves. Draws of one module are
    left out, since no clustering can be right or wrong about it; `draws_scored` counts the others.
    What is not defined is None.

    Args:
        features: `(num_proteins, num_features)`.
        members: sparse `(num_proteins, num_terms)`.
        num_draws: of terms that do not overlap.
        generator: of the draws and of the shuffled proteins.
        num_thresholds: heights, evenly from zero to that of the whole tree.
    """
    distances = {metric: _distances(features, metric) for metric in METRICS}
    best, null = [], []
    apart: tuple[list[float], list[float]] = ([], [])
    for _ in range(num_draws):
        proteins, modules = draw_modules(members, generator)
        if modules.max() == 0:
            continue
        shuffled = generator.permutation(modules)
        expected = ExpectedInformation(modules)
        cuts: tuple[list[Cut], list[Cut]] = ([], [])
        for metric, matrix in distances.items():
            condensed = squareform(matrix[np.ix_(proteins, proteins)], checks=False)
            for name in LINKAGES:
                tree = linkage(condensed, name)
                for labels, found in zip((modules, shuffled), cuts, strict=True):
                    cut = best_cut(tree, labels, expected, num_thresholds)
                    found.append(dataclasses.replace(cut, linkage=name, metric=metric))
        best.append(max(cuts[0], key=lambda cut: cut.ami))
        null.append(max(cuts[1], key=lambda cut: cut.ami))
        for labels, found_scores in zip((modules, shuffled), apart, strict=True):
            found_scores.append(cluster_score(features[proteins], labels))
    values: dict[str, Any] = {"draws_scored": len(best)}
    for prefix, chosen, scores in (("", best, apart[0]), ("shuffled_", null, apart[1])):
        values[f"{prefix}cluster_score"] = (
            finite_or_none(float(np.mean(scores))) if scores else None
        )
        for field, name in (("ami", "adjusted_mutual_information"), ("f1", "cluster_f1")):
            numbers = np.array([getattr(cut, field) for cut in chosen])
            values[prefix + name] = float(numbers.mean()) if len(numbers) else None
            spread = float(numbers.std(ddof=1)) if len(numbers) > 1 else None
            values[f"{prefix}{name}_sd"] = spread
    return values


def cluster_notes(values: Mapping[str, Any], num_draws: int) -> dict[str, str]:
    """Why scores of clusters are None, or of fewer draws, by their names."""
    names = ("adjusted_mutual_information", "cluster_f1", "cluster_score")
    scored = values["draws_scored"]
    if not scored:
        why = "No scores of clusters: only one term without overlap can be drawn, they need two."
        return dict.fromkeys(names, why)
    notes = {}
    if scored < num_draws:
        why = (
            f"{num_draws - scored} of {num_draws} draws had one term and are left out of the "
            "scores of clusters."
        )
        notes = dict.fromkeys(names, why)
    if values["cluster_score"] is None:
        notes["cluster_score"] = NO_SCATTER
    if values["adjusted_mutual_information_sd"] is None:
        why = "A standard deviation takes two draws."
        notes |= dict.fromkeys(("adjusted_mutual_information_sd", "cluster_f1_sd"), why)
    return notes


def draw_modules(
    members: scipy.sparse.csr_matrix, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Proteins of terms drawn at random that do not overlap, and the number of each one's term."""
    by_term = members.tocsc()
    modules = np.full(members.shape[0], -1)
    for term in generator.permutation(members.shape[1]):
        inside = by_term.indices[by_term.indptr[term] : by_term.indptr[term + 1]]
        if (modules[inside] < 0).all():
            modules[inside] = term
    proteins = np.flatnonzero(modules >= 0)
    return proteins, np.unique(modules[proteins], return_inverse=True)[1]


class ExpectedInformation:
    """Expected mutual information of modules with clusters of given sizes, in nats."""

    def __init__(self, modules: NDArray[np.int64]) -> None:
        self.count = len(modules)
        self._sizes, self._times = np.unique(np.bincount(modules), return_counts=True)
        self._log_factorial = gammaln(np.arange(self.count + 1) + 1.0)
        self._of_size: dict[int, float] = {}

    def of(self, size: int) -> float:
        """What one cluster of this size adds."""
        if size not in self._of_size:
            self._of_size[size] = self._compute(size)
        return self._of_size[size]

    def _compute(self, size: int) -> float:
        total, log = self.count, self._log_factorial
        modules = self._sizes[:, None]
        both = np.arange(1, min(size, int(self._sizes[-1])) + 1)[None, :]
        possible = (both <= modules) & (both >= modules + size - total)
        inside = np.where(possible, both, np.maximum(1, np.minimum(modules, size)))
        outside = np.where(possible, total - modules - size + inside, 0)
        log_probability = (
            log[modules]
            + log[size]
            + log[total - modules]
            + log[total - size]
            - log[total]
            - log[inside]
            - log[modules - inside]
            - log[size - inside]
            - log[outside]
        )
        information = inside / total * np.log(total * inside / (modules * size))
        terms = information * np.exp(np.where(possible, log_probability, -np.inf))
        return float(self._times @ terms.sum(axis=1))


def best_cut(
    tree: NDArray[np.float64],
    modules: NDArray[np.int64],
    expected: ExpectedInformation,
    num_thresholds: int = NUM_THRESHOLDS,
) -> Cut:
    """The cut of a tree with the highest AMI; of equal ones, the lowest.

    Args:
        tree: as scipy's `linkage` gives it.
        modules: int64 `(num_proteins,)`, the module of each leaf, from 0.
        expected: of the modules' sizes.
        num_thresholds: heights, evenly from zero to that of the whole tree.
    """
    ami, f1 = scores_after_merges(tree, modules, expected)
    heights = np.linspace(0, tree[-1, 2], num_thresholds)
    cuts = np.unique(np.searchsorted(tree[:, 2], heights, side="right"))
    chosen = int(cuts[np.argmax(ami[cuts])])
    return Cut(float(ami[chosen]), float(f1[chosen]), num_clusters=len(modules) - chosen)


def scores_after_merges(
    tree: NDArray[np.float64], modules: NDArray[np.int64], expected: ExpectedInformation
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AMI and pairwise F1 after 0, 1, ... merges of a tree, float64 `(num_proteins,)` each."""
    count = len(modules)
    x_log_x = np.arange(count + 1) * np.log(np.maximum(np.arange(count + 1), 1))
    change = np.zeros((count, 4))  # of sum f(n_ij), sum f(b_j), expected information, pairs
    joint: dict[int, dict[int, int]] = {i: {int(m): 1} for i, m in enumerate(modules)}
    sizes = np.append(np.ones(count, np.int64), tree[:, 3].astype(np.int64))
    for step, (left, right) in enumerate(tree[:, :2].astype(np.int64).tolist(), start=1):
        large, small = joint.pop(left), joint.pop(right)
        if len(large) < len(small):
            large, small = small, large
        for module, number in small.items():
            before = large.get(module, 0)
            large[module] = before + number
            change[step, 0] += x_log_x[before + number] - x_log_x[before] - x_log_x[number]
            change[step, 3] += before * number
        joint[count + step - 1] = large
        one, other = int(sizes[left]), int(sizes[right])
        change[step, 1] = x_log_x[one + other] - x_log_x[one] - x_log_x[other]
        change[step, 2] = expected.of(one + other) - expected.of(one) - expected.of(other)
    change[0, 2] = count * expected.of(1)
    both, clusters, by_chance, true_pairs = np.cumsum(change, axis=0).T
    module_sizes = np.bincount(modules)
    of_modules = x_log_x[module_sizes].sum()
    information = (both - clusters - of_modules) / count + np.log(count)
    entropies = 2 * np.log(count) - (clusters + of_modules) / count
    denominator = entropies / 2 - by_chance
    tiny = np.finfo(np.float64).eps
    safe = np.where(denominator < 0, np.minimum(denominator, -tiny), np.maximum(denominator, tiny))
    merged = np.append(0, sizes[tree[:, 0].astype(int)] * sizes[tree[:, 1].astype(int)])
    pairs = np.cumsum(merged) + (module_sizes * (module_sizes - 1) // 2).sum()
    return (information - by_chance) / safe, 2 * true_pairs / np.maximum(pairs, 1)


def _distances(features: NDArray[np.float32], metric: str) -> NDArray[np.float64]:
    """Distances of every two rows, float64, exactly symmetric, zero on the diagonal."""
    values = np.asarray(features, np.float64)
    if metric == "cosine":
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        # a profile without a length is as far from all others as one at a right angle
        values = np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0)
        matrix = np.maximum(1 - values @ values.T, 0)
    else:
        values = values - values.mean(axis=0)
        squares = np.einsum("ij,ij->i", values, values)
        matrix = np.sqrt(np.maximum(squares[:, None] + squares - 2 * (values @ values.T), 0))
    upper = np.triu(matrix, 1)
    symmetric: NDArray[np.float64] = upper + upper.T
    return symmetric


def _of_clusters(scoring: Scoring) -> dict[str, Any]:
    num_draws = scoring.extent.num_draws
    if not num_draws:
        return {}
    members = scoring.annotation.members
    values = cluster_scores(scoring.features, members, num_draws, scoring.generator())
    scoring.notes |= cluster_notes(values, num_draws)
    return values


OF_CLUSTERS = Scores(
    _of_clusters,
    {
        "adjusted_mutual_information, cluster_f1": "AMI, and pairwise F1, of the cut with the "
        "highest AMI, of {average, single, complete} x {euclidean, cosine} x 500 heights; mean "
        "over draws of terms that do not overlap",
        "cluster_score": "standard deviation of the medians of modules (of cells: of labels) over "
        "the median distance of their members from these; mean over draws",
    },
    {"adjusted_mutual_information": ("AMI", ".4f"), "cluster_f1": ("F1", ".4f")},
    {
        "adjusted_mutual_information": Bar(
            "adjusted mutual information",
            "shuffled_adjusted_mutual_information",
            "proteins shuffled",
        ),
        "cluster_f1": Bar("F1 of clusters", "shuffled_cluster_f1", "proteins shuffled"),
    },
)
