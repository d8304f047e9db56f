"""A data set knows plate > well > field > cell: by names, from folders, or as a person says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared import run_cli

from deeploc_tf.ingest import plan_records
from deeploc_tf.profiles.tables import VectorTable, read_table, write_table
from deeploc_tf.sources import FolderSource, SourceError, TableSource
from deeploc_tf.units import UnitError, check_unit, places_of
from tfrecords.errors import DuplicateKeyError
from tfrecords.manifest import read_manifest
from tfrecords.verify import verify_deep


def write_crops(folder: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(1, 4000, (8, 8), "uint16")
        with (folder / name).open("wb") as file:
            np.save(file, pixels)
    return folder


def table_of(folder: Path, **columns: Any) -> TableSource:
    count = len(next(iter(columns.values())))
    names = [f"{i}.npy" for i in range(count)]
    pd.DataFrame({"path": names, **columns}).to_csv(folder / "t.csv", index=False)
    return TableSource(write_crops(folder, names) / "t.csv", {"gfp": "path"})


DISKS = {
    "disk": ["A", "A", "B", "B"], "position": ["x", "y", "x", "y"], "scan": ["1", "2", "1", "02"],
}  # fmt: skip


def test_columns_are_named_as_plate_well_and_field(tmp_path: Path) -> None:
    table_of(tmp_path, **{**DISKS, "position": ["A1", "A1", "a01", "A1"]}, dose=[0, 0, 1, 1])
    (tmp_path / "labels.csv").write_text("disk,loc\nA,ER\nB ,Golgi\n")
    words = [
        "build-records", tmp_path / "t.csv", tmp_path / "records", "--image-column", "gfp=path",
        "--plate", "disk", "--well", "position", "--field", "scan", "--group", "scan",
        "--label-table", tmp_path / "labels.csv", "--label", "loc", "--label-key", "disk",
        "--metadata", "disk,position,scan",
    ]  # fmt: skip
    done = run_cli(*words, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "groups of one plate, well, field" in done.stdout
    done = run_cli(*words)
    assert done.exit_code == 0, done.output
    assert "Column 'disk' is taken as 'plate'." in done.stderr
    manifest = verify_deep(tmp_path / "records")
    assert manifest.units == manifest.group_by == ("plate", "well", "field")
    assert list(manifest.schema.metadata) == ["plate", "well", "field"]
    (join,) = manifest.sources[0]["joins"]
    assert (join["data"], join["data_matched"], join["respelled"]) == (2, 2, 1)
    assert (
        "units     plate > well > field > cell" in run_cli("inspect", tmp_path / "records").stdout
    )
    done = run_cli("inspect", tmp_path / "records", "--json")
    assert json.loads(done.stdout)["units"] == ["plate", "well", "field"]


def test_conditions_and_groups_know_both_names(tmp_path: Path) -> None:
    source = table_of(tmp_path, **DISKS)
    for name in ("disk", "plate"):
        plan = plan_records(source, plate="disk", conditions={"test": [(name, "B")]})
        assert [entry.split for entry in plan.layout.entries] == ["train"] * 2 + ["test"] * 2
        assert plan.group_by == ("plate",)
    plan = plan_records(source, plate="Disk", group_by=["plate"])
    assert plan.units == ("plate", "position")


@pytest.mark.parametrize(
    "places", [{"plate": "disk"}, {"well": "disk", "field": "disk"}, {"plate": "rack"}]
)
def test_places_that_cannot_be_are_refused(places: dict[str, str], tmp_path: Path) -> None:
    source = table_of(tmp_path, disk=["A", "B"], plate=["1", "2"])
    with pytest.raises(ValueError, match=r"column of the (plate|field) must be"):
        plan_records(source, **places)  # type: ignore[arg-type]


def test_names_of_a_plate_that_was_named_are_those_of_plates(tmp_path: Path) -> None:
    source = table_of(tmp_path, disk=["A", "a"])
    plan_records(source)
    with pytest.raises(SourceError, match="'A' and 'a'"):
        plan_records(source, plate="disk")


def test_scans_that_folders_number_anew_are_refused_by_themselves(tmp_path: Path) -> None:
    names = [f"{box}/scan{scan}_{c}_gfp.npy" for box in (1, 2) for scan in (1, 2) for c in (1, 2)]
    write_crops(tmp_path, names)
    pattern = "{box}/scan{scan}_{cell}_{channel}.npy"
    source = FolderSource(tmp_path, pattern, ("gfp",))
    with pytest.raises(UnitError, match=r"scan '1' under box '1', '2' \(2 of 2 come again\)"):
        plan_records(source, group_by=["scan"])
    assert plan_records(source, group_by=["box", "scan"]).group_by == ("box", "scan")
    plan = plan_records(source, group_by=["scan"], plate="box", field="scan")
    assert plan.group_by == plan.units == ("plate", "field")


@pytest.mark.parametrize(
    ("columns", "refused"),
    [
        ({"box": ["A", "A", "B", "B"], "scan": [1, 2, 1, 2]}, True),
        ({"box": ["A", "A", "B", "B"], "scan": [1, 2, 3, 4]}, False),
        ({"slide": ["A", "A", "B", "B"], "tile": [1, 2, 1, 2]}, False),  # together
        ({"plate": ["A", "A", "B", "B"], "scan": ["s1", "s2", "s1", "s2"]}, True),
        ({"plate": ["A", "A", "B", "B"], "donor": [1, 2, 1, 2]}, False),  # one on both
        ({"drug": ["A", "A", "B", "B"], "scan": [1, 2, 1, 2]}, False),
        ({"gene": ["A", "A", "B", "B"], "scan": [1, 2, 1, 2]}, False),
        ({"area": [1.5, 1.5, 2.5, 2.5], "scan": [1, 2, 1, 2]}, False),
        ({"scan": [1, 2, 1, 2], "box": ["A", "A", "B", "B"]}, False),  # the box may be below
        ({"box": ["A", "A", "B", "B"], "well": ["A1", "B1", "A01", "B1"]}, True),
    ],
    ids=str,
)
def test_replicates_that_are_numbered_anew_are_refused(
    columns: dict[str, list[Any]], refused: bool, tmp_path: Path
) -> None:
    rows = [
        {"key": f"k{i}-{p}-{c}", "protein": p, **{n: v[i] for n, v in columns.items()}}
        for p in ("ACT1", "ABP1") for i in range(4) for c in range(3)
    ]  # fmt: skip
    vectors = np.random.default_rng(0).normal(size=(len(rows), 2)).astype("f4")
    table = VectorTable(vectors, pd.DataFrame(rows), {"kind": "embeddings"})
    write_table(tmp_path / "cells.parquet", table, ["a", "b"])
    *_, unit = (n for n in columns if n not in ("box", "plate", "slide", "drug", "gene", "area"))
    words = ["profile", tmp_path / "cells.parquet", tmp_path / "p.parquet", "--replicate"]
    done = run_cli(*words, unit, "--quiet")
    above, _ = columns
    if not refused:
        assert done.exit_code == 0, done.output
        return
    assert done.exit_code == 1
    assert f"under {above} 'A', 'B'" in done.stderr
    done = run_cli(*words, f"{above},{unit}", "--quiet")
    assert done.exit_code == 0, done.output
    assert read_table(tmp_path / "p.parquet").metadata["num_replicates"].tolist() == [4, 4]


@given(
    boxes=st.integers(2, 4),
    scans=st.integers(1, 4),
    cells=st.integers(2, 3),
    anew=st.booleans(),
    shuffle=st.randoms(use_true_random=False),
)
def test_units_that_are_numbered_anew_are_found_in_any_order(
    boxes: int, scans: int, cells: int, anew: bool, shuffle: Any
) -> None:
    rows = [
        (f"box {box}", str(scan if anew else box * scans + scan))
        for box in range(boxes) for scan in range(scans) for _ in range(cells)
    ]  # fmt: skip
    shuffle.shuffle(rows)
    values = dict(zip(("box", "scan"), map(list, zip(*rows, strict=True)), strict=True))
    if anew:
        with pytest.raises(UnitError, match="scan '0' under box"):
            check_unit(["scan"], values.__getitem__, values, "`replicate`")
    else:
        check_unit(["scan"], values.__getitem__, values, "`replicate`")
    check_unit(["box", "scan"], values.__getitem__, values, "`replicate`")


def test_places_are_found_by_their_names_from_the_top_down() -> None:
    names = ["key", "Site", "Metadata_Well", "x", "barcode", "protein", "screen"]
    assert places_of(names) == ("screen", "barcode", "Metadata_Well", "Site")


def test_keys_that_differ_in_nothing_that_is_seen_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DuplicateKeyError, match="nothing that can be seen"):
        plan_records(table_of(tmp_path, key=["a", "a "]))
    plan = plan_records(table_of(tmp_path, key=["a", "A", "01", "1", "1.0"]))
    assert [entry.key for entry in plan.layout.entries] == ["a", "A", "01", "1", "1.0"]


def test_records_of_a_data_set_without_places_have_no_units(tmp_path: Path) -> None:
    table_of(tmp_path, protein=["ACT1", "ABP1"], plate=[None, None])
    words = ["build-records", tmp_path / "t.csv", tmp_path / "r", "--image-column", "gfp=path"]
    assert run_cli(*words, "--quiet").exit_code == 0
    assert read_manifest(tmp_path / "r").units == ()
    assert "units" not in json.loads((tmp_path / "r/manifest.json").read_text())
