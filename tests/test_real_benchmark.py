"""The benchmark of docs/real-benchmark.md: the script runs, and the page has its numbers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def table(text: str) -> dict[str, list[float]]:
    """The rows of numbers of a Markdown table, by their name."""
    rows = re.findall(r"^\| (\w+) \| (.*) \|$", text, re.MULTILINE)
    return {
        name: [float(cell.replace(",", "")) for cell in cells.split("|")] for name, cells in rows
    }


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_real_profiles_score_what_the_page_says(real_data: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(DOCS / "real_benchmark.py"), str(real_data), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("scikit-learn") == 8  # it stops where one differs by 1e-12
    measured = table(done.stdout)
    page = table((DOCS / "real-benchmark.md").read_text(encoding="utf-8"))
    assert len(measured) == 14
    assert list(page) == list(measured)
    for name, values in measured.items():
        assert page[name] == pytest.approx(values, abs=2e-4), name
    chance = zip(measured["shuffled_average_precision"], measured["prevalence"], strict=True)
    assert all(abs(shuffled - prevalence) < 0.002 for shuffled, prevalence in chance)
    for name in ("raw", "scaled"):
        assert (tmp_path / name / "precision_recall.png").exists()
