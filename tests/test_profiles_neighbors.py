from __future__ import annotations

import builtins
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.spatial.distance
from shared import run_cli
from sklearn.neighbors import NearestNeighbors

from deeploc_tf.profiles.space import nearest, read_space, search_space
from deeploc_tf.profiles.tables import VectorTable, write_table

PROTEINS = [f"P{i:03d}" for i in range(60)]


def vectors(count: int = 60, width: int = 8, seed: int = 0) -> Any:
    return np.random.default_rng(seed).gamma(1.0, size=(count, width)).astype(np.float32)


def naive(features: Any, query: int, similarity: str) -> list[tuple[float, int]]:
    scores = []
    for row, vector in enumerate(features.astype(float)):
        own = features[query].astype(float)
        if similarity == "pearson":
            score = np.corrcoef(own, vector)[0, 1]
        elif similarity == "euclidean":
            score = -scipy.spatial.distance.euclidean(own, vector)
        else:
            score = 1 - scipy.spatial.distance.cosine(own, vector)
        scores.append((-score, row))
    return sorted(pair for pair in scores if pair[1] != query)


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("similarity", ["cosine", "pearson", "euclidean"])
def test_neighbors_are_those_of_a_naive_loop(similarity: Any, center: bool) -> None:
    features = vectors()
    space = search_space(features.copy(), PROTEINS, PROTEINS, similarity, center=center)
    queries = space.rows_of(["P007", "P059", "P007"])
    rows, scores = nearest(space, queries, 5)
    shifted = features - features.mean(axis=0) if center else features
    for query, near, likeness in zip(queries, rows, scores, strict=True):
        wanted = naive(shifted, int(query), similarity)[:5]
        assert near.tolist() == [row for _, row in wanted]
        np.testing.assert_allclose(likeness, [-score for score, _ in wanted], atol=1e-5)


def test_neighbors_are_those_of_scikit_learn() -> None:
    features = vectors(500, 16)
    space = search_space(features.copy(), [str(i) for i in range(500)], ["p"] * 500)
    rows, _ = nearest(space, np.arange(500), 3)
    model = NearestNeighbors(n_neighbors=4, metric="cosine").fit(features)
    np.testing.assert_array_equal(rows, model.kneighbors(return_distance=False, n_neighbors=3))


def test_of_equals_the_first_rows_are_taken() -> None:
    features = np.ones((50, 4), np.float32)
    for block in (1 << 20, 1):
        space = search_space(features.copy(), PROTEINS[:50], PROTEINS[:50])
        rows, _ = nearest(space, np.array([0, 2]), 3, block_bytes=block)
        assert rows.tolist() == [[1, 2, 3], [0, 1, 3]]


def test_there_are_no_more_neighbors_than_rows() -> None:
    space = search_space(vectors(4), PROTEINS[:4], PROTEINS[:4])
    rows, _ = nearest(space, np.array([1]), 100)
    assert sorted(rows[0].tolist()) == [0, 2, 3]


def test_rows_that_cannot_be_compared_are_left_out() -> None:
    features = vectors(6)
    features[1], features[2], features[3] = 0, np.nan, 0.7
    cosine = search_space(features.copy(), PROTEINS[:6], PROTEINS[:6])
    assert cosine.left_out == ("P001", "P002")
    pearson = search_space(features.copy(), PROTEINS[:6], PROTEINS[:6], "pearson")
    assert pearson.left_out == ("P001", "P002", "P003")
    euclidean = search_space(features.copy(), PROTEINS[:6], PROTEINS[:6], "euclidean")
    assert euclidean.left_out == ("P002",)
    assert nearest(pearson, pearson.rows_of(["P004"]), 9)[0].shape == (1, 2)
    with pytest.raises(ValueError, match=r"P002', which is not or has none"):
        cosine.rows_of(["P002"])
    with pytest.raises(ValueError, match="0 of 2 that do"):
        search_space(np.zeros((2, 3), np.float32), ["a", "b"], ["a", "b"])


@pytest.mark.parametrize("suffix", [".h5", ".parquet", ".tsv"])
def test_tables_of_every_kind_are_searched(suffix: str, tmp_path: Path) -> None:
    features, path = vectors(), tmp_path / f"profiles{suffix}"
    names = [f"fc_2_{i}" for i in range(8)]
    if suffix == ".tsv":
        pd.DataFrame(features, PROTEINS, names).to_csv(path, sep="\t")
    else:
        metadata = pd.DataFrame({"protein": PROTEINS})
        write_table(path, VectorTable(features, metadata, {}), names)
    space = read_space(path)
    wanted = search_space(features.copy(), PROTEINS, PROTEINS)
    assert space.names == wanted.names
    np.testing.assert_allclose(space.vectors, wanted.vectors, atol=1e-6)


def write_profiles(path: Path) -> Any:
    features = vectors()
    table = VectorTable(features, pd.DataFrame({"protein": PROTEINS}), {"kind": "profiles"})
    write_table(path, table, [f"fc_2_{i}" for i in range(8)])
    return features


run = functools.partial(run_cli, "neighbors")


