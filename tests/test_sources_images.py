"""Single images: read as they are, refused with their name where they are not whole gray images."""

from __future__ import annotations

import os
import struct
import sys
import tracemalloc
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import pytest
import tifffile

from deeploc_tf.registry import PluginError
from deeploc_tf.sources import FolderSource, SourceError, read_image
from deeploc_tf.sources.channel_layout import ChannelLayout
from deeploc_tf.sources.formats.description import ImageDescription
from deeploc_tf.sources.formats.image_format import Image, ImageFormat
from deeploc_tf.sources.formats.limits import BadImage, check_size
from deeploc_tf.sources.formats.registry import IMAGE_FORMATS
from deeploc_tf.sources.images import as_dtype, describe_image, read_stack, stack_channels
from deeploc_tf.sources.masks import as_mask
from deeploc_tf.sources.source import RejectedCrop


def image_of(dtype: str, shape: tuple[int, ...] = (7, 5)) -> Any:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"compression": "zlib"},
        {"compression": "lzw"},
        {"compression": "lzw", "predictor": True},
        {"compression": "zstd"},
        {"compression": "packbits"},
        {"rowsperstrip": 2},
        {"tile": (16, 16)},
        {"bigtiff": True},
        {"metadata": None, "software": "a camera"},
    ],
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


def test_limit_holds_for_a_file_like_the_one_before_it(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", image_of("uint8"), metadata=None)
    assert read_image(tmp_path / "a.tif").size == 35
    with pytest.raises(SourceError, match="it declares 35 pixels"):
        read_image(tmp_path / "a.tif", max_pixels=34)


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
    [(b"", "0 bytes"), (b"name,x\n1,2\n", "neither TIFF, PNG nor NPY"), (b"II*\0", "")],
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
    palette = {"photometric": "palette", "colormap": np.zeros((3, 256), "uint16")}
    tifffile.imwrite(tmp_path / "palette.tif", image_of("uint8", (7, 5)), **palette)
    with pytest.raises(SourceError, match=r"in color \(palette\).*Lookup Tables > Grays"):
        read_image(tmp_path / "palette.tif")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_colors_are_channels_where_axes_say_so(tmp_path: Path, dtype: str, suffix: str) -> None:
    image = image_of(dtype, (128, 128, 3))
    if suffix == "tif":
        tifffile.imwrite(tmp_path / "A1CF_762_F2.tif", image)  # RGB, as tifffile takes it to be
    elif dtype == "float32":
        pytest.skip("PNG holds whole numbers")
    else:
        (tmp_path / "A1CF_762_F2.png").write_bytes(imagecodecs.png_encode(image))
    pattern, channels = f"{{protein}}_{{plate}}_{{well}}.{suffix}", ["er", "nucleus", "actin"]
    source = FolderSource(tmp_path, pattern, channels, axes="YXC")
    assert source.index()["well"].tolist() == ["F2"]
    np.testing.assert_array_equal(source.read(0)[0], image)
    with pytest.raises(SourceError, match="one plane per channel"):
        FolderSource(tmp_path, pattern, channels[:2], axes="YXC").index()
    with pytest.raises(SourceError, match=r"in color \(RGB\).*--axes YXC"):
        FolderSource(tmp_path, pattern, channels).index()


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
    with pytest.raises(RejectedCrop, match=rf"Received: {dtype} in gfp\.tif.*`dtype`"):
        stack_channels([image_of(dtype)], ["gfp.tif"])


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([0, 255], "int64"), "uint8"),
        (np.array([0, 32767], "int16"), "uint16"),
        (np.array([0, 1], "bool"), "uint8"),
        (np.array([-5, 1 << 24], "int32"), "float32"),
        (np.array([0.0, 4095.0], "float32"), "uint16"),
        (np.array([0, 4095], ">u2"), "uint16"),
    ],
)
def test_conversion_keeps_every_number(values: Any, dtype: str) -> None:
    converted = as_dtype(values, dtype, "a.tif")
    assert converted.dtype.name == dtype
    np.testing.assert_array_equal(converted, values)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([-1, 1], "int16"), "uint16"),
        (np.array([256], "uint16"), "uint8"),
        (np.array([0.5], "float64"), "uint16"),
        (np.array([np.nan], "float32"), "uint16"),
        (np.array([(1 << 24) + 1], "uint32"), "float32"),
    ],
)
def test_conversion_that_would_change_a_number_is_refused(values: Any, dtype: str) -> None:
    with pytest.raises(RejectedCrop, match=rf"same number in dtype={dtype}.*in a\.tif") as caught:
        as_dtype(values, dtype, "a.tif")
    assert caught.value.reason == "number does not fit the dtype"


