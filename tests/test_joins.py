"""Two tables with names in common: who has a partner, who has none, and what is refused."""

from __future__ import annotations

import logging
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeploc_tf.joins import JoinError, joined
from deeploc_tf.names import Kind, NameConflictError, date_hint, same_form, unified

KINDS: tuple[Kind, ...] = (
    "channel", "split", "well", "field", "plate", "label", "protein", "group", "key",
)  # fmt: skip
WORDS = ("names of the data", "names of the table")
UNSEEN = ["", " ", "\u200b", "\u00a0", "\ufeff"]


def spellings_that_nobody_sees(name: str) -> st.SearchStrategy[str]:
    """The name with outer spaces and zero-width characters, in one of the Unicode forms."""
    around = st.sampled_from(UNSEEN)
    form: Any = st.sampled_from(["NFC", "NFD"])
    return st.builds(lambda a, b, f: a + unicodedata.normalize(f, name) + b, around, around, form)


NAMES = st.sampled_from(["P1", "ACT1", "p\u00e9ri", "A1", "vac mem", "7", "B 02"])


@given(kind=st.sampled_from(KINDS), pair=NAMES.flatmap(
    lambda name: st.tuples(spellings_that_nobody_sees(name), spellings_that_nobody_sees(name))
))  # fmt: skip
def test_what_nobody_sees_joins_for_every_kind(kind: Kind, pair: tuple[str, str]) -> None:
    one, other = pair
    found = joined([one], [other], kind, WORDS).checked()
    assert found.partners == {one: other}
    assert found.data_of == {other: one}
    assert found.counts()["respelled"] == (one != other)
    assert len(set(unified(pair, kind, "Names").values())) == 1


@given(kind=st.sampled_from(KINDS), name=NAMES.filter(lambda n: n.swapcase() != n))
def test_case_by_kind(kind: Kind, name: str) -> None:
    found = joined([name], [name.swapcase()], kind, WORDS)
    if kind in ("channel", "split", "well"):
        assert found.checked().partners
    elif kind == "key":
        with pytest.raises(JoinError, match="none of 1"):
            found.check(None)
        assert len(set(unified([name, name.swapcase()], kind, "Keys").values())) == 2
    else:
        with pytest.raises(JoinError, match="differ in more than case"):
            found.check(None)
        with pytest.raises(NameConflictError):
            unified([name, name.swapcase()], kind, "Names")


@given(kind=st.sampled_from(KINDS), stem=st.sampled_from(["P", "B", "", "f "]),
       number=st.integers(1, 12), zeros=st.integers(1, 3))  # fmt: skip
def test_leading_zeros_by_kind(kind: Kind, stem: str, number: int, zeros: int) -> None:
    one, other = f"{stem}{number}", f"{stem}{'0' * zeros}{number}"
    found = joined([one], [other], kind, WORDS)
    if kind in ("well", "field"):
        assert found.checked().partners == {one: other}
    elif kind == "key":
        assert not found.partners
        assert not found.almost
    else:
        with pytest.raises(JoinError, match="leading zeros"):
            found.check(None)


@given(row=st.integers(1, 32), column=st.integers(1, 48), data=st.data())
def test_a_well_is_one_in_every_spelling(row: int, column: int, data: Any) -> None:
    letters = "A" * (row > 26) + chr(ord("A") + (row - 1) % 26)
    forms = [
        f"{letters}{column}", f"{letters.lower()}{column:02}", f"r{row:02}c{column:02}",
        f"R{row}C{column}", f" {letters}{column:03} ",
    ]  # fmt: skip
    one, other = data.draw(st.sampled_from(forms)), data.draw(st.sampled_from(forms))
    assert joined([one], [other], "well", WORDS).checked().partners == {one: other}


