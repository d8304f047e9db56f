from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from deeploc_tf.profiles.fitting import TransformSettings, fit_transform, group_codes
from deeploc_tf.profiles.tables import RowTable, VectorTable, open_rows, write_table
from deeploc_tf.profiles.transforms import (
    load_transform,
    robust_scale,
    save_transform,
    sphering,
)

NUM_FEATURES = 6
NAMES = [f"fc_2_{i}" for i in range(NUM_FEATURES)]


def cells(path: Path, count: int = 300, seed: int = 0, **columns: Any) -> tuple[RowTable, Any]:
    """A table with plates that differ, and correlated features far from zero."""
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(NUM_FEATURES, NUM_FEATURES))
    plates = random.integers(1, 4, count)
    features = (
        random.normal(size=(count, NUM_FEATURES)) @ mixing + 40 + 3 * plates[:, None]
    ).astype(np.float32)
    metadata = pd.DataFrame(
        {
            "key": [f"k{i}" for i in range(count)],
            "protein": random.choice(["AAC1", "AAH1", "CTRL"], count),
            "plate": plates,
            **columns,
        }
    )
    write_table(
        path, VectorTable(features, metadata, {"kind": "embeddings", "layer": "fc_2"}), NAMES
    )
    return open_rows(path), features


def transformed(table: RowTable, settings: TransformSettings, features: Any) -> Any:
    fitted = fit_transform(table, settings)
    fitted, codes = group_codes(table, fitted, np.ones(table.num_rows, bool))
    return fitted.apply(features, codes)


