"""Two processes train one model together on the addons stack; the other one says why it cannot."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from shared import RECIPE, tiny_fit

from deeploc_tf.models.trained import load_trained
from deeploc_tf.training.fit import fit
from deeploc_tf.training.multi_worker import Worker, folder_of_this_worker, this_worker
from tfrecords.manifest import Manifest

ADDONS = keras.__version__.startswith("2.")
# Nothing random: each replica draws numbers of its own, which one device cannot repeat.
CONFIG = tiny_fit(
    window=0,
    augmentation="none",
    dropout=0.0,
    epochs=3,
    batch_size=8,
    learning_rate=1e-3,
    **RECIPE,
)
WORKER = """
import logging, os, sys, time
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.fit import fit
import keras

class Slow(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(float(os.environ.get("SLOW", 0)))

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
fit(sys.argv[1], sys.argv[2], FitConfig.model_validate_json(sys.argv[3]), callbacks=[Slow()],
    checkpoint_steps=2)
"""


def config_of(index: int, ports: list[int]) -> str:
    workers = [f"localhost:{port}" for port in ports]
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": workers}, "task": task})


def start(records: Path, run: Path, **environment: str) -> list[subprocess.Popen[str]]:
    """Two workers on one machine."""
    sockets = [socket.socket() for _ in range(2)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(records), str(run), CONFIG.model_dump_json()],
            env={**os.environ, "TF_CONFIG": config_of(index, ports), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]


def finish(workers: list[subprocess.Popen[str]]) -> list[str]:
    outputs = [worker.communicate(timeout=300) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    return [stdout for stdout, _ in outputs]


@pytest.fixture(scope="module")
def records(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("workers") / "records"
    write_screen(folder, size=12)
    return folder


@pytest.fixture(scope="module")
def together(records: Path, tmp_path_factory: Any) -> tuple[Path, list[str]]:
    run: Path = tmp_path_factory.mktemp("together") / "run"
    return run, finish(start(records, run))


@pytest.mark.slow
@pytest.mark.skipif(not ADDONS, reason="several workers need the addons stack")
def test_two_workers_train_like_one_device(
    records: Path, together: tuple[Path, list[str]], tmp_path: Path
) -> None:
    run, outputs = together
    for index, text in enumerate(outputs):
        assert f"Training on 2 devices of 2 workers, of which this is {index}, in" in text
    metrics = fit(records, tmp_path / "alone", CONFIG)
    found = json.loads((run / "metrics.json").read_text())
    assert found["test"]["num_crops"] == 11
    assert found["test"]["loss"] == pytest.approx(metrics["test"]["loss"], abs=1e-3)
    models = [load_trained(folder).model for folder in (run, tmp_path / "alone")]
    for layer in models[0].layers:
        for weight, other in zip(
            layer.weights, models[1].get_layer(layer.name).weights, strict=True
        ):
            if not weight.name.split("/")[-1].startswith("bias"):  # before batch norm: rounding
                np.testing.assert_allclose(weight.numpy(), other.numpy(), atol=5e-3)


@pytest.mark.slow
@pytest.mark.skipif(not ADDONS, reason="several workers need the addons stack")
@pytest.mark.skipif("DEEPLOC_TF_KILLS" not in os.environ, reason="a minute: make reliability")
def test_two_workers_that_were_killed_end_with_the_same_bits(
    records: Path, together: tuple[Path, list[str]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    workers = start(records, run, SLOW="0.5")
    try:
        deadline = time.monotonic() + 600
        while not list(run.glob("checkpoint/epoch-00001-step-0000002.npz")):
            assert time.monotonic() < deadline
            assert workers[0].poll() is None
            time.sleep(0.05)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert not (run / "model.keras").exists()
    for text in finish(start(records, run)):
        assert "Going on after epoch 1 of 3, step 2 of 3." in text
    models = [load_trained(folder).model for folder in (run, together[0])]
    for weight, expected in zip(models[0].weights, models[1].weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), expected.numpy())


@pytest.mark.skipif(ADDONS, reason="the addons stack can")
def test_the_default_stack_says_why_it_cannot(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", config_of(0, [1, 2]))
    with pytest.raises(ValueError, match=r"need the addons stack.*Unset TF_CONFIG"):
        fit(records, tmp_path / "run", CONFIG)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Worker(0, 1)),
        ("{}", Worker(0, 1)),
        (config_of(0, [5]), Worker(0, 1)),
        (config_of(1, [5, 6, 7]), Worker(1, 3)),
    ],
)
def test_the_cluster_is_what_tensorflow_reads(
    text: str, expected: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    assert this_worker() == expected


@pytest.mark.parametrize(
    "text",
    [
        "workers",
        "[]",
        config_of(2, [5, 6]),
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
    ],
)
def test_a_cluster_that_cannot_be_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="`TF_CONFIG` must name workers"):
        this_worker()


def test_only_the_first_worker_writes_the_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    (run / "checkpoint").mkdir(parents=True)
    (run / "config.json").write_text("{}")
    (run / "checkpoint" / "epoch.npz").write_bytes(b"state")
    (run / ".config.json.partial-1").touch()
    monkeypatch.setenv("TF_CONFIG", config_of(0, [5, 6]))
    with folder_of_this_worker(run) as path:
        assert path == run
    monkeypatch.setenv("TF_CONFIG", config_of(1, [5, 6]))
    with folder_of_this_worker(run) as path:
        names = sorted(str(p.relative_to(path)) for p in path.rglob("*"))
        assert names == ["checkpoint", "checkpoint/epoch.npz", "config.json"]
        (path / "model.keras").touch()
    assert not path.exists()
    assert sorted(p.name for p in run.iterdir()) == [
        *(".config.json.partial-1", "checkpoint", "config.json")
    ]
