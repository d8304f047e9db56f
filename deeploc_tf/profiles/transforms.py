"""Transforms of vectors: fitted once, saved without pickle, applied to any table of the same kind.

A transform is a normalization, by group or as a whole, and after it at most one projection: both
are affine, so that what is saved is a few arrays. Everything is float64 until the result, which is
float32.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.profiles import lacking
from deeploc_tf.profiles.choices import NormalizationKind, ProjectionKind
from deeploc_tf.provenance import written_by
from tfrecords.publishing import publish_bytes

NORMALIZATIONS: tuple[NormalizationKind, ...] = get_args(NormalizationKind)

FORMAT_VERSION = 1
MAD_TO_DEVIATION = 1.4826  # of a normal distribution
MEAN_TO_DEVIATION = 1.253314  # the same for the mean absolute deviation
SMALLEST_SCALE = 0.01  # of the feature's spread over all rows
_NO_VARIANCE = 1e-10  # against the largest: what rounding leaves of a direction without any


@dataclasses.dataclass(frozen=True)
class Normalization:
    """Shift and scale of each feature, for each group of rows.

    Attributes:
        kind: "center", "standardize" or "mad".
        by: columns that make the groups; none is one group of all rows.
        groups: names of the groups.
        shift: float64 `(num_groups, num_features)`.
        scale: float64 of the same shape; infinite where a feature has no spread: it becomes 0.
    """

    kind: NormalizationKind
    by: tuple[str, ...]
    groups: tuple[str, ...]
    shift: NDArray[np.float64]
    scale: NDArray[np.float64]

    def apply(
        self, vectors: NDArray[np.floating], codes: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """Normalized vectors, given the group of each, an index into `groups`."""
        group = slice(None) if len(self.groups) == 1 else codes
        normalized: NDArray[np.float64] = (vectors - self.shift[group]) / self.scale[group]
        return normalized


@dataclasses.dataclass(frozen=True)
class Projection:
    """`(vector - shift) @ matrix`.

    Attributes:
        kind: "sphere" or "pca".
        shift: float64 `(num_features,)`.
        matrix: float64 `(num_features, num_outputs)`.
        explained: share of the variance that the outputs have: all of it when sphering.
    """

    kind: ProjectionKind
    shift: NDArray[np.float64]
    matrix: NDArray[np.float64]
    explained: float

    def apply(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Projected vectors, `(num_rows, num_outputs)`."""
        projected: NDArray[np.float64] = (vectors - self.shift) @ self.matrix
        return projected


