"""OME-Zarr fields: what the metadata say, the finest level, and no chunk lost in silence."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeploc_tf.sources import CellTable, FieldSource, SourceError
from deeploc_tf.sources.images import describe_image, image_files, read_stack
from deeploc_tf.sources.source import RejectedCrop

zarr = pytest.importorskip("zarr")
numcodecs = pytest.importorskip("numcodecs")

VERSIONS = {2: "0.4", 3: "0.5"}
FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])


def field_of(shape: tuple[int, ...], dtype: str = "uint16") -> Any:
    return np.random.default_rng(0).integers(1, 200, shape).astype(dtype)


def write_ngff(
    path: Path,
    image: Any,
    axes: str,
    *,
    zarr_format: int,
    channels: tuple[str, ...] = (),
    chunks: tuple[int, ...] | None = None,
    scale: float = 0.108,
    unit: str | None = "micrometer",
    **options: Any,
) -> Path:
    """An OME-Zarr image of two levels; the second must never be read."""
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    kinds = {"t": "time", "c": "channel"}
    described = [{"name": axis, "type": kinds.get(axis, "space")} for axis in axes.lower()]
    for axis in described:
        if axis["type"] == "space" and unit is not None:
            axis["unit"] = unit
    levels = []
    for level, pixels in enumerate((image, np.full_like(image, 77)[..., ::2, ::2])):
        size = [1.0 if axis in "tc" else scale * 2**level for axis in axes.lower()]
        transform = [{"type": "scale", "scale": size}]
        levels.append({"path": str(level), "coordinateTransformations": transform})
        if chunks is None:
            chunks = tuple(1 if a in "tcz" else 16 for a in axes.lower())
        array = zarr.create_array(
            path / str(level),
            shape=pixels.shape,
            chunks=chunks,
            dtype=pixels.dtype,
            zarr_format=zarr_format,
            config={"write_empty_chunks": True},
            **options,
        )
        array[...] = pixels
    metadata: dict[str, Any] = {"multiscales": [{"axes": described, "datasets": levels}]}
    if channels:
        metadata["omero"] = {"channels": [{"label": name} for name in channels]}
    if zarr_format == 2:
        metadata["multiscales"][0]["version"] = VERSIONS[2]
        group.attrs.update(metadata)
    else:
        group.attrs["ome"] = {"version": VERSIONS[3], **metadata}
    return path


def change_json(path: Path, change: Callable[[Any], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def group_metadata(path: Path) -> tuple[Path, Callable[[Any], Any]]:
    """The file of an image's metadata, and how to find the OME part of it."""
    if (path / ".zattrs").exists():
        return path / ".zattrs", lambda values: values
    return path / "zarr.json", lambda values: values["attributes"]["ome"]


@FORMATS
@pytest.mark.parametrize(
    ("axes", "shape"), [("cyx", (2, 40, 33)), ("tczyx", (1, 2, 1, 40, 33)), ("yx", (40, 33))]
)
def test_pixels_axes_names_and_size_come_from_the_image(
    tmp_path: Path, zarr_format: int, axes: str, shape: tuple[int, ...]
) -> None:
    image = field_of(shape)
    names = ("GFP", "RFP") if "c" in axes else ("GFP",)
    path = write_ngff(tmp_path / "a.zarr", image, axes, zarr_format=zarr_format, channels=names)
    pixels, description = read_stack(path)
    np.testing.assert_array_equal(pixels, image.reshape(description.shape))
    assert description.axes == ("CYX" if "c" in axes else "YX")
    assert description.channels == names
    assert description.pixel_size == pytest.approx(0.108)
    assert describe_image(path) == description


@pytest.mark.parametrize(
    ("unit", "scale", "size"),
    [("nanometer", 108.0, 0.108), (None, 0.108, None), ("parsec", 1.0, None)],
)
def test_pixel_size_needs_a_unit(
    tmp_path: Path, unit: str | None, scale: float, size: float | None
) -> None:
    path = tmp_path / "a.zarr"
    write_ngff(path, field_of((20, 20)), "yx", zarr_format=3, unit=unit, scale=scale)
    assert describe_image(path).pixel_size == (None if size is None else pytest.approx(size))