def test_double_precision_is_rounded_where_it_was_asked_for() -> None:
    assert as_dtype(np.array([0.1]), "float32", "a.npy")[0] == np.float32(0.1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", "int32", "bool", ">u2"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(7, 5), (2, 7, 5)])
def test_npy_comes_back_as_written(
    tmp_path: Path, dtype: str, order: Any, shape: tuple[int, ...]
) -> None:
    image = np.asarray(image_of(dtype, shape), order=order)
    np.save(tmp_path / "a.npy", image)
    read = read_image(tmp_path / "a.npy")
    np.testing.assert_array_equal(read, image)
    assert read.dtype == image.dtype.newbyteorder("=")
    assert describe_image(tmp_path / "a.npy").shape == shape


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_npy_bombs_and_cuts_are_refused(tmp_path: Path, version: Any) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, image_of("uint16"), version=version)
    whole = (tmp_path / "a.npy").read_bytes()
    for length in range(0, len(whole), 5):
        (tmp_path / "a.npy").write_bytes(whole[:length])
        with pytest.raises(RejectedCrop, match=r"a\.npy"):
            read_image(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(whole + b"\0")
    with pytest.raises(RejectedCrop, match="71 bytes of pixels"):
        read_image(tmp_path / "a.npy")
    bomb = whole.replace(b"(7, 5), }", b"(7, 5000000000), }")
    (tmp_path / "a.npy").write_bytes(bomb)
    with pytest.raises(RejectedCrop, match="declares 35000000000 pixels"):
        read_image(tmp_path / "a.npy")


class Trap:
    def __reduce__(self) -> Any:
        return os.mkdir, ("sprung",)  # what must not happen


def test_pickled_arrays_are_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "a.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    np.save(tmp_path / "b.npy", np.zeros((2, 2), [("x", "u1")]))
    for name in ("a.npy", "b.npy"):
        with pytest.raises(RejectedCrop, match="not plain numbers"):
            read_image(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def png(bits: int, color: int, rows: bytes) -> bytes:
    """A PNG file of 8 x 2 pixels, written by hand."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + checksum

    head = struct.pack(">IIBBBBB", 8, 2, bits, color, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body


def test_png_of_one_bit_is_a_mask_and_of_four_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(png(1, 0, b"\0\x0f\0\xf0"))
    mask = as_mask(read_image(tmp_path / "mask.png"), "mask.png")
    assert mask.tolist() == [[0] * 4 + [1] * 4, [1] * 4 + [0] * 4]
    (tmp_path / "gray.png").write_bytes(png(4, 0, b"\0\x01\x23\x45\x67" * 2))
    with pytest.raises(RejectedCrop, match="4 bits"):  # a decoder would multiply by 17
        read_image(tmp_path / "gray.png")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_cut_of_a_png_is_refused(tmp_path: Path, dtype: str) -> None:
    whole = imagecodecs.png_encode(image_of(dtype, (16, 16)))
    np.testing.assert_array_equal(imagecodecs.png_decode(whole), image_of(dtype, (16, 16)))
    for length in range(1, len(whole) - 16, 7):  # the rest is the end chunk and a checksum
        (tmp_path / "a.png").write_bytes(whole[:length])
        with pytest.raises(RejectedCrop, match=r"a\.png"):
            read_image(tmp_path / "a.png")


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


def test_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(RejectedCrop, match=r"\(4, 4\) for an image of \(4, 5\)") as caught:
        as_mask(np.eye(4, dtype=np.uint8), "m.tif", (4, 5, 2))
    assert caught.value.reason == "mask shape differs"


def written(path: Path, shape: tuple[int, ...], **options: Any) -> Any:
    """A stack written by tifffile."""
    stack = image_of("uint16", shape)
    tifffile.imwrite(path, stack, photometric="minisblack", **options)
    return stack


OME = {
    "axes": "CYX",
    "Channel": {"Name": ["GFP", "RFP", "DIC"]},
    "PhysicalSizeX": 108.0,
    "PhysicalSizeXUnit": "nm",
    "PhysicalSizeY": 0.108,
    "PhysicalSizeYUnit": "µm",
}


def channels_of(path: Path, channels: Sequence[str] = (), axes: Any = None) -> Any:
    """The channels of a file by the layout that it shows itself, channels first."""
    layout = ChannelLayout.of(describe_image(path), channels, axes, path.name)
    return np.moveaxis(layout.image(*read_stack(path), path.name), -1, 0)


@pytest.mark.parametrize("options", [{}, {"compression": "zstd"}, {"bigtiff": True}])
def test_ome_metadata_give_axes_names_and_pixel_size(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    stack = written(tmp_path / "a.ome.tif", (3, 7, 5), metadata=OME, **options)
    found = describe_image(tmp_path / "a.ome.tif")
    assert (found.shape, found.axes) == ((3, 7, 5), "CYX")
    assert found.channels == ("GFP", "RFP", "DIC")
    assert found.pixel_size == pytest.approx(0.108)
    np.testing.assert_array_equal(channels_of(tmp_path / "a.ome.tif"), stack)
    # some of them, by name and in another order; or all, by new names
    chosen = channels_of(tmp_path / "a.ome.tif", ["DIC", "GFP"])
    np.testing.assert_array_equal(chosen, stack[[2, 0]])
    np.testing.assert_array_equal(channels_of(tmp_path / "a.ome.tif", ["x", "y", "z"]), stack)
    with pytest.raises(SourceError, match=r"GFP, RFP, DIC, .*'rpf'.*Did you mean 'RFP'"):
        channels_of(tmp_path / "a.ome.tif", ["GFP", "rpf"])
    with pytest.raises(SourceError, match=r"with 3 \(GFP, RFP, DIC\), for channels=\['x'\]"):
        channels_of(tmp_path / "a.ome.tif", ["x"])


@pytest.mark.parametrize("order", ["TZCYX", "CTZYX", "ZCTYX"])
def test_ome_channels_are_found_in_every_order_of_dimensions(tmp_path: Path, order: str) -> None:
    shape = tuple({"C": 3, "Y": 7, "X": 5}.get(axis, 1) for axis in order)
    stack = written(tmp_path / "a.ome.tif", shape, metadata={**OME, "axes": order})
    np.testing.assert_array_equal(channels_of(tmp_path / "a.ome.tif"), stack.reshape(3, 7, 5))


def test_pixels_that_are_not_square_have_no_size(tmp_path: Path) -> None:
    written(tmp_path / "a.ome.tif", (3, 7, 5), metadata={**OME, "PhysicalSizeY": 0.2})
    assert describe_image(tmp_path / "a.ome.tif").pixel_size is None


@pytest.mark.parametrize(
    ("shape", "axes"), [((3, 7, 5), "ZYX"), ((3, 7, 5), "TYX"), ((2, 3, 7, 5), "CZYX")]
)
def test_planes_of_depth_or_time_are_not_taken_for_channels(
    tmp_path: Path, shape: tuple[int, ...], axes: str
) -> None:
    path = tmp_path / "a.ome.tif"
    stack = written(path, shape, metadata={"axes": axes})
    with pytest.raises(SourceError, match=rf"a\.ome\.tif with axes {axes}.*pass `axes`"):
        channels_of(path, ["a", "b", "c"])
    if len(shape) == 3:  # many programs write channels as planes of depth; the user may say so
        np.testing.assert_array_equal(channels_of(path, ["a", "b", "c"], "CYX"), stack)


@pytest.mark.parametrize("name", ["pages.tif", "shaped.tif", "a.npy"])
def test_axes_that_nobody_names_are_asked_for(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    stack = image_of("uint16", (3, 7, 5))
    if name == "a.npy":
        np.save(path, stack)
    else:
        metadata = None if name == "pages.tif" else {}
        tifffile.imwrite(path, stack, photometric="minisblack", metadata=metadata)
    with pytest.raises(SourceError, match=rf"`axes`, CYX .*{name} of shape \(3, 7, 5\)"):
        channels_of(path, ["a", "b", "c"])
    np.testing.assert_array_equal(channels_of(path, ["a", "b", "c"], "CYX"), stack)
    with pytest.raises(SourceError, match="with 5, for channels"):
        channels_of(path, ["a", "b", "c"], "YXC")


@pytest.mark.parametrize(
    ("shape", "options", "channel"),
    [
        ((3, 7, 5), {"imagej": True, "metadata": {"axes": "CYX"}}, 0),
        ((3, 7, 5), {"metadata": {"axes": "CYX"}}, 0),
        ((7, 5, 3), {"planarconfig": "contig"}, 2),
        ((3, 7, 5), {"planarconfig": "separate"}, 0),
        ((7, 5, 3), {"planarconfig": "contig", "ome": True, "metadata": {"axes": "YXS"}}, 2),
    ],
)
def test_axes_of_other_tiff_files_are_known_where_they_are_written(
    tmp_path: Path, shape: tuple[int, ...], options: dict[str, Any], channel: int
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stack = written(tmp_path / "a.tif", shape, **options)
    expected = np.moveaxis(stack, channel, 0)
    np.testing.assert_array_equal(channels_of(tmp_path / "a.tif", ["a", "b", "c"]), expected)


def test_one_channel_needs_no_axis(tmp_path: Path) -> None:
    image = written(tmp_path / "a.tif", (7, 5))
    for axes in (None, "YX", "CYX", "YXC"):
        assert np.array_equal(channels_of(tmp_path / "a.tif", ["gfp"], axes)[0], image)


def test_files_whose_channels_or_pixel_size_differ_are_rejected(tmp_path: Path) -> None:
    written(tmp_path / "a.ome.tif", (3, 7, 5), metadata=OME)
    first = describe_image(tmp_path / "a.ome.tif")
    by_name = ChannelLayout.of(first, ["RFP", "GFP"], None, "a")
    renamed = ChannelLayout.of(first, ["x", "y", "z"], None, "a")
    other = {**OME, "Channel": {"Name": ["RFP", "DIC", "GFP"]}}
    stack = written(tmp_path / "b.ome.tif", (3, 7, 5), metadata=other)
    read = read_stack(tmp_path / "b.ome.tif")
    np.testing.assert_array_equal(by_name.image(*read, "b"), np.moveaxis(stack[[0, 2]], 0, -1))
    with pytest.raises(RejectedCrop, match=r"GFP, RFP, DIC\. Received: RFP, DIC, GFP in b"):
        renamed.image(*read, "b")
    fewer = {**OME, "Channel": {"Name": ["DIC", "GFP"]}}
    written(tmp_path / "c.ome.tif", (2, 7, 5), metadata=fewer)
    with pytest.raises(RejectedCrop, match=r"DIC, GFP, .*'RFP' \(c\)"):
        by_name.image(*read_stack(tmp_path / "c.ome.tif"), "c")
    coarse = {**OME, "PhysicalSizeX": 0.2, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.2}
    written(tmp_path / "d.ome.tif", (3, 7, 5), metadata=coarse)
    with pytest.raises(RejectedCrop, match=r"0\.2 micrometres in d, 0\.108") as caught:
        by_name.image(*read_stack(tmp_path / "d.ome.tif"), "d")
    assert caught.value.reason == "pixel size differs"


def test_channels_without_names_are_asked_for(tmp_path: Path) -> None:
    written(tmp_path / "a.tif", (3, 7, 5), metadata={"axes": "CYX"})
    with pytest.raises(SourceError, match=r"must have names.*a\.tif \(3 channels\)"):
        channels_of(tmp_path / "a.tif")


def ome_text(path: Path) -> str:
    with tifffile.TiffFile(path) as file:
        return str(file.ome_metadata)


def with_ome(path: Path, text: str, pages: int = 3) -> None:
    """A file of three planes with OME-XML of our own."""
    with tifffile.TiffWriter(path) as file:
        for page in range(pages):
            file.write(
                image_of("uint16", (7, 5)) + page,
                contiguous=False,
                photometric="minisblack",
                metadata=None,
                description=text.encode() if page == 0 else None,
            )


def test_ome_metadata_never_make_us_open_another_file(tmp_path: Path) -> None:
    own, secret = tmp_path / "a.ome.tif", tmp_path / "secret.ome.tif"
    written(own, (3, 7, 5), metadata=OME)
    written(secret, (3, 7, 5), metadata=OME)
    text = ome_text(own)
    elsewhere = (
        '<TiffData IFD="0" PlaneCount="3"><UUID FileName="secret.ome.tif">urn:uuid:{}</UUID>'
    )
    uuid = ome_text(secret).split('UUID="urn:uuid:')[1][:36]
    block = text[text.index("<TiffData") : text.index("/>", text.index("<TiffData")) + 2]
    opened: list[str] = []
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
    companion = (
        text[: text.index("<Image")]
        + f'<BinaryOnly MetadataFile="secret.ome.tif" UUID="urn:uuid:{uuid}"/></OME>'
    )
    for changed in (text.replace(block, elsewhere.format(uuid) + "</TiffData>"), companion):
        with_ome(own, changed)
        for read in (read_image, read_stack, describe_image):
            with pytest.raises(RejectedCrop, match=r"a\.ome\.tif.*OME-XML") as caught:
                read(own)
            assert caught.value.reason == "OME-XML names other files"
    assert any("a.ome.tif" in name for name in opened)
    assert not any("secret" in name for name in opened[opened.index(str(own)) :])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("<OME ", "<!DOCTYPE OME [<!ENTITY a 'b'>]><OME "), "declares entities"),
        (('SizeC="3"', 'SizeC="4"'), "describes 4 planes, and it holds 3"),
        (('SizeC="3"', 'SizeC="1000000000000"'), "describes 1000000000000 planes"),
        (('SizeC="3"', 'SizeC="0"'), "sizes"),
        (('PlaneCount="3"', 'PlaneCount="2"'), "places 2 of 3 planes"),
        (('PlaneCount="3"', 'PlaneCount="100000000000"'), "where there are none"),
        (('IFD="0"', 'IFD="2"'), "where there are none"),
        (('IFD="0"', 'IFD="-1"'), "where there are none"),
        (('DimensionOrder="XYCZT"', 'DimensionOrder="XYCCC"'), "DimensionOrder XYCCC"),
        (("<Pixels ", "<Pixel "), "mismatched|describes 0 images"),
        (("</Image>", "</Image><Image><Pixels/></Image>"), "describes 2 images"),
    ],
)
def test_ome_metadata_that_are_not_true_are_refused(
    tmp_path: Path, change: tuple[str, str], reason: str
) -> None:
    path = tmp_path / "a.ome.tif"
    written(path, (3, 7, 5), metadata=OME)
    text = ome_text(path)
    assert change[0] in text
    with_ome(path, text)
    assert read_stack(path)[0].shape == (3, 7, 5)
    with_ome(path, text.replace(*change))
    with pytest.raises(RejectedCrop, match=reason):
        read_stack(path)


@pytest.mark.parametrize("order", ["XYCZT", "XYZTC", "XYZCT"])
def test_planes_come_from_the_directories_that_ome_metadata_name(
    tmp_path: Path, order: str
) -> None:
    path = tmp_path / "a.ome.tif"
    written(path, (3, 7, 5), metadata=OME)
    text = ome_text(path)
    block = text[text.index("<TiffData") : text.index("/>", text.index("<TiffData")) + 2]
    turned = "".join(f'<TiffData FirstC="{c}" IFD="{2 - c}"/>' for c in range(3))
    with_ome(path, text.replace(block, turned).replace("XYCZT", order))
    planes = [image_of("uint16", (7, 5)) + page for page in (2, 1, 0)]
    np.testing.assert_array_equal(channels_of(path), planes)
    with_ome(path, text.replace(block, turned.replace('IFD="2"', 'IFD="0"')))
    with pytest.raises(RejectedCrop, match="places 2 of 3 planes"):
        read_stack(path)


@pytest.mark.parametrize("big", [False, True])
def test_cut_of_a_stack_is_not_taken_for_a_shorter_one(tmp_path: Path, big: bool) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=big) as file:
        for page in range(3):
            file.write(image_of("uint16") + page, contiguous=False, metadata=None)
    assert read_image(path).shape == (3, 7, 5)
    whole = path.read_bytes()
    for length in range(0, len(whole), 9):
        path.write_bytes(whole[:length])
        for read in (read_image, read_stack):
            with pytest.raises(RejectedCrop, match=r"a\.tif"):
                read(path)


def test_endless_directories_are_refused(tmp_path: Path) -> None:
    directory = struct.pack("<HHHII", 1, 256, 4, 1, 1)
    places = [8 + 18 * number for number in range(5000)]
    chain = b"".join(directory + struct.pack("<I", place + 18) for place in places)
    (tmp_path / "a.tif").write_bytes(b"II*\0\x08\0\0\0" + chain + directory + bytes(4))
    for read in (read_image, describe_image):
        with pytest.raises(RejectedCrop, match="more than 4096 planes") as caught:
            read(tmp_path / "a.tif")
        assert caught.value.reason == "too many planes"


def test_tiles_larger_than_any_image_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image_of("uint8"), tile=(16, 16), metadata=None, compression="lzw")
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        places = [tiff.pages[0].tags[name].offset for name in ("TileWidth", "TileLength")]  # type: ignore[union-attr]
    for at in places:
        struct.pack_into("<HII", data, at + 2, 4, 1, 1 << 16)
    path.write_bytes(data)
    monkeypatch.setattr(imagecodecs, "tiff_decode", pytest.fail)
    with pytest.raises(RejectedCrop, match="declares 4294967296 pixels"):
        read_image(path)


def test_pixels_beyond_the_end_of_the_file_are_not_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image_of("uint16"), bigtiff=True, metadata=None, compression="zlib")
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages[0].tags["StripByteCounts"].offset  # type: ignore[union-attr]
    struct.pack_into("<HQQ", data, at + 2, 16, 1, 1 << 60)
    path.write_bytes(data)
    with pytest.raises(RejectedCrop, match="pixels are cut"):
        read_image(path)


def test_directories_that_turn_back_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for _ in range(2):
            file.write(image_of("uint16"), contiguous=False, metadata=None)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        first, second = (page.offset for page in tiff.pages)
    count = struct.unpack_from("<H", data, second)[0]
    struct.pack_into("<I", data, second + 2 + 12 * count, first)
    path.write_bytes(data)
    with pytest.raises(RejectedCrop, match="turn back"):
        read_image(path)


@pytest.mark.parametrize("page", [0, 1])
def test_strips_of_no_bytes_are_not_taken_for_zeros(tmp_path: Path, page: int) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for _ in range(2):
            file.write(image_of("uint16"), contiguous=False, metadata=None, rowsperstrip=7)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages[page].tags["StripByteCounts"].offset  # type: ignore[union-attr]
    struct.pack_into("<I", data, at + 8, 0)
    path.write_bytes(data)
    with pytest.raises(RejectedCrop, match=r"a\.tif"):
        read_image(path)


@pytest.mark.parametrize("compression", [None, "lzw"])
def test_any_changed_byte_gives_pixels_or_a_named_refusal(
    tmp_path: Path, compression: str | None
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image_of("uint16"), compression=compression, metadata=None)
    whole = path.read_bytes()
    for at in range(len(whole)):
        for value in (whole[at] ^ 1, 255):
            path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            try:
                size = read_image(path, max_pixels=1 << 16).size
            except RejectedCrop as error:
                assert "a.tif" in str(error)  # noqa: PT017 -- either way is well
            else:
                assert size <= 1 << 16


def test_compression_that_may_lose_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", image_of("uint8", (16, 16)), compression="jpeg2000")
    with pytest.raises(RejectedCrop, match="may change pixels") as caught:
        read_image(tmp_path / "a.tif")
    assert caught.value.reason == "lossy compression"


def test_a_number_that_float32_would_round_is_not_the_same_number() -> None:
    image = np.array([[2**60 + 1]], np.int64)
    with pytest.raises(RejectedCrop, match="same number"):
        as_dtype(image, "float32", "a.npy")
    assert as_dtype(image - 1, "float32", "a.npy")[0, 0] == 2.0**60


def decode_square(data: bytes, max_pixels: int, path: object) -> Image:
    """Pixels of a format that this test makes up: a signature, the side, then uint8."""
    side = data[6]
    check_size((side, side), max_pixels)
    if len(data) != 7 + side * side:
        msg = f"it has {len(data)} bytes"
        raise BadImage(msg, "square is cut")
    pixels = np.frombuffer(data, np.uint8, offset=7).reshape(side, side)
    return pixels, ImageDescription(pixels.shape)


def describe_square(file: BinaryIO, max_pixels: int, name: str) -> ImageDescription:
    side = file.read(7)[6]
    check_size((side, side), max_pixels)
    return ImageDescription((side, side))


SQUARE = ImageFormat((b"SQUARE",), decode_square, describe_square)


@pytest.fixture
def square() -> Iterator[None]:
    IMAGE_FORMATS.register("SQUARE", SQUARE)
    yield
    IMAGE_FORMATS.unregister("SQUARE")


@pytest.mark.usefixtures("square")
def test_a_registered_format_is_read_like_ours(tmp_path: Path) -> None:
    pixels = image_of("uint8", (4, 4))
    path = tmp_path / "a_gfp.sq"
    path.write_bytes(b"SQUARE\4" + pixels.tobytes())
    np.testing.assert_array_equal(read_image(path), pixels)
    stack, description = read_stack(path)
    np.testing.assert_array_equal(stack, pixels)
    assert description == describe_image(path) == ImageDescription((4, 4))
    source = FolderSource(tmp_path, "{cell}_{channel}.sq", ["gfp"])
    assert source.index()["key"].tolist() == ["a"]
    np.testing.assert_array_equal(source.read(0)[0][..., 0], pixels)
    with pytest.raises(RejectedCrop, match="it declares 16 pixels"):
        describe_image(path, max_pixels=9)
    path.write_bytes(b"SQUARE\4" + pixels.tobytes()[1:])
    for read in (read_image, read_stack):
        with pytest.raises(RejectedCrop, match=r"a_gfp\.sq: it has 22 bytes") as caught:
            read(path)
        assert caught.value.reason == "square is cut"


@pytest.mark.usefixtures("square")
def test_messages_name_all_formats(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"SQUAR")
    for read in (read_image, read_stack, describe_image):
        expected = r"TIFF, PNG, NPY or SQUARE file, .* neither TIFF, PNG, NPY nor SQUARE"
        with pytest.raises(RejectedCrop, match=expected):
            read(tmp_path / "a.tif")


def test_a_format_that_cannot_be_imported_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = {"deeploc_tf.image_formats": {"JXL": ("no_such_package:JXL",)}}
    monkeypatch.setattr("deeploc_tf.registry.installed_parts", lambda: offered)
    (tmp_path / "a.jxl").write_bytes(b"\xff\x0a")
    for read in (read_image, read_stack, describe_image):
        with pytest.raises(PluginError, match="no_such_package"):
            read(tmp_path / "a.jxl")
    np.save(tmp_path / "a.npy", image_of("uint8"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy"), image_of("uint8"))


def test_an_array_of_many_cells_is_refused_with_what_to_do(tmp_path: Path) -> None:
    np.save(tmp_path / "cells.npy", np.zeros((62, 16, 16, 3), np.float32))
    many = r"shape \(62, 16, 16, 3\), an array of many\. Save each to a file of its own"
    for axes in (None, "YXC"):
        with pytest.raises(SourceError, match=many):
            FolderSource(tmp_path, "{protein}.npy", ["a", "b", "c"], axes=axes).index()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(pixels: bytes, before: bytes = b"", interlaced: int = 0) -> bytes:
    """A gray PNG of 8 x 8 pixels with these packed pixels, and chunks before them."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, interlaced))
    return b"\x89PNG\r\n\x1a\n" + head + before + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_a_png_is_unpacked_as_far_as_it_declares_pixels(tmp_path: Path) -> None:
    path, rows = tmp_path / "a.png", bytes(9 * 8)
    for packed in (zlib.compress(bytes(100 << 20), 9), zlib.compress(rows + b"x")):
        path.write_bytes(png_of(packed))
        tracemalloc.start()
        with pytest.raises(RejectedCrop, match="its pixels are more than it declares"):
            read_image(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
        tracemalloc.stop()
    path.write_bytes(png_of(zlib.compress(rows[:-1])))
    with pytest.raises(RejectedCrop, match="its pixels are fewer than it declares"):
        read_image(path)


def test_words_in_a_png_are_not_unpacked(tmp_path: Path, capfd: Any) -> None:
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50 << 20), 9))
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(10)))
    (tmp_path / "a.png").write_bytes(png_of(zlib.compress(bytes(9 * 8)), bomb + profile))
    assert read_image(tmp_path / "a.png").shape == (8, 8)
    assert capfd.readouterr().err == ""  # libpng warns of each
    (tmp_path / "b.png").write_bytes(
        png_of(zlib.compress(bytes(72)), chunk(b"tEXt", b"") * 140_000)
    )
    with pytest.raises(RejectedCrop, match="more than 131072 parts"):
        read_image(tmp_path / "b.png")


def test_an_interlaced_png_has_all_its_rows(tmp_path: Path) -> None:
    # 1, 1, 1, 2, 2, 4 and 4 rows of 1, 1, 2, 2, 4, 4 and 8 pixels, with a byte before each
    rows = 2 + 2 + 3 + 2 * 3 + 2 * 5 + 4 * 5 + 4 * 9
    (tmp_path / "a.png").write_bytes(png_of(zlib.compress(bytes(rows)), interlaced=1))
    assert read_image(tmp_path / "a.png").shape == (8, 8)
    (tmp_path / "a.png").write_bytes(png_of(zlib.compress(bytes(rows + 1)), interlaced=1))
    with pytest.raises(RejectedCrop, match="more than it declares"):
        read_image(tmp_path / "a.png")
