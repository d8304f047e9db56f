"""What the small study must find: `make study-small` runs it and then this.

The study's folder is named by DEEPLOC_TF_STUDY; without it there is nothing to look at, since the
study takes minutes.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from deeploc_tf.study.config import read_study

CONFIG = Path(__file__).resolve().parents[1] / "deeploc_tf/study/examples/small.yaml"


@pytest.fixture(scope="module")
def summary() -> pd.DataFrame:
    folder = os.environ.get("DEEPLOC_TF_STUDY")
    if not folder:
        pytest.skip("no study to look at: `make study-small` makes one and looks")
    assert (Path(folder) / "study.yaml").read_bytes() == CONFIG.read_bytes(), "of another file"
    table = pd.read_csv(Path(folder) / "summary.csv")
    return table.set_index(["score", "standard", "method"])


@pytest.mark.parametrize("standard", ["compartments", "processes", "pathways", "complexes"])
@pytest.mark.parametrize("other", ["untrained", "intensity", "shuffled labels", "random"])
def test_deeploc_beats_what_has_not_learned(
    summary: pd.DataFrame, other: str, standard: str
) -> None:
    """By both ranking scores, and the interval of the one that has one lies above zero."""
    row = summary.loc[("average_precision", standard, other)]
    assert row["difference_low"] > 0, row.to_dict()
    assert summary.loc[("mean_average_precision", standard, other), "difference"] > 0


def test_the_methods_of_the_paper_are_all_there(summary: pd.DataFrame) -> None:
    config = read_study(CONFIG)
    assert set(summary.index.get_level_values("method")) == set(config.methods)
    for name in ("DeepLoc", "inpainting", "CellProfiler", "labels"):
        assert name in config.methods
    assert (summary.xs("DeepLoc", level="method")["seeds"] == len(config.seeds)).all()
    assert config.data.kind == "simulated"
    assert config.data.truth is not None
