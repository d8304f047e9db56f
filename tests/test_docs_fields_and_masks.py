"""The commands with label images are run as they stand, on the real fields of yeast."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from shared import run_cli

PAGE = Path(__file__).parents[1] / "docs" / "real-fields.md"


def commands(data: Path) -> list[list[str]]:
    """The commands of the section, without their program, of fewer epochs, DATA being `data`."""
    _, section = PAGE.read_text(encoding="utf-8").split("\n## With label images\n")
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    words = [[w.replace("DATA", str(data)) for w in shlex.split(line)] for line in lines]
    assert all(program == "deeploc-tf" for program, *_ in words)
    return [["1" if before == "24" else before for before in line[1:]] for line in words]


@pytest.mark.real
def test_the_known_cells_become_records_with_masks(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    build, inspect, fit, predict = commands(real_data / "yeast_fields")
    assert (fit[0], predict[0]) == ("fit", "predict")
    made = run_cli(*build)
    assert made.exit_code == 0, made.output
    assert "cells do not fit into crops of 64 pixels: crops of" in made.output
    manifest = json.loads((tmp_path / "RECORDS" / "manifest.json").read_text())
    assert manifest["schema"]["has_mask"]
    assert manifest["schema"]["label_names"] == ["Cell Periphery", "Cytoplasm"]
    assert sum(manifest["counts"]["train"]["label"].values()) > 370  # of 384
    assert "no object at the middle" in (tmp_path / "RECORDS" / "rejects.jsonl").read_text()
    assert run_cli(*inspect).exit_code == 0


@pytest.mark.real
@pytest.mark.long
def test_every_object_is_called(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in commands(real_data / "yeast_fields"):
        done = run_cli(*command)
        assert done.exit_code == 0, done.output
    cells = pd.read_parquet("CALLS/cells.parquet")
    assert set(cells["call"]) <= {"Cell Periphery", "Cytoplasm"}
    for field in ("01", "02"):
        path = real_data / "yeast_fields" / f"r01c01f{field}p01_labeled.tiff"
        numbers = set(np.unique(tifffile.imread(path)).tolist()) - {0}
        called = set(cells.loc[cells["field"] == field, "object"])
        assert called <= numbers
        assert len(numbers - called) < 20
