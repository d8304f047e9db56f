"""Every file is held to the first that can be read; no plane is lost, none is of low resolution."""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from deeploc_tf.sources import CellTable, FieldSource, FolderSource, SourceError, read_image
from deeploc_tf.sources.images import describe_image, read_stack
from deeploc_tf.sources.source import RejectedCrop

PATTERN = "{protein}_{cell}.tif"
ONE_A_CHANNEL = "{protein}_{cell}_{channel}.tif"


def plane(seed: int, shape: tuple[int, ...] = (8, 8)) -> Any:
    return np.random.default_rng(seed).integers(1, 4000, shape).astype("uint16")


def ome_size(size: float | None) -> dict[str, Any]:
    sizes = {} if size is None else {"PhysicalSizeX": size, "PhysicalSizeY": size}
    return {"ome": True, "metadata": {"axes": "YX", **sizes}}


def imagej_size(size: float | None) -> dict[str, Any]:
    if size is None:
        return {"imagej": True}
    return {"imagej": True, "resolution": (1 / size, 1 / size), "metadata": {"unit": "um"}}


def resolution_size(size: float | None) -> dict[str, Any]:
    if size is None:
        return {}
    return {"resolution": (1e4 / size, 1e4 / size), "resolutionunit": "CENTIMETER"}


SIZES = pytest.mark.parametrize("saying", [ome_size, imagej_size, resolution_size])


@SIZES
@pytest.mark.parametrize("pattern", [PATTERN, ONE_A_CHANNEL])
def test_a_file_of_another_pixel_size_is_set_aside(
    tmp_path: Path, saying: Callable[[float | None], dict[str, Any]], pattern: str
) -> None:
    for number, size in enumerate((0.1, 0.65, None, 0.1)):
        for channel in ("gfp", "rfp"):
            name = pattern.format(protein="P", cell=number, channel=channel)
            tifffile.imwrite(tmp_path / name, plane(number), **saying(size))
    channels = ["gfp"] if pattern == PATTERN else ["gfp", "rfp"]
    source = FolderSource(tmp_path, pattern, channels)
    source.index()
    assert source.pixel_size == pytest.approx(0.1, rel=1e-4)
    with pytest.raises(RejectedCrop, match=r"0\.65 micrometres in P_1") as caught:
        source.read(1)
    assert caught.value.reason == "pixel size differs"
    for position in (0, 2, 3):
        np.testing.assert_array_equal(source.read(position)[0][..., 0], plane(position))


@SIZES
def test_pixel_size_comes_from_the_first_file_that_says_one(
    tmp_path: Path, saying: Callable[[float | None], dict[str, Any]]
) -> None:
    for number, size in enumerate((None, 0.1, 0.65)):
        tifffile.imwrite(tmp_path / f"P_{number}.tif", plane(number), **saying(size))
    source = FolderSource(tmp_path, PATTERN, ["gfp"])
    source.index()
    assert source.pixel_size == pytest.approx(0.1, rel=1e-4)
    source.read(0)
    with pytest.raises(RejectedCrop, match="pixel size"):
        source.read(2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1},
            {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.2},
        ),
        (
            {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.2},
            {"PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2},
        ),
        ({"PhysicalSizeX": 0.1}, {"PhysicalSizeX": 0.2}),
        (
            {"PhysicalSizeX": 1, "PhysicalSizeXUnit": "pixel"},
            {"PhysicalSizeX": 2, "PhysicalSizeXUnit": "pixel"},
        ),
        (
            {"PhysicalSizeX": 100, "PhysicalSizeXUnit": "nm"},
            {"PhysicalSizeX": 100, "PhysicalSizeXUnit": "pm"},
        ),
    ],
)
def test_pixels_that_are_not_square_or_have_no_unit_are_compared_too(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any]
) -> None:
    for number, sizes in enumerate((one, other, one)):
        path = tmp_path / f"P_{number}.tif"
        tifffile.imwrite(path, plane(number), ome=True, metadata={"axes": "YX", **sizes})
    source = FolderSource(tmp_path, PATTERN, ["gfp"])
    source.index()
    assert source.read(2)[0].shape == (8, 8, 1)
    with pytest.raises(RejectedCrop, match="pixel size"):
        source.read(1)


