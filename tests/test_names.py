"""When two names are one: matched, refused, and the same whatever the order they come in."""

from __future__ import annotations

import unicodedata

import pytest

from deeploc_tf.names import NameConflictError, respelled, same_form, tidy, unified, well_name

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
    assert repr(other) in respelled(spelling, "Names") or repr(one) in respelled(spelling, "Names")


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
