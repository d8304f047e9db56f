"""One name for each protein: SGD's table, accessions, two columns, and real names."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from deeploc_tf.benchmark.identifiers import read_identifiers
from deeploc_tf.benchmark.standards import StandardError, annotate, read_standard


def sgd_line(kind: str, systematic: str, standard: str = "", aliases: str = "") -> str:
    fields = [f"S{systematic}", kind, "Verified", systematic, standard, aliases, "chromosome 1"]
    return "\t".join([*fields, *[""] * 9]) + "\n"


@pytest.fixture
def sgd(tmp_path: Path) -> Path:
    path = tmp_path / "SGD_features.tab.gz"
    lines = [
        sgd_line("ORF", "YHR047C", "AAP1", "arginine aminopeptidase|AAP1'"),
        sgd_line("ORF", "Q0080", "ATP8", 'AAP1|SHARED|"quoted'),
        sgd_line("ORF", "YKL113C", "RAD27", "FEN1|SHARED"),
        sgd_line("ORF", "YAL069W"),
        sgd_line("ORF", "YMR300C", "ADE5,7"),
        sgd_line("tRNA_gene", "tA(AGC)D"),
        sgd_line("telomere", "TEL01L", "", "YAL069W"),
        sgd_line("CDS", ""),
    ]
    path.write_bytes(gzip.compress("".join(lines).encode()))
    return path


def test_standard_names_and_orfs_win_over_aliases(sgd: Path) -> None:
    names = ["AAP1", "AAP1'", "YHR047C", "SYHR047C", "FEN1", "YAL069W", '"quoted', "ADE5%2C7"]
    mapped, report = read_identifiers(sgd).map(names)
    assert mapped == ["AAP1", "AAP1", "AAP1", "AAP1", "RAD27", "YAL069W", "ATP8", "ADE5,7"]
    assert report == {
        "names": 8,
        "mapped": 8,
        "unmapped": [],
        "ambiguous": {},
        "merged": {"AAP1": ["AAP1", "AAP1'", "SYHR047C", "YHR047C"]},
    }


def test_ambiguous_and_unknown_names_stay_and_are_told(sgd: Path) -> None:
    mapped, report = read_identifiers(sgd).map(["SHARED", "nobody", "ATP8", "SHARED", "TEL01L"])
    assert mapped == ["SHARED", "nobody", "ATP8", "SHARED", "TEL01L"]
    assert report == {
        "names": 4,
        "mapped": 1,
        "unmapped": ["TEL01L", "nobody"],
        "ambiguous": {"SHARED": ["ATP8", "RAD27"]},
        "merged": {},
    }


def test_the_first_name_that_stands_for_one_protein_decides(sgd: Path) -> None:
    identifiers = read_identifiers(sgd)
    mapped, report = identifiers.map_alternatives(
        [("YKL113C", "ATP8"), ("SHARED", "FEN1"), ("nobody", "SHARED"), ("x", "y")]
    )
    assert mapped == ["RAD27", "RAD27", "SHARED", "y"]
    assert report["merged"] == {"RAD27": ["ATP8", "FEN1"]}
    assert (report["unmapped"], list(report["ambiguous"])) == (["y"], ["SHARED"])


def test_accessions_are_read_through_the_table_before(sgd: Path, tmp_path: Path) -> None:
    path = tmp_path / "swissprot.tsv"
    rows = [
        "uniprot\tname\tgene_id",
        "P1\tx\tRAD27 AAP1 YKL113C J0525",  # of its names only the ORF is believed
        "P2\tx\tHHT1 YBR010W; HHT2 YNL031C",
        "P3\tx\tYAL069W",
        "P4\tx\tNEW9",
    ]
    path.write_text("\n".join(rows) + "\n")
    alone, _ = read_identifiers(path).map(["P1", "YKL113C", "P3", "P4", "J0525"])
    assert alone == ["RAD27", "RAD27", "YAL069W", "NEW9", "RAD27"]
    both = read_identifiers(sgd, path)
    mapped, report = both.map(["P1", "AAP1", "P2", "P4", "FEN1"])
    assert mapped == ["RAD27", "AAP1", "P2", "NEW9", "RAD27"]
    assert report["ambiguous"] == {"P2": ["HHT1", "HHT2"]}


def test_two_columns(tmp_path: Path) -> None:
    path = tmp_path / "names.tsv"
    path.write_text("ENSG1\tTP53\nP53\tTP53\nP53\tOTHER\nTP53\tELSE\n")
    mapped, report = read_identifiers(path).map(["ENSG1", "TP53", "P53", "OTHER"])
    assert mapped == ["TP53", "TP53", "P53", "OTHER"]
    assert report["ambiguous"] == {"P53": ["OTHER", "TP53"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "which is empty"),
        ("A\tB\nA\n", r"n\.tsv, line 2: 'A'"),
        (sgd_line("ORF", "YHR047C") + "A\tB\n", r"n\.tsv, line 2"),
        ("uniprot\tgene_id\nP1\n", r"n\.tsv, line 2"),
    ],
)
def test_malformed_tables_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "n.tsv"
    path.write_text(content)
    with pytest.raises(StandardError, match=message):
        read_identifiers(path)


def test_a_standard_takes_the_names_to_use(sgd: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.gmt"
    path.write_text("ER\t\tYHR047C\tAAP1'\tSHARED\tQ0080\n")
    standard = read_standard(path, identifiers=read_identifiers(sgd))
    assert standard.terms == {"ER": {"AAP1", "SHARED", "ATP8"}}
    assert standard.report["identifiers"]["ambiguous"] == {"SHARED": ["ATP8", "RAD27"]}
    assert standard.report["identifiers"]["merged"] == {"AAP1": ["AAP1'", "YHR047C"]}


@pytest.mark.real
def test_real_names_of_profiles_and_standards_meet(real_data: Path) -> None:
    folder = real_data / "standards"
    identifiers = read_identifiers(folder / "SGD_features.tab.gz", folder / "swissprot_cut1-5.tsv")
    features = real_data / "protein_features" / "WT2_averaged_features.txt.gz"
    profiles = pd.read_csv(features, sep="\t", usecols=[0]).iloc[:, 0].tolist()
    mapped, report = identifiers.map(profiles)
    # counted again: what is a standard name or an ORF, and what only an alias
    rows = pd.read_csv(
        folder / "SGD_features.tab.gz", sep="\t", header=None, quoting=3, keep_default_na=False
    )
    rows = rows[rows[1].eq("ORF") | rows[1].str.endswith("_gene") | rows[1].eq("pseudogene")]
    sure = set(rows[3]) | set(rows[4])
    assert all(a == b or a not in set(rows[4]) for a, b in zip(profiles, mapped, strict=True))
    assert set(report["unmapped"]) <= {name for name in profiles if name not in sure}
    assert sum(name not in sure for name in mapped) == len(report["unmapped"]) + len(
        report["ambiguous"]
    )
    assert len(report["unmapped"]) < 5
    assert report["ambiguous"]["FEN1"] == ["ELO2", "RAD27"]
    # CYC2008 goes by ORF, the Complex Portal by accession, the profiles by name
    named = [name for name in profiles if not name.startswith("Y")]
    for name, at_least in (("cyc2008.txt", 1200), ("Yeast_complex_portal_2022.tsv", 1400)):
        with pytest.raises(StandardError, match="none of"):
            annotate(read_standard(folder / name), named)
        standard = read_standard(folder / name, identifiers=identifiers)
        found = standard.report["identifiers"]
        assert found["mapped"] > 0.99 * found["names"]
        assert annotate(standard, mapped).coverage["proteins_in_both"] > at_least