@FORMATS
@pytest.mark.parametrize("dtype", [">u2", "<f4", "u1"])
def test_types_and_byte_orders(tmp_path: Path, zarr_format: int, dtype: str) -> None:
    image = field_of((2, 20, 20), dtype)
    path = write_ngff(tmp_path / "a.zarr", image, "cyx", zarr_format=zarr_format)
    pixels = read_stack(path)[0]
    np.testing.assert_array_equal(pixels, image)
    assert pixels.dtype == np.dtype(dtype).newbyteorder("=")


def chunk_files(path: Path) -> list[Path]:
    """The chunks of the finest level."""
    found = [p for p in sorted((path / "0").rglob("*")) if p.is_file()]
    return [p for p in found if not p.name.startswith(".z") and p.name != "zarr.json"]


def compressors_of(name: str, zarr_format: int) -> Any:
    """ "auto" (Zstandard), "none" or "blosc", as that version of Zarr names them."""
    if name == "blosc":
        return numcodecs.Blosc() if zarr_format == 2 else zarr.codecs.BloscCodec()
    return None if name == "none" else "auto"


@FORMATS
@pytest.mark.parametrize("name", ["auto", "none", "blosc"])
def test_a_chunk_that_is_missing_or_cut_is_an_error_never_zeros(
    tmp_path: Path, zarr_format: int, name: str
) -> None:
    image = field_of((2, 40, 33))
    path = tmp_path / "a.zarr"
    compressors = compressors_of(name, zarr_format)
    write_ngff(path, image, "cyx", zarr_format=zarr_format, compressors=compressors)
    chunks = chunk_files(path)
    assert len(chunks) == 18
    assert set(image_files(str(path))) >= {str(chunk) for chunk in chunks}
    for chunk in chunks[::4]:
        whole = chunk.read_bytes()
        for length in (0, 5, len(whole) // 2, len(whole) - 1):
            chunk.write_bytes(whole[:length])
            with pytest.raises(RejectedCrop, match=r"a\.zarr"):
                read_stack(path)
        chunk.unlink()
        with pytest.raises(RejectedCrop, match=rf"chunk .*{chunk.name} is missing") as caught:
            read_stack(path)
        assert caught.value.reason == "chunk is missing"
        assert zarr.open_array(path / "0", mode="r")[...].size == image.size  # zeros, without us
        chunk.write_bytes(whole)
    np.testing.assert_array_equal(read_stack(path)[0], image)


@FORMATS
def test_damage_in_a_blosc_chunk_does_not_end_the_process(tmp_path: Path, zarr_format: int) -> None:
    path = tmp_path / "a.zarr"
    compressors = compressors_of("blosc", zarr_format)
    image = np.zeros((16, 16), "uint16")
    write_ngff(path, image, "yx", zarr_format=zarr_format, compressors=compressors)
    (chunk,) = chunk_files(path)
    whole = chunk.read_bytes()
    for at in range(0, len(whole), 3):
        chunk.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        with contextlib.suppress(RejectedCrop):
            assert read_stack(path)[0].shape == (16, 16)


@pytest.mark.parametrize("location", ["start", "end"])
def test_a_chunk_that_a_shard_lacks_is_an_error(tmp_path: Path, location: Any) -> None:
    path = tmp_path / "a.zarr"
    image = field_of((2, 40, 33))
    shards = zarr.codecs.ShardingCodec(chunk_shape=(1, 16, 16), index_location=location)
    group = write_ngff(path, image, "cyx", zarr_format=3)
    array = zarr.create_array(
        path / "0",
        shape=image.shape,
        chunks=(1, 32, 32),
        serializer=shards,
        compressors=None,
        dtype="uint16",
        zarr_format=3,
        overwrite=True,
        config={"write_empty_chunks": False},
    )
    array[...] = image
    np.testing.assert_array_equal(read_stack(group)[0], image)
    for chunk in chunk_files(path):
        whole = chunk.read_bytes()
        chunk.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(RejectedCrop, match=r"a\.zarr"):
            read_stack(path)
        chunk.unlink()
        with pytest.raises(RejectedCrop, match="missing"):
            read_stack(path)
        chunk.write_bytes(whole)
    array[1, 16:32, 0:16] = 0  # the writer leaves it out
    with pytest.raises(RejectedCrop, match=r"chunk \(0, 1, 0\) of shard c/1/0/0 is missing"):
        read_stack(path)


@FORMATS
def test_links_of_chunks_are_not_followed(tmp_path: Path, zarr_format: int) -> None:
    path = write_ngff(tmp_path / "a.zarr", field_of((40, 33)), "yx", zarr_format=zarr_format)
    chunk = chunk_files(path)[2]
    chunk.rename(tmp_path / "secret")
    chunk.symlink_to(tmp_path / "secret")
    with pytest.raises(RejectedCrop, match="link"):
        read_stack(path)


@FORMATS
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ome: ome["multiscales"].append(ome["multiscales"][0]), "holds 2 images"),
        (lambda ome: ome["multiscales"][0]["datasets"][0].update(path="../b"), "lies outside"),
        (lambda ome: ome["multiscales"][0]["datasets"][0].update(path="/etc"), "lies outside"),
        (lambda ome: ome["multiscales"][0]["axes"].reverse(), "axes"),
        (lambda ome: ome["multiscales"][0]["axes"].pop(), "axes"),
        (lambda ome: ome["multiscales"][0].update(datasets=[]), r"a\.zarr"),
        (lambda ome: [v.update(version="0.3") for v in (ome, ome["multiscales"][0])], "0.3"),
    ],
)
def test_metadata_that_cannot_be_are_refused(
    tmp_path: Path, zarr_format: int, change: Callable[[Any], object], message: str
) -> None:
    path = write_ngff(tmp_path / "a.zarr", field_of((2, 40, 33)), "cyx", zarr_format=zarr_format)
    file, ome = group_metadata(path)
    change_json(file, lambda values: change(ome(values)))
    for read in (describe_image, read_stack):
        with pytest.raises(RejectedCrop, match=message):
            read(path)


