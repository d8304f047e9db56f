"""Splits: conditions, fractions of groups, and the leaks that are refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeploc_tf.ingest.splits import (
    check_groups,
    check_splits,
    split_by_conditions,
    split_by_fractions,
)
from deeploc_tf.text_tables import TableError
from tfrecords.errors import SplitError


def cells(proteins: int = 5, fields: int = 4, each: int = 10) -> pd.DataFrame:
    """An index; field f of protein p has `each` + p + f cells."""
    rows = [
        {"key": f"{p}/{f}/{c}", "protein": f"P{p}", "field": f}
        for p in range(proteins)
        for f in range(1, fields + 1)
        for c in range(each + p + f)
    ]
    return pd.DataFrame(rows)


def test_conditions_choose_and_the_rest_trains() -> None:
    index = cells()
    split = split_by_conditions(index, {"test": [("field", "4")], "validation": [("field", "3")]})
    expected = {1: "train", 2: "train", 3: "validation", 4: "test"}
    assert split.tolist() == [expected[field] for field in index["field"]]


def test_values_of_a_column_are_alternatives_and_columns_must_all_hold() -> None:
    index = cells()
    pairs = [("field", "1"), ("field", "2"), ("protein", "P3")]
    split = split_by_conditions(index, {"test": pairs})
    chosen = index["field"].isin([1, 2]) & (index["protein"] == "P3")
    assert (split == "test").tolist() == chosen.tolist()


def test_without_a_rest_other_crops_are_left_out() -> None:
    index = cells()
    split = split_by_conditions(
        index, {"test": [("field", "4")], "train": [("field", "1")]}, rest=None
    )
    assert Counter(split) == Counter(
        index["field"].map({1: "train", 2: None, 3: None, 4: "test"}).replace({np.nan: None})
    )


def test_condition_that_no_crop_meets_is_refused() -> None:
    with pytest.raises(
        SplitError, match=r"split 'test'.*field=9, where field is one of 1, 2, 3, 4"
    ):
        split_by_conditions(cells(), {"test": [("field", "9")]})
    with pytest.raises(SplitError, match="Did you mean 'P3'"):
        split_by_conditions(cells(), {"test": [("protein", "p3")]})
    with pytest.raises(TableError, match=r"'fields'.*Did you mean 'field'"):
        split_by_conditions(cells(), {"test": [("fields", "4")]})


def test_crop_in_two_conditions_is_refused() -> None:
    conditions = {"test": [("field", "4")], "validation": [("protein", "P0")]}
    with pytest.raises(SplitError, match="'0/4/0' in test and validation"):
        split_by_conditions(cells(), conditions)


FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def labels_of(index: pd.DataFrame) -> list[tuple[int, ...]]:
    return [(int(name[1:]) % 3,) for name in index["protein"]]


def test_groups_stay_whole_and_shares_are_met() -> None:
    index = cells(proteins=30)
    labels = labels_of(index)
    group_by = ["protein", "field"]
    split = split_by_fractions(index, FRACTIONS, group_by, labels=labels, seed=1)
    check_groups(index, split, group_by)
    for label in range(3):
        chosen = [name for name, (i,) in zip(split, labels, strict=True) if i == label]
        for name, share in FRACTIONS.items():
            assert chosen.count(name) / len(chosen) == pytest.approx(share, abs=0.04)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), shuffle=st.integers(0, 1000))
def test_split_does_not_depend_on_the_order_of_the_rows(seed: int, shuffle: int) -> None:
    index = cells(proteins=4, each=2)
    moved = index.sample(frac=1, random_state=shuffle).reset_index(drop=True)
    splits = [
        dict(
            zip(
                rows["key"],
                split_by_fractions(
                    rows, FRACTIONS, ["protein", "field"], labels=labels_of(rows), seed=seed
                ),
                strict=True,
            )
        )
        for rows in (index, moved)
    ]
    assert splits[0] == splits[1]


def test_split_is_the_same_for_ever_and_the_seed_changes_it() -> None:
    index = cells(proteins=2, each=1)
    splits = [
        split_by_fractions(index, FRACTIONS, ["protein", "field"], seed=seed).tolist()
        for seed in range(5)
    ]
    assert len({tuple(split) for split in splits}) > 1
    groups = dict(zip(zip(index["protein"], index["field"], strict=True), splits[0], strict=True))
    assert groups == GOLDEN


# exact: the same data and seed must give the same split in every version and on every machine
GOLDEN = {
    ("P0", 1): "validation",
    ("P0", 2): "train",
    ("P0", 3): "test",
    ("P0", 4): "train",
    ("P1", 1): "test",
    ("P1", 2): "validation",
    ("P1", 3): "train",
    ("P1", 4): "train",
}


def test_every_split_gets_groups_when_classes_have_few() -> None:
    index = cells(proteins=5, fields=4)
    labels = [(int(name[1:]),) for name in index["protein"]]
    fractions = {"train": 0.8, "validation": 0.1, "test": 0.1}
    split = split_by_fractions(index, fractions, ["protein", "field"], labels=labels)
    check_splits(split, list(fractions), labels, [f"P{i}" for i in range(5)])


@pytest.mark.parametrize(
    "fractions", [{}, {"train": 1.1}, {"train": 0.5, "test": 0.4}, {"train": 1.0, "test": 0.0}]
)
def test_fractions_must_be_shares_of_a_whole(fractions: dict[str, float]) -> None:
    with pytest.raises(SplitError, match="add up to 1"):
        split_by_fractions(cells(), fractions, ["field"])


def test_fractions_of_single_cells_are_refused() -> None:
    with pytest.raises(SplitError, match="--group protein,field"):
        split_by_fractions(cells(), FRACTIONS, [])


def test_group_in_two_splits_is_refused_by_name() -> None:
    index = cells(proteins=2)
    split = split_by_conditions(index, {"test": [("field", "4")]})
    check_groups(index, split, ["field"])
    check_groups(index, split, ["protein", "field"])
    with pytest.raises(SplitError, match=r"protein='P0' in test and train \(2 such groups\)"):
        check_groups(index, split, ["protein"])


def test_left_out_crops_do_not_leak() -> None:
    index = cells(proteins=2)
    split = split_by_conditions(index, {"test": [("field", "4")]}, rest=None)
    check_groups(index, split, ["protein"])


def test_empty_split_is_refused() -> None:
    split = np.array(["train", "train"], dtype=object)
    with pytest.raises(SplitError, match="none in 'test'"):
        check_splits(split, ["train", "test"], [(0,), (0,)], ["a"])


def test_class_without_training_crops_is_refused() -> None:
    split = np.array(["train", "test", None], dtype=object)
    with pytest.raises(SplitError, match="none for 'b', 'c'"):
        check_splits(split, ["train", "test"], [(0,), (1,), (2,)], ["a", "b", "c"])
