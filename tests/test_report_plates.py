"""Plates: counts and medians by well, heat maps, and effects of edges and plates on controls."""

from __future__ import annotations

import functools
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_run import make_evaluation, make_run
from scipy.stats import mannwhitneyu
from shared import run_cli

import tfrecords
from deeploc_tf.report.plates import plate_calls, plate_map
from deeploc_tf.report.run_page import write_report
from deeploc_tf.report.wells import (
    joined_wells,
    permutation_p_value,
    place_effects,
    read_predictions,
    wells_of,
    with_left_out,
)
from tfrecords.schema import Crop, Schema

pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")
pytest.importorskip("jinja2", reason="jinja2 is in the extra report")

report = functools.partial(run_cli, "report")
NAMES = [f"{row}{column:02}" for row in "ABCDEFGH" for column in range(1, 13)]
EDGE = [name for name in NAMES if name[0] in "AH" or name[1:] in ("01", "12")]


def screen(
    plates: int = 2, cells: int = 5, edge: float = 0.0, of_plate: float = 0.0, **more: Any
) -> pd.DataFrame:
    """Cells of whole 96-well plates whose focus depends on the edge and on the plate."""
    random = np.random.default_rng(more.pop("seed", 0))
    rows = [
        {
            "key": f"{plate}/{well}/{cell}",
            "plate": f"P{plate}",
            "well": well,
            "protein": "WT" if NAMES.index(well) % 3 == 0 else f"Y{NAMES.index(well)}",
            "focus": value + 0.01 * cell,
            "call": ["ER", "nucleus"][NAMES.index(well) % 2],
        }
        for plate in range(plates)
        for well in NAMES
        for value in [random.normal() + edge * (well in EDGE) + of_plate * plate]
        for cell in range(cells)
    ]
    return pd.DataFrame(rows).assign(**more)


def test_wells_are_counted_and_medians_are_over_their_cells() -> None:
    cells = screen(1)
    cells["refused share"] = np.arange(len(cells)) % 4 == 0
    found = wells_of(cells, {"protein": ("WT",)})
    assert found.shape == (8, 12)
    assert found.measures == ("cells", "focus", "refused share", "share called ER")
    assert len(found.table) == 96
    for row in found.table.iloc[[0, 7, 50]].itertuples():
        mine = cells[cells["well"] == row.well]
        assert (row.cells, row.call) == (5, mine["call"].iloc[0])
        assert row.focus == pytest.approx(mine["focus"].median())
        assert row._5 == pytest.approx(mine["refused share"].mean())
        assert row.is_control == (mine["protein"] == "WT").all()
        assert NAMES[12 * row.row + row.column] == row.well
    assert found.table["well"][found.is_edge].tolist() == EDGE


@pytest.mark.parametrize(
    ("columns", "wells", "shape"),
    [
        ({"well": ["a1", "A01", "h12", "B2"]}, ["A01", "A01", "H12", "B02"], (8, 12)),
        ({"Metadata_Well": ["R01C01", "P24", "A1", "A1"]}, ["A01", "P24", "A01", "A01"], (16, 24)),
        ({"row": [1, 2, 3, 1], "column": [1, 2, 30, 1]}, ["A01", "B02", "C30", "A01"], (32, 48)),
        ({"row": list("ABCA"), "col": [1.0, 2, 12, 1]}, ["A01", "B02", "C12", "A01"], (8, 12)),
        ({"well": ["A1", "control", "", None]}, ["A01", "", "", ""], (8, 12)),
    ],
)  # fmt: skip
def test_wells_are_known_in_many_spellings(columns: Any, wells: list[str], shape: Any) -> None:
    found = wells_of(pd.DataFrame({"key": list("abcd"), **columns}), {})
    assert found.shape == shape
    assert dict(zip(found.table["well"], found.table["cells"], strict=True)) == {
        name: wells.count(name) for name in sorted(set(wells)) if name
    }
    assert [note for note in found.notes if "of no well" in note] != [] or "" not in wells


def test_wells_of_one_name_on_two_plates_are_two() -> None:
    cells = pd.DataFrame({"screen": list("aabb"), "plate": [1, 2, 1, 1], "well": "A01"})
    assert wells_of(cells, {}).table[["plate", "cells"]].to_numpy().tolist() == [
        ["a/1", 1],
        ["a/2", 1],
        ["b/1", 2],
    ]


