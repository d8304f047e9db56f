"""`deeploc-tf benchmark` from files to files, without TensorFlow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shared import run_cli
from sklearn.metrics import average_precision_score

from deeploc_tf.profiles.reading import read_profiles
from deeploc_tf.profiles.tables import VectorTable, write_table


@pytest.fixture
def files(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    centers = np.repeat(random.normal(size=(4, 5)), 6, axis=0)
    features = (centers + 0.5 * random.normal(size=centers.shape)).astype(np.float32)
    names = [f"P{i:02}" for i in range(24)]
    metadata = pd.DataFrame({"protein": names, "num_crops": [9] * 24})
    table = VectorTable(features, metadata, {"kind": "profiles"})
    write_table(tmp_path / "p.parquet", table, [f"f{i}" for i in range(5)])
    pd.DataFrame(features, index=pd.Index(names, name="gene")).to_csv(tmp_path / "p.tsv", sep="\t")
    lines = [f"g{k}\t\t" + "\t".join(names[6 * k : 6 * k + 6]) for k in range(4)]
    (tmp_path / "groups.gmt").write_text("\n".join(lines))
    (tmp_path / "pairs.tsv").write_text("".join(f"{n}\tt{int(n[1:]) % 5}\n" for n in names))
    return tmp_path


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, output, and errors without what is said of every table of another program."""
    result = run_cli("benchmark", *arguments)
    lines = result.stderr.splitlines(keepends=True)
    errors = [line for line in lines if "is of another program: " not in line]
    return result.exit_code, result.stdout, "".join(errors)


def test_two_standards_and_either_form_of_profiles(files: Path) -> None:
    code, out, _ = run(files / "p.parquet", files / "groups.gmt", files / "pairs.tsv", files / "r")
    assert code == 0
    assert out.splitlines()[0].split() == (
        [
            "standard",
            "proteins",
            "terms",
            "prevalence",
            "AP",
            "95%",
            "shuffled",
            "lift",
            "mAP",
            "P@10",
            "R@10",
        ]
    )
    values = json.loads((files / "r" / "scores.json").read_text())
    groups, pairs = (values["standards"][name] for name in ("groups", "pairs"))
    assert (
        groups["average_precision"]
        > groups["shuffled_average_precision"] + 3 * (groups["shuffled_average_precision_sd"])
    )
    assert groups["average_precision"] > 2 * groups["prevalence"]
    assert abs(pairs["average_precision"] - pairs["prevalence"]) < 0.1
    table = pd.read_csv(files / "r" / "scores.csv")
    assert table["standard"].tolist() == ["groups", "pairs"]
    assert table["average_precision"].tolist() == [
        pytest.approx(groups["average_precision"]),
        pytest.approx(pairs["average_precision"]),
    ]
    curve = pd.read_csv(files / "r" / "precision_recall.csv").query("standard == 'groups'")
    assert curve["recall"].is_monotonic_increasing
    assert curve["recall"].iloc[-1] == 1

    code, out, _ = run(files / "p.tsv", files / "groups.gmt", files / "r2", "--json")
    assert code == 0
    again = json.loads(out)["standards"]["groups"]
    assert again["average_precision"] == pytest.approx(groups["average_precision"])


def is_refused(files: Path, message: str, *arguments: object) -> None:
    """One sentence with `message`, and every file and folder as it was."""
    before = {path: path.lstat().st_mtime_ns for path in [files, *files.rglob("*")]}
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert message in err
    after = {path: path.lstat().st_mtime_ns for path in [files, *files.rglob("*")]}
    assert {**after, files: 0} == {**before, files: 0}  # the trial folder beside RESULTS is gone


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("P04\t1\t2\t1\t1\t1", "in lines 5 and 6"),
        ("P03\t1\thigh\t1\t1\t1", "numbers in all others"),
    ],
)
def test_a_profile_that_cannot_be_scored(files: Path, row: str, message: str) -> None:
    lines = (files / "p.tsv").read_text().splitlines()
    lines[4] = row
    (files / "bad.tsv").write_text("\n".join(lines))
    is_refused(files, message, files / "bad.tsv", files / "groups.gmt", files / "r")


