"""The script of docs/real-fields.md: which cells it measures on, and how."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "real_fields.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("real_fields", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.real
def test_it_measures_on_the_large_classes_of_the_other_field(
    script: Any, real_data: Path, tmp_path: Path
) -> None:
    labels, calls = script.measured(script.forest(real_data / "yeast_fields", tmp_path, "01"), "01")
    assert Counter(labels.tolist()) == {"Cell Periphery": 110, "Cytoplasm": 29}
    assert set(calls) == {"Cell Periphery", "Cytoplasm"}


def test_the_interval_covers_what_chance_leaves(script: Any) -> None:
    labels = np.array(["Cell Periphery"] * 100 + ["Cytoplasm"] * 25)
    constant = np.full(125, "Cell Periphery")
    assert script.interval(labels, [constant]) == (0.5, 0.5)
    calls = labels.copy()
    calls[100:110] = "Cell Periphery"  # 15 of 25 right
    low, high = script.interval(labels, [calls, calls])
    deviation = np.sqrt(0.6 * 0.4 / 25) / 2
    np.testing.assert_allclose(
        [low, high], [0.8 - 1.96 * deviation, 0.8 + 1.96 * deviation], atol=0.02
    )