@pytest.fixture(params=[".h5", ".parquet"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[RowTable, Any]:
    return cells(tmp_path / f"cells{request.param}")


def test_each_plate_is_centered_like_in_a_naive_loop(table: tuple[RowTable, Any]) -> None:
    rows, features = table
    found = transformed(rows, TransformSettings("center", ("plate",)), features)
    plates = rows.column("plate")
    for row, vector in enumerate(features[:40]):
        mates = [
            features[i].astype(float) for i in range(len(features)) if plates[i] == plates[row]
        ]
        np.testing.assert_allclose(found[row], vector - np.mean(mates, axis=0), atol=1e-5)


def test_standardizing_is_what_scikit_learn_does(table: tuple[RowTable, Any]) -> None:
    rows, features = table
    found = transformed(rows, TransformSettings("standardize"), features)
    wanted = StandardScaler().fit_transform(features.astype(float))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_controls_alone_decide_by_plate(table: tuple[RowTable, Any]) -> None:
    rows, features = table
    settings = TransformSettings("standardize", ("plate",), ("protein", "CTRL"))
    found = transformed(rows, settings, features)
    proteins, plates = rows.column("protein"), rows.column("plate")
    for plate in (1, 2, 3):
        here, controls = plates == plate, (plates == plate) & (proteins == "CTRL")
        scaler = StandardScaler().fit(features[controls].astype(float))
        np.testing.assert_allclose(found[here], scaler.transform(features[here]), atol=2e-5)


def test_mad_and_sphering_are_those_of_pycytominer(table: tuple[RowTable, Any]) -> None:
    transform = pytest.importorskip("pycytominer.operations.transform")
    rows, features = table
    frame = pd.DataFrame(features.astype(float))
    found = transformed(rows, TransformSettings("mad"), features)
    np.testing.assert_allclose(found, transform.RobustMAD().fit(frame).transform(frame), atol=1e-5)
    exact = TransformSettings(sphere=True, regularization=0)
    wanted = transform.Spherize(epsilon=0, method="ZCA").fit(frame).transform(frame)
    np.testing.assert_allclose(transformed(rows, exact, features), wanted, atol=1e-4)


def test_sphered_cells_have_the_identity_as_covariance(table: tuple[RowTable, Any]) -> None:
    rows, features = table
    settings = TransformSettings("center", ("plate",), sphere=True, regularization=0)
    found = transformed(rows, settings, features)
    np.testing.assert_allclose(np.cov(found.T), np.eye(NUM_FEATURES), atol=1e-4)
    softened = TransformSettings("center", ("plate",), sphere=True, regularization=0.1)
    variances = np.linalg.eigvalsh(np.cov(transformed(rows, softened, features).T))
    assert variances.max() < 1
    assert variances.min() < 0.9


def test_sphering_on_controls_spheres_the_controls(table: tuple[RowTable, Any]) -> None:
    rows, features = table
    settings = TransformSettings(controls=("protein", "CTRL"), sphere=True, regularization=0)
    found = transformed(rows, settings, features)
    controls = rows.column("protein") == "CTRL"
    np.testing.assert_allclose(np.cov(found[controls].T), np.eye(NUM_FEATURES), atol=1e-4)
    assert np.abs(np.cov(found[~controls].T) - np.eye(NUM_FEATURES)).max() > 0.05


def test_components_are_those_of_scikit_learn(table: tuple[RowTable, Any]) -> None:
    rows, features = table
    found = transformed(rows, TransformSettings(num_components=3), features)
    model = PCA(3).fit(features.astype(float))
    wanted = model.transform(features)
    signs = np.sign((found * wanted).sum(axis=0))
    np.testing.assert_allclose(found, wanted * signs, atol=1e-3)
    fitted = fit_transform(rows, TransformSettings(num_components=3))
    assert fitted.output_names == ("pc_0", "pc_1", "pc_2")
    assert fitted.projection is not None
    np.testing.assert_allclose(fitted.projection.explained, model.explained_variance_ratio_.sum())


def test_units_that_are_mostly_zero_keep_a_scale() -> None:
    values = np.zeros((100, 3))
    values[:20, 0] = np.arange(20)  # no MAD, but a mean deviation
    values[:, 2] = np.arange(100)
    _, scale = robust_scale(values)
    np.testing.assert_allclose(scale[0], 1.253314 * np.arange(20).sum() / 100)
    assert np.isinf(scale[1])
    np.testing.assert_allclose(scale[2], 1.4826 * 25)


@pytest.mark.parametrize("kind", ["standardize", "mad"])
def test_a_constant_feature_becomes_zero_and_is_told(kind: Any, tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    features[:, 1] = 0.1
    metadata = pd.DataFrame({"protein": ["AAC1"] * 50})
    path = tmp_path / "cells.h5"
    write_table(path, VectorTable(features, metadata, {}), ["a", "b", "c"])
    fitted = fit_transform(open_rows(path), TransformSettings(kind, sphere=True))
    found = fitted.apply(features)
    assert np.isfinite(found).all()
    assert not found[:, 1].any()
    assert found[:, 0].any()
    assert fitted.notes() == ["1 features are constant where the scale was fitted: they are 0."]


def test_medians_of_many_rows_are_of_an_even_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, _ = cells(tmp_path / "cells.h5", 3000)
    whole = fit_transform(rows, TransformSettings("mad", ("plate",)))
    monkeypatch.setattr("deeploc_tf.profiles.moments.ROWS_OF_MEDIANS", 900)
    sampled = fit_transform(rows, TransformSettings("mad", ("plate",)))
    assert whole.normalization is not None
    assert sampled.normalization is not None
    away = (sampled.normalization.shift - whole.normalization.shift) / whole.normalization.scale
    assert 0 < np.abs(away).max() < 0.35  # 300 rows a plate: a standard error of .07


def test_what_was_saved_transforms_new_cells_alike(tmp_path: Path) -> None:
    rows, _ = cells(tmp_path / "cells.parquet")
    fitted = fit_transform(rows, TransformSettings("mad", ("plate",), num_components=2))
    save_transform(tmp_path / "transform.npz", fitted)
    with np.load(tmp_path / "transform.npz", allow_pickle=False) as file:
        assert "settings" in file.files
    loaded = load_transform(tmp_path / "transform.npz")
    new, features = cells(tmp_path / "new.h5", 80, seed=1)
    used = np.ones(80, bool)
    _, codes = group_codes(new, loaded, used)
    np.testing.assert_array_equal(loaded.apply(features, codes), fitted.apply(features, codes))
    assert loaded.settings == {**fitted.settings, "by": ["plate"]}


def test_a_new_plate_is_refused_or_fitted_on_its_own(tmp_path: Path) -> None:
    rows, _ = cells(tmp_path / "cells.h5")
    fitted = fit_transform(rows, TransformSettings("center", ("plate",)))
    new, features = cells(tmp_path / "new.h5", 60, seed=2, plate=[2] * 30 + [9] * 30)
    used = np.ones(60, bool)
    with pytest.raises(ValueError, match=r"Received: 9 \(1 new\).*--fit-new-groups"):
        group_codes(new, fitted, used)
    extended, codes = group_codes(new, fitted, used, fit_new_groups=True)
    found = extended.apply(features, codes)
    np.testing.assert_allclose(found[30:].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_array_equal(found[:30], fitted.apply(features[:30], np.full(30, 1)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (TransformSettings("center", ("plat",)), r"one of key, protein, plate.*'plate'"),
        (TransformSettings("center", controls=("protein", "CTLR")), r"controls.*'CTRL'"),
        (
            TransformSettings("standardize", ("key",), ("protein", "CTRL")),
            r"2 controls \(protein=CTRL\) or more.*fewer in k0",
        ),
        (TransformSettings(num_components=7), "at most as many as directions that vary, 6"),
    ],
)
def test_what_cannot_be_fitted_is_told(
    settings: TransformSettings, message: str, tmp_path: Path
) -> None:
    rows, _ = cells(tmp_path / "cells.h5", 30)
    with pytest.raises(ValueError, match=message):
        fit_transform(rows, settings)


def test_settings_that_contradict_themselves_are_told() -> None:
    for settings, message in (
        ({"normalize": "cetner"}, "'center'"),
        ({"sphere": True, "num_components": 2}, "Take one"),
        ({"by": ("plate",)}, "--normalize center"),
        ({"by": ("plate",), "sphere": True}, "must have a normalization"),
        ({"num_components": 0}, "1 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            TransformSettings(**settings)  # type: ignore[arg-type]


def test_values_that_are_not_finite_are_told_with_their_place(tmp_path: Path) -> None:
    rows, features = cells(tmp_path / "cells.h5", 30)
    features[17, 2] = np.nan
    metadata = pd.DataFrame({"protein": ["AAC1"] * 30})
    write_table(tmp_path / "nan.parquet", VectorTable(features, metadata, {}), NAMES)
    rows = open_rows(tmp_path / "nan.parquet")
    for settings in (TransformSettings("center"), TransformSettings("mad")):
        with pytest.raises(ValueError, match=r"fc_2_2=nan in row 17 .*--drop-undefined"):
            fit_transform(rows, settings)
    fitted = fit_transform(rows, TransformSettings("center"), rows.defined())
    assert fitted.settings["rows"] == 29


def test_features_of_another_layer_are_refused(tmp_path: Path) -> None:
    rows, features = cells(tmp_path / "cells.h5")
    fitted = fit_transform(rows, TransformSettings("center"))
    metadata = pd.DataFrame({"protein": ["AAC1"] * 300})
    for number, (width, provenance) in enumerate([(5, {}), (6, {"layer": "fc_1"})]):
        path = tmp_path / f"{number}.h5"
        table = VectorTable(features[:, :width], metadata, provenance)
        write_table(path, table, NAMES[:width])
        with pytest.raises(
            ValueError, match=r"applied to the features it is of\. Received: (num|lay)"
        ):
            group_codes(open_rows(path), fitted, np.ones(300, bool))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut"])
def test_another_file_is_no_transform(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "transform.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="that `profile` saved"):
        load_transform(path)
    np.savez(path, a=np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="that `profile` saved"):
        load_transform(path)
    with pytest.raises(FileNotFoundError):
        load_transform(tmp_path / "missing.npz")


def test_a_transform_of_wrong_shape_is_refused(tmp_path: Path) -> None:
    rows, _ = cells(tmp_path / "cells.h5")
    save_transform(tmp_path / "good.npz", fit_transform(rows, TransformSettings("center")))
    with np.load(tmp_path / "good.npz") as file:
        arrays = dict(file)
    arrays["normalization_shift"] = arrays["normalization_shift"][:, :3]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=r"shape \(1, 3\)"):
        load_transform(tmp_path / "bad.npz")
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        save_transform(tmp_path / "transform.pkl", load_transform(tmp_path / "good.npz"))


def test_covariances_are_of_all_chunks(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(9000, 3)).astype(np.float32)
    features[8192:] += [5, 0, -3]  # the last chunk lies elsewhere
    path = tmp_path / "cells.h5"
    metadata = pd.DataFrame({"protein": ["AAC1"] * 9000})
    write_table(path, VectorTable(features, metadata, {}), ["a", "b", "c"])
    table = open_rows(path)
    found = transformed(table, TransformSettings(sphere=True, regularization=0), features)
    np.testing.assert_allclose(np.cov(found.T), np.eye(3), atol=1e-4)
    found = transformed(table, TransformSettings("standardize"), features)
    np.testing.assert_allclose(found.std(axis=0), 1, atol=1e-4)


def test_a_new_plate_is_fitted_on_its_controls(tmp_path: Path) -> None:
    rows, _ = cells(tmp_path / "cells.h5")
    fitted = fit_transform(rows, TransformSettings("center", ("plate",), ("protein", "CTRL")))
    new, features = cells(tmp_path / "new.h5", 90, seed=2, plate=[9] * 90)
    extended, codes = group_codes(new, fitted, np.ones(90, bool), fit_new_groups=True)
    found = extended.apply(features, codes)
    controls = new.column("protein") == "CTRL"
    np.testing.assert_allclose(found[controls].mean(axis=0), 0, atol=1e-5)
    assert np.abs(found.mean(axis=0)).max() > 0.01


def test_sphering_is_softened_by_the_mean_eigenvalue() -> None:
    random = np.random.default_rng(0)
    rotation = np.linalg.qr(random.normal(size=(4, 4)))[0]
    values = np.array([10.0, 3.0, 1.0, 0.5])
    found = sphering(np.zeros(4), rotation @ np.diag(values) @ rotation.T, 0.1).matrix
    softened = (values + 0.1 * values.mean()) ** -0.5
    np.testing.assert_allclose(found, rotation @ np.diag(softened) @ rotation.T, atol=1e-9)


@pytest.mark.parametrize(
    "header", [b";'descr': '<U3', 'shape': (), }", b"{'descr': '<U3', 'shape': (,"]
)
def test_a_damaged_header_of_an_array_is_told_in_a_sentence(tmp_path: Path, header: bytes) -> None:
    """NumPy's tokenizer has errors that are neither a ValueError nor an OSError."""
    header += b" " * (118 - len(header) - 1) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(12)
    with zipfile.ZipFile(tmp_path / "transform.npz", "w") as archive:
        archive.writestr("settings.npy", array)
    with pytest.raises(ValueError, match="must be a file that `profile` saved"):
        load_transform(tmp_path / "transform.npz")
