"""When two names are one: matched, refused, and the same whatever the order they come in."""

from __future__ import annotations

import unicodedata

import pytest

from deeploc_tf.names import (
    NameConflictError,
    kind_of_column,
    known_split,
    respelled,
    same_form,
    tidy,
    unified,
    well_name,
)

E_ACUTE = "Plate \u00e9"
UNSEEN = [
    ("P1", "P1 "),
    ("P1", "\tP1"),
    ("P1", "P1\u200b"),
    ("P1", "\ufeffP1"),
    ("P1", "P1\u00a0"),
    ("P 1", "P  1"),
    (E_ACUTE, unicodedata.normalize("NFD", E_ACUTE)),
    ("ER", "\uff25\uff32"),
    ("vac-mem", "vac\u2010mem"),
]
KINDS = ["channel", "split", "well", "field", "plate", "label", "protein", "group"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("one", "other"), UNSEEN, ids=ascii)
def test_what_nobody_sees_is_matched_for_every_kind(one: str, other: str, kind) -> None:
    spelling = unified([other, one], kind, "Names")
    assert len(set(spelling.values())) == 1
    assert spelling == unified([one, other], kind, "Names")
    said = respelled(spelling, "Names")
    assert any(quoted(name) in said for name in (one, other) for quoted in (repr, ascii))


@pytest.mark.parametrize("kind", KINDS)
def test_case_is_matched_for_channels_splits_and_wells_only(kind) -> None:
    if kind in {"channel", "split", "well"}:
        assert len(set(unified(["ab", "AB"], kind, "Names").values())) == 1
    else:
        with pytest.raises(NameConflictError, match="'AB' and 'ab'"):
            unified(["ab", "AB"], kind, "Names")


@pytest.mark.parametrize("kind", KINDS)
def test_leading_zeros_are_matched_for_wells_and_fields_only(kind) -> None:
    if kind in {"well", "field"}:
        assert len(set(unified(["B1", "B01"], kind, "Names").values())) == 1
    else:
        with pytest.raises(NameConflictError, match="'B01' and 'B1'"):
            unified(["B1", "B01"], kind, "Names")


def test_proteins_that_differ_in_case_may_be_alleles() -> None:
    spelling = unified(["act1", "ACT1", "ACT1 "], "protein", "Proteins", distinct_case=True)
    assert spelling == {"act1": "act1", "ACT1": "ACT1", "ACT1 ": "ACT1"}


@pytest.mark.parametrize("name", ["val", "Valid", "dev", "VALIDATION", "validation "])
def test_validation_has_many_names(name: str) -> None:
    assert unified([name, "train"], "split", "Splits")[name] == "validation"


def test_names_that_only_look_alike_stay_two() -> None:
    names = ["1.1", "1.10", "1.01", "A1", "A10", "10", "1", "100"]
    assert unified(names, "plate", "Plates") == {name: name for name in names}
    assert unified(names, "field", "Fields") == {name: name for name in names}


def test_one_spelling_stays_as_it_is() -> None:
    assert unified(["a1", "007", ""], "well", "Wells") == {"a1": "a1", "007": "007", "": ""}
    assert not respelled({"a1": "a1"}, "Wells")


@pytest.mark.parametrize(
    ("name", "well"),
    [("A1", "A01"), ("p24", "P24"), ("AF48", "AF48"), ("r16c024", "P24"), ("r32c48", "AF48")],
)
def test_wells_of_all_plates(name: str, well: str) -> None:
    assert well_name(name) == well
    assert same_form(name, "well") == same_form(well.lower(), "well")


@pytest.mark.parametrize("name", ["AG1", "A49", "A0", "r0c1", "r33c1", "1A", "", "ACT1"])
def test_what_is_no_well(name: str) -> None:
    assert well_name(name) is None


def test_tidy_keeps_what_can_be_seen() -> None:
    assert tidy("Cell Area (\u00b5m\u00b2)") == "Cell Area (\u00b5m\u00b2)"


@pytest.mark.parametrize(
    "unseen",
    [
        "\u200b",
        "\u2060",
        "\u00ad",
        "\u034f",
        "\u3164",
        "\ufe0f",
        "\u180e",
        "\x00",
        "\x7f",
        "\u200e",
    ],
    ids=ascii,
)
def test_what_is_not_drawn_is_no_difference(unseen: str) -> None:
    assert tidy(f"P{unseen}1{unseen}") == "P1"
    assert tidy(f"{unseen} P1") == "P1"


@pytest.mark.parametrize("other", ["P\u00b9", "P\u2081", "P\u2460"], ids=ascii)
def test_what_is_drawn_otherwise_is_another_name_or_refused(other: str) -> None:
    assert same_form(other, "plate") != same_form("P1", "plate")
    with pytest.raises(NameConflictError):
        unified(["P1", other], "plate", "Plates")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("one", "other"), [("P1", "\u03a11"), ("PAX", "\u0420\u0410\u0425"), ("cox", "\u0441ox")]
)
def test_letters_of_other_alphabets_are_refused_and_told_apart(one: str, other: str, kind) -> None:
    with pytest.raises(NameConflictError, match=r"\\u0"):
        unified([one, other], kind, "Names")
    assert unified([other], kind, "Names") == {other: other}


def test_inner_spaces_stay_where_nobody_writes_the_name_without_them() -> None:
    assert unified(["P  1 ", "Q"], "plate", "Plates") == {"P  1 ": "P  1", "Q": "Q"}
    assert set(unified(["P  1", "P 1"], "plate", "Plates").values()) == {"P 1"}


def test_a_decimal_comma_begins_no_number() -> None:
    assert unified(["1,05", "1,5"], "group", "Doses") == {"1,05": "1,05", "1,5": "1,5"}


@pytest.mark.parametrize(
    ("name", "known", "found"),
    [
        ("val", ["test", "train", "validation"], "validation"),
        ("Validation", ["train", "val"], "val"),
        ("TEST ", ["test"], "test"),
        ("val", ["val", "validation"], "val"),
        ("holdout", ["train"], "holdout"),
    ],
)
def test_a_split_is_found_by_any_of_its_names(name: str, known: list[str], found: str) -> None:
    assert known_split(name, known) == found


def test_kinds_of_columns() -> None:
    names = ["plate", "Plate", "Metadata_Well", "Image_Metadata_Field", "batch", " well"]
    kinds = ["plate", "plate", "well", "field", "group", "well"]
    assert list(map(kind_of_column, names)) == kinds