@dataclasses.dataclass(frozen=True)
class Transform:
    """A normalization, a projection, both or neither, and which features they are for.

    Attributes:
        normalization: done first.
        projection: done second.
        features: of what is transformed, see `deeploc_tf.profiles.tables.row_table.origin`.
        settings: how it was fitted, JSON-ready.
    """

    normalization: Normalization | None
    projection: Projection | None
    features: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the transformed features."""
        if self.projection is None or self.projection.kind == "sphere":
            return tuple(self.features["feature_names"])
        count = self.projection.matrix.shape[1]
        return tuple(f"pc_{index:0{len(str(count - 1))}d}" for index in range(count))

    def notes(self) -> list[str]:
        """Sentences on what was found when it was fitted."""
        found = []
        if self.normalization is not None:
            flat = int(np.isinf(self.normalization.scale).all(axis=0).sum())
            if flat:
                found.append(
                    f"{flat} features are constant where the scale was fitted: they are 0."
                )
            for settings in (self.settings, self.settings.get("new_groups", {})):
                found += lacking.notes(settings, self.normalization.by)
        if (directions := self.settings.get("directions")) is not None:
            found.append(
                f"Sphering was fitted on {self.settings['rows']} rows, where only {directions[0]} "
                f"of {directions[1]} directions vary: what lies in the others becomes 0. Fit on "
                "more rows, or sphere fewer features."
            )
        if self.projection is not None and self.projection.kind == "pca":
            count = self.projection.matrix.shape[1]
            share = self.projection.explained
            found.append(f"{count} components have {share:.1%} of the variance.")
        return found

    def apply(
        self, vectors: NDArray[np.floating], codes: NDArray[np.integer] | None = None
    ) -> NDArray[np.float32]:
        """The transformed vectors, float32 `(num_rows, num_outputs)`.

        Args:
            vectors: `(num_rows, num_features)`.
            codes: group of each row, an index into the normalization's `groups`; needed where it
                has several.
        """
        values: NDArray[np.floating] = vectors
        if self.normalization is not None:
            values = self.normalization.apply(
                values, np.zeros(1, np.int32) if codes is None else codes
            )
        if self.projection is not None:
            values = self.projection.apply(values)
        return np.asarray(values, np.float32)


def sphering(
    mean: NDArray[np.float64], covariance: NDArray[np.float64], regularization: float
) -> Projection:
    """ZCA: of all maps that make covariances the identity, the one that moves vectors least.

    With eigenvalues l and eigenvectors E of the covariance the matrix is
    `E diag((l + r m)^-1/2) E^T`, m the mean eigenvalue and r the regularization; directions without
    any variance become 0. Without regularization noise in directions of little variance becomes as
    loud as everything else.

    Args:
        mean: `(num_features,)`.
        covariance: `(num_features, num_features)`.
        regularization: 0 or more.

    References:
        Kessy, Lewin & Strimmer 2018, The American Statistician 72:309.
    """
    values, directions = _eigen(covariance)
    kept = slice(_count_varying(values))
    values, directions = values[kept], directions[:, kept]
    softened = values + regularization * np.trace(covariance) / len(covariance)
    return Projection("sphere", mean, (directions / np.sqrt(softened)) @ directions.T, 1.0)


def principal_components(
    mean: NDArray[np.float64], covariance: NDArray[np.float64], num_components: int
) -> Projection:
    """The directions of most variance, not scaled; the largest entry of each is positive.

    Raises:
        ValueError: there are fewer directions that vary.
    """
    values, directions = _eigen(covariance)
    varying = _count_varying(values)
    if num_components > varying:
        msg = (
            f"Components must be at most as many as directions that vary, {varying}. Received: "
            f"num_components={num_components}. Ask for fewer, or fit on more cells."
        )
        raise ValueError(msg)
    chosen = directions[:, :num_components]
    largest = np.abs(chosen).argmax(axis=0)
    signs = np.sign(chosen[largest, np.arange(num_components)])
    return Projection(
        "pca", mean, chosen * signs, float(values[:num_components].sum() / values.sum())
    )


def num_varying(covariance: NDArray[np.float64]) -> int:
    """Number of directions that vary, beyond what rounding leaves."""
    return _count_varying(_eigen(covariance)[0])


def robust_scale(values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Median and scaled median absolute deviation of each column of `(num_rows, num_features)`.

    A column that is constant in more than half of the rows, or nearly so (see `SMALLEST_SCALE`),
    has no MAD; the mean absolute deviation from the median takes its place (units after a ReLU are
    often so). One that is constant has no spread: infinity.
    """
    median, scale, mean_deviation = robust_estimates(values)
    low = scale <= SMALLEST_SCALE * mean_deviation
    return median, spread_or_infinity(np.where(low, mean_deviation, scale))


