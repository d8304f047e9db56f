"""Tables whose bytes were changed on the disk: refused, or the same table; never another one."""

from __future__ import annotations

import json
import logging
import multiprocessing
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from shared import run_cli

from deeploc_tf.profiles.fitting import TransformSettings
from deeploc_tf.profiles.profile import ProfileSettings, profile
from deeploc_tf.profiles.tables import (
    VectorTable,
    open_rows,
    read_table,
    write_table,
    writing,
    writing_table,
)
from deeploc_tf.profiles.tables.spill import Spill
from deeploc_tf.profiles.transforms import load_transform

GOLDEN = Path(__file__).parent / "golden"
STREAMED, WHOLE = (".h5", ".parquet"), (".npz", ".h5ad")


def cells(count: int = 12, width: int = 3) -> VectorTable:
    generator = np.random.default_rng(0)
    metadata = pd.DataFrame(
        {
            "key": [f"k{i}" for i in range(count)],
            "protein": [f"ÄP{i % 4}" for i in range(count)],
            "plate": np.arange(count) + 2**60,
            "focus": np.linspace(0, 1, count, dtype=np.float32),
            "time": np.linspace(0, 1, count) + 1.6e9,
        }
    )
    features = generator.normal(1, 1, (count, width)).astype(np.float32)
    names = tuple(f"f{i}" for i in range(width))
    return VectorTable(features, metadata, {"kind": "embeddings", "layer": "fc"}, names)


def by_row_readers(path: Path) -> tuple[Any, ...]:
    """All that the readers of rows give."""
    table = open_rows(path)
    features = [chunk.copy() for _, chunk in table.chunks()]
    columns = {name: table.column(name).tolist() for name in table.columns}
    matrix = np.concatenate([np.empty((0, table.num_features), np.float32), *features])
    return table.feature_names, matrix.tobytes(), columns, dict(table.provenance)


def as_a_whole(path: Path) -> tuple[Any, ...]:
    table = read_table(path)
    columns = {str(name): table.metadata[name].tolist() for name in table.metadata}
    return table.feature_names, table.features.tobytes(), columns, dict(table.provenance)


def changed(content: bytes, at: int, value: int) -> bytes:
    return content[:at] + bytes([value]) + content[at + 1 :]


