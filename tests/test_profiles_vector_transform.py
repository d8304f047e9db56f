"""Transforms are estimators of scikit-learn, and those of the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from deeploc_tf import TransformSettings, VectorTransform, profile

ESTIMATORS = [
    VectorTransform(),
    VectorTransform("mad"),
    VectorTransform("center", num_components=1),
    VectorTransform(None, sphere=True),
]


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learns_checks_pass(estimator: Any, check: Any) -> None:
    check(estimator)


def cells(seed: int = 0, plates: int = 2) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(2, 3, (60, 4)), columns=list("abcd"))
    return frame.assign(
        plate=[f"plate{row % plates}" for row in range(60)],
        protein=["CTRL", *(f"P{row % 6}" for row in range(59))],
    )


def test_numbers_are_those_of_scikit_learn() -> None:
    values = cells()[list("abcd")].to_numpy()
    found = VectorTransform().fit_transform(values)
    np.testing.assert_allclose(found, StandardScaler().fit_transform(values), atol=1e-5)
    projected = VectorTransform(None, num_components=2).fit_transform(values)
    np.testing.assert_allclose(np.abs(projected), np.abs(PCA(2).fit_transform(values)), atol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize("settings", [{}, {"num_components": 2}, {"sphere": True}])
def test_it_is_the_transform_of_the_command(settings: Any, tmp_path: Path) -> None:
    frame = cells()
    made = profile(
        frame, fit=TransformSettings("mad", ("plate",), **settings), save=tmp_path / "t.npz"
    )
    transform = VectorTransform("mad", by="plate", **settings).set_output(transform="pandas")
    vectors = transform.fit_transform(frame)
    means = vectors.groupby(frame["protein"].to_numpy()).mean().to_numpy()
    profiles = made.to_frame().sort_values("protein")
    assert list(vectors) == list(profiles.columns[-vectors.shape[1] :])
    np.testing.assert_allclose(profiles[list(vectors)].to_numpy(), means, atol=1e-5)
    transform.save(tmp_path / "ours.npz")
    for name in ("t.npz", "ours.npz"):
        loaded = VectorTransform.load(tmp_path / name).set_output(transform="pandas")
        pd.testing.assert_frame_equal(loaded.transform(frame), vectors)
        assert loaded.get_params() == {**transform.get_params(), "by": ("plate",)}
        assert profile(frame, transform=tmp_path / name).num_proteins == 7


def test_it_is_cloned_and_stands_in_a_pipeline() -> None:
    transform = VectorTransform("mad", by=("plate",), controls=("protein", "P1"))
    copy = clone(transform)
    assert copy.get_params() == transform.get_params()
    with pytest.raises(NotFittedError):
        copy.transform(cells())
    pipeline = make_pipeline(VectorTransform("center", by="plate"), PCA(2))
    assert pipeline.set_params(vectortransform__normalize="mad").fit_transform(cells()).shape == (
        60,
        2,
    )
    one = ColumnTransformer([("center", VectorTransform("center"), ["a", "b"])])
    np.testing.assert_allclose(one.fit_transform(cells()).mean(axis=0), 0, atol=1e-6)
    named = pipeline.set_output(transform="pandas")[0].fit_transform(cells())
    assert list(named) == list("abcd")


def test_groups_and_features_that_are_new_are_refused() -> None:
    transform = VectorTransform(by="plate").fit(cells())
    with pytest.raises(ValueError, match=r"plate2 \(1 new\)"):
        transform.transform(cells(1, plates=3))
    allowing = VectorTransform(by="plate", fit_new_groups=True).fit(cells())
    assert np.isfinite(allowing.transform(cells(1, plates=3))).all()
    with pytest.raises(ValueError, match="feature names should match"):
        transform.transform(cells().rename(columns={"a": "z"}))
    for wrong, told in (
        ({"by": "plat"}, "plat"),
        ({"normalize": "standard"}, "Did you mean 'standardize'"),
        ({"controls": ("protein", "CTLR")}, "Did you mean 'CTRL'"),
        ({"sphere": True, "num_components": 2}, "Take one"),
        ({"num_components": 9}, "directions that vary, 4"),
    ):
        with pytest.raises(ValueError, match=told):
            VectorTransform(**wrong).fit(cells())
    with pytest.raises(ValueError, match="'plate'"):
        VectorTransform(by="plate").fit(cells()[list("abcd")].to_numpy())