def test_fields_of_other_scales_without_a_unit_are_set_aside(tmp_path: Path) -> None:
    for name, scale in (("a", 1), ("b", 2)):
        write_zarr(tmp_path / f"{name}.zarr", [(plane(1, (40, 40)), (scale, scale))], unit=None)
    (tmp_path / "cells.csv").write_text("image,x,y\na.zarr,20,20\nb.zarr,20,20\n")
    cells = CellTable(tmp_path / "cells.csv")
    source = FieldSource(tmp_path, "{field}.zarr", ["gfp"], cells=cells, crop_size=16)
    source.index()
    assert source.pixel_size is None
    source.read(0)
    with pytest.raises(RejectedCrop, match=r"2 without a unit in b\.zarr, 1 without a unit"):
        source.read(1)


def test_a_pixel_size_that_only_a_late_file_says_sets_it_aside(tmp_path: Path) -> None:
    for number in range(18):
        size = 0.1 if number == 17 else None
        tifffile.imwrite(tmp_path / f"P_{number:02}.tif", plane(number), **ome_size(size))
    source = FolderSource(tmp_path, PATTERN, ["gfp"])
    source.index()
    source.read(16)
    with pytest.raises(RejectedCrop, match=r"0\.1 micrometres in P_17\.tif, none"):
        source.read(17)


def test_channels_of_a_cell_must_have_one_pixel_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "P_0_gfp.tif", plane(0), **ome_size(0.1))
    tifffile.imwrite(tmp_path / "P_0_rfp.tif", plane(1), **ome_size(0.2))
    source = FolderSource(tmp_path, ONE_A_CHANNEL, ["gfp", "rfp"])
    source.index()
    with pytest.raises(RejectedCrop, match=r"0\.2 micrometres in P_0_rfp\.tif"):
        source.read(0)


def test_resolutions_of_printers_and_screens_are_no_pixel_size(tmp_path: Path) -> None:
    for number, dots in enumerate((72, 300)):
        path = tmp_path / f"P_{number}.tif"
        tifffile.imwrite(path, plane(number), resolution=(dots, dots), resolutionunit="INCH")
    source = FolderSource(tmp_path, PATTERN, ["gfp"])
    source.index()
    assert source.pixel_size is None
    assert source.read(1)[0].shape == (8, 8, 1)