def robust_estimates(
    values: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Median of each column of `(num_rows, num_features)`, and two estimates of its spread.

    These are the median and the mean absolute deviation from the median, scaled to the standard
    deviation of a normal distribution. A column that is constant in more than half of the rows
    (units after a ReLU are often so) has no median deviation, one that is constant has neither.

    References:
        Iglewicz & Hoaglin 1993, How to Detect and Handle Outliers.
    """
    columns = np.array(values.T, np.float64, order="C")
    median = np.median(columns, axis=1)
    deviations = np.abs(columns - median[:, None])
    return (
        median,
        MAD_TO_DEVIATION * np.median(deviations, axis=1),
        MEAN_TO_DEVIATION * deviations.mean(axis=1),
    )


def spread_or_infinity(scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scale, infinite where it is 0: what is divided by it becomes 0."""
    return np.where(scale > 0, scale, np.inf)


def shared_spread(
    scale: NDArray[np.float64],
    floor: NDArray[np.float64],
    others: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Scales that can be divided by, whichever groups have no spread to speak of in a feature.

    A scale at or below the floor is none. It is the median scale of the feature over the groups
    that have one, so that the feature counts in all groups alike; without one in any it is the
    floor, and where that is 0, infinite: the feature becomes 0.

    Args:
        scale: `(num_groups, num_features)`.
        floor: `(num_features,)`, 0 where the feature is constant in all rows.
        others: scales of further groups; infinite where there is none.

    Returns:
        The scales, where they are those of other groups, and where they are the floor.
    """
    every = scale if others is None else np.vstack([scale, others])
    usable = np.where((every > floor) & np.isfinite(every), every, np.nan)
    has_some = np.isfinite(usable).any(axis=0)
    typical = spread_or_infinity(floor)
    typical[has_some] = np.nanmedian(usable[:, has_some], axis=0)
    low = scale <= floor
    return np.where(low, typical, scale), low & has_some, low & ~has_some & (floor > 0)


def save_transform(
    path: str | Path, transform: Transform, made_from: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Write a transform as .npz: arrays, and `settings` and `provenance`, JSON texts.

    Args:
        path: of the file.
        transform: to write.
        made_from: see `deeploc_tf.provenance.parent`.

    Raises:
        ValueError: the name does not end in .npz.
    """
    path = Path(path)
    if path.suffix != ".npz":
        msg = f"A transform must end in .npz. Received: {path.name!r}. Name it {path.stem}.npz."
        raise ValueError(msg)
    arrays: dict[str, NDArray[Any]] = {}
    settings: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "features": dict(transform.features),
        "settings": dict(transform.settings),
    }
    if (normal := transform.normalization) is not None:
        settings["normalization"] = {
            "kind": normal.kind,
            "by": list(normal.by),
            "groups": list(normal.groups),
        }
        arrays |= {"normalization_shift": normal.shift, "normalization_scale": normal.scale}
    if (projection := transform.projection) is not None:
        settings["projection"] = {"kind": projection.kind, "explained": projection.explained}
        arrays |= {"projection_shift": projection.shift, "projection_matrix": projection.matrix}
    text = json.dumps(settings, ensure_ascii=False, allow_nan=False)
    arrays["provenance"] = np.array(json.dumps({**written_by(), "made_from": list(made_from)}))
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, settings=np.array(text), **arrays)
    publish_bytes(path, content.getvalue())


def load_transform(path: str | Path) -> Transform:
    """Read a transform; nothing in the file can run.

    Raises:
        ValueError: the file is none, or of a later version.
        FileNotFoundError: there is none.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            settings = json.loads(str(file["settings"]))
            arrays = {name: file[name] for name in file.files if name != "settings"}
        if settings["format_version"] > FORMAT_VERSION:
            msg = f"format_version={settings['format_version']}, of a later version"
            raise ValueError(msg)
        return _transform_of(settings, arrays)
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, zlib, NumPy and its tokenizer have their own for damage
        msg = (
            "A transform must be a file that `profile` saved. Received: "
            f"{str(path)!r} ({error}). Fit it again."
        )
        raise ValueError(msg) from error


def _transform_of(settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Transform:
    normalization = projection = None
    width = settings["features"]["num_features"]
    if "normalization" in settings:
        stored = settings["normalization"]
        shift, scale = arrays["normalization_shift"], arrays["normalization_scale"]
        _check_shape("normalization", [shift, scale], (len(stored["groups"]), width))
        normalization = Normalization(
            stored["kind"], tuple(stored["by"]), tuple(stored["groups"]), shift, scale
        )
    if "projection" in settings:
        stored = settings["projection"]
        shift, matrix = arrays["projection_shift"], arrays["projection_matrix"]
        _check_shape("projection", [shift], (width,))
        _check_shape("projection", [matrix], (width, matrix.shape[-1]))
        projection = Projection(stored["kind"], shift, matrix, stored["explained"])
    return Transform(normalization, projection, settings["features"], settings["settings"])


def _check_shape(what: str, arrays: Sequence[NDArray[Any]], shape: tuple[int, ...]) -> None:
    for array in arrays:
        if array.shape != shape or array.dtype != np.float64:
            msg = f"{what} of shape {array.shape} and {array.dtype}, not {shape} and float64"
            raise ValueError(msg)


def _count_varying(values: NDArray[np.float64]) -> int:
    """How many eigenvalues, the largest first, are more than rounding leaves."""
    return int((values > _NO_VARIANCE * values[0]).sum())


def _eigen(covariance: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues, the largest first, none below zero, and their directions as columns."""
    values, directions = np.linalg.eigh(covariance)
    return np.maximum(values[::-1], 0), directions[:, ::-1]
