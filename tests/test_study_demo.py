"""The demo, in small: every step is there, it goes on where it stopped, and it checks itself."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flips import not_found
from shared import run_cli

from deeploc_tf.benchmark.average_precision import PrecisionRecallCurve
from deeploc_tf.benchmark.benchmark import StandardScores
from deeploc_tf.simulation.simulate import Screen

pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")
pytest.importorskip("jinja2", reason="jinja2 is in the extra report")
pytestmark = pytest.mark.slow

SCREEN = Screen(num_proteins=34, num_fields=4, cells_per_field=4, difficulty=0.0)
SETTINGS = {
    "width": 0.1, "dense_units": (32, 32), "last_block": False, "epochs": 8, "ema_momentum": 0.0,
    "test_time": "none",
}  # fmt: skip


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, logged: Callable[..., Any]
) -> tuple[Path, list[str]]:
    from deeploc_tf.study.demo import CONFIG, demo

    folder = tmp_path_factory.mktemp("demo") / "demo"
    config = CONFIG.model_copy(update=SETTINGS)
    with logged() as said:
        demo(folder, SCREEN, config, workers=1)
    return folder, said


def test_every_step_leaves_what_its_command_leaves(made: tuple[Path, list[str]]) -> None:
    folder, said = made
    for name in (
        "screen/cells.csv",
        "screen/standards/complexes.gmt",
        "records/manifest.json",
        "run/model.keras",
        "evaluation/predictions.parquet",
        "cells.parquet",
        "cells.profiles.parquet",
        "savedmodel/1/saved_model.pb",
        "benchmark/scores.json",
        "map.html",
    ):
        assert (folder / name).exists(), name
    steps = ["simulate", "build-records", "fit", "evaluate", "embed", "export", "benchmark"]
    steps += ["map", "report"]
    assert [step for step in (text.partition(":")[0] for text in said) if step in steps] == steps
    assert not list(folder.rglob("*partial*"))


def test_the_page_shows_all_of_it_and_asks_nobody(made: tuple[Path, list[str]]) -> None:
    page = (made[0] / "index.html").read_text("utf-8")
    titles = re.findall("<h2[^>]*>(.*?)</h2>", page)
    wanted = ["The screen", "What was run", "The training", "The data set", "Evaluation on test"]
    wanted += ["Confusion matrix", "Calibration", "Best and worst crops", "Function: benchmark"]
    assert {*wanted, "The map", "Where everything is"} <= set(titles)
    for words in ("complexes", "accuracy", "savedmodel", "AP, shuffled", 'href="#m1-1"'):
        assert words in page
    addresses = set(re.findall(r'(?:src|href)="(?!data:|#)([^"]*)', page))
    assert addresses == {"map.html"}


def test_a_second_call_makes_nothing_again(made: tuple[Path, list[str]]) -> None:
    from deeploc_tf.study.demo import CONFIG, demo

    folder, _ = made
    config = CONFIG.model_copy(update=SETTINGS)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    demo(folder, SCREEN, config, workers=1)
    after = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    assert before.keys() == after.keys()
    changed = {path.name for path in before if before[path] != after[path]}
    assert changed <= {"index.html"}


def test_a_folder_of_another_screen_is_refused(made: tuple[Path, list[str]]) -> None:
    from deeploc_tf.study.demo import demo

    with pytest.raises(ValueError, match="num_proteins=34"):
        demo(made[0], dataclasses.replace(SCREEN, num_proteins=85))


def scored(score: float) -> StandardScores:
    numbers = {
        "average_precision": score,
        "shuffled_average_precision": 0.10,
        "shuffled_average_precision_sd": 0.01,
    }
    empty = PrecisionRecallCurve(*[None] * 3)  # type: ignore[arg-type]
    return StandardScores("pathways", numbers, empty)


def test_chance_is_what_shuffled_proteins_score_and_three_deviations() -> None:
    from deeploc_tf.study.demo import check_beats_chance

    check_beats_chance([scored(0.131)])
    for score in (0.129, 0.05, float("nan")):
        with pytest.raises(ValueError, match="above chance"):
            check_beats_chance([scored(0.5), scored(score)])


def test_without_matplotlib_the_command_stops_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run_cli("demo", tmp_path / "demo")
    assert result.exit_code == 1
    assert "pip install 'matplotlib>=" in result.output
    assert not list(tmp_path.iterdir())


def test_a_flipped_bit_of_any_file_is_found(made: tuple[Path, list[str]]) -> None:
    """Checkpoints have checksums of their own, and nothing is made from logs of TensorBoard."""
    missed = not_found(made[0])
    assert [name for name in missed if not name.startswith(("run/checkpoint/", "run/logs/"))] == []
