"""The device that was named computes everything: training, evaluation, vectors and predictions."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from shared import run_cli, tiny_fit
from tensorflow.python.eager import context
from tensorflow.python.saved_model.loader_impl import parse_saved_model

from deeploc_tf.embedding.embed import embed
from deeploc_tf.models.hardware import (
    computed_in_turn,
    computing_devices,
    device_names,
    within_memory,
)
from deeploc_tf.pipeline.batches import training_batches
from deeploc_tf.serving.export import export
from deeploc_tf.serving.open_model import open_model
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.devices import choose_strategy
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


@pytest.mark.parametrize("device", ["cpu:0,gpu:0", "gpu:1,cpu"])
@pytest.mark.parametrize("choose", [choose_strategy, computing_devices, device_names])
def test_devices_of_two_kinds_are_refused(
    choose: Callable[[str], Any], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda _: ["", ""])
    with pytest.raises(ValueError, match="must be of one kind"):
        choose(device)


def test_two_devices_embed_the_bytes_of_one(
    run: Path, records: Path, two_cpus: list[str], tmp_path: Path
) -> None:
    tables = []
    for device in ("cpu:0", "cpu:0,cpu:1"):
        output = tmp_path / device.replace(",", "-") / "cells.parquet"
        output.parent.mkdir()
        with devices_of_convolutions() as found:
            embed(run, records, output, splits=("train", "test"), batch_size=3, device=device)
        assert found == {name.upper() for name in device.split(",")}
        profiles = output.with_name("cells.profiles.parquet")
        tables.append([pd.read_parquet(path) for path in (output, profiles)])
    for one, two in zip(*tables, strict=True):
        pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_a_savedmodel_knows_nothing_of_the_device_that_made_it(
    run: Path, two_cpus: list[str], tmp_path: Path
) -> None:
    made = run_cli("export", run, tmp_path / "model", "--device", "cpu:1", "--fast")
    assert made.exit_code == 0, made.output
    meta_graph = parse_saved_model(str(tmp_path / "model" / "1")).meta_graphs[0]
    functions = meta_graph.graph_def.library.function
    nodes = [*meta_graph.graph_def.node, *(n for f in functions for n in f.node_def)]
    assert not [node.name for node in nodes if "CPU:1" in node.device.upper()]
    refused = run_cli("export", run, tmp_path / "other", "--device", "gpu:7")
    assert refused.exit_code == 1
    assert "device='gpu:7'" in refused.stderr
    assert not (tmp_path / "other").exists()


def test_devices_take_turns_and_results_keep_their_order() -> None:
    took: list[tuple[int, int]] = []

    def on(device: int) -> Callable[[int], int]:
        def compute(item: int) -> int:
            time.sleep(0.002 * (item % 3))
            took.append((item, device))
            if item == 7:
                raise ValueError(item)
            return -item

        return compute

    assert list(computed_in_turn([on(0), on(1), on(2)], range(6))) == [(i, -i) for i in range(6)]
    assert sorted(took) == [(i, i % 3) for i in range(6)]
    assert list(computed_in_turn([on(0)], [])) == []
    seen = []
    results = computed_in_turn([on(0), on(1)], range(5, 20))
    with pytest.raises(ValueError, match="7"):
        seen.extend(item for item, _ in results)
    assert seen == [5, 6]


@pytest.mark.parametrize(
    ("most", "multiple", "tried", "told"),
    [
        (5, 1, [16, 8, 4], "batch_size=32. Use a smaller batch size: --batch-size 4 fits"),
        (7, 3, [15, 6], "batch_size=32. Use a smaller batch size: --batch-size 6 fits"),
        (0, 1, [16, 8, 4, 2, 1], "batch_size=32. No smaller one fits either"),
        (40, 1, [], ""),
    ],
)
def test_the_batch_that_fits_into_memory_is_found(
    most: int, multiple: int, tried: list[int], told: str
) -> None:
    sizes = []

    def compute(batch_size: int) -> None:
        sizes.append(batch_size)
        if batch_size > most:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    expected = pytest.raises(MemoryError, match=told) if told else contextlib.nullcontext()
    with expected, within_memory(32, compute, multiple):
        compute(32)
    assert sizes == [32, *tried]


def test_a_full_disk_and_other_errors_are_not_of_memory() -> None:
    full = tf.errors.ResourceExhaustedError(None, None, "a.h5; No space left on device")
    for error in (full, tf.errors.InternalError(None, None, "ptxas"), ValueError("no")):
        with pytest.raises(type(error)), within_memory(8, lambda _: None):
            raise error
    of_driver = tf.errors.InternalError(None, None, "CUDA_ERROR_OUT_OF_MEMORY: out of memory")
    with pytest.raises(MemoryError, match="--batch-size 4 fits"), within_memory(8, lambda _: None):
        raise of_driver


@pytest.mark.parametrize("tf32", [True, False])
def test_a_training_says_whether_it_rounds_to_tf32(
    tf32: bool, records: Path, tmp_path: Path
) -> None:
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            seen.append(enabled())

    fit(records, tmp_path / "run", CONFIG.model_copy(update={"tf32": tf32}), callbacks=[Watch()])
    assert set(seen) == {tf32}
    assert enabled()  # as it was
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert config["tf32"] is tf32


@pytest.mark.parametrize("device", ["cpu:1", "cpu:0,cpu:1"])
def test_batches_are_on_their_devices_ahead_of_the_step(
    device: str, records: Path, two_cpus: list[str]
) -> None:
    strategy = choose_strategy(device, 8)
    batches = training_batches(records, batch_size=8, epochs=2)
    images, _ = next(iter(strategy.experimental_distribute_dataset(batches)))
    shares = strategy.experimental_local_results(images)
    assert [share.device.rpartition("device:")[2] for share in shares] == device.upper().split(",")


def test_memory_is_shared_before_anything_is_computed(
    run: Path, records: Path, tmp_path: Path
) -> None:
    commands = [
        ["fit", records, tmp_path / "other"],
        ["embed", run, records, tmp_path / "cells.h5"],
        ["evaluate", run, records],
        ["export", run, tmp_path / "model"],
        ["predict", run, tmp_path, tmp_path / "calls", "--label-image", "x.tif"],
        ["explain", run, tmp_path / "explained", "--records", records],
    ]
    code = (
        "import sys, tensorflow as tf\n"
        "from click.testing import CliRunner\n"
        "from tensorflow.python.eager import context\n"
        "def asked(kind=None):\n"
        "    print(context.context()._initialized, file=sys.__stdout__)\n"
        "    sys.exit(7)\n"
        "tf.config.list_physical_devices = asked\n"
        "from deeploc_tf.cli import main\n"
        f"for words in {[list(map(str, words)) for words in commands]}:\n"
        "    assert CliRunner().invoke(main, words).exit_code == 7, words\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False"] * len(commands)
