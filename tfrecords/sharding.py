"""Where each crop goes: order, number, lengths and names of the shards. Arithmetic only, no files.

The order of the crops in a data set is a permutation by a hash of their keys, so it depends on the
keys and a seed and on nothing else: not on the order of the input, the machine or the number of
workers. A reader that goes through the shards from first to last meets the crops well mixed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tfrecords.errors import DuplicateKeyError

SHARD_BYTES = 128 << 20
HASH_BYTES = 16
DATASET_NAME = "deeploc"


def order_hash(key: str, seed: int) -> bytes:
    """Hash by which crops are ordered: BLAKE2b of the UTF-8 key, salted by the seed.

    Args:
        key: key of a crop.
        seed: in [0, 2**63); each seed gives another permutation.

    Returns:
        16 bytes, compared from the first to the last.

    Raises:
        ValueError: `seed` is out of range.
    """
    if not 0 <= seed < 2**63:
        msg = f"`seed` must lie in [0, 2**63). Received: seed={seed}."
        raise ValueError(msg)
    salt = seed.to_bytes(hashlib.blake2b.SALT_SIZE, "little")
    return hashlib.blake2b(key.encode(), digest_size=HASH_BYTES, salt=salt).digest()


def global_order(keys: Sequence[str], seed: int) -> NDArray[np.int64]:
    """The permutation that takes places in the data set to places in `keys`.

    Args:
        keys: distinct keys, in any order.
        seed: see `order_hash`.

    Returns:
        int64 `(num_keys,)`: `keys[order[i]]` is the key of the i-th crop of the data set.

    Example:
        >>> [["a", "b", "c"][i] for i in global_order(["a", "b", "c"], seed=2)]
        ['b', 'c', 'a']
        >>> [["c", "a", "b"][i] for i in global_order(["c", "a", "b"], seed=2)]
        ['b', 'c', 'a']
    """
    hashes = bytearray()  # not joined, for which all would be kept as objects first
    for key in keys:
        hashes += order_hash(key, seed)
    halves = np.frombuffer(hashes, dtype=">u8").reshape(-1, 2)
    return np.lexsort((halves[:, 1], halves[:, 0])).astype(np.int64)


def num_shards(num_crops: int, bytes_per_crop: int, shard_bytes: int = SHARD_BYTES) -> int:
    """How many shards hold `num_crops` crops: as few as keep each within `shard_bytes`.

    A crop that is larger than a shard gets one of its own.

    Raises:
        ValueError: an argument is below 1.

    Example:
        >>> num_shards(16_000, bytes_per_crop=16_384)
        2
    """
    received = {
        "num_crops": num_crops,
        "bytes_per_crop": bytes_per_crop,
        "shard_bytes": shard_bytes,
    }
    for name, value in received.items():
        if value < 1:
            msg = f"`{name}` must be at least 1. Received: {name}={value}."
            raise ValueError(msg)
    crops_a_shard = max(1, shard_bytes // bytes_per_crop)
    return -(-num_crops // crops_a_shard)


def shard_lengths(num_crops: int, num_shards: int) -> list[int]:
    """Number of crops of each shard, as even as possible, the longer ones first.

    Raises:
        ValueError: there are fewer crops than shards, or no shard.

    Example:
        >>> shard_lengths(10, 4)
        [3, 3, 2, 2]
    """
    if not 1 <= num_shards <= num_crops:
        msg = (
            "`num_shards` must lie in [1, num_crops]. "
            f"Received: num_shards={num_shards}, num_crops={num_crops}."
        )
        raise ValueError(msg)
    length, longer = divmod(num_crops, num_shards)
    return [length + 1] * longer + [length] * (num_shards - longer)


def shard_name(split: str, index: int, count: int) -> str:
    """File name of a shard, as TFDS names them.

    Example:
        >>> shard_name("train", 3, 16)
        'deeploc-train.tfrecord-00003-of-00016'
    """
    return f"{DATASET_NAME}-{split}.tfrecord-{index:05d}-of-{count:05d}"


def check_unique_keys(keys: Iterable[str]) -> None:
    """Raise `DuplicateKeyError` if a key comes twice; it is named.

    Two crops of one key could not be told apart in any table made from them, and would lie in the
    data set once or twice depending on who counts.
    """
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            msg = (
                f"Every crop must have a key of its own. Received: key={key!r} twice. "
                "Name the cell in the pattern or the key column."
            )
            raise DuplicateKeyError(msg)
        seen.add(key)
