"""Fitting transforms to a table on disk, of any number of rows: in passes, never held whole."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.names import same_form
from deeploc_tf.profiles import lacking
from deeploc_tf.profiles.choices import NormalizationKind
from deeploc_tf.profiles.moments import (
    covariance_of,
    moments_by_group,
    robust_by_group,
    spread_around,
)
from deeploc_tf.profiles.tables import Groups, RowTable
from deeploc_tf.profiles.tables.row_table import check_same_features, origin
from deeploc_tf.profiles.transforms import (
    NORMALIZATIONS,
    SMALLEST_SCALE,
    Normalization,
    Transform,
    num_varying,
    principal_components,
    shared_spread,
    sphering,
)
from deeploc_tf.units import kind_of_column
from tfrecords.errors import did_you_mean

_FEWEST_ROWS = 2
_SOME = 3  # names in a message

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TransformSettings:
    """What to fit, and on which rows.

    Attributes:
        normalize: "center" (mean 0), "standardize" (mean 0, standard deviation 1), "mad" (median
            0, scaled median absolute deviation 1), or None.
        by: columns, such as `plate`: each group gets its own shift and scale. Columns above them,
            such as `folder`, are taken along.
        controls: column and value of the rows to fit on, such as ("protein", "CTRL"); None: all.
        sphere: whether to make the covariance the identity.
        num_components: length after principal components; None leaves them out.
        regularization: of sphering, see `sphering`.
    """

    normalize: NormalizationKind | None = None
    by: tuple[str, ...] = ()
    controls: tuple[str, str] | None = None
    sphere: bool = False
    num_components: int | None = None
    regularization: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.normalize not in (None, *NORMALIZATIONS):
            msg = (
                f"`normalize` must be one of {', '.join(NORMALIZATIONS)}. Received: normalize="
                f"{self.normalize!r}.{did_you_mean(str(self.normalize), NORMALIZATIONS)}"
            )
            raise ValueError(msg)
        if self.sphere and self.num_components is not None:
            msg = (
                "Sphering and principal components must not be asked for both. Received: "
                f"sphere=True, num_components={self.num_components}. Take one."
            )
            raise ValueError(msg)
        if (self.by or self.controls) and not self.fits_something:
            msg = (
                "Groups and controls must be those of a transform. Received: "
                f"by={self.by}, controls={self.controls} and nothing to fit. Add a normalization "
                "(--normalize center)."
            )
            raise ValueError(msg)
        if self.by and self.normalize is None:
            msg = f"Groups must have a normalization. Received: by={self.by}, normalize=None."
            raise ValueError(msg)
        if self.regularization < 0 or (self.num_components is not None and self.num_components < 1):
            msg = (
                "`regularization` must be 0 or more, and `num_components` 1 or more. Received: "
                f"{self.regularization}, {self.num_components}."
            )
            raise ValueError(msg)

    @property
    def fits_something(self) -> bool:
        """Whether there is a transform at all."""
        return self.normalize is not None or self.sphere or self.num_components is not None


_Settings = TypeVar("_Settings")


def as_settings(given: _Settings | None, kind: type[_Settings]) -> _Settings:
    """Settings as they were given, or the defaults.

    Raises:
        TypeError: they are of another kind.
    """
    if given is not None and not isinstance(given, kind):
        name = kind.__name__
        msg = f"Settings must be {name}. Received: {given!r}. Write {name}(...)."
        raise TypeError(msg)
    return kind() if given is None else given


def fit_transform(
    table: RowTable,
    settings: TransformSettings,
    used: NDArray[np.bool_] | None = None,
    *,
    seed: int = 0,
) -> Transform:
    """Fit to the rows of a table.

    Means, deviations and covariances are of all rows. Medians are too, up to 200,000 rows; of more
    they are of so many rows drawn at random, the same number of each group as far as it goes. A
    feature that has no spread in a group has the median scale of the other groups there. What
    groups lack stands in the transform's settings, and `notes` tells it.

    Args:
        table: of cells.
        settings: what to fit, and on which rows.
        used: bool `(num_rows,)`, rows that count at all; None: all.
        seed: of the rows behind medians.

    Raises:
        ValueError: there are no controls, or too few in a group; a column is missing; a value is
            not a finite number.
    """
    used = np.ones(table.num_rows, np.bool_) if used is None else used
    chosen = used & _controls(table, settings.controls)
    if chosen.sum() < _FEWEST_ROWS:
        msg = (
            f"A transform must be fitted on {_FEWEST_ROWS} rows or more. Received: "
            f"{int(chosen.sum())} rows of {table.path}. Take more cells, or other controls."
        )
        raise ValueError(msg)
    normalization = projection = None
    settings = dataclasses.replace(settings, by=table.unit_columns(settings.by, "`by`"))
    groups = table.groups(*settings.by)
    described = dataclasses.asdict(settings) | {"rows": int(chosen.sum())}
    if settings.normalize is not None:
        normalization, found = _normalization(table, settings, groups, used, chosen, seed)
        described |= found
    if settings.sphere or settings.num_components is not None:
        codes = _codes_in(normalization, groups)

        def normalized(vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> Any:
            return vectors if normalization is None else normalization.apply(vectors, codes[rows])

        mean, covariance = covariance_of(table, normalized, chosen)
        if not covariance.any():
            msg = (
                "Some feature must vary to be sphered or reduced. Received: "
                f"{int(chosen.sum())} rows that are all the same, in {table.path}."
            )
            raise ValueError(msg)
        varying, features = num_varying(covariance), int((np.diag(covariance) > 0).sum())
        if settings.sphere and varying < features:
            described["directions"] = [varying, features]
        projection = (
            sphering(mean, covariance, settings.regularization)
            if settings.num_components is None
            else principal_components(mean, covariance, settings.num_components)
        )
    return Transform(normalization, projection, origin(table), described)


def group_codes(
    table: RowTable,
    transform: Transform,
    used: NDArray[np.bool_],
    *,
    fit_new_groups: bool = False,
    seed: int = 0,
) -> tuple[Transform, NDArray[np.int32]]:
    """The group of each row of another table, as the transform numbers them.

    Args:
        table: whose rows are to be transformed.
        transform: fitted to another table, or to this one.
        used: bool `(num_rows,)`, rows that count.
        fit_new_groups: whether groups that the transform has not seen get a shift and a scale of
            their own, fitted on their rows (or their controls) here, as a new plate needs.
        seed: as for `fit_transform`.

    Returns:
        The transform, with the new groups where there are any, and int32 `(num_rows,)`.

    Raises:
        ValueError: a group is new, or the features are others.
    """
    check_same_features(
        transform.features, origin(table), "A transform must be applied to the features it is of."
    )
    normal = transform.normalization
    if normal is None or not normal.by:
        return transform, np.zeros(table.num_rows, np.int32)
    if above := [n for n in table.unit_columns(normal.by) if n not in normal.by]:
        logger.warning(
            "The transform was fitted by %s, and %s has %s above: groups of one name there share a "
            "shift and a scale.",
            ", ".join(normal.by),
            table.path.name,
            ", ".join(above),
        )
    groups = table.groups(*normal.by)
    present = np.bincount(groups.codes[used & (groups.codes >= 0)], minlength=len(groups.names)) > 0
    new = [
        n for n, here in zip(groups.names, present, strict=True) if here and n not in normal.groups
    ]
    if new and not fit_new_groups:
        msg = (
            f"Groups by {', '.join(normal.by)} must be those that the transform was fitted to. "
            f"Received: {', '.join(new[:3])} ({len(new)} new). Fit them on their own rows "
            "(fit_new_groups=True, --fit-new-groups)."
        )
        raise ValueError(msg)
    if new:
        logger.info(
            "%d groups are new and get a shift and a scale of their own: %s%s.",
            len(new),
            ", ".join(new[:_SOME]),
            " ..." if len(new) > _SOME else "",
        )
        settings = TransformSettings(normal.kind, normal.by, _pair(transform.settings["controls"]))
        rows = used & np.isin(groups.codes, [groups.names.index(name) for name in new])
        chosen = rows & _controls(table, settings.controls)
        fitted, found = _normalization(
            table, settings, groups, rows, chosen, seed, (normal, transform.settings)
        )
        places = [fitted.groups.index(name) for name in new]
        normal = dataclasses.replace(
            normal,
            groups=(*normal.groups, *new),
            shift=np.vstack([normal.shift, fitted.shift[places]]),
            scale=np.vstack([normal.scale, fitted.scale[places]]),
        )
        described = {**transform.settings, "new_groups": {"names": new, **found}}
        transform = dataclasses.replace(transform, normalization=normal, settings=described)
    place = {name: index for index, name in enumerate(normal.groups)}
    renumbered = np.array([place.get(name, 0) for name in groups.names] or [0], np.int32)
    return transform, _check_grouped(table, normal.by, groups, used, renumbered)


def _check_grouped(
    table: RowTable,
    by: Sequence[str],
    groups: Groups,
    used: NDArray[np.bool_],
    renumbered: NDArray[np.int32],
) -> NDArray[np.int32]:
    if (groups.codes[used] < 0).any():
        msg = (
            f"Every row must have a value of {', '.join(by)}. Received: "
            f"{int((groups.codes[used] < 0).sum())} rows of {table.path} without."
        )
        raise ValueError(msg)
    return np.where(groups.codes < 0, 0, renumbered[groups.codes]).astype(np.int32)


def _pair(value: Any) -> tuple[str, str] | None:
    return None if value is None else (value[0], value[1])


def _controls(table: RowTable, controls: tuple[str, str] | None) -> NDArray[np.bool_]:
    if controls is None:
        return np.ones(table.num_rows, np.bool_)
    column, value = controls
    groups = table.groups(column)
    kind = kind_of_column(column)
    chosen = [i for i, n in enumerate(groups.names) if same_form(n, kind) == same_form(value, kind)]
    if not chosen:
        msg = (
            f"There must be controls. Received: no row of {table.path} with {column}={value!r}."
            f"{did_you_mean(value, groups.names)}"
        )
        raise ValueError(msg)
    return np.isin(groups.codes, chosen)


def _normalization(
    table: RowTable,
    settings: TransformSettings,
    groups: Groups,
    used: NDArray[np.bool_],
    chosen: NDArray[np.bool_],
    seed: int,
    before: tuple[Normalization, Mapping[str, Any]] | None = None,
) -> tuple[Normalization, dict[str, Any]]:
    """Shift and scale of each group that has used rows, and what some groups lack, JSON-ready.

    `before` is the normalization of other groups, and the settings of its transform.
    """
    kind = settings.normalize
    if kind is None:
        raise TypeError(kind)
    _check_grouped(table, settings.by, groups, used, np.zeros(max(1, len(groups.names)), np.int32))
    width = len(groups.names)
    present = np.bincount(groups.codes[used], minlength=width) > 0
    counts = np.bincount(groups.codes[chosen], minlength=width)
    needed = 1 if kind == "center" else _FEWEST_ROWS
    poor = [groups.names[i] for i in np.flatnonzero(present & (counts < needed))]
    if poor:
        what = (
            "rows" if settings.controls is None else "controls ({}={})".format(*settings.controls)
        )
        msg = (
            f"Every group by {', '.join(settings.by)} must have {needed} {what} or more. Received: "
            f"fewer in {', '.join(poor[:3])} ({len(poor)} of {int(present.sum())} groups). Group "
            "by another column, or take other controls."
        )
        raise ValueError(msg)
    if kind == "mad":
        shift, scale, mean_deviation = robust_by_group(table, groups, chosen, seed)
    else:
        shift, scale = moments_by_group(table, groups, chosen)
        mean_deviation = scale
    floor = np.zeros(table.num_features)
    if kind == "center":
        scale = mean_deviation = np.ones_like(scale)
    else:
        floor += SMALLEST_SCALE * spread_around(table, groups, used, shift)
    shift, scale, mean_deviation = shift[present], scale[present], mean_deviation[present]
    # one estimate serves a feature in all groups
    by_mean_here = (scale <= floor) & (mean_deviation > floor)
    stored = {} if before is None else before[1].get("by_mean_deviation") or {}
    by_mean = np.isin(table.feature_names, stored.get("features", []))
    scale = np.where(by_mean_here.any(axis=0) | by_mean, mean_deviation, scale)
    scale, borrowed, floored = shared_spread(
        scale, floor, None if before is None else before[0].scale
    )
    names = tuple(groups.names[i] for i in np.flatnonzero(present))
    found = lacking.described(
        table.feature_names, names, counts[present], borrowed, floored, by_mean_here
    )
    return Normalization(kind, settings.by, names, shift, scale), found


def _codes_in(normalization: Normalization | None, groups: Groups) -> NDArray[np.int32]:
    """Codes as the normalization numbers its groups, which may be fewer."""
    if normalization is None or len(groups.names) == len(normalization.groups):
        return groups.codes
    place = {name: index for index, name in enumerate(normalization.groups)}
    renumbered = np.array([place.get(name, 0) for name in groups.names], np.int32)
    return renumbered[groups.codes]
