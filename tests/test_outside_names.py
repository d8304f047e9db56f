"""Names that are equal to a person: one plate, protein, class or split, or refused."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf  # noqa: F401 - two logical CPUs must be there before its first use
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shared import TINY_OPTIONS, run_cli

from deeploc_tf.ingest import (
    RecordsPlan,
    build_records,
    check_groups,
    plan_records,
    split_by_fractions,
)
from deeploc_tf.names import same_form, tidy
from deeploc_tf.pipeline.classes import count_classes
from deeploc_tf.pipeline.splits import with_usual_splits
from deeploc_tf.profiles.tables import read_table
from deeploc_tf.sources import (
    CellTable,
    FieldSource,
    LabelDictionarySource,
    SourceError,
    TableSource,
)
from deeploc_tf.study.config import read_study
from deeploc_tf.units import same_in_column
from tfrecords.errors import SplitError
from tfrecords.manifest import Manifest, read_manifest
from tfrecords.verify import verify_deep

ACCENT = "P\u00e9"
ALIKE = [
    ("P1", "P1 "),
    ("P1", "\tP1"),
    ("P1", "P1\u200b"),
    ("P1", "\ufeffP1"),
    ("P1", "P1\u00a0"),
    ("P1", "P\u00ad1"),
    ("P1", "P1\ufe0f"),
    ("P 1", "P  1"),
    ("P-1", "P\u20111"),
    (ACCENT, unicodedata.normalize("NFD", ACCENT)),
    ("P1", "\uff30\uff11"),
]
MAY_DIFFER = [("P1", "p1"), ("P1", "P01"), ("P1 ", "p1"), ("P1", "\u03a11"), ("PAX6", "\u0420AX6")]


@pytest.fixture(scope="module")
def images(tmp_path_factory: Any) -> Path:
    """Crops of 8 x 8 pixels, all different: 0.npy to 39.npy."""
    folder: Path = tmp_path_factory.mktemp("images")
    for number in range(40):
        pixels = np.random.default_rng(number).integers(1, 4000, (8, 8), "uint16")
        np.save(folder / f"{number}.npy", pixels)
    return folder


def source_of(folder: Path, images: Path, **columns: Any) -> TableSource:
    """A Parquet table, which keeps text as it is, with a path for each row of `columns`."""
    count = len(next(iter(columns.values())))
    frame = pd.DataFrame({"path": [f"{i}.npy" for i in range(count)], **columns})
    frame.to_parquet(folder / "cells.parquet")
    return TableSource(folder / "cells.parquet", {"gfp": "path"}, root=images)


def splits_of(plan: RecordsPlan) -> list[str]:
    return [entry.split for entry in plan.layout.entries]


def proteins_of(plan: RecordsPlan) -> list[str]:
    return [entry.protein for entry in plan.layout.entries]


# Groups


@pytest.mark.parametrize("column", ["plate", "well", "field", "batch", "protein"])
@pytest.mark.parametrize(("one", "other"), ALIKE, ids=ascii)
def test_a_group_spelled_in_two_ways_is_one_and_may_not_leak(
    tmp_path: Path, images: Path, one: str, other: str, column: str
) -> None:
    source = source_of(tmp_path, images, **{column: [one, other], "split": ["train", "test"]})
    with pytest.raises(SplitError, match="A group must lie in one split"):
        plan_records(source, group_by=[column])


@pytest.mark.parametrize("column", ["plate", "field", "batch", "protein"])
@pytest.mark.parametrize(("one", "other"), MAY_DIFFER, ids=ascii)
def test_groups_that_may_be_one_are_refused(
    tmp_path: Path, images: Path, one: str, other: str, column: str
) -> None:
    source = source_of(tmp_path, images, **{column: [one, other], "split": ["train", "test"]})
    error: type[ValueError] = SourceError
    if column == "field" and "0" in other:
        error = SplitError  # leading zeros of fields mean nothing
    with pytest.raises(error):
        plan_records(source, group_by=[column])


@pytest.mark.parametrize("column", ["plate", "Plate", "Metadata_Plate", "protein"])
def test_plates_and_proteins_need_not_be_groups_to_be_looked_at(
    tmp_path: Path, images: Path, column: str
) -> None:
    source = source_of(tmp_path, images, **{column: ["P1", "p1"]})
    with pytest.raises(SourceError, match="'P1' and 'p1'"):
        plan_records(source)


@pytest.mark.parametrize(
    ("one", "other"), [("A1", "A01"), ("a1", "A1"), ("r01c02", "A02"), ("b02 ", "B2")]
)
def test_wells_are_matched_over_case_and_zeros(
    tmp_path: Path, images: Path, one: str, other: str
) -> None:
    source = source_of(tmp_path, images, well=[one, other], split=["train", "test"])
    with pytest.raises(SplitError, match="A group must lie in one split"):
        plan_records(source, group_by=["well"])


def test_records_hold_one_spelling_which_is_reported(
    tmp_path: Path, images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    source = source_of(
        tmp_path, images,
        plate=["P1", "P1 ", "P2", "P1"], well=["A1", "a01", "B1", "A1"], field=[1, 2, 1, 10],
        protein=["ACT1", "ACT1\u200b", "ABP1", "ACT1"], split=["train", "TRAIN", "test", "train"],
    )  # fmt: skip
    manifest = build_records(source, tmp_path / "records", group_by=["plate", "protein"])
    assert verify_deep(tmp_path / "records") == manifest
    assert manifest.counts == {
        "test": {"label": {}, "protein": {"ABP1": 1}},
        "train": {"label": {}, "protein": {"ACT1": 3}},
    }
    plan = plan_records(source, group_by=["plate", "protein"])
    assert plan.metadata["plate"] == ["P1", "P1", "P2", "P1"]
    assert plan.metadata["well"] == ["A1", "A1", "B1", "A1"]
    assert plan.metadata["field"] == [1, 2, 1, 10]
    for text in ("'P1 ' is 'P1'", "'a01' is 'A1'", "'ACT1\\u200b' is 'ACT1'", "'TRAIN' is 'train'"):
        assert text in caplog.text


def test_names_that_are_spelled_in_one_way_stay_and_nothing_is_said(
    tmp_path: Path, images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    names = {"plate": ["p1", "q2"], "well": ["a1", "h12"], "field": ["004", "005"]}
    plan = plan_records(source_of(tmp_path, images, **names), group_by=["plate"])
    assert {name: list(plan.metadata[name]) for name in names} == names
    assert not caplog.records


def test_the_same_field_numbers_on_two_plates_are_no_conflict(tmp_path: Path, images: Path) -> None:
    source = source_of(tmp_path, images, plate=["A", "A", "B", "B"], field=["1", "2", "01", "2"])
    plan = plan_records(source, conditions={"test": [("plate", "B")]}, group_by=["plate", "field"])
    assert splits_of(plan) == ["train", "train", "test", "test"]
    source = source_of(
        tmp_path, images, plate=["A", "A"], field=["1", "01"], split=["train", "test"]
    )
    with pytest.raises(SplitError, match="A group must lie in one split"):
        plan_records(source, group_by=["plate", "field"])


@pytest.mark.parametrize("above", ["plate", "Metadata_Plate", "barcode"])
def test_a_field_is_one_of_its_plate_and_well(
    tmp_path: Path, images: Path, above: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    columns = {
        above: ["A", "A", "B", "B"], "well": ["A1", "A2", "A1", "A2"], "field": [1, 1, 1, 1],
        "screen": [None] * 4,
    }  # fmt: skip
    source = source_of(tmp_path, images, **columns, split=["train", "train", "test", "test"])
    manifest = build_records(source, tmp_path / "records", group_by=["field"])
    assert manifest.group_by == (above, "well", "field")
    assert verify_deep(tmp_path / "records") == manifest
    assert f"field means {above}, well, field together" in caplog.text
    plan = plan_records(source, group_by=["field"], metadata=[])
    assert plan.group_by == (above, "well", "field")
    assert plan.forecast()["splits"]["train"]["num_groups"] == 2
    source = source_of(tmp_path, images, **columns, split=["train", "train", "test", "train"])
    plan_records(source, group_by=["field"])
    with pytest.raises(SplitError, match="A group must lie in one split"):
        plan_records(source, group_by=[above])
    columns["well"][3] = "a01"
    source = source_of(tmp_path, images, **columns, split=["train", "train", "test", "train"])
    with pytest.raises(SplitError, match="A group must lie in one split"):
        plan_records(source, group_by=["field"])


def test_fractions_are_of_whole_paths(tmp_path: Path, images: Path) -> None:
    plates = [f"P{number // 4}" for number in range(40)]
    source = source_of(tmp_path, images, plate=plates, field=[1] * 40, batch=[None] * 40)
    fractions = {"train": 0.5, "test": 0.5}
    plan = plan_records(source, fractions=fractions, group_by=["field"])
    assert plan.group_by == ("plate", "field")
    assert splits_of(plan) == splits_of(
        plan_records(source, fractions=fractions, group_by=["plate", "field"])
    )
    assert set(splits_of(plan)) == {"train", "test"}


@pytest.mark.parametrize(
    ("rows", "leaks"), [(["A", "B"], False), ([1, 2], False), ([40, 900], True), ([3, 0.5], True)]
)
def test_a_row_and_a_column_are_above_a_field_where_they_are_a_wells(
    rows: list[Any], leaks: bool, tmp_path: Path, images: Path
) -> None:
    source = source_of(
        tmp_path, images, row=rows, column=[7, 8], field=[1, 1], split=["train", "test"]
    )
    if leaks:  # of pixels
        with pytest.raises(SplitError, match="field='1'"):
            plan_records(source, group_by=["field"])
    else:
        assert plan_records(source, group_by=["field"]).group_by == ("row", "column", "field")


def test_a_missing_name_is_an_empty_one(tmp_path: Path, images: Path) -> None:
    source = source_of(
        tmp_path, images, plate=["P1", None, "", "P2"], split=["train", "train", "test", "test"]
    )
    with pytest.raises(SplitError, match="plate=''"):
        plan_records(source, group_by=["plate"])


@pytest.mark.parametrize("form", ["text", "int64", "category"])
def test_names_of_any_type_of_column(tmp_path: Path, images: Path, form: str) -> None:
    plates: Any = [1, 2, 1, 2]
    if form != "int64":
        plates = pd.Series(["1", "2", "1 ", "2"], dtype="category" if form == "category" else None)
    source = source_of(tmp_path, images, plate=plates)
    plan = plan_records(source, conditions={"test": [("plate", "1")]})
    assert splits_of(plan) == ["test", "train", "test", "train"]
    assert plan.metadata["plate"] == [1, 2, 1, 2]


def test_verify_finds_a_group_that_older_records_spell_in_two_ways(
    tiny_records: Any, tmp_path: Path
) -> None:
    crops, entries = list(tiny_records.crops), tiny_records.entries
    row = next(row for row, crop in enumerate(crops) if crop.metadata["field"] == "4")
    metadata = {**crops[row].metadata, "field": "04 "}
    crops[row] = dataclasses.replace(crops[row], metadata=metadata)
    entries[row] = dataclasses.replace(entries[row], split="train")
    tiny_records.write(tmp_path / "records", crops=crops, entries=entries)
    verify_deep(tmp_path / "records")  # letter by letter
    told = r"group=\('4',\) in test \(shard .*\) and as \('04 ',\) in train"
    with pytest.raises(SplitError, match=told):
        verify_deep(tmp_path / "records", same=same_in_column)
    done = run_cli("verify", tmp_path / "records", "--deep", "--quiet")
    assert done.exit_code == 1
    assert re.search(told, done.output)


PIECES = ["P", "1", "\u00e9", "e\u0301", " ", "\u200b", "\u00a0", "-", "\u2010", "\uff11", "\ufb01"]


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    plates=st.lists(st.lists(st.sampled_from(PIECES), max_size=4).map("".join), min_size=4,
                    max_size=12),
    splits=st.lists(st.sampled_from(["train", "test"]), min_size=12, max_size=12),
    column=st.sampled_from(["plate", "batch", "protein"]),
)  # fmt: skip
def test_no_spelling_brings_a_group_into_two_splits(
    tmp_path: Path, images: Path, plates: list[str], splits: list[str], column: str
) -> None:
    source = source_of(tmp_path, images, **{column: plates, "split": splits[: len(plates)]})
    of_form: dict[str, set[str]] = {}
    for plate, split in zip(plates, splits, strict=False):
        seen = unicodedata.normalize("NFKC", plate)
        seen = re.sub("[\u2010-\u2014]", "-", re.sub("\u200b", "", seen))
        of_form.setdefault(" ".join(seen.split()), set()).add(split)
    try:
        plan = plan_records(source, group_by=[column])
    except SplitError:
        assert any(len(found) > 1 for found in of_form.values())
    else:
        assert all(len(found) == 1 for found in of_form.values())
        assert len(set(plan.metadata.get(column, proteins_of(plan)))) == len(of_form)


# Conditions


@pytest.mark.parametrize(
    ("column", "values", "condition", "chosen"),
    [
        ("plate", ["P1", "P1 ", "P2", "P2"], "P1", 2),
        ("plate", ["P1", "P1", "P2", "P2"], " P1", 2),
        ("plate", [ACCENT, ACCENT, "P2", "P2"], unicodedata.normalize("NFD", ACCENT), 2),
        ("field", ["4", "4", "3", "14"], "04", 2),
        ("field", [4, 3, 2, 1], "04", 1),
        ("field", ["004", "003", "002", "001"], "4", 1),
        ("Metadata_Site", ["s01", "s1", "s2", "s3"], "s001", 2),
        ("well", ["A01", "A1", "a1", "B01"], "r01c01", 3),
        ("protein", ["ACT1", "ACT1 ", "ABP1", "ABP1"], "ACT1\u200b", 2),
        ("batch", ["one", "one ", "two", "two"], "one", 2),
        ("key", ["c1", "c2", "c3", "c4"], "c1 ", 1),
    ],
)
def test_conditions_know_names_however_they_are_spelled(
    tmp_path: Path, images: Path, column: str, values: list[Any], condition: str, chosen: int
) -> None:
    source = source_of(tmp_path, images, **{column: values})
    plan = plan_records(source, conditions={"test": [(column, condition)]})
    assert splits_of(plan) == ["test"] * chosen + ["train"] * (4 - chosen)


@pytest.mark.parametrize("value", ["p1", "P01"])
def test_a_condition_that_differs_in_more_is_met_by_nothing(
    tmp_path: Path, images: Path, value: str
) -> None:
    source = source_of(tmp_path, images, plate=["P1", "P2"])
    with pytest.raises(SplitError, match="Did you mean 'P1'"):
        plan_records(source, conditions={"test": [("plate", value)]})


# Proteins


@pytest.mark.parametrize(("one", "other"), ALIKE, ids=ascii)
def test_a_protein_spelled_in_two_ways_is_one(
    tmp_path: Path, images: Path, one: str, other: str
) -> None:
    plan = plan_records(source_of(tmp_path, images, gene=[one, other, "ABP1"]), protein="gene")
    assert len(set(proteins_of(plan))) == 2
    plan = plan_records(source_of(tmp_path, images, protein=[one, other, "ABP1"]), minimum_cells=2)
    assert len(plan.layout.entries) == 2


def test_alleles_are_two_proteins_if_somebody_says_so(tmp_path: Path, images: Path) -> None:
    names = ["ACT1", "act1", "ACT1 ", "ABP1"]
    columns = {"protein": names, "split": ["train", "test", "train", "test"]}
    source = source_of(tmp_path, images, **columns)
    with pytest.raises(SourceError, match=r"'ACT1' and 'act1'.*distinct_case"):
        plan_records(source)
    plan = plan_records(source, distinct_case=True, group_by=["protein"])
    assert proteins_of(plan) == ["ACT1", "act1", "ACT1", "ABP1"]
    plan = plan_records(source_of(tmp_path, images, protein=names), label="protein",
                        distinct_case=True)  # fmt: skip
    assert plan.layout.schema.label_names == ("ABP1", "ACT1", "act1")


def test_zeros_of_proteins_are_refused_even_then(tmp_path: Path, images: Path) -> None:
    source = source_of(tmp_path, images, protein=["CDC1", "CDC01"])
    with pytest.raises(SourceError):
        plan_records(source, distinct_case=True)


# Labels


@pytest.mark.parametrize(("one", "other"), ALIKE, ids=ascii)
def test_a_label_spelled_in_two_ways_is_one_class(
    tmp_path: Path, images: Path, one: str, other: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    source = source_of(tmp_path, images, loc=[one, other, "Golgi"])
    plan = plan_records(source, label="loc")
    assert plan.layout.schema.num_classes == 2
    first, second, third = (entry.labels for entry in plan.layout.entries)
    assert first == second != third
    assert "are matched" in caplog.text
    plan = plan_records(source, label="loc", classes=["Golgi", f" {other}"])
    assert plan.layout.schema.label_names == ("Golgi", tidy(other))
    assert [entry.labels for entry in plan.layout.entries] == [(1,), (1,), (0,)]


@pytest.mark.parametrize(("one", "other"), MAY_DIFFER, ids=ascii)
def test_labels_that_may_be_one_are_refused(
    tmp_path: Path, images: Path, one: str, other: str
) -> None:
    source = source_of(tmp_path, images, loc=[one, other])
    with pytest.raises(SourceError):
        plan_records(source, label="loc")
    with pytest.raises(SourceError):
        plan_records(source_of(tmp_path, images, loc=[one]), label="loc", classes=[other])
    source = source_of(tmp_path, images, loc=[f"{one};Golgi", f"Golgi;{other}"])
    with pytest.raises(SourceError):
        plan_records(source, label="loc", label_separator=";")


def test_several_labels_of_a_crop_are_matched_one_by_one(tmp_path: Path, images: Path) -> None:
    source = source_of(tmp_path, images, loc=["ER; Golgi", "Golgi ;ER", " ER;ER"])
    plan = plan_records(source, label="loc", label_separator=";")
    assert plan.layout.schema.label_names == ("ER", "Golgi")
    assert [entry.labels for entry in plan.layout.entries] == [(0, 1), (0, 1), (0,)]


def test_classes_that_are_one_are_refused(tmp_path: Path, images: Path) -> None:
    source = source_of(tmp_path, images, loc=["ER"])
    with pytest.raises(ValueError, match="`classes` must be different names"):
        plan_records(source, label="loc", classes=["ER", "ER "])


@pytest.mark.parametrize("column", ["protein", "plate", "batch"])
@pytest.mark.parametrize(("one", "other"), ALIKE, ids=ascii)
def test_a_label_table_is_joined_however_its_names_are_spelled(
    tmp_path: Path, images: Path, one: str, other: str, column: str
) -> None:
    table = pd.DataFrame({column: [other, "Q"], "loc": ["ER", "Golgi"]})
    table.to_parquet(tmp_path / "labels.parquet")
    source = source_of(tmp_path, images, **{column: [one, "Q"]})
    plan = plan_records(
        source, label="loc", label_table=tmp_path / "labels.parquet", label_key=column,
        unknown="skip",
    )  # fmt: skip
    assert [entry.labels for entry in plan.layout.entries] == [(0,), (1,)]


@pytest.mark.parametrize("field", ["1", "01", "001 "])
def test_a_label_table_knows_fields_without_their_zeros(
    tmp_path: Path, images: Path, field: str
) -> None:
    (tmp_path / "labels.csv").write_text(f"field,drug\n{field},none\n02,rapamycin\n")
    for fields in (["01", "2"], [1, 2]):
        plan = plan_records(
            source_of(tmp_path, images, field=fields),
            label="drug", label_table=tmp_path / "labels.csv", label_key="field",
        )  # fmt: skip
        assert [entry.labels for entry in plan.layout.entries] == [(0,), (1,)]


@pytest.mark.parametrize(("one", "other"), MAY_DIFFER, ids=ascii)
def test_a_label_table_whose_names_may_be_others_is_refused(
    tmp_path: Path, images: Path, one: str, other: str
) -> None:
    table = pd.DataFrame({"protein": [other, "Q"], "loc": ["ER", "Golgi"]})
    table.to_parquet(tmp_path / "labels.parquet")
    arguments: Any = {"label": "loc", "label_table": tmp_path / "labels.parquet"}
    source = source_of(tmp_path, images, protein=[one, "Q"])
    with pytest.raises(SourceError):
        plan_records(source, unknown="skip", **arguments)


def test_names_of_a_label_table_that_no_crop_has_are_left_alone(
    tmp_path: Path, images: Path
) -> None:
    text = "protein,loc\nabc1,ER\nABC1,Golgi\nACT1,ER\nACT1 ,ER \nQ,Golgi\n"
    (tmp_path / "labels.csv").write_text(text)
    source = source_of(tmp_path, images, protein=["ACT1", "Q"])
    plan = plan_records(source, label="loc", label_table=tmp_path / "labels.csv")
    assert [entry.labels for entry in plan.layout.entries] == [(0,), (1,)]


def test_alleles_of_a_label_table(tmp_path: Path, images: Path) -> None:
    (tmp_path / "labels.csv").write_text("protein,loc\nact1,ER\nACT1,Golgi\n")
    source = source_of(tmp_path, images, protein=["ACT1", "act1"])
    plan = plan_records(
        source, label="loc", label_table=tmp_path / "labels.csv", distinct_case=True
    )
    assert [entry.labels for entry in plan.layout.entries] == [(1,), (0,)]


def test_two_labels_of_one_name_in_a_label_table_are_refused(tmp_path: Path, images: Path) -> None:
    (tmp_path / "labels.csv").write_text("protein,loc\nACT1,ER\nACT1 ,Golgi\n")
    source = source_of(tmp_path, images, protein=["ACT1"])
    with pytest.raises(ValueError, match="one row for each protein"):
        plan_records(source, label="loc", label_table=tmp_path / "labels.csv")


# Splits

VALIDATION = ["val", "Val", "VALID", "valid ", "dev", "Validation", "val\u200b", "VALIDATION"]


@pytest.mark.parametrize("name", VALIDATION)
def test_a_split_column_names_validation_in_many_ways(
    tmp_path: Path, images: Path, name: str
) -> None:
    splits = ["train", name, "Test", "test", " TRAIN"]
    plan = plan_records(source_of(tmp_path, images, split=splits))
    assert splits_of(plan) == ["train", "validation", "test", "test", "train"]
    source = source_of(tmp_path, images, part=splits)
    assert splits_of(plan_records(source, split_column="part")) == splits_of(plan)
    source = source_of(tmp_path, images, Split=splits)
    assert splits_of(plan_records(source)) == splits_of(plan)


@pytest.mark.parametrize("name", VALIDATION)
def test_fractions_and_conditions_name_validation_in_many_ways(
    tmp_path: Path, images: Path, name: str
) -> None:
    source = source_of(tmp_path, images, field=list(range(20)))
    found = [
        splits_of(plan_records(source, fractions={"train": 0.5, split: 0.5}, group_by=["field"]))
        for split in (name, "validation")
    ]
    assert found[0] == found[1]
    plan = plan_records(source, conditions={name: [("field", "0")]})
    assert Counter(splits_of(plan)) == {"train": 19, "validation": 1}


def test_two_names_of_one_split_are_refused(tmp_path: Path, images: Path) -> None:
    source = source_of(tmp_path, images, field=list(range(20)))
    fractions = {"train": 0.5, "val": 0.25, "validation": 0.25}
    with pytest.raises(SplitError, match="'val' and 'validation'"):
        plan_records(source, fractions=fractions, group_by=["field"])
    conditions = {"dev": [("field", "0")], "valid": [("field", "1")]}
    with pytest.raises(SplitError, match="'dev' and 'valid'"):
        plan_records(source, conditions=conditions)


def test_a_split_that_nothing_uses_is_told(
    tmp_path: Path, images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = plan_records(source_of(tmp_path, images, split=["train", "test", "holdout"]))
    assert splits_of(plan) == ["train", "test", "holdout"]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "'holdout'" in record.getMessage()


@pytest.mark.parametrize("name", VALIDATION)
def test_a_label_dictionary_names_validation_in_many_ways(
    tmp_path: Path, images: Path, name: str
) -> None:
    for number in range(3):
        pixels = np.load(images / f"{number}.npy")
        with (tmp_path / f"{number}_gfp.tif").open("wb") as file:
            np.save(file, pixels)
    listed = {"ER": {"train": ["0_gfp.tif"], name: ["1_gfp.tif"], "TEST": ["2_gfp.tif"]}}
    np.save(tmp_path / "d.npy", np.array(listed, dtype=object), allow_pickle=True)
    index = LabelDictionarySource(tmp_path / "d.npy").index()
    assert index["split"].tolist() == ["train", "validation", "test"]


# Fields of tables of cells


def write_fields(root: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(1, 4000, (30, 30), "uint16")
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        with (root / name).open("wb") as file:
            np.save(file, pixels)


@pytest.mark.parametrize(
    ("file", "named"),
    [
        (f"{ACCENT}_gfp.npy", unicodedata.normalize("NFD", f"{ACCENT}_gfp.npy")),
        (unicodedata.normalize("NFD", f"{ACCENT}_gfp.npy"), f"{ACCENT}_gfp.npy"),
        ("P1_gfp.npy", "P1_gfp.npy "),
        ("P1_gfp.npy", "P1 "),
        ("P1_gfp.npy", "\ufeffP1"),
    ],
    ids=ascii,
)
def test_a_table_of_cells_knows_files_however_they_are_spelled(
    tmp_path: Path, file: str, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    write_fields(tmp_path, [file, "Q_gfp.npy"])
    frame = pd.DataFrame({"image": [named, "Q"], "x": [15, 15], "y": [15, 15]})
    frame.to_parquet(tmp_path / "cells.parquet")
    cells = CellTable(tmp_path / "cells.parquet")
    source = FieldSource(tmp_path, "{plate}_{channel}.npy", ("gfp",), cells=cells, crop_size=8)
    assert len(source.index()) == 2
    assert not source.rejects
    assert "are matched" in caplog.text


def test_a_table_of_cells_knows_wells_and_fields_without_their_zeros(tmp_path: Path) -> None:
    write_fields(tmp_path, ["P/A01_1_gfp.npy", "P/B02_2_gfp.npy"])
    (tmp_path / "cells.csv").write_text("plate,well,field,x,y\nP,a1,01,15,15\nP ,B2,002,15,15\n")
    cells = CellTable(tmp_path / "cells.csv")
    source = FieldSource(
        tmp_path, "{plate}/{well}_{field}_{channel}.npy", ("gfp",), cells=cells, crop_size=8
    )
    assert source.index()["well"].tolist() == ["A01", "B02"]
    (tmp_path / "cells.csv").write_text("plate,well,field,x,y\nP,A1,1,15,15\np,B2,2,15,15\n")
    source = FieldSource(
        tmp_path, "{plate}/{well}_{field}_{channel}.npy", ("gfp",), cells=cells, crop_size=8
    )
    with pytest.raises(SourceError, match="'p/B2/2' and 'P/B02/2'"):
        source.index()
    (tmp_path / "cells.csv").write_text("plate,well,field,x,y\nP,A1,1,15,15\nQ,B2,2,15,15\n")
    arguments: Any = {"cells": CellTable(tmp_path / "cells.csv"), "crop_size": 8}
    words = (tmp_path, "{plate}/{well}_{field}_{channel}.npy", ("gfp",))
    source = FieldSource(*words, **arguments)
    assert source.index()["well"].tolist() == ["A01"]
    assert [reject.reason for reject in source.rejects] == ["field is missing"]
    source = FieldSource(*words, **arguments, allow_unmatched=1)
    assert source.index()["well"].tolist() == ["A01"]
    assert not source.rejects
    assert source.passed_over["cell of a field without image"] == 1
    (join,) = source.description["joins"]
    assert join["data_unmatched"] == {"count": 1, "some": ["Q/B2/2"]}
    assert join["reference_unmatched"] == {"count": 1, "some": ["P/B02/2"]}


def test_fields_that_only_zeros_tell_apart_are_two_files(tmp_path: Path) -> None:
    write_fields(tmp_path, ["1_gfp.npy", "01_gfp.npy"])
    (tmp_path / "cells.csv").write_text("field,x,y\n1,15,15\n01,14,14\n001,13,13\n")
    source = FieldSource(
        tmp_path, "{field}_{channel}.npy", ("gfp",), cells=CellTable(tmp_path / "cells.csv"),
        crop_size=8,
    )  # fmt: skip
    index = source.index()
    assert index.set_index("field")["x"].to_dict() == {"1": 15, "01": 14}
    assert [reject.reason for reject in source.rejects] == ["field is missing"]


# The command line


def test_the_commands_say_what_they_match_and_take_alleles_when_told(
    tmp_path: Path, images: Path
) -> None:
    source_of(
        tmp_path, images, protein=["ACT1", "act1", "ABP1 ", "ABP1"], loc=["ER", "Golgi"] * 2,
        split=["train", "train", "val", "train"],
    )  # fmt: skip
    command = ["build-records", tmp_path / "cells.parquet", tmp_path / "records"]
    command += ["--image-column", "gfp=path", "--root", images, "--label", "loc"]
    done = run_cli(*command)
    assert done.exit_code == 1
    assert "'ACT1' and 'act1'" in done.output
    assert "--distinct-case" in done.output
    done = run_cli(*command, "--distinct-case")
    assert done.exit_code == 0, done.output
    assert "'ABP1 ' is 'ABP1'" in done.stderr
    assert "'val' is 'validation'" in done.stderr
    assert read_manifest(tmp_path / "records").split_names == ("train", "validation")


def test_every_form_is_one_of_its_own_form() -> None:
    """What was matched once is matched again, or it would depend on who asks first."""
    for one, other in ALIKE:
        for kind in ("channel", "split", "well", "field", "plate", "label", "protein", "group"):
            assert same_form(same_form(one, kind), kind) == same_form(other, kind)


# Splits of records that were written elsewhere, and of commands

TINY = TINY_OPTIONS
SIZES = {"train": (4, 4, 4), "validation": (2, 2, 2), "test": (3, 2, 2)}


@pytest.fixture(scope="module")
def screens(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> dict[str, Path]:
    """The same crops, but for their keys, in splits of the usual names and of others."""
    folder = tmp_path_factory.mktemp("screens")
    write_screen(folder / "usual", SIZES, size=10)
    write_screen(folder / "other", dict(zip(["Train", "val", "TEST"], SIZES.values())), size=10)  # noqa: B905
    return {name: folder / name for name in ("usual", "other")}


@pytest.fixture(scope="module")
def trained(screens: dict[str, Path], tmp_path_factory: Any) -> tuple[Path, Result]:
    folder: Path = tmp_path_factory.mktemp("trained") / "run"
    return folder, run_cli("fit", screens["other"], folder, *TINY, "--patience", "2")


def test_fit_validates_on_a_split_that_is_called_val(trained: tuple[Path, Result]) -> None:
    folder, done = trained
    assert done.exit_code == 0, done.output
    assert "'val' of the records is taken as 'validation'" in done.stderr
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["validation"]["num_crops"] == 6
    assert metrics["test"]["num_crops"] == 7


@pytest.mark.parametrize(
    ("records", "split"), [("usual", "val"), ("other", "validation"), ("other", "DEV")]
)
def test_commands_find_validation_by_any_of_its_names(
    trained: tuple[Path, Result], screens: dict[str, Path], tmp_path: Path, records: str, split: str
) -> None:
    commands = {
        "embed": ["embed", trained[0], screens[records], tmp_path / "cells.parquet"],
        "measure": ["measure", screens[records], tmp_path / "m.parquet", "--kind", "intensity"],
        "evaluate": ["evaluate", trained[0], screens[records], tmp_path / "results"],
    }
    for command in commands.values():
        done = run_cli(*command, "--split", split)
        assert done.exit_code == 0, done.output
        assert done.stderr.count("is taken as 'validation'") == (records == "other")
    for table in ("cells.parquet", "m.parquet"):
        found = read_table(tmp_path / table)
        assert len(found.features) == 6
        assert set(found.metadata["split"]) == {"validation"}
    metrics = json.loads((tmp_path / "results/metrics.json").read_text())
    assert metrics["splits"] == ["validation"]
    assert metrics["num_crops"] == 6


@pytest.mark.parametrize("command", ["embed", "measure", "evaluate"])
def test_a_split_must_be_named_once_by_all_its_names(
    trained: tuple[Path, Result], screens: dict[str, Path], tmp_path: Path, command: str
) -> None:
    first = [] if command == "measure" else [trained[0]]
    named = ["--split", "val", "--split", "validation"]
    done = run_cli(command, *first, screens["usual"], tmp_path / "out.parquet", *named)
    assert done.exit_code == 1
    assert "each named once" in done.output


def test_records_whose_splits_mean_the_same_are_refused(
    write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    sizes = {**SIZES, "val": (1, 1, 1)}
    write_screen(tmp_path / "records", sizes, size=10)
    done = run_cli("fit", tmp_path / "records", tmp_path / "run", *TINY)
    assert done.exit_code == 1
    assert "'val' and 'validation', which are one" in done.output


def test_other_names_of_splits_are_no_other_data_set(screens: dict[str, Path]) -> None:
    manifest = read_manifest(screens["other"])
    renamed = with_usual_splits(manifest)
    assert renamed.split_names == ("test", "train", "validation")
    assert renamed.digest == manifest.digest
    assert [renamed.num_crops(split) for split in renamed.split_names] == [7, 12, 6]
    assert with_usual_splits(renamed) is renamed
    usual = read_manifest(screens["usual"])
    assert with_usual_splits(usual) is usual


def test_a_training_says_which_split_it_does_not_use(
    write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    write_screen(tmp_path / "records", {"train": (4, 4, 4), "tune": (2, 2, 2)}, size=10)
    done = run_cli("fit", tmp_path / "records", tmp_path / "run", *TINY)
    assert done.exit_code == 0, done.output
    assert "Warning: No command uses the split 'tune'" in done.stderr


@pytest.mark.parametrize(("name", "split"), [("val", "validation"), ("Test", "test")])
def test_a_study_names_its_split_in_any_way(tmp_path: Path, name: str, split: str) -> None:
    (tmp_path / "study.yaml").write_text(
        f"data: {{kind: simulated}}\nsplit: {name}\n"
        "methods: {chance: {kind: random, dimensions: 4}}\n"
    )
    assert read_study(tmp_path / "study.yaml").split == split


def test_classes_of_older_records_that_are_one_are_refused(
    write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    names = ["p\u00e9ri", "nucleus", "pe\u0301ri"]
    manifest = write_screen(tmp_path / "records", SIZES, size=10, label_names=names)
    with pytest.raises(SplitError, match=r"'pe\\u0301ri', which are one"):
        count_classes(manifest)
    names = ["ER", "nucleus", "er"]  # may be meant so: the build of that time let them be
    manifest = write_screen(tmp_path / "others", SIZES, size=10, label_names=names)
    assert count_classes(manifest).names == ("ER", "nucleus", "er")


@pytest.mark.parametrize(("one", "other"), ALIKE, ids=ascii)
def test_groups_are_one_for_whoever_calls_the_functions_of_splits(one: str, other: str) -> None:
    index = pd.DataFrame({"key": ["a", "b"], "plate": [one, other]})
    with pytest.raises(SplitError, match="A group must lie in one split"):
        check_groups(index, np.array(["train", "test"], object), ["plate"])
    fractions = {"train": 0.5, "test": 0.5}
    assert len(set(split_by_fractions(index, fractions, ["plate"]))) == 1
