"""Scores of rankings: of all pairs of proteins together, and of each protein as a query."""

from __future__ import annotations

from typing import Any

import numpy as np

from deeploc_tf.benchmark.average_precision import normalized_average_precision
from deeploc_tf.benchmark.per_query import benjamini_hochberg, permutation_p_values
from deeploc_tf.benchmark.scores import Bar, Scores, Scoring

SIGNIFICANT = 0.05
_FEWEST_PERMUTATIONS = 19  # whose smallest p-value is 0.05


def _of_pairs(scoring: Scoring) -> dict[str, Any]:
    num_proteins, num_positives = len(scoring.similarities), scoring.shared.nnz // 2
    num_pairs = num_proteins * (num_proteins - 1) // 2
    prevalence, score = num_positives / num_pairs, scoring.curve.average_precision
    return {
        "pairs": num_pairs,
        "positive_pairs": num_positives,
        "prevalence": prevalence,
        "average_precision": score,
        "lift": score / prevalence,
        "normalized_average_precision": normalized_average_precision(
            score, num_positives, num_pairs
        ),
        "maximal_f1": scoring.curve.maximal_f1,
    }


def _of_queries(scoring: Scoring) -> dict[str, Any]:
    """Means over queries."""
    queries, extent, notes = scoring.queries, scoring.extent, scoring.notes
    num_proteins, positives = len(scoring.similarities), queries.positives
    ranked = num_proteins - 1
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
    if len(normalized) < num_proteins:
        notes["mean_auroc"] = notes["mean_normalized_average_precision"] = (
            f"{num_proteins - len(normalized)} of {num_proteins} proteins share a term with all "
            "others and are left out of mean_auroc and mean_normalized_average_precision."
        )
    for column, k in enumerate(scoring.ks):
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
        p_values = permutation_p_values(
            queries.precision, positives, ranked, extent.num_permutations, scoring.generator()
        )
        values["significant_queries"] = float((benjamini_hochberg(p_values) <= SIGNIFICANT).mean())
    return values


def _shuffled(scoring: Scoring) -> dict[str, Any]:
    shuffled = scoring.shuffled_precisions
    if not shuffled:
        return {}
    spread = float(np.std(shuffled, ddof=1)) if len(shuffled) > 1 else None
    if spread is None:
        why = "A standard deviation takes two shuffles."
        scoring.notes["shuffled_average_precision_sd"] = why
    return {
        "shuffled_average_precision": float(np.mean(shuffled)),
        "shuffled_average_precision_sd": spread,
    }


OF_PAIRS = Scores(
    _of_pairs,
    {
        "prevalence": "positive pairs / pairs; a pair is positive if the two share a kept term",
        "average_precision": "sum over distinct scores of (R_k - R_(k-1)) P_k, one ranking of all "
        "pairs, tied pairs enter together",
        "lift": "average_precision / prevalence",
        "normalized_average_precision": "(AP - mu0) / (1 - mu0), mu0 the mean AP of random "
        "rankings",
        "maximal_f1": "highest F1 along the curve of all pairs; not cluster_f1",
    },
    {
        "prevalence": ("prevalence", ".4f"),
        "average_precision": ("AP", ".4f"),
        "average_precision_interval": ("95%", ""),
        "shuffled_average_precision": ("shuffled", ".4f"),
        "lift": ("lift", ".2f"),
    },
    {"average_precision": Bar("average precision of all pairs", "prevalence", "prevalence")},
)
OF_QUERIES = Scores(
    _of_queries,
    {
        "mean_average_precision": "mean over proteins of the AP of their ranking of all others",
        "mean_query_prevalence": "mean over proteins of the share of positives among the others",
        "mean_normalized_average_precision": "mean over proteins of normalized_average_precision "
        "of their ranking",
        "mean_auroc": "mean over proteins of the area under the ROC curve, ties count half",
        "precision_at_k, recall_at_k": "positives among the first k, over k and over all "
        "positives; positives that tie with negatives are ranked behind them",
        "significant_queries": "share of proteins whose AP has a permutation p-value of 0.05 or "
        "less after Benjamini-Hochberg",
    },
    {
        "mean_average_precision": ("mAP", ".4f"),
        "precision_at_10": ("P@10", ".4f"),
        "recall_at_10": ("R@10", ".4f"),
    },
    {
        "mean_average_precision": Bar(
            "mean average precision of queries", "mean_query_prevalence", "mean prevalence"
        )
    },
)
SHUFFLED = Scores(_shuffled)
