"""Two tables with names in common: matched as people mean it; what does not match is reported."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from shared import run_cli

from deeploc_tf.benchmark.comparable import comparable
from deeploc_tf.benchmark.standards import Standard, StandardError, annotate
from deeploc_tf.joins import JoinError
from deeploc_tf.profiles.tables import VectorTable, write_table

GOLDEN = Path(__file__).parent / "golden" / "savedmodel_v2"


@pytest.fixture(scope="module")
def model(tmp_path_factory: Any) -> Path:
    """Of crops of 14 x 14, gfp and rfp, without masks."""
    folder: Path = tmp_path_factory.mktemp("golden")
    shutil.unpack_archive(GOLDEN / "keras3_image.zip", folder)
    return folder / "model"


def write_fields(folder: Path, stems: list[str]) -> Path:
    """A field of two cells for each stem, such as `plate1/A1_1`."""
    labels = np.zeros((20, 40), np.uint16)
    labels[8:12, 8:12], labels[8:12, 28:32] = 1, 2
    for number, stem in enumerate(stems):
        (folder / stem).parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(number)
        for channel in ("gfp", "rfp"):
            image = random.integers(0, 200, labels.shape).astype(np.uint16)
            tifffile.imwrite(folder / f"{stem}-{channel}.tif", image)
        tifffile.imwrite(folder / f"{stem}_labels.tif", labels)
    return folder


def predict(model: Path, *words: object, pattern: str = "{well}_{field}") -> Any:
    return run_cli(
        "predict", model, *words, "--pattern", pattern + "-{channel}.tif", "--label-image",
        pattern + "_labels.tif",
    )  # fmt: skip


def test_wells_of_a_plate_map_are_matched_in_any_spelling(model: Path, tmp_path: Path) -> None:
    fields = write_fields(tmp_path / "fields", ["A1_1", "a2_1", "r01c03_1", "A10_1", "B1_1"])
    rows = "Well,protein\nA01,P1\nA02,P2\nA03,P3\nA10,P10\nH12,Q\n"
    (tmp_path / "wells.csv").write_text(rows)
    words = (model, fields, tmp_path / "out", "--plate-map", tmp_path / "wells.csv")
    done = predict(*words)
    assert done.exit_code == 1
    assert "'B1' (1 of 5) without a partner" in done.stderr
    done = predict(*words, "--allow-unmatched", 1)
    assert done.exit_code == 0, done.output
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    found = dict(zip(cells["well"], cells["protein"], strict=True))
    assert found == {"A1": "P1", "a2": "P2", "r01c03": "P3", "A10": "P10", "B1": ""}
    assert "8 of 10 cells" in done.stderr
    assert "'B1'" in done.stderr
    assert "'H12'" in done.stderr
    proteins = pd.read_csv(tmp_path / "out" / "proteins.csv")
    assert dict(zip(proteins["protein"], proteins["num_cells"], strict=True)) == {
        "P1": 2, "P10": 2, "P2": 2, "P3": 2,
    }  # fmt: skip
    stored = json.loads((tmp_path / "out" / "predict.json").read_text())["plate_map"]
    assert stored["cells"] == 10
    assert stored["cells_matched"] == 8
    assert stored["columns"] == ["well"]
    assert stored["cells_without_row"] == {"count": 1, "some": ["B1"]}
    assert stored["rows_without_cells"] == {"count": 1, "some": ["H12"]}
    assert "no protein" in done.stdout


def test_a_plate_map_of_several_plates_is_matched_by_plate_and_well(
    model: Path, tmp_path: Path
) -> None:
    fields = write_fields(tmp_path / "fields", ["p1/A1_1", "p1/A2_1", "p2/A1_1"])
    text = "plate,well,protein\np1 ,A01,one\np2,A01,two\np1,A02,three\n"
    (tmp_path / "wells.csv").write_text(text)
    done = predict(
        model, fields, tmp_path / "out", "--plate-map", tmp_path / "wells.csv",
        pattern="{plate}/{well}_{field}",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    assert cells["protein"].tolist() == ["one"] * 2 + ["three"] * 2 + ["two"] * 2


def test_folders_are_the_plates_of_a_plate_map(model: Path, tmp_path: Path) -> None:
    plates = [write_fields(tmp_path / name, ["A1_1"]) for name in ("p1", "p2", "p3")]
    (tmp_path / "wells.csv").write_text("plate,well,protein\np1,A01,one\np2,A01,two\n")
    words = ["--plate-map", tmp_path / "wells.csv", "--allow-unmatched", 1]
    done = predict(model, *plates, tmp_path / "out", *words)
    assert done.exit_code == 0, done.output
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    assert cells["protein"].tolist() == ["one"] * 2 + ["two"] * 2 + [""] * 2
    assert "'p3" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("well,protein\nH11,SEC61\n", "none of 2, such as 'A1', 'A2'"),
        ("well,protein,plate\nA01,SEC61,1\nA02,ERG6,2\n", "several plates"),
        ("well,protein\nA1,SEC61\nA01,ERG6\n", "once"),
        ("well,Well,protein\nA1,A1,SEC61\n", "'well', 'Well'"),
        ("well,field,protein\nA1,7,SEC61\n", "none of 2, such as 'A1/1', 'A2/1'"),
    ],
    ids=["no well", "plates unknown", "two spellings", "columns", "no field"],
)
def test_plate_maps_that_could_be_read_wrongly_are_refused(
    text: str, words: str, model: Path, tmp_path: Path
) -> None:
    fields = write_fields(tmp_path / "fields", ["A1_1", "A2_1"])
    (tmp_path / "wells.csv").write_text(text)
    done = predict(model, fields, tmp_path / "out", "--plate-map", tmp_path / "wells.csv")
    assert done.exit_code == 1
    assert words in done.stderr
    assert not (tmp_path / "out").exists()


def test_wells_of_two_plates_are_refused_where_a_plate_map_knows_no_plates(
    model: Path, tmp_path: Path
) -> None:
    """Plate 1 and plate 01 may be one: nobody can tell."""
    fields = write_fields(tmp_path / "fields", ["1/A1_1", "2/A1_1"])
    (tmp_path / "wells.csv").write_text("plate,well,protein\n01,A1,one\n2,A1,two\n")
    done = predict(
        model, fields, tmp_path / "out", "--plate-map", tmp_path / "wells.csv",
        pattern="{plate}/{well}_{field}",
    )  # fmt: skip
    assert done.exit_code == 1
    assert "'01' and '1'" in done.stderr


@pytest.mark.parametrize("name", ["plate", "barcode", "Plate", "plate_id", "disk"])
def test_wells_of_two_plates_are_two_wells_whatever_the_plate_is_called(
    name: str, model: Path, tmp_path: Path
) -> None:
    fields = write_fields(tmp_path / "fields", ["p1/A1_1", "p1/A1_2", "p2/A1_1"])
    done = predict(model, fields, tmp_path / "out", pattern=f"{{{name}}}/{{well}}_{{field}}")
    assert done.exit_code == 0, done.output
    wells = pd.read_csv(tmp_path / "out" / "wells.csv")
    assert wells[[name, "well", "num_cells"]].to_numpy().tolist() == [
        ["p1", "A1", 4],
        ["p2", "A1", 2],
    ]


def test_a_name_behind_the_well_is_a_plate_if_said_so(model: Path, tmp_path: Path) -> None:
    fields = write_fields(tmp_path / "fields", ["A1_1_p1", "A1_1_p2"])
    words = (model, fields)
    done = predict(*words, tmp_path / "out", pattern="{well}_{field}_{disk}")
    assert done.exit_code == 0, done.output
    assert len(pd.read_csv(tmp_path / "out" / "wells.csv")) == 1
    assert "several values of disk" in done.stderr
    done = predict(*words, tmp_path / "2", "--plate", "disk", pattern="{well}_{field}_{disk}")
    assert done.exit_code == 0, done.output
    wells = pd.read_csv(tmp_path / "2" / "wells.csv")
    assert wells["disk"].tolist() == wells["plate"].tolist() == ["p1", "p2"]


def test_one_well_in_two_spellings_is_one_row(model: Path, tmp_path: Path) -> None:
    fields = write_fields(tmp_path / "fields", ["A1_1", "A01_2", "a1_3"])
    done = predict(model, fields, tmp_path / "out")
    assert done.exit_code == 0, done.output
    wells = pd.read_csv(tmp_path / "out" / "wells.csv")
    assert wells["num_cells"].tolist() == [6]
    assert "'A1'" in done.stderr


def test_missing_proteins_of_a_parquet_map_are_no_protein(model: Path, tmp_path: Path) -> None:
    fields = write_fields(tmp_path / "fields", ["A1_1", "A2_1"])
    frame = pd.DataFrame({"well": ["A1", "A2"], "protein": ["SEC61", None]})
    frame.to_parquet(tmp_path / "wells.parquet")
    done = predict(model, fields, tmp_path / "out", "--plate-map", tmp_path / "wells.parquet")
    assert done.exit_code == 0, done.output
    assert pd.read_csv(tmp_path / "out" / "proteins.csv")["protein"].tolist() == ["SEC61"]


def write_profiles(path: Path, proteins: list[str]) -> Path:
    features = np.random.default_rng(0).normal(size=(len(proteins), 4)).astype(np.float32)
    table = VectorTable(features, pd.DataFrame({"protein": proteins}), {"kind": "profiles"})
    write_table(path, table, list("wxyz"))
    return path


def test_a_standard_of_other_names_is_refused(tmp_path: Path) -> None:
    write_profiles(tmp_path / "p.h5", ["SEC61", "ERG6", "ACT1"])
    (tmp_path / "s.gmt").write_text("er\tx\tYLR378C\tYML008C\n")
    done = run_cli("neighbors", tmp_path / "p.h5", "SEC61", "--standard", tmp_path / "s.gmt")
    assert done.exit_code == 1
    assert "'SEC61'" in done.stderr
    assert "'YLR378C'" in done.stderr
    assert not done.stdout


def test_a_standard_that_few_names_are_in_is_told_with_names_of_both(tmp_path: Path) -> None:
    write_profiles(tmp_path / "p.h5", ["SEC61", "ERG6", "ACT1", "TUB1"])
    (tmp_path / "s.gmt").write_text("er\tx\tSEC61 \tYML008C\n")
    words = ["neighbors", tmp_path / "p.h5", "SEC61", "--standard", tmp_path / "s.gmt"]
    done = run_cli(*words)
    assert done.exit_code == 0, done.output
    assert "1 of 4 profiles and 1 of 2 proteins of 's' meet." in done.stderr
    assert "'ACT1'" in done.stderr
    assert "'YML008C'" in done.stderr
    values = json.loads(run_cli(*words, "--json").stdout)
    assert values["standards"] == [
        {
            "name": "s",
            "proteins": 4,
            "proteins_matched": 1,
            "proteins_without_term": {"count": 3, "some": ["ACT1", "ERG6", "TUB1"]},
            "members_without_protein": {"count": 1, "some": ["YML008C"]},
        }
    ]


def test_members_that_differ_in_case_alone_are_refused_unless_they_are_alleles(
    tmp_path: Path,
) -> None:
    write_profiles(tmp_path / "p.h5", ["SEC61", "ERG6", "act1"])
    (tmp_path / "s.gmt").write_text("er\t\tSEC61\tERG6\tACT1\n")
    words = ["neighbors", tmp_path / "p.h5", "SEC61", "--standard", tmp_path / "s.gmt"]
    done = run_cli(*words)
    assert done.exit_code == 1
    assert "'act1' and 'ACT1'" in done.stderr
    assert "--distinct-case" in done.stderr
    done = run_cli(*words, "--distinct-case", "--json")
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)["standards"]
    assert found["proteins_without_term"] == {"count": 1, "some": ["act1"]}
    assert found["members_without_protein"] == {"count": 1, "some": ["ACT1"]}
    (tmp_path / "zero.gmt").write_text("er\t\tSEC061\tERG6\tACT1\n")
    done = run_cli(*words[:-1], tmp_path / "zero.gmt", "--distinct-case")
    assert done.exit_code == 1
    assert "'SEC61' and 'SEC061'" in done.stderr


@pytest.mark.parametrize("suffix", [".h5", ".tsv"])
def test_proteins_of_a_table_that_differ_in_case_alone_are_refused_unless_they_are_alleles(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"p{suffix}"
    if suffix == ".h5":
        write_profiles(path, ["SEC61", "sec61", "ERG6", "ACT1"])
    else:
        path.write_text("protein\tx\ty\nSEC61\t1\t2\nsec61\t2\t1\nERG6\t3\t5\nACT1\t4\t1\n")
    (tmp_path / "s.gmt").write_text("er\t\tSEC61\tERG6\nactin\t\tACT1\tERG6\n")
    for words in (
        ["neighbors", path, "SEC61"],
        ["benchmark", path, tmp_path / "s.gmt", tmp_path / "r", "--no-intervals", "--shuffles", 0],
    ):
        done = run_cli(*words)
        assert done.exit_code == 1
        assert "'SEC61' and 'sec61'" in done.stderr
        assert "--distinct-case" in done.stderr
        done = run_cli(*words, "--distinct-case")
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize("command", ["neighbors", "benchmark"])
def test_proteins_of_a_table_that_differ_in_nothing_that_is_seen_are_refused(
    tmp_path: Path, command: str
) -> None:
    path = write_profiles(tmp_path / "p.h5", ["TUB\u00c9", "TUBE\u0301", "ERG6", "ACT1"])
    (tmp_path / "s.gmt").write_text("er\t\tACT1\tERG6\n")
    rest = ["ERG6"] if command == "neighbors" else [tmp_path / "s.gmt", tmp_path / "r"]
    done = run_cli(command, path, *rest)
    assert done.exit_code == 1
    assert "one row" in done.stderr
    assert "p.h5" in done.stderr


def test_shared_terms_are_found_whatever_the_form_of_the_names(tmp_path: Path) -> None:
    write_profiles(tmp_path / "p.h5", ["SEC61", "TUB\u00c9"])
    (tmp_path / "s.gmt").write_text("er\t\tSEC61\tTUBE\u0301\n")
    words = ["neighbors", tmp_path / "p.h5", "SEC61", "--standard", tmp_path / "s.gmt", "--json"]
    (answer,) = json.loads(run_cli(*words).stdout)["queries"]
    assert answer["neighbors"][0]["shared"] == {"s": ["er"]}


def test_rows_that_have_no_similarity_are_in_the_json(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("protein\tx\ty\na\t1\t2\nb\t0\t0\nc\t2\t1\n")
    values = json.loads(run_cli("neighbors", tmp_path / "p.tsv", "a", "--json").stdout)
    assert values["rows"] == 3
    assert values["left_out"] == ["b"]


def test_a_row_and_a_column_are_a_well_in_files_and_map(model: Path, tmp_path: Path) -> None:
    fields = write_fields(tmp_path / "fields", ["p1/r01c02f1", "p1/r01c02f2", "p2/r02c02f1"])
    (tmp_path / "wells.csv").write_text("Row,Column,protein\nA,2,one\nB,2,two\n")
    done = predict(
        model, fields, tmp_path / "out", "--plate-map", tmp_path / "wells.csv", "--embedding",
        pattern="{plate}/r{row}c{col}f{field}",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    wells = pd.read_csv(tmp_path / "out" / "wells.csv")
    assert wells[["plate", "well", "num_cells"]].to_numpy().tolist() == [
        ["p1", "A02", 4],
        ["p2", "B02", 2],
    ]
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    assert cells["protein"].tolist() == ["one"] * 4 + ["two"] * 2


def test_columns_of_other_case_are_written_once(model: Path, tmp_path: Path) -> None:
    fields = write_fields(tmp_path / "fields", ["SEC61_A1_1", "ERG6_A2_1"])
    done = predict(
        model, fields, tmp_path / "out", "--embedding", pattern="{Protein}_{Well}_{field}"
    )
    assert done.exit_code == 0, done.output
    assert pd.read_csv(tmp_path / "out" / "wells.csv")["well"].tolist() == ["A1", "A2"]
    proteins = pd.read_csv(tmp_path / "out" / "proteins.csv")
    assert proteins["protein"].tolist() == ["ERG6", "SEC61"]


# Methods, standards and screens


def vectors_of(proteins: list[str]) -> VectorTable:
    features = np.random.default_rng(0).normal(size=(len(proteins), 4)).astype(np.float32)
    return VectorTable(features, pd.DataFrame({"protein": proteins}), {"kind": "profiles"})


def test_methods_meet_whatever_the_form_of_their_names(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    named = [("a", vectors_of(["SEC61", "ERG6", "TUB\u00e9", "ACT1"]))]
    named += [("b", vectors_of(["ACT1 ", "TUBe\u0301", "SEC61", "OLE1"]))]
    first, second = comparable(named)
    for method in (first, second):
        assert method.profiles.metadata["protein"].tolist() == ["ACT1", "SEC61", "TUB\u00e9"]
    assert first.excluded is not None
    assert second.excluded is not None
    assert first.excluded["names"] == {"not_in_every_method": ["ERG6"]}
    assert second.excluded["names"] == {"not_in_every_method": ["OLE1"]}
    assert "'ACT1 ' and 'ACT1'" in caplog.text
    with pytest.raises(ValueError, match=r"ERG6 \(1 of 4 of 'a'\) without one in another"):
        comparable(named, allow_unmatched=0)
    assert len(comparable(named, allow_unmatched=1)) == 2


@pytest.mark.parametrize("name", ["sec61", "SEC061"])
def test_methods_whose_names_may_be_one_are_refused(name: str) -> None:
    named = [
        ("a", vectors_of(["SEC61", "ERG6", "ACT1"])),
        ("b", vectors_of([name, "ERG6", "ACT1"])),
    ]
    with pytest.raises(JoinError, match=f"'{name}' and 'SEC61'"):
        comparable(named)
    if name == "sec61":
        assert len(comparable(named, distinct_case=True)[1].profiles.metadata) == 2
    with pytest.raises(JoinError, match="none of 3, such as 'x', 'y', 'z'"):
        comparable([named[0], ("b", vectors_of(["x", "y", "z"]))])


def test_how_many_proteins_a_standard_may_lack() -> None:
    standard = Standard("s", {"er": frozenset(["SEC61", "ERG6", "OLE1"])})
    proteins = ["SEC61", "ERG6", "ACT1", "TUB1"]
    annotate(standard, proteins)
    annotate(standard, proteins, allow_unmatched=2)
    with pytest.raises(StandardError, match=r"'ACT1', 'TUB1' \(2 of 4\).*allow_unmatched=2"):
        annotate(standard, proteins, allow_unmatched=1)


def test_screens_meet_whatever_the_form_of_their_names(tmp_path: Path) -> None:
    names = [f"P{i:02}" for i in range(30)]
    for file, proteins in (
        ("a", [*names, "only a"]),
        ("b", [*(f"{n} " for n in names), "only b", "b 2"]),
    ):
        rows = [{"key": f"{p}{c}", "protein": p} for p in proteins for c in range(4)]
        random = np.random.default_rng(len(proteins))
        table = VectorTable(
            random.normal(size=(len(rows), 2)).astype("f4"), pd.DataFrame(rows), {"kind": "cells"}
        )
        write_table(tmp_path / f"{file}.h5", table, ["x", "y"])
    words = ["change", tmp_path / "a.h5", tmp_path / "b.h5", tmp_path / "changes.csv"]
    done = run_cli(*words, "--allow-unmatched", 1)
    assert done.exit_code == 1
    assert "'b 2', 'only b' (2 of 32) without a partner" in done.stderr
    done = run_cli(*words)
    assert done.exit_code == 0, done.output
    assert "30 of 32 proteins of b.h5 and 30 of 31 proteins of a.h5 meet." in done.stderr
    join = json.loads((tmp_path / "changes.json").read_text())["join"]
    assert (join["data"], join["data_matched"], join["respelled"]) == (32, 30, 0)
    assert join["reference_unmatched"] == {"count": 1, "some": ["only a"]}


def test_a_protein_is_asked_for_in_any_form(tmp_path: Path) -> None:
    path = write_profiles(tmp_path / "p.h5", ["SEC61", "TUB\u00e9", "ACT1"])
    done = run_cli("neighbors", path, " SEC61", "TUBe\u0301")
    assert done.exit_code == 0, done.output
    assert "' SEC61' is 'SEC61'" in done.stderr
    done = run_cli("neighbors", path, "sec61")
    assert done.exit_code == 1
    assert "Did you mean 'SEC61'" in done.stderr
