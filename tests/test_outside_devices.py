"""The device that was named computes everything: training, evaluation, vectors and predictions."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from shared import run_cli, tiny_fit
from tensorflow.python.eager import context

from deeploc_tf.serving.export import export
from deeploc_tf.serving.open_model import open_model
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.evaluate import evaluate
from deeploc_tf.training.fit import fit
from tfrecords.manifest import Manifest

CONFIG = tiny_fit(window=0, epochs=1)
INPAINTING = FitConfig(
    method="inpainting", width=0.05, min_cells=2, pair_by=("protein",), epochs=1, batch_size=8
)


@contextlib.contextmanager
def devices_of_convolutions() -> Iterator[set[str]]:
    """Where the convolutions of all functions that are first called inside have run."""
    found: set[str] = set()
    eager = context.context()
    eager.ensure_initialized()
    eager.enable_run_metadata()
    eager.export_run_metadata()  # what was kept of calls before
    try:
        yield found
    finally:
        metadata = eager.export_run_metadata()
        eager.disable_run_metadata()
        for functions in metadata.function_graphs:
            for graph in functions.partition_graphs:
                for node in graph.node:
                    if "Conv2D" in node.op:
                        found.add(node.device.rpartition("device:")[2])


@pytest.fixture(scope="module")
def records(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("devices") / "records"
    write_screen(folder, size=12)
    return folder


@pytest.fixture(scope="module")
def run(records: Path, tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("devices") / "run"
    fit(records, folder, CONFIG)
    return folder


def test_the_question_where_convolutions_run_has_an_answer(two_cpus: list[str]) -> None:
    double = tf.function(lambda x: tf.nn.conv2d(x, tf.ones((1, 1, 1, 2)), 1, "SAME"))
    for name in two_cpus:
        with devices_of_convolutions() as found, tf.device(name):
            double(tf.ones((1, 4, 4, 1)))
        assert found == {name}


@pytest.mark.parametrize("config", [CONFIG, INPAINTING], ids=["classes", "inpainting"])
def test_fit_trains_and_evaluates_on_the_device_that_was_named(
    config: FitConfig, records: Path, two_cpus: list[str], tmp_path: Path
) -> None:
    named = config.model_copy(update={"device": "cpu:1"})
    with devices_of_convolutions() as found:
        metrics = fit(records, tmp_path / "run", named)
    assert found == {"CPU:1"}
    assert "test" in metrics


def test_of_several_devices_the_first_one_evaluates(
    records: Path, two_cpus: list[str], tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"device": "cpu:1,cpu:0", "epochs": 0, "batch_size": 8})
    with devices_of_convolutions() as found:
        fit(records, tmp_path / "run", config)
    assert found == {"CPU:1"}


@pytest.mark.parametrize("command", ["evaluate", "embed"])
def test_commands_that_read_a_run_take_the_device_that_was_named(
    command: str, run: Path, records: Path, two_cpus: list[str], tmp_path: Path
) -> None:
    output = tmp_path / ("results" if command == "evaluate" else "cells.h5")
    with devices_of_convolutions() as found:
        result = run_cli(command, run, records, output, "--device", "cpu:1")
    assert result.exit_code == 0, result.output
    assert found == {"CPU:1"}


def test_what_fit_and_evaluate_measure_is_the_model_that_embed_and_export_serve(
    records: Path, tmp_path: Path, notes: list[str]
) -> None:
    folder = tmp_path / "run"
    fit(records, folder, CONFIG.model_copy(update={"test_time": None}))
    of_fit = json.loads((folder / "metrics.json").read_text())["test"]
    measured = evaluate(folder, records)
    assert measured["test_time"] == of_fit["test_time"] == "orientations"
    assert measured["num_views"] == of_fit["num_views"] == 8
    assert measured["loss"] == pytest.approx(of_fit["loss"], rel=1e-6)
    assert measured["loss"] != pytest.approx(evaluate(folder, records, test_time="none")["loss"])
    assert any("orientations" in note for note in notes)


@pytest.mark.parametrize("served", ["run", "SavedModel"])
def test_a_model_that_is_opened_for_a_device_computes_there(
    served: str, run: Path, two_cpus: list[str], tmp_path: Path
) -> None:
    path = run if served == "run" else export(run, tmp_path / "model")
    model = open_model(path, device="cpu:1")
    with devices_of_convolutions() as found:
        model(np.zeros((2, 12, 12, 2), np.uint16))
    assert found == {"CPU:1"}


@pytest.mark.parametrize("device", ["cpu:0,cpu:1", "cpu:99", "tpu"])
def test_what_is_not_one_device_is_refused(device: str, run: Path, records: Path) -> None:
    with pytest.raises(ValueError, match="Received: device="):
        evaluate(run, records, device=device)
