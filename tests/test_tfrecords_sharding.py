from __future__ import annotations

import doctest
import hashlib
import random

import numpy as np
import pytest

import tfrecords.sharding
from tfrecords.errors import DuplicateKeyError
from tfrecords.sharding import (
    SHARD_BYTES,
    check_unique_keys,
    global_order,
    num_shards,
    order_hash,
    shard_lengths,
    shard_name,
)

KIB, MIB = 1 << 10, 1 << 20
CROP = 16 * KIB  # 64 x 64, two channels of 16 bits

A_DOZEN = 12
A_REAL_SCREEN = 10_000_000
A_SHARD_OF_CROPS = SHARD_BYTES // CROP


def test_a_shard_is_128_mib() -> None:
    assert SHARD_BYTES == 128 * MIB
    assert A_SHARD_OF_CROPS == 8192


@pytest.mark.parametrize(
    ("num_crops", "bytes_per_crop", "expected"),
    [
        (1, CROP, 1),
        (A_DOZEN, CROP, 1),
        (A_SHARD_OF_CROPS, CROP, 1),
        (A_SHARD_OF_CROPS + 1, CROP, 2),
        (A_REAL_SCREEN, CROP, 1221),
        (A_DOZEN, SHARD_BYTES, A_DOZEN),
        (A_DOZEN, SHARD_BYTES + 1, A_DOZEN),
        (A_DOZEN, 10 * SHARD_BYTES, A_DOZEN),
    ],
)
def test_num_shards(num_crops: int, bytes_per_crop: int, expected: int) -> None:
    assert num_shards(num_crops, bytes_per_crop) == expected


def test_num_shards_of_another_size() -> None:
    assert num_shards(10, bytes_per_crop=100, shard_bytes=399) == 4


@pytest.mark.parametrize("name", ["num_crops", "bytes_per_crop", "shard_bytes"])
def test_num_shards_refuses_nothing(name: str) -> None:
    arguments = {"num_crops": 5, "bytes_per_crop": 5, "shard_bytes": 5, name: 0}
    with pytest.raises(ValueError, match=f"{name}=0"):
        num_shards(**arguments)


@pytest.mark.parametrize(
    ("num_crops", "count", "expected"),
    [
        (1, 1, [1]),
        (10, 1, [10]),
        (10, 4, [3, 3, 2, 2]),
        (8, 4, [2, 2, 2, 2]),
        (4, 4, [1, 1, 1, 1]),
    ],
)
def test_shard_lengths(num_crops: int, count: int, expected: list[int]) -> None:
    assert shard_lengths(num_crops, count) == expected


@pytest.mark.parametrize("num_crops", [1, 2, 7, 100, 1_000_003])
def test_shard_lengths_are_even_and_complete(num_crops: int) -> None:
    for count in {1, min(3, num_crops), min(97, num_crops)}:
        lengths = shard_lengths(num_crops, count)
        assert sum(lengths) == num_crops
        assert len(lengths) == count
        assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("count", [0, 3])
def test_shard_lengths_refuses_empty_shards(count: int) -> None:
    with pytest.raises(ValueError, match=f"num_shards={count}, num_crops=2"):
        shard_lengths(2, count)


def test_shard_name() -> None:
    assert shard_name("train", 3, 16) == "deeploc-train.tfrecord-00003-of-00016"
    assert shard_name("train", 123_456, 200_000) == "deeploc-train.tfrecord-123456-of-200000"


def test_order_hash_is_salted_blake2b() -> None:
    salt = (7).to_bytes(16, "little")
    expected = hashlib.blake2b("YAL001C/µ".encode(), digest_size=16, salt=salt).digest()
    assert order_hash("YAL001C/µ", 7) == expected
    assert order_hash("YAL001C/µ", 8) != expected


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_order_hash_refuses_seeds_out_of_range(seed: int) -> None:
    with pytest.raises(ValueError, match=f"seed={seed}"):
        order_hash("a", seed)


def test_global_order_sorts_by_hash() -> None:
    keys = [f"cell-{i}" for i in range(500)]
    order = global_order(keys, seed=3)
    assert order.dtype == np.int64
    assert [keys[i] for i in order] == sorted(keys, key=lambda key: order_hash(key, 3))


def test_global_order_does_not_depend_on_the_input_order() -> None:
    keys = [f"cell-{i}" for i in range(200)]
    shuffled = random.Random(0).sample(keys, len(keys))
    assert [keys[i] for i in global_order(keys, 0)] == [
        shuffled[i] for i in global_order(shuffled, 0)
    ]


def test_global_order_differs_by_seed_and_mixes() -> None:
    keys = [f"cell-{i:05d}" for i in range(5000)]
    order, other = global_order(keys, 0), global_order(keys, 1)
    assert sorted(order) == list(range(len(keys)))
    assert (order == other).mean() < 0.01
    assert abs(np.corrcoef(order, np.arange(len(keys)))[0, 1]) < 0.05


def test_the_examples_of_the_docstrings_run() -> None:
    results = doctest.testmod(tfrecords.sharding)
    assert results.attempted >= 4
    assert results.failed == 0


def test_global_order_of_nothing_is_empty() -> None:
    assert global_order([], 0).shape == (0,)


def test_check_unique_keys_names_the_duplicate() -> None:
    check_unique_keys(["a", "b", "c"])
    with pytest.raises(DuplicateKeyError, match="key='b' twice"):
        check_unique_keys(["a", "b", "c", "b"])
