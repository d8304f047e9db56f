"""`build-records` and `convert` take every kind of input, and say what does not fit."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from click.testing import Result
from shared import run_cli

from deeploc_tf.simulation.simulate import Screen, simulate
from tfrecords.manifest import read_manifest


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources") / "screen"
    simulate(folder, Screen(num_proteins=34, num_fields=2, cells_per_field=1), fields=True)
    return folder


def build(crops: Path, records: Path, *options: str, command: str = "build-records") -> Result:
    return run_cli(command, crops, records, "--quiet", *options)


def convert(file: Path, records: Path, *options: str) -> Result:
    return build(file, records, *options, command="convert")


SPLIT = ("--label", "localization", "--test", "field=2")


def test_a_table_with_a_column_of_paths_a_channel(screen: Path, tmp_path: Path) -> None:
    columns = ("--image-column", "gfp=gfp", "--image-column", "rfp=rfp")
    done = build(screen / "cells.csv", tmp_path / "records", *columns, *SPLIT)
    assert done.exit_code == 0, done.output
    manifest = read_manifest(tmp_path / "records")
    assert (manifest.num_crops("train"), manifest.num_crops("test")) == (34, 34)
    assert manifest.schema.channels == ("gfp", "rfp")


def test_a_table_whose_files_hold_all_channels(screen: Path, tmp_path: Path) -> None:
    cells = pd.read_csv(screen / "cells.csv").head(4)
    for row in cells.itertuples():
        pair = [tifffile.imread(screen / path) for path in (row.gfp, row.rfp)]
        np.save(tmp_path / f"{row.key}.npy", np.stack(pair))
    cells["path"] = [f"{key}.npy" for key in cells["key"]]
    cells["split"] = ["train", "test"] * 2
    cells.drop(columns=["gfp", "rfp"]).to_csv(tmp_path / "cells.csv", index=False)
    options = ("--image-column", "path", "--channels", "gfp,rfp", "--axes", "CYX")
    done = build(tmp_path / "cells.csv", tmp_path / "records", *options, "--label", "localization")
    assert done.exit_code == 0, done.output
    assert read_manifest(tmp_path / "records").schema.image_shape == (64, 64, 2)


def test_whole_fields_with_centers_and_label_images(screen: Path, tmp_path: Path) -> None:
    options = ("--pattern", "fields/{protein}_{field}_{channel}.tif", "--channels", "gfp,rfp")
    options += ("--cells", str(screen / "fields.csv"), "--crop-size", "48", *SPLIT)
    done = build(screen, tmp_path / "records", *options)
    assert done.exit_code == 0, done.output
    centers = pd.read_csv(screen / "fields.csv")
    manifest = read_manifest(tmp_path / "records")
    assert manifest.schema.image_shape == (48, 48, 2)
    total = manifest.num_crops("train") + manifest.num_crops("test")
    assert 68 <= total < len(centers)  # cells at the edge are left out
    labels = ("--label-image", "fields/{protein}_{field}_labels.tif", "--border", "pad")
    done = build(screen, tmp_path / "padded", *options, *labels, "--max-rejects", "500")
    assert done.exit_code == 0, done.output
    padded = read_manifest(tmp_path / "padded")
    assert padded.schema.has_mask
    assert padded.num_crops("train") + padded.num_crops("test") > total


def test_deeploc_hdf5_a_file_a_split(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name, count in (("train", 6), ("test", 3)):
        with h5py.File(tmp_path / f"{name}.hdf5", "w") as file:
            pixels = generator.integers(0, 999, (count, 2 * 64 * 64), np.uint16)
            file["data1"] = pixels
            file["Index1"] = np.eye(3)[np.arange(count) % 3]
            file.attrs["label_names"] = ["ER", "GOLGI", "NUCLEI"]
    options = ("--channels", "gfp,rfp", "--label", "label")
    options += ("--test-file", str(tmp_path / "test.hdf5"))
    done = convert(tmp_path / "train.hdf5", tmp_path / "records", *options)
    assert done.exit_code == 0, done.output
    manifest = read_manifest(tmp_path / "records")
    assert manifest.schema.label_names == ("ER", "GOLGI", "NUCLEI")
    assert (manifest.num_crops("train"), manifest.num_crops("test")) == (6, 3)


def test_a_label_dictionary(screen: Path, tmp_path: Path) -> None:
    cells = pd.read_csv(screen / "cells.csv")
    listed: dict[str, dict[str, list[str]]] = {}
    for row in cells.itertuples():
        of_class = listed.setdefault(row.localization, {"train": [], "test": []})
        of_class["train" if row.field == 1 else "test"].append(str(row.gfp))
    np.save(tmp_path / "labels.npy", np.array(listed, dtype=object), allow_pickle=True)
    options = ("--channels", "gfp,rfp", "--root", str(screen), "--label", "label")
    done = convert(tmp_path / "labels.npy", tmp_path / "records", *options)
    assert done.exit_code == 0, done.output
    manifest = read_manifest(tmp_path / "records")
    assert (manifest.num_crops("train"), manifest.num_crops("test")) == (34, 34)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("", (), "A folder of crops needs --pattern"),
        ("", ("--cells", "cells.csv"), "A folder of fields needs --pattern"),
        (
            "",
            ("--pattern", "{a}", "--image-column", "a=b"),
            "--image-column does not go with a folder",
        ),
        (
            "",
            ("--pattern", "{a}", "--crop-size", "9"),
            "--crop-size does not go with a folder of crops",
        ),
        (
            "",
            ("--pattern", "{a}", "--label-image", "{a}", "--number-column", "n"),
            "need the table",
        ),
        ("cells.csv", (), "A table of crops needs --image-column"),
        ("cells.csv", ("--image-column", "a=b", "--blocks", "0"), "No such option"),
        ("cells.csv", ("--image-column", "a=b", "--image-column", "c"), "CHANNEL=COLUMN"),
        ("cells.csv", ("--image-column", "a=b", "--image-column", "a=c"), "each channel once"),
        ("a.h5", ("--channels", "a"), "`deeploc-tf convert` reads these"),
        ("a.HDF5", (), "`deeploc-tf convert` reads these"),
        ("a.npy", (), "`deeploc-tf convert` reads these"),
        ("a.npy", ("--source", "table"), "A table of crops needs --image-column"),
        ("convert a.h5", (), "A DeepLoc HDF5 file needs --channels"),
        ("convert a.h5", ("--channels", "a", "--info", "plate=x"), "COLUMN=NUMBER"),
        ("convert a.h5", ("--channels", "a", "--blocks", "0,x"), "whole numbers"),
        ("convert a.h5", ("--channels", "a", "--keys", "label"), "--keys does not go with a Deep"),
        ("convert a.npy", ("--blocks", "0"), "--blocks does not go with a label dictionary"),
        ("convert a.npy", ("--cell-field", "x"), "No such option"),
        ("convert no.npy", (), "does not exist"),
    ],
)
def test_what_does_not_fit_is_wrong_usage(
    name: str,
    options: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for file in ("cells.csv", "a.h5", "a.HDF5", "a.npy"):
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    command, _, file = name.rpartition(" ")
    done = build(
        tmp_path / file, tmp_path / "records", *options, command=command or "build-records"
    )
    assert done.exit_code == 2, done.output
    assert message in done.output
    assert not (tmp_path / "records").exists()