@pytest.mark.parametrize("pattern", [PATTERN, ONE_A_CHANNEL])
@pytest.mark.parametrize("tag", ["photometric", "orientation"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_file_of_another_photometric_interpretation_is_set_aside(
    tmp_path: Path, pattern: str, tag: str, compression: str | None
) -> None:
    for number in range(2):
        name = pattern.format(protein="P", cell=number, channel="gfp")
        options: dict[str, Any] = {"compression": compression}
        if number and tag == "photometric":
            options["photometric"] = "miniswhite"
        elif number:
            options["extratags"] = [(274, 3, 1, 3, True)]
        tifffile.imwrite(tmp_path / name, plane(number), **options)
    source = FolderSource(tmp_path, pattern, ["gfp"])
    source.index()
    source.read(0)
    with pytest.raises(RejectedCrop, match=r"P_1") as caught:
        source.read(1)
    assert tag.split("_")[0] in caught.value.reason


def test_a_stack_of_another_photometric_interpretation_is_set_aside(tmp_path: Path) -> None:
    for number, photometric in enumerate(("minisblack", "miniswhite")):
        path = tmp_path / f"P_{number}.tif"
        image = plane(number, (2, 8, 8))
        tifffile.imwrite(path, image, photometric=photometric, metadata={"axes": "CYX"})
    source = FolderSource(tmp_path, PATTERN, ["gfp", "rfp"])
    source.index()
    source.read(0)
    with pytest.raises(RejectedCrop, match="photometric"):
        source.read(1)


def test_numbers_of_images_where_zero_is_white_are_kept_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tifffile.imwrite(tmp_path / "P_0.tif", plane(0), photometric="miniswhite")
    source = FolderSource(tmp_path, PATTERN, ["gfp"])
    source.index()
    np.testing.assert_array_equal(source.read(0)[0][..., 0], plane(0))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "0 is white" in record.getMessage()


def write_stk(path: Path, planes: Any, cut: int = 0) -> None:
    """A MetaMorph stack: all planes in one directory, one behind the other."""
    count, height, width = planes.shape
    tags = {256: width, 257: height, 258: 16, 259: 1, 262: 1, 273: 0, 277: 1, 278: height}
    tags |= {279: height * width * 2, 33628: 0, 33629: 0}
    notes = 8 + 2 + 12 * len(tags) + 4
    start = notes + 16 + count * 24
    values = {**tags, 273: start, 33628: notes, 33629: notes + 16}
    data = struct.pack("<4sIH", b"II*\0", 8, len(tags))
    for tag, value in values.items():
        kind, length = (5, count) if tag == 33629 else (4, 1)
        data += struct.pack("<HHII", tag, kind, length, value)
    data += struct.pack("<IIIII", 0, 22, 0, 0, 0)
    data += b"".join(struct.pack("<IIIIII", i, 1, 2458849, i, 2458849, i) for i in range(count))
    data += planes.astype("<u2").tobytes()
    path.write_bytes(data[: len(data) - cut])


@pytest.mark.filterwarnings("ignore")
def test_planes_of_a_metamorph_stack_are_not_lost(tmp_path: Path) -> None:
    planes = plane(1, (3, 8, 8))
    write_stk(tmp_path / "P_1_gfp.stk", planes)
    np.testing.assert_array_equal(read_image(tmp_path / "P_1_gfp.stk"), planes)
    np.testing.assert_array_equal(read_stack(tmp_path / "P_1_gfp.stk")[0], planes)
    source = FolderSource(tmp_path, "{protein}_{cell}_{channel}.stk", ["gfp"])
    source.index()
    with pytest.raises(RejectedCrop, match=r"one plane .*P_1_gfp\.stk"):
        source.read(0)
    channels = FolderSource(tmp_path, "{protein}_{cell}_gfp.stk", list("abc"), axes="CYX")
    channels.index()
    np.testing.assert_array_equal(np.moveaxis(channels.read(0)[0], -1, 0), planes)
    write_stk(tmp_path / "P_1_gfp.stk", planes, cut=10)
    for read in (read_image, read_stack):
        with pytest.raises(RejectedCrop, match=r"P_1_gfp\.stk"):
            read(tmp_path / "P_1_gfp.stk")
    write_stk(tmp_path / "P_1_gfp.stk", planes[:1])
    np.testing.assert_array_equal(read_image(tmp_path / "P_1_gfp.stk").reshape(8, 8), planes[0])
    assert describe_image(tmp_path / "P_1_gfp.stk").shape == (8, 8)


def patched(path: Path, tag: int, kind: int, length: int, value: int) -> None:
    """Put a tag into the first directory of a little-endian TIFF, in the place of Software."""
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    entries = [struct.unpack_from("<HHII", data, start + 2 + 12 * i) for i in range(count)]
    entries = sorted([e for e in entries if e[0] not in (305, tag)] + [(tag, kind, length, value)])
    assert len(entries) <= count
    following = struct.unpack_from("<I", data, start + 2 + 12 * count)
    struct.pack_into("<H", data, start, len(entries))
    for i, entry in enumerate(entries):
        struct.pack_into("<HHII", data, start + 2 + 12 * i, *entry)
    struct.pack_into("<I", data, start + 2 + 12 * len(entries), *following)
    path.write_bytes(data)


def test_an_image_of_low_resolution_is_not_taken_for_the_image(tmp_path: Path) -> None:
    path = tmp_path / "P_1.tif"
    tifffile.imwrite(path, plane(1), subfiletype=1)
    for read in (read_image, read_stack):
        with pytest.raises(RejectedCrop, match=r"P_1\.tif.*resolution"):
            read(path)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_images_beside_the_first_are_levels_of_it_or_refused(
    tmp_path: Path, compression: str | None
) -> None:
    def write(main: Any, other: Any, kind: int) -> None:
        with tifffile.TiffWriter(tmp_path / "a.tif") as file:
            file.write(main, subifds=1, metadata=None, compression=compression)
            file.write(other, subfiletype=kind, metadata=None, compression=compression)

    image = plane(1, (32, 32))
    write(image, image[::2, ::2], 1)
    for read in (read_image, lambda path: read_stack(path)[0]):
        np.testing.assert_array_equal(read(tmp_path / "a.tif"), image)
    for main, other, kind in ((image, image, 0), (image[::2, ::2], image, 0)):
        write(main, other, kind)
        for read in (read_image, lambda path: read_stack(path)[0]):
            with pytest.raises(RejectedCrop, match=r"a\.tif"):
                read(tmp_path / "a.tif")


def test_planes_of_one_directory_that_are_deep_are_not_lost(tmp_path: Path) -> None:
    volume = plane(1, (3, 16, 16))
    tifffile.imwrite(tmp_path / "a.tif", volume, volumetric=True, tile=(1, 16, 16), metadata=None)
    assert read_image(tmp_path / "a.tif").size == volume.size


def test_a_strip_of_several_planes_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", plane(1), metadata=None)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        at = tiff.pages[0].tags["StripByteCounts"].offset  # type: ignore[union-attr]
    struct.pack_into("<I", data, at + 8, 3 * 128)
    (tmp_path / "a.tif").write_bytes(bytes(data) + plane(2, (2, 8, 8)).tobytes())
    for read in (read_image, read_stack):
        with pytest.raises(RejectedCrop, match=r"a\.tif"):
            read(tmp_path / "a.tif")


def test_a_plane_whose_fellows_lie_in_other_files_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "P_0.tif", plane(0), **ome_size(0.1))
    tifffile.imwrite(tmp_path / "P_1.tif", plane(1), **ome_size(0.1))
    data = (tmp_path / "P_1.tif").read_bytes()
    assert b'SizeC="1"' in data
    (tmp_path / "P_1.tif").write_bytes(data.replace(b'SizeC="1"', b'SizeC="2"'))
    for pattern, channels in ((PATTERN, ["gfp"]), ("P_{cell}.{channel}", ["tif"])):
        source = FolderSource(tmp_path, pattern, channels)
        source.index()
        source.read(0)
        with pytest.raises(RejectedCrop, match=r"2 planes.*holds 1"):
            source.read(1)


def test_a_plane_that_lies_in_a_file_of_another_name_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "P_0.tif", plane(0), **ome_size(0.1))
    with tifffile.TiffFile(tmp_path / "P_0.tif") as tiff:
        text = str(tiff.ome_metadata)
    uuid = text[text.index(' UUID="') :].split('"')[1]
    block = text[text.index("<TiffData") :].split("/>")[0] + "/>"
    placed = block.replace("/>", '><UUID FileName="P_0.tif">urn:uuid:1</UUID></TiffData>')
    text = text.replace(f' UUID="{uuid}"', "").replace(block, placed)
    for number in range(2):
        path = tmp_path / f"P_{number}.tif"
        description = text.encode()
        tifffile.imwrite(path, plane(number), metadata=None, description=description)
    np.testing.assert_array_equal(read_image(tmp_path / "P_0.tif"), plane(0))
    with pytest.raises(RejectedCrop, match=r"places planes in 'P_0\.tif'"):
        read_image(tmp_path / "P_1.tif")


