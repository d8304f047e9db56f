"""Plain numbers of brightness and texture, each written a second time from its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from deeploc_tf.features.intensity import NUMBERS, Intensity, channel_numbers, correlation


@pytest.fixture
def crop() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    inside = np.zeros((16, 16), bool)
    inside[3:13, 4:12] = True
    return random.gamma(3, 50, (16, 16)) + 300 * inside, inside


def naive(channel: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    values = [float(v) for v, i in zip(channel.ravel(), inside.ravel(), strict=True) if i]
    everything = [float(v) for v in channel.ravel()]
    mean = sum(values) / len(values)
    moments = [sum((v - mean) ** k for v in values) / len(values) for k in (2, 3)]
    whole = sum(everything) / len(everything)
    contrast = math.sqrt(sum((v - whole) ** 2 for v in everything) / len(everything))
    low, high = min(values), max(values)
    bins = [0] * 16
    for value in values:
        bins[min(int((value - low) / (high - low) * 16), 15)] += 1
    fine = ndimage.gaussian_filter(channel, 1.5)
    bands = channel - fine, fine - ndimage.gaussian_filter(channel, 5)
    derivatives = [ndimage.gaussian_filter(channel, 1, order=o) for o in ((1, 0), (0, 1))]
    slope = np.hypot(*derivatives)
    return {
        "LogMean": math.log(whole),
        "LogStd": math.log(contrast),
        "LogTop": math.log(np.quantile(channel, 0.99)),
        "LogMeanInside": math.log(mean),
        "Skewness": moments[1] / moments[0] ** 1.5,
        "LogFineTexture": math.log(np.std(bands[0][inside]) / mean),
        "LogCoarseTexture": math.log(np.std(bands[1][inside]) / mean),
        "LogEdges": math.log(slope[inside].sum() / len(values) / mean),
        "Entropy": -sum(n / len(values) * math.log(n / len(values)) for n in bins if n),
    }


def test_the_numbers_follow_their_definitions(crop: tuple[np.ndarray, np.ndarray]) -> None:
    expected = naive(*crop)
    assert tuple(expected) == NUMBERS
    np.testing.assert_allclose(channel_numbers(*crop), list(expected.values()), rtol=1e-10)


def test_texture_edges_skewness_and_entropy_do_not_depend_on_the_gain(
    crop: tuple[np.ndarray, np.ndarray],
) -> None:
    channel, inside = crop
    once, thrice = channel_numbers(channel, inside), channel_numbers(3 * channel, inside)
    np.testing.assert_allclose(thrice[4:], once[4:], atol=1e-9)
    np.testing.assert_allclose(thrice[:4], np.add(once[:4], math.log(3)), atol=1e-9)


def test_correlation_is_pearsons() -> None:
    first, second = np.random.default_rng(0).random((2, 9, 9))
    a, b = first - first.mean(), second - second.mean()
    expected = (a * b).sum() / math.sqrt((a**2).sum() * (b**2).sum())
    assert correlation(first, second) == pytest.approx(expected)
    assert math.isnan(correlation(first, np.ones((9, 9))))


def test_vectors_hold_each_channel_and_each_pair() -> None:
    random = np.random.default_rng(1)
    images = random.integers(1, 999, (2, 12, 12, 3)).astype(np.uint16)
    masks = random.integers(0, 2, (2, 12, 12)).astype(bool)
    intensity = Intensity(("gfp", "rfp", "bfp"), 1.0)
    vectors = intensity(images, masks)
    assert vectors.shape == (2, len(intensity.names)) == (2, 3 * 9 + 3)
    assert vectors.dtype == np.float32
    values = dict(zip(intensity.names, vectors[1], strict=True))
    rfp = images[1, ..., 1].astype(float)
    assert values["Skewness__rfp"] == np.float32(naive(rfp, masks[1])["Skewness"])
    assert values["Correlation__rfp__bfp"] == np.float32(
        np.corrcoef(rfp.ravel(), images[1, ..., 2].ravel())[0, 1]
    )


def test_a_dark_and_constant_channel_has_numbers_but_for_its_skewness() -> None:
    images = np.zeros((1, 8, 8, 1), np.uint16)
    intensity = Intensity(("gfp",), 1.0)
    values = dict(zip(intensity.names, intensity(images, None)[0], strict=True))
    assert math.isnan(values.pop("Skewness__gfp"))
    assert all(map(math.isfinite, values.values()))
    assert values["LogMean__gfp"] == values["Entropy__gfp"] == 0


def test_an_empty_mask_has_no_numbers_and_disturbs_no_other_crop() -> None:
    images = np.random.default_rng(2).random((3, 8, 8, 2), np.float32)
    masks = np.ones((3, 8, 8), bool)
    masks[1] = False
    intensity = Intensity(("gfp", "rfp"), 2.0**-16)
    vectors = intensity(images, masks)
    assert np.isnan(vectors[1]).all()
    np.testing.assert_array_equal(vectors[[0, 2]], intensity(images[[0, 2]], None))
    assert np.isfinite(vectors[[0, 2]]).all()
