"""The tutorials are run as they stand, on a small screen and with trainings of one epoch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from shared import run_cli, run_shell

from deeploc_tf.simulation.compartments import COMPARTMENTS
from deeploc_tf.simulation.function import STANDARDS
from deeploc_tf.simulation.simulate import CHANNELS

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "tutorials"
PAGES = (
    "tiffs-to-neighbors.md",
    "plate-with-masks.md",
    "my-microscope.md",
    "deeploc-files.md",
    "benchmark-any-features.md",
    "savedmodel-elsewhere.md",
    "cluster.md",
)
# What comes last counts: less than the page says, which takes minutes.
LESS = {
    "fit": [
        *("--width", "0.05", "--dense-units", "8,8", "--no-last-block"),
        *("--test-time", "none", "--batch-size", "16", "--quiet"),
    ]
}
ONE_EPOCH = ["--epochs", "1"]
BLOCK = re.compile(r"(<!-- not run: .*-->\n)?^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NEEDS_TIME = re.compile(r"deeploc-tf (fit|measure)\b|SBATCH")


def make_screen(folder: Path) -> None:
    """Files like those that the first command of each tutorial draws, of noise, in a second."""
    random = np.random.default_rng(0)
    compartments = [name for name in COMPARTMENTS for _ in range(2)]
    names = [f"SIM{number:04}" for number in range(1, len(compartments) + 1)]
    pd.DataFrame({"name": names, "compartment": compartments}).to_csv(
        folder / "proteins.csv", index=False
    )
    rows = []
    for protein, compartment in zip(names, compartments, strict=True):
        (folder / "crops" / protein).mkdir(parents=True)
        for field in range(1, 6):
            row = {"key": f"{protein}_{field}_001", "protein": protein, "field": field}
            labels = np.zeros((100, 100), np.uint16)
            labels[40:60, 40:60] = 1
            tifffile.imwrite(folder / "fields" / f"{protein}_{field}_labels.tif", labels)
            for channel in CHANNELS:
                pixels = random.integers(50, 900, (100, 100), np.uint16)
                path = f"crops/{protein}/{protein}_{field}_001_{channel}.tif"
                tifffile.imwrite(folder / path, pixels[:64, :64])
                tifffile.imwrite(folder / "fields" / f"{protein}_{field}_{channel}.tif", pixels)
                row[channel] = path
            rows.append(row | {"localization": compartment})
    pd.DataFrame(rows).to_csv(folder / "cells.csv", index=False)
    pairs = zip(names[::2], names[1::2], compartments[::2], strict=True)
    terms = "".join(f"{term}\tof it\t{one}\t{other}\n" for one, other, term in pairs)
    for standard in STANDARDS:
        (folder / "standards" / f"{standard}.gmt").write_text(terms, encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "SCREEN"
    for name in ("fields", "standards"):
        (folder / name).mkdir(parents=True)
    make_screen(folder)
    return folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first command of each tutorial draws, with a cell per field."""
    folder = tmp_path_factory.mktemp("drawn") / "SCREEN"
    few = (
        "--proteins",
        34,
        "--cells-per-field",
        1,
        "--difficulty",
        0.2,
        "--whole-fields",
        "--quiet",
    )
    done = run_cli("simulate", folder, *few)
    assert done.exit_code == 0, done.output
    return folder


def blocks(page: str) -> Iterator[tuple[str, str, str]]:
    """Language, code and the text before it, of each block that is to be run."""
    text = (FOLDER / page).read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        if found[1] is None:
            yield found[2], found[3], text[: found.start()]


def run_script(name: str, code: str) -> None:
    """A job script, for seeds 0 and 1; its `fit` trains a small network."""
    Path(name).write_text(code, encoding="utf-8")
    program = Path("bin/deeploc-tf").resolve()
    program.parent.mkdir(exist_ok=True)
    less = " ".join([*LESS["fit"], *ONE_EPOCH])
    lines = (
        "#!/bin/sh",
        f'[ "$1" = fit ] && set -- "$@" {less}',
        f'exec {sys.executable} -m deeploc_tf "$@"',
    )
    program.write_text("\n".join(lines), encoding="utf-8")
    program.chmod(0o755)
    here = {"PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    for seed in ("0", "1") if "ARRAY_TASK" in code else ("0",):
        environment = os.environ | here | {"SLURM_ARRAY_TASK_ID": seed}
        done = subprocess.run(
            ["bash", name], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]


def run_page(page: str, screen: Path, *, network: bool) -> dict[str, object]:
    """Run the blocks in order; without `network` up to the first that needs one, or long."""
    names: dict[str, object] = {}
    for language, code, before in blocks(page):
        if not network and NEEDS_TIME.search(code):
            break
        if code.startswith("deeploc-tf simulate SCREEN"):
            shutil.copytree(screen, "SCREEN")
            code = "\n".join(code.replace("\\\n", " ").splitlines()[1:])
        if language == "sh":
            steps = "--steps" in code
            run_shell(code, {"fit": [*LESS["fit"], *(["--steps", "6"] if steps else ONE_EPOCH)]})
        elif language == "python":
            exec(compile(code, page, "exec"), names)
        elif language == "bash":
            *_, name = re.findall(r"Save this as `([^`]+)`", before)
            run_script(name, code)
    return names


@pytest.mark.parametrize("page", PAGES)
def test_a_tutorial_runs_up_to_its_network(
    page: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page, made, network=False)


@pytest.mark.long
@pytest.mark.parametrize("page", [page for page in PAGES if page != "benchmark-any-features.md"])
def test_a_tutorial_runs_to_its_end(
    page: str, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "docs" / "serve_alone.py", tmp_path)
    names = run_page(page, drawn, network=True)
    if page == "savedmodel-elsewhere.md":
        assert names["difference"] < 1e-4  # type: ignore[operator]


@pytest.mark.long
def test_the_readme_runs(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(drawn / "crops", "CROPS")
    shutil.copy(drawn / "standards" / "complexes.gmt", tmp_path)
    labels = pd.read_csv(drawn / "cells.csv").groupby("protein")["localization"].first()
    labels.to_csv("labels.csv")
    page = (ROOT / "README.md").read_text(encoding="utf-8").replace(" AAC1 ", " SIM0001 ")
    (block,) = (found[3] for found in BLOCK.finditer(page) if "build-records" in found[3])
    run_shell(block, {"fit": [*LESS["fit"], *ONE_EPOCH]})


def test_every_tutorial_is_run() -> None:
    assert sorted(PAGES) == sorted(path.name for path in FOLDER.glob("*.md"))
