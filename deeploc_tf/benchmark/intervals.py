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
    Estimate,
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


def why_no_interval(score: Estimate) -> str:
    """Why a score has no interval that can be believed, or ""."""
    if score.num_proteins < FEWEST_PROTEINS:
        return (
            f"An interval takes {FEWEST_PROTEINS} proteins or more, and had {score.num_proteins}."
        )
    if not score.standard_error > _NO_SPREAD * abs(score.value):
        return "No protein moves the score."
    return ""


def interval(name: str, score: Estimate) -> tuple[float | None, float | None, str]:
    """Ends of a score's 95% interval, or None twice and the reason.

    The interval is symmetric in the logarithm of a lift, and in the log odds of the other scores,
    which lie between 0 and 1.

    Args:
        name: of the score.
        score: itself, or its mean over seeds.
    """
    if note := why_no_interval(score):
        return None, None, note
    name = name.removeprefix(CONDITIONAL)
    if name != "lift" and not 0 < score.value < 1:
        return None, None, "It is at the end of what is possible."
    # few pairs at the top make much of a pooled score, more than a sample shows
    freedom = score.degrees_of_freedom / (2 if name in _POOLED else 1)
    quantile = scipy.stats.t.ppf((1 + LEVEL) / 2, max(1, freedom))
    value, reach = score.value, float(quantile * score.standard_error)
    if name == "lift":
        return *_interval_of_lift(score, reach), ""
    steps = np.array([-1, 1]) * reach / (value * (1 - value))
    low, high = scipy.special.expit(scipy.special.logit(value) + steps)
    return float(low), float(high), ""


def paired_difference(first: Influence, second: Influence) -> dict[str, Any]:
    """How much a method is above another on the same proteins, JSON-ready, see `tested`.

    Args:
        first: of the method.
        second: of the other.
    """
    return tested(first.estimate, combined([(1, first), (-1, second)]).estimate)


def tested(first: Estimate, difference: Estimate) -> dict[str, Any]:
    """A difference of two methods with its interval and p-value, JSON-ready.

    The p-value is two-sided, of Student's t with a degree of freedom for each protein but one: few
    proteins that make most of a difference make its error larger as well. Without an interval that
    can be believed, `low`, `high` and `p_value` are None, and `note` says why.

    Args:
        first: the score of the one method.
        difference: that less the other's.
    """
    found = {"difference": difference.value}
    if difference.standard_error <= _NO_SPREAD * abs(first.value):  # both are one method
        same = abs(difference.value) <= _NO_SPREAD * abs(first.value)
        if same and not why_no_interval(first):
            return {**found, "low": 0.0, "high": 0.0, "p_value": 1.0}
    if note := why_no_interval(first) or why_no_interval(difference):
        return {**found, **dict.fromkeys(("low", "high", "p_value")), "note": note}
    by_chance = scipy.stats.t(difference.num_proteins - 1)
    reach = float(by_chance.ppf((1 + LEVEL) / 2)) * difference.standard_error
    p_value = 2 * by_chance.sf(abs(difference.value) / difference.standard_error)
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


def _interval_of_lift(lift: Estimate, reach: float) -> tuple[float, float]:
    """Ends of the interval, which holds 1 where the lift is one of shuffled proteins.

    A lift by chance scatters with an error of its own. Where the two errors disagree about 1, the
    end on its side is that of an error that goes over from the one to the other.
    """
    size = np.log(lift.value)
    reach /= lift.value
    near, far = abs(size) - reach, abs(size) + reach
    if lift.chance_error is not None:
        by_chance = _NORMAL * lift.chance_error
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
        low, high, note = interval(score, influence.estimate)
        values |= {f"{score}_low": low, f"{score}_high": high}
        if note:
            scoring.notes.setdefault(score, f"No interval of {score}: {note}")
    return values


INTERVALS = Scores(_intervals)
