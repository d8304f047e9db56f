"""Everything that a GPU must do, in short, and how fast: for the first run on a machine with one.

    python experiments/gpu_first_run.py >report.json

It needs the package and a GPU, makes its own data, takes less than `--minutes`, and prints one line
of JSON; docs/gpu.md says what stands in it and where to send it. Progress goes to stderr. What did
not fit into the time is "skipped". Without a GPU, `--device CPU` takes two logical CPUs in its
place, smaller networks and batches: that tries the script, and measures nothing.

`CHECKS` are also the bodies of tests/test_house_gpu.py.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from deeploc_tf.embedding.embed import embed
from deeploc_tf.models.extractors import blank_crops, feature_extractor, inference_function
from deeploc_tf.models.hardware import placed_on, share_gpus
from deeploc_tf.models.trained import load_trained
from deeploc_tf.pipeline.batches import training_batches
from deeploc_tf.serving.export import export
from deeploc_tf.serving.open_model import open_model
from deeploc_tf.serving.predict import predict
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.devices import choose_strategy
from deeploc_tf.training.fit import fit
from deeploc_tf.training.run_folder import environment
from deeploc_tf.training.state import TrainingStoppedError
from tfrecords.schema import Crop, Schema
from tfrecords.writer import Entry, write_records

CLASSES = ("bars", "discs", "rims")
SPLITS = {"train": 48, "validation": 12, "test": 12}
SIZE = 24
# Two devices round differently; with TF32 products keep 10 bits of fraction.
CLOSE = {"rtol": 2e-2, "atol": 2e-2}
_PATH = os.pathsep.join(filter(None, sys.path))  # other processes import what this one does


@dataclasses.dataclass
class World:
    """What the checks have.

    Attributes:
        folder: empty at first.
        device: the one that is checked.
        others: all of its kind, itself the first.
        reference: the CPU that it is compared with.
    """

    folder: Path
    device: str
    others: tuple[str, ...]
    reference: str = "cpu:0"

    @property
    def records(self) -> Path:
        """Crops with masks, labels and proteins, made when first asked for."""
        if not (path := self.folder / "records").exists():
            make_records(path, SPLITS, SIZE)
        return path

    def trained(self, name: str, device: str | None = None, **changes: Any) -> dict[str, Any]:
        """Metrics of a short training in `folder / name`; one that is there is not done again."""
        path = self.folder / name
        config = FitConfig(**{**small(), **changes, "device": device or self.device})
        return fit(self.records, path, config)


def small() -> dict[str, Any]:
    """Settings of a training of seconds in which nothing is random but the initial weights."""
    return {
        "width": 0.1, "dense_units": (16, 12), "last_block": False, "window": 0, "epochs": 2,
        "batch_size": 12, "augmentation": "none", "dropout": 0.0, "learning_rate": 0.003,
        "test_time": "none",
    }  # fmt: skip


def make_records(output: Path, splits: dict[str, int], size: int) -> None:
    """Crops of three classes that can be told apart, with noise."""
    schema = Schema(
        (size, size, 2), "uint16", ("gfp", "rfp"), has_mask=True, label_names=CLASSES,
        metadata={"field": "text"},
    )  # fmt: skip
    random = np.random.default_rng(0)
    distance = np.hypot(*(np.mgrid[:size, :size] - (size - 1) / 2)) / size
    shapes = [np.arange(size)[:, None] % 4 < 2, distance < 0.3, (distance > 0.3) & (distance < 0.4)]
    shapes = [np.broadcast_to(shape, (size, size)) for shape in shapes]
    mask = (distance < 0.45).astype(np.uint8)
    entries, crops = [], []
    for split, number in splits.items():
        for i in range(number):
            image = random.integers(100, 300, (size, size, 2), np.uint16)
            image[..., 0] += 600 * shapes[i % 3].astype(np.uint16)
            key, protein = f"{split}/{i:06d}", f"P{i % 6}"
            entries.append(Entry(key, split, (i % 3,), protein))
            crops.append(Crop(key, image, mask, (i % 3,), protein, {"field": f"{split}{i % 2}"}))
    write_records(output, schema, entries, crops)


class Cells:
    """Cells in memory as a source of `predict`."""

    channels = ("gfp", "rfp")
    description = {"kind": "memory"}  # noqa: RUF012
    rejects = ()
    passed_over: dict[str, int] = {}  # noqa: RUF012

    def __init__(self, number: int) -> None:
        random = np.random.default_rng(1)
        self.images = random.integers(100, 900, (number, SIZE, SIZE, 2), np.uint16)

    def index(self) -> pd.DataFrame:
        """A row per cell."""
        keys = [f"cell/{i:06d}" for i in range(len(self.images))]
        return pd.DataFrame({"key": keys, "well": "A01", "protein": "P1"})

    def read(self, position: int) -> tuple[Any, Any]:
        """Its pixels, and all of them as its mask."""
        return self.images[position], np.ones((SIZE, SIZE), np.uint8)

    def files(self, position: int) -> tuple[str, ...]:  # noqa: ARG002
        """None."""
        return ()

    paths = files


def losses(world: World, name: str) -> list[float]:
    """Of the epochs of a training."""
    found: list[float] = pd.read_csv(world.folder / name / "history.csv")["loss"].tolist()
    assert np.isfinite(found).all(), found
    return found


def fit_like_the_cpu(world: World) -> dict[str, Any]:
    """The same losses as on the CPU, without TF32."""
    world.trained("base", tf32=False)
    world.trained("on-cpu", world.reference, tf32=False)
    found, expected = losses(world, "base"), losses(world, "on-cpu")
    np.testing.assert_allclose(found, expected, **CLOSE)
    return {"largest_difference": float(np.abs(np.subtract(found, expected)).max())}


def fit_with_tf32(world: World) -> dict[str, Any]:
    """The losses move little where products are rounded."""
    world.trained("base", tf32=False)
    world.trained("tf32", tf32=True)
    found, expected = losses(world, "tf32"), losses(world, "base")
    np.testing.assert_allclose(found, expected, rtol=0.1, atol=0.05)
    return {"largest_difference": float(np.abs(np.subtract(found, expected)).max())}


def fit_on_all(world: World) -> dict[str, Any]:
    """All devices train like one."""
    batch_size = 12 * len(world.others)
    world.trained("of-one", tf32=False, batch_size=batch_size)
    world.trained("of-all", ",".join(world.others), tf32=False, batch_size=batch_size)
    found, expected = losses(world, "of-all"), losses(world, "of-one")
    np.testing.assert_allclose(found, expected, **CLOSE)
    return {"devices": len(world.others)}


def fit_goes_on(world: World) -> dict[str, Any]:
    """A training that was stopped between two steps ends as one that was not."""
    world.trained("base", tf32=False)
    config = FitConfig(**small(), tf32=False, device=world.device)
    asked = iter([False, False, True])
    try:
        fit(world.records, world.folder / "stopped", config, should_stop=lambda: next(asked))
    except TrainingStoppedError:
        fit(world.records, world.folder / "stopped", config)
    np.testing.assert_allclose(losses(world, "stopped"), losses(world, "base"), **CLOSE)
    return {}


def fit_twice_alike(world: World) -> dict[str, Any]:
    """`--deterministic` gives the same bits twice, with everything random on."""
    digests = []
    for name in ("first", "second"):
        run = world.folder / f"deterministic-{name}"
        options = "--width 0.1 --dense-units 16,12 --window 20 --epochs 1 --batch-size 12"
        options += " --test-time none --quiet"
        words = ["fit", world.records, run, "--device", world.device, "--deterministic"]
        command(world, *words, *options.split())
        weights = [weight.numpy() for weight in load_trained(run).model.weights]
        digests.append(hashlib.sha256(b"".join(w.tobytes() for w in weights)).hexdigest())
    assert digests[0] == digests[1], digests
    return {"sha256": digests[0]}


def fit_in_bfloat16(world: World) -> dict[str, Any]:
    """Convolutions in 16 bits lose little."""
    world.trained("base", tf32=False)
    world.trained("bfloat16", precision="bfloat16")
    np.testing.assert_allclose(losses(world, "bfloat16"), losses(world, "base"), rtol=0.2, atol=0.1)
    return {}


def fit_with_xla(world: World) -> dict[str, Any]:
    """The step that XLA compiles is the same step."""
    world.trained("base", tf32=False)
    world.trained("xla", xla=True, tf32=False)
    np.testing.assert_allclose(losses(world, "xla"), losses(world, "base"), **CLOSE)
    return {}


def fit_with_everything_random(world: World) -> dict[str, Any]:
    """Turns by any angle, dropout, averaged weights, masks."""
    world.trained("random", augmentation="rotations", dropout=0.3, mask=True, window=20)
    return {"loss": losses(world, "random")[-1]}


def fit_triplets(world: World) -> dict[str, Any]:
    """The loss of the features."""
    world.trained("triplets", loss="triplet")
    return {"loss": losses(world, "triplets")[-1]}


def fit_inpainting(world: World) -> dict[str, Any]:
    """Self-supervised training."""
    config = FitConfig(
        method="inpainting", width=0.1, min_cells=2, pair_by=("protein",), epochs=1, batch_size=12,
        device=world.device,
    )  # fmt: skip
    fit(world.records, world.folder / "inpainting", config)
    return {"loss": losses(world, "inpainting")[-1]}


def vectors_of_views(world: World) -> dict[str, Any]:
    """The mean over all views is that of the CPU."""
    world.trained("windowed", window=16)
    tables = []
    for device in (world.device, world.reference):
        path = world.folder / f"views-{device.replace(':', '')}.parquet"
        embed(world.folder / "windowed", world.records, path, test_time="both", device=device)
        tables.append(pd.read_parquet(path).select_dtypes("float32").to_numpy())
    np.testing.assert_allclose(*tables, **CLOSE)
    return {"largest_difference": float(np.abs(tables[0] - tables[1]).max())}


def vectors_of_all(world: World) -> dict[str, Any]:
    """All devices embed the bytes of one."""
    world.trained("base", tf32=False)
    tables = []
    for name, device in (("one", world.device), ("all", ",".join(world.others))):
        path = world.folder / f"embedded-by-{name}.parquet"
        embed(
            world.folder / "base",
            world.records,
            path,
            splits=["train"],
            batch_size=8,
            device=device,
        )
        tables.append(pd.read_parquet(path))
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    return {"devices": len(world.others)}


def exported(world: World) -> dict[str, Any]:
    """A SavedModel made here says here and on the CPU what the run says."""
    world.trained("base", tf32=False)
    path = export(world.folder / "base", world.folder / "model", device=world.device)
    images = Cells(9).images
    answers = [
        open_model(model, device=device)(images)["probabilities"]
        for model, device in (
            (world.folder / "base", world.device),
            (path, world.device),
            (path, world.reference),
        )
    ]
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-5)
    np.testing.assert_allclose(answers[2], answers[0], **CLOSE)
    return {"largest_difference": float(np.abs(answers[2] - answers[0]).max())}


def predicted(world: World) -> dict[str, Any]:
    """All devices classify as the CPU does, cells in the same order."""
    world.trained("base", tf32=False)
    tables = []
    for name, device in (("all", ",".join(world.others)), ("cpu", world.reference)):
        output = world.folder / f"predicted-by-{name}"
        model = open_model(world.folder / "base", device=device)
        predict(model, Cells(50), output, batch_size=8)
        tables.append(pd.read_parquet(output / "cells.parquet"))
    assert tables[0]["key"].tolist() == tables[1]["key"].tolist()
    confidences = [table["confidence"].to_numpy() for table in tables]
    np.testing.assert_allclose(*confidences, **CLOSE)
    return {"same_calls": float((tables[0]["call"] == tables[1]["call"]).mean())}


def memory_grows(world: World) -> dict[str, Any]:
    """A small training takes a small part of the memory, and too large a batch is reported.

    The latter in a process that may use 600 MB of the GPU; on a CPU nothing limits it.
    """
    world.trained("base", tf32=False)
    if "gpu" not in world.device:
        return {"skipped": "a CPU has no memory of its own"}
    peak = tf.config.experimental.get_memory_info(world.device.upper())["peak"]
    code = (
        "import sys, tensorflow as tf\n"
        "gpus = tf.config.list_physical_devices('GPU')\n"
        "limit = tf.config.LogicalDeviceConfiguration(memory_limit=600)\n"
        "for gpu in gpus: tf.config.set_logical_device_configuration(gpu, [limit])\n"
        "from deeploc_tf.cli import main\n"
        "main(sys.argv[1:], prog_name='deeploc-tf')\n"
    )
    make_records(world.folder / "large", {"train": 1024}, 64)
    words = [world.folder / "large", world.folder / "too-large", "--batch-size", "1024"]
    words += ["--device", world.device, "--window", "0", "--epochs", "1", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", code, "fit", *map(str, words)],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": _PATH},
    )  # fmt: skip
    assert done.returncode == 3, done.stderr[-2000:]
    assert "--batch-size" in done.stderr.splitlines()[-1], done.stderr[-2000:]
    return {"peak_bytes": int(peak), "said": done.stderr.splitlines()[-1]}


CHECKS: dict[str, Callable[[World], dict[str, Any]]] = {
    check.__name__: check
    for check in (
        *(fit_like_the_cpu, fit_with_tf32, fit_on_all, fit_goes_on, fit_in_bfloat16, fit_with_xla),
        *(fit_with_everything_random, fit_triplets, fit_inpainting, vectors_of_views),
        *(vectors_of_all, exported, predicted, fit_twice_alike, memory_grows),
    )
}


def command(world: World, *words: Any) -> None:
    """Run `deeploc-tf` in a process of its own, where the devices are those of this one."""
    cpus = 1 + max(int(name[4:]) for name in (*world.others, "cpu:0") if name.startswith("cpu"))
    code = (
        "import sys, tensorflow as tf\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "one = tf.config.LogicalDeviceConfiguration()\n"
        f"tf.config.set_logical_device_configuration(cpu, [one] * {cpus})\n"
        "from deeploc_tf.cli import main\n"
        "main(sys.argv[1:], prog_name='deeploc-tf')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": _PATH},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


class Clock(keras.callbacks.Callback):
    """Crops per second of the steps after the first ones, which trace and try out kernels."""

    def __init__(self, batch_size: int, warm_up: int, steps: int) -> None:
        super().__init__()
        self.batch_size, self.warm_up, self.steps = batch_size, warm_up, steps
        self.times: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Note the time: the loss was read, so the step is over."""
        self.times.append(time.perf_counter())

    @property
    def done(self) -> bool:
        """Whether there were enough."""
        return len(self.times) > self.warm_up + self.steps

    @property
    def rate(self) -> float:
        """Crops per second."""
        times = self.times[self.warm_up :]
        return self.batch_size * (len(times) - 1) / (times[-1] - times[0])


