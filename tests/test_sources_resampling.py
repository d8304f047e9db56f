"""Pixels of one size made of those of another: averages over areas, held to a naive one."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import run_cli

from deeploc_tf.ingest import build_records
from deeploc_tf.ingest.convert import convert
from deeploc_tf.sources import CellTable, FieldSource, FolderSource, SourceError, TableSource
from deeploc_tf.sources.formats.length_units import micrometres_of
from deeploc_tf.sources.images import describe_image
from deeploc_tf.sources.resampling import Resampling
from tfrecords.manifest import read_manifest
from tfrecords.reader import read_crops


def naive(row: Any, ratio: float) -> list[float]:
    """The means of new pixels along one axis, by a fine grid of samples."""
    new = int(len(row) / ratio + 1e-9)
    margin = (len(row) - new * ratio) / 2
    steps = 2000
    places = margin + ratio * (np.arange(new * steps) + 0.5) / steps
    return row[np.floor(places).astype(int)].reshape(new, steps).mean(axis=1).tolist()


@settings(deadline=None, max_examples=30)
@given(
    ratio=st.floats(0.3, 4.0),
    height=st.integers(5, 12),
    width=st.integers(5, 12),
    channels=st.integers(1, 3),
)
def test_new_pixels_are_means_of_areas(
    ratio: float, height: int, width: int, channels: int
) -> None:
    image = np.random.default_rng(0).random((height, width, channels)).astype("f4")
    found = Resampling(ratio).image(image)
    rows = np.apply_along_axis(naive, 0, image, ratio)
    expected = np.apply_along_axis(naive, 1, rows, ratio)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_whole_ratios_are_plain_means_and_constants_stay() -> None:
    image = np.random.default_rng(1).integers(0, 65_536, (12, 9, 2)).astype("uint16")
    means = image.reshape(4, 3, 3, 3, 2).mean(axis=(1, 3))
    np.testing.assert_array_equal(Resampling(3.0).image(image), np.rint(means))
    constant = np.full((37, 41, 1), 201, np.uint8)
    for ratio in (0.37, 1.3, 2.71):
        assert (Resampling(ratio).image(constant) == 201).all()
    fine = Resampling(0.5).image(image)
    np.testing.assert_array_equal(fine, image.repeat(2, axis=0).repeat(2, axis=1))
    holes = image.astype("f4")
    holes[0, 0, 0] = np.nan
    assert np.isnan(Resampling(3.0).image(holes)).sum() == 1  # and not the whole row


def test_labels_keep_their_numbers_and_places_go_both_ways() -> None:
    labels = np.zeros((12, 12), np.uint32)
    labels[3:9, 3:9] = 70_000
    found = Resampling(3.0).labels(labels)
    assert found.tolist() == (np.pad(np.full((2, 2), 70_000), 1)).tolist()
    for ratio in (0.4, 1.7, 3.0):
        resampling = Resampling(ratio)
        for place in (-0.5, 0.0, 17.3, 40.0):
            assert resampling.to_old(resampling.to_new(place, 41), 41) == pytest.approx(place)


def test_pixel_size_must_be_known() -> None:
    assert Resampling.between(0.2, 0.2) is None
    assert Resampling.between(0.1, 0.2) == Resampling(2.0)
    for own in (None, 0.0, -1.0):
        with pytest.raises(SourceError, match="--pixel-size"):
            Resampling.between(own, 0.2)


def write_field(root: Path, pixel_size: float | None = 0.1) -> Any:
    image = np.random.default_rng(0).integers(1, 999, (80, 100)).astype("uint16")
    metadata = None if pixel_size is None else {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1}
    tifffile.imwrite(root / "1_gfp.ome.tif", image, metadata=metadata, ome=metadata is not None)
    labels = np.zeros((80, 100), np.uint8)
    labels[36:44, 46:54] = 5
    tifffile.imwrite(root / "1_labels.tif", labels)
    return image


@pytest.mark.parametrize("way", ["center", "box", "number", "labels"])
def test_cells_of_fields_are_cut_from_resampled_ones(tmp_path: Path, way: str) -> None:
    image = write_field(tmp_path)
    places = {
        "center": {"x": 50.1, "y": 39.6},
        "box": {"l": 46, "t": 36, "r": 54, "b": 44},
        "number": {"n": 5},
    }
    row = {"image": "1_gfp.ome.tif", **places.get(way, {})}
    pd.DataFrame([row]).to_csv(tmp_path / "cells.csv", index=False)
    columns: dict[str, Any] = {
        "center": {},
        "box": {"box": ("l", "t", "r", "b")},
        "number": {"number": "n"},
    }
    cells = None if way == "labels" else CellTable(tmp_path / "cells.csv", **columns[way])
    label_image = "{field}_labels.tif" if way in ("number", "labels") else None
    options: dict[str, Any] = {"cells": cells, "label_image": label_image, "crop_size": 16}
    source = FieldSource(tmp_path, "{field}_{channel}.ome.tif", ["gfp"], resample_to=0.2, **options)
    index = source.index()
    assert source.pixel_size == 0.2
    means = image.reshape(40, 2, 50, 2).mean(axis=(1, 3))
    expected = np.rint(means)[20 - 8 : 20 + 8, 25 - 8 : 25 + 8]
    read, mask = pickle.loads(pickle.dumps(source)).read(0)
    np.testing.assert_array_equal(read[..., 0], expected)
    assert abs(index["x"][0] - 50) <= 1
    assert abs(index["y"][0] - 40) <= 1
    if label_image is not None:
        assert mask is not None
        assert mask.sum() == 16
        assert mask[6:10, 6:10].all()
    assert source.description["resample_to"] == 0.2
    assert source.description["resampled_from"] == pytest.approx(0.1)
    same = FieldSource(tmp_path, "{field}_{channel}.ome.tif", ["gfp"], **options)
    same.index()
    assert "resample_to" not in same.description


def test_objects_that_resampling_loses_are_counted(tmp_path: Path) -> None:
    write_field(tmp_path)
    labels = tifffile.imread(tmp_path / "1_labels.tif")
    labels[11, 11] = 9
    tifffile.imwrite(tmp_path / "1_labels.tif", labels)
    source = FieldSource(
        *(tmp_path, "{field}_{channel}.ome.tif", ["gfp"]),
        label_image="{field}_labels.tif",
        crop_size=16,
        resample_to=0.4,
        border="pad",
    )
    assert source.index()["object"].tolist() == [5]
    assert source.passed_over["object is smaller than a resampled pixel"] == 1


def test_crops_are_resampled_and_the_manifest_says_so(tmp_path: Path) -> None:
    crops = tmp_path / "crops"
    crops.mkdir()
    images = [np.random.default_rng(i).integers(0, 999, (64, 64), "uint16") for i in range(4)]
    for number, image in enumerate(images):
        tifffile.imwrite(crops / f"{number}_gfp.tif", image)
    with pytest.raises(SourceError, match="--pixel-size"):
        FolderSource(crops, "{cell}_{channel}.tif", ["gfp"], resample_to=0.2).index()
    options = ("--pattern", "{cell}_{channel}.tif", "--channels", "gfp")
    made = run_cli(
        *("build-records", crops, tmp_path / "records", *options),
        *("--resample-to", 0.26, "--pixel-size", 0.13),
    )
    assert made.exit_code == 0, made.output
    manifest = json.loads((tmp_path / "records" / "manifest.json").read_text())
    assert manifest["schema"]["pixel_size"] == 0.26
    assert manifest["schema"]["image_shape"] == [32, 32, 1]
    assert manifest["schema"]["resampled_from"] == 0.13
    told = run_cli("inspect", tmp_path / "records").output
    assert "pixel     0.26 micrometers (resampled from 0.13)" in told
    (described,) = manifest["sources"]
    assert (described["resample_to"], described["resampled_from"]) == (0.26, 0.13)
    pd.DataFrame({"path": [f"{n}_gfp.tif" for n in range(4)]}).to_csv(crops / "t.csv", index=False)
    table = TableSource(crops / "t.csv", {"gfp": "path"}, resample_to=0.26, pixel_size=0.13)
    table.index()
    expected = np.rint(images[2].reshape(32, 2, 32, 2).mean(axis=(1, 3)))
    np.testing.assert_array_equal(table.read(2)[0][..., 0], expected)
    assert build_records(table, tmp_path / "by_table").schema.pixel_size == 0.26


def test_files_of_publications_are_resampled(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 999, (4, 64, 64), "uint16")
    expected = np.rint(images.reshape(4, 32, 2, 32, 2).mean(axis=(2, 4)))
    with h5py.File(tmp_path / "crops.h5", "w") as file:
        file["data1"] = images.reshape(4, -1)
        file["Index1"] = np.eye(4, dtype="u1")
    paths = [f"{number}_gfp.tif" for number in range(4)]
    for path, image in zip(paths, images, strict=True):
        tifffile.imwrite(tmp_path / path, image)
    lists: Any = {"ER": {"train": paths}}
    np.save(tmp_path / "labels.npy", lists, allow_pickle=True)
    resampled = ("--resample-to", 0.26, "--pixel-size", 0.13, "--channels", "gfp")
    for name, options in (("crops.h5", ("--class-names", "a,b,c,d")), ("labels.npy", ())):
        words = ("convert", tmp_path / name, tmp_path / f"{name}.records", *resampled, *options)
        made = run_cli(*words, "--label", "label")
        assert made.exit_code == 0, made.output
        read = read_crops(tmp_path / f"{name}.records")
        crops = {crop.key: crop.image[..., 0] for _, crop in read}
        found = [crops[key] for key in sorted(crops)]
        np.testing.assert_array_equal(found, expected)
        manifest = json.loads((tmp_path / f"{name}.records" / "manifest.json").read_text())
        assert manifest["schema"]["resampled_from"] == 0.13
        assert manifest["sources"][0]["resample_to"] == 0.26
        own: dict[str, Any] = {} if name == "labels.npy" else {"class_names": list("abcd")}
        sizes = {"resample_to": 0.26, "pixel_size": 0.13}
        converted = convert(
            tmp_path / name, tmp_path / "python", channels=["gfp"], label="label", **sizes, **own
        )
        assert converted == read_manifest(tmp_path / f"{name}.records")
        shutil.rmtree(tmp_path / "python")
    with pytest.raises(SourceError, match="must go with an HDF5 file"):
        convert(tmp_path / "labels.npy", tmp_path / "none", test_file=tmp_path / "crops.h5")
    words = ("convert", tmp_path / "crops.h5", tmp_path / "none", "--channels", "gfp")
    unknown = run_cli(*words, *resampled[:2])
    assert unknown.exit_code == 1
    assert "--pixel-size" in unknown.output


@pytest.mark.parametrize("unit", ["\u00b5m", "\u03bcm", "um", "micron", "microns", "micrometre"])
@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_units_are_read_however_they_are_written(tmp_path: Path, unit: str, kind: str) -> None:
    image = np.zeros((8, 8), np.uint16)
    path = tmp_path / "a.tif"
    if kind == "ome":
        size = {f"PhysicalSize{axis}": 0.3 for axis in "XY"}
        units = {f"PhysicalSize{axis}Unit": unit for axis in "XY"}
        tifffile.imwrite(path, image, ome=True, metadata=size)
        data = path.read_bytes()
        assert b"PhysicalSizeXUnit" not in data
        xml = tifffile.tiffcomment(path)
        said = " ".join(f'{name}="{value}"' for name, value in units.items())
        tifffile.tiffcomment(path, xml.replace("<Pixels ", f"<Pixels {said} ").encode())
    else:
        text = f"ImageJ=1.11a\nunit={unit}\n".encode()
        tifffile.imwrite(path, image, description=text, resolution=(1 / 0.3, 1 / 0.3))
    assert describe_image(path).pixel_size == pytest.approx(0.3)


def test_units_that_nobody_knows() -> None:
    known = {"nm": 1e-3, "\u212b": 1e-4, "mm": 1e3, "inches": None, "pixel": None, "Mm": None}
    assert {unit: micrometres_of(unit) for unit in known} == known
    assert micrometres_of(r"\u00B5m") == micrometres_of("\ufffdm") == 1.0  # escaped; Latin-1
