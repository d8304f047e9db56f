"""Suites: frozen files, one JSON that can be recomputed, tables of other programs, prospects."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shared import run_cli
from sklearn.metrics import roc_auc_score

from deeploc_tf.benchmark.formats.registry import sniff
from deeploc_tf.benchmark.prospective import Prospect, _auroc, prospective_scores
from deeploc_tf.benchmark.standards import Standard, StandardError, read_standard
from deeploc_tf.benchmark.suite import FROZEN, SUITES, abundance_profiles, open_suite
from deeploc_tf.benchmark.suite_scores import check_suite_scores, score_suite
from deeploc_tf.profiles.tables import read_table

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared/data"
COUNT = 60
NAMES = [f"YAL{i:03}C" for i in range(COUNT)]
GENES = [f"GEN{i}" for i in range(COUNT)]


def manifest() -> dict[str, Any]:
    return {
        "schema_version": 1,
        "name": "mine",
        "version": "2",
        "organism": "Nobody",
        "identifiers": [{"file": "names.tsv"}],
        "standards": [
            {"name": "complexes", "file": "complexes.gmt", "license": "CC0"},
            {"name": "places", "file": "places.tsv", "scored": False},
            {"name": "theirs", "file": "theirs.gmt", "sha256": "0" * 64, "outside": True},
        ],
        "labels": ["places"],
        "prospective": [
            {
                "name": "later",
                "known": {"file": "known.gmt"},
                "new": {"file": "new.gmt"},
                "candidates": {"file": "candidates.txt"},
                "neighbors": 2,
            }
        ],
    }


def gmt(path: Path, terms: dict[str, list[str]]) -> None:
    lines = [f"{t}\tterm of {t}\t" + "\t".join(members) for t, members in terms.items()]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "suite"
    folder.mkdir()
    pairs = zip(NAMES, GENES, strict=True)
    (folder / "names.tsv").write_text("".join(f"{n}\t{g}\n" for n, g in pairs))
    gmt(folder / "complexes.gmt", {f"c{k}": NAMES[4 * k : 4 * k + 4] for k in range(12)})
    lines = (f"{name}\tplace {i % 3}\n" for i, name in enumerate(NAMES[:50]))
    (folder / "places.tsv").write_text("".join(lines))
    gmt(folder / "known.gmt", {"p": NAMES[:8], "q": NAMES[20:25]})
    gmt(folder / "new.gmt", {"p": NAMES[8:12], "q": NAMES[25:28]})
    (folder / "candidates.txt").write_text("\n".join(NAMES[:55]) + "\n")
    (folder / "suite.json").write_text(json.dumps(manifest()))
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(COUNT, 4)).round(4), columns=list("abcd"))
    frame += np.repeat(random.normal(size=(COUNT // 4, 4)), 4, axis=0).round(4)
    frame.insert(0, "protein", NAMES)
    frame.to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def test_the_suite_of_yeast_is_the_frozen_one() -> None:
    found = open_suite("yeast")
    assert (found.name, found.version, found.digest) == ("yeast", "1", FROZEN["yeast"])
    frozen = "06b12b32d4a8a909e0c01720902659d4c2eb5d635b86c4369f629ce665d110fe"
    assert frozen == FROZEN["yeast"], "another suite is another version"
    assert [one.name for one in found.standards] == ["GO component", "GO process", "Complex Portal"]
    assert set(found.labels) == {"GO component 2015"}
    assert set(found.absent) == {"Huh 2003", "LoQAtE 2013", "KEGG", "CYC2008", "abundance"}
    files = list((SUITES / "yeast").iterdir())
    assert sum(path.stat().st_size for path in files) < 1_000_000
    attribution = (SUITES / "yeast/ATTRIBUTION.md").read_text("utf-8")
    for words in ("CC BY 4.0", "CC0 1.0", "Complex Portal", "SGD"):
        assert words in attribution
    assert found.identifiers is not None
    assert found.identifiers.map(["YMR056C", "P04710", "AAP1"])[0] == ["AAC1", "AAC1", "AAP1"]


def test_prospects_of_yeast_are_new_among_candidates() -> None:
    for test in open_suite("yeast").prospective:
        assert test.known.terms.keys() == test.new.terms.keys()
        for term, came in test.new.terms.items():
            assert len(came) >= 5
            assert not came & test.known.terms[term]
            assert test.candidates is not None
            assert came <= test.candidates


def test_a_changed_file_of_the_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(SUITES / "yeast", tmp_path / "yeast")
    monkeypatch.setattr("deeploc_tf.benchmark.suite.SUITES", tmp_path)
    assert open_suite("yeast").digest == FROZEN["yeast"]
    path = tmp_path / "yeast/suite.json"
    path.write_text(path.read_text().replace('"neighbors": 10', '"neighbors": 9'))
    with pytest.raises(StandardError, match="must be the frozen one"):
        open_suite("yeast")
    (tmp_path / "yeast/candidates.tsv.gz").write_bytes(gzip.compress(b"AAC1\n"))
    with pytest.raises(StandardError, match="must be the one that the suite was made with"):
        open_suite("yeast")


@pytest.mark.real
@pytest.mark.skipif(not DATA.exists(), reason="the real data are not beside the project")
def test_the_script_makes_the_same_suite(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "experiments/build_suite.py"), str(DATA)]
    subprocess.run([*command, str(tmp_path / "yeast")], check=True, capture_output=True)
    made = {path.name for path in (tmp_path / "yeast").iterdir()}
    assert made | {"ATTRIBUTION.md"} == {path.name for path in (SUITES / "yeast").iterdir()}
    for name in made:
        ours, theirs = SUITES / "yeast" / name, tmp_path / "yeast" / name
        if name.endswith(".gz"):  # another zlib packs the same text otherwise
            assert gzip.decompress(ours.read_bytes()) == gzip.decompress(theirs.read_bytes())


@pytest.mark.real
@pytest.mark.skipif(not DATA.exists(), reason="the real data are not beside the project")
def test_what_is_outside_is_found_by_name_and_digest() -> None:
    found = open_suite("yeast", DATA)
    assert not found.absent
    assert set(found.labels) == {"GO component 2015", "Huh 2003", "LoQAtE 2013"}
    assert found.abundance is not None
    loqate = DATA / "localization/loqate_2013.csv"
    assert sniff(loqate) == "loqate"
    terms = read_standard(loqate).terms
    assert len(terms["cytosol"]) == 1153  # counted by the module csv alone
    assert "below threshold" not in terms


def test_a_table_is_scored_and_every_number_recomputed(suite: Path, table: Path) -> None:
    output = table.parent / "scores.json"
    done = run_cli("benchmark", table, output, "--suite", suite)
    assert done.exit_code == 0, done.output
    assert "48 of 48 proteins of the suite have a profile (100%)" in done.stdout
    values = json.loads(output.read_text("utf-8"))
    assert values["kind"] == "suite scores"
    assert values["table"]["sha256"] == hashlib.sha256(table.read_bytes()).hexdigest()
    assert values["suite"]["version"] == "2"
    assert list(values["scores"]) == ["complexes"]
    assert values["scores"]["complexes"]["lift"] > 1.5
    assert "average_precision_low" in values["scores"]["complexes"]
    labels = values["baselines"]["labels: places"]
    assert set(values["baselines"]) == {"random", "labels: places"}
    assert labels["proteins"] == 50
    assert labels["scores"]["complexes"]["conditional_lift"] == pytest.approx(1)
    assert labels["table"]["scores"]["complexes"]["conditional_lift"] > 1
    assert list(values["absent"]) == ["theirs"]
    assert values["prospective"]["later"]["terms"] == 2
    checked = run_cli("verify", output, "--suite", suite)
    assert checked.exit_code == 0, checked.output
    assert "every number recomputed" in checked.stdout
    printed = run_cli("benchmark", table, "--suite", suite, "--json")
    assert {**values, **json.loads(printed.stdout)} == values  # without parents and digest
    again = run_cli("benchmark", table, output, "--suite", suite)
    assert again.exit_code == 1
    assert "must be a new file" in again.stderr


def test_other_numbers_tables_and_suites_are_told(suite: Path, table: Path) -> None:
    path = table.parent / "scores.json"
    values = score_suite(table, suite, intervals=False)
    path.write_text(json.dumps(values))
    check_suite_scores(path, suite=suite)
    values["scores"]["complexes"]["average_precision"] += 1e-4
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="/scores/complexes/average_precision is"):
        check_suite_scores(path, suite=suite)
    shutil.copytree(suite, table.parent / "other")
    gmt(table.parent / "other/new.gmt", {"p": NAMES[8:13]})
    with pytest.raises(ValueError, match="The suite must be the one that was scored"):
        check_suite_scores(path, suite=table.parent / "other")
    table.write_text(table.read_text() + "\n")
    with pytest.raises(ValueError, match="The table must be the one that was scored"):
        check_suite_scores(path, suite=suite)
    with pytest.raises(StandardError, match="A suite must be yeast"):
        check_suite_scores(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="Scores of a suite must be the JSON"):
        check_suite_scores(path)


def test_files_outside_must_have_the_digest(suite: Path, table: Path) -> None:
    folder = table.parent / "data/deep"
    folder.mkdir(parents=True)
    gmt(folder / "theirs.gmt", {f"t{k}": NAMES[6 * k : 6 * k + 6] for k in range(8)})
    with pytest.raises(StandardError, match="must be the one that the suite was made with"):
        open_suite(suite, folder.parent)
    values = manifest()
    digest = hashlib.sha256((folder / "theirs.gmt").read_bytes()).hexdigest()
    values["standards"][2]["sha256"] = digest
    (suite / "suite.json").write_text(json.dumps(values))
    bare, whole = open_suite(suite), open_suite(suite, folder.parent)
    assert bare.digest == whole.digest
    assert [one.name for one in whole.standards] == ["complexes", "theirs"]
    path = table.parent / "scores.json"
    path.write_text(json.dumps(score_suite(table, whole, intervals=False)))
    check_suite_scores(path, suite=suite, data=folder.parent)
    with pytest.raises(ValueError, match="All that was scored must be there"):
        check_suite_scores(path, suite=suite)
    path.write_text(json.dumps(score_suite(table, bare, intervals=False)))
    check_suite_scores(path, suite=suite, data=folder.parent)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"labels": ["place"]}, "Did you mean|places"),
        ({"standards": []}, "standards"),
        ({"standards_": []}, "standards_"),
        ({"prospective": [{"name": "x", "known": {"file": "no.gmt"}}]}, r"prospective\.0\.new"),
        ({"identifiers": [{"file": "no.tsv"}]}, "must have its files"),
        ({"standards": [{"name": "a", "file": "x", "outside": True}]}, "must have its sha256"),
        ({"standards": [{"name": "a", "file": "names.tsv", "sha256": "ab"}]}, "sha256"),
        ({"standards": manifest()["standards"][:1] * 2}, "once"),
        ({"identifiers": [{"file": "../names.tab"}]}, "must stay inside the folder"),
        ({"identifiers": [{"file": "/etc/passwd"}]}, "must stay inside the folder"),
    ],
)
def test_manifests_are_checked(suite: Path, change: dict[str, Any], message: str) -> None:
    (suite / "suite.json").write_text(json.dumps(manifest() | change))
    with pytest.raises(StandardError, match=message):
        open_suite(suite)


def test_manifests_that_are_none(suite: Path) -> None:
    for text in ("[]", "{", "", "[" * 100_000):
        (suite / "suite.json").write_text(text)
        with pytest.raises(StandardError, match=r"manifest must be as the page"):
            open_suite(suite)
    with pytest.raises(StandardError, match="Did you mean 'yeast'"):
        open_suite("yeats")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--standard", "TABLE"], "--standard has no effect with --suite"),
        (["--draws", "3"], "--draws has no effect with --suite"),
        (["--min-size", "2"], "--min-size has no effect"),
    ],
)
def test_options_without_effect_are_refused(table: Path, words: list[str], message: str) -> None:
    words = [str(table) if word == "TABLE" else word for word in words]
    done = run_cli("benchmark", table, "--suite", "yeast", *words)
    assert done.exit_code == 2
    assert message in done.stderr


def test_commands_without_a_suite_stay_as_they_were(table: Path, tmp_path: Path) -> None:
    done = run_cli("benchmark", table)
    assert done.exit_code == 2
    assert "Missing argument 'PROFILES... [STANDARDS...]'" in done.stderr
    done = run_cli("benchmark", table, tmp_path / "x", "--suite-data", tmp_path)
    assert "--suite-data has no effect without --suite" in done.stderr
    done = run_cli("benchmark", table, table, tmp_path / "x", "--suite", "yeast")
    assert "--suite takes one table" in done.stderr
    done = run_cli("verify", tmp_path, "--table", table)
    assert done.exit_code == 2


def test_a_table_in_memory_scores_the_same(suite: Path, table: Path, tmp_path: Path) -> None:
    written = score_suite(table, suite, tmp_path / "scores.json", intervals=False)
    assert json.loads((tmp_path / "scores.json").read_text()) == written
    assert check_suite_scores(tmp_path / "scores.json", table=table, suite=suite) == written
    held = score_suite(read_table(table), suite, intervals=False)
    assert held["scores"] == written["scores"]
    assert held["table"]["file"] is None
    frame = held.to_frame()
    ours = frame[(frame["method"] == "table") & (frame["beside"] == "all")]
    assert ours["standard"].tolist() == list(held["scores"])
    assert {"random", "table"} < set(frame["method"])


def test_a_table_of_strangers_is_refused(suite: Path, table: Path) -> None:
    table.write_text(table.read_text().replace("YAL", "HUMAN"))
    with pytest.raises(StandardError, match="Some of the profiles must be among"):
        score_suite(table, suite)


def test_a_few_proteins_are_scored_as_far_as_they_go(suite: Path, table: Path) -> None:
    lines = table.read_text().splitlines()
    table.write_text(
        "\n".join([*lines[:4], lines[7], lines[8], "YAL900C,1,2,3,4", "YAL901C,0,0,0,0"]) + "\n"
    )
    values = score_suite(table, suite)
    assert values["coverage"]["proteins_of_suite_with_profile"] == 5
    assert values["scores"]["complexes"]["average_precision_low"] is None
    assert values["prospective"]["later"]["auroc"] is None
    assert json.dumps(values, allow_nan=False)
    table.write_text("\n".join([lines[0], lines[1], lines[5], lines[9]]) + "\n")
    values = score_suite(table, suite)
    assert values["scores"] == {}
    assert "complexes" in values["not_scored"]


def layouts(folder: Path) -> list[tuple[Path, list[str]]]:
    """Tables as other programs write them: path, and options that name the protein."""
    random = np.random.default_rng(1)
    vectors = random.normal(size=(COUNT, 4)).astype(np.float32)
    vectors += np.repeat(random.normal(size=(COUNT // 4, 4)), 4, axis=0).astype(np.float32)
    names = [f"feat{i:04}" for i in range(4)]
    found: list[tuple[Path, list[str]]] = []
    subcell = pd.DataFrame(vectors, columns=names)  # SubCell: id, its call, then features
    subcell.insert(0, "id", GENES)
    subcell.insert(1, "top_class_name", "Nucleoplasm")
    subcell.to_csv(folder / "subcell.csv", index=False)
    found.append((folder / "subcell.csv", ["--protein", "id"]))
    dino = pd.DataFrame(vectors, columns=[str(i) for i in range(4)])  # Cell-DINO: numbered columns
    dino.insert(0, "gene", NAMES)
    dino.to_parquet(folder / "cell_dino.parquet")
    found.append((folder / "cell_dino.parquet", []))
    images = dino.rename(columns={"gene": "ImageName"})  # as the features of WT2 have it
    images.to_csv(folder / "images.txt", sep="\t", index=False)
    found.append((folder / "images.txt", []))
    indexed = dino.set_index("gene")
    indexed.to_parquet(folder / "indexed.parquet")
    found.append((folder / "indexed.parquet", []))
    for keys in (("features", "names"), ("embeddings", "proteins"), ("X", "gene")):
        path = folder / f"{keys[1]}.npz"  # of DeepProfiler's features, named
        np.savez(path, **{keys[0]: vectors.astype(np.float64), keys[1]: np.array(NAMES)})
        found.append((path, []))
    return found


def test_tables_of_other_programs_are_scored(suite: Path, tmp_path: Path) -> None:
    opened = open_suite(suite)
    scores = set()
    for path, words in layouts(tmp_path):
        done = run_cli("benchmark", path, "--suite", suite, "--no-intervals", "--json", *words)
        assert done.exit_code == 0, (path, done.output)
        values = json.loads(done.stdout)
        assert values["coverage"]["proteins_of_suite_with_profile"] == len(opened.proteins), path
        scores.add(round(values["scores"]["complexes"]["average_precision"], 9))
        assert values["table"]["features"] == 4
    assert len(scores) == 1


def test_anndata_of_scportrait_is_scored(suite: Path, tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata", reason="anndata is an extra")
    vectors = np.random.default_rng(1).normal(size=(COUNT, 4)).astype(np.float32)
    for name, obs in (
        ("gene", pd.DataFrame({"gene": GENES}, index=[str(i) for i in range(COUNT)])),
        ("index", pd.DataFrame({"num_cells": 3}, index=GENES)),
    ):
        anndata.AnnData(vectors, obs=obs).write_h5ad(tmp_path / f"{name}.h5ad")
        values = score_suite(tmp_path / f"{name}.h5ad", suite, intervals=False)
        assert values["coverage"]["proteins_of_suite_with_profile"] == 48


def test_prospects_are_those_of_loops_and_sklearn() -> None:
    random = np.random.default_rng(0)
    features = random.integers(-2, 3, (COUNT, 3)).astype(np.float32) + 0.5
    test = Prospect(
        "later",
        Standard("known", {"p": frozenset(NAMES[:8]), "q": frozenset(NAMES[20:25])}),
        Standard("new", {"p": frozenset(NAMES[8:14]), "q": frozenset(NAMES[24:29])}),
        frozenset(NAMES[:50]),
        3,
    )
    numbers, influence = prospective_scores(features, NAMES, test)
    lengths = np.linalg.norm(features.astype(float), axis=1)
    cosine = (features.astype(float) @ features.T) / lengths[:, None] / lengths
    scores = []
    for known, came in ((range(8), range(8, 14)), (range(20, 25), range(25, 29))):
        asked = [i for i in range(50) if i not in known]
        rank = [np.sort(cosine[i, list(known)].astype(np.float32))[-3:].mean() for i in asked]
        scores.append(roc_auc_score([i in came for i in asked], rank))
    assert numbers["auroc"] == pytest.approx(np.mean(scores), abs=1e-9)
    assert numbers["annotations"] == 10
    assert influence is not None
    assert influence.value == numbers["auroc"]


def test_influences_on_an_auroc_are_what_leaving_out_changes() -> None:
    scores = np.random.default_rng(0).integers(0, 6, 30).astype(float)
    auroc, moved = _auroc(scores, 8)
    truth = np.arange(30) < 8
    assert auroc == pytest.approx(roc_auc_score(truth, scores))
    for i in (0, 7, 8, 29):
        without = roc_auc_score(np.delete(truth, i), np.delete(scores, i))
        assert moved[i] == pytest.approx(auroc - without)


def test_intervals_of_prospects_cover_one_half_of_random_profiles() -> None:
    everyone = frozenset(NAMES)
    covered = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        order = random.permutation(NAMES).tolist()
        terms = {"p": order[:10], "q": order[20:30]}
        came = {"p": order[10:20], "q": order[30:40]}
        test = Prospect(
            "x",
            Standard("known", {t: frozenset(m) for t, m in terms.items()}),
            Standard("new", {t: frozenset(m) for t, m in came.items()}),
            everyone,
        )
        numbers, _ = prospective_scores(random.normal(size=(COUNT, 8)).astype("f4"), NAMES, test)
        covered += numbers["auroc_low"] <= 0.5 <= numbers["auroc_high"]
    assert covered >= 88


def test_abundance_is_a_place_on_a_quarter_of_a_circle() -> None:
    table = pd.DataFrame({"orf": ["A", "B", "C", "D", "A"], "x": ["1", "10", "NA", "100", "7"]})
    found = abundance_profiles(table, "orf", "x")
    assert found.metadata["protein"].tolist() == ["A", "B", "D"]
    similarity = found.features @ found.features.T
    assert similarity[0, 1] > similarity[0, 2] > 0
    assert similarity[0, 1] == pytest.approx(similarity[1, 2])
