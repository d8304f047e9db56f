"""Standards in the formats that people download: made by hand, made by chance, and the real files.

Counts of the real files are counted again here by pandas, json or pronto.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deeploc_tf.benchmark import standards as standards_module
from deeploc_tf.benchmark.formats import text
from deeploc_tf.benchmark.formats.gmt import gmt_bytes
from deeploc_tf.benchmark.formats.ontology import read_ontology
from deeploc_tf.benchmark.formats.registry import FORMATS, sniff
from deeploc_tf.benchmark.standards import StandardError, read_standard
from deeploc_tf.names import same_form

CC, MF, BP = "cellular_component", "molecular_function", "biological_process"
many = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
names = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8
).filter(lambda name: name[0] not in '#"' and same_form(name, "protein") == name)


def slim_line(orf: str, gene: str, aspect: str, term: str, go_id: str, kind: str = "ORF") -> str:
    return "\t".join([orf, gene, "S1", aspect, term, go_id, kind]) + "\n"


def gaf_line(
    symbol: str, go_id: str, aspect: str = "P", evidence: str = "IDA", relation: str = "part_of"
) -> str:
    kind = "protein_complex" if symbol.startswith("CPX") else "protein"
    fields = ["SGD", f"id-{symbol}", symbol, relation, go_id, "PMID:1", evidence, "", aspect]
    return "\t".join([*fields, "a name", "X|Y", kind, "taxon:559292", "20200101", "SGD", "", ""])


def write_gaf(path: Path, *lines: str) -> Path:
    content = "\n".join(["!gaf-version: 2.2", "!a comment", *lines]) + "\n"
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


def write_obo(path: Path, terms: Mapping[str, Mapping[str, Any]]) -> Path:
    """Terms with `is_a`, `part_of` and other clauses, by id."""
    lines = ["format-version: 1.2", "ontology: go", ""]
    for go_id, clauses in terms.items():
        lines += ["[Term]", f"id: {go_id}", f"name: name of {go_id}"]
        lines.append(f"namespace: {clauses.get('namespace', BP)}")
        lines += [f"is_a: {parent}" for parent in clauses.get("is_a", ())]
        for relation in ("part_of", "regulates"):
            lines += [f"relationship: {relation} {parent}" for parent in clauses.get(relation, ())]
        lines += [*clauses.get("more", ()), ""]
    for relation in ("part_of", "regulates"):
        lines += ["[Typedef]", f"id: {relation}", f"name: {relation}", ""]
    path.write_text("\n".join(lines))
    return path


def go(number: int) -> str:
    return f"GO:{number:07}"


# --- small formats


@pytest.mark.parametrize(
    ("name", "content", "format_name", "expected"),
    [
        ("a.gmt", "ER\tx\tA\tB\n", "gmt", {"ER": "AB"}),
        ("a.tsv", "A\tER\nB\tER\n", "pairs", {"ER": "AB"}),
        ("a.json", '{"ER": ["A", "B"], "none": []}', "json", {"ER": "AB"}),
        ("a.txt", '{"ER": ["A", "B"]}', "json", {"ER": "AB"}),
        ("a.txt", "sce:A\tpath:sce1\nsce:B\tpath:sce1\n", "kegg-link", {"sce1": "AB"}),
        ("a.txt", "path:sce1\tsce:A\npath:sce1\tsce:B\n", "kegg-link", {"sce1": "AB"}),
        (
            "a.tsv",
            "x\tgene_id\tpathway\n\tA\tsce00010  A / B sce00020  C, two  words\n\tB\t\n",
            "kegg-table",
            {"sce00010": "A", "sce00020": "A"},
        ),
        (
            "a.txt",
            "yORF localization summary\nA ER,Golgi\nB ambiguous\nC \nB ER\n",
            "huh-summary",
            {"ER": "AB", "Golgi": "A"},
        ),
        (
            "a.txt",
            "yORF\tgene name\tambiguous\tER\tbud\t\nQ\tA\tF\tT\tF\t\t\nB\t\tT\tT\tT\t\t\n",
            "huh-table",
            {"ER": "AB", "bud": "B"},
        ),
    ],
)
def test_formats_are_seen_and_read(
    tmp_path: Path, name: str, content: str, format_name: str, expected: Mapping[str, str]
) -> None:
    plain, packed = tmp_path / name, tmp_path / f"{name}.gz"
    plain.write_text(content)
    packed.write_bytes(gzip.compress(content.encode()))
    wanted = {term: frozenset(members) for term, members in expected.items()}
    for path in (plain, packed):
        assert sniff(path) == format_name
        standard = read_standard(path)
        assert standard.terms == wanted
        assert (standard.name, standard.report["format"]) == ("a", format_name)
    assert read_standard(plain, format=format_name).terms == wanted


def test_lines_of_members_are_believed_only_of_systematic_names(tmp_path: Path) -> None:
    path = tmp_path / "cyc.txt"
    path.write_text("YAL001C\tYAL002W\t\nYBR254C\tYDR108W\tQ0045\n")
    assert sniff(path) == "lines"
    assert read_standard(path).terms["line 2"] == {"YBR254C", "YDR108W", "Q0045"}
    path.write_text("A\tER\nB\tER\tGolgi\n")
    with pytest.raises(StandardError, match=r"cyc\.txt, line 2"):
        read_standard(path)
    assert read_standard(path, format="lines").terms["line 1"] == {"A", "ER"}


def test_slim_needs_an_aspect_and_leaves_out_what_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "slim.tab"
    path.write_text(
        slim_line("YA", "A", "C", "nucleus", go(1))
        + slim_line("YB", "", "C", "nucleus", go(1))
        + slim_line("YB", "", "C", "cellular_component", go(5575))
        + slim_line("YB", "", "C", "other", "")
        + slim_line("CPX-1", "complex", "C", "nucleus", go(1), "protein complex")
        + slim_line("YB", "", "P", "budding", go(2))
    )
    with pytest.raises(StandardError, match=r"aspect=None .* has C, P"):
        read_standard(path)
    with pytest.raises(StandardError, match="aspect='F'"):
        read_standard(path, aspect="F")
    with pytest.raises(StandardError, match="must be C, F or P"):
        read_standard(path, aspect="CC")
    standard = read_standard(path, aspect="C")
    assert standard.terms == {go(1): {"A", "YB"}}
    assert standard.descriptions == {go(1): "nucleus"}
    assert standard.report["left_out"] == {
        "complex as a member": 1,
        "root of the ontology": 1,
        "term 'other' without GO id": 1,
    }


def test_complexes_within_complexes_give_their_proteins(tmp_path: Path) -> None:
    head = "#Complex ac\tRecommended name\tIdentifiers (and stoichiometry) of molecules in complex"
    rows = [
        "CPX-1\tone\tP32797(2)|CPX-2(1)|CHEBI:1(0)",
        "CPX-2\ttwo\tP38960-2(0)|CPX-1(1)|[Q07921,A0A023T4K3](1)|URS000012D749_559292(0)",
        "CPX-3\tthree\tQ01217-PRO_0000002073(1-2)|CPX-99(1)",
        "CPX-4\tfour\t-",
    ]
    path = tmp_path / "c.tsv"
    path.write_text("\n".join([head, *rows]))
    standard = read_standard(path)
    whole = {"P32797", "P38960", "Q07921", "A0A023T4K3"}
    assert standard.terms == {"CPX-1": whole, "CPX-2": whole, "CPX-3": {"Q01217"}}
    assert standard.descriptions["CPX-3"] == "three"
    assert standard.report["left_out"] == {
        "complex that the file does not have": 1,
        "complex without a protein": 1,
        "molecule, not a protein": 4,
    }
    path.write_text("\n".join([head, rows[0], rows[0]]))
    with pytest.raises(StandardError, match=r"CPX-1 has two.*line 3"):
        read_standard(path)


# --- GAF and the ontology

SMALL = {
    go(1): {},
    go(2): {"is_a": [go(1)], "more": ["subset: goslim_x"]},
    go(3): {"part_of": [go(2)], "regulates": [go(9)], "more": ["alt_id: GO:0000033"]},
    go(4): {"more": ["is_obsolete: true", "replaced_by: GO:0000003"]},
    go(5): {"more": ["is_obsolete: true", "consider: GO:0000003"]},
    go(6): {"is_a": [go(7), go(777)]},
    go(7): {"is_a": [go(6)]},
    go(8): {"part_of": [go(2)], "namespace": CC},
    go(9): {},
    go(8150): {},
}


@pytest.fixture
def obo(tmp_path: Path) -> Path:
    pytest.importorskip("fastobo", reason="needs the extra go")
    return write_obo(tmp_path / "small.obo", SMALL)


def test_without_an_ontology_terms_are_those_of_the_curators(tmp_path: Path) -> None:
    path = write_gaf(
        tmp_path / "a.gaf.gz",
        gaf_line("A", go(3)),
        gaf_line("B", go(3), relation="NOT|part_of"),
        gaf_line("B", go(2), evidence="IEA"),
        gaf_line("C", go(2)),
        gaf_line("C", go(8150), evidence="ND"),
        gaf_line("CPX-1", go(2)),
    )
    standard = read_standard(path, exclude_evidence=["IEA"])
    assert standard.terms == {go(3): {"A"}, go(2): {"C"}}
    assert standard.report["left_out"] == {
        "NOT": 1,
        "complex as a member": 1,
        "evidence IEA": 1,
        "root of the ontology": 1,
    }
    assert read_standard(path).terms[go(2)] == {"B", "C"}
    with pytest.raises(StandardError, match=r"slim='goslim_x' without ontology"):
        read_standard(path, slim="goslim_x")


def test_proteins_rise_over_is_a_and_part_of_only_within_the_aspect(
    tmp_path: Path, obo: Path
) -> None:
    path = write_gaf(tmp_path / "a.gaf", gaf_line("A", go(3)), gaf_line("B", go(8), "C"))
    assert read_standard(path, aspect="P", ontology=obo).terms == {
        go(3): {"A"},
        go(2): {"A"},
        go(1): {"A"},
    }
    assert read_standard(path, aspect="C", ontology=obo).terms == {go(8): {"B"}}


def test_old_unknown_and_circular_terms_are_counted(tmp_path: Path, obo: Path) -> None:
    path = write_gaf(
        tmp_path / "a.gaf",
        *(gaf_line("A", go(number)) for number in (33, 4, 5, 888, 8150)),
        gaf_line("B", go(6)),
        gaf_line("C", go(888)),
    )
    standard = read_standard(path, ontology=obo)
    assert standard.terms[go(3)] == {"A"}
    assert standard.terms[go(6)] == standard.terms[go(7)] == {"B"}
    assert standard.descriptions[go(3)] == f"name of {go(3)}"
    assert standard.report["left_out"] == {
        "obsolete term": 1,
        "root of the ontology": 1,
        "unknown term": 2,
    }
    assert standard.report["notes"] == {
        "comment lines": 2,
        "parents that the ontology does not have": 1,
        "terms above themselves": 1,
        "terms by alternative id": 1,
        "terms by obsolete term replaced": 1,
    }


def test_slims_are_subsets_or_files(tmp_path: Path, obo: Path) -> None:
    path = write_gaf(tmp_path / "a.gaf", gaf_line("A", go(3)), gaf_line("B", go(9)))
    slim = write_obo(tmp_path / "slim.obo", {go(2): {}})
    for given_slim in ("goslim_x", slim):
        standard = read_standard(path, ontology=obo, slim=given_slim)
        assert standard.terms == {go(2): {"A"}}
        assert standard.report["left_out"] == {"no term of the aspect, or of the slim": 1}
    with pytest.raises(StandardError, match="Did you mean 'goslim_x'"):
        read_standard(path, ontology=obo, slim="goslim_y")


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"format-version: 1.2\n\n[Term]\nid: x\ny\n"]
)
def test_what_is_no_ontology_is_refused(tmp_path: Path, obo: Path, content: bytes) -> None:
    bad = tmp_path / "bad.obo"
    bad.write_bytes(content)
    with pytest.raises(StandardError, match=r"An ontology must .*bad\.obo"):
        read_ontology(bad)


@many
@given(
    edges=st.lists(
        st.tuples(st.integers(1, 12), st.integers(1, 12), st.sampled_from(["is_a", "part_of"])),
        max_size=25,
    ),
    annotations=st.lists(st.tuples(st.sampled_from("ABCD"), st.integers(1, 12)), min_size=1),
)
def test_propagation_is_that_of_a_naive_recursion(
    tmp_path: Path, edges: list[tuple[int, int, str]], annotations: list[tuple[str, int]]
) -> None:
    pytest.importorskip("fastobo", reason="needs the extra go")
    clauses: dict[str, dict[str, list[str]]] = {
        go(i): {"is_a": [], "part_of": []} for i in range(1, 13)
    }
    parents = defaultdict(set)
    for child, parent, relation in edges:  # circles and loops are among them
        if parent not in parents[child]:
            clauses[go(child)][relation].append(go(parent))
            parents[child].add(parent)

    def lift(term: int, path: tuple[int, ...] = ()) -> set[int]:
        if term in path:
            return set()
        return {term}.union(*(lift(parent, (*path, term)) for parent in parents[term]))

    expected = defaultdict(set)
    for protein, term in annotations:
        for above in lift(term):
            expected[go(above)].add(protein)
    ontology = write_obo(tmp_path / "o.obo", clauses)
    gaf = write_gaf(tmp_path / "a.gaf", *(gaf_line(p, go(t)) for p, t in annotations))
    assert read_standard(gaf, ontology=ontology).terms == expected


# --- round trips


@many
@given(st.dictionaries(names, st.frozensets(names, min_size=1, max_size=5), min_size=1, max_size=6))
def test_gmt_gives_back_what_it_was_given(
    tmp_path: Path, terms: Mapping[str, frozenset[str]]
) -> None:
    content = gmt_bytes(terms, {term: f"about\t{term}" for term in terms})
    path = tmp_path / "a.gmt"
    path.write_bytes(content)
    standard = read_standard(path)
    assert standard.terms == terms
    assert standard.descriptions == {term: f"about {term}" for term in terms}
    shuffled = {term: frozenset(sorted(terms[term])) for term in sorted(terms, reverse=True)}
    assert gmt_bytes(shuffled, {t: f"about {t}" for t in terms}) == content
    path = tmp_path / "a.json"
    path.write_text(json.dumps({term: sorted(members) for term, members in terms.items()}))
    assert read_standard(path).terms == terms


@many
@given(st.dictionaries(st.integers(1, 999), st.frozensets(names, min_size=1), min_size=1))
def test_gaf_gives_back_what_it_was_given(
    tmp_path: Path, terms: Mapping[int, frozenset[str]]
) -> None:
    lines = [gaf_line(p, go(t)) for t, proteins in terms.items() for p in proteins]
    kept = {
        go(t): {p for p in proteins if not p.startswith("CPX")} for t, proteins in terms.items()
    }
    path = write_gaf(tmp_path / "a.gaf", *lines)
    assert read_standard(path).terms == {t: proteins for t, proteins in kept.items() if proteins}


@many
@given(st.binary(max_size=200), st.sampled_from(sorted(FORMATS)))
def test_any_bytes_are_read_or_refused_with_a_sentence(
    tmp_path: Path, content: bytes, format_name: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    for chosen in (None, format_name):
        told = ""
        try:
            assert read_standard(path, format=chosen).terms
        except StandardError as error:
            told = str(error)
        assert not told or "Received: " in told


# --- bad input


@pytest.mark.parametrize(
    ("format_name", "content", "message"),
    [
        ("gaf", "!gaf-version: 2.2\nSGD\tA\n", r"line 2: 'SGD\\tA'"),
        ("sgd-slim", "YA\tA\tS1\tX\tnucleus\tGO:0000001\tORF\n", "line 1"),
        ("kegg-link", "A\tpath:1\nA\tB\n", "line 2"),
        ("kegg-link", "path:1\tpath:2\n", "line 1"),
        ("kegg-table", "gene_id\tpathway\nA\tsce00010 one space\n", "line 2: 'sce00010 one"),
        ("kegg-table", "gene_id\tpath\n", "first line must name"),
        ("kegg-table", "", "first line must name"),
        ("complex-tab", "a\tb\n", "first line must name"),
        ("huh-table", "yORF\tgene name\tambiguous\tER\nA\tB\tF\tx\n", "line 2"),
        ("huh-summary", "yORF localization summary\nA ER,,Golgi\n", "line 2"),
        ("json", '{"a": ["x"], "a": ["y"]}', "'a' is there twice"),
        ("json", "[1]", "which is a list"),
        ("json", '{"a": [1]}', r"'a': \[1\]"),
        ("json", "[" * 100_000, "must be a JSON object"),
        ("json", '{"a": ["x\\ty"]}', "text on one line"),
        ("gmt", "", "must have a term"),
        ("nonsense", "", "`format` must be one of gmt"),
    ],
)
def test_what_is_malformed_is_refused_with_its_place(
    tmp_path: Path, format_name: str, content: str, message: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(content)
    with pytest.raises(StandardError, match=message):
        read_standard(path, format=format_name)


@pytest.mark.parametrize(
    ("option", "value"),
    [("aspect", "C"), ("exclude_evidence", ["IEA"]), ("ontology", "go.obo"), ("slim", "x")],
)
def test_options_without_an_effect_are_refused(tmp_path: Path, option: str, value: Any) -> None:
    path = tmp_path / "a.gmt"
    path.write_text("ER\t\tA\tB\n")
    with pytest.raises(StandardError, match=rf"`{option}` must .* read as gmt"):
        read_standard(path, **{option: value})


def test_terms_can_be_left_out_by_name_or_description(tmp_path: Path) -> None:
    path = tmp_path / "a.gmt"
    path.write_text("ER\tendoplasmic\tA\tB\nGolgi\t\tA\tC\nbud\t\tA\tD\n")
    standard = read_standard(path, exclude_terms=["endoplasmic", "bud"])
    assert set(standard.terms) == {"Golgi"}
    assert standard.report["left_out"] == {"excluded term": 2}
    with pytest.raises(StandardError, match="Did you mean 'Golgi'"):
        read_standard(path, exclude_terms=["golgi"])


def test_archives_that_are_cut_or_bombs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = "".join(f"term {i}\t\tA{i}\tB{i}\n" for i in range(5000)).encode()
    path = tmp_path / "a.gmt.gz"
    path.write_bytes(gzip.compress(content)[:-20])
    with pytest.raises(StandardError, match=r"must be whole.*a\.gmt\.gz"):
        read_standard(path)
    path.write_bytes(gzip.compress(b"0" * (text.MAX_LINE_BYTES + 2)))  # a thousand times smaller
    with pytest.raises(StandardError, match="a line of more than 16 MiB"):
        read_standard(path)
    path.write_bytes(gzip.compress(content))
    monkeypatch.setattr(text, "MAX_BYTES", len(content) - 1)
    with pytest.raises(StandardError, match="must fit into memory"):
        read_standard(path)
    monkeypatch.setattr(text, "MAX_BYTES", len(content))
    assert len(read_standard(path).terms) == 5000
    with pytest.raises(StandardError, match="more than 0 MiB of content"):
        text.whole_file(path, max_bytes=1000)


def test_standards_too_large_for_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.gmt"
    path.write_text("ER\t\tA\tB\tB\nGolgi\t\tA\n")
    monkeypatch.setattr(standards_module, "MAX_MEMBERSHIPS", 3)
    read_standard(path)
    monkeypatch.setattr(standards_module, "MAX_MEMBERSHIPS", 2)
    with pytest.raises(StandardError, match="more than 2 members of terms"):
        read_standard(path)


# --- the real files


def table(path: Path, **options: Any) -> pd.DataFrame:
    options = {"sep": "\t", "quoting": 3, "keep_default_na": False, "dtype": str, **options}
    return pd.read_csv(path, **options)


def sets(terms: pd.Series, members: pd.Series) -> dict[str, frozenset[str]]:
    return {str(t): frozenset(m) for t, m in members.groupby(terms)}


@pytest.mark.real
@pytest.mark.parametrize(
    ("year", "aspect", "num_terms"),
    [(2015, "C", 22), (2015, "F", 43), (2015, "P", 100), (2023, "C", 508), (2023, "P", 130)],
)
def test_real_go_slim(real_data: Path, year: int, aspect: str, num_terms: int) -> None:
    path = real_data / "standards" / f"go_slim_mapping_{year}.tab.gz"
    rows = table(path, header=None)
    rows = rows[
        (rows[3] == aspect) & rows[5].str.startswith("GO:") & (rows[6] != "protein complex")
    ]
    rows = rows[~rows[5].isin(["GO:0005575", "GO:0003674", "GO:0008150"])]
    standard = read_standard(path, aspect=aspect)
    assert standard.report["format"] == "sgd-slim"
    assert standard.terms == sets(rows[5], rows[1].where(rows[1] != "", rows[0]))
    assert len(standard.terms) == num_terms


@pytest.mark.real
def test_real_kegg_table(real_data: Path) -> None:
    path = real_data / "standards" / "kegg_cut1-6.tsv"
    rows = table(path)
    ids = rows["pathway"].str.findall(r"sce\d{5}").explode()
    genes = rows["gene_id"].loc[ids.index]
    standard = read_standard(path)
    assert standard.terms == sets(ids, genes)
    assert standard.descriptions["sce00010"] == "Glycolysis / Gluconeogenesis"
    assert all(re.search(r"  |sce\d", text) is None for text in standard.descriptions.values())


@pytest.mark.real
def test_real_complexes_are_those_of_the_expanded_column(real_data: Path) -> None:
    path = real_data / "standards" / "Yeast_complex_portal_2022.tsv"
    rows = table(path, index_col=0)
    accession = r"(?<![A-Z0-9])(?:[OPQ]\d[A-Z0-9]{3}\d|[A-NR-Z]\d[A-Z][A-Z0-9]{2}\d)(?![A-Z0-9_])"
    expanded = rows["Expanded participant list"].str.findall(accession)
    standard = read_standard(path)
    assert standard.terms == {i: frozenset(members) for i, members in expanded.items()}
    assert len(standard.terms) == 616


@pytest.mark.real
def test_real_lines_and_modules(real_data: Path) -> None:
    cyc, modules = (
        real_data / "standards" / name for name in ("cyc2008.txt", "intact_complex_modules.json")
    )
    found = [frozenset(line.split()) for line in cyc.read_text().splitlines()]
    assert list(read_standard(cyc).terms.values()) == found
    assert len(found) == 408
    expected = {term: frozenset(m) for term, m in json.loads(modules.read_text()).items()}
    assert read_standard(modules).terms == expected
    assert len(expected) == 588


@pytest.mark.real
def test_real_compartments(real_data: Path) -> None:
    wide, summary = (
        real_data / "localization" / name for name in ("allOrfData.txt", "huh_loc_070804.txt")
    )
    rows = table(wide, index_col=False, usecols=range(32))
    proteins = rows["gene name"].where(rows["gene name"] != "", rows["yORF"])
    standard = read_standard(wide)
    assert standard.terms == {c: frozenset(proteins[rows[c] == "T"]) for c in rows.columns[10:]}
    assert len(standard.terms) == 22
    without = read_standard(wide, exclude_terms=["cytoplasm", "nucleus"])
    assert set(standard.terms) - set(without.terms) == {"cytoplasm", "nucleus"}
    # the summary is the same study: what differs are the five rows that only one of them has
    orfs = {c: frozenset(rows["yORF"][rows[c] == "T"]) for c in rows.columns[10:]}
    other = read_standard(summary).terms
    both = frozenset().union(*orfs.values()) & frozenset().union(*other.values())
    assert {c: m & both for c, m in orfs.items()} == {c: m & both for c, m in other.items()}
    assert len(both) > 3900


@pytest.mark.real
def test_real_slim_propagates_as_pronto_does(real_data: Path, tmp_path: Path) -> None:
    pronto = pytest.importorskip("pronto", reason="needs the extra go")
    path = real_data / "standards" / "goslim_yeast.obo"
    ontology = pronto.Ontology(path, import_depth=0, threads=1)
    ours = read_ontology(path)
    assert set(ours.terms) == {term.id for term in ontology.terms()}
    part_of = ontology.get_relationship("part_of")

    def above(term: Any) -> set[str]:
        nearer = set(term.superclasses()) | {
            target for t in term.superclasses() for target in t.relationships.get(part_of, ())
        }
        more = nearer - {term} - set(term.superclasses())
        return {t.id for t in term.superclasses()}.union(*map(above, more))

    for term in ontology.terms():
        assert ours.ancestors(term.id)[0] | {term.id} == above(term), term.id
    assert {i for i, t in ours.terms.items() if "goslim_yeast" in t.subsets} == {
        term.id for term in ontology.terms() if "goslim_yeast" in term.subsets
    }
