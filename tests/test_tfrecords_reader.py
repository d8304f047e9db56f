from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tfrecords.codec import decode
from tfrecords.errors import DamagedRecordsError, SplitError
from tfrecords.manifest import Manifest
from tfrecords.reader import Place, read_crops, read_serialized
from tfrecords.schema import Crop
from tfrecords.sharding import order_hash


@pytest.fixture(scope="module")
def records(tiny_records: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("reader") / "records"
    return folder, tiny_records.write(folder, shard_bytes=2 * 448)  # train: 4 shards of 2


def keys(dataset: Any, manifest: Manifest) -> list[str]:
    return [decode(record, manifest.schema).key for record in dataset.as_numpy_iterator()]


def expected(tiny_records: Any, split: str = "train") -> list[str]:
    found = [crop.key for crop in tiny_records.crops if tiny_records.split(crop) == split]
    return sorted(found, key=lambda key: order_hash(key, 0))


@pytest.mark.parametrize("known", [False, True])
def test_crops_are_those_of_tensorflow_with_their_places(
    tiny_records: Any, records: Any, known: bool
) -> None:
    folder, manifest = records
    found = list(read_crops(folder, manifest=manifest if known else None))
    assert [place.split for place, _ in found] == ["test"] * 4 + ["train"] * 8
    for split in ("test", "train"):
        crops = [crop for place, crop in found if place.split == split]
        assert [crop.key for crop in crops] == expected(tiny_records, split)
        assert list(map(describe, crops)) == [
            describe(decode(record, manifest.schema))
            for record in read_serialized(folder, split).as_numpy_iterator()
        ]
    for place, crop in found:
        content = (folder / place.shard).read_bytes()[place.byte :]
        record = content[12 : 12 + int.from_bytes(content[:8], "little")]
        assert decode(record, manifest.schema).key == crop.key
    assert [place.record for place, _ in found[4:]] == [0, 1] * 4


def describe(crop: Crop) -> tuple[Any, ...]:
    mask = None if crop.mask is None else crop.mask.tobytes()
    image = crop.image.dtype, crop.image.shape, crop.image.tobytes()
    return crop.key, image, mask, crop.labels, crop.protein, crop.metadata


def test_crops_of_some_splits_or_shards(tiny_records: Any, records: Any) -> None:
    folder, manifest = records
    both = [crop.key for _, crop in read_crops(str(folder), ["train", "test"])]
    assert both == expected(tiny_records, "train") + expected(tiny_records, "test")
    wanted = [shard.name for shard in manifest.shards("train")[1:3]]
    found = list(read_crops(folder, shards=wanted))
    assert [crop.key for _, crop in found] == expected(tiny_records, "train")[2:6]
    assert found[1][0] == Place("train", wanted[0], 1, found[1][0].byte)
    assert list(read_crops(folder, ["test"], shards=wanted)) == []
    with pytest.raises(SplitError, match="split='validation'"):
        read_crops(folder, ["validation"])
    with pytest.raises(ValueError, match=r"`shards` must be .*shards=\['foreign'\]"):
        read_crops(folder, shards=["foreign"])


def test_records_come_in_the_order_of_the_manifest(tiny_records: Any, records: Any) -> None:
    folder, manifest = records
    for split in ("train", "test"):
        assert keys(read_serialized(folder, split), manifest) == expected(tiny_records, split)
    assert keys(read_serialized(str(folder), "test", manifest=manifest), manifest) == expected(
        tiny_records, "test"
    )


@pytest.mark.parametrize("interleave", [False, True])
def test_the_cardinality_is_known(records: Any, interleave: bool) -> None:
    folder, _ = records
    dataset = read_serialized(folder, "train", interleave=interleave)
    assert dataset.cardinality() == 8
    assert dataset.batch(3).cardinality() == 3
    assert dataset.element_spec == tf.TensorSpec((), tf.string)


def test_interleaving_is_deterministic_and_complete(tiny_records: Any, records: Any) -> None:
    folder, manifest = records
    first = keys(read_serialized(folder, "train", interleave=True), manifest)
    assert sorted(first) == sorted(expected(tiny_records))
    for _ in range(3):
        assert keys(read_serialized(folder, "train", interleave=True), manifest) == first


@pytest.mark.parametrize("interleave", [False, True])
def test_the_order_of_the_shards_follows_from_a_seed_alone(
    tiny_records: Any, records: Any, interleave: bool
) -> None:
    folder, manifest = records

    def read(seed: Any) -> list[str]:
        dataset = read_serialized(folder, "train", interleave=interleave, shard_order_seed=seed)
        return keys(dataset, manifest)

    orders = [read(seed) for seed in range(6)]
    tf.random.set_seed(99)
    assert [read(seed) for seed in range(6)] == orders
    assert [read(tf.constant(seed)) for seed in range(6)] == orders
    assert len(set(map(tuple, orders))) > 1
    for order in orders:
        assert sorted(order) == sorted(expected(tiny_records))


def test_the_seed_may_come_from_a_pipeline(records: Any) -> None:
    folder, manifest = records

    def epoch(seed: Any) -> Any:
        return read_serialized(folder, "train", manifest=manifest, shard_order_seed=seed)

    several = keys(tf.data.Dataset.range(3).flat_map(epoch), manifest)
    assert several == [key for seed in range(3) for key in keys(epoch(seed), manifest)]


def test_an_unknown_split_is_refused(records: Any) -> None:
    with pytest.raises(SplitError, match="split='validation'"):
        read_serialized(records[0], "validation")


@pytest.mark.parametrize("known", [False, True])
def test_a_cut_shard_is_refused_before_the_first_record(
    tiny_records: Any, tmp_path: Path, known: bool
) -> None:
    manifest = tiny_records.write(tmp_path / "records")
    shard = tmp_path / "records" / manifest.shards("train")[1].name
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DamagedRecordsError, match=shard.name):
        read_serialized(tmp_path / "records", "train", manifest=manifest if known else None)


def test_fewer_records_than_promised_are_an_error(tiny_records: Any, tmp_path: Path) -> None:
    manifest = tiny_records.write(tmp_path / "records")
    dataset = read_serialized(tmp_path / "records", "train")
    shard = tmp_path / "records" / manifest.shards("train")[1].name
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes()[: size // 2])  # four records: cut after the second
    with pytest.raises(tf.errors.FailedPreconditionError, match="8 elements"):
        keys(dataset, manifest)
