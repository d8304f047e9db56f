"""Files of microscopes, tables and HDF5 that say two things, or hold more than is read."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile

from deeploc_tf.ingest.identity import find_column
from deeploc_tf.ingest.labels import assign_labels
from deeploc_tf.names import NameConflictError, unified
from deeploc_tf.sources import (
    CellTable,
    DeepLocHDF5Source,
    FieldSource,
    FolderSource,
    SourceError,
    read_image,
)
from deeploc_tf.sources.images import read_plane, read_stack
from deeploc_tf.sources.source import RejectedCrop

ONE_FILE = "{protein}_{cell}.tif"
ONE_A_CHANNEL = "{protein}_{cell}_{channel}.tif"


def plane(seed: int, shape: tuple[int, ...] = (8, 9), high: int = 4000) -> Any:
    return np.random.default_rng(seed).integers(1, high, shape).astype("uint16")


def write_tiff(path: Path, data: bytes, tags: dict[int, tuple[str, Sequence[int]]]) -> None:
    """A TIFF file of one directory; offsets of strips count from the first byte of `data`."""
    after, entries, more = 8 + 2 + 12 * len(tags) + 4, b"", b""
    lengths = {tag: struct.calcsize(f"<{len(v)}{k}") for tag, (k, v) in tags.items()}
    start = after + sum(n + n % 2 for n in lengths.values() if n > 4)
    for tag, (kind, numbers) in sorted(tags.items()):
        values = [start + n for n in numbers] if tag == 273 else list(numbers)
        packed = struct.pack(f"<{len(values)}{kind}", *values)
        if len(packed) > 4:
            place = struct.pack("<I", after + len(more))
            more += packed + bytes(len(packed) % 2)
        else:
            place = packed.ljust(4, b"\0")
        entries += struct.pack("<HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + place
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    path.write_bytes(head + entries + struct.pack("<I", 0) + more + data)


def gray(shape: tuple[int, int], bits: int, strips: Sequence[int]) -> dict[int, Any]:
    """The tags of an uncompressed plane whose strips have these lengths."""
    starts = np.cumsum([0, *strips[:-1]]).tolist()
    numbers = {256: [shape[1]], 257: [shape[0]], 278: [shape[0]], 273: starts, 279: list(strips)}
    tags: dict[int, Any] = {tag: ("I", values) for tag, values in numbers.items()}
    return tags | {tag: ("H", [n]) for tag, n in {258: bits, 259: 1, 262: 1, 277: 1}.items()}


def packed(image: Any, bits: int) -> bytes:
    """Rows of samples of so many bits, each row in whole bytes."""
    digits = image[..., np.newaxis] >> np.arange(bits)[::-1] & 1
    return np.packbits(digits.astype("uint8").reshape(len(image), -1), axis=1).tobytes()


READERS = pytest.mark.parametrize("read", [read_image, lambda path: read_stack(path)[0]])


@READERS
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 10, 12, 14])
def test_packed_samples_are_read_on_either_way(
    tmp_path: Path, read: Callable[[Path], Any], bits: int
) -> None:
    image = plane(bits, high=2**bits + (bits == 1)) % 2**bits
    data = packed(image, bits)
    write_tiff(tmp_path / "a.tif", data, gray(image.shape, bits, [len(data)]))
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), image)


@READERS
def test_samples_of_24_bits_are_refused(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    data = bytes(range(216))
    write_tiff(tmp_path / "a.tif", data, gray((8, 9), 24, [len(data)]))
    with pytest.raises(RejectedCrop, match="24 bits"):
        read(tmp_path / "a.tif")


@READERS
def test_more_strips_than_the_plane_has_are_planes_that_would_be_lost(
    tmp_path: Path, read: Callable[[Path], Any]
) -> None:
    image = plane(1, (8, 8))
    write_tiff(tmp_path / "a.tif", image.tobytes(), gray((4, 8), 16, [64, 64]))
    with pytest.raises(RejectedCrop, match="2 strips or tiles of pixels, and describes 1"):
        read(tmp_path / "a.tif")


@READERS
@pytest.mark.parametrize("layout", [{}, {"rowsperstrip": 8}, {"tile": (16, 16)}])
@pytest.mark.parametrize("predictor", [False, True])
def test_deflated_pixels_are_held_to_their_checksum(
    tmp_path: Path, read: Callable[[Path], Any], layout: dict[str, Any], predictor: bool
) -> None:
    path, image = tmp_path / "a.tif", plane(3, (32, 32))
    tifffile.imwrite(path, image, compression="zlib", predictor=predictor, **layout)
    np.testing.assert_array_equal(read(path), image)
    with tifffile.TiffFile(path) as tiff:
        start, count = tiff.pages[0].dataoffsets[-1], tiff.pages[0].databytecounts[-1]
    whole = path.read_bytes()
    middle, end = start + count // 2, start + count
    damaged = [
        whole[:middle] + bytes(end - middle) + whole[end:],
        whole[:middle] + bytes([whole[middle] ^ 16]) + whole[middle + 1 :],
        whole[: end - 2] + bytes([whole[end - 2] ^ 1]) + whole[end - 1 :],
    ]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(RejectedCrop):
            read(path)


def test_a_png_of_several_images_is_refused(tmp_path: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in plane(1).astype(">u2")))
    frame = struct.pack(">IIIIHHBB", 9, 8, 0, 0, 1, 10, 0, 0)
    parts = [
        chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 8, 16, 0, 0, 0, 0)),
        chunk(b"acTL", struct.pack(">II", 2, 0)),
        chunk(b"fcTL", bytes(4) + frame),
        chunk(b"IDAT", pixels),
        chunk(b"fcTL", b"\0\0\0\1" + frame),
        chunk(b"fdAT", b"\0\0\0\2" + pixels),
        chunk(b"IEND", b""),
    ]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(RejectedCrop, match="several images"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("planes", [1, 2])
def test_pixels_of_another_type_than_ome_xml_says_are_refused(tmp_path: Path, planes: int) -> None:
    path = tmp_path / "a.ome.tif"
    image = plane(1, (planes, 8, 9))
    tifffile.imwrite(path, image, photometric="minisblack", ome=True, metadata={"axes": "CYX"})
    np.testing.assert_array_equal(read_plane(path)[0].reshape(image.shape), image)
    data = path.read_bytes()
    assert b'Type="uint16"' in data
    path.write_bytes(data.replace(b'Type="uint16"', b'Type="int16" '))
    for read in (read_plane, read_stack):
        with pytest.raises(RejectedCrop, match="says int16, and its pixels are uint16"):
            read(path)


LABELS = [["c:1/2 - GFP", "c:2/2 - RFP"], ["P1_gfp_1.tif", "P1_rfp_1.tif"], ["GFP", "P1 rfp"]]


def written_and_read(folder: Path, labels: Sequence[str]) -> tuple[Any, Any]:
    """The planes of an ImageJ file with these labels, and those read as rfp and gfp."""
    image = plane(1, (2, 8, 9))
    metadata = {"axes": "CYX", "Labels": list(labels)}
    tifffile.imwrite(folder / "P_1.tif", image, imagej=True, metadata=metadata)
    source = FolderSource(folder, ONE_FILE, ["rfp", "gfp"])
    source.index()
    return image, np.moveaxis(source.read(0)[0], -1, 0)


@pytest.mark.parametrize("labels", LABELS)
def test_slices_whose_labels_hold_a_channel_are_that_channel(
    tmp_path: Path, labels: Sequence[str]
) -> None:
    image, read = written_and_read(tmp_path, labels)
    np.testing.assert_array_equal(read, image[::-1])


@pytest.mark.parametrize("labels", [["gfp-rfp 1", "gfp-rfp 2"], ["a gfp", "b gfp"], ["A", "B"]])
def test_labels_that_do_not_tell_channels_apart_leave_their_order(
    tmp_path: Path, labels: Sequence[str]
) -> None:
    image, read = written_and_read(tmp_path, labels)
    np.testing.assert_array_equal(read, image)


def oriented(number: int) -> dict[str, Any]:
    return {"extratags": [(274, 3, 1, number, True)]}


@pytest.mark.parametrize(
    ("orientations", "refused"),
    [((1, 3, 1), True), ((6, 6, 6), False), ((6, 6, 1), False), ((1, 1, 6), True)],
)
def test_files_of_a_cell_that_are_to_be_turned_apart_are_refused(
    tmp_path: Path, orientations: Sequence[int], refused: bool
) -> None:
    """Of a mask that says nothing, nothing can be said."""
    for name, orientation in zip(("gfp", "rfp", "mask"), orientations, strict=True):
        image = np.eye(8, dtype="uint8") if name == "mask" else plane(orientation, (8, 8))
        tifffile.imwrite(tmp_path / f"P_1_{name}.tif", image, **oriented(orientation))
    source = FolderSource(tmp_path, ONE_A_CHANNEL, ["gfp", "rfp"], mask_channel="mask")
    if not refused:
        assert len(source.index()) == 1
        return
    with pytest.raises(SourceError, match="one orientation"):
        source.index()


@pytest.mark.parametrize(("orientation", "count"), [(1, 1), (3, 1), (6, 0)])
def test_a_label_image_that_is_to_be_turned_otherwise_sets_its_field_aside(
    tmp_path: Path, orientation: int, count: int
) -> None:
    labels = np.zeros((16, 16), "uint16")
    labels[6:10, 6:10] = 1
    tifffile.imwrite(tmp_path / "a.tif", plane(1, (16, 16)), **oriented(3))
    tifffile.imwrite(tmp_path / "a_cells.tif", labels, **oriented(orientation))
    source = FieldSource(
        tmp_path, "{field}.tif", ["gfp"], label_image="{field}_cells.tif", crop_size=8
    )
    assert len(source.index()) == count
    assert [r.reason for r in source.rejects] == ["orientation differs"] * (1 - count)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("names", "is_read"),
    [(["c", "y", "x"], True), (["c", "x", "y"], False), (["dim_0", "dim_1", "dim_2"], True)],
)
def test_axes_that_image_and_array_call_otherwise_are_refused(
    tmp_path: Path, version: Any, names: list[str], is_read: bool
) -> None:
    zarr = pytest.importorskip("zarr")
    image = plane(1, (2, 8, 8))
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    group.create_array("0", data=image, **({"dimension_names": names} if version == 3 else {}))
    scale = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
    types = {"c": "channel", "y": "space", "x": "space"}
    image_metadata = {
        "axes": [{"name": name, "type": kind} for name, kind in types.items()],
        "datasets": [{"path": "0", "coordinateTransformations": scale}],
    }
    if version == 2:
        group["0"].attrs["_ARRAY_DIMENSIONS"] = names
        group.attrs["multiscales"] = [image_metadata | {"version": "0.4"}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image_metadata]}
    if is_read:
        np.testing.assert_array_equal(read_stack(tmp_path / "a.zarr")[0], image)
        return
    with pytest.raises(RejectedCrop, match="axes"):
        read_stack(tmp_path / "a.zarr")


def test_chunks_that_consolidated_metadata_describe_otherwise_are_read_as_they_are(
    tmp_path: Path,
) -> None:
    zarr = pytest.importorskip("zarr")
    image = plane(1, (2, 8, 8))
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=image)
    axes = [{"name": n, "type": "channel" if n == "c" else "space"} for n in "cyx"]
    scale = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    zarr.consolidate_metadata(tmp_path / "a.zarr", zarr_format=2)
    file = tmp_path / "a.zarr/.zmetadata"
    values = json.loads(file.read_text())
    values["metadata"]["0/.zarray"] |= {"shape": [2, 4, 4], "dtype": ">u2"}
    file.write_text(json.dumps(values))
    np.testing.assert_array_equal(read_stack(tmp_path / "a.zarr")[0], image)


@pytest.mark.parametrize("name", ["data0", "data01", "Data2", "data_2", "DATA 2"])
def test_data_sets_that_are_nearly_called_as_they_must_be_are_not_lost(
    tmp_path: Path, name: str
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data1"] = plane(1, (4, 64))
        file[name] = plane(2, (4, 64))
    source = DeepLocHDF5Source({"train": tmp_path / "a.h5"}, ["gfp"], side=8)
    with pytest.raises(SourceError, match="would be lost"):
        source.index()


@pytest.mark.parametrize("column", ["split", "protein"])
def test_two_columns_that_may_be_meant_are_refused(column: str) -> None:
    """None of them was taken, so that all crops trained, or none had a protein."""
    with pytest.raises(SourceError, match="Only one column"):
        find_column([column.upper(), column.capitalize()], column)
    assert find_column([column, column.upper()], column) == column


@pytest.mark.parametrize("text", ["NA", "N/A", "n/a", "#N/A", "NULL", "null", "NaT", "nan", "NA "])
def test_what_programs_write_for_nothing_is_no_class(text: str) -> None:
    index = pd.DataFrame({"key": ["a", "b"], "label": ["ER", text]})
    with pytest.raises(SourceError, match="must be a name"):
        assign_labels(index, "label")
    assert assign_labels(index, "label", classes=["ER", text]).names == ("ER", text.strip())


@pytest.mark.parametrize("kind", ["plate", "field", "group", "label"])
@pytest.mark.parametrize("other", ["1.0", "+1", "01.00", "1."])
def test_whole_numbers_with_a_point_or_sign_may_be_those_without(kind: Any, other: str) -> None:
    """A column of whole numbers becomes one of decimals where one is missing."""
    with pytest.raises(NameConflictError, match=r"1"):
        unified(["1", other], kind, "Names")
    assert len(unified(["1", "1.5", "2.0", "10", "1.05"], kind, "Names")) == 5


def test_a_table_of_cells_is_cut_where_it_says(tmp_path: Path) -> None:
    """Halves round up, exponents and full-width digits are numbers, and boundaries are the last."""
    image = plane(1, (40, 40))
    tifffile.imwrite(tmp_path / "f.tif", image)
    rows = {"10.5,12.49": (12, 11), "1.2e1,20": (20, 12), "\uff13\uff16,36": (36, 36)}
    lines = [f"f.tif,{place}" for place in rows]
    (tmp_path / "cells.csv").write_text("image,x,y\n" + "\n".join(lines) + "\n")
    cells = CellTable(tmp_path / "cells.csv")
    source = FieldSource(tmp_path, "{field}.tif", ["gfp"], cells=cells, crop_size=8)
    assert len(source.index()) == 3
    for position, (y, x) in enumerate(rows.values()):
        expected = image[y - 4 : y + 4, x - 4 : x + 4, np.newaxis]
        np.testing.assert_array_equal(source.read(position)[0], expected)
