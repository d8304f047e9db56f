"""Profiles against standards: `benchmark` gives every score of one table of profiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from numpy.typing import NDArray

from deeploc_tf.benchmark.average_precision import (
    DEFAULT_KS,
    PrecisionRecallCurve,
    normalized_average_precision,
    shared_terms,
)
from deeploc_tf.benchmark.clustering import cluster_notes, cluster_scores
from deeploc_tf.benchmark.intervals import (
    COMPARED,
    bounds,
    resampled_average_precisions,
    resampled_weights,
)
from deeploc_tf.benchmark.meeting import Meeting
from deeploc_tf.benchmark.per_query import (
    QueryScores,
    benjamini_hochberg,
    permutation_p_values,
    query_scores,
)
from deeploc_tf.benchmark.pooled import pooled_curves
from deeploc_tf.benchmark.similarity import Kind, Similarities, similarities_of, usable_profiles
from deeploc_tf.benchmark.standards import Annotation, Standard, annotate
from deeploc_tf.benchmark.terms import term_table

NUM_SHUFFLES = 10
SIGNIFICANT = 0.05
_FEWEST_PERMUTATIONS = 19  # whose smallest p-value is 0.05


@dataclasses.dataclass(frozen=True)
class Extent:
    """How much of what takes its time is computed; 0 leaves a part out.

    Attributes:
        num_shuffles: how often the rows are given to other proteins at random, to show chance.
        num_permutations: random rankings behind the p-values of queries.
        num_draws: of terms that do not overlap, for the scores of clusterings.
        num_resamples: draws of proteins behind the intervals.
        memory: bytes that the ranking of all pairs may take; None has no bound.
        seed: of everything drawn.
    """

    num_shuffles: int = NUM_SHUFFLES
    num_permutations: int = 0
    num_draws: int = 0
    num_resamples: int = 0
    memory: int | None = None
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class StandardScores:
    """Everything that one standard says of the profiles.

    Attributes:
        standard: its name.
        numbers: by name, JSON-ready; None is a number that is not defined, or not known.
        curve: precision and recall of the pooled ranking.
        terms: a row a term, see `term_table`.
        resampled: scores of the same draws of proteins, by name; empty without intervals.
        notes: by name of a score, why it, or its interval, is None.
        meeting: which names of the standard are those of profiles.
    """

    standard: str
    numbers: Mapping[str, Any]
    curve: PrecisionRecallCurve
    terms: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    resampled: Mapping[str, NDArray[np.float64]] = dataclasses.field(default_factory=dict)
    notes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    meeting: Meeting | None = None


def benchmark(
    features: NDArray[np.float32],
    proteins: Sequence[str],
    standards: Sequence[Standard],
    *,
    similarity: Kind = "cosine",
    ks: Sequence[int] = DEFAULT_KS,
    min_size: int = 2,
    max_size: int | None = None,
    num_shuffles: int = NUM_SHUFFLES,
    seed: int = 0,
    extent: Extent | None = None,
) -> list[StandardScores]:
    """Score profiles against standards.

    Profiles that are not finite, or have no length, are left out and counted.

    Args:
        features: float32 `(num_proteins, num_features)`, a profile a row.
        proteins: name of each row, in the standards' way of naming.
        standards: as `read_standard` gives them.
        similarity: of two profiles, see `similarities_of`.
        ks: numbers of neighbors for recall and precision.
        min_size: terms with fewer members that have a profile are left out.
        max_size: terms with more are left out; None keeps all.
        num_shuffles: see `Extent`, which replaces it where given.
        seed: likewise.
        extent: of the costly parts.

    Returns:
        One result a standard, in their order.

    Raises:
        StandardError: a standard shares no pair with the profiles, or all of them.
        ValueError: fewer than two profiles are usable, a protein is there twice, or two standards
            have one name.
    """
    extent = extent or Extent(num_shuffles=num_shuffles, seed=seed)
    names = [standard.name for standard in standards]
    if len(set(names)) < len(names):
        msg = f"Standards must have different names. Received: {', '.join(names)}. Rename a file."
        raise ValueError(msg)
    features = np.asarray(features)
    usable = usable_profiles(features, proteins, similarity)
    features = features[usable]
    kept = [protein for protein, good in zip(proteins, usable, strict=True) if good]
    # What is wrong with the last standard is told before the first is scored.
    annotations = [annotate(s, kept, min_size=min_size, max_size=max_size) for s in standards]
    shared = [shared_terms(annotation) for annotation in annotations]
    similarities = similarities_of(features, similarity, extent.memory)
    left_out = {"profiles_left_out": len(proteins) - len(kept)}
    results = []
    for annotation, pairs in zip(annotations, shared, strict=True):
        among = similarities.among(annotation.proteins)
        result = _score(among, annotation, pairs, ks, extent)
        numbers, notes = {**left_out, **result.numbers}, dict(result.notes)
        if extent.num_draws:
            generator = np.random.default_rng(extent.seed)
            chosen = features[annotation.proteins]
            numbers |= cluster_scores(chosen, annotation.members, extent.num_draws, generator)
            notes |= cluster_notes(numbers, extent.num_draws)
        results.append(dataclasses.replace(result, numbers=numbers, notes=notes))
    return results


def _score(
    similarities: Similarities,
    annotation: Annotation,
    shared: scipy.sparse.csr_matrix,
    ks: Sequence[int],
    extent: Extent,
) -> StandardScores:
    queries = query_scores(similarities, shared, ks, annotation.members)
    generator = np.random.default_rng(extent.seed)
    orders = [generator.permutation(len(similarities)) for _ in range(extent.num_shuffles)]
    curve, shuffled = pooled_curves(similarities, shared, orders, extent.memory)
    of_queries, notes = _numbers_of_queries(queries, len(similarities), ks, extent)
    values = {
        **annotation.coverage,
        **_numbers_of_curve(curve, len(similarities), shared.nnz // 2),
        **of_queries,
    }
    if shuffled:
        spread = float(np.std(shuffled, ddof=1)) if len(shuffled) > 1 else None
        values["shuffled_average_precision"] = float(np.mean(shuffled))
        values["shuffled_average_precision_sd"] = spread
        if spread is None:
            notes["shuffled_average_precision_sd"] = "A standard deviation takes two shuffles."
    resampled: dict[str, NDArray[np.float64]] = {}
    if extent.num_resamples:
        resampled = _resample(similarities, shared, extent)
        for score in COMPARED:
            low, high, note = bounds(score, resampled.get(score))
            values |= {f"{score}_low": low, f"{score}_high": high}
            notes |= {score: f"No interval of {score}: {note}"} if note else {}
    terms = term_table(annotation, queries.term_precision)
    name, meeting = annotation.standard, annotation.meeting
    return StandardScores(name, values, curve, terms, resampled, notes, meeting)


def _numbers_of_curve(
    curve: PrecisionRecallCurve, num_proteins: int, num_positives: int
) -> dict[str, Any]:
    num_pairs = num_proteins * (num_proteins - 1) // 2
    prevalence, score = num_positives / num_pairs, curve.average_precision
    return {
        "pairs": num_pairs,
        "positive_pairs": num_positives,
        "prevalence": prevalence,
        "average_precision": score,
        "lift": score / prevalence,
        "normalized_average_precision": normalized_average_precision(
            score, num_positives, num_pairs
        ),
        "maximal_f1": curve.maximal_f1,
    }


def _numbers_of_queries(
    queries: QueryScores, num_proteins: int, ks: Sequence[int], extent: Extent
) -> tuple[dict[str, Any], dict[str, str]]:
    """Means over queries, and notes on those that are not defined."""
    ranked, positives = num_proteins - 1, queries.positives
    normalized = [
        normalized_average_precision(score, int(number), ranked)
        for score, number in zip(queries.precision, positives, strict=True)
        if number < ranked
    ]
    values: dict[str, Any] = {
        "mean_average_precision": float(queries.precision.mean()),
        "mean_query_prevalence": float((positives / ranked).mean()),
        "mean_normalized_average_precision": float(np.mean(normalized)),
        "mean_auroc": float(np.nanmean(queries.auroc)),
        "queries_without_negatives": num_proteins - len(normalized),
    }
    notes = {}
    if len(normalized) < num_proteins:
        notes["mean_auroc"] = notes["mean_normalized_average_precision"] = (
            f"{num_proteins - len(normalized)} of {num_proteins} proteins share a term with all "
            "others and are left out of mean_auroc and mean_normalized_average_precision."
        )
    for column, k in enumerate(ks):
        names = f"recall_at_{k}", f"precision_at_{k}"
        if k > ranked:
            why = f"No precision and recall at {k}: a protein ranks {ranked} others."
            values |= dict.fromkeys(names)
            notes |= dict.fromkeys(names, why)
            continue
        hits = queries.hits[:, column]
        values[names[0]] = float((hits / positives).mean())
        values[names[1]] = float(hits.mean() / k)
    if 0 < extent.num_permutations < _FEWEST_PERMUTATIONS:
        values["significant_queries"] = None
        notes["significant_queries"] = (
            f"No significant_queries: p-values of {SIGNIFICANT} or less take "
            f"{_FEWEST_PERMUTATIONS} permutations or more."
        )
    elif extent.num_permutations:
        generator = np.random.default_rng(extent.seed)
        p_values = permutation_p_values(
            queries.precision, positives, ranked, extent.num_permutations, generator
        )
        values["significant_queries"] = float((benjamini_hochberg(p_values) <= SIGNIFICANT).mean())
    return values, notes


def _resample(
    similarities: Similarities, shared: scipy.sparse.csr_matrix, extent: Extent
) -> dict[str, NDArray[np.float64]]:
    """Scores of draws of proteins, by name; that of all pairs only where memory allows it."""
    generator = np.random.default_rng(extent.seed)
    weights = resampled_weights(len(similarities), extent.num_resamples, generator)
    pooled = resampled_average_precisions(similarities, shared, weights, extent.memory)
    return {} if pooled is None else {"average_precision": pooled}
