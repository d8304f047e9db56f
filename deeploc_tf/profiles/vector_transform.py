"""The transforms of `profile` as an estimator of scikit-learn, for pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from deeploc_tf.profiles.choices import NormalizationKind
from deeploc_tf.profiles.fitting import TransformSettings, fit_transform, group_codes
from deeploc_tf.profiles.tables import RowTable, VectorTable, open_rows
from deeploc_tf.profiles.transforms import load_transform, save_transform
from deeploc_tf.units import columns_of

_FEWEST_ROWS = 2


class VectorTransform(TransformerMixin, BaseEstimator):
    """Normalize vectors, by group or as a whole, and sphere or project them.

    What `deeploc-tf profile` fits with `--normalize`, `--sphere` and `--components`, and the same
    file of it. Vectors are an array `(num_rows, num_features)` or a data frame; columns of a frame
    that describe its rows, such as `plate` and `protein`, are not transformed and do not come out,
    and `by` and `controls` may name them. The result is float32.

    Args:
        normalize: "center" (mean 0), "standardize" (mean 0, standard deviation 1), "mad" (median
            0, scaled median absolute deviation 1), or None.
        by: columns, such as `plate`: each group gets its own shift and scale.
        controls: column and value of the rows to fit on, such as ("protein", "CTRL"); None: all.
        sphere: make the covariance the identity.
        num_components: length after principal components; None leaves them out.
        regularization: of sphering, 0 or more.
        fit_new_groups: let groups that come only in `transform` have a shift and a scale of their
            own, fitted on their rows there; otherwise they are refused.
        seed: of the rows behind medians of more than 200,000 rows.

    Attributes:
        transform_: what was fitted, a `deeploc_tf.profiles.transforms.Transform`.
        n_features_in_: number of features.
        feature_names_in_: names of the features, where they are columns of a frame.

    Example:
        cells = read_table("cells.parquet").to_frame()
        VectorTransform("mad", by="plate").set_output(transform="pandas").fit_transform(cells)
    """

    def __init__(
        self,
        normalize: NormalizationKind | None = "standardize",
        *,
        by: Any = (),
        controls: tuple[str, str] | None = None,
        sphere: bool = False,
        num_components: int | None = None,
        regularization: float = 1e-3,
        fit_new_groups: bool = False,
        seed: int = 0,
    ) -> None:
        self.normalize = normalize
        self.by = by
        self.controls = controls
        self.sphere = sphere
        self.num_components = num_components
        self.regularization = regularization
        self.fit_new_groups = fit_new_groups
        self.seed = seed

    def fit(self, X: Any, y: None = None) -> VectorTransform:  # noqa: ARG002
        """Fit to the rows of `X`.

        Args:
            X: array `(num_rows, num_features)`, or a data frame; two rows or more.
            y: not used.

        Raises:
            ValueError: a value is not a finite number, a column is missing, a group or the
                controls have too few rows, or settings contradict each other.
        """
        settings = TransformSettings(
            self.normalize,
            columns_of(self.by),
            self.controls,
            self.sphere,
            self.num_components,
            self.regularization,
        )
        table = self._table(X, reset=True)
        self.transform_ = fit_transform(table, settings, seed=self.seed)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """The transformed vectors of `X`, float32 `(num_rows, num_outputs)`.

        Raises:
            NotFittedError: nothing was fitted.
            ValueError: the features are others, a value is not a finite number, or a group is new.
        """
        check_is_fitted(self)
        table = self._table(X, reset=False)
        every = np.ones(table.num_rows, np.bool_)
        transform, codes = group_codes(
            table, self.transform_, every, fit_new_groups=self.fit_new_groups, seed=self.seed
        )
        return transform.apply(table.read_features(), codes)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Names of the outputs: those of the features, or `pc_0` and so on."""
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        projection = self.transform_.projection
        if projection is None or projection.kind == "sphere":
            return np.asarray(names, object)
        return np.array(self.transform_.output_names, object)

    def save(self, path: str | Path) -> None:
        """Write what was fitted as `.npz` without pickle; `profile --transform` reads it, too."""
        check_is_fitted(self)
        save_transform(path, self.transform_)

    @classmethod
    def load(cls, path: str | Path) -> VectorTransform:
        """Read a transform that `save` or `deeploc-tf profile --save` wrote; nothing in it can run.

        Raises:
            ValueError: the file is none, or of a later version.
        """
        transform = load_transform(path)
        told: Mapping[str, Any] = transform.settings
        controls = told["controls"]
        found = cls(
            told["normalize"],
            by=tuple(told["by"]),
            controls=None if controls is None else (controls[0], controls[1]),
            **{name: told[name] for name in ("sphere", "num_components", "regularization")},
        )
        found.transform_ = transform
        names = transform.features["feature_names"]
        found.n_features_in_ = len(names)
        if names != _numbered(len(names)):
            found.feature_names_in_ = np.array(names, object)
        return found

    def _table(self, X: Any, *, reset: bool) -> RowTable:
        """The rows as `profile` has them: what describes them, and features of checked values."""
        metadata = None
        if isinstance(X, pd.DataFrame) and len(X):
            rows = open_rows(X)
            described = {name: rows.column(name) for name in rows.columns}
            metadata = pd.DataFrame(described, index=range(rows.num_rows))
            X = X[[name for name in X if str(name) in set(rows.feature_names)]]
        values = validate_data(
            self, X, reset=reset, ensure_min_samples=_FEWEST_ROWS if reset else 1
        )
        names = getattr(self, "feature_names_in_", None)
        names = _numbered(values.shape[1]) if names is None else list(names)
        if metadata is None:
            metadata = pd.DataFrame(index=range(len(values)))
        return open_rows(VectorTable(values, metadata, {}, tuple(names)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # float32, whatever comes
        return tags


def _numbered(count: int) -> list[str]:
    """Names of features that have none, as scikit-learn makes them."""
    return [f"x{number}" for number in range(count)]
