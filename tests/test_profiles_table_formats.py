"""Every command that takes vectors reads every format of tables, and computes the same numbers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shared import run_cli

from deeploc_tf.profiles.tables import (
    RowTable,
    VectorTable,
    is_table,
    open_rows,
    read_table,
    table_format,
    write_table,
    writing,
)
from deeploc_tf.profiles.tables.in_memory import InMemoryTable
from deeploc_tf.profiles.tables.registry import FORMATS
from deeploc_tf.profiles.tables.table_format import TableFormat

SUFFIXES = (".h5", ".hdf5", ".parquet", ".npz", ".h5ad", ".csv", ".tsv", ".tab", ".txt", ".csv.gz")
CHEAP = ("--shuffles", "1", "--no-intervals", "--permutations", "9")


def write(path: Path, table: VectorTable) -> None:
    """Write a table in any format, as text as another program would."""
    if path.suffix == ".h5ad":
        pytest.importorskip("anndata")
    if FORMATS.get(path.with_suffix("").suffix or path.suffix).writer is not None:
        write_table(path, table)
        return
    described = table.metadata.rename(columns=lambda name: f"Metadata_{name}")
    features = pd.DataFrame(table.features, columns=list(table.feature_names))
    separator = "," if ".csv" in path.name else "\t"
    pd.concat([described, features], axis=1).to_csv(path, index=False, sep=separator)


def cells(shift: float = 0, count: int = 240) -> VectorTable:
    random = np.random.default_rng(int(shift * 10))
    number = np.arange(count)
    metadata = pd.DataFrame(
        {
            "key": [f"cell {i}" for i in number],
            "protein": [f"P{i % 12:02}" for i in number],
            "label": [("ER", "nucleus", "Golgi")[i % 3] for i in number],
            "field": [f"f{i // 12 % 10}" for i in number],
            "plate": number % 2,
        }
    )
    features = random.normal(size=(count, 3)) + (number % 12)[:, None] * [1, 0.3, -0.2]
    features[number % 12 == 5] += shift
    table = {"kind": "embeddings", "layer": "fc_2"}
    return VectorTable(features.astype(np.float32), metadata, table, ("f0", "f1", "f2"))


def profiles() -> VectorTable:
    names = pd.DataFrame({"protein": [f"P{i:02}" for i in range(24)], "num_crops": range(24)})
    features = np.random.default_rng(1).normal(size=(24, 4)).astype(np.float32)
    table = {"kind": "profiles", "layer": "fc_2"}
    return VectorTable(features, names, table, ("f0", "f1", "f2", "f3"))


def run(*words: object) -> str:
    done = run_cli(*words)
    assert done.exit_code == 0, done.output
    return done.stdout


def profiled(folder: Path, suffix: str) -> Any:
    write(folder / f"cells{suffix}", cells())
    out = folder / f"p{suffix if suffix in ('.parquet', '.npz', '.h5ad') else '.h5'}"
    options = [
        "--normalize",
        "standardize",
        "--by",
        "plate",
        "--sphere",
        "--replicate",
        "field",
        "--quiet",
    ]
    run("profile", folder / f"cells{suffix}", out, *options)
    table = read_table(out)
    return table.features.tobytes(), table.metadata.to_dict("list"), table.feature_names


def changed(folder: Path, suffix: str) -> Any:
    write(folder / f"a{suffix}", cells())
    write(folder / f"b{suffix}", cells(2))
    screens = folder / f"a{suffix}", folder / f"b{suffix}"
    run("change", *screens, folder / "c.csv", "--replicate", "field", "--permutations", "20")
    return (folder / "c.csv").read_bytes()


def neighbors_of_cells(folder: Path, suffix: str) -> Any:
    write(folder / f"cells{suffix}", cells())
    return run("neighbors", folder / f"cells{suffix}", "cell 7", "cell 100", "--center", "--json")


def neighbors_of_profiles(folder: Path, suffix: str) -> Any:
    write(folder / f"p{suffix}", profiles())
    return run("neighbors", folder / f"p{suffix}", "P07", "--json")


def scores(folder: Path, suffix: str) -> Any:
    write(folder / f"p{suffix}", profiles())
    write(folder / f"cells{suffix}", cells())
    terms = [f"t{k}\t\t" + "\t".join(f"P{6 * k + i:02}" for i in range(6)) for k in range(4)]
    (folder / "s.gmt").write_text("\n".join(terms))
    words = folder / "s.gmt", folder / f"p{suffix}", folder / "r", *CHEAP
    run("benchmark", *words, "--cell-vectors", folder / f"cells{suffix}", "--hold-out", "field")
    found = json.loads((folder / "r" / "scores.json").read_text())
    of_cells = [{k: v for k, v in one.items() if k != "file"} for one in found["cells"]]
    return found["standards"], of_cells, (folder / "r" / "terms.csv").read_text()


COMMANDS = (profiled, changed, neighbors_of_cells, neighbors_of_profiles, scores)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_format_gives_the_same_numbers_to_the_last_bit(
    command: Callable[[Path, str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Row groups of 50 rows, and chunks of 64: sums must not depend on how a format divides rows.
    monkeypatch.setattr(table_format, "_CHUNK_BYTES", 50 * 12)
    monkeypatch.setattr(writing, "_BLOCK_BYTES", 50 * 12)
    monkeypatch.setattr(RowTable.chunks, "__defaults__", (64,))
    found = {}
    for suffix in SUFFIXES:
        if suffix == ".h5ad" and find_spec("anndata") is None:
            continue
        folder = tmp_path / suffix[1:]
        folder.mkdir()
        found[suffix] = command(folder, suffix)
    assert set(FORMATS.names) <= set(SUFFIXES)
    for suffix, result in found.items():
        assert result == found[".h5"], suffix


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("size", [1, 7, 50, 240, 1000])
def test_chunks_are_the_same_rows_in_every_format(
    suffix: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_format, "_CHUNK_BYTES", 11 * 12)
    monkeypatch.setattr(writing, "_BLOCK_BYTES", 11 * 12)
    path = tmp_path / f"cells{suffix}"
    write(path, cells())
    assert is_table(path)
    table = open_rows(path)
    stops = [min(start + size, 240) for start in range(0, 240, size)]
    found = []
    for place, chunk in table.chunks(size):
        assert chunk.flags.writeable
        found.append((place.stop, chunk.copy()))
        chunk[:] = np.nan  # the caller's to change
    assert [stop for stop, _ in found] == stops
    assert np.concatenate([chunk for _, chunk in found]).tobytes() == cells().features.tobytes()
    assert table.read_features().tobytes() == cells().features.tobytes()
    for name in ("key", "plate"):
        assert (
            table.column(name).astype(str).tolist() == cells().metadata[name].astype(str).tolist()
        )


@pytest.mark.parametrize("size", [1, 7, 50, 240, 1000])
def test_chunks_do_not_depend_on_the_blocks_of_a_format(size: int) -> None:
    class Uneven(InMemoryTable):
        def blocks(self, num_rows: int) -> Iterator[np.ndarray]:
            for start, stop in itertools.pairwise([0, 1, 4, 4, 90, 91, 200, 240]):
                yield self.features[start:stop].copy()

    table = Uneven(Path("t"), "{}", ("f0", "f1", "f2"), 240, None, cells().features, {})
    found = list(RowTable(table, {}, {}).chunks(size))
    assert [len(chunk) for _, chunk in found[:-1]] == [size] * (len(found) - 1)
    assert len(found[-1][1]) == 240 - size * (len(found) - 1)
    assert np.concatenate([c for _, c in found]).tobytes() == cells().features.tobytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_tables_of_cells_and_proteins_with_two_rows_are_no_profiles(
    suffix: str, tmp_path: Path
) -> None:
    write(tmp_path / f"cells{suffix}", cells())
    twice = profiles()
    twice.metadata.loc[3, "protein"] = "P01"
    write(tmp_path / f"twice{suffix}", twice)
    (tmp_path / "s.gmt").write_text("t\t\tP00\tP02\n")
    for name, message in (
        ("cells", "a table of embeddings"),
        ("twice", "'P01' and 'P01', which are one name"),
    ):
        words = ["benchmark", tmp_path / f"{name}{suffix}", tmp_path / "s.gmt", tmp_path / "r"]
        done = run_cli(*words)
        assert (done.exit_code, message in done.output) == (1, True), done.output
        assert f"{name}{suffix}" in done.output


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".tab", ".txt", ".csv.gz", ".h5.gz", ""])
def test_text_is_not_written(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.h5, .*Name it, for example, .*\.parquet"):
        write_table(tmp_path / f"p{suffix}", profiles())
    assert list(tmp_path.iterdir()) == []


def test_a_format_that_a_program_registers_is_read(tmp_path: Path) -> None:
    def open_npy(path: Path) -> InMemoryTable:
        features = np.load(path)
        names = np.array([f"P{i:02}" for i in range(len(features))], object)
        head = '{"kind": "profiles", "columns": {"protein": "text"}}', ("f0", "f1", "f2", "f3")
        return InMemoryTable(path, *head, len(features), None, features, {"protein": names})

    np.save(tmp_path / "p.npy", profiles().features)
    FORMATS.register(".npy", TableFormat(open_npy))
    try:
        answer = run("neighbors", tmp_path / "p.npy", "P07", "--json")
    finally:
        FORMATS.unregister(".npy")
    assert answer == neighbors_of_profiles(tmp_path, ".h5")


# --- a table, or a standard


TEXTS = {
    "features": ("protein\tf0\tf1\nA\t1\t2\nB\t3\t\n", True),
    "plates of a table": ("gene\tplate\tf1\nA\t1\t2\n", True),
    "metadata": ("f0\tMetadata_Protein\tMetadata_Well\n1\tA\tB01\n", True),
    "a name without": ("\tf0\tf1\nA\t1e-3\tnan\n", True),
    "quotes": ('protein\t"f0"\tf1\n"A"\t"1"\t2\n', True),
    "no header": ("A\t1\t2\nB\t3\t4\n", False),
    "a header alone": ("protein\tf0\tf1\n", False),
    "pairs": ("A\tt1\nB\tt1\n", False),
    "pairs with numbers and no header": ("A\t1\nB\t1\n", False),
    "pairs with a header": ("protein\tterm\nA\tER\nB\tER\n", False),
    "members of terms": ("ER\tabout it\tA\tB\tC\nnucleus\tabout it\tA\tB\n", False),
    "nothing": ("", False),
    "one column": ("A\nB\n", False),
    "only missing values": ("protein\tf0\tf1\nA\t\tNA\n", False),
    "text far down": ("protein\tf0\tf1\n" + "A\t1\t2\n" * 60 + "B\tx\t1\n", True),
}


@pytest.mark.parametrize("what", TEXTS)
def test_a_text_table_is_known_by_its_content(what: str, tmp_path: Path) -> None:
    text, expected = TEXTS[what]
    (tmp_path / "t.txt").write_text(text)
    assert is_table(tmp_path / "t.txt") is expected


def test_bytes_that_are_no_text_are_no_table(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_bytes("protein\tf0\tf1\nA\t1\t2\n".encode("utf-16"))
    assert not is_table(tmp_path / "t.tsv")
    (tmp_path / "t.csv").write_text("protein,f0\nA,1\n")  # no standard has commas
    assert is_table(tmp_path / "t.csv")
    (tmp_path / "broken.h5").write_bytes(b"")
    assert is_table(tmp_path / "broken.h5")
