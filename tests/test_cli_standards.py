"""`deeploc-tf standards`: the list, the conversion, and wrong usage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shared import run_cli

from deeploc_tf import standards
from deeploc_tf.benchmark.standards import read_standard


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "groups.gmt").write_text("ER\tabout\tB\tA\nGolgi\t\tA\tC\tD\nbud\t\tE\n")
    lines = [
        "YA\tA1\tS1\tC\tnucleus\tGO:0000001\tORF",
        "YB\t\tS2\tC\tnucleus\tGO:0000001\tORF",
        "YA\tA1\tS1\tP\tbudding\tGO:0000002\tORF",
        "YA\tA1\tS1\tP\tother\t\tORF",
    ]
    (tmp_path / "slim.tab").write_text("\n".join(lines) + "\n")
    (tmp_path / "names.tsv").write_text("A\tACT1\nX\tB\nX\tC\nD\tE\n")
    return tmp_path


def run(*arguments: object) -> tuple[int, str, str]:
    result = run_cli("standards", *arguments)
    return result.exit_code, result.stdout, result.stderr


def test_files_are_listed_and_each_aspect_is_a_standard(files: Path) -> None:
    code, out, _ = run(files / "groups.gmt", files / "slim.tab")
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert rows[:4] == [
        ["standard", "format", "aspect", "terms", "proteins", "members", "min", "median", "max"],
        ["groups", "gmt", "3", "5", "6", "1", "2", "3"],
        ["slim", "sgd-slim", "C", "1", "2", "2", "2", "2", "2"],
        ["slim", "sgd-slim", "P", "1", "1", "1", "1", "1", "1"],
    ]
    assert out.splitlines()[4:] == ["", "slim P", "  left out: 1 term 'other' without GO id"]


def test_options_reach_the_files_that_know_them(files: Path) -> None:
    code, out, _ = run(files / "groups.gmt", files / "slim.tab", "--aspect", "P", "--json")
    assert code == 0
    first, second = json.loads(out)["standards"]
    assert (first["name"], first["aspect"], first["terms"]) == ("groups", None, 3)
    assert (second["name"], second["aspect"], second["terms"]) == ("slim", "P", 1)
    assert second["size"] == {"min": 1, "median": 1, "max": 1}
    assert second["report"]["options"] == {"aspect": "P"}


def test_python_says_the_same(files: Path) -> None:
    paths = [files / "groups.gmt", files / "slim.tab"]
    found = standards(paths, aspects=["P"], min_size=1)
    _, out, _ = run(*paths, "--aspect", "P", "--json")
    assert json.loads(json.dumps(found.to_json())) == json.loads(out)["standards"]
    frame = found.to_frame()
    assert list(frame) == ["standard", "aspect", "term", "description", "protein"]
    assert frame["standard"].tolist() == ["groups"] * 6 + ["slim"]
    assert frame["protein"].tolist() == ["A", "B", "A", "C", "D", "E", "A1"]
    standards(paths[0], files / "again.gmt", min_size=2)
    assert read_standard(files / "again.gmt").terms.keys() == {"ER", "Golgi"}
    with pytest.raises(ValueError, match="terms would be mixed"):
        standards(paths, files / "other.gmt")


def test_gmt_holds_the_same_and_is_made_once(files: Path) -> None:
    output = files / "out.gmt"
    code, _, _ = run(files / "slim.tab", "--aspect", "C", "--gmt", output)
    assert code == 0
    assert output.read_text() == "GO:0000001\tnucleus\tA1\tYB\n"
    standard = read_standard(output)
    assert standard.terms == read_standard(files / "slim.tab", aspect="C").terms
    code, _, err = run(files / "groups.gmt", "--gmt", output)
    assert code == 1
    assert "must not exist yet" in err
    assert output.read_text() == "GO:0000001\tnucleus\tA1\tYB\n"


def test_sizes_terms_and_identifiers(files: Path) -> None:
    output = files / "out.gmt"
    arguments = ["--identifiers", files / "names.tsv", "--min-members", 2, "--gmt", output]
    code, out, _ = run(files / "groups.gmt", *arguments)
    assert code == 0
    assert output.read_text() == "ER\tabout\tACT1\tB\nGolgi\t\tACT1\tC\tE\n"
    assert "  left out: 1 term too small" in out
    assert "  identifiers: 5 of 5 names mapped" in out
    assert "  merged: 1, E (D, E)" in out
    code, out, _ = run(files / "groups.gmt", "--max-members", 2, "--exclude-term", "bud", "--json")
    assert code == 0
    (found,) = json.loads(out)["standards"]
    assert found["terms"] == 1
    assert found["report"]["left_out"] == {"excluded term": 1, "term too large": 1}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["groups.gmt", "--aspect", "C"], 1, "read as gmt"),
        (["groups.gmt", "groups.gmt", "--aspect", "C"], 1, "read as gmt"),
        (["groups.gmt", "slim.tab", "--gmt", "x.gmt"], 2, "one file, and one aspect, at a time"),
        (["slim.tab", "--gmt", "x.gmt"], 1, "Choose one"),
        (["slim.tab", "--format", "sgd_slim"], 2, "'sgd-slim'"),
        (["slim.tab", "--format", "pairs"], 1, "line 1"),
        (["groups.gmt", "--min-members", "9"], 1, "0 with more"),
        (["groups.gmt", "--exclude-term", "golgi"], 1, "Did you mean 'Golgi'"),
    ],
)
def test_wrong_usage_ends_in_a_sentence(
    files: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(files)
    found, _, err = run(*arguments)
    assert (found, message in err) == (code, True), err
    assert not (files / "x.gmt").exists()


@pytest.mark.real
def test_real_files(real_data: Path) -> None:
    folder = real_data / "standards"
    names = ["go_slim_mapping_2015.tab.gz", "cyc2008.txt", "Yeast_complex_portal_2022.tsv"]
    code, out, _ = run(*(folder / name for name in names), "--json")
    assert code == 0
    terms = {(s["name"], s["aspect"]): s["terms"] for s in json.loads(out)["standards"]}
    assert terms == {
        ("go_slim_mapping_2015", "C"): 22,
        ("go_slim_mapping_2015", "F"): 43,
        ("go_slim_mapping_2015", "P"): 100,
        ("cyc2008", None): 408,
        ("Yeast_complex_portal_2022", None): 616,
    }
