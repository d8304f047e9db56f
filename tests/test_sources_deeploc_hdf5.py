"""DeepLoc HDF5: the published layout comes back exactly, and files that lie or lead away do not."""

from __future__ import annotations

import contextlib
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deeploc_tf.ingest import build_records
from deeploc_tf.sources.historical.deeploc_hdf5 import DeepLocHDF5Source
from deeploc_tf.sources.historical.deeploc_layout import place_blocks
from deeploc_tf.sources.source import RejectedCrop, SourceError
from tfrecords.codec import decode
from tfrecords.errors import SplitError
from tfrecords.reader import read_serialized

CLASSES = ("ER", "Golgi", "Nucleus")
CHANNELS = ("gfp", "rfp")
Write = Callable[..., Path]


def images_of(
    num_crops: int, num_blocks: int, side: int = 64, dtype: Any = np.uint16
) -> np.ndarray[Any, Any]:
    """`(num_crops, num_blocks, side, side)`, all different."""
    random = np.random.default_rng(num_crops)
    return random.integers(0, 200, (num_crops, num_blocks, side, side)).astype(dtype)


def one_hot(labels: list[int], columns: int = len(CLASSES)) -> np.ndarray[Any, Any]:
    """A 1 in the column of each label; none for -1."""
    index = np.zeros((len(labels), columns), np.float64)
    for row, label in enumerate(labels):
        index[row, [label] * (label >= 0)] = 1
    return index


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes `dataK` and `IndexK` of the given images and labels, and class names."""

    def write(
        *parts: tuple[np.ndarray[Any, Any], list[int]],
        name: str = "Chong_train_set.hdf5",
        names: Any = CLASSES,
        columns: int = len(CLASSES),
        **options: Any,
    ) -> Path:
        parts = parts or ((images_of(6, 2), [0, 1, 2, 0, 1, 2]),)
        with h5py.File(tmp_path / name, "w") as file:
            for number, (images, labels) in enumerate(parts, start=1):
                flat = images.reshape(len(images), -1)
                file.create_dataset(f"data{number}", data=flat, **options)
                file[f"Index{number}"] = one_hot(labels, columns)
            if names is not None:  # text of one length is read more quickly
                file.attrs["class_names"] = np.array(names, "S")
        return tmp_path / name

    return write


def refused(path: Any, match: str, **options: Any) -> None:
    with pytest.raises(SourceError, match=match):
        DeepLocHDF5Source(path, CHANNELS, **options).index()


def test_crops_come_back_as_they_lie_in_the_file(write: Write) -> None:
    first, second = images_of(4, 2), images_of(3, 2)
    path = write((first, [0, 1, 2, 0]), (second, [2, 2, 1]))
    source = DeepLocHDF5Source(path, CHANNELS)
    index = source.index()
    assert index["key"].tolist() == [f"data1/{i}" for i in range(4)] + [
        f"data2/{i}" for i in range(3)
    ]
    assert index["label"].tolist() == [CLASSES[i] for i in (0, 1, 2, 0, 2, 2, 1)]
    for position, expected in enumerate([*first, *second]):
        image, mask = source.read(position)
        assert mask is None
        assert image.dtype == np.uint16
        assert image.flags.c_contiguous
        np.testing.assert_array_equal(image, np.moveaxis(expected, 0, -1))
    assert source.files(5) == ("Chong_train_set.hdf5, data2, row 1",)
    assert source.paths(5) == (str(path),)
    assert not source.rejects
    assert not source.passed_over


def test_parts_come_in_the_order_of_their_numbers(write: Write) -> None:
    path = write(*((images_of(1, 2), [i % 3]) for i in range(12)))
    keys = DeepLocHDF5Source(path, CHANNELS).index()["key"].tolist()
    assert keys == [f"data{number}/0" for number in range(1, 13)]


def test_two_of_three_blocks_and_columns_without_a_name(write: Write) -> None:
    images = images_of(4, 3)
    path = write((images, [0, 4, -1, 2]), columns=5)
    refused(path, "12288 columns, which are 3 blocks of 64 x 64")
    source = DeepLocHDF5Source(path, CHANNELS, blocks=[0, 2])
    assert source.index()["label"].tolist() == ["ER", "Nucleus"]
    np.testing.assert_array_equal(source.read(1)[0], np.moveaxis(images[3][[0, 2]], 0, -1))
    assert [(r.reason, r.key) for r in source.rejects] == [
        ("no class", "data1/1"),
        ("no class", "data1/2"),
    ]
    assert source.rejects[0].files == ("Chong_train_set.hdf5, data1, row 1",)
    back = DeepLocHDF5Source(path, CHANNELS, blocks=[2, 0])
    back.index()
    np.testing.assert_array_equal(back.read(1)[0], source.read(1)[0][..., ::-1])


@pytest.mark.parametrize("names_in", ["attribute", "Index attribute", "data set"])
@pytest.mark.parametrize("kind", ["str", "bytes", "fixed bytes"])
def test_class_names_are_found(write: Write, names_in: str, kind: str) -> None:
    path = write(names=None)
    values: Any = {
        "str": np.array(CLASSES, h5py.string_dtype()),
        "bytes": np.array([n.encode() for n in CLASSES], h5py.string_dtype("ascii")),
        "fixed bytes": np.array([n.encode() for n in CLASSES]),
    }[kind]
    with h5py.File(path, "a") as file:
        file.attrs["title"] = "one text is no list"
        if names_in == "data set":
            file["terms"] = values
        else:
            holder = file if names_in == "attribute" else file["Index1"]
            holder.attrs["terms"] = values
    for options in ({}, {"names_from": "terms"}):
        source = DeepLocHDF5Source(path, CHANNELS, **options)
        assert source.index()["label"].tolist() == [*CLASSES, *CLASSES]
        assert source.class_names == CLASSES


def test_class_names_are_not_guessed(write: Write) -> None:
    path = write(names=None)
    with h5py.File(path, "a") as file:
        file["wells"] = np.array([[b"A1", b"A2", b"A3"]])
        file["proteins"] = np.array([b"AAC1"] * 6)
        file.attrs["made"] = "2017"
    refused(path, r"these lists of at most 3 texts: none.*`class_names`")
    source = DeepLocHDF5Source(path, CHANNELS, class_names=["a", "b", "c"])
    assert source.index()["label"].tolist() == ["a", "b", "c", "a", "b", "c"]
    with h5py.File(path, "a") as file:
        file.attrs["terms"] = CLASSES
        file["plates"] = ["P1", "P2"]
    refused(path, "texts: plates, terms. Choose one")
    refused(path, "Did you mean 'terms'", names_from="Terms")
    assert DeepLocHDF5Source(path, CHANNELS, names_from="terms").index().shape == (6, 2)
    refused(path, "be given or be in the file", names_from="terms", class_names=["a"])
    refused(path, "no more than `Index` has columns", class_names=["a", "b", "c", "d"])
    refused(path, "must differ from each other", class_names=["a", "a"])
    refused(path, "must differ from each other", class_names=[])


def test_several_classes_need_a_separator(write: Write) -> None:
    path = write()
    with h5py.File(path, "a") as file:
        file["Index1"][2] = [1, 0, 1]
    refused(path, r"ER, Nucleus \(Index1, row 2\)")
    source = DeepLocHDF5Source(path, CHANNELS, label_separator="|")
    assert source.index()["label"].tolist()[1:4] == ["Golgi", "ER|Nucleus", "ER"]
    refused(path, "no class name holds", label_separator="u")


@pytest.mark.parametrize("value", [0.5, 2, -1, np.nan])
def test_index_must_be_zeros_and_ones(write: Write, value: float) -> None:
    path = write()
    with h5py.File(path, "a") as file:
        file["Index1"][4, 1] = value
    refused(path, r"nothing but 0 and 1.*\(Index1, row 4\)")


@pytest.mark.parametrize(
    ("stored", "kept"),
    [
        ("u1", "uint8"),
        ("<u2", "uint16"),
        (">u2", "uint16"),
        ("f4", "float32"),
        (">f8", "float32"),
        ("f2", "float32"),
        ("i4", "float32"),
        ("i8", "float32"),
        ("u4", "float32"),
    ],
)
def test_number_types(write: Write, stored: str, kept: str) -> None:
    images = images_of(3, 2, dtype=stored)
    source = DeepLocHDF5Source(write((images, [0, 1, 2])), CHANNELS)
    source.index()
    image = source.read(1)[0]
    assert image.dtype == np.dtype(kept)
    assert image.dtype.isnative
    np.testing.assert_array_equal(image, np.moveaxis(images[1], 0, -1).astype(kept))


@pytest.mark.parametrize(("stored", "value"), [("f8", 0.1), ("f8", 1e300), ("i8", 2**60 + 1)])
def test_no_number_is_changed_in_silence(write: Write, stored: str, value: float) -> None:
    images = images_of(3, 2, dtype=stored)
    images[1, 0, 5, 5] = value
    path = write((images, [0, 1, 2]))
    source = DeepLocHDF5Source(path, CHANNELS)
    source.index()
    source.read(0)
    with pytest.raises(
        RejectedCrop, match=rf"numbers that float32 holds.*{path.name}, data1, row 1"
    ):
        source.read(1)


def test_float64_is_rounded_if_asked_for(write: Write) -> None:
    images = images_of(3, 2) / 7
    source = DeepLocHDF5Source(write((images, [0, 1, 2])), CHANNELS, dtype="float32")
    source.index()
    expected = np.moveaxis(images[1], 0, -1).astype(np.float32)
    np.testing.assert_array_equal(source.read(1)[0], expected)


@pytest.mark.parametrize(
    ("columns", "channels", "blocks", "side", "expected"),
    [
        (8192, 2, None, None, (64, (0, 1))),
        (4096, 1, None, None, (64, (0,))),
        (12288, 2, (0, 2), None, (64, (0, 2))),
        (12288, 2, (2, 0), 64, (64, (2, 0))),
        (7200, 2, None, None, (60, (0, 1))),
        (7200, 2, None, 60, (60, (0, 1))),
        (7200, 1, (1,), 60, (60, (1,))),
        (16384, 1, None, 128, (128, (0,))),
        (1024, 1, None, 32, (32, (0,))),
        (16384, 1, None, None, None),  # four blocks of 64, or one of 128?
        (12288, 2, None, None, None),
        (12288, 2, (0, 3), None, None),
        (7200, 1, (1,), None, None),
        (7200, 1, None, None, None),
        (8192, 2, None, 60, None),
        (8192, 2, None, 0, None),
        (8192, 2, (0, -1), None, None),
        (0, 2, None, None, None),
        (1 << 30, 1, None, 1 << 15, None),
    ],
)
def test_blocks_of_columns(
    columns: int, channels: int, blocks: Any, side: int | None, expected: Any
) -> None:
    names = ["gfp", "rfp"][:channels]
    if expected is not None:
        assert place_blocks(columns, names, blocks, side) == expected
    else:
        with pytest.raises(SourceError, match=f"{columns} columns"):
            place_blocks(columns, names, blocks, side)


@pytest.mark.parametrize(
    ("channels", "blocks"), [([], None), (["a", "a"], None), (["a", "b"], [1, 1]), (["a"], [0, 1])]
)
def test_channels_and_blocks_that_cannot_be(channels: list[str], blocks: Any) -> None:
    with pytest.raises(SourceError, match="must be one or more different names"):
        DeepLocHDF5Source("a.h5", channels, blocks=blocks)


def test_numbers_of_info_become_columns(write: Write) -> None:
    path = write((images_of(3, 2), [0, -1, 2]), (images_of(2, 2), [1, 1]))
    with h5py.File(path, "a") as file:
        file["Info1"] = [[1.0, 0.5], [2, 0.25], [3, 2]]
        file["Info2"] = [[4.0, 1], [5, 7]]
    source = DeepLocHDF5Source(path, CHANNELS, info={"plate": 0, "area": 1})
    index = source.index()
    assert index["plate"].tolist() == [1, 3, 4, 5]
    assert index["plate"].dtype == np.int64
    assert index["area"].tolist() == [0.5, 2, 1, 7]
    refused(path, "column 2 of 2", info={"plate": 2})
    refused(write(), "column 0 of 0", info={"plate": 0})


def spoiled(path: Path, change: Callable[[h5py.File], object]) -> Path:
    with h5py.File(path, "a") as file:
        change(file)
    return path


def replace(name: str, **options: Any) -> Callable[[h5py.File], object]:
    def change(file: h5py.File) -> None:
        del file[name]
        if options:
            file.create_dataset(name, **options)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace("Index2"), "data2 without Index2"),
        (replace("data2"), "Index2 without data2"),
        (lambda file: [file.__delitem__(n) for n in ("data1", "data2")], "hold `data1`.*Index1"),
        (replace("Index2", data=np.eye(3)), "same rows. Received: 2 and 3"),
        (replace("Index1", data=[0, 1]), r"Index1 must be a table of numbers.*\(2,\)"),
        (replace("Index1", data=["ER", "ER"]), "Index1 must be a table of numbers"),
        (replace("data1", data=np.zeros((2, 8192), bool)), "data1 must be a table.*bool"),
        (replace("data1", data=np.zeros((2, 8192), complex)), "data1 must be a table.*complex"),
        (replace("data1", data=np.full((2, 8192), b"a")), "data1 must be a table"),
        (replace("data1", data=np.zeros((2, 2, 64, 64))), "data1 must be a table"),
        (replace("data1", shape=(0, 8192), dtype="u2"), "data1 must be a table"),
        (replace("data1", data=h5py.Empty("f4")), "data1 must be a table"),
        (replace("data2", data=np.zeros((2, 4096), "u2")), "same columns. Received: 8192.*4096"),
        (replace("data2", data=np.zeros((2, 8192), "u1")), "same dtype. Received: uint16.*uint8"),
        (replace("data2", shape=(2, 8192), dtype="u2"), "'data2'.*not written to its end"),
        (
            replace("data2", shape=(2, 8192), dtype="u2", chunks=(1, 4096)),
            "'data2'.*not written to its end",
        ),
        (lambda file: file.create_dataset("Info1", data=np.zeros((2, 3))), "data2 without Info2"),
        (lambda file: file.create_group("data3"), "data3 without Index3"),
        (lambda file: [file.create_group(n) for n in ("data3", "Index3")], "'data3'.* is a group"),
    ],
)
def test_files_of_another_layout_are_refused(
    write: Write, change: Callable[[h5py.File], object], message: str
) -> None:
    path = write((images_of(2, 2), [0, 1]), (images_of(2, 2), [2, 1]))
    assert len(DeepLocHDF5Source(path, CHANNELS).index()) == 4
    refused(spoiled(path, change), message)


def test_half_written_chunks_are_refused_and_not_read_as_zeros(write: Write) -> None:
    path = write(chunks=(2, 8192), maxshape=(None, 8192))
    DeepLocHDF5Source(path, CHANNELS).index()
    spoiled(path, lambda file: [file["data1"].resize(9, 0), file["Index1"].shape])
    refused(path, "'data1'.*not written to its end")


def test_chunks_that_would_fill_the_memory_are_refused(write: Write) -> None:
    path = write(chunks=(6, 8192), compression="gzip")
    with h5py.File(path, "a") as file:
        del file["data1"], file["Index1"]
        file.create_dataset("data1", (1 << 17, 8192), "u2", chunks=(1 << 17, 8192))
        file.create_dataset("Index1", (1 << 17, 3), "u1")
    refused(path, "'data1'.*has chunks.*more than 1073741824 bytes")


def secret(folder: Path) -> Path:
    """Numbers and text of someone else's, in HDF5 and in plain files of the same bytes."""
    values = {"numbers": np.full((6, 8192), 7, np.uint16), "text": np.array([b"root", b"toor"])}
    with h5py.File(folder / "secret.h5", "w") as file:
        for name, value in values.items():
            file[name] = value
            (folder / name).write_bytes(value.tobytes())
    return folder / "secret.h5"


