"""Labels: from a column, the protein or a table; nothing is corrected in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from deeploc_tf.ingest.labels import assign_labels
from deeploc_tf.sources import SourceError
from deeploc_tf.text_tables import TableError


def index(**columns: list[Any]) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    return pd.DataFrame({"key": [f"cell {i}" for i in range(count)], **columns})


def test_classes_are_sorted_by_default_and_ordered_on_request() -> None:
    cells = index(label=["nucleus", "ER", "nucleus"])
    labels = assign_labels(cells, "label")
    assert labels.names == ("ER", "nucleus")
    assert labels.indices == [(1,), (0,), (1,)]
    assert not labels.multi_label
    ordered = assign_labels(cells, "label", classes=["nucleus", "vacuole", "ER"])
    assert ordered.names == ("nucleus", "vacuole", "ER")
    assert ordered.indices == [(0,), (2,), (0,)]


def test_no_label_is_no_class() -> None:
    labels = assign_labels(index(protein=["A", "B"]), None)
    assert labels.names == ()
    assert list(labels.indices) == [(), ()]
    with pytest.raises(SourceError, match="need `label`"):
        assign_labels(index(protein=["A"]), None, classes=["A"])


def test_several_labels_are_divided_by_the_separator() -> None:
    labels = assign_labels(index(label=["b;a", "a", "c"]), "label", separator=";")
    assert labels.multi_label
    assert labels.indices == [(0, 1), (0,), (2,)]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_second_table_joins_by_protein(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"huh{suffix}"
    table = pd.DataFrame({"protein": ["A", "B", "C"], "place": ["ER", "ER", "nucleus"]})
    if suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="," if suffix == ".csv" else "\t")
    labels = assign_labels(index(protein=["C", "A", "A"]), "place", label_table=path)
    assert labels.names == ("ER", "nucleus")
    assert labels.indices == [(1,), (0,), (0,)]


def test_key_of_the_second_table_can_be_another_column(tmp_path: Path) -> None:
    (tmp_path / "plates.csv").write_text("plate,drug\n1,none\n2,rapamycin\n")
    cells = index(plate=[2, 1])  # numbers, as Parquet has them
    labels = assign_labels(cells, "drug", label_table=tmp_path / "plates.csv", label_key="plate")
    assert labels.indices == [(1,), (0,)]


def test_conflicting_rows_of_the_second_table_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("protein,place\nA,ER\nA,ER\nA,nucleus\n")
    with pytest.raises(SourceError, match=r"'A' as 'ER' and 'nucleus' \(t\.csv, line 4\)"):
        assign_labels(index(protein=["A"]), "place", label_table=tmp_path / "t.csv")


def test_protein_that_the_table_lacks_is_refused_or_skipped(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("protein,place\nA,ER\nB,\n")
    cells = index(protein=["A", "B", "C", "C"])
    table: Any = {"label_table": tmp_path / "t.csv"}
    with pytest.raises(SourceError, match=r"'C' \(1 of 3\) without a partner"):
        assign_labels(cells, "place", **table)
    with pytest.raises(SourceError, match=r"none for protein 'B' \(1 crop of 4\)"):
        assign_labels(cells, "place", **table, allow_unmatched=1)
    labels = assign_labels(index(protein=["A", "C"]), "place", **table, allow_unmatched=1)
    assert labels.unknown.tolist() == [False, True]
    assert labels.join is not None
    assert labels.join.counts() == {
        "joined": ["names of 'protein' of the crops", "names of t.csv"],
        "data": 2,
        "data_matched": 1,
        "data_unmatched": {"count": 1, "some": ["C"]},
        "reference": 2,
        "reference_matched": 1,
        "reference_unmatched": {"count": 1, "some": ["B"]},
        "respelled": 0,
    }
    labels = assign_labels(cells, "place", label_table=tmp_path / "t.csv", unknown="skip")
    assert labels.unknown.tolist() == [False, True, True, True]
    assert labels.indices == [(0,), (), (), ()]


def test_unknown_label_is_refused_with_the_nearest_class() -> None:
    cells = index(label=["nucleus", "nucleolus", "ER"])
    with pytest.raises(
        SourceError, match=r"'nucleolus' at key 'cell 1' \(1 crop of 3\)\. Did you mean 'nucleus'"
    ):
        assign_labels(cells, "label", classes=["nucleus", "ER"])
    labels = assign_labels(cells, "label", classes=["nucleus", "ER"], unknown="skip")
    assert labels.unknown.tolist() == [False, True, False]


def test_crop_with_one_unknown_label_of_several_is_unknown() -> None:
    cells = index(label=["a;x", "a"])
    labels = assign_labels(cells, "label", separator=";", classes=["a"], unknown="skip")
    assert labels.unknown.tolist() == [True, False]


@pytest.mark.parametrize("value", ["", None, float("nan")])
def test_missing_label_is_refused(value: Any) -> None:
    with pytest.raises(SourceError, match=r"none for key 'cell 1' \(1 crop of 2\)"):
        assign_labels(index(label=["a", value]), "label")


@pytest.mark.parametrize("spelling", ["nucleus ", " nucleus", "nucleus\n"])
def test_stray_space_makes_no_class(spelling: str) -> None:
    labels = assign_labels(index(label=["nucleus", spelling, "ER"]), "label")
    assert labels.names == ("ER", "nucleus")
    assert labels.indices == [(1,), (1,), (0,)]


def test_control_characters_are_refused() -> None:
    with pytest.raises(SourceError, match="must not hold control"):
        assign_labels(index(label=["nucleus", "nuc\tleus"]), "label")


@pytest.mark.parametrize("spelling", ["Nucleus", "NUCLEUS"])
def test_labels_that_differ_in_case_alone_are_refused(spelling: str) -> None:
    with pytest.raises(SourceError, match="differ in more than case"):
        assign_labels(index(label=["nucleus", spelling]), "label")
    with pytest.raises(SourceError, match="differ in more than case"):
        assign_labels(index(label=[spelling]), "label", classes=["nucleus"])


def test_missing_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("protein,place\nA,ER\n")
    with pytest.raises(TableError, match=r"`label` .*'lable'.*Did you mean 'label'"):
        assign_labels(index(label=["a"]), "lable")
    with pytest.raises(TableError, match=r"label column of .*t\.csv"):
        assign_labels(index(protein=["A"]), "where", label_table=tmp_path / "t.csv")
    with pytest.raises(TableError, match="`label_key`"):
        assign_labels(index(gene=["A"]), "place", label_table=tmp_path / "t.csv")


@pytest.mark.parametrize("classes", [["a", "a"], ["a", ""]])
def test_classes_must_be_different_names(classes: list[str]) -> None:
    with pytest.raises(SourceError, match="`classes` must be different names"):
        assign_labels(index(label=["a"]), "label", classes=classes)
