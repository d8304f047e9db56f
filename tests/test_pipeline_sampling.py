from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from deeploc_tf.pipeline.batches import (
    batches,
    keys_of_training_batch,
    steps_per_epoch,
    training_batches,
)
from deeploc_tf.pipeline.classes import class_index, count_classes
from deeploc_tf.pipeline.sampling import balanced
from deeploc_tf.training.devices import choose_strategy
from tfrecords.errors import SplitError
from tfrecords.manifest import Manifest
from tfrecords.reader import read_serialized

COUNTS = (31, 9, 2)  # of 42 crops: 14 draws of each class
NAMES = ("cytoplasm", "mitochondrion", "nucleus")


@pytest.fixture(scope="module")
def records(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("sampling") / "records"
    return folder, write_screen(folder, {"train": COUNTS, "test": (1, 1, 1)}, size=8)


def epoch_of_keys(records: Any, epoch: int, seed: int = 0, by: Any = "label") -> list[str]:
    folder, manifest = records
    batch_size = steps_per_epoch(manifest, "train", 1, by)
    return keys_of_training_batch(
        folder,
        batch_size=batch_size,
        epoch=epoch,
        step=0,
        seed=seed,
        sampling=by,
        manifest=manifest,
    )


def class_of(key: str) -> int:
    return int(np.searchsorted(np.cumsum(COUNTS), int(key.split("/")[1]), side="right"))


@pytest.mark.parametrize("epoch", range(4))
def test_every_class_comes_equally_often_and_its_crops_evenly(records: Any, epoch: int) -> None:
    times = Counter(epoch_of_keys(records, epoch))
    for label, count in enumerate(COUNTS):
        of_class = [times[f"train/{i:03}"] for i in range(42) if class_of(f"train/{i:03}") == label]
        assert len(of_class) == count
        assert sum(of_class) == 14
        assert max(of_class) - min(of_class) <= 1
    assert times != Counter(epoch_of_keys(records, epoch + 1))  # other crops each epoch


def test_by_protein_each_protein_comes_equally_often(records: Any) -> None:
    keys = epoch_of_keys(records, 0, by="protein")
    assert Counter(int(key.split("/")[1]) % 4 for key in keys) == dict.fromkeys(range(4), 10)


def test_the_epoch_is_a_function_of_seed_and_number_alone(records: Any) -> None:
    first = epoch_of_keys(records, 2, seed=5)
    tf.random.set_seed(77)
    assert epoch_of_keys(records, 2, seed=5) == first
    assert epoch_of_keys(records, 2, seed=6) != first
    assert epoch_of_keys(records, 3, seed=5) != first


def repetitions(records: Any, seed: int, **options: int) -> list[tuple[bytes, int]]:
    """What `balanced` makes of the records in manifest order, as runs."""
    folder, manifest = records
    classes = count_classes(manifest)
    serialized = read_serialized(folder, "train", manifest=manifest)
    index = class_index("label", classes.names)
    drawn = balanced(serialized, manifest.schema, classes, index, tf.constant(seed), **options)
    return list(Counter(drawn.as_numpy_iterator()).items())


def test_the_kth_crop_of_a_class_comes_as_often_as_the_formula_says(records: Any) -> None:
    folder, manifest = records
    labels = [int(v) for b in batches(folder, "train", features=["label"]) for v in b["label"]]
    serialized = list(read_serialized(folder, "train", manifest=manifest).as_numpy_iterator())
    seed = 3
    share = tf.random.stateless_uniform((3,), [seed, 1], dtype=tf.float64).numpy()
    expected, seen = [], [0, 0, 0]
    for record, label in zip(serialized, labels, strict=True):
        ratio, u = 14 / COUNTS[label], int(share[label] * COUNTS[label]) / COUNTS[label]
        k = seen[label]
        times = int((k + 1) * ratio + u + 1e-9) - int(k * ratio + u + 1e-9)
        seen[label] += 1
        expected += [(record, times)] if times else []
    assert repetitions(records, seed) == expected


def test_the_size_of_the_blocks_changes_nothing(records: Any) -> None:
    whole = repetitions(records, 4)
    for size in (1, 5):
        assert repetitions(records, 4, records_at_once=size) == whole


def test_training_batches_are_those_that_are_named_and_resume_in_an_epoch(records: Any) -> None:
    folder, manifest = records
    key_of = {
        image.tobytes(): key.decode()
        for batch in batches(folder, "train").as_numpy_iterator()
        for image, key in zip(batch["image"], batch["key"], strict=True)
    }
    options: Any = {"batch_size": 5, "epochs": 3, "seed": 1, "sampling": "label"}
    dataset = training_batches(folder, **options)
    assert dataset.cardinality() == 3 * 8 == 3 * steps_per_epoch(manifest, "train", 5, "label")
    seen = [
        [key_of[image.tobytes()] for image in images] for images, _ in dataset.as_numpy_iterator()
    ]
    assert len(seen) == 24
    later = training_batches(folder, first_epoch=1, first_step=3, **options)
    assert [
        [key_of[image.tobytes()] for image in images] for images, _ in later.as_numpy_iterator()
    ] == seen[8 + 3 :]
    assert seen[8 + 3] == keys_of_training_batch(
        folder, batch_size=5, epoch=1, step=3, seed=1, sampling="label", manifest=manifest
    )


def test_targets_are_the_proteins_of_the_train_split_sorted(records: Any) -> None:
    folder, manifest = records
    truth = {
        image.tobytes(): protein.decode()
        for batch in batches(folder, "train").as_numpy_iterator()
        for image, protein in zip(batch["image"], batch["protein"], strict=True)
    }
    classes = count_classes(manifest, "protein")
    assert classes.names == ("AAC0", "AAC1", "AAC2", "AAC3")
    assert classes.counts == (11, 11, 10, 10)
    for images, targets in training_batches(folder, batch_size=6, target="protein"):
        np.testing.assert_array_equal(targets.numpy().sum(axis=1), 1)
        for image, target in zip(images.numpy(), targets.numpy(), strict=True):
            assert classes.names[int(target.argmax())] == truth[image.tobytes()]
    index = class_index("protein", classes.names)
    assert index({"protein": tf.constant(["AAC2", "other"])}).numpy().tolist() == [2, -1]


def test_two_replicas_share_out_batches_by_protein(records: Any, two_cpus: list[str]) -> None:
    strategy = choose_strategy(",".join(two_cpus).lower())
    dataset = training_batches(records[0], batch_size=8, target="protein", sampling="protein")
    targets = [
        part.numpy()
        for _, batch in strategy.experimental_distribute_dataset(dataset)
        for part in strategy.experimental_local_results(batch)
    ]
    assert [len(part) for part in targets] == [4] * 10
    assert np.concatenate(targets).sum(axis=0).tolist() == [10, 10, 10, 10]


def test_crops_that_cannot_be_sampled_so_are_refused(
    records: Any, write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    manifest = write_screen(tmp_path / "several", {"train": COUNTS}, size=8, multi_label=True)
    with pytest.raises(SplitError, match=r"one label each.*Sample by protein"):
        steps_per_epoch(manifest, "train", 5, "label")
    assert steps_per_epoch(manifest, "train", 5, "protein") == 8
    with pytest.raises(SplitError, match="batch_size=43, split 'train' of 42 crops"):
        steps_per_epoch(records[1], "train", 43, "label")
    counts = {"train": {**manifest.counts["train"], "protein": {"AAC1": 40}}}
    with pytest.raises(SplitError, match="2 of 42 crops without one"):
        count_classes(dataclasses.replace(manifest, counts=counts), "protein")