def write_zarr(
    path: Path,
    levels: Sequence[tuple[Any, Sequence[float] | None]],
    zarr_format: int = 2,
    *,
    unit: str | None = "micrometer",
    **options: Any,
) -> None:
    """An OME-Zarr image whose levels, with their scales, are listed in this order."""
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)
    listed = []
    for number, (pixels, scale) in enumerate(levels):
        array = group.create_array(
            str(number), shape=pixels.shape, dtype=pixels.dtype, chunks=(16, 16), **options
        )
        array[...] = pixels
        level: dict[str, Any] = {"path": str(number)}
        if scale is not None:
            level["coordinateTransformations"] = [{"type": "scale", "scale": list(scale)}]
        listed.append(level)
    axes = [{"name": a, "type": "space", **({"unit": unit} if unit else {})} for a in "yx"]
    image = {"axes": axes, "datasets": listed}
    if zarr_format == 2:
        group.attrs["multiscales"] = [{"version": "0.4", **image}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("scales", [((2, 2), (1, 1), (4, 4)), (None, None, None), ((1, 1),) * 3])
def test_the_finest_level_is_read_wherever_it_is_listed(
    tmp_path: Path, zarr_format: int, scales: Any
) -> None:
    image = plane(1, (60, 90))
    levels = zip((image[::2, ::2], image, image[::4, ::4]), scales, strict=True)
    write_zarr(tmp_path / "a.zarr", list(levels), zarr_format)
    pixels, description = read_stack(tmp_path / "a.zarr")
    np.testing.assert_array_equal(pixels, image)
    assert description.shape == (60, 90)
    assert description.pixel_size == (None if scales[0] is None else 1)
    (tmp_path / "cells.csv").write_text("image,x,y\na.zarr,20,15\n")
    cells = CellTable(tmp_path / "cells.csv")
    source = FieldSource(tmp_path, "{field}.zarr", ["gfp"], cells=cells, crop_size=16)
    source.index()
    np.testing.assert_array_equal(source.read(0)[0][..., 0], image[7:23, 12:28])


def test_levels_that_contradict_their_scales_are_refused(tmp_path: Path) -> None:
    image = plane(1, (60, 90))
    write_zarr(tmp_path / "a.zarr", [(image, (2, 2)), (image[::2, ::2], (1, 1))])
    with pytest.raises(RejectedCrop, match=r"a\.zarr.*scale"):
        read_stack(tmp_path / "a.zarr")


def test_a_coarse_level_that_is_lost_does_not_matter(tmp_path: Path) -> None:
    image = plane(1, (60, 90))
    write_zarr(tmp_path / "a.zarr", [(image[::2, ::2], (2, 2)), (image, (1, 1))])
    (tmp_path / "a.zarr" / "0" / ".zarray").unlink()
    np.testing.assert_array_equal(read_stack(tmp_path / "a.zarr")[0], image)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_array_of_two_versions_is_read_in_one_way_or_refused(
    tmp_path: Path, zarr_format: int
) -> None:
    zarr = pytest.importorskip("zarr")
    image = plane(1, (32, 32))
    write_zarr(tmp_path / "a.zarr", [(image, (1, 1))], zarr_format)
    other = zarr.create_array(
        str(tmp_path / "b.zarr"),
        shape=image.shape,
        chunks=(16, 16),
        dtype="uint16",
        zarr_format=5 - zarr_format,
    )
    other[...] = image[::-1]
    name = ".zarray" if zarr_format == 3 else "zarr.json"
    (tmp_path / "a.zarr" / "0" / name).write_bytes((tmp_path / "b.zarr" / name).read_bytes())
    for read in (describe_image, read_stack):
        with pytest.raises(RejectedCrop, match=r"a\.zarr.*\.zarray.*zarr\.json"):
            read(tmp_path / "a.zarr")


def test_an_array_whose_two_metadata_agree_is_read(tmp_path: Path) -> None:
    image = plane(1, (32, 32))
    write_zarr(tmp_path / "a.zarr", [(image, (1, 1))], compressors=None)
    old = json.loads((tmp_path / "a.zarr" / "0" / ".zarray").read_text())
    encoding = {"name": "v2", "configuration": {"separator": old.get("dimension_separator", ".")}}
    new = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [32, 32],
        "data_type": "uint16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [16, 16]}},
        "chunk_key_encoding": encoding,
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {},
    }
    (tmp_path / "a.zarr" / "0" / "zarr.json").write_text(json.dumps(new))
    np.testing.assert_array_equal(read_stack(tmp_path / "a.zarr")[0], image)