def external_link(file: h5py.File, name: str, other: Path, what: str, like: Any) -> None:
    file[name] = h5py.ExternalLink(str(other), what)


def link_to_link(file: h5py.File, name: str, other: Path, what: str, like: Any) -> None:
    file.create_group("elsewhere")["it"] = h5py.ExternalLink(str(other), what)
    file[name] = h5py.SoftLink("/elsewhere/it")


def external_storage(file: h5py.File, name: str, other: Path, what: str, like: Any) -> None:
    file.create_dataset(name, like.shape, like.dtype, external=str(other.parent / what))


def virtual(file: h5py.File, name: str, other: Path, what: str, like: Any) -> None:
    layout = h5py.VirtualLayout(like.shape, like.dtype)
    layout[:] = h5py.VirtualSource(str(other), what, like.shape)
    file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize(
    ("lead_away", "problem"),
    [
        (external_link, "is a link"),
        (link_to_link, "is a link"),
        (external_storage, "keeps its values in other files"),
        (virtual, "keeps its values in other files"),
    ],
)
@pytest.mark.parametrize("name", ["data1", "Index1", "Info1", "names"])
def test_what_leads_to_other_files_is_refused(
    write: Write, tmp_path: Path, lead_away: Callable[..., None], problem: str, name: str
) -> None:
    other = secret(tmp_path)
    what = "text" if name == "names" else "numbers"
    path = write(names=None if name == "names" else CLASSES)
    with h5py.File(path, "a") as file, h5py.File(other) as theirs:
        file.pop(name, None)
        lead_away(file, name, other, what, theirs[what])
    with h5py.File(path) as file, h5py.File(other) as theirs:
        # so it would be read, were it not for us
        np.testing.assert_array_equal(file[name][...], theirs[what][...])
    if name == "names" and lead_away is not external_storage:
        problem = "lists of at most 3 texts: none"  # not looked at
    with pytest.raises(SourceError, match=problem) as caught:
        DeepLocHDF5Source(path, CHANNELS).index()
    assert "root" not in str(caught.value).replace(str(tmp_path), "")