@pytest.mark.parametrize(
    ("cells", "controls", "message"),
    [
        (pd.DataFrame({"key": ["a"], "field": ["1"]}), {}, "must have a column of wells"),
        (pd.DataFrame({"key": ["a"], "well": ["here"]}), {}, "must be of wells of a plate"),
        (pd.DataFrame({"key": [], "well": []}), {}, "must be of wells of a plate"),
        (screen(1), {"protien": ("WT",)}, "Did you mean 'protein'"),
        (screen(1), {"protein": ("wild type",)}, "protein='wild type'"),
    ],
)
def test_what_names_no_wells_or_no_controls_is_refused(
    cells: pd.DataFrame, controls: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        wells_of(cells, controls)


@pytest.mark.parametrize("seed", range(4))
def test_p_values_of_two_groups_are_those_of_the_exact_rank_test(seed: int) -> None:
    random = np.random.default_rng(seed)
    values, groups = random.normal(size=11), np.array([0] * 5 + [1] * 6)
    values[groups == 1] += 0.5 * seed
    exact = mannwhitneyu(values[:5], values[5:], method="exact").pvalue
    found = permutation_p_value(values, groups, np.zeros(11, int), random)
    assert found == pytest.approx(exact, abs=0.02)


def test_nothing_is_found_in_a_twentieth_of_screens_with_nothing_in_them() -> None:
    random = np.random.default_rng(0)
    groups, strata = np.tile([0, 0, 0, 0, 1, 1, 1], 3), np.repeat([0, 1, 2], 7)
    levels = 5 * strata  # plates differ, edges do not
    p = np.array(
        [
            permutation_p_value(random.normal(size=21) + levels, groups, strata, random)
            for _ in range(60)
        ]
    )
    assert (p < 0.05).mean() < 0.12
    assert 0.3 < np.median(p) < 0.7


@pytest.mark.parametrize(("edge", "of_plate"), [(3.0, 0.0), (0.0, 3.0)])
def test_edges_and_plates_are_told_apart(edge: float, of_plate: float) -> None:
    found = place_effects(wells_of(screen(3, 2, edge, of_plate), {"protein": ("WT",)}))
    found = found[found["measure"] == "focus"].set_index("effect")
    assert (found["p"]["edge"] < 0.001) == bool(edge)
    assert (found["p"]["plate"] < 0.001) == bool(of_plate)
    assert found["difference"]["edge"] == pytest.approx(edge, abs=0.7)
    assert (found["adjusted p"] >= found["p"]).all()
    inner = [name for name in NAMES[::3] if name not in EDGE]
    assert found["wells"]["edge"] == f"{96 - 3 * len(inner)} edge, {3 * len(inner)} inner"
    assert found["wells"]["plate"] == "96 on 3 plates"


def test_more_cells_of_a_well_are_no_more_observations() -> None:
    few, many = (
        place_effects(wells_of(screen(2, cells, 0.5), {"protein": ("WT",)})) for cells in (1, 9)
    )
    assert few["p"].tolist() == many["p"].tolist()


def test_one_control_well_is_compared_with_none() -> None:
    cells = screen(1)
    assert place_effects(wells_of(cells, {"well": ("B02",)})).empty
    assert place_effects(wells_of(cells, {})).empty


def test_two_tables_of_the_same_wells_are_one() -> None:
    predicted = wells_of(screen(1).drop(columns="focus"), {"protein": ("WT",)})
    measured = wells_of(screen(1, 3).drop(columns="call"), {"protein": ("WT",)})
    both = joined_wells(predicted, measured)
    assert both.measures == ("cells", "share called ER", "focus")
    assert (both.table["cells"] == 5).all()
    assert both.table["focus"].notna().all()
    assert both.table["is_control"].tolist() == predicted.table["is_control"].tolist()


def test_a_heat_map_has_a_color_for_each_well_and_none_elsewhere() -> None:
    cells = screen(2)
    found = wells_of(cells[cells["well"] != "C05"], {})
    first, second, _ = plate_map(found, "focus").axes
    for axes, plate in ((first, "P0"), (second, "P1")):
        assert axes.get_title(loc="left") == plate
        grid = axes.images[0].get_array()
        rows = found.table[found.table["plate"] == plate]
        assert grid.shape == (8, 12)
        assert grid.mask.sum() == 1
        assert grid.mask[2, 4]
        np.testing.assert_allclose(grid[rows["row"], rows["column"]], rows["focus"])
    names = [text.get_text() for text in plate_calls(found).legends[0].get_texts()]
    assert names == ["ER", "nucleus"]


def test_equal_wells_have_one_color_on_all_plates() -> None:
    first, second, _ = plate_map(wells_of(screen(2, confidence=0.75), {}), "confidence").axes
    colors = [axes.images[0].to_rgba(axes.images[0].get_array())[0, 0] for axes in (first, second)]
    np.testing.assert_array_equal(*colors)


def write_predictions(folder: Path, cells: pd.DataFrame) -> Path:
    folder.mkdir()
    flags = ["touches another cell" if i % 5 == 0 else "" for i in range(len(cells))]
    table = cells.drop(columns="focus").assign(flags=flags, confidence=0.75, probability_ER=0.5)
    table.to_parquet(folder / "cells.parquet", index=False)
    (folder / "predict.json").write_text(json.dumps({"wells_by": ["plate", "well"]}))
    wells = cells.groupby(["plate", "well"]).size().rename("num_cells").reset_index()
    wells.assign(num_left_out=0, localizations="").to_csv(folder / "wells.csv", index=False)
    return folder


def test_cells_that_were_left_out_are_refused_ones(tmp_path: Path) -> None:
    cells = pd.DataFrame({"plate": "1", "well": ["A1", "A1", "A1", "B2"], "focus": 1.0})
    folder = write_predictions(tmp_path / "calls", cells)
    wells = [("1", "A1", 3, 1, ""), ("1", "B2", 1, 0, ""), ("1", "C3", 0, 7, "")]
    columns = ["plate", "well", "num_cells", "num_left_out", "localizations"]
    pd.DataFrame(wells, columns=columns).to_csv(folder / "wells.csv", index=False)
    found = with_left_out(wells_of(read_predictions(folder), {}), folder)
    assert found.table[["well", "cells", "refused share"]].to_numpy().tolist() == [
        ["A01", 3.0, 0.5],  # one of three has a flag, and one was left out
        ["B02", 1.0, 0.0],
    ]
    assert "1 wells have no cell that was classified" in found.notes[-1]


def run_of_wells(folder: Path) -> None:
    """Records of four wells of a plate, half of them controls, a run and its evaluation."""
    schema = Schema(
        image_shape=(8, 8, 2), dtype="uint16", channels=("<GFP>", "rfp"), has_mask=True,
        label_names=("ER", "nucleus"), metadata={"plate": "text", "well": "text"},
    )  # fmt: skip
    random = np.random.default_rng(0)
    crops = [
        Crop(
            key=f"c{i}",
            image=random.integers(0, 900, (8, 8, 2), "uint16"),
            mask=np.eye(8, dtype="uint8"),
            labels=(i % 2,),
            protein="WT" if i % 4 < 2 else "AAC1",
            metadata={"plate": "1", "well": ["A1", "B2", "C3", "D4"][i % 4]},
        )
        for i in range(24)
    ]
    entries = [
        tfrecords.Entry(crop.key, "test" if i < 12 else "train", crop.labels, crop.protein)
        for i, crop in enumerate(crops)
    ]
    make_run(folder / "run", tfrecords.write_records(folder / "records", schema, entries, crops))
    make_evaluation(folder / "evaluation", folder / "records")


def test_the_report_shows_plates_of_predictions(tmp_path: Path) -> None:
    run_of_wells(tmp_path)
    folder = write_predictions(tmp_path / "calls", screen(2))
    words = ("--predictions", folder, "--controls", "protein=WT")
    done = report(tmp_path / "run", tmp_path / "r.html", *words)
    assert done.exit_code == 0, done.output
    page = html.unescape((tmp_path / "r.html").read_text("utf-8"))
    assert "192 wells on 2 plates" in page
    assert "64 control wells" in page
    alts = re.findall(r'alt="(\S+).* by well', page)
    assert alts == ["cells", "confidence", "refused", "share"]
    assert "Intensity and focus by well: run" in done.stderr
    done = report(tmp_path / "run", tmp_path / "r.html", "--predictions", folder)
    assert "--controls COLUMN=VALUE" in done.stderr
    assert "Edges and plates" not in (tmp_path / "r.html").read_text("utf-8")


def test_the_report_shows_plates_of_records(tmp_path: Path) -> None:
    run_of_wells(tmp_path)
    missing = write_report(
        tmp_path / "r.html",
        tmp_path / "run",
        records=tmp_path / "records",
        evaluation=tmp_path / "evaluation",
        controls={"protein": ["WT"]},
    )
    page = html.unescape((tmp_path / "r.html").read_text("utf-8"))
    assert "4 wells on 1 plate." in page
    assert re.findall(r'alt="(.*?) by well, from', page) == [
        *("cells", "intensity of <GFP>", "intensity of rfp", "focus", "confidence"),
        *re.findall(r'alt="(share called \w+) by', page),
    ]
    assert "2 control wells" in page
    assert [text for text in missing if text.startswith("Refused cells by well")]


def test_a_folder_of_other_things_is_no_prediction(tmp_path: Path) -> None:
    (tmp_path / "predict.json").write_text("{}")
    with pytest.raises(ValueError, match="must be those that `predict` wrote"):
        read_predictions(tmp_path)
