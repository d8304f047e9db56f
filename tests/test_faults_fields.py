"""Faults of axes and whole fields; see docs/reliability.md.

The thorough tests are in test_sources_images.py, test_sources_fields.py and test_sources_zarr.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from deeploc_tf.ingest import build_records
from deeploc_tf.sources import CellTable, FieldSource, FolderSource, SourceError
from deeploc_tf.sources.source import RejectedCrop
from tfrecords.manifest import read_manifest


def write_fields(folder: Path, sizes: dict[str, tuple[int, int]]) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    fields = {name: generator.integers(1, 999, size, np.uint16) for name, size in sizes.items()}
    for name, pixels in fields.items():
        tifffile.imwrite(folder / f"{name}-gfp.tif", pixels)
    return fields


def source_of(folder: Path, cells: pd.DataFrame, **options: Any) -> FieldSource:
    cells.to_csv(folder / "cells.csv", index=False)
    columns = {"box": ("left", "top", "right", "bottom")} if "left" in cells else {}
    table = CellTable(folder / "cells.csv", **columns)
    return FieldSource(
        folder, "{field}-{channel}.tif", ["gfp"], cells=table, crop_size=8, **options
    )


def test_axes_that_nobody_names_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "crops").mkdir()
    np.save(tmp_path / "crops" / "a.npy", np.ones((2, 8, 8), np.uint16))
    with pytest.raises(SourceError, match="axes"):
        build_records(
            FolderSource(tmp_path / "crops", "{cell}.npy", ["gfp", "rfp"]),
            tmp_path / "records",
            fractions={"train": 1.0},
        )
    assert not (tmp_path / "records").exists()
    told = FolderSource(tmp_path / "crops", "{cell}.npy", ["gfp", "rfp"], axes="CYX")
    assert build_records(told, tmp_path / "records").schema.image_shape == (8, 8, 2)


def test_cells_at_the_border_are_dropped_or_padded_and_counted(tmp_path: Path) -> None:
    fields = write_fields(tmp_path, {"f1": (32, 32)})
    cells = pd.DataFrame({"image": "f1-gfp.tif", "x": [16, 2], "y": [16, 16]})
    build_records(source_of(tmp_path, cells, border="drop"), tmp_path / "dropped")
    dropped = read_manifest(tmp_path / "dropped")
    assert dropped.num_crops("train") == 1
    assert sum(count for reason, count in dropped.rejects.items() if "border" in reason) == 1
    padded = source_of(tmp_path, cells, border="pad")
    assert build_records(padded, tmp_path / "padded").num_crops("train") == 2
    image, _ = padded.read(1)
    np.testing.assert_array_equal(image[:, 2:, 0], fields["f1"][12:20, :6])
    assert not image[:, :2].any()


@pytest.mark.parametrize(
    "box",
    [
        {"left": 40, "top": 4, "right": 44, "bottom": 8},  # outside the field
        {"left": 4, "top": 4, "right": 4, "bottom": 8},  # without area
        {"left": 4, "top": 4, "right": 16, "bottom": 8},  # larger than the crop
    ],
)
def test_boxes_that_cannot_be_cut_are_set_aside(tmp_path: Path, box: dict[str, int]) -> None:
    write_fields(tmp_path, {"f1": (32, 32)})
    good = {"image": "f1-gfp.tif", "left": 12, "top": 12, "right": 18, "bottom": 18}
    source = source_of(tmp_path, pd.DataFrame([good, {"image": "f1-gfp.tif", **box}]))
    with pytest.raises((SourceError, RejectedCrop)):
        build_records(source, tmp_path / "records")
    assert not (tmp_path / "records").exists()
    manifest = build_records(source, tmp_path / "records", max_rejects=1)
    assert manifest.num_crops("train") == 1
    listed = (tmp_path / "records" / "rejects.jsonl").read_text().splitlines()
    assert len(listed) == 1
    assert "f1" in listed[0]


def test_coordinates_are_pixels_of_the_image_as_it_is(tmp_path: Path) -> None:
    fields = write_fields(tmp_path, {"small": (24, 40), "large": (64, 48)})
    cells = pd.DataFrame(
        {"image": ["small-gfp.tif", "large-gfp.tif"], "x": [30, 30], "y": [12, 12]}
    )
    source = source_of(tmp_path, cells)
    index = source.index()
    assert len(index) == 2
    for position, key in enumerate(index["key"]):
        name = key.split(":")[0]
        image, _ = source.read(position)
        np.testing.assert_array_equal(image[..., 0], fields[name][8:16, 26:34])


def with_labels(folder: Path, labels: dict[str, Any]) -> FieldSource:
    write_fields(folder, dict.fromkeys(labels, (32, 32)))
    for name, pixels in labels.items():
        tifffile.imwrite(folder / f"{name}_labels.tif", pixels)
    options = {"label_image": "{field}_labels.tif", "crop_size": 8, "border": "pad"}
    return FieldSource(folder, "{field}-{channel}.tif", ["gfp"], **options)


def test_numbers_of_objects_may_be_any_and_nothing_is_no_object(tmp_path: Path) -> None:
    """Gaps, more than 65,535, several objects in a crop: the mask is of the one in the middle."""
    labels = np.zeros((32, 32), np.uint32)
    labels[8:11, 8:11], labels[8:11, 11:14], labels[20:24, 20:24] = 3, 70_000, 4_000_000_000
    source = with_labels(tmp_path, {"f1": labels})
    assert source.index()["object"].tolist() == [3, 70_000, 4_000_000_000]
    assert build_records(source, tmp_path / "records").num_crops("train") == 3
    for position, name in enumerate(source.index()["object"]):
        mask = source.read(position)[1]
        assert mask is not None
        assert mask.sum() == (labels == name).sum()


def test_bad_label_images_are_set_aside_for_their_reasons(tmp_path: Path) -> None:
    good = np.zeros((32, 32), np.uint16)
    good[8:11, 8:11] = 1
    source = with_labels(
        tmp_path,
        {
            "good": good,
            "empty": np.zeros((32, 32), np.uint16),
            "large": np.ones((33, 32), np.uint16),
            "negative": -np.ones((32, 32), np.int16),
        },
    )
    with pytest.raises(SourceError, match=r"empty|large|negative"):
        build_records(source, tmp_path / "records")
    assert not (tmp_path / "records").exists()
    manifest = build_records(source, tmp_path / "records", max_rejects=3)
    assert manifest.rejects == {
        "file does not match the pattern": 4,  # the label images are no fields
        "label image has another size": 1,
        "label image has negative numbers": 1,
        "label image is empty": 1,
    }
    assert manifest.num_crops("train") == 1


def test_a_missing_chunk_is_never_zeros(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr", reason="zarr is in the extra zarr")
    path = tmp_path / "f1.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2)
    array = zarr.create_array(
        path / "0", shape=(1, 32, 32), chunks=(1, 16, 16), dtype="uint16", zarr_format=2
    )
    array[...] = np.random.default_rng(0).integers(1, 999, (1, 32, 32))
    axes = [{"name": "c", "type": "channel"}, *({"name": a, "type": "space"} for a in "yx")]
    scale = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
    levels = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": levels}]
    pd.DataFrame({"image": ["f1.zarr"], "x": [16], "y": [16]}).to_csv(
        tmp_path / "cells.csv", index=False
    )

    def build(output: str) -> Any:
        cells = CellTable(tmp_path / "cells.csv")
        source = FieldSource(tmp_path, "{field}.zarr", ["gfp"], cells=cells, crop_size=8)
        return build_records(source, tmp_path / output)

    assert build("whole").num_crops("train") == 1
    chunk = next(p for p in sorted((path / "0").rglob("*")) if p.is_file() and p.name[0] != ".")
    chunk.unlink()
    with pytest.raises(SourceError, match="chunk"):
        build("damaged")
    assert not (tmp_path / "damaged").exists()
