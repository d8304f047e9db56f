"""The build: what goes in comes out, and every bad input is refused before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

import deeploc_tf.ingest.plan
import tfrecords.plan
from deeploc_tf.ingest import build_records
from deeploc_tf.sources import FolderSource, Source, SourceError, TableSource
from deeploc_tf.text_tables import TableError
from tfrecords.codec import decode
from tfrecords.errors import (
    DuplicateKeyError,
    OutputExistsError,
    SchemaError,
    SplitError,
)
from tfrecords.manifest import Manifest
from tfrecords.reader import read_serialized
from tfrecords.schema import Crop
from tfrecords.verify import verify_deep

PATTERN = "{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif"
CONDITIONS = {"test": [("field", "4")], "validation": [("field", "3")]}
WriteCrops = Callable[..., Path]


def source_of(root: Path) -> FolderSource:
    return FolderSource(root, PATTERN, ["gfp", "rfp"])


def crops_of(records: Path, manifest: Manifest) -> dict[str, tuple[str, Crop]]:
    """Key -> split and crop, of all records."""
    found = {}
    for split in manifest.split_names:
        for record in read_serialized(records, split).as_numpy_iterator():
            crop = decode(record, manifest.schema)
            found[crop.key] = split, crop
    return found


def refused(
    error: type[Exception], match: str, source: Source, output: Path, **options: Any
) -> None:
    """Check that a build is refused and leaves nothing behind."""
    before = sorted(output.parent.iterdir())
    options = {"label": "protein", "conditions": CONDITIONS, **options}
    with pytest.raises(error) as caught:
        build_records(source, output, **options)
    text = " ".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert match in text
    assert sorted(output.parent.iterdir()) == before


def test_crops_come_back_as_they_lie_in_the_folder(write_crops: WriteCrops, tmp_path: Path) -> None:
    root = write_crops()
    steps: list[int] = []
    manifest = build_records(
        source_of(root),
        tmp_path / "records",
        label="protein",
        conditions=CONDITIONS,
        pixel_size=0.1,
        progress=lambda count, _: steps.append(count),
    )
    assert steps == list(range(1, 17))
    schema = manifest.schema
    assert schema.image_shape == (6, 5, 2)
    assert schema.dtype == "uint16"
    assert schema.channels == ("gfp", "rfp")
    assert schema.label_names == ("AAC1", "AAH1")
    assert dict(schema.metadata) == {"field": "int64", "cell": "int64"}
    assert schema.pixel_size == 0.1
    assert manifest.group_by == ("field",)
    crops = crops_of(tmp_path / "records", manifest)
    assert len(crops) == 16
    for key, (split, crop) in crops.items():
        protein, field, _, cell = Path(key).name.split("_")
        assert split == {"3": "validation", "4": "test"}.get(field, "train")
        assert crop.protein == protein
        assert crop.labels == (schema.label_names.index(protein),)
        assert dict(crop.metadata) == {"field": int(field), "cell": int(cell)}
        for number, channel in enumerate(schema.channels):
            expected = tifffile.imread(root / f"{key}_{channel}.tif")
            np.testing.assert_array_equal(crop.image[..., number], expected)
    verify_deep(tmp_path / "records")


def test_same_bytes_whatever_the_order_of_the_source(
    write_crops: WriteCrops, tmp_path: Path
) -> None:
    root = write_crops()
    table = source_of(root).index()
    for channel in ("gfp", "rfp"):
        table[channel] = [f"{key}_{channel}.tif" for key in table["key"]]
    for number in range(2):
        shuffled = table.sample(frac=1, random_state=number)
        shuffled.to_csv(root / f"{number}.csv", index=False)
        build_records(
            TableSource(root / f"{number}.csv", {"gfp": "gfp", "rfp": "rfp"}),
            tmp_path / str(number),
            label="protein",
            fractions={"train": 0.5, "test": 0.5},
            group_by=["protein", "field"],
            seed=7,
        )
    files = sorted(path.name for path in (tmp_path / "0").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "1").iterdir())
    for name in files:
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes(), name


def test_nothing_in_the_records_tells_where_the_crops_lay(
    write_crops: WriteCrops, tmp_path: Path
) -> None:
    for name in ("here", "there"):
        source = source_of(write_crops(name))
        build_records(source, tmp_path / f"{name}.records", label="protein", conditions=CONDITIONS)
    for path in (tmp_path / "here.records").iterdir():
        other = tmp_path / "there.records" / path.name
        assert path.read_bytes() == other.read_bytes(), path.name


def test_split_column_label_column_and_free_columns(
    write_crops: WriteCrops, tmp_path: Path
) -> None:
    root = write_crops(channels=("gfp",))
    table = FolderSource(root, PATTERN, ["gfp"]).index()
    table["path"] = [f"{key}_gfp.tif" for key in table["key"]]
    table["place"] = table["protein"].map({"AAC1": "mito;ER", "AAH1": "ER"})
    table["split"] = table["field"].map(lambda f: "test" if f == "4" else "train")
    table["area"] = [f"{i}.5" for i in range(16)]
    table["well"] = "01"
    table.to_csv(root / "cells.csv", index=False)
    manifest = build_records(
        TableSource(root / "cells.csv", {"gfp": "path"}),
        tmp_path / "records",
        label="place",
        label_separator=";",
        group_by=["field"],
    )
    assert manifest.schema.multi_label
    assert manifest.schema.label_names == ("ER", "mito")
    assert dict(manifest.schema.metadata) == {
        "field": "int64",
        "cell": "int64",
        "area": "float32",
        "well": "text",
    }
    assert manifest.split_names == ("test", "train")
    split, crop = crops_of(tmp_path / "records", manifest)["AAC1/AAC1_4_rfp_1"]
    assert split == "test"
    assert crop.labels == (0, 1)
    assert crop.metadata["well"] == "01"


def test_skipped_crops_and_other_files_are_counted(write_crops: WriteCrops, tmp_path: Path) -> None:
    root = write_crops()
    (root / "notes.txt").write_text("no crop")
    manifest = build_records(
        source_of(root),
        tmp_path / "records",
        label="protein",
        classes=["AAC1"],
        unknown="skip",
        conditions={**CONDITIONS, "train": [("field", "1")]},
    )
    assert {split: manifest.num_crops(split) for split in manifest.split_names} == {
        "test": 2,
        "train": 2,
        "validation": 2,
    }
    assert dict(manifest.rejects) == {
        "file does not match the pattern": 1,
        "in no split": 2,
        "no known label": 8,
    }


def test_columns_can_be_chosen_and_groups_stay(write_crops: WriteCrops, tmp_path: Path) -> None:
    manifest = build_records(
        source_of(write_crops()), tmp_path / "records", conditions=CONDITIONS, metadata=[]
    )
    assert list(manifest.schema.metadata) == ["field"]
    assert manifest.schema.label_names == ()


def test_unlabeled_crops_without_splits_all_train(write_crops: WriteCrops, tmp_path: Path) -> None:
    manifest = build_records(source_of(write_crops()), tmp_path / "records")
    assert manifest.split_names == ("train",)


# Bad input: each refused with one sentence, nothing under a final name.


@pytest.mark.parametrize("content", [b"", b"II*\0 and no more", b"not an image"])
def test_unreadable_file_is_refused(
    write_crops: WriteCrops, tmp_path: Path, content: bytes
) -> None:
    root = write_crops()
    (root / "AAH1" / "AAH1_4_rfp_2_rfp.tif").write_bytes(content)
    refused(SourceError, "AAH1_4_rfp_2_rfp.tif", source_of(root), tmp_path / "records")


def test_file_that_goes_away_is_refused(write_crops: WriteCrops, tmp_path: Path) -> None:
    source = source_of(write_crops())
    source.index()
    (tmp_path / "crops" / "AAH1" / "AAH1_4_rfp_2_rfp.tif").unlink()
    refused(FileNotFoundError, "AAH1/AAH1_4_rfp_2_rfp.tif", source, tmp_path / "records")


def test_missing_channel_is_refused(write_crops: WriteCrops, tmp_path: Path) -> None:
    root = write_crops()
    (root / "AAH1" / "AAH1_4_rfp_2_rfp.tif").unlink()
    refused(SourceError, "without channel rfp", source_of(root), tmp_path / "records")


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (np.zeros((5, 6), np.uint16), "Received: (5, 6) uint16 in AAH1/AAH1_4_rfp_2_rfp.tif"),
        (np.zeros((6, 5), np.uint8), "Received: (6, 5) uint8 in AAH1/AAH1_4_rfp_2_rfp.tif"),
    ],
)
def test_channels_of_a_cell_that_differ_are_refused(
    write_crops: WriteCrops, tmp_path: Path, image: Any, match: str
) -> None:
    root = write_crops()
    tifffile.imwrite(root / "AAH1" / "AAH1_4_rfp_2_rfp.tif", image)
    refused(SourceError, match, source_of(root), tmp_path / "records")


@pytest.mark.parametrize("image", [np.zeros((5, 6), np.uint16), np.zeros((6, 5), np.uint8)])
def test_cells_that_differ_are_refused(write_crops: WriteCrops, tmp_path: Path, image: Any) -> None:
    root = write_crops()
    for channel in ("gfp", "rfp"):
        tifffile.imwrite(root / "AAH1" / f"AAH1_4_rfp_2_{channel}.tif", image)
    match = "(AAH1/AAH1_4_rfp_2_gfp.tif, AAH1/AAH1_4_rfp_2_rfp.tif)"
    refused(SchemaError, match, source_of(root), tmp_path / "records")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_not_finite_are_refused(
    write_crops: WriteCrops, tmp_path: Path, value: float
) -> None:
    root = write_crops(dtype=np.float32)
    path = root / "AAH1" / "AAH1_4_rfp_2_gfp.tif"
    image = tifffile.imread(path)
    image[3, 3] = value
    tifffile.imwrite(path, image)
    refused(SchemaError, "AAH1_4_rfp_2_gfp.tif", source_of(root), tmp_path / "records")


def test_unknown_label_is_refused(write_crops: WriteCrops, tmp_path: Path) -> None:
    source = source_of(write_crops())
    match = "Did you mean 'AAH2'"
    refused(SourceError, match, source, tmp_path / "records", classes=["AAC1", "AAH2"])


def duplicated(root: Path) -> TableSource:
    """A table whose last two rows have the same key but other pixels."""
    table = source_of(root).index()
    for channel in ("gfp", "rfp"):
        table[channel] = [f"{key}_{channel}.tif" for key in table["key"]]
    table.loc[15, "key"] = table["key"][14]
    table.to_csv(root / "cells.csv", index=False)
    return TableSource(root / "cells.csv", {"gfp": "gfp", "rfp": "rfp"})


def test_duplicate_key_is_refused(write_crops: WriteCrops, tmp_path: Path) -> None:
    source = duplicated(write_crops())
    refused(DuplicateKeyError, "AAH1/AAH1_4_rfp_1", source, tmp_path / "records")


def test_without_its_check_a_duplicate_key_passes(
    write_crops: WriteCrops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = duplicated(write_crops())
    monkeypatch.setattr(tfrecords.plan, "check_unique_keys", lambda _: None)
    manifest = build_records(source, tmp_path / "records", label="protein", conditions=CONDITIONS)
    assert len(crops_of(tmp_path / "records", manifest)) == 15


def test_group_in_two_splits_is_refused(write_crops: WriteCrops, tmp_path: Path) -> None:
    source = source_of(write_crops())
    match = "protein='AAC1' in train and validation (2 such groups)"
    refused(SplitError, match, source, tmp_path / "records", group_by=["protein"])


def test_leaking_split_column_is_refused(write_crops: WriteCrops, tmp_path: Path) -> None:
    root = write_crops()
    table = source_of(root).index()
    for channel in ("gfp", "rfp"):
        table[channel] = [f"{key}_{channel}.tif" for key in table["key"]]
    table["split"] = ["train", "test"] * 8
    table.to_csv(root / "cells.csv", index=False)
    source = TableSource(root / "cells.csv", {"gfp": "gfp", "rfp": "rfp"})
    options: dict[str, Any] = {"conditions": None, "group_by": ["protein", "field"]}
    match = "protein='AAC1', field='1' in test and train (8 such groups)"
    refused(SplitError, match, source, tmp_path / "records", **options)


def test_without_its_check_a_leak_passes(
    write_crops: WriteCrops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = deeploc_tf.ingest.plan
    monkeypatch.setattr(module, "check_groups", lambda *_: None)
    manifest = build_records(
        source_of(write_crops()),
        tmp_path / "records",
        label="protein",
        conditions=CONDITIONS,
        group_by=["protein"],
    )
    crops = crops_of(tmp_path / "records", manifest).values()
    assert {split for split, crop in crops if crop.protein == "AAC1"} == set(manifest.split_names)
    with pytest.raises(SplitError):  # the records still know
        verify_deep(tmp_path / "records")


def test_empty_split_is_refused(write_crops: WriteCrops, tmp_path: Path) -> None:
    source = source_of(write_crops())
    output = tmp_path / "records"
    refused(SplitError, "field=9", source, output, conditions={"test": [("field", "9")]})
    everything = {"test": [("field", str(field)) for field in range(1, 5)]}
    refused(SplitError, "none in 'train'", source, output, label=None, conditions=everything)
    fractions = {"train": 0.8, "validation": 0.1, "test": 0.1}
    refused(
        SplitError,
        "none in 'validation'",
        source,
        output,
        conditions=None,
        label=None,
        fractions=fractions,
        group_by=["protein"],
    )


def test_class_without_training_crops_is_refused(write_crops: WriteCrops, tmp_path: Path) -> None:
    source = source_of(write_crops())
    conditions = {"test": [("protein", "AAH1")]}
    refused(SplitError, "none for 'AAH1'", source, tmp_path / "records", conditions=conditions)


def test_two_ways_to_split_are_refused(write_crops: WriteCrops, tmp_path: Path) -> None:
    source = source_of(write_crops())
    options: dict[str, Any] = {"fractions": {"train": 1.0}, "group_by": ["field"]}
    refused(SplitError, "conditions, from fractions or", source, tmp_path / "records", **options)


def test_empty_cell_of_the_split_column_is_refused(write_crops: WriteCrops, tmp_path: Path) -> None:
    root = write_crops(channels=("gfp",))
    table = FolderSource(root, PATTERN, ["gfp"]).index()
    table["path"] = [f"{key}_gfp.tif" for key in table["key"]]
    table["split"] = ["train"] * 15 + [""]
    table.to_csv(root / "cells.csv", index=False)
    source = TableSource(root / "cells.csv", {"gfp": "path"})
    match = "none at key 'AAH1/AAH1_4_rfp_2' (1 of 16 crops)"
    refused(SplitError, match, source, tmp_path / "records", conditions=None)


def test_existing_output_is_refused_and_stays(write_crops: WriteCrops, tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "mine").write_text("mine")
    refused(OutputExistsError, "records", source_of(write_crops()), tmp_path / "records")
    assert (tmp_path / "records" / "mine").read_text() == "mine"


def test_unknown_columns_are_refused(write_crops: WriteCrops, tmp_path: Path) -> None:
    source = source_of(write_crops())
    output = tmp_path / "records"
    refused(TableError, "Did you mean 'field'", source, output, group_by=["feld"])
    refused(TableError, "Did you mean 'cell'", source, output, metadata=["cel"])
    refused(TableError, "The protein column", source, output, protein="gene", label=None)
    options: dict[str, Any] = {"conditions": None, "split_column": "splitt"}
    refused(TableError, "The split column", source, output, **options)


@pytest.mark.real
def test_yeast_crops(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "yeast_crops" / "images"
    manifest = build_records(
        source_of(root), tmp_path / "records", label="protein", conditions=CONDITIONS
    )
    sizes = {split: manifest.num_crops(split) for split in manifest.split_names}
    assert sizes == {"test": 422, "train": 770, "validation": 450}
    proteins = pd.DataFrame({s: c["protein"] for s, c in manifest.counts.items()}).sum(axis=1)
    assert proteins.to_dict() == {"AAC1": 366, "AAC3": 416, "AAH1": 203, "AAP1": 308, "AAR2": 349}
    assert manifest.schema.dtype == "float32"
    crops = crops_of(tmp_path / "records", manifest)
    assert len(crops) == 1642
    for key in sorted(crops)[::149]:
        crop = crops[key][1]
        for number, channel in enumerate(("gfp", "rfp")):
            expected = tifffile.imread(root / f"{key}_{channel}.tif")
            assert expected.dtype == crop.image.dtype
            np.testing.assert_array_equal(crop.image[..., number], expected)
    verify_deep(tmp_path / "records")