def test_links_are_not_followed_even_to_see_what_they_are(write: Write) -> None:
    path = write()
    with h5py.File(path, "a") as file:
        file["plates"] = h5py.ExternalLink("/nowhere.h5", "plates")
        file["wells"] = h5py.SoftLink("/nowhere")
    assert len(DeepLocHDF5Source(path, CHANNELS).index()) == 6
    with h5py.File(path, "a") as file:
        del file["data1"]
        file["data1"] = h5py.ExternalLink("/nowhere.h5", "data1")
    refused(path, "'data1' of Chong_train_set.hdf5, which is a link")


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_truncated_files_are_refused(write: Write, part: float) -> None:
    path = write()
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    refused(path, rf"HDF5 file must be whole. Received: .*{path.name}")


def test_what_is_no_hdf5_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("data1,Index1")
    refused(tmp_path / "a.h5", "must be whole.*signature not found")
    refused(tmp_path, "must be a regular file")
    with pytest.raises(FileNotFoundError, match="none"):
        DeepLocHDF5Source(tmp_path / "none.h5", CHANNELS).index()


def test_damage_costs_the_crops_that_it_hits(write: Write) -> None:
    images = images_of(6, 2)
    path = write((images, [0, 1, 2, 0, 1, 2]), chunks=(2, 8192), compression="gzip")
    with h5py.File(path) as file:
        chunk = file["data1"].id.get_chunk_info(1)
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset + chunk.size // 2)
        raw.write(b"\xff" * 64)
    source = DeepLocHDF5Source(path, CHANNELS)
    assert len(source.index()) == 6
    for position in (2, 3):
        with pytest.raises(RejectedCrop, match=f"hdf5, data1, row {position}") as caught:
            source.read(position)
        assert caught.value.reason == "damaged in its file"
        assert str(path.parent) not in str(caught.value)
    for position in (0, 1, 4, 5):
        expected = np.moveaxis(images[position], 0, -1)
        np.testing.assert_array_equal(source.read(position)[0], expected)


