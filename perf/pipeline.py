"""How near is our pipeline to reading the bytes alone, and how far from other ways to read crops?

    nice -n 5 python perf/pipeline.py [--crops 16384] [--slow-crops 2048] [--repeats 15]

The crops are 64 x 64 x 2 uint16 of noise, in shards of 128 MiB, in the page cache. Contestants:

- raw: `TFRecordDataset(files).batch`: bytes read, checksums verified, nothing parsed (the limit)
- ours: `batches` of the image alone: raw pixels, parsed and shaped
- ours, all features: `batches` as it is by default
- raw shuffled: raw behind a shuffle buffer as large as ours
- ours shuffled: `training_batches`: pixels and one-hot targets in an epoch's order
- as fit takes them: ours shuffled, as `fit` hands it to a device ahead of the step; each batch is
  copied once within memory, in the place of the copy to a GPU
- ours prepared: ours shuffled, then min-max, standardization and flips by the model's own layers on
  the CPU, which in a training are part of the model and run on its device
- tfds: `tfds.builder_from_directory(records).as_dataset().batch`, all features
- grain: the first shard by grain's own reader, which verifies no checksum, each record parsed as a
  `tf.train.Example`; the image alone
- ancestor: the published training code's way, written anew. A crop is a row of names of TIFF files,
  one a channel; `tf.py_function` walks through the row and opens each file by PIL, min-max; then
  `per_image_standardization`, then flips, a `map` each; batches of 128, names of files shuffled

ours prepared, tfds and ancestor read the first `--slow-crops` crops only. tfds, grain and ancestor
want tensorflow-datasets, grain, and pillow and tifffile; one that is not installed is skipped.

All take turns in an order that alternates, first forwards, then backwards, and each ratio is the
median over the rounds of what two contestants did in the same round, so that a busy machine hits
both alike. Wall time is what a user waits for, but says little while others use the cores; crops
per second of CPU time (all threads) are steadier, but do not see that ours parses while it reads.

What a crop costs on its way to the device is printed step by step, as differences of contestants:
reading (raw), shuffling (raw shuffled), parsing (ours shuffled), copying (as fit takes them); hence
how many cores feed `--needed` crops per second.

Prints tables and ends with one line of JSON: ratios of wall time, of CPU time where the ancestor is
concerned, all of CPU time in `per_cpu_second`, and `feeding`. `ours_over_raw_shuffled` is ours
shuffled over raw **not** shuffled.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from deeploc_tf.models.augmentation import RandomOrientation
from deeploc_tf.models.normalization import Normalization
from deeploc_tf.pipeline.batches import SHUFFLE_BYTES, batches, training_batches
from tfrecords.schema import Crop, Schema
from tfrecords.verify import verify
from tfrecords.writer import Entry, write_records

SCHEMA = Schema((64, 64, 2), "uint16", ("gfp", "rfp"), label_names=("a", "b", "c"))
ANCESTOR_BATCH_SIZE = 128
NEEDED = {"tfds": ("tensorflow_datasets",), "grain": ("grain",), "ancestor": ("PIL", "tifffile")}
RATIOS = {
    "ours_over_raw_unshuffled": ("ours", "raw"),
    "ours_over_raw_shuffled": ("ours shuffled", "raw"),
    "ours_shuffled_over_raw_shuffled": ("ours shuffled", "raw shuffled"),
    "ours_over_tfds": ("ours, all features", "tfds"),
    "ours_over_grain": ("ours", "grain"),
    "ours_over_ancestor": ("ours shuffled", "ancestor"),
    "ours_prepared_over_ancestor": ("ours prepared", "ancestor"),
}
# Each step of the way to a device, and the contestant that goes just so far.
WAY = {
    "reading": "raw",
    "shuffling": "raw shuffled",
    "parsing": "ours shuffled",
    "copying": "as fit takes them",
}
Contestants = dict[str, tuple[int, Callable[[], Iterable[Any]]]]
Rates = dict[str, list[tuple[float, float]]]


def make_records(output: Path, num_crops: int) -> None:
    """A data set of noise: what is in the pixels costs nothing here."""
    generator = np.random.default_rng(0)
    entries = [Entry(f"cell/{i:08d}", "train", (i % 3,), f"P{i % 97}") for i in range(num_crops)]
    crops = (
        Crop(e.key, generator.integers(0, 9000, (64, 64, 2), np.uint16), None, e.labels, e.protein)
        for e in entries
    )
    write_records(output, SCHEMA, entries, crops)


def ours(records: Path, num_slow: int, batch_size: int) -> Contestants:
    """TensorFlow's own reading and ours."""
    manifest = verify(records)
    num_crops = manifest.num_crops("train")
    files = [str(records / shard.name) for shard in manifest.shards("train")]
    buffer_size = min(num_crops, SHUFFLE_BYTES // SCHEMA.num_image_bytes)
    settings: dict[str, Any] = {"batch_size": batch_size, "manifest": manifest}
    normalize, flip = Normalization("standardize"), RandomOrientation(quarter_turns=False)
    prepare = tf.function(lambda images: flip(normalize(images), training=True))

    def raw(shuffle: bool) -> Any:
        dataset = tf.data.TFRecordDataset(files)
        if shuffle:
            dataset = dataset.shuffle(buffer_size, seed=1)
        return dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE)

    def taken() -> Any:
        strategy = tf.distribute.OneDeviceStrategy("cpu:0")
        dataset = strategy.experimental_distribute_dataset(training_batches(records, **settings))
        place = np.empty((batch_size, *SCHEMA.image_shape), SCHEMA.dtype)
        return (np.copyto(place, images.numpy()) for images, _ in dataset)

    def prepared() -> Any:
        dataset = training_batches(records, **settings).take(num_slow // batch_size)
        return ((prepare(images), targets) for images, targets in dataset)

    return {
        "raw": (num_crops, lambda: raw(shuffle=False)),
        "ours": (num_crops, lambda: batches(records, "train", features=["image"], **settings)),
        "ours, all features": (num_crops, lambda: batches(records, "train", **settings)),
        "raw shuffled": (num_crops, lambda: raw(shuffle=True)),
        "ours shuffled": (num_crops, lambda: training_batches(records, **settings)),
        "as fit takes them": (num_crops // batch_size * batch_size, taken),
        "ours prepared": (num_slow // batch_size * batch_size, prepared),
    }


def tfds_batches(records: Path, num_crops: int, batch_size: int) -> Any:
    """TensorFlow Datasets as its own pages show it."""
    import tensorflow_datasets as tfds

    dataset = tfds.builder_from_directory(str(records)).as_dataset(split=f"train[:{num_crops}]")
    return dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def grain_batches(file: Path, batch_size: int) -> Any:
    """Every record of a shard."""
    import grain

    def pixels(record: bytes) -> Any:
        features = tf.train.Example.FromString(record).features.feature
        (image,) = features["image"].bytes_list.value
        return np.frombuffer(image, SCHEMA.dtype).reshape(SCHEMA.image_shape)

    return grain.experimental.TFRecordIterDataset(str(file)).map(pixels).batch(batch_size)


def write_pairs(records: Path, folder: Path, num_crops: int) -> tuple[list[list[str]], list[int]]:
    """The first crops as files, a channel each: the names of each crop, and the labels."""
    import tifffile

    folder.mkdir()
    names: list[list[str]] = []
    labels: list[int] = []
    crops = batches(records, "train", batch_size=1, features=["image", "label"])
    for number, crop in enumerate(crops.take(num_crops).as_numpy_iterator()):
        names.append([str(folder / f"{number}_{channel}.tif") for channel in SCHEMA.channels])
        labels.append(int(crop["label"][0]))
        for channel, name in enumerate(names[-1]):
            tifffile.imwrite(name, crop["image"][0, ..., channel])
    return names, labels


def ancestor_batches(names: list[list[str]], labels: list[int]) -> Any:
    """One crop at a time, through Python."""
    from PIL import Image

    def channel(name: Any) -> Any:
        with Image.open(name.numpy().decode()) as file:
            pixels = np.asarray(file)
        return (pixels - pixels.min()) / (pixels.max() - pixels.min())

    def crop(row: Any) -> Any:
        return np.stack([channel(name) for name in row], axis=-1)

    def load(row: Any, label: Any) -> Any:
        image = tf.ensure_shape(tf.py_function(crop, [row], tf.float32), SCHEMA.image_shape)
        return image, tf.one_hot(label, SCHEMA.num_classes)

    def standardize(image: Any, target: Any) -> Any:
        return tf.image.per_image_standardization(image), target

    def flip(image: Any, target: Any) -> Any:
        return tf.image.random_flip_up_down(tf.image.random_flip_left_right(image)), target

    dataset = tf.data.Dataset.from_tensor_slices((names, labels)).shuffle(len(names), seed=1)
    for function in (load, standardize, flip):
        dataset = dataset.map(function, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(ANCESTOR_BATCH_SIZE).prefetch(tf.data.AUTOTUNE)


def others(records: Path, folder: Path, num_slow: int, batch_size: int) -> Contestants:
    """Those of the other ways whose packages are here."""
    here = {}
    for name, packages in NEEDED.items():
        missing = [package for package in packages if importlib.util.find_spec(package) is None]
        here[name] = not missing
        if missing:
            print(f"{name}: skipped, {' and '.join(missing)} not installed")
    contestants: Contestants = {}
    if here["tfds"]:
        contestants["tfds"] = num_slow, lambda: tfds_batches(records, num_slow, batch_size)
    if here["grain"]:
        shard = verify(records).shards("train")[0]
        file = records / shard.name
        contestants["grain"] = shard.num_crops, lambda: grain_batches(file, batch_size)
    if here["ancestor"]:
        names, labels = write_pairs(records, folder / "pairs", num_slow)
        contestants["ancestor"] = num_slow, lambda: ancestor_batches(names, labels)
    return contestants


def measure(contestants: Contestants, repeats: int) -> Rates:
    """Crops per second, of wall and of CPU time, of each contestant in each round."""
    rates: Rates = {name: [] for name in contestants}
    for repeat in range(-1, repeats):  # the first round warms up
        order = list(contestants)
        for name in order if repeat % 2 else reversed(order):
            num_crops, make = contestants[name]
            dataset = make()
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in dataset:
                pass
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if repeat >= 0:
                rates[name].append((num_crops / wall, num_crops / cpu))
    return rates


def ratios(rates: Rates, clock: int) -> dict[str, float]:
    """Medians over the rounds, as far as both contestants were here; clock 0 is wall, 1 CPU."""
    return {
        name: round(
            statistics.median(
                a[clock] / b[clock] for a, b in zip(rates[above], rates[below], strict=True)
            ),
            3,
        )
        for name, (above, below) in RATIOS.items()
        if {above, below} <= set(rates)
    }


def feeding(rates: Rates, needed: int) -> dict[str, Any]:
    """What a crop costs on its way to the device, in microseconds of CPU time, and its sum."""
    spent = {
        step: 1e6 / statistics.median(cpu for _, cpu in rates[name]) for step, name in WAY.items()
    }
    steps, before = {}, 0.0
    for step, upto in spent.items():
        steps[step] = round(upto - before, 2)
        before = upto
    return {
        "microseconds": steps,
        "crops_per_second_per_core": round(1e6 / before),
        f"cores_for_{needed}": round(needed * before / 1e6, 2),
        "limit": max(steps, key=lambda step: steps[step]),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=16384)
    parser.add_argument("--slow-crops", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--needed", type=int, default=80_000)
    arguments = parser.parse_args()
    logging.getLogger("absl").setLevel(logging.ERROR)  # tfds warns of its own code, each time
    with tempfile.TemporaryDirectory() as name:
        records, num_slow = Path(name) / "records", min(arguments.slow_crops, arguments.crops)
        make_records(records, arguments.crops)
        contestants = ours(records, num_slow, arguments.batch_size)
        contestants |= others(records, Path(name), num_slow, arguments.batch_size)
        rates = measure(contestants, arguments.repeats)
    print(f"{'crops per second':20}{'wall':>10}{'highest':>10}{'of CPU':>10}{'highest':>10}")
    for name, rounds in rates.items():
        columns = [
            f(rate[clock] for rate in rounds) for clock in (0, 1) for f in (statistics.median, max)
        ]
        print(f"{name:20}" + "".join(f"{value:10,.0f}" for value in columns))
    wall, cpu = ratios(rates, 0), ratios(rates, 1)
    best = {name: max(rate for rate, _ in rounds) for name, rounds in rates.items()}
    print(f"\n{'ratios':34}{'wall':>10}{'highest':>10}{'of CPU':>10}")
    for name in wall:
        above, below = RATIOS[name]
        print(f"{name:34}{wall[name]:10.2f}{best[above] / best[below]:10.2f}{cpu[name]:10.2f}")
    fed = feeding(rates, arguments.needed)
    print("\na crop on its way to the device, microseconds of CPU time")
    for step, cost in fed["microseconds"].items():
        print(f"{step:20}{cost:10.2f}")
    print(
        f"{fed['crops_per_second_per_core']:,} crops per second per core; "
        f"{fed[f'cores_for_{arguments.needed}']} cores for {arguments.needed:,}; "
        f"most is {fed['limit']}"
    )
    result = wall | {name: cpu[name] for name in cpu if name.endswith("_over_ancestor")}
    print(json.dumps(result | {"per_cpu_second": cpu, "feeding": fed}))


if __name__ == "__main__":
    main()
