"""The script of docs/real-fields.md: which cells it measures on, and how."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import real_fields


@pytest.mark.real
def test_it_measures_on_the_large_classes_of_the_other_field(
    real_data: Path, tmp_path: Path
) -> None:
    labels, calls = real_fields.measured(
        real_fields.forest(real_data / "yeast_fields", tmp_path, "01"), "01"
    )
    assert Counter(labels.tolist()) == {"Cell Periphery": 110, "Cytoplasm": 29}
    assert set(calls) == {"Cell Periphery", "Cytoplasm"}


def test_the_interval_covers_what_chance_leaves() -> None:
    labels = np.array(["Cell Periphery"] * 100 + ["Cytoplasm"] * 25)
    constant = np.full(125, "Cell Periphery")
    assert real_fields.interval(labels, [constant]) == (0.5, 0.5)
    calls = labels.copy()
    calls[100:110] = "Cell Periphery"  # 15 of 25 right
    low, high = real_fields.interval(labels, [calls, calls])
    deviation = np.sqrt(0.6 * 0.4 / 25) / 2
    np.testing.assert_allclose(
        [low, high], [0.8 - 1.96 * deviation, 0.8 + 1.96 * deviation], atol=0.02
    )


@pytest.mark.real
@pytest.mark.long
def test_every_cell_of_both_fields_is_called_by_the_network_of_one(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = [*real_fields.SETTINGS, "--epochs", "1"]
    monkeypatch.setattr(real_fields, "SETTINGS", short)
    cells = real_fields.predict(real_data / "yeast_fields", tmp_path, "01", 1)
    given = pd.read_csv(real_data / "yeast_fields" / "cells.csv")
    assert len(cells) == len(given) == 532
    found, expected = (
        sorted(zip(table["x"].round(), table["y"].round(), table["localization"], strict=True))
        for table in (cells, given)
    )
    assert found == expected
    assert set(cells["call"]) <= set(real_fields.CLASSES)
    labels, calls = real_fields.measured(cells, "01")
    assert len(labels) == len(calls) == 139
    assert real_fields.predict(real_data / "yeast_fields", tmp_path, "01", 1).equals(cells)
