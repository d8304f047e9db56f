"""Intervals of scores, and what speaks for a difference of two methods, from closed variances.

See `influence` for the variances, and docs/metrics.md for how often the intervals cover.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.special
import scipy.stats
from numpy.typing import NDArray

from deeploc_tf.benchmark.influence import (
    Influence,
    combined,
    pair_influences,
    query_influences,
)
from deeploc_tf.benchmark.scores import Scores, Scoring

LEVEL = 0.95
CONDITIONAL = "conditional_"
"""Begins the names of scores among proteins of one label."""

COMPARED = tuple(
    f"{condition}{score}"
    for condition in ("", CONDITIONAL)
    for score in ("average_precision", "mean_average_precision")
)
"""Scores of which differences of methods are told."""

FEWEST_PROTEINS = 20
_NORMAL = float(scipy.stats.norm.ppf((1 + LEVEL) / 2))
_POOLED = ("average_precision", "lift")
_NO_SPREAD = 1e-12  # against the score: what rounding leaves


def why_no_interval(influence: Influence) -> str:
    """Why a score has no interval that can be believed, or ""."""
    count = len(influence.of_proteins)
    if count < FEWEST_PROTEINS:
        return f"An interval takes {FEWEST_PROTEINS} proteins or more, and had {count}."
    if not influence.standard_error > _NO_SPREAD * abs(influence.value):
        return "No protein moves the score."
    return ""


def interval(score: str, influence: Influence) -> tuple[float | None, float | None, str]:
    """Ends of a score's 95% interval, or None twice and the reason.

    The interval is symmetric in the logarithm of a lift, and in the log odds of the other scores,
    which lie between 0 and 1.

    Args:
        score: its name.
        influence: of proteins on it, or on its mean over seeds.
    """
    if note := why_no_interval(influence):
        return None, None, note
    score = score.removeprefix(CONDITIONAL)
    if score != "lift" and not 0 < influence.value < 1:
        return None, None, "It is at the end of what is possible."
    # few pairs at the top make much of a pooled score, more than a sample shows
    freedom = influence.degrees_of_freedom / (2 if score in _POOLED else 1)
    quantile = scipy.stats.t.ppf((1 + LEVEL) / 2, max(1, freedom))
    value, reach = influence.value, float(quantile * influence.standard_error)
    if score == "lift":
        return *_interval_of_lift(influence, reach), ""
    steps = np.array([-1, 1]) * reach / (value * (1 - value))
    low, high = scipy.special.expit(scipy.special.logit(value) + steps)
    return float(low), float(high), ""


def paired_difference(first: Influence, second: Influence) -> dict[str, Any]:
    """How much a method is above another on the same proteins, JSON-ready.

    The p-value is two-sided, of a normal distribution. Without an interval that can be believed,
    `low`, `high` and `p_value` are None, and `note` says why.

    Args:
        first: of the method.
        second: of the other.
    """
    difference = combined([(1, first), (-1, second)])
    found = {"difference": difference.value}
    if difference.standard_error <= _NO_SPREAD * abs(first.value):  # both are one method
        same = abs(difference.value) <= _NO_SPREAD * abs(first.value)
        if same and not why_no_interval(first):
            return {**found, "low": 0.0, "high": 0.0, "p_value": 1.0}
    if note := why_no_interval(first) or why_no_interval(difference):
        return {**found, **dict.fromkeys(("low", "high", "p_value")), "note": note}
    reach = _NORMAL * difference.standard_error
    ratio = abs(difference.value) / difference.standard_error
    p_value = 2 * scipy.stats.norm.sf(ratio)
    low, high = difference.value - reach, difference.value + reach
    return {**found, "low": low, "high": high, "p_value": float(p_value)}


def adjusted(p_values: Sequence[float]) -> NDArray[np.float64]:
    """P-values adjusted by Holm's method: one of k is below q, if none should be, in q of cases.

    It holds whichever way the tests depend on each other, as those of scores and standards do.
    """
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values)
    raised = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    found = np.empty(len(values))
    found[order] = np.minimum(1, raised)
    return found


def _interval_of_lift(influence: Influence, reach: float) -> tuple[float, float]:
    """Ends of the interval, which holds 1 where the lift is one of shuffled proteins.

    A lift by chance scatters with an error of its own. Where the two errors disagree about 1, the
    end on its side is that of an error that goes over from the one to the other.
    """
    size = np.log(influence.value)
    reach /= influence.value
    near, far = abs(size) - reach, abs(size) + reach
    if influence.chance_error is not None:
        by_chance = _NORMAL * influence.chance_error
        beyond = abs(size) - by_chance
        if beyond <= 0:
            near = min(near, beyond)
        elif near < 0:
            near = abs(size) * beyond / (beyond + reach)
    ends = (near, far) if size > 0 else (-far, -near)
    return float(np.exp(ends[0])), float(np.exp(ends[1]))


def _intervals(scoring: Scoring) -> dict[str, float | None]:
    """Ends of the intervals of all scores of rankings."""
    if not scoring.extent.intervals:
        return {}
    parts = scoring.similarities, scoring.shared
    influences = pair_influences(*parts, scoring.curve)
    influences |= query_influences(*parts, scoring.queries, scoring.ks)
    return intervals_of(influences, scoring)


def intervals_of(influences: Mapping[str, Influence], scoring: Scoring) -> dict[str, float | None]:
    """Ends of intervals by name; influences, and notes of why there is none, go to `scoring`."""
    scoring.influences |= influences
    values: dict[str, float | None] = {}
    for score, influence in influences.items():
        low, high, note = interval(score, influence)
        values |= {f"{score}_low": low, f"{score}_high": high}
        if note:
            scoring.notes.setdefault(score, f"No interval of {score}: {note}")
    return values


INTERVALS = Scores(_intervals)
