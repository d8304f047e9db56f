"""The same cell in training and test, under whatever name, in whatever container."""

from __future__ import annotations

import functools
import os
import shutil
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile
from shared import run_cli

import tfrecords.writer
from deeploc_tf.ingest import build_records, plan_records
from deeploc_tf.sources import CellTable, FieldSource, TableSource
from tfrecords.errors import SplitError
from tfrecords.manifest import Duplicates, read_manifest
from tfrecords.schema import Crop, Schema
from tfrecords.verify import verify_deep
from tfrecords.writer import Entry, write_records


def image(number: int) -> Any:
    return np.random.default_rng(number).integers(1, 4000, (16, 16), np.uint16)


def by_hard_link(first: Path, second: Path) -> None:
    os.link(first, second)


def by_link(first: Path, second: Path) -> None:
    second.symlink_to(first.name)


def by_copy(first: Path, second: Path) -> None:
    shutil.copy(first, second)


def compressed(first: Path, second: Path) -> None:
    tifffile.imwrite(second, tifffile.imread(first), compression="zlib")


def tiled(first: Path, second: Path) -> None:
    tifffile.imwrite(second, tifffile.imread(first), tile=(16, 16))


def big_endian(first: Path, second: Path) -> None:
    tifffile.imwrite(second, tifffile.imread(first), byteorder=">")


def described(first: Path, second: Path) -> None:
    tifffile.imwrite(second, tifffile.imread(first), description="another one")


def as_npy(first: Path, second: Path) -> None:
    np.save(second.with_suffix(".npy"), tifffile.imread(first))


def as_png(first: Path, second: Path) -> None:
    second.with_suffix(".png").write_bytes(imagecodecs.png_encode(tifffile.imread(first)))


WAYS: list[Callable[[Path, Path], None]] = [
    *(by_hard_link, by_link, by_copy, compressed, tiled, big_endian, described, as_npy, as_png),
]


def cells(folder: Path, twice: Callable[[Path, Path], None] | None = None) -> TableSource:
    """Ten cells, the first six of them to train; cell 9, that tests, may be cell 2 again."""
    folder.mkdir(exist_ok=True)
    for number in range(10):
        tifffile.imwrite(folder / f"{number}.tif", image(number))
    if twice is not None:
        (folder / "9.tif").unlink()
        twice(folder / "2.tif", folder / "9.tif")
    (name,) = (path.name for path in folder.glob("9.*"))
    return table(folder, {"path": [*(f"{n}.tif" for n in range(9)), name]})


def table(folder: Path, columns: dict[str, list[str]]) -> TableSource:
    count = len(columns["path"])
    split = ["train"] * (count - 4) + ["test"] * 4
    keys = {"key": [f"cell {n}" for n in range(count)]}
    pd.DataFrame({**keys, "split": split, **columns}).to_csv(folder / "cells.csv", index=False)
    return TableSource(folder / "cells.csv", {"gfp": "path"})


