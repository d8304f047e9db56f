"""`deeploc-tf evaluate` as one types it, and its picture."""

from __future__ import annotations

import functools
import html
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tensorflow as tf  # noqa: F401 - two logical CPUs must be there before its first use
from shared import TINY_OPTIONS, run_cli

from deeploc_tf.report.calibration import reliability_diagram
from deeploc_tf.report.drawing import picture
from tfrecords.manifest import Manifest

TABLES = {
    *("confusion.csv", "metrics.json", "per_class.csv", "per_protein.csv"),
    *("predictions.parquet", "reliability.csv"),
}
PICTURES = {f"{name}.{form}" for name in ("confusion", "reliability") for form in ("png", "svg")}

run = functools.partial(run_cli, "evaluate")


@pytest.fixture(scope="module")
def trained(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("cli_evaluate")
    write_screen(folder / "records", {"train": (4, 4, 4), "test": (3, 2, 2)}, size=10)
    done = run_cli(
        *("fit", folder / "records", folder / "run", *TINY_OPTIONS, "--epochs", "1"),
        *("--warmup-epochs", "0", "--augmentation", "none", "--quiet"),
    )
    assert done.exit_code == 0, done.output
    return folder


def test_results_are_printed_and_written(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")
    results = tmp_path / "results"
    done = run(trained / "run", trained / "records", results, "--test-time", "crops")
    assert done.exit_code == 0, done.output
    metrics = json.loads((results / "metrics.json").read_text())
    lines = [line.split() for line in done.stdout.splitlines()]
    assert done.stdout.startswith("test: 7 crops, 5 views of each (crops)\n")
    assert ["accuracy", f"{metrics['accuracy']:.4f}", "0.4286"] in lines
    error = metrics["calibration"]["expected_calibration_error"]
    assert ["calibration", "error", f"{error:.4f}"] in lines
    assert ["of", "4", "proteins"] in [line[:3] for line in lines]
    for name, scores in metrics["per_class"].items():
        shown = [name, str(scores["support"])]
        known = [scores[key] for key in ("precision", "recall", "f1")]
        shown += ["-" if value is None else f"{value:.4f}" for value in known]
        assert [*shown, f"{scores['average_precision']:.4f}"] in lines
    assert f"{results}: metrics.json" in lines[-1][0] + " " + lines[-1][1].rstrip(",")
    assert "Evaluating crops: 7 of 7" in done.stderr
    assert {path.name for path in results.iterdir()} == TABLES | PICTURES
    assert (results / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_json_is_json_and_no_folder_is_made(trained: Path, tmp_path: Path) -> None:
    done = run(trained / "run", trained / "records", "--split", "train", "--json", "--quiet")
    assert done.exit_code == 0, done.output
    metrics = json.loads(done.stdout)
    assert (metrics["num_crops"], metrics["splits"], metrics["num_views"]) == (12, ["train"], 1)
    assert done.stderr.count("\n") == 1  # that these crops were trained on
    assert sorted(path.name for path in trained.iterdir()) == ["records", "run"]
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_there_is_one_note_and_no_picture(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = run(trained / "run", trained / "records", tmp_path / "results", "--quiet")
    assert done.exit_code == 0, done.output
    assert done.stderr.count("\n") == 1
    assert "pip install 'matplotlib>=" in done.stderr
    assert {path.name for path in (tmp_path / "results").iterdir()} == TABLES


def test_bad_input_is_one_sentence(trained: Path, tmp_path: Path) -> None:
    run_folder, records = trained / "run", trained / "records"
    (tmp_path / "there").touch()
    for arguments, code, text in (
        ((run_folder, records, "--split", "tset"), 1, "Did you mean 'test'?"),
        ((run_folder, records, tmp_path / "there"), 1, "must not exist yet"),
        ((records, records), 1, "must be a folder that fit made"),
        ((run_folder, tmp_path), 1, "must have a manifest.json"),
        ((run_folder, records, "--test-time", "ten-crop"), 2, "'ten-crop' is not one of"),
    ):
        done = run(*arguments)
        assert (done.exit_code, done.stdout) == (code, ""), done.output
        assert text in done.stderr
        assert code == 2 or done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


# The picture


def words(svg: bytes) -> list[str]:
    """Every text of a picture; matplotlib draws letters as shapes and keeps the text beside."""
    return [html.unescape(text.strip()) for text in re.findall(r"<!--(.*?)-->", svg.decode())]


def test_the_reliability_diagram_says_its_error(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")
    table = pd.DataFrame(
        {
            "above": [0, 0.5],
            "up_to": [0.5, 1],
            "num_crops": [0, 8],
            "confidence": [None, 0.9],
            "accuracy": [None, 0.65],
        }
    )
    table.to_csv(tmp_path / "reliability.csv", index=False)
    shown = words(picture(reliability_diagram(tmp_path), "svg"))
    assert "expected calibration error 0.250, 2 bins" in shown
    assert picture(reliability_diagram(tmp_path)) == picture(reliability_diagram(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("above,up_to\n0,1\n", "num_crops"),
        ("above,up_to,num_crops,confidence,accuracy\n0,1,0,,\n", "no crops"),
        ("above,up_to,num_crops,confidence,accuracy\n0,1,many,1,1\n", "many"),
        ("", "No columns"),
    ],
)
def test_another_table_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "reliability.csv").write_text(content)
    with pytest.raises(ValueError, match=f"a table that `evaluate` wrote.*{message}"):
        reliability_diagram(tmp_path)
    with pytest.raises(FileNotFoundError):
        reliability_diagram(tmp_path / "none")
