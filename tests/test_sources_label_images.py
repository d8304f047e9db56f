"""Label images as Cellpose, StarDist, ilastik and YeaZ write them, and what is odd about some."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from shared import run_cli

from deeploc_tf.sources import FieldSource
from deeploc_tf.sources.windows import Window, labeled_objects


def three_cells(dtype: str = "uint16") -> Any:
    """Numbers that do not follow on, of cells of 6 x 6, 6 x 20 and 4 x 4 pixels."""
    labels = np.zeros((60, 80), dtype)
    labels[20:26, 20:26], labels[30:36, 30:50], labels[10:14, 60:64] = 3, 9, 200
    return labels


def write_field(root: Path) -> None:
    image = np.random.default_rng(0).integers(1, 999, (60, 80), "uint16")
    tifffile.imwrite(root / "a.tif", image)


def source_of(root: Path, label_image: str, **options: Any) -> FieldSource:
    arguments: dict[str, Any] = {"label_image": label_image, "crop_size": 24, **options}
    return FieldSource(root, "{field}.tif", ["gfp"], **arguments)


def write_hdf5(path: Path, **images: Any) -> None:
    with h5py.File(path, "w") as file:
        for name, image in images.items():
            file.create_dataset(name.replace("__", "/"), data=image, chunks=True)


WRITERS: dict[str, tuple[str, Callable[[Path, Any], object]]] = {
    "cellpose tif": ("{field}_cp_masks.tif", tifffile.imwrite),
    "cellpose png": (
        "{field}_cp_masks.png",
        lambda path, labels: path.write_bytes(imagecodecs.png_encode(labels)),
    ),
    "cellpose, many cells": (
        "{field}_cp_masks.tif",
        lambda path, labels: tifffile.imwrite(path, labels.astype("uint32"), compression="zlib"),
    ),
    "stardist": (
        "{field}_labels.tif",
        lambda path, labels: tifffile.imwrite(
            path, labels[np.newaxis, np.newaxis, np.newaxis], imagej=True
        ),
    ),
    "stardist, signed": (
        "{field}.stardist.tif",
        lambda path, labels: tifffile.imwrite(path, labels.astype("int32")),
    ),
    "stardist, float": (
        "{field}_labels.tif",
        lambda path, labels: tifffile.imwrite(path, labels.astype("float32"), imagej=True),
    ),
    "ilastik": (
        "{field}_Object Identities.h5",
        lambda path, labels: write_hdf5(path, exported_data=labels.astype("u4")[..., np.newaxis]),
    ),
    "ilastik tif": (
        "{field}_Object Identities.tif",
        lambda path, labels: tifffile.imwrite(path, labels[np.newaxis, ..., np.newaxis]),
    ),
    "yeaz": ("{field}_mask.h5", lambda path, labels: write_hdf5(path, FOV0__T0=labels)),
    "yeaz tif": (
        "{field}_mask.tif",
        lambda path, labels: tifffile.imwrite(path, labels[np.newaxis]),
    ),
    "any array": ("{field}_masks.npy", np.save),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_label_images_of_other_programs_open_as_they_are(tmp_path: Path, writer: str) -> None:
    write_field(tmp_path)
    pattern, write = WRITERS[writer]
    write(tmp_path / pattern.replace("{field}", "a"), three_cells())
    source = source_of(tmp_path, pattern, border="pad")
    assert source.index()["object"].tolist() == [3, 9, 200]
    assert source.index()["field"].tolist() == ["a"] * 3
    assert source.rejects == ()
    mask = source.read(1)[1]
    assert mask is not None
    assert mask.sum() == 120
    assert len(source.paths(0)) == 2


def test_hdf5_of_several_images_and_damaged_ones_are_set_aside(tmp_path: Path) -> None:
    write_field(tmp_path)
    path = tmp_path / "a_mask.h5"
    write_hdf5(path, FOV0__T0=three_cells(), FOV0__T1=three_cells())

    def reason() -> tuple[str, str]:
        source = source_of(tmp_path, "{field}_mask.h5")
        source.index()
        return source.rejects[0].reason, source.rejects[0].detail

    found, detail = reason()
    assert found == "several images in a file"
    assert "it holds 2 (FOV0/T0, FOV0/T1)" in detail
    path.write_bytes(path.read_bytes()[:900])
    assert reason()[0] == "label image is damaged"
    path.unlink()
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = three_cells()
    with h5py.File(path, "w") as file:
        file["exported_data"] = h5py.ExternalLink(tmp_path / "other.h5", "secret")
    assert reason()[0] == "not an image"


def test_pickled_masks_of_cellpose_say_how_to_save_them(tmp_path: Path) -> None:
    write_field(tmp_path)
    np.save(tmp_path / "a_seg.npy", np.array({"masks": three_cells()}, object), allow_pickle=True)
    source = source_of(tmp_path, "{field}_seg.npy")
    source.index()
    assert "--save_tif" in source.rejects[0].detail


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_label_images_in_color_say_how_to_save_the_numbers(tmp_path: Path, suffix: str) -> None:
    """As ImageJ writes 8 bits with a lookup table, and QuPath a PNG with colors."""
    write_field(tmp_path)
    labels = three_cells("uint8")
    path = tmp_path / f"a_labels.{suffix}"
    if suffix == "tif":
        colors = np.arange(768, dtype="uint16").reshape(3, 256)
        tifffile.imwrite(path, labels, photometric="palette", colormap=colors)
    else:
        path.write_bytes(imagecodecs.png_encode(np.stack([labels] * 3, axis=-1)))
    source = source_of(tmp_path, f"{{field}}_labels.{suffix}")
    assert source.index().empty
    assert source.rejects[0].reason == "label image is in color"
    assert "Lookup Tables > Grays" in source.rejects[0].detail


# Cells that do not fit


@given(
    x=st.floats(0, 40),
    y=st.floats(0, 40),
    left=st.integers(0, 20),
    top=st.integers(0, 20),
    width=st.integers(21, 40),
    height=st.integers(21, 40),
)
def test_the_size_that_holds_a_box_is_the_smallest(
    x: float, y: float, left: int, top: int, width: int, height: int
) -> None:
    box = (left, top, left + width, top + height)
    size = Window.size_that_holds(x, y, box)
    assert Window.around(x, y, size).holds(box)
    smaller = range(max(1, size - 6), size)
    assert not any(Window.around(x, y, other).holds(box) for other in smaller)


def test_cells_that_do_not_fit_are_counted_with_the_size_that_would(tmp_path: Path) -> None:
    write_field(tmp_path)
    tifffile.imwrite(tmp_path / "a_cp_masks.tif", three_cells())
    options = ("--pattern", "{field}.tif", "--label-image", "{field}_cp_masks.tif")
    words = ("build-records", tmp_path, tmp_path / "records", *options, "--channels", "gfp")
    refused = run_cli(*words, "--crop-size", 5, "--border", "pad")
    assert refused.exit_code == 1
    said = "2 of 3 cells do not fit into crops of 5 pixels: crops of 20 would hold them all"
    assert said in refused.output
    made = run_cli(*words, "--crop-size", 5, "--border", "pad", "--max-rejects", 2)
    assert made.exit_code == 0, made.output
    assert said in made.output
    rejects = (tmp_path / "records" / "rejects.jsonl").read_text().splitlines()
    assert all("(--crop-size 20)" in json.loads(line)["detail"] for line in rejects)
    assert source_of(tmp_path, "{field}_cp_masks.tif", crop_size=20).rejects == ()


# Binary masks


@pytest.mark.parametrize(
    ("numbers", "is_binary"),
    [
        ((1, 1, 1), True),
        ((255, 255, 255), True),
        ((7, 0, 0), False),  # one cell in its field
        ((1, 2, 3), False),
        ((1, 1, 2), False),
    ],
)
def test_binary_masks_are_noticed(
    tmp_path: Path, numbers: tuple[int, ...], is_binary: bool
) -> None:
    write_field(tmp_path)
    cells = three_cells()
    labels = np.zeros_like(cells, np.uint8)
    for old, new in zip((3, 9, 200), numbers, strict=True):
        labels[cells == old] = new
    labels[50, 5] = numbers[0]  # a pixel astray
    tifffile.imwrite(tmp_path / "a_mask.tif", labels)
    source = source_of(tmp_path, "{field}_mask.tif", border="pad", crop_size=120)
    source.index()
    reasons = [reject.reason for reject in source.rejects]
    assert reasons == (["label image is a binary mask"] if is_binary else [])
    if is_binary:
        assert "on 3 parts that do not touch in a_mask.tif" in source.rejects[0].detail


def test_classes_of_pixels_are_no_cells(tmp_path: Path) -> None:
    """As ilastik's Simple Segmentation: 1 is the cells, 2 what is around them."""
    write_field(tmp_path)
    labels = np.where(three_cells() > 0, 1, 2).astype("u1")
    tifffile.imwrite(tmp_path / "a_seg.tif", labels)
    source = source_of(tmp_path, "{field}_seg.tif")
    source.index()
    assert "1 and 2, and no background" in source.rejects[0].detail


