"""Masks from the brightness of a channel, with scikit-image as the oracle of the threshold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter

from deeploc_tf.features.masks import otsu_mask, otsu_threshold


def disc(size: int, middle: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 <= radius**2


def assert_nearly(mask: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for the edge, which smoothing moves by less than a pixel."""
    wrong = mask != expected
    edge = binary_dilation(expected, iterations=1) & ~binary_erosion(expected, iterations=1)
    assert mask.dtype == bool
    assert not (wrong & ~edge).any()
    assert wrong.sum() <= 0.25 * expected.sum()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("seed", range(4))
def test_the_threshold_is_that_of_scikit_image(dtype: str, seed: int) -> None:
    filters = pytest.importorskip("skimage.filters", reason="comes with the extra cellprofiler")
    random = np.random.default_rng(seed)
    smooth = gaussian_filter(random.random((40, 40)), 3)
    scale = 1 if dtype == "float32" else np.iinfo(dtype).max
    channel = ((smooth - smooth.min()) / np.ptp(smooth) * scale).astype(dtype)
    # as float64: of whole numbers scikit-image makes a bin each, which is finer than we need
    assert otsu_threshold(channel) == filters.threshold_otsu(channel.astype(float))


def test_the_threshold_parts_two_gray_levels() -> None:
    channel = np.where(disc(20, (10, 10), 5), 900, 100).astype(np.uint16)
    assert 100 < otsu_threshold(channel) < 900
    assert_nearly(otsu_mask(channel), channel == 900)


def test_the_piece_in_the_middle_is_the_cell_though_a_neighbor_is_larger() -> None:
    cell, neighbor = disc(40, (20, 20), 5), disc(40, (4, 4), 9)
    channel = np.where(cell | neighbor, 200, 10).astype(np.uint8)
    assert_nearly(otsu_mask(channel), cell)


def test_without_a_piece_in_the_middle_the_largest_is_the_cell() -> None:
    small, large = disc(40, (35, 35), 3), disc(40, (8, 8), 5)
    channel = np.where(small | large, 200, 10).astype(np.uint8)
    assert_nearly(otsu_mask(channel), large)


def test_noise_leaves_one_piece() -> None:
    cell = disc(40, (20, 20), 9)
    channel = np.random.default_rng(0).poisson(np.where(cell, 20, 5)).astype(np.uint16)
    channel[20, 20] = 0
    mask = otsu_mask(channel)
    assert (mask & cell).sum() > 0.9 * (mask | cell).sum()


def test_holes_are_filled() -> None:
    cell, vacuole = disc(40, (20, 20), 12), disc(40, (20, 14), 3)
    channel = np.where(cell & ~vacuole, 200, 10).astype(np.uint8)
    assert_nearly(otsu_mask(channel), cell)


@pytest.mark.parametrize("value", [0, 7])
def test_nothing_is_inside_where_all_pixels_are_equal(value: int) -> None:
    mask = otsu_mask(np.full((8, 8), value, np.uint16))
    assert mask.dtype == bool
    assert not mask.any()
