"""An approximate index of a table (usearch, HNSW): for many queries of very many rows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.extras import install
from deeploc_tf.profiles.space import Space, nearest
from deeploc_tf.provenance import sealed
from tfrecords.file_set import publishing_set
from tfrecords.publishing import publish_bytes, publish_json

WORTH_AN_INDEX = 200_000
"""Rows below which an exact search is as quick."""

NUM_CHECKED = 100
"""Rows whose neighbors are compared with the exact ones when an index is made."""

_EXPANSION = 128  # rows looked at for each query


class MissingUsearchError(ImportError, ValueError):
    """An index needs usearch, which is not installed."""


class ApproximateIndex:
    """Finds most of the nearest rows without looking at all; their similarities are exact.

    Args:
        space: the rows.
        index: of usearch, over `space.vectors`.
        recall: share of the true 10 nearest that were found when it was made.

    References:
        Malkov & Yashunin 2020, IEEE TPAMI 42:824 (HNSW).
    """

    def __init__(self, space: Space, index: Any, recall: float) -> None:
        self.space = space
        self.recall = recall
        self._index = index
        self._index.expansion_search = _EXPANSION

    def nearest(
        self, queries: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As `deeploc_tf.profiles.space.nearest`, approximately."""
        k = min(k, len(self.space.names) - 1)
        found = self._index.search(self.space.vectors[queries], k + 1)
        keys = np.asarray(found.keys, np.int64).reshape(len(queries), -1)
        rows = np.empty((len(queries), k), np.int64)
        likeness = np.empty((len(queries), k), np.float32)
        for number, (query, near) in enumerate(zip(queries, keys, strict=True)):
            others = near[near != query][:k]
            scores = self.space.similarities(queries[number : number + 1], others)[0]
            order = np.lexsort((others, -scores))
            rows[number], likeness[number] = others[order], scores[order]
        return rows, likeness


def recall(space: Space, index: ApproximateIndex, k: int, seed: int = 0) -> float:
    """Share of the k nearest rows, by exact search, that the index finds too.

    Args:
        space: the rows.
        index: of them.
        k: number of neighbors.
        seed: of the rows, 100 at most, that are asked about.
    """
    count = len(space.names)
    chosen = np.random.default_rng(seed).permutation(count)[:NUM_CHECKED]
    exact, _ = nearest(space, chosen, k)
    found, _ = index.nearest(chosen, k)
    hits = [len(set(a) & set(b)) for a, b in zip(exact.tolist(), found.tolist(), strict=True)]
    return float(np.sum(hits) / exact.size)


def build_index(space: Space, path: str | Path) -> ApproximateIndex:
    """Make an index and write it to `path`; what it is of, and its recall, go to `path`.json.

    Raises:
        OutputExistsError: something has one of the two names.
        MissingUsearchError: the extra `search` is not installed.
    """
    path = Path(path)
    with publishing_set([_description_path(path), path]) as (description, place):
        return _built(space, place, description)


def _built(space: Space, path: Path, description: Path) -> ApproximateIndex:
    made = _usearch()(
        ndim=space.vectors.shape[1],
        metric="l2sq" if space.similarity == "euclidean" else "ip",
        dtype="f32",
    )
    made.add(np.arange(len(space.names)), space.vectors)
    index = ApproximateIndex(space, made, 1.0)
    index.recall = recall(space, index, 10)
    content = made.save()  # usearch does not notice that a disk takes less than it is given
    publish_bytes(path, content)
    described = {
        **_described(space),
        "recall_at_10": index.recall,
        "index_sha256": hashlib.sha256(content).hexdigest(),
    }
    publish_json(description, sealed(described, space.made_from))
    return index


def load_index(space: Space, path: str | Path) -> ApproximateIndex:
    """Read an index of these very rows.

    Raises:
        ValueError: the index is of other rows, or damaged.
        FileNotFoundError: there is none.
        MissingUsearchError: the extra `search` is not installed.
    """
    path = Path(path)
    index_class = _usearch()
    try:
        described = json.loads(_description_path(path).read_text("utf-8"))
        if _digest_of_file(path) != described["index_sha256"]:
            msg = "its bytes are not those that were written"
            raise ValueError(msg)
    except (KeyError, TypeError, ValueError) as error:
        msg = (
            f"An index must be whole. Received: {str(path)!r} ({error}). Remove it and its .json, "
            "and it is made again."
        )
        raise ValueError(msg) from error
    expected = _described(space)
    other = [name for name in expected if described.get(name) != expected[name]]
    if other:
        msg = (
            "An index must be of the table that is searched, compared in the same way. Received: "
            f"{str(path)!r}, of another {', '.join(other)}. Name another file for a new index."
        )
        raise ValueError(msg)
    return ApproximateIndex(space, index_class.restore(str(path)), described["recall_at_10"])


def index_exists(path: str | Path) -> bool:
    """Whether an index was written there, and finished."""
    return Path(path).exists() and _description_path(Path(path)).exists()


def _described(space: Space) -> dict[str, Any]:
    digest = hashlib.sha256(np.ascontiguousarray(space.vectors).data)
    digest.update("\0".join(space.names).encode())
    return {
        "num_rows": len(space.names),
        "num_features": space.vectors.shape[1],
        "similarity": space.similarity,
        "rows_sha256": digest.hexdigest(),
    }


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _description_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _usearch() -> Any:
    try:
        from usearch.index import Index
    except ImportError as error:
        msg = (
            "An index must have usearch, which is not installed: "
            f"{install('search')}. Without --index the search is exact."
        )
        raise MissingUsearchError(msg) from error
    return Index