@given(
    ours=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8),
    theirs=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8),
    allowed=st.integers(0, 8),
)
def test_who_has_a_partner_is_counted(ours: list[str], theirs: list[str], allowed: int) -> None:
    found = joined(ours, theirs, "plate", WORDS)
    both, mine, other = set(ours) & set(theirs), set(ours) - set(theirs), set(theirs) - set(ours)
    assert found.counts() == {
        "joined": list(WORDS),
        "data": len(set(ours)),
        "data_matched": len(both),
        "data_unmatched": {"count": len(mine), "some": sorted(mine)},
        "reference": len(set(theirs)),
        "reference_matched": len(both),
        "reference_unmatched": {"count": len(other), "some": sorted(other)},
        "respelled": 0,
    }
    if not both or len(mine) > allowed:
        with pytest.raises(JoinError):
            found.check(allowed)
    else:
        found.check(allowed)


def test_no_match_at_all_shows_three_names_of_each_side() -> None:
    found = joined(["q1", "q2", "q3", "q4"], ["x1", "x2", "x3", "x4"], "plate", WORDS)
    with pytest.raises(
        JoinError,
        match=r"none of 4, such as 'q1', 'q2', 'q3' and 1 more; the names of the table are "
        r"'x1', 'x2', 'x3' and 1 more",
    ):
        found.check(None)
    with pytest.raises(JoinError, match="none of 4"):
        found.check(4)


def test_parts_of_a_name_are_each_of_their_kind(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    found = joined(
        [("P1 ", "a1"), ("P1", "B2"), ("P2", "A1")],
        [("P1", "A01"), ("P2", "r01c01"), ("P3", "A01")],
        ["plate", "well"],
        WORDS,
    )
    assert found.partners == {("P1 ", "a1"): ("P1", "A01"), ("P2", "A1"): ("P2", "r01c01")}
    assert found.unmatched == (("P1", "B2"),)
    assert found.unused == (("P3", "A01"),)
    with pytest.raises(JoinError, match=r"'P1/B2' \(1 of 3\) without a partner.*'P3/A01'"):
        found.checked()
    found.checked(1)
    assert "2 of 3 names of the data and 2 of 3 names of the table meet." in caplog.text
    assert "only among the names of the table: 'P3/A01'" in caplog.text
    with pytest.raises(JoinError, match=r"'p1/A1' and 'P1/A01'"):
        joined([("p1", "A1")], [("P1", "A01")], ["plate", "well"], WORDS).check(None)


def test_several_data_sets_are_joined_to_one_table() -> None:
    table = ["A01", "B01", "C01"]
    first, second = (joined([w], table, "well", WORDS) for w in ("a1", "b1"))
    both = first.merged(second).merged(joined(["H1"], table, "well", WORDS))
    assert both.partners == {"a1": "A01", "b1": "B01"}
    assert (both.unmatched, both.unused) == (("H1",), ("C01",))


def test_alleles_join_if_somebody_says_so() -> None:
    with pytest.raises(JoinError, match="--distinct-case"):
        joined(["ACT1", "act1"], ["ACT1"], "protein", WORDS).check(None)
    found = joined(["ACT1", "act1"], ["ACT1"], "protein", WORDS, distinct_case=True)
    assert found.checked(1).unmatched == ("act1",)
    with pytest.raises(JoinError, match="leading zeros"):
        joined(["ACT1", "ACT01"], ["ACT1"], "protein", WORDS, distinct_case=True).check(None)


@pytest.mark.parametrize(
    "date", ["1-Sep", "01-Mar", "Sep-01", "2023-10-01", "10/1/2023", "1-Dec-23", "01. Mrz"]
)
def test_names_that_spreadsheets_made_dates_are_told(date: str) -> None:
    assert f"'{date}' looks like a date" in date_hint(["SEC61", date])
    with pytest.raises(JoinError, match="looks like a date"):
        joined(["SEC61", date], ["SEC61", "SEP1"], "protein", WORDS).checked()


@pytest.mark.parametrize(
    "name", ["SEP1", "sep-1", "DEC-205", "MARCH5", "YAL001C", "1-2", "OCT1", "YDR524W-A", "HLA-A"]
)
def test_names_of_genes_are_no_dates(name: str) -> None:
    assert not date_hint([name])


def test_the_same_form_of_a_key_has_its_case_and_zeros() -> None:
    assert same_form(" Cell 01", "key") == "Cell 01"