def rate_of(call: Callable[[], Any], batch_size: int, seconds: float) -> float:
    """Crops per second of a function that computes a batch and waits for it."""
    for _ in range(3):
        call()
    count, begun = 0, time.perf_counter()
    while (passed := time.perf_counter() - begun) < seconds or count < 2:
        call()
        count += 1
    return count * batch_size / passed


def measure(world: World, records: Path, batch_size: int, width: float, seconds: float) -> Any:
    """Crops per second of `fit`, of its bare step, and of its input alone."""
    name = f"speed-{batch_size}"
    settings = {"width": width, "batch_size": batch_size, "steps": 100_000, "device": world.device}
    clock, kept = Clock(batch_size, 5, 40), keras.callbacks.Callback()
    with contextlib.suppress(TrainingStoppedError):
        fit(
            records, world.folder / name, FitConfig(**settings), callbacks=[clock, kept],
            should_stop=lambda: clock.done, checkpoint_minutes=1e6,
        )  # fmt: skip
    model = kept.model
    strategy = choose_strategy(world.device)
    dataset = training_batches(records, batch_size=batch_size, epochs=10_000)
    iterator = iter(strategy.experimental_distribute_dataset(dataset))
    batch = next(iterator)
    step = tf.function(lambda *data: strategy.run(model.train_step, args=(data,)))

    def bare() -> None:
        float(step(*batch)["loss"])

    result = {
        "batch_size": batch_size,
        "fit": clock.rate,
        "bare_step": rate_of(bare, batch_size, seconds),
        "input_alone": rate_of(lambda: next(iterator)[1].numpy(), batch_size, seconds),
    }
    return {name: round(value, 1) for name, value in result.items()}


