"""Standards from files, and what they say of the proteins at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from deeploc_tf.benchmark.standards import (
    Standard,
    StandardError,
    annotate,
    read_standard,
    sized,
)


def test_gmt_and_two_columns_hold_the_same(tmp_path: Path) -> None:
    gmt, pairs = tmp_path / "s.gmt", tmp_path / "s.tsv"
    gmt.write_text("# a comment\nER\tdescription\tAAA1\tBBB2\r\n\nGolgi\t\tBBB2\tCCC3\t\n")
    pairs.write_text("\ufeffAAA1\tER\nBBB2\tER\nBBB2\tGolgi\nCCC3\tGolgi\n", encoding="utf-8")
    expected = {"ER": {"AAA1", "BBB2"}, "Golgi": {"BBB2", "CCC3"}}
    assert read_standard(gmt).terms == read_standard(pairs).terms == expected
    assert read_standard(gmt).name == "s"
    assert read_standard(pairs, "complexes").name == "complexes"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.gmt", "ER\tx\tA\tB\nGolgi\tx\n", r"s\.gmt, line 2: 'Golgi\\tx'"),
        ("s.gmt", "\tx\tA\n", "line 1"),
        ("s.gmt", "ER\tx\tA\nER\tx\tB\n", "'ER' in lines 1 and 2"),
        ("s.tsv", "A\tER\nB\n", r"s\.tsv, line 2: 'B'"),
        ("s.tsv", "A\tER\tmore\n", "line 1"),
        ("s.tsv", "# nothing\n", "must have a term"),
    ],
)
def test_malformed_lines_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(StandardError, match=message):
        read_standard(tmp_path / name)


def test_text_of_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.tsv").write_bytes(b"A\tM\xfcller\n")
    with pytest.raises(StandardError, match=r"UTF-8.*byte 3"):
        read_standard(tmp_path / "s.tsv")


def test_terms_with_one_member_here_and_proteins_without_a_term_take_no_part() -> None:
    standard = Standard(
        "s", {"ER": frozenset("abx"), "Golgi": frozenset("cy"), "cis": frozenset("ab")}
    )
    annotation = annotate(standard, ["c", "b", "d", "a"])
    assert annotation.proteins.tolist() == [1, 3]
    assert annotation.terms == ("ER", "cis")
    assert annotation.members.toarray().tolist() == [[1, 1], [1, 1]]
    assert annotation.coverage == {
        "proteins_with_profile": 4,
        "proteins_in_standard": 5,
        "proteins_in_both": 3,
        "proteins_matched_by_form": 0,
        "proteins_scored": 2,
        "terms_in_standard": 3,
        "terms_too_small": 1,
        "terms_too_large": 0,
        "terms_scored": 2,
    }


def test_names_of_another_kind_are_shown() -> None:
    with pytest.raises(StandardError, match=r"none of 2.*AAC1.*YAL001C"):
        annotate(Standard("s", {"ER": frozenset(["YAL001C", "YAL002W"])}), ["AAC1", "AAC3"])


def test_sizes_are_counted_among_the_proteins_with_a_profile() -> None:
    standard = Standard(
        "s", {"ER": frozenset("abcx"), "Golgi": frozenset("abxyz"), "cis": frozenset("abcd")}
    )
    annotation = annotate(standard, list("abcd"), min_size=3, max_size=3)
    assert annotation.terms == ("ER",)
    assert annotation.coverage["terms_too_small"] == annotation.coverage["terms_too_large"] == 1
    assert annotation.proteins.tolist() == [0, 1, 2]
    with pytest.raises(StandardError, match=r"5 to 9 proteins with a profile.*3 terms with fewer"):
        annotate(standard, list("abcd"), min_size=5, max_size=9)
    for sizes in ({"min_size": 1}, {"min_size": 3, "max_size": 2}):
        with pytest.raises(StandardError, match="`min_size` must be 2 or more"):
            annotate(standard, list("abcd"), **sizes)


def test_terms_of_other_sizes_are_left_out_and_counted() -> None:
    terms = {"a": frozenset("x"), "b": frozenset("xy"), "c": frozenset("xyz")}
    standard = Standard("s", terms, {"a": "A", "b": "B"}, {"left_out": {"NOT": 1}})
    chosen = sized(standard, 2, 2)
    assert chosen.terms == {"b": frozenset("xy")}
    assert chosen.descriptions == {"b": "B"}
    assert chosen.report["left_out"] == {"NOT": 1, "term too small": 1, "term too large": 1}
    with pytest.raises(StandardError, match=r"4 to any number of members\. Received: 3 with fewer"):
        sized(standard, 4)
