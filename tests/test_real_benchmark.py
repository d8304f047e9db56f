"""The benchmark of docs/real-benchmark.md: the script runs, and the page has its numbers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHANCE = ("shuffled", "significant", "_low", "_high", "cluster", "adjusted")


def tables(text: str) -> list[dict[str, list[float]]]:
    """The numbers of the tables whose first column is the name of a score."""
    found: list[dict[str, list[float]]] = []
    for name, cells in re.findall(r"^\| (\w+) \| ([\d., |]+) \|$", text, re.MULTILINE):
        if name == "proteins_scored":
            found.append({})
        if "_" in name or name in ("prevalence", "lift"):
            found[-1][name] = [float(cell.replace(",", "")) for cell in cells.split("|")]
    return found


@pytest.mark.real
@pytest.mark.long
@pytest.mark.timeout(900)
def test_real_profiles_score_what_the_page_says(real_data: Path, tmp_path: Path) -> None:
    script = [
        sys.executable,
        str(ROOT / "experiments" / "real_benchmark.py"),
        str(real_data),
        str(tmp_path),
    ]
    done = subprocess.run([*script, "--quick"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("scikit-learn") == 8  # it stops where one differs by 1e-12
    measured = tables(done.stdout)
    page = tables((ROOT / "docs" / "real-benchmark.md").read_text(encoding="utf-8"))
    assert [len(table["prevalence"]) for table in page] == [7, 7, 3, 3]
    for ours, shown in zip(measured, page, strict=True):
        exact = [name for name in ours if not any(word in name for word in CHANCE)]
        assert len(exact) > 10
        for name in exact:
            assert shown[name] == pytest.approx(ours[name], abs=6e-3 if name == "lift" else 2e-4)
        for shuffled, prevalence in zip(
            ours["shuffled_average_precision"], ours["prevalence"], strict=True
        ):
            assert abs(shuffled - prevalence) < 0.01
    for picture in ("precision_recall.png", "scores.svg"):
        assert (tmp_path / "results" / picture).exists()
