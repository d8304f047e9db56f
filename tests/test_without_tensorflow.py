"""Where there is no TensorFlow, all that needs no network works, and the rest says what is missing.

Here it cannot be imported; `make test-tables` has an environment where it is not installed.
"""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

ROOT = Path(__file__).parents[1]
PROGRAM = """
import json, sys
from click.testing import CliRunner

for name in ("tensorflow", "keras"):
    sys.modules[name] = None  # cannot be imported, and is not found
from deeploc_tf.cli import main

def result(words):
    done = CliRunner().invoke(main, words)
    return [done.exit_code, done.output]

print(json.dumps([result(words) for words in json.loads(sys.argv[1])]))
"""


def run(folder: Path, *commands: str) -> list[tuple[int, str]]:
    """Exit codes and outputs of commands, all in one process."""
    words = json.dumps([command.split() for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, words],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(code, output) for code, output in json.loads(done.stdout)]


def write_cells(path: Path, seed: int) -> None:
    """Four cells each of 24 proteins of three terms."""
    random = np.random.default_rng(seed)
    proteins = np.repeat(np.arange(24), 4)
    features = random.normal(size=(96, 4)) + proteins[:, None] // 8
    cells = pd.DataFrame(features, columns=[f"feature {i}" for i in range(4)])
    cells.insert(0, "Metadata_protein", [f"P{i:02}" for i in proteins])
    cells.insert(1, "Metadata_plate", [f"plate {i % 2}" for i in range(96)])
    cells.to_csv(path, index=False)


def test_what_needs_no_network_works_and_the_rest_says_what_is_missing(
    tmp_path: Path,
) -> None:
    write_cells(tmp_path / "cells.csv", 0)
    write_cells(tmp_path / "others.csv", 1)
    terms = [f"T{t}\t-\t" + "\t".join(f"P{8 * t + i:02}" for i in range(8)) for t in range(3)]
    (tmp_path / "terms.gmt").write_text("\n".join(terms) + "\n")
    (tmp_path / "crops").mkdir()
    random = np.random.default_rng(0)
    for name in ("P00_1", "P00_2", "P01_1", "P01_2"):
        image = random.integers(0, 900, (16, 16), dtype=np.uint16)
        tifffile.imwrite(tmp_path / "crops" / f"{name}_gfp.tif", image)
    commands = [
        "profile cells.csv profiles.parquet --protein Metadata_protein",
        "profile others.csv others.h5 --protein Metadata_protein",
        "benchmark profiles.parquet terms.gmt results",
        "neighbors profiles.parquet P01",
        "change profiles.parquet others.h5 change.csv",
        "build-records crops records --label protein --test field=2 --channels gfp "
        "--pattern {protein}_{field}_{channel}.tif --quiet",
        "inspect records",
        "verify records",
        "verify records --deep",
    ]
    needing = ["fit records run", "measure records cells.h5"]
    results = run(tmp_path, *commands, *needing)
    for command, (code, output) in zip(commands, results, strict=False):
        assert code == 0, f"{command}: {output}"
    for code, output in results[-len(needing) :]:
        assert code == 1
        (line,) = output.splitlines()
        assert "Networks need TensorFlow and Keras. Received: an installation without tens" in line
        assert "Mend it: pip install 'tensorflow" in line
    assert not (tmp_path / "run").exists()


def test_the_map_works(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    write_cells(tmp_path / "cells.csv", 0)
    commands = (
        "profile cells.csv profiles.parquet --protein Metadata_protein",
        "map profiles.parquet map.html --projection tsne",
    )
    assert [code for code, _ in run(tmp_path, *commands)] == [0, 0]
    assert "P07" in (tmp_path / "map.html").read_text("utf-8")


def test_the_list_is_what_the_package_needs_without_tensorflow() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    needed = [
        line
        for line in config["options"]["install_requires"].split("\n")
        if line and not line.startswith(("#", "tensorflow", "keras"))
    ]
    page = (ROOT / "docs" / "requirements-tables.txt").read_text("utf-8")
    assert [line for line in page.splitlines() if not line.startswith("#")] == needed