# Chunks that were never written


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("shards", [None, (32, 40)])
def test_chunks_that_were_never_written_are_read_on_request(
    tmp_path: Path, zarr_format: int, shards: Any
) -> None:
    zarr = pytest.importorskip("zarr")
    if shards and zarr_format == 2:
        pytest.skip("shards are of version 3")
    image = np.random.default_rng(0).integers(1, 999, (60, 80), "uint16")
    image[:, :40] = 0
    for name, pixels in (("f.zarr", image), ("f.zarr/labels/cells", three_cells())):
        group = zarr.open_group(tmp_path / name, mode="a", zarr_format=zarr_format)
        array = zarr.create_array(
            tmp_path / name / "0",
            shape=pixels.shape,
            chunks=(16, 20),
            shards=shards,
            dtype=pixels.dtype,
            zarr_format=zarr_format,
            config={"write_empty_chunks": False},
        )
        array[...] = pixels
        axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
        levels = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1]}]}]
        metadata = {"multiscales": [{"axes": axes, "datasets": levels, "version": "0.4"}]}
        if zarr_format == 3:
            del metadata["multiscales"][0]["version"]
            metadata = {"ome": {"version": "0.5", **metadata}}
        group.attrs.update(metadata)

    def source(**options: Any) -> FieldSource:
        return FieldSource(
            tmp_path,
            "{field}.zarr",
            ["gfp"],
            label_image="{field}.zarr/labels/cells",
            crop_size=24,
            border="pad",
            **options,
        )

    refused = source()
    refused.index()
    assert "--missing-chunks fill" in refused.rejects[0].detail
    filled = source(fill_chunks=True)
    assert filled.index()["object"].tolist() == [3, 9, 200]
    assert filled.description["fill_chunks"] is True
    spots = {spot.number: spot for spot in labeled_objects(three_cells())}
    for position, number in enumerate((3, 9, 200)):
        window = Window.around(spots[number].x, spots[number].y, 24)
        pixels = filled.read(position)[0]
        np.testing.assert_array_equal(pixels[..., 0], window.cut(image))
        assert all(Path(path).exists() for path in filled.paths(position))
