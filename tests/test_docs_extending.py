"""The package of the page on extensions is installed, used, and missed."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from change_requests import REQUESTS, Request

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text("utf-8")
BLOCKS: list[str] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
FILES = {found[1]: block for block in BLOCKS if (found := re.match(r"# (ourlab/\w+\.py)\n", block))}
(SETUP,) = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)

# Runs commands in one process, and prints what became of each.
DRIVER = """
import json, sys
from click.testing import CliRunner
from deeploc_tf.cli import main

block, commands = json.load(sys.stdin)
exec(compile(block, "extending.md", "exec"), {})
done = {name: CliRunner().invoke(main, words) for name, words in commands.items()}
json.dump({name: [one.exit_code, one.output] for name, one in done.items()}, sys.stdout)
"""
CROPS = "--channels gfp,rfp --label label --pattern {split}/{label}/{protein}/{cell}_{channel}.pgm"
SMALL = "--epochs 1 --batch-size 4 --warmup-epochs 0 --ema-momentum 0 --test-time none --quiet"
PARTS = {
    "--normalization": "log",
    "--backbone": "shallow",
    "--loss": "brier",
    "--optimizer": "lion",
    "--method": "halves",
}


def run(folder: Path, commands: dict[str, str], *path: Path, block: str = "") -> dict[str, Any]:
    """Name -> exit code and output of commands, in a process with `path` to import from."""
    words = {name: command.split() for name, command in commands.items()}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps([block, words]),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *path]))},
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import from, as pip leaves it, with the package of the page."""
    folder = tmp_path_factory.mktemp("site")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    settings = configparser.ConfigParser(delimiters=("=",))
    settings.optionxform = str  # type: ignore[assignment,method-assign]
    settings.read_string(SETUP)
    offered = settings["options.entry_points"]
    metadata = folder / "ourlab-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: ourlab\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "".join(f"[{group}]{points}\n" for group, points in offered.items())
    )
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 24 graymaps of two channels, and a standard of two sets."""
    folder = tmp_path_factory.mktemp("work")
    random = np.random.default_rng(0)
    for cell in range(24):
        split = ("train", "train", "validation", "test")[cell // 6]
        place = folder / "crops" / split / f"label{cell % 2}" / f"P{cell % 6}"
        place.mkdir(parents=True, exist_ok=True)
        for channel in ("gfp", "rfp"):
            pixels = random.integers(0, 256, (8, 10), np.uint8)
            (place / f"{cell}_{channel}.pgm").write_bytes(b"P5\n10 8\n255\n" + pixels.tobytes())
    (folder / "groups.sets").write_text("even: P0 P2 P4\n# none\nnobody:\nodd: P1 P3 P5\n")
    return folder


@pytest.fixture(scope="module")
def used(installed: Path, work: Path) -> dict[str, Any]:
    """What became of the commands with the package."""
    parts = " ".join(f"{flag} {name}" for flag, name in PARTS.items())
    return run(
        work,
        {
            "fit help": "fit --help-all",
            "benchmark help": "benchmark --help-all",
            "standards help": "standards --help",
            "doctor": "doctor --json",
            "build": f"build-records crops records {CROPS}",
            "fit": f"fit records run {parts} --dense-units 4,3 --augmentation flips {SMALL}",
            "fit own": f"fit records own --network small {SMALL}",
            "embed": "embed run records cells.feather --split train --split test",
            "profile": "profile cells.feather median.feather --statistic median",
            "benchmark": "benchmark cells.profiles.feather groups.sets results --no-intervals",
        },
        installed,
        block=next(block for block in BLOCKS if block not in FILES.values()),
    )


@pytest.mark.slow
def test_parts_are_offered(used: dict[str, Any]) -> None:
    _, text = used["fit help"]
    for choices in (
        "standardize|fixed|log]",  # one by register, as the page has it, and one by entry point
        "xception|shallow]",
        "[small]",
        "triplet|quadratic|brier]",
        "lamb|lion]",
        "inpainting|halves]",
    ):
        assert choices in text, text
    for command in ("benchmark", "standards"):
        assert "loqate|sets]" in used[f"{command} help"][1]
    extensions = json.loads(used["doctor"][1])["extensions"]
    assert len(extensions) == 10
    assert "deeploc_tf.image_formats: PGM = ourlab.images:PGM" in extensions
    assert "deeploc_tf.tables: .feather = ourlab.tables:FEATHER" in extensions
    assert "deeploc_tf.scores: dimensions = ourlab.scores:DIMENSIONS" in extensions


@pytest.mark.slow
def test_runs_name_the_parts(used: dict[str, Any], work: Path) -> None:
    for name in ("build", "fit", "fit own", "embed", "profile", "benchmark"):
        assert used[name][0] == 0, used[name]
    manifest = json.loads((work / "records" / "manifest.json").read_text("utf-8"))
    assert manifest["schema"]["label_names"] == ["label0", "label1"]
    config = json.loads((work / "run" / "config.json").read_text("utf-8"))["config"]
    assert {flag: config[flag[2:]] for flag in PARTS} == PARTS
    own = json.loads((work / "own" / "config.json").read_text("utf-8"))
    assert own["config"]["network"] == "small"
    assert (work / "median.feather").exists()
    scores = json.loads((work / "results" / "scores.json").read_text("utf-8"))
    assert scores["standard_files"]["groups"]["format"] == "sets"
    assert scores["standard_files"]["groups"]["left_out"] == {"empty term": 1}
    assert scores["standards"]["groups"]["dimensions"] in (1, 2, 3)
    assert scores["definitions"]["dimensions"].startswith("principal components")
    assert " dim" in used["benchmark"][1].splitlines()[0]


@pytest.mark.slow
def test_without_the_package_each_part_is_refused_by_its_name(
    used: dict[str, Any], work: Path
) -> None:
    assert used["fit"][0] == 0
    chosen = {f"fit {name}": f"fit records x {flag} {name} {SMALL}" for flag, name in PARTS.items()}
    missed = run(
        work,
        {
            **chosen,
            "fit small": f"fit records x --network small {SMALL}",
            "embed shallow": "embed run records x.h5",
            "evaluate shallow": "evaluate run records x",
            "own": "embed own records own.h5",  # a network is in the file of its run
            "neighbors .feather": "neighbors cells.profiles.feather P0",
            "embed .feather": "embed own records x.feather",
            "benchmark sets": "benchmark -s groups.sets --format sets own.profiles.h5 x",
            "build .pgm": f"build-records crops x {CROPS}",
        },
    )
    assert missed.pop("own")[0] == 0
    for name, (code, text) in missed.items():
        assert code in (1, 2), (name, text)
        assert name.split()[1] in text, (name, text)
    assert not (work / "x").exists()


def test_the_page_has_every_group() -> None:
    groups = {
        group
        for path in (ROOT / "deeploc_tf").rglob("*.py")
        for group in re.findall(r'group="(deeploc_tf\.\w+)"', path.read_text("utf-8"))
    }
    assert len(groups) == 13
    assert {group for group in groups if f"`{group}`" not in PAGE} == set()


@pytest.mark.parametrize("change", REQUESTS, ids=[one.title for one in REQUESTS])
def test_the_page_counts_the_files_of_a_change_request(change: Request) -> None:
    files = {*change.files, *change.edits}
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| {change.title} |"))
    assert row.split(" | ")[2] == (str(len(files)) if files else "none")
    for name, edits in change.edits.items():
        if name not in change.files:
            text = (ROOT / name).read_text("utf-8")
            assert [text.count(old) for old in edits] == [1] * len(edits), name