@pytest.mark.parametrize(
    ("zarr_format", "change", "message"),
    [
        (2, lambda a: a.update(shape=[10**6, 10**6, 10**6]), "declares"),
        (2, lambda a: a.update(chunks=[1, 10**9, 10**9]), "declares"),
        (2, lambda a: a.update(chunks=[1, 1]), "chunks"),
        (2, lambda a: a.update(shape=[2, 40, 0]), "sizes"),
        (2, lambda a: a.update(compressor={"id": "pickle"}), "codec 'pickle'"),
        (2, lambda a: a.update(filters=[{"id": "pickle"}]), "codec 'pickle'"),
        (2, lambda a: a.update(dtype="|O"), "plain numbers"),
        (2, lambda a: a.update(dimension_separator="../"), "divided by"),
        (3, lambda a: a["codecs"].append({"name": "numcodecs.pickle"}), "numcodecs.pickle"),
        (3, lambda a: a.update(shape=[10**6, 10**6, 10**6]), "declares"),
        (3, lambda a: a.update(data_type="string"), "plain numbers"),
        (3, lambda a: a["chunk_grid"].update(name="rectilinear"), "regular grid"),
        (3, lambda a: a.update(zarr_format=2), "is of Zarr 2"),
    ],
)
def test_arrays_that_might_harm_are_refused_before_they_are_opened(
    tmp_path: Path,
    zarr_format: int,
    change: Callable[[Any], object],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_ngff(tmp_path / "a.zarr", field_of((2, 40, 33)), "cyx", zarr_format=zarr_format)
    change_json(path / "0" / (".zarray" if zarr_format == 2 else "zarr.json"), change)
    monkeypatch.setattr(zarr, "open_array", pytest.fail)
    for read in (describe_image, read_stack):
        with pytest.raises(RejectedCrop, match=message):
            read(path)


def test_depth_and_time_are_not_taken_for_channels(tmp_path: Path) -> None:
    write_ngff(tmp_path / "a.zarr", field_of((3, 40, 40)), "zyx", zarr_format=3)
    (tmp_path / "cells.csv").write_text("image,x,y\na.zarr,20,20\n")
    arguments: Any = (tmp_path, "{field}.zarr", ["a", "b", "c"])
    cells = CellTable(tmp_path / "cells.csv")
    with pytest.raises(SourceError, match=r"a\.zarr with axes ZYX .*pass `axes`"):
        FieldSource(*arguments, cells=cells, crop_size=8).index()
    source = FieldSource(*arguments, cells=cells, crop_size=8, axes="CYX")
    source.index()
    assert source.read(0)[0].shape == (8, 8, 3)


def without_zarr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zarr", None)


def test_missing_package_is_named_with_its_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_ngff(tmp_path / "a.zarr", field_of((40, 33)), "yx", zarr_format=2)
    without_zarr(monkeypatch)
    with pytest.raises(SourceError, match="pip install 'zarr>="):
        read_stack(path)


@FORMATS
def test_fields_of_a_plate_with_labels_inside(tmp_path: Path, zarr_format: int) -> None:
    """Fields two folders down in a plate; label images where NGFF puts them."""
    plate = tmp_path / "plate.zarr"
    images, labels = {}, {}
    zarr.open_group(plate, mode="w", zarr_format=zarr_format).attrs["plate"] = {"wells": []}
    for number, well in enumerate(("A/1", "B/2")):
        image = field_of((2, 48, 48)) + number
        label = np.zeros((48, 48), "uint32")
        label[10:16, 20:26] = 70_000 + number
        label[30:34, 30:34] = 3
        path = plate / well / "0"
        names = ("GFP", "RFP")
        write_ngff(path, image, "cyx", zarr_format=zarr_format, channels=names)
        write_ngff(path / "labels" / "cells", label, "yx", zarr_format=zarr_format)
        images[well], labels[well] = image, label
    source = FieldSource(
        tmp_path,
        "plate.zarr/{row}/{column}/{field}",
        ["RFP", "GFP"],
        label_image="plate.zarr/{row}/{column}/{field}/labels/cells",
        crop_size=16,
    )
    index = source.index()
    assert index["key"].tolist() == [
        "plate.zarr/A/1/0:3",
        "plate.zarr/A/1/0:70000",
        "plate.zarr/B/2/0:3",
        "plate.zarr/B/2/0:70001",
    ]
    assert source.pixel_size == pytest.approx(0.108)
    for position, row in enumerate(index.itertuples()):
        well = f"{row.row}/{row.column}"
        rows, columns = slice(row.y - 8, row.y + 8), slice(row.x - 8, row.x + 8)
        image, mask = source.read(position)
        expected = np.moveaxis(images[well][::-1, rows, columns], 0, -1)
        np.testing.assert_array_equal(image, expected)
        np.testing.assert_array_equal(mask, labels[well][rows, columns] == row.object)
    assert all(Path(path).is_file() for path in source.paths(0))


def test_a_field_that_lost_a_chunk_is_rejected_with_all_its_cells(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_ngff(tmp_path / f"{name}.zarr", field_of((2, 40, 40)), "cyx", zarr_format=3)
    rows = ["image,x,y", *(f"{name}.zarr,{x},20" for name in "ab" for x in (10, 20, 30))]
    (tmp_path / "cells.csv").write_text("\n".join(rows))
    cells = CellTable(tmp_path / "cells.csv")
    source = FieldSource(tmp_path, "{field}.zarr", ["g", "r"], cells=cells, crop_size=8)
    assert len(source.index()) == 6
    chunk_files(tmp_path / "a.zarr")[-1].unlink()
    for position in range(3):
        with pytest.raises(RejectedCrop, match="missing"):
            source.read(position)
    for position in range(3, 6):
        assert source.read(position)[0].any()
    chunk_files(tmp_path / "b.zarr")
    (tmp_path / "a.zarr" / "0" / "zarr.json").unlink()
    again = FieldSource(tmp_path, "{field}.zarr", ["g", "r"], cells=cells, crop_size=8)
    assert len(again.index()) == 3
    assert {reject.key for reject in again.rejects} == {"a:10,20", "a:20,20", "a:30,20"}
    assert {reject.reason for reject in again.rejects} == {"file cannot be read"}
