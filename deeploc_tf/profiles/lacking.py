"""What some groups lack for a transform to be fitted to them: kept with it, and put into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FEW_ROWS = 5  # fewer are reported
_SOME = 3  # names in a message


def described(
    features: Sequence[str],
    groups: Sequence[str],
    counts: NDArray[np.int64],
    borrowed: NDArray[np.bool_],
    floored: NDArray[np.bool_],
    by_mean: NDArray[np.bool_],
) -> dict[str, Any]:
    """What `notes` puts into words, JSON-ready: only what there is to say.

    Args:
        features: names.
        groups: names.
        counts: rows that each group was fitted on.
        borrowed: `(num_groups, num_features)`, where a scale is that of other groups.
        floored: likewise, where it is the smallest that is divided by.
        by_mean: likewise, where there is a mean absolute deviation and no median one.
    """

    def pairs(where: NDArray[np.bool_]) -> list[str]:
        found = np.argwhere(where)[:_SOME].tolist()
        return [f"{features[f]} in {groups[g] or 'all rows'}" for g, f in found]

    lacking: dict[str, Any] = {}
    for name, where in (("without_spread", borrowed), ("smallest_scale", floored)):
        if where.any():
            lacking[name] = {
                "count": int(where.sum()),
                "pairs": where.size,
                "some": pairs(where),
            }
    if by_mean.any():
        lacking["by_mean_deviation"] = {
            "count": int(by_mean.sum()),
            "some": pairs(by_mean),
            "features": [features[i] for i in np.flatnonzero(by_mean.any(axis=0)).tolist()],
        }
    if (few := np.flatnonzero(counts < _FEW_ROWS)).size:
        lacking["few_rows"] = {
            "fewer_than": _FEW_ROWS,
            "count": len(few),
            "groups": len(groups),
            "some": [f"{groups[i] or 'all rows'}: {counts[i]}" for i in few[:_SOME].tolist()],
        }
    return lacking


def notes(settings: Mapping[str, Any], by: Sequence[str]) -> list[str]:
    """Sentences on what groups lacked.

    Args:
        settings: of a transform, with what `described` gave.
        by: columns of the groups.
    """
    found = []
    if lacking := settings.get("without_spread"):
        found.append(
            f"{lacking['count']} of {lacking['pairs']} pairs of feature and group (by "
            f"{', '.join(by)}) have no spread where the scale was fitted: {_some(lacking)}. They "
            "take the median scale of the feature in the other groups."
        )
    if lacking := settings.get("smallest_scale"):
        found.append(
            f"{lacking['count']} of {lacking['pairs']} pairs of feature and group have next to no "
            f"spread where the scale was fitted, nor has another group: {_some(lacking)}. Their "
            "scale is a hundredth of the spread of the feature over all rows."
        )
    if lacking := settings.get("by_mean_deviation"):
        found.append(
            f"{lacking['count']} pairs of feature and group are nearly constant in more than half "
            f"of the rows: {_some(lacking)}. Features that are so in a group have the mean "
            "absolute deviation for a scale, in all groups."
        )
    if lacking := settings.get("few_rows"):
        found.append(
            f"Fitted on fewer than {lacking['fewer_than']} rows: {lacking['count']} of "
            f"{lacking['groups']} groups ({_some(lacking)})."
        )
    return found


def _some(lacking: Mapping[str, Any]) -> str:
    more = lacking["count"] - len(lacking["some"])
    return ", ".join(lacking["some"]) + (f" and {more} more" if more else "")
