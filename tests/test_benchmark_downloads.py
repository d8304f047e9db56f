"""Standards as they are downloaded, the names in them, and extensions that are broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shared import run_cli

from deeploc_tf import registry
from deeploc_tf.benchmark.comparable import comparable
from deeploc_tf.benchmark.formats.registry import sniff
from deeploc_tf.benchmark.identifiers import read_identifiers
from deeploc_tf.benchmark.standards import read_standard

CYC = (
    "ORF\tName\tComplex\tPubMed_id\tMethod\tGO_id\tGO_term\tJaccard_Index\n"
    'YKR068C\tBET3\t"TRAPP complex"\t10727015\tAP\tGO:0030008\tTRAPP complex\t1\n'
    "YML077W\tBET5\tTRAPP complex\t\t\t\t\t\n"
    "YDR108W\t\tTRAPP complex\n"
    "YHR158C\tKEL1\tKel1p/Kel2p complex\n"
    "YGR238C\tKEL2\tKel1p/Kel2p complex\n"
)
SLIM = [
    ("YAL001C", "TFC3", "S000000001", "C", "nucleus", "GO:0005634", "ORF"),
    ("YAL002W", "", "S000000002", "C", "nucleus", "GO:0005634", "ORF"),
    ("YAL003W", "EFB1", "S000000003", "C", "other", "", "ORF"),
]
HEADER = (
    *("ORF", "Gene", "SGDID", "GO_Aspect (P, F, C)"),
    *("GO Slim term", "GOID", "Feature type"),
)


def written(folder: Path, name: str, rows: object) -> Path:
    text = rows if isinstance(rows, str) else "".join("\t".join(r) + "\n" for r in rows)  # type: ignore[attr-defined]
    (folder / name).write_text(text)
    return folder / name


def test_cyc2008_as_it_is_downloaded(tmp_path: Path) -> None:
    path = written(tmp_path, "CYC2008_complex.tab", CYC)
    assert sniff(path) == "cyc2008"
    assert read_standard(path).terms == {
        "TRAPP complex": {"BET3", "BET5", "YDR108W"},
        "Kel1p/Kel2p complex": {"KEL1", "KEL2"},
    }


@pytest.mark.parametrize("missing", [None, 6, 2, 1])
@pytest.mark.parametrize("header", [True, False])
def test_a_slim_may_have_a_header_or_six_columns(
    tmp_path: Path, missing: int | None, header: bool
) -> None:
    rows = [list(row) for row in (*([HEADER] if header else []), *SLIM)]
    for row in rows:
        if missing is not None:
            del row[missing]
    path = written(tmp_path, "go_slim_mapping.tab", rows)
    assert sniff(path) == "sgd-slim"
    standard = read_standard(path)
    genes = {"YAL001C" if missing == 1 else "TFC3", "YAL002W"}
    assert standard.terms == {"GO:0005634": genes}
    assert standard.descriptions == {"GO:0005634": "nucleus"}
    assert standard.report["left_out"] == {
        **({"header line": 1} if header else {}),
        "term 'other' without GO id": 1,
    }


@pytest.mark.parametrize(
    ("rows", "terms"),
    [
        ("sce:YAL001C\tsce00010\nsce:YAL002W\tsce00010\n", ["sce00010"]),
        ("sce00010\tYAL001C\nsce00010\tYAL002W\n", ["sce00010"]),
        ("sce:YAL001C\tmd:sce_M00001\nsce:YAL002W\tmd:sce_M00001\n", ["sce_M00001"]),
        ("M00001\tsce:YAL001C\nM00001\tsce:YAL002W\n", ["M00001"]),
        (
            "sce:YAL001C\tpath:sce00010\nsce:YAL002W\tpath:sce00010\nsce:YAL001C\tmd:sce_M00001\n",
            ["sce00010", "sce_M00001"],
        ),
    ],
)
def test_links_of_kegg_without_prefix_and_of_modules(
    tmp_path: Path, rows: str, terms: list[str]
) -> None:
    path = written(tmp_path, "link.txt", rows)
    assert sniff(path) == "kegg-link"
    standard = read_standard(path)
    assert sorted(standard.terms) == terms
    assert standard.terms[terms[0]] == {"YAL001C", "YAL002W"}


def test_pairs_are_still_pairs(tmp_path: Path) -> None:
    assert sniff(written(tmp_path, "a.tsv", "YAL001C\tnucleus\nYAL002W\tER\n")) == "pairs"
    assert sniff(written(tmp_path, "b.tsv", "A\tsce00010\nB\tnucleus\n")) == "pairs"


def test_chains_of_obsolete_terms_and_alternative_ids_are_followed(tmp_path: Path) -> None:
    pytest.importorskip("fastobo")

    def term(number: int, *more: str) -> str:
        lines = ["[Term]", f"id: GO:{number:07}", f"name: t{number}", *more]
        return "\n".join([*lines, "namespace: cellular_component", "", ""])

    old = "is_obsolete: true"
    obo = "format-version: 1.2\n\n" + "".join(
        [
            term(1, "alt_id: GO:0000009"),
            term(2, old, "replaced_by: GO:0000003"),
            term(3, old, "replaced_by: GO:0000009"),
            term(4, old, "replaced_by: GO:0000005"),
            term(5, old, "replaced_by: GO:0000004"),
            term(6, old, "replaced_by: GO:0000001", "replaced_by: GO:0000007"),
            term(7),
            term(8, old, "replaced_by: GO:0000077"),
        ]
    )
    ontology = written(tmp_path, "go.obo", obo)
    tail = ["r", "IDA", "", "C", "", "", "protein", "taxon:1", "20200101", "SGD"]
    lines = [
        "\t".join(["SGD", f"S{n}", f"P{n}", "", f"GO:{n:07}", *tail])
        for n in (1, 2, 3, 4, 5, 6, 7, 8, 9)
    ]
    path = written(tmp_path, "a.gaf", "!gaf-version: 2.2\n" + "\n".join(lines) + "\n")
    standard = read_standard(path, ontology=ontology)
    assert standard.terms == {"GO:0000001": {"P1", "P2", "P3", "P9"}, "GO:0000007": {"P7"}}
    assert standard.report["left_out"] == {"obsolete term": 4}


def tables(folder: Path) -> tuple[Path, Path, Path]:
    a = written(folder, "a.csv", "gene,f0,f1\nYAL001C,1,0\nTFC3,3,2\nB,0,1\nC,1,1\nD,5,4\n")
    b = written(folder, "b.csv", "gene,f0,f1\nTFC3,1,0\nB,0,1\nC,1,1\nE,1,4\n")
    names = written(folder, "names.tsv", "YAL001C\tTFC3\n")
    return a, b, names


def test_profiles_that_come_together_are_averaged_and_named(tmp_path: Path) -> None:
    a, _, names = tables(tmp_path)
    (method,) = comparable([("a", a)], identifiers=read_identifiers(names))
    assert method.profiles.metadata["protein"].tolist() == ["TFC3", "B", "C", "D"]
    assert method.profiles.features[0].tolist() == [2, 1]
    assert method.identifiers is not None
    assert method.identifiers["profiles_averaged"] == {"TFC3": ["YAL001C", "TFC3"]}


def test_of_each_method_is_told_what_the_intersection_takes_away(tmp_path: Path) -> None:
    a, b, names = tables(tmp_path)
    gmt = written(tmp_path, "s.gmt", "t\td\tTFC3\tB\nu\td\tB\tC\n")
    files = (a, b, gmt)
    answer = run_cli("benchmark", *files, tmp_path / "r", "--identifiers", names)
    assert answer.exit_code == 0, answer.output
    lines = answer.stdout.splitlines()
    assert "a: 4 profiles; excluded: 1 that other methods do not have (D)" in lines
    assert any(line.startswith("a: 1 proteins that all other methods have") for line in lines)
    assert any(line.strip() == "profiles averaged: 1, TFC3 (YAL001C, TFC3)" for line in lines)


def test_neighbors_take_any_name_of_a_protein(tmp_path: Path) -> None:
    _, b, names = tables(tmp_path)
    kegg = written(tmp_path, "link.txt", "sce:YAL001C\tpath:sce00010\nsce:C\tpath:sce00010\n")
    answer = run_cli(
        *("neighbors", b, "YAL001C", "-k", 1, "--standard", kegg, "--identifiers", names, "--json")
    )
    assert answer.exit_code == 0, answer.output
    (found,) = json.loads(answer.stdout)["queries"]
    assert found["query"] == "TFC3"
    assert found["neighbors"][0]["name"] == "C"
    assert found["neighbors"][0]["shared"] == {"link": ["sce00010"]}


@pytest.mark.parametrize("group", ["deeploc_tf.standards", "deeploc_tf.scores"])
@pytest.mark.parametrize("place", ["math:nothing", "no_such_module:x", "math:pi"])
def test_a_broken_extension_stops_no_benchmark(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    group: str,
    place: str,
) -> None:
    _, b, _ = tables(tmp_path)
    gmt = written(tmp_path, "s.tsv", "TFC3\tt\nB\tt\nB\tu\nC\tu\n")
    registry._tell_once.cache_clear()
    monkeypatch.setattr(registry, "installed_parts", lambda: {group: {"theirs": (place,)}})
    answer = run_cli("benchmark", b, gmt, tmp_path / "r", "--permutations", 0)
    assert answer.exit_code == 0, answer.output
    assert f"'theirs' at {place}" in answer.stderr