def test_profiles_of_one_protein(files: Path) -> None:
    lines = (files / "p.tsv").read_text().splitlines()
    (files / "bad.tsv").write_text("\n".join(lines[:2]))
    message = "Profiles must be two or more, each of another protein. Received: 1 profiles."
    is_refused(files, message, files / "bad.tsv", files / "groups.gmt", files / "r")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["ER\t\tYAL001C\tYAL002W"], "none of 24, such as 'P00', 'P01', 'P02' and 21 more; the"),
        (["ER\t\t" + "\t".join(f"P{i:02}" for i in range(24))], "every one of 276 pairs"),
        (["ER\t\tP00", "Golgi\t\tP01"], "2 proteins in common, 2 terms with fewer"),
        (["ER\t\tP00\tP01", "Golgi"], "bad.gmt, line 2: 'Golgi'"),
        (["ER\t\tP00\tP01", "ER\t\tP02"], "'ER' in lines 1 and 2 of "),
        (["# nothing"], "A standard must have a term."),
    ],
)
def test_a_standard_that_cannot_be_used(files: Path, lines: list[str], message: str) -> None:
    (files / "bad.gmt").write_text("\n".join(lines))
    is_refused(
        files, message, files / "p.tsv", files / "groups.gmt", files / "bad.gmt", files / "r"
    )


def test_other_bad_input(files: Path) -> None:
    gmt, pairs, results = files / "groups.gmt", files / "pairs.tsv", files / "r"
    is_refused(files, "A table must end in", gmt, gmt, results)
    is_refused(
        files, "different names. Received: pairs, pairs", files / "p.tsv", *[pairs] * 2, results
    )


def test_results_are_refused_before_anything_is_read(files: Path) -> None:
    (files / "broken.tsv").write_text("nothing to score")
    (files / "full").mkdir()
    (files / "full" / "mine").touch()
    (files / "link").symlink_to("nowhere")
    for name in ("full", "full/mine", "link"):
        is_refused(
            files, "must not exist yet", files / "broken.tsv", files / "groups.gmt", files / name
        )
    is_refused(
        files, "must exist", files / "broken.tsv", files / "groups.gmt", files / "no" / "results"
    )


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions are those of POSIX")
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_read(files: Path) -> None:
    (files / "broken.tsv").write_text("nothing to score")
    closed = Path(tempfile.mkdtemp())  # pytest's own folder cannot be entered by others
    user = os.geteuid()
    try:
        for name in ("broken.tsv", "groups.gmt"):
            shutil.copy(files / name, closed)
        closed.chmod(0o555)
        if user == 0:  # root may write everywhere
            os.seteuid(65534)
        is_refused(
            closed,
            "Permission denied",
            *(closed / "broken.tsv", closed / "groups.gmt", closed / "results"),
        )
    finally:
        os.seteuid(user)
        closed.chmod(0o755)
        shutil.rmtree(closed)


