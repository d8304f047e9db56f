"""Sheets of crops: colors, contrast, captions."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest

from deeploc_tf.report.crops import crop_sheet
from deeploc_tf.report.drawing import picture

image = pytest.importorskip("matplotlib.image", reason="matplotlib is in the extra report")


def colors_in(figure: Any) -> set[tuple[int, int, int]]:
    """Colors of at least one pixel in two hundred: letters and edges are softer."""
    pixels = (
        (np.asarray(image.imread(io.BytesIO(picture(figure))))[..., :3] * 255).round().astype(int)
    )
    found, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    return {
        tuple(color.tolist())
        for color, count in zip(found, counts, strict=True)
        if 200 * count > counts.sum()
    }


def halves(
    channels: int, dtype: str = "uint16"
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    """Two crops; in each, channel 0 is bright on the left and channel 1 on the right."""
    crops = np.full((2, 8, 8, channels), 100, dtype)
    crops[:, :, :4, 0] = 900
    if channels > 1:
        crops[:, :, 4:, 1] = 300
    return crops


WHITE, BLACK, GREEN, MAGENTA = (255, 255, 255), (0, 0, 0), (0, 255, 0), (255, 0, 255)


def test_the_first_channel_is_green_and_the_second_magenta() -> None:
    assert {WHITE, GREEN, MAGENTA} == colors_in(crop_sheet({"ER": halves(2)})) - {BLACK}
    assert {WHITE, GREEN, MAGENTA} == colors_in(crop_sheet({"ER": halves(3)})) - {BLACK}


def test_green_is_where_the_first_channel_is_bright() -> None:
    pixels = np.asarray(image.imread(io.BytesIO(picture(crop_sheet({"ER": halves(2)[:1]})))))
    across = np.arange(pixels.shape[1])
    green, magenta = (
        across[(pixels[..., channel] - pixels[..., 1 - channel] > 0.9).any(axis=0)]
        for channel in (1, 0)
    )
    assert green.max() <= magenta.min() + 1


def test_one_channel_is_gray() -> None:
    assert {WHITE, BLACK} == colors_in(crop_sheet({"ER": halves(1)}))


def test_contrast_is_that_of_the_class_and_channel() -> None:
    bright = crop_sheet({"ER": halves(2), "Golgi": 40 * halves(2)})
    assert {WHITE, GREEN, MAGENTA} == colors_in(bright) - {BLACK}
    faint = halves(2)
    faint[1] = 100 + (faint[1] - 100) // 2  # a faint crop stays faint beside its own class
    assert (0, 128, 0) in {
        (r, 128 if abs(g - 128) < 3 else g, b) for r, g, b in colors_in(crop_sheet({"ER": faint}))
    }


def test_each_crop_may_have_a_contrast_of_its_own() -> None:
    faint = halves(2)
    faint[1] = 100 + (faint[1] - 100) // 8
    assert colors_in(crop_sheet({"ER": faint}, by_crop=True)) - {BLACK} == {WHITE, GREEN, MAGENTA}
    assert colors_in(crop_sheet({"ER": faint})) - {BLACK} > {WHITE, GREEN, MAGENTA}


@pytest.mark.filterwarnings("error")
def test_constant_crops_are_black() -> None:
    assert colors_in(crop_sheet({"ER": np.full((3, 6, 6, 2), 7.0, np.float32)})) == {WHITE, BLACK}


def test_every_class_has_its_name_whatever_its_size() -> None:
    names = [f"class {i}" for i in range(17)]
    crops = {name: np.ones((1 + i % 3, 5 + i, 9, 2)) for i, name in enumerate(names)}
    texts = re.findall(r"<!--(.*?)-->", picture(crop_sheet(crops), "svg").decode())
    assert [text.strip() for text in texts] == names


def test_arrays_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(8, 8, 2\) for class 'ER'"):
        crop_sheet({"ER": np.ones((8, 8, 2))})
    with pytest.raises(ValueError, match=r"shape \(0, 8, 8, 2\)"):
        crop_sheet({"ER": np.ones((0, 8, 8, 2))})
    with pytest.raises(ValueError, match="must have a class"):
        crop_sheet({})
