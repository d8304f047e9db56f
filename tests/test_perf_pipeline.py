"""The measuring script of the pipeline runs, in small; what it measures here means nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "perf" / "pipeline.py"


@pytest.mark.long
def test_the_last_line_holds_the_ratios() -> None:
    options = ["--crops", "300", "--slow-crops", "128", "--batch-size", "64", "--repeats", "1"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    expected = {"ours_over_raw_unshuffled", "ours_over_raw_shuffled", "ours_over_ancestor"}
    for name, package in (("tfds", "tensorflow_datasets"), ("grain", "grain")):
        if find_spec(package):
            expected.add(f"ours_over_{name}")
        else:
            assert f"{name}: skipped, {package} not installed" in done.stdout
    assert expected <= set(result)
    assert expected <= set(result["per_cpu_second"])
    assert all(result[name] > 0 for name in expected)
    fed = result["feeding"]
    assert list(fed["microseconds"]) == ["reading", "shuffling", "parsing", "copying"]
    assert fed["cores_for_80000"] == pytest.approx(
        80_000 / fed["crops_per_second_per_core"], rel=0.02
    )
    assert fed["limit"] in fed["microseconds"]
