from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from deeploc_tf.sources import FolderSource
from deeploc_tf.sources.quality import (
    CEILINGS,
    MIN_SHARPNESS,
    MIN_STRUCTURE,
    ODDITIES,
    Quality,
    sharpness,
    structure,
)

ALL = Quality(drop=ODDITIES)


def noise(shape: tuple[int, ...] = (64, 64, 2), seed: int = 0) -> Any:
    return np.random.default_rng(seed).poisson(100, shape).astype(np.uint16)


def cell(seed: int = 0) -> Any:
    """A disk with grains, on noise."""
    y, x = np.mgrid[:64, :64] - 31.5
    image = noise(seed=seed).astype(np.float64)
    image[np.hypot(y, x) < 20] += 400
    image[np.random.default_rng(seed).random((64, 64)) < 0.02] += 800
    return image.astype(np.uint16)


def reasons(image: Any, quality: Quality = ALL) -> list[str]:
    return [reason for reason, _ in quality.oddities(image)]


def test_a_cell_is_not_odd() -> None:
    for seed in range(20):
        assert reasons(cell(seed)) == []


def test_zeros_and_constants_are_told_apart() -> None:
    quality = Quality()
    assert reasons(np.zeros((8, 8, 2), np.uint8), quality) == ["all pixels are zero"]
    assert reasons(np.full((8, 8, 2), 3, np.uint16), quality) == ["channel is constant"]
    image = cell()
    image[..., 1] = 0
    ((reason, detail),) = quality.oddities(image)
    assert (reason, detail) == ("channel is constant", "All pixels of channel 1 are 0.")


def test_one_other_pixel_is_enough_to_be_no_constant() -> None:
    for y, x in ((0, 0), (3, 5), (7, 7)):
        image = np.full((8, 8, 1), 5, np.float32)
        image[y, x] = 6
        assert reasons(image, Quality()) == []


@pytest.mark.parametrize("ceiling", CEILINGS)
def test_saturation_is_found_at_every_ceiling(ceiling: int) -> None:
    dtype = np.uint8 if ceiling == 255 else np.uint16
    image = np.random.default_rng(0).integers(0, ceiling // 2, (64, 64, 2)).astype(dtype)
    image[10, :40, 1] = ceiling  # 40 of 4096 pixels are less than one in a hundred
    assert reasons(image, Quality()) == []
    image[10, :42, 1] = ceiling
    ((reason, detail),) = Quality().oddities(image)
    assert reason == "saturated"
    assert "1.0% of channel 1 is" in detail


def test_the_brightest_value_of_no_camera_is_no_ceiling() -> None:
    assert reasons(np.minimum(cell(), 450), Quality()) == []
    assert reasons(np.minimum(cell(), 255).astype(np.float32), Quality()) == []


def test_noise_is_empty_and_a_cell_in_one_channel_is_enough() -> None:
    for seed in range(20):
        image = noise(seed=seed)
        assert reasons(image) == ["empty"]
        image[..., 1] = cell(seed)[..., 1]
        assert reasons(image) == []


def test_what_was_blurred_is_out_of_focus() -> None:
    image = ndimage.gaussian_filter(cell().astype(np.float64), (2, 2, 0))
    assert reasons(image) == ["out of focus"]
    image[..., 1] = cell()[..., 1]
    assert reasons(image) == []


def test_measures_do_not_depend_on_brightness() -> None:
    plane = cell()[..., 0].astype(np.float64)
    assert structure(plane * 7 + 50) == pytest.approx(structure(plane))
    assert sharpness(plane * 7 + 50) == pytest.approx(sharpness(plane))


def test_measures_of_noise_are_what_they_are_said_to_be() -> None:
    plane = np.random.default_rng(0).normal(0, 1, (512, 512))
    assert structure(plane) == pytest.approx(1, abs=0.05)
    assert sharpness(plane) == pytest.approx(20, rel=0.02)
    assert structure(np.ones((8, 8))) == sharpness(np.ones((8, 8))) == 0


def test_an_oddity_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="Received: blurry"):
        Quality(drop=("blurry",))


@pytest.mark.real
def test_real_cells_are_kept_and_their_blurred_copies_are_not(
    real_data: Path,
) -> None:
    pattern = "{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif"
    source = FolderSource(real_data / "yeast_crops/images", pattern, ["gfp", "rfp"])
    source.index()
    images = [source.read(position)[0] for position in range(0, 1600, 20)]
    found = [reasons(image) for image in images]
    assert found == [[]] * len(images)
    for image in images:
        planes = np.moveaxis(ndimage.gaussian_filter(image, (1.5, 1.5, 0)), -1, 0)
        assert max(map(sharpness, planes)) < MIN_SHARPNESS
        assert max(map(structure, planes)) > MIN_STRUCTURE
