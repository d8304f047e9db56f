"""Single images: read as they are, refused with their name where they are not whole gray images."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from deeploc_tf.sources import SourceError, read_image
from deeploc_tf.sources.images import as_channels, as_mask, stack_channels


def image_of(dtype: str, shape: tuple[int, ...] = (7, 5)) -> Any:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    "options", [{}, {"byteorder": ">"}, {"compression": "zlib"}, {"bigtiff": True}]
)
def test_tiff_comes_back_as_written(tmp_path: Path, dtype: str, options: dict[str, Any]) -> None:
    image = image_of(dtype)
    tifffile.imwrite(tmp_path / "a.tif", image, **options)
    read = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(read, image)
    assert read.dtype == np.dtype(dtype)
    assert read.dtype.isnative


def test_png_comes_back_as_written_whatever_its_name(tmp_path: Path) -> None:
    image = image_of("uint16")
    (tmp_path / "a.tif").write_bytes(imagecodecs.png_encode(image))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), image)


@pytest.mark.parametrize("imagej", [True, False])
def test_all_pages_of_a_stack_are_read(tmp_path: Path, imagej: bool) -> None:
    stack = image_of("uint16", (3, 7, 5))
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=imagej, photometric="minisblack")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), stack)


def test_a_stack_described_in_one_directory_is_not_taken_for_its_first_plane(
    tmp_path: Path,
) -> None:
    stack = image_of("uint16", (3, 7, 5))
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, truncate=True)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), stack)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_every_cut_is_refused(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image_of("float32", (16, 16)), compression=compression, metadata=None)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(SourceError, match=r"a\.tif"):
            read_image(path)


def test_bomb_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, image_of("uint8"), metadata=None)
    data = bytearray(path.read_bytes())
    for tag in (256, 257):  # width and height
        at = data.index(struct.pack("<H", tag), 8)
        data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 200_000)
    path.write_bytes(data)
    monkeypatch.setattr(imagecodecs, "tiff_decode", pytest.fail)
    monkeypatch.setattr(tifffile.TiffFile, "asarray", pytest.fail)
    with pytest.raises(SourceError, match=r"bomb\.tif: it declares 40000000000 pixels"):
        read_image(path)


def test_bomb_of_many_pages_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((40, 8, 8), np.uint8))
    with pytest.raises(SourceError, match="it declares 2560 pixels"):
        read_image(tmp_path / "a.tif", max_pixels=1000)


def test_png_bomb_is_refused(tmp_path: Path) -> None:
    data = bytearray(imagecodecs.png_encode(image_of("uint8")))
    data[16:24] = struct.pack(">II", 200_000, 200_000)
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(SourceError, match="it declares 40000000000 pixels"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "0 bytes"), (b"name,x\n1,2\n", "neither TIFF nor PNG"), (b"II*\0", "")],
)
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(SourceError, match=rf"a\.tif: .*{reason}"):
        read_image(tmp_path / "a.tif")


def test_color_and_lossy_images_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "rgb.tif", image_of("uint8", (7, 5, 3)), photometric="rgb")
    tifffile.imwrite(tmp_path / "jpeg.tif", image_of("uint8", (16, 16)), compression="jpeg")
    (tmp_path / "rgb.png").write_bytes(imagecodecs.png_encode(image_of("uint8", (7, 5, 3))))
    with pytest.raises(SourceError, match="not gray-level"):
        read_image(tmp_path / "rgb.tif")
    with pytest.raises(SourceError, match="JPEG-compressed"):
        read_image(tmp_path / "jpeg.tif")
    with pytest.raises(SourceError, match="not gray-level"):
        read_image(tmp_path / "rgb.png")


def test_missing_file_and_pipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.tif"):
        read_image(tmp_path / "none.tif")
    os.mkfifo(tmp_path / "pipe.tif")
    with pytest.raises(SourceError, match="not a regular file"):
        read_image(tmp_path / "pipe.tif")


def test_channels_are_stacked_last() -> None:
    gfp, rfp = image_of("uint16"), image_of("uint16") + 1
    stacked = stack_channels([gfp, rfp], ["gfp.tif", "rfp.tif"])
    assert stacked.shape == (7, 5, 2)
    np.testing.assert_array_equal(stacked[..., 1], rfp)


@pytest.mark.parametrize(
    "other", [image_of("uint16", (5, 7)), image_of("uint8"), image_of("uint16", (2, 7, 5))]
)
def test_channels_that_differ_are_refused(other: Any) -> None:
    with pytest.raises(SourceError, match=r"rfp\.tif"):
        stack_channels([image_of("uint16"), other], ["gfp.tif", "rfp.tif"])


@pytest.mark.parametrize("dtype", ["int16", "float64", "bool", "uint32"])
def test_types_that_records_do_not_keep_are_refused(dtype: str) -> None:
    with pytest.raises(SourceError, match=rf"Received: {dtype} in gfp\.tif"):
        stack_channels([image_of(dtype)], ["gfp.tif"])


def test_axes_say_where_the_channels_lie() -> None:
    image = image_of("uint16", (2, 7, 5))
    np.testing.assert_array_equal(as_channels(image, 2, "CYX", "a")[..., 1], image[1])
    last = np.moveaxis(image, 0, -1)
    np.testing.assert_array_equal(as_channels(last, 2, "YXC", "a"), last)
    assert as_channels(image[0], 1, None, "a").shape == (7, 5, 1)
    with pytest.raises(SourceError, match=r"shape \(2, 7, 5\).*for 5 channels"):
        as_channels(image, 5, "CYX", "a")
    with pytest.raises(SourceError, match="axes"):
        as_channels(image, 2, None, "a")


@pytest.mark.parametrize("inside", [1, 255, True])
def test_mask_becomes_zero_and_one(inside: Any) -> None:
    image = np.zeros((4, 4), type(inside) if isinstance(inside, bool) else np.uint8)
    image[1:3, 1:3] = inside
    mask = as_mask(image, "m.tif")
    assert mask.dtype == np.uint8
    assert mask.sum() == 4


def test_empty_mask_and_several_objects_are_refused() -> None:
    with pytest.raises(SourceError, match=r"no pixel inside in m\.tif"):
        as_mask(np.zeros((4, 4), np.uint8), "m.tif")
    with pytest.raises(SourceError, match=r"several values beside 0 in m\.tif"):
        as_mask(np.arange(16, dtype=np.uint8).reshape(4, 4), "m.tif")
