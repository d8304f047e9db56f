"""Profiles against standards: `benchmark` gives every score of one table of profiles."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.benchmark.average_precision import (
    DEFAULT_KS,
    EMPTY_CURVE,
    PrecisionRecallCurve,
    shared_terms,
)
from deeploc_tf.benchmark.choices import Kind
from deeploc_tf.benchmark.influence import Influence
from deeploc_tf.benchmark.labels import codes_of
from deeploc_tf.benchmark.scores import SCORES, Extent, Scores, Scoring
from deeploc_tf.benchmark.similarity import similarities_of, usable_profiles
from deeploc_tf.benchmark.standards import Standard, annotate
from deeploc_tf.benchmark.terms import term_table
from deeploc_tf.joins import Joined

__all__ = ["Extent", "StandardScores", "benchmark"]

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class StandardScores:
    """Everything that one standard says of the profiles.

    Attributes:
        standard: its name.
        numbers: by name, JSON-ready; None is a number that is not defined, or not known.
        curve: precision and recall of the pooled ranking; empty where it was not kept.
        terms: a row a term, see `term_table`.
        influences: of proteins on scores, by name; empty without intervals.
        notes: by name of a score, why it, or its interval, is None.
        meeting: which names of the standard are those of profiles.
    """

    standard: str
    numbers: Mapping[str, Any]
    curve: PrecisionRecallCurve = EMPTY_CURVE
    terms: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    influences: Mapping[str, Influence] = dataclasses.field(default_factory=dict)
    notes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    meeting: Joined[str] | None = None


def benchmark(
    features: NDArray[np.float32],
    proteins: Sequence[str],
    standards: Sequence[Standard],
    *,
    similarity: Kind = "cosine",
    ks: Sequence[int] = DEFAULT_KS,
    min_size: int = 2,
    max_size: int | None = None,
    extent: Extent | None = None,
    given: Standard | None = None,
    distinct_case: bool = False,
    allow_unmatched: int | None = None,
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
        extent: of the costly parts; None: a few shuffles and nothing else.
        given: labels of proteins, as `read_labels` gives them: pairs of proteins with the same
            terms of it are scored once more, by themselves.
        distinct_case: let names of profiles and of standards differ in case and be two proteins.
        allow_unmatched: how many profiles may be in no term of a standard; None: any number.

    Returns:
        One result a standard, in their order.

    Raises:
        StandardError: a standard shares no pair with the profiles, or all of them.
        ValueError: fewer than two profiles are usable, a protein is there twice, or two standards
            have one name.
    """
    extent = extent or Extent()
    names = [standard.name for standard in standards]
    if len(set(names)) < len(names):
        msg = f"Standards must have different names. Received: {', '.join(names)}. Rename a file."
        raise ValueError(msg)
    features = np.asarray(features)
    usable = usable_profiles(features, proteins, similarity)
    features = features[usable]
    kept = [protein for protein, good in zip(proteins, usable, strict=True) if good]
    # What is wrong with the last standard is told before the first is scored.
    annotations = [
        annotate(
            standard,
            kept,
            min_size=min_size,
            max_size=max_size,
            distinct_case=distinct_case,
            allow_unmatched=allow_unmatched,
        )
        for standard in standards
    ]
    shared = [shared_terms(annotation) for annotation in annotations]
    labels = None if given is None else codes_of(given, kept, distinct_case=distinct_case)
    similarities = similarities_of(features, similarity, extent.memory)
    results = []
    for annotation, pairs in zip(annotations, shared, strict=True):
        among = similarities.among(annotation.proteins)
        own = None if labels is None else labels[annotation.proteins]
        parts = among, annotation, pairs, ks, extent, own
        scoring = Scoring(features[annotation.proteins], *parts)
        numbers: dict[str, Any] = {
            "profiles_left_out": len(proteins) - len(kept),
            **annotation.coverage,
        }
        for name, scores in SCORES.usable():
            found = _computed(name, scores, scoring)
            if double := sorted(numbers.keys() & found.keys()):
                msg = (
                    "Each number must have a name of its own. Received twice: "
                    f"{', '.join(double)}, of the scores {name!r}. Leave one out."
                )
                raise ValueError(msg)
            numbers |= found
        results.append(
            StandardScores(
                annotation.standard,
                numbers,
                scoring.curve,
                term_table(annotation, scoring.queries.term_precision),
                scoring.influences,
                scoring.notes,
                annotation.meeting,
            )
        )
    return results


def _computed(name: str, scores: Scores, scoring: Scoring) -> Mapping[str, Any]:
    """The numbers; none, with a warning, where those of another package cannot be computed.

    One broken extension must not stop what does not need it.
    """
    try:
        found = dict(scores.compute(scoring))
        json.dumps(found)
        return found
    except Exception as error:
        if SCORES.is_ours(name):
            raise
        _log.warning(
            "The scores %r of another package cannot be computed and are left out: %s: %s.",
            name,
            type(error).__name__,
            error,
            exc_info=True,
        )
        return {}