@pytest.mark.parametrize("way", WAYS)
def test_the_same_pixels_in_two_splits_are_refused(
    way: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    source = cells(tmp_path / "cells", way)
    with pytest.raises(SplitError, match=r"'cell (2|9)' in (train|test) and 'cell (2|9)'"):
        build_records(source, tmp_path / "records")
    assert [path.name for path in tmp_path.iterdir()] == ["cells"]
    manifest = build_records(source, tmp_path / "records", allow_duplicates=True)
    assert manifest.duplicates == Duplicates(allowed=True, across_splits=2)
    assert read_manifest(tmp_path / "records").duplicates == manifest.duplicates
    verify_deep(tmp_path / "records")


def test_different_cells_are_no_duplicates(tmp_path: Path) -> None:
    manifest = build_records(cells(tmp_path / "cells"), tmp_path / "records")
    assert manifest.duplicates == Duplicates()


def test_the_same_file_in_two_rows_is_refused_and_may_be_allowed(tmp_path: Path) -> None:
    cells(tmp_path / "cells")
    source = table(tmp_path / "cells", {"path": [*(f"{n}.tif" for n in range(9)), "2.tif"]})
    with pytest.raises(SplitError, match=r"2\.tif"):
        build_records(source, tmp_path / "records")
    manifest = build_records(source, tmp_path / "records", allow_duplicates=True)
    assert manifest.duplicates == Duplicates(allowed=True, across_splits=2)


def test_one_equal_channel_is_no_duplicate(tmp_path: Path) -> None:
    cells(tmp_path / "cells", by_copy)
    paths = [f"{n}.tif" for n in range(10)]
    table(tmp_path / "cells", {"path": paths, "other": [*paths[5:], *paths[:5]]})
    source = TableSource(tmp_path / "cells/cells.csv", {"gfp": "path", "rfp": "other"})
    assert build_records(source, tmp_path / "records").duplicates == Duplicates()


def test_duplicates_of_one_split_are_counted(tmp_path: Path) -> None:
    source = cells(tmp_path / "cells")
    for number in (1, 3):
        shutil.copy(tmp_path / "cells/0.tif", tmp_path / f"cells/{number}.tif")
    shutil.copy(tmp_path / "cells/7.tif", tmp_path / "cells/8.tif")
    manifest = build_records(source, tmp_path / "records")
    assert manifest.duplicates == Duplicates(within_splits=3)
    shutil.copy(tmp_path / "cells/0.tif", tmp_path / "cells/8.tif")
    manifest = build_records(source, tmp_path / "again", allow_duplicates=True)
    assert manifest.duplicates == Duplicates(allowed=True, within_splits=2, across_splits=4)


@pytest.mark.parametrize("level", [0, 100, 4095])
def test_blank_crops_are_no_duplicates(level: int, tmp_path: Path) -> None:
    source = cells(tmp_path / "cells")
    for number in (0, 1, 9):
        tifffile.imwrite(tmp_path / f"cells/{number}.tif", np.full((16, 16), level, np.uint16))
    assert build_records(source, tmp_path / "records").duplicates == Duplicates()


def test_crops_with_one_pixel_that_differs_from_the_rest_are_not_blank(tmp_path: Path) -> None:
    source = cells(tmp_path / "cells")
    almost = np.zeros((16, 16), np.uint16)
    almost[15, 15] = 1
    for number in (0, 9):
        tifffile.imwrite(tmp_path / f"cells/{number}.tif", almost)
    with pytest.raises(SplitError, match="'cell 0' in train"):
        build_records(source, tmp_path / "records")


def test_pixels_of_equal_checksum_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeploc_tf.ingest.reading.pixel_checksum", lambda *_: 7)
    manifest = build_records(cells(tmp_path / "cells"), tmp_path / "records")
    assert manifest.duplicates == Duplicates()
    with pytest.raises(SplitError, match="'cell 2' in train"):
        build_records(cells(tmp_path / "more", by_copy), tmp_path / "again")


# However they are read.


build_in_batches = functools.partial(build_records, batch_bytes=2000)


@pytest.mark.parametrize("workers", [1, 2])
def test_duplicates_of_two_batches_and_workers_are_found(workers: int, tmp_path: Path) -> None:
    source = cells(tmp_path / "cells", compressed)
    with pytest.raises(SplitError, match="'cell 2' in train"):
        build_in_batches(source, tmp_path / "records", workers=workers)
    manifest = build_in_batches(
        source, tmp_path / "records", workers=workers, allow_duplicates=True
    )
    assert manifest.duplicates == Duplicates(allowed=True, across_splits=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells", "records"]


def test_a_build_that_goes_on_finds_duplicates_of_what_it_had_read(tmp_path: Path) -> None:
    source = cells(tmp_path / "cells", by_link)

    def stop(count: int, _: int | None) -> None:
        if count == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_in_batches(source, tmp_path / "records", progress=stop)
    read: list[int] = []
    with pytest.raises(SplitError, match="'cell 2' in train"):
        build_in_batches(source, tmp_path / "records", progress=lambda count, _: read.append(count))
    assert read[0] > 1  # it went on
    read.clear()
    build_in_batches(
        source,
        tmp_path / "records",
        progress=lambda count, _: read.append(count),
        allow_duplicates=True,
    )
    assert not read  # what was refused is there already


def test_beam_finds_duplicates(tmp_path: Path) -> None:
    pytest.importorskip("apache_beam", reason="Apache Beam is in the extra beam: make test-beam")
    from deeploc_tf.ingest.beam import read_with_beam

    source = cells(tmp_path / "cells", as_npy)
    with pytest.raises(SplitError, match="'cell 2' in train"):
        build_records(
            source, tmp_path / "records", read_batches=partial(read_with_beam, options=())
        )


def test_crops_that_are_written_without_a_source_are_compared(tmp_path: Path) -> None:
    schema = Schema((16, 16, 1), "uint16", ("gfp",))
    crops = [Crop(f"{n}", image(n % 3)[..., np.newaxis]) for n in range(4)]
    entries = [Entry(crop.key, "test" if crop.key == "3" else "train") for crop in crops]
    with pytest.raises(SplitError, match=r"'0' in train|'3' in test"):
        write_records(tmp_path / "records", schema, entries, crops)
    manifest = write_records(tmp_path / "records", schema, entries, crops, allow_duplicates=True)
    assert manifest.duplicates == Duplicates(allowed=True, across_splits=2)


def test_the_command_prints_what_it_counts(tmp_path: Path) -> None:
    cells(tmp_path / "cells", by_copy)
    shutil.copy(tmp_path / "cells/0.tif", tmp_path / "cells/1.tif")
    command = ["build-records", str(tmp_path / "cells/cells.csv"), str(tmp_path / "records")]
    command += ["--image-column", "gfp=path", "--quiet"]
    refused = run_cli(*command)
    assert refused.exit_code == 1
    assert "--allow-duplicates" in refused.stderr
    done = run_cli(*command, "--allow-duplicates")
    assert done.exit_code == 0, done.output
    assert "1  (pixels of another crop of the same split)" in done.output
    assert "2  (pixels that are in two splits)" in done.output
    shown = run_cli("inspect", tmp_path / "records").output
    assert "twice     2 (pixels that are in two splits)" in shown


def test_memory_of_a_crop_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = Schema((2, 2, 1), "uint8", ("gfp",))
    count = 20_000
    pixels = np.random.default_rng(0).integers(0, 256, (count, 2, 2, 1), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 1, 0] = np.divmod(np.arange(count), 256)
    entries = [Entry(f"{n:06}", "train" if n % 2 else "test") for n in range(count)]
    crops = (Crop(f"{n:06}", pixels[n]) for n in range(count))
    from tfrecords import duplicates

    peaks: list[float] = []
    count_duplicates = duplicates.count_duplicates

    def traced(*arguments: Any, **options: Any) -> Duplicates:
        tracemalloc.start()
        try:
            return count_duplicates(*arguments, **options)
        finally:
            peaks.append(tracemalloc.get_traced_memory()[1] / count)
            tracemalloc.stop()

    monkeypatch.setattr(tfrecords.writer, "count_duplicates", traced)
    write_records(tmp_path / "records", schema, entries, crops, batch_bytes=16 << 20)
    assert peaks[0] < 50


# Windows of one field.


def fields(folder: Path, names: tuple[str, ...] = ("1", "2")) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        pixels = np.random.default_rng(int(name)).integers(1, 4000, (60, 80), np.uint16)
        tifffile.imwrite(folder / f"{name}-gfp.tif", pixels)
    return folder


def field_source(folder: Path, rows: list[str], header: str) -> FieldSource:
    (folder / "cells.csv").write_text("\n".join([header, *rows]))
    return FieldSource(
        folder,
        "{field}-{channel}.tif",
        ["gfp"],
        cells=CellTable(
            folder / "cells.csv",
            box=("left", "top", "right", "bottom") if header == BOXES else None,
        ),
        crop_size=16,
    )


CENTERS = "field,x,y,split"
BOXES = "field,left,top,right,bottom,split"


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        (["1,20,20,train", "1,35,20,test"], 2),  # one column of pixels
        (["1,20,20,train", "1,36,20,test"], 0),
        (["1,20,20,train", "1,20,35,test"], 2),
        (["1,20,20,train", "1,20,36,test"], 0),
        (["1,20,20,train", "1,35,35,test"], 2),  # one pixel
        (["1,20,20,train", "1,5,35,test"], 0),  # at the border: left out
        (["1,20,20,train", "1,28,20,train", "2,20,20,test", "2,28,20,test"], 0),
        (["1,20,20,train", "2,20,20,test"], 0),
        (["1,20,20,train", "1,30,20,train", "1,44,20,test", "1,64,40,test"], 2),
        (["1,20,20,train", "1,20.4,20,test"], 2),
    ],
)
def test_windows_of_one_field_that_overlap_in_two_splits_are_refused(
    rows: list[str], count: int, tmp_path: Path
) -> None:
    source = field_source(fields(tmp_path / "fields"), [*rows, "2,60,30,test"], CENTERS)
    if count:
        with pytest.raises(SplitError, match=r"overlap.* in train and .* in test|test and"):
            plan_records(source)
        with pytest.raises(SplitError, match="overlap"):
            build_records(source, tmp_path / "records")
    manifest = build_records(source, tmp_path / "records", allow_duplicates=bool(count))
    assert manifest.duplicates is not None
    assert manifest.duplicates.overlapping == count
    assert manifest.duplicates.allowed == bool(count)