def measure_embed(world: World, records: Path, run: Path, batch_size: int, seconds: float) -> Any:
    """Crops per second of `embed` of one view, and of its network on one batch."""
    times: list[tuple[float, int]] = []
    embed(
        run, records, world.folder / f"speed-{batch_size}.h5", splits=["train"], test_time="none",
        batch_size=batch_size, device=world.device,
        progress=lambda done, _: times.append((time.perf_counter(), done)),
    )  # fmt: skip
    (first, before), (last, after) = times[len(times) // 4], times[-1]
    with placed_on(world.device):
        network = inference_function(feature_extractor(load_trained(run).model))
        images = blank_crops(load_trained(run).model, batch_size)["image"]
        bare = rate_of(lambda: network(images).numpy(), batch_size, seconds)
    whole = (after - before) / (last - first) if last > first else None
    return {"embed": None if whole is None else round(whole, 1), "bare_network": round(bare, 1)}


def speed(world: World, until: float) -> Iterator[dict[str, Any]]:
    """A row per batch size."""
    on_gpu = "gpu" in world.device
    sizes = (64, 256, 1024, 4096) if on_gpu else (8, 16)
    width, seconds, number = (1.0, 2.0, 16_384) if on_gpu else (0.05, 0.1, 128)
    records = world.folder / "speed"
    make_records(records, {"train": number}, 64)
    run = world.folder / "speed-run"
    config = FitConfig(width=width, epochs=0, batch_size=8, device=world.device)
    fit(records, run, config)
    for batch_size in sizes:
        if time.monotonic() > until:
            yield {"batch_size": batch_size, "skipped": "no time was left"}
            continue
        row: dict[str, Any] = {"batch_size": batch_size}
        try:
            row |= measure(world, records, batch_size, width, seconds)
            row |= measure_embed(world, records, run, batch_size, seconds)
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {error}"[:2000]
        print(row, file=sys.stderr, flush=True)
        yield row


def checked(world: World, until: float) -> dict[str, Any]:
    """What came out of each check."""
    results: dict[str, Any] = {}
    for name, check in CHECKS.items():
        if time.monotonic() > until:
            results[name] = {"skipped": "no time was left"}
            continue
        begun = time.monotonic()
        try:
            found = {"ok": True, **check(world)}
        except Exception as error:
            traceback.print_exc()
            found = {"ok": False, "error": f"{type(error).__name__}: {error}"[:2000]}
        results[name] = {**found, "seconds": round(time.monotonic() - begun, 1)}
        print(name, results[name], file=sys.stderr, flush=True)
    return results


def devices_of(kind: str) -> list[str]:
    """Names of the devices to use; of CPUs two logical ones, the second first.

    Raises:
        SystemExit: there is no GPU.
    """
    if kind.lower() == "cpu":
        cpu = tf.config.list_physical_devices("CPU")[0]
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
        return ["cpu:1", "cpu:0"]
    share_gpus()
    found = tf.config.list_logical_devices("GPU")
    if not found:
        sys.exit("TensorFlow sees no GPU; `deeploc-tf doctor` says why.")
    return [f"gpu:{i}" for i in range(len(found))]


def main() -> None:
    """Check, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("GPU", "CPU"), type=str.upper, default="GPU")
    parser.add_argument("--minutes", type=float, default=8.0)
    arguments = parser.parse_args()
    begun, seconds = time.monotonic(), arguments.minutes * 60
    names = devices_of(arguments.device)
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), names[0], tuple(names))
        # The checks come first, and leave to the speeds what they need of the time.
        checks = checked(world, begun + 0.55 * seconds)
        rows = list(speed(world, begun + 0.85 * seconds))
    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    report = {
        "report_version": 1,
        "device": arguments.device,
        "environment": {k: v for k, v in environment().items() if k != "command"},
        "gpus": [{name: str(value) for name, value in of.items()} for of in details],
        "cores": os.cpu_count(),
        "checks": checks,
        "crops_per_second": rows,
        "minutes": round((time.monotonic() - begun) / 60, 2),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
