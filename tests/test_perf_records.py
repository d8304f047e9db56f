"""The measuring script of the build runs, in small; what it measures here means nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "perf" / "records.py"
RATIOS = ("ours_over_pil", "ours_over_tifffile", "two_workers_over_two_bare_readers")


def last_line(*options: str) -> Any:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.long
def test_the_last_line_holds_the_ratios() -> None:
    pytest.importorskip("PIL", reason="the script compares with pillow")
    result = last_line("--cells", "40", "--copies", "2", "--repeats", "1")
    assert set(RATIOS) <= set(result)
    # so few crops take less than the start of two processes, which is taken off that ratio
    assert all(value > 0 for name, value in result.items() if "workers" not in name)


@pytest.mark.slow
def test_the_cost_of_a_crop_is_told_for_three_sizes() -> None:
    result = last_line("--scale", "--largest", "2000")
    assert result["crops"] == [100, 500, 2000]
    assert len(result["microseconds_a_crop"]) == len(result["peak_megabytes"]) == 3
    assert min(result["microseconds_a_crop"]) > 0
