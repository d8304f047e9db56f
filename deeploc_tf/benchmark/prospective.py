"""What profiles foretell: annotations that nobody had when the known ones were taken.

Of each term some members are known. All other candidates are ranked by how similar they are to
these, and the question is whether the members that came later are above those that did not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from deeploc_tf.benchmark.choices import Kind
from deeploc_tf.benchmark.influence import Influence
from deeploc_tf.benchmark.intervals import interval
from deeploc_tf.benchmark.similarity import similarities_of
from deeploc_tf.benchmark.standards import Standard, StandardError, met

_FEWEST = 2  # known members, members that came, and others


@dataclasses.dataclass(frozen=True)
class Prospect:
    """Terms whose members are known, and who came to them later.

    Attributes:
        name: of the test.
        known: members at first.
        new: members that came, of the same terms.
        candidates: proteins that could have come; None: all of both standards.
        num_neighbors: so many known members, the most similar ones, make a candidate's score.
    """

    name: str
    known: Standard
    new: Standard
    candidates: frozenset[str] | None = None
    num_neighbors: int = 10


def prospective_scores(
    features: NDArray[np.float32],
    proteins: Sequence[str],
    prospect: Prospect,
    similarity: Kind = "cosine",
) -> tuple[dict[str, Any], Influence | None]:
    """Area under the ROC curve of each term's ranking of candidates, and its mean over terms.

    A candidate's score is the mean of its similarities to the most similar known members. The
    interval is over candidates; known members are taken as they are.

    Args:
        features: `(num_proteins, num_features)`, all usable.
        proteins: name of each row.
        prospect: what was known, and what came.
        similarity: of two profiles.

    Returns:
        Numbers, JSON-ready, None with a `note` where they are not defined; and how candidates move
        the mean.
    """
    row_of = _rows(prospect, proteins)
    similarities = similarities_of(features, similarity, largest_matrix=0)
    members = frozenset().union(*prospect.known.terms.values(), *prospect.new.terms.values())
    allowed = members if prospect.candidates is None else prospect.candidates
    candidates = {row_of[name] for name in allowed if name in row_of}
    influence = np.zeros(len(proteins))
    terms = []
    for term, came in sorted(prospect.new.terms.items()):
        known = {row_of[n] for n in prospect.known.terms.get(term, ()) if n in row_of}
        new = {row_of[name] for name in came if name in row_of} & candidates - known
        others = candidates - known - new
        if min(len(known), len(new), len(others)) < _FEWEST:
            continue
        asked = np.array([*sorted(new), *sorted(others)])
        block = similarities.block(asked, np.array(sorted(known)))
        nearest = np.sort(block, axis=1)[:, -prospect.num_neighbors :].mean(axis=1)
        auroc, moved = _auroc(nearest, len(new))
        influence[asked] += moved
        description = prospect.new.descriptions.get(term, "")
        counts = {"known": len(known), "new": len(new), "candidates": len(asked)}
        terms.append({"term": term, "description": description, **counts, "auroc": auroc})
    numbers: dict[str, Any] = {
        "candidates": len(candidates),
        "terms": len(terms),
        "terms_left_out": len(prospect.new.terms) - len(terms),
        "annotations": sum(found["new"] for found in terms),
    }
    if not terms:
        why = "No term has two known members, two new ones and two others with a profile."
        none = dict.fromkeys(("auroc", "auroc_low", "auroc_high"))
        return {**numbers, **none, "note": why, "of_terms": []}, None
    rows = sorted(candidates)
    score = float(np.mean([found["auroc"] for found in terms]))
    moves = Influence(score, influence[rows] / len(terms), np.zeros(1))
    low, high, note = interval("auroc", moves.estimate)
    ends = {"auroc": score, "auroc_low": low, "auroc_high": high}
    return {**numbers, **ends, **({"note": note} if note else {}), "of_terms": terms}, moves


def _rows(prospect: Prospect, proteins: Sequence[str]) -> dict[str, int]:
    """Row of each member or candidate that has a profile, under the test's name of it."""
    parts = [*prospect.known.terms.values(), *prospect.new.terms.values()]
    everyone = frozenset().union(*parts, prospect.candidates or ())
    meeting = met(Standard(prospect.name, {"all": everyone}), proteins)
    meeting.check(None, error=StandardError)
    place = {name: row for row, name in enumerate(proteins)}
    return {member: place[name] for member, name in meeting.data_of.items()}


def _auroc(scores: NDArray[np.floating[Any]], num_new: int) -> tuple[float, NDArray[np.float64]]:
    """Area under the ROC curve, ties count half, and how much less it is without each score.

    Args:
        scores: of those that came, and then of the others.
        num_new: how many came.
    """
    num_others = len(scores) - num_new
    ranks = scipy.stats.rankdata(scores)
    above = (ranks[:num_new] - scipy.stats.rankdata(scores[:num_new])) / num_others
    below = (ranks[num_new:] - scipy.stats.rankdata(scores[num_new:])) / num_new
    auroc = float(above.mean())
    moved = [(above - auroc) / (num_new - 1), (1 - below - auroc) / (num_others - 1)]
    return auroc, np.concatenate(moved)