def silent_changes(
    path: Path, read: Callable[[Path], Any], changes: Iterable[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Places and masks of those after which a reader gives something else, or no sentence."""
    content, good = path.read_bytes(), read(path)
    other = path.with_name(f"changed{path.suffix}")
    found = []
    for at, mask in changes:
        other.write_bytes(changed(content, at, content[at] ^ mask))
        try:
            same = read(other) == good
        except ValueError as error:
            same = other.name in str(error)
        if not same:
            found.append((at, mask))
    return found


def in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function whose libraries may end the process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply_async(function, arguments).get(timeout=600)


def places_of(path: Path) -> list[int]:
    """Every byte, but of the parts of chunks that hold no row yet only some."""
    size = path.stat().st_size
    if path.suffix != ".h5":
        return list(range(size))
    unused: set[int] = set()
    with h5py.File(path) as file:
        for name in ("features", *(f"metadata/{column}" for column in file["metadata"])):
            dataset = file[name]
            row = dataset.dtype.itemsize * int(np.prod(dataset.shape[1:]))
            chunk = dataset.id.get_chunk_info(0)
            start, stop = chunk.byte_offset + row * len(dataset), chunk.byte_offset + chunk.size
            unused |= set(range(start, stop - 16)) - set(range(start, stop, 4099))
    return [place for place in range(size) if place not in unused]


# --- holes and flips


@pytest.mark.parametrize("size", [1, 100, 600])
def test_a_hole_of_zeros_in_hdf5_is_refused_by_every_reader(size: int, tmp_path: Path) -> None:
    write_table(tmp_path / "cells.h5", cells(600, 512))
    with h5py.File(tmp_path / "cells.h5") as file:
        chunk = file["features"].id.get_chunk_info(1)
    data = bytearray((tmp_path / "cells.h5").read_bytes())
    length = chunk.size * size // 600
    start = chunk.byte_offset
    data[start : start + length] = bytes(length)
    hole = tmp_path / "hole.h5"
    hole.write_bytes(data)
    for read in (as_a_whole, by_row_readers):
        with pytest.raises(ValueError, match=r"hole\.h5"):
            read(hole)
    done = run_cli("profile", hole, tmp_path / "p.h5")
    assert done.exit_code == 1
    assert "hole.h5" in done.output
    assert not (tmp_path / "p.h5").exists()


@pytest.mark.parametrize("what", ["features", "metadata/protein", "metadata/plate"])
def test_chunks_that_were_never_written_are_no_zeros(what: str, tmp_path: Path) -> None:
    path = tmp_path / "cells.h5"
    write_table(path, cells(9000, 40))
    with h5py.File(path, "a") as file:
        dataset = file[what]
        shape, options = dataset.shape, {"maxshape": dataset.maxshape, "chunks": dataset.chunks}
        dtype = dataset.dtype
        del file[what]
        file.create_dataset(what, shape, dtype, **options)
    for read in (as_a_whole, by_row_readers):
        with pytest.raises(ValueError, match=r"cells\.h5"):
            read(path)


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("suffix", STREAMED)
@pytest.mark.parametrize("read", [as_a_whole, by_row_readers])
def test_a_changed_byte_is_refused_or_changes_nothing(
    suffix: str, read: Callable[[Path], Any], every: int, tmp_path: Path
) -> None:
    path = tmp_path / f"cells{suffix}"
    write_table(path, cells())
    places = places_of(path)[:: every * (11 if suffix == ".h5" else 3)]
    flips = [(at, 1 << number % 8) for number, at in enumerate(places)]
    assert in_a_process(silent_changes, path, read, flips) == []


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("suffix", [*STREAMED, ".npz"])
def test_a_byte_that_became_another_is_refused_or_changes_nothing(
    suffix: str, every: int, tmp_path: Path
) -> None:
    path = tmp_path / f"cells{suffix}"
    write_table(path, cells())
    places = places_of(path)
    for number, read in enumerate((as_a_whole, by_row_readers)):
        some = places[number :: every * (8 if suffix == ".h5" else 4)]
        other = [(at, mask) for at in some for mask in (0xFF, 0x11)]
        assert in_a_process(silent_changes, path, read, other) == []


# --- damage over which HDF5 loops for ever


def in_old_structures(path: Path, libver: str = "earliest") -> None:
    """Writes a table again as version 1 had it: texts of varying length, in a heap."""
    with h5py.File(path) as file:
        names = list(file["metadata"])
        columns = {name: file["metadata"][name][:] for name in names}
        features, titles = file["features"][:], file["feature_names"].asstr()[:].tolist()
        provenance = json.loads(file.attrs["provenance"])
    del provenance["format_version"]
    with h5py.File(path, "w", libver=libver) as file:
        file.attrs["provenance"] = json.dumps(provenance)
        file["features"] = features
        file["feature_names"] = titles
        for name, values in columns.items():
            texts = values.dtype.kind == "S"
            file[f"metadata/{name}"] = [v.decode() for v in values] if texts else values


def with_endless_text(path: Path) -> None:
    """Gives the first text of the heap the size 255, over which HDF5 may not come to an end."""
    content = bytearray(path.read_bytes())
    content[content.index(b"GCOL") + 24] = 255
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["earliest", "latest", ".h5ad"])
def test_damage_that_hdf5_loops_over_is_refused_in_time(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeploc_tf.hdf5_trial.TIMEOUT", 10)
    if kind == ".h5ad":
        pytest.importorskip("anndata")
    path = tmp_path / f"cells{kind if kind == '.h5ad' else '.h5'}"
    write_table(path, cells())
    if kind != ".h5ad":
        in_old_structures(path, kind)
    assert len(read_table(path).features) == 12
    with_endless_text(path)
    with pytest.raises(ValueError, match=rf"{path.name}.*cannot be read"):
        read_table(path)


def test_a_process_that_does_not_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeploc_tf.hdf5_trial.TIMEOUT", 0.1)
    monkeypatch.setattr("deeploc_tf.hdf5_trial._READ", "while True: pass")
    write_table(tmp_path / "cells.h5", cells())
    in_old_structures(tmp_path / "cells.h5")
    with pytest.raises(ValueError, match=r"cells\.h5.*in time"):
        read_table(tmp_path / "cells.h5")


def test_files_beside_the_table_are_no_modules_of_that_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("h5py.py").write_text("raise RuntimeError")
    write_table(Path("cells.h5"), cells())
    in_old_structures(Path("cells.h5"))
    assert len(read_table("cells.h5").features) == 12


def test_a_healthy_table_of_ours_needs_no_other_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.run", None)
    path = tmp_path / "cells.h5"
    write_table(path, cells())
    assert len(as_a_whole(path)) == len(by_row_readers(path)) == 4


@pytest.mark.parametrize("what", ["X", "obs/protein", "obs/plate", "var/_index"])
def test_a_changed_value_of_h5ad_is_refused(what: str, tmp_path: Path) -> None:
    pytest.importorskip("anndata")
    path = tmp_path / "cells.h5ad"
    write_table(path, cells())
    with h5py.File(path, "a") as file:
        values = file[what][:]
        values[[0, 1]] = values[[1, 0]]
        file[what][:] = values
    for read in (as_a_whole, by_row_readers):
        with pytest.raises(ValueError, match=r"cells\.h5ad"):
            read(path)


@pytest.mark.parametrize("suffix", [*STREAMED, *WHOLE])
@pytest.mark.parametrize(
    "words",
    [
        ["profile", "{bad}", "out.h5"],
        ["profile", "{bad}", "out.h5", "--normalize", "mad", "--by", "protein"],
        ["neighbors", "{bad}", "k1"],
        ["benchmark", "{bad}", "s.gmt", "out"],
        ["change", "{bad}", "{good}", "out.csv", "--no-bulk"],
        ["change", "{good}", "{bad}", "out.csv", "--no-bulk"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("column", ["features", "protein"])
def test_every_command_refuses_a_table_with_a_changed_value(
    suffix: str, words: list[str], column: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if suffix == ".h5ad":
        pytest.importorskip("anndata")
    monkeypatch.chdir(tmp_path)
    table = cells(200, 4)
    table.metadata["protein"] = [f"P{i % 10}" for i in range(200)]  # `change` wants ten or more
    if words[0] == "benchmark":
        metadata = pd.DataFrame({"protein": [f"P{i}" for i in range(200)]})
        table = VectorTable(table.features, metadata, {"kind": "profiles"}, table.feature_names)
        Path("s.gmt").write_text("t\t\tP1\tP2\tP3\n")
    good, bad = f"good{suffix}", f"bad{suffix}"
    write_table(Path(good), table)
    exchange(Path(good), Path(bad), column)
    done = run_cli(*[word.format(good=good, bad=bad) for word in words])
    assert done.exit_code == 1, done.output
    assert bad in done.output
    assert done.output.startswith("Error: A table must be")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] != "s") == [bad, good]


def exchange(path: Path, other: Path, column: str) -> None:
    """The same table but for one value, with checksums of pages and chunks that are right."""
    if path.suffix == ".parquet":
        whole = pq.read_table(path)
        footer = pq.read_metadata(path).metadata
        name = whole.column_names[-1] if column == "features" else "Metadata_Protein"
        place = whole.column_names.index(name)
        values = whole[name].to_pylist()
        values[50] = values[51]
        kept = {key: value for key, value in footer.items() if key != b"ARROW:schema"}
        import pyarrow as pa

        array = pa.array(values, whole.schema.field(place).type)
        whole = whole.set_column(place, whole.schema.field(place), array)
        pq.write_table(whole.replace_schema_metadata(kept), other, write_page_checksum=True)
        return
    if path.suffix == ".npz":
        arrays = dict(np.load(path))
        array = arrays["features" if column == "features" else f"metadata_{column}"]
        array[50] = array[51]
        np.savez(other, **arrays)
        return
    other.write_bytes(path.read_bytes())
    places = {".h5": ("features", "metadata"), ".h5ad": ("X", "obs")}[path.suffix]
    with h5py.File(other, "a") as file:
        dataset = file[places[0] if column == "features" else f"{places[1]}/{column}"]
        dataset[50] = dataset[51]


@pytest.mark.parametrize("suffix", STREAMED)
@pytest.mark.parametrize("what", ["features", "columns", "rows", "provenance"])
def test_names_order_and_number_of_rows_are_part_of_the_digest(
    suffix: str, what: str, tmp_path: Path
) -> None:
    path = tmp_path / f"cells{suffix}"
    write_table(path, cells())
    if suffix == ".h5":
        with h5py.File(path, "a") as file:
            if what == "features":
                names = file["feature_names"]
                names[0], names[1] = names[1], names[0]
            elif what == "columns":
                file.move("metadata/key", "metadata/other")
                file.move("metadata/protein", "metadata/key")
                file.move("metadata/other", "metadata/protein")
            elif what == "rows":
                for name in ("features", *(f"metadata/{column}" for column in file["metadata"])):
                    file[name].resize(11, axis=0)
            else:
                text = file.attrs["provenance"].replace(b'"fc"', b'"FC"')
                file.attrs["provenance"] = text
    else:
        import pyarrow as pa

        table = pq.read_table(path)
        kept = {k: v for k, v in pq.read_metadata(path).metadata.items() if k != b"ARROW:schema"}
        names = table.column_names
        if what == "features":
            names[-1], names[-2] = names[-2], names[-1]
        elif what == "columns":
            names[0], names[1] = names[1], names[0]
        elif what == "rows":
            table = table.slice(0, 11)
        else:
            kept[b"deeploc_tf"] = kept[b"deeploc_tf"].replace(b'"fc"', b'"FC"')
        table = pa.table(table.columns, names=names).replace_schema_metadata(kept)
        pq.write_table(table, path)
    for read in (as_a_whole, by_row_readers):
        with pytest.raises(ValueError, match=rf"cells\{suffix}"):
            read(path)


# --- versions


@pytest.fixture
def golden(tmp_path: Path) -> Callable[[int], Path]:
    def unpacked(version: int) -> Path:
        folder = tmp_path / f"v{version}"
        with zipfile.ZipFile(GOLDEN / f"tables_v{version}.zip") as archive:
            archive.extractall(folder)
        return folder

    return unpacked


@pytest.mark.addons
@pytest.mark.parametrize("suffix", [*STREAMED, *WHOLE])
@pytest.mark.parametrize("version", [1, 2])
def test_golden_tables_of_both_versions_are_read(
    version: int, suffix: str, golden: Callable[[int], Path], caplog: pytest.LogCaptureFixture
) -> None:
    if suffix == ".h5ad":
        pytest.importorskip("anndata")
    path = golden(version) / f"cells{suffix}"
    with caplog.at_level(logging.INFO, "deeploc_tf"):
        read_table(path)
        table = read_table(path)
    assert caplog.text.count("without digests") == (version == 1)
    expected = np.arange(15, dtype=np.float32).reshape(5, 3) / 7 - 1
    np.testing.assert_array_equal(table.features, expected.astype(np.float32))
    assert table.metadata["key"].tolist() == ["P1/1", "P1/2", "P2/1", "P2/2", "P3/1"]
    assert table.metadata["protein"].tolist() == ["AAC1", "AAC1", "ÄAH1", "ÄAH1", ""]
    assert table.metadata["plate"].tolist() == [1, 2**53 + 1, 3, -4, 5]
    np.testing.assert_array_equal(table.metadata["focus"], [0.5, np.nan, 1.25, -2, 3])
    assert table.feature_names == ("fc_2_0", "fc_2_1", "fc_2_2")
    assert table.provenance["channels"] == ["gfp", "µ"]
    assert table.provenance["format_version"] == version
    assert by_row_readers(path)[0] == table.feature_names


@pytest.mark.parametrize("suffix", [*STREAMED, *WHOLE])
def test_a_table_of_a_later_version_is_refused(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if suffix == ".h5ad":
        pytest.importorskip("anndata")
    path = tmp_path / f"cells{suffix}"
    monkeypatch.setattr(writing, "FORMAT_VERSION", 3)
    write_table(path, cells())
    monkeypatch.undo()
    for read in (as_a_whole, by_row_readers):
        with pytest.raises(ValueError, match=r"version 3.*Update deeploc-tf"):
            read(path)


@pytest.mark.parametrize("suffix", STREAMED)
def test_a_table_of_version_2_without_its_digests_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"cells{suffix}"
    write_table(path, cells())
    if suffix == ".h5":
        with h5py.File(path, "a") as file:
            del file["digests"]
    else:
        table = pq.read_table(path)
        metadata = {b"deeploc_tf": table.schema.metadata[b"deeploc_tf"]}
        pq.write_table(table.replace_schema_metadata(metadata), path)
    for read in (as_a_whole, by_row_readers):
        with pytest.raises(ValueError, match=r"digests"):
            read(path)


@pytest.mark.parametrize("suffix", [*STREAMED, *WHOLE])
@pytest.mark.parametrize("count", [0, 1, 4096, 4097, 9000])
def test_tables_of_any_length_come_back(suffix: str, count: int, tmp_path: Path) -> None:
    if suffix == ".h5ad":
        pytest.importorskip("anndata")
    path = tmp_path / f"cells{suffix}"
    table = cells(count)
    kinds = dict(zip(table.metadata, ("text", "text", "int64", "float32", "float64"), strict=True))
    with writing_table(path, table.feature_names, kinds, {}) as writer:
        for start in range(0, count, 1000):
            part = slice(start, start + 1000)
            described = {name: table.metadata[name][part].tolist() for name in table.metadata}
            writer.append(table.features[part], described)
    found = read_table(path)
    assert found.features.tobytes() == table.features.tobytes()
    for name in table.metadata:
        assert found.metadata[name].tolist() == table.metadata[name].tolist(), name


# --- types of columns


@pytest.mark.parametrize("suffix", [*STREAMED, *WHOLE])
def test_float64_stays_float64(suffix: str, tmp_path: Path) -> None:
    if suffix == ".h5ad":
        pytest.importorskip("anndata")
    path, again = tmp_path / f"cells{suffix}", tmp_path / f"again{suffix}"
    write_table(path, cells())
    write_table(again, read_table(path))
    for file in (path, again):
        table = read_table(file)
        assert table.metadata["time"].dtype == np.float64
        assert table.metadata["focus"].dtype == np.float32
        assert table.metadata["plate"].dtype == np.int64
        for name in table.metadata:
            assert table.metadata[name].tolist() == cells().metadata[name].tolist()
        assert table.provenance["columns"]["time"] == "float64"


@pytest.mark.parametrize("suffix", STREAMED)
def test_whole_numbers_with_gaps_do_not_become_floats(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"cells{suffix}"
    table = cells()
    big = pd.array([2**60 + 1, *range(11)], "Int64")
    whole = table.metadata.assign(count=big)
    write_table(path, VectorTable(table.features, whole, {}, table.feature_names))
    assert read_table(path).metadata["count"].tolist() == big.tolist()
    big[3] = pd.NA
    gaps = table.metadata.assign(count=big)
    with pytest.raises(ValueError, match=r"'count'.*missing"):
        write_table(path, VectorTable(table.features, gaps, {}, table.feature_names))


@pytest.mark.parametrize("suffix", STREAMED)
def test_missing_text_and_truth_values_are_text(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"cells{suffix}"
    table = cells(3)
    metadata = table.metadata.assign(note=["a", None, np.nan], good=[True, False, True])
    write_table(path, VectorTable(table.features, metadata, {}, table.feature_names))
    found = read_table(path).metadata
    assert found["note"].tolist() == ["a", "", ""]
    assert found["good"].tolist() == ["True", "False", "True"]


# --- parts and models


def test_a_changed_byte_in_a_spilled_part_is_noticed(tmp_path: Path) -> None:
    parts = Spill(tmp_path / "cells.h5", "0" * 16)
    parts.folder.mkdir()
    table = cells()
    kinds = {"key": "text", "plate": "int64", "time": "float64"}
    described = {name: table.metadata[name].tolist() for name in kinds}
    with parts.writing(0, kinds, 3) as append:
        append(table.features, described)
        append(table.features, described)
    content = parts.part(0).read_bytes()
    assert parts.num_rows(0) == 24

    def read(number: int) -> Any:
        return [(vectors.tobytes(), dict(columns)) for vectors, columns in parts.read(number)]

    good = read(0)
    for at in range(len(content)):
        parts.part(1).write_bytes(changed(content, at, content[at] ^ (1 << at % 8)))
        if parts.num_rows(1):
            assert read(1) == good, at


def test_a_changed_byte_in_a_part_of_features_is_noticed(tmp_path: Path) -> None:
    parts = Spill(tmp_path / "cells.h5", "0" * 16)
    parts.folder.mkdir()
    parts.save(0, cells().features)
    content = parts.part(0).read_bytes()
    for at in range(len(content)):
        parts.part(0).write_bytes(changed(content, at, content[at] ^ (1 << at % 8)))
        found = parts.load(0)
        assert found is None or found.tobytes() == cells().features.tobytes(), at


def test_a_changed_byte_in_a_saved_transform_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "transform.npz"
    write_table(tmp_path / "cells.h5", cells(200))
    fit = TransformSettings("standardize", ("protein",), sphere=True)
    profile(tmp_path / "cells.h5", tmp_path / "p.h5", ProfileSettings(), fit=fit, save=path)

    def read(file: Path) -> Any:
        found = load_transform(file)
        arrays = [
            found.normalization.shift,
            found.normalization.scale,
            found.projection.shift,
            found.projection.matrix,
        ]
        kinds = found.normalization.kind, found.normalization.by, found.normalization.groups
        return kinds, [a.tobytes() for a in arrays], dict(found.features), dict(found.settings)

    flips = [(at, 1 << at % 8) for at in range(path.stat().st_size)]
    assert silent_changes(path, read, flips) == []


def test_a_table_that_another_program_wrote_again_is_refused_in_words(tmp_path: Path) -> None:
    features = np.arange(8, dtype=np.float32).reshape(4, 2)
    metadata = pd.DataFrame({"protein": ["A", "B", "C", "D"]})
    table = VectorTable(features, metadata, {"kind": "profiles"}, ("f0", "f1"))
    write_table(tmp_path / "p.parquet", table)
    ours = pq.read_table(tmp_path / "p.parquet")
    pq.write_table(ours.slice(1), tmp_path / "filtered.parquet")
    with pytest.raises(ValueError, match="another program had written it again"):
        read_table(tmp_path / "filtered.parquet")
    ours.to_pandas().to_parquet(tmp_path / "pandas.parquet")  # says no more that it was ours
    assert read_table(tmp_path / "pandas.parquet").provenance["kind"] == "foreign"