def test_boxes_and_objects_of_label_images_are_compared(tmp_path: Path) -> None:
    rows = ["1,16,16,24,24,train", "1,28,16,36,24,test"]
    source = field_source(fields(tmp_path / "fields"), rows, BOXES)
    with pytest.raises(SplitError, match="overlap"):
        build_records(source, tmp_path / "records")
    labels = np.zeros((60, 80), np.uint8)
    labels[16:24, 16:24], labels[16:24, 28:36] = 1, 2
    for name in ("1", "2"):
        tifffile.imwrite(tmp_path / f"fields/{name}_labels.tif", labels)
    objects = FieldSource(
        tmp_path / "fields",
        "{field}-{channel}.tif",
        ["gfp"],
        label_image="{field}_labels.tif",
        crop_size=16,
    )
    with pytest.raises(SplitError, match="overlap"):
        build_records(objects, tmp_path / "records", conditions={"test": [("object", "2")]})
    manifest = build_records(objects, tmp_path / "records", conditions={"test": [("field", "2")]})
    assert manifest.duplicates == Duplicates()


@pytest.mark.parametrize("link", [by_hard_link, by_link, shutil.copy])
def test_a_field_under_two_names_is_one_field(
    link: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    fields(tmp_path / "fields")
    (tmp_path / "fields/2-gfp.tif").unlink()
    link(tmp_path / "fields/1-gfp.tif", tmp_path / "fields/2-gfp.tif")
    source = field_source(tmp_path / "fields", ["1,20,20,train", "2,25,20,test"], CENTERS)
    with pytest.raises(SplitError, match="overlap"):
        build_records(source, tmp_path / "records")


def test_many_windows_of_a_field_are_compared_as_all_pairs_are(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    corners = generator.integers(0, 600, (1500, 2))
    numbers = generator.integers(0, 3, 1500)
    split = generator.choice(np.array(["train", "test"], object), 1500)
    from deeploc_tf.ingest.windows import check_windows

    near = (np.abs(corners[:, None] - corners) < 16).all(axis=-1)
    leaks = near & (numbers[:, None] == numbers) & (split[:, None] != split)
    found = check_windows(numbers, corners, 16, split, [""] * 1500, allowed=True)
    assert found == leaks.any(axis=1).sum() > 100
