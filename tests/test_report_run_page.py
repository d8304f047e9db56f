"""The report of a run: what it shows, what it says is missing, and what it refuses."""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shared import TINY_OPTIONS, run_cli

from deeploc_tf.benchmark.compare import compare
from deeploc_tf.benchmark.standards import Standard
from deeploc_tf.profiles.tables import VectorTable, write_table
from tfrecords.manifest import Manifest

pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")

report = functools.partial(run_cli, "report")


@pytest.fixture(scope="module")
def trained(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("report")
    write_screen(folder / "records", {"train": (4, 4, 4), "test": (3, 2, 2)}, size=10)
    write_screen(folder / "others", {"train": (4, 4, 4), "test": (2, 2, 2)}, size=10)
    options = (*TINY_OPTIONS, "--epochs", "1", "--warmup-epochs", "0", "--quiet")
    for words in (
        ("fit", folder / "records", folder / "run", *options),
        ("fit", folder / "others", folder / "other run", *options),
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


def headings(page: str) -> list[str]:
    return re.findall(r"<h2[^>]*>(.*?)</h2>", page)


def test_a_report_shows_all_that_it_is_given(trained: Path, tmp_path: Path) -> None:
    words = ("--evaluation", trained / "evaluation", "--records", trained / "records")
    more = ("--benchmark", trained / "scores", "--profiles", trained / "profiles.h5")
    done = report(trained / "run", tmp_path / "report.html", *words, *more)
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    page = (tmp_path / "report.html").read_text("utf-8")
    assert headings(page) == [
        *("What was run", "The training", "How well it does", "The data set"),
        *("Evaluation on test", "Calibration", "Proteins", "Cells", "Function: scores", "The map"),
    ]
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    config = json.loads((trained / "run" / "config.json").read_text())
    assert config["records_digest"] in page
    assert f"{metrics['test']['accuracy']:.4g}" in page
    assert "<b>complexes" not in page
    assert "&lt;b&gt;complexes" in page
    assert page.count("<img") >= 7
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)  # it asks no other machine


def test_what_is_missing_is_named(trained: Path, tmp_path: Path) -> None:
    done = report(trained / "run", tmp_path / "report.html")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report.html").read_text("utf-8")
    for option in ("--records", "--evaluation", "--benchmark", "--profiles"):
        assert f"add {option}" in page
        assert f"add {option}" in done.stderr


def test_a_run_that_has_not_ended_has_a_report(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_bytes((trained / "run" / "config.json").read_bytes())
    done = report(run, tmp_path / "report.html")
    assert done.exit_code == 0, done.output
    assert "Not shown: Metrics: the training has not ended." in done.stderr


def test_cells_are_those_that_were_predicted_so(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deeploc_tf.report import run_page
    from tfrecords.reader import read_crops

    sheets: list[dict[str, Any]] = []
    draw = run_page.crop_sheet

    def kept(crops: Any, **options: Any) -> Any:
        sheets.append(crops)
        return draw(crops, **options)

    monkeypatch.setattr(run_page, "crop_sheet", kept)
    run_page.write_report(
        tmp_path / "report.html",
        trained / "run",
        evaluation=trained / "evaluation",
        records=trained / "records",
    )
    images = {crop.key: crop.image for _, crop in read_crops(trained / "records")}
    table = pd.read_parquet(trained / "evaluation" / "predictions.parquet")
    table["sure"] = table.filter(regex="^probability_").max(axis=1)
    for sheet, is_right in zip(sheets[:2], (True, False), strict=False):
        for name, crops in sheet.items():
            rows = table[(table["label"] == name) & ((table["predicted"] == name) == is_right)]
            keys = rows.sort_values("sure", ascending=False, kind="stable")["key"].head(4)
            np.testing.assert_array_equal(crops, np.stack([images[key] for key in keys]))
    shown = {int(number) for name in sheets[-1] for number in re.findall(r"\((\d+)\)$", name)}
    assert (
        max(shown)
        == (table["label"] + table["predicted"])[table["label"] != table["predicted"]]
        .value_counts()
        .max()
    )


def test_what_is_of_another_run_is_refused(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    words = ("--evaluation", trained / "evaluation")
    done = report(trained / "other run", out, *words)
    assert done.exit_code == 1
    assert "must be of the run's model" in done.stderr
    done = report(trained / "run", out, *words, "--records", trained / "others")
    assert done.exit_code == 1
    assert "Records must be those of the evaluation" in done.stderr
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"config": 1}')
    done = report(tmp_path / "run", out)
    assert done.exit_code == 1
    assert "config.json must be one that `fit` wrote" in done.stderr
    assert not out.exists()


def test_classes_and_proteins_keep_their_names(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "evaluation", tmp_path / "evaluation")
    for name in ("per_class.csv", "per_protein.csv"):
        path = tmp_path / "evaluation" / name
        head, first, *rest = path.read_text().splitlines()
        path.write_text("\n".join([head, "NA," + first.partition(",")[2], *rest]) + "\n")
    done = report(trained / "run", tmp_path / "r.html", "--evaluation", tmp_path / "evaluation")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "r.html").read_text("utf-8").count("<td>NA</td>") == 2
