"""Scores among proteins of one label: what profiles hold beyond it, such as beyond localization."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from deeploc_tf.benchmark.average_precision import average_precision
from deeploc_tf.benchmark.influence import pair_influences, query_influences
from deeploc_tf.benchmark.intervals import CONDITIONAL, FEWEST_PROTEINS, intervals_of
from deeploc_tf.benchmark.per_query import QueryScores
from deeploc_tf.benchmark.pooled import pooled_curve
from deeploc_tf.benchmark.scores import Bar, Scores, Scoring
from deeploc_tf.benchmark.similarity import Similarities

_POOLED = ("prevalence", "average_precision", "lift")
_OF_QUERIES = ("mean_average_precision", "mean_query_prevalence")


def _conditional(scoring: Scoring) -> dict[str, Any]:
    if scoring.labels is None:
        return {}
    _, place, sizes = np.unique(scoring.labels, return_inverse=True, return_counts=True)
    kept = np.flatnonzero((scoring.labels >= 0) & (sizes[place] > 1))
    similarities = scoring.similarities.among(kept).of_groups(scoring.labels[kept])
    shared = _within(scoring.shared[kept][:, kept], scoring.labels[kept])
    partners, positives = similarities.num_partners, np.diff(shared.indptr)
    num_pairs, num_positives = int(partners.sum()) // 2, shared.nnz // 2
    values: dict[str, Any] = {
        "proteins_without_label": int((scoring.labels < 0).sum()),
        "proteins_alone_with_label": int(((scoring.labels >= 0) & (sizes[place] == 1)).sum()),
        f"{CONDITIONAL}proteins": len(kept),
        f"{CONDITIONAL}labels": len(np.unique(scoring.labels[kept])),
        f"{CONDITIONAL}pairs": num_pairs,
        f"{CONDITIONAL}positive_pairs": num_positives,
        f"{CONDITIONAL}queries": int((positives > 0).sum()),
    }
    if num_positives in (0, num_pairs):
        what = (
            "no two of these proteins have one label"
            if num_pairs == 0
            else f"{'none' if num_positives == 0 else 'each'} of {num_pairs} pairs of one label "
            "shares a term"
        )
        for name in (*_POOLED, *_OF_QUERIES):
            values[f"{CONDITIONAL}{name}"] = None
            scoring.notes[f"{CONDITIONAL}{name}"] = f"No scores given the label: {what}."
        return values
    curve = pooled_curve(similarities, shared, scoring.extent.memory)
    prevalence = num_positives / num_pairs
    precision = _of_queries(similarities, shared)
    found = positives > 0
    numbers = {
        "prevalence": prevalence,
        "average_precision": curve.average_precision,
        "lift": curve.average_precision / prevalence,
        "mean_average_precision": float(precision[found].mean()),
        "mean_query_prevalence": float((positives[found] / partners[found]).mean()),
    }
    values |= {f"{CONDITIONAL}{name}": value for name, value in numbers.items()}
    if scoring.extent.intervals:
        missing = np.full(len(kept), np.nan)
        queries = QueryScores(precision, missing, np.zeros((len(kept), 0), int), positives, missing)
        influences = pair_influences(similarities, shared, curve)
        if found.sum() < FEWEST_PROTEINS:
            scoring.notes[f"{CONDITIONAL}mean_average_precision"] = (
                f"No interval of {CONDITIONAL}mean_average_precision: it takes {FEWEST_PROTEINS} "
                f"queries or more, and had {found.sum()}."
            )
            values |= dict.fromkeys(
                f"{CONDITIONAL}mean_average_precision_{end}" for end in ("low", "high")
            )
        else:
            influences |= query_influences(similarities, shared, queries, ())
        values |= intervals_of(
            {f"{CONDITIONAL}{name}": influence for name, influence in influences.items()}, scoring
        )
    return values


def _within(shared: scipy.sparse.csr_matrix, labels: NDArray[np.int64]) -> scipy.sparse.csr_matrix:
    """The positive pairs of one label."""
    pairs = shared.tocoo()
    same = labels[pairs.row] == labels[pairs.col]
    places = pairs.row[same], pairs.col[same]
    return scipy.sparse.csr_matrix((np.ones(same.sum(), bool), places), shared.shape)


def _of_queries(similarities: Similarities, shared: scipy.sparse.csr_matrix) -> NDArray[np.float64]:
    """AP of each protein's ranking of the others of its label; NaN where none is a positive."""
    precision = np.full(len(similarities), np.nan)
    for query in np.flatnonzero(np.diff(shared.indptr)):
        ranked = similarities.block(slice(query, query + 1), slice(None))[0]
        positives = ranked[shared.indices[shared.indptr[query] : shared.indptr[query + 1]]]
        others = np.delete(ranked, query)
        precision[query] = average_precision(others, positives)
    return precision


GIVEN_LABEL = Scores(
    _conditional,
    {
        f"{CONDITIONAL}*": "the same among pairs of proteins with the same label or set of labels "
        "(--given); of queries, those with a positive among the proteins of their label",
        f"{CONDITIONAL}proteins": "proteins with a label that another protein has, too",
    },
    {
        f"{CONDITIONAL}prevalence": ("prev.|label", ".4f"),
        f"{CONDITIONAL}average_precision": ("AP|label", ".4f"),
        f"{CONDITIONAL}lift": ("lift|label", ".2f"),
        f"{CONDITIONAL}mean_average_precision": ("mAP|label", ".4f"),
    },
    {
        f"{CONDITIONAL}average_precision": Bar(
            "average precision of pairs of one label", f"{CONDITIONAL}prevalence", "prevalence"
        ),
        f"{CONDITIONAL}mean_average_precision": Bar(
            "mean average precision within labels",
            f"{CONDITIONAL}mean_query_prevalence",
            "mean prevalence",
        ),
    },
)
