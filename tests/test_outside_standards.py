"""Files of standards as people have them: read right, or refused; what is dropped is counted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shared import run_cli

from deeploc_tf.benchmark.standards import Standard, StandardError, annotate, read_standard

GAF = "!gaf-version: 2.2\n"


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def gaf_line(symbol: str, go_id: str, qualifier: str = "", evidence: str = "IDA") -> str:
    fields = ["SGD", f"id-{symbol}", symbol, qualifier, go_id, "PMID:1", evidence, "", "P"]
    return "\t".join([*fields, "", "", "protein", "taxon:559292", "20200101", "SGD"]) + "\n"


def annotations(folder: Path) -> Path:
    lines = [gaf_line("A", "GO:0000001"), gaf_line("B", "GO:0000001", evidence="IEA")]
    return written(folder, "a.gaf", GAF + "".join(lines) + gaf_line("C", "GO:0000001"))


# --- filters that must not miss


@pytest.mark.parametrize("code", ["IEA", "iea", "Iea", " iea "])
def test_evidence_codes_are_matched_whatever_their_case(tmp_path: Path, code: str) -> None:
    standard = read_standard(annotations(tmp_path), exclude_evidence=[code])
    assert standard.terms == {"GO:0000001": {"A", "C"}}
    assert standard.report["left_out"]["evidence IEA"] == 1


def test_codes_in_lower_case_in_the_file_are_codes(tmp_path: Path) -> None:
    text = GAF + gaf_line("A", "GO:0000001") + gaf_line("B", "GO:0000001", evidence="iea")
    standard = read_standard(written(tmp_path, "a.gaf", text), exclude_evidence=["IEA"])
    assert standard.terms == {"GO:0000001": {"A"}}


@pytest.mark.parametrize(("code", "nearest"), [("IAE", "IEA"), ("IDAA", "IDA"), ("XYZ", "")])
def test_evidence_that_the_file_does_not_have_is_refused(
    tmp_path: Path, code: str, nearest: str
) -> None:
    with pytest.raises(StandardError, match=code) as error:
        read_standard(annotations(tmp_path), exclude_evidence=["IEA", code])
    assert "IDA, IEA" in str(error.value)
    assert (f"Did you mean {nearest!r}" in str(error.value)) == bool(nearest)


def test_evidence_is_refused_by_the_command_as_well(tmp_path: Path) -> None:
    path = str(annotations(tmp_path))
    found = run_cli("standards", path, "--exclude-evidence", "iea")
    assert found.exit_code == 0
    assert "1 evidence IEA" in found.stdout
    found = run_cli("standards", path, "--exclude-evidence", "IEAA")
    assert found.exit_code == 1
    assert "Did you mean 'IEA'?" in found.stderr


# --- GAF


@pytest.mark.parametrize(
    "qualifier",
    ["NOT", "not", "Not", "NOT|part_of", "not|part_of", "part_of|not", "acts_upstream_of| NOT "],
)
def test_negative_annotations_are_left_out(tmp_path: Path, qualifier: str) -> None:
    text = GAF + gaf_line("A", "GO:0000001") + gaf_line("B", "GO:0000001", qualifier)
    standard = read_standard(written(tmp_path, "a.gaf", text))
    assert standard.terms == {"GO:0000001": {"A"}}
    assert standard.report["left_out"]["NOT"] == 1


def test_a_qualifier_that_only_contains_not_is_none(tmp_path: Path) -> None:
    text = GAF + gaf_line("A", "GO:0000001", "located_in_nothing")
    assert read_standard(written(tmp_path, "a.gaf", text)).terms == {"GO:0000001": {"A"}}


@pytest.mark.parametrize(
    "qualifier",
    [
        "NOTinvolved",
        "notinvolved_in",
        "NOT part_of",
        "NOT,part_of",
        "part_of|Not_part_of",
        "part_of NOT",
        "part_of;not",
        "does_not_enable",
        "not-in|NOT",
    ],
)
def test_a_qualifier_that_seems_to_deny_is_refused(tmp_path: Path, qualifier: str) -> None:
    text = GAF + gaf_line("A", "GO:0000001") + gaf_line("B", "GO:0000001", qualifier)
    with pytest.raises(StandardError, match=r"negation must be NOT alone.*line 3"):
        read_standard(written(tmp_path, "a.gaf", text))


def test_one_symbol_of_two_proteins_is_counted(tmp_path: Path) -> None:
    line = gaf_line("A", "GO:0000001")
    text = GAF + line + line.replace("id-A", "id-of-another-species")
    standard = read_standard(written(tmp_path, "a.gaf", text))
    assert standard.report["notes"]["names that stand for several proteins"] == 1


# --- GMT


def test_gmt_without_descriptions_keeps_every_member(tmp_path: Path) -> None:
    text = "ER\tSEC61\tSEC62\tSEC63\nGolgi\tSEC62\tANP1\nbud\tBUD3\tBUD4\tSEC61\n"
    standard = read_standard(written(tmp_path, "s.gmt", text))
    assert standard.terms["ER"] == {"SEC61", "SEC62", "SEC63"}
    assert standard.terms["Golgi"] == {"SEC62", "ANP1"}
    assert standard.terms["bud"] == {"BUD3", "BUD4", "SEC61"}
    assert not standard.descriptions
    assert standard.report["notes"] == {"lines without a description, all fields are members": 3}


def test_gmt_of_disjoint_complexes_without_descriptions(tmp_path: Path) -> None:
    orfs = [f"YAL{i:03}{'CW'[i % 2]}" for i in range(24)]
    text = "".join(f"c{k}\t" + "\t".join(orfs[6 * k : 6 * k + 6]) + "\n" for k in range(4))
    standard = read_standard(written(tmp_path, "s.gmt", text))
    assert sum(map(len, standard.terms.values())) == 24


@pytest.mark.parametrize(
    "descriptions",
    [
        ("", "", ""),
        ("na", "na", "na"),
        ("NA", "NA", "NA"),
        ("http://x.org/ER", "http://x.org/G", "http://x.org/B"),
        ("endoplasmic reticulum", "Golgi apparatus", "bud neck"),
        ("nucleus", "Golgi", "bud"),
        ("GO:0005783", "GO:0005794", "GO:0005933"),
    ],
)
def test_gmt_with_descriptions_loses_and_gains_no_member(
    tmp_path: Path, descriptions: tuple[str, str, str]
) -> None:
    members = ("SEC61\tSEC62", "SEC62\tANP1", "BUD3\tBUD4")
    pairs = zip(descriptions, members, strict=True)
    text = "".join(f"t{k}\t{about}\t{those}\n" for k, (about, those) in enumerate(pairs))
    standard = read_standard(written(tmp_path, "s.gmt", text))
    assert list(standard.terms.values()) == [set(those.split("\t")) for those in members]
    assert not standard.report["notes"]


def test_gmt_that_may_be_either_is_refused_until_one_says_which(tmp_path: Path) -> None:
    text = "ER\tSEC61\tSEC62\tSEC63\nGolgi\tthe Golgi apparatus\tSEC62\tANP1\nbud\t\tBUD3\tBUD4\n"
    path = written(tmp_path, "s.gmt", text)
    with pytest.raises(StandardError, match=r"gmt-described.*gmt-members|gmt-members.*gmt-desc"):
        read_standard(path)
    assert read_standard(path, format="gmt-described").terms["ER"] == {"SEC62", "SEC63"}
    assert "SEC61" in read_standard(path, format="gmt-members").terms["ER"]
    twice = "".join(f"{a}\t{a}\t{b}\n" for a, b in (("SEC61", "SSS1"), ("SEC62", "SEC63")) * 1)
    with pytest.raises(StandardError, match="gmt-members"):
        read_standard(written(tmp_path, "t.gmt", twice))


def test_a_header_of_gmt_is_no_term(tmp_path: Path) -> None:
    text = "term\tdescription\tgenes\nER\tx y\tSEC61\tSEC62\n"
    standard = read_standard(written(tmp_path, "s.gmt", text))
    assert set(standard.terms) == {"ER"}
    assert standard.report["left_out"] == {"header line": 1}


# --- comments, headers, quotation marks


def test_terms_may_begin_with_the_sign_of_comments(tmp_path: Path) -> None:
    text = "# made by hand\nER\t\tA1\tB2\n#2 complex\t\tC3\tD4\n# the end\n"
    standard = read_standard(written(tmp_path, "s.gmt", text))
    assert standard.terms == {"ER": {"A1", "B2"}, "#2 complex": {"C3", "D4"}}
    assert standard.report["notes"] == {"comment lines": 2}
    pairs = "A1\tER\nB2\tER\n#C3\tER\n"
    assert "#C3" in read_standard(written(tmp_path, "s.tsv", pairs)).terms["ER"]


def test_a_comment_before_the_data_that_looks_like_data_is_named(tmp_path: Path) -> None:
    text = "#1 complex\t\tA1\tB2\nER\t\tA1\tB2\n"
    standard = read_standard(written(tmp_path, "s.gmt", text))
    (reason,) = standard.report["left_out"]
    assert "#1 complex" in reason
    assert "line 1" in reason


@pytest.mark.parametrize(
    "header",
    [
        *("protein\tterm", "Gene\tCompartment", "#protein\tterm", "ORF\tcomplex"),
        *("geneName\tGO slim", "GeneID\tsource", "UniProtKB\tgroup"),
    ],
)
def test_a_header_of_two_columns_is_no_membership(tmp_path: Path, header: str) -> None:
    text = f"{header}\nA1\tER\nB2\tER\n"
    standard = read_standard(written(tmp_path, "s.tsv", text))
    assert standard.terms == {"ER": {"A1", "B2"}}
    assert sum(standard.report["left_out"].values()) == 1


@pytest.mark.parametrize(
    "header",
    ["Locus tag\tOntology", "Target\tbody", "x\tcompartment", "Strain\tx", "BAIT\tGO term"],
)
def test_a_first_line_that_may_be_a_header_is_refused(tmp_path: Path, header: str) -> None:
    lines = "SEC61\tER\nSEC62\tER\nYAL001C\tTFIIIC\n"
    with pytest.raises(StandardError, match=r"may be a header.*line 1"):
        read_standard(written(tmp_path, "s.tsv", f"{header}\n{lines}"))
    standard = read_standard(written(tmp_path, "named.tsv", f"protein\tterm\n{header}\n{lines}"))
    assert len(standard.terms) == 3


@pytest.mark.parametrize("first", ["SEC61\tpore", "TFC3\tTFIIIC", "CDC28\tkinase", "ACT\tER"])
def test_a_first_line_of_a_term_with_one_member_is_data(tmp_path: Path, first: str) -> None:
    text = f"{first}\nSEC62\tER\nSEC63\tER\n"
    protein, term = first.split("\t")
    assert protein in read_standard(written(tmp_path, "s.tsv", text)).terms[term]


def test_two_columns_in_the_other_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StandardError, match="protein and then the term"):
        read_standard(written(tmp_path, "s.tsv", "term\tprotein\nER\tA1\nER\tB2\n"))


def test_quotation_marks_are_data_within_names_and_refused_around_them(tmp_path: Path) -> None:
    pairs = written(tmp_path, "s.tsv", "AAP1'\tER\n5\"-A\tER\n")
    assert read_standard(pairs).terms == {"ER": {"AAP1'", '5"-A'}}
    for name, text in (
        ("q.tsv", '"A1"\t"ER"\nB2\tER\n'),
        ("q.gmt", 'ER\t\t"A1"\tB2\n'),
        ("r.gmt", 'ER\t\t"A1\tB2"\n'),
    ):
        with pytest.raises(StandardError, match="quote"):
            read_standard(written(tmp_path, name, text))


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("mark", ["\ufeff", ""])
def test_line_ends_and_byte_order_marks_are_no_part_of_names(
    tmp_path: Path, end: str, mark: str
) -> None:
    gmt = f"{mark}ER\t\tA1\tB2{end}Golgi\t\tA1\tC3\t{end}"
    expected = {"ER": {"A1", "B2"}, "Golgi": {"A1", "C3"}}
    assert read_standard(written(tmp_path, "s.gmt", gmt)).terms == expected
    pairs = f"{mark}A1\tER{end}B2\tER{end}A1\tGolgi{end}C3\tGolgi{end}"
    assert read_standard(written(tmp_path, "s.tsv", pairs)).terms == expected
    modules = mark + json.dumps({term: sorted(m) for term, m in expected.items()})
    assert read_standard(written(tmp_path, "s.json", modules)).terms == expected


def test_the_summary_of_huh_may_have_tabs(tmp_path: Path) -> None:
    text = "yORF localization summary\nYAL001C\tER,Golgi\nYAL002W ER\nYAL003W Ambiguous\n"
    standard = read_standard(written(tmp_path, "s.txt", text))
    assert standard.terms == {"ER": {"YAL001C", "YAL002W"}, "Golgi": {"YAL001C"}}
    assert standard.report["left_out"] == {"'ambiguous', not a compartment": 1}


def test_stoichiometry_in_any_form_hides_no_protein(tmp_path: Path) -> None:
    head = "#Complex ac\tRecommended name\tIdentifiers (and stoichiometry) of molecules in complex"
    cell = "P32797(n)|p38960(2)|Q07921(1 - 2)|Q01217:PRO_0000002073(0)|P06100 (3)"
    standard = read_standard(written(tmp_path, "c.tsv", f"{head}\nCPX-1\tone\t{cell}\n"))
    assert standard.terms["CPX-1"] == {"P32797", "P38960", "Q07921", "Q01217", "P06100"}
    assert not standard.report["left_out"]


def test_slims_find_alternative_ids(tmp_path: Path) -> None:
    pytest.importorskip("fastobo", reason="needs the extra go")
    term = "[Term]\nid: {}\nname: n\nnamespace: biological_process\n{}\n"
    obo = "format-version: 1.2\n\n" + term.format("GO:0000002", "alt_id: GO:0000022\n")
    slim = "format-version: 1.2\n\n" + term.format("GO:0000022", "")
    slim += term.format("GO:0000099", "")
    gaf = written(tmp_path, "a.gaf", GAF + gaf_line("A", "GO:0000002"))
    standard = read_standard(
        gaf,
        ontology=written(tmp_path, "o.obo", obo),
        slim=written(tmp_path, "slim.obo", slim),
    )
    assert standard.terms == {"GO:0000002": {"A"}}
    assert standard.report["notes"]["terms of the slim that the ontology does not have"] == 1


# --- names


def test_names_are_one_in_whatever_form_they_are_written(tmp_path: Path) -> None:
    modules = {"ER": ["A1", " B2", "Caf\u00e9", "D\u200b4"], "Golgi": ["A1\u200b", "Cafe\u0301"]}
    path = written(tmp_path, "s.json", json.dumps(modules))
    standard = read_standard(path)
    assert standard.terms["ER"] == {"A1", "B2", "Caf\u00e9", "D4"}
    assert standard.terms["Golgi"] == {"A1", "Caf\u00e9"}
    assert standard.report["notes"]["names made plain (spaces, Unicode form)"] == 4


def test_profiles_and_standard_meet_in_whatever_form_names_are_written() -> None:
    standard = Standard("s", {"ER": frozenset(["A1\u200b", "Cafe\u0301", "X9"])})
    annotation = annotate(standard, ["Caf\u00e9", " A1", "B2"])
    assert annotation.proteins.tolist() == [0, 1]
    assert annotation.coverage["proteins_in_both"] == 2
    assert annotation.coverage["proteins_matched_by_form"] == 2


def test_names_that_differ_in_case_are_refused_unless_they_are_alleles() -> None:
    standard = Standard("s", {"ER": frozenset(["A1", "B2", "C3", "D4"])})
    with pytest.raises(StandardError, match=r"case.*'c3' and 'C3'.*--distinct-case"):
        annotate(standard, ["A1", "B2", "c3", "d4"])
    annotation = annotate(standard, ["A1", "B2", "c3", "d4"], distinct_case=True)
    assert annotation.coverage["proteins_in_both"] == 2
    assert "2 of 4 profiles and 2 of 4 proteins of 's' meet." in annotation.meeting.sentence()
    with pytest.raises(StandardError, match=r"case.*'a1' and 'A1'"):
        annotate(standard, ["a1", "b2", "c3", "d4"])
    with pytest.raises(StandardError, match=r"none of 4, such as 'a1', 'b2', 'c3' and 1 more"):
        annotate(standard, ["a1", "b2", "c3", "d4"], distinct_case=True)


def test_two_profiles_of_one_name_are_refused(tmp_path: Path) -> None:
    from deeploc_tf.benchmark.benchmark import benchmark

    features = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    standard = Standard("s", {"a": frozenset(["A", "B"]), "b": frozenset(["B", "C"])})
    with pytest.raises(ValueError, match="more than once"):
        benchmark(features, ["A", "B", "C", "A\u200b"], [standard])


# --- what is printed


@pytest.fixture
def files(tmp_path: Path) -> Path:
    features = np.random.default_rng(0).normal(size=(24, 5))
    names = [f"P{i:02}" for i in range(24)]
    pd.DataFrame(features, index=pd.Index(names, name="gene")).to_csv(tmp_path / "p.tsv", sep="\t")
    features[3] = np.nan
    features[5] = 0
    features[7] = 2.5
    pd.DataFrame(features, index=pd.Index(names, name="gene")).to_csv(tmp_path / "q.tsv", sep="\t")
    lines = [f"g{k}\t\t" + "\t".join(names[6 * k : 6 * k + 6]) for k in range(4)]
    written(tmp_path, "groups.gmt", "\n".join(lines))
    return tmp_path


def run(*arguments: object) -> tuple[str, dict[str, object]]:
    found = run_cli("benchmark", *arguments)
    assert found.exit_code == 0, found.stderr
    folder = next(Path(str(a)) for a in arguments if str(a).endswith("results"))
    return found.stdout, json.loads((folder / "scores.json").read_text())


CHEAP = ("--shuffles", 0, "--no-intervals", "--permutations", 0)


def test_excluded_profiles_are_counted_for_each_method(files: Path) -> None:
    names = (files / "p.tsv", files / "q.tsv", files / "results")
    out, values = run(*names, "-s", files / "groups.gmt", *CHEAP, "--similarity", "pearson")
    assert "q: 24 profiles; excluded: 1 not finite (P03), 1 all zero (P05), 1 constant (P07)" in out
    assert "p: 24 profiles; excluded: 3 that other methods do not have (P03, P05, P07)" in out
    found = [method["profiles"]["excluded"] for method in values["methods"]]  # type: ignore[attr-defined]
    assert found[0]["not_in_every_method"] == 3
    assert (found[1]["not_finite"], found[1]["all_zero"], found[1]["constant"]) == (1, 1, 1)


def test_excluded_profiles_of_one_method_are_printed(files: Path) -> None:
    out, values = run(files / "q.tsv", files / "groups.gmt", files / "results", *CHEAP)
    assert "24 profiles; excluded: 1 not finite (P03), 1 all zero (P05)" in out
    assert values["profiles"]["excluded"]["constant"] == 0  # type: ignore[index]


def test_a_join_says_how_many_met_and_names_of_each_side_when_few_do(files: Path) -> None:
    out, values = run(files / "p.tsv", files / "groups.gmt", files / "results", *CHEAP)
    assert "24 of 24 profiles and 24 of 24 proteins of 'groups' meet." in out
    few = "".join(f"X{i}\tER\n" for i in range(20)) + "P00\tER\nP01\tER\nP02\tbud\nP03\tbud\n"
    path = written(files, "few.tsv", few)
    out, values = run(files / "p.tsv", path, files / "more-results", *CHEAP)
    assert "4 of 24 profiles and 4 of 24 proteins of 'few' meet." in out
    assert "'P04'" in out
    assert "'X0'" in out
    numbers = values["standards"]["few"]  # type: ignore[index]
    assert (numbers["proteins_in_both"], numbers["proteins_with_profile"]) == (4, 24)


def test_proteins_that_meet_and_proteins_that_are_scored_are_told_apart(files: Path) -> None:
    lines = [gaf_line(f"P{i:02}", f"GO:000000{1 + i // 4}") for i in range(8)]
    lines += [gaf_line("P09", "GO:0000009"), gaf_line("X1", "GO:0000009")]
    path = written(files, "a.gaf", GAF + "".join(lines))
    out, _ = run(files / "p.tsv", path, files / "results", *CHEAP)
    (line,) = (line for line in out.splitlines() if " meet." in line)
    assert line.startswith("  9 of 24 profiles and 9 of 10 proteins of 'a' meet. Only among")
    assert line.endswith("only among the proteins of 'a': 'X1'.")
    assert "  Scored: 8 proteins, in 2 of 3 terms." in out.splitlines()
    assert "coverage" not in out


@pytest.mark.parametrize("missing", ["NA", "-", "nan", "None", "#N/A"])
def test_a_missing_term_is_no_term_that_proteins_share(tmp_path: Path, missing: str) -> None:
    lines = f"SEC61\tER\nSEC62\tER\nACT1\t{missing}\nTUB1\t{missing}\n{missing}\tER\n"
    standard = read_standard(written(tmp_path, "s.tsv", lines))
    assert standard.terms == {"ER": {"SEC61", "SEC62"}}
    assert sum(standard.report["left_out"].values()) == 3


@pytest.mark.parametrize(("sign", "count"), [(";", 2), ("|", 2), ("; ", 2), (", ", 0)])
def test_several_terms_in_one_field_are_told(tmp_path: Path, sign: str, count: int) -> None:
    lines = f"SEC61\tER{sign}Golgi\nSEC62\tER{sign}Golgi\nACT1\tbud\nTUB1\tbud\n"
    standard = read_standard(written(tmp_path, "s.tsv", lines))
    assert sum(standard.report["notes"].values()) == count


def test_rows_of_a_table_of_names_that_name_no_gene_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from deeploc_tf.benchmark.identifiers import read_identifiers

    rows = [["S1", "ORF", "", "YAL001C", "TFC3", ""], ["S2", "CDS", "", "", "", ""]]
    text = "".join("\t".join(row + [""] * 10) + "\n" for row in rows)
    with caplog.at_level("INFO"):
        names = read_identifiers(written(tmp_path, "SGD_features.tab", text))
    assert names.map(["YAL001C"])[0] == ["TFC3"]
    assert "1 of 2 rows of SGD_features.tab" in caplog.text


def test_terms_with_names_are_not_taken_for_members(tmp_path: Path) -> None:
    orfs = [f"YAL{i:03}C" for i in range(60)]
    text = "".join(f"c{k}\t" + "\t".join(orfs[20 * k : 20 * k + 20]) + "\n" for k in range(3))
    standard = read_standard(written(tmp_path, "s.txt", text))
    assert set(standard.terms) == {"c0", "c1", "c2"}
    assert standard.terms["c1"] == set(orfs[20:40])


def test_cells_that_are_left_out_are_printed(files: Path) -> None:
    from deeploc_tf.profiles.tables import VectorTable, write_table

    labels, groups = np.arange(60) % 3, np.arange(60) // 3 % 4
    vectors = (np.eye(3)[labels] + np.random.default_rng(0).normal(size=(60, 3))).astype(np.float32)
    vectors[:2] = np.nan
    metadata = pd.DataFrame({"key": [f"k{i}" for i in range(60)]})
    metadata["protein"] = [f"P{g}" for g in groups]
    metadata["label"] = ["", "", "", *(f"l{n}" for n in labels[3:])]
    table = VectorTable(vectors, metadata, {"kind": "embeddings"})
    write_table(files / "cells.parquet", table, ["a", "b", "c"])
    words = (files / "p.tsv", files / "groups.gmt", files / "results", *CHEAP)
    out, _ = run(*words, "--cell-vectors", files / "cells.parquet")
    assert "cells: 60 cells; left out: 2 not finite, 1 without one label" in out


def test_halves_of_a_study_keep_terms_together_in_whatever_form_names_are_written() -> None:
    from deeploc_tf.study.protein_halves import protein_halves

    names = [f"P{i}" for i in range(40)]
    terms = {
        f"t{k}": frozenset(f"{name}\u200b" for name in names[4 * k : 4 * k + 4]) for k in range(10)
    }
    halves = protein_halves(names, Standard("s", terms))
    assert all(len(half) % 4 == 0 for half in halves.values())


def test_the_map_of_a_study_colors_proteins_in_whatever_form_names_are_written() -> None:
    from deeploc_tf.profiles.tables import VectorTable
    from deeploc_tf.study.study_page import _as_in

    table = VectorTable(np.eye(2, dtype=np.float32), pd.DataFrame({"protein": ["A1", "B2"]}), {})
    found = _as_in(table, ["A1\u200b", "b2", "C3"], distinct_case=True)
    assert found == {"A1\u200b": "A1"}