def test_a_file_that_is_replaced_is_not_read_on(write: Write) -> None:
    path = write()
    source = DeepLocHDF5Source(path, CHANNELS)
    source.index()
    write((images_of(4, 2), [0, 1, 2, 0]))
    with pytest.raises(SourceError, match="must not change"):
        source.read(5)


def test_copies_read_the_same_and_are_small(write: Write) -> None:
    path = write((images_of(6, 2), [0, 1, -1, 0, 1, 2]))
    source = DeepLocHDF5Source(path, CHANNELS)
    source.index()
    expected = source.read(3)[0]
    state = pickle.dumps(source)
    assert len(state) < 5_000
    copy = pickle.loads(state)
    np.testing.assert_array_equal(copy.read(3)[0], expected)
    assert copy.files(3) == source.files(3)
    assert copy.index().equals(source.index())
    assert copy.rejects == source.rejects


@pytest.mark.parametrize("options", [{}, {"chunks": (50, 1024)}, {"chunks": (1500, 8192)}])
def test_memory_stays_bounded(write: Write, options: dict[str, Any]) -> None:
    images = np.zeros((3000, 2, 64, 64), np.uint16)  # 47 MiB
    images[:, 1, 3, 4] = np.arange(3000)
    path = write((images, [0] * 3000), **options)
    source = DeepLocHDF5Source(path, CHANNELS)
    source.index()
    tracemalloc.start()
    crops = [source.read(position)[0] for position in range(0, 3000, 100)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [crop[3, 4, 1] for crop in crops] == list(range(0, 3000, 100))
    assert peak < 10 << 20


def test_a_file_for_each_split(write: Write, tmp_path: Path) -> None:
    labels = {"train": [0, 1, 2, 0, 1, 2], "validation": [0, 2, 1], "test": [1, 1, 0, 2]}
    images = {split: images_of(len(rows), 2) for split, rows in labels.items()}
    paths = {s: write((images[s], labels[s]), name=f"Chong_{s}_set.hdf5") for s in labels}
    source = DeepLocHDF5Source(paths, CHANNELS)
    index = source.index()
    assert index["key"].tolist()[5:7] == ["train/data1/5", "validation/data1/0"]
    assert source.paths(6) == (str(paths["validation"]),)
    manifest = build_records(source, tmp_path / "records", label="label", classes=CLASSES)
    assert {s: manifest.num_crops(s) for s in manifest.split_names} == {
        split: len(rows) for split, rows in labels.items()
    }
    assert manifest.schema.channels == CHANNELS
    assert str(tmp_path) not in (tmp_path / "records" / "manifest.json").read_text()
    for split, rows in labels.items():
        found = {}
        for record in read_serialized(tmp_path / "records", split).as_numpy_iterator():
            crop = decode(record, manifest.schema)
            found[crop.key] = crop
        assert len(found) == len(rows)
        for row, label in enumerate(rows):
            crop = found[f"{split}/data1/{row}"]
            assert crop.labels == (label,)
            np.testing.assert_array_equal(crop.image, np.moveaxis(images[split][row], 0, -1))


def test_splits_must_differ_and_agree(write: Write, tmp_path: Path) -> None:
    path = write()
    (tmp_path / "link.hdf5").symlink_to(path)
    with pytest.raises(SplitError, match="for train and test"):
        DeepLocHDF5Source({"train": path, "test": tmp_path / "link.hdf5"}, CHANNELS).index()
    other = write(name="other.hdf5", names=["ER", "Nucleus", "Golgi"])
    refused({"train": path, "test": other}, r"same class names.*other\.hdf5")


def test_multi_label_build_and_what_it_sets_aside(write: Write, tmp_path: Path) -> None:
    images = images_of(6, 2, dtype="f8")
    images[4, 0, 1, 1] = np.nan
    path = write((images, [0, 1, 2, -1, 1, 2]))
    with h5py.File(path, "a") as file:
        file["Index1"][1] = [1, 1, 0]
    source = DeepLocHDF5Source(path, CHANNELS, label_separator="|")
    options: dict[str, Any] = {"label": "label", "label_separator": "|"}
    with pytest.raises(SourceError, match=r"A crop must have a 1 .*'data1/3'"):
        build_records(source, tmp_path / "records", **options)
    manifest = build_records(source, tmp_path / "records", max_rejects=2, **options)
    assert manifest.schema.multi_label
    assert manifest.num_crops("train") == 4
    assert manifest.rejects == {"no class": 1, "pixels are not finite": 1}
    crops = [
        decode(record, manifest.schema)
        for record in read_serialized(tmp_path / "records", "train").as_numpy_iterator()
    ]
    assert {crop.key: crop.labels for crop in crops}["data1/1"] == (0, 1)
    assert {crop.image.dtype.name for crop in crops} == {"float32"}


def test_crops_without_labels(write: Write, tmp_path: Path) -> None:
    path = write(names=None)
    with h5py.File(path, "a") as file:
        del file["Index1"]
    source = DeepLocHDF5Source(path, CHANNELS)
    assert list(source.index().columns) == ["key"]
    refused(path, "need an `Index`.*which has none", class_names=CLASSES)
    refused({"train": write(name="a.h5"), "test": path}, r"same class names.*'ER'.* and \(\)")
    manifest = build_records(source, tmp_path / "records")
    assert manifest.num_crops("train") == 6


def test_damaged_text_ends_in_an_error_and_not_never(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(names=None)
    with h5py.File(path, "a") as file:
        file.attrs["class_names"] = CLASSES
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    content[heap + 24] = 255  # the size of its first text
    path.write_bytes(content)
    monkeypatch.setattr("deeploc_tf.hdf5_trial.TIMEOUT", 3)
    refused(path, "its text cannot be read")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_damaged_files_give_crops_or_our_errors(write: Write, data: st.DataObject) -> None:
    path = write((images_of(3, 1, side=8), [0, 1, 2]))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    source = DeepLocHDF5Source(path, ["gfp"], side=8)
    with contextlib.suppress(SourceError, OSError):
        for position in range(len(source.index())):
            source.read(position)
