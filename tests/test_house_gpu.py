"""The whole life of a model on a GPU, by the checks of experiments/gpu_first_run.py.

`make test-gpu` runs them on the GPUs that TensorFlow sees, which nobody has done yet; `make
test-long` on two logical CPUs in their place, so that no check is itself untested.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import gpu_first_run
import pytest
import tensorflow as tf
from gpu_first_run import CHECKS, World

SCRIPT = gpu_first_run.__file__
KINDS = [pytest.param("gpu", marks=pytest.mark.gpu), pytest.param("cpu", marks=pytest.mark.long)]


@pytest.fixture(scope="module", params=KINDS)
def world(request: Any, tmp_path_factory: Any) -> World:
    folder = tmp_path_factory.mktemp("world")
    if request.param == "gpu":
        found = tf.config.list_logical_devices("GPU")
        if not found:
            pytest.skip("TensorFlow sees no GPU here; `deeploc-tf doctor` says why")
        names = [f"gpu:{i}" for i in range(len(found))]
        return World(folder, names[0], tuple(names))
    if len(tf.config.list_logical_devices("CPU")) < 2:
        pytest.skip("TensorFlow started with one logical CPU")
    return World(folder, "cpu:1", ("cpu:1", "cpu:0"))


@pytest.mark.parametrize("check", CHECKS)
def test_a_gpu_does(check: str, world: World) -> None:
    found = CHECKS[check](world)
    if "skipped" in found:
        pytest.skip(found["skipped"])


@pytest.mark.long
def test_the_script_reports_on_two_cpus() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--device", "cpu", "--minutes", "30"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = done.stdout.splitlines()
    report = json.loads(line)
    assert set(report["checks"]) == set(CHECKS)
    assert all(found.get("ok") for found in report["checks"].values()), report["checks"]
    for row in report["crops_per_second"]:
        assert set(row) >= {"fit", "bare_step", "input_alone", "embed", "bare_network"}, row
        assert row["fit"] > 0


def test_the_script_says_that_there_is_no_gpu() -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    done = subprocess.run(
        [sys.executable, SCRIPT],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("TensorFlow sees no GPU")
