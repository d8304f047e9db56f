"""CellProfiler's features, with scikit-image and NumPy as oracles of some of them."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from deeploc_tf.features.cellprofiler import (
    CellProfiler,
    MissingCpMeasureError,
    cellprofiler_features,
)

needs_cp_measure = pytest.mark.skipif(
    "not __import__('importlib.util').util.find_spec('cp_measure')",
    reason="the extra cellprofiler is not installed",
)
SIZE = 28
WHITE = (400.0, 900.0)


@pytest.fixture(scope="module")
def cellprofiler() -> CellProfiler:
    return cellprofiler_features(("gfp", "rfp"), WHITE, (SIZE, SIZE))


@pytest.fixture(scope="module")
def crop() -> tuple[np.ndarray, np.ndarray]:
    """An ellipse with texture."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    mask = ((rows - 13) / 9) ** 2 + ((columns - 15) / 6) ** 2 <= 1
    noise = gaussian_filter(np.random.default_rng(0).random((SIZE, SIZE, 2)), (1, 1, 0))
    return (30 + 300 * noise * (0.2 + mask[..., None])).astype(np.uint16), mask


def values(cellprofiler: CellProfiler, image: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    vectors = cellprofiler(image[None], mask[None])
    assert vectors.dtype == np.float32
    return dict(zip(cellprofiler.names, vectors[0].tolist(), strict=True))


@needs_cp_measure
def test_shape_is_that_of_regionprops(
    cellprofiler: CellProfiler, crop: tuple[np.ndarray, np.ndarray]
) -> None:
    from skimage.measure import regionprops

    found = values(cellprofiler, *crop)
    (region,) = regionprops(crop[1].astype(int))
    for name, expected in {
        "Area": region.area,
        "Perimeter": region.perimeter,
        "Eccentricity": region.eccentricity,
        "Solidity": region.solidity,
        "MajorAxisLength": region.axis_major_length,
        "Extent": region.extent,
    }.items():
        assert found[f"Cells_{name}"] == pytest.approx(expected, rel=1e-5), name


@needs_cp_measure
def test_brightness_is_in_units_of_white_within_the_mask(
    cellprofiler: CellProfiler, crop: tuple[np.ndarray, np.ndarray]
) -> None:
    image, mask = crop
    found = values(cellprofiler, *crop)
    for channel, name in enumerate(("gfp", "rfp")):
        pixels = image[..., channel][mask] / WHITE[channel]
        expected = {"Mean": pixels.mean(), "Integrated": pixels.sum(), "Max": pixels.max()}
        for number, value in expected.items():
            key = f"Cells_Intensity_{number}Intensity__{name}"
            assert found[key] == pytest.approx(value, rel=1e-5)
    pearson = np.corrcoef(image[..., 0][mask], image[..., 1][mask])[0, 1]
    assert found["Cells_Correlation_Pearson__gfp__rfp"] == pytest.approx(pearson, rel=1e-5)


@needs_cp_measure
def test_what_is_brighter_than_white_is_white(
    cellprofiler: CellProfiler, crop: tuple[np.ndarray, np.ndarray]
) -> None:
    image, mask = crop[0].copy(), crop[1]
    image[13, 15, 0] = 60000
    assert values(cellprofiler, image, mask)["Cells_Intensity_MaxIntensity__gfp"] == 1


@needs_cp_measure
def test_odd_cells_have_rows_and_disturb_no_other(
    cellprofiler: CellProfiler, crop: tuple[np.ndarray, np.ndarray]
) -> None:
    image, mask = crop
    nothing, pixel = np.zeros_like(mask), np.zeros_like(mask)
    pixel[12, 12] = True
    dark = np.zeros_like(image)
    images = np.stack([image, image, image, dark, image])
    vectors = cellprofiler(images, np.stack([mask, nothing, pixel, mask, ~nothing]))
    alone = np.array(list(values(cellprofiler, image, mask).values()), np.float32)
    np.testing.assert_array_equal(vectors[0], alone)
    assert np.isnan(vectors[1]).all()
    area = cellprofiler.names.index("Cells_Area")
    assert vectors[:, area].tolist()[2:] == [1, mask.sum(), SIZE * SIZE]
    assert not np.isinf(vectors).any()
    assert np.isfinite(vectors[0]).mean() > 0.98


@needs_cp_measure
def test_one_channel_has_no_pairs() -> None:
    one = cellprofiler_features(("gfp",), (1.0,), (SIZE, SIZE))
    three = cellprofiler_features(("gfp", "rfp", "bfp"), (1.0,) * 3, (SIZE, SIZE))
    assert not any("Correlation_Pearson" in name for name in one.names)
    assert "Cells_Correlation_Pearson__rfp__bfp" in three.names
    assert len(set(three.names)) == len(three.names)


def test_without_cp_measure_the_install_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cp_measure", None)
    with pytest.raises(MissingCpMeasureError, match=r"pip install 'cp-measure>="):
        cellprofiler_features(("gfp",), (1.0,), (SIZE, SIZE))