@pytest.mark.parametrize("damaged", ["0/.zarray", ".zattrs"])
def test_a_damaged_first_field_leaves_the_others_usable(tmp_path: Path, damaged: str) -> None:
    fields = {name: plane(number, (60, 90)) for number, name in enumerate("abc")}
    for name, image in fields.items():
        write_zarr(tmp_path / f"{name}_gfp.zarr", [(image, (0.1, 0.1))])
    rows = [f"{name}_gfp.zarr,{x},30" for name in fields for x in (20, 40)]
    (tmp_path / "cells.csv").write_text("\n".join(["image,x,y", *rows, ""]))
    (tmp_path / "a_gfp.zarr" / damaged).write_text("{")
    cells = CellTable(tmp_path / "cells.csv")
    source = FieldSource(tmp_path, "{field}_{channel}.zarr", ["gfp"], cells=cells, crop_size=16)
    assert source.index()["field"].tolist() == ["b", "b", "c", "c"]
    assert [reject.reason for reject in source.rejects] == ["image is damaged"] * 2
    assert source.pixel_size == pytest.approx(0.1)
    np.testing.assert_array_equal(source.read(3)[0][..., 0], fields["c"][22:38, 32:48])


def test_a_field_whose_metadata_are_damaged_is_counted_without_a_table(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        write_zarr(tmp_path / f"{name}_gfp.zarr", [(plane(number, (40, 40)), (1, 1))])
        labels = np.zeros((40, 40), np.uint8)
        labels[18:22, 18:22] = 1
        tifffile.imwrite(tmp_path / f"{name}_labels.tif", labels)
    (tmp_path / "a_gfp.zarr" / ".zattrs").write_text("{")
    source = FieldSource(
        tmp_path,
        "{field}_{channel}.zarr",
        ["gfp"],
        label_image="{field}_labels.tif",
        crop_size=16,
    )
    assert source.index()["field"].tolist() == ["b"]
    assert [reject.key for reject in source.rejects] == ["a"]


@pytest.mark.parametrize("channels", [["gfp"], ["gfp", "rfp"]])
@pytest.mark.parametrize("damaged", ["gfp", "rfp"])
def test_pixel_size_comes_from_the_first_healthy_file(
    tmp_path: Path, channels: list[str], damaged: str
) -> None:
    for number in range(3):
        for channel in ("gfp", "rfp"):
            path = tmp_path / f"P_{number}_{channel}.tif"
            tifffile.imwrite(path, plane(number), **ome_size(0.1))
    (tmp_path / f"P_0_{damaged}.tif").write_bytes(b"II*\0broken")
    source = FolderSource(tmp_path, ONE_A_CHANNEL, channels)
    source.index()
    assert source.pixel_size == pytest.approx(0.1)
    np.testing.assert_array_equal(source.read(1)[0][..., 0], plane(1))
    if damaged in channels:
        with pytest.raises(SourceError, match=rf"P_0_{damaged}\.tif"):
            source.read(0)
