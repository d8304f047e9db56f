"""The report of a run: what it shows, what it says is missing, and what it refuses."""

from __future__ import annotations

import base64
import functools
import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_run import make_evaluation, make_run
from shared import TINY_OPTIONS, run_cli

from deeploc_tf.benchmark.compare import compare
from deeploc_tf.benchmark.standards import Standard
from deeploc_tf.profiles.tables import VectorTable, write_table
from deeploc_tf.report.crops import colored, limits
from deeploc_tf.report.evaluation import confusion_section
from deeploc_tf.report.page import write_page
from deeploc_tf.report.run_page import write_report
from tfrecords.manifest import Manifest
from tfrecords.reader import read_crops

pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")
pytest.importorskip("jinja2", reason="jinja2 is in the extra report")

report = functools.partial(run_cli, "report")


@pytest.fixture(scope="module")
def trained(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("report")
    write_screen(folder / "records", {"train": (4, 4, 4), "test": (3, 2, 2)}, size=10)
    options = (*TINY_OPTIONS, "--epochs", "1", "--warmup-epochs", "0", "--quiet")
    for words in (
        ("fit", folder / "records", folder / "run", *options),
        ("evaluate", folder / "run", folder / "records", folder / "evaluation", "--quiet"),
    ):
        done = run_cli(*words)
        assert done.exit_code == 0, done.output
    names = [f"P{i}" for i in range(12)]
    features = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    profiles = VectorTable(features, pd.DataFrame({"protein": names}), {"kind": "profiles"})
    write_table(folder / "profiles.h5", profiles, list("abcd"))
    standard = Standard("<b>complexes</b>", {"t": frozenset(names[:4]), "u": frozenset(names[4:8])})
    compare([("ours", profiles)], [standard]).write(folder / "scores")
    return folder


@pytest.fixture(scope="module")
def made(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    """A run and an evaluation that nobody computed."""
    folder: Path = tmp_path_factory.mktemp("made")
    make_run(folder / "run", write_screen(folder / "records", size=12))
    make_evaluation(folder / "evaluation", folder / "records")
    others = write_screen(folder / "others", {"train": (4, 4, 4), "test": (2, 2, 2)}, size=10)
    make_run(folder / "other run", others)
    return folder


def headings(page: str) -> list[str]:
    return re.findall(r"<h2[^>]*>(.*?)</h2>", page)


def test_a_report_shows_all_that_it_is_given(trained: Path, tmp_path: Path) -> None:
    words = ("--evaluation", trained / "evaluation", "--records", trained / "records")
    more = ("--benchmark", trained / "scores", "--profiles", trained / "profiles.h5")
    done = report(trained / "run", tmp_path / "report.html", *words, *more)
    assert done.exit_code == 0, done.output
    assert done.stderr.count("Not shown") == 3  # curves by epoch, plates, a map to explore
    page = (tmp_path / "report.html").read_text("utf-8")
    assert headings(page) == [
        *("What was run", "The training", "How well it does", "The data set"),
        *("Evaluation on test", "Confusion matrix", "Calibration", "Proteins"),
        *("Best and worst crops", "Function: scores", "The map", "What this page does not show"),
    ]
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    config = json.loads((trained / "run" / "config.json").read_text())
    assert config["records_digest"] in page
    assert f"{metrics['test']['accuracy']:.4g}" in page
    assert "<b>complexes" not in page
    assert "&lt;b&gt;complexes" in page
    assert page.count("<img") >= 7
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)  # it asks no other machine


def test_what_is_missing_is_named(made: Path, tmp_path: Path) -> None:
    done = report(made / "run", tmp_path / "report.html")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report.html").read_text("utf-8")
    options = "--records", "--evaluation", "--benchmark", "--profiles", "--map", "--function"
    for option in options:
        assert f"add {option}" in page
        assert f"add {option}" in done.stderr


def test_a_run_that_has_not_ended_has_a_report(made: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_bytes((made / "run" / "config.json").read_bytes())
    done = report(run, tmp_path / "report.html")
    assert done.exit_code == 0, done.output
    assert "Not shown: Metrics: the training has not ended" in done.stderr


def matrix_of(page: str) -> tuple[str, dict[str, str]]:
    """The table, and id -> what opens, of each cell."""
    behind = re.findall(r'<div class="behind" id="(m\d+-\d+)">(.*?)</div>', page, re.DOTALL)
    (table,) = re.findall(r'<table class="matrix".*?</table>', page, re.DOTALL)
    return table, dict(behind)


def test_cells_of_the_matrix_open_the_surest_crops_behind_them(made: Path, tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", made / "run", evaluation=made / "evaluation",
                 records=made / "records")  # fmt: skip
    table, behind = matrix_of((tmp_path / "r.html").read_text("utf-8"))
    predictions = pd.read_parquet(made / "evaluation" / "predictions.parquet")
    predictions["sure"] = predictions.filter(regex="^probability_").max(axis=1)
    predictions = predictions.sort_values("sure", ascending=False, kind="stable")
    names = ["cytoplasm", "mitochondrion", "nucleus"]
    assert set(re.findall(r'href="#(m[^"]+)"', table)) == behind.keys()
    for i, label in enumerate(names, start=1):
        for j, said in enumerate(names, start=1):
            is_so = (predictions["label"] == label) & (predictions["predicted"] == said)
            shown = re.findall(r'alt="([^:]+): ', behind.get(f"m{i}-{j}", ""))
            assert shown == predictions["key"][is_so].head(8).tolist()


@pytest.mark.parametrize("several", [False, True])
def test_best_and_worst_crops_are_those_of_the_class(
    write_screen: Callable[..., Manifest], tmp_path: Path, several: bool
) -> None:
    manifest = write_screen(tmp_path / "records", size=12, multi_label=several)
    make_run(tmp_path / "run", manifest)
    table = make_evaluation(tmp_path / "evaluation", tmp_path / "records")
    write_report(tmp_path / "r.html", tmp_path / "run", evaluation=tmp_path / "evaluation",
                 records=tmp_path / "records")  # fmt: skip
    page = (tmp_path / "r.html").read_text("utf-8").partition("Best and worst crops</h2>")[2]
    for name in manifest.schema.label_names:
        part = page.partition(f'<h3 dir="auto">{name}</h3>')[2].partition("<h3")[0]
        best, worst = (re.findall(r'alt="([^:]+): ', side) for side in part.partition("Worst")[::2])
        mine = table[[name in label.split("|") for label in table["label"]]]
        order = mine.sort_values(f"probability_{name}", ascending=False)["key"].tolist()
        assert best == order[:4]
        assert worst == order[4:][-4:][::-1]
    assert ("Confusion matrix" in headings((tmp_path / "r.html").read_text("utf-8"))) != several


def test_pictures_are_of_their_crops(made: Path, tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    write_report(tmp_path / "r.html", made / "run", evaluation=made / "evaluation",
                 records=made / "records")  # fmt: skip
    page = (tmp_path / "r.html").read_text("utf-8")
    shown = dict(re.findall(r'<img src="data:image/webp;base64,([^"]+)" alt="([^:]+):', page))
    images = {crop.key: crop.image[np.newaxis] for _, crop in read_crops(made / "records")}
    drawn = {key: colored(image, limits(image)).ravel() for key, image in images.items()}
    assert len(shown) > 5
    for data, key in shown.items():
        seen = imagecodecs.webp_decode(base64.b64decode(data))[..., :3].ravel()
        alike = {other: np.corrcoef(seen, pixels)[0, 1] for other, pixels in drawn.items()}
        assert max(alike, key=lambda other: alike[other]) == key


def test_what_was_run_is_told(made: Path, tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", made / "run", records=made / "records")
    page = (tmp_path / "r.html").read_text("utf-8")
    digest = json.loads((made / "records" / "manifest.json").read_text())["digest"]
    for words in ("GPU NVIDIA H200", "deeploc-tf fit &#39;my records&#39; run", digest,
                  "field (text), focus (float32), plate (int64)"):  # fmt: skip
        assert words in page, words


def test_a_training_without_classes_or_accuracy_has_a_report(
    write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    manifest = write_screen(tmp_path / "records", size=12, label_names=())
    make_run(tmp_path / "run", manifest, loss=0.5, explained_variance=0.25, num_pairs=70)
    write_report(tmp_path / "r.html", tmp_path / "run", records=tmp_path / "records")
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "explained variance" in page
    assert "Loss and accuracy" in page


def test_without_jinja_one_sentence_says_what_to_install(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "jinja2" else real(name)
    )
    done = report(made / "run", tmp_path / "r.html")
    assert done.exit_code == 1
    assert "pip install 'matplotlib>=" in done.output


def test_scores_and_manifest_are_not_read_for_each_picture(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    open_text, open_bytes = Path.read_text, Path.read_bytes

    def text(path: Path, *words: Any, **options: Any) -> str:
        read.append(path.name)
        return open_text(path, *words, **options)

    def content(path: Path) -> bytes:
        read.append(path.name)
        return open_bytes(path)

    monkeypatch.setattr(Path, "read_text", text)
    monkeypatch.setattr(Path, "read_bytes", content)
    write_report(tmp_path / "r.html", trained / "run", evaluation=trained / "evaluation",
                 records=trained / "records", benchmarks=[trained / "scores"])  # fmt: skip
    # For the numbers, for the digest of the table of curves, and as a parent of the page.
    assert read.count("scores.json") == 3
    assert read.count("manifest.json") == 2  # for what it says, and as a parent


def test_what_is_of_another_run_is_refused(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    words = ("--evaluation", made / "evaluation")
    done = report(made / "other run", out, *words)
    assert done.exit_code == 1
    assert "must be of the run's model" in done.stderr
    done = report(made / "run", out, *words, "--records", made / "others")
    assert done.exit_code == 1
    assert "Records must be those of the evaluation" in done.stderr
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"config": 1}')
    done = report(tmp_path / "run", out)
    assert done.exit_code == 1
    assert "config.json must be one that `fit` wrote" in done.stderr
    assert not out.exists()


def test_classes_and_proteins_keep_their_names(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "evaluation", tmp_path / "evaluation")
    for name in ("per_class.csv", "per_protein.csv"):
        path = tmp_path / "evaluation" / name
        head, first, *rest = path.read_text().splitlines()
        path.write_text("\n".join([head, "NA," + first.partition(",")[2], *rest]) + "\n")
    done = report(made / "run", tmp_path / "r.html", "--evaluation", tmp_path / "evaluation")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "r.html").read_text("utf-8").count("<td><bdi>NA</bdi></td>") == 2


def test_a_model_of_proteins_has_its_largest_classes_and_no_matrix(
    made: Path, tmp_path: Path
) -> None:
    shutil.copytree(made / "evaluation", tmp_path / "evaluation")
    table = pd.read_parquet(made / "evaluation" / "predictions.parquet")
    table = table[["key", "protein", "split", "predicted"]].assign(
        label=table["protein"],
        probability=np.linspace(0.5, 0.9, len(table)),
        probability_of_label=np.linspace(0.1, 0.4, len(table)),
    )
    table.to_parquet(tmp_path / "evaluation" / "predictions.parquet")
    names = [*sorted(set(table["protein"])), *(f"P{i}" for i in range(400))]
    support = [9] * 4 + [1] * 400
    per_class = pd.DataFrame({"class": names, "support": support}).iloc[::-1]
    per_class.to_csv(tmp_path / "evaluation" / "per_class.csv", index=False)
    (tmp_path / "evaluation" / "confusion.csv").unlink()
    write_report(tmp_path / "r.html", made / "run", evaluation=tmp_path / "evaluation",
                 records=made / "records")  # fmt: skip
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "Confusion matrix" not in headings(page)
    assert "Classes, the largest of 404." in page
    assert page.count("<h3") == 4  # the others have no crop
    best = re.findall(r'alt="([^:]+): ', page.partition('<h3 dir="auto">AAC1</h3>')[2])[:1]
    assert best == table["key"][table["label"] == "AAC1"].tolist()[-1:]


@pytest.mark.parametrize("count", [1, 200])
def test_a_matrix_of_one_class_and_of_too_many(count: int, tmp_path: Path) -> None:
    names = [f"class {i}" for i in range(count)]
    counts = np.eye(count, dtype=int)
    counts[0, -1] += 5
    write_page(tmp_path / "r.html", "Confusions", [confusion_section(names, counts)])
    page = (tmp_path / "r.html").read_text("utf-8")
    assert ("matrix" in re.findall(r'<table class="(.*?)"', page)) == (count == 1)
    assert len(page) < 30_000
    if count == 200:
        assert re.findall("<td.*?><bdi>(.*?)</bdi>", page) == ["class 0", "class 199", "5"]