def test_the_command_shows_similarities_and_shared_terms(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    features = write_profiles(Path("profiles.h5"))
    near = [PROTEINS[row] for _, row in naive(features, 7, "cosine")[:2]]
    Path("complexes.gmt").write_text(f"ribosome\t\tP007\t{near[1]}\nother\t\tP007\tP001\n")
    words = ["profiles.h5", "P007", "--standard", "complexes.gmt", "-k", "2"]
    done = run(*words)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    score = -naive(features, 7, "cosine")[0][0]
    assert lines[:2] == ["P007", f"  {near[0]}  {score:7.4f}"]
    assert lines[2].startswith(f"  {near[1]}")
    assert lines[2].endswith("complexes: ribosome")
    values = json.loads(run(*words, "P001", "--json").stdout)
    assert [answer["query"] for answer in values["queries"]] == ["P007", "P001"]
    assert values["exact"] is True
    assert values["queries"][0]["neighbors"][1]["shared"] == {"complexes": ["ribosome"]}


def test_cells_go_by_their_key_and_share_the_terms_of_their_proteins(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    features = vectors(4)
    features[3] = features[0] * 1.01
    metadata = pd.DataFrame({"key": list("abcd"), "protein": ["P1", "P2", "P3", "P4"]})
    write_table(Path("cells.h5"), VectorTable(features, metadata, {}), [f"f{i}" for i in range(8)])
    Path("s.gmt").write_text("t\t\tP1\tP4\n")
    values = json.loads(run("cells.h5", "a", "-k", "1", "--standard", "s.gmt", "--json").stdout)
    (found,) = values["queries"][0]["neighbors"]
    assert (found["name"], found["protein"], found["shared"]) == ("d", "P4", {"s": ["t"]})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["profiles.h5", "p7"], "'p7'. Did you mean 'P0"),
        (["profiles.h5", "AAC1"], "one of the 60 in the table"),
        (["twice.tsv", "a"], "'a' and 'a', which are one name, in lines 2 and 3"),
        (["profiles.xlsx", "a"], "must end in"),
        (["one.tsv", "a"], "1 of 1 that do"),
    ],
)
def test_wrong_use_is_told(
    words: list[str], message: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    write_profiles(Path("profiles.h5"))
    Path("twice.tsv").write_text("protein\tx\na\t1\na\t2\n")
    Path("one.tsv").write_text("protein\tx\na\t1\n")
    Path("profiles.xlsx").write_text("")
    done = run(*words)
    assert done.exit_code == 1
    assert message in done.stderr


def test_rows_left_out_are_told(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.tsv").write_text("protein\tx\ty\na\t1\t2\nb\t0\t0\nc\t2\t1\n")
    done = run("p.tsv", "a")
    assert done.exit_code == 0
    assert "1 rows are not finite or have no length and were left out: b." in done.stderr


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_an_index_finds_nearly_all_and_scores_exactly(similarity: Any, tmp_path: Path) -> None:
    pytest.importorskip("usearch")
    from deeploc_tf.profiles.approximate_index import build_index, index_exists, load_index, recall

    random = np.random.default_rng(0)
    centers = random.normal(size=(40, 16))
    features = (centers[random.integers(40, size=1500)] + random.normal(size=(1500, 16))).astype(
        "f4"
    )
    names = [str(i) for i in range(1500)]
    space = search_space(features, names, names, similarity)
    path = tmp_path / "cells.usearch"
    assert not index_exists(path)
    made = build_index(space, path)
    assert made.recall > 0.95
    loaded = load_index(space, path)
    assert loaded.recall == made.recall == recall(space, loaded, 10)
    queries = np.arange(0, 1500, 50)
    rows, scores = loaded.nearest(queries, 5)
    exact_rows, exact_scores = nearest(space, queries, 5)
    same = rows == exact_rows
    assert same.mean() > 0.9
    np.testing.assert_allclose(scores[same], exact_scores[same], atol=1e-6)
    assert not (rows == queries[:, None]).any()
    other = search_space(features[:, :8].copy(), names, names, similarity)
    with pytest.raises(ValueError, match="of another num_features, rows_sha256"):
        load_index(other, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="must be whole"):
        load_index(space, path)


def test_a_poor_index_has_a_poor_recall() -> None:
    """What recall says is no constant: an index that looks at other vectors finds little."""
    pytest.importorskip("usearch")
    from usearch.index import Index

    from deeploc_tf.profiles.approximate_index import ApproximateIndex, recall

    names = [str(i) for i in range(400)]
    space = search_space(vectors(400), names, names)
    made = Index(ndim=8, metric="ip", dtype="f32")
    made.add(np.arange(400), space.vectors[::-1].copy())
    assert recall(space, ApproximateIndex(space, made, 1.0), 10) < 0.3


def test_the_command_makes_an_index_and_uses_it_again(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("usearch")
    monkeypatch.chdir(tmp_path)
    write_profiles(Path("profiles.h5"))
    words = ["profiles.h5", "P007", "--index", "i.usearch"]
    first, second = run(*words), run(*words)
    assert first.exit_code == second.exit_code == 0, first.output
    assert first.stdout == second.stdout == run(*words[:2]).stdout
    assert "of the true 10 nearest rows" in second.stderr
    assert "an exact search is as quick" in first.stderr
    assert run(*words, "--center").exit_code == 1


def test_without_usearch_the_extra_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write_profiles(Path("profiles.h5"))
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("usearch"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    done = run("profiles.h5", "P007", "--index", "i.usearch")
    assert done.exit_code == 1
    assert "pip install 'usearch>=" in done.stderr


def test_equal_rows_have_no_distance_and_rounding_makes_none_of_it() -> None:
    features = np.repeat(vectors(20, 64) + 100, 2, axis=0)
    names = [str(i) for i in range(40)]
    space = search_space(features, names, names, "euclidean")
    _, scores = nearest(space, np.arange(40), 39)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores[:, 0], 0, atol=0.1)
