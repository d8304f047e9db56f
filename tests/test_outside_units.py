"""A unit of images is its full path: fields of one number on two plates are two fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shared import run_cli

import tfrecords
from deeploc_tf.pipeline.cell_pairs import Pairs, pair_columns
from deeploc_tf.profiles.change import ChangeSettings, change
from deeploc_tf.profiles.fitting import TransformSettings
from deeploc_tf.profiles.profile import ProfileSettings, profile
from deeploc_tf.profiles.tables import VectorTable, read_table, write_table
from tfrecords.schema import Crop, Schema


def write_cells(path: Path, rows: list[dict[str, Any]], features: list[Any]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    vectors = np.array(features, np.float32)
    names = [f"fc_2_{i}" for i in range(vectors.shape[1])]
    write_table(path, VectorTable(vectors, table, {"kind": "embeddings", "layer": "fc_2"}), names)
    return table.assign(**dict(zip(names, vectors.T, strict=True)))


def images(path: Path, places: dict[str, list[Any]], cells: int = 5) -> pd.DataFrame:
    """Three proteins, on each of them cells of every combination of places, each with a shift."""
    random = np.random.default_rng(0)
    grid = pd.MultiIndex.from_product([["A", "B", "C"], *places.values()])
    rows, features = [], []
    for protein, *values in grid:
        shift = random.normal(size=3) * 3
        for _ in range(cells):
            row = {"key": f"k{len(rows)}", "protein": protein}
            rows.append(row | dict(zip(places, values, strict=True)))
            features.append(shift + random.normal(size=3))
    return write_cells(path, rows, features)


def errors_of_means(cells: pd.DataFrame, unit: list[str]) -> list[float]:
    """Length of the standard errors over the units of each protein."""
    features = [name for name in cells if str(name).startswith("fc_2")]
    means = cells.groupby(["protein", *unit])[features].mean()
    return [
        float(np.sqrt(np.square(of.std(ddof=1) / np.sqrt(len(of))).sum()))
        for _, of in means.groupby(level=0)
    ]


@pytest.mark.parametrize("replicate", ["field", "plate,field", "field,plate"])
@pytest.mark.parametrize(
    "places",
    [
        {"plate": [1, 2], "field": [1, 2]},
        {"plate": ["P1", "P2"], "well": ["A01", "A02"], "field": [1, 2]},
        {"Plate": [1, 2], "Site": [1, 2]},
        {"barcode": ["x", "y"], "well": ["A1"], "field": [1, 2]},
        {"folder": ["day 1", "day 2"], "plate": [1, 2], "field": [1, 2]},
    ],
    ids=["plate", "well", "other names", "barcode", "folder"],
)
def test_errors_of_a_profile_are_of_the_images(
    replicate: str, places: dict[str, list[Any]], tmp_path: Path
) -> None:
    cells = images(tmp_path / "cells.parquet", places)
    first, *_, last = places
    given = replicate.replace("plate", first).replace("field", last)
    done = run_cli(
        "profile", tmp_path / "cells.parquet", tmp_path / "p.parquet", "--replicate", given
    )
    assert done.exit_code == 0, done.output
    table = read_table(tmp_path / "p.parquet")
    assert set(table.metadata["num_replicates"]) == {len(cells) // 15}
    np.testing.assert_allclose(
        table.metadata["standard_error"], errors_of_means(cells, list(places)), rtol=1e-5
    )
    if replicate == "field":
        assert f"{last} means {', '.join(places)} together" in done.stderr
    assert table.provenance["profile"]["replicate_columns"] == list(places)


@pytest.mark.parametrize("method", ["median", "trimmed_mean"])
def test_a_bootstrap_draws_images(method: Any, tmp_path: Path) -> None:
    """Fields with names of their own give the same numbers as those that plates number anew."""
    cells = images(tmp_path / "cells.h5", {"plate": [1, 2, 3], "field": [1, 2]})
    unique = cells[["key", "protein"]].assign(
        image=cells["plate"].astype(str) + "-" + cells["field"].astype(str)
    )
    features = cells.filter(like="fc_2").to_numpy()
    write_cells(tmp_path / "unique.h5", unique.to_dict("records"), list(features))
    found = []
    for name, column in (("cells", "field"), ("unique", "image")):
        settings = ProfileSettings(method, replicate=column, num_resamples=20, intervals=True)
        profile(tmp_path / f"{name}.h5", tmp_path / f"{name}-p.h5", settings)
        found.append([read_table(tmp_path / f"{name}-p{end}.h5") for end in ("", ".low", ".high")])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours.features, theirs.features)
        pd.testing.assert_frame_equal(ours.metadata, theirs.metadata)


def test_cells_without_a_field_are_no_replicate_and_counted(tmp_path: Path) -> None:
    cells = images(tmp_path / "cells.h5", {"plate": ["1", "2"], "field": ["1", "2"]})
    rows = cells[["key", "protein", "plate", "field"]].copy()
    rows.loc[:2, "field"] = ""
    rows.loc[50:51, "protein"] = ""
    features = cells.filter(like="fc_2").to_numpy()
    write_cells(tmp_path / "some.h5", rows.to_dict("records"), list(features))
    done = run_cli("profile", tmp_path / "some.h5", tmp_path / "p.h5", "--replicate", "field")
    assert done.exit_code == 0, done.output
    assert "3 cells have no value of plate, field and were left out." in done.stderr
    assert "2 cells name no protein and were left out." in done.stderr
    table = read_table(tmp_path / "p.h5")
    assert table.metadata["num_replicates"].tolist() == [4, 4, 4]
    assert table.metadata["num_crops"].sum() == 55
    assert table.provenance["left_out"] == {
        "cells_undefined": 0,
        "cells_without_protein": 2,
        "cells_without_replicate": 3,
        "proteins_with_too_few_cells": [],
    }


def test_a_column_without_any_value_is_no_place(tmp_path: Path) -> None:
    """`predict` always writes `well`, also where no file has one."""
    cells = images(tmp_path / "cells.h5", {"well": [""], "field": ["1", "2"]})
    done = run_cli("profile", tmp_path / "cells.h5", tmp_path / "p.h5", "--replicate", "field")
    assert done.exit_code == 0, done.output
    assert read_table(tmp_path / "p.h5").metadata["num_crops"].sum() == len(cells)


def screens(folder: Path, *, by_plate: bool) -> list[Path]:
    """60 proteins, two fields on each of three plates; six proteins moved in the second screen."""
    base = np.random.default_rng(9).normal(size=(60, 8)) * 3
    paths = []
    for treated in (0, 1):
        random = np.random.default_rng(treated)
        rows, features = [], []
        for protein in range(60):
            for plate in (1, 2, 3):
                for field in (1, 2):
                    shift = random.normal(size=8) * 0.7
                    for _ in range(4):
                        image = str(field) if by_plate else f"{plate}.{field}"
                        row = {"key": f"k{len(rows)}", "protein": f"P{protein:02d}"}
                        rows.append(row | {"plate": plate, "field": image})
                        moved = 4.0 * (treated and protein < 6)
                        features.append(
                            base[protein] + shift + random.normal(size=8) + moved * np.eye(8)[0]
                        )
        paths.append(folder / f"{'treated' if treated else 'untreated'}.parquet")
        write_cells(paths[-1], rows, features)
    return paths


def test_fields_of_one_number_on_three_plates_are_three_replicates(tmp_path: Path) -> None:
    paths = screens(tmp_path, by_plate=True)
    done = run_cli("change", *paths, tmp_path / "changes.csv", "--replicate", "field")
    assert done.exit_code == 0, done.output
    assert "field means plate, field together" in done.stderr
    table = pd.read_csv(tmp_path / "changes.csv")
    assert set(table["replicates_untreated"]) == set(table["replicates_treated"]) == {6}
    assert sorted(table["protein"][table["moved"]]) == [f"P{i:02d}" for i in range(6)]
    summary = json.loads((tmp_path / "changes.json").read_text())
    assert summary["screens"]["treated"]["replicate_columns"] == ["plate", "field"]


def test_named_uniquely_or_by_plate_fields_give_the_same_changes(tmp_path: Path) -> None:
    found = []
    for by_plate in (True, False):
        folder = tmp_path / str(by_plate)
        folder.mkdir()
        paths = screens(folder, by_plate=by_plate)
        found.append(change(*paths, settings=ChangeSettings(replicate=("field",))).table)
    pd.testing.assert_frame_equal(found[0], found[1])


def test_groups_of_normalization_are_full_paths(tmp_path: Path) -> None:
    images(tmp_path / "cells.h5", {"folder": ["a", "b"], "plate": [1, 2]})
    fit = TransformSettings("center", by=("plate",))
    written = profile(tmp_path / "cells.h5", tmp_path / "p.h5", fit=fit)
    assert written.transform is not None
    assert written.transform.normalization is not None
    assert written.transform.normalization.groups == ("a/1", "a/2", "b/1", "b/2")
    assert written.transform.normalization.by == ("folder", "plate")


def test_values_with_a_slash_do_not_make_two_groups_one(tmp_path: Path) -> None:
    rows = [
        {"key": f"k{i}", "protein": "A", "plate": plate, "field": field}
        for i, (plate, field) in enumerate([("1/2", "3"), ("1", "2/3"), ("1", "4")])
    ]
    write_cells(tmp_path / "cells.h5", rows, list(np.eye(3)))
    done = run_cli("profile", tmp_path / "cells.h5", tmp_path / "p.h5", "--replicate", "field")
    assert done.exit_code == 1
    assert "1/2/3" in done.stderr


def test_wells_and_fields_in_two_spellings_are_one(tmp_path: Path) -> None:
    rows = [
        {"key": f"k{i}", "protein": "A", "well": well, "field": field}
        for i, (well, field) in enumerate([("A1", "1"), ("A01", "01"), ("b2", "1"), ("B02", "1")])
    ]
    write_cells(tmp_path / "cells.h5", rows, list(np.eye(4)))
    done = run_cli("profile", tmp_path / "cells.h5", tmp_path / "p.h5", "--replicate", "field")
    assert done.exit_code == 0, done.output
    assert read_table(tmp_path / "p.h5").metadata["num_replicates"].tolist() == [2]
    assert "'A1'" in done.stderr


def records(folder: Path, metadata: dict[str, str], group_by: tuple[str, ...]) -> Any:
    """One protein; field 1 on two plates, in two wells each; three cells of each image."""
    schema = Schema(
        (4, 4, 2),
        "uint16",
        ("gfp", "rfp"),
        False,
        ("one", "two"),
        metadata=metadata,  # type: ignore[arg-type]
    )
    crops = []
    for plate in ("p1", "p2"):
        for well in ("A01", "B02"):
            for cell in range(3):
                values: dict[str, Any] = {"plate": plate, "well": well, "field": 1}
                crops.append(
                    Crop(
                        key=f"{plate}/{well}/{cell}",
                        image=np.full((4, 4, 2), len(crops), np.uint16),
                        labels=(cell % 2,),
                        protein="A",
                        metadata={name: values[name] for name in metadata},
                    )
                )
    entries = [tfrecords.Entry(crop.key, "train", crop.labels, crop.protein) for crop in crops]
    return tfrecords.write_records(folder, schema, entries, crops, group_by=group_by)


@pytest.mark.parametrize(
    ("metadata", "group_by", "pair_by", "columns", "groups"),
    [
        ({"field": "int64", "plate": "text"}, (), (), ("protein", "plate", "field"), 2),
        (
            {"field": "int64", "well": "text", "plate": "text"},
            ("field",),
            (),
            ("protein", "plate", "well", "field"),
            4,
        ),
        (
            {"field": "int64", "well": "text", "plate": "text"},
            (),
            ("protein", "well"),
            ("protein", "plate", "well"),
            4,
        ),
        ({"field": "int64", "plate": "text"}, ("plate",), ("protein",), ("protein",), 1),
    ],
)
def test_cells_of_two_plates_are_not_paired(
    metadata: dict[str, str],
    group_by: tuple[str, ...],
    pair_by: tuple[str, ...],
    columns: tuple[str, ...],
    groups: int,
    tmp_path: Path,
) -> None:
    manifest = records(tmp_path / "records", metadata, group_by)
    assert pair_columns(manifest, pair_by) == columns
    pairs = Pairs(tmp_path / "records", "train", min_cells=2, pair_by=pair_by)
    assert pairs.num_pairs == 12
    for epoch in range(3):
        for text in pairs.keys(12, epoch=epoch, step=0, seed=1):
            source, target = (key.split("/") for key in text.split(" with "))
            shared = len([c for c in columns if c in ("plate", "well")])
            assert shared == 0 or source[:shared] == target[:shared]
    assert f"in {groups} groups" in pairs.describe()


@pytest.mark.parametrize("group", ["field", "plate,field"])
def test_cells_are_scored_by_whole_fields_of_a_plate(group: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows, features = [], []
    for plate in (1, 2):
        for field in (1, 2):
            for label in ("nucleus", "cytoplasm"):
                for _ in range(4):
                    row = {"key": f"k{len(rows)}", "protein": "A", "label": label}
                    rows.append(row | {"plate": plate, "field": field})
                    features.append(random.normal(size=3) + 5 * (label == "nucleus"))
    write_cells(tmp_path / "cells.h5", rows, features)
    proteins = pd.DataFrame({"protein": list("ABCD")})
    table = VectorTable(random.normal(size=(4, 3)).astype("f4"), proteins, {"kind": "profiles"})
    write_table(tmp_path / "p.h5", table, ["x", "y", "z"])
    (tmp_path / "s.gmt").write_text("one\tx\tA\tB\ntwo\tx\tC\tD\n")
    words = [tmp_path / "p.h5", tmp_path / "out", "--standard", tmp_path / "s.gmt"]
    done = run_cli(
        "benchmark", *words, "--cell-vectors", tmp_path / "cells.h5", "--hold-out", group, "--json"
    )
    assert done.exit_code == 0, done.output
    (scores,) = json.loads(done.stdout)["cells"]
    assert scores["groups"] == 4
    assert scores["group"] == "plate,field"


@pytest.mark.parametrize(
    ("columns", "known", "path"),
    [
        (("field",), ("key", "field"), ("field",)),
        (("field",), ("field", "plate"), ("plate", "field")),
        (("field",), ("Site", "field", "Plate_ID", "WellName"), ("Plate_ID", "WellName", "field")),
        (("well",), ("folder", "plate", "well", "field"), ("folder", "plate", "well")),
        (("plate",), ("plate", "well", "field"), ("plate",)),
        (("protein", "field"), ("protein", "plate", "field"), ("protein", "plate", "field")),
        (("dose", "plate"), ("dose", "plate", "well"), ("dose", "plate")),
        (("field",), ("row", "column", "field", "plate"), ("plate", "row", "column", "field")),
        (("field",), ("well", "row", "column", "field"), ("well", "field")),
        (("field",), ("row", "field"), ("field",)),
    ],
)
def test_the_path_of_a_unit(
    columns: tuple[str, ...], known: tuple[str, ...], path: tuple[str, ...]
) -> None:
    from deeploc_tf.units import whole_path

    assert whole_path(columns, known) == path
