"""Speed of training and embedding: the scripts run, and their last line holds the ratios."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PERF = Path(__file__).parents[1] / "perf"


@pytest.mark.long
@pytest.mark.parametrize(
    ("script", "options", "expected"),
    [
        (
            "fit.py",
            ["--rounds", "1", "--batch-size", "16", "--width", "0.05", "--index-crops", "2000"],
            {"fit_over_bare_step", "fit_over_ancestor"},
        ),
        (
            "embed.py",
            ["--rounds", "1", "--batch-size", "8", "--width", "0.05", "--memory-crops", "2000"],
            {"embed_over_bare_predict", "fast_over_float32", "memory_many_over_few"},
        ),
    ],
)
def test_the_last_line_holds_the_ratios(
    script: str, options: list[str], expected: set[str]
) -> None:
    done = subprocess.run(
        [sys.executable, str(PERF / script), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert expected <= set(result)
    assert all(result[name] > 0 for name in expected)
