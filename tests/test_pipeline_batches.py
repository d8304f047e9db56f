from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from deeploc_tf.pipeline.batches import batches, running_on, steps_per_epoch, training_batches
from deeploc_tf.pipeline.shards import shard_batches
from tfrecords.errors import DamagedRecordsError, SplitError
from tfrecords.framing import frame
from tfrecords.framing import records as framed_records
from tfrecords.manifest import Manifest
from tfrecords.sharding import order_hash

NUM_TRAIN = 27  # 12 + 9 + 6, in four shards


@pytest.fixture(scope="module")
def records(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("batches") / "records"
    return folder, write_screen(folder, has_mask=True, size=8)


@pytest.fixture(scope="module")
def key_of(records: tuple[Path, Manifest]) -> dict[bytes, bytes]:
    """Pixels -> key: training batches carry no keys, but all crops differ."""
    found = {
        image.tobytes(): key
        for batch in batches(records[0], "train").as_numpy_iterator()
        for image, key in zip(batch["image"], batch["key"], strict=True)
    }
    assert len(found) == NUM_TRAIN
    return found


def epochs_of(dataset: tf.data.Dataset, key_of: dict[bytes, bytes], steps: int) -> list[Any]:
    """Keys in the order in which training sees them: epochs of batches of keys."""
    seen = [
        [key_of[image.tobytes()] for image in images] for images, _ in dataset.as_numpy_iterator()
    ]
    assert len(seen) % steps == 0
    return [seen[i : i + steps] for i in range(0, len(seen), steps)]


@pytest.mark.parametrize("batch_size", [1, 2, 7, 8, 27, 100])
def test_every_crop_comes_once_and_in_manifest_order(records: Any, batch_size: int) -> None:
    folder, _ = records
    dataset = batches(folder, "train", batch_size=batch_size, features=["key"])
    found = [batch["key"].tolist() for batch in dataset.as_numpy_iterator()]
    keys = list(chain(*found))
    expected = sorted((f"train/{i:03}" for i in range(NUM_TRAIN)), key=lambda k: order_hash(k, 0))
    assert keys == [key.encode() for key in expected]
    assert {len(batch) for batch in found[:-1]} <= {batch_size}
    assert dataset.cardinality() == len(found) == -(-NUM_TRAIN // batch_size)


def test_batches_hold_what_the_records_hold(records: Any) -> None:
    folder, manifest = records
    batch = next(iter(batches(str(folder), "test", batch_size=4, manifest=manifest)))
    shapes = {name: (values.dtype.name, tuple(values.shape)) for name, values in batch.items()}
    assert shapes == {
        "image": ("uint16", (4, 8, 8, 2)),
        "mask": ("uint8", (4, 8, 8)),
        "label": ("int64", (4,)),
        "protein": ("string", (4,)),
        "key": ("string", (4,)),
        "meta/field": ("string", (4,)),
        "meta/focus": ("float32", (4,)),
        "meta/plate": ("int64", (4,)),
    }


def test_several_labels_become_rows_of_zeros_and_ones(
    write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    write_screen(tmp_path / "records", {"train": (1, 2, 1)}, multi_label=True, size=8)
    batch = next(iter(batches(tmp_path / "records", "train", features=["label"])))
    assert batch["label"].dtype == tf.float32
    assert sorted(batch["label"].numpy().tolist()) == [[0, 0, 1], [0, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_training_sees_each_crop_at_most_once_an_epoch(records: Any, key_of: Any) -> None:
    folder, manifest = records
    steps = steps_per_epoch(manifest, "train", 5)
    dataset = training_batches(folder, batch_size=5, epochs=6, seed=1)
    assert steps == 5
    assert dataset.cardinality() == 6 * steps
    epochs = epochs_of(dataset, key_of, steps)
    counts = Counter(key for epoch in epochs for batch in epoch for key in batch)
    for epoch in epochs:
        keys = list(chain(*epoch))
        assert len(keys) == len(set(keys)) == 25
    assert len(counts) == NUM_TRAIN  # the remainder that is dropped is not always the same one


def test_batches_drawn_divide_evenly_lose_nothing(records: Any, key_of: Any) -> None:
    dataset = training_batches(records[0], batch_size=9, epochs=2)
    for epoch in epochs_of(dataset, key_of, 3):
        assert sorted(chain(*epoch)) == sorted(key_of.values())


def test_the_order_is_a_function_of_seed_and_epoch_alone(records: Any, key_of: Any) -> None:
    folder, _ = records

    def order(**arguments: Any) -> list[Any]:
        dataset = training_batches(folder, batch_size=5, **{"epochs": 4, "seed": 3, **arguments})
        return epochs_of(dataset, key_of, 5)

    tf.random.set_seed(10)
    uninterrupted = order()
    assert len({str(epoch) for epoch in uninterrupted}) == 4
    tf.random.set_seed(11)
    tf.random.uniform(())
    assert order() == uninterrupted
    for first_epoch in (1, 3):
        assert order(first_epoch=first_epoch) == uninterrupted[first_epoch:]
    assert order(epochs=2) == uninterrupted[:2]
    other = order(seed=4)
    assert not {str(epoch) for epoch in other} & {str(epoch) for epoch in uninterrupted}
    # A data set of two epochs can be walked through twice, too.
    dataset = training_batches(folder, batch_size=5, epochs=4, seed=3)
    assert epochs_of(dataset, key_of, 5) == epochs_of(dataset, key_of, 5) == uninterrupted


def test_the_global_seed_is_left_alone(records: Any) -> None:
    tf.random.set_seed(5)
    expected = tf.random.uniform((3,)).numpy()
    tf.random.set_seed(5)
    next(iter(training_batches(records[0], batch_size=5)))
    np.testing.assert_array_equal(tf.random.uniform((3,)).numpy(), expected)


def test_targets_and_masks_belong_to_their_images(records: Any) -> None:
    folder, _ = records
    truth = {
        image.tobytes(): (mask.tobytes(), int(label))
        for batch in batches(folder, "train").as_numpy_iterator()
        for image, mask, label in zip(batch["image"], batch["mask"], batch["label"], strict=True)
    }
    for inputs, targets in training_batches(folder, batch_size=5, mask=True).as_numpy_iterator():
        assert sorted(inputs) == ["image", "mask"]
        assert targets.dtype == np.float32
        np.testing.assert_array_equal(targets.sum(axis=1), 1)
        for image, mask, target in zip(inputs["image"], inputs["mask"], targets, strict=True):
            assert truth[image.tobytes()] == (mask.tobytes(), int(target.argmax()))


def test_targets_come_as_numbers_and_by_name(
    records: Any, write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    folder, _ = records
    options: dict[str, Any] = {"batch_size": 5, "mask": True, "target": "label+protein"}
    pairs = training_batches(folder, **options)
    dicts = training_batches(folder, **options, as_supervised=False, one_hot=False)
    assert len(dicts) == len(pairs)
    for (inputs, targets), batch in zip(pairs, dicts.as_numpy_iterator(), strict=True):
        assert list(batch) == ["image", "mask", "label", "protein"]
        np.testing.assert_array_equal(inputs["image"], batch["image"])
        numbers = np.concatenate(
            [tf.one_hot(batch["label"], 3), tf.one_hot(batch["protein"], 27)], 1
        )
        np.testing.assert_array_equal(targets, numbers[:, : targets.shape[1]])
    (images, numbers), *_ = training_batches(folder, batch_size=5, one_hot=False)
    assert images.shape == (5, 8, 8, 2)
    assert numbers.dtype == tf.int64
    assert numbers.shape == (5,)
    with pytest.raises(ValueError, match=r"target='label\+protein'.*as_supervised=False"):
        training_batches(folder, one_hot=False, **options)
    write_screen(tmp_path / "several", {"train": (4, 4, 4)}, multi_label=True, size=8)
    with pytest.raises(ValueError, match="several labels"):
        training_batches(tmp_path / "several", batch_size=2, one_hot=False)


def test_unfit_arguments_are_refused(
    records: Any, write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    folder, _ = records
    with pytest.raises(
        ValueError, match=r"`batch_size` must be at least 1\. Received: batch_size=0"
    ):
        batches(folder, "train", batch_size=0)
    with pytest.raises(SplitError, match="train"):
        batches(folder, "tset")
    with pytest.raises(SplitError, match="batch_size=28, split 'train' of 27 crops"):
        training_batches(folder, batch_size=28)
    with pytest.raises(ValueError, match="first_epoch=3"):
        training_batches(folder, batch_size=5, epochs=2, first_epoch=3)
    write_screen(tmp_path / "unlabeled", {"train": (4,)}, label_names=(), size=8)
    with pytest.raises(SplitError, match="needs labels"):
        training_batches(tmp_path / "unlabeled", batch_size=2)
    write_screen(tmp_path / "unmasked", {"train": (2, 2, 2)}, size=8)
    with pytest.raises(SplitError, match="needs records with masks"):
        training_batches(tmp_path / "unmasked", batch_size=2, mask=True)


def test_a_lost_shard_is_refused_before_the_first_batch(
    write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    folder = tmp_path / "records"
    manifest = write_screen(folder, size=8)
    (folder / manifest.shards("train")[1].name).unlink()
    for make in (lambda: batches(folder, "train"), lambda: training_batches(folder, batch_size=5)):
        with pytest.raises(DamagedRecordsError):
            make()


def one_more_crop(manifest: Manifest, split: str) -> Manifest:
    """The manifest of a shard from which a crop was cut, checksums and all."""
    first, *rest = manifest.shards(split)
    more = dataclasses.replace(first, num_crops=first.num_crops + 1)
    return dataclasses.replace(manifest, splits={**manifest.splits, split: (more, *rest)})


def read_in_order(folder: Path, manifest: Manifest) -> Any:
    return batches(folder, "train", features=["protein"], manifest=manifest)


def read_by_shards(folder: Path, manifest: Manifest) -> Any:
    shards = manifest.shards("train")
    return shard_batches(folder, manifest, shards, batch_size=8, features=["protein"])


@pytest.mark.parametrize("read", [read_in_order, read_by_shards])
@pytest.mark.parametrize("fault", ["fewer", "byte", "example"])
def test_what_tensorflow_says_of_a_record_is_told_with_its_place(
    records: Any, tmp_path: Path, fault: str, read: Callable[..., Any]
) -> None:
    folder, manifest = tmp_path / "records", records[1]
    shutil.copytree(records[0], folder)
    shard = manifest.shards("train")[0]
    path = folder / shard.name
    place = rf"Place: shard {shard.name}, record 1, byte \d+\. Copy the data set again, or rebuild"
    content = path.read_bytes()
    start, stop = list(framed_records(content))[1]
    if fault == "fewer":
        manifest = one_more_crop(manifest, "train")
        place = f"{shard.num_crops} in {shard.name}, expected {shard.num_crops + 1}. Copy the data"
    elif fault == "byte":
        path.write_bytes(content[: start + 30] + b"?" + content[start + 31 :])
    else:
        other = content[start:stop].replace(b"protein", b"protean")
        path.write_bytes(content[: start - 12] + frame(other) + content[stop + 4 :])
        kept = {at: text for at, text in shard.checksums.items() if at != stop}
        known = dataclasses.replace(shard, checksums=kept)
        rest = manifest.shards("train")[1:]
        manifest = dataclasses.replace(manifest, splits={"train": (known, *rest)})
        for name in ("test", "validation"):
            for file in folder.glob(f"*{name}*"):
                file.unlink()
    with (
        pytest.raises(DamagedRecordsError, match=place),
        running_on(folder, manifest),
    ):
        list(read(folder, manifest))


def test_tensorflows_own_words_stand_where_the_records_are_whole(records: Any) -> None:
    with (
        pytest.raises(tf.errors.InvalidArgumentError, match="mine"),
        running_on(*records),
    ):
        tf.debugging.assert_equal(1, 2, message="mine")


def test_damage_that_comes_and_goes_is_told_in_a_sentence(records: Any) -> None:
    with (
        pytest.raises(DamagedRecordsError, match=r"second reading.*corrupted record at 12"),
        running_on(*records),
    ):
        raise tf.errors.DataLossError(None, None, "corrupted record at 12")


def test_autograph_rewrites_no_function_of_ours(
    records: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorflow.python.autograph.impl import api  # private: nothing else tells

    rewritten: list[str] = []
    original = api._convert_actual

    def converted(entity: Any, *arguments: Any) -> Any:
        rewritten.append(entity.__qualname__)
        return original(entity, *arguments)

    monkeypatch.setattr(api, "_convert_actual", converted)
    folder, manifest = records
    for dataset in (
        batches(folder, "train"),
        training_batches(folder, batch_size=4, mask=True, sampling="label"),
        shard_batches(folder, manifest, manifest.shards("train"), batch_size=4, features=["image"]),
    ):
        assert len(list(dataset)) > 0
    assert not rewritten