def test_the_curves_are_drawn(files: Path) -> None:
    code, _, err = run(files / "p.tsv", files / "groups.gmt", files / "pairs.tsv", files / "r")
    assert (code, err) == (0, "")
    assert sorted(path.name for path in (files / "r").iterdir()) == [
        *("precision_recall.csv", "precision_recall.png", "precision_recall.svg"),
        *("scores.csv", "scores.json", "scores.png", "scores.svg", "terms.csv"),
    ]
    assert (files / "r" / "precision_recall.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_there_is_a_note_and_no_picture(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, err = run(files / "p.tsv", files / "groups.gmt", files / "r")
    assert code == 0
    assert out.startswith("standard")
    assert err.count("\n") == 1
    assert "pip install 'matplotlib>=" in err
    assert sorted(path.name for path in (files / "r").iterdir()) == [
        *("precision_recall.csv", "scores.csv", "scores.json", "terms.csv"),
    ]


def test_methods_beside_each_other(files: Path) -> None:
    noisy = pd.read_csv(files / "p.tsv", sep="\t", index_col=0).iloc[::-1]
    noisy += np.random.default_rng(1).normal(scale=3, size=noisy.shape)
    noisy.iloc[0] = np.nan  # P23 is then scored for nobody
    noisy.to_csv(files / "noisy.tsv", sep="\t")
    code, out, err = run(
        *(files / "p.tsv", f"noisy={files / 'noisy.tsv'}", files / "p.parquet", files / "r"),
        *("--standard", files / "groups.gmt", "--random", 8, "--draws", 2),
    )
    assert code == 0
    assert err == "Warning: noisy.tsv: 1 of 24 rows have a feature that is missing or infinite.\n"
    heads = [line.split("  ")[0] for line in out.splitlines()[1:5]]
    assert heads == ["p: groups", "noisy: groups", "p: groups", "random: groups"]
    assert "  Scored: 23 proteins, in 4 of 4 terms." in out.splitlines()
    values = json.loads((files / "r" / "scores.json").read_text())
    assert values["schema_version"] == 2
    assert [m["name"] for m in values["methods"]] == ["p", "noisy", "p", "random"]
    assert all(m["standards"]["groups"]["proteins_scored"] == 23 for m in values["methods"])
    ours = values["standards"]["groups"]
    assert ours["average_precision_low"] < ours["average_precision"]
    assert ours["average_precision"] < ours["average_precision_high"]
    assert ours["adjusted_mutual_information"] > 0.5 > ours["shuffled_adjusted_mutual_information"]
    found = {(d["other"], d["score"]): d for d in values["differences"]}
    assert {other for other, _ in found} == {"noisy", "random"}  # the other p is a seed of p
    assert found["random", "average_precision"]["low"] > 0
    assert found["random", "average_precision"]["p_value"] < 0.05
    assert values["seeds"][0]["method"] == "p"
    assert values["seeds"][0]["average_precision_sd"] == 0
    terms = values["methods"][0]["terms"]["groups"]
    best, worst = (terms[f"{which}_terms"][0]["average_precision"] for which in ("best", "worst"))
    assert best >= worst
    assert values["standard_files"]["groups"]["sha256"]
    # one table of profiles and one figure, a bar a method
    texts = (files / "r" / "scores.svg").read_text()
    assert all(f"<!-- {name} -->" in texts for name in ("p", "noisy", "random", "chance"))
    assert "<!-- adjusted mutual information" in texts


def test_tables_of_cells_are_refused(files: Path) -> None:
    metadata = pd.DataFrame({"key": ["a", "b"], "protein": ["P00", "P01"]})
    cells = VectorTable(np.ones((2, 3), np.float32), metadata, {"kind": "embeddings"})
    write_table(files / "cells.h5", cells, ["a", "b", "c"])
    code, _, err = run(files / "cells.h5", files / "groups.gmt", files / "r")
    assert code == 1
    assert "a table of embeddings" in err


def test_the_command_never_imports_tensorflow(files: Path) -> None:
    script = (
        "import sys; from deeploc_tf.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code\n"
        "sys.exit(any(name.split('.')[0] in ('tensorflow', 'keras') for name in sys.modules))"
    )
    arguments = ["benchmark", files / "p.tsv", files / "groups.gmt", files / "r"]
    subprocess.run([sys.executable, "-c", script, *map(str, arguments)], check=True)
    assert (files / "r" / "precision_recall.svg").exists()


CHEAP = ("--shuffles", 0, "--no-intervals", "--permutations", 0)


def test_profiles_that_end_as_tables_of_ours_need_no_option(files: Path) -> None:
    code, out, _ = run(
        *(f"a={files / 'p.tsv'}", f"b={files / 'p.parquet'}", f"g={files / 'groups.gmt'}"),
        *(files / "r", *CHEAP),
    )
    assert code == 0
    assert [line.split("  ")[0] for line in out.splitlines()[1:3]] == ["a: g", "b: g"]
    code, _, err = run(files / "p.tsv", files / "p.parquet", files / "r2")
    assert (code, "Name a standard" in err) == (2, True)


def test_formats_aspects_and_identifiers_are_those_of_standards(files: Path) -> None:
    lines = [
        f"Y{i:02}\tS{i:02}\tX\t{aspect}\tt{i % k}\tGO:000000{i % k}\tORF"
        for aspect, k in (("C", 4), ("P", 3))
        for i in range(24)
    ]
    (files / "slim.tab").write_text("\n".join(lines))
    names = [f"P{i:02}\tS{i:02}\n" for i in range(23)] + ["P23\tS22\n"]  # the last is one too many
    (files / "names.tsv").write_text("".join(names))
    base = [files / "p.tsv", files / "slim.tab", "--identifiers", files / "names.tsv", *CHEAP]
    code, out, _ = run(*base, files / "r", "--json")
    assert code == 0
    values = json.loads(out)
    assert list(values["standards"]) == ["slim C", "slim P"]
    assert values["standards"]["slim C"]["proteins_scored"] == 23
    report = values["profiles"]["identifiers"]
    assert report["merged"] == {"S22": ["P22", "P23"]}
    assert report["profiles_merged_away"] == 1
    assert values["standard_files"]["slim P"]["options"] == {"aspect": "P"}
    assert values["standard_files"]["slim C"]["format"] == "sgd-slim"
    best = values["methods"][0]["terms"]["slim C"]["best_terms"][0]
    assert best["description"].startswith("t")
    code, out, _ = run(*base, files / "r3", "--aspect", "P")
    assert out.splitlines()[1].startswith("slim ")
    assert "  merged: 1, S22 (P22, P23)" in out.splitlines()
    is_refused(files, "read as sgd-slim", *base, files / "r4", "--slim", "x")


def test_pairs_on_request_hold_what_was_ranked(files: Path) -> None:
    (files / "some.gmt").write_text("a\t\tP00\tP01\tP05\nb\t\tP05\tP06\n")
    standards = [files / "groups.gmt", files / "some.gmt"]
    code, _, _ = run(files / "p.tsv", *standards, files / "r", "--pairs", *CHEAP)
    assert code == 0
    table = pd.read_csv(files / "r" / "pairs.csv.gz")
    assert list(table.columns) == ["protein_1", "protein_2", "similarity", "groups", "some"]
    assert len(table) == 24 * 23 // 2
    scores = pd.read_csv(files / "r" / "scores.csv", index_col="standard")
    for name in ("groups", "some"):
        known = table[table[name].notna()]
        assert len(known) == scores.loc[name, "pairs"]
        theirs = average_precision_score(known[name].astype(int), known["similarity"])
        assert theirs == pytest.approx(scores.loc[name, "average_precision"], abs=1e-9)
    some = table[table["some"] == 1][["protein_1", "protein_2"]].to_numpy().tolist()
    assert some == [["P00", "P01"], ["P00", "P05"], ["P01", "P05"], ["P05", "P06"]]


def test_cells_are_scored_by_label_and_group(files: Path) -> None:
    generator = np.random.default_rng(0)
    labels, groups = np.arange(120) % 3, np.arange(120) // 3 % 4
    vectors = np.eye(3)[labels] * 4 + generator.normal(size=(120, 3))
    metadata = pd.DataFrame(
        {
            "key": [str(i) for i in range(120)],
            "protein": [f"P{g}" for g in groups],
            "label": [f"l{n}" for n in labels],
        }
    )
    table = VectorTable(vectors.astype(np.float32), metadata, {"kind": "embeddings"})
    write_table(files / "cells.parquet", table, ["a", "b", "c"])
    cells = f"net={files / 'cells.parquet'}"
    base = [files / "p.tsv", files / "groups.gmt", "--cell-vectors", cells, *CHEAP]
    code, out, _ = run(*base, files / "r")
    assert code == 0
    head, row = out.splitlines()[-2:]
    assert head.startswith("cells")
    assert row.split()[:4] == ["net", "120", "3", "4"]
    (found,) = json.loads((files / "r" / "scores.json").read_text())["cells"]
    assert found["linear_balanced_accuracy"] > 0.9 > found["chance_balanced_accuracy"]
    is_refused(files, "without field; it has key", *base, files / "r2", "--hold-out", "field")


def test_memory_bounds_the_ranking_and_changes_no_score(files: Path) -> None:
    base = [files / "p.tsv", files / "groups.gmt"]
    code, _, _ = run(*base, files / "r")
    assert code == 0
    code, _, _ = run(*base, files / "r2", "--memory", "1K")
    assert code == 0
    whole, bounded = (
        json.loads((files / name / "scores.json").read_text())["standards"]["groups"]
        for name in ("r", "r2")
    )
    assert whole.keys() == bounded.keys()
    assert whole["average_precision_low"] < whole["average_precision"]
    for name, value in bounded.items():
        assert value == pytest.approx(whole[name], abs=1e-12), name


def test_tables_and_standards_are_told_apart_by_content_in_any_order(files: Path) -> None:
    table = read_profiles(files / "p.tsv")
    frame = pd.DataFrame(table.features, table.metadata["protein"], table.feature_names)
    frame.insert(0, "Metadata_Plate", "x")
    frame.to_csv(files / "q.csv.gz")
    names = ["groups.gmt", "p.tsv", "pairs.tsv", "q.csv.gz", "p.parquet"]
    code, out, err = run(*(files / name for name in names), files / "r", *CHEAP)
    assert code == 0, err
    heads = [line.split("  ")[0] for line in out.splitlines()[1:7]]
    assert heads == [f"{name}: {standard}" for name in "pqp" for standard in ("groups", "pairs")]


def test_what_may_be_a_table_or_a_standard_is_refused(files: Path) -> None:
    both = files / "both.tsv"
    both.write_text("gene\tscore\n" + "".join(f"P{i:02}\t{i % 4}\n" for i in range(24)))
    message = "If it is a standard, name it by --standard"
    is_refused(files, message, files / "p.tsv", both, files / "r")
    is_refused(files, message, both, files / "groups.gmt", files / "r")
    code, out, _ = run(files / "p.tsv", "--standard", both, files / "r", *CHEAP)
    assert (code, out.splitlines()[1].split()[0]) == (0, "both")
    code, out, _ = run(both, "--standard", files / "groups.gmt", files / "s", *CHEAP)
    assert (code, out.splitlines()[1].split()[0]) == (0, "groups")
