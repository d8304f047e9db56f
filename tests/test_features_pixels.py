"""Principal components of pixels, with scikit-learn's exact analysis as the oracle."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.decomposition import PCA

from deeploc_tf.features.crops import CropBatch
from deeploc_tf.features.pixels import fit_components
from deeploc_tf.features.white_levels import white_levels


def batches(images: np.ndarray, size: int) -> list[CropBatch]:
    starts = range(0, len(images), size)
    return [CropBatch(i, images[start : start + size], None, {}) for i, start in enumerate(starts)]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Crops that differ in a few directions, and in noise."""
    random = np.random.default_rng(0)
    scenes = gaussian_filter(random.normal(size=(6, 8, 6, 2)), (0, 2, 2, 0))
    images = np.einsum("nk,khwc->nhwc", random.normal(size=(90, 6)) * [9, 7, 5, 4, 3, 2], scenes)
    images = images + 0.01 * random.normal(size=images.shape) - images.min() + 1
    return images.astype(np.float32)


def naive_pixels(images: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """Means of squares of 2 pixels."""
    shrunken = [
        [image[r : r + 2, c : c + 2].mean((0, 1)) / levels for r in (0, 2, 4, 6) for c in (0, 2, 4)]
        for image in images.astype(float)
    ]
    return np.reshape(shrunken, (len(images), -1))


@pytest.mark.parametrize("crops_at_once", [512, 20])
def test_components_are_those_of_an_exact_analysis(images: np.ndarray, crops_at_once: int) -> None:
    levels = (2.0, 3.0)
    fitted = fit_components(
        batches(images, 7), levels, num_components=6, crops_at_once=crops_at_once
    )
    exact = PCA(6, svd_solver="full").fit(naive_pixels(images, levels))
    vectors = fitted(images, None)
    expected = exact.transform(naive_pixels(images, levels))
    signs = np.sign((vectors * expected).sum(axis=0))
    np.testing.assert_allclose(vectors * signs, expected, atol=2e-3 * np.abs(expected).max())
    np.testing.assert_allclose(fitted.mean, exact.mean_, atol=1e-5)
    assert vectors.dtype == np.float32
    assert fitted.names == [f"pixels_{i}" for i in range(6)]


def test_new_crops_are_seen_with_the_components_of_the_training_crops(images: np.ndarray) -> None:
    fitted = fit_components(batches(images[:60], 60), (1.0, 1.0), num_components=3, shrink=1)
    exact = PCA(3, svd_solver="full").fit(images[:60].reshape(60, -1))
    expected = np.abs(exact.transform(images[60:].reshape(30, -1)))
    np.testing.assert_allclose(np.abs(fitted(images[60:], None)), expected, rtol=1e-3, atol=1e-2)


def test_the_same_crops_give_the_same_components(images: np.ndarray) -> None:
    first, second = (
        fit_components(batches(images, 16), (1.0, 1.0), num_components=5) for _ in range(2)
    )
    assert first.provenance == second.provenance
    other = fit_components(batches(images[1:], 16), (1.0, 1.0), num_components=5)
    assert first.provenance["components_sha256"] != other.provenance["components_sha256"]


@pytest.mark.parametrize(
    ("count", "arguments", "message"),
    [
        (9, {"num_components": 10}, "num_components=10, 9 crops of 24 pixels"),
        (90, {"num_components": 30}, "num_components=30, 90 crops of 24 pixels"),
        (9, {"num_components": 2, "shrink": 7}, "shrink=7 for crops of 8x6"),
    ],
)
def test_too_few_crops_or_pixels_are_refused(
    images: np.ndarray, count: int, arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        fit_components(batches(images[:count], 20), (1.0, 1.0), **arguments)


def test_the_level_of_white_leaves_the_brightest_crops_out() -> None:
    random = np.random.default_rng(1)
    images = random.integers(0, 1000, (300, 8, 8, 2)).astype(np.uint16)
    images[17, 2, 3, 0] = 60000  # a hot pixel
    tops = [[np.percentile(image[..., c], 99.9) for c in (0, 1)] for image in images]
    levels = white_levels(batches(images, 11))
    np.testing.assert_allclose(levels, np.percentile(tops, 99, axis=0))
    assert max(levels) < 1000


def test_a_dark_channel_has_a_level_of_white() -> None:
    images = np.zeros((4, 6, 6, 2), np.uint8)
    images[..., 1] = 9
    assert white_levels(batches(images, 4)) == (1.0, 9.0)
