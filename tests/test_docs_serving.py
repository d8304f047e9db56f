"""The page on serving is run as it stands, but for the environment that its reader would make."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tifffile
from shared import run_shell

from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.fit import fit

DOCS = Path(__file__).parents[1] / "docs"


def write_field(folder: Path) -> None:
    """A field of two channels with two cells."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for channel in ("gfp", "rfp"):
        field = random.integers(20, 200, (100, 140), np.uint16)
        tifffile.imwrite(folder / f"A01-1-{channel}.tif", field)
    labels = np.zeros((100, 140), np.uint8)
    labels[45:55, 40:50], labels[45:55, 90:100] = 1, 2
    tifffile.imwrite(folder / "A01-1-labels.tif", labels)


@pytest.mark.long
def test_the_serving_page_runs(
    write_screen: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_screen(tmp_path / "records", size=64)
    settings = FitConfig(width=0.02, dense_units=(4, 6), epochs=1, batch_size=8)
    fit(tmp_path / "records", tmp_path / "run", settings)
    shutil.copy(DOCS / "serve_alone.py", tmp_path)
    write_field(tmp_path / "fields")
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "serving.md").read_text(encoding="utf-8").split("\n## Measured\n")[0]
    blocks = re.findall(r"```(sh|python)\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 12
    names: dict[str, Any] = {}
    printed = ""
    for language, block in blocks:
        if language == "sh":
            printed += run_shell(block)
        elif "TFSMLayer" not in block or not keras.__version__.startswith("2."):
            exec(compile(block, "serving.md", "exec"), names)

    assert names["difference"] < 1e-5
    assert 0 <= names["accuracy"] <= 1
    np.testing.assert_allclose(names["probabilities"], names["served"]["probabilities"], atol=1e-5)
    np.testing.assert_allclose(names["from_records"], names["probabilities"], atol=1e-5)
    assert all(gradient is not None for gradient in names["gradients"])
    cells = pd.read_parquet("calls/cells.parquet")
    assert cells["object"].tolist() == [1, 2]
    if "vectors" in names:
        np.testing.assert_allclose(names["vectors"], names["served"]["embedding"], atol=1e-5)
    assert "inputs['image'] tensor_info:" in printed
    by_shell = np.load("outputs/probabilities.npy")
    np.testing.assert_allclose(by_shell, names["served"]["probabilities"], atol=1e-5)
    assert "does not contain the default denylisted ops" in printed
